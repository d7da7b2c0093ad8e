from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from utcp_bridge.model import Binary, Result
from utcp_bridge.net.stream import Collector
from utcp_bridge.net.stream_decoders import ChunkSplitter, JsonSplitter, Splitter, TextSplitter
from utcp_bridge.settings import BridgeSettings

pytestmark = pytest.mark.anyio


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def collect(splitter: Splitter, *parts: bytes, **settings: Any) -> tuple[Result, list[Any]]:
    emitted: list[Any] = []

    async def emit(value: Any) -> None:
        emitted.append(value)

    collector = Collector(BridgeSettings(**settings), emit)
    with anyio.fail_after(60):
        await collector.consume(chunks(*parts), splitter)
    return collector.result(), emitted


@pytest.mark.parametrize(
    ("splitter", "parts", "value"),
    [
        (JsonSplitter(100, "x"), (b"1\n2", b"\n"), [1, 2]),
        (TextSplitter(), (b"a", b"b"), "ab"),
        (ChunkSplitter(2), (b"abc",), Binary(b"abc")),
        (ChunkSplitter(2), (), []),
    ],
)
async def test_values_are_emitted_one_by_one_and_joined_by_type(
    splitter: Splitter, parts: tuple[bytes, ...], value: Any
) -> None:
    result, emitted = await collect(splitter, *parts)
    assert result == Result(value)
    if isinstance(value, list):
        assert emitted == value


async def test_a_stream_is_cut_at_the_limit_of_values() -> None:
    result, emitted = await collect(JsonSplitter(100, "x"), b"1\n2\n3\n", max_stream_events=2)
    assert (result.value, emitted) == ([1, 2], [1, 2])
    assert result.truncated == "the stream was cut at 2 results"


async def test_a_stream_is_cut_at_the_limit_of_bytes_and_keeps_whole_values() -> None:
    result, _ = await collect(TextSplitter(), b"abc", b"def", b"ghi", max_reply_bytes=5)
    assert result == Result("abcdef", truncated="the stream was cut at 5 bytes")
