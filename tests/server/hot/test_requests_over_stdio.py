"""The hot front over stdio answers as the SDK does, byte for byte, in its order, and with its cancellation."""

import os
from contextlib import contextmanager

import anyio
import anyio.to_thread
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.hot_requests import bridge, plain, requests, written

from utcp_bridge.server.stdio import serve_stdio

pytestmark = pytest.mark.anyio
INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
CANCELLED = "notifications/cancelled"


@contextmanager
def replaced_standard_streams():
    """Replace descriptors 0 and 1 with pipes. Yield the client's ends (write, read)."""
    saved = os.dup(0), os.dup(1)
    (their_in, our_out), (our_in, their_out) = os.pipe(), os.pipe()
    os.dup2(their_in, 0)
    os.dup2(their_out, 1)
    os.close(their_in)
    os.close(their_out)
    try:
        yield Host(our_out, our_in)
    finally:
        for number, descriptor in enumerate(saved):
            os.dup2(descriptor, number)
            os.close(descriptor)


class Host:
    """The client's ends of the pipes."""

    def __init__(self, out, into):
        self._out, self._into, self._synced, self.modern = out, os.fdopen(into, "rb"), 0, False

    def put(self, *messages):
        """Write messages in one piece: each is bytes of one line, or an object."""
        lines = [one if isinstance(one, bytes) else orjson.dumps(one) for one in messages]
        os.write(self._out, b"".join(line + b"\n" for line in lines))

    def get(self):
        """Return the next line."""
        return orjson.loads(self._into.readline())

    def lines_after(self, line):
        """Write a line. Return what the server wrote for it, sorted: what is written at once has no order."""
        self._synced += 1
        ident = f"sync-{self._synced}"
        self.put(line, plain("tools/list", {"cursor": 5}, modern=self.modern, ident=ident))
        found = []
        while (one := self._into.readline()) and ident.encode() not in one:
            found.append(one)
        return sorted(found)

    def begin(self, *, modern):
        """Begin a session of this era."""
        self.modern = modern
        opening = (
            plain("tools/list", modern=True, ident="first")
            if modern
            else plain("initialize", INITIALIZE, ident="first")
        )
        self.put(opening)
        assert "result" in self.get()
        if not modern:
            self.put({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def close(self):
        os.close(self._out)
        self._into.close()


async def serve(server, work):
    """Serve stdio in this process, and run `work(host)` in a thread."""
    with replaced_standard_streams() as host:
        async with anyio.create_task_group() as group:
            group.start_soon(serve_stdio, server)
            with anyio.fail_after(300):
                try:
                    await anyio.to_thread.run_sync(work, host)
                finally:
                    host.close()


def counting(server):
    """Return a list that gets the id of each request that the front answers."""
    answered, respond = [], server.hot.respond

    async def counted(request, *parts):
        answered.append(request.ident)
        return await respond(request, *parts)

    server.hot.respond = counted
    return answered


@pytest.mark.parametrize("modern", [False, True], ids=["handshake", "modern"])
async def test_the_front_answers_any_line_as_the_sdk_does(modern):
    server = bridge()
    answered = counting(server)

    def work(host):
        host.begin(modern=modern)

        @settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(data=st.data())
        def same(data):
            line = data.draw(
                requests(modern=data.draw(st.sampled_from([modern, modern, modern, not modern]))).flatmap(written)
            )
            if b"\n" in line:
                return
            server.hot.is_on = True
            first = host.lines_after(line)
            server.hot.is_on = False
            assert first == host.lines_after(line)

        same()

    await serve(server, work)
    assert len(answered) > 5
