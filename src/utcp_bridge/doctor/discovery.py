"""The step `discovery`: the manual is loaded by the client's own registration, and its state is put in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from utcp_bridge.doctor.steps import Finding

if TYPE_CHECKING:
    from utcp_bridge.manuals.registration import ManualState

__all__ = ["loaded"]


def loaded(state: ManualState) -> Finding:
    """What became of a manual. Raises its error if it failed."""
    if state.status == "failed" and state.error is not None:
        raise state.error
    details = tuple(f"{fault.severity}: {fault}" for fault in state.faults)
    what = state.description if state.kind == state.dialect == "registry" else _counted(state.tools, "tool")
    message = f"{what}{f' ({state.dialect})' if state.dialect else ''}"
    if details:
        return Finding(f"{message}, {_counted(len(details), 'fault')}.", "warning", details=details)
    if not state.tools and state.kind != "registry":
        return Finding("The manual holds no tool.", "warning", "Check that it is the right document, and `include`.")
    return Finding(f"{message}.")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun if number == 1 else f'{noun}s'}"
