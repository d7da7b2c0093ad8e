"""HTTP sessions against real servers: requests, redirects, credentials, streams, WebSockets."""

from dataclasses import replace

import anyio
import pytest
from tests.upstreams.authorization_server import CLIENT_ID, CLIENT_SECRET, authorization_server
from tests.upstreams.faulty import answer
from yarl import URL

from utcp_bridge.auth.credentials import Credentials
from utcp_bridge.auth.models import parse_auth
from utcp_bridge.auth.tokens import TokenCache
from utcp_bridge.client_request import CLIENT_REQUEST, KnownClientRequest
from utcp_bridge.errors import (
    ConnectionLost,
    InvalidArguments,
    PolicyError,
    Rejected,
    TokenError,
    Unreachable,
)
from utcp_bridge.model import Source, Trust
from utcp_bridge.net.http_options import SocketOptions
from utcp_bridge.placement.request import RequestParts

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("deadline")]

KEY = "canary-api-key-1"


def get(url, *headers):
    return RequestParts("GET", url, list(headers))


async def arrived(server):
    while not server.requests:
        await anyio.lowlevel.checkpoint()


def api_key(server, **fields):
    auth = {"auth_type": "api_key", "api_key": KEY, **fields}
    return Credentials(parse_auth(auth), frozenset({server.url}))


async def test_a_request_is_sent_unchanged(session, server):
    body = "smörgås".encode()
    parts = RequestParts(
        "PATCH", f"{server.url}/echo?q=a%2Fb&q=%20&%2e=..", [("X-A", "1"), ("x-a", "2"), ("X-u", "ü")], body
    )
    reply = await session.request(parts)
    [seen] = server.requests
    assert reply.status == 200
    assert reply.url == parts.url
    assert seen.method == "PATCH"
    assert seen.target == "/echo?q=a%2Fb&q=%20&%2e=.."
    assert [value for name, value in seen.headers if name == "x-a"] == ["1", "2"]
    assert seen.header("x-u") == "ü"
    assert seen.body == body
    assert seen.header("content-type") is None
    assert seen.header("content-length") == str(len(body))
    assert seen.header("user-agent").startswith("utcp-bridge/")


async def test_a_preview_has_all_headers_of_the_request(session, server):
    parts = RequestParts("POST", f"{server.url}/echo?q=a%2Fb", [("X-A", "1"), ("X-u", "ü")], b"{}")
    preview = await session.preview(parts, credentials=api_key(server))
    assert server.requests == []
    await session.request(parts, credentials=api_key(server))
    [seen] = server.requests
    assert sorted((name.lower(), value) for name, value in preview.fields) == sorted(seen.headers)
    assert (preview.line, preview.messages) == (f"POST {server.url}{seen.target}", (seen.body,))


async def test_a_preview_follows_the_rules_for_targets_and_credentials(session, server):
    with pytest.raises(PolicyError):
        await session.preview(get("http://user:secret@127.0.0.1/"))
    with pytest.raises(PolicyError):
        await session.preview(get("https://elsewhere.example/"), credentials=api_key(server))
    with pytest.raises(InvalidArguments):
        await session.preview(get(f"{server.url}/a b"))


async def test_framing_headers_of_the_caller_are_not_sent(session, server):
    headers = [
        ("Content-Length", "3"),
        ("transfer-encoding", "chunked"),
        ("Connection", "close"),
        ("Expect", "100-continue"),
    ]
    await session.request(RequestParts("POST", f"{server.url}/echo", headers, b"GET /smuggled HTTP/1.1\r\n\r\n"))
    [seen] = server.requests
    assert seen.header("content-length") == "26"
    assert seen.header("expect") is None


async def test_a_body_above_one_mebibyte_is_sent_whole(session, server):
    await session.request(RequestParts("PUT", f"{server.url}/ok", [], b"x" * 1_500_000))
    assert len(server.requests[0].body) == 1_500_000


@pytest.mark.parametrize("url", ["/a b", "/a\r\nX: y", "/ü", "/\x00", ":99999999/", ""])
async def test_a_url_that_would_break_the_request_line_is_refused(session, server, url):
    whole = f"{server.url}{url}" if url else "http:///x"
    with pytest.raises(InvalidArguments, match="URL"):
        await session.request(get(whole))
    assert server.connections == 0


@pytest.mark.parametrize("header", [("X-A", "a\r\nX-B: c"), ("X A", "b"), ("X\n", "c")])
async def test_a_header_with_a_line_break_is_refused_without_repeating_it(session, server, header):
    with pytest.raises(InvalidArguments) as caught:
        await session.request(get(f"{server.url}/ok", header))
    assert "X-B" not in str(caught.value)
    assert server.requests == []


@pytest.mark.parametrize("way", ["plain", "whole"], indirect=True)
async def test_connections_are_pooled_and_cookies_are_not_kept(session, server):
    server.answers["/login"] = answer(b"{}", extra="Set-Cookie: sid=1; Path=/\r\n")
    await session.request(get(f"{server.url}/login"))
    await session.request(get(f"{server.url}/ok"))
    assert server.connections == 1
    assert server.requests[1].header("cookie") is None


async def test_environment_proxies_are_ignored(session, server, canary, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, canary.url)
    assert (await session.request(get(f"{server.url}/ok"))).status == 200


async def test_an_explicit_proxy_is_used_even_on_loopback(pool, server, caplog):
    caplog.set_level("INFO")
    session = pool.session(Source("shop", proxy=server.url))
    await session.request(get("http://upstream.invalid/ok?x=1"))
    assert server.requests[0].target == "http://upstream.invalid/ok?x=1"
    assert "proxy" in caplog.text


async def test_the_proxy_does_not_open_literal_private_addresses(pool, canary):
    with pytest.raises(PolicyError):
        await pool.session(Source("shop", proxy=canary.url)).request(get("http://169.254.169.254/latest"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]", "0x7f.1"])
async def test_nothing_connects_to_a_target_that_the_guard_refuses(pool, canary, host):
    session = pool.session(Source("shop", Trust.REMOTE, origin="https://shop.example"))
    port = canary.endpoint.rpartition(":")[2]
    with pytest.raises(PolicyError):
        await session.request(get(f"https://{host}:{port}/"))


async def test_a_user_in_the_url_is_refused(session, server, canary):
    with pytest.raises(PolicyError, match="user name"):
        await session.request(get(f"http://u:p@{canary.endpoint}/"))


async def test_targets_are_checked_again_when_too_many_are_kept(session, server, monkeypatch):
    monkeypatch.setattr("utcp_bridge.net.http_session._MAX_TARGETS", 1)
    for _ in range(2):
        assert (await session.request(get(f"{server.url}/ok"))).status == 200
        with pytest.raises(Unreachable):
            await session.request(get("http://nowhere.invalid./"))


# --- redirects (test_aiohttp_engine_redirects.py tests the rules)


async def test_three_redirects_are_followed_and_the_fourth_is_an_error(session, server):
    for hop in range(4):
        server.answers[f"/hop{hop}"] = answer(b"", status="307 Moved", extra=f"Location: /hop{hop + 1}\r\n")
    server.answers["/hop4"] = answer(b"{}")
    assert (await session.request(get(f"{server.url}/hop1"))).status == 200
    with pytest.raises(Rejected, match="redirects more than 3 times"):
        await session.request(get(f"{server.url}/hop0"))


# --- credentials


async def test_credentials_are_not_sent_to_an_origin_they_were_not_given_for(pool, server, canary):
    session = pool.session(Source("shop", exempt=frozenset({server.endpoint, canary.endpoint})))
    with pytest.raises(PolicyError) as caught:
        await session.request(get(f"{canary.url}/x"), credentials=api_key(server))
    assert canary.url in caught.value.message
    assert f'"allowed_origins": ["{canary.url}"]' in str(caught.value.remedy)
    with pytest.raises(PolicyError):
        async with session.websocket(f"ws://{canary.endpoint}/x", credentials=api_key(server)):
            pass


async def test_a_key_is_added_to_the_query_or_to_the_cookies(session, server):
    await session.request(
        get(f"{server.url}/echo?key=forged&a=1"), credentials=api_key(server, var_name="key", location="query")
    )
    parts = get(f"{server.url}/echo", ("Cookie", "a=1"))
    await session.request(parts, credentials=api_key(server, var_name="sid", location="cookie"))
    assert server.requests[0].target == f"/echo?a=1&key={KEY}"
    assert server.requests[1].header("cookie") == f"a=1; sid={KEY}"
    assert parts.headers == [("Cookie", "a=1")]


def oauth(pool, upstream, **fields):
    auth = parse_auth(
        {"token_url": upstream.token_url, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, **fields}
    )
    return Credentials(auth, frozenset({upstream.url}), TokenCache(pool), trust=Trust.OPERATOR)


async def test_a_token_that_was_revoked_early_is_renewed_once(pool):
    async with authorization_server() as upstream:
        session = pool.session(Source("shop", exempt=frozenset({upstream.endpoint})))
        credentials = oauth(pool, upstream)
        first = await session.request(get(upstream.resource_url), credentials=credentials)
        upstream.revoke_all()
        second = await session.request(get(upstream.resource_url), credentials=credentials)
        assert (first.status, second.status, len(upstream.requests)) == (200, 200, 2)


async def test_a_resource_that_refuses_a_new_token_is_requested_only_twice(pool):
    async with authorization_server() as upstream:
        session = pool.session(Source("shop", exempt=frozenset({upstream.endpoint})))
        upstream.clock = 100
        credentials = oauth(pool, upstream)
        upstream.faults = [{"access_token": "never-valid"}, {"access_token": "nor-this"}]
        reply = await session.request(get(upstream.resource_url), credentials=credentials)
        assert (reply.status, upstream.resource_hits, len(upstream.requests)) == (401, 2, 2)


async def test_a_renewal_that_fails_is_the_error_of_the_call(pool):
    async with authorization_server() as upstream:
        session = pool.session(Source("shop", exempt=frozenset({upstream.endpoint})))
        upstream.faults = [{"access_token": "never-valid"}, {"nothing": 1}]
        with pytest.raises(TokenError):
            await session.request(get(upstream.resource_url), credentials=oauth(pool, upstream))


async def test_a_401_without_a_renewable_token_is_returned(session, server):
    reply = await session.request(get(f"{server.url}/status?code=401"), credentials=api_key(server))
    assert (reply.status, len(server.requests)) == (401, 1)


# --- streams and WebSockets


async def test_leaving_a_stream_closes_the_upstream_connection_at_once(session, server):
    async with session.stream(get(f"{server.url}/drip")) as reply:
        assert reply.status == 200
        assert reply.headers["content-type"] == "text/event-stream"
        async for chunk in reply:
            assert chunk.startswith(b"data: x")
            break
    await server.gone.wait()


async def test_a_stream_ends_with_its_body(session, server):
    async with session.stream(get(f"{server.url}/ok")) as reply:
        assert b"".join([chunk async for chunk in reply]) == b'{"ok":true}'


async def test_cancelling_a_stream_closes_the_upstream_connection(session, server):
    async def consume():
        async with session.stream(get(f"{server.url}/drip")) as reply:
            async for _ in reply:
                group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(consume)
    await server.gone.wait()


async def test_cancelling_a_request_closes_the_upstream_connection(session, server):
    async with anyio.create_task_group() as group:
        group.start_soon(session.request, get(f"{server.url}/slow"))
        await arrived(server)
        group.cancel_scope.cancel()
    await server.gone.wait()


async def test_a_stream_can_be_read_as_a_whole(session, server):
    async with session.stream(get(f"{server.url}/gzip")) as reply:
        assert (await reply.read(100)).value() == {"packed": 1}


async def test_a_stream_that_breaks_ends_as_connection_lost(session, server):
    async with session.stream(get(f"{server.url}/half")) as reply:
        with pytest.raises(ConnectionLost):
            assert [chunk async for chunk in reply] == []


async def test_a_websocket_opens_with_credentials_and_a_renewed_token(pool):
    async with authorization_server() as upstream:
        session = pool.session(Source("shop", exempt=frozenset({upstream.endpoint})))
        credentials = oauth(pool, upstream)
        await session.request(get(upstream.resource_url), credentials=credentials)
        upstream.revoke_all()
        url = upstream.resource_url.replace("http:", "ws:")
        async with session.websocket(url, credentials=credentials, options=SocketOptions(("p",))) as socket:
            assert (await socket.receive()).data == "welcome"
        assert len(upstream.requests) == 2


async def test_a_websocket_opens_without_credentials(pool):
    async with authorization_server() as upstream:
        upstream.tokens["open"] = 10
        session = pool.session(Source("shop", exempt=frozenset({upstream.endpoint})))
        url = upstream.resource_url.replace("http:", "ws:")
        async with session.websocket(url, headers=[("Authorization", "Bearer open")]) as socket:
            assert (await socket.receive()).data == "welcome"


async def test_a_refused_handshake_says_its_status(session, server):
    with pytest.raises(Rejected, match="handshake") as caught:
        async with session.websocket(f"ws://{server.endpoint}/ok", credentials=api_key(server)):
            pass
    assert caught.value.status == 200
    with pytest.raises(Rejected) as caught:
        async with session.websocket(f"ws://{server.endpoint}/status?code=401", credentials=api_key(server)):
            pass
    assert caught.value.status == 401
    with pytest.raises(Rejected, match="Try again in 7 s") as caught:
        async with session.websocket(
            f"ws://{server.endpoint}/status?code=503&retry_after=7", credentials=api_key(server)
        ):
            pass
    assert caught.value.retryable


async def test_closing_a_session_ends_the_call_in_flight(pool, session, server):
    async def call():
        with pytest.raises(ConnectionLost):
            await session.request(get(f"{server.url}/slow"))

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await arrived(server)
        await pool.close_session("shop")


async def test_two_first_requests_share_one_client(session, server):
    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(session.request, get(f"{server.url}/ok"))
    assert len(server.requests) == 2


@pytest.mark.parametrize(("name", "most"), [("X-Left", 60), ("x-left-MS", 60_000)])
async def test_a_request_says_in_the_header_that_the_operator_named_how_much_time_is_left(pool, server, name, most):
    session = pool.session(Source("timed", exempt=frozenset({server.url.partition("//")[2]}), deadline_header=name))
    with anyio.move_on_after(60):
        await session.request(get(f"{server.url}/echo"))
        await session.request(get(f"{server.url}/echo", (name.lower(), "7")))
    with anyio.CancelScope(shield=True):  # without the limit of this test
        await session.request(get(f"{server.url}/echo"))
    timed, own, unlimited = [request.header(name.lower()) for request in server.requests]
    assert most / 2 < float(timed) <= most
    assert ("." in timed) == (most == 60)
    assert own == "7"
    assert unlimited is None


async def test_named_headers_of_the_clients_request_go_to_the_manuals_own_origin_alone(pool, server):
    endpoint = server.url.partition("//")[2]
    CLIENT_REQUEST.set(
        KnownClientRequest(headers=[(b"x-request-id", b"7"), (b"authorization", b"Bearer secret"), (b"x-other", b"no")])
    )
    named = Source("own", exempt=frozenset({endpoint}), forward_headers=("X-Request-Id", "X-Tenant"))
    await pool.session(named).request(get(f"{server.url}/echo"))
    await pool.session(named).request(get(f"{server.url}/echo", ("x-request-id", "own")))
    foreign = pool.session(replace(named, name="foreign", trust=Trust.REMOTE, origin="https://api.example.com"))
    assert foreign._with_forwarded([], URL("https://other.example.com/")) == []
    assert foreign._with_forwarded([], URL("https://api.example.com/")) == [("X-Request-Id", "7")]
    await pool.session(replace(named, name="none", forward_headers=())).request(get(f"{server.url}/echo"))
    first, own, *others = server.requests
    assert (first.header("x-request-id"), own.header("x-request-id")) == ("7", "own")
    assert [one.header("x-request-id") for one in others] == [None]
    assert not any(one.header("x-other") or one.header("authorization") for one in server.requests)


async def test_a_forwarded_value_that_a_header_cannot_have_is_left_out(pool, server):
    named = Source("own", exempt=frozenset({server.url.partition("//")[2]}), forward_headers=("X-Request-Id",))
    for value in (b"a\r\nx-evil: 1", b"", b"x" * 5_000, b"\xff"):
        CLIENT_REQUEST.set(KnownClientRequest(headers=[(b"x-request-id", value)]))
        await pool.session(named).request(get(f"{server.url}/echo"))
    assert [one.header("x-request-id") or one.header("x-evil") for one in server.requests] == [None] * 4
