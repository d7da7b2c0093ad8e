"""The live tools: lookup by name, deterministic order, change events."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import field
from typing import Final, Protocol

from utcp_bridge.errors import ConfigError, UnknownTool
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import Tool
from utcp_bridge.tasks import at_once

__all__ = [
    "Change",
    "InMemoryToolRepository",
    "Listener",
    "ToolRepository",
    "same_definition",
    "unknown_manual",
    "unknown_tool",
]

_MAX_AT_ONCE: Final = 250
"""Tools that a large change replaces before other calls may run."""
_NEW_TOGETHER: Final = 32
"""Tools that need no comparison, and so take one step together."""
_MAX_COMPARED: Final = 2_000
"""Names that one wrong name is compared with. Comparing takes up to 20 microseconds a name."""
_MAX_LISTED: Final = 5
"""Names that an error lists, if the wrong one is not near to any."""


@dataclass(frozen=True, slots=True)
class Change:
    """What one replacement changed. A tool with a changed definition is in both tuples.

    Without a manual, the same tools are shown in another way, since settings have changed.
    """

    manual: str
    added: tuple[Tool, ...] = ()
    removed: tuple[Tool, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing changed."""
        return not self.added and not self.removed

    def __str__(self) -> str:
        names = {tool.name for tool in self.added}
        both = sum(tool.name in names for tool in self.removed)
        counts = {"added": len(self.added) - both, "removed": len(self.removed) - both, "changed": both}
        said = [f"{number:,} {what}" for what, number in counts.items() if number]
        return f"tools {', '.join(said)}" if said else "no tool changed"


Listener = Callable[[Change], None]


class ToolRepository(Protocol):
    """A store of the live tools. Implementations keep their order and notify listeners before they return.

    A subclass must have every method. Another object with these methods is a repository as well.
    """

    @property
    @abstractmethod
    def generation(self) -> int:
        """A number that grows with every change, so that caches can compare it."""
        ...

    @abstractmethod
    def replace(self, manual: str, tools: Iterable[Tool]) -> Change:
        """Make `tools` the tools of a manual; a tool with the same definition stays the same object."""
        ...

    @abstractmethod
    def remove(self, manual: str) -> Change:
        """Remove a manual; an unknown name changes nothing."""
        ...

    @abstractmethod
    def get(self, qualified_name: str) -> Tool | None:
        """Return the tool with this UTCP name (`manual.tool`)."""
        ...

    @abstractmethod
    def tools(self) -> Sequence[Tool]:
        """Return every tool, ordered by manual and then by name: the same order after every restart."""
        ...

    @abstractmethod
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
        return at_once(self.replace_in_steps(manual, tools, most=None))

    def replace_in_steps(
        self, manual: str, tools: Iterable[Tool], *, most: int | None = _MAX_AT_ONCE
    ) -> Generator[None, None, Change]:
        """Do what `replace` does, in steps. Return the whole change.

        Of a large change, listeners hear in parts: at most `most` changed definitions at once, and then all tools that
        came or went. The caller sees to it that nothing else replaces the manual meanwhile. If the manual is removed,
        its tools stay away.
        """
        before = self._manuals.setdefault(manual, {})
        after: dict[str, Tool] = {}
        for tool in tools:
            known = before.get(tool.name)
            after[tool.name] = known if known is not None and same_definition(known, tool) else tool
            if (known is not None and known is not tool) or not len(after) % _NEW_TOGETHER:
                yield
        whole = rest = Change(
            manual,
            added=tuple(tool for name, tool in after.items() if before.get(name) is not tool),
            removed=tuple(tool for name, tool in before.items() if after.get(name) is not tool),
        )
        if most is not None and len(whole.removed) > most:
            changed = [tool for tool in whole.removed if tool.name in after]
            for start in range(0, len(changed), most):
                part = changed[start : start + most]
                self._apply(before, Change(manual, tuple(after[tool.name] for tool in part), tuple(part)))
                yield
            names = {tool.name for tool in changed}
            came = tuple(tool for tool in whole.added if tool.name not in names)
            rest = Change(manual, came, tuple(tool for tool in whole.removed if tool.name not in names))
        self._apply(before, rest)
        return whole

    def remove(self, manual: str) -> Change:
        before = self._manuals.get(manual, {})
        change = Change(manual, removed=tuple(before.values()))
        self._apply(before, change)
        self._manuals.pop(manual, None)
        return change

    def get(self, qualified_name: str) -> Tool | None:
        return self._by_name.get(qualified_name)

    def tools(self) -> Sequence[Tool]:
        if self._ordered is None:
            self._ordered = tuple(tool for _, tool in sorted(self._by_name.items()))
        return self._ordered

    def touch(self) -> None:
        """Note that the same tools are shown in another way: listeners hear of a change of no manual."""
        self.generation += 1
        for listener in tuple(self._listeners):
            listener(Change(""))

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        self._listeners.append(listener)

        def unsubscribe() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unsubscribe

    def _apply(self, tools: dict[str, Tool], change: Change) -> None:
        if change.is_empty or self._manuals.get(change.manual) is not tools:
            return
        for tool in change.removed:
            tools.pop(tool.name, None)
            self._by_name.pop(tool.qualified_name, None)
        for tool in change.added:
            tools[tool.name] = self._by_name[tool.qualified_name] = tool
        self._ordered = None
        self.generation += 1
        for listener in tuple(self._listeners):
            listener(change)


def same_definition(one: Tool, other: Tool) -> bool:
    """Return whether two versions of a tool are equal in all that a caller or a transport sees."""
    return one is other or all(
        getattr(one, name) == getattr(other, name)
        for name in (
            "description",
            "kind",
            "template",
            "overlay",
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
            "extras",
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


def unknown_manual(name: str, known: Iterable[str]) -> ConfigError:
    """Return the error for a name that no manual has. Its remedy suggests the nearest of the `known` names."""
    names = sorted(known)
    near = _near_names(name, names)
    listed = ", ".join([*names[:_MAX_LISTED], *(["…"] if len(names) > _MAX_LISTED else [])])
    remedy = f"Did you mean {' or '.join(near)}?" if near else f"It has: {listed}." if names else "It has no manuals."
    return ConfigError(f"The configuration does not have a manual {name[:128]!r}.", remedy=remedy)


def _near_names(name: str, known: Iterable[str]) -> list[str]:
    from difflib import get_close_matches

    names = list(known)
    if len(names) > _MAX_COMPARED:
        start = name[:3].casefold()
        names = [one for one in names if one[:3].casefold() == start][:_MAX_COMPARED]
    return get_close_matches(name[:128], names, n=3)
