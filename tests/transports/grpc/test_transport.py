"""The shared suite against a real gRPC server; reflection, descriptor sets, the fixed service, TLS, statuses."""

from __future__ import annotations

import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import grpc
import pytest
from google.protobuf import descriptor_pb2
from tests.support.loop_clock import time_passes
from tests.upstreams.certificates import Authority
from tests.upstreams.grpc_service import GrpcService, ResettingPort, file_descriptor

from utcp_bridge import UtcpClient
from utcp_bridge.auth.credentials import Credentials
from utcp_bridge.auth.models import parse_auth
from utcp_bridge.errors import (
    ConfigError,
    ConnectionLost,
    InvalidArguments,
    ManualError,
    Rejected,
    UnknownTool,
    Unreachable,
    UtcpError,
)
from utcp_bridge.model import Document, JsonObject, Result, Source, TlsOptions, discard
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.testing.contract import CANARY, Case, Peer
from utcp_bridge.testing.services import LOOPBACK, make_call, make_target, open_services
from utcp_bridge.transports.grpc.descriptors import MAX_SECONDS
from utcp_bridge.transports.grpc.transport import GrpcTransport

pytestmark = pytest.mark.anyio


class GrpcPeer(Peer):
    transport = GrpcTransport
    streams = True

    def __init__(self) -> None:
        self.service = GrpcService()
        self.flooding = GrpcService(utcp=True, description="x" * 200_000)
        self.resetting = ResettingPort()
        self.closed = socket.socket()

    async def start(self) -> None:
        await self.service.__aenter__()
        await self.flooding.__aenter__()
        await self.resetting.__aenter__()
        self.closed.bind(("127.0.0.1", 0))

    async def stop(self) -> None:
        self.closed.close()
        await self.resetting.__aexit__()
        await self.flooding.__aexit__()
        await self.service.__aexit__()

    def template(self, method: str | None = None, **fields: Any) -> JsonObject:
        template = {"call_template_type": "grpc", "host": "127.0.0.1", "port": self.service.port}
        native = {"service_name": "shop.Orders", "method_name": method, "wire": "native"} if method else {}
        return {**template, **native, **fields}

    def manual(self, dialect: str) -> JsonObject:
        template = self.template()
        if dialect == "v0":
            template["provider_type"] = template.pop("call_template_type")
        return template

    def names_in(self, document: Document) -> set[str]:
        names = super().names_in(document)
        return names | {"echo"} if "Orders_Echo" in names else names

    def echo(self, text: str) -> Case:
        return Case(self.template("Echo"), {"text": text})

    def stream(self, count: int) -> Case:
        return Case(self.template("Count"), {"n": count})

    def items(self, count: int) -> list[Any]:
        return [{"n": number} if number else {} for number in range(count)]

    def slow(self) -> Case:
        return Case(self.template("Slow"))

    async def arrived(self) -> None:
        await self.service.slow_arrived.wait()

    async def gone(self) -> None:
        await self.service.slow_gone.wait()

    def authenticated(self) -> bool:
        return self.service.metadata[-1].get("x-auth") == CANARY

    def fault(self, name: str) -> Case:
        match name:
            case "refused":
                return Case(self.template("Echo", port=self.closed.getsockname()[1]))
            case "reset":
                return Case(self.template("Echo", port=self.resetting.port), error=(ConnectionLost, Unreachable))
            case "malformed":
                return Case(self.template("Junk"))
            case _:
                return Case(self.template("Flood", wire="auto", port=self.flooding.port), {"n": 200_000})

    def with_secret(self, case: Case, secret: str) -> Case:
        return replace(case, template={**case.template, "metadata": {"x-key": secret}})


PEER = GrpcPeer


async def _run(service: GrpcService, method: str | None, arguments: JsonObject, **fields: Any) -> Any:
    options = {"source": fields.pop("source", None), "credentials": fields.pop("credentials", None)}
    settings, root = fields.pop("settings", None), fields.pop("root", Path())
    emit = fields.pop("emit", discard)
    template = {"call_template_type": "grpc", "host": "127.0.0.1", "port": service.port, **fields}
    if method:
        template |= {"service_name": "Orders", "method_name": method}
    async with open_services(settings=settings, root=root) as services:
        transport = GrpcTransport(services)
        target = make_target(transport, template, **options)
        try:
            with anyio.fail_after(600):
                value = await transport.call(target, make_call(arguments), emit)
        finally:
            await transport.aclose()
        return value.value if isinstance(value, Result) and value.truncated is None else value


async def _discover(service: GrpcService, *, root: Path = Path(), **fields: Any) -> list[JsonObject]:
    template = {"call_template_type": "grpc", "host": "127.0.0.1", "port": service.port, **fields}
    async with open_services(root=root) as services:
        transport = GrpcTransport(services)
        try:
            with anyio.fail_after(60):
                document = await transport.discover(make_target(transport, template))
        finally:
            await transport.aclose()
        assert document.generated
        return document.content["tools"]


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_of_either_version_makes_a_tool_of_each_method(version: str) -> None:
    async with GrpcService(reflection=version) as service:
        tools = {tool["name"]: tool for tool in await _discover(service)}
    assert set(tools) == {
        f"Orders_{name}" for name in ("Echo", "Count", "Join", "Talk", "Slow", "Fail", "Flood", "Junk")
    }
    echo = tools["Orders_Echo"]
    assert echo["overlay"] == {"wire": "native", "service_name": "shop.Orders", "method_name": "Echo"}
    assert echo["annotations"] == {"readOnlyHint": True, "idempotentHint": True}
    properties = echo["inputs"]["properties"]
    assert properties["bigNumber"]["anyOf"][0] == {"type": "integer"}
    assert properties["data"]["contentEncoding"] == "base64"
    assert properties["kind"]["enum"] == ["KIND_UNSPECIFIED", "KIND_FRUIT", "KIND_TOOL"]
    assert properties["at"]["format"] == "date-time"
    assert properties["children"] == {"type": "array", "items": {"$ref": "#/$defs/shop.Item"}}
    assert tools["Orders_Join"]["inputs"]["required"] == ["messages"]
    assert tools["Orders_Count"]["outputs"]["type"] == "array"


async def test_a_value_of_every_type_makes_the_round_trip() -> None:
    sent = {
        "text": "h\u00e9",
        "bigNumber": "9007199254740993",
        "data": "AQI=",
        "kind": "KIND_TOOL",
        "at": "2026-01-02T03:04:05Z",
        "extra": {"a": [1, None, {"b": True}]},
        "children": [{"text": "one"}],
    }
    async with GrpcService() as service:
        assert await _run(service, "Echo", sent) == sent
        named = await _run(service, "Echo", {"big_number": 5}, preserve_field_names=True)
        assert named == {"big_number": "5"}


async def test_streams_go_in_and_out() -> None:
    async with GrpcService() as service:
        messages = {"messages": [{"text": "a"}, {"text": "b"}]}
        assert await _run(service, "Join", messages) == {"text": "ab"}
        assert await _run(service, "Talk", messages) == [{"text": "A"}, {"text": "B"}]
        cut = await _run(service, "Count", {"n": 50}, settings=BridgeSettings(max_stream_events=2))
        assert cut == Result([{}, {"n": 1}], truncated="the stream was cut at 2 results")
        large = await _run(service, "Count", {"n": 50_000}, settings=BridgeSettings(max_reply_bytes=1_000))
        assert large.truncated == "the stream was cut at 1000 bytes"
        assert large.value[:3] == [{}, {"n": 1}, {"n": 2}]


async def test_what_came_before_a_stream_is_silent_is_kept() -> None:
    seen = anyio.Event()

    async def emit(partial: Any) -> None:
        if partial == {"n": 1}:
            seen.set()

    async with GrpcService() as service, time_passes(30, after=seen):
        silent = await _run(service, "Count", {"n": 2, "text": "stall"}, emit=emit)
    assert silent == Result([{}, {"n": 1}], truncated="nothing arrived for 30 seconds")


async def test_messages_before_an_error_are_kept_with_it() -> None:
    async with GrpcService() as service:
        result = await _run(service, "Count", {"n": 2, "text": "break"})
    assert result.value == [{}, {"n": 1}]
    assert isinstance(result.failure, Rejected)
    assert "DATA_LOSS: " in result.truncated
    assert "the disk is gone" in result.truncated


@pytest.mark.parametrize(
    ("method", "arguments", "words"),
    [
        ("Echo", {"nothing": 1}, "do not match Item"),
        ("Echo", {"n": "x"}, "do not match Item"),
        ("Join", {}, "`messages` must be a list"),
        ("Join", {"messages": [1]}, "Item"),
    ],
)
async def test_arguments_that_do_not_match_are_the_callers_error(
    method: str, arguments: JsonObject, words: str
) -> None:
    async with GrpcService() as service:
        with pytest.raises(InvalidArguments, match=words):
            await _run(service, method, arguments)


async def test_a_status_is_a_rejection_by_its_name_with_its_details() -> None:
    async with GrpcService() as service:
        with pytest.raises(Rejected, match="FAILED_PRECONDITION") as caught:
            await _run(service, "Fail", {})
        assert caught.value.status == "FAILED_PRECONDITION"
        assert caught.value.detail == {
            "code": "FAILED_PRECONDITION",
            "message": "not now",
            "details": [
                {"@type": "shop.Item", "text": "why"},
                {"@type": "google.rpc.RetryInfo", "retryDelay": "1.500s"},
                {"@type": "shop.Unknown", "bytes": 2},
            ],
        }
        assert (caught.value.retry_after, caught.value.retryable) == (1.5, True)
        with pytest.raises(UtcpError, match="in time"):
            await _run(service, "Fail", {"text": "DEADLINE_EXCEEDED"})
        with pytest.raises(Rejected) as aborted:
            await _run(service, "Fail", {"text": "ABORTED"})
        assert aborted.value.retryable


async def test_metadata_comes_from_the_template_the_arguments_and_the_credentials() -> None:
    async with GrpcService() as service:
        source = Source(name="peer", allow_networks=LOOPBACK)
        auth = parse_auth({"auth_type": "api_key", "api_key": "k-123456", "var_name": "X-Api-Key"})
        credentials = Credentials(auth, frozenset({f"grpc://127.0.0.1:{service.port}"}))
        fields = {
            "metadata": {"X-Fixed": "f"},
            "header_fields": ["text"],
            "target": "device",
            "credentials": credentials,
        }
        assert await _run(service, "Echo", {"text": "t", "n": 1}, source=source, **fields) == {"n": 1}
        seen = service.metadata[0]
        assert (seen["x-fixed"], seen["text"], seen["target"], seen["x-api-key"]) == ("f", "t", "device", "k-123456")


@pytest.mark.parametrize("utcp", [False, True])
async def test_a_tool_of_discovery_has_the_header_fields_of_its_entry(utcp: bool) -> None:
    async with GrpcService(utcp=utcp) as service:
        entry = {
            "name": "g",
            "call_template_type": "grpc",
            "host": "127.0.0.1",
            "port": service.port,
            "header_fields": ["X-Tenant"],
        }
        async with await UtcpClient.create([entry]) as client:
            tool = client.find_tool("g.echo" if utcp else "g.Orders_Echo")
            assert "X-Tenant" in tool.inputs["properties"], tool.inputs
            request = await client.explain(tool, {"text": "hi", "X-Tenant": "t1"}, show_values=True)
            await client.call_tool(tool.qualified_name, {"text": "hi", "X-Tenant": "t1"})
    assert ("x-tenant", "t1") in request.fields
    assert utcp or service.metadata[-1]["x-tenant"] == "t1"


async def test_the_fixed_utcp_service_comes_first() -> None:
    async with GrpcService(utcp=True, reflection=None) as service:
        tools = await _discover(service)
        assert [tool["name"] for tool in tools] == ["echo", "plain"]
        assert tools[0]["overlay"] == {"wire": "utcp", "tool_name": "echo"}
        assert tools[1]["inputs"] == {"type": "object", "properties": {}}
        assert await _run(service, None, {"x": 1}, wire="utcp", tool_name="echo") == {"tool": "echo", "x": 1}
        assert await _run(service, None, {}, wire="utcp", tool_name="nothing") is None
        assert await _run(service, None, {}, wire="utcp", tool_name="text") == "not json"
        assert await _run(service, None, {"n": 2}, wire="utcp", tool_name="s", stream=True) == [{"n": 0}, {"n": 1}]


async def test_a_server_without_reflection_names_the_remedy() -> None:
    async with GrpcService(reflection=None) as service:
        with pytest.raises(ManualError, match="descriptor_set"):
            await _discover(service)
        with pytest.raises(ManualError, match="UTCPService"):
            await _discover(service, wire="utcp")


async def test_a_descriptor_set_replaces_reflection(tmp_path: Path) -> None:
    (tmp_path / "shop.pb").write_bytes(descriptor_pb2.FileDescriptorSet(file=[file_descriptor()]).SerializeToString())
    (tmp_path / "junk.pb").write_bytes(b"\xff\xff")
    async with GrpcService(reflection=None) as service:
        assert len(await _discover(service, root=tmp_path, descriptor_set="shop.pb")) == 8
        assert await _run(service, "Echo", {"n": 7}, root=tmp_path, descriptor_set="shop.pb") == {"n": 7}
        for name, words in (("missing.pb", "cannot be read"), ("junk.pb", "not a descriptor set")):
            with pytest.raises(ConfigError, match=words):
                await _discover(service, root=tmp_path, descriptor_set=name)


async def test_service_and_method_names_select_the_tools() -> None:
    async with GrpcService() as service:
        [tool] = await _discover(service, service_name="Orders", method_name="Echo")
        assert tool["name"] == "Orders_Echo"
        with pytest.raises(ManualError, match="service_name"):
            await _discover(service, service_name="Nothing")
        with pytest.raises(ManualError, match="method_name"):
            await _discover(service, method_name="Nothing")
        with pytest.raises(UnknownTool, match="Orders/Nothing"):
            await _run(service, "Nothing", {})


async def test_tls_with_a_client_certificate(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path)
    authority.server_context("localhost")
    key, certificate, ca = [
        await anyio.Path(tmp_path / name).read_bytes() for name in ("server.key", "server.pem", "ca.pem")
    ]
    credentials = grpc.ssl_server_credentials([(key, certificate)], ca, require_client_auth=True)
    files = {"client_cert": str(authority.client_cert), "client_key": str(authority.client_key)}
    common = {"use_ssl": True, "ca_cert": str(authority.ca), "server_name": "localhost"}
    async with GrpcService(credentials=credentials) as service:
        assert await _run(service, "Echo", {"n": 1}, **common, **files) == {"n": 1}
        with pytest.raises((Unreachable, ConnectionLost)):
            await _run(service, "Echo", {"n": 1}, **common)
        with pytest.raises(ConfigError, match="cannot be read"):
            await _run(service, "Echo", {"n": 1}, **{**common, "ca_cert": "nothing.pem"})


def test_the_endpoint_is_host_and_port() -> None:
    assert GrpcTransport.endpoint(make_target(GrpcTransport, {"host": "::1", "port": 7}).template) == "grpc://[::1]:7"


SHOP_PROTO = """
syntax = "proto3";
package shop;
import "common/item.proto";
import "google/protobuf/empty.proto";
// Takes orders.
service Orders {
  // Says it again, word for word.
  rpc Echo (Item) returns (Item);
  rpc Count (Item) returns (stream Item);
}
"""
ITEM_PROTO = """
syntax = "proto3";
package shop;
message Item {
  string text = 1;  // What to say.
  int32 n = 8;
}
"""


async def test_proto_files_describe_a_server_without_reflection(tmp_path: Path) -> None:
    (tmp_path / "protos" / "common").mkdir(parents=True)
    (tmp_path / "protos" / "shop.proto").write_text(SHOP_PROTO, encoding="utf-8")
    (tmp_path / "protos" / "common" / "item.proto").write_text(ITEM_PROTO, encoding="utf-8")
    async with GrpcService(reflection=None) as service:
        fields = {"proto_files": ["protos/shop.proto"], "root": tmp_path}
        tools = {tool["name"]: tool for tool in await _discover(service, **fields)}
        assert set(tools) == {"Orders_Echo", "Orders_Count"}
        assert tools["Orders_Echo"]["description"] == "Says it again, word for word."
        assert tools["Orders_Echo"]["inputs"]["properties"]["text"]["description"] == "What to say."
        assert await _run(service, "Echo", {"text": "hi"}, **fields) == {"text": "hi"}
        assert await _run(service, "Count", {"n": 2}, **fields) == [{}, {"n": 1}]


async def test_missing_or_broken_proto_files_are_reported(tmp_path: Path) -> None:
    (tmp_path / "broken.proto").write_text('syntax = "proto3";\nmessage {', encoding="utf-8")
    async with GrpcService() as service:
        with pytest.raises(ConfigError, match=r"no file 'missing\.proto'"):
            await _discover(service, proto_files=["missing.proto"], root=tmp_path)
        with pytest.raises(ConfigError, match=r"do not compile: broken\.proto:2:9"):
            await _discover(service, proto_files=["broken.proto"], root=tmp_path)


async def test_the_need_is_the_server_with_the_templates_tls_options(tmp_path: Path) -> None:
    async with open_services(root=tmp_path) as services:
        transport = GrpcTransport(services)
        plain = make_target(transport, {"host": "127.0.0.1", "port": 7})
        assert [need.url for need in transport.needs(plain)] == ["grpc://127.0.0.1:7"]
        fields = {"host": "h", "port": 7, "use_ssl": True, "ca_cert": "ca.pem", "server_name": "other"}
        (need,) = transport.needs(make_target(transport, fields))
    assert (need.url, need.alpn) == ("grpcs://h:7", ("h2",))
    assert need.tls == TlsOptions(ca_cert=str(tmp_path / "ca.pem"), server_name="other")


async def test_calls_tell_the_server_how_much_time_they_have_left() -> None:
    async with GrpcService(utcp=True) as service, open_services() as services:
        transport = GrpcTransport(services)
        native = {"call_template_type": "grpc", "host": "127.0.0.1", "port": service.port, "wire": "native"}
        templates = [{**native, "service_name": "shop.Orders", "method_name": name} for name in ("Echo", "Count")]
        templates.append({**native, "wire": "utcp", "tool_name": "echo"})
        for template in templates:
            target = make_target(transport, template)
            with anyio.move_on_after(60):
                await transport.call(target, make_call({}), discard)
        await transport.call(target, make_call({}), discard)
        await transport.aclose()
    *limited, unlimited = service.times_left
    assert len(limited) == 3
    assert all(left is not None and 30 < left <= 61 for left in limited)  # gRPC rounds up
    assert unlimited is None


@pytest.mark.parametrize("utcp", [False, True])
async def test_questions_about_tools_have_a_deadline_of_their_own(utcp: bool) -> None:
    async with GrpcService(utcp=utcp) as service:
        await _discover(service)
        assert 1 <= len(service.times_left_for_tools) <= 3
        assert all(left is not None and 0 < left <= MAX_SECONDS + 1 for left in service.times_left_for_tools)


FORKS = """
import asyncio, subprocess
from utcp_bridge.transports.grpc.protos import grpc_module

async def main():
    channel = grpc_module("grpc.aio").insecure_channel("ipv4:127.0.0.1:1")
    for _ in range(3):
        try:
            await channel.unary_unary("/a/b")(b"")
        except grpc_module("grpc.aio").AioRpcError:
            pass
        subprocess.run(["true"], preexec_fn=lambda: None)
    await channel.close()

asyncio.run(main())
"""


def test_the_core_of_grpc_writes_nothing_to_stderr() -> None:
    done = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, timeout=60, check=True)
    assert done.stderr == b""
