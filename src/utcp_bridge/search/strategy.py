"""The interface of tool search: what a strategy offers, and the filter that every strategy applies."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable
from typing import Protocol, TypeAlias, runtime_checkable

from utcp_bridge.late.records import dataclass
from utcp_bridge.model import Tool

__all__ = ["Accept", "Hit", "Searchable", "ToolSearchStrategy", "tool_filter"]

Accept: TypeAlias = Callable[[Tool], bool]
"""Returns whether a tool may be found at all: visibility, or filters that a strategy does not have."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One found tool. `score` is relative to the best tool of the same search: above 0, at most 1."""

    tool: Tool
    score: float


class Searchable(Protocol):
    """Anything whose tools can be searched: a strategy, or a client with a strategy inside."""

    @abstractmethod
    def search(
        self,
        query: str,
        *,
        limit: int = 10,
        tags: Collection[str] | None = None,
        providers: Collection[str] | None = None,
        accept: Accept | None = None,
    ) -> list[Hit]:
        """Return the best `limit` tools, best first, without tools that score zero; names break ties.

        `tags` keeps tools with any of these tags (letter case does not count), `providers` keeps tools of these
        manuals, `accept` keeps tools for which it returns True. None means no filter.
        """
        ...


@runtime_checkable
class ToolSearchStrategy(Searchable, Protocol):
    """A ranking of tools for a query. The client adds and removes tools as manuals come and go.

    `add` and `remove` take time in proportion to the tools they receive. They may run in a worker thread while
    `search` runs elsewhere. `search` never indexes anything. A subclass must have every method. Another object with
    these methods is a strategy as well.
    """

    @abstractmethod
    def add(self, tools: Iterable[Tool]) -> None:
        """Add tools. A tool replaces the one with the same qualified name."""
        ...

    @abstractmethod
    def remove(self, tools: Iterable[Tool]) -> None:
        """Remove these tools, by qualified name. Unknown tools are ignored."""
        ...

    @abstractmethod
    def remove_manual(self, name: str) -> None:
        """Remove every tool of the manual of this name."""
        ...


def tool_filter(
    tags: Collection[str] | None, providers: Collection[str] | None, accept: Accept | None = None
) -> Accept:
    """Return a function that applies the filters of `Searchable.search` to one tool."""
    wanted = None if tags is None else {tag.casefold() for tag in tags}

    def passes(tool: Tool) -> bool:
        return (
            (providers is None or tool.manual in providers)
            and (wanted is None or any(tag.casefold() in wanted for tag in tool.tags))
            and (accept is None or accept(tool))
        )

    return passes
