"""Requests of one principal that try to be taken for those of another: odd paths, several tokens, one connection."""

import json
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import anyio
import pytest
from tests.support.hot_requests import plain
from tests.support.served_here import serve
from tests.support.server_client import StandIn

from utcp_bridge.access.tokens import TokenFile
from utcp_bridge.server.app import BridgeServer
from utcp_bridge.settings import BridgeSettings

pytestmark = pytest.mark.anyio
PATHS = [
    "/mcp/p/{}", "/mcp/p/{}/", "/mcp/p//{}", "//mcp/p/{}", "/mcp//p/{}", "/mcp/./p/{}", "/mcp/p/./{}",
    "/mcp/p/red/../{}", "/mcp/p/red/..%2f{}", "/mcp/p/red%2f..%2f{}", "/mcp/p/red/{}", "/mcp%2fp%2f{}",
    "/mcp/p%2f{}", "/mcp/p/{}%00", "/mcp/p/{}%20", "/mcp/p/{};x", "/mcp/p/{}?x=1", "/mcp/p/{}%3fx", "/mcp/p/{}#x",
    "/MCP/p/{}", "/mcp/P/{}", "/mcp/p/red%252f..%252f{}", "/mcp/p/{}/p/red", "/mcp/p/red/p/{}",
    "http://127.0.0.1/mcp/p/{}", "/utcp/p/{}", "/utcp/p/{}/", "/utcp/p//{}", "/utcp/p/red/../{}",
    "/utcp/p/red%2f..%2f{}", "/utcp/p/red/p/{}", "/utcp/p/{}/proof", "/admin/api/../../mcp/p/{}",
    "/console/%2e%2e/mcp/p/{}",
]  # fmt: skip
"""Addresses that a careless server reads as that of the profile."""
RED, BLUE = {"red_tool"}, {"blue_tool"}
OWN_LIST = ["Content-Type: application/json", "Accept: application/json", "MCP-Protocol-Version: 2026-07-28"]
LIST = json.dumps(plain("tools/list", modern=True)).encode()


class Connection:
    """One connection, over which requests are sent as they are written."""

    def __init__(self, stream, host):
        self._stream, self._host, self._rest = stream, host, b""

    async def ask(self, target, *lines, method="POST", body=LIST):
        """Return the status and the body of a response."""
        head = [f"{method} {target} HTTP/1.1", f"Host: {self._host}", *OWN_LIST, "Mcp-Method: tools/list", *lines]
        data = "\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body
        await self._stream.send(data)
        while b"\r\n\r\n" not in self._rest:
            self._rest += await self._stream.receive()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        length = int(fields[b"content-length"])
        while len(self._rest) < length:
            self._rest += await self._stream.receive()
        body, self._rest = self._rest[:length], self._rest[length:]
        return int(head.split()[1]), body.decode()

    async def tools(self, target, *lines):
        """Return the tools that a request lists."""
        status, body = await self.ask(target, *lines)
        assert status == 200, body
        return {one["name"] for one in json.loads(body)["result"]["tools"]} & (RED | BLUE)


@asynccontextmanager
async def connected(url):
    parts = urlsplit(url)
    async with await anyio.connect_tcp(parts.hostname, parts.port) as stream:
        yield Connection(stream, parts.netloc)


@pytest.fixture
def served(tmp_path):
    """Return a function that serves two profiles, and runs `work(url, red, blue)` with a header of each principal."""
    file = TokenFile(tmp_path / "tokens.json")
    red, blue = (f"Authorization: Bearer {file.add(name, profiles=[name]).value}" for name in ("red", "blue"))
    profiles = {name: {"manuals": name} for name in ("red", "blue")}
    settings = {"port": 0, "exposure": "all", "profiles": profiles, "tokens_file": str(file.path), "console": "on"}

    async def run(work):
        client = StandIn(BridgeSettings(**settings))
        client.loaded.set()
        for name in ("red", "blue"):
            client.add(name, "tool")
        await serve(BridgeServer(client), lambda url: work(url, red, blue))

    return run


async def test_no_form_of_an_address_leads_to_the_profile_of_another_principal(served):
    async def work(url, red, blue):
        for path in PATHS:
            for method in ("POST", "GET"):
                seen = []
                for name in ("blue", "blau"):  # the second one does not exist
                    async with connected(url) as connection:
                        status, body = await connection.ask(path.format(name), red, method=method)
                        assert "blue_tool" not in body, path
                        seen.append((status, body.replace(name, "NAME")))
                assert seen[0] == seen[1], path
        async with connected(url) as connection:
            assert await connection.tools("/mcp/p/blue", blue) == BLUE
            assert await connection.tools("/mcp/p/red/", red) == RED

    await served(work)


async def test_a_connection_that_two_principals_share_mixes_nothing(served):
    """Heads are kept by their bytes, so a proxy's connection has those of several principals."""

    async def work(url, red, blue):
        async with connected(url) as connection:
            for _ in range(3):
                assert await connection.tools("/mcp", red) == RED
                assert await connection.tools("/mcp", blue) == BLUE
                assert await connection.tools("/mcp/p/red", red) == RED
                for wrong in ((red, blue), (blue, red), (red, red), (f"{red}, {blue.partition(' ')[2]}",), (red[:-1],)):
                    status, body = await connection.ask("/mcp", *wrong)
                    assert (status, "_tool" in body) == (401, False)
                assert (await connection.ask("/mcp/p/blue", red))[0] == 404
                assert (await connection.ask("/mcp?access_token=x", red))[0] == 400
                assert (await connection.ask("/mcp"))[0] == 401

    await served(work)


async def test_a_principal_without_the_right_reaches_nothing_of_the_console(served):
    async def work(url, red, _blue):
        async with connected(url) as connection:
            for path in (
                "status",
                "manuals",
                "tools",
                "calls",
                "tokens",
                "approvals",
                "drift",
                "hosts",
                "openapi.json",
            ):
                for target in (f"/admin/api/{path}", f"/admin/api/{path}/", f"/admin/api//{path}"):
                    status, body = await connection.ask(target, red, "X-Utcp-Console: 1", method="GET", body=b"")
                    assert (status, "_tool" in body) == (401, False), target
            for path in ("decide", "approve", "call", "retry", "explain"):
                status, _ = await connection.ask(f"/admin/api/{path}", red, "X-Utcp-Console: 1", body=b"{}")
                assert status == 401, path
            for path in (
                "/console/parts/tools",
                "/console/tool?name=blue.tool",
                "/console/events",
                "/Console/parts/tools",
            ):
                status, body = await connection.ask(path, red, method="GET", body=b"")
                assert status in {401, 404}, path
                assert "blue" not in body

    await served(work)
