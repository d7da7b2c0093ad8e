"""Functions behind real HTTP, called by the client of this package.

Functions as tools, in this process.
"""

import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import anyio
import httpx2
import pytest
from fastapi import FastAPI
from pydantic import BaseModel, Field
from starlette.applications import Starlette
from starlette.routing import Mount
from tests.upstreams.registry_service import served

from utcp_bridge import Binary, ToolServer, UtcpClient
from utcp_bridge.errors import ConfigError, InvalidArguments, MalformedReply, Rejected
from utcp_bridge.providing.tool_server import function_tool

pytestmark = pytest.mark.anyio


def weather_tools(**options) -> ToolServer:
    tools = ToolServer(**options)

    @tools.tool(tags=["weather"])
    async def get_weather(city: str, days: int = 1) -> dict[str, float]:
        """The weather in a city."""
        return {city: 20.5 + days}

    @tools.tool
    def count(to: int) -> Iterator[int]:
        yield from range(to)

    @tools.tool
    def broken() -> str:
        raise RuntimeError("hunter2")

    @tools.tool(name="picture", description="A picture.")
    def draw() -> Binary:
        return Binary(b"\x89PNG", "image/png")

    return tools


@pytest.fixture(scope="module")
def url():
    with served(weather_tools().app()) as base:
        yield base


async def client_of(url, **options):
    entry = {"name": "w", "call_template_type": "http", "url": url, **options}
    return await UtcpClient.create({"manual_call_templates": [entry]})


async def test_functions_are_discovered_and_called_as_utcp_tools(url):
    async with await client_of(f"{url}/utcp") as client:
        assert [tool.qualified_name for tool in await client.search_tools("weather city", limit=1)] == ["w.get_weather"]
        assert await client.call_tool("w.get_weather", {"city": "Oslo", "days": 2}) == {"Oslo": 22.5}
        assert await client.call_tool("w.picture", {}) == Binary(b"\x89PNG", "image/png")


async def test_results_of_a_generator_are_a_list(url):
    async with await client_of(f"{url}/utcp") as client:
        assert await client.call_tool("w.count", {"to": 2}) == [0, 1]


async def test_results_of_a_generator_are_streamed_if_the_client_allows_it(url):
    protocols = ["http", "streamable_http"]
    address = f"{url}/utcp?streaming=true"
    async with await client_of(address, allowed_communication_protocols=protocols) as client:
        assert [number async for number in client.call_tool_streaming("w.count", {"to": 3})] == [0, 1, 2]
        assert await client.call_tool("w.count", {"to": 2}) == [0, 1]
        assert await client.call_tool("w.get_weather", {"city": "Oslo"}) == {"Oslo": 21.5}


async def test_arguments_are_validated_by_client_and_server(url):
    async with await client_of(f"{url}/utcp") as client:
        with pytest.raises(InvalidArguments):
            await client.call_tool("w.get_weather", {"days": 1})
    answer = httpx2.post(f"{url}/utcp/tools/get_weather", json={"days": 1})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_arguments")


async def test_arguments_in_the_query_are_accepted(url):
    answer = httpx2.post(f"{url}/utcp/tools/get_weather?city=Oslo&days=3")
    assert answer.json() == {"Oslo": 23.5}


async def test_a_manual_with_one_body_argument_can_be_requested(url):
    async with await client_of(f"{url}/utcp?arguments=body") as client:
        assert await client.call_tool("w.get_weather", {"body": {"city": "Oslo", "days": 2}}) == {"Oslo": 22.5}
        assert await client.call_tool("w.count", {"body": {"to": 2}}) == [0, 1]
    answer = httpx2.get(f"{url}/utcp?arguments=none")
    assert (answer.status_code, answer.json()["detail"]) == (400, "`arguments` must be flat or body.")


async def test_an_error_inside_a_function_is_not_shown_to_the_caller(url):
    async with await client_of(f"{url}/utcp") as client:
        with pytest.raises(Rejected) as caught:
            await client.call_tool("w.broken", {})
    assert caught.value.status == 500
    assert "hunter2" not in f"{caught.value}{caught.value.detail}"


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [({"content-type": "text/plain"}, b"{}", 415), ({"content-type": "application/json"}, b"[1]", 400)],
)
def test_an_unreadable_body_is_a_problem_with_its_status(url, headers, content, status):
    reply = httpx2.post(f"{url}/utcp/tools/get_weather", headers=headers, content=content)
    assert (reply.status_code, reply.json()["code"]) == (status, "invalid_arguments")


def test_an_unknown_tool_is_404_with_its_name(url):
    answer = httpx2.post(f"{url}/utcp/tools/no_such", json={})
    assert answer.status_code == 404
    assert answer.json()["detail"] == "There is no tool 'no_such'. /utcp lists the tools."


@pytest.mark.parametrize("framework", [FastAPI, Starlette])
def test_routes_are_added_before_those_that_match_every_path(framework):
    app = framework()
    app.add_route("/{anything:path}", lambda _request: httpx2.Response(500))
    weather_tools(path="/tools").add_to(app)
    with served(app) as base:
        manual = httpx2.get(f"{base}/tools").json()
    assert manual["tools"][0]["tool_call_template"]["url"] == f"{base}/tools/tools/get_weather"


async def test_a_mounted_application_uses_its_own_address():
    with served(Starlette(routes=[Mount("/weather", weather_tools().app())])) as base:
        async with await client_of(f"{base}/weather/utcp") as client:
            assert await client.call_tool("w.get_weather", {"city": "Oslo"}) == {"Oslo": 21.5}


def test_public_url_and_auth_are_part_of_the_manual():
    auth = {"auth_type": "api_key", "api_key": "Bearer ${TOKEN}", "var_name": "Authorization"}
    with served(weather_tools(auth=auth, public_url="https://tools.example.com/utcp").app()) as base:
        template = httpx2.get(f"{base}/utcp").json()["tools"][0]["tool_call_template"]
    assert template["url"] == "https://tools.example.com/utcp/tools/get_weather"
    assert template["auth"] == auth


async def test_an_endless_stream_ends_when_the_caller_leaves():
    tools, ended = ToolServer(), threading.Event()

    @tools.tool
    async def forever():
        try:
            while True:
                await anyio.lowlevel.checkpoint()
                yield 1
        finally:
            ended.set()

    with served(tools.app()) as base:
        lines = {"Accept": "application/x-ndjson"}
        async with (
            httpx2.AsyncClient() as http,
            http.stream("POST", f"{base}/utcp/tools/forever", headers=lines) as stream,
        ):
            async for _ in stream.aiter_lines():
                break
        assert await anyio.to_thread.run_sync(ended.wait, 5)


def test_two_tools_cannot_share_a_name():
    tools = weather_tools()
    with pytest.raises(ConfigError, match="There is already a tool count"):
        tools.tool(name="count")(lambda: 1)


def test_the_decorator_does_not_change_the_function():
    def one() -> int:
        return 1

    assert ToolServer().tool(one) is one


pytestmark = pytest.mark.anyio


class Day(BaseModel):
    temperature: float
    sky: Literal["clear", "cloudy"] = "clear"


@dataclass
class Place:
    city: str
    country: str | None = None


async def forecast(place: Place, days: Annotated[int, Field(ge=1, le=7, description="How many.")] = 3) -> list[Day]:
    """The weather of the next days."""
    return [Day(temperature=number + len(place.city)) for number in range(days)]


def test_type_hints_become_schemas():
    tool = function_tool(forecast, tags=["weather"])
    assert (tool.name, tool.description, tool.tags) == ("forecast", "The weather of the next days.", ("weather",))
    days = {"type": "integer", "minimum": 1, "maximum": 7, "default": 3, "description": "How many."}
    assert tool.inputs["properties"]["days"] == days
    assert tool.inputs["required"] == ["place"]
    assert tool.inputs["$defs"]["Place"]["properties"]["country"]["anyOf"] == [{"type": "string"}, {"type": "null"}]
    assert tool.outputs["type"] == "array"
    assert tool.outputs["$defs"]["Day"]["properties"]["sky"]["enum"] == ["clear", "cloudy"]


async def test_arguments_are_converted_to_their_types():
    tool = function_tool(forecast)
    result = await tool.call({"place": {"city": "Oslo"}, "days": 2})
    assert result == [{"temperature": 4.0, "sky": "clear"}, {"temperature": 5.0, "sky": "clear"}]


@pytest.mark.parametrize(
    ("arguments", "reported"),
    [
        ({"place": {"city": "Oslo"}, "days": 9}, "days: Input should be less than or equal to 7"),
        ({"place": {}}, "place.city: Field required"),
        ({"place": {"city": "Oslo"}, "nights": 1}, "nights: Unexpected keyword argument"),
        ({}, "place: Missing required argument"),
    ],
)
async def test_invalid_arguments_are_reported_by_name(arguments, reported):
    with pytest.raises(InvalidArguments) as caught:
        await function_tool(forecast).call(arguments)
    assert reported in caught.value.message
    assert caught.value.message.startswith("The arguments do not match forecast: ")


async def test_an_error_inside_a_function_is_not_an_argument_error():
    def broken(text: str) -> int:
        return Day.model_validate({"temperature": text}).temperature

    with pytest.raises(ValueError, match="validation error for Day"):
        await function_tool(broken).call({"text": "warm"})


async def test_a_synchronous_function_runs_in_a_worker_thread():
    def where() -> int:
        return threading.get_ident()

    assert await function_tool(where).call({}) != threading.get_ident()


async def test_sync_and_async_generators_emit_results_one_by_one():
    async def up(to: int) -> AsyncIterator[Day]:
        for number in range(to):
            await anyio.lowlevel.checkpoint()
            yield Day(temperature=number)

    def down(since: int) -> Iterator[int]:
        yield from range(since, 0, -1)

    rising, falling = function_tool(up), function_tool(down)
    assert [day["temperature"] for day in await rising.listed({"to": 3})] == [0, 1, 2]
    assert await falling.listed({"since": 3}) == [3, 2, 1]
    assert rising.streams
    assert rising.outputs["type"] == "array"
    assert rising.outputs["items"]["required"] == ["temperature"]
    assert falling.outputs == {"type": "array", "items": {"type": "integer"}}


@pytest.mark.parametrize("sort", ["async", "sync"])
async def test_a_generator_is_closed_when_the_caller_stops(sort):
    closed = []

    async def forever() -> AsyncIterator[int]:
        try:
            while True:
                await anyio.lowlevel.checkpoint()
                yield 1
        finally:
            closed.append("async")

    def ever() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append("sync")

    async def leave(_result):
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await function_tool(forever if sort == "async" else ever).stream({}, leave)
    assert closed == [sort]


async def test_a_stream_refuses_invalid_arguments():
    def down(since: int) -> Iterator[int]:
        yield since

    with pytest.raises(InvalidArguments):
        await function_tool(down).listed({"since": "three"})


async def test_bytes_keep_their_media_type_and_have_no_output_schema():
    def picture() -> Binary:
        return Binary(b"\x89PNG", "image/png")

    tool = function_tool(picture)
    assert tool.outputs is None
    assert await tool.call({}) == Binary(b"\x89PNG", "image/png")


async def test_a_result_that_is_not_json_is_an_error():
    def odd():
        return threading.Lock()

    with pytest.raises(MalformedReply, match="The result of odd is not JSON"):
        await function_tool(odd).call({})


def test_a_function_without_a_return_type_has_no_output_schema():
    def anything(name: str):
        return name

    assert function_tool(anything).outputs is None


def positional(a: int, /) -> int:
    return a


def several(*values: int) -> int:
    return sum(values)


def handle(lock: threading.Event) -> None:
    lock.set()


def unknown(value: "NoSuchType") -> None:  # noqa: F821
    del value


@pytest.mark.parametrize(
    ("function", "reported"),
    [
        (positional, "the parameter a is positional only"),
        (several, "the parameter values is positional only"),
        (handle, "the type hints have no JSON Schema"),
        (unknown, "NoSuchType"),
        (lambda: 1, "'<lambda>' cannot be the name of a tool"),
    ],
)
def test_an_unusable_function_is_refused_with_a_reason(function, reported):
    with pytest.raises(ConfigError, match=reported):
        function_tool(function)
