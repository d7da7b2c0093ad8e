"""The bridge's ends of the pipes to a child."""

from __future__ import annotations

import os

import anyio
import pytest

from utcp_bridge.processes.child import PipeReader, PipeWriter

pytestmark = pytest.mark.anyio


def pipe() -> tuple[PipeReader, PipeWriter]:
    reading, writing = os.pipe()
    return PipeReader(reading), PipeWriter(writing)


async def test_more_than_a_pipe_holds_arrives_in_order() -> None:
    reader, writer = pipe()
    data = bytes(range(256)) * 4_000
    received = bytearray()

    async def send() -> None:
        async with writer:
            await writer.send(data)

    with anyio.fail_after(60):
        async with reader, anyio.create_task_group() as group:
            group.start_soon(send)
            async for chunk in reader:
                received += chunk
    assert received == data


async def test_writing_to_a_closed_reader_and_using_a_closed_end_are_errors() -> None:
    reader, writer = pipe()
    assert not writer.is_broken()
    reader.close()
    reader.close()
    assert writer.is_broken()
    with pytest.raises(anyio.BrokenResourceError):
        await writer.send(b"a")
    writer.close()
    with pytest.raises(anyio.ClosedResourceError):
        await writer.send(b"a")
    with pytest.raises(anyio.ClosedResourceError):
        await reader.receive()


async def test_closing_wakes_a_task_that_reads() -> None:
    reader, writer = pipe()

    async def read() -> None:
        with pytest.raises(anyio.ClosedResourceError):
            await reader.receive()

    with anyio.fail_after(60):
        async with writer, anyio.create_task_group() as group:
            group.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            reader.close()


async def test_a_complete_output_ends_after_what_is_in_it() -> None:
    reader, writer = pipe()
    with anyio.fail_after(60):
        async with reader, writer:
            await writer.send(b"ab")
            reader.complete()
            assert [await reader.receive(1), await reader.receive()] == [b"a", b"b"]
            with pytest.raises(anyio.EndOfStream):
                await reader.receive()
