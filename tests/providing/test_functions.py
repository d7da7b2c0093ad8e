"""Functions as tools, in this process."""

import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import anyio
import pytest
from pydantic import BaseModel, Field

from utcp_bridge.errors import ConfigError, InvalidArguments, MalformedReply
from utcp_bridge.model import Binary
from utcp_bridge.providing.functions import function_tool

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


def test_the_schemas_come_of_the_type_hints():
    tool = function_tool(forecast, tags=["weather"])
    assert (tool.name, tool.description, tool.tags) == ("forecast", "The weather of the next days.", ("weather",))
    days = {"type": "integer", "minimum": 1, "maximum": 7, "default": 3, "description": "How many."}
    assert tool.inputs["properties"]["days"] == days
    assert tool.inputs["required"] == ["place"]
    assert tool.inputs["$defs"]["Place"]["properties"]["country"]["anyOf"] == [{"type": "string"}, {"type": "null"}]
    assert tool.outputs["type"] == "array"
    assert tool.outputs["$defs"]["Day"]["properties"]["sky"]["enum"] == ["clear", "cloudy"]


async def test_arguments_arrive_as_the_types_that_are_written():
    tool = function_tool(forecast)
    result = await tool.call({"place": {"city": "Oslo"}, "days": 2})
    assert result == [{"temperature": 4.0, "sky": "clear"}, {"temperature": 5.0, "sky": "clear"}]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"place": {"city": "Oslo"}, "days": 9}, "days: Input should be less than or equal to 7"),
        ({"place": {}}, "place.city: Field required"),
        ({"place": {"city": "Oslo"}, "nights": 1}, "nights: Unexpected keyword argument"),
        ({}, "place: Missing required argument"),
    ],
)
async def test_arguments_that_do_not_fit_are_told_by_their_place(arguments, told):
    with pytest.raises(InvalidArguments) as caught:
        await function_tool(forecast).call(arguments)
    assert told in caught.value.message
    assert caught.value.message.startswith("The arguments of forecast do not fit: ")


async def test_a_fault_within_the_function_is_not_taken_for_one_of_the_arguments():
    def broken(text: str) -> int:
        return Day.model_validate({"temperature": text}).temperature

    with pytest.raises(ValueError, match="validation error for Day"):
        await function_tool(broken).call({"text": "warm"})


async def test_a_function_that_is_not_asynchronous_runs_in_a_worker_thread():
    def where() -> int:
        return threading.get_ident()

    assert await function_tool(where).call({}) != threading.get_ident()


async def test_generators_of_both_sorts_give_their_results_one_by_one():
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
async def test_a_generator_is_closed_when_nobody_takes_more(sort):
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


async def test_a_stream_refuses_arguments_that_do_not_fit():
    def down(since: int) -> Iterator[int]:
        yield since

    with pytest.raises(InvalidArguments):
        await function_tool(down).listed({"since": "three"})


async def test_bytes_are_given_on_with_their_type_and_promise_no_schema():
    def picture() -> Binary:
        return Binary(b"\x89PNG", "image/png")

    tool = function_tool(picture)
    assert tool.outputs is None
    assert await tool.call({}) == Binary(b"\x89PNG", "image/png")


async def test_a_result_that_json_does_not_have_is_told():
    def odd():
        return threading.Lock()

    with pytest.raises(MalformedReply, match="The result of odd is not JSON"):
        await function_tool(odd).call({})


def test_without_a_return_type_nothing_is_promised():
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
    ("function", "told"),
    [
        (positional, "the parameter a is given by its position"),
        (several, "the parameter values is given by its position"),
        (handle, "no schema comes of its type hints"),
        (unknown, "NoSuchType"),
        (lambda: 1, "'<lambda>' cannot be the name of a tool"),
    ],
)
def test_a_function_that_cannot_be_a_tool_is_refused_with_the_reason(function, told):
    with pytest.raises(ConfigError, match=told):
        function_tool(function)
