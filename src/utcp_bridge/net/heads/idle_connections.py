"""aiohttp's pool of connections, which gives no request that must not be repeated to one that may be closing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from time import monotonic
from typing import Any, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from utcp_bridge.net.heads import idle_times
from utcp_bridge.net.heads.idle_times import REPEATABLE, IdleTimes

__all__ = ["IdleConnector", "TellingProtocol", "WatchedProtocol"]

_TLS_SCHEMES = frozenset({"https", "wss"})


class TellingProtocol(ResponseHandler):
    """aiohttp's protocol for clients, which tells the reader of a body that what came is not HTTP.

    aiohttp closes the connection, but tells only who waits for a head: its parser forgets the body when a chunk is
    broken, so the reader would wait until its deadline.
    """

    def data_received(self, data: bytes) -> None:
        """Let the parser read the data. If that broke the body, tell its reader a second time.

        A chunk that ended just before has woken the reader. It looks for data only and waits again, without a look at
        the error.
        """
        super().data_received(data)
        body = self._payload
        if body is not None and (failure := body.exception()) is not None and not body.is_eof():
            self._loop.call_soon(body.set_exception, failure)

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """Report an error to who waits for a head, and one of the parser also to the reader of a body."""
        if exc_cause is None:
            super().set_exception(exc)
        else:
            super().set_exception(exc, exc_cause)
        if not isinstance(exc, HttpProcessingError):
            return  # the connection ended: aiohttp knows whether the body has ended, too
        exc.__cause__ = exc_cause  # aiohttp sets it only if somebody waits already
        body = self._payload
        if body is not None and not body.is_eof() and body.exception() is None:
            failure = aiohttp.ClientPayloadError(str(exc_cause))  # the words of the cause: `aiohttp_engine` knows it so
            failure.__cause__ = exc_cause
            body.set_exception(failure)


class WatchedProtocol(TellingProtocol):
    """aiohttp's protocol for clients, which reports the end of its connection."""

    def __init__(self, *, loop: Any, lost: Callable[[Any], None]) -> None:
        super().__init__(loop=loop)
        self._lost = lost

    def connection_lost(self, exc: BaseException | None) -> None:
        """Report the end of the connection, whichever side closed it."""
        super().connection_lost(exc)
        self._lost(self)


class IdleConnector(aiohttp.TCPConnector):
    """The connections of one client, and how long its origins keep them (`idle`).

    Its pool (`_conns`) and the class of its connections (`_factory`) are not in aiohttp's documentation. Without them,
    it is aiohttp's connector.
    """

    def __init__(self, **options: Any) -> None:
        cast("Any", super()).__init__(keepalive_timeout=idle_times.IDLE_SECONDS, **options)
        self.idle = IdleTimes()
        vars(self)["_factory"] = partial(WatchedProtocol, loop=asyncio.get_running_loop(), lost=self.note_lost)

    async def connect(self, req: Any, traces: Any, timeout: Any) -> Connection:  # noqa: ASYNC109 - that of aiohttp
        """Return a connection for a request. Those that wait, but may be closing, are left for other requests."""
        aside = self._set_aside(req.connection_key, is_repeatable=req.method in REPEATABLE)
        if not aside:
            return await super().connect(req, traces, timeout)
        try:
            return await super().connect(req, traces, timeout)
        finally:
            if self.closed:
                for protocol, _ in aside:
                    protocol.close()
            else:
                self._conns[req.connection_key].extendleft(reversed(aside))

    def note_lost(self, protocol: Any) -> None:
        """Note how long a connection was idle, if it has ended while it waited in the pool."""
        for key, waiting in self._pool().items():
            for one, since in waiting:
                if one is protocol:
                    self.idle.of(key[:3]).closed(monotonic() - since)
                    return

    def note_announced(self, url: URL, headers: Mapping[str, str]) -> None:
        """Note what a reply from this URL says about idle connections."""
        origin = url.raw_host or "", url.port, url.scheme in _TLS_SCHEMES
        self.idle.announced(self.idle.of(origin), headers)

    def _pool(self) -> Mapping[Any, Any]:
        return vars(self).get("_conns") or {}

    def _set_aside(self, key: Any, *, is_repeatable: bool) -> list[tuple[ResponseHandler, float]]:
        """Close what cannot be used, and take out of the pool what this request must not use."""
        waiting = self._pool().get(key)
        if not waiting:
            return []
        idle, now = self.idle.of(key[:3]), monotonic()
        aside: list[tuple[ResponseHandler, float]] = []
        ready: list[tuple[ResponseHandler, float]] = []
        for protocol, since in waiting:
            if not protocol.is_connected():
                continue  # `note_lost` has noted it
            seconds = now - since
            taken = seconds < idle.at_once or idle.take(protocol.transport, seconds, is_repeatable=is_repeatable)
            if taken is False:
                protocol.close()
            else:
                (aside if taken is None else ready).append((protocol, since))
        waiting.clear()
        waiting.extend(ready)
        return aside
