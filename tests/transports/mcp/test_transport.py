"""The shared suite against a real MCP server, over HTTP and as a child process."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
import pytest
from tests.support.source import TESTS
from tests.upstreams.authorization_server import CLIENT_ID, CLIENT_SECRET, authorization_server
from tests.upstreams.http_service import HttpService
from tests.upstreams.mcp_server import PNG, http_server, sse_server

from utcp_bridge.auth.credentials import Credentials
from utcp_bridge.auth.models import parse_auth
from utcp_bridge.auth.tokens import TokenCache
from utcp_bridge.client.client import UtcpClient
from utcp_bridge.errors import CircuitOpen, ConnectionLost, PolicyError, Rejected, ReplyTooLarge, Unreachable, UtcpError
from utcp_bridge.model import Binary, ContentBlocks, JsonObject, Source, Trust, discard
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.testing.contract import CANARY, Case, Peer
from utcp_bridge.testing.services import LOOPBACK, make_call, make_target, open_services
from utcp_bridge.transport import Endpoint, Program
from utcp_bridge.transports.mcp import supervisor as mcp_supervisor
from utcp_bridge.transports.mcp.transport import McpTransport
from utcp_bridge.urls import origin_of

pytestmark = pytest.mark.anyio
SERVER = TESTS / "upstreams" / "mcp_server.py"


def child(name: str = "child", manner: str = "") -> JsonObject:
    return {
        "command": sys.executable,
        "args": [str(SERVER), name, *([manner] if manner else [])],
        "env": {"PYTHONPATH": str(SERVER.parents[2])},
    }


def servers(**named: JsonObject) -> JsonObject:
    return {"call_template_type": "mcp", "config": {"mcpServers": named}}


class McpPeer(Peer):
    transport = McpTransport
    impossible = {  # noqa: RUF012
        "malformed": "the protocol ignores lines that are not JSON-RPC",
        "oversized": "tested for each way to a server, with a list of tools that is small",
    }

    def __init__(self) -> None:
        self.seen = {"arrived": asyncio.Event(), "gone": asyncio.Event()}
        self.headers: dict[bytes, bytes] = {}
        self.stack = AsyncExitStack()

    async def start(self) -> None:
        self.url = await self.stack.enter_async_context(http_server("peer", self.seen, self.headers))
        self.faulty = await self.stack.enter_async_context(HttpService())

    async def stop(self) -> None:
        await self.stack.aclose()

    def template(self, url: str | None = None, **fields: Any) -> JsonObject:
        return {"call_template_type": "mcp", "server_url": url or self.url, **fields}

    def manual(self, dialect: str) -> JsonObject:
        template = self.template()
        if dialect == "v0":
            template["provider_type"] = template.pop("call_template_type")
        return template

    def echo(self, text: str) -> Case:
        return Case(self.template(tool_name="echo"), {"text": text})

    def echoed(self, value: Any) -> str:
        return (value.plain() if isinstance(value, ContentBlocks) else value)["text"]

    def slow(self) -> Case:
        return Case(self.template(tool_name="slow"))

    async def arrived(self) -> None:
        await self.seen["arrived"].wait()

    async def gone(self) -> None:
        await self.seen["gone"].wait()

    def with_auth(self, template: JsonObject) -> JsonObject:
        return {**template, "headers": {"X-Auth": CANARY}}

    def authenticated(self) -> bool:
        return self.headers.get(b"x-auth") == CANARY.encode()

    def fault(self, name: str) -> Case:
        if name == "refused":
            return Case(self.template(f"{self.faulty.refusing}/mcp"), error=UtcpError)
        return Case(self.template(f"{self.faulty.base}/reset"), error=UtcpError)

    def with_secret(self, case: Case, secret: str) -> Case:
        return replace(case, template={**case.template, "headers": {"X-Key": secret}})


PEER = McpPeer


class Signal:
    """Notes that a manual changed."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def set(self, _manual: str) -> None:
        self._event.set()
        self._event = anyio.Event()


async def _whole(transport: McpTransport, target: Any, changed: Signal) -> Any:
    """Return the document once no server is awaited any more."""
    while True:
        event = changed._event
        document = await transport.discover(target)
        if not document.awaited:
            return document
        await event.wait()


async def _with(template: JsonObject, use: Any, **options: Any) -> Any:
    async with open_services(**options) as services:
        transport = McpTransport(services)
        try:
            with anyio.fail_after(60):
                return await use(transport, make_target(transport, template))
        finally:
            await transport.aclose()


async def _call(
    transport: McpTransport, target: Any, tool: str, emit: Any = discard, **arguments: Any
) -> ContentBlocks:
    bound = replace(target, template=target.template.model_copy(update={"tool_name": tool}))
    return await transport.call(bound, make_call(arguments), emit)


async def test_tools_of_a_child_process_keep_their_schemas_and_annotations() -> None:
    async def use(transport: McpTransport, target: Any) -> list[JsonObject]:
        return (await transport.discover(target)).content["tools"]

    tools = await _with(servers(one=child()), use)
    echo = next(tool for tool in tools if tool["name"] == "one.echo")
    assert echo["inputs"]["x-kept"] is True
    assert echo["annotations"] == {"readOnlyHint": True}
    assert echo["overlay"] == {"server": "one", "tool_name": "echo"}


async def test_equal_tool_names_reach_their_own_servers_and_a_dead_server_is_a_fault() -> None:
    async def use(transport: McpTransport, target: Any) -> None:
        content = (await _whole(transport, target, changed)).content
        assert [fault.where for fault in content["faults"]] == ["MCP server 'dead'"]
        for server in ("alpha", "beta"):
            tool = next(tool for tool in content["tools"] if tool["name"] == f"{server}.who")
            bound = replace(target, template=target.template.model_copy(update=tool["overlay"]))
            result = await transport.call(bound, make_call({}), discard)
            assert result.content[0]["text"] == server

    changed = Signal()
    template = servers(alpha=child("alpha"), beta=child("beta"), dead=child("dead", "die"))
    await _with(template, use, changed=changed.set)


async def test_results_pass_through_with_errors_images_and_progress() -> None:
    async def use(transport: McpTransport, target: Any) -> None:
        assert (await _call(transport, target, "fail")).is_error
        assert (await _call(transport, target, "picture")).content == [
            {"type": "image", "data": PNG, "mimeType": "image/png"}
        ]
        assert (await _call(transport, target, "echo", text="x")).structured == {"text": "x"}
        partials: list[Any] = []

        async def emit(partial: Any) -> None:
            partials.append(partial)

        await _call(transport, target, "count", emit, text="3")
        assert [partial["message"] for partial in partials] == ["at 0", "at 1", "at 2"]
        with pytest.raises(Rejected, match="-32050"):
            await _call(transport, target, "error")

    await _with(servers(one=child()), use)


async def test_a_server_that_died_is_started_again_by_the_next_call() -> None:
    async def use(transport: McpTransport, target: Any) -> None:
        with pytest.raises(ConnectionLost):
            await _call(transport, target, "die")
        assert (await _call(transport, target, "who")).content[0]["text"] == "child"

    await _with(servers(one=child()), use)


async def test_a_server_that_keeps_dying_is_not_started_during_a_pause() -> None:
    async def use(transport: McpTransport, target: Any) -> None:
        with pytest.raises(ConnectionLost):
            await _call(transport, target, "die")
        [session] = transport._sessions.values()
        session._backoff.first = session._backoff.maximum = 60  # longer than a busy machine needs for the next calls
        with pytest.raises(ConnectionLost):
            await _call(transport, target, "die")
        with pytest.raises(CircuitOpen, match=r"keeps failing \(2 times in a row\)\. Try again in (60|[1-5]\d) s"):
            await _call(transport, target, "who")
        session._backoff.succeeded()
        assert (await _call(transport, target, "who")).content[0]["text"] == "child"

    await _with(servers(one=child()), use)


async def test_resources_become_tools_if_configured() -> None:
    async def use(transport: McpTransport, target: Any) -> None:
        tools = {tool["name"]: tool for tool in (await transport.discover(target)).content["tools"]}
        resources = {name for name in tools if ".resource_" in name}
        assert resources == {f"one.resource_{name}" for name in ("the_guide", "the_guide_2", "logo", "note")}
        assert tools["one.resource_the_guide"]["title"] == "Guide"
        note = tools["one.resource_note"]["inputs"]
        assert (sorted(note["properties"]), note["required"]) == (["id", "lang"], ["id"])

        async def read(name: str, **arguments: Any) -> Any:
            bound = replace(
                target, template=target.template.model_copy(update=tools[f"one.resource_{name}"]["overlay"])
            )
            return await transport.call(bound, make_call(arguments), discard)

        assert await read("the_guide") == "This is memo://guide."
        assert await read("logo") == Binary(base64.b64decode(PNG), "image/png")
        assert await read("note", id="a/b", lang="de") == "This is memo://notes/a%2Fb?lang=de."
        assert await read("note", id="7") == "This is memo://notes/7."
        assert [block["type"] for block in (await read("the_guide_2")).content] == ["resource", "resource"]

    await _with({**servers(one=child()), "register_resources_as_tools": True}, use)
    assert not any("resource" in tool["name"] for tool in await _with(servers(one=child()), _tools))


async def _tools(transport: McpTransport, target: Any) -> list[JsonObject]:
    return (await transport.discover(target)).content["tools"]


async def test_a_server_of_the_older_sse_transport_is_called() -> None:
    async def use(transport: McpTransport, target: Any) -> Any:
        assert "old.who" in [tool["name"] for tool in await _tools(transport, target)]
        return (await _call(transport, target, "echo", text="x")).structured

    async with sse_server("old") as url:
        assert await _with(servers(old={"url": url, "transport": "sse"}), use) == {"text": "x"}


async def test_a_token_reaches_the_server_and_an_access_token_is_renewed() -> None:
    seen: dict[bytes, bytes] = {}
    async with http_server("far", headers=seen) as url:
        far = servers(far={"url": url, "auth_token": CANARY})
        await _with(far, lambda transport, target: _call(transport, target, "who"))
        assert seen[b"authorization"] == f"Bearer {CANARY}".encode()
    async with authorization_server() as authority:

        def admits(authorization: bytes) -> bool:
            return authorization.decode().removeprefix("Bearer ") in authority.tokens

        async with http_server("far", admits=admits) as url, open_services() as services:
            source = Source(name="peer", allow_networks=LOOPBACK)
            auth = {"token_url": authority.token_url, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
            parsed = parse_auth({"auth_type": "oauth2", **auth})
            credentials = Credentials(
                parsed, frozenset({origin_of(url)}), TokenCache(services.http), trust=Trust.OPERATOR
            )
            transport = McpTransport(services)
            target = make_target(transport, servers(far={"url": url}), source=source, credentials=credentials)
            with anyio.fail_after(60):
                assert (await _call(transport, target, "who")).content[0]["text"] == "far"
                authority.revoke_all()
                assert (await _call(transport, target, "who")).content[0]["text"] == "far"
            assert len(authority.requests) == 2
            await transport.aclose()


async def test_a_server_that_hangs_is_stopped_and_one_that_prints_noise_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def use(transport: McpTransport, target: Any) -> Any:
        return await _call(transport, target, "who")

    assert (await _with(servers(one=child("talker", "junk")), use)).content[0]["text"] == "talker"
    monkeypatch.setattr(mcp_supervisor, "_START_SECONDS", 1.0)
    with pytest.raises(Unreachable, match="handshake"):
        await _with(servers(one=child("silent", "hang")), use, settings=BridgeSettings(discovery_timeout=1))


async def test_a_missing_command_is_reported() -> None:
    async def use(transport: McpTransport, target: Any) -> None:
        await transport.discover(target)

    with pytest.raises(Unreachable, match=r"command 'no-such-command' of .* does not start"):
        await _with(servers(one={"command": "no-such-command"}), use)


async def test_a_fetched_manual_cannot_start_commands_or_name_two_servers() -> None:
    source = Source(name="peer", trust=Trust.REMOTE, origin="https://a.example", allow_networks=LOOPBACK)
    url = {"url": "https://a.example/mcp"}
    for template in (servers(one=child()), servers(one=url, two=url)):
        async with open_services() as services:
            transport = McpTransport(services)
            with pytest.raises(PolicyError):
                await transport.call(make_target(transport, template, source=source), make_call({}), discard)


def test_the_endpoint_is_the_one_servers_url() -> None:
    url = {"url": "https://a.example/mcp"}
    for template, endpoint in (
        (servers(a=url), url["url"]),
        (servers(a=url, b=url), None),
        (servers(a={"command": "x"}), None),
    ):
        assert McpTransport.endpoint(make_target(McpTransport, template).template) == endpoint


async def test_the_needs_are_the_command_or_url_of_each_server(tmp_path: Path) -> None:
    servers = {"a": {"command": "run it", "cwd": "bin", "env": {"PATH": "/opt"}}, "b": {"url": "http://b.example/"}}
    async with open_services(root=tmp_path) as services:
        transport = McpTransport(services)
        needs = transport.needs(make_target(transport, {"config": {"mcpServers": servers}}))
    assert list(needs) == [Program("run", tmp_path / "bin", "/opt"), Endpoint("http://b.example/")]


MEGABYTES = 9_900_000


@asynccontextmanager
async def way_to_a_server(way: str) -> AsyncIterator[JsonObject]:
    """Yield the call template of a real server behind one way of the protocol."""
    if way == "stdio":
        yield servers(one=child())
    elif way == "sse":
        async with sse_server("old") as url:
            yield servers(one={"url": url, "transport": "sse"})
    else:
        async with http_server("far", json_replies=way == "json") as url:
            yield servers(one={"url": url})


WAYS = ["stdio", "sse", "events", "json"]


@pytest.mark.parametrize("way", WAYS)
async def test_a_reply_of_ten_megabytes_arrives_whole(way: str) -> None:
    async def use(transport: McpTransport, target: Any) -> ContentBlocks:
        return await _call(transport, target, "flood", text=str(MEGABYTES))

    async with way_to_a_server(way) as template:
        result = await _with(template, use)
    assert len(result.content[0]["text"]) == MEGABYTES + 1


@pytest.mark.parametrize("way", WAYS)
async def test_a_large_reply_is_not_parsed_as_a_message(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks of the SDK's model take many times as long as reading JSON, and all other calls would wait."""
    parsed: list[int] = []
    check = types.jsonrpc_message_adapter.validate_json

    def noted(data: Any, **options: Any) -> Any:
        parsed.append(len(data))
        return check(data, **options)

    monkeypatch.setattr(types.jsonrpc_message_adapter, "validate_json", noted)

    async def use(transport: McpTransport, target: Any) -> ContentBlocks:
        return await _call(transport, target, "flood", text="2000000")

    async with way_to_a_server(way) as template:
        result = await _with(template, use)
    assert len(result.content[0]["text"]) == 2_000_001
    assert parsed
    # The servers of this test are in its process, except a child; they read requests alone.
    assert max(parsed) < 1_000_000


@pytest.mark.parametrize("way", WAYS)
async def test_a_reply_above_the_limit_is_named_and_the_next_call_works(way: str) -> None:
    async def use(transport: McpTransport, target: Any) -> ContentBlocks:
        with pytest.raises(ReplyTooLarge, match=r"returned more than 100000 bytes\. .*`max_reply_bytes`"):
            await _call(transport, target, "flood", text="300000")
        return await _call(transport, target, "echo", text="x")

    async with way_to_a_server(way) as template:
        result = await _with(template, use, settings=BridgeSettings(max_reply_bytes=100_000))
    assert result.structured == {"text": "x"}


@pytest.mark.parametrize("way", WAYS)
async def test_a_reply_of_too_many_values_is_named_and_the_next_call_works(way: str) -> None:
    async def use(transport: McpTransport, target: Any) -> ContentBlocks:
        assert len((await _call(transport, target, "many", text="40000")).structured["lists"]) == 40_000
        with pytest.raises(ReplyTooLarge, match="more than 100,000 values"):
            await _call(transport, target, "many", text="60000")
        return await _call(transport, target, "echo", text="[{," * 100_000)

    async with way_to_a_server(way) as template:
        result = await _with(template, use, settings=BridgeSettings(max_reply_bytes=700_000))
    assert result.structured == {"text": "[{," * 100_000}


async def test_a_server_gets_proxies_and_certificates_and_what_it_names_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("HTTPS_PROXY", "no_proxy", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "DOCKER_HOST")
    for name in (*given, "SECRET_OF_OTHERS"):
        monkeypatch.setenv(name, f"http://u:pa55-of-{name}@127.0.0.1:3128")
    seen = tmp_path / "seen.json"
    code = "import json, os, sys; json.dump(dict(os.environ), open(sys.argv[1], 'w')); sys.exit(os.environ['no_proxy'])"
    server = {"command": sys.executable, "args": ["-c", code, str(seen)], "inherit_env_vars": ["DOCKER_HOST"]}
    async with await UtcpClient.create({"mcpServers": {"s": server}}) as client:
        [state] = client.report()
        shown = client.redactor(str(state.error))
    environment = json.loads(seen.read_text())
    assert all(environment[name] == f"http://u:pa55-of-{name}@127.0.0.1:3128" for name in given)
    assert {"PATH", "HOME"} <= environment.keys()
    assert "SECRET_OF_OTHERS" not in environment
    assert state.status == "failed"
    assert "pa55-of-no_proxy" not in shown
