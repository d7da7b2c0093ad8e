"""Why a session could not be opened, in words; and the further places where a server over HTTP is looked for."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web
from tests.interop.serving import free_port
from tests.upstreams.mcp_server import sse_server
from tests.upstreams.odd_mcp_server import OddServer

from utcp_bridge.errors import PolicyError, Rejected, Unreachable, UtcpError
from utcp_bridge.model import Document, JsonObject
from utcp_bridge.testing.services import make_target, open_services
from utcp_bridge.transports.mcp.failures import Attempt, handshake_failure, late_failure
from utcp_bridge.transports.mcp.transport import McpTransport

pytestmark = pytest.mark.anyio
TOOLS = {"tools/list": [{"tools": [{"name": "t", "inputSchema": {"type": "object"}}]}]}


@asynccontextmanager
async def web_server(*, path: str = "/elsewhere", **response: Any) -> AsyncIterator[tuple[str, list[str]]]:
    """Yield the base URL of a server with MCP at one path, and the requests to it; other paths get the response."""
    server, seen = OddServer({"replies": TOOLS}), list[str]()

    async def handle(request: web.Request) -> web.Response:
        seen.append(f"{request.method} {request.path}")
        if request.path != path or request.method != "POST":
            return web.Response(**{"status": 404, **response})
        reply = server.reply(await request.json())
        return web.Response(status=202) if reply is None else web.Response(text=reply, content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}", seen  # type: ignore[union-attr]
    finally:
        await runner.cleanup()


async def discover(server: JsonObject) -> Document:
    async with open_services() as services:
        transport = McpTransport(services)
        template = {"call_template_type": "mcp", "config": {"mcpServers": {"far": server}}}
        try:
            with anyio.fail_after(60):
                return await transport.discover(make_target(transport, template))
        finally:
            await transport.aclose()


REFUSALS: list[tuple[JsonObject, str]] = [
    ({"status": 401, "text": "no"}, "wants a login: it returned 401 Unauthorized. Give it credentials"),
    ({"status": 403}, "forbids the access: it returned 403 Forbidden. Check that its credentials"),
    ({"status": 404}, "is not at this address: it returned 404 Not Found. Check the path of the URL"),
    ({"status": 405}, "does not accept MCP requests at this address: it returned 405"),
    ({"status": 503, "headers": {"Retry-After": "30"}, "text": "down for repairs"},
     "returned 503 Service Unavailable. It says: down for repairs. Try again in 30 s."),
    ({"status": 200, "text": "<html><title>Sign in</title></html>", "content_type": "text/html"},
     "returned a web page instead of MCP: 'Sign in'. Check the path of the URL"),
    ({"status": 200, "text": "hello", "content_type": "text/plain"}, "returned text/plain instead of MCP."),
]  # fmt: skip


@pytest.mark.parametrize(("response", "words"), REFUSALS, ids=lambda one: str(one)[:40])
async def test_a_refusal_is_named_with_its_meaning_and_a_remedy(response: JsonObject, words: str) -> None:
    async with web_server(**response) as (url, _):
        with pytest.raises(UtcpError) as caught:
            await discover({"url": f"{url}/api"})
    assert f"{url}/api {words}" in str(caught.value)


async def test_a_url_without_a_path_is_also_tried_at_mcp() -> None:
    async with web_server(path="/mcp") as (url, seen):
        for address in (url, f"{url}/"):
            assert [tool["name"] for tool in (await discover({"url": address})).content["tools"]] == ["far.t"]
        with pytest.raises(Rejected):
            await discover({"url": f"{url}/api"})
        assert {"POST /", "POST /mcp", "POST /api"} <= set(seen)
        assert "POST /api/mcp" not in seen


async def test_a_server_of_the_older_transport_is_found_by_its_url_alone() -> None:
    async with sse_server("old") as url:
        names = [tool["name"] for tool in (await discover({"url": url})).content["tools"]]
    assert "far.who" in names


async def test_a_connection_that_is_refused_says_so() -> None:
    with pytest.raises(Unreachable, match="Connection refused"):
        await discover({"url": f"http://127.0.0.1:{free_port()}/mcp"})


def attempt(**fields: Any) -> Attempt:
    return Attempt("MCP server 's'", **{"command": "run", "folder": Path.cwd(), "path": "/a:/b", **fields})


def test_a_missing_command_is_named_with_the_path_and_the_place_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = FileNotFoundError(2, "No such file or directory")
    error = str(handshake_failure(missing, attempt()))
    assert "'run' of MCP server 's' does not start: it is not on the PATH (/a:/b)" in error
    monkeypatch.setenv("HOME", str(tmp_path))
    there = tmp_path / ".local" / "bin" / "run"
    there.parent.mkdir(parents=True)
    there.touch(mode=0o755)
    assert f"It is at {there}" in str(handshake_failure(missing, attempt()))
    assert "it does not exist" in str(handshake_failure(missing, attempt(command=f".{os.sep}run")))
    refused = OSError(22, "it is a batch file, and cmd.exe would replace %PATH% in its arguments")
    for command in ("run", f".{os.sep}run"):
        error = str(handshake_failure(refused, attempt(command=command)))
        assert "does not start: it is a batch file, and cmd.exe would replace %PATH% in its arguments. Change" in error
    assert "folder '/nowhere' does not exist" in str(handshake_failure(missing, attempt(folder=Path("/nowhere"))))


def test_our_own_errors_and_groups_of_errors_keep_their_words() -> None:
    ours = PolicyError("Not allowed.")
    assert handshake_failure(BaseExceptionGroup("", [ExceptionGroup("", [ours])]), attempt()) is ours
    caused = OSError("x")
    caused.__cause__ = ours
    assert handshake_failure(caused, attempt(command=None)) is ours


def test_a_late_server_is_named_with_its_last_words() -> None:
    owing = late_failure(attempt(), 18, is_open=True, goes_on=False)
    assert str(owing).startswith("MCP server 's' did not list its tools within 18 seconds. Raise `timeout`")
    error = late_failure(attempt(words="Its stderr says: loading."), 18, is_open=False)
    assert str(error).startswith(
        "MCP server 's' did not finish its handshake within 18 seconds. Its stderr says: loading. The bridge keeps"
    )
