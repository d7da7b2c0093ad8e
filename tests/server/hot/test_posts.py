"""The hot front over HTTP answers as the SDK does, byte for byte, and owns what the application would own."""

import socket
from functools import partial
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import orjson
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tests.support.garbage import left_by
from tests.support.hot_requests import bridge, plain, requests, written
from tests.support.one_connection import Line
from tests.support.served_here import serve as serve_for

from utcp_bridge.access.tokens import TokenFile
from utcp_bridge.net.heads.ahead import KnownHeads

pytest.importorskip("httptools", reason="h11 takes no request ahead of the SDK")
pytestmark = pytest.mark.anyio
serve = partial(serve_for, seconds=300)
INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
JSON = ("Content-Type", "application/json")
BOTH = ("Accept", "application/json, text/event-stream")
TOKEN = ("Authorization", "Bearer " + "t" * 16)
NAMES = ["Host", "Content-Type", "Accept", "MCP-Protocol-Version", "Mcp-Method", "Mcp-Name", "Mcp-Session-Id", "Origin"]
NAMES += ["Authorization", "Mcp-Param-Text", "Content-Encoding", "Expect", "Connection", "Content-Length", "X-Other"]
FIELDS = ["", "x", "application/json", "text/event-stream", "application/json;q=0", "*/*", "2025-11-25", "2026-07-28"]
FIELDS += [
    "2030-01-01",
    "tools/call",
    "tools/list",
    "m_echo",
    "=?base64?bV9lY2hv?=",
    "=?base64?!?=",
    "http://localhost",
]
FIELDS += [
    "Bearer " + "t" * 16,
    "Bearer wrong",
    "evil.example",
    "localhost",
    "gzip",
    "close",
    " m_echo ",
    "text/json",
    "0",
]


def sent(url, body, headers, *, pieces=False):
    """Send a request on a connection of its own. Return its whole response, without the date."""
    parts = urlsplit(url)
    head = "".join(f"{name}: {value}\r\n" for name, value in headers)
    data = f"POST {parts.path} HTTP/1.1\r\n{head}\r\n".encode()
    with socket.create_connection((parts.hostname, parts.port), timeout=100) as connection:
        if pieces:
            connection.sendall(data)
        connection.sendall(body if pieces else data + body)
        return received(connection)


def received(connection):
    """Return the head of a response, without the date, and its body as it came."""
    with connection.makefile("rb") as stream:
        return response(stream)


def response(stream):
    lines = read_head(stream)
    if lines == [b"HTTP/1.1 100 Continue"]:
        lines = read_head(stream)
    told = dict(line.split(b": ", 1) for line in lines[1:])
    body = stream.read(int(told[b"content-length"])) if b"content-length" in told else b""
    while b"transfer-encoding" in told and not body.endswith(b"0\r\n\r\n"):
        body += stream.readline()
    return [line for line in lines if not line.startswith(b"date: ")], body


def read_head(stream):
    return list(iter(lambda: stream.readline().rstrip(b"\r\n"), b""))


def of(url, body, *more, version="2026-07-28"):
    """Return the headers of a request."""
    own = [("Host", urlsplit(url).netloc), JSON, BOTH, ("MCP-Protocol-Version", version)]
    return [*own, *more, ("Connection", "close"), ("Content-Length", str(len(body)))]


class Counted:
    """Counts what the hot front answers."""

    def __init__(self, server):
        self.hot, self.number = server.hot, 0
        self._respond = server.hot.respond
        server.hot.respond = self.respond

    async def respond(self, *parts):
        self.number += 1
        return await self._respond(*parts)

    def both(self, act):
        """Return what `act` gives with the front, and without it."""
        self.hot.is_on = True
        first = act()
        self.hot.is_on = False
        second = act()
        self.hot.is_on = True
        return first, second


@st.composite
def headers_of(draw, url, body, message, session):
    """Return headers that fit a message, or nearly."""
    method, params = (message.get("method"), message.get("params")) if isinstance(message, dict) else (None, None)
    more = []
    if session is not None:
        version = "2025-11-25"
        more += [("Mcp-Session-Id", session), TOKEN]
    else:
        version = "2026-07-28"
        more += [("Mcp-Method", method if isinstance(method, str) else "tools/call"), TOKEN]
        if isinstance(params, dict) and isinstance(params.get("name"), str):
            more.append(("Mcp-Name", params["name"]))
    headers = of(url, body, *more, version=version)
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2]))):
        action, place = (
            draw(st.sampled_from(["drop", "add", "replace", "twice"])),
            draw(st.integers(0, len(headers) - 1)),
        )
        if action == "add":
            headers.insert(place, (draw(st.sampled_from(NAMES)), draw(st.sampled_from(FIELDS))))
        elif action == "drop" and headers[place][0] != "Content-Length":
            del headers[place]
        elif action == "replace" and headers[place][0] != "Content-Length":
            headers[place] = headers[place][0], draw(st.sampled_from(FIELDS))
        elif action == "twice":
            headers.append(headers[place])
    return [
        (name, value.encode("utf-8", "replace").decode("latin-1").replace("\0", "").replace("\n", ""))
        for name, value in headers
    ]


def session_of(url):
    body = orjson.dumps(plain("initialize", INITIALIZE))
    lines, _ = sent(url, body, of(url, body, TOKEN, version="2025-11-25"))
    return next(line.partition(b": ")[2].decode() for line in lines if line.startswith(b"mcp-session-id"))


def compare(url, counted, *, modern, examples):
    """Send generated requests with and without the front."""
    session = None if modern else session_of(url)

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def same(data):
        message = data.draw(requests(modern=modern))
        body = data.draw(written(message))
        headers = data.draw(headers_of(url, body, message, session))
        pieces = data.draw(st.booleans())
        first, second = counted.both(lambda: sent(url, body, headers, pieces=pieces))
        assert first == second

    same()


@pytest.mark.parametrize("secured", ["open", "token", "token next to named ones"])
@pytest.mark.parametrize("modern", [False, True], ids=["handshake", "modern"])
async def test_the_front_answers_any_request_as_the_sdk_does(modern, secured, tmp_path):
    more = {} if secured == "open" else {"bearer_token": "t" * 16}
    if secured == "token next to named ones":
        TokenFile(tmp_path / "tokens.json").add("ci")
        more["tokens_file"] = str(tmp_path / "tokens.json")
    server = bridge(**more)
    counted = Counted(server)

    async def work(url):
        await anyio.to_thread.run_sync(lambda: compare(url, counted, modern=modern, examples=200))

    await serve(server, work)
    assert counted.number > 5


def sent_after(url, learned, body, headers):
    """Send a request on a connection after a plain one with nearly the same head. Return the second response."""
    parts = urlsplit(url)

    def written_out(fields, content):
        head = "".join(f"{name}: {value}\r\n" for name, value in fields if (name, value) != ("Connection", "close"))
        return f"POST {parts.path} HTTP/1.1\r\n{head}\r\n".encode() + content

    with (
        socket.create_connection((parts.hostname, parts.port), timeout=100) as connection,
        connection.makefile("rb") as stream,
    ):
        connection.sendall(written_out(*learned))
        response(stream)
        connection.sendall(written_out(headers, body))
        return response(stream)


@pytest.mark.parametrize("modern", [False, True], ids=["handshake", "modern"])
async def test_a_request_with_a_head_that_is_nearly_known_is_answered_as_the_sdk_does(modern, monkeypatch):
    server = bridge(bearer_token="t" * 16)
    counted = Counted(server)
    found = []
    find = KnownHeads.find

    def noted(heads, data):
        known = find(heads, data)
        found.append(known is not None)
        return known

    monkeypatch.setattr(KnownHeads, "find", noted)

    def compare_all(url):
        session = None if modern else session_of(url)
        first = orjson.dumps(plain("tools/call", {"name": "m_echo", "arguments": {}}, modern=modern))
        more = [("Mcp-Method", "tools/call"), ("Mcp-Name", "m_echo")] if modern else [("Mcp-Session-Id", session)]
        learned = of(url, first, *more, TOKEN, version="2026-07-28" if modern else "2025-11-25"), first

        @settings(max_examples=120, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(data=st.data())
        def same(data):
            message = data.draw(requests(modern=modern))
            body = data.draw(written(message))
            plainly = data.draw(st.booleans())
            headers = data.draw(headers_of(url, body, message, session))
            if plainly:
                headers = [(name, str(len(body)) if name == "Content-Length" else value) for name, value in learned[0]]
            assume(all(name not in {"Expect", "Content-Length"} for name, _ in headers[:-1]) or plainly)
            one, other = counted.both(lambda: sent_after(url, learned, body, headers))
            assert one == other

        same()

    async def work(url):
        await anyio.to_thread.run_sync(compare_all, url)

    await serve(server, work)
    assert counted.number > 120
    assert sum(found) > 20


@pytest.mark.parametrize("name", ["m_text", "m_fail", "m_blocks", "m_meta", "m_echo", "search_tools"])
async def test_a_call_that_asks_for_progress_is_hot_if_its_tool_never_reports_any(name):
    server = bridge()
    counted = Counted(server)

    def call(token):
        message = plain("tools/call", {"name": name, "arguments": {"said": 1, "query": "x"}}, modern=True)
        message["params"]["_meta"] |= {"progressToken": token, "own": "a"}
        return orjson.dumps(message)

    def compare(url):
        for token in ("a", "b", 3, "a", 1.5, None, [], True):
            body = call(token)
            headers = of(url, body, ("Mcp-Method", "tools/call"), ("Mcp-Name", name))
            one, other = counted.both(partial(sent, url, body, headers))
            assert one == other, token
        # the name under which the front keeps a token is not one that a client may use
        body = call("a").replace(b"progressToken", b"progress_token")
        one, other = counted.both(partial(sent, url, body, of(url, body, *headers[4:6])))
        assert one == other

    async def work(url):
        await anyio.to_thread.run_sync(compare, url)

    await serve(server, work)
    assert counted.number == (0 if name in {"m_echo", "search_tools"} else 4)


def opened(url, *bodies, modern, session):
    """Return a connection on which requests were sent at once."""
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=100)
    data = b""
    for body in bodies:
        more = [("Mcp-Session-Id", session)]
        if modern:
            message = orjson.loads(body)
            more = [("Mcp-Method", message["method"]), ("Mcp-Name", message["params"].get("name", ""))]
        headers = of(url, body, *more, version="2026-07-28" if modern else "2025-11-25")
        head = "".join(f"{name}: {value}\r\n" for name, value in headers if name != "Connection")
        data += f"POST {parts.path} HTTP/1.1\r\n{head}\r\n".encode() + body
    connection.sendall(data)
    return connection


@pytest.mark.parametrize("is_on", [True, False])
@pytest.mark.parametrize("modern", [False, True], ids=["handshake", "modern"])
async def test_a_client_that_disconnects_cancels_its_call_since_2026(modern, is_on):
    server = bridge()
    server.hot.is_on = is_on
    counted = Counted(server)
    started, ended, let_go = anyio.Event(), anyio.Event(), anyio.Event()
    how = []

    async def slow(_arguments, _emit):
        started.set()
        try:
            await let_go.wait()
            how.append("finished")
        except BaseException:
            how.append("cancelled")
            raise
        finally:
            ended.set()

    server.client.add("m", "slow", slow)
    body = orjson.dumps(plain("tools/call", {"name": "m_slow"}, modern=modern))

    async def work(url):
        session = None if modern else await anyio.to_thread.run_sync(session_of, url)
        connection = opened(url, body, modern=modern, session=session)
        await started.wait()
        connection.close()
        if not modern:
            assert await anyio.to_thread.run_sync(session_of, url)  # the server has seen the end by now
            let_go.set()
        await ended.wait()

    await serve(server, work)
    assert how == (["cancelled"] if modern else ["finished"])
    assert counted.number == is_on


@pytest.mark.parametrize("modern", [False, True], ids=["handshake", "modern"])
async def test_requests_on_one_connection_are_answered_in_their_order(modern):
    server = bridge()
    counted = Counted(server)
    calls = [plain("tools/call", {"name": "m_echo", "arguments": {"n": n}}, modern=modern, ident=n) for n in range(12)]
    calls[3]["more"] = calls[4]["more"] = 1
    bodies = [orjson.dumps(call) for call in calls]

    def ask(url, session):
        with opened(url, *bodies, modern=modern, session=session) as connection, connection.makefile("rb") as stream:
            return [response(stream) for _ in bodies]

    async def work(url):
        session = None if modern else await anyio.to_thread.run_sync(session_of, url)
        first, second = await anyio.to_thread.run_sync(lambda: counted.both(lambda: ask(url, session)))
        assert first == second
        assert [orjson.loads(body)["id"] for _, body in first] == list(range(12))

    await serve(server, work)
    assert counted.number == 10


async def test_a_call_of_a_tool_with_arguments_in_headers_is_the_sdks():
    server = bridge()
    counted = Counted(server)
    text = {"type": "string", "x-mcp-header": "Text"}
    server.client.add("m", "headed", None, inputs={"type": "object", "properties": {"text": text}})
    body = orjson.dumps(plain("tools/call", {"name": "m_headed", "arguments": {"text": "a"}}, modern=True))
    names = [("Mcp-Method", "tools/call"), ("Mcp-Name", "m_headed")]

    async def work(url):
        lines, _ = await anyio.to_thread.run_sync(lambda: sent(url, body, of(url, body, *names)))
        assert lines[0] == b"HTTP/1.1 400 Bad Request"
        given = [*names, ("Mcp-Param-Text", "a")]
        lines, _ = await anyio.to_thread.run_sync(lambda: sent(url, body, of(url, body, *given)))
        assert lines[0] == b"HTTP/1.1 200 OK"

    await serve(server, work)
    assert counted.number == 0


@pytest.mark.parametrize("place", range(8))
@pytest.mark.parametrize("other", [None, "x"], ids=["same", "other"])
async def test_a_request_with_a_header_twice_goes_to_the_application(place, other):
    server = bridge(bearer_token=TOKEN[1].removeprefix("Bearer "))
    counted = Counted(server)
    body = orjson.dumps(plain("tools/call", {"name": "m_echo"}, modern=True))

    async def work(url):
        plainly = of(url, body, ("Mcp-Method", "tools/call"), ("Mcp-Name", "m_echo"), TOKEN)
        await anyio.to_thread.run_sync(lambda: sent(url, body, plainly))
        assert counted.number == 1
        name, value = plainly[place]
        twice = [*plainly, (name, other or value)], [(name, other or value), *plainly]
        for headers in twice:
            act = partial(counted.both, partial(sent, url, body, headers))
            first, second = await anyio.to_thread.run_sync(act)
            assert first == second

    await serve(server, work)
    assert counted.number == 1


@pytest.mark.parametrize("modern", [False, True], ids=["handshake", "modern"])
async def test_a_call_leaves_nothing_for_the_collector(modern):
    left = []

    def call_often(url):
        with Line(url, modern=modern) as line:
            more = line.enter()

            def call(number):
                for _ in range(number):
                    assert line.call("m_echo", **more)[0] == 200

            call(20)  # the first calls make what is kept
            left.append(left_by(lambda: call(200)))

    async def work(url):
        await anyio.to_thread.run_sync(call_often, url)

    server = bridge()
    counted = Counted(server)
    await serve(server, work)
    assert counted.number == 220
    assert left[0] < 200
