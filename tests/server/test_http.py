"""Serving HTTP, inside this process."""

import gc
import json
import re
import socket
from urllib.parse import urlsplit

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.server.connection import Connection
from mcp.server.runner import ServerRunner
from tests.support.mcp_context import MODERN_META
from tests.support.served_here import serve
from tests.support.server_client import Manual, StandIn

from utcp_bridge.access.gatekeeper import Gatekeeper
from utcp_bridge.client_request import CLIENT_REQUEST
from utcp_bridge.errors import ConfigError
from utcp_bridge.server.app import BridgeServer
from utcp_bridge.server.http import HttpFront, build_app, serve_http
from utcp_bridge.server.readiness import Readiness
from utcp_bridge.server.web.doors import Doors
from utcp_bridge.settings import BridgeSettings

pytestmark = pytest.mark.anyio


def server_of(**settings):
    client = StandIn(BridgeSettings(port=0, **settings))
    client.manuals = [Manual("m", "ready", 1)]
    return BridgeServer(client)


async def ask(url, path, *headers):
    """Return (status line, body) of one request on its own connection."""
    parts = urlsplit(url)
    async with await anyio.connect_tcp(parts.hostname, parts.port) as stream:
        fields = "".join(f"{header}\r\n" for header in (f"Host: {parts.netloc}", "Connection: close", *headers))
        await stream.send(f"GET {path} HTTP/1.1\r\n{fields}\r\n".encode())
        data = b""
        async for chunk in stream:
            data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    return head.decode().splitlines()[0], body


async def post(url, method, params, *headers, acknowledged=None):
    """Return the whole response to one modern request. The event is set when the response begins."""
    parts = urlsplit(url)
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    fields = [
        f"Host: {parts.netloc}",
        "Connection: close",
        "Content-Type: application/json",
        "Accept: application/json, text/event-stream",
        "MCP-Protocol-Version: 2026-07-28",
        f"Mcp-Method: {method}",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    data = b""
    async with await anyio.connect_tcp(parts.hostname, parts.port) as stream:
        await stream.send("\r\n".join([f"POST {parts.path} HTTP/1.1", *fields, "", body]).encode())
        async for chunk in stream:
            data += chunk
            if acknowledged is not None:
                acknowledged.set()
    return data


async def test_the_server_reports_its_url_serves_and_ends_cleanly():
    async def work(url):
        assert urlsplit(url).path == "/bridge"
        assert await ask(url, "/healthz") == ("HTTP/1.1 200 OK", b'{"status":"ok"}')
        assert (await ask(url, "/elsewhere"))[0] == "HTTP/1.1 404 Not Found"
        status, body = await ask(url, "/readyz")
        assert (status, json.loads(body)["ready"]) == ("HTTP/1.1 200 OK", True)

    await serve(server_of(path="/bridge"), work)


@pytest.mark.parametrize("host", ["::1", "[::1]", "localhost"])
async def test_other_names_of_loopback_are_served(host):
    if ":" in host and not _has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")

    async def work(url):
        assert urlsplit(url).hostname in {"::1", "localhost"}
        assert (await ask(url, "/healthz"))[0] == "HTTP/1.1 200 OK"

    await serve(server_of(host=host), work)


def _has_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


async def test_an_open_stream_ends_when_the_server_does():
    received = []

    async with anyio.create_task_group() as group:

        async def listen(url):
            params = {"notifications": {"toolsListChanged": True}, "_meta": MODERN_META}
            received.append(await post(url, "subscriptions/listen", params, acknowledged=acknowledged))

        async def work(url):
            group.start_soon(listen, url)
            await acknowledged.wait()

        acknowledged = anyio.Event()
        await serve(server_of(), work)
    assert received[0].endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "bridge.example"])
def test_serving_beyond_loopback_requires_a_token(host):
    with pytest.raises(ConfigError, match="Set `bearer_token`"):
        build_app(server_of(host=host))
    assert callable(build_app(server_of(host=host, bearer_token="a-token-of-length")))
    assert callable(build_app(server_of(host=host, insecure=True)))


async def test_an_address_that_cannot_be_bound_is_a_clear_error():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = BridgeServer(StandIn(BridgeSettings(port=taken.getsockname()[1])))
        with pytest.raises(ConfigError, match=r"Cannot listen on 127\.0\.0\.1:\d+: Address already in use"):
            await serve_http(server)


async def test_a_call_in_flight_is_cancelled_after_a_moment():
    entered = anyio.Event()
    answers = []

    async def endless(_arguments, _emit):
        entered.set()
        await anyio.sleep_forever()

    server = server_of(allowed_browser_origins=("https://app.example",))
    server.client.add("m", "t", endless)
    params = {"name": "m_t", "arguments": {}, "_meta": MODERN_META}

    async def call(url):
        answers.append(await post(url, "tools/call", params, "Mcp-Name: m_t", "Origin: https://app.example"))

    async with anyio.create_task_group() as group:

        async def work(url):
            group.start_soon(call, url)
            await entered.wait()

        await serve(server, work)
    head, _, body = answers[0].partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503")
    assert b"access-control-allow-origin: https://app.example" in head
    assert body == b'{"error":"shutting down"}'


JSON_TYPE = "Content-Type: application/json"
MODERN_VERSION = "MCP-Protocol-Version: 2026-07-28"
HANDSHAKE = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}


async def exchange(url, verb, path, *headers, message=None):
    """Return status, headers and body of one request with exactly these headers."""
    parts = urlsplit(url)
    body = b"" if message is None else json.dumps(message).encode()
    named = any(header.lower().startswith("host:") for header in headers)
    fields = [
        *headers,
        *([] if named else [f"Host: {parts.netloc}"]),
        "Connection: close",
        f"Content-Length: {len(body)}",
    ]
    data = b""
    async with await anyio.connect_tcp(parts.hostname, parts.port) as stream:
        await stream.send("\r\n".join([f"{verb} {path} HTTP/1.1", *fields, "", ""]).encode() + body)
        async for chunk in stream:
            data += chunk
    head, _, rest = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    told = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    if told.get("transfer-encoding") == "chunked":
        rest = unchunked(rest)
    return int(lines[0].split()[1]), told, rest


def unchunked(data):
    whole = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        whole += data[: int(size, 16)]
        data = data[int(size, 16) + 2 :]
    return whole


def read(told, body):
    """Return the last message of a reply in either form."""
    if told["content-type"] == "text/event-stream":
        body = body.rsplit(b"data: ", 1)[1]
    return json.loads(body)


ACCEPTS = [
    (None, "application/json"),
    ("application/json", "application/json"),
    ("APPLICATION/*", "application/json"),
    ("*/*", "application/json"),
    ("application/json;q=0.1, text/event-stream", "application/json"),
    ("text/event-stream", "text/event-stream"),
]


@pytest.mark.parametrize("asks_progress", [False, True])
async def test_any_sensible_accept_header_is_served_in_both_eras(asks_progress):
    async def counted(_arguments, emit):
        await emit("half")
        return "whole"

    server = server_of()
    server.client.add("m", "t", counted)
    meta = {"progressToken": 1} if asks_progress else {}
    modern = {"name": "m_t", "arguments": {}, "_meta": {**MODERN_META, **meta}}
    modern_headers = ("MCP-Protocol-Version: 2026-07-28", "Mcp-Method: tools/call", "Mcp-Name: m_t")

    async def work(url):
        opening = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": HANDSHAKE}
        _, told, _ = await exchange(url, "POST", "/mcp", JSON_TYPE, message=opening)
        session = (f"Mcp-Session-Id: {told['mcp-session-id']}",)
        eras = [(session, {"name": "m_t", "_meta": meta}), (modern_headers, modern)]
        for accept, form in ACCEPTS:
            wanted = () if accept is None else (f"aCCept: {accept}",)
            events = asks_progress and (accept is None or "*/*" in accept or "event-stream" in accept)
            for headers, params in eras:
                message = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}
                status, told, body = await exchange(url, "POST", "/mcp", JSON_TYPE, *wanted, *headers, message=message)
                case = accept, params
                assert (status, told["content-type"]) == (200, "text/event-stream" if events else form), case
                assert read(told, body)["result"]["content"][0]["text"] == "whole", case
                assert (b"notifications/progress" in body) is events, case

    await serve(server, work)


async def test_a_client_goes_back_to_the_handshake_after_a_probe():
    async def work(url):
        probe = {"jsonrpc": "2.0", "id": 0, "method": "server/discover", "params": {"_meta": MODERN_META}}
        modern = ("MCP-Protocol-Version: 2026-07-28", "Mcp-Method: server/discover")
        status, told, body = await exchange(url, "POST", "/mcp", JSON_TYPE, *modern, message=probe)
        assert read(told, body)["result"]["supportedVersions"]
        opening = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HANDSHAKE}
        status, told, body = await exchange(url, "POST", "/mcp", JSON_TYPE, modern[0], message=opening)
        assert (status, read(told, body)["result"]["protocolVersion"]) == (200, "2025-06-18")

    await serve(server_of(), work)


@pytest.mark.parametrize("method", ["initialize", "ping"])
async def test_methods_of_the_handshake_era_are_unknown_in_the_envelope_of_the_next(method):
    async def work(url):
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**HANDSHAKE, "_meta": MODERN_META}}
        headers = ("MCP-Protocol-Version: 2026-07-28", f"Mcp-Method: {method}")
        status, told, body = await exchange(url, "POST", "/mcp", JSON_TYPE, *headers, message=message)
        assert (status, read(told, body)["error"]["code"]) == (404, -32601)

    await serve(server_of(), work)


@pytest.mark.parametrize("path", ["/mcp", "/bridge/", "/"])
async def test_a_slash_at_the_end_of_the_path_makes_no_difference(path):
    async def work(url):
        opening = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HANDSHAKE}
        for asked in {path, path.rstrip("/") or "/", path.rstrip("/") + "/"}:
            status, _, _ = await exchange(url, "POST", asked, JSON_TYPE, message=opening)
            assert status == 200, asked

    await serve(server_of(path=path), work)


async def test_a_person_who_opens_the_address_reads_what_it_is():
    browser = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

    async def work(url):
        for path, accept in (
            ("/mcp", browser),
            ("/mcp/", browser),
            ("/", browser),
            ("/", "Accept: */*"),
            ("/", "X: y"),
        ):
            status, told, body = await exchange(url, "GET", path, accept)
            assert (status, told["content-type"]) == (200, "text/plain; charset=utf-8")
            assert url.encode() in body
            status, told, body = await exchange(url, "HEAD", path, accept)
            assert (status, body, told["content-type"]) == (200, b"", "text/plain; charset=utf-8")
        status, _, body = await exchange(url, "GET", "/elsewhere", browser)
        assert (status, json.loads(body)["message"]) == (404, "The MCP endpoint of this server is /mcp.")

    await serve(server_of(console="off"), work)


@pytest.mark.parametrize(
    ("verb", "headers", "message", "status", "words"),
    [
        ("POST", [JSON_TYPE], None, 400, "not JSON"),
        ("POST", [JSON_TYPE], {"jsonrpc": "2.0", "id": 1, "method": "ping"}, 400, "no Mcp-Session-Id"),
        ("POST", ["Content-Type: text/plain"], {}, 400, "Content-Type: application/json"),
        ("POST", [], {}, 400, "Content-Type: application/json"),
        ("POST", [JSON_TYPE, "Accept: text/html"], {}, 406, "Send `Accept: application/json, text/event-stream`"),
        ("GET", ["Accept: text/event-stream"], None, 400, "no Mcp-Session-Id"),
        ("DELETE", [], None, 400, "no Mcp-Session-Id"),
        ("DELETE", ["Mcp-Session-Id: other"], None, 404, "no session"),
        ("PUT", [], None, 405, "POST"),
        ("GET", ["Accept: text/event-stream", MODERN_VERSION], None, 405, "POST"),
        (
            "POST",
            [
                JSON_TYPE,
                "Accept: application/json",
                "MCP-Protocol-Version: 2026-07-28",
                "Mcp-Method: subscriptions/listen",
            ],
            {"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen"},
            406,
            "Add `text/event-stream`",
        ),
    ],
)
async def test_a_request_that_cannot_be_served_is_refused_in_words(verb, headers, message, status, words):
    async def work(url):
        got, told, body = await exchange(url, verb, "/mcp", *headers, message=message)
        assert (got, told["content-type"]) == (status, "application/json")
        assert words in json.loads(body)["error"]["message"]

    await serve(server_of(), work)


@pytest.mark.parametrize("version", [[], [MODERN_VERSION, "Mcp-Method: tools/list"]], ids=["handshake", "modern"])
@pytest.mark.parametrize("many", [[[]] * 300_000, [0] * 600_000, [{}] * 200_000], ids=["lists", "numbers", "objects"])
async def test_a_body_of_too_many_values_is_refused_before_it_is_parsed(version, many):
    headers = [JSON_TYPE, "Accept: application/json, text/event-stream", *version]
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": MODERN_META, "x": many}}

    async def work(url):
        status, told, body = await exchange(url, "POST", "/mcp", *headers, message=message)
        assert (status, told["content-type"]) == (400, "application/json")
        assert "The message was refused: it has more than 524,288 values" in json.loads(body)["error"]["message"]
        text = {**message, "params": {"_meta": MODERN_META, "x": "[{," * 600_000}}
        status, _, body = await exchange(url, "POST", "/mcp", *headers, message=text)
        assert b"values" not in body
        assert status == (200 if version else 400)

    await serve(server_of(), work)


@pytest.mark.parametrize("media", ["application/json; charset=utf-8", "Application/JSON", "application/vnd.api+json"])
async def test_the_media_type_of_a_body_may_be_any_kind_of_json(media):
    modern = ("MCP-Protocol-Version: 2026-07-28", "Mcp-Method: tools/list")

    async def work(url):
        opening = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HANDSHAKE}
        assert (await exchange(url, "POST", "/mcp", f"Content-Type: {media}", message=opening))[0] == 200
        listing = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": MODERN_META}}
        assert (await exchange(url, "POST", "/mcp", f"Content-Type: {media}", *modern, message=listing))[0] == 200

    await serve(server_of(), work)


WRONG = [
    (421, "host", "Host: bridge.example:8000", "allowed_hosts", "bridge.example:8000"),
    (421, "host", "Host: 127.0.0.1.evil.example", "allowed_hosts", "127.0.0.1.evil.example"),
    (421, "host", "Host: localhost:8000.evil.example", "allowed_hosts", "localhost:8000.evil.example"),
    (403, "origin", "Origin: https://evil.example", "allowed_browser_origins", "https://evil.example"),
    (403, "origin", "Origin: null", "allowed_browser_origins", "null"),
]


@pytest.mark.parametrize(("status", "what", "header", "setting", "value"), WRONG)
async def test_a_wrong_host_or_origin_is_refused_with_the_name_of_its_setting(
    status, what, header, setting, value, caplog
):
    async def work(url):
        for verb, path in (("POST", "/mcp"), ("GET", "/"), ("GET", "/utcp"), ("POST", "/utcp/tools/m_t")):
            got, told, body = await exchange(url, verb, path, header, JSON_TYPE, message={})
            document = json.loads(body)
            assert (got, told["content-type"]) == (status, "application/json")
            assert (document["setting"], document[what]) == (setting, value)
            assert setting in document["remedy"]

    await serve(server_of(), work)
    lines = [line for line in caplog.messages if value in line]
    assert len(lines) == 1, "the log has one line for a burst"
    assert setting in lines[0]


async def test_a_host_that_is_allowed_passes_in_any_case_and_port():
    async def work(url):
        for host in ("Bridge.Example:9", "other.example", "LOCALHOST:1", "[::1]:5", "127.0.0.1"):
            assert (await exchange(url, "GET", "/", f"Host: {host}"))[0] == 200, host
        assert (await exchange(url, "GET", "/", "Host: other.example:80"))[0] == 421

    await serve(server_of(allowed_hosts=("bridge.example:*", "other.example")), work)


@given(st.binary(max_size=600))
def test_what_a_refusal_shows_of_a_header_is_clean_and_short(value):
    refusal = anyio.run(refused, value)
    if refusal is not None:
        shown = refusal[1]["host"]
        assert len(shown) <= 201
        assert all(character.isprintable() for character in shown)


async def refused(value):
    return Doors(BridgeSettings()).refusal([(b"host", value)])


START = {"type": "http.response.start", "status": 200, "headers": []}


class Inner:
    def __init__(self):
        self.scopes = []

    async def __call__(self, scope, receive, send):
        self.scopes.append(scope)


async def ask_front(front, path="/mcp", method="POST", headers=()):
    sent = []

    async def receive():
        raise AssertionError("the front reads no body")

    async def send(message):
        sent.append(message)

    await front({"type": "http", "path": path, "method": method, "headers": list(headers)}, receive, send)
    return sent


def front_of(token=None, status="ready"):
    client = StandIn(BridgeSettings(startup_wait=60))
    client.manuals = [Manual("m", status, 2)]
    inner = Inner()
    return HttpFront(inner, Readiness(client), None if token is None else Gatekeeper(shared=token)), inner


async def test_the_health_probe_needs_no_token():
    front, inner = front_of(token="secret")
    start, body = await ask_front(front, "/healthz", "GET")
    assert start["status"] == 200
    assert json.loads(body["body"]) == {"status": "ok"}
    assert not inner.scopes


@pytest.mark.parametrize(("status", "code"), [("ready", 200), ("failed", 200), ("loading", 503)])
async def test_readiness_is_a_status_code_with_counts(status, code):
    front, _ = front_of(status=status)
    start, body = await ask_front(front, "/readyz", "GET")
    assert start["status"] == code
    assert json.loads(body["body"])["manuals"][status] == 1
    assert dict(start["headers"])[b"cache-control"] == b"no-store"


async def test_a_probe_must_be_a_get():
    front, _ = front_of()
    start, _ = await ask_front(front, "/healthz", method="POST")
    assert start["status"] == 405
    assert dict(start["headers"])[b"allow"] == b"GET, HEAD"


@pytest.mark.parametrize("value", [b"Bearer secret", b"bearer secret", b" Bearer  secret "])
async def test_a_request_with_the_right_token_passes(value):
    front, inner = front_of(token="secret")
    assert await ask_front(front, headers=[(b"authorization", value)]) == []
    assert len(inner.scopes) == 1


@pytest.mark.parametrize(
    ("headers", "challenge"),
    [
        ([], b'Bearer realm="utcp-bridge"'),
        ([(b"authorization", b"Bearer wrong")], b'Bearer realm="utcp-bridge", error="invalid_token"'),
        ([(b"authorization", b"Basic secret")], b'Bearer realm="utcp-bridge", error="invalid_token"'),
        ([(b"authorization", b"Bearer")], b'Bearer realm="utcp-bridge", error="invalid_token"'),
        ([(b"authorization", b"Bearer secret")] * 2, b'Bearer realm="utcp-bridge", error="invalid_token"'),
    ],
)
async def test_a_request_without_the_token_is_refused_with_a_challenge(headers, challenge):
    front, inner = front_of(token="secret")
    start, body = await ask_front(front, headers=headers)
    assert start["status"] == 401
    assert dict(start["headers"])[b"www-authenticate"] == challenge
    assert b"secret" not in body["body"]
    assert not inner.scopes


async def test_blanks_around_header_values_are_stripped():
    front, inner = front_of()
    await ask_front(front, headers=[(b"mcp-name", b"  echo\t"), (b"host", b"localhost")])
    assert inner.scopes[0]["headers"] == [(b"mcp-name", b"echo"), (b"host", b"localhost")]


async def test_headers_without_blanks_are_not_copied():
    front, inner = front_of()
    headers = [(b"host", b"localhost")]
    await front({"type": "http", "path": "/mcp", "method": "POST", "headers": headers}, None, None)
    assert inner.scopes[0]["headers"] is headers


def made_by_the_sdk():
    return [one for one in gc.get_objects() if isinstance(one, ServerRunner | Connection)]


async def test_a_request_of_the_newest_era_leaves_nothing_for_the_collector():
    server = server_of()

    async def echo(arguments, emit):
        return arguments

    server.client.add("m", "t", echo)
    call = {"name": "m_t", "arguments": {"a": 1}, "_meta": MODERN_META}
    headers = "Mcp-Name: m_t"

    async def work(url):
        assert b'"isError":false' in await post(url, "tools/call", call, headers)
        gc.collect()
        before = made_by_the_sdk()  # sessions of other tests
        gc.disable()
        try:
            for _ in range(10):
                await post(url, "tools/call", call, headers)
            kept = made_by_the_sdk()
        finally:
            gc.enable()
        assert len(kept) - len(before) <= 1, "the last one may still be ending"

    await serve(server, work)


@pytest.mark.parametrize(("header", "is_served"), [("a", True), ("b", False), (None, False)])
async def test_an_argument_that_is_repeated_in_a_header_must_be_the_same(header, is_served):
    server = server_of()

    async def echo(arguments, emit):
        return arguments

    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    server.client.add("m", "t", echo, inputs=schema)
    call = {"name": "m_t", "arguments": {"region": "a"}, "_meta": MODERN_META}
    repeated = () if header is None else (f"Mcp-Param-Region: {header}",)

    async def work(url):
        reply = await post(url, "tools/call", call, "Mcp-Name: m_t", *repeated)
        assert reply.startswith(b"HTTP/1.1 200 OK" if is_served else b"HTTP/1.1 400 Bad Request")
        assert (b"-32020" in reply) is not is_served

    await serve(server, work)


async def test_calls_are_counted_for_the_client_that_sends_them():
    callers = []

    async def app(_scope, _receive, _send):
        callers.append(CLIENT_REQUEST.get().caller)

    async def ask_from(address, *headers):
        scope = {"type": "http", "path": "/mcp", "method": "POST", "headers": list(headers), "client": address}
        await HttpFront(app, Readiness(StandIn()))(scope, None, None)

    await ask_from(("127.0.0.1", 1), (b"mcp-session-id", b"s"), (b"user-agent", b"a"))
    await ask_from(("127.0.0.1", 2), (b"user-agent", b"a"))
    await ask_from(("127.0.0.1", 3), (b"user-agent", b"a"))
    await ask_from(("127.0.0.2", 3), (b"user-agent", b"a"))
    await ask_from(None)
    assert callers == ["s", "127.0.0.1 a", "127.0.0.1 a", "127.0.0.2 a", " "]


async def test_the_lifespan_passes_unchanged():
    front, inner = front_of(token="secret")
    await front({"type": "lifespan"}, None, None)
    assert inner.scopes == [{"type": "lifespan"}]


@pytest.mark.parametrize(
    ("sent_before", "sent_after"),
    [
        ([], [503, b'{"error":"shutting down"}']),
        ([START], [200, b""]),
        ([START, {"type": "http.response.body", "body": b"x"}], [200, b"x"]),
    ],
)
async def test_a_request_in_flight_at_the_end_gets_a_response(sent_before, sent_after):
    async def app(_scope, _receive, send):
        for message in sent_before:
            await send(message)
        front.end_requests()
        await anyio.sleep_forever()

    front = HttpFront(app, Readiness(StandIn()))
    with anyio.fail_after(60):
        sent = await ask_front(front)
    assert [message.get("status", message.get("body")) for message in sent] == sent_after


# --- grammar of Host and Origin, and tokens ------------------------------------------------------

NAMES = ["127.0.0.1", "localhost", "[::1]"]


@given(st.sampled_from(NAMES), st.text(st.characters(codec="latin-1"), min_size=1, max_size=12), st.booleans())
def test_text_before_or_after_an_allowed_host_makes_it_another_one(name, text, before):
    value = f"{text}{name}" if before else f"{name}{text}"
    is_a_port = not before and re.fullmatch(r":[0-9]{1,5}", text) is not None and int(text[1:]) <= 65_535
    assert anyio.run(admits, [(b"host", value.encode("latin-1"))]) is is_a_port
    origin = [(b"host", b"localhost"), (b"origin", f"http://{value}".encode("latin-1"))]
    assert anyio.run(admits, origin) is is_a_port


async def admits(headers):
    return Doors(BridgeSettings()).refusal(headers) is None


@pytest.mark.parametrize(
    "headers",
    [
        [(b"host", b"localhost"), (b"host", b"localhost")],
        [(b"host", b"localhost"), (b"host", b"evil.example")],
        [(b"host", b"localhost"), (b"origin", b"")],
        [(b"host", b"localhost"), (b"origin", b"http://localhost"), (b"origin", b"http://localhost")],
        [(b"host", b"localhost."), (b"origin", b"http://localhost")],
        [(b"host", b"l%6Fcalhost")],
        [],
    ],
)
async def test_headers_that_are_doubled_or_empty_are_refused(headers):
    doors = Doors(BridgeSettings())
    assert await admits([(b"host", b"localhost"), (b"origin", b"http://localhost")])
    assert doors.refusal(headers) is not None


async def test_what_was_admitted_once_admits_nothing_else():
    doors = Doors(BridgeSettings())
    assert doors.refusal([(b"host", b"localhost")]) is None
    assert doors.refusal([(b"host", b"localhost"), (b"host", b"localhost")]) is not None
    assert doors.refusal([(b"host", b"localhost"), (b"origin", b"http://evil.example")]) is not None


@pytest.mark.parametrize("token", ["a", "fifteen-letters"])
def test_a_short_token_is_refused_beyond_loopback_and_a_warning_on_loopback(token, caplog):
    with pytest.raises(ConfigError, match="can be guessed"):
        build_app(server_of(host="0.0.0.0", bearer_token=token))
    build_app(server_of(bearer_token=token))
    assert "can be guessed" in caplog.text


def test_the_word_that_asks_for_a_token_is_never_a_token():
    with pytest.raises(ConfigError, match="utcp-bridge serve"):
        build_app(server_of(bearer_token="generate"))
