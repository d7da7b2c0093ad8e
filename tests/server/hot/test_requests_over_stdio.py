"""The hot front over stdio answers as the SDK does, byte for byte, in its order, and with its cancellation."""

import os
import threading

import anyio
import anyio.to_thread
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic_core import to_json
from tests.support.hot_requests import bridge, plain, requests, written
from tests.support.served_here import replaced_standard_streams

from utcp_bridge.model import LogMessage, log_receiver
from utcp_bridge.server.stdio import serve_wire
from utcp_bridge.server.wire.lines import InFlight, open_wire

pytestmark = pytest.mark.anyio
INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
CANCELLED = "notifications/cancelled"


class Host:
    """The client's ends of the pipes."""

    def __init__(self, out, into, in_flight):
        self._out, self._into, self._in_flight, self._synced, self.modern = out, into, in_flight, 0, False

    def put(self, *messages):
        """Write messages in one piece: each is bytes of one line, or an object."""
        lines = [one if isinstance(one, bytes) else orjson.dumps(one) for one in messages]
        os.write(self._out.fileno(), b"".join(line + b"\n" for line in lines))

    def get(self):
        """Return the next line."""
        return orjson.loads(self._into.readline())

    def lines_after(self, line):
        """Write a line. Return what the server wrote for it, sorted: what is written at once has no order.

        The first exchange shows that the line was read, and the second one comes after its reply: a long list is made
        in as many turns of the event loop as it takes.
        """
        self.put(line)
        found = [*self._before_the_next()]
        anyio.from_thread.run(self._in_flight.settle, 60)
        return sorted([*found, *self._before_the_next()])

    def _before_the_next(self):
        self._synced += 1
        ident = f"sync-{self._synced}"
        self.put(plain("tools/list", {"cursor": 5}, modern=self.modern, ident=ident))
        while (one := self._into.readline()) and ident.encode() not in one:
            yield one

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

    def end_input(self):
        self._out.close()
        self._out = None

    def close(self):
        if self._out is not None:
            self.end_input()
        self._into.close()


async def serve(server, work):
    """Serve stdio in this process, and run `work(host)` in a thread."""
    in_flight = InFlight()

    async def run():
        server.part.serve_anyone()
        async with open_wire() as wire:
            wire.in_flight = in_flight
            await serve_wire(server, wire)

    with replaced_standard_streams() as ends:
        host = Host(*ends, in_flight)
        async with anyio.create_task_group() as group:
            group.start_soon(run)
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


def comparable(lines):
    """Return lines as they are, or as JSON where this version of orjson writes 1e22, and pydantic 1e+22."""
    return lines if orjson.dumps(1e22) == to_json(1e22) else [orjson.loads(line) for line in lines]


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
            if b"\n" in line or b"search_tools" in line:  # a search has no certain number of turns
                return
            server.hot.is_on = True
            first = host.lines_after(line)
            server.hot.is_on = False
            second = host.lines_after(line)
            assert comparable(first) == comparable(second)

        same()

    await serve(server, work)
    assert len(answered) > 5


class Slow:
    """A tool that waits until it is let go, and notes how it ended."""

    def __init__(self, server):
        self.started, self.let_go, self.ended = threading.Event(), anyio.Event(), threading.Event()
        self.was_cancelled = False
        server.client.add("m", "slow", self._run)

    async def _run(self, _arguments, _emit):
        self.started.set()
        try:
            await self.let_go.wait()
        except BaseException:
            self.was_cancelled = True
            raise
        finally:
            self.ended.set()


@pytest.mark.parametrize("modern", [False, True], ids=["handshake", "modern"])
@pytest.mark.parametrize("named", [5, "5"])
async def test_a_cancelled_call_ends_and_gets_no_response(modern, named):
    server = bridge()
    answered, slow = counting(server), Slow(server)

    def work(host):
        host.begin(modern=modern)
        host.put(plain("tools/call", {"name": "m_slow"}, modern=modern, ident=5))
        assert slow.started.wait(30)
        host.put({"jsonrpc": "2.0", "method": CANCELLED, "params": {"requestId": named}})
        assert slow.ended.wait(30)
        host.put(plain("tools/list", modern=modern, ident=6))
        assert host.get()["id"] == 6

    await serve(server, work)
    assert answered == [5, 6]
    assert slow.was_cancelled


async def test_an_id_is_cancelled_where_it_was_taken():
    """An unknown member of the parameters leaves a call to the SDK, and a call with the same id follows it there."""
    server = bridge()
    answered, slow = counting(server), Slow(server)

    def work(host):
        host.begin(modern=False)
        host.put(plain("tools/call", {"name": "m_slow", "more": 1}, ident=5))
        assert slow.started.wait(30)
        host.put(plain("tools/call", {"name": "m_echo"}, ident="5"))
        assert host.get()["id"] == "5"
        host.put(plain("tools/call", {"name": "m_slow", "more": 1}, ident=7))
        host.put({"jsonrpc": "2.0", "method": CANCELLED, "params": {"requestId": 7}})
        host.put(plain("tools/call", {"name": "m_echo"}, ident=8))
        assert host.get()["id"] == 8

    await serve(server, work)
    assert answered == [8]


async def test_a_call_starts_after_what_came_before_it():
    """The level of the logs is set by the SDK, and the call that follows at once is taken by the front."""
    server = bridge()
    answered = counting(server)

    async def log(_arguments, _emit):
        await log_receiver.get()(LogMessage("debug", "seen"))

    server.client.add("m", "log", log)

    def work(host):
        host.begin(modern=False)
        host.put(
            plain("logging/setLevel", {"level": "debug"}, ident=1),
            plain("tools/call", {"name": "m_log"}, ident=2),
            plain("logging/setLevel", {"level": "error"}, ident=3),
            plain("tools/call", {"name": "m_log"}, ident=4),
        )
        found = [host.get() for _ in range(5)]
        assert sorted(one["id"] for one in found if "id" in one) == [1, 2, 3, 4]
        assert [one["params"]["data"] for one in found if "method" in one] == ["seen"]

    await serve(server, work)
    assert answered == [2, 4]


async def test_everything_in_one_piece_is_answered():
    server = bridge()

    def work(host):
        host.put(
            plain("initialize", INITIALIZE, ident=0),
            {"jsonrpc": "2.0", "method": "notifications/initialized"},
            *(plain("tools/call", {"name": "m_echo", "arguments": {"n": n}}, ident=n) for n in range(1, 200)),
            plain("initialize", INITIALIZE, ident="again"),
            plain("ping", ident="last"),
        )
        found = {one["id"]: one for one in (host.get() for _ in range(202))}
        assert all("result" in one for one in found.values())
        assert [found[n]["result"]["structuredContent"] for n in range(1, 200)] == [{"n": n} for n in range(1, 200)]

    await serve(server, work)


@pytest.mark.parametrize("modern", [False, True], ids=["handshake", "modern"])
async def test_progress_comes_before_its_result(modern):
    server = bridge()
    answered = counting(server)

    def work(host):
        host.begin(modern=modern)
        call = plain("tools/call", {"name": "m_echo", "arguments": {"said": 1}}, modern=modern)
        call["params"].setdefault("_meta", {})["progressToken"] = "t"
        host.put(call)
        told = {"progressToken": "t", "progress": 1, "message": "half"}
        assert host.get() == {"jsonrpc": "2.0", "method": "notifications/progress", "params": told}
        assert host.get()["id"] == 1

    await serve(server, work)
    assert answered == [1]


@pytest.mark.parametrize("is_on", [True, False])
async def test_a_call_in_flight_at_the_end_of_the_input_gets_an_error(is_on):
    server = bridge()
    slow, server.hot.is_on = Slow(server), is_on

    def work(host):
        host.begin(modern=False)
        host.put(plain("tools/call", {"name": "m_slow"}, ident=5))
        assert slow.started.wait(30)
        host.end_input()
        assert host.get() == {"jsonrpc": "2.0", "id": 5, "error": {"code": -32000, "message": "Connection closed"}}

    await serve(server, work)
    assert slow.was_cancelled
