"""All HTTP of one manual: connections, guard, redirects, credentials, limits and errors.

`request` takes `RequestParts`. Most calls are one GET or POST whose URL is already encoded, and building httpx2's
URL, header and request models for it costs more than sending it (measured: two thirds of a call). `transport` is the
same session as an httpx2 transport, for Authlib and the MCP SDK. `stream` and `websocket` are the long-lived forms.

This module loads aiohttp. Import it at run time from `utcp_bridge.net.http` only, with the first session.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import aiohttp
import anyio
import anyio.to_thread
from multidict import CIMultiDict
from yarl import URL

from utcp_bridge.client_request import CLIENT_REQUEST
from utcp_bridge.errors import ConnectionLost, InvalidArguments, PolicyError, Rejected, Unreachable
from utcp_bridge.foreign import SURELY_LIGHT, is_heavy
from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.model import Source, TlsOptions
from utcp_bridge.net.aiohttp_engine import (
    AiohttpResolver,
    Client,
    ClientOptions,
    ReplyBody,
    Response,
    check_encoding,
    has_no_connection,
    open_client,
    payload,
    read_reply,
    socket_client,
    translate,
)
from utcp_bridge.net.guard import Guard, is_own_origin
from utcp_bridge.net.heads.idle_connections import IdleConnector
from utcp_bridge.net.heads.known_replies import KnownHead
from utcp_bridge.net.heads.plain_requests import Begun, PlainRequests, WholeReply, has_known_parts, is_plain
from utcp_bridge.net.heads.request_heads import framed
from utcp_bridge.net.http_options import SocketOptions, advice_on_proxy
from utcp_bridge.net.preview import NativeRequest
from utcp_bridge.net.reply import HeadFacts, Reply
from utcp_bridge.net.tls import tls_context
from utcp_bridge.placement.request import RequestParts
from utcp_bridge.tasks import seconds_left
from utcp_bridge.telemetry import trace_context
from utcp_bridge.urls import bare_url, endpoint_of_url

if TYPE_CHECKING:
    import asyncio

    import httpx2

    from utcp_bridge.auth.credentials import Additions, Credentials
    from utcp_bridge.net.gated_websocket import GatedWebSocket
    from utcp_bridge.net.heads.arrivals import Arrival
    from utcp_bridge.net.http_options import PoolOptions

__all__ = ["HttpSession", "StreamReply"]

_logger = logging.getLogger(__name__)

T = TypeVar("T")
MAX_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_KEEP_METHOD = frozenset({307, 308})
_UNENCODED = late_pattern(r"[^\x21-\x7e]")
_FORWARDABLE = late_pattern(rb"[\x20-\x7e]{1,4096}")
_CLOSING_SECONDS = 0.3
"""For the end of a WebSocket in both directions. It is outside the time of its call."""
_MAX_TARGETS = 1024
"""Verdicts of the guard that a session keeps."""
_WINDOW_BITS = 15


class StreamReply:
    """A reply whose body is still arriving. Leaving its context closes the upstream connection."""

    __slots__ = ("_body", "_manual", "headers", "status", "url")

    def __init__(self, response: Response, manual: str) -> None:
        self._body = ReplyBody(response)
        self._manual = manual
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self.url = self._body.url

    def __aiter__(self) -> StreamReply:
        return self

    async def __anext__(self) -> bytes:
        """Return the next decoded bytes as they arrive, in bounded pieces.

        :raises ConnectionLost: the connection broke.
        :raises MalformedReply: the bytes are not HTTP or cannot be decompressed.
        """
        chunk = await self._body.next()
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def read(self, limit: int) -> Reply:
        """Return the rest of the body as one reply: an error's body, or a reply that is not a stream.

        :raises ReplyTooLarge: the body is above `limit` bytes.
        """
        return await read_reply(self._body, limit, self._manual)


class HttpSession:
    """All HTTP of one manual: one pool of connections, one policy."""

    def __init__(self, guard: Guard, source: Source, options: PoolOptions) -> None:
        self._guard = guard
        self._source = source
        self._options = options
        self._client: Client | None = None
        self._sockets: Client | None = None
        self._plain: PlainRequests | None = None
        """For plain requests, which do not need the client's session; None if a proxy may be needed."""
        self._at_once: PlainRequests | None = None
        """The same, if requests go out as they are given, so that one may begin at once."""
        self._opening = anyio.Lock()
        self._closed = False
        self._targets: dict[tuple[str, str, bool], str] = {}
        self._fixed: dict[str, Any] = {"allow_redirects": False}
        if source.proxy is not None:
            self._fixed["proxy"] = source.proxy
        self._is_bare = source.deadline_header is None and not source.forward_headers
        """Whether requests go out as they are given, but for credentials and traces."""
        self._own: dict[str, Any] | None = None
        """Options for requests to the manual's own origins, instead of `_fixed`: client certificate, server name."""

    async def request(
        self, parts: RequestParts, *, credentials: Credentials | None = None, max_bytes: int | None = None
    ) -> Reply:
        """Send one request and read its whole reply, at most `max_bytes` after decoding.

        Replies of any status are returned (see `Reply.raise_for_status`). Redirects within the origin are followed.

        :raises PolicyError: the target is not allowed.
        :raises Unreachable: no connection.
        :raises ConnectionLost: the connection broke.
        :raises MalformedReply: the reply is not HTTP.
        :raises ReplyTooLarge: the reply is above the limit.
        :raises DeadlineExceeded: the time limit is over.
        """
        limit = self._options.max_response_bytes if max_bytes is None else max_bytes
        added = begun = trace = None
        url, plain = parts.url, self._at_once
        place = trace_context.plain_place() if credentials is None else None
        if place is trace_context.NOTHING:
            begun = None if plain is None else plain.begin(parts)
        elif place is not None:
            trace = place if place.__class__ is str else place.traceparent
            begun = None if plain is None else plain.begin(parts, trace)
            if begun is not None and trace is not place and place.note_request is not None:
                place.note_request(parts.method, url)
        elif (more := self._begun_with_more(parts, credentials)) is not None:
            begun, parts, added, url = more
        if begun is None or plain is None:
            return await self._whole(await self._exchange(parts, credentials), limit)
        used, waiter = begun
        try:
            known = None if waiter is None else await waiter
        except Exception:  # noqa: BLE001 - `send` receives it again, and decides what to do about it
            known = None
        except BaseException:
            used.connection.close()
            raise
        if known is not None:
            head, data = known
            facts: HeadFacts = head.facts or _facts_of(head)
            size = len(data)
            if facts.is_answer and size <= limit and (size <= SURELY_LIGHT or not is_heavy(data)):
                plain.park(used, is_known=True)
                return Reply(head.code, head.headers, data, url, limit, facts)
        sent = begun, trace, added
        return await self._whole(await self._response(parts, credentials, sent), limit)

    async def _response(
        self, parts: RequestParts, credentials: Credentials | None, sent: tuple[Begun, str | None, Additions | None]
    ) -> Response:
        """Return the response to a request that was sent, after redirects and with a renewed token.

        `sent` also has what was added to the request: its `traceparent`, and what credentials add.
        """
        begun, trace, added = sent
        if trace is not None:
            parts = RequestParts(parts.method, parts.url, [*parts.headers, ("traceparent", trace)], parts.body)
        response = await self._send(parts, parts.url, added, begun)
        if response.status in _REDIRECTS:
            response = await self._follow_on(response, parts, added)
        if credentials is None or added is None:
            return response
        return await self._with_renewed(response, parts, credentials, added)

    def _begun_with_more(
        self, parts: RequestParts, credentials: Credentials | None
    ) -> tuple[Begun, RequestParts, Additions | None, str] | None:
        """Send a request with its trace and credentials at once, if they are there and a connection waits.

        Return it with the request without credentials, what they add to it, and its URL with that.
        """
        traced, added, plain = parts, None, self._at_once
        if plain is None or (known := plain.origin_of(parts.url)) is None:
            return None
        if trace_context.is_on() and (carried := trace_context.passed_on(parts.headers)):
            traced = RequestParts(parts.method, parts.url, [*parts.headers, *carried], parts.body)
        sent = traced
        if credentials is not None:
            origin = self._targets.get((*known, True))
            if origin is None or not credentials.allow(origin) or (added := credentials.held()) is None:
                return None
            sent = RequestParts(parts.method, *added.placed(parts.url, traced.headers), parts.body)
        begun = plain.begin(sent)
        if begun is None:
            return None
        if trace_context.is_on():
            trace_context.note_request(parts.method, parts.url)
        return begun, traced, added, sent.url

    async def reply_on(self, parts: RequestParts, transport: asyncio.Transport, arrival: Arrival, limit: int) -> Reply:
        """Return the reply to a request without credentials that `FirstRequests` has written to a connection.

        :raises UtcpError: as `request`.
        """
        await self._open_clients()
        if self._plain is None:  # aiohttp has another form than expected
            if parts.method != "GET":
                raise ConnectionLost("The reply to a request could not be read. The service may have received it.")
            return await self.request(parts, max_bytes=limit)
        begun = self._plain.take_over(self._admit(parts.url, None), transport, arrival)
        response = await self._send(parts, parts.url, None, begun)
        if response.status in _REDIRECTS:
            response = await self._follow_on(response, parts, None)
        return await self._whole(response, limit)

    async def _whole(self, response: Response, limit: int) -> Reply:
        """Return the whole reply of a response."""
        if type(response) is WholeReply and len(response.data) <= limit and not is_heavy(response.data):
            return Reply(response.status, response.headers, response.data, str(response.url), limit)
        return await read_reply(ReplyBody(response), limit, self._source.name)

    async def preview(self, parts: RequestParts, *, credentials: Credentials | None = None) -> NativeRequest:
        """Return what `request` would send first. Nothing goes out to the network.

        :raises PolicyError: the target is not allowed.
        :raises InvalidArguments: the request cannot be written.
        """
        if credentials is not None:
            self._admit(parts.url, credentials)
            url, headers = credentials.preview().placed(parts.url, parts.headers)
            parts = RequestParts(parts.method, url, headers, parts.body)
        target = self._admit(parts.url, None)
        client = self._client or (await self._open_clients())[0]
        return await _captured(client, parts, target, framed(parts.headers))

    @asynccontextmanager
    async def stream(
        self, request: RequestParts, *, credentials: Credentials | None = None
    ) -> AsyncGenerator[StreamReply]:
        """Send one request and yield its reply while the body arrives. The caller limits the size."""
        response = await self._exchange(request, credentials)
        try:
            yield StreamReply(response, self._source.name)
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
    ) -> AsyncGenerator[GatedWebSocket]:
        """Open a WebSocket. Redirects are refused.

        :raises Rejected: the handshake failed; `status` is its HTTP status.
        """
        parts, wanted = RequestParts("GET", url, list(headers)), options or SocketOptions()
        if trace_context.is_on():
            parts = _traced(parts)
        engine_options: dict[str, Any] = {
            "decode_text": wanted.decode_text,
            "protocols": wanted.protocols,
            "max_msg_size": wanted.max_message_bytes,
            "heartbeat": wanted.ping_interval,
            "compress": _WINDOW_BITS if wanted.compression else 0,
        }
        connection = await self._connect_websocket(parts, credentials, engine_options)
        try:
            yield connection
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(_CLOSING_SECONDS):
                await connection.close()

    @property
    def transport(self) -> httpx2.AsyncBaseTransport:
        """The session as an httpx2 transport: without credentials and redirects, with the same guard and limits."""
        from utcp_bridge.net.httpx_transport import EngineTransport

        return EngineTransport(self.open, self._options.max_response_bytes, self._source.name)

    async def open(self, parts: RequestParts) -> aiohttp.ClientResponse:
        """Send one request without redirects or credentials, for `transport`. The caller closes the response."""
        return await self._send_whole(parts, self._admit(parts.url, None), parts.headers)

    async def aclose(self) -> None:
        """Close all connections. The session cannot be used again."""
        self._closed = True
        if self._plain is not None:
            self._plain.close()
        for client in (self._sockets, self._client):
            if client is not None:
                await client.close()
        self._client = self._sockets = self._plain = self._at_once = None

    async def _exchange(self, parts: RequestParts, credentials: Credentials | None) -> Response:
        """Send the request, follow redirects, and renew the access token once after a 401."""
        if self._source.deadline_header is not None:
            parts = self._timed(parts, self._source.deadline_header)
        if trace_context.is_on():
            parts = _traced(parts)
        if credentials is None:
            response = await self._send(parts, parts.url, None)
            return response if response.status not in _REDIRECTS else await self._follow_on(response, parts, None)
        self._admit(parts.url, credentials)
        added = await credentials.additions()
        return await self._with_renewed(await self._follow(parts, added), parts, credentials, added)

    async def _with_renewed(
        self, response: Response, parts: RequestParts, credentials: Credentials, added: Additions
    ) -> Response:
        """Return a response, or after a 401, that of the same request with a renewed access token, if there is one."""
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

    def _timed(self, parts: RequestParts, name: str) -> RequestParts:
        """Add the time that the call has left in the header of this name, if the request has none.

        It is in seconds, such as `12.345`. If the header's name ends with `-ms`, it is in whole milliseconds.
        """
        left = seconds_left()
        if left is None or any(known.lower() == name.lower() for known, _ in parts.headers):
            return parts
        text = str(max(1, int(left * 1000))) if name.lower().endswith("-ms") else f"{left:.3f}"
        return replace(parts, headers=[*parts.headers, (name, text)])

    def _with_forwarded(self, headers: list[tuple[str, str]], target: URL) -> list[tuple[str, str]]:
        """Add the headers of the client's request that the operator names, for the manual's own origins alone.

        A header that the request has already stays. The client's one is then not added.
        """
        if not is_own_origin(target.scheme, target.raw_host or "", target.port or 0, self._source):
            return headers
        headers = [*headers]
        known = {name.lower() for name, _ in headers}
        wanted = {name.lower().encode("ascii"): name for name in self._source.forward_headers}
        for name, value in CLIENT_REQUEST.get().headers:
            if name in wanted and wanted[name].lower() not in known and _FORWARDABLE.fullmatch(value):
                headers.append((wanted[name], value.decode("latin-1")))
        return headers

    async def _follow(self, parts: RequestParts, added: Additions | None) -> Response:
        return await self._follow_on(await self._send(parts, parts.url, added), parts, added)

    async def _follow_on(self, response: Response, parts: RequestParts, added: Additions | None) -> Response:
        """Follow the redirects from a response on."""
        for _ in range(MAX_REDIRECTS):
            if response.status not in _REDIRECTS or "Location" not in response.headers:
                return response
            response = await self._send(parts, _next_hop(response, parts.method), added)
        if response.status not in _REDIRECTS:
            return response
        response.close()
        raise Rejected(f"{bare_url(parts.url)} redirects more than {MAX_REDIRECTS} times.", status=response.status)

    async def _send(
        self, parts: RequestParts, url: str, added: Additions | None, begun: Begun | None = None
    ) -> Response:
        """Send one request and return the head of its response. `begun` is the request if it was sent already."""
        headers = parts.headers
        if added is not None:
            url, headers = added.placed(url, headers)
        target = self._admit(url, None)
        if self._source.forward_headers:
            headers = self._with_forwarded(headers, target)
        if self._client is None:
            await self._open_clients()
        plain = self._plain
        if plain is None or not is_plain(parts):
            return await self._send_whole(parts, target, headers)
        own = self._own if self._own is None or self._extras(target, self._own) is self._own else None

        try:
            response = await plain.send(parts, target, headers, own, begun)
            if self._is_bare:
                plain.remember(url, target, own)
        except Exception as error:  # noqa: BLE001 - translated
            response = await self._where_it_moved(target, error, partial(plain.send, parts, target, headers, own))
        if "Content-Encoding" in response.headers:
            check_encoding(response)
        return response

    async def _send_whole(
        self, parts: RequestParts, target: URL, headers: Iterable[tuple[str, str]]
    ) -> aiohttp.ClientResponse:
        """Send one request through the client's session."""
        client = self._client or (await self._open_clients())[0]
        connector = client.connector
        extras = self._fixed if self._own is None else self._extras(target, self._own)

        def attempt() -> Awaitable[aiohttp.ClientResponse]:
            return client.request(parts.method, target, headers=framed(headers), data=payload(parts.body), **extras)

        try:
            response = await attempt()
        except Exception as error:  # noqa: BLE001 - translated
            response = await self._where_it_moved(target, error, attempt)
        if isinstance(connector, IdleConnector):
            connector.note_announced(target, response.headers)
        if "Content-Encoding" in response.headers:
            check_encoding(response)
        return response

    async def _connect_websocket(
        self, parts: RequestParts, credentials: Credentials | None, options: dict[str, Any]
    ) -> GatedWebSocket:
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

    async def _handshake(self, parts: RequestParts, added: Additions | None, options: dict[str, Any]) -> GatedWebSocket:
        url, headers = (parts.url, parts.headers) if added is None else added.placed(parts.url, parts.headers)
        target = self._admit(url, None)
        client = self._sockets or (await self._open_clients())[1]
        extras = self._fixed if self._own is None else self._extras(target, self._own)
        fixed = {name: value for name, value in extras.items() if name != "allow_redirects"}

        def connect() -> Awaitable[GatedWebSocket]:
            return cast(
                "Awaitable[GatedWebSocket]",
                client.ws_connect(target, headers=framed(headers), **options, **fixed),
            )

        try:
            return await connect()
        except Exception as error:  # noqa: BLE001 - translated
            return await self._where_it_moved(target, error, connect)

    async def _where_it_moved(self, target: URL, error: Exception, attempt: Callable[[], Awaitable[T]]) -> T:
        """Connect once more if no address accepted a connection and the name has new ones since.

        :raises UtcpError: `error`, or what the second attempt raised, in our words.
        """
        host, port = target.raw_host or "", target.port or 0
        last = error
        try:
            if has_no_connection(error) and await self._guard.resolve_again(host, port, self._source):
                return await attempt()
        except Exception as another:  # noqa: BLE001 - translated
            last = another
        ours = translate(last, str(target))
        if isinstance(ours, Unreachable) and self._source.proxy is None:
            ours.remedy = ours.remedy or advice_on_proxy(target.scheme, host)
        raise ours from last

    def _admit(self, url: str, credentials: Credentials | None) -> URL:
        """Return the URL as the engine reads it, after the guard has checked its scheme, host and port.

        Verdicts are kept, because they depend only on the manual. When a connection is made, the guard checks the
        addresses of the name too.
        """
        if _UNENCODED.search(url):
            raise InvalidArguments("The URL of the request contains characters that must be percent-encoded.")
        try:
            target = URL(url, encoded=True)
            key = (target.scheme, target.raw_authority, credentials is not None)
            origin = self._targets.get(key) or self._judge(target, key)
        except ValueError:
            raise InvalidArguments("The URL of the request cannot be read.") from None
        if credentials is not None:
            credentials.check(origin)
        return target

    def _judge(self, target: URL, key: tuple[str, str, bool]) -> str:
        if target.raw_user is not None or target.raw_password is not None:
            raise PolicyError(
                "The URL of the request contains a user name or a password.",
                remedy="Use auth of the type basic instead.",
            )
        if not target.raw_host:
            raise InvalidArguments(
                "The URL of the request has no host.",
                remedy="Set `base_url` in the manual's entry, or give the argument that is the URL as a whole address.",
            )
        origin = self._guard.check_target(
            target.scheme, target.raw_host, target.port or 0, self._source, credentials=key[2]
        )
        if len(self._targets) >= _MAX_TARGETS:
            self._targets.clear()
        self._targets[key] = origin
        return origin

    def _extras(self, target: URL, own: dict[str, Any]) -> dict[str, Any]:
        """Return options for the engine. A client certificate is a credential: only the manual's own origins get it."""
        is_own = is_own_origin(target.scheme, target.raw_host or "", target.port or 0, self._source)
        return own if is_own else self._fixed

    async def _open_clients(self) -> tuple[Client, Client]:
        async with self._opening:
            if self._closed:
                raise Unreachable(f"The connections of manual {self._source.name!r} are closed.")
            if self._client is None or self._sockets is None:
                tls = self._source.tls
                options = ClientOptions(
                    connect_timeout=self._options.connect_timeout,
                    connections=self._options.connections,
                    trust_env=self._options.trust_env,
                    ssl=await _context(replace(tls, client_cert=None, client_key=None)),
                )
                if tls.client_cert is not None or tls.server_name is not None:
                    self._own = {**self._fixed, "ssl": await _context(tls), "server_hostname": tls.server_name}
                resolver = AiohttpResolver(self._guard, _with_proxy_exempt(self._source))
                self._client = open_client(resolver, options)
                self._sockets = socket_client(resolver, options)
                connector = self._client.connector
                is_direct = self._source.proxy is None and not options.trust_env
                if is_direct and isinstance(connector, IdleConnector) and has_known_parts():
                    self._plain = PlainRequests(connector, self._client.timeout)
                    self._at_once = self._plain if self._is_bare else None
            return self._client, self._sockets


def _traced(parts: RequestParts) -> RequestParts:
    """Note a request in the current span, and add the headers that carry the trace."""
    trace_context.note_request(parts.method, parts.url)
    headers = [*parts.headers, *trace_context.passed_on(parts.headers)]
    return RequestParts(parts.method, parts.url, headers, parts.body)


def _next_hop(response: Response, method: str) -> str:
    """Return the target of a redirect.

    :raises PolicyError: it leads to another origin.
    :raises Rejected: it cannot be read, or it would change the method.
    """
    response.close()
    here = response.url
    try:
        there = here.join(URL(response.headers["Location"]))
        same_origin = (here.scheme, here.host, here.port) == (there.scheme, there.host, there.port)
    except ValueError:
        raise Rejected(
            f"{bare_url(str(here))} redirects to a URL that cannot be read.", status=response.status
        ) from None
    if not same_origin or there.raw_user is not None:
        raise PolicyError(
            f"{bare_url(str(here))} redirects to {bare_url(str(there))}, which is another origin.",
            remedy="If it leads to a login, give the entry `auth`. If the address has changed, write the new URL.",
        )
    if response.status not in _KEEP_METHOD and method not in {"GET", "HEAD"}:
        raise Rejected(
            f"{bare_url(str(here))} redirects {method} to {bare_url(str(there))} without the status 307 or 308.",
            status=response.status,
        )
    return str(there.with_fragment(None))


class _Captured(Exception):
    """Stops a request when its head is complete and nothing has been sent."""

    def __init__(self, request: aiohttp.ClientRequest) -> None:
        super().__init__()
        self.request = request


async def _capture(request: aiohttp.ClientRequest, _send: Any) -> aiohttp.ClientResponse:
    raise _Captured(request)


def _facts_of(head: KnownHead) -> HeadFacts:
    """Note what a head says of its body, for all replies that have it."""
    facts = head.facts = HeadFacts(head.code, head.headers)
    return facts


async def _captured(client: Client, parts: RequestParts, target: URL, headers: CIMultiDict[str]) -> NativeRequest:
    """Return the request as the engine would write it, with the headers that the engine adds."""
    try:
        await client.request(parts.method, target, headers=headers, data=payload(parts.body), middlewares=(_capture,))
    except _Captured as stopped:
        fields = tuple((name, value) for name, value in stopped.request.headers.items())
        messages = () if parts.body is None else (parts.body,)
        return NativeRequest(f"{parts.method} {parts.url}", fields, messages)
    except Exception as error:
        raise translate(error, parts.url) from error
    raise AssertionError("the middleware stops every request")


async def _context(tls: TlsOptions) -> ssl.SSLContext | bool:
    return await anyio.to_thread.run_sync(tls_context, tls)


def _with_proxy_exempt(source: Source) -> Source:
    """Return the source with its proxy exempt. The operator chose the proxy, and the proxy checks addresses itself."""
    if source.proxy is None:
        return source
    _logger.info("Manual %r connects through a proxy. The proxy must check the addresses.", source.name)
    return replace(source, exempt=source.exempt | {endpoint_of_url(source.proxy)})
