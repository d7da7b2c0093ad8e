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
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import anyio
from mcp.server.runner import modern_error_data
from mcp.shared.inbound import ERROR_CODE_HTTP_STATUS, MCP_PARAM_HEADER_PREFIX, decode_header_value
from mcp.shared.transport_context import TransportContext
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from pydantic_core import from_json
from starlette.requests import Request

from utcp_bridge.access.admissions import Admission, admission_of, note_admission
from utcp_bridge.access.gatekeeper import Gatekeeper
from utcp_bridge.model import CALLER, RECEIVED_HEADERS, JsonObject
from utcp_bridge.server.hot.calls import HotCalls, HotConnection, OneWay
from utcp_bridge.server.hot.requests import MAX_HOT_BYTES, HotRequest, hot_request
from utcp_bridge.server.replies import Accepted, AsgiApp, Header, McpReply, Receive, Scope, Send, is_json, read_accept
from utcp_bridge.tasks import scope_until

__all__ = ["HotPosts"]

_PARAM: Final = MCP_PARAM_HEADER_PREFIX.lower().encode()
_COLD: Final = frozenset({
    b"origin", b"expect", b"upgrade", b"transfer-encoding", b"content-encoding", b"last-event-id",
    b"content-length", b"mcp-name",
})  # fmt: skip
"""Headers of requests that the application serves. The last two are examined apart: here they are there twice."""
_TRANSPORT: Final = TransportContext(kind="streamable-http", can_send_request=False)
_OK: Final = 200
_MAX_HEADS: Final = 256
_MAX_HEAD_BYTES: Final = 4_096
"""A longer head is examined each time."""


class Entrance(Protocol):
    """The checks that every request passes, and what counts and ends those in flight (`HttpFront`)."""

    def lets_in(self, headers: list[Header]) -> bool:
        """Return whether a request passes the checks of its headers but for who calls."""
        ...

    @property
    def keeper(self) -> Gatekeeper | None:
        """What recognises callers; None if anyone may call."""
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


@dataclass(frozen=True, slots=True)
class _Head:
    """What the headers of a request say that passed every check. `name` is its `Mcp-Name`."""

    accepted: Accepted
    version: str | None
    is_modern: bool
    method: str | None
    name: bytes | None = None
    admission: Admission | None = None
    """Who sends it; None if anyone may call."""


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
        self._heads: dict[tuple[Header, ...], _Head] = {}

    def may_take(self, scope: Scope) -> _Head | None:
        """Return the head of a request that may be hot. The request counts as in flight until `let_go`.

        Clients send the same headers again and again, but for a length and a name, so they are examined once.
        """
        if scope["method"] != "POST" or scope["path"] != self._path or not self._calls.may_answer:
            return None
        length = name = None
        others: list[Header] = []
        for header in scope["headers"]:
            if header[0] == b"content-length" and length is None:
                length = header[1]
            elif header[0] == b"mcp-name" and name is None:
                name = header[1]
            else:
                others.append(header)
        if length is None or not length.isdigit() or int(length) > MAX_HOT_BYTES:
            return None
        head = self._remembered(others)
        keeper = self._front.keeper
        if head is not None and keeper is not None:
            head = self._recognised(keeper, head, others, scope)
        if head is None:
            return None
        self._front.expect()
        return head if name is None else replace(head, name=name)

    def _remembered(self, headers: list[Header]) -> _Head | None:
        key = tuple(headers)
        head = self._heads.get(key)
        if head is None:
            if (head := self._examined(headers)) is None:
                return None
            if sum(len(header[0]) + len(header[1]) for header in headers) <= _MAX_HEAD_BYTES:
                if len(self._heads) >= _MAX_HEADS:
                    self._heads.clear()
                self._heads[key] = head
        return head

    def _recognised(self, keeper: Gatekeeper, head: _Head, headers: list[Header], scope: Scope) -> _Head | None:
        """Return the head with who sends it, which is noted in the scope; None if the application has to ask."""
        if scope["query_string"] or keeper.needed is not None:
            return None
        if admission_of(scope) is not None:  # judged just now, to choose the profile
            return head
        certificate = keeper.certificate_of(scope)
        admission = head.admission
        if admission is None or not keeper.still(admission, certificate):
            admission = keeper.known(headers, certificate)
            if admission is None:
                return None
            head = replace(head, admission=admission)
            if (key := tuple(headers)) in self._heads:
                self._heads[key] = head
        note_admission(scope, admission)
        return head

    def _examined(self, headers: list[Header]) -> _Head | None:
        """Return what the headers of a request say, if they pass every check; None if the application looks at them."""
        told = dict(headers)
        if len(told) != len(headers) or not _COLD.isdisjoint(told) or any(name.startswith(_PARAM) for name in told):
            return None
        accepted = read_accept([told.get(b"accept", b"")])
        version = _text(told, b"mcp-protocol-version")
        is_modern = version in MODERN_PROTOCOL_VERSIONS
        if not is_modern and not (version is None or version in HANDSHAKE_PROTOCOL_VERSIONS):
            return None
        method = _text(told, b"mcp-method")
        is_named = method in {"tools/call", "tools/list"} if is_modern else b"mcp-session-id" in told
        if not is_named or not accepted.json or not is_json(_text(told, b"content-type")):
            return None
        return _Head(accepted, version, is_modern, method) if self._front.lets_in(headers) else None

    def let_go(self) -> None:
        """Stop counting a request that was let in: it is taken, served by the application, or lost."""
        self._front.expect(-1)

    def take(self, head: _Head, body: bytes) -> _Post | None:
        """Return what answers a request; None if the application does."""
        try:
            message = from_json(body)
        except ValueError:
            return None
        request = hot_request(message)
        if request is None:
            return None
        accepted, version = head.accepted, head.version
        if not head.is_modern:
            if request.version is not None:
                return None
            return _Post(
                self, lambda scope, send: self._endpoint.serve_message(message, scope, send, accepted, version)
            )
        envelope = self._envelope(request, head)
        if envelope is None:
            return None
        call = _ModernCall(self._calls, self._endpoint, request, envelope, accepted)
        return _Post(self, call.serve, call.scope)

    def _envelope(self, request: HotRequest, head: _Head) -> tuple[Any, Any] | None:
        """Return what the client of a request of 2026-07-28 says of itself; None if the SDK has to look at it."""
        if request.version != head.version or request.token is not None or request.method != head.method:
            return None
        if request.method == "tools/call":
            name: str = (request.params or {})["name"]
            stated = head.name
            if stated is None or stated != stated.strip() or decode_header_value(stated.decode("latin-1")) != name:
                return None
            if self._schema_with_headers(name) is not None:
                return None
        return self._calls.envelope_of(request)

    def serve(self, scope: Scope, receive: Receive, send: Send, app: AsgiApp) -> Awaitable[None]:
        """Serve a request as the front does, by another application."""
        CALLER.set(self._front.caller_of(scope))
        RECEIVED_HEADERS.set(scope["headers"])
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


class _ModernCall(OneWay):
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


def _text(headers: Mapping[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")
