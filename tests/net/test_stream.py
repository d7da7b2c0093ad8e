import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import anyio
import pytest

from utcp_bridge.errors import ConnectionLost, DeadlineExceeded, MalformedReply, Rejected, UtcpError
from utcp_bridge.model import Binary, Deferred, LogMessage, Result, discard, large_reader, log_receiver
from utcp_bridge.net.collecting import LARGE, Collecting
from utcp_bridge.net.stream import Batch, Collector, _split
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
    with anyio.fail_after(60), collector.keeping():
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


async def kept(splitter: Splitter, chunks: AsyncIterator[bytes], **settings: Any) -> Result:
    collector = Collector(BridgeSettings(**settings), discard, "m")
    with anyio.fail_after(60), collector.keeping():
        await collector.consume(chunks, splitter)
    return collector.result()


async def broken(*parts: bytes, error: UtcpError | None = None) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    raise error or ConnectionLost("The connection broke.")


async def test_values_before_an_error_are_kept_with_the_error() -> None:
    result = await kept(JsonSplitter(100, "x"), broken(b"1\n2\n3"))
    assert (result.value, result.truncated) == ([1, 2], "the stream is incomplete: The connection broke")
    assert isinstance(result.failure, ConnectionLost)
    malformed = await kept(JsonSplitter(100, "x"), chunks(b"1\n2\nx\n4\n"))
    assert malformed.value == [1, 2]
    assert isinstance(malformed.failure, MalformedReply)


async def test_the_details_of_an_error_after_values_are_shown() -> None:
    refused = Rejected("It refused.", status=400, detail=[{"message": "too old"}])
    result = await kept(JsonSplitter(100, "x"), broken(b"1\n", error=refused))
    assert "It refused: " in str(result.truncated)
    assert "too old" in str(result.truncated)


async def test_an_error_without_values_is_raised() -> None:
    with pytest.raises(ConnectionLost):
        await kept(JsonSplitter(100, "x"), broken(b"1"))


async def test_a_stream_that_is_not_open_near_the_deadline_ends_with_what_came_before() -> None:
    async def stalls(*values: int) -> Result:
        collector = Collector(BridgeSettings(), discard, "m", values=[*values], _ends=anyio.current_time())
        with anyio.fail_after(60), collector.keeping():
            await anyio.sleep_forever()
        return collector.result()

    assert await stalls(1) == Result([1], truncated="the time limit of the call ended before the stream did")
    with pytest.raises(DeadlineExceeded):
        await stalls()


async def test_a_large_stream_waits_for_the_place_of_its_manual() -> None:
    arrived, waits = anyio.Event(), Collecting("m")

    async def large() -> AsyncIterator[bytes]:
        yield b"1" * LARGE
        arrived.set()
        yield b"1\n"

    with anyio.fail_after(60):
        await waits.grow(LARGE + 1)
        async with anyio.create_task_group() as group:
            group.start_soon(kept, TextSplitter(), large())
            await arrived.wait()
            await anyio.wait_all_tasks_blocked()
            assert len(group._tasks) == 1  # type: ignore[attr-defined]
            waits.release()


async def test_values_that_take_long_to_read_are_read_in_turn() -> None:
    text = "x" * (LARGE + 1)
    for splitter, data in (
        (JsonSplitter(LARGE + 100, "x"), f'"{text}"\n1\n'.encode()),
        (EventSplitter(LARGE + 100, "x"), f"data: {text}\n\ndata: 1\n\n".encode()),
    ):
        assert (await kept(splitter, chunks(data))).value == [text, 1]


LONG = "x" * (LARGE + 1)
LINES = f'{{"a": 1}}\n["{LONG}", 2.5]\n3\n'.encode()


async def later(result: Result) -> Result:
    """Return a result whose large values are read from a request in JSON, as a worker does it."""
    assert isinstance(result.value, Deferred)
    value: Any = result.value.take()
    for work, given in result.value.work:
        value = work(value, **json.loads(json.dumps(given)))
    return (
        replace(result, value=value.value, truncated=value.truncated)
        if isinstance(value, Result)
        else replace(result, value=value)
    )


async def unread(splitter: Splitter, data: bytes, **settings: Any) -> tuple[Result, list[Any]]:
    token = large_reader.set(lambda _tool, result: later(result))
    try:
        return await collect(splitter, data, **settings)
    finally:
        large_reader.reset(token)


@pytest.mark.parametrize(
    ("splitter", "data"),
    [
        (lambda: JsonSplitter(3 * LARGE, "x"), LINES),
        (lambda: JsonSplitter(3 * LARGE, "x"), f'["{LONG}"] {{"b": 2}}\n'.encode()),
        (lambda: JsonSplitter(3 * LARGE, "x"), f'[\n"{LONG}"\n]\n1'.encode()),
        (lambda: JsonSplitter(3 * LARGE, "x"), f'"{LONG}"'.encode()),
        (lambda: EventSplitter(3 * LARGE, "x"), f'data: ["{LONG}"]\n\ndata: 1\n\ndata: {LONG}\n\n'.encode()),
    ],
)
async def test_large_values_of_a_stream_are_read_later_if_the_caller_can(
    splitter: Callable[[], Splitter], data: bytes
) -> None:
    here, _ = await collect(splitter(), data)
    result, emitted = await unread(splitter(), data)
    assert await later(result) == here
    assert any(str(one).endswith("bytes arrived.") for one in emitted)


async def test_values_before_a_large_one_that_cannot_be_read_are_kept() -> None:
    result, _ = await unread(JsonSplitter(3 * LARGE, "x"), f'1\n["{LONG}\n'.encode())
    found = await later(result)
    assert found.value == [1]
    assert found.truncated == "the stream is incomplete: x sent a value that is not JSON"
    only, _ = await unread(JsonSplitter(3 * LARGE, "x"), f'["{LONG}\n'.encode())
    with pytest.raises(MalformedReply):
        await later(only)


async def test_more_values_in_one_large_line_than_the_limit_are_cut() -> None:
    settings = {"max_stream_events": 2}
    result, _ = await unread(JsonSplitter(3 * LARGE, "x", most=3), f'["{LONG}"] 1 2 3\n'.encode(), **settings)
    found = await later(result)
    assert found.value == [[LONG], 1]
    assert found.truncated == "the stream was cut at 2 results"


async def test_waiting_for_values_does_not_count_as_a_value() -> None:
    async def batches() -> AsyncGenerator[Batch]:
        yield [1], 1
        while True:
            yield [], 0
            await anyio.lowlevel.checkpoint()

    collector = Collector(BridgeSettings(), discard, "m", 0.01)
    with anyio.fail_after(60):
        await collector.gather(batches())
    assert (collector.values, collector.truncated) == ([1], "nothing arrived for 0.01 seconds")
