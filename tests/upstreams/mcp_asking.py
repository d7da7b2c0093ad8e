"""A real MCP server whose tools ask their host for something, in one protocol era.

Run as a program over stdio: `python -m tests.upstreams.mcp_asking handshake|modern|both|handshake-roots [FILE]`.
FILE receives a line for each process that starts. `asking_http` serves over HTTP in process.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
from mcp import MCPError
from mcp.server.lowlevel import Server
from mcp.server.runner import serve_loop
from mcp.server.stdio import stdio_server
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from starlette.responses import JSONResponse
from tests.upstreams.mcp_server import serving

FORM = {"type": "object", "properties": {"name": {"type": "string"}}}
PAGE = "https://example.com/consent"
ASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "confirm": ("elicitation/create", {"mode": "form", "message": "Who are you?", "requestedSchema": FORM}),
    "consent": ("elicitation/create", {"mode": "url", "message": "Open it.", "url": PAGE, "elicitationId": "e-1"}),
    "sample": (
        "sampling/createMessage",
        {"messages": [{"role": "user", "content": {"type": "text", "text": "Hi"}}], "maxTokens": 7},
    ),
    "roots": ("roots/list", {}),
}
"""What the tool of each name asks for."""


class AskingServer:
    """The tools, in the era `handshake`, `modern`, or `both`: then as the connection says.

    `seen` has what the server noticed, in order. With `wants_roots`, it asks for roots as soon as a session is open.
    """

    def __init__(self, era: str, *, wants_roots: bool = False) -> None:
        self.era = era
        self.wants_roots = wants_roots
        self.seen: list[Any] = []
        self.moved = asyncio.Event()
        self.opened: set[str] = set()
        self.listens = asyncio.Event()
        """Over HTTP, streams of notifications open when it is set."""
        self.listens.set()
        self.server: Server[Any] = Server(
            "asking",
            on_list_tools=self._list,
            on_call_tool=self._call,
            on_list_prompts=self._list_prompts,
            on_get_prompt=self._get_prompt,
        )
        self.server.add_notification_handler(
            "notifications/roots/list_changed", types.NotificationParams, self._roots_changed
        )
        self.server.add_notification_handler("notifications/initialized", types.NotificationParams, self._opened)
        self.server.middleware.append(self._in_one_era)

    async def _in_one_era(self, ctx: Any, call_next: Any) -> Any:
        if ctx.method == "initialize" and self.era == "modern":
            supported = list(MODERN_PROTOCOL_VERSIONS)
            raise MCPError(types.UNSUPPORTED_PROTOCOL_VERSION, "Only the newest.", {"supported": supported})
        return await call_next(ctx)

    async def _opened(self, ctx: Any, _params: Any) -> None:
        if self.wants_roots:
            await self._note_roots(ctx)

    async def _note_roots(self, ctx: Any) -> None:
        found = await ctx.session.send_request(types.ListRootsRequest(), types.ListRootsResult)
        self.note(found.model_dump(by_alias=True, mode="json", exclude_none=True))

    def note(self, what: Any) -> None:
        self.seen.append(what)
        self.moved.set()
        self.moved = asyncio.Event()

    async def until(self, what: Any) -> None:
        while what not in self.seen:
            await self.moved.wait()

    async def _list(self, _ctx: Any, _params: Any) -> Any:
        names = [
            *ASKS,
            "twice",
            "both",
            "page",
            "able",
            "quiet",
            "endless",
            "failing",
            "hold",
            "complete",
            "known",
            "aside",
            "stay",
        ]
        return types.ListToolsResult(tools=[types.Tool(name=name, input_schema={"type": "object"}) for name in names])

    async def _list_prompts(self, _ctx: Any, _params: Any) -> Any:
        return types.ListPromptsResult(prompts=[types.Prompt(name="letter")])

    async def _get_prompt(self, ctx: Any, params: Any) -> Any:
        answer = await self._ask(ctx, params, {"q": "confirm"})
        if isinstance(answer, types.InputRequiredResult):
            return answer
        text = types.TextContent(type="text", text=json.dumps(answer["q"], sort_keys=True))
        return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=text)])

    async def _roots_changed(self, ctx: Any, _params: Any) -> None:
        self.note("roots changed")
        await self._note_roots(ctx)

    async def _call(self, ctx: Any, params: Any) -> Any:
        special: Callable[[Any, Any], Any] | None = getattr(self, f"_tool_{params.name}", None)
        if special is not None:
            return await special(ctx, params)
        answer = await self._ask(ctx, params, {"q": params.name})
        return answer if isinstance(answer, types.InputRequiredResult) else _said(answer["q"])

    async def _tool_able(self, ctx: Any, _params: Any) -> Any:
        able = ctx.session.client_capabilities
        return _said({"pid": os.getpid(), **able.model_dump(by_alias=True, mode="json", exclude_none=True)})

    async def _tool_quiet(self, _ctx: Any, _params: Any) -> Any:
        return _said(os.getpid())

    async def _tool_aside(self, ctx: Any, params: Any) -> Any:
        """Ask on the stream of notifications, after what the test may name."""
        self.note("aside")
        if (after := (params.arguments or {}).get("after")) is not None:
            await self.until(after)
        method, given = ASKS["confirm"]
        params = types.ElicitRequestFormParams(message=given["message"], requested_schema=given["requestedSchema"])
        request = types.ElicitRequest(method=method, params=params)
        answer = await ctx.session.send_request(request, types.ElicitResult)
        return _said(answer.model_dump(by_alias=True, mode="json", exclude_none=True))

    async def _tool_stay(self, _ctx: Any, _params: Any) -> Any:
        """Ask nothing, and end when the test says so."""
        self.note("staying")
        await self.until("leave")
        return _said("left")

    async def _tool_known(self, _ctx: Any, params: Any) -> Any:
        """Wait until the server knows certain roots."""
        await self.until({"roots": [{"uri": (params.arguments or {})["uri"]}]})
        return _said(self.seen)

    async def _tool_both(self, ctx: Any, params: Any) -> Any:
        answer = await self._ask(ctx, params, {"one": "confirm", "two": "roots"})
        return answer if isinstance(answer, types.InputRequiredResult) else _said(answer)

    async def _tool_hold(self, ctx: Any, params: Any) -> Any:
        """Report progress, wait until the test says so, and then ask."""
        await ctx.session.report_progress(1, 2, "before")
        self.note("holding")
        try:
            await self.until(f"go {(params.arguments or {}).get('who')}")
        except asyncio.CancelledError:
            self.note("cancelled")
            raise
        return await self._call(ctx, params.model_copy(update={"name": "confirm"}))

    async def _tool_failing(self, ctx: Any, params: Any) -> Any:
        """Ask, and say how the host refused it."""
        try:
            wanted = (params.arguments or {}).get("ask", "sample")
            return await self._call(ctx, params.model_copy(update={"name": wanted}))
        except MCPError as error:
            self.note(f"refused {error.code}")
            return _said({"code": error.code, "message": error.message})

    async def _tool_twice(self, ctx: Any, params: Any) -> Any:
        if not _is_modern(ctx):
            return _said([(await self._ask(ctx, params, {"q": "confirm"}))["q"] for _ in range(2)])
        step, answers = json.loads(params.request_state or "[0, []]")
        given = _dumped(params.input_responses)
        answers += [given["q"]] if "q" in given else []
        if len(answers) == 2:
            return _said(answers)
        return _required({"q": "confirm"}, json.dumps([step + 1, answers]))

    async def _tool_endless(self, _ctx: Any, _params: Any) -> Any:
        return _required({"q": "confirm"}, "again")

    async def _tool_page(self, _ctx: Any, _params: Any) -> Any:
        if "page" in self.opened:
            return _said("welcome")
        self.opened.add("page")
        page = {"mode": "url", "message": "Log in.", "url": PAGE, "elicitationId": "e-2"}
        raise MCPError(-32042, "Open a page first.", {"elicitations": [page]})

    async def _tool_complete(self, ctx: Any, params: Any) -> Any:
        """Ask to open a page, and say that this is done."""
        answer = await self._call(ctx, params.model_copy(update={"name": "consent"}))
        done = types.ElicitCompleteNotificationParams(elicitation_id="e-1")
        await ctx.session.send_notification(types.ElicitCompleteNotification(params=done), ctx.request_id)
        return answer

    async def _ask(self, ctx: Any, params: Any, wanted: dict[str, str]) -> Any:
        """Return the answers under these keys; in 2026-07-28, the result that asks for them if they are not there."""
        if _is_modern(ctx):
            given = _dumped(params.input_responses)
            if given.keys() >= wanted.keys() and params.request_state == "mine":
                return given
            return _required(wanted, "mine")
        answers: dict[str, Any] = {}

        async def ask(key: str, name: str) -> None:
            method, given = ASKS[name]
            try:
                answers[key] = await ctx.session._request_outbound.send_raw_request(method, given)
            except MCPError as error:
                refusals.append(error)

        refusals: list[MCPError] = []
        async with anyio.create_task_group() as group:
            for key, name in wanted.items():
                group.start_soon(ask, key, name)
        for refusal in refusals:
            raise refusal
        return answers


def _is_modern(ctx: Any) -> bool:
    return ctx.protocol_version in MODERN_PROTOCOL_VERSIONS


def _dumped(responses: Any) -> dict[str, Any]:
    return {
        key: one.model_dump(by_alias=True, mode="json", exclude_none=True) for key, one in (responses or {}).items()
    }


def _required(wanted: dict[str, str], state: str) -> Any:
    requests = {
        key: {"method": ASKS[name][0], **({"params": ASKS[name][1]} if ASKS[name][1] else {})}
        for key, name in wanted.items()
    }
    return types.InputRequiredResult.model_validate({"inputRequests": requests, "requestState": state})


def _said(value: Any) -> Any:
    return types.CallToolResult(content=[types.TextContent(type="text", text=json.dumps(value, sort_keys=True))])


@asynccontextmanager
async def asking_http(asking: AskingServer) -> AsyncIterator[str]:
    """Serve over streamable HTTP and yield the URL. A server of the handshake era refuses 2026-07-28."""
    served = asking.server.streamable_http_app()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        version = dict(scope.get("headers", ())).get(b"mcp-protocol-version", b"").decode()
        if asking.era == "handshake" and version in MODERN_PROTOCOL_VERSIONS:
            error = {"code": -32600, "message": "Unsupported protocol version"}
            await JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, 400)(scope, receive, send)
            return
        if scope["type"] == "http" and scope["method"] == "GET":
            asking.note("GET")
            await asking.listens.wait()
        await served(scope, receive, send)

    async with serving(app) as base:
        yield f"{base}/mcp"


async def _main(era: str) -> None:
    name, _, wants = era.partition("-")
    asking = AskingServer(name, wants_roots=wants == "roots")
    async with stdio_server() as (read, write):
        if name == "handshake":
            await serve_loop(asking.server, read, write, lifespan_state={})
        else:
            await asking.server.run(read, write, asking.server.create_initialization_options())


if __name__ == "__main__":
    if len(sys.argv) > 2:
        with Path(sys.argv[2]).open("a", encoding="utf-8") as file:
            file.write(f"{os.getpid()}\n")
    asyncio.run(_main(sys.argv[1]))
