"""Reading a registry: over its API, at its well-known address, or from a file of the same shape.

    for url in UTCPRegistry("https://registry.example.com").discover(tags=["weather"]):
        ...

A URL that ends in .json, .yaml or .yml is a file; any other URL is the base of the API. The listings are untrusted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import urlencode, urljoin, urlsplit

import anyio.to_thread

from utcp_bridge.configuration.places import fetch_url, is_url, read_place
from utcp_bridge.dialects.documents import parse_document
from utcp_bridge.errors import Rejected
from utcp_bridge.model import Fault
from utcp_bridge.registry.listing import Listing, ListingIndex, ListingPage, read_page
from utcp_bridge.tasks import run_blocking
from utcp_bridge.urls import bare_url

__all__ = ["AsyncUTCPRegistry", "Fetched", "UTCPRegistry", "fetch_document", "list_manuals", "parsed_listing"]

_WELL_KNOWN: Final = "/.well-known/utcp.json"
_PAGE_SIZE: Final = 100
_MAX_PAGES: Final = 100
_MAX_MANUALS: Final = 1_000
_MAX_VALUES: Final = 200_000
"""The most values of one page of a registry, or of its file: each of a thousand manuals may have 100 tags."""
_THREAD_FROM: Final = 32_768
_FILE_SUFFIXES: Final = (".json", ".yaml", ".yml")


class Fetched(NamedTuple):
    """A document from the network, and its URL after redirects."""

    document: Any
    url: str


_Fetch: TypeAlias = Callable[[str], Awaitable[Fetched]]


class AsyncUTCPRegistry:
    """A registry at `url`: the API's base, or a file's URL or path."""

    def __init__(self, url: str) -> None:
        self._place = url

    async def listings(self, *, tags: Sequence[str] = (), q: str = "", limit: int | None = None) -> list[Listing]:
        """Return at most `limit` manuals that have any of `tags` and match the words `q`, best first.

        :raises UtcpError: the registry cannot be reached, or the place is not a registry.
        """
        return (await list_manuals(self._place, fetch_document, tags=tags, q=q, limit=limit)).listings

    async def discover(self, tags: Sequence[str] = (), *, q: str = "", limit: int | None = None) -> list[str]:
        """Return the URLs of `listings`."""
        return [listing.url for listing in await self.listings(tags=tags, q=q, limit=limit)]


class UTCPRegistry:
    """The same as `AsyncUTCPRegistry`, for programs without an event loop."""

    def __init__(self, url: str) -> None:
        self._registry = AsyncUTCPRegistry(url)

    def listings(self, *, tags: Sequence[str] = (), q: str = "", limit: int | None = None) -> list[Listing]:
        """Return at most `limit` manuals that have any of `tags` and match the words `q`, best first.

        :raises UtcpError: the registry cannot be reached, or the place is not a registry.
        """
        return run_blocking(partial(self._registry.listings, tags=tags, q=q, limit=limit))

    def discover(self, tags: Sequence[str] = (), *, q: str = "", limit: int | None = None) -> list[str]:
        """Return the URLs of `listings`."""
        return [listing.url for listing in self.listings(tags=tags, q=q, limit=limit)]


async def list_manuals(
    place: str, fetch: _Fetch, *, tags: Sequence[str] = (), q: str = "", limit: int | None = None
) -> ListingPage:
    """Return the listings of a registry, with the faults of all pages.

    :raises UtcpError: the registry cannot be read, or the place is not a registry.
    """
    most = _MAX_MANUALS if limit is None else limit
    if not is_url(place):
        placed = await read_place(place)
        page = read_page(placed.document, base="", where=place)
    elif urlsplit(place).path.lower().endswith(_FILE_SUFFIXES):
        page = await _file(place, fetch)
    else:
        try:
            return await _pages(place, fetch, tags=tags, q=q, most=most)
        except Rejected as error:
            if error.status != 404:
                raise
        page = await _file(urljoin(place, _WELL_KNOWN), fetch)
    chosen = ListingIndex(page.listings).find(tags=tags, q=q) if tags or q else page.listings
    return ListingPage(chosen[:most], None, page.faults)


async def _file(url: str, fetch: _Fetch) -> ListingPage:
    fetched = await fetch(url)
    return read_page(fetched.document, base=fetched.url, where=bare_url(url))


async def _pages(place: str, fetch: _Fetch, *, tags: Sequence[str], q: str, most: int) -> ListingPage:
    """Read page after page of the API, until a page has no cursor or repeats one."""
    base = place.partition("?")[0].rstrip("/")
    endpoint = base if base.endswith("/manuals") else f"{base}/manuals"
    listings: dict[str, Listing] = {}
    faults: list[Fault] = []
    cursors: list[str | None] = [None]
    while len(cursors) <= _MAX_PAGES and len(listings) < most:
        query = [*(("tag", tag) for tag in tags), ("limit", str(min(_PAGE_SIZE, most - len(listings))))]
        query += [(key, value) for key, value in (("q", q), ("cursor", cursors[-1])) if value]
        fetched = await fetch(f"{endpoint}?{urlencode(query)}")
        page = read_page(fetched.document, base=fetched.url, where=base)
        faults += page.faults
        for listing in page.listings:
            listings.setdefault(listing.name, listing)
        if page.next is None or page.next in cursors:
            break
        cursors.append(page.next)
    return ListingPage([*listings.values()][:most], None, faults)


async def fetch_document(url: str) -> Fetched:
    """Fetch a document that the operator asked for.

    :raises UtcpError: the document cannot be fetched or parsed.
    """
    fetched = await fetch_url(url)
    listing = await parsed_listing(fetched.content, fetched.media_type or url, bare_url(url))
    return Fetched(listing, fetched.url or url)


async def parsed_listing(content: bytes | str, hint: str, where: str) -> Any:
    """Return a registry's document as data. A large one is parsed in a thread, within a limit in values.

    :raises ManualError: it cannot be parsed.
    """
    work = partial(parse_document, content, hint=hint, where=where, most=_MAX_VALUES)
    return work() if len(content) < _THREAD_FROM else await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
