"""The MCP server over a UTCP client: handlers on the SDK's low-level `Server`, for both protocol eras.

Every handler catches every exception: the SDK sends the text of an exception to clients of the handshake era.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from math import ulp
from typing import TYPE_CHECKING, Any, Final

import anyio
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
from utcp_bridge.catalogue.catalogue import Entry
from utcp_bridge.catalogue.render import compact, render_error
from utcp_bridge.catalogue.text import shorten
from utcp_bridge.errors import StaleCursor, UnknownTool
from utcp_bridge.model import Emit, JsonObject, discard, is_object
from utcp_bridge.pipeline.reading import object_in
from utcp_bridge.search.query import describe_catalogue
from utcp_bridge.server.callers import caller_of, client_name
from utcp_bridge.server.changes import Changes, page_in_turns
from utcp_bridge.server.hosts.interaction import Interaction, has_state
from utcp_bridge.server.hot.calls import HandlingServer, HotCalls, ToolCall
from utcp_bridge.server.logging_relay import LogRelay
from utcp_bridge.server.meta_tools import MetaTools, ResultBudgets, call_entry, catalogue_with_meta_tools
from utcp_bridge.server.readiness import Readiness
from utcp_bridge.server.relay.introduction import HANDSHAKE_SECONDS
from utcp_bridge.server.relay.kept import KeptResources
from utcp_bridge.server.relay.relay import Relay
from utcp_bridge.server.relay.requests import internal_error
from utcp_bridge.server.reply_workers import ReplyWorkers
from utcp_bridge.upstream import ROOTS_CHANGED, ProtocolError, TaskStarted

if TYPE_CHECKING:
    from utcp_bridge.client.client import UtcpClient

__all__ = ["BridgeServer"]

_MAX_PROVIDERS_TEXT: Final = 1_600
_MAX_PROGRESS_TEXT: Final = 8_000
_MAX_PROGRESS: Final = 1e300
_SERVER_INFO_KEY: Final = "io.modelcontextprotocol/serverInfo"
_MINUTE_MS: Final = 60_000
_PROGRESS_KEYS: Final = frozenset({"message", "progress", "total"})
_SMALLEST_STEP: Final = 1e-6
"""What a message adds to a progress that stays where it is. The protocol says that progress must increase."""


def _handler_of(runner: ServerRunner[Any]) -> Any:
    return runner._on_request  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - what the SDK's property returns


# The SDK makes a runner for each request since 2026-07-28, and keeps in it a method of the runner itself. Such a circle
# holds the request with its body, about 55 objects, until the collector finds it: a tenth of what a call costs.
ServerRunner.on_request = property(_handler_of)  # type: ignore[assignment, method-assign]  # pyright: ignore[reportAttributeAccessIssue]


class BridgeServer(HandlingServer):
    """An MCP server with the tools of a UTCP client. The code that makes the client opens and closes it."""

    def __init__(self, client: UtcpClient, *, name: str = "utcp-bridge", title: str | None = "UTCP bridge") -> None:
        self.client = client
        self.catalogue = catalogue_with_meta_tools(client)
        self.budgets = ResultBudgets(client.settings)
        self.workers = ReplyWorkers(client.settings.max_reply_bytes)
        self.meta_tools = MetaTools(client, self.catalogue, self.budgets, self.workers)
        self.readiness = Readiness(client)
        self.changes = Changes(self.catalogue, self.readiness)
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
        self.add_notification_handler(ROOTS_CHANGED, types.NotificationParams, self.interaction.hear_roots_changed)
        self.add_request_handler("logging/setLevel", types.SetLevelRequestParams, self.logs.set_level)
        self.relay = Relay(client, self.readiness, self.interaction, self.logs, self.changes)
        self.relay.register(self, KeptResources(self.budgets, self.meta_tools, self.workers))
        self.meta_tools.show = self.relay.desk.shown_link
        if not _tracing_is_configured():
            self.middleware.clear()
        self.hot = HotCalls(self)
        shortcut: Any = self._middleware  # returns a coroutine or what `call_next` returns, and the SDK awaits either
        self.middleware.append(shortcut)

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
        return self.relay.instructions(self._own_instructions())

    def _own_instructions(self) -> str:
        counts = self.catalogue.counts()
        names = self.client.settings.meta_tools
        if names.search is None:
            return f"This server gives access to {sum(counts.values()):,} tools of {len(counts)} providers."
        providers = describe_catalogue(counts, _MAX_PROVIDERS_TEXT)
        text = f"This server gives access to the tools of UTCP providers. {providers}"
        text += f" Not every tool may be listed: find tools by what they do with {names.search}."
        return f"{text} Any tool can be called by name with {names.call}." if names.call else text

    def _cache_hint(self) -> CacheHint:
        seconds = self.client.settings.refresh_interval
        ttl_ms = int(seconds * 1000) if seconds else _MINUTE_MS
        return CacheHint(ttl_ms=ttl_ms, scope="private" if self.client.settings.bearer_token else "public")

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
            await self.readiness.settle()
            view = self.catalogue.view(client_name(ctx))
            page = await page_in_turns(view, view.position(cursor), composed=modern)
        except StaleCursor as error:
            raise MCPError(types.INVALID_PARAMS, str(error)) from None
        except Exception as error:  # noqa: BLE001 - the SDK would send its text to the client
            raise internal_error("tools/list", error) from None
        if not modern:
            self.changes.given(ctx.session._connection, view, page)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - no public way to a session's lifetime
        result: JsonObject = await self.relay.desk.masked({"tools": self.relay.apps.listed(page.tools)})
        if page.next_cursor is not None:
            result["nextCursor"] = page.next_cursor
        if modern:
            hint = self.cache_hints["tools/list"]
            result |= {"resultType": "complete", "ttlMs": hint.ttl_ms, "cacheScope": hint.scope}
            result["_meta"] = {_SERVER_INFO_KEY: self.server_info_stamp}
        return result

    async def _listen(
        self, ctx: ServerRequestContext[None, Any], params: types.SubscriptionsListenRequestParams
    ) -> types.SubscriptionsListenResult:
        async with self.relay.listening(params):
            return await self.changes.listen(ctx, params, self.catalogue.view(client_name(ctx)))

    async def call_tool(
        self, ctx: ServerRequestContext[None, Any], params: ToolCall | types.CallToolRequestParams
    ) -> Any:
        """Return the result of a tool (handler of `tools/call`).

        :raises MCPError: the request is refused.
        """
        try:
            return await self.interaction.serve(ctx, partial(self._dispatch, ctx, params))
        except MCPError:
            raise
        except UnknownTool as error:
            raise MCPError(types.INVALID_PARAMS, str(error)) from None
        except ProtocolError as error:
            return await self.interaction.tool_refusal(ctx, error)
        except Exception as error:  # noqa: BLE001 - the SDK would send its text to the client
            return render_error(error)

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
        name, arguments, caller = params.name, params.arguments or {}, caller_of(ctx)
        try:
            if name in self.meta_tools:
                await (self.readiness.settle if self.meta_tools.is_search(name) else self.readiness.wait)()
                return await self.meta_tools.call(name, arguments, emit, caller)
            entry = self.catalogue.resolve(name) or await self._entry_of(name)
            result = await call_entry(
                self.client, entry, arguments, emit, self.budgets.of(caller), self.workers, self.meta_tools.show
            )
        except TaskStarted as started:
            return self.relay.tasks.created(ctx, started)
        return self.relay.apps.result(entry.tool, result)

    async def _entry_of(self, name: str) -> Entry:
        """Return the entry of a name that the catalogue has after a moment, or that a page means.

        :raises UnknownTool: it is not a tool.
        """
        await self.readiness.wait()
        entry = self.catalogue.resolve(name)
        if entry is None and (meant := self.relay.apps.tool_of_page(name)) is not None:
            entry = self.catalogue.resolve(meant.qualified_name)
        if entry is None:
            raise self.meta_tools.unknown(name)
        return entry


@asynccontextmanager
async def _serve_changes(server: Server[Any]) -> AsyncGenerator[None]:
    """Announce changes of the tools, and have workers for large replies, while the server runs (lifespan)."""
    if not isinstance(server, BridgeServer):
        raise TypeError("This lifespan belongs to BridgeServer.")
    unsubscribe = server.client.on_change(server.changes.mark)
    try:
        async with (
            server.workers.open(),
            server.interaction.open(),
            server.relay.hearing(),
            anyio.create_task_group() as group,
        ):
            group.start_soon(server.changes.announce)
            yield
            server.changes.close()
            group.cancel_scope.cancel()
    finally:
        unsubscribe()


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
    """Return a function that sends partial results as progress notifications, if the client asked for them.

    A partial result that reports progress itself (`{"progress": 3, "total": 10, "message": "…"}`) keeps its numbers.
    One that repeats the progress before it, or goes back, is sent only if it has a message.
    """
    if not ctx.meta or ctx.meta.get("progress_token") is None:
        return discard
    last: float | None = None
    said: tuple[float | None, str | None] = (None, None)

    async def emit(partial: Any) -> None:
        nonlocal last, said
        progress, total, message = _progress(partial)
        if progress is None:
            last = 1.0 if last is None else last + 1
        elif last is None or progress > last:
            last = progress
        elif message is None or (total, message) == said:
            return
        else:
            last = round(last + max(_SMALLEST_STEP, ulp(last)), 6)
        said = (total, message)
        await ctx.session.report_progress(
            last, total, None if message is None else shorten(message, _MAX_PROGRESS_TEXT)
        )

    return emit


def _progress(partial: Any) -> tuple[float | None, float | None, str | None]:
    """Return the progress, the total and the message of a partial result. The message of any other one is its JSON."""
    if not is_object(partial):
        return None, None, compact(partial)
    progress, total, message = (partial.get(key) for key in ("progress", "total", "message"))
    if not _is_number(progress):
        return None, None, compact(partial)
    if not isinstance(message, str):
        message = compact(partial) if partial.keys() - _PROGRESS_KEYS else None
    return progress, total if _is_number(total) else None, message


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MAX_PROGRESS


def _tracing_is_configured() -> bool:
    """Return whether an OpenTelemetry SDK is the tracer provider. Without one, spans only cost time."""
    from opentelemetry import trace

    return type(trace.get_tracer_provider()).__module__.startswith("opentelemetry.sdk")
