from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from utcp_bridge.model import Binary, LogMessage, Result, log_receiver
from utcp_bridge.net.stream import Collector, _split
from utcp_bridge.net.stream_decoders import ChunkSplitter, EventSplitter, JsonSplitter, Splitter, TextSplitter
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


async def test_pieces_without_a_value_are_one_batch() -> None:
    batches = [batch async for batch in _split(chunks(b'"', *[b"1"] * 38, b'"', b"\n", b"2"), JsonSplitter(100, "x"))]
    assert batches == [(["1" * 38], 41), ([2], 1)]


async def test_messages_of_a_log_have_a_limit() -> None:
    received: list[LogMessage] = []

    async def receive(message: LogMessage) -> None:
        received.append(message)

    token = log_receiver.set(receive)
    try:
        await collect(EventSplitter(100, "x", logs=True), b"event: log\ndata: 1\n\n" * 9, max_stream_events=4)
    finally:
        log_receiver.reset(token)
    assert len(received) == 4


async def test_a_stream_is_cut_at_the_limit_of_values() -> None:
    result, emitted = await collect(JsonSplitter(100, "x"), b"1\n2\n3\n", max_stream_events=2)
    assert (result.value, emitted) == ([1, 2], [1, 2])
    assert result.truncated == "the stream was cut at 2 results"


async def test_a_stream_is_cut_at_the_limit_of_bytes_and_keeps_whole_values() -> None:
    result, _ = await collect(TextSplitter(), b"abc", b"def", b"ghi", max_reply_bytes=5)
    assert result == Result("abcdef", truncated="the stream was cut at 5 bytes")
