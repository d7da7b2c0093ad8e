"""Bodies without a length, whose end is the end of the connection: how it ended decides whether they are whole."""

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import asynccontextmanager

import anyio
import pytest

from utcp_bridge import UtcpClient
from utcp_bridge.errors import ConnectionLost
from utcp_bridge.model import Result

_BODIES = {
    "text/plain": b"line\n" * 2_000,
    "application/json": b"[1,2,3]",
    "application/octet-stream": b"b" * 10_000,
    "application/x-ndjson": b'{"i":1}\n{"i":2}\n',
    "text/event-stream": b"id: 1\ndata: 1\n\nid: 2\ndata: 2\n\n",
}
_PARTIAL = {"application/x-ndjson": [{"i": 1}, {"i": 2}], "text/event-stream": [1, 2], "text/plain": "line\n" * 2_000}


def _reset(writer: asyncio.StreamWriter) -> None:
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def _server(end: Callable[[asyncio.StreamWriter], None], *, at_once: bool):
    """Serve `/<type>/<subtype>` without a length. `at_once` ends the connection together with the body."""

    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        kind = head.split(b" ", 2)[1].decode().strip("/")
        headers = f"HTTP/1.0 200 OK\r\nContent-Type: {kind}\r\n\r\n".encode()
        writer.write(headers + (_BODIES[kind] if at_once else b""))
        await writer.drain()
        if not at_once:
            writer.write(_BODIES[kind])
            await writer.drain()
            received.set()
            await ended.wait()
        end(writer)

    received, ended = anyio.Event(), anyio.Event()
    server = await asyncio.start_server(exchange, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], ended


async def _call(kind: str, media_type: str, end: Callable[[asyncio.StreamWriter], None], *, at_once: bool) -> Result:
    async with _server(end, at_once=at_once) as (port, ended):
        template = {"call_template_type": kind, "url": f"http://127.0.0.1:{port}/{media_type}", "reconnect": False}
        manual = {"utcp_version": "1.0", "tools": [{"name": "t", "inputs": {}, "tool_call_template": template}]}
        entry = {"name": "m", "call_template_type": "text", "content": manual, "retries": 0}
        entry["allowed_communication_protocols"] = ["text", "http", "sse", "streamable_http"]
        async with await UtcpClient.create({"manual_call_templates": [entry]}) as client:

            async def emit(_value: object) -> None:
                ended.set()

            if kind == "http":
                ended.set()
            with anyio.fail_after(60):
                return await client.call("m.t", {}, emit)


_WHOLE = [("http", "text/plain"), ("http", "application/json"), ("http", "application/octet-stream")]
_STREAMS = [
    ("streamable_http", "application/x-ndjson"), ("streamable_http", "text/plain"), ("sse", "text/event-stream"),
]  # fmt: skip
_LOOPS = pytest.mark.parametrize("use_uvloop", [False, True], ids=["asyncio", "uvloop"])


@_LOOPS
@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(("kind", "media_type"), _WHOLE)
def test_a_body_that_a_reset_ends_is_an_error(kind: str, media_type: str, at_once: bool, use_uvloop: bool) -> None:
    async def work() -> None:
        with pytest.raises(ConnectionLost, match="broke before the reply was complete"):
            await _call(kind, media_type, _reset, at_once=at_once)

    anyio.run(work, backend_options={"use_uvloop": use_uvloop})


@_LOOPS
@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(("kind", "media_type"), _STREAMS)
def test_a_stream_that_a_reset_ends_keeps_its_values_and_says_that_it_is_incomplete(
    kind: str, media_type: str, at_once: bool, use_uvloop: bool
) -> None:
    result = anyio.run(
        lambda: _call(kind, media_type, _reset, at_once=at_once), backend_options={"use_uvloop": use_uvloop}
    )
    assert result.value == _PARTIAL[media_type]
    assert isinstance(result.failure, ConnectionLost)
    assert "incomplete" in (result.truncated or "")


@_LOOPS
@pytest.mark.parametrize(("kind", "media_type"), [*_WHOLE, *_STREAMS])
def test_an_orderly_end_is_the_end_of_the_body(kind: str, media_type: str, use_uvloop: bool) -> None:
    result = anyio.run(
        lambda: _call(kind, media_type, lambda writer: writer.close(), at_once=True),
        backend_options={"use_uvloop": use_uvloop},
    )
    assert (result.truncated, result.failure) == (None, None)
