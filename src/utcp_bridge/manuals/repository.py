"""The live tools: lookup by name, deterministic order, change events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from utcp_bridge.errors import UnknownTool
from utcp_bridge.model import Tool

__all__ = ["Change", "InMemoryToolRepository", "Listener", "ToolRepository", "same_definition", "unknown_tool"]

_MAX_COMPARED: Final = 2_000
"""Names that one wrong name is compared with. Comparing takes up to 20 microseconds a name."""


@dataclass(frozen=True, slots=True)
class Change:
    """What one replacement changed. A tool with a changed definition is in both tuples."""

    manual: str
    added: tuple[Tool, ...] = ()
    removed: tuple[Tool, ...] = ()


Listener = Callable[[Change], None]


class ToolRepository(Protocol):
    """A store of the live tools. Implementations keep their order and notify listeners before they return."""

    @property
    def generation(self) -> int:
        """A number that grows with every change, so that caches can compare it."""
        ...

    def replace(self, manual: str, tools: Iterable[Tool]) -> Change:
        """Make `tools` the tools of a manual; a tool with the same definition stays the same object."""
        ...

    def remove(self, manual: str) -> Change:
        """Remove a manual; an unknown name changes nothing."""
        ...

    def get(self, qualified_name: str) -> Tool | None:
        """Return the tool with this UTCP name (`manual.tool`)."""
        ...

    def tools(self) -> Sequence[Tool]:
        """Return every tool, ordered by manual and then by name: the same order after every restart."""
        ...

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` after every change; call the returned function to unsubscribe."""
        ...


@dataclass(slots=True)
class InMemoryToolRepository:
    """The default repository: one dict for each manual, in memory."""

    _manuals: dict[str, dict[str, Tool]] = field(default_factory=dict[str, dict[str, Tool]])
    _by_name: dict[str, Tool] = field(default_factory=dict[str, Tool])
    _ordered: tuple[Tool, ...] | None = ()
    _listeners: list[Listener] = field(default_factory=list[Listener])
    generation: int = 0

    def replace(self, manual: str, tools: Iterable[Tool]) -> Change:
        before = self._manuals.get(manual, {})
        after = {tool.name: tool for tool in tools}
        for name, tool in after.items():
            known = before.get(name)
            if known is not None and same_definition(known, tool):
                after[name] = known
        change = Change(
            manual,
            added=tuple(tool for name, tool in after.items() if before.get(name) is not tool),
            removed=tuple(tool for name, tool in before.items() if after.get(name) is not tool),
        )
        self._manuals[manual] = after
        self._apply(change)
        return change

    def remove(self, manual: str) -> Change:
        before = self._manuals.pop(manual, {})
        change = Change(manual, removed=tuple(before.values()))
        self._apply(change)
        return change

    def get(self, qualified_name: str) -> Tool | None:
        return self._by_name.get(qualified_name)

    def tools(self) -> Sequence[Tool]:
        if self._ordered is None:
            self._ordered = tuple(tool for _, tool in sorted(self._by_name.items()))
        return self._ordered

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        self._listeners.append(listener)

        def unsubscribe() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unsubscribe

    def _apply(self, change: Change) -> None:
        if not change.added and not change.removed:
            return
        for tool in change.removed:
            self._by_name.pop(tool.qualified_name, None)
        for tool in change.added:
            self._by_name[tool.qualified_name] = tool
        self._ordered = None
        self.generation += 1
        for listener in tuple(self._listeners):
            listener(change)


def same_definition(one: Tool, other: Tool) -> bool:
    """Return whether two versions of a tool are equal in all that a caller or a transport sees."""
    return one is other or all(
        getattr(one, name) == getattr(other, name)
        for name in (
            "kind",
            "template",
            "overlay",
            "description",
            "title",
            "inputs",
            "outputs",
            "tags",
            "annotations",
            "repeatable",
            "is_local",
            "deprecated",
            "body_members",
            "limits",
            "defaults",
            "projection",
            "source",
        )
    )


def unknown_tool(name: str, known: Iterable[str], *, related: Iterable[str] = (), remedy: str = "") -> UnknownTool:
    """Return the error for a name that no tool has. Its remedy suggests the nearest of the `known` names.

    `related` are suggested if no name is near. `remedy` is what to do besides.
    """
    near = _near_names(name, known) or list(related)
    suggestion = f"Did you mean {' or '.join(near)}?" if near else ""
    return UnknownTool(f"There is no tool {name[:128]!r}.", remedy=f"{suggestion} {remedy}".strip() or None)


def _near_names(name: str, known: Iterable[str]) -> list[str]:
    from difflib import get_close_matches

    names = list(known)
    if len(names) > _MAX_COMPARED:
        start = name[:3].casefold()
        names = [one for one in names if one[:3].casefold() == start][:_MAX_COMPARED]
    return get_close_matches(name[:128], names, n=3)
