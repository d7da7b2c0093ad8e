"""Requests whose heads are known on their connection are let in, named and led as if their heads were read anew."""

import asyncio
import re
from dataclasses import replace
from types import SimpleNamespace

import anyio
import anyio.to_thread
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.hot_requests import bridge, plain, stand_in
from tests.support.mutable_bytes import bytes_in_a_bytearray
from tests.support.one_connection import Line
from tests.support.served_here import serve

from utcp_bridge.access import gatekeeper
from utcp_bridge.access.tokens import TokenFile
from utcp_bridge.client_request import CLIENT_REQUEST
from utcp_bridge.model import REQUESTER
from utcp_bridge.net import asgi_server
from utcp_bridge.net.asgi_server import serve_asgi
from utcp_bridge.net.heads.ahead import SAME, KnownHeads, start_known
from utcp_bridge.net.listening import bind
from utcp_bridge.server.app import BridgeServer

_PROTOCOL = pytest.importorskip("uvicorn.protocols.http.httptools_impl").HttpToolsProtocol
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(
        not hasattr(_PROTOCOL, "_start_asgi_task"), reason="this uvicorn has no place for the front: the SDK serves all"
    ),
]
HANDLE = re.compile(r'\\*"handle\\*": ?\\*"([^"\\]+)')
ERAS = pytest.mark.parametrize("modern", [False, True], ids=["handshake", "modern"])


async def who(_arguments, _emit):
    return {
        "principal": REQUESTER.get().principal,
        "profile": REQUESTER.get().profile,
        "caller": CLIENT_REQUEST.get().caller,
    }


def named(**settings):
    """Return a server with a tool that says who calls it."""
    server = bridge(**settings)
    server.part.whole.notes_requesters = True
    server.part.whole.add("m", "who", who, outputs={"type": "object"})
    return server


@pytest.fixture
def file(tmp_path):
    return TokenFile(tmp_path / "tokens.json")


@pytest.fixture
def known(monkeypatch):
    """Yield a list that has, for each request after the first on its connection, whether its head was known."""
    found = []
    find = KnownHeads.find

    def noted(heads, data):
        one = find(heads, data)
        found.append(one is not None)
        return one

    monkeypatch.setattr(KnownHeads, "find", noted)
    return found


async def run(server, work, *, modern):
    """Serve, and let `work(line)` use one connection."""

    def on_a_line(url):
        with Line(url, modern=modern) as line:
            work(line)

    await serve(server, lambda url: anyio.to_thread.run_sync(on_a_line, url))


def changed(file, name, **fields):
    """Change a token in the file, as an operator does."""

    def change(lines):
        lines[name] = replace(lines[name], **fields)

    file._change(change)


@ERAS
@pytest.mark.parametrize("how", ["revoked", "expired"])
async def test_a_token_that_has_ended_is_refused_though_its_head_is_known(file, known, modern, how):
    token = file.add("alice", expires=4_000_000_000.0).value

    def work(line):
        more = line.enter(token)
        for _ in range(3):
            assert line.call("m_who", token, **more)[1]["principal"] == "token:alice"
        assert known[-1]
        if how == "revoked":
            file.revoke("alice")
        else:
            changed(file, "alice", expires=1.0)
        before = len(known)
        status, _, told = line.call("m_who", token, **more)
        assert known[before:] == [True]
        assert status == 401
        assert 'error="invalid_token"' in told["www-authenticate"]
        assert line.call("m_who", token, **more)[0] == 401

    await run(named(tokens_file=str(file.path)), work, modern=modern)


@ERAS
async def test_heads_are_known_where_the_loop_hands_over_bytes_that_can_change(known, modern, monkeypatch):
    bytes_in_a_bytearray(monkeypatch, asgi_server._HttpToolsProtocol)

    def work(line):
        more = line.enter()
        replies = [line.call("m_who", **more)[:2] for _ in range(3)]
        assert replies == [replies[0]] * 3
        assert replies[0][0] == 200
        assert known[-1]

    await run(named(), work, modern=modern)


@ERAS
async def test_time_ends_a_token_though_its_head_is_known(file, known, modern, monkeypatch):
    token = file.add("alice", expires=4_000_000_000.0).value

    def work(line):
        more = line.enter(token)
        for _ in range(2):
            assert line.call("m_who", token, **more)[0] == 200
        assert known[-1]
        monkeypatch.setattr(gatekeeper, "time", SimpleNamespace(time=lambda: 4_000_000_001.0))
        assert line.call("m_who", token, **more)[0] == 401

    await run(named(tokens_file=str(file.path)), work, modern=modern)


@ERAS
async def test_principals_that_share_a_connection_stay_apart(file, known, modern):
    tokens = {name: file.add(name).value for name in ("alice", "bob")}

    def work(line):
        more = {name: line.enter(token) for name, token in tokens.items()}
        callers = {}
        for name in ["alice", "bob"] * 4 + ["bob", "alice"]:
            status, said, _ = line.call("m_who", tokens[name], **more[name])
            assert (status, said["principal"]) == (200, f"token:{name}")
            callers.setdefault(name, said["caller"])
            assert callers[name] == said["caller"]
        assert callers["alice"] != callers["bob"]
        assert sum(known) >= 7
        if modern:
            return
        for _ in range(3):  # the session of another principal, with a head of one's own
            assert line.call("m_who", tokens["bob"], **more["alice"])[0] == 404
            assert line.call("m_who", tokens["alice"], **more["alice"])[0] == 200

    await run(named(tokens_file=str(file.path)), work, modern=modern)


@ERAS
async def test_what_is_kept_for_a_principal_is_read_by_no_other_on_the_connection(file, known, modern):
    tokens = {name: file.add(name).value for name in ("alice", "bob")}
    server = named(tokens_file=str(file.path))

    async def big(_arguments, _emit):
        return [{"n": number, "text": "x" * 90} for number in range(4_000)]

    server.client.loaded.set()
    server.client.add("m", "big", big)

    def read(line, name, handle, more):
        params = {"name": "read_result", "arguments": {"handle": handle}}
        return orjson.loads(line.ask(plain("tools/call", params, modern=modern), tokens[name], **more[name])[2])

    def work(line):
        more = {name: line.enter(token) for name, token in tokens.items()}
        handles = {}
        for _ in range(2):
            for name, token in tokens.items():
                _, said, _ = line.call("m_big", token, **more[name])
                handles[name] = HANDLE.search(orjson.dumps(said).decode())[1]
        for _ in range(2):
            for name, other in (("alice", "bob"), ("bob", "alice")):
                assert not read(line, name, handles[name], more)["result"].get("isError")
                assert read(line, name, handles[other], more)["result"]["isError"]
        assert sum(known) >= 4

    await run(server, work, modern=modern)


@ERAS
async def test_a_token_that_means_another_principal_has_another_one_at_once(file, known, modern):
    token = file.add("alice").value

    def renamed(lines):
        lines["carol"] = replace(lines.pop("alice"), name="carol")

    def work(line):
        more = line.enter(token)
        said = [line.call("m_who", token, **more)[1]["principal"] for _ in range(3)]
        assert said == ["token:alice"] * 3
        assert known[-1]
        file._change(renamed)
        status, said, _ = line.call("m_who", token, **more)
        if modern:
            assert (status, said["principal"]) == (200, "token:carol")
            assert line.call("m_who", token, **more)[1] == said
        else:
            assert status == 404, "the session is that of another principal"

    await run(named(tokens_file=str(file.path)), work, modern=modern)


@ERAS
async def test_each_request_reaches_the_profile_of_its_principal(file, known, modern):
    owners = {"alice": "orders", "bob": "pages"}
    tokens = {name: file.add(name, profiles=(profile,)).value for name, profile in owners.items()}
    client = stand_in(
        tokens_file=str(file.path), profiles={"orders": {"manuals": "shop"}, "pages": {"manuals": "wiki"}}
    )
    client.notes_requesters = True
    client.loaded.set()
    client.add("shop", "who", who, outputs={"type": "object"})
    client.add("wiki", "who", who, outputs={"type": "object"})
    tools = {"alice": "shop_who", "bob": "wiki_who"}

    def work(line):
        for path in ("", "/p/orders", "/p/pages"):
            mine = [name for name, profile in owners.items() if path.removeprefix("/p/") in {"", profile}]
            more = {name: line.enter(tokens[name], path) for name in mine}
            for _ in range(3):
                for name in mine:
                    status, said, _ = line.call(tools[name], tokens[name], path, **more[name])
                    assert (status, said["principal"], said["profile"]) == (200, f"token:{name}", owners[name])
                for name in owners.keys() - set(mine):
                    session = {} if modern else more[mine[0]]
                    assert line.call(tools[name], tokens[name], path, **session)[0] == 404
        assert sum(known) >= 6
        # the profile of a token changes between two requests with the same head
        session = line.enter(tokens["alice"])
        assert line.call("shop_who", tokens["alice"], **session)[0] == 200
        changed(file, "alice", profiles=("pages",))
        status, said, _ = line.call("wiki_who", tokens["alice"], **line.enter(tokens["alice"]))
        assert (status, said["profile"]) == (200, "pages")
        assert "principal" not in line.call("shop_who", tokens["alice"], **session)[1]

    await run(BridgeServer(client), work, modern=modern)


@ERAS
async def test_a_request_behind_another_teaches_nothing_about_that_one(file, known, modern):
    """A cold call of one principal is in flight when that of another comes."""
    alice, bob = (file.add(name).value for name in ("alice", "bob"))
    server = named(tokens_file=str(file.path))
    started, let_go = anyio.Event(), anyio.Event()

    async def held(_arguments, _emit):
        started.set()
        await let_go.wait()
        return await who({}, None)

    server.client.add("m", "held", held, outputs={"type": "object"})

    def work(line):
        theirs, others = line.enter(alice), line.enter(bob)
        call = plain("tools/call", {"name": "m_held", "arguments": {}}, modern=modern)
        line.send(call, alice, Origin="http://localhost", **theirs)
        anyio.from_thread.run(started.wait)
        line.send({**call, "params": {**call["params"], "name": "m_who"}}, bob, **others)
        anyio.from_thread.run_sync(let_go.set)
        for name in ("alice", "bob"):
            status, _, body = line.read()
            assert status == 200
            assert f"token:{name}".encode() in body
        for _ in range(2):
            status, _, body = line.ask(call, alice, Origin="http://localhost", **theirs)
            assert status == 200
            assert b"token:alice" in body

    await run(server, work, modern=modern)


@ERAS
async def test_a_client_with_a_known_head_is_asked_to_close_at_the_end(known, modern):
    server = named()

    def work(line):
        more = line.enter()
        for _ in range(2):
            assert "connection" not in line.call("m_who", **more)[2]
        server.readiness.is_draining = True
        status, _, told = line.call("m_who", **more)
        assert (status, told["connection"], known[-1]) == (200, "close", True)

    await run(server, work, modern=modern)


@ERAS
async def test_a_head_is_known_though_the_trace_of_each_request_differs(known, modern):
    async def traced(_arguments, _emit):
        return {
            "traceparent": [value.decode() for name, value in CLIENT_REQUEST.get().headers if name == b"traceparent"]
        }

    server = named()
    server.client.add("m", "traced", traced, outputs={"type": "object"})

    def work(line):
        more = line.enter()
        for number in range(1, 20):
            trace = f"00-{number:032x}-{number:016x}-00"
            assert line.call("m_traced", traceparent=trace, **more)[1] == {"traceparent": [trace]}
        assert known[-17:] == [True] * 17
        assert line.call("m_traced", **more)[1] == {"traceparent": []}
        assert not known[-1]

    await run(server, work, modern=modern)


class Elsewhere:
    """The way to another process, which takes what a header says (`net.listening.Passing`)."""

    def __init__(self):
        self.asked, self.sent = [], []
        self.place = None

    def open(self, connect, count):
        pass

    def place_of(self, scope, *, is_first):
        self.asked.append((dict(scope["headers"])[b"mcp-name"], is_first))
        return self.place

    def send(self, place, transport, data):
        self.sent.append((place, data))
        transport.abort()
        return True


class Empty:
    """An empty response."""

    whole = None

    async def __call__(self, scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    def disconnected(self):
        pass


class TakesAll:
    """A front that takes every request."""

    def __init__(self):
        self.taken = []

    def may_take(self, scope):
        return scope["headers"]

    def again(self, _head, scope, body):
        head = self.may_take(scope)
        return head, self.take(head, scope, body)

    def let_go(self):
        pass

    def take(self, head, scope, body):
        self.taken.append(dict(head)[b"mcp-name"])
        return Empty()


async def test_each_request_with_a_known_head_may_belong_to_another_process(known):
    elsewhere, front = Elsewhere(), TakesAll()
    listener = bind("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"

    def work():
        with Line(url, modern=True) as line:
            for name in ("a", "b", "c"):
                assert line.ask(plain("tools/call", {"name": name}, modern=True))[0] == 200
            elsewhere.place = 1
            line.send(plain("tools/call", {"name": "d"}, modern=True))
            with pytest.raises((ConnectionError, ValueError)):
                line.read()

    ready = anyio.Event()
    async with anyio.create_task_group() as group:

        async def run_server():
            await serve_asgi(None, [listener], on_ready=ready.set, ahead=front, passing=elsewhere)

        group.start_soon(run_server)
        await ready.wait()
        await anyio.to_thread.run_sync(work)
        group.cancel_scope.cancel()
    assert elsewhere.asked == [(b"a", True), (b"b", False), (b"c", False), (b"d", False)]
    assert front.taken == [b"a", b"b", b"c"]
    assert known == [True, True, True]
    [(place, data)] = elsewhere.sent
    assert place == 1
    assert data.startswith(b"POST /mcp HTTP/1.1\r\n")
    assert b'"name":"d"' in data


class Cycle:
    """What `KnownHeads` looks at in uvicorn's record of a request."""

    keep_alive = True

    def __init__(self, scope):
        self.scope = scope


@given(
    other=st.sampled_from(["method", "raw_path", "query_string", "name", "value", "fewer", "more", "order", None]),
    added=st.dictionaries(st.sampled_from(["utcp_bridge.admission", "utcp_bridge.connection"]), st.just(object())),
)
def test_only_what_was_read_of_the_same_head_is_learned(other, added):
    data = b"POST /mcp HTTP/1.1\r\nHost: a\r\nAuthorization:  Bearer x \r\nContent-Length: 2\r\n\r\n{}"
    headers = [(b"host", b"a"), (b"authorization", b"Bearer x"), (b"content-length", b"2")]
    scope = {"method": "POST", "raw_path": b"/mcp", "query_string": b"", "state": {}, "headers": headers, **added}
    if other in scope:
        scope[other] = "PUT" if other == "method" else b"/x"
    changes = {
        "name": [headers[0], (b"x-authorization", b"Bearer x"), headers[2]],
        "value": [headers[0], (b"authorization", b"Bearer y"), headers[2]],
        "fewer": headers[::2],
        "more": [*headers, (b"x", b"y")],
        "order": headers[::-1],
    }
    scope["headers"] = changes.get(other, headers)
    heads = KnownHeads()
    heads.learn(data, Cycle(scope))
    found = heads.find(data)
    assert (found is None) == (other is not None)
    if found is not None:
        assert found[1] == {key: value for key, value in scope.items() if key not in added} | {SAME: {}}
        assert found[1]["headers"] is not headers
        assert found[1]["state"] is not scope["state"]


LINES = (b"Host: a", b"Content-Length: 4", b"Mcp-Name: m_echo", b"Traceparent: 00-%032x-%016x-00", b"X: y")


def traced(number, body=b"{{}}"):
    return b"POST /mcp HTTP/1.1\r\n" + b"\r\n".join(LINES) % (number, number) + b"\r\n\r\n" + body


def knowing(*looks):
    """Return heads that know the one of `traced`, after looks at requests."""
    headers = [(name.lower(), value) for name, value in (line.split(b": ") for line in LINES)]
    headers[3] = b"traceparent", headers[3][1] % (1, 1)
    scope = {"method": "POST", "raw_path": b"/mcp", "query_string": b"", "state": {}, "headers": headers}
    heads = KnownHeads()
    heads.learn(traced(1), Cycle(scope))
    for data in looks:
        heads.find(data)
    return heads


@given(
    place=st.integers(0, len(traced(3))),
    removed=st.integers(0, 3),
    added=st.one_of(st.binary(max_size=3), st.sampled_from([b"\r\n", b"\r\n\r\n", b"0", b"-", b"A", b" "])),
)
def test_a_head_that_differs_from_the_last_one_elsewhere_than_in_its_trace_is_read_as_before(place, removed, added):
    other = traced(3)[:place] + added + traced(3)[place + removed :]
    found, expected = knowing(traced(2)).find(other), knowing().find(other)
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert found[1:] == expected[1:]


def test_heads_with_other_traces_have_headers_and_a_state_of_their_own():
    heads = knowing(traced(2))
    first, second = heads.find(traced(3)), heads.find(traced(4, b"[[]]"))
    assert [dict(found[1]["headers"])[b"traceparent"] for found in (first, second)] == [
        b"00-%032x-%016x-00" % (number, number) for number in (3, 4)
    ]
    assert [found[2] for found in (first, second)] == [b"{{}}", b"[[]]"]
    first[1]["state"]["seen"] = True
    assert second[1]["state"] == heads.find(traced(5))[1]["state"] == {}


class Taken:
    """A request that was taken, whose answer is that of `work`."""

    task = None

    def __init__(self, work):
        self.work = work

    async def __call__(self, _scope, _receive, _send):
        await self.work()


def cycle_with(response_complete):
    """Return the record of a request, which notes what `run_asgi` receives."""

    async def run_asgi(app):
        try:
            told.append(await app(None, None, None))
        except ValueError as error:
            told.append(str(error))

    told = []
    given = {"scope": {}, "receive": None, "send": None, "run_asgi": run_asgi, "told": told, "on_response": told.append}
    return SimpleNamespace(**given, response_complete=response_complete)


async def test_the_task_of_a_known_request_ends_without_a_further_turn():
    async def work():
        seen.append(taken.task in running)

    seen, running, cycle, taken = [], set(), cycle_with(response_complete=True), Taken(work)
    start_known(cycle, taken, running, asyncio.get_running_loop())
    task = taken.task
    assert running == {task}
    await asyncio.sleep(0)  # the turn in which the task runs; a callback at its end would run in the next one
    assert (seen, running, cycle.told, task.done()) == ([True], set(), [], True)
    assert taken.task is None, "a request and its task keep each other"
    assert cycle.on_response() is None, "the record of a request keeps its connection"


@pytest.mark.parametrize("fails", [True, False])
async def test_uvicorn_ends_what_a_known_request_leaves_open(fails):
    async def work():
        if fails:
            raise ValueError("It failed.")

    running, cycle, taken = set(), cycle_with(response_complete=False), Taken(work)
    start_known(cycle, taken, running, asyncio.get_running_loop())
    await taken.task
    assert (running, cycle.told) == (set(), ["It failed." if fails else None])
