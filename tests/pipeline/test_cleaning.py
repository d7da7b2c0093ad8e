"""Cleaning of values, partial results and errors."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utcp_bridge.errors import Rejected
from utcp_bridge.model import Binary, ContentBlocks, Result, WrittenValue
from utcp_bridge.pipeline.cleaning import clean_emit, clean_error, clean_in_steps, cleaned
from utcp_bridge.tasks import at_once

pytestmark = pytest.mark.anyio

RED = "\x1b[31mred\u202e"
PNG = Binary(b"\x1b[31m", "image/png")


async def test_partial_results_are_cleaned() -> None:
    partials: list[Any] = []

    async def keep(partial: Any) -> None:
        partials.append(partial)

    emit = clean_emit(keep)
    for partial in (RED, {RED: [RED]}, PNG):
        await emit(partial)
    assert partials == ["red", {"red": ["red"]}, PNG]


async def test_values_and_meta_are_cleaned() -> None:
    result = await cleaned(Result({RED: [RED, 1, None]}, meta={"link": RED}))
    assert (result.value, result.meta) == ({"red": ["red", 1, None]}, {"link": "red"})


async def test_content_of_other_servers_is_cleaned_and_bytes_are_not() -> None:
    blocks = ContentBlocks([{"type": "text", "text": RED}], {"a": RED})
    assert (await cleaned(Result(blocks))).value == ContentBlocks([{"type": "text", "text": "red"}], {"a": "red"})
    assert (await cleaned(Result([blocks, PNG, RED]))).value[1:] == [PNG, "red"]
    assert (await cleaned(Result([RED, PNG]))).value == ["red", PNG]
    assert (await cleaned(Result(PNG))).value is PNG


async def test_a_clean_result_is_returned_itself() -> None:
    result = Result({"a": ["x", 1, "é\n"]})
    assert await cleaned(result) is result


@pytest.mark.parametrize("known", [False, True])
async def test_a_clean_value_of_some_size_has_its_compact_form(known: bool) -> None:
    value = {"a": ["x" * 5_000, None, 1e-7, "é"]}
    written = WrittenValue(value, orjson.dumps(value), is_exact=True) if known else None
    result = await cleaned(Result(value, written=written))
    assert result.value is value
    assert result.data is not None
    assert result.data.data == orjson.dumps(value)
    assert not known or result.data is written


async def test_a_value_that_was_not_clean_has_no_compact_form() -> None:
    value = {"a": "x" * 5_000, "b": RED}
    result = await cleaned(Result(value, written=WrittenValue(value, orjson.dumps(value), is_exact=True)))
    assert (result.value["b"], result.data) == ("red", None)
    other = await cleaned(Result({"a": "x" * 5_000, "b": {1: 2}}, meta={"link": RED}))
    assert (other.data, other.meta) == (None, {"link": "red"})


async def test_errors_are_cleaned() -> None:
    for clean in (clean_error, failure_cleaned):
        error = Rejected(RED, status=1, detail={"why": RED}, remedy=RED)
        await clean(error)
        assert (str(error), error.detail) == ("red red", {"why": "red"})


async def failure_cleaned(error: Rejected) -> None:
    """Clean the error of a result whose value is clean."""
    result = Result(None, failure=error)
    assert await cleaned(result) is result


@pytest.mark.parametrize(
    "value", ["a\u200d" * 1_000_000, "\x1b7" * 500_000, ["\x1b7" * 500_000], [{"n\u200b": 1} for _ in range(50_000)]]
)
async def test_the_others_go_on_while_a_large_value_is_cleaned(value: Any) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(others)
        result = await cleaned(Result(value))
        group.cancel_scope.cancel()
    assert turns > 10
    assert len(result.value) in {0, 1, 1_000_000, 50_000}


TEXTS = st.text(st.sampled_from('aé \n\t\r\b\x1b[31m\u202e\u200d\ufe0f👩\x7f\\"'), max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
BLOCKS = st.builds(lambda text, value: ContentBlocks([{"type": "text", "text": text}], value), TEXTS, JSON)


@settings(deadline=None)
@given(value=JSON | BLOCKS | st.lists(JSON | BLOCKS, max_size=3), note=TEXTS)
def test_a_short_value_is_cleaned_as_it_would_be_in_steps(value: Any, note: str) -> None:
    result = anyio.run(cleaned, Result(value, meta={"status": 200, "link": note}))
    assert result.value == at_once(clean_in_steps(value))
    assert result.meta == at_once(clean_in_steps({"status": 200, "link": note}))
