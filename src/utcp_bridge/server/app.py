"""The MCP server over a UTCP client: handlers on the SDK's low-level `Server`, for both protocol eras.

Every handler catches everything: what escapes one reaches a client of the handshake era with its text.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

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
from utcp_bridge.catalogue.catalogue import Entry
from utcp_bridge.catalogue.ports import ClientPort
from utcp_bridge.catalogue.render import Rendering, compact, render_error, render_result
from utcp_bridge.catalogue.text import shorten
from utcp_bridge.errors import InvalidArguments, StaleCursor, UnknownTool
from utcp_bridge.model import Emit, JsonObject, discard, is_object
from utcp_bridge.search.query import describe_catalogue
from utcp_bridge.server.changes import Changes
from utcp_bridge.server.meta_tools import MetaTools
from utcp_bridge.server.readiness import Readiness

__all__ = ["BridgeServer"]

_log = logging.getLogger(__name__)
_LONGEST_LIST: Final = 1_600
_LONGEST_PROGRESS: Final = 8_000
_SERVER_INFO_KEY: Final = "io.modelcontextprotocol/serverInfo"
_CLIENT_INFO_KEY: Final = "io.modelcontextprotocol/clientInfo"
_MINUTE_MS: Final = 60_000


class BridgeServer(Server[None]):
    """An MCP server whose tools are a UTCP client's. The client is opened and closed by whoever made it."""

    def __init__(self, client: ClientPort, *, name: str = "utcp-bridge", title: str | None = "UTCP bridge") -> None:
        self.client = client
        self.meta_tools = MetaTools(client, self._run)
        self.catalogue = self.meta_tools.catalogue
        self.readiness = Readiness(client)
        self.changes = Changes()
        super().__init__(
            name,
            version=__version__,
            title=title,
            lifespan=_serve_changes,
            cache_hints={"tools/list": self._cache_hint()},
            get_tool_input_schema=self.catalogue.input_schema,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_subscriptions_listen=self.changes.listen,
        )
        self.add_notification_handler("notifications/initialized", types.NotificationParams, self.changes.remember)
        if not _tracing_is_configured():
            self.middleware.clear()
        self.middleware.append(self._shortcut)

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        """As the SDK's, but `tools.listChanged` is always said: its HTTP leg asks without options."""
        options = notification_options or NotificationOptions(tools_changed=True)
        return super().create_initialization_options(options, experimental_capabilities, extensions)

    def instructions_text(self) -> str:
        """What the model is told of this server: the providers and how to find a tool; below 2,000 characters."""
        counts = self.catalogue.counts()
        names = self.client.settings.meta_tools
        if names.search is None:
            return f"This server gives access to {sum(counts.values()):,} tools of {len(counts)} providers."
        text = f"This server gives access to the tools of UTCP providers. {describe_catalogue(counts, _LONGEST_LIST)}"
        text += f" Not every tool may be listed: find tools by what they do with {names.search}."
        return f"{text} Any tool can be called by name with {names.call}." if names.call else text

    def _cache_hint(self) -> CacheHint:
        seconds = self.client.settings.refresh_interval
        ttl_ms = int(seconds * 1000) if seconds else _MINUTE_MS
        return CacheHint(ttl_ms=ttl_ms, scope="private" if self.client.settings.bearer_token else "public")

    async def _shortcut(self, ctx: ServerRequestContext[None, Any], call_next: CallNext) -> HandlerResult:
        """Middleware: answers `tools/list` from ready pages, and keeps the instructions up to date.

        The SDK would validate and copy every tool of a page again on each request.
        """
        modern = ctx.protocol_version in MODERN_PROTOCOL_VERSIONS
        if ctx.method == "tools/list" and (modern or ctx.session.client_params is not None):
            cursor = (ctx.params or {}).get("cursor")
            if cursor is None or isinstance(cursor, str):
                return await self._tools_page(ctx, cursor)
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
            await self.readiness.wait()
            page = self.catalogue.page(cursor, composed=modern, client=_client_name(ctx))
        except StaleCursor as error:
            raise MCPError(types.INVALID_PARAMS, str(error)) from None
        except Exception as error:  # noqa: BLE001 - what escapes reaches the client with its text
            raise _internal(error) from None
        result: JsonObject = {"tools": page.tools}
        if page.next_cursor is not None:
            result["nextCursor"] = page.next_cursor
        if modern:
            hint = self.cache_hints["tools/list"]
            result |= {"resultType": "complete", "ttlMs": hint.ttl_ms, "cacheScope": hint.scope}
            result["_meta"] = {_SERVER_INFO_KEY: self.server_info_stamp}
        return result

    async def _call_tool(self, ctx: ServerRequestContext[None, Any], params: types.CallToolRequestParams) -> Any:
        try:
            return await self._dispatch(params.name, params.arguments or {}, _emitter(ctx), _client_name(ctx))
        except UnknownTool as error:
            raise MCPError(types.INVALID_PARAMS, str(error)) from None
        except Exception as error:  # noqa: BLE001 - what escapes reaches the client with its text
            return render_error(error)

    async def _dispatch(self, name: str, arguments: JsonObject, emit: Emit, client: str | None) -> JsonObject:
        if name in self.meta_tools:
            await self.readiness.wait()
            return await self.meta_tools.call(name, arguments, emit, client)
        entry = self.catalogue.resolve(name)
        if entry is None:
            await self.readiness.wait()
            entry = self.catalogue.resolve(name)
        if entry is None:
            raise self.meta_tools.unknown(name)
        return await self._run(entry, arguments, emit)

    async def _run(self, entry: Entry, arguments: JsonObject, emit: Emit) -> JsonObject:
        """One call, rendered. Raises InvalidArguments, for callers that can say more about it."""
        try:
            result = await self.client.call(entry.tool, entry.own_arguments(arguments), emit)
            return render_result(result, self._rendering(entry))
        except InvalidArguments:
            raise
        except Exception as error:  # noqa: BLE001 - an error of any kind is a result
            return render_error(error)

    def _rendering(self, entry: Entry) -> Rendering:
        settings = self.client.settings
        output = entry.output
        return Rendering(
            max_bytes=settings.max_result_bytes,
            structured=output is not None or settings.structured_content == "always",
            conform=entry.conform,
            wrapped=output is not None and output.wrapped,
            uri=f"utcp:{entry.name}",
        )


@asynccontextmanager
async def _serve_changes(server: Server[Any]) -> AsyncGenerator[None]:
    """Lifespan: announces changes of the tools while the server runs."""
    if not isinstance(server, BridgeServer):
        raise TypeError("this lifespan belongs to BridgeServer")
    unsubscribe = server.client.on_change(server.changes.mark)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(server.changes.announce)
            yield
            server.changes.close()
            group.cancel_scope.cancel()
    finally:
        unsubscribe()


def _client_name(ctx: ServerRequestContext[None, Any]) -> str | None:
    """The name that a client gives itself: at its handshake, or with each request since 2026-07-28."""
    if ctx.session.client_params is not None:
        return ctx.session.client_params.client_info.name
    stated = (ctx.meta or {}).get(_CLIENT_INFO_KEY)
    name = stated.get("name") if is_object(stated) else None
    return name if isinstance(name, str) else None


def _emitter(ctx: ServerRequestContext[None, Any]) -> Emit:
    """Partial results as progress notifications, if the client asked for them.

    A partial that is itself a report (`{"progress": 3, "total": 10, "message": "…"}`) is passed on as one.
    """
    if not ctx.meta or ctx.meta.get("progress_token") is None:
        return discard
    last = 0.0

    async def emit(partial: Any) -> None:
        nonlocal last
        progress, total, message = _progress(partial)
        last = progress if progress is not None and progress > last else last + 1
        await ctx.session.report_progress(last, total, shorten(message, _LONGEST_PROGRESS))

    return emit


def _progress(partial: Any) -> tuple[float | None, float | None, str]:
    if not is_object(partial):
        return None, None, compact(partial)
    progress, total, message = (partial.get(key) for key in ("progress", "total", "message"))
    if not _is_number(progress):
        return None, None, compact(partial)
    return progress, total if _is_number(total) else None, message if isinstance(message, str) else compact(partial)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value - value == 0


def _internal(error: Exception) -> MCPError:
    ident = uuid.uuid4().hex[:12]
    _log.error("Listing tools failed inside the bridge (%s, id %s).", type(error).__name__, ident)
    _log.debug("Cause of %s:", ident, exc_info=error)
    return MCPError(types.INTERNAL_ERROR, f"Listing tools failed. The log names the cause under id {ident}.")


def _tracing_is_configured() -> bool:
    """Whether an OpenTelemetry SDK is installed as the tracer provider; without one its spans only cost time."""
    from opentelemetry import trace

    return type(trace.get_tracer_provider()).__module__.startswith("opentelemetry.sdk")
