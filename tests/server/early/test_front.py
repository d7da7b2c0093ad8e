"""The early front over stdio answers as the SDK does, and hands a session over to it without a trace."""

import os
import sys
import threading

import anyio
import anyio.to_thread
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic_core import to_json
from tests.support.garbage import left_by
from tests.support.hot_requests import bridge, plain, requests, stand_in, written
from tests.support.served_here import replaced_standard_streams

from utcp_bridge.model import LogMessage, log_receiver
from utcp_bridge.server import stdio
from utcp_bridge.server.early import front
from utcp_bridge.upstream import HOST, ask_host

pytestmark = pytest.mark.anyio
VERSIONS = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"]
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}
ABLE = [
    {},
    {"roots": {"listChanged": True}, "sampling": {}, "elicitation": {}},
    {"roots": {}, "elicitation": {"form": {}, "url": {}}, "experimental": {"x": {"y": 1}}},
    {"extensions": {"io.modelcontextprotocol/ui": {"mimeTypes": ["text/html"]}}, "sampling": {"tools": {}}},
]
ODD_ABLE = [
    {"roots": None},
    {"roots": {"listChanged": 1}},
    {"roots": []},
    {"sampling": {"tools": True}},
    {"elicitation": {"form": None}},
    {"experimental": {"x": 1}},
    {"extensions": {"x": None}},
    {"tasks": {"list": {}}},
    {"x": {}},
    None,
    [],
    "x",
]
INFO = [
    {"name": "t", "version": "1"},
    {"name": "Claude", "version": "", "title": "é", "websiteUrl": "not a URL", "description": "\x00"},
]
ODD_INFO = [
    {"name": "t"},
    {"name": 1, "version": "1"},
    {"name": "t", "version": "1", "title": None},
    {"name": "t", "version": "1", "icons": [{"src": "x"}]},
    {"name": "t", "version": "1", "x": 1},
    None,
    [],
]


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Let the early front work although these tests have imported the SDK, and wait for each answer at the end."""
    monkeypatch.setattr(front, "is_sdk_imported", lambda: False)
    monkeypatch.delitem(sys.modules, "opentelemetry.sdk", raising=False)
    for module in (front, stdio):
        monkeypatch.setattr(module, "_LAST_ANSWERS_SECONDS", 300)


class Host:
    """The client's ends of the pipes."""

    def __init__(self, out, into):
        self._out, self._into = out, into

    def put(self, *messages):
        lines = [one if isinstance(one, bytes) else orjson.dumps(one) for one in messages]
        os.write(self._out.fileno(), b"".join(line + b"\n" for line in lines))

    def get(self):
        return orjson.loads(self._into.readline())

    def rest(self):
        self.end_input()
        return self._into.read().splitlines()

    def end_input(self):
        if self._out is not None:
            self._out.close()
            self._out = None

    def close(self):
        self.end_input()
        self._into.close()


async def serve(run, work):
    """Serve stdio in this process, and return what `work(host)` returns in a thread."""

    async def run_to_the_end():
        try:
            await run()
        finally:
            os.dup2(2, 1)  # the last writing end of the pipe, so that the client sees the end

    with replaced_standard_streams() as ends:
        host = Host(*ends)
        async with anyio.create_task_group() as group:
            group.start_soon(run_to_the_end)
            with anyio.fail_after(300):
                try:
                    return await anyio.to_thread.run_sync(work, host)
                finally:
                    host.close()


async def early(work, client=None):
    used = stand_in() if client is None else client
    return await serve(lambda: front.serve_stdio(used), work)


async def both(lines):
    """Return what the early front writes for these lines, and what the SDK does. What is at once has no order."""

    def work(host):
        host.put(*lines)
        return sorted(host.rest())

    server = bridge()
    server.hot.is_on = False
    found = await early(work), await serve(lambda: stdio.serve_stdio(server), work)
    return found if orjson.dumps(1e22) == to_json(1e22) else [[orjson.loads(line) for line in one] for one in found]


def handed(monkeypatch):
    """Return a list that grows when the SDK takes over."""
    times, imported = [], front._import_sdk
    monkeypatch.setattr(front, "_import_sdk", lambda: times.append(imported()))
    return times


def initialize(version="2025-11-25", able=None, info=None, ident=0):
    params = {"protocolVersion": version, "capabilities": able or {}, "clientInfo": info or INFO[0]}
    return plain("initialize", params, ident=ident)


# --- hellos ---


@pytest.mark.parametrize("version", [*VERSIONS, "2026-07-28", "2020-01-01", "", "x"])
@pytest.mark.parametrize("able", ABLE)
async def test_a_plain_handshake_has_the_bytes_of_the_sdk(version, able, monkeypatch):
    times = handed(monkeypatch)
    hello = initialize(version, able, INFO[len(able) % 2], ident=version or 5)
    mine, sdk = await both([hello, INITIALIZED, plain("tools/list"), plain("ping", ident=2)])
    assert mine == sdk
    assert len(mine) == 3
    assert times == []


@pytest.mark.parametrize(
    "params",
    [
        *({"protocolVersion": "2025-06-18", "capabilities": one, "clientInfo": INFO[0]} for one in ODD_ABLE),
        *({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": one} for one in ODD_INFO),
        {"protocolVersion": 1, "capabilities": {}, "clientInfo": INFO[0]},
        {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": INFO[0], "_meta": {"x": 1}},
        {"capabilities": {}, "clientInfo": INFO[0]},
        {},
    ],
    ids=str,
)
async def test_an_odd_handshake_is_left_to_the_sdk(params, monkeypatch):
    times = handed(monkeypatch)
    mine, sdk = await both([plain("initialize", params), plain("ping", ident=2), plain("tools/list", ident=3)])
    assert mine == sdk
    assert len(times) == 1


async def test_probes_have_the_bytes_of_the_sdk_and_the_next_request_decides(monkeypatch):
    times = handed(monkeypatch)
    probes = [plain("server/discover", modern=True, ident=n) for n in range(3)]
    for following in ([initialize(), plain("ping")], [plain("tools/list", modern=True, ident=9)]):
        mine, sdk = await both([*probes, *following])
        assert mine == sdk
        assert len(mine) == 3 + len(following)
    assert times == []


@pytest.mark.parametrize("keeps", [True, False])
async def test_capabilities_and_instructions_follow_the_settings(keeps):
    chosen = {"max_kept_bytes": 0 if not keeps else 100_000, "meta_tools": {"search": None, "call": None, "read": None}}
    client = stand_in(**chosen)

    def work(host):
        host.put(initialize())
        return host.rest()

    server = stdio.BridgeServer(stand_in(**chosen))
    assert await early(work, client) == await serve(lambda: stdio.serve_stdio(server), work)


# --- any session ---


@st.composite
def sessions(draw):
    """Return the lines of a session: an opening, and what follows it."""
    modern = draw(st.booleans())
    opening = [] if modern else [initialize(draw(st.sampled_from(VERSIONS)), draw(st.sampled_from(ABLE)))]
    if draw(st.booleans()):
        opening = [plain("server/discover", modern=True, ident="probe"), *opening]
    others = [
        INITIALIZED,
        {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"},
        {"jsonrpc": "2.0", "method": "notifications/none", "params": {}},
        *(plain(method, params, modern=modern) for method in LISTED for params in (None, {})),
        plain("logging/setLevel", {"level": "error"}),
        plain("ping", modern=modern),
        plain("tools/list", modern=not modern),
        initialize(),
    ]
    lines = list(opening)
    for number in range(draw(st.integers(1, 5))):
        era = draw(st.sampled_from([modern, modern, modern, not modern]))
        message = draw(st.sampled_from(others) if draw(st.booleans()) else requests(modern=era))
        if isinstance(message, dict) and isinstance(message.get("id"), str | int):
            message = {**message, "id": draw(st.sampled_from([number + 10, f"{number + 10}", f"n{number}"]))}
        lines.append(draw(written(message)))
    return [one for one in lines if not (isinstance(one, bytes) and (b"\n" in one or b"search_tools" in one))]


LISTED = ["resources/list", "resources/templates/list", "prompts/list"]


async def test_any_session_is_answered_as_by_the_sdk(monkeypatch):
    times, examples = handed(monkeypatch), []

    def run(work):
        return anyio.from_thread.run(work)

    @settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(lines=sessions())
    def same(lines):
        mine, sdk = run(lambda: both(lines))
        assert mine == sdk
        examples.append(lines)

    await anyio.to_thread.run_sync(same)
    assert 5 < len(times) < len(examples) - 5


# --- requests ---


class Slow:
    """A tool that waits until it is let go, and notes how it ended."""

    def __init__(self, client):
        self.started, self.let_go, self.ended = threading.Event(), anyio.Event(), threading.Event()
        self.was_cancelled = False
        client.add("m", "slow", self._run)

    async def _run(self, _arguments, _emit):
        self.started.set()
        try:
            await self.let_go.wait()
        except BaseException:
            self.was_cancelled = True
            raise
        finally:
            self.ended.set()


@pytest.mark.parametrize("is_handed", [False, True])
@pytest.mark.parametrize("named", [5, "5"])
async def test_a_cancelled_call_ends_and_gets_no_response(named, is_handed, monkeypatch):
    client, times = stand_in(), handed(monkeypatch)
    slow = Slow(client)

    def work(host):
        host.put(initialize(), plain("tools/call", {"name": "m_slow"}, ident=5))
        assert host.get()["id"] == 0
        assert slow.started.wait(30)
        if is_handed:
            host.put(plain("prompts/list", ident=8))
            assert host.get()["id"] == 8
        host.put({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": named}})
        assert slow.ended.wait(30)
        host.put(plain("tools/list", ident=6))
        assert host.get()["id"] == 6
        assert host.rest() == []

    await early(work, client)
    assert slow.was_cancelled
    assert bool(times) is is_handed


@pytest.mark.parametrize("is_handed", [False, True])
@pytest.mark.parametrize("modern", [False, True], ids=["handshake", "modern"])
async def test_a_call_leaves_nothing_for_the_collector(modern, is_handed, monkeypatch):
    times = handed(monkeypatch)

    def work(host):
        def call(number):
            for ident in range(1, number + 1):
                host.put(plain("tools/call", {"name": "m_echo"}, ident=ident, modern=modern))
                assert host.get()["id"] == ident

        if not modern:
            host.put(initialize())
            assert host.get()["id"] == 0
        if is_handed:
            host.put(plain("prompts/list", ident=8, modern=modern))
            assert host.get()["id"] == 8
        call(20)  # the first calls make what is kept
        return left_by(lambda: call(200))

    assert await early(work) < 200
    assert bool(times) is is_handed


@pytest.mark.parametrize("is_handed", [False, True])
async def test_a_call_in_flight_at_the_end_of_the_input_gets_an_error(is_handed, monkeypatch):
    for module in (front, stdio):
        monkeypatch.setattr(module, "_LAST_ANSWERS_SECONDS", 0.01)
    client = stand_in()
    slow = Slow(client)

    def work(host):
        host.put(initialize(), plain("tools/call", {"name": "m_slow"}, ident=5))
        assert host.get()["id"] == 0
        assert slow.started.wait(30)
        if is_handed:
            host.put(plain("prompts/list", ident=8))
            assert host.get()["id"] == 8
        host.end_input()
        assert host.get() == {"jsonrpc": "2.0", "id": 5, "error": {"code": -32000, "message": "Connection closed"}}

    await early(work, client)
    assert slow.was_cancelled


async def test_a_result_that_needs_the_sdk_is_answered_also_at_the_end_of_the_input(monkeypatch):
    times = handed(monkeypatch)
    mine, sdk = await both([initialize(), plain("tools/call", {"name": "m_picture"}), plain("ping", ident=2)])
    assert mine == sdk
    assert len(mine) == 3
    assert len(times) == 1


async def test_progress_and_logs_come_before_their_result(monkeypatch):
    client, times = stand_in(), handed(monkeypatch)

    async def log(_arguments, emit):
        for level in ("debug", "info", "strange", "error"):
            await log_receiver.get()(
                LogMessage(level, {"at": level, "none": None}, "logger" if level == "info" else None)
            )
        await emit("one")
        await emit({"progress": 7, "total": 8.5})

    def work(host):
        call = plain("tools/call", {"name": "m_log", "_meta": {"progressToken": "t"}})
        host.put(initialize(), call)
        return [host._into.readline() for _ in range(7)]

    client.add("m", "log", log)
    mine = await early(work, client)
    server = bridge()
    server.client.add("m", "log", log)
    server.hot.is_on = False
    assert mine == await serve(lambda: stdio.serve_stdio(server), work)
    assert times == []


# --- the hand-over ---


async def test_changed_tools_are_announced_before_and_after_the_hand_over(monkeypatch):
    client, times = stand_in(), handed(monkeypatch)
    changed = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}

    def add(name):
        async def run():
            client.add("m", name, None)

        anyio.from_thread.run(run)

    def work(host):
        host.put(initialize(), INITIALIZED, plain("tools/list"))
        assert [host.get()["id"], host.get()["id"]] == [0, 1]
        add("second")
        assert host.get() == changed
        host.put(plain("tools/list", ident=2))
        assert "m_second" in str(host.get())
        assert times == []
        host.put(plain("prompts/list", ident=3))
        assert host.get()["id"] == 3
        add("third")
        assert host.get() == changed
        assert host.rest() == []

    await early(work, client)
    assert len(times) == 1


async def test_a_level_that_is_set_first_counts_for_the_calls_after_it():
    client = stand_in()

    async def log(_arguments, _emit):
        await log_receiver.get()(LogMessage("debug", "seen"))

    client.add("m", "log", log)

    def work(host):
        host.put(
            initialize(), plain("logging/setLevel", {"level": "debug"}), plain("tools/call", {"name": "m_log"}, ident=2)
        )
        return {orjson.loads(line).get("id", "seen") for line in host.rest()}

    assert await early(work, client) == {0, 1, 2, "seen"}


async def test_a_call_can_ask_the_host_and_later_messages_go_to_the_sdk(monkeypatch):
    client, times = stand_in(), handed(monkeypatch)

    async def ask(_arguments, _emit):
        return await ask_host(HOST.get(), "roots/list", {}, seconds=60)

    client.add("m", "ask", ask)

    def work(host):
        host.put(initialize(able={"roots": {}}), INITIALIZED)
        assert host.get()["id"] == 0
        host.put(plain("tools/call", {"name": "m_ask"}, ident="call"))
        asked = host.get()
        assert asked["method"] == "roots/list"
        host.put({"jsonrpc": "2.0", "id": asked["id"], "result": {"roots": [{"uri": "file:///a"}]}})
        assert "file:///a" in str(host.get()["result"]["content"])
        host.put(plain("ping", ident="last"))
        assert host.get() == {"jsonrpc": "2.0", "id": "last", "result": {}}
        assert host.rest() == []

    await early(work, client)
    assert len(times) == 1


async def test_a_line_that_is_too_long_is_refused_and_the_session_goes_on(monkeypatch):
    times = handed(monkeypatch)

    def work(host):
        host.put(initialize())
        assert host.get()["id"] == 0
        threading.Thread(target=host.put, args=[b"[" + b" " * 34_000_000 + b"]", plain("ping", ident=3)]).start()
        assert "longer" in host.get()["error"]["message"]
        assert host.get() == {"jsonrpc": "2.0", "id": 3, "result": {}}

    await early(work)
    assert len(times) == 1


async def test_a_client_with_an_mcp_server_is_served_by_the_sdk_from_the_start(monkeypatch):
    client, times = stand_in(), handed(monkeypatch)
    client.manuals[0].kind = "mcp"

    def work(host):
        host.put(initialize(), plain("ping"))
        return len(host.rest())

    assert await early(work, client) == 2
    assert times == []


async def test_a_manual_with_resources_that_loads_later_ends_the_time_without_the_sdk(monkeypatch):
    client, times = stand_in(), handed(monkeypatch)

    def work(host):
        host.put(initialize())
        assert host.get()["id"] == 0

        async def load():
            client.manuals[0].maps = True
            client.add("m", "second", None)

        anyio.from_thread.run(load)
        host.put(plain("ping", ident=3))
        assert host.get()["id"] == 3

    await early(work, client)
    assert len(times) == 1
