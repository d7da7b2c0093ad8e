"""The MCP server over a UTCP client: handlers on the SDK's low-level `Server`, for both protocol eras.

Every handler catches every exception: the SDK sends the text of an exception to clients of the handshake era.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import mcp_types as types
from mcp.server.caching import CacheHint
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.lowlevel.server import NotificationOptions
from mcp.server.models import InitializationOptions
from mcp.server.runner import ServerRunner
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from utcp_bridge import __version__
from utcp_bridge.catalogue.render import render_error
from utcp_bridge.errors import StaleCursor, UnknownTool
from utcp_bridge.model import REQUESTER, Emit, JsonObject, discard, is_object, log_receiver
from utcp_bridge.pipeline.reading import object_in
from utcp_bridge.server.callers import caller_at, caller_of, client_name, requester_of
from utcp_bridge.server.hosts.interaction import Interaction, has_state
from utcp_bridge.server.hot.calls import HandlingServer, HotCalls, HotContext
from utcp_bridge.server.logging_relay import LogRelay
from utcp_bridge.server.parts import NAME, TITLE, Parts, ToolCall, progress_emitter
from utcp_bridge.server.profiles.parts import ServedPart
from utcp_bridge.server.relay.introduction import HANDSHAKE_SECONDS
from utcp_bridge.server.relay.kept import KeptResources
from utcp_bridge.server.relay.relay import Relay
from utcp_bridge.server.relay.requests import internal_error
from utcp_bridge.server.replicas.fleet import Fleet
from utcp_bridge.server.replicas.requests import RequestsAcross
from utcp_bridge.tasks import setting
from utcp_bridge.telemetry import trace_context
from utcp_bridge.upstream import HOST, ROOTS_CHANGED, CallingHost, ProtocolError, TaskStarted

if TYPE_CHECKING:
    from utcp_bridge.access.profiles import Profile
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.server.meta_tools import Caller
    from utcp_bridge.server.replicas.replica import Replica

__all__ = ["BridgeServer"]


def _handler_of(runner: ServerRunner[Any]) -> Any:
    return runner._on_request  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - what the SDK's property returns


# The SDK makes a runner for each request since 2026-07-28, and keeps in it a method of the runner itself. Such a circle
# holds the request with its body, about 55 objects, until the collector finds it: a tenth of what a call costs.
ServerRunner.on_request = property(_handler_of)  # type: ignore[assignment, method-assign]  # pyright: ignore[reportAttributeAccessIssue]


class BridgeServer(HandlingServer):
    """An MCP server with the tools of a UTCP client. The code that makes the client opens and closes it.

    With `part`, it serves one profile of another server, with which it shares the catalogue's names and the workers.
    `parts` are those that have served the tools until now, if any.
    """

    def __init__(
        self,
        client: UtcpClient,
        *,
        name: str = NAME,
        title: str | None = TITLE,
        part: ServedPart | None = None,
        parts: Parts | None = None,
    ) -> None:
        """Make the server.

        :raises ConfigError: the profiles, the budgets or the names of the meta-tools are not valid.
        """
        self.parts = parts = parts or Parts(client, part)
        self.part = part = parts.part
        self.client = client = part.client
        self.replica: Replica | None = None
        self.catalogue, self.budgets, self.workers = parts.catalogue, parts.budgets, parts.workers
        self.meta_tools, self.readiness, self.changes = parts.meta_tools, parts.readiness, parts.changes
        super().__init__(
            name,
            version=__version__,
            title=title,
            lifespan=_serve_changes,
            cache_hints={"tools/list": self._cache_hint()},
            get_tool_input_schema=self.catalogue.schema_with_headers,
            on_list_tools=self._list_tools,
            on_call_tool=self.call_tool,
            on_subscriptions_listen=self._listen,
        )
        self.logs = LogRelay(client.redactor)
        self.interaction = Interaction(client, lambda ctx: caller_of(ctx).owner, _emitter, self.logs)
        self.interaction.budgets = part.spending
        self.add_notification_handler(ROOTS_CHANGED, types.NotificationParams, self.interaction.hear_roots_changed)
        self.add_request_handler("logging/setLevel", types.SetLevelRequestParams, self.logs.set_level)
        self.relay = Relay(client, self.readiness, self.interaction, self.logs, self.changes)
        self.relay.desk.requester_of = lambda ctx: requester_of(ctx, part.profile_name)
        self.relay.subscriptions.share(part.subscribers)
        self.across = self._shared()
        self.fleet = Fleet(self.across, lambda: self.replica)
        self.relay.register(self, KeptResources(self.budgets, self.meta_tools, self.workers))
        self.meta_tools.show = self.relay.desk.shown_link
        parts.tool_of_page, parts.with_page = self.relay.apps.tool_of_page, self.relay.apps.result
        is_traced = _tracing_is_configured()
        if not is_traced:
            self.middleware.clear()
        self.hot = HotCalls(self, is_traced=is_traced)
        shortcut: Any = self._middleware  # returns a coroutine or what `call_next` returns, and the SDK awaits either
        self.middleware.append(shortcut)

    def _shared(self) -> RequestsAcross | None:
        """Let the bridges that share a store ask this one for calls and tasks, and the other way round."""
        if self.client.shared is None:
            return None
        across = RequestsAcross(self.client.shared, self.part.profile_name or "")
        self.interaction.share(across)
        self.relay.tasks.share(across)
        return across

    def beside(self, profile: Profile) -> BridgeServer:
        """Return a server of a profile, which serves next to this one."""
        return BridgeServer(self.part.whole, part=self.part.of(profile))

    def join(self, replica: Replica) -> None:
        """Be one of several processes behind one address."""
        self.replica, part = replica, self.part.profile_name or ""
        replica.finders[part] = self.budgets.kept.written
        if self.part.owns_workers:  # the others have a part of it
            replica.summary = lambda: {**self.readiness.summary(), **self.fleet.marks()}
            replica.answer = self.fleet.work_for_worker
        here, across = partial(replica.fetch, part), self.meta_tools.fetch

        async def fetch(owner: str, handle: str) -> bytes | None:
            found = await here(owner, handle)
            return await across(owner, handle) if found is None and across is not None else found

        self.meta_tools.fetch, self.readiness.whole = fetch, replica.whole

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        """Return the SDK's options, always with `tools.listChanged`: its HTTP code asks without options."""
        options = notification_options or NotificationOptions(tools_changed=True)
        return super().create_initialization_options(options, experimental_capabilities, extensions)

    def get_capabilities(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
        *,
        protocol_version: str | None = None,
    ) -> types.ServerCapabilities:
        """Return what the server offers now: tools, and what its upstreams have besides."""
        base = super().get_capabilities(
            notification_options, experimental_capabilities, extensions, protocol_version=protocol_version
        )
        return self.relay.advertised(base, modern=protocol_version in MODERN_PROTOCOL_VERSIONS)

    def instructions_text(self) -> str:
        """Return what models read about this server: its providers, how to find a tool, and what upstreams say.

        The bridge's own part has less than 2,000 characters.
        """
        return self.relay.instructions(self.parts.own_instructions())

    def _cache_hint(self) -> CacheHint:
        return CacheHint(ttl_ms=self.parts.ttl_ms, scope=self.parts.cache_scope)

    def _middleware(self, ctx: ServerRequestContext[None, Any], call_next: CallNext) -> Awaitable[HandlerResult]:
        if self.hear is not None:
            self.hear(ctx)
        return self.shortcut(ctx, call_next)

    def shortcut(self, ctx: ServerRequestContext[None, Any], call_next: CallNext) -> Awaitable[HandlerResult]:
        """Answer `tools/list` from ready pages, and keep the instructions up to date (middleware).

        The SDK would validate and copy every tool of a page on each request.
        """
        if not self.client.host_ahead.is_known:
            self.interaction.meet(ctx)
        if ctx.request_id is None:
            return call_next(ctx)  # a notification has no result, whatever its name
        if ctx.method == "tools/call":
            ctx = _with_arguments(ctx)
            if (wish := self.relay.tasks.wish(ctx)) is not None:
                call_next = partial(self._call_with_task, wish)
        if has_state(ctx):
            return self.interaction.boundary(ctx, call_next)
        if ctx.method == "tools/call":
            return call_next(ctx)
        modern = ctx.protocol_version in MODERN_PROTOCOL_VERSIONS
        if ctx.method == "tools/list" and (modern or ctx.session.client_params is not None):
            cursor = (ctx.params or {}).get("cursor")
            if cursor is None or isinstance(cursor, str):
                return self._tools_page(ctx, cursor or None)  # some clients write "" for the first page
        return self._introduced(ctx, call_next) if ctx.method in HANDSHAKE_SECONDS else call_next(ctx)

    async def _introduced(self, ctx: ServerRequestContext[None, Any], call_next: CallNext) -> HandlerResult:
        """Return the result of a handshake, with the instructions and capabilities of the moment."""
        await self.relay.introduced(ctx.method)
        result = await call_next(ctx)
        if not is_object(result):
            return result
        modern = ctx.protocol_version in MODERN_PROTOCOL_VERSIONS
        options = NotificationOptions(tools_changed=True)
        offered = self.get_capabilities(options, protocol_version=ctx.protocol_version if modern else None)
        capabilities = offered.model_dump(by_alias=True, mode="json", exclude_none=True)
        return {**result, "instructions": self.instructions_text(), "capabilities": capabilities}

    async def _list_tools(
        self, ctx: ServerRequestContext[None, Any], params: types.PaginatedRequestParams | None
    ) -> Any:
        return await self._tools_page(ctx, None if params is None else params.cursor)

    async def _tools_page(self, ctx: ServerRequestContext[None, Any], cursor: str | None) -> JsonObject:
        modern = ctx.protocol_version in MODERN_PROTOCOL_VERSIONS
        try:
            view, page = await self.parts.page(client_name(ctx), cursor, modern=modern)
        except StaleCursor as error:
            raise MCPError(types.INVALID_PARAMS, str(error)) from None
        except Exception as error:  # noqa: BLE001 - the SDK would send its text to the client
            raise internal_error("tools/list", error) from None
        if not modern:
            connection = ctx.session._connection  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - no public way to a session's lifetime
            self.changes.given(connection, client_name(ctx), view, page)
        tools = self.relay.apps.listed(page.tools.asked())
        result: JsonObject = {"tools": await self.parts.masked_tools(tools)}
        if page.next_cursor is not None:
            result["nextCursor"] = page.next_cursor
        return self.parts.stamped(result, self.server_info_stamp) if modern else result

    async def _listen(
        self, ctx: ServerRequestContext[None, Any], params: types.SubscriptionsListenRequestParams
    ) -> types.SubscriptionsListenResult:
        async with self.relay.listening(params):
            return await self.changes.listen(ctx, params, client_name(ctx))

    async def call_tool(
        self, ctx: ServerRequestContext[None, Any], params: ToolCall | types.CallToolRequestParams
    ) -> Any:
        """Return the result of a tool (handler of `tools/call`).

        :raises MCPError: the request is refused.
        """
        return await self._answered(ctx, partial(self._dispatch, ctx, params))

    async def _answered(
        self, ctx: ServerRequestContext[None, Any], work: Callable[[Emit], Awaitable[JsonObject]]
    ) -> JsonObject:
        """Return the result that `work` returns, or that of what it raises.

        :raises MCPError: the request is refused.
        """
        try:
            has_baggage = ctx.meta is not None and trace_context.is_on() and "baggage" in ctx.meta
            if not (has_baggage or self.client.notes_requesters):
                return await self.interaction.serve(ctx, work)
            with (
                setting(REQUESTER, requester_of(ctx, self.part.profile_name))
                if self.client.notes_requesters
                else nullcontext(),
                trace_context.with_baggage(ctx.meta) if has_baggage else nullcontext(),
            ):
                return await self.interaction.serve(ctx, work)
        except MCPError:
            raise
        except UnknownTool as error:
            raise MCPError(types.INVALID_PARAMS, str(error)) from None
        except ProtocolError as error:
            return await self.interaction.tool_refusal(ctx, error)
        except Exception as error:  # noqa: BLE001 - the SDK would send its text to the client
            return render_error(error)

    def is_silent(self, name: str) -> bool:
        """Return whether calls of a tool never report progress, so that asking for it changes nothing."""
        entry = None if name in self.meta_tools else self.catalogue.resolve(name)
        return entry is not None and self.client.is_silent(entry.tool)

    def plain_call(self, ctx: HotContext) -> Awaitable[JsonObject] | None:
        """Return the result of a hot call in its final form, if nothing has to be done for it but to call the tool.

        The shape of a hot request leaves out a state, a task of the handshake era, and arguments of another type.
        """
        client = self.part.whole
        if not client.host_ahead.is_known or client.notes_requesters:
            return None
        if ctx.meta is not None and "baggage" in ctx.meta and trace_context.is_on():
            return None
        caller = ctx.hot.caller or caller_at(ctx.connection, ctx)
        host = self.interaction.host_of(ctx, ctx.connection, caller.owner)
        return None if host is None else self._called_plainly(ctx, host, caller)

    async def _called_plainly(self, ctx: HotContext, host: CallingHost, caller: Caller) -> JsonObject:
        params: Any = ctx.params
        name: str = params["name"]
        emit = discard if ctx.hot.token is None or self.is_silent(name) else _emitter(ctx)
        # never reset: the context is that of the task, which ends with the request
        log_receiver.set(self.logs.receiver(ctx))
        HOST.set(host)
        try:
            result = await self.parts.called(name, params.get("arguments") or {}, emit, caller)
        except Exception as error:  # noqa: BLE001 - it takes the way of every other request
            raised = error
        else:
            return self.hot.shaped(ctx.protocol_version, result)
        result = await self._answered(ctx, partial(self._ended, ctx, raised))
        return self.hot.shaped(ctx.protocol_version, result)

    async def _ended(self, ctx: HotContext, error: Exception, _emit: Emit) -> JsonObject:
        """Return the result of a call that has raised this error."""
        if isinstance(error, TaskStarted):
            return self.relay.tasks.created(ctx, error)
        raise error

    async def _call_with_task(self, wish: JsonObject, ctx: ServerRequestContext[None, Any]) -> HandlerResult:
        """Call a tool for a host that takes a task in place of the result. The SDK would refuse a task as a result."""
        try:
            params = types.CallToolRequestParams.model_validate(ctx.params or {})
        except ValueError:
            raise MCPError(types.INVALID_PARAMS, "Invalid request parameters") from None
        with self.relay.tasks.offering(wish):
            result: JsonObject = await self.call_tool(ctx, params)
        modern = ctx.protocol_version in MODERN_PROTOCOL_VERSIONS
        return result if modern else {key: value for key, value in result.items() if key != "resultType"}

    async def _dispatch(
        self, ctx: ServerRequestContext[None, Any], params: ToolCall | types.CallToolRequestParams, emit: Emit
    ) -> JsonObject:
        call = params if isinstance(params, ToolCall) else ToolCall(params.name, params.arguments)
        try:
            return await self.parts.called(call.name, call.arguments or {}, emit, caller_of(ctx))
        except TaskStarted as started:
            return self.relay.tasks.created(ctx, started)


@asynccontextmanager
async def _serve_changes(server: Server[Any]) -> AsyncGenerator[None]:
    """Announce changes, have workers for large replies, and hear upstreams, while the server runs (lifespan)."""
    if not isinstance(server, BridgeServer):
        raise TypeError("This lifespan belongs to BridgeServer.")
    async with server.parts.open(), server.interaction.open(), server.relay.hearing():
        yield
        server.changes.close()
        if server.across is not None:
            await server.across.close()


def _with_arguments(ctx: ServerRequestContext[None, Any]) -> ServerRequestContext[None, Any]:
    """Return the request with an object as its arguments, if a model's JSON text was passed on. Blank text is `{}`.

    So is an empty list, as which PHP and Lua write an empty object.

    :raises MCPError: they are something else.
    """
    arguments: Any = (ctx.params or {}).get("arguments")
    if isinstance(arguments, str):
        arguments = object_in(arguments) if arguments.strip() else {}
    elif arguments == []:
        arguments = {}
    elif arguments is None or is_object(arguments):
        return ctx
    if not is_object(arguments):
        raise MCPError(types.INVALID_PARAMS, "`arguments` must be a JSON object. Send {} for a tool without arguments.")
    return replace(ctx, params={**(ctx.params or {}), "arguments": arguments})


def _emitter(ctx: ServerRequestContext[None, Any]) -> Emit:
    """Return a function that sends partial results as progress notifications, if the client asked for them."""
    if not ctx.meta or ctx.meta.get("progress_token") is None:
        return discard
    return progress_emitter(ctx.session.report_progress)


def _tracing_is_configured() -> bool:
    """Return whether an OpenTelemetry SDK is the tracer provider. Without one, spans only cost time."""
    from opentelemetry import trace

    return trace_context.is_of_sdk(trace.get_tracer_provider())
