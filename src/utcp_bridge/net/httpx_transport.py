"""An HTTP session as an httpx2 transport, for libraries that bring their own protocol: Authlib and the MCP SDK."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import httpx2

from utcp_bridge.errors import ConnectionLost, DeadlineExceeded, MalformedReply, ReplyTooLarge, UtcpError
from utcp_bridge.foreign import StreamDecoder, json_line
from utcp_bridge.net.aiohttp_engine import too_large, translate
from utcp_bridge.placement.request import RequestParts

if TYPE_CHECKING:
    import aiohttp

    from utcp_bridge.auth.credentials import Additions, Credentials

__all__ = ["CredentialsAuth", "EngineTransport", "parts_of"]

# The engine sets these headers itself, or has already decoded what they describe.
_REQUEST_OWN = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding"})
_REPLY_OWN = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})


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
    without end. Any other reply ends at `max_bytes`.
    """

    def __init__(self, send: Callable[[RequestParts], Awaitable[aiohttp.ClientResponse]], max_bytes: int) -> None:
        self._send = send
        self._max_bytes = max_bytes

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send the request and return its response while the body arrives."""
        try:
            response = await self._send(await parts_of(request))
        except UtcpError as error:
            raise _foreign(error)(str(error), request=request) from error
        kind = response.content_type
        endless = kind == "text/event-stream"
        headers = [pair for pair in response.raw_headers if pair[0].lower() not in _REPLY_OWN]
        body: httpx2.AsyncByteStream = _ReplyStream(response, request, None if endless else self._max_bytes)
        if endless or kind == "application/json" or kind.endswith("+json"):
            body = _ReadableJson(body, self._max_bytes, by_line=endless, charset=None if endless else response.charset)
        return httpx2.Response(response.status, headers=headers, stream=body, request=request)


class _ReplyStream(httpx2.AsyncByteStream):
    def __init__(self, response: aiohttp.ClientResponse, request: httpx2.Request, limit: int | None) -> None:
        self._response = response
        self._request = request
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        while chunk := await self._next():
            size += len(chunk)
            if self._limit is not None and size > self._limit:
                self._response.close()
                raise self._failed(too_large(self._response, self._limit))
            yield chunk

    async def _next(self) -> bytes:
        try:
            return await self._response.content.readany()
        except Exception as error:  # noqa: BLE001 - `translate` maps all of them
            ours = translate(error, str(self._response.url))
            raise self._failed(ours) from ours

    def _failed(self, ours: UtcpError) -> httpx2.RequestError:
        failure = _foreign(ours)(str(ours), request=self._request)
        failure.__cause__ = ours
        return failure

    async def aclose(self) -> None:
        self._response.close()


class _ReadableJson(httpx2.AsyncByteStream):
    """JSON, or events with JSON, as a strict parser reads it: see `utcp_bridge.foreign.json_line`.

    A line above `limit` bytes is passed on in pieces, and the reader refuses it.
    """

    def __init__(self, body: httpx2.AsyncByteStream, limit: int, *, by_line: bool, charset: str | None) -> None:
        self._body = body
        self._limit = limit
        self._by_line = by_line
        self._charset = charset

    async def __aiter__(self) -> AsyncIterator[bytes]:
        rest = bytearray()
        if not self._by_line:
            async for chunk in self._body:
                rest += chunk
            yield json_line(bytes(rest), self._charset)
            return
        decoder = StreamDecoder()
        async for chunk in self._body:
            text = decoder.feed(chunk).encode()
            end = max(text.rfind(b"\n"), text.rfind(b"\r")) + 1
            if end == 0 and len(rest) <= self._limit:
                rest += text
                continue
            rest += text[:end]
            yield json_line(bytes(rest))
            rest = bytearray(text[end:])
        rest += decoder.feed(b"", final=True).encode()
        yield json_line(bytes(rest))

    async def aclose(self) -> None:
        await self._body.aclose()


def _foreign(error: UtcpError) -> type[httpx2.RequestError]:
    if isinstance(error, ConnectionLost):
        return httpx2.ReadError
    if isinstance(error, MalformedReply | ReplyTooLarge):
        return httpx2.RemoteProtocolError
    return httpx2.ReadTimeout if isinstance(error, DeadlineExceeded) else httpx2.ConnectError
