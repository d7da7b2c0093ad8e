"""What a manual needs to be reached, looked at in turn: a manual with several servers lives as long as one of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from utcp_bridge.doctor.steps import Finding
from utcp_bridge.errors import UtcpError
from utcp_bridge.transport import Need

__all__ = ["Probe", "Ways"]

Probe = Callable[[Need], Awaitable[Finding | None]]
"""Looks at one need; None where it has nothing to look at. Raises UtcpError."""


class Ways:
    """The needs that have held so far."""

    def __init__(self, needs: Sequence[Need]) -> None:
        self._open = list(needs)

    async def look(self, probe: Probe, otherwise: str, remedy: str = "") -> Finding:
        """One step over all needs: it fails if none is left, and warns if one is lost.

        `otherwise` is said where there was nothing to look at, `remedy` where an error names none. Raises the first
        UtcpError if every need failed.
        """
        found: list[Finding] = []
        lost: list[tuple[Need, UtcpError]] = []
        for need in self._open:
            try:
                if (finding := await probe(need)) is not None:
                    found.append(finding)
            except UtcpError as error:
                lost.append((need, error))
        if lost and len(lost) == len(self._open):
            raise lost[0][1]
        self._open = [need for need in self._open if all(need is not gone for gone, _ in lost)]
        found += [Finding(error.message, "warning", error.remedy or remedy) for _, error in lost]
        return _together(found) if found else Finding(otherwise, "skipped")


def _together(found: list[Finding]) -> Finding:
    if len(found) == 1:
        return found[0]
    worst = next((one for one in found if one.status == "warning"), found[0])
    status = worst.status if worst.status == "warning" else "ok"
    return Finding(worst.message, status, worst.remedy, tuple(one.message for one in found if one is not worst))
