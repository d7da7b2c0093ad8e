"""Answers `tools/call`, `tools/list` and `ping` with the server's own handlers, but without the SDK around them.

The SDK validates a request against several models, starts task groups for it, and shapes its result by a model: that
takes many times as long as the call. A request is hot if these steps would change nothing: it has only the members
that `requests.py` names, each of the plain type. Every other message goes to the SDK untouched, which then refuses it
or serves it.

The handlers get the context that the SDK would give them, so callers, budgets, logs, tasks, questions to the host and
the audit are theirs alone. A result of plain text and structured content is written in the order of the SDK's models;
any other result goes through these models.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import cached_property
from typing import Any, Final, cast

import anyio
import mcp_types as types
import orjson
from mcp.server.connection import Connection
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.runner import ServerRunner, aclose_shielded
from mcp.server.session import ServerSession
from mcp.shared.dispatcher import CallOptions, DispatchContext
from mcp.shared.exceptions import NoBackChannelError
from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY
from mcp_types import methods as sdk_methods
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from utcp_bridge.model import JsonObject
from utcp_bridge.server.callers import note_caller
from utcp_bridge.server.hot.plain_results import in_order
from utcp_bridge.server.hot.requests import ENVELOPE, HotRequest, hot_request
from utcp_bridge.server.hot.spans import ServerSpans
from utcp_bridge.server.parts import ToolCall

__all__ = ["HandlingServer", "HotCalls", "HotConnection", "HotContext", "OneWay"]

_LATEST: Final = MODERN_PROTOCOL_VERSIONS[-1]
_ABSENT: Final = [["absent"]]
"""Stands for a member that is not there: no valid one is a list."""
_MAX_ENVELOPES: Final = 64
_MAX_ENVELOPE_BYTES: Final = 4_096
_blank: Final = object.__new__


Context = ServerRequestContext[None, Any]


class HotContext(ServerRequestContext[None, Any]):
    """The SDK's context of a hot request, which makes the view of its session only if a handler looks at that."""

    lifespan_context = None
    hot: HotRequest
    exchange: DispatchContext[Any]
    connection: Connection

    @cached_property
    def session(self) -> ServerSession:  # type: ignore[override]
        """The SDK's view of the session."""
        return ServerSession(self.exchange, self.connection, request_meta=self.meta)


class HandlingServer(Server[None]):
    """A server whose handlers can be called without the SDK around them."""

    hear: Callable[[Context], None] | None = None
    """Is called with each message that the SDK begins to serve."""

    def shortcut(self, ctx: Context, call_next: CallNext) -> Awaitable[HandlerResult]:
        """Return the result of a request, that of `call_next` if this server does nothing ahead of it."""
        raise NotImplementedError

    def plain_call(self, ctx: HotContext) -> Awaitable[JsonObject] | None:
        """Return the result of a hot call in its final form, if nothing has to be done for it but to call the tool.

        It is the result that `shortcut` and `call_tool` give, in fewer steps. None: they have to be asked. It runs in
        the task of the request.
        """
        raise NotImplementedError

    async def call_tool(self, ctx: Context, params: ToolCall | types.CallToolRequestParams) -> Any:
        """Return the result of a tool (handler of `tools/call`).

        :raises MCPError: the request is refused.
        """
        raise NotImplementedError


class HotConnection(Connection):
    """The SDK's record of one request of 2026-07-28, which makes only what is used."""

    session_id = None
    is_bound = False
    """Whether handlers have bound something to the request, which `aclose` ends."""

    @classmethod
    def of(cls, outbound: Any, version: str, envelope: tuple[Any, Any]) -> HotConnection:
        """Return the record of a request. `envelope` is what its client says of itself (`HotCalls.envelope_of`)."""
        made = _blank(cls)  # the SDK's `__init__` makes an event and a stack of callbacks, which take much longer
        made.outbound, made.protocol_version, made.state = outbound, version, {}
        made._client_params, made.client_capabilities = envelope  # noqa: SLF001 - its own
        return made

    @cached_property
    def initialized(self) -> anyio.Event:  # type: ignore[override]
        """Set: the connection needs no handshake."""
        event = anyio.Event()
        event.set()
        return event

    @cached_property
    def exit_stack(self) -> AsyncExitStack:  # type: ignore[override]
        """What ends with the request."""
        self.is_bound = True
        return AsyncExitStack()

    async def aclose(self) -> None:
        """End what handlers have bound to the request."""
        if self.is_bound:
            await aclose_shielded(self)


class OneWay:
    """The methods of the SDK's view of a request that has no way back to its client but its response."""

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        """Refuse.

        :raises NoBackChannelError: always.
        """
        del params, opts
        raise NoBackChannelError(method)

    async def notify(self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None) -> None:
        """Send nothing: the answer is the response alone."""

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Send nothing."""


class HotCalls:
    """Answers hot requests of one server. With `is_on` false, every request goes to the SDK.

    `is_traced` says that the first middleware of the server is the SDK's, which makes a span for each request.
    """

    def __init__(self, server: HandlingServer, *, is_traced: bool = False) -> None:
        self._server = server
        self._spans = ServerSpans() if is_traced else None
        self._own = 1 + is_traced
        self._shaper: ServerRunner[Any] = ServerRunner(server, cast("Any", None), None)
        self._stamp = server.server_info_stamp
        self._envelopes: dict[bytes, tuple[Any, Any] | None] = {}
        self.no_channel: Final = Connection.from_envelope(_LATEST, None, None).outbound
        """The SDK's way to a client that can be sent nothing but its response."""
        self.is_on = True

    @property
    def may_answer(self) -> bool:
        """Whether requests may be answered here: other middleware than the server's own has to see each of them."""
        return self.is_on and len(self._server.middleware) == self._own

    def of_session(self, message: Any, connection: Connection) -> HotRequest | None:
        """Return a message of a session of the handshake era, if it is hot."""
        if not self.may_answer or connection.client_params is None:
            return None
        request = hot_request(message)
        return request if request is not None and request.version is None else None

    def envelope_of(self, request: HotRequest) -> tuple[Any, Any] | None:
        """Return what the client of a request of 2026-07-28 says of itself: its parameters, and its capabilities.

        None if the SDK has to refuse the request. Clients say the same in each request, so it is validated once.
        """
        meta = (request.params or {}).get("_meta", {})
        try:
            key = orjson.dumps([meta.get(name, _ABSENT) for name in ENVELOPE])
        except TypeError:
            return None
        if key in self._envelopes:
            return self._envelopes[key]
        if CLIENT_CAPABILITIES_META_KEY not in meta or len(key) > _MAX_ENVELOPE_BYTES:
            return None
        if len(self._envelopes) >= _MAX_ENVELOPES:
            self._envelopes.clear()
        self._envelopes[key] = found = _validated({name: meta[name] for name in ENVELOPE if name in meta})
        return found

    def respond(
        self,
        request: HotRequest,
        exchange: DispatchContext[Any],
        connection: Connection,
        http_request: Any = None,
    ) -> Awaitable[JsonObject]:
        """Return the result of a request in its final form.

        :raises MCPError: the request is refused.
        """
        ctx = _blank(HotContext)  # `__init__` of a dataclass needs the session, and takes much longer
        ctx.hot, ctx.exchange, ctx.connection, ctx.request = request, exchange, connection, http_request
        ctx.protocol_version, ctx.request_id = connection.protocol_version, request.ident
        meta: Any = request.meta
        ctx.method, ctx.params, ctx.meta = request.method, request.params, meta
        spans = self._spans
        if spans is not None:
            return spans.served(ctx, self._served, self._next)
        return self._served(ctx, self._next)

    def _served(self, ctx: HotContext, call_next: CallNext) -> Awaitable[JsonObject]:
        """Return the result of a request in its final form, in one step if it is a plain call."""
        if ctx.method == "tools/call" and (plain := self._server.plain_call(ctx)) is not None:
            return plain
        return self._in_full(ctx, call_next)

    def _in_full(self, ctx: HotContext, call_next: CallNext) -> Awaitable[JsonObject]:
        """Let the server's middleware and handlers answer a request."""
        if ctx.hot.caller is not None:
            note_caller(ctx.connection, ctx.request, ctx.hot.caller)
        result: Any = self._server.shortcut(ctx, call_next)
        return result  # type: ignore[no-any-return]

    async def _next(self, ctx: Context) -> JsonObject:
        """Do what the SDK does after the middleware: run the handler and shape its result."""
        if ctx.method == "ping":
            return {}
        params: Mapping[str, Any] = ctx.params or {}
        call = ToolCall(params["name"], params.get("arguments"))
        return self.shaped(ctx.protocol_version, await self._server.call_tool(ctx, call))

    def shaped(self, version: str, result: JsonObject) -> JsonObject:
        """Return the result of a tool in the form of a protocol version.

        :raises MCPError: it is not a result of a tool.
        """
        stamp = self._stamp if version in MODERN_PROTOCOL_VERSIONS else None
        plain = in_order(result, stamp)
        if plain is not None:
            return plain
        return self._shaper._serialize("tools/call", version, result)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - the one place that knows every form


def _validated(stated: JsonObject) -> tuple[Any, Any] | None:
    version = stated[PROTOCOL_VERSION_META_KEY]
    try:
        sdk_methods.validate_client_request("tools/list", version, {"_meta": stated})
    except ValueError:
        return None
    made = Connection.from_envelope(version, stated.get(CLIENT_INFO_META_KEY), stated.get(CLIENT_CAPABILITIES_META_KEY))
    return made.client_params, made.client_capabilities
