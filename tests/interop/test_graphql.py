"""graphql: three servers, open and closed introspection, subscriptions in every protocol."""

from pathlib import Path

import pytest
from tests.interop.manuals import manual
from tests.interop.serving import free_port, serving
from tests.interop.software import Npm, PyPI

from utcp_bridge.errors import Rejected

pytestmark = pytest.mark.anyio

SERVERS = Path(__file__).parent / "servers"
YOGA = Npm("graphql-yoga@5.24.1 graphql-ws@6.4.2 graphql@16.15.0 ws@8.23.0")
APOLLO = Npm("@apollo/server@5.5.1 graphql@16.15.0")
STRAWBERRY = PyPI("strawberry-graphql[asgi]==0.341.2 uvicorn[standard]==0.54.0")
SDL = "type Book { title: String!, pages: Int } type Query { books(author: String!): [Book!]! }"


def entry(port: int, path: str = "/graphql", **fields):
    return {"name": "g", "call_template_type": "graphql", "url": f"http://127.0.0.1:{port}{path}", **fields}


@pytest.mark.needs(YOGA)
@pytest.mark.parametrize("way", ["ws", "sse"])
async def test_yoga_is_introspected_queried_changed_and_subscribed_to(opened, way: str) -> None:
    port = free_port()
    command = [YOGA.command, SERVERS / "graphql_yoga.cjs", str(port), way]
    with serving(command, port=port, environment=YOGA.environment):
        async with opened(entry(port)) as client:
            names = {tool.name for tool in client.tools()}
            assert names == {"hello", "places", "named", "broken", "add", "countdown"}
            assert await client.call_tool("g.hello", {}) == "Hello you"
            places = await client.call_tool("g.places", {"filter": {"names": ["Paris"]}})
            assert places == [{"__typename": "City", "name": "Paris", "rank": 1}]
            assert (await client.call_tool("g.named", {}))["length"] == 400.5
            assert await client.call_tool("g.add", {"a": 2, "b": 3}) == 5
            assert [n async for n in client.call_tool_streaming("g.countdown", {"from": 2})] == [2, 1, 0]
            with pytest.raises(Rejected) as caught:
                await client.call_tool("g.broken", {})
            assert "Unexpected error" in str(caught.value.detail)


@pytest.mark.needs(APOLLO)
async def test_apollo_is_introspected_and_tells_a_wrong_field_by_status_400(opened) -> None:
    port = free_port()
    with serving([APOLLO.command, SERVERS / "apollo.cjs", str(port)], port=port, environment=APOLLO.environment):
        wrong = manual("w", "graphql", ask={"url": entry(port, "/")["url"], "query": "{ nothing }"})
        async with opened(entry(port, "/"), wrong) as client:
            assert await client.call_tool("g.books", {"author": "Lem"}) == [{"title": "By Lem", "pages": 7}]
            with pytest.raises(Rejected) as caught:
                await client.call_tool("w.ask", {})
            assert "Cannot query field" in str(caught.value.detail)


@pytest.mark.needs(APOLLO)
async def test_apollo_with_introspection_closed_names_the_remedy_and_takes_a_schema_file(opened, tmp_path) -> None:
    port = free_port()
    (tmp_path / "schema.graphql").write_text(SDL, encoding="utf-8")
    command = [APOLLO.command, SERVERS / "apollo.cjs", str(port), "closed"]
    with serving(command, port=port, environment=APOLLO.environment):
        closed, filed = entry(port, "/"), {**entry(port, "/"), "name": "f", "schema_file": "schema.graphql"}
        async with opened(closed, filed) as client:
            state = next(state for state in client.report() if state.name == "g")
            assert "schema_file" in str(state.error)
            assert await client.call_tool("f.books", {"author": "Lem"}) == [{"title": "By Lem", "pages": 7}]


@pytest.mark.needs(STRAWBERRY)
@pytest.mark.parametrize("protocol", ["graphql-transport-ws", "graphql-ws"])
async def test_strawberry_is_subscribed_to_in_its_only_protocol(opened, protocol: str) -> None:
    port = free_port()
    command = [STRAWBERRY.command, SERVERS / "strawberry_app.py", str(port), protocol]
    with serving(command, port=port):
        async with opened(entry(port, "/")) as client:
            assert await client.call_tool("g.echo", {"text": "grüße"}) == "grüße"
            assert await client.call_tool("g.count", {"to": 3}) == [0, 1, 2]
