"""aiohttp beneath the HTTP seam: how a client is made, how a body is read, what its exceptions mean.

The only module besides the session that touches aiohttp, and loaded by the first request, never before:
aiohttp is a third of a second of start-up.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlsplit

import aiohttp
from aiohttp import hdrs, http_exceptions
from aiohttp.abc import AbstractResolver, ResolveResult
from multidict import CIMultiDict
from yarl import URL

from utcp_bridge import __version__
from utcp_bridge.errors import (
    ConfigError,
    ConnectionLost,
    DeadlineExceeded,
    InvalidArguments,
    MalformedReply,
    PolicyError,
    Rejected,
    ReplyTooLarge,
    Unreachable,
    UtcpError,
)
from utcp_bridge.net.preview import NativeRequest
from utcp_bridge.net.reply import Reply
from utcp_bridge.placement.request import RequestParts
from utcp_bridge.urls import bare_url

if TYPE_CHECKING:
    from utcp_bridge.model import Source
    from utcp_bridge.net.guard import Guard

__all__ = [
    "AiohttpResolver",
    "ClientOptions",
    "captured",
    "check_encoding",
    "framed",
    "open_client",
    "payload",
    "read_reply",
    "socket_client",
    "too_large",
    "translate",
]

Client: TypeAlias = aiohttp.ClientSession  # noqa: TID251 - all clients are made here
"""The engine's own client; made here and nowhere else."""

MAX_HEADER_BYTES: Final = 65536
_LARGE_BODY: Final = 1 << 20
_DECODED: Final = frozenset({"", "identity", "none", "gzip", "deflate", "br", "zstd"})  # `none`: event streams say it
_FRAMING: Final = frozenset({"content-length", "transfer-encoding", "connection", "upgrade", "expect"})
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_KEEP_METHOD: Final = frozenset({307, 308})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """How one manual's client connects; seconds and counts."""

    connect_timeout: float
    connections: int
    trust_env: bool
    ssl: ssl.SSLContext | bool


class AiohttpResolver(AbstractResolver):
    """Name resolution through the gate, for one manual. Addresses written as such never come here."""

    def __init__(self, guard: Guard, source: Source) -> None:
        self._guard = guard
        self._source = source

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The checked addresses; aiohttp connects to exactly these. Raises PolicyError, Unreachable."""
        addresses = await self._guard.resolve(host, port, self._source)
        return [
            ResolveResult(hostname=host, host=item.host, port=item.port, family=item.family, proto=0, flags=0)
            for item in addresses
            if family in {socket.AF_UNSPEC, item.family}
        ]

    async def close(self) -> None:
        """Nothing is held."""


def open_client(resolver: AiohttpResolver, options: ClientOptions) -> Client:
    """A client with its own pool. Nothing is remembered between requests: no cookies, no environment."""
    connector = aiohttp.TCPConnector(resolver=resolver, limit=options.connections, ssl=options.ssl)
    return _client(connector, options, owner=True)


def socket_client(client: Client, options: ClientOptions) -> Client:
    """A second client on the same pool for WebSocket handshakes, which aiohttp lets follow redirects."""
    assert client.connector is not None  # noqa: S101 - aiohttp sets it to None only on close
    return _client(client.connector, options, owner=False, middlewares=(_refuse_redirects,))


def _client(
    connector: aiohttp.BaseConnector,
    options: ClientOptions,
    *,
    owner: bool,
    middlewares: tuple[aiohttp.ClientMiddlewareType, ...] = (),
) -> Client:
    return Client(
        connector=connector,
        connector_owner=owner,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={hdrs.USER_AGENT: f"utcp-bridge/{__version__}"},
        skip_auto_headers=(hdrs.CONTENT_TYPE,),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=options.connect_timeout),
        trust_env=options.trust_env,
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
        middlewares=middlewares,
    )


async def _refuse_redirects(
    request: aiohttp.ClientRequest, handler: Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]]
) -> aiohttp.ClientResponse:
    response = await handler(request)
    if response.status in _REDIRECTS:
        response.close()
        raise Rejected(
            f"{bare_url(str(request.url))} answered the WebSocket handshake with a redirect.", status=response.status
        )
    return response


def framed(headers: Iterable[tuple[str, str]]) -> CIMultiDict[str]:
    """Headers for the engine, which frames the message itself and lets a name with a space through.

    A Content-Length of the caller's could split one request in two. A name that repeats keeps its first
    spelling, or the engine would drop all but the last. Raises InvalidArguments.
    """
    result: CIMultiDict[str] = CIMultiDict()
    spellings: dict[str, str] = {}
    for name, value in headers:
        lower = name.lower()
        if lower not in _FRAMING:
            if lower not in spellings and not _HEADER_NAME.fullmatch(name):
                raise InvalidArguments("A header name holds a character that may not stand there.")
            result.add(spellings.setdefault(lower, name), value)
    return result


def payload(body: bytes | None) -> bytes | BytesIO | None:
    """Large bodies as a file: the engine writes bytes in one piece and warns about it."""
    return BytesIO(body) if body is not None and len(body) > _LARGE_BODY else body


class _Captured(Exception):
    """Stops a request when all of its head is known and nothing of it has gone out."""

    def __init__(self, request: aiohttp.ClientRequest) -> None:
        super().__init__()
        self.request = request


async def _capture(request: aiohttp.ClientRequest, _send: Any) -> aiohttp.ClientResponse:
    raise _Captured(request)


async def captured(client: Client, parts: RequestParts, target: URL, headers: CIMultiDict[str]) -> NativeRequest:
    """The request as the engine would write it, its own headers included."""
    try:
        await client.request(parts.method, target, headers=headers, data=payload(parts.body), middlewares=(_capture,))
    except _Captured as stopped:
        fields = tuple((name, value) for name, value in stopped.request.headers.items())
        messages = () if parts.body is None else (parts.body,)
        return NativeRequest(f"{parts.method} {parts.url}", fields, messages)
    except Exception as error:
        raise translate(error, parts.url) from error
    raise AssertionError("a middleware that raises lets no request through")


async def _read_body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The whole decoded body, counted while it comes. Raises ReplyTooLarge without reading on."""
    content = response.content
    chunk = await content.readany()
    if not chunk or (content.is_eof() and content.at_eof() and len(chunk) <= limit):
        return chunk
    chunks = [chunk]
    size = len(chunk)
    while chunk:
        if size > limit:
            response.close()
            raise too_large(response, limit)
        chunk = await content.readany()
        size += len(chunk)
        chunks.append(chunk)
    return b"".join(chunks)


async def read_reply(response: aiohttp.ClientResponse, limit: int) -> Reply:
    """The complete answer. The connection is closed unless all of it was read."""
    try:
        body = await _read_body(response, limit)
    except Exception as error:
        response.close()
        raise translate(error, str(response.url)) from error
    except BaseException:
        response.close()
        raise
    return Reply(response.status, response.headers, body, str(response.url))


def next_hop(response: aiohttp.ClientResponse, method: str) -> str:
    """Where a redirect leads, if it stays within the origin and keeps the method."""
    response.close()
    here = response.url
    try:
        there = here.join(URL(response.headers["Location"]))
        same_origin = (here.scheme, here.host, here.port) == (there.scheme, there.host, there.port)
    except ValueError:
        raise Rejected(f"{bare_url(str(here))} redirects to something unreadable.", status=response.status) from None
    if not same_origin or there.raw_user is not None:
        raise PolicyError(
            f"{bare_url(str(here))} redirects to {bare_url(str(there))}, which is another origin.",
            remedy="If that is intended, name the new place in the manual or the configuration.",
        )
    if response.status not in _KEEP_METHOD and method not in {"GET", "HEAD"}:
        raise Rejected(
            f"{bare_url(str(here))} answered {method} with a redirect to {bare_url(str(there))}.",
            status=response.status,
        )
    return str(there.with_fragment(None))


def too_large(response: aiohttp.ClientResponse, limit: int) -> ReplyTooLarge:
    """The error for a body above `limit` bytes."""
    return ReplyTooLarge(
        f"{bare_url(str(response.url))} answered more than {limit} bytes.",
        remedy="Ask for less, or raise the response size limit.",
    )


def check_encoding(response: aiohttp.ClientResponse) -> None:
    """Raise MalformedReply for a Content-Encoding that the engine would pass on undecoded."""
    encoding = response.headers.get(hdrs.CONTENT_ENCODING)
    if encoding is not None and encoding.strip().lower() not in _DECODED:
        response.close()
        raise MalformedReply(f"{bare_url(str(response.url))} answered in the encoding {encoding[:40]!r}.")


def translate(error: Exception, url: str) -> UtcpError:
    """Ours for one of aiohttp's exceptions, or of what it lets through. The one table of them."""
    if isinstance(error, UtcpError):
        return error
    for kinds, ours in _TABLE:
        if isinstance(error, kinds):
            return ours(error, url)
    return ConnectionLost(f"The connection to {_host_of(url)} broke before the answer was complete.")


def _refused_handshake(error: Exception, url: str) -> UtcpError:
    return Rejected(f"{bare_url(url)} refused the WebSocket handshake.", status=getattr(error, "status", 0))


def _no_connection(error: Exception, url: str) -> UtcpError:
    return Unreachable(f"No connection to {_host_of(url)}: {_connect_reason(error)}.")


def _unusable_url(_error: Exception, _url: str) -> UtcpError:
    return ConfigError("A URL cannot be used for a request.", remedy="Write http(s)://host[:port]/path.")


def _timed_out(_error: Exception, url: str) -> UtcpError:
    return DeadlineExceeded(f"{_host_of(url)} did not answer in time.")


def _unwritable(_error: Exception, url: str) -> UtcpError:
    return InvalidArguments(f"The request to {_host_of(url)} cannot be written: a header or the method is not valid.")


def _broken_answer(error: Exception, url: str) -> UtcpError:
    """Bytes that came and are no HTTP, or stopped coming."""
    cause = error.__cause__
    if isinstance(cause, http_exceptions.HttpProcessingError) and cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, http_exceptions.ContentEncodingError):
        return MalformedReply(f"{bare_url(url)} answered a body that does not decompress.")
    if isinstance(cause, http_exceptions.LineTooLong):
        return ReplyTooLarge(f"{bare_url(url)} answered headers above {MAX_HEADER_BYTES} bytes.")
    if isinstance(error, aiohttp.ClientPayloadError):
        return ConnectionLost(f"The connection to {_host_of(url)} broke before the answer was complete.")
    return MalformedReply(f"{bare_url(url)} answered something that is not HTTP.")


def _connect_reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy answered {error.status}"
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


# The first row that fits counts, so the narrower kinds stand first.
_TABLE: Final[tuple[tuple[tuple[type[Exception], ...], Callable[[Exception, str], UtcpError]], ...]] = (
    ((aiohttp.WSServerHandshakeError,), _refused_handshake),
    ((aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError), _no_connection),
    ((aiohttp.ClientResponseError, aiohttp.ClientPayloadError), _broken_answer),
    ((aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError), _unusable_url),
    ((TimeoutError,), _timed_out),
    ((ValueError, TypeError), _unwritable),
)
