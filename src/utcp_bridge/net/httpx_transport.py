"""An HTTP session as an httpx2 transport, for libraries that bring their own protocol: Authlib and the MCP SDK."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Final

import anyio.lowlevel
import httpx2

from utcp_bridge.errors import ConnectionLost, DeadlineExceeded, MalformedReply, ReplyTooLarge, UtcpError
from utcp_bridge.foreign import StreamDecoder, json_line
from utcp_bridge.net.aiohttp_engine import ReplyBody, too_large
from utcp_bridge.net.collecting import Collecting
from utcp_bridge.placement.request import RequestParts

if TYPE_CHECKING:
    import aiohttp

    from utcp_bridge.auth.credentials import Additions, Credentials

__all__ = ["CredentialsAuth", "EngineTransport", "parts_of"]

# The engine sets these headers itself, or has already decoded what they describe.
_REQUEST_OWN = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding"})
_REPLY_OWN = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})
_PIECE_BYTES: Final = 4_096


async def parts_of(request: httpx2.Request) -> RequestParts:
    """Return an httpx2 request as plain data, with its body."""
    body = await request.aread()
    headers = [pair for pair in request.headers.multi_items() if pair[0].lower() not in _REQUEST_OWN]
    return RequestParts(request.method, str(request.url), headers, body or None)


class CredentialsAuth(httpx2.Auth):
    """Adds credentials to each request, and renews an access token once after a 401. The caller checks the origin."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """Yield the requests and receive their responses, as httpx2 asks for."""
        added = await self._credentials.additions()
        response = yield _with(request, added)
        if response.status_code == 401:
            fresh = await self._credentials.renewed(added)
            if fresh is not None:
                yield _with(request, fresh)


def _with(request: httpx2.Request, added: Additions) -> httpx2.Request:
    url, headers = added.placed(str(request.url), list(request.headers.multi_items()))
    request.url = httpx2.URL(url)
    request.headers = httpx2.Headers(headers)
    return request


class EngineTransport(httpx2.AsyncBaseTransport):
    """One exchange per request, without redirects and credentials.

    It raises httpx2's transport errors, which its callers handle; our error is the `__cause__`. An event stream may run
    without end, and a line of it has at most `max_bytes`. Any other reply ends at `max_bytes`. A large one takes the
    place of `manual`.
    """

    def __init__(
        self, send: Callable[[RequestParts], Awaitable[aiohttp.ClientResponse]], max_bytes: int, manual: str = ""
    ) -> None:
        self._send = send
        self._max_bytes = max_bytes
        self._manual = manual

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send the request and return its response while the body arrives."""
        try:
            response = await self._send(await parts_of(request))
        except UtcpError as error:
            raise _foreign(error)(str(error), request=request) from error
        kind = response.content_type
        headers = [pair for pair in response.raw_headers if pair[0].lower() not in _REPLY_OWN]
        form = _EventStream if kind == "text/event-stream" else _ReplyStream
        if kind == "application/json" or kind.endswith("+json"):
            form = _JsonStream
        stream = form(response, request, self._max_bytes, self._manual)
        return httpx2.Response(response.status, headers=headers, stream=stream, request=request)


class _ReplyStream(httpx2.AsyncByteStream):
    """A body of at most `limit` bytes, as it arrives."""

    def __init__(self, response: aiohttp.ClientResponse, request: httpx2.Request, limit: int, manual: str) -> None:
        self._response = response
        self._body = ReplyBody(response)
        self._request = request
        self._limit = limit
        self._manual = manual

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        while chunk := await self._next():
            size += len(chunk)
            self._check(size)
            yield chunk

    def _check(self, size: int) -> None:
        if size > self._limit:
            self._body.close()
            raise self._failed(too_large(self._response, self._limit))

    async def _next(self) -> bytes:
        try:
            return await self._body.next()
        except UtcpError as ours:
            raise self._failed(ours) from ours

    def _failed(self, ours: UtcpError) -> httpx2.RequestError:
        failure = _foreign(ours)(str(ours), request=self._request)
        failure.__cause__ = ours
        return failure

    async def aclose(self) -> None:
        self._body.close()


class _JsonStream(_ReplyStream):
    """JSON in one piece, as a strict parser reads it: see `utcp_bridge.foreign.json_line`."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        whole, place = BytesIO(), Collecting(self._manual)
        try:
            while more := whole.write(await self._next()):
                self._check(whole.tell())
                await place.grow(more)
            yield json_line(whole.getvalue(), self._response.charset)
        finally:
            place.release()


class _EventStream(_ReplyStream):
    """Events without end, in whole lines, each of at most `limit` bytes, as a strict parser reads them.

    Many short lines come in small pieces, because their reader does not let others run.
    """

    async def __aiter__(self) -> AsyncIterator[bytes]:
        rest, decoder, place = bytearray(), StreamDecoder(), Collecting(self._manual)
        try:
            while chunk := await self._next():
                text = decoder.feed(chunk).encode()
                end = max(text.rfind(b"\n"), text.rfind(b"\r")) + 1
                rest += text[:end] or text
                await place.grow(len(text))
                if end == 0:
                    self._check(len(rest))
                    continue
                for piece in _pieces(bytes(rest)):
                    yield json_line(piece)
                    await anyio.lowlevel.checkpoint()
                place.release()
                rest = bytearray(text[end:])
            rest += decoder.feed(b"", final=True).encode()
            yield json_line(bytes(rest))
        finally:
            place.release()


def _pieces(lines: bytes) -> Iterator[bytes]:
    """Yield whole lines, a few kilobytes of them at once."""
    start = 0
    while start < len(lines):
        end = lines.rfind(b"\n", start, start + _PIECE_BYTES) + 1 or lines.find(b"\n", start + _PIECE_BYTES) + 1
        yield lines[start : end or len(lines)]
        start = end or len(lines)


def _foreign(error: UtcpError) -> type[httpx2.RequestError]:
    if isinstance(error, ConnectionLost):
        return httpx2.ReadError
    if isinstance(error, MalformedReply | ReplyTooLarge):
        return httpx2.RemoteProtocolError
    return httpx2.ReadTimeout if isinstance(error, DeadlineExceeded) else httpx2.ConnectError
