"""Two principals use what belongs to each other: it looks as if it did not exist, and nothing of the owner changes."""

import threading
from contextlib import ExitStack

import anyio
import anyio.to_thread
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.hot_requests import bridge, plain
from tests.support.parties import INITIALIZE, Party, made_up, seen
from tests.support.served_here import serve

from utcp_bridge.access.tokens import TokenFile

pytestmark = pytest.mark.anyio
NAMES = ("alice", "bob")


def with_session(method, message=None, header=None):
    """Return an attack on a session id."""

    def attack(party, ident):
        headers = {**party.of_session(ident), **(header or {}), **party.own}
        if message is not None:
            return party.post(message, headers)
        return party.http.request(method, party.url, headers=headers)

    return attack


def with_handle(party, ident):
    return party.post(plain("tools/call", {"name": "read_result", "arguments": {"handle": ident}}), party.of_session())


def with_modern_handle(party, ident):
    return party.modern("tools/call", {"name": "read_result", "arguments": {"handle": ident}})


def with_uri(party, ident):
    return party.post(plain("resources/read", {"uri": f"utcp-result://{ident}"}), party.of_session())


def with_modern_uri(party, ident):
    return party.modern("resources/read", {"uri": f"utcp-result://{ident}"})


def with_subscription(party, ident):
    return party.post(plain("resources/subscribe", {"uri": f"utcp-result://{ident}"}), party.of_session())


CANCEL = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "slow"}}
ATTACKS = {
    "list": ("session", with_session("POST", plain("tools/list"))),
    "call": ("session", with_session("POST", plain("tools/call", {"name": "m_echo", "arguments": {"n": 1}}))),
    "ping": ("session", with_session("POST", plain("ping"))),
    "batch": ("session", with_session("POST", [plain("ping"), plain("tools/list", ident=2)])),
    "cancel": ("session", with_session("POST", CANCEL)),
    "answer": ("session", with_session("POST", {"jsonrpc": "2.0", "id": "bridge-1", "result": {}})),
    "end": ("session", with_session("DELETE")),
    "listen": ("session", with_session("GET", header={"Accept": "text/event-stream"})),
    "resume": ("session", with_session("GET", header={"Accept": "text/event-stream", "Last-Event-ID": "1"})),
    "initialize": ("session", with_session("POST", plain("initialize", INITIALIZE))),
    "handle": ("handle", with_handle),
    "handle, 2026": ("modern_handle", with_modern_handle),
    "handle of a session, 2026": ("handle", with_modern_handle),
    "resource": ("handle", with_uri),
    "resource, 2026": ("modern_handle", with_modern_uri),
    "subscription": ("handle", with_subscription),
}


@pytest.fixture
def enter():
    """Return a function that makes a party, which is closed after the test."""
    with ExitStack() as stack:

        def make(url, token):
            party = Party(url, token)
            stack.callback(party.close)
            return party

        yield make


@pytest.fixture
def file(tmp_path):
    return TokenFile(tmp_path / "tokens.json")


def server_with(file, **more):
    server = bridge(tokens_file=str(file.path), **more)

    async def big(_arguments, _emit):
        return [{"n": number, "text": "x" * 90} for number in range(4_000)]

    server.client.add("m", "big", big)
    return server


async def test_what_belongs_to_one_principal_does_not_exist_for_another(file, enter):
    tokens = [file.add(name).value for name in NAMES]
    held, released = threading.Event(), anyio.Event()
    server = server_with(file)

    async def slow(_arguments, _emit):
        held.set()
        await released.wait()
        return "finished"

    server.client.add("m", "slow", slow)

    def examine(url):
        parties = [enter(url, token) for token in tokens]
        outcome = []
        slow_call = plain("tools/call", {"name": "m_slow"}, ident="slow")
        caller = threading.Thread(
            target=lambda: outcome.append(parties[0].post(slow_call, parties[0].of_session()).text)
        )
        caller.start()
        assert held.wait(60)

        @settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(names=st.lists(st.sampled_from(sorted(ATTACKS)), min_size=1, max_size=4), turned=st.booleans())
        def nothing_crosses(names, turned):
            attacker, owner = parties if turned else parties[::-1]
            for name in names:
                kind, attack = ATTACKS[name]
                theirs = getattr(owner, kind)
                nobodys = made_up(kind, theirs)
                assert seen(attack(attacker, theirs), theirs) == seen(attack(attacker, nobodys), nobodys), name
            assert owner.is_whole()
            assert attacker.is_whole()
            assert not outcome, "the call in flight of another principal has ended"

        nothing_crosses()
        # the same request id in a session of one's own cancels nothing of another's
        assert parties[1].post(CANCEL, parties[1].of_session()).status_code == 202
        assert parties[0].is_whole()
        assert not outcome
        return caller, outcome

    async def work(url):
        caller, outcome = await anyio.to_thread.run_sync(examine, url)
        released.set()
        await anyio.to_thread.run_sync(caller.join)
        assert '"finished"' in outcome[0]

    await serve(server, work, seconds=300)


async def test_a_session_that_this_bridge_does_not_know_is_still_that_of_its_principal(file, enter):
    """Another replica, or the bridge after a restart, takes up the session for its owner alone."""
    alice, bob = (file.add(name).value for name in NAMES)
    ident = []

    async def open_one(url):
        ident.append((await anyio.to_thread.run_sync(enter, url, alice)).session)

    await serve(server_with(file), open_one)

    def take_up(url):
        theirs = enter(url, bob)
        own = enter(url, alice)
        assert theirs.post(plain("tools/list"), theirs.of_session(ident[0])).status_code == 404
        assert own.post(plain("tools/list"), own.of_session(ident[0])).status_code == 200
        assert theirs.post(plain("tools/list"), theirs.of_session(ident[0])).status_code == 404
        unmarked = ident[0].partition("~")[0]
        assert own.post(plain("tools/list"), own.of_session(unmarked)).status_code == 404

    await serve(server_with(file), lambda url: anyio.to_thread.run_sync(take_up, url))


async def test_progress_with_the_same_token_goes_to_its_own_caller(file, enter):
    tokens = [file.add(name).value for name in NAMES]
    server = server_with(file)
    both = threading.Barrier(2)

    async def counted(arguments, emit):
        await anyio.to_thread.run_sync(both.wait)
        for number in range(3):
            await emit(f"{arguments['who']} {number}")
        await anyio.to_thread.run_sync(both.wait)
        return arguments["who"]

    server.client.add("m", "counted", counted)

    def ask(url, token, who, texts):
        party = enter(url, token)
        params = {"name": "m_counted", "arguments": {"who": who}, "_meta": {"progressToken": "same"}}
        texts[who] = party.post(plain("tools/call", params, ident="same"), party.of_session()).text

    async def work(url):
        texts = {}
        async with anyio.create_task_group() as group:
            for token, who in zip(tokens, NAMES, strict=True):
                group.start_soon(anyio.to_thread.run_sync, ask, url, token, who, texts)
        assert set(texts) == set(NAMES)
        for who, other in (NAMES, NAMES[::-1]):
            assert f"{who} 2" in texts[who]
            assert other not in texts[who]

    await serve(server, work)


async def test_a_revoked_token_ends_its_sessions_and_its_calls_and_no_others(file, enter):
    alice, bob = (file.add(name).value for name in NAMES)
    server = server_with(file)
    held, ended = threading.Event(), threading.Event()

    async def slow(_arguments, _emit):
        held.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    server.client.add("m", "slow", slow)

    def examine(url):
        theirs, others = enter(url, alice), enter(url, bob)
        call = plain("tools/call", {"name": "m_slow"}, ident="slow")
        caller = threading.Thread(target=lambda: theirs.post(call, theirs.of_session()))
        caller.start()
        assert held.wait(60)
        file.revoke("alice")
        refused = theirs.post(plain("tools/list"), theirs.of_session())
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == 'Bearer realm="utcp-bridge", error="invalid_token"'
        assert ended.wait(60), "the call in flight ends"
        theirs.read_stream_to_its_end()
        caller.join()
        assert others.is_whole()

    await serve(server, lambda url: anyio.to_thread.run_sync(examine, url))


async def test_a_revoked_token_ends_its_requests_without_a_session(file, enter):
    """A call and a subscription of 2026-07-28."""
    alice = file.add("alice").value
    server = server_with(file)
    held, ended = threading.Event(), threading.Event()

    async def slow(_arguments, _emit):
        held.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    server.client.add("m", "slow", slow)

    def examine(url):
        party = enter(url, alice)
        statuses = []
        caller = threading.Thread(
            target=lambda: statuses.append(party.modern("tools/call", {"name": "m_slow"}).status_code)
        )
        params = {"notifications": {"toolsListChanged": True}}
        listener = threading.Thread(
            target=lambda: statuses.append(party.modern("subscriptions/listen", params).status_code)
        )
        caller.start()
        listener.start()
        assert held.wait(60)
        file.revoke("alice")
        assert ended.wait(60), "nobody has to send another request"
        caller.join()
        listener.join()
        assert len(statuses) == 2
        assert set(statuses) <= {200, 401}, "200 is the head of an event stream"

    await serve(server, lambda url: anyio.to_thread.run_sync(examine, url))
