"""One pool of HTTP sessions for all transports that use HTTP.

Importing this module is cheap. The first session loads the engine (aiohttp, a third of a second).
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING, cast

from utcp_bridge.late.libraries import late_parts
from utcp_bridge.model import Source
from utcp_bridge.net.guard import Guard
from utcp_bridge.net.http_options import PoolOptions
from utcp_bridge.net.tls import late_certificates

if TYPE_CHECKING:
    import httpx2

    from utcp_bridge.net.http_session import HttpSession

__all__ = ["HttpPool"]


class HttpPool:
    """One `HttpSession` per manual, kept until the manual is deregistered or the pool closes."""

    def __init__(
        self,
        guard: Guard,
        *,
        max_response_bytes: int = 10 * 1024 * 1024,
        connect_timeout: float = 10.0,
        connections: int = 1_024,
        trust_env: bool = False,
        is_brief: bool = False,
    ) -> None:
        """With `is_brief`, few requests are expected: plain ones are sent without the engine (`FirstRequests`)."""
        self._guard = guard
        self._options = PoolOptions(max_response_bytes, connect_timeout, connections, trust_env)
        self._is_brief = is_brief
        self._sessions: dict[Source, HttpSession] = {}
        self._last: tuple[Source, HttpSession] | None = None
        """The session that was asked for last, because hashing and comparing a source takes longer than a look here."""

    def session(self, source: Source) -> HttpSession:
        """Return the session of a manual; the same one for an equal source."""
        last = self._last
        if last is not None and last[0] is source:
            return last[1]
        session = self._sessions.get(source)
        if session is None:
            session = self._sessions[source] = self._brief(source) if self._is_brief else self._made(source)
        self._last = source, session
        return session

    def _made(self, source: Source) -> HttpSession:
        with late_certificates(), late_parts():
            from utcp_bridge.net.http_session import HttpSession

        return HttpSession(self._guard, source, self._options)

    def _brief(self, source: Source) -> HttpSession:
        from utcp_bridge.net.heads.first_requests import FirstRequests

        if not FirstRequests.suits(source, self._options):
            return self._made(source)
        return cast("HttpSession", FirstRequests(self._guard, source, self._options, partial(self._made, source)))

    def token_transport(self, url: str, source: Source) -> httpx2.AsyncBaseTransport:
        """Return a transport for a token endpoint, with the pool and the guard of `source`.

        :raises PolicyError: a client secret may not be sent to `url`.
        """
        self._guard.check_token_url(url, source)
        return self.session(source).transport

    async def close_session(self, name: str, *, keep: Collection[Source] = ()) -> None:
        """Close the connections of the manual `name`, but not those of the sources in `keep`.

        Calls in flight end as ConnectionLost.
        """
        self._last = None
        former = [source for source in self._sessions if source.name == name and source not in keep]
        for session in [self._sessions.pop(source) for source in former]:
            await session.aclose()

    async def aclose(self) -> None:
        """Close every session."""
        while self._sessions:
            _, session = self._sessions.popitem()
            self._last = None
            await session.aclose()
