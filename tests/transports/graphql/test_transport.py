"""The shared suite against a real GraphQL server; generated documents, own documents, errors with data."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import graphql
import pytest
from aiohttp import web
from tests.support.loop_clock import time_passes
from tests.support.tools import make_tool
from tests.upstreams.graphql_service import SDL, GraphQlService
from tests.upstreams.websocket_service import BinarySocket

from utcp_bridge import UtcpClient
from utcp_bridge.auth.credentials import Credentials
from utcp_bridge.auth.models import parse_auth
from utcp_bridge.errors import (
    ConfigError,
    ConnectionLost,
    MalformedReply,
    ManualError,
    Rejected,
    ReplyTooLarge,
    Unreachable,
)
from utcp_bridge.model import Document, JsonObject, Source, discard
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.testing.contract import CANARY, Case, Peer
from utcp_bridge.testing.services import LOOPBACK, make_call, make_target, open_services
from utcp_bridge.transports.graphql.transport import GraphQlTransport

pytestmark = pytest.mark.anyio
ECHO = "query ($text: String) { echo(text: $text) }"


class GraphQlPeer(Peer):
    transport = GraphQlTransport
    streams = True

    def __init__(self) -> None:
        self.service = GraphQlService()

    async def start(self) -> None:
        await self.service.__aenter__()

    async def stop(self) -> None:
        await self.service.__aexit__()

    def template(self, path: str = "/graphql", **fields: Any) -> JsonObject:
        return {"call_template_type": "graphql", "url": self.service.base + path, "query": ECHO, **fields}

    def manual(self, dialect: str) -> JsonObject:
        kind = "provider_type" if dialect == "v0" else "call_template_type"
        return {kind: "graphql", "url": f"{self.service.base}/graphql"}

    def names_in(self, document: Document) -> set[str]:
        return {tool["name"] for tool in document.content["tools"]}

    def echo(self, text: str) -> Case:
        return Case(self.template(), {"text": text})

    def echoed(self, value: Any) -> str:
        return value["echo"]

    def stream(self, count: int) -> Case:
        subscription = "subscription ($to: Int!) { count(to: $to) }"
        return Case(self.template(query=subscription), {"to": count})

    def items(self, count: int) -> list[Any]:
        return [{"count": number} for number in range(count)]

    def slow(self) -> Case:
        return Case(self.template("/slow"))

    async def arrived(self) -> None:
        await self.service.slow_arrived.wait()

    async def gone(self) -> None:
        await self.service.slow_gone.wait()

    def authenticated(self) -> bool:
        return self.service.last.headers.get("X-Auth") == CANARY

    def fault(self, name: str) -> Case:
        if name == "refused":
            return Case(self.template() | {"url": f"{self.service.refusing}/graphql"})
        return Case(self.template({"reset": "/reset", "malformed": "/malformed", "oversized": "/bytes/200000"}[name]))

    def with_secret(self, case: Case, secret: str) -> Case:
        url = f"{case.template['url']}?key={secret}"
        return replace(case, template={**case.template, "url": url, "headers": {"X-Key": secret}})


PEER = GraphQlPeer


async def _run(use: Any, path: str = "/graphql", *, root: Path = Path(), **fields: Any) -> Any:
    async with GraphQlService() as service, open_services(root=root) as services:
        transport = GraphQlTransport(services)
        with anyio.fail_after(60):
            return await use(transport, make_target(transport, {"url": service.base + path, **fields}))


async def _tools(transport: GraphQlTransport, target: Any) -> dict[str, JsonObject]:
    return {tool["name"]: tool for tool in (await transport.discover(target)).content["tools"]}


async def test_each_generated_tool_can_be_called_and_returns_its_field() -> None:
    async def use(transport: GraphQlTransport, target: Any) -> None:
        tools = await _tools(transport, target)
        assert set(tools) == {
            *("echo", "city", "search", "partial", "broken", "clash", "add", "clash_mutation"),
            *("count", "silence", "flood", "failing", "clash_subscription"),
        }

        async def call(tool: str, **arguments: Any) -> Any:
            bound = replace(target, template=target.template.model_copy(update=tools[tool]["overlay"]))
            return (await transport.call(bound, make_call(arguments, name=tool), discard)).value

        assert await call("echo", text="hi") == "hi"
        assert await call("echo", text="3", unit="IMPERIAL") == "3 ft"
        assert await call("city", name="Paris") == {"name": "Paris", "rank": 1, "mayor": {"name": "M"}}
        assert await call("search", filter={"ids": ["1", "2"]}) == [
            {"__typename": "City", "name": "1,2", "mayor": None, "rank": None}
        ]
        assert await call("add", n=4) == 5
        assert await call("clash_mutation") == 7
        partial = await call("partial")
        assert partial["data"] == {"name": "P", "rank": None, "mayor": None}
        assert "rank" in str(partial["errors"])
        with pytest.raises(Rejected, match="errors") as caught:
            await call("broken")
        assert "it broke" in str(caught.value.detail)

    await _run(use)


async def test_filters_keep_one_root_or_one_field() -> None:
    assert set(await _run(_tools, operation_type="mutation")) == {"add", "clash"}
    assert set(await _run(_tools, operation_name="city")) == {"city"}


async def test_a_manual_at_the_url_replaces_introspection() -> None:
    async def use(transport: GraphQlTransport, target: Any) -> Document:
        return await transport.discover(target)

    document = await _run(use, "/utcp", operation_type="query")
    assert document.content.startswith(b"{")
    assert b'"tools"' in document.content
    with pytest.raises(Rejected, match="404"):
        await _run(use, "/nowhere")
    other = await _run(use, "/echo")
    assert b'"tools"' not in other.content, "the reader of manuals says what this is instead of a manual"


async def test_a_schema_file_replaces_introspection_that_is_not_allowed(tmp_path: Path) -> None:
    with pytest.raises(ManualError, match="schema_file"):
        await _run(_tools, "/closed")
    (tmp_path / "schema.graphql").write_text(SDL, encoding="utf-8")
    (tmp_path / "broken.graphql").write_text("type {", encoding="utf-8")
    assert "city" in await _run(_tools, "/closed", root=tmp_path, schema_file="schema.graphql")
    with pytest.raises(ManualError, match="cannot be used"):
        await _run(_tools, root=tmp_path, schema_file="broken.graphql")
    with pytest.raises(Unreachable, match=r"missing\.graphql"):
        await _run(_tools, root=tmp_path, schema_file="missing.graphql")
    introspected = graphql.introspection_from_schema(graphql.build_schema(SDL))
    for content in (introspected, {"data": introspected}):
        (tmp_path / "schema.json").write_text(json.dumps(content), encoding="utf-8")
        assert "city" in await _run(_tools, "/closed", root=tmp_path, schema_file="schema.json")


async def test_an_own_document_gets_the_variables_that_it_declares() -> None:
    async def call(transport: GraphQlTransport, target: Any) -> Any:
        return (await transport.call(target, make_call({"n": 1, "other": 2}, name="add"), discard)).value

    both = "query A { clash } mutation B($n: Int!) { add(n: $n) }"
    assert await _run(call, query=both, operation_name="B") == {"add": 2}
    types = {"n": "Int!", "other": "Int"}
    with pytest.raises(Rejected, match="errors"):
        await _run(call, operation_type="mutation", variable_types=types)
    for query, words in (
        ("query {", "must be a GraphQL document"),
        ("fragment f on City { name }", "must contain an operation"),
    ):
        with pytest.raises(ConfigError, match=words):
            await _run(call, query=query)


async def test_without_a_document_the_field_has_the_name_of_the_tool() -> None:
    async def call(transport: GraphQlTransport, target: Any) -> Any:
        first = (await transport.call(target, make_call({"text": "x"}, name="echo"), discard)).value
        return first, (await transport.call(target, make_call({}, name="clash"), discard)).value

    assert await _run(call) == ("x", 7)


async def test_a_response_that_is_not_graphql_is_an_error() -> None:
    async def call(transport: GraphQlTransport, target: Any) -> Any:
        return await transport.call(target, make_call({}), discard)

    with pytest.raises(MalformedReply, match="not a GraphQL response"):
        await _run(call, "/items", query="{ clash }")
    with pytest.raises(Rejected, match="503"):
        await _run(call, "/status/503", query="{ clash }")


def test_queries_are_read_only_and_mutations_have_no_hint() -> None:
    url = {"url": "https://a.example/graphql"}
    read = make_target(GraphQlTransport, url).template
    write = make_target(GraphQlTransport, {**url, "query": "mutation { add(n: 1) }"}).template
    assert GraphQlTransport.annotations(read)["readOnlyHint"] is True
    assert "readOnlyHint" not in GraphQlTransport.annotations(write)
    assert GraphQlTransport.endpoint(read) == url["url"]


async def _subscribe(query: str, arguments: JsonObject, path: str = "/graphql", **fields: Any) -> Any:
    """Return the result, the partial results, and the service."""
    seen: list[Any] = []

    async def emit(partial: Any) -> None:
        seen.append(partial)

    protocols, socket = fields.pop("protocols", GraphQlService.protocols), fields.pop("socket", GraphQlService.socket)
    settings = BridgeSettings(idle_timeout=fields.pop("idle_timeout", 60), max_reply_bytes=100_000)
    is_silent = fields.pop("is_silent", False)
    async with GraphQlService() as service, open_services(settings=settings) as services:
        service.protocols, service.socket = protocols, socket
        transport = GraphQlTransport(services)
        target = make_target(transport, {"url": service.base + path, "query": query, **fields})
        with anyio.fail_after(600):
            async with time_passes(60, after=service.slow_arrived) if is_silent else nullcontext():
                result = await transport.call(target, make_call(arguments), emit)
        return result, seen, service


COUNT = "subscription ($to: Int!) { count(to: $to) }"


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/graphql", {}),
        ("/graphql", {"protocols": ("graphql-ws",)}),
        ("/graphql", {"socket": BinarySocket}),
        ("/graphql", {"socket": BinarySocket, "protocols": ("graphql-ws",)}),
        ("/graphql", {"subscription_protocol": "graphql-ws"}),
        ("/events", {}),
        ("/events", {"subscription_protocol": "sse"}),
    ],
)
async def test_a_subscription_uses_the_protocol_of_the_server(path: str, fields: JsonObject) -> None:
    result, seen, _ = await _subscribe(COUNT, {"to": 3}, path, **fields)
    assert result.value == seen == [{"count": 0}, {"count": 1}, {"count": 2}]
    assert result.truncated is None


async def test_a_generated_subscription_returns_the_values_of_its_field() -> None:
    async def use(transport: GraphQlTransport, target: Any) -> Any:
        tools = await _tools(transport, target)
        assert tools["count"]["annotations"] == {"readOnlyHint": True, "openWorldHint": True}
        bound = replace(target, template=target.template.model_copy(update=tools["count"]["overlay"]))
        return (await transport.call(bound, make_call({"to": 2}, name="count"), discard)).value

    assert await _run(use) == [0, 1]


@pytest.mark.parametrize("path", ["/graphql", "/events"])
async def test_errors_are_part_of_a_result_with_data_and_raised_without_data(path: str) -> None:
    result, _, _ = await _subscribe("subscription { failing }", {}, path)
    good, bad = result.value
    assert good == {"failing": 1}
    assert bad["data"] is None
    assert "no number" in str(bad["errors"])
    with pytest.raises(Rejected) as caught:
        await _subscribe("subscription { nothing }", {}, path)
    assert "nothing" in str(caught.value.detail)


class _SilentSocket(web.WebSocketResponse):
    """Never acknowledges a connection."""

    async def send_json(self, data: Any, *args: Any, **options: Any) -> None:
        if data.get("type") != "connection_ack":
            await super().send_json(data, *args, **options)


class _BreakingSocket(web.WebSocketResponse):
    """Replaces the third result by an error, or by the end of the connection."""

    breaks = False

    async def send_json(self, data: Any, *args: Any, **options: Any) -> None:
        if (data.get("payload") or {}).get("data") != {"count": 2}:
            await super().send_json(data, *args, **options)
        elif self.breaks:
            await self.close(code=1011, message=b"no memory")
        else:
            error = {"id": data["id"], "type": "error", "payload": [{"message": "kaput"}]}
            await super().send_json(error, *args, **options)


class _ClosingSocket(_BreakingSocket):
    breaks = True


@pytest.mark.parametrize("protocol", ["graphql-transport-ws", "graphql-ws"])
async def test_a_connection_that_is_never_acknowledged_is_an_error(protocol: str) -> None:
    with pytest.raises(ConnectionLost, match=r"did not acknowledge the connection within 0\.1 seconds"):
        await _subscribe(COUNT, {"to": 3}, socket=_SilentSocket, protocols=(protocol,), idle_timeout=0.1)


@pytest.mark.parametrize(
    ("broken", "error", "words"), [(_BreakingSocket, Rejected, "kaput"), (_ClosingSocket, ConnectionLost, "no memory")]
)
async def test_results_before_an_error_are_kept(broken: Any, error: type[Exception], words: str) -> None:
    result, seen, _ = await _subscribe(COUNT, {"to": 9}, socket=broken)
    assert result.value == seen == [{"count": 0}, {"count": 1}]
    assert isinstance(result.failure, error)
    assert words in result.truncated


async def test_a_silent_subscription_ends_with_its_results_and_a_stop_message() -> None:
    result, _, service = await _subscribe("subscription { silence }", {}, is_silent=True)
    assert result.value == []
    assert "nothing arrived" in str(result.truncated)
    with anyio.fail_after(60):
        await service.slow_gone.wait()


async def test_a_message_above_the_limit_ends_a_subscription() -> None:
    with pytest.raises(ReplyTooLarge):
        await _subscribe("subscription ($n: Int!) { flood(size: $n) }", {"n": 200_000})


@pytest.mark.parametrize(
    ("path", "error"), [("/reset", ConnectionLost), ("/status/403", Rejected), ("/items", MalformedReply)]
)
async def test_a_server_without_subscriptions_is_an_error(path: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        await _subscribe(COUNT, {"to": 1}, path)


async def test_connection_parameters_come_from_the_template_or_the_credentials() -> None:
    _, _, service = await _subscribe(COUNT, {"to": 1}, connection_params={"token": "t"})
    assert service.parameters == {"token": "t"}
    with pytest.raises(Rejected, match="refused the subscription"):
        await _subscribe(COUNT, {"to": 1}, connection_params={"refuse": True})
    async with GraphQlService() as service, open_services() as services:
        transport = GraphQlTransport(services)
        source = Source(name="peer", allow_networks=LOOPBACK)
        auth = parse_auth({"auth_type": "api_key", "api_key": CANARY, "var_name": "X-Auth"})
        credentials = Credentials(auth, [service.base])
        url = f"{service.base}/graphql"
        target = make_target(transport, {"url": url, "query": COUNT}, source=source, credentials=credentials)
        with anyio.fail_after(60):
            await transport.call(target, make_call({"to": 1}), discard)
        assert service.parameters == {"X-Auth": CANARY}
        assert service.last.headers["X-Auth"] == CANARY


async def test_valid_selections_of_the_operator_replace_generated_ones() -> None:
    async def use(transport: GraphQlTransport, target: Any) -> Any:
        return (await transport.discover(target)).content

    written = {"city": "{ size(unit: METRIC) }", "search": "{ nothing }", "partial": "{ name } } mutation { clash"}
    content = await _run(use, selections=written)
    queries = {tool["name"]: tool["overlay"]["query"] for tool in content["tools"]}
    assert queries["city"] == "query($name: String!) { city(name: $name) { size(unit: METRIC) } }"
    assert "__typename" in queries["search"]
    assert [fault.where for fault in content["faults"]] == ["selection of 'search'", "selection of 'partial'"]


def test_only_subscriptions_have_the_timeout_of_a_stream() -> None:
    kinds = [
        ({"query": COUNT}, True),
        ({"query": "subscription Named($to: Int!) { count(to: $to) }"}, True),
        ({"operation_type": "subscription"}, True),
        ({"query": "{ clash }"}, False),
        ({"query": "query subscription { clash }"}, False),
    ]
    for fields, expected in kinds:
        assert GraphQlTransport.is_streaming(make_tool(template=fields)) is expected


async def test_a_tool_of_introspection_has_the_arguments_of_its_entry() -> None:
    async with GraphQlService() as service:
        entry = {
            "name": "g",
            "call_template_type": "graphql",
            "url": f"{service.base}/graphql",
            "header_fields": ["X-Tenant"],
            "headers": {"X-Region": "{{ region | default:eu }}"},
        }
        async with await UtcpClient.create([entry]) as client:
            assert {"text", "X-Tenant", "region"} <= client.find_tool("g.echo").inputs["properties"].keys()
            assert await client.call_tool("g.echo", {"text": "hi", "X-Tenant": "t1", "region": "us"}) == "hi"
    seen = service.requests[-1].headers
    assert (seen["X-Tenant"], seen["X-Region"]) == ("t1", "us")
