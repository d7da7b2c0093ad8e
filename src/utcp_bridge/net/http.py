"""The one HTTP seam: pool, gate, redirects, credentials, limits and errors for every transport that speaks HTTP.

Two faces on one engine. `send` and `transport` take and give httpx2's objects, the interface that Authlib
and the MCP SDK plug into. `request` takes `RequestParts`: most calls are one GET or POST whose URL is
already encoded, and building httpx2's URL, header and request models for it costs more than sending it
(measured: two thirds of a call). `stream` and `websocket` are the long-lived forms.

Nothing heavy is imported here; the engine is loaded by the first request.
"""

from __future__ import annotations

import logging
import re
import ssl
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import anyio
import anyio.to_thread

from utcp_bridge.errors import InvalidArguments, PolicyError, Rejected, Unreachable
from utcp_bridge.model import Source, TlsOptions
from utcp_bridge.net.guard import Guard, is_own_origin
from utcp_bridge.net.preview import NativeRequest
from utcp_bridge.net.reply import Reply
from utcp_bridge.net.tls import tls_context
from utcp_bridge.placement.request import RequestParts
from utcp_bridge.urls import bare_url, endpoint_of_url

if TYPE_CHECKING:
    import aiohttp
    import httpx2
    from yarl import URL

    from utcp_bridge.auth.credentials import Additions, Credentials
    from utcp_bridge.net.aiohttp_engine import Client

__all__ = ["HttpPool", "HttpSession", "SocketOptions", "StreamReply"]

logger = logging.getLogger(__name__)

MAX_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_UNENCODED = re.compile(r"[^\x21-\x7e]")
_REMEMBERED_TARGETS = 1024
_WINDOW_BITS = 15


@dataclass(frozen=True, slots=True)
class SocketOptions:
    """How a WebSocket is to be opened.

    `ping_interval` (seconds) closes a connection that does not answer pings; somebody must be receiving.
    `compression` offers permessage-deflate.
    """

    protocols: tuple[str, ...] = ()
    max_message_bytes: int = 1 << 20
    ping_interval: float | None = None
    compression: bool = False


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """What all sessions of a pool share. Sizes in bytes, times in seconds."""

    max_response_bytes: int
    connect_timeout: float
    connections: int
    trust_env: bool


class HttpPool:
    """One `HttpSession` per manual, kept until its manual goes or the pool closes."""

    def __init__(
        self,
        guard: Guard,
        *,
        max_response_bytes: int = 10 * 1024 * 1024,
        connect_timeout: float = 10.0,
        connections: int = 100,
        trust_env: bool = False,
    ) -> None:
        self._guard = guard
        self._options = PoolOptions(max_response_bytes, connect_timeout, connections, trust_env)
        self._sessions: dict[Source, HttpSession] = {}

    def session(self, source: Source) -> HttpSession:
        """The session of a manual; the same one for the same source."""
        session = self._sessions.get(source)
        if session is None:
            session = self._sessions[source] = HttpSession(self._guard, source, self._options)
        return session

    def token_transport(self, url: str, source: Source) -> httpx2.AsyncBaseTransport:
        """The way to a token endpoint, with the pool and the gate of `source`. Raises PolicyError."""
        self._guard.check_token_url(url, source)
        return self.session(source).transport

    async def close_session(self, name: str) -> None:
        """Close what belongs to the manual `name`; calls in flight end as ConnectionLost."""
        for source in [source for source in self._sessions if source.name == name]:
            await self._sessions.pop(source).aclose()

    async def aclose(self) -> None:
        """Close every session."""
        while self._sessions:
            _, session = self._sessions.popitem()
            await session.aclose()


class StreamReply:
    """An answer whose body is still coming. Leaving its context closes the upstream connection."""

    __slots__ = ("_response", "headers", "status", "url")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self.url = str(response.url)

    def __aiter__(self) -> StreamReply:
        return self

    async def __anext__(self) -> bytes:
        """The next decoded bytes as they come, in bounded pieces. Raises ConnectionLost, MalformedReply."""
        from utcp_bridge.net.aiohttp_engine import translate

        try:
            chunk = await self._response.content.readany()
        except Exception as error:
            raise translate(error, self.url) from error
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def read(self, limit: int) -> Reply:
        """The rest as a whole: an error's body, or an answer that is no stream after all. Raises ReplyTooLarge."""
        from utcp_bridge.net.aiohttp_engine import read_reply

        return await read_reply(self._response, limit)


class HttpSession:
    """All HTTP of one manual: one pool of connections, one policy."""

    def __init__(self, guard: Guard, source: Source, options: PoolOptions) -> None:
        self._guard = guard
        self._source = source
        self._options = options
        self._client: Client | None = None
        self._sockets: Client | None = None
        self._opening = anyio.Lock()
        self._closed = False
        self._targets: dict[tuple[str, str, bool], str] = {}
        self._fixed: dict[str, Any] = {"allow_redirects": False}
        if source.proxy is not None:
            self._fixed["proxy"] = source.proxy
        self._own: dict[str, Any] | None = None
        """What goes with requests to the manual's own origins in place of `_fixed`: a client certificate, a name."""

    async def request(
        self, parts: RequestParts, *, credentials: Credentials | None = None, max_bytes: int | None = None
    ) -> Reply:
        """Send one request and read its whole answer, at most `max_bytes` of it once decoded.

        Any status is an answer (`Reply.raise_for_status`). Redirects are followed within the origin.
        Raises PolicyError, Unreachable, ConnectionLost, MalformedReply, ReplyTooLarge, DeadlineExceeded.
        """
        from utcp_bridge.net.aiohttp_engine import read_reply

        response = await self._exchange(parts, credentials)
        return await read_reply(response, self._options.max_response_bytes if max_bytes is None else max_bytes)

    async def preview(self, parts: RequestParts, *, credentials: Credentials | None = None) -> NativeRequest:
        """What `request` would send first; nothing is asked of the network. Raises PolicyError, InvalidArguments."""
        from utcp_bridge.net.aiohttp_engine import captured, framed

        if credentials is not None:
            self._admit(parts.url, credentials)
            url, headers = credentials.preview().placed(parts.url, parts.headers)
            parts = RequestParts(parts.method, url, headers, parts.body)
        target = self._admit(parts.url, None)
        client = self._client or (await self._open_clients())[0]
        return await captured(client, parts, target, framed(parts.headers))

    async def send(
        self, request: httpx2.Request, *, credentials: Credentials | None = None, max_bytes: int | None = None
    ) -> Reply:
        """`request` for a caller that holds an httpx2 request."""
        from utcp_bridge.net.httpx_transport import parts_of

        return await self.request(await parts_of(request), credentials=credentials, max_bytes=max_bytes)

    @asynccontextmanager
    async def stream(
        self, request: RequestParts | httpx2.Request, *, credentials: Credentials | None = None
    ) -> AsyncGenerator[StreamReply]:
        """Send one request and give its answer while the body is coming; size limits are the caller's."""
        if not isinstance(request, RequestParts):
            from utcp_bridge.net.httpx_transport import parts_of

            request = await parts_of(request)
        response = await self._exchange(request, credentials)
        try:
            yield StreamReply(response)
        finally:
            response.close()

    @asynccontextmanager
    async def websocket(
        self,
        url: str,
        *,
        headers: Iterable[tuple[str, str]] = (),
        credentials: Credentials | None = None,
        options: SocketOptions | None = None,
    ) -> AsyncGenerator[aiohttp.ClientWebSocketResponse]:
        """An open WebSocket. Redirects are refused. Raises Rejected with the handshake's status."""
        parts, wanted = RequestParts("GET", url, list(headers)), options or SocketOptions()
        engine_options: dict[str, Any] = {
            "protocols": wanted.protocols,
            "max_msg_size": wanted.max_message_bytes,
            "heartbeat": wanted.ping_interval,
            "compress": _WINDOW_BITS if wanted.compression else 0,
        }
        connection = await self._connect_websocket(parts, credentials, engine_options)
        try:
            yield connection
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(1):
                await connection.close()

    @property
    def transport(self) -> httpx2.AsyncBaseTransport:
        """The session as an httpx2 transport: no credentials, no redirects, the same gate and limits."""
        from utcp_bridge.net.httpx_transport import EngineTransport

        return EngineTransport(self.open, self._options.max_response_bytes)

    async def open(self, parts: RequestParts) -> aiohttp.ClientResponse:
        """One exchange without redirects or credentials, for `transport`; the caller closes the response."""
        return await self._send(parts, parts.url, None)

    async def aclose(self) -> None:
        """Close all connections; the session cannot be used again."""
        self._closed = True
        for client in (self._sockets, self._client):
            if client is not None:
                await client.close()
        self._client = self._sockets = None

    async def _exchange(self, parts: RequestParts, credentials: Credentials | None) -> aiohttp.ClientResponse:
        """Redirects and one renewal of the token on a 401."""
        if credentials is None:
            return await self._follow(parts, None)
        self._admit(parts.url, credentials)
        added = await credentials.additions()
        response = await self._follow(parts, added)
        if response.status != 401:
            return response
        try:
            fresh = await credentials.renewed(added)
        except BaseException:
            response.close()
            raise
        if fresh is None:
            return response
        response.close()
        return await self._follow(parts, fresh)

    async def _follow(self, parts: RequestParts, added: Additions | None) -> aiohttp.ClientResponse:
        from utcp_bridge.net.aiohttp_engine import next_hop

        response = await self._send(parts, parts.url, added)
        for _ in range(MAX_REDIRECTS):
            if response.status not in _REDIRECTS or "Location" not in response.headers:
                return response
            response = await self._send(parts, next_hop(response, parts.method), added)
        if response.status not in _REDIRECTS:
            return response
        response.close()
        raise Rejected(f"{bare_url(parts.url)} redirects more than {MAX_REDIRECTS} times.", status=response.status)

    async def _send(self, parts: RequestParts, url: str, added: Additions | None) -> aiohttp.ClientResponse:
        """One request on the wire, one response's head back."""
        from utcp_bridge.net.aiohttp_engine import check_encoding, framed, payload, translate

        headers = parts.headers
        if added is not None:
            url, headers = added.placed(url, headers)
        target = self._admit(url, None)
        client = self._client or (await self._open_clients())[0]
        try:
            response = await client.request(
                parts.method, target, headers=framed(headers), data=payload(parts.body), **self._extras(target)
            )
        except Exception as error:
            raise translate(error, url) from error
        if "Content-Encoding" in response.headers:
            check_encoding(response)
        return response

    async def _connect_websocket(
        self, parts: RequestParts, credentials: Credentials | None, options: dict[str, Any]
    ) -> aiohttp.ClientWebSocketResponse:
        if credentials is None:
            return await self._handshake(parts, None, options)
        self._admit(parts.url, credentials)
        added = await credentials.additions()
        try:
            return await self._handshake(parts, added, options)
        except Rejected as error:
            fresh = await credentials.renewed(added) if error.status == 401 else None
            if fresh is None:
                raise
        return await self._handshake(parts, fresh, options)

    async def _handshake(
        self, parts: RequestParts, added: Additions | None, options: dict[str, Any]
    ) -> aiohttp.ClientWebSocketResponse:
        from utcp_bridge.net.aiohttp_engine import framed, translate

        url, headers = (parts.url, parts.headers) if added is None else added.placed(parts.url, parts.headers)
        target = self._admit(url, None)
        client = self._sockets or (await self._open_clients())[1]
        fixed = {name: value for name, value in self._extras(target).items() if name != "allow_redirects"}
        try:
            return cast(
                "aiohttp.ClientWebSocketResponse",
                await client.ws_connect(target, headers=framed(headers), **options, **fixed),
            )
        except Exception as error:
            raise translate(error, url) from error

    def _admit(self, url: str, credentials: Credentials | None) -> URL:
        """The URL as the engine reads it, after the gate's verdict on scheme, host and port.

        Verdicts are remembered: they depend on the manual alone. Names are judged once more, by address,
        when a connection is made.
        """
        from yarl import URL

        if _UNENCODED.search(url):
            raise InvalidArguments("A URL holds characters that must be percent-encoded.")
        try:
            target = URL(url, encoded=True)
            key = (target.scheme, target.raw_authority, credentials is not None)
            origin = self._targets.get(key) or self._judge(target, key)
        except ValueError:
            raise InvalidArguments("A URL cannot be read.") from None
        if credentials is not None:
            credentials.check(origin)
        return target

    def _judge(self, target: URL, key: tuple[str, str, bool]) -> str:
        if target.raw_user is not None or target.raw_password is not None:
            raise PolicyError("A URL holds a user name or password.", remedy="Use auth of the type basic instead.")
        if not target.raw_host:
            raise InvalidArguments("A URL lacks its host.")
        origin = self._guard.check_target(
            target.scheme, target.raw_host, target.port or 0, self._source, credentials=key[2]
        )
        if len(self._targets) >= _REMEMBERED_TARGETS:
            self._targets.clear()
        self._targets[key] = origin
        return origin

    def _extras(self, target: URL) -> dict[str, Any]:
        """A client certificate is a credential: a fetched manual's tools present it to their own origins alone."""
        if self._own is None or not is_own_origin(target.scheme, target.raw_host or "", target.port or 0, self._source):
            return self._fixed
        return self._own

    async def _open_clients(self) -> tuple[Client, Client]:
        from utcp_bridge.net import aiohttp_engine as engine

        async with self._opening:
            if self._closed:
                raise Unreachable(f"The connections of manual {self._source.name!r} are closed.")
            if self._client is None or self._sockets is None:
                tls = self._source.tls
                options = engine.ClientOptions(
                    connect_timeout=self._options.connect_timeout,
                    connections=self._options.connections,
                    trust_env=self._options.trust_env,
                    ssl=await _context(replace(tls, client_cert=None, client_key=None)),
                )
                if tls.client_cert is not None or tls.server_name is not None:
                    self._own = {**self._fixed, "ssl": await _context(tls), "server_hostname": tls.server_name}
                resolver = engine.AiohttpResolver(self._guard, _with_proxy_exempt(self._source))
                self._client = engine.open_client(resolver, options)
                self._sockets = engine.socket_client(self._client, options)
            return self._client, self._sockets


async def _context(tls: TlsOptions) -> ssl.SSLContext | bool:
    return await anyio.to_thread.run_sync(tls_context, tls)


def _with_proxy_exempt(source: Source) -> Source:
    """The proxy is the operator's own choice, and it checks addresses in the gate's stead."""
    if source.proxy is None:
        return source
    logger.info("Manual %r connects through a proxy: addresses are checked there.", source.name)
    return replace(source, exempt=source.exempt | {endpoint_of_url(source.proxy)})
