"""Who hears that the tools have changed: a client that was given a list, if the bytes that it would get now differ.

Before 2026-07-28 a session hears it as `notifications/tools/list_changed`. The SDK has no list of sessions, so
`Changes` remembers, weakly, those that were given a page, with the digest of each page. A session that never asked for
a list hears nothing: a message that meets the end of a short session breaks it in some clients.

Since 2026-07-28 clients subscribe with `subscriptions/listen`. A request there says nothing of earlier requests, so a
stream starts from the list of the moment at which it is opened, but not before the first load of the manuals has ended.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import anyio

from utcp_bridge.catalogue.catalogue import Catalogue, ToolPage, View
from utcp_bridge.server.readiness import Readiness
from utcp_bridge.tasks import collector, in_slices

if TYPE_CHECKING:
    import mcp_types as types
    from mcp.server.context import ServerRequestContext
    from mcp.server.subscriptions import ServerEvent

__all__ = ["Changes", "GivenSession", "PagesAhead", "page_in_turns"]

_logger = logging.getLogger(__name__)
_DEBOUNCE_SECONDS: Final = 0.2
_SEND_TIMEOUT_SECONDS: Final = 5.0
_NEXT_PAGE_SECONDS: Final = 5.0
_FORGET_SECONDS: Final = 0.002
"""Between two steps of forgetting."""


async def page_in_turns(view: View, start: int, *, composed: bool) -> ToolPage:
    """Return the page that starts at this place of a list. Other work goes on while it is made.

    What its schemas have in common is kept for some seconds: most clients ask for the next page at once.
    """
    if (timer := _resting.pop(view, None)) is not None:
        timer.cancel()
    with collector.at_rest():
        await in_slices(view.steps_at(start, composed=composed))
    page = view.page_at(start, composed=composed)
    if view.has_parts:
        seconds = 0 if page.next_cursor is None else _NEXT_PAGE_SECONDS
        _resting[view] = asyncio.get_running_loop().call_later(seconds, _forget_in_turns, view.forget_parts())
    return page


_resting: Final[weakref.WeakKeyDictionary[View, asyncio.TimerHandle]] = weakref.WeakKeyDictionary()


def _forget_in_turns(steps: Generator[None, None, None]) -> None:
    for _ in steps:
        asyncio.get_running_loop().call_later(_FORGET_SECONDS, _forget_in_turns, steps)
        break


class PagesAhead:
    """Pages of lists for clients. Most clients read all of them, so the next one is made while they read one.

    `start` starts the work; without it, as before the server is open, a page is made when a client asks for it.
    """

    def __init__(self) -> None:
        self.start: Callable[..., None] | None = None
        self._begun: weakref.WeakKeyDictionary[View, dict[tuple[int, bool], anyio.Event]] = weakref.WeakKeyDictionary()

    async def page(self, view: View, start: int, *, composed: bool) -> ToolPage:
        """Return the page that starts at this place of a list."""
        begun = self._begun.setdefault(view, {})
        if (made := begun.get((start, composed))) is not None:
            await made.wait()
        page = await page_in_turns(view, start, composed=composed)
        following = (page.end, composed)
        if self.start is not None and page.next_cursor is not None and following not in begun:
            begun[following] = made = anyio.Event()
            self.start(self._make, view, page.end, composed, made)
        return page

    async def _make(self, view: View, start: int, composed: bool, made: anyio.Event) -> None:
        try:
            await page_in_turns(view, start, composed=composed)
        except Exception as error:  # who asks for the page is told
            _logger.debug("A page could not be made ahead (%s).", type(error).__name__, exc_info=error)
        finally:
            made.set()

    def close(self) -> None:
        """Make nothing ahead any more."""
        self.start = None
        for made in [made for begun in self._begun.values() for made in begun.values()]:
            made.set()


class GivenSession(Protocol):
    """A session of the handshake era: the SDK's connection, or that of the early front."""

    async def send_tool_list_changed(self) -> None:
        """Notify the client that the tools have changed."""
        ...


class _Given:
    """The pages that a session was given, by their places, and the changed page that it has heard of.

    `client` is the name of its host: what is listed to it may change with the settings.
    """

    __slots__ = ("announced", "client", "pages")

    def __init__(self, client: str | None) -> None:
        self.client = client
        self.pages: dict[int, bytes] = {}
        self.announced: tuple[int, bytes] | None = None


class _Streams:
    """The open listen streams of hosts of one name, and the list that they start from. None: that of the first load."""

    def __init__(self) -> None:
        from mcp.server.subscriptions import (  # the SDK: only who listens needs it
            InMemorySubscriptionBus,
            ListenHandler,
        )

        self.bus = InMemorySubscriptionBus()
        self.listen = ListenHandler(self.bus)
        self.open = 0
        self.known: View | None = None


class Changes:
    """Notifies clients of changed tools. A burst of changes causes one notification."""

    def __init__(self, catalogue: Catalogue, readiness: Readiness) -> None:
        self._catalogue = catalogue
        self._readiness = readiness
        self._sessions: weakref.WeakKeyDictionary[GivenSession, _Given] = weakref.WeakKeyDictionary()
        self._streams: dict[str | None, _Streams] = {}
        self._changed = anyio.Event()
        self._has_loaded = False
        self.also: Callable[[Callable[[ServerEvent], Awaitable[None]]], Awaitable[None]] = _nothing_else
        """Announces what else may have changed. It receives a function that publishes an event on every stream."""

    def given(self, session: GivenSession, client: str | None, view: View, page: ToolPage) -> None:
        """Note that a session of the handshake era receives this page of this view. `client` is its host's name."""
        given = self._sessions.get(session)
        if given is None or page.start == 0 or given.client != client:
            given = self._sessions[session] = _Given(client)
        given.pages[page.start] = page.digest
        if not self._catalogue.is_current(view):  # it changed while the page was made
            self.mark()

    def moved(self, before: GivenSession, after: GivenSession) -> None:
        """Note that a session goes on as another one, which was given the same pages."""
        given = self._sessions.pop(before, None)
        if given is not None:
            self._sessions[after] = given

    async def listen(
        self, ctx: ServerRequestContext[Any, Any], params: types.SubscriptionsListenRequestParams, client: str | None
    ) -> types.SubscriptionsListenResult:
        """Serve one stream of a client of this name (`subscriptions/listen`)."""
        with self._opened(client) as streams:
            return await streams.listen(ctx, params)

    def mark(self) -> None:
        """Note that the tools have changed. Callable at any time from the event loop's thread."""
        self._changed.set()

    async def announce(self) -> None:
        """Send the notifications, for as long as the server runs."""
        await self._readiness.settle()
        await self._attempt(self._start_streams)
        while True:
            await self._changed.wait()
            await anyio.sleep(_DEBOUNCE_SECONDS)
            self._changed = anyio.Event()
            await self._attempt(self._tell)
            await self._attempt(partial(self.also, self.publish))

    async def publish(self, event: ServerEvent) -> None:
        """Send an event to every open listen stream that asked for its kind."""
        for streams in list(self._streams.values()):
            if streams.open:
                await streams.bus.publish(event)

    def close(self) -> None:
        """End every open listen stream."""
        for streams in self._streams.values():
            streams.listen.close()

    @contextmanager
    def _opened(self, client: str | None) -> Generator[_Streams]:
        """Yield the streams of a client's name, which are forgotten with the last one that is open."""
        view = self._catalogue.view(client)
        streams = self._streams.get(client)
        if streams is None:
            streams = self._streams[client] = _Streams()
            streams.known = view if self._has_loaded else None
        streams.open += 1
        try:
            yield streams
        finally:
            streams.open -= 1
            if not streams.open and self._streams.get(client) is streams:
                del self._streams[client]

    async def _attempt(self, step: Callable[[], Awaitable[None]]) -> None:
        """Run a step. `tools/list` itself reports what is wrong with a list, and later changes still count."""
        try:
            await step()
        except Exception as error:
            _logger.debug("Changed tools could not be announced (%s).", type(error).__name__, exc_info=error)

    async def _start_streams(self) -> None:
        self._has_loaded = True
        await self.also(self.publish)
        for client, streams in self._streams.items():
            streams.known = self._catalogue.view(client)

    async def _tell(self) -> None:
        for client, streams in list(self._streams.items()):
            if streams.open:
                view, before = self._catalogue.view(client), streams.known
                streams.known = view
                from mcp.server.subscriptions import ToolsListChanged

                if before is None or await _whole(before) != await _whole(view):
                    await streams.bus.publish(ToolsListChanged())
        sessions = [session for session, given in list(self._sessions.items()) if await self._differs(given)]
        async with anyio.create_task_group() as group:
            for session in sessions:
                group.start_soon(_notify, session)

    async def _differs(self, given: _Given) -> bool:
        """Return whether a session would get other bytes than it was given, and has not heard so yet."""
        view = self._catalogue.view(given.client)
        for start, digest in sorted(given.pages.items()):
            page = await page_in_turns(view, start, composed=False)
            if page.digest != digest:
                is_new = given.announced != (start, page.digest)
                given.announced = (start, page.digest)
                return is_new
        return False


async def _nothing_else(_publish: Callable[[ServerEvent], Awaitable[None]]) -> None:
    pass


async def _whole(view: View) -> list[bytes]:
    """Return the digests of all pages of a list, as clients of 2026-07-28 get it."""
    found: list[bytes] = []
    start: int | None = 0
    while start is not None:
        page = await page_in_turns(view, start, composed=True)
        found.append(page.digest)
        start = None if page.next_cursor is None else page.end
    return found


async def _notify(session: GivenSession) -> None:
    try:
        with anyio.move_on_after(_SEND_TIMEOUT_SECONDS):
            await session.send_tool_list_changed()
    except Exception as error:  # noqa: BLE001 - one broken session must not end the announcements
        _logger.debug("A session could not be notified of changed tools (%s).", type(error).__name__)
