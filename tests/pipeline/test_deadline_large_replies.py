"""The layer that has large replies read by the reader of the caller."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import anyio
import pytest
from tests.support.tools import make_tool

from utcp_bridge.errors import DeadlineExceeded
from utcp_bridge.model import Call, Deferred, Result, Tool, defers, discard, large_reader
from utcp_bridge.pipeline import Layer
from utcp_bridge.pipeline.cleaning import clean_in_steps, cleaned
from utcp_bridge.pipeline.deadline import LargeReplies
from utcp_bridge.pipeline.files import OutputPath
from utcp_bridge.pipeline.post_processing import FilterDict, LimitStrings, PostProcessing, process

pytestmark = pytest.mark.anyio

TOOL = make_tool("t", projection="a")
HEAVY = b" " * 2_000_000


async def patient(_tool: Tool, result: Result) -> Result:
    return replace(result, value=result.value.take())


async def sleeping(_tool: Tool, result: Result) -> Result:
    await anyio.sleep_forever()
    return result


@contextmanager
def reader(function: Any) -> Iterator[None]:
    token = large_reader.set(function)
    try:
        yield
    finally:
        large_reader.reset(token)


async def called(layer: Layer, value: Any = None, arguments: Any = None) -> Result:
    async def inner(_call: Call, _emit: Any) -> Result:
        is_deferred = defers(HEAVY)
        return Result(value or (Deferred(HEAVY, ()) if is_deferred else "read at once"), meta={"status": 200})

    return await layer(TOOL, inner)(Call(TOOL, arguments or {}), discard)


async def test_the_reader_of_the_caller_reads_what_no_transport_has_read() -> None:
    layer = LargeReplies(lambda _: 60.0)
    assert (await called(layer)).value == "read at once"
    with reader(patient):
        assert (await called(layer)).value == HEAVY
        assert (await called(layer, [1])).value == [1]


async def test_the_time_of_reading_belongs_to_the_call() -> None:
    with reader(sleeping), pytest.raises(DeadlineExceeded, match=r"peer\.t did not finish within 0\.1 seconds"):
        await called(LargeReplies(lambda _: 0.1))


async def test_cleaning_and_built_in_processors_become_work_of_the_reader() -> None:
    with reader(patient):
        assert (await cleaned(Result(Deferred(HEAVY, ())))).value.work == ((clean_in_steps, {}),)
        layer = PostProcessing([FilterDict(exclude_keys=frozenset({"b"})), LimitStrings(limit=3)])
        ((work, given),) = (await called(layer)).value.work
    assert work is process
    assert work({"a": {"b": 1, "c": "long"}}, **given) == {"c": "lon"}


class Foreign(LimitStrings):
    """A processor of another package, which may do anything."""


class WithPath:
    """Files that can be written."""

    max_bytes = 10

    async def read(self, _text: str) -> None:
        return None

    async def check(self, _text: str) -> None:
        return None

    async def write(self, text: str, data: bytes) -> str:
        return f"{text} has {len(data)} bytes"


async def test_a_layer_that_needs_the_value_has_it_read_at_once() -> None:
    with reader(patient):
        assert (await called(PostProcessing([Foreign(limit=4)]))).value is None  # the projection of a text
        assert isinstance((await called(OutputPath(WithPath()))).value, Deferred)
        result = await called(OutputPath(WithPath()), arguments={"output_path": "x"})
        assert result.value["path"] == "x has 12 bytes"
        assert defers(HEAVY)
        assert not defers(b"[]")
    assert not defers(HEAVY)
