"""The MCP server over a UTCP client: handlers on the SDK's low-level `Server`, for both protocol eras.

Every handler catches every exception: the SDK sends the text of an exception to clients of the handshake era.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from math import ulp
from typing import TYPE_CHECKING, Any, Final

import anyio
import mcp_types as types
from mcp.server.caching import CacheHint
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.lowlevel.server import NotificationOptions
from mcp.server.models import InitializationOptions
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from utcp_bridge import __version__
from utcp_bridge.catalogue.budget import MAX_EVENT_BYTES
from utcp_bridge.catalogue.fitting import RESULT_SCHEME
from utcp_bridge.catalogue.render import compact, render_error
from utcp_bridge.catalogue.text import shorten
from utcp_bridge.errors import StaleCursor, UnknownTool, UtcpError
from utcp_bridge.model import Emit, JsonObject, discard, is_object
from utcp_bridge.pipeline.reading import object_in
from utcp_bridge.search.query import describe_catalogue
from utcp_bridge.server.changes import Changes, page_in_turns
from utcp_bridge.server.kept_results import handle_and_offset
from utcp_bridge.server.logging_relay import LogRelay
from utcp_bridge.server.meta_tools import Caller, MetaTools, ResultBudgets, call_entry, catalogue_with_meta_tools
from utcp_bridge.server.readiness import Readiness
from utcp_bridge.server.reply_workers import ReplyWorkers

if TYPE_CHECKING:
    from utcp_bridge.client.client import UtcpClient

__all__ = ["BridgeServer"]

_logger = logging.getLogger(__name__)
_MAX_PROVIDERS_TEXT: Final = 1_600
_MAX_PROGRESS_TEXT: Final = 8_000
_MAX_PROGRESS: Final = 1e300
_MAX_RESOURCE_BYTES: Final = 16 * 1024 * 1024
_FIRST_VERSION_WITH_LINKS: Final = "2025-06-18"
_SERVER_INFO_KEY: Final = "io.modelcontextprotocol/serverInfo"
_CLIENT_INFO_KEY: Final = "io.modelcontextprotocol/clientInfo"
_MINUTE_MS: Final = 60_000
_NEVER: Final = CacheHint(ttl_ms=0, scope="private")
"""Kept results belong to one caller, and they end."""
_PROGRESS_KEYS: Final = frozenset({"message", "progress", "total"})
_SMALLEST_STEP: Final = 1e-6
"""What a message adds to a progress that stays where it is. The protocol says that progress must increase."""


class BridgeServer(Server[None]):
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
            cache_hints={"tools/list": self._cache_hint(), "resources/list": _NEVER, "resources/read": _NEVER},
            get_tool_input_schema=self.catalogue.input_schema,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            **(_resource_handlers(self) if client.settings.max_kept_bytes else {}),
            on_subscriptions_listen=self._listen,
        )
        self.logs = LogRelay()
        self.add_request_handler("logging/setLevel", types.SetLevelRequestParams, self.logs.set_level)
        if not _tracing_is_configured():
            self.middleware.clear()
        self.middleware.append(self._shortcut)

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        """Return the SDK's options, always with `tools.listChanged`: its HTTP code asks without options."""
        options = notification_options or NotificationOptions(tools_changed=True)
        return super().create_initialization_options(options, experimental_capabilities, extensions)

    def instructions_text(self) -> str:
        """Return what models read about this server: its providers and how to find a tool. Below 2,000 characters."""
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

    async def _shortcut(self, ctx: ServerRequestContext[None, Any], call_next: CallNext) -> HandlerResult:
        """Answer `tools/list` from ready pages, and keep the instructions up to date (middleware).

        The SDK would validate and copy every tool of a page on each request.
        """
        modern = ctx.protocol_version in MODERN_PROTOCOL_VERSIONS
        if ctx.method == "tools/list" and (modern or ctx.session.client_params is not None):
            cursor = (ctx.params or {}).get("cursor")
            if cursor is None or isinstance(cursor, str):
                return await self._tools_page(ctx, cursor)
        if ctx.method == "tools/call":
            ctx = _with_arguments(ctx)
        result = await call_next(ctx)
        if ctx.method in {"initialize", "server/discover"} and is_object(result):
            return {**result, "instructions": self.instructions_text()}
        return result

    async def _list_tools(
        self, ctx: ServerRequestContext[None, Any], params: types.PaginatedRequestParams | None
    ) -> Any:
        return await self._tools_page(ctx, None if params is None else params.cursor)

    async def _tools_page(self, ctx: ServerRequestContext[None, Any], cursor: str | None) -> JsonObject:
        modern = ctx.protocol_version in MODERN_PROTOCOL_VERSIONS
        try:
            await self.readiness.settle()
            view = self.catalogue.view(_client_name(ctx))
            page = await page_in_turns(view, view.position(cursor), composed=modern)
        except StaleCursor as error:
            raise MCPError(types.INVALID_PARAMS, str(error)) from None
        except Exception as error:  # noqa: BLE001 - the SDK would send its text to the client
            raise _internal(error) from None
        if not modern:
            self.changes.given(ctx.session._connection, view, page)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - no public way to a session's lifetime
        result: JsonObject = {"tools": page.tools}
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
        return await self.changes.listen(ctx, params, self.catalogue.view(_client_name(ctx)))

    async def _call_tool(self, ctx: ServerRequestContext[None, Any], params: types.CallToolRequestParams) -> Any:
        try:
            with self.logs.relaying(ctx):
                return await self._dispatch(params.name, params.arguments or {}, _emitter(ctx), _caller(ctx))
        except UnknownTool as error:
            raise MCPError(types.INVALID_PARAMS, str(error)) from None
        except Exception as error:  # noqa: BLE001 - the SDK would send its text to the client
            return render_error(error)

    async def _dispatch(self, name: str, arguments: JsonObject, emit: Emit, caller: Caller) -> JsonObject:
        if name in self.meta_tools:
            await (self.readiness.settle if self.meta_tools.is_search(name) else self.readiness.wait)()
            return await self.meta_tools.call(name, arguments, emit, caller)
        entry = self.catalogue.resolve(name)
        if entry is None:
            await self.readiness.wait()
            entry = self.catalogue.resolve(name)
        if entry is None:
            raise self.meta_tools.unknown(name)
        return await call_entry(self.client, entry, arguments, emit, self.budgets.of(caller), self.workers)

    async def list_resources(self, ctx: ServerRequestContext[None, Any], _params: Any) -> types.ListResourcesResult:
        """Return the caller's kept results (handler of `resources/list`).

        Requests over HTTP without a session get none: other programs with the same token, or without one, could read
        each other's. They have the link of the result.
        """
        caller = _caller(ctx)
        kept = [] if caller.is_shared else self.budgets.kept.handles(caller.owner)
        resources = [
            types.Resource(
                uri=f"{RESULT_SCHEME}{handle}",
                name=f"result-{handle[:8]}",
                description="The whole of a result that was cut.",
                mime_type=one.media_type,
                size=one.size,
            )
            for handle, one in kept
        ]
        return types.ListResourcesResult(resources=resources)

    async def read_resource(
        self, ctx: ServerRequestContext[None, Any], params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        """Return a kept result, whole or from an offset on (handler of `resources/read`)."""
        caller = _caller(ctx)
        try:
            handle, offset = handle_and_offset(str(params.uri))
            kept = self.meta_tools.kept_result(handle, caller)
            limit = caller.max_event_bytes or _MAX_RESOURCE_BYTES
            contents = await self.workers.contents(kept, handle, offset, limit)
        except UtcpError as error:
            raise MCPError(types.INVALID_PARAMS, str(error)) from None
        return types.ReadResourceResult.model_validate({"contents": contents})


@asynccontextmanager
async def _serve_changes(server: Server[Any]) -> AsyncGenerator[None]:
    """Announce changes of the tools, and have workers for large replies, while the server runs (lifespan)."""
    if not isinstance(server, BridgeServer):
        raise TypeError("This lifespan belongs to BridgeServer.")
    unsubscribe = server.client.on_change(server.changes.mark)
    try:
        async with server.workers.open(), anyio.create_task_group() as group:
            group.start_soon(server.changes.announce)
            yield
            server.changes.close()
            group.cancel_scope.cancel()
    finally:
        unsubscribe()


def _with_arguments(ctx: ServerRequestContext[None, Any]) -> ServerRequestContext[None, Any]:
    """Return the request with an object as its arguments, if a model's JSON text was passed on. Blank text is `{}`."""
    arguments = (ctx.params or {}).get("arguments")
    if not isinstance(arguments, str):
        return ctx
    return replace(ctx, params={**(ctx.params or {}), "arguments": object_in(arguments) if arguments.strip() else {}})


def _resource_handlers(server: BridgeServer) -> dict[str, Any]:
    """Return the handlers for kept results. Clients ask for templates too as soon as a server has resources."""

    async def list_templates(_ctx: Any, _params: Any) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(resource_templates=[])

    return {
        "on_list_resources": server.list_resources,
        "on_list_resource_templates": list_templates,
        "on_read_resource": server.read_resource,
    }


def _caller(ctx: ServerRequestContext[None, Any]) -> Caller:
    """Return who calls. Kept results belong to the session of the handshake, or to the token of a request without one.

    Over stdio there is one client for the whole process.
    """
    session = ctx.session._connection.session_id  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - no public way
    headers = getattr(ctx.request, "headers", None)
    if session is not None:
        owner = f"session {session}"
    elif headers is not None:
        owner = f"token {hashlib.sha256(headers.get('authorization', '').encode()).hexdigest()}"
    else:
        owner = "stdio"
    return Caller(
        client=_client_name(ctx),
        owner=owner,
        understands_links=ctx.protocol_version >= _FIRST_VERSION_WITH_LINKS,
        max_event_bytes=None if session is None else MAX_EVENT_BYTES,
        is_shared=session is None and headers is not None,
    )


def _client_name(ctx: ServerRequestContext[None, Any]) -> str | None:
    """Return the name that a client gives itself: at its handshake, or in each request since 2026-07-28."""
    if ctx.session.client_params is not None:
        return ctx.session.client_params.client_info.name
    stated = (ctx.meta or {}).get(_CLIENT_INFO_KEY)
    name = stated.get("name") if is_object(stated) else None
    return name if isinstance(name, str) else None


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


def _internal(error: Exception) -> MCPError:
    ident = uuid.uuid4().hex[:12]
    _logger.error("Listing tools failed with an internal error (%s, id %s).", type(error).__name__, ident)
    _logger.debug("Cause of %s:", ident, exc_info=error)
    return MCPError(
        types.INTERNAL_ERROR,
        f"Internal error in utcp-bridge. Its log has the cause under id {ident}.",
    )


def _tracing_is_configured() -> bool:
    """Return whether an OpenTelemetry SDK is the tracer provider. Without one, spans only cost time."""
    from opentelemetry import trace

    return type(trace.get_tracer_provider()).__module__.startswith("opentelemetry.sdk")
