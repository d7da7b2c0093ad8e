"""What stands before the MCP endpoint."""

import json

import anyio
import pytest
from tests.support.server_client import Manual, StandIn

from utcp_bridge.server.http_front import HttpFront
from utcp_bridge.server.readiness import Readiness
from utcp_bridge.settings import BridgeSettings

pytestmark = pytest.mark.anyio
START = {"type": "http.response.start", "status": 200, "headers": []}


class Inner:
    def __init__(self):
        self.scopes = []

    async def __call__(self, scope, receive, send):
        self.scopes.append(scope)


async def ask(front, path="/mcp", method="GET", headers=()):
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
    return HttpFront(inner, Readiness(client), token), inner


async def test_alive_is_said_without_a_token():
    front, inner = front_of(token="secret")
    start, body = await ask(front, "/healthz")
    assert start["status"] == 200
    assert json.loads(body["body"]) == {"status": "ok"}
    assert not inner.scopes


@pytest.mark.parametrize(("status", "code"), [("ready", 200), ("failed", 200), ("loading", 503)])
async def test_readiness_is_a_status_code_with_counts(status, code):
    front, _ = front_of(status=status)
    start, body = await ask(front, "/readyz")
    assert start["status"] == code
    assert json.loads(body["body"])["manuals"][status] == 1
    assert dict(start["headers"])[b"cache-control"] == b"no-store"


async def test_a_probe_is_a_get():
    front, _ = front_of()
    start, _ = await ask(front, "/healthz", method="POST")
    assert start["status"] == 405
    assert dict(start["headers"])[b"allow"] == b"GET, HEAD"


@pytest.mark.parametrize("value", [b"Bearer secret", b"bearer secret", b" Bearer  secret "])
async def test_the_right_token_is_let_through(value):
    front, inner = front_of(token="secret")
    assert await ask(front, headers=[(b"authorization", value)]) == []
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
async def test_anything_else_is_refused_with_a_challenge(headers, challenge):
    front, inner = front_of(token="secret")
    start, body = await ask(front, headers=headers)
    assert start["status"] == 401
    assert dict(start["headers"])[b"www-authenticate"] == challenge
    assert b"secret" not in body["body"]
    assert not inner.scopes


async def test_blanks_around_header_values_are_stripped():
    front, inner = front_of()
    await ask(front, headers=[(b"mcp-name", b"  echo\t"), (b"host", b"localhost")])
    assert inner.scopes[0]["headers"] == [(b"mcp-name", b"echo"), (b"host", b"localhost")]


async def test_tidy_headers_are_not_copied():
    front, inner = front_of()
    headers = [(b"host", b"localhost")]
    await front({"type": "http", "path": "/mcp", "method": "GET", "headers": headers}, None, None)
    assert inner.scopes[0]["headers"] is headers


async def test_the_lifespan_goes_straight_through():
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
async def test_a_request_in_flight_at_the_end_is_answered(sent_before, sent_after):
    async def app(_scope, _receive, send):
        for message in sent_before:
            await send(message)
        front.end_requests()
        await anyio.sleep_forever()

    front = HttpFront(app, Readiness(StandIn()))
    with anyio.fail_after(5):
        sent = await ask(front)
    assert [message.get("status", message.get("body")) for message in sent] == sent_after
