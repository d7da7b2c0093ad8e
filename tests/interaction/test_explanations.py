"""`explain` shows what the peer receives: each test explains a call first, and makes it then."""

import json
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from tests.upstreams.graphql_service import GraphQlService
from tests.upstreams.grpc_service import GrpcService
from tests.upstreams.http_service import HttpService
from tests.upstreams.socket_service import TcpService, UdpService
from tests.upstreams.stream_service import StreamService
from tests.upstreams.webrtc_peer import HAS_ADDRESS, WebRtcService
from tests.upstreams.websocket_service import WebSocketService

from utcp_bridge import UtcpClient
from utcp_bridge.errors import InvalidArguments, ReplyTooLarge
from utcp_bridge.testing.services import LOOPBACK
from utcp_bridge.transports.tcp import Framing

pytestmark = pytest.mark.anyio
SECRET = "secret-of-the-service"
AUTH = {"auth_type": "api_key", "api_key": "Bearer ${TOKEN}", "var_name": "Authorization"}
MCP_SERVER = Path(__file__).parents[1] / "upstreams" / "mcp_server.py"


async def shown(client, tool, arguments):
    return await client.explain(tool, arguments, show_values=True)


@asynccontextmanager
async def client_with(template, tmp_path, inputs=None):
    """Open a client with one tool `peer.echo` of this template."""
    tool = {"name": "echo", "inputs": inputs or {"type": "object"}, "tool_call_template": template}
    entry = {
        "name": "peer",
        "call_template_type": "text",
        "content": {"utcp_version": "1.0.1", "tools": [tool]},
        "allowed_communication_protocols": [template["call_template_type"]],
        "allow_networks": list(LOOPBACK),
    }
    config = {"manual_call_templates": [entry], "variables": {"peer_TOKEN": SECRET}}
    with anyio.fail_after(200):
        async with await UtcpClient.create(config, root=tmp_path) as client:
            assert client.report()[0].faults == []
            yield client


async def explained_and_called(template, arguments, tmp_path, **options):
    """Return the explanation of a call, and the result of making it."""
    async with client_with(template, tmp_path, **options) as client:
        request = await shown(client, client.find("peer.echo"), arguments)
        value = await client.call_tool("peer.echo", arguments)
    assert SECRET not in f"{request.as_text()}{request.as_json()}"
    return request, value


def unmasked(request):
    return [(name.lower(), value.replace("***", SECRET)) for name, value in request.fields]


@pytest.mark.parametrize(
    ("kind", "path"), [("http", "/echo"), ("streamable_http", "/echo"), ("sse", "/sse/echo"), ("graphql", "/graphql")]
)
async def test_explain_shows_an_http_request_with_every_header(kind, path, tmp_path):
    fields = {"http_method": "POST", "body_field": "body", "header_fields": ["X-One"]}
    arguments = {"body": {"n": [1, None]}, "q": "a b&c", "X-One": "1"}
    if kind == "graphql":
        fields = {"query": "query ($text: String) { echo(text: $text) }", "header_fields": ["X-One"]}
        arguments = {"text": "hé", "X-One": "1"}
    service = {"graphql": GraphQlService, "sse": StreamService}.get(kind, HttpService)()
    async with service:
        template = {"call_template_type": kind, "url": service.base + path, "auth": AUTH, **fields}
        request, _ = await explained_and_called(template, arguments, tmp_path)
        [seen] = service.requests
    assert request.line == f"{seen.method} {service.base}{seen.target}"
    assert sorted(unmasked(request)) == sorted((name.lower(), value) for name, value in seen.headers.items())
    assert request.messages == (seen.body,)


async def test_explain_shows_a_command_as_a_shell_would_run_it(tmp_path):
    template = {
        "call_template_type": "cli",
        "command": "sh",
        "args": ["-c", 'printf "%s|" "$@"; env | grep ^WHO=; cat', "sh", "--", "{{words}}"],
        "env_vars": {"WHO": "me"},
        "stdin_template": "{{text}}",
    }
    arguments = {"words": ["it's", "$HOME", "a b"], "text": "in\nput"}
    request, value = await explained_and_called(template, arguments, tmp_path)
    assert request.fields == (("WHO", "***"),)
    environ = {"PATH": "/usr/bin:/bin", "WHO": "me"}
    run = await anyio.to_thread.run_sync(
        lambda: subprocess.run(
            request.line, shell=True, input=request.messages[0], env=environ, capture_output=True, check=True
        )
    )
    assert run.stdout.decode() == value == "--|it's|$HOME|a b|WHO=me\nin\nput"
    assert f"It runs in the folder {tmp_path}." in request.notes


async def test_explain_shows_a_script_with_the_variables_of_its_arguments(tmp_path):
    commands = [{"command": "echo UTCP_ARG_text_UTCP_END"}]
    template = {"call_template_type": "cli", "commands": commands}
    request, value = await explained_and_called(template, {"text": "$(id)"}, tmp_path)
    assert request.fields == (("__UTCP_ARG_0", "$(id)"),)
    environ = {"PATH": "/usr/bin:/bin", **dict(request.fields)}
    run = await anyio.to_thread.run_sync(
        lambda: subprocess.run(request.line, shell=True, env=environ, capture_output=True, check=True)
    )
    assert run.stdout.decode().strip() == value == "$(id)"


async def test_explain_shows_a_tcp_message_with_its_frame(tmp_path):
    async with TcpService(framing=Framing("stream")) as service:
        template = {
            "call_template_type": "tcp",
            "host": "127.0.0.1",
            "port": service.port,
            "framing_strategy": "length_prefix",
        }
        async with client_with(template, tmp_path) as client:
            request = await shown(client, client.find("peer.echo"), {"text": "hé"})
            with pytest.raises(ReplyTooLarge):  # the service's reply has no frame
                await client.call_tool("peer.echo", {"text": "hé"})
        assert (
            b"".join(service.received)
            == request.messages[0]
            == b"\x00\x00\x00\x13" + json.dumps({"text": "hé"}).encode()
        )
        assert request.line == f"tcp://127.0.0.1:{service.port}"


async def test_explain_shows_a_datagram_as_it_is_sent(tmp_path):
    async with UdpService() as service:
        template = {"call_template_type": "udp", "host": "127.0.0.1", "port": service.port}
        request, _ = await explained_and_called(template, {"text": "hé"}, tmp_path)
        assert [request.messages[0]] == service.received


@pytest.mark.parametrize("wire", ["raw", "envelope", "path"])
async def test_explain_shows_a_websocket_message_in_each_wire_form(wire, tmp_path):
    paths = {"raw": "/ws", "envelope": "/envelope", "path": "/path"}
    async with WebSocketService() as service:
        template = {"call_template_type": "websocket", "url": service.ws + paths[wire], "wire": wire, "auth": AUTH}
        request, value = await explained_and_called(template, {"text": "hé"}, tmp_path)
        handshake = service.requests[-1]
    assert request.line == f"WebSocket {service.ws}{handshake.target}"
    seen = {name.lower(): value for name, value in handshake.headers.items()}
    assert dict(unmasked(request)).items() <= seen.items()
    [message] = map(json.loads, request.messages)
    if wire == "envelope":
        assert message == {"type": "call", "id": "1", "request_id": "1", "tool": "echo", "params": {"text": "hé"}}
    else:
        assert message == {"text": "hé"}
    assert "hé" in str(value)


async def test_explain_shows_each_message_of_a_subscription(tmp_path):
    async with GraphQlService() as service:
        query = "subscription ($to: Int!) { count(to: $to) }"
        template = {"call_template_type": "graphql", "url": f"{service.base}/graphql", "query": query, "auth": AUTH}
        request, value = await explained_and_called(template, {"to": 2}, tmp_path)
        sent = [message for message in service.messages if "pong" not in message]
        handshake = {name.lower(): value for name, value in service.requests[-1].headers.items()}
    assert [message.decode().replace("***", f"Bearer {SECRET}") for message in request.messages] == sent[:2]
    assert dict(unmasked(request)).items() <= handshake.items()
    assert value == [{"count": 0}, {"count": 1}]


async def test_explain_shows_method_metadata_and_messages_of_a_grpc_call(tmp_path):
    async with GrpcService() as service:
        template = {
            "call_template_type": "grpc",
            "host": "127.0.0.1",
            "port": service.port,
            "service_name": "shop.Orders",
            "method_name": "Echo",
            "metadata": {"X-Fixed": "1"},
            "auth": AUTH,
        }
        request, value = await explained_and_called(template, {"text": "hé", "n": 3}, tmp_path)
        [metadata] = service.metadata
    assert request.line == f"grpc://127.0.0.1:{service.port}/shop.Orders/Echo"
    assert dict(unmasked(request)).items() <= metadata.items()
    assert json.loads(request.messages[0]) == {"text": "hé", "n": value["n"]}
    assert value["text"] == "hé"


async def test_explain_shows_a_call_of_the_fixed_grpc_service(tmp_path):
    async with GrpcService(utcp=True) as service:
        template = {"call_template_type": "grpc", "host": "127.0.0.1", "port": service.port, "wire": "utcp"}
        request, _ = await explained_and_called(template, {"text": "hé"}, tmp_path)
    assert request.line.endswith("/grpcpb.UTCPService/CallTool")
    assert json.loads(request.messages[0]) == {"tool": "echo", "args_json": '{"text":"hé"}'}


async def test_explain_shows_a_message_to_an_mcp_server_without_its_environment(tmp_path):
    log = tmp_path / "stdin"
    server = {
        "command": "sh",
        "args": ["-c", f"tee {log} | exec {sys.executable} {MCP_SERVER} child"],
        "env": {"PYTHONPATH": str(MCP_SERVER.parents[2]), "SERVICE_KEY": SECRET},
    }
    template = {"call_template_type": "mcp", "config": {"mcpServers": {"child": server}}, "tool_name": "echo"}
    request, _ = await explained_and_called(template, {"text": "hé"}, tmp_path)
    assert request.fields == (("PYTHONPATH", "***"), ("SERVICE_KEY", "***"))
    assert request.line.startswith("stdin of sh -c 'tee ")
    sent = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    [call] = [message["params"] for message in sent if message.get("method") == "tools/call"]
    told = json.loads(request.messages[0])["params"]
    assert told == {key: value for key, value in call.items() if key != "_meta"}


@pytest.mark.skipif(not HAS_ADDRESS, reason="this machine has no address besides loopback, and ICE offers no other")
async def test_explain_shows_a_data_channel_message_without_its_id(tmp_path):
    async with WebRtcService() as service:
        template = {"call_template_type": "webrtc", "signaling_server": service.url, "peer_id": "tools"}
        request, _ = await explained_and_called(template, {"text": "hé"}, tmp_path)
        received = service.received[-1]
    told = json.loads(request.messages[0])
    assert {**told, "id": ""} == {**received, "id": ""}
    assert "the bridge sends 'peer.echo'" in request.notes[1]


async def test_explain_of_a_tool_that_sends_nothing_is_an_error(tmp_path):
    (tmp_path / "note.txt").write_text("hello")
    template = {"call_template_type": "file", "file_path": "note.txt"}
    request, _ = await explained_and_called(template, {}, tmp_path)
    assert request.line == f"read {tmp_path / 'note.txt'}"
    request, _ = await explained_and_called({"call_template_type": "text", "content": "hi"}, {}, tmp_path)
    assert request.line == "The text of the call template. Nothing is sent."


async def test_arguments_are_checked_and_completed_as_for_a_call(tmp_path):
    template = {"call_template_type": "cli", "command": "echo", "args": ["{{n}}"]}
    inputs = {"type": "object", "properties": {"n": {"type": "integer", "default": 7}}}
    async with client_with(template, tmp_path, inputs) as client:
        tool = client.find("peer.echo")
        assert (await shown(client, tool, {})).line == "echo 7"
        with pytest.raises(InvalidArguments):
            await shown(client, tool, {"n": "seven"})
