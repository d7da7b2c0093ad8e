"""Sessions of the handshake era: inside the process, and with a bridge that is restarted."""

import asyncio
import json
import re
from functools import partial

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.requests import Request
from tests.server.test_replies import Wire
from tests.support.server_client import StandIn

from utcp_bridge.server.app import BridgeServer
from utcp_bridge.server.hosts.adapters import capabilities_of
from utcp_bridge.server.replies import Accepted, McpReply
from utcp_bridge.server.sessions import HandshakeSessions, Refusal, Stated, read_session_id, write_session_id
from utcp_bridge.upstream import relayed_capabilities

pytestmark = pytest.mark.anyio
BOTH = Accepted(json=True, events=True)
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "reader", "version": "7"}},
}
LIST = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
BARE = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def client():
    return StandIn()


@pytest.fixture
def sessions(client):
    return HandshakeSessions(BridgeServer(client))


async def post(sessions, message, ident=None, version=None, accepted=BOTH):
    """Return what the client receives. Each request has a task of its own, as in the server."""
    wire = Wire()
    await asyncio.create_task(sessions.post(message, ident, version, McpReply(wire, accepted)))
    return wire


async def opened(sessions):
    wire = await post(sessions, INITIALIZE)
    ident = wire.headers[b"mcp-session-id"].decode()
    await post(sessions, {"jsonrpc": "2.0", "method": "notifications/initialized"}, ident)
    return ident


async def test_handlers_see_the_request_of_a_session(client):
    """Kept results belong to the session in its headers."""
    server = BridgeServer(client)
    seen = []

    async def note(ctx, call_next):
        seen.append((ctx.method, ctx.request.headers["mcp-session-id"]))
        return await call_next(ctx)

    server.middleware.append(note)
    sessions = HandshakeSessions(server)
    scope = {"type": "http", "headers": [(b"mcp-session-id", BARE.encode())]}
    for message in (LIST, {"jsonrpc": "2.0", "method": "notifications/initialized"}):
        await sessions.post(message, BARE, None, McpReply(Wire(), BOTH, Request(scope)))
    assert ("notifications/initialized", BARE) in seen
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "search_tools"}}
    await sessions.post(call, BARE, None, McpReply(Wire(), BOTH, Request(scope)))
    assert ("tools/call", BARE) in seen


texts = st.text(max_size=80)


@given(st.sampled_from(sorted(HANDSHAKE_PROTOCOL_VERSIONS)), texts, texts)
def test_an_id_is_read_by_another_replica(version, name, release):
    try:
        (name + release).encode()
    except UnicodeEncodeError:
        return
    ident = write_session_id(Stated(version, name, release))
    assert re.fullmatch("[\x21-\x7e]{32,700}", ident)
    assert read_session_id(ident, None) == Stated(version, name[:64], release[:64])
    assert read_session_id(ident, "2025-11-25").version == "2025-11-25"


able = st.fixed_dictionaries(
    {},
    optional={
        "sampling": st.dictionaries(st.sampled_from(["tools", "context"]), st.just({})),
        "elicitation": st.dictionaries(st.sampled_from(["form", "url"]), st.just({})),
        "roots": st.sampled_from([{}, {"listChanged": True}]),
        "experimental": st.just({"large": {"x": "y" * 10_000}}),
    },
)


@given(able)
async def test_the_capabilities_of_a_client_survive_in_its_id_in_a_bounded_form(capabilities):
    server, message = (
        BridgeServer(StandIn()),
        {**INITIALIZE, "params": {**INITIALIZE["params"], "capabilities": capabilities}},
    )
    wire = await post(HandshakeSessions(server), message)
    ident = wire.headers[b"mcp-session-id"].decode()
    assert len(ident) < 150
    taken_up = await HandshakeSessions(server).find(ident, None)
    assert capabilities_of(taken_up.connection) == relayed_capabilities(capabilities)


def test_two_ids_of_one_client_differ():
    stated = Stated("2025-06-18", "a", "1")
    assert write_session_id(stated) != write_session_id(stated)


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda data: f"{BARE}.{data.hex()}"))
def test_no_text_of_a_client_breaks_the_reading_of_ids(text):
    read_session_id(text, None)


@pytest.mark.parametrize(
    "ident",
    [
        "",
        "x",
        BARE[:-1],
        BARE.upper(),
        f"{BARE}.",
        f"{BARE}.!",
        f"{BARE}.e30",
        f"{BARE}.WzEsMiwzXQ",
        f"{BARE}.WyJ4IiwiYSIsImIiXQ",
    ],
)
async def test_an_id_that_no_bridge_wrote_is_not_taken_up(sessions, ident):
    with pytest.raises(Refusal) as caught:
        await post(sessions, LIST, ident)
    assert caught.value.status == (404 if ident else 400)


async def test_a_session_opens_and_lists_tools(sessions):
    ident = await opened(sessions)
    wire = await post(sessions, LIST, ident)
    assert wire.headers[b"content-type"] == b"application/json"
    assert json.loads(wire.body)["result"]["tools"]


@pytest.mark.parametrize("form", ["its own", "bare"])
async def test_a_session_of_another_process_is_taken_up(client, sessions, form):
    client.add("m", "t")
    ident = await opened(HandshakeSessions(BridgeServer(client))) if form == "its own" else BARE
    wire = await post(sessions, LIST, ident, "2025-06-18")
    assert "m_t" in [tool["name"] for tool in json.loads(wire.body)["result"]["tools"]]
    call = {"jsonrpc": "2.0", "id": "c", "method": "tools/call", "params": {"name": "m_t", "arguments": {"a": 1}}}
    assert json.loads((await post(sessions, call, ident)).body)["result"]["content"]
    session = await sessions.find(ident, None)
    assert session.connection.client_params.client_info.name == ("reader" if form == "its own" else "")
    assert session.connection.protocol_version == "2025-06-18"


async def test_a_session_that_its_client_ended_stays_ended(sessions):
    for ident in (await opened(sessions), BARE):
        await sessions.end(ident, None)
        with pytest.raises(Refusal) as caught:
            await post(sessions, LIST, ident)
        assert caught.value.status == 404
        with pytest.raises(Refusal):
            await sessions.end(ident, None)


async def test_the_session_unused_for_longest_is_forgotten_and_taken_up_again(client):
    sessions = HandshakeSessions(BridgeServer(client), limit=2)
    first, second = await opened(sessions), await opened(sessions)
    await post(sessions, LIST, first)
    third = await opened(sessions)
    assert set(sessions._sessions) == {first, third}
    assert json.loads((await post(sessions, LIST, second)).body)["result"]
    assert len(sessions._sessions) == 2


async def test_a_newcomer_ends_the_oldest_event_stream_before_it_touches_a_session_with_calls(client):
    entered, release = anyio.Event(), anyio.Event()

    async def held(_arguments, _emit):
        entered.set()
        await release.wait()

    client.add("m", "t", held)
    sessions = HandshakeSessions(BridgeServer(client), limit=2)
    calling, listening = await opened(sessions), await opened(sessions)
    call = {"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "m_t"}}
    listener = Listener()
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(post, sessions, call, calling)
            await entered.wait()
            group.start_soon((await sessions.find(listening, None)).listen, listener.receive, listener.send)
            await listener.until(1)
            newcomer = await opened(sessions)
            assert set(sessions._sessions) == {calling, newcomer}
            await listener.until(2)
            assert json.loads((await post(sessions, LIST, listening)).body)["result"]
            release.set()


async def test_if_every_session_has_calls_the_one_unused_for_longest_is_forgotten_and_its_call_goes_on(client):
    release, entered = anyio.Event(), anyio.Semaphore(0)

    async def held(_arguments, _emit):
        entered.release()
        await release.wait()
        return "whole"

    client.add("m", "t", held)
    sessions = HandshakeSessions(BridgeServer(client), limit=2)
    call = {"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "m_t"}}
    wires = []

    async def post_call(ident):
        wires.append(await post(sessions, call, ident))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            idents = []
            for _ in range(2):
                idents.append(await opened(sessions))
                group.start_soon(post_call, idents[-1])
                await entered.acquire()
            newcomer = await opened(sessions)
            assert set(sessions._sessions) == {idents[1], newcomer}
            release.set()
    assert [json.loads(wire.body)["result"]["content"][0]["text"] for wire in wires] == ["whole"] * 2


async def test_an_initialize_with_an_unknown_id_opens_a_new_session(sessions):
    wire = await post(sessions, INITIALIZE, BARE)
    assert wire.headers[b"mcp-session-id"].decode() != BARE


async def test_progress_is_sent_before_the_result_if_the_client_asked_for_it(client, sessions):
    async def counted(_arguments, emit):
        await emit("half")
        return "whole"

    client.add("m", "t", counted)
    ident = await opened(sessions)
    params = {"name": "m_t", "_meta": {"progressToken": "p"}}
    wire = await post(sessions, {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": params}, ident)
    progress, result = wire.events
    assert (progress["method"], progress["params"]["progressToken"]) == ("notifications/progress", "p")
    assert result["result"]["content"][0]["text"] == "whole"
    params.pop("_meta")
    wire = await post(sessions, {"jsonrpc": "2.0", "id": 4, "method": "tools/call", "params": params}, ident)
    assert json.loads(wire.body)["id"] == 4


async def test_a_cancelled_request_gets_an_error(client, sessions):
    entered = anyio.Event()

    async def endless(_arguments, _emit):
        entered.set()
        await anyio.sleep_forever()

    client.add("m", "t", endless)
    ident = await opened(sessions)
    wires = []

    async def call():
        message = {"jsonrpc": "2.0", "id": "9", "method": "tools/call", "params": {"name": "m_t"}}
        wires.append(await post(sessions, message, ident))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await entered.wait()
            cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 9}}
            assert (await post(sessions, cancel, ident)).status == 202
    assert json.loads(wires[0].body)["error"]["code"] == -32_800


@pytest.mark.parametrize(
    "message",
    [None, 1, "x", {}, {"method": "ping", "id": 1}, {"jsonrpc": "1.0", "method": "ping", "id": 1}]
    + [
        {"jsonrpc": "2.0", **more}
        for more in ({}, {"method": 1}, {"method": "ping", "id": None}, {"method": "ping", "id": True})
    ]
    + [{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": []}, []],
)
async def test_what_is_not_a_message_is_refused(sessions, message):
    with pytest.raises(Refusal) as caught:
        await post(sessions, message, BARE)
    assert caught.value.status == 400


async def test_a_batch_gets_its_responses_in_one_document(sessions):
    batch = [
        LIST,
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 8, "method": "nothing"},
        7,
    ]
    responses = json.loads((await post(sessions, batch, BARE)).body)
    assert {response["id"] for response in responses} == {2, 8, None}
    assert next(one for one in responses if one["id"] == 8)["error"]["code"] == -32_601
    assert (await post(sessions, batch[1:2], BARE)).status == 202


@pytest.mark.parametrize("method", ["tools/call", "tools/list", "ping", "initialize"])
@pytest.mark.parametrize("params", [{"name": "x", "arguments": 7}, {"cursor": 7}, {}])
async def test_a_notification_with_the_name_of_a_request_does_nothing(sessions, caplog, method, params):
    notification = {"jsonrpc": "2.0", "method": method, "params": params}
    assert (await post(sessions, notification, BARE)).status == 202
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []


class Listener:
    """The ASGI sides of one event stream."""

    def __init__(self):
        self.wire, self.gone, self.news = Wire(), anyio.Event(), anyio.Event()

    async def receive(self):
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        await self.wire(message)
        self.news.set()
        self.news = anyio.Event()

    async def until(self, number):
        while len(self.wire.sent) < number:
            await self.news.wait()


async def test_the_event_stream_of_a_session_carries_its_notifications(sessions):
    session = await sessions.find(BARE, None)
    listener = Listener()
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(session.listen, listener.receive, listener.send)
            await listener.until(1)
            assert session.is_busy
            await session.connection.send_tool_list_changed()
            await listener.until(2)
            listener.gone.set()
    assert b"notifications/tools/list_changed" in listener.wire.sent[1]["body"]
    assert not session.is_busy
    await session.connection.send_tool_list_changed()


async def test_a_client_that_resumes_a_stream_gets_a_new_one_that_says_so(sessions):
    session = await sessions.find(BARE, None)
    listener = Listener()
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(partial(session.listen, listener.receive, listener.send, resumes=True))
            await listener.until(2)
            listener.gone.set()
    assert listener.wire.sent[0]["status"] == 200
    assert listener.wire.sent[1]["body"] == b": This is a new stream. Events before it are not kept.\r\n\r\n"


async def test_a_newer_event_stream_ends_the_older_one(sessions):
    session = await sessions.find(BARE, None)
    older, newer = Listener(), Listener()
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(session.listen, older.receive, older.send)
            await older.until(1)
            group.start_soon(session.listen, newer.receive, newer.send)
            await older.until(2)
            await newer.until(1)
            assert session.is_busy
            sessions.end_streams()
    assert older.wire.body == newer.wire.body == b""


async def test_a_question_to_the_client_takes_the_reply_of_its_call_and_gets_the_response(client, sessions):
    ident = await opened(sessions)
    session = await sessions.find(ident, None)
    asked, results = anyio.Event(), []

    async def write(message):
        results.append(message)
        asked.set()

    async def ask():
        results.append(await session.ask(write, "roots/list", None, {"timeout": 20}))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await asked.wait()
            response = {"jsonrpc": "2.0", "id": results[0]["id"], "result": {"roots": []}}
            assert (await post(sessions, response, ident)).status == 202
    assert results[1] == {"roots": []}


async def test_a_session_keeps_the_name_and_release_of_its_client_and_nothing_else(sessions):
    stated = {"name": "n" * 100_000, "version": "v" * 100_000, "title": "t" * 100_000}
    capabilities = {"experimental": {"x": {"y": "z" * 100_000}}}
    params = {**INITIALIZE["params"], "clientInfo": stated, "capabilities": capabilities}
    wire = await post(sessions, {**INITIALIZE, "params": params})
    session = sessions._sessions[wire.headers[b"mcp-session-id"].decode()]
    assert len(session.connection.client_params.model_dump_json()) < 1_000
    assert session.connection.client_params.client_info.name == "n" * 64


async def test_idle_sessions_are_forgotten_sooner_if_there_are_many(client):
    sessions = HandshakeSessions(BridgeServer(client), limit=4)
    idents = [await opened(sessions)]
    now = anyio.current_time()
    await sessions.forget_idle(now + 1_000)
    assert set(sessions._sessions) == set(idents)
    idents += [await opened(sessions) for _ in range(2)]
    await sessions.forget_idle(now + 1_000)
    assert not sessions._sessions
    assert json.loads((await post(sessions, LIST, idents[0])).body)["result"], "it is taken up again"
    await sessions.forget_idle(now + 10_000)
    assert not sessions._sessions
