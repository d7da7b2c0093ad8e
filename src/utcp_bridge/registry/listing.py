"""The entries of a registry, read from untrusted JSON, and the search among them by tags and words (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from utcp_bridge.dialects import Shape, detect
from utcp_bridge.dialects.fields import safe_name, sort_of, text_of, word
from utcp_bridge.dialects.shorthand import suggest_name
from utcp_bridge.errors import ConfigError, ManualError
from utcp_bridge.model import Fault, JsonObject, Source, Tool, is_list, is_object
from utcp_bridge.search import create_strategy
from utcp_bridge.urls import split_url

__all__ = ["Listing", "ListingIndex", "ListingPage", "read_page"]

_MAX_DESCRIPTION = 4_096
_MAX_TAGS = 100
_MAX_NAME = 100
_MAX_URL = 8_192
_MAX_LISTED = 10_000
"""Manuals in one document of a registry. Those known have some hundreds."""
_MAX_FAULTS = 100
_HASH_LENGTH = 64
_SOURCE = Source(name="registry")


@dataclass(frozen=True, slots=True)
class Listing:
    """One manual in a registry. `url` is its address, `sha256` the hash of its bytes in hexadecimal, if known."""

    name: str
    url: str
    description: str = ""
    tags: tuple[str, ...] = ()
    manual_version: str = ""
    sha256: str | None = None

    def as_json(self) -> JsonObject:
        """Return the listing in the form of the API."""
        return {
            "name": self.name,
            "url": self.url,
            "description": self.description,
            "tags": list(self.tags),
            "manual_version": self.manual_version,
            "sha256": self.sha256,
        }


@dataclass(frozen=True, slots=True)
class ListingPage:
    """Some listings, and the cursor of the next page; None on the last page."""

    listings: list[Listing]
    next: str | None
    faults: list[Fault]


def read_page(document: Any, *, base: str, where: str) -> ListingPage:
    """Return the listings in a registry's response or file; a manual counts as a listing of itself.

    `base` is the URL of the document, where relative URLs start; `where` names the registry in faults. A listing that
    cannot be used is a fault.

    :raises ManualError: the document is not a registry.
    """
    if detect(document) in {Shape.MANUAL, Shape.OPENAPI, Shape.FOREIGN}:
        return ListingPage([Listing(suggest_name({"url": base}, ()), base)], None, [])
    if not is_object(document) or not is_list(document.get("manuals")):
        raise ManualError(f"{where} is not a registry.", remedy='A registry returns {"manuals": [{"name", "url"}, …]}.')
    listings: list[Listing] = []
    faults: list[Fault] = []
    taken: set[str] = set()
    if len(document["manuals"]) > _MAX_LISTED:
        what = f"it lists {len(document['manuals']):,} manuals; the first {_MAX_LISTED:,} count."
        faults.append(Fault(where, what, severity="warning"))
    for position, raw in enumerate(document["manuals"][:_MAX_LISTED]):
        try:
            listing = _read_listing(raw, base, taken)
        except (ConfigError, ValueError) as error:
            if len(faults) < _MAX_FAULTS:
                faults.append(Fault(f"{where}, manual {position + 1}", str(error)))
        else:
            listings.append(listing)
            taken.add(listing.name)
    cursor = document.get("next")
    return ListingPage(listings, cursor if isinstance(cursor, str) and cursor else None, faults)


def _read_listing(raw: Any, base: str, taken: set[str]) -> Listing:
    if isinstance(raw, str):
        raw = {"url": raw}
    if not is_object(raw):
        raise ValueError(f"it must be an object, not {sort_of(raw)}.")
    url = _url(text_of(raw.get("url")), base)
    name = safe_name(text_of(raw.get("name"))).strip("_") or suggest_name({"url": url}, taken)
    if len(name) > _MAX_NAME:
        raise ValueError(f"its name is longer than {_MAX_NAME} characters.")
    if name in taken:
        raise ValueError(f"another manual is also named {word(name)!r}.")
    tags = raw.get("tags")
    digest = text_of(raw.get("sha256")).strip().lower()
    if digest and (len(digest) != _HASH_LENGTH or set(digest) - set("0123456789abcdef")):
        raise ValueError("its `sha256` must be a SHA-256 hash in hexadecimal.")
    return Listing(
        name=name,
        url=url,
        description=text_of(raw.get("description"))[:_MAX_DESCRIPTION],
        tags=tuple(tag[:_MAX_NAME] for tag in tags[:_MAX_TAGS] if isinstance(tag, str)) if is_list(tags) else (),
        manual_version=text_of(raw.get("manual_version"))[:_MAX_NAME],
        sha256=digest or None,
    )


def _url(stated: str, base: str) -> str:
    if not stated:
        raise ValueError("it has no `url`.")
    if len(stated) > _MAX_URL:
        raise ValueError(f"its `url` is longer than {_MAX_URL:,} characters.")
    joined = urljoin(base, stated)
    parts = split_url(joined)
    if parts.scheme not in {"http", "https"}:
        raise ValueError(f"the scheme of its URL must be http or https, not {word(parts.scheme)!r}.")
    if urlsplit(joined).username is not None:
        raise ValueError("its URL must not contain a user name.")
    return joined


class ListingIndex:
    """An index of listings; `words` maps names to more text of the manuals, which is searched but not listed."""

    def __init__(self, listings: Iterable[Listing], words: Mapping[str, str] | None = None) -> None:
        self._listings = {listing.name: listing for listing in sorted(listings, key=lambda one: one.name)}
        self._strategy = create_strategy()
        self._strategy.add(_as_tool(one, (words or {}).get(one.name, "")) for one in self._listings.values())

    def find(self, *, tags: Sequence[str] = (), q: str = "") -> list[Listing]:
        """Return the listings with any of the tags (in any letter case) that match `q`, best first.

        Without `q` they come by name.
        """
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
