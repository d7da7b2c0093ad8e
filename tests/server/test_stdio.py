"""Serving stdin and stdout, inside this process."""

import json
import os
import signal
from contextlib import contextmanager

import anyio
import pytest
from tests.support.server_client import StandIn

from utcp_bridge.server.app import BridgeServer
from utcp_bridge.server.stdio import serve_stdio

pytestmark = pytest.mark.anyio
INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}


@contextmanager
def replaced_standard_streams():
    """Pipes in the place of descriptors 0 and 1; gives the client's ends (write, read)."""
    saved = os.dup(0), os.dup(1)
    (their_in, our_out), (our_in, their_out) = os.pipe(), os.pipe()
    os.dup2(their_in, 0)
    os.dup2(their_out, 1)
    os.close(their_in)
    os.close(their_out)
    try:
        yield os.fdopen(our_out, "w"), os.fdopen(our_in, "rb")
    finally:
        for number, descriptor in enumerate(saved):
            os.dup2(descriptor, number)
            os.close(descriptor)


def put(stream, **message):
    stream.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    stream.flush()


async def test_the_session_ends_with_its_input_and_gives_the_descriptors_back():
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
        with anyio.fail_after(10):
            await serve_stdio(BridgeServer(client))
        os.write(1, b"mine again\n")
        os.dup2(2, 1)
        lines = from_server.read().splitlines()
        from_server.close()
    assert [json.loads(line)["id"] for line in lines[:2]] == [1, 2]
    assert lines[2:] == [b"mine again"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_session(number):
    with replaced_standard_streams() as (to_server, from_server), to_server, from_server, anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(serve_stdio, BridgeServer(StandIn()))
            put(to_server, id=1, method="initialize", params=INITIALIZE)
            reply = await anyio.to_thread.run_sync(from_server.readline)
            os.kill(os.getpid(), number)
    assert json.loads(reply)["id"] == 1
