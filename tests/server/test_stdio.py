"""Serving stdin and stdout, inside this process."""

import json
import os
import signal
import socket
import threading
from contextlib import contextmanager, suppress

import anyio
import mcp_types as types
import pytest
from mcp.shared.message import SessionMessage
from tests.support.served_here import replaced_standard_streams
from tests.support.server_client import StandIn

from utcp_bridge.server import stdio
from utcp_bridge.server.app import BridgeServer
from utcp_bridge.server.stdio import MessageReader, MessageWriter, serve_stdio
from utcp_bridge.server.wire.lines import InFlight, open_input, open_output

pytestmark = pytest.mark.anyio
INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}


def put(stream, **message):
    stream.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    stream.flush()


async def test_the_session_ends_with_its_input_and_restores_the_descriptors():
    async def noisy(_arguments, _emit):
        os.write(1, b"straight to descriptor 1\n")
        return "quiet"

    client = StandIn()
    client.add("m", "t", noisy)
    with replaced_standard_streams() as (to_server, from_server):
        put(to_server, id=1, method="initialize", params=INITIALIZE)
        put(to_server, method="notifications/initialized")
        put(to_server, id=2, method="tools/call", params={"name": "m_t", "arguments": {}})
        to_server.close()
        with anyio.fail_after(60):
            await serve_stdio(BridgeServer(client))
        os.write(1, b"mine again\n")
        os.dup2(2, 1)
        lines = from_server.read().splitlines()
        from_server.close()
    assert [json.loads(line)["id"] for line in lines[:2]] == [1, 2]
    assert lines[2:] == [b"mine again"]


DISCOVER = {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}


def capable(params):
    return {"_meta": {**params["_meta"], "io.modelcontextprotocol/clientCapabilities": {}}}


@pytest.mark.parametrize("probes", [[capable(DISCOVER)], [capable(DISCOVER)] * 3, [DISCOVER], [{}]])
async def test_a_client_goes_back_to_the_handshake_after_probes(probes):
    with replaced_standard_streams() as (to_server, from_server):
        for number, params in enumerate(probes):
            put(to_server, id=number, method="server/discover", params=params)
            put(to_server, method="notifications/cancelled", params={"requestId": number})
        put(to_server, id="i", method="initialize", params=INITIALIZE)
        put(to_server, method="notifications/initialized")
        put(to_server, id="l", method="tools/list")
        to_server.close()
        with anyio.fail_after(60):
            await serve_stdio(BridgeServer(StandIn()))
        os.dup2(2, 1)
        replies = {reply["id"]: reply for reply in map(json.loads, from_server.read().splitlines())}
        from_server.close()
    assert set(replies) == {*range(len(probes)), "i", "l"}
    assert replies["i"]["result"]["protocolVersion"] == "2025-11-25"
    assert replies["l"]["result"]["tools"]
    is_valid = "io.modelcontextprotocol/clientCapabilities" in probes[0].get("_meta", {})
    assert ("supportedVersions" in replies[0].get("result", {})) is is_valid


async def test_a_client_stays_in_the_era_of_its_probe():
    with replaced_standard_streams() as (to_server, from_server):
        put(to_server, id=1, method="server/discover", params=capable(DISCOVER))
        put(to_server, id=2, method="tools/list", params=capable(DISCOVER))
        put(to_server, id=3, method="initialize", params=INITIALIZE)
        to_server.close()
        with anyio.fail_after(60):
            await serve_stdio(BridgeServer(StandIn()))
        os.dup2(2, 1)
        replies = {reply["id"]: reply for reply in map(json.loads, from_server.read().splitlines())}
        from_server.close()
    assert replies[2]["result"]["resultType"] == "complete"
    assert replies[3]["error"]["code"] == -32_022


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_session(number):
    with replaced_standard_streams() as (to_server, from_server), to_server, from_server, anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(serve_stdio, BridgeServer(StandIn()))
            put(to_server, id=1, method="initialize", params=INITIALIZE)
            reply = await anyio.to_thread.run_sync(from_server.readline)
            os.kill(os.getpid(), number)
    assert json.loads(reply)["id"] == 1


PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n'
PONG = types.JSONRPCResponse(jsonrpc="2.0", id=1, result={})


@contextmanager
def pipe():
    reading, writing = os.pipe()
    try:
        yield reading, writing
    finally:
        for descriptor in (reading, writing):
            with suppress(OSError):
                os.close(descriptor)


async def read_all(descriptor):
    async with open_input(descriptor) as lines:
        return [item async for item in MessageReader(lines.next_line, InFlight())]


async def test_a_pipe_gives_messages_and_an_exception_for_garbage():
    with pipe() as (reading, writing), anyio.fail_after(60):
        os.write(writing, b"\n  \nno json\n[]\n" + PING + PING.rstrip())
        os.close(writing)
        messages = await read_all(reading)
    assert [type(one) for one in messages[:2]] == [type(messages[0])] * 2
    assert all(isinstance(one, ValueError) for one in messages[:2])
    assert [one.message.method for one in messages[2:]] == ["ping", "ping"]


async def test_a_line_that_is_too_long_is_an_exception_and_the_next_one_is_read(monkeypatch):
    monkeypatch.setattr(stdio, "MAX_LINE_BYTES", 200)
    with pipe() as (reading, writing), anyio.fail_after(60):
        os.write(writing, b"x" * 1_000 + b"\n" + PING)
        os.close(writing)
        messages = await read_all(reading)
    assert isinstance(messages[0], ValueError)
    assert messages[-1].message.method == "ping"


async def test_a_file_is_read_to_its_end(tmp_path):
    path = tmp_path / "in"
    path.write_bytes(PING * 3)
    with path.open("rb") as file, anyio.fail_after(60):
        assert len(await read_all(file.fileno())) == 3


async def test_a_terminal_is_read_by_a_daemon_thread():
    ours, theirs = os.openpty()
    try:
        with anyio.fail_after(60):
            async with open_input(theirs) as lines:
                os.write(ours, PING)
                assert (await lines.next_line()).strip() == PING.strip()
    finally:
        os.close(ours)
        os.close(theirs)


async def test_a_socket_serves_both_ways():
    one, other = socket.socketpair()
    with one, other, anyio.fail_after(60):
        async with open_output(one.fileno()) as send_line, open_input(other.fileno()) as lines:
            await MessageWriter(send_line, InFlight()).send(SessionMessage(PONG))
            assert await lines.next_line() == b'{"jsonrpc":"2.0","id":1,"result":{}}\n'


async def test_sent_lines_are_flushed_before_the_end():
    with pipe() as (reading, writing):
        received = []

        def drain():
            while chunk := os.read(reading, 65_536):
                received.append(chunk)

        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                async with open_output(writing) as send_line:
                    group.start_soon(anyio.to_thread.run_sync, drain)
                    for _ in range(20):
                        await send_line(b"x" * 99_999 + b"\n")
                os.close(writing)
        assert sum(map(len, received)) == 2_000_000


async def test_writers_wait_for_a_slow_reader():
    with pipe() as (reading, writing), anyio.fail_after(60):
        async with open_output(writing) as send_line:

            async def write():
                while True:
                    await send_line(b"x" * 100_000)

            async with anyio.create_task_group() as group:
                group.start_soon(write)
                await anyio.wait_all_tasks_blocked()
                group.cancel_scope.cancel()
            os.set_blocking(reading, False)
            os.read(reading, 65_536)
            os.close(reading)


async def test_a_closed_reader_ends_the_writing():
    with pipe() as (reading, writing), anyio.fail_after(60):
        async with open_output(writing) as send_line:
            os.close(reading)
            await send_line(b"x\n")
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(anyio.BrokenResourceError):
                await send_line(b"x\n")


async def test_a_file_is_written_line_by_line(tmp_path):
    path = tmp_path / "out"
    with path.open("wb") as file, anyio.fail_after(60):
        async with open_output(file.fileno()) as send_line:
            for number in range(3):
                await send_line(b"%d\n" % number)
    assert path.read_bytes() == b"0\n1\n2\n"


async def test_a_full_disk_ends_the_writing():
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        with anyio.fail_after(60):
            async with open_output(full) as send_line:
                with pytest.raises(anyio.BrokenResourceError):
                    await send_line(b"x\n")
    finally:
        os.close(full)


async def written(text):
    """Return the lines that the server writes for a response with this text."""
    sent = []

    async def send_line(line):
        sent.append(line)

    message = types.JSONRPCResponse(jsonrpc="2.0", id=1, result={"text": text})
    await MessageWriter(send_line, InFlight()).send(SessionMessage(message))
    return sent


async def test_a_message_that_utf_8_cannot_encode_is_escaped():
    sent = await written("\ud800")
    assert sent == [b'{"jsonrpc": "2.0", "id": 1, "result": {"text": "\\ufffd"}}\n']


async def test_the_end_of_input_waits_for_replies_a_limited_time():
    in_flight = InFlight()
    feed = [PING, PING, b"", PING, b""]

    async def lines():
        return feed.pop(0)

    async def send_line(_line):
        pass

    reader, writer = MessageReader(lines, in_flight), MessageWriter(send_line, in_flight)
    async with reader, writer:
        await reader.receive()
        await reader.receive()
        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                group.start_soon(ends, reader)
                await anyio.wait_all_tasks_blocked()
                assert len(feed) == 2
                for _ in range(2):
                    await writer.send(SessionMessage(PONG))
        await reader.receive()
        with anyio.fail_after(60):
            await ends(reader)


async def ends(reader):
    with pytest.raises(anyio.EndOfStream):
        await reader.receive()


async def test_each_request_that_cannot_be_read_is_answered_and_the_next_one_is_served(monkeypatch):
    monkeypatch.setattr(stdio, "MAX_LINE_BYTES", 1000)
    lines = [
        b"{bad",
        b'{"jsonrpc":"2.0","id":1}',
        b'[{"jsonrpc":"2.0","id":2,"method":"ping"}]',
        b'{"jsonrpc":"2.0","id":3,"method":"' + b"x" * 300_000,
        b'{"jsonrpc":"2.0","id":4,"method":"ping","params":{"_meta":{"a":"\\ud83d\xff"}}}',
        b'\xef\xbb\xbf{"jsonrpc":"2.0","id":"s\\ud83d","method":"ping"}',
    ]
    with replaced_standard_streams() as (to_server, from_server):
        put(to_server, id=0, method="initialize", params=INITIALIZE)
        sender = threading.Thread(target=send_and_close, args=(to_server, lines))
        sender.start()
        with anyio.fail_after(60):
            await serve_stdio(BridgeServer(StandIn()))
        sender.join()
        os.dup2(2, 1)
        with from_server:
            replies = [json.loads(line) for line in from_server]
    codes = {reply["id"]: reply.get("error", {}).get("code") for reply in replies if "id" in reply}
    nobody = [reply["error"]["code"] for reply in replies if "id" in reply and reply["id"] is None]
    assert nobody == [types.PARSE_ERROR]
    invalid, parse = types.INVALID_REQUEST, types.PARSE_ERROR
    assert codes == {0: None, None: parse, 1: invalid, 2: invalid, 3: parse, 4: None, "s\ufffd": None}


def send_and_close(stream, lines):
    stream.buffer.write(b"\n".join([*lines, b""]))
    stream.close()


async def test_no_character_of_a_message_ends_its_line():
    sent = await written("a\u2028b\u2029c\x85d")
    [line] = sent
    assert len(line.decode().splitlines()) == 1
    assert json.loads(line)["result"] == {"text": "a\u2028b\u2029c\x85d"}
