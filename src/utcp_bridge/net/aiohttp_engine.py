"""How aiohttp is used: how a client is made, how a body is read, and how exceptions map to our errors.

This module and the session are the only ones that use aiohttp. They are loaded with the first session, because aiohttp
takes a third of a second to import.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from io import SEEK_END, BytesIO
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlsplit

import aiohttp
import anyio
from aiohttp import hdrs, http_exceptions
from aiohttp.abc import AbstractResolver, ResolveResult

from utcp_bridge.errors import (
    ConfigError,
    ConnectionLost,
    DeadlineExceeded,
    MalformedReply,
    Rejected,
    ReplyTooLarge,
    Unreachable,
    UtcpError,
)
from utcp_bridge.foreign import is_heavy
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import large_reader
from utcp_bridge.net.collecting import Collecting
from utcp_bridge.net.gate.connection_watch import issued
from utcp_bridge.net.gate.shortage import descriptor_shortage
from utcp_bridge.net.gated_websocket import GatedWebSocket
from utcp_bridge.net.heads.idle_connections import IdleConnector
from utcp_bridge.net.heads.plain_requests import MAX_HEADER_BYTES, PlainReply, WholeReply
from utcp_bridge.net.heads.request_heads import USER_AGENT, unwritable
from utcp_bridge.net.reply import MAX_DETAIL_BYTES, RETRYABLE, Reply, retry_after_seconds
from utcp_bridge.tasks import heavy_turn, let_others_run
from utcp_bridge.urls import bare_url, redirected_to

if TYPE_CHECKING:
    from utcp_bridge.model import Source
    from utcp_bridge.net.guard import Guard

__all__ = [
    "AiohttpResolver",
    "ClientOptions",
    "ReplyBody",
    "Response",
    "check_encoding",
    "has_no_connection",
    "open_client",
    "payload",
    "read_reply",
    "socket_client",
    "too_large",
    "translate",
]

Client: TypeAlias = aiohttp.ClientSession  # noqa: TID251 - all clients are made here
"""The engine's client, which is made only here."""

_LARGE_BODY: Final = 1 << 20
_ERRORS_FROM: Final = 400
_WORDS_SECONDS: Final = 2.0
"""For the body of a refused handshake: a server that sends none must not hide the status."""
_TURN_BYTES: Final = 1 << 17
_DECODED: Final = frozenset({"", "identity", "none", "gzip", "deflate", "br", "zstd"})  # `none`: some event streams
_SWITCHING: Final = 101
_UNKNOWN_AUTHORITY: Final = frozenset(
    {2, 18, 19, 20, 21}
)  # X509_V_ERR_* of OpenSSL: it is self-signed, or its issuer is unknown
_NAME_CA: Final = (
    "If the service has an authority of its own, set `ca_cert` of the manual to its PEM file, or SSL_CERT_FILE for all."
)
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """How the client of one manual connects; times in seconds."""

    connect_timeout: float
    connections: int
    trust_env: bool
    ssl: ssl.SSLContext | bool


class AiohttpResolver(AbstractResolver):
    """Name resolution through the guard, for one manual. Hosts that are written as addresses are not resolved."""

    def __init__(self, guard: Guard, source: Source) -> None:
        self._guard = guard
        self._source = source

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the checked addresses. aiohttp connects to these only.

        :raises PolicyError: an address is not allowed.
        :raises Unreachable: the name has no address.
        """
        addresses = await self._guard.resolve(host, port, self._source)
        return [
            ResolveResult(hostname=host, host=item.host, port=item.port, family=item.family, proto=0, flags=0)
            for item in addresses
            if family in {socket.AF_UNSPEC, item.family}
        ]

    def open_socket(self, info: tuple[Any, ...]) -> socket.socket:
        """Return a socket for an address, just before aiohttp connects it.

        Hosts that are written as addresses come here without `resolve`, also long after their URL was checked.

        :raises PolicyError: the gate has not checked the address, and the manual may not use it.
        """
        family, kind, protocol, _, address = info
        host, port = str(address[0]), int(address[1])
        if not issued.has(host, port):
            self._guard.check_literal(host, port, self._source)
        return socket.socket(family, kind, protocol)

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""


def open_client(resolver: AiohttpResolver, options: ClientOptions) -> Client:
    """Return a client with its own pool of connections. It keeps no cookies and does not read the environment."""
    return _client(resolver, options)


def socket_client(resolver: AiohttpResolver, options: ClientOptions) -> Client:
    """Return a client for WebSockets, which stay open: they have a pool of their own, and take no place from requests.

    It refuses redirects, which aiohttp follows, and says what a server that refuses the handshake answers.
    """
    return _client(resolver, options, middlewares=(_check_handshake,))


def _client(
    resolver: AiohttpResolver, options: ClientOptions, *, middlewares: tuple[aiohttp.ClientMiddlewareType, ...] = ()
) -> Client:
    connector = IdleConnector(
        resolver=resolver,
        use_dns_cache=False,  # the guard keeps addresses, and forgets those that cannot be reached
        limit=options.connections,
        ssl=options.ssl,
        socket_factory=resolver.open_socket,
    )
    return Client(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={hdrs.USER_AGENT: USER_AGENT},
        skip_auto_headers=(hdrs.CONTENT_TYPE,),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=options.connect_timeout),
        trust_env=options.trust_env,
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
        middlewares=middlewares,
        ws_response_class=GatedWebSocket,
    )


async def _check_handshake(
    request: aiohttp.ClientRequest, handler: Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]]
) -> aiohttp.ClientResponse:
    """Return the response to a handshake, unless its status refuses it: aiohttp's own error lacks the body."""
    response = await handler(request)
    if response.status in _REDIRECTS:
        response.close()
        target = redirected_to(str(request.url), response.headers.get("Location"))
        raise Rejected(
            f"{bare_url(str(request.url))} redirects the WebSocket handshake to {target}. Redirects are not followed.",
            status=response.status,
        )
    if response.status >= _ERRORS_FROM:
        raise await _refused_handshake(response, str(request.url))
    return response


async def _refused_handshake(response: aiohttp.ClientResponse, url: str) -> Rejected:
    """Return the error for a handshake that was refused, with the server's words if they arrive in time."""
    detail = None
    try:
        with anyio.move_on_after(_WORDS_SECONDS):
            (await read_reply(ReplyBody(response), MAX_DETAIL_BYTES)).raise_for_status()
    except Rejected as error:
        detail = error.detail
    except UtcpError:
        pass  # the status is known, whatever happened to the body
    finally:
        response.close()
    return Rejected(
        f"{bare_url(url)} refused the WebSocket handshake with the status {response.status}.",
        status=response.status,
        detail=detail,
        retry_after=retry_after_seconds(response.headers.get("Retry-After"), response.headers.get("Date")),
        retryable=response.status in RETRYABLE,
    )


def has_no_connection(error: Exception) -> bool:
    """Return whether no address accepted a connection, so that nothing was sent."""
    return isinstance(error, aiohttp.ClientConnectorError) and not isinstance(
        error, aiohttp.ClientSSLError | aiohttp.ClientConnectorDNSError | aiohttp.ClientProxyConnectionError
    )


def payload(body: bytes | None) -> bytes | BytesIO | None:
    """Return the body; a large one as a file, because the engine writes bytes in one piece and warns about that."""
    return BytesIO(body) if body is not None and len(body) > _LARGE_BODY else body


Response: TypeAlias = aiohttp.ClientResponse | PlainReply | WholeReply


class ReplyBody:
    """The decoded body of a response, as it arrives. Make it as soon as the response has arrived.

    Leaving it early needs `close`, which closes the connection.
    """

    __slots__ = ("_ending", "_unpaused", "response", "url")

    def __init__(self, response: Response) -> None:
        self.response = response
        self.url = str(response.url)
        self._ending = _ending_of(response)
        self._unpaused = 0

    @property
    def is_whole(self) -> bool:
        """Whether no more bytes will arrive."""
        content = self.response.content
        return content.is_eof() and content.at_eof()

    async def next(self) -> bytes:
        """Return the next bytes; empty at the end.

        :raises ConnectionLost: the connection broke.
        :raises MalformedReply: the bytes are not HTTP or cannot be decompressed.
        """
        if self._unpaused >= _TURN_BYTES:  # what is only to be decompressed arrives without a turn of the event loop
            self._unpaused = 0
            await let_others_run()
        try:
            chunk = await self.response.content.readany()
        except Exception as error:
            raise translate(error, self.url) from error
        if not chunk:
            self.check_end()
        self._unpaused += len(chunk)
        return chunk

    def close(self) -> None:
        """Close the connection, unless the body has ended."""
        self.response.close()

    def check_end(self) -> None:
        """Check how a connection ended whose end is the end of the body: aiohttp does not report that it broke.

        :raises ConnectionLost: it broke.
        """
        if self._ending is not None and self._ending.done() and _failure_of(self._ending) is not None:
            raise ConnectionLost(f"The connection to {_host_of(self.url)} broke before the reply was complete.")


def _ending_of(response: Response) -> asyncio.Future[None] | None:
    """Return the end of the connection if nothing else ends the body: it has no length and no chunks."""
    headers = response.headers
    if hdrs.CONTENT_LENGTH in headers or hdrs.TRANSFER_ENCODING in headers:
        return None
    connection = response.connection
    ending = None if connection is None or connection.protocol is None else connection.protocol.closed
    if ending is not None:
        ending.add_done_callback(_failure_of)  # a failure that nobody asks for would be logged
    return ending


def _failure_of(ending: asyncio.Future[None]) -> BaseException | None:
    return None if ending.cancelled() else ending.exception()


async def _read_on(body: ReplyBody, whole: BytesIO, limit: int, manual: str) -> bytes:
    """Add the rest of the body to its beginning and return it, of an error the beginning. A large one waits.

    While it waits, its bytes are in memory once, and `getvalue` does not copy them.

    :raises ReplyTooLarge: it is above `limit` bytes; the rest is not read.
    """
    is_error = body.response.status >= _ERRORS_FROM
    more = whole.seek(0, SEEK_END)
    with Collecting(manual) as place:
        while more:
            if is_error and whole.tell() > MAX_DETAIL_BYTES:
                body.close()
                break
            if whole.tell() > limit:
                raise too_large(body.response, limit)
            await place.grow(more)
            more = whole.write(await body.next())
        return whole.getvalue()


async def read_reply(body: ReplyBody, limit: int, manual: str = "") -> Reply:
    """Return the complete reply to a call of `manual`. The connection is closed unless the whole reply was read."""
    response = body.response
    try:
        data = await body.next()
        if data and (len(data) > limit or not body.is_whole):
            whole, data = BytesIO(data), b""
            data = await _read_on(body, whole, limit, manual)
        else:
            body.check_end()
    except BaseException:
        body.close()
        raise
    if is_heavy(data) and large_reader.get() is None:
        await heavy_turn()
    return Reply(response.status, response.headers, data, body.url, limit)


def too_large(response: Response, limit: int) -> ReplyTooLarge:
    """Return the error for a body above `limit` bytes."""
    return ReplyTooLarge(
        f"{bare_url(str(response.url))} returned more than {limit} bytes.",
        remedy="Ask for less, or raise `max_reply_bytes`.",
    )


def check_encoding(response: Response) -> None:
    """Check that the engine can decode the Content-Encoding.

    :raises MalformedReply: it cannot.
    """
    encoding = response.headers.get(hdrs.CONTENT_ENCODING)
    if encoding is not None and encoding.strip().lower() not in _DECODED:
        response.close()
        raise MalformedReply(f"{bare_url(str(response.url))} returned the unknown Content-Encoding {encoding[:40]!r}.")


def translate(error: Exception, url: str) -> UtcpError:
    """Map an aiohttp or asyncio exception to a `UtcpError`, by `_TABLE`."""
    if isinstance(error, UtcpError):
        return error
    if shortage := descriptor_shortage(error):
        return shortage
    for kinds, ours in _TABLE:
        if isinstance(error, kinds):
            return ours(error, url)
    is_cut = isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError | ConnectionResetError)
    remedy = _perhaps_tls(url) if is_cut else None
    return ConnectionLost(f"The connection to {_host_of(url)} broke before the reply was complete.", remedy=remedy)


def _perhaps_tls(url: str) -> str | None:
    """Return what to do about a service that does not reply in HTTP, if its URL asks for no TLS."""
    return "If the service expects TLS at this port, write https:// in its URL." if url[:5] == "http:" else None


def _no_handshake(error: Exception, url: str) -> UtcpError:
    """Return the error for an answer below 400 that is not a WebSocket."""
    status: int = getattr(error, "status", 0)
    if status == _SWITCHING:
        return Rejected(
            f"{bare_url(url)} accepted the WebSocket handshake with headers that are not valid.", status=status
        )
    return Rejected(
        f"{bare_url(url)} answered the WebSocket handshake with the status {status}, which opens no WebSocket.",
        status=status,
    )


def _no_connection(error: Exception, url: str) -> UtcpError:
    certificate = getattr(error, "certificate_error", None)
    remedy = _NAME_CA if getattr(certificate, "verify_code", None) in _UNKNOWN_AUTHORITY else None
    if isinstance(error, aiohttp.ClientConnectorSSLError) and certificate is None:
        remedy = "Check the port. If the service has no TLS, write http:// in its URL."
    return Unreachable(f"No connection to {_host_of(url)}: {_connect_reason(error)}.", remedy=remedy)


def _unusable_url(_error: Exception, _url: str) -> UtcpError:
    return ConfigError("The URL of a request cannot be used.", remedy="Write http(s)://host[:port]/path.")


def _timed_out(_error: Exception, url: str) -> UtcpError:
    return DeadlineExceeded(f"{_host_of(url)} did not reply in time.")


def _refused_request(_error: Exception, url: str) -> UtcpError:
    return unwritable(url)


def _broken_answer(error: Exception, url: str) -> UtcpError:
    """Return the error for bytes that are not HTTP, or that stopped arriving."""
    # aiohttp's parser in Python gives its own errors to who waits for a body
    cause = error if isinstance(error, http_exceptions.HttpProcessingError) else error.__cause__
    if isinstance(cause, http_exceptions.HttpProcessingError) and cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, http_exceptions.ContentEncodingError):
        return MalformedReply(f"{bare_url(url)} returned a body that cannot be decompressed.")
    if isinstance(cause, http_exceptions.LineTooLong):
        return ReplyTooLarge(f"{bare_url(url)} returned headers above {MAX_HEADER_BYTES} bytes.")
    if isinstance(error, aiohttp.ClientPayloadError) and str(error) != str(cause):
        # the parser's own errors have the words of their cause, and the end of the connection has others
        return ConnectionLost(f"The connection to {_host_of(url)} broke before the reply was complete.")
    if isinstance(cause, http_exceptions.BadHttpMessage) and not isinstance(cause, http_exceptions.BadStatusLine):
        return MalformedReply(f"{bare_url(url)} returned bytes that are not HTTP: a header or a chunk is not valid.")
    return MalformedReply(f"{bare_url(url)} returned bytes that are not HTTP.", remedy=_perhaps_tls(url))


def _connect_reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy returned {error.status}"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        certificate = error.certificate_error
        return f"its certificate is not accepted ({getattr(certificate, 'verify_message', 'not valid')})"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return "the TLS handshake failed"
    if isinstance(error, aiohttp.ClientConnectorError):
        return os.strerror(error.os_error.errno) if error.os_error.errno else "the connection failed"
    return "it took too long"


def _host_of(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2] or "the upstream"


# The first matching row counts, so subclasses come before their parents.
_TABLE: Final[tuple[tuple[tuple[type[Exception], ...], Callable[[Exception, str], UtcpError]], ...]] = (
    ((aiohttp.WSServerHandshakeError,), _no_handshake),
    ((aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError), _no_connection),
    (
        (aiohttp.ClientResponseError, aiohttp.ClientPayloadError, http_exceptions.HttpProcessingError),
        _broken_answer,
    ),
    ((aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError), _unusable_url),
    ((TimeoutError,), _timed_out),
    ((ValueError, TypeError), _refused_request),
)
