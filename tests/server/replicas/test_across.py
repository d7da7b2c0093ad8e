"""Two bridges that share a store: whichever gets a message of a session serves it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import compress

import anyio
import pytest
from starlette.requests import Request
from tests.server.test_replies import Wire
from tests.server.test_sessions import BOTH, INITIALIZE, LIST, Listener, opened, post
from tests.support.redis_server import RedisServer, opened_store, redis_server, until
from tests.support.server_client import StandIn

from utcp_bridge.server.app import BridgeServer
from utcp_bridge.server.replies import McpReply
from utcp_bridge.server.sessions import HandshakeSessions, Refusal
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.stores.replicas import SharedStore
from utcp_bridge.upstream import HOST, ask_host

pytestmark = pytest.mark.anyio
ASKED = {**INITIALIZE, "params": {**INITIALIZE["params"], "capabilities": {"elicitation": {}}}}


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


@dataclass
class Bridge:
    client: StandIn
    server: BridgeServer
    sessions: HandshakeSessions
    store: SharedStore


async def bridge(stack: AsyncExitStack, redis: RedisServer, **settings: Any) -> Bridge:
    store = await stack.enter_async_context(opened_store(redis))
    client = StandIn(BridgeSettings(**settings), shared=store)
    server = BridgeServer(client)
    return Bridge(client, server, HandshakeSessions(server), store)


@asynccontextmanager
async def two(redis: RedisServer, **settings: Any) -> AsyncGenerator[tuple[Bridge, Bridge]]:
    with anyio.fail_after(60):
        async with AsyncExitStack() as stack:
            yield await bridge(stack, redis, **settings), await bridge(stack, redis, **settings)


def call(name: str, ident: Any = 9, **arguments: Any) -> dict[str, Any]:
    params = {"name": name, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": ident, "method": "tools/call", "params": params}


async def refused(one: Bridge, ident: str) -> bool:
    try:
        await post(one.sessions, LIST, ident)
    except Refusal as refusal:
        return refusal.status == 404
    return False


async def is_noted(one: Bridge, ident: str, what: str) -> bool:
    """Return whether the store has what a bridge noted of a session: it writes that beside the news for the others."""
    assert one.sessions._across is not None
    return what in await one.sessions._across.about(ident)


async def test_a_session_that_ended_in_one_bridge_has_ended_in_all(redis: RedisServer) -> None:
    async with two(redis) as (one, other), AsyncExitStack() as stack:
        ident = await opened(one.sessions)
        await post(other.sessions, LIST, ident)
        await one.sessions.end(ident, None)
        await until(lambda: refused(other, ident))
        late = await bridge(stack, redis)
        await until(lambda: is_noted(late, ident, "ended"))
        assert await refused(late, ident)


async def test_a_session_goes_on_while_the_store_is_away(redis: RedisServer) -> None:
    async with two(redis) as (one, other):
        one.client.add("m", "t")
        other.client.add("m", "t")
        ident = await opened(one.sessions)
        redis.stop()
        wire = await post(other.sessions, call("m_t", a=1), ident)
        assert json.loads(wire.body)["result"]["content"][0]["text"] == '{"a":1}'
        await other.sessions.end(ident, None)
        assert await refused(other, ident)


async def test_a_request_is_cancelled_wherever_it_runs(redis: RedisServer) -> None:
    async with two(redis) as (one, other):
        entered, wires = anyio.Event(), []

        async def endless(_arguments: Any, _emit: Any) -> None:
            entered.set()
            await anyio.sleep_forever()

        one.client.add("m", "t", endless)
        ident = await opened(one.sessions)

        async def run() -> None:
            wires.append(await post(one.sessions, call("m_t"), ident))

        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await entered.wait()
            cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 9}}
            assert (await post(other.sessions, cancel, ident)).status == 202
        assert json.loads(wires[0].body)["error"]["code"] == -32_800


async def test_an_answer_of_the_client_reaches_the_bridge_that_asked(redis: RedisServer) -> None:
    async with two(redis) as (one, other):

        async def asking(_arguments: Any, _emit: Any) -> Any:
            params = {"mode": "form", "message": "Which?", "requestedSchema": {"type": "object", "properties": {}}}
            return (await ask_host(HOST.get(), "elicitation/create", params, seconds=60))["content"]

        for each in (one, other):
            each.client.add("m", "t", asking)
        ident = (await post(one.sessions, ASKED)).headers[b"mcp-session-id"].decode()
        wires = {"one": Wire(), "other": Wire()}

        def question(wire: Wire) -> str | None:
            sent = b"".join(part.get("body", b"") for part in wire.sent[1:]).decode()
            return json.loads(sent.partition("data: ")[2])["id"] if "elicitation/create" in sent else None

        async with anyio.create_task_group() as group:
            for each, wire in ((one, wires["one"]), (other, wires["other"])):
                scope = {"type": "http", "headers": [(b"mcp-session-id", ident.encode())]}
                reply = McpReply(wire, BOTH, Request(scope))
                group.start_soon(each.sessions.post, call("m_t", 7), ident, None, reply)
            await until(lambda: all(map(question, wires.values())))
            asked = {name: question(wire) for name, wire in wires.items()}
            assert asked["one"] != asked["other"]  # one client gets the questions of both
            for name, there in (("one", other), ("other", one)):
                result = {"action": "accept", "content": {"said": name}}
                await post(there.sessions, {"jsonrpc": "2.0", "id": asked[name], "result": result}, ident)
        for name, wire in wires.items():
            assert wire.events[-1]["result"]["content"][0]["text"] == json.dumps({"said": name}, separators=(",", ":"))


async def test_what_a_session_hears_goes_to_the_bridge_with_its_stream(redis: RedisServer) -> None:
    async with two(redis) as (one, other):
        ident = await opened(one.sessions)
        listener = Listener()
        async with anyio.create_task_group() as group, other.server.parts.open():
            stream = await one.sessions.find(ident, None)
            group.start_soon(stream.listen, listener.receive, listener.send)
            await listener.until(1)
            await post(other.sessions, LIST, ident)
            other.client.add("m", "new")
            await listener.until(2)
            assert b"notifications/tools/list_changed" in listener.wire.sent[1]["body"]
            group.cancel_scope.cancel()


async def test_the_log_level_of_a_session_is_that_of_all_bridges(redis: RedisServer) -> None:
    async with two(redis) as (one, other), AsyncExitStack() as stack:
        late = await bridge(stack, redis)
        ident = await opened(one.sessions)
        known = await other.sessions.find(ident, None)
        message = {"jsonrpc": "2.0", "id": 5, "method": "logging/setLevel", "params": {"level": "error"}}
        await post(one.sessions, message, ident)
        await until(lambda: other.server.logs._levels.get(known.connection) == "error")
        await until(lambda: is_noted(late, ident, "level"))
        taken_up = await late.sessions.find(ident, None)
        assert late.server.logs._levels[taken_up.connection] == "error"


ROWS = [{"id": number, "note": "x" * 50} for number in range(2_000)]


async def kept(one: Bridge, ident: str) -> str:
    """Cut a result, and return its handle."""

    async def rows(_arguments: Any, _emit: Any) -> Any:
        return ROWS

    one.client.add("m", "rows", rows)
    scope = {"type": "http", "headers": [(b"mcp-session-id", ident.encode())]}
    wire = Wire()
    await one.sessions.post(call("m_rows"), ident, None, McpReply(wire, BOTH, Request(scope)))
    (handle,) = one.server.budgets.kept._kept
    return handle


async def read(one: Bridge, ident: str, handle: str) -> str:
    wire = await post(one.sessions, call("read_result", handle=handle, jmespath="[1999].id"), ident)
    return json.loads(wire.body)["result"]["content"][0]["text"]


async def test_a_kept_result_is_read_at_any_bridge_by_its_own_session_alone(redis: RedisServer) -> None:
    async with two(redis, max_result_bytes=4_000) as (one, other):
        ident, stranger = await opened(one.sessions), await opened(one.sessions)
        handle = await kept(one, ident)
        assert "1999" in await read(other, ident, handle)
        assert "unknown or has ended" in await read(other, stranger, handle)
        assert "unknown or has ended" in await read(other, ident, "0" * 32)
        assert "unknown or has ended" in await read(other, ident, "x y")


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (b"", "unknown or has ended"),
        (b"\xff\nx", "unknown or has ended"),
        (b'["application/json", false, 1]\n1', "unknown or has ended"),
        (b'["application/json", false, true, "x"]\n1', "unknown or has ended"),
        (b'["text/plain", true, 99999999999, false]\nx', "unknown or has ended"),
        (b'["application/json", false, 2, false]\n{', "is damaged"),
        (b'["text/plain", true, 1, false]\n\xff', "is damaged"),
        (b'["text/plain", true, 9, true]\nx', "is damaged"),
        (b'["application/json", false, 9, true]\n' + compress(bytes(99_999_999)), "is damaged"),
    ],
    ids=map(str, range(9)),
)
async def test_what_others_write_in_place_of_a_kept_result_gets_a_sentence(
    redis: RedisServer, written: bytes, words: str
) -> None:
    async with two(redis) as (one, other):
        ident, handle = await opened(one.sessions), "0" * 32
        assert one.server.parts.copies is not None
        await other.store.put(one.server.parts.copies._key(f"session {ident}", handle), written, 60)
        assert words in await read(other, ident, handle)


async def test_a_handle_of_another_bridge_gets_a_clear_sentence_while_the_store_is_away(redis: RedisServer) -> None:
    async with two(redis, max_result_bytes=4_000) as (one, other):
        ident = await opened(one.sessions)
        handle = await kept(one, ident)
        redis.stop()
        assert "the store that they share does not answer" in await read(other, ident, handle)
        assert "1999" in await read(one, ident, handle)
        redis.start()
        await until(lambda: not other.store.is_away)
        assert "unknown or has ended" in await read(other, ident, handle)  # this Redis keeps nothing


async def test_the_probe_names_the_state_of_the_store(redis: RedisServer) -> None:
    async with two(redis) as (one, _):
        await until(lambda: one.server.readiness.summary()["store"] == "ready")
        redis.stop()
        await until(lambda: one.store.is_away)
        assert one.server.readiness.summary()["store"] == "away"
