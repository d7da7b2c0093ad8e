"""An MCP server on FastMCP that asks its clients: `fastmcp_asking.py PORT ERA`, ERA `modern` or `handshake`.

The tools ask in the way of the protocol that the client speaks: with requests in the handshake era, with an
`InputRequiredResult` since 2026-07-28. A server of the handshake era refuses requests of the other, as older ones do.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import mcp_types as types
from fastmcp import Context, FastMCP
from mcp.types import InputRequiredResult
from starlette.middleware import Middleware
from starlette.responses import JSONResponse

NAME_FORM = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
QUESTION = [types.SamplingMessage(role="user", content=types.TextContent(type="text", text="Which tea?"))]

server = FastMCP("asking", instructions="Ask for tea here.")


class HandshakeOnly:
    """Refuses what carries the version of a later protocol."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope.get("headers", []))
        if headers.get(b"mcp-protocol-version", b"") >= b"2026":
            error = {"code": -32000, "message": "Bad Request: Unsupported protocol version"}
            refusal = JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, status_code=400)
            await refusal(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def is_modern(ctx: Context) -> bool:
    return str(ctx.request_context.protocol_version) >= "2026"


@server.tool
async def ask_name(ctx: Context) -> Any:
    """Ask the person for a name."""
    if is_modern(ctx):
        if not ctx.input_responses:
            form = types.ElicitRequestFormParams(message="Your name?", requested_schema=NAME_FORM)
            return InputRequiredResult(input_requests={"name": types.ElicitRequest(params=form)}, request_state="name")
        answer = ctx.input_responses["name"]
        return f"{answer.action} {answer.content} {ctx.request_state}"
    answer = await ctx.session.elicit("Your name?", NAME_FORM, related_request_id=ctx.request_id)
    return f"{answer.action} {answer.content} name"


@server.tool
async def ask_model(ctx: Context) -> Any:
    """Ask the client's model."""
    if is_modern(ctx):
        if not ctx.input_responses:
            params = types.CreateMessageRequestParams(messages=QUESTION, max_tokens=10)
            return InputRequiredResult(input_requests={"tea": types.CreateMessageRequest(params=params)})
        answer = ctx.input_responses["tea"]
    else:
        answer = await ctx.session.create_message(QUESTION, max_tokens=10, related_request_id=ctx.request_id)
    return f"{answer.model}: {answer.content.text}"


@server.tool
async def ask_roots(ctx: Context) -> Any:
    """Ask for the folders of the client."""
    if is_modern(ctx):
        if not ctx.input_responses:
            return InputRequiredResult(input_requests={"roots": types.ListRootsRequest()})
        answer = ctx.input_responses["roots"]
    else:
        answer = await ctx.session.list_roots()
    return " ".join(str(root.uri) for root in answer.roots)


@server.tool
async def work(ctx: Context) -> str:
    """Report progress and write to the log."""
    for step in (1, 2, 3):
        await ctx.report_progress(step, 3, f"step {step}")
        await ctx.warning(f"log {step}")
    return "done"


@server.resource("tea://menu", mime_type="text/plain")
def menu() -> str:
    """The menu."""
    return "green, black"


@server.resource("tea://pots/{pot}")
def pot(pot: str) -> str:
    """One pot."""
    return f"pot {pot}"


@server.prompt
def recommend(taste: str) -> str:
    """Recommend a tea."""
    return f"Recommend a tea that is {taste}."


wrapped = [Middleware(HandshakeOnly)] if sys.argv[2] == "handshake" else []
asyncio.run(
    server.run_http_async(
        host="127.0.0.1", port=int(sys.argv[1]), show_banner=False, log_level="warning", middleware=wrapped
    )
)
