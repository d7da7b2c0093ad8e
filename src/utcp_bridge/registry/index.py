"""Finding manuals among listings: by tag, and by words with the ranking that tools are searched with (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from utcp_bridge.model import Source, Tool
from utcp_bridge.registry.listing import Listing
from utcp_bridge.search import create_strategy

__all__ = ["ListingIndex"]

_SOURCE = Source(name="registry")


class ListingIndex:
    """Listings by name; `words` adds to each what its manual says beyond its listing."""

    def __init__(self, listings: Iterable[Listing], words: Mapping[str, str] | None = None) -> None:
        self._listings = {listing.name: listing for listing in sorted(listings, key=lambda one: one.name)}
        self._strategy = create_strategy()
        self._strategy.add(_as_tool(one, (words or {}).get(one.name, "")) for one in self._listings.values())

    def find(self, *, tags: Sequence[str] = (), q: str = "") -> list[Listing]:
        """Those with any of the tags (letter case does not count) that fit the words, best first; else by name."""
        if q.strip():
            hits = self._strategy.search(q, limit=len(self._listings) or 1, tags=tags or None)
            return [self._listings[hit.tool.name] for hit in hits]
        wanted = {tag.casefold() for tag in tags}
        return [
            listing
            for listing in self._listings.values()
            if not wanted or wanted & {tag.casefold() for tag in listing.tags}
        ]


def _as_tool(listing: Listing, words: str) -> Tool:
    description = f"{listing.description}\n{words}".strip()
    return Tool(
        source=_SOURCE, name=listing.name, kind="manual", template={}, description=description, tags=listing.tags
    )
