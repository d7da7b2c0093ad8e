"""Cleaning of values, partial results and errors."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.tools import make_tool

from utcp_bridge.errors import Rejected
from utcp_bridge.model import Binary, Call, ContentBlocks, Result, discard
from utcp_bridge.pipeline.cleaning import cleaning

pytestmark = pytest.mark.anyio

RED = "\x1b[31mred\u202e"
PNG = Binary(b"\x1b[31m", "image/png")


async def cleaned(result: Result, partials: list[Any] | None = None) -> Result:
    async def inner(_call: Call, emit: Any) -> Result:
        for partial in (RED, {RED: [RED]}, PNG):
            await emit(partial)
        return result

    async def keep(partial: Any) -> None:
        if partials is not None:
            partials.append(partial)

    tool = make_tool("echo")
    return await cleaning(tool, inner)(Call(tool, {}), discard if partials is None else keep)


async def test_values_partial_results_and_meta_are_cleaned() -> None:
    partials: list[Any] = []
    result = await cleaned(Result({RED: [RED, 1, None]}, meta={"link": RED}), partials)
    assert (result.value, result.meta) == ({"red": ["red", 1, None]}, {"link": "red"})
    assert partials == ["red", {"red": ["red"]}, PNG]


async def test_content_of_other_servers_is_cleaned_and_bytes_are_not() -> None:
    blocks = ContentBlocks([{"type": "text", "text": RED}], {"a": RED})
    assert (await cleaned(Result(blocks))).value == ContentBlocks([{"type": "text", "text": "red"}], {"a": "red"})
    assert (await cleaned(Result([blocks, PNG, RED]))).value[1:] == [PNG, "red"]
    assert (await cleaned(Result([RED, PNG]))).value == ["red", PNG]
    assert (await cleaned(Result(PNG))).value is PNG


async def test_a_clean_result_is_returned_itself() -> None:
    result = Result({"a": ["x", 1, "é\n"]})
    assert await cleaned(result) is result


async def test_errors_are_cleaned() -> None:
    async def inner(_call: Call, _emit: Any) -> Result:
        raise Rejected(RED, status=1, detail={"why": RED}, remedy=RED)

    tool = make_tool("echo")
    with pytest.raises(Rejected) as caught:
        await cleaning(tool, inner)(Call(tool, {}), discard)
    assert (str(caught.value), caught.value.detail) == ("red red", {"why": "red"})
