"""The shared suite against a real GraphQL server; generated documents, own documents, errors beside data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.support.services import make_call, make_target, open_services
from tests.transports.contract import *  # noqa: F403 - the suite's fixtures and tests
from tests.transports.contract import CANARY, Case, Peer
from tests.upstreams.graphql_service import SDL, GraphQlService

from utcp_bridge.errors import ConfigError, MalformedReply, ManualError, Rejected
from utcp_bridge.model import Document, JsonObject, discard
from utcp_bridge.transports.graphql import GraphQlTransport

pytestmark = pytest.mark.anyio
ECHO = "query ($text: String) { echo(text: $text) }"


class GraphQlPeer(Peer):
    transport = GraphQlTransport

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
        with anyio.fail_after(10):
            return await use(transport, make_target(transport, {"url": service.base + path, **fields}))


async def _tools(transport: GraphQlTransport, target: Any) -> dict[str, JsonObject]:
    return {tool["name"]: tool for tool in (await transport.discover(target)).content["tools"]}


async def test_every_generated_tool_can_be_called_and_gives_its_own_field() -> None:
    async def use(transport: GraphQlTransport, target: Any) -> None:
        tools = await _tools(transport, target)
        assert set(tools) == {"echo", "city", "search", "partial", "broken", "clash", "add", "clash_mutation"}

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


async def test_closed_introspection_names_the_remedy_and_a_schema_file_takes_its_place(tmp_path: Path) -> None:
    with pytest.raises(ManualError, match="schema_file"):
        await _run(_tools, "/closed")
    (tmp_path / "schema.graphql").write_text(SDL, encoding="utf-8")
    (tmp_path / "broken.graphql").write_text("type {", encoding="utf-8")
    assert "city" in await _run(_tools, "/closed", root=tmp_path, schema_file="schema.graphql")
    with pytest.raises(ManualError, match="cannot be used"):
        await _run(_tools, root=tmp_path, schema_file="broken.graphql")
    with pytest.raises(ConfigError, match="cannot be read"):
        await _run(_tools, root=tmp_path, schema_file="missing.graphql")


async def test_documents_of_ones_own_take_the_variables_they_declare() -> None:
    async def call(transport: GraphQlTransport, target: Any) -> Any:
        return (await transport.call(target, make_call({"n": 1, "other": 2}, name="add"), discard)).value

    both = "query A { clash } mutation B($n: Int!) { add(n: $n) }"
    assert await _run(call, query=both, operation_name="B") == {"add": 2}
    types = {"n": "Int!", "other": "Int"}
    with pytest.raises(Rejected, match="errors"):
        await _run(call, operation_type="mutation", variable_types=types)
    with pytest.raises(ConfigError, match="no GraphQL document"):
        await _run(call, query="query {")


async def test_utcps_form_without_a_document_names_the_field_like_the_tool() -> None:
    async def call(transport: GraphQlTransport, target: Any) -> Any:
        first = (await transport.call(target, make_call({"text": "x"}, name="echo"), discard)).value
        return first, (await transport.call(target, make_call({}, name="clash"), discard)).value

    assert await _run(call) == ("x", 7)


async def test_an_answer_that_is_no_graphql_is_malformed_or_rejected() -> None:
    async def call(transport: GraphQlTransport, target: Any) -> Any:
        return await transport.call(target, make_call({}), discard)

    with pytest.raises(MalformedReply, match="no GraphQL response"):
        await _run(call, "/items", query="{ clash }")
    with pytest.raises(Rejected, match="503"):
        await _run(call, "/status/503", query="{ clash }")


def test_queries_read_and_mutations_promise_nothing() -> None:
    url = {"url": "https://a.example/graphql"}
    read = make_target(GraphQlTransport, url).template
    write = make_target(GraphQlTransport, {**url, "query": "mutation { add(n: 1) }"}).template
    assert GraphQlTransport.annotations(read)["readOnlyHint"] is True
    assert "readOnlyHint" not in GraphQlTransport.annotations(write)
    assert GraphQlTransport.endpoint(read) == url["url"]
