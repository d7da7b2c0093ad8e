"""A real MCP server with everything but exotic tools: resources, templates, prompts, completions, logs, subscriptions.

Run as a program: `python -m tests.upstreams.mcp_offers NAME [legacy]`. With `legacy` it speaks the handshake era alone.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import mcp_types as types
from mcp import MCPError
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.runner import serve_loop
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
)
from starlette.responses import JSONResponse
from tests.upstreams.mcp_server import PNG, serving

ICON = {"src": "https://example.com/icon.png", "mimeType": "image/png", "sizes": ["48x48"]}
INSTRUCTIONS = "Use {name} for notes."


class OffersServer(Server[Any]):
    """The server, and what it was asked."""

    def __init__(self, name: str) -> None:
        self.notes = {"memo://guide": "Read me first.", f"{name}://own": f"Only {name} has this."}
        self.subscribed: list[str] = []
        self.unsubscribed: list[str] = []
        self.levels: list[str] = []
        self.states: list[Any] = []
        self.prompt_names = ["greet", f"{name}_only"]
        self.descriptions: dict[str, str] = {}
        """What prompts say of themselves, by their names."""
        self.bus = InMemorySubscriptionBus()
        self.sessions: dict[str, Any] = {}
        self.odd: dict[str, Any] = {}
        """What lists return besides, by their names; `hang` for nothing at all."""
        super().__init__(
            name,
            version="1",
            instructions=INSTRUCTIONS.format(name=name),
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_templates,
            on_read_resource=self._read,
            on_list_prompts=self._list_prompts,
            on_get_prompt=self._get_prompt,
            on_completion=self._complete,
            on_subscribe_resource=self._subscribe,
            on_unsubscribe_resource=self._unsubscribe,
            on_subscriptions_listen=self._listen,
        )
        self._handler = ListenHandler(self.bus)
        self.add_request_handler("logging/setLevel", types.SetLevelRequestParams, self._set_level)

    def create_initialization_options(self, *_args: Any, **_kwargs: Any) -> Any:
        return super().create_initialization_options(NotificationOptions(True, True, True))

    async def _list_tools(self, _ctx: Any, _params: Any) -> Any:
        schema = {"type": "object", "properties": {"uri": {"type": "string"}}}
        names = ("link", "say", "refuse", "touch", "grow", "meta", "die")
        return types.ListToolsResult.model_validate(
            {
                "tools": [
                    {
                        "name": name,
                        "inputSchema": schema,
                        "icons": [ICON],
                        "_meta": {"example.com/kind": name},
                        "execution": {"taskSupport": "optional"},
                        "annotations": {"title": f"Does {name}", "destructiveHint": True},
                    }
                    for name in names
                ]
            }
        )

    async def _call_tool(self, ctx: Any, params: Any) -> Any:
        return await getattr(self, f"_do_{params.name}")(ctx, params.arguments or {})

    async def _do_link(self, _ctx: Any, arguments: dict[str, Any]) -> Any:
        uri = arguments["uri"]
        link = types.ResourceLink(type="resource_link", uri=uri, name="linked")
        part = types.TextResourceContents(uri=uri, text="embedded")
        return types.CallToolResult(content=[link, types.EmbeddedResource(type="resource", resource=part)])

    async def _do_say(self, ctx: Any, arguments: dict[str, Any]) -> Any:
        for level in ("debug", "info", "error"):
            await _log(ctx, level, f"{level} for {arguments['uri']}")
        return _said("said")

    async def _do_refuse(self, _ctx: Any, arguments: dict[str, Any]) -> Any:
        raise MCPError(int(arguments["uri"]), "not like this", {"why": "because"})

    async def _do_touch(self, ctx: Any, arguments: dict[str, Any]) -> Any:
        await self.touch(arguments["uri"])
        return _said("touched")

    async def _do_grow(self, ctx: Any, arguments: dict[str, Any]) -> Any:
        await self.grow(arguments["uri"])
        return _said("grown")

    async def _do_meta(self, _ctx: Any, _arguments: dict[str, Any]) -> Any:
        content = [types.TextContent(type="text", text="with meta", _meta={"example.com/block": 1})]
        return types.CallToolResult(content=content, _meta={"example.com/result": 2})

    async def _do_die(self, _ctx: Any, _arguments: dict[str, Any]) -> Any:
        os._exit(3)

    async def touch(self, uri: str) -> None:
        """Say that a resource has changed: to those who subscribed, in either era."""
        await self.bus.publish(ResourceUpdated(uri=uri))
        if (session := self.sessions.get(uri)) is not None:
            await session.send_resource_updated(uri)

    async def grow(self, name: str) -> None:
        """Add a resource and a prompt, and say so."""
        self.notes[f"memo://{name}"] = name
        self.prompt_names.append(name)
        await self.bus.publish(ResourcesListChanged())
        await self.bus.publish(PromptsListChanged())
        if (session := self.sessions.get("")) is not None:
            await session.send_resource_list_changed()
            await session.send_prompt_list_changed()

    async def _list_resources(self, ctx: Any, _params: Any) -> Any:
        self._note(ctx)
        return {
            "resources": [
                {"uri": uri, "name": f"the {uri}", "mimeType": "text/plain", "icons": [ICON], "_meta": {"a/b": 1}}
                for uri in self.notes
            ],
            **_modern(ctx),
        }

    def _note(self, ctx: Any) -> None:
        if ctx.protocol_version < "2026":
            self.sessions[""] = ctx.session._connection

    async def _list_templates(self, _ctx: Any, _params: Any) -> Any:
        one = types.ResourceTemplate(name="note", uri_template=f"{self.name}://notes/{{id}}", description="A note.")
        two = types.ResourceTemplate(name="page", uri_template="memo://pages/{number}")
        return types.ListResourceTemplatesResult(resource_templates=[one, two])

    async def _read(self, ctx: Any, params: Any) -> Any:
        uri = str(params.uri)
        if uri == "memo://picture":
            blob = types.BlobResourceContents(uri=uri, blob=PNG, mime_type="image/png")
            return types.ReadResourceResult(contents=[blob], ttl_ms=5_000, cache_scope="public")
        if uri == "memo://loud":
            await _log(ctx, "error", "reading aloud")
        await ctx.session.report_progress(1, 2, f"reading {uri}")
        text = self.notes.get(uri) or f"{self.name} has {uri}"
        if "missing" in uri:
            raise MCPError(-32002, "Resource not found", {"uri": uri})
        return types.ReadResourceResult(contents=[types.TextResourceContents(uri=uri, text=text)])

    async def _list_prompts(self, ctx: Any, _params: Any) -> Any:
        self._note(ctx)
        if self.odd.get("prompts") == "hang":
            await asyncio.Event().wait()
        if self.odd.get("prompts") == "fail":
            raise MCPError(-32603, "no prompts today")
        argument = types.PromptArgument(name="who", description="Whom to greet.", required=True)
        return types.ListPromptsResult(
            prompts=[
                types.Prompt(
                    name=name,
                    title=f"The {name}",
                    description=self.descriptions.get(name),
                    arguments=[argument],
                )
                for name in self.prompt_names
            ]
        )

    async def _get_prompt(self, ctx: Any, params: Any) -> Any:
        await ctx.session.report_progress(1, 2, f"filling in {params.name}")
        text = f"{self.name} {params.name} {(params.arguments or {}).get('who')}"
        link = types.ResourceLink(type="resource_link", uri="memo://guide", name="guide")
        return types.GetPromptResult(
            description="A prompt.",
            messages=[
                types.PromptMessage(role="user", content=types.TextContent(type="text", text=text)),
                types.PromptMessage(role="assistant", content=link),
            ],
        )

    async def _complete(self, ctx: Any, params: Any) -> Any:
        await _log(ctx, "error", "completing")
        known = params.ref.name if params.ref.type == "ref/prompt" else params.ref.uri
        context = {} if params.context is None else params.context.arguments
        values = [f"{self.name} {known} {params.argument.name} {params.argument.value} {context}"]
        return types.CompleteResult(completion=types.Completion(values=values, total=1, has_more=False))

    async def _subscribe(self, ctx: Any, params: Any) -> Any:
        self.subscribed.append(str(params.uri))
        self.sessions[str(params.uri)] = ctx.session._connection
        return types.EmptyResult()

    async def _unsubscribe(self, _ctx: Any, params: Any) -> Any:
        self.unsubscribed.append(str(params.uri))
        self.sessions.pop(str(params.uri), None)
        return types.EmptyResult()

    async def _listen(self, ctx: Any, params: Any) -> Any:
        uris = list(params.notifications.resource_subscriptions or ())
        self.subscribed += uris
        try:
            return await self._handler(ctx, params)
        finally:
            self.unsubscribed += uris

    async def _set_level(self, _ctx: Any, params: Any) -> Any:
        self.levels.append(params.level)
        return types.EmptyResult()


async def _log(ctx: Any, level: Any, text: str) -> None:
    params = types.LoggingMessageNotificationParams(level=level, data=text, logger="notes")
    await ctx.session.send_notification(
        types.LoggingMessageNotification(params=params), related_request_id=ctx.request_id
    )


def _modern(ctx: Any) -> dict[str, Any]:
    return {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"} if ctx.protocol_version >= "2026" else {}


def _said(text: str) -> Any:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)])


@asynccontextmanager
async def offers_over_http(server: OffersServer, *, legacy: bool = False) -> AsyncIterator[str]:
    """Serve on streamable HTTP and yield the URL. With `legacy`, the server refuses requests of 2026-07-28."""
    served = server.streamable_http_app()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        version = dict(scope.get("headers", ())).get(b"mcp-protocol-version", b"")
        if legacy and version >= b"2026":
            error = {"code": -32600, "message": "Bad Request: Unsupported protocol version"}
            refusal = JSONResponse({"jsonrpc": "2.0", "id": "server-error", "error": error}, 400)
            await refusal(scope, receive, send)
            return
        await served(scope, receive, send)

    async with serving(app) as base:
        yield f"{base}/mcp"


async def _main(name: str, era: str = "") -> None:
    server = OffersServer(name)
    async with stdio_server() as (read, write):
        if era == "legacy":
            await serve_loop(server, read, write, lifespan_state=None)
        else:
            await server.run(read, write, server.create_initialization_options())


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
