"""What every search strategy offers; the client and the server know strategies by this alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from utcp_bridge.model import Tool

__all__ = ["Accept", "Hit", "ToolSearchStrategy", "has_any_tag"]

Accept: TypeAlias = Callable[[Tool], bool]
"""Says whether a tool may be found at all: visibility, or filters that a strategy does not know."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One found tool; `score` is relative to the best of the same search, in (0, 1]."""

    tool: Tool
    score: float


@runtime_checkable
class ToolSearchStrategy(Protocol):
    """A ranking of tools for a query, kept up to date as manuals come and go.

    `add` and `remove` cost time in proportion to the tools they are given and may run in a worker
    thread while `search` runs elsewhere; `search` never indexes anything.
    """

    def add(self, tools: Iterable[Tool]) -> None:
        """Takes tools in; one of the same qualified name is replaced."""
        ...

    def remove(self, tools: Iterable[Tool]) -> None:
        """Forgets these tools, by qualified name; unknown ones are passed over."""
        ...

    def remove_manual(self, name: str) -> None:
        """Forgets every tool of the manual of this name."""
        ...

    def search(
        self,
        query: str,
        *,
        limit: int = 10,
        tags: Collection[str] | None = None,
        providers: Collection[str] | None = None,
        accept: Accept | None = None,
    ) -> list[Hit]:
        """The best `limit` tools, best first, none that scores zero; ties are broken by name.

        `tags` keeps tools with any of these tags (letter case does not count), `providers` those of
        these manuals, `accept` those it is true for.
        """
        ...


def has_any_tag(tool: Tool, folded: Collection[str]) -> bool:
    """Whether a tool has one of these case-folded tags."""
    return any(tag.casefold() in folded for tag in tool.tags)
