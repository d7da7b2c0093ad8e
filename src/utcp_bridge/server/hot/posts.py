"""Hot requests over HTTP, taken from uvicorn's protocol as soon as their bodies are there, ahead of ASGI.

A request is taken in two steps. Its head says whether it may be hot: one plain POST to the endpoint that the checks of
`HttpFront` let in, with a small body of JSON and with every header once. Anything else goes to the application at
once, so that a request is refused as early as without the front. Its body then says whether it is hot (`calls.py`),
and agrees with the headers that repeat its parts; otherwise the application gets it, with its body.

Until 2025-11-25 a client that disconnects does not cancel its calls. Since 2026-07-28 it does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, Protocol

import anyio
from mcp.server.runner import modern_error_data
from mcp.shared.dispatcher import CallOptions
from mcp.shared.exceptions import NoBackChannelError
from mcp.shared.inbound import ERROR_CODE_HTTP_STATUS, MCP_PARAM_HEADER_PREFIX, decode_header_value
from mcp.shared.transport_context import TransportContext
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from pydantic_core import from_json
from starlette.requests import Request

from utcp_bridge.model import CALLER, JsonObject
from utcp_bridge.server.hot.calls import HotCalls, HotConnection
from utcp_bridge.server.hot.requests import MAX_HOT_BYTES, HotRequest, hot_request
from utcp_bridge.server.replies import Accepted, AsgiApp, Header, McpReply, Receive, Scope, Send, is_json, read_accept
from utcp_bridge.tasks import scope_until

__all__ = ["HotPosts"]

_PARAM: Final = MCP_PARAM_HEADER_PREFIX.lower().encode()
_COLD: Final = frozenset(
    {b"origin", b"expect", b"upgrade", b"transfer-encoding", b"content-encoding", b"last-event-id"}
)
"""Headers of requests that the application serves."""
_TRANSPORT: Final = TransportContext(kind="streamable-http", can_send_request=False)
_OK: Final = 200


class Entrance(Protocol):
    """The checks that every request passes, and what counts and ends those in flight (`HttpFront`)."""

    def lets_in(self, headers: list[Header]) -> bool:
        """Return whether a request passes every check, and so would reach the endpoint as it is."""
        ...

    def expect(self, number: int = 1) -> None:
        """Count a request in flight whose body has not come yet, or stop to count it."""
        ...

    def caller_of(self, scope: Scope) -> str:
        """Return what distinguishes the client of a request from others."""
        ...

    async def serve(self, scope: Scope, receive: Receive, send: Send, app: AsgiApp) -> None:
        """Serve a request that was let in. It counts as in flight, and ends with the server."""
        ...


class SessionEndpoint(Protocol):
    """The endpoint of MCP (`McpEndpoint`)."""

    async def serve_message(
        self, message: Any, scope: Scope, send: Send, accepted: Accepted, version: str | None
    ) -> None:
        """Serve a message of the handshake era."""
        ...

    def kept_alive(self, reply: McpReply) -> AbstractContextManager[None]:
        """Let a reply that is silent for long have signs of life, during the block."""
        ...


class HotPosts:
    """Takes hot requests of a server over HTTP (`net.asgi_server.Ahead`).

    `schema_with_headers` returns the input schema of a tool of which clients repeat arguments in headers.
    """

    def __init__(
        self,
        calls: HotCalls,
        schema_with_headers: Callable[[str], JsonObject | None],
        front: Entrance,
        endpoint: SessionEndpoint,
        path: str,
    ) -> None:
        self._calls = calls
        self._schema_with_headers = schema_with_headers
        self._front = front
        self._endpoint = endpoint
        self._path = path

    def may_take(self, scope: Scope) -> bool:
        """Return whether the head of a request lets it be hot. It then counts as in flight until `let_go`."""
        if scope["method"] != "POST" or scope["path"] != self._path or not self._calls.may_answer:
            return False
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if len(headers) != len(scope["headers"]) or not _is_plain(headers) or not self._front.lets_in(scope["headers"]):
            return False
        self._front.expect()
        return True

    def let_go(self) -> None:
        """Stop counting a request that was let in: it is taken, served by the application, or lost."""
        self._front.expect(-1)

    def take(self, scope: Scope, body: bytes) -> _Post | None:
        """Return what answers a request; None if the application does."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        try:
            message = from_json(body)
        except ValueError:
            return None
        request = hot_request(message)
        if request is None:
            return None
        accepted = read_accept(value for name, value in headers.items() if name == b"accept")
        version = _text(headers, b"mcp-protocol-version")
        if version is None or version in HANDSHAKE_PROTOCOL_VERSIONS:
            if request.version is not None:
                return None
            return _Post(
                self, lambda scope, send: self._endpoint.serve_message(message, scope, send, accepted, version)
            )
        envelope = self._envelope(request, headers, version)
        if envelope is None:
            return None
        call = _ModernCall(self._calls, self._endpoint, request, envelope, accepted)
        return _Post(self, call.serve, call.scope)

    def _envelope(self, request: HotRequest, headers: Mapping[bytes, bytes], version: str) -> tuple[Any, Any] | None:
        """Return what the client of a request of 2026-07-28 says of itself; None if the SDK has to look at it."""
        if request.version != version or request.token is not None:
            return None
        if _text(headers, b"mcp-method") != request.method:
            return None
        if request.method == "tools/call":
            name: str = (request.params or {})["name"]
            if decode_header_value(_text(headers, b"mcp-name")) != name:
                return None
            if self._schema_with_headers(name) is not None:
                return None
        return self._calls.envelope_of(request)

    def serve(self, scope: Scope, receive: Receive, send: Send, app: AsgiApp) -> Awaitable[None]:
        """Serve a request as the front does, by another application."""
        CALLER.set(self._front.caller_of(scope))
        return self._front.serve(scope, receive, send, app)


@dataclass(slots=True)
class _Post:
    """A request that was taken: an ASGI application for it alone."""

    posts: HotPosts
    answer: Callable[[Scope, Send], Awaitable[None]]
    scope: anyio.CancelScope | None = None
    """What a client that disconnects cancels."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def answered(scope: Scope, _receive: Receive, send: Send) -> None:
            await self.answer(scope, send)

        await self.posts.serve(scope, receive, send, answered)

    def disconnected(self) -> None:
        """Note that the client has closed the connection."""
        if self.scope is not None:
            self.scope.cancel()


class _ModernCall:
    """A request of 2026-07-28, and what the SDK's handlers see of its way: it has no way back but its response."""

    message_metadata = None
    can_send_request = False
    transport = _TRANSPORT

    def __init__(
        self,
        calls: HotCalls,
        endpoint: SessionEndpoint,
        request: HotRequest,
        envelope: tuple[Any, Any],
        accepted: Accepted,
    ) -> None:
        self.scope = scope_until()
        self.request_id = request.ident
        self._calls = calls
        self._endpoint = endpoint
        self._request = request
        self._envelope = envelope
        self._accepted = accepted

    @property
    def cancel_requested(self) -> anyio.Event:
        """Part of the SDK's interface. The scope cancels the call."""
        return anyio.Event()

    async def serve(self, scope: Scope, send: Send) -> None:
        """Answer the request, unless the client disconnects before."""
        reply = McpReply(send, self._accepted, Request(scope))
        with self.scope, self._endpoint.kept_alive(reply):
            await reply.finish_plain(*await self._message(reply))

    async def _message(self, reply: McpReply) -> tuple[JsonObject, int]:
        """Return the response and its status."""
        request = self._request
        connection = HotConnection(self._calls.no_channel, str(request.version), self._envelope)
        try:
            result = await self._calls.respond(request, self, connection, reply.request)
        except Exception as raised:  # noqa: BLE001 - the SDK says which text of it clients may read
            error = modern_error_data(raised)
            written = error.model_dump(by_alias=True, mode="json", exclude_none=True)
            status = ERROR_CODE_HTTP_STATUS.get(error.code, _OK)
            return {"jsonrpc": "2.0", "id": request.ident, "error": written}, status
        finally:
            await connection.aclose()
        return {"jsonrpc": "2.0", "id": request.ident, "result": result}, _OK

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        del params, opts
        raise NoBackChannelError(method)

    async def notify(self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None) -> None:
        """Send nothing: requests that ask for progress or for logs are not hot."""

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Send nothing."""


def _is_plain(headers: Mapping[bytes, bytes]) -> bool:
    """Return whether a request with these headers may be hot."""
    length = headers.get(b"content-length", b"")
    if not length.isdigit() or int(length) > MAX_HOT_BYTES or not _COLD.isdisjoint(headers):
        return False
    if any(name.startswith(_PARAM) for name in headers):
        return False
    if not is_json(_text(headers, b"content-type")) or not read_accept([headers.get(b"accept", b"")]).json:
        return False
    version = _text(headers, b"mcp-protocol-version")
    if version in MODERN_PROTOCOL_VERSIONS:
        return headers.get(b"mcp-method") in {b"tools/call", b"tools/list"}
    return (version is None or version in HANDSHAKE_PROTOCOL_VERSIONS) and b"mcp-session-id" in headers


def _text(headers: Mapping[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")
