"""The access log over real HTTP: each request has a line of its own, and no line has a secret."""

import json
import re
import socket
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpx2
import pytest
from mcp.client import Client
from tests.support.hot_requests import bridge, plain, stand_in
from tests.support.relayed import ERAS
from tests.support.served_here import serve

from utcp_bridge import UtcpClient
from utcp_bridge.access.tokens import TokenFile
from utcp_bridge.auth.redaction import Redactor
from utcp_bridge.net import asgi_server
from utcp_bridge.server.app import BridgeServer
from utcp_bridge.server.callers import session_digest
from utcp_bridge.server.web.access_log import AccessLog

pytestmark = pytest.mark.anyio
TOKEN = "sesame-sesame-1234"
SECRET = "s3cr3t-of-a-caller"
TRACE = "0af7651916cd43dd8448eb211c80319c"
MODERN = "2026-07-28"
JSON = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
ALWAYS = {"time", "address", "method", "path", "status", "bytes_in", "bytes_out", "ms"}


class Lines(list):
    """A sink that keeps the lines as objects."""

    lost = 0

    def __init__(self):
        super().__init__()
        self.came = anyio.Event()
        self.text = b""

    def put_lines(self, lines):
        assert lines
        for line in lines:
            assert line.endswith(b"}\n")
            assert line.count(b"\n") == 1
            self.text += line
            self.append(json.loads(line))
        self.came.set()

    async def first(self):
        await self.came.wait()
        return self[0]


async def logged(server, work, *, mask=None):
    """Serve with an access log, and return its lines."""
    lines = Lines()
    access = AccessLog(lines, mask or Redactor())

    async def with_lines(url):
        await work(url, lines)

    await serve(server, with_lines, access=access)
    return lines


def modern(name, **more):
    return {**JSON, "MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": name, **more}


def call(name, **arguments):
    return plain("tools/call", {"name": name, "arguments": arguments}, modern=True)


@pytest.mark.parametrize("era", ERAS)
async def test_each_request_of_a_client_has_its_line(era):
    async def work(url, _lines):
        async with Client(url, mode=era) as client:
            await client.list_tools()
            for name in ("m_echo", "m_text", "m_echo"):
                await client.call_tool(name, {"secret": SECRET})

    lines = await logged(bridge(), work)
    assert [one["name"] for one in lines if one.get("mcp_method") == "tools/call"] == ["m_echo", "m_text", "m_echo"]
    assert sum(one.get("mcp_method") == "tools/list" for one in lines) == 1
    assert all(one.keys() >= ALWAYS for one in lines)
    assert {one["address"] for one in lines} == {"127.0.0.1"}
    calls = [one for one in lines if one.get("mcp_method") == "tools/call"]
    assert {(one["status"], one["method"], one["path"]) for one in calls} == {(200, "POST", "/mcp")}
    assert len({one["version"] for one in calls}) == 1
    assert (calls[0]["version"] == MODERN) == (era == MODERN)
    assert ("session" in calls[0]) == (era != MODERN)
    if era != MODERN:
        [opened] = [one for one in lines if one.get("mcp_method") == "initialize"]
        assert opened["session"] == calls[0]["session"]
        assert {one["method"] for one in lines} >= {"POST", "DELETE"}
    assert SECRET.encode() not in lines.text


def talk(url, requests):
    """Send requests on one connection. Return the sizes of the bodies of the responses."""
    parts = urlsplit(url)
    sizes = []
    with socket.create_connection((parts.hostname, parts.port), timeout=100) as connection:
        stream = connection.makefile("rb")
        for headers, message in requests:
            body = json.dumps(message).encode()
            fields = {"Host": parts.netloc, **headers, "Content-Length": len(body)}
            head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
            connection.sendall(f"POST {parts.path} HTTP/1.1\r\n{head}\r\n".encode() + body)
            told = dict(iter(lambda: tuple(stream.readline().strip().lower().partition(b": ")[::2]), (b"", b"")))
            sizes.append((len(body), len(stream.read(int(told[b"content-length"])))))
        stream.close()
    return sizes


@pytest.mark.parametrize("is_hot", [True, False])
async def test_requests_with_a_known_head_have_their_own_names_and_sizes(is_hot):
    pytest.importorskip("httptools", reason="h11 takes no request ahead of the SDK")
    names = ["m_echo", "m_text", "m_shaped", "m_echo", "m_meta"]
    server = bridge()
    server.hot.is_on = is_hot
    answered = []
    respond = server.hot.respond

    async def counted(request, *parts):
        answered.append(request.params["name"])
        return await respond(request, *parts)

    server.hot.respond = counted
    sizes = []

    traces = [TRACE, None, TRACE[::-1], TRACE, "f" * 32, None, "0", "1" * 32, None, "a" * 32]
    names *= len(traces)
    stated = [traces[number // 2 % len(traces)] for number in range(len(names))]

    async def work(url, _lines):
        carried = [{"traceparent": f"00-{trace}-b7ad6b7169203331-01"} if trace else {} for trace in stated]
        requests = [
            (modern(name, **more), call(name, n=number))
            for number, (name, more) in enumerate(zip(names, carried, strict=True))
        ]
        sizes.extend(await anyio.to_thread.run_sync(talk, url, requests))

    lines = await logged(server, work)
    assert answered == (names if is_hot else [])
    assert [one["name"] for one in lines] == names
    assert [(one["bytes_in"], one["bytes_out"]) for one in lines] == sizes
    assert {(one["version"], one["mcp_method"]) for one in lines} == {(MODERN, "tools/call")}
    assert [one.get("trace") for one in lines] == [None if trace == "0" else trace for trace in stated]


async def test_a_trace_in_the_message_and_the_name_of_a_resource_without_its_query():
    async def work(url, _lines):
        async with httpx2.AsyncClient(timeout=60) as http:
            for name, uri in (("resources/read", f"https://me:{SECRET}@127.0.0.1/a?key={SECRET}"), ("x/y", None)):
                message = plain(name, {"uri": uri} if uri else {}, modern=True)
                message["params"]["_meta"]["traceparent"] = f"00-{TRACE}-b7ad6b7169203331-01"
                await http.post(url, json=message, headers={**modern(uri or "", **{"Mcp-Method": name})})

    read, unknown = await logged(bridge(), work)
    assert (read["name"], read["trace"]) == ("https://127.0.0.1/a", TRACE)
    assert (unknown["mcp_method"], unknown["status"], "name" in unknown) == ("x/y", 404, False)


FORM = re.compile(rb'\{"time":"[-0-9]{10}T[:0-9]{8}\.[0-9]{3}\+00:00",(.*),"ms":[0-9]+\.[0-9]{3}\}')


STATED = f"00-{TRACE}-b7ad6b7169203331-01"


def traced(message, trace):
    params = message["params"]
    return {**message, "params": {**params, "_meta": {**params.get("_meta", {}), "traceparent": trace}}}


def of_session(opened):
    headers = {**JSON, "MCP-Protocol-Version": "2025-11-25", "Mcp-Session-Id": opened}
    calls = [plain("tools/call", {"name": name, "arguments": {"n": "n"}}) for name in ("m_echo", "m_text", "ping")]
    messages = [*calls, plain("tools/list"), plain("ping"), traced(calls[0], STATED), calls[1], calls[2]]
    return [(headers, message) for message in messages]


LISTED = {**JSON, "MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/list"}
MODERN_ONES = [
    *((modern(name), call(name, n=number * "n")) for number in range(4) for name in ("m_echo", "m_text")),
    (LISTED, plain("tools/list", modern=True)),
    *((modern("m_echo", traceparent=trace), call("m_echo")) for trace in (STATED, STATED[::-1], "0", STATED)),
    *((modern("m_echo"), traced(call("m_echo"), trace)) for trace in (STATED, "0", 7, "é" * 55)),
    (modern("m_echo", traceparent="0"), traced(call("m_echo"), STATED)),
    (modern("m_echo", tracestate="a=b"), call("m_echo")),
    (modern("m_absent"), call("m_absent")),
    (modern("m_echo"), call("m_echo")),
]


async def test_lines_of_requests_that_are_taken_are_those_of_the_application():
    pytest.importorskip("httptools", reason="h11 takes no request ahead of the SDK")

    async def lines_of(*, is_hot):
        server, taken = bridge(), []
        server.hot.is_on = is_hot
        respond = server.hot.respond

        async def counted(request, *parts):
            taken.append(request)
            return await respond(request, *parts)

        server.hot.respond = counted

        async def work(url, _lines):
            async with httpx2.AsyncClient(timeout=60) as http:
                info = {
                    "protocolVersion": "2025-11-25",
                    "capabilities": {},
                    "clientInfo": {"name": "t", "version": "1"},
                }
                opened = await http.post(url, json=plain("initialize", info), headers=JSON)
            requests = [*MODERN_ONES, *of_session(opened.headers["mcp-session-id"])]
            for _ in range(2):
                await anyio.to_thread.run_sync(talk, url, requests)

        lines = await logged(server, work)
        assert (len(taken) > 40) == is_hot
        found = [FORM.fullmatch(line)[1] for line in lines.text.splitlines()]
        return [re.sub(rb'"session":"[^"]*"', b"", line) for line in found], {one.get("session") for one in lines}

    (hot, sessions), (cold, _) = await lines_of(is_hot=True), await lines_of(is_hot=False)
    assert hot == cold
    assert len(sessions) == 2
    assert sum(TRACE.encode() in line for line in hot) == 2 * 4


def raw(url, data):
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=100) as connection:
        connection.sendall(data)
        received = b""
        while part := connection.recv(65_536):
            received += part
    return int(received.split(b" ", 2)[1])


@pytest.mark.parametrize("parser", ["httptools", "h11"])
async def test_requests_that_are_refused_have_lines_without_a_secret(parser, monkeypatch):
    if parser == "h11":
        monkeypatch.setattr(asgi_server, "HttpToolsProtocol", None)
    seen = []

    async def work(url, _lines):
        async with httpx2.AsyncClient(timeout=60) as http:
            right = {"Authorization": f"Bearer {TOKEN}"}
            whole = {**modern("m_echo"), **right}
            for asked, headers, content in (
                (url, {**modern(SECRET), "Authorization": f"Bearer {SECRET}"}, json.dumps(call("m_echo"))),
                (f"{url}?token={SECRET}", {**whole, "Origin": "http://evil.example"}, "{}"),
                (f"{url}?token={SECRET}", {**whole, "Host": "evil.example"}, "{}"),
                (url.replace("/mcp", f"/nowhere/{TOKEN}?{SECRET}"), right, "{}"),
                (url, whole, "x" * 5_000_000),
                (url, whole, f"{SECRET} is not JSON"),
                (url, {**whole, "MCP-Protocol-Version": SECRET}, json.dumps(call("m_echo", of=SECRET))),
                (url, whole, json.dumps(call("m_echo", of=SECRET))),
                (url, {**whole, "Mcp-Name": TOKEN}, json.dumps(call(TOKEN))),
            ):
                seen.append((await http.post(asked, headers=headers, content=content)).status_code)
        host = urlsplit(url).netloc.encode()
        for data in (
            b"GET http://%b/%b HTTP/1.1\r\nHost: x\r\n\r\n" % (host, SECRET.encode()),
            b"%b\r\n\r\n" % SECRET.encode(),
            b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 300 + b"\r\n",
        ):
            status = await anyio.to_thread.run_sync(raw, url, data)
            seen.append(status)

    redactor = Redactor()
    redactor.learn([TOKEN], is_credential=True)
    lines = await logged(bridge(bearer_token=TOKEN), work, mask=redactor)
    assert seen[:6] == [401, 403, 421, 404, 413, 400]
    assert [one["status"] for one in lines] == seen
    assert seen[-3:] == [400, 400, 431]
    assert lines[3]["path"] == "/nowhere/***"
    assert [one.get("principal_kind") for one in lines[:2]] == [None, "shared"]
    assert lines[8]["name"] == "***"
    assert all(one.keys() == {"time", "address", "status", "ms"} for one in lines[-3:])
    assert TOKEN.encode() not in lines.text
    assert SECRET.encode() not in lines.text


async def test_a_secret_that_is_learned_later_is_in_no_further_line():
    redactor = Redactor()

    async def work(url, _lines):
        async with httpx2.AsyncClient(timeout=60) as http:
            for _ in range(3):
                await http.get(url.replace("/mcp", f"/nowhere/{SECRET}"))
                await http.post(url, json=call(SECRET), headers=modern(SECRET))
            redactor.learn([SECRET])
            await http.get(url.replace("/mcp", f"/nowhere/{SECRET}"))
            await http.post(url, json=call(SECRET), headers=modern(SECRET))

    lines = await logged(bridge(), work, mask=redactor)
    assert [one.get("name", one["path"]) for one in lines] == [f"/nowhere/{SECRET}", SECRET] * 3 + [
        "/nowhere/***",
        "***",
    ]


async def test_a_named_principal_and_its_profile(tmp_path):
    path = tmp_path / "tokens.json"
    token = TokenFile(path).add("ci", profiles=["one"]).value
    settings = {"tokens_file": str(path), "profiles": {"one": {"manuals": "m"}}}

    async def work(url, _lines):
        async with httpx2.AsyncClient(timeout=60) as http:
            headers = modern("m_echo", Authorization=f"Bearer {token}")
            for asked in (url, f"{url}/p/one", f"{url}/p/two"):
                await http.post(asked, json=call("m_echo"), headers=headers)

    lines = await logged(bridge(**settings), work)
    assert {(one["principal"], one["principal_kind"]) for one in lines} == {("token:ci", "token")}
    assert [(one["status"], one.get("profile")) for one in lines] == [(200, "one"), (200, "one"), (404, None)]
    assert token.encode() not in lines.text


async def test_the_console_notes_who_visits_it(tmp_path):
    secret = TokenFile(tmp_path / "tokens.json").add("ada", scopes=["console"]).value

    async def work(url, _lines):
        async with httpx2.AsyncClient(base_url=url.removesuffix("/mcp"), trust_env=False) as client:
            act = {"x-utcp-console": "1"}
            await client.get("/admin/api/status")
            await client.get("/admin/api/status", headers={"authorization": f"Bearer {secret}"})
            await client.post("/console/session", json={"secret": secret}, headers=act)
            await client.get("/admin/api/manuals")

    settings = {"transport": "http", "tokens_file": str(tmp_path / "tokens.json")}
    async with await UtcpClient.create({"manual_call_templates": [], "bridge": settings}) as client:
        lines = await logged(BridgeServer(client), work)
    assert [(one["path"], one.get("principal"), one["status"]) for one in lines] == [
        ("/admin/api/status", None, 401),
        ("/admin/api/status", "token:ada", 200),
        ("/console/session", "token:ada", 204),
        ("/admin/api/manuals", "token:ada", 200),
    ]
    assert secret.encode() not in lines.text


@pytest.mark.parametrize("version", [MODERN, "2025-11-25"])
async def test_a_reply_in_events_is_one_line_with_all_its_bytes(version):
    sizes = []

    async def work(url, _lines):
        async with httpx2.AsyncClient(timeout=60) as http:
            headers = {**JSON, "MCP-Protocol-Version": version}
            message = call("m_echo", said=True)
            if version == MODERN:
                headers |= {"Mcp-Method": "tools/call", "Mcp-Name": "m_echo"}
            else:
                info = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
                opened = await http.post(url, json=plain("initialize", info), headers=JSON)
                headers["Mcp-Session-Id"] = opened.headers["mcp-session-id"]
                message["params"]["_meta"] = {}
            message["params"]["_meta"]["progressToken"] = 1
            found = await http.post(url, json=message, headers=headers)
            assert found.headers["content-type"] == "text/event-stream"
            assert b"half" in found.content
            sizes.append(len(found.content))

    lines = await logged(bridge(), work)
    assert [(one["name"], one["status"], one["bytes_out"]) for one in lines[-1:]] == [("m_echo", 200, *sizes)]


async def test_the_stream_of_a_session_has_its_line_at_its_end():
    ident = []

    async def work(url, lines):
        async with httpx2.AsyncClient(timeout=60) as http:
            info = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
            opened = await http.post(url, json=plain("initialize", info), headers=JSON)
            ident.append(opened.headers["mcp-session-id"])
            headers = {"Accept": "text/event-stream", "Mcp-Session-Id": ident[0], "MCP-Protocol-Version": "2025-11-25"}
            async with http.stream("GET", url, headers=headers) as stream:
                assert stream.status_code == 200
                await lines.came.wait()
                assert [one["method"] for one in lines] == ["POST"]

    lines = await logged(bridge(), work)
    assert [(one["method"], one["status"]) for one in lines] == [("POST", 200), ("GET", 200)]
    assert {one["session"] for one in lines} == {session_digest(ident[0])}
    assert ident[0].encode() not in lines.text


async def test_lines_wait_for_others_and_many_do_not():
    lines = Lines()
    log = AccessLog(lines, Redactor())
    number = 0
    while not lines:
        log.refused((f"127.0.0.{number % 200}", 1), 400)
        number += 1
    assert len(lines) == number > 500, "this turn of the event loop has not ended"
    assert 64 * 1024 <= len(lines.text) < 65 * 1024
    lines.came = anyio.Event()
    log.refused(("127.0.0.1", 1), 431)
    log.refused(None, 503)
    assert len(lines) == number
    await lines.came.wait()
    assert [one["status"] for one in lines[number:]] == [431, 503]
    log.refused(None, 400)
    log.flush()
    assert len(lines) == number + 3, "the end waits for none"


async def test_requests_with_the_same_head_have_lines_of_their_own():
    """The parts of a line are kept with the head, and the message, the caller and the trace may be others."""
    trace = "0af7651916cd43dd8448eb211c80319c"

    async def work(url, _lines):
        async with httpx2.AsyncClient(timeout=60) as http:
            headers = {**JSON, "MCP-Protocol-Version": "2025-11-25"}
            info = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
            opened = await http.post(url, json=plain("initialize", info), headers=JSON)
            headers["Mcp-Session-Id"] = opened.headers["mcp-session-id"]
            for name in ("m_echo", "m_text", "m_echo", "m_text", "m_echo"):
                await http.post(url, json=plain("tools/call", {"name": name, "arguments": {}}), headers=headers)
            stated = {"_meta": {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}}
            for more in ({}, stated, {}):
                await http.post(
                    url, json=plain("tools/call", {"name": "m_text", "arguments": {}, **more}), headers=headers
                )

    lines = (await logged(bridge(), work))[1:]
    assert [one["name"] for one in lines] == ["m_echo", "m_text"] * 2 + ["m_echo"] + ["m_text"] * 3
    assert [one.get("trace") for one in lines] == [None] * 6 + [trace, None]
    assert len({one["session"] for one in lines}) == 1


async def test_a_client_that_leaves_has_a_line_without_a_status():
    began = anyio.Event()

    async def wait(_arguments, _emit):
        began.set()
        await anyio.sleep_forever()

    client = stand_in()
    client.add("m", "wait", wait)

    async def work(url, lines):
        async with anyio.create_task_group() as group:

            async def ask():
                async with httpx2.AsyncClient(timeout=60) as http:
                    await http.post(url, json=call("m_wait"), headers=modern("m_wait"))

            group.start_soon(ask)
            await began.wait()
            group.cancel_scope.cancel()
        line = await lines.first()
        assert (line["name"], line["status"], line["bytes_out"]) == ("m_wait", None, 0)

    assert len(await logged(BridgeServer(client), work)) == 1
