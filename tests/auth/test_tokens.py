"""Client credentials against a real authorization server."""

import asyncio
import logging

import anyio
import pytest
from aiohttp import web
from tests.upstreams.authorization_server import CLIENT_ID, CLIENT_SECRET, authorization_server
from tests.upstreams.faulty import faulty_server

from utcp_bridge.auth.models import parse_auth
from utcp_bridge.auth.tokens import TokenCache
from utcp_bridge.errors import PolicyError, TokenError
from utcp_bridge.model import Source
from utcp_bridge.net.guard import Guard
from utcp_bridge.net.http import HttpPool

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("deadline")]


@pytest.fixture
async def deadline(anyio_backend):
    with anyio.fail_after(60):
        yield


@pytest.fixture
async def server():
    async with authorization_server() as running:
        yield running


@pytest.fixture
async def cache(server):
    pool = HttpPool(Guard())
    yield TokenCache(pool, clock=lambda: server.clock)
    await pool.aclose()


def oauth(server, **fields):
    return parse_auth({"token_url": server.token_url, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, **fields})


def reached(server):
    return Source("shop", exempt=frozenset({server.endpoint}))


async def test_a_secret_with_special_characters_is_accepted_in_the_header(cache, server):
    token = await cache.get(oauth(server, scope="read write"), reached(server))
    assert token in server.tokens
    [request] = server.requests
    assert request["authorization"].startswith("Basic ")
    assert (request["grant_type"], request["scope"]) == ("client_credentials", "read write")
    assert "client_secret" not in request


@pytest.mark.parametrize("refusal", [(401, "invalid_client"), (400, "invalid_client"), (400, "invalid_request")])
async def test_credentials_go_into_the_body_for_a_server_that_requires_it(cache, server, refusal):
    server.takes, server.refusal = "body", refusal
    auth = oauth(server)
    cache.drop(auth, await cache.get(auth, reached(server)))
    assert await cache.get(auth, reached(server)) in server.tokens
    assert [bool(request["authorization"]) for request in server.requests] == [True, False, False]


@pytest.mark.parametrize("reply", [{"text": "no"}, {"text": "{}", "content_type": "application/json"}])
async def test_after_a_401_without_a_code_the_body_is_tried(cache, server, reply):
    server.takes = "body"
    server.faults = [web.Response(status=401, **reply)]
    assert await cache.get(oauth(server), reached(server)) in server.tokens


async def test_a_wrong_secret_is_an_error_that_names_the_endpoint_and_no_secret(cache, server, caplog):
    caplog.set_level(logging.DEBUG)
    with pytest.raises(TokenError) as caught:
        await cache.get(oauth(server, client_secret="canary-wrong"), reached(server))
    assert (
        caught.value.message
        == f"The token endpoint {server.token_url} returned no access token: it returned 401 invalid_client."
    )
    assert len(server.requests) == 2
    for text in (str(caught.value), caplog.text):
        assert "canary" not in text
        assert CLIENT_SECRET not in text


async def test_a_token_is_kept_until_shortly_before_it_expires(cache, server):
    auth = oauth(server)
    first = await cache.get(auth, reached(server))
    server.clock = 1.7
    assert await cache.get(auth, reached(server)) == first
    server.clock = 1.9
    assert await cache.get(auth, reached(server)) != first
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("expires_in", "kept_at", "asked_again_at"),
    [("100", 89, 91), (3600, 3569, 3571), (0.5, 0.4, 0.6)]
    + [(odd, 10**9, None) for odd in (0, "0", None, -5, "soon", "", [60], {"seconds": 60}, True, "nan", "Infinity")],
)
async def test_expires_in_is_read_as_a_number_or_as_text(cache, server, expires_in, kept_at, asked_again_at):
    server.expires_in = expires_in
    auth = oauth(server)
    first = await cache.get(auth, reached(server))
    if kept_at is not None:
        server.clock = kept_at
        assert await cache.get(auth, reached(server)) == first
    if asked_again_at is not None:
        server.clock = asked_again_at
        assert await cache.get(auth, reached(server)) != first


async def test_fifty_callers_make_one_token_request_per_expiry(cache, server):
    auth, got = oauth(server), []

    async def call():
        got.append(await cache.get(auth, reached(server)))

    for expiry in range(3):
        server.clock = expiry * 2.0
        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(call)
    assert len(server.requests) == 3
    assert len(set(got)) == 3


async def test_fifty_callers_share_one_failed_token_request_and_the_next_one_retries(cache, server):
    server.faults = [web.Response(status=500, text="oh")]
    server.hold = asyncio.Event()
    failed = []

    async def call():
        with pytest.raises(TokenError, match="returned 500"):
            await cache.get(oauth(server), reached(server))
        failed.append(1)

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(call)
        while not server.requests:
            await anyio.lowlevel.checkpoint()
        server.hold.set()
    assert (len(failed), len(server.requests)) == (50, 1)
    assert await cache.get(oauth(server), reached(server)) in server.tokens


async def test_a_cancelled_caller_does_not_cancel_the_token_of_the_others(cache, server):
    server.hold = asyncio.Event()
    got = []

    async def call():
        got.append(await cache.get(oauth(server), reached(server)))

    async with anyio.create_task_group() as group:
        scope = anyio.CancelScope()

        async def cancelled():
            with scope:
                await call()

        group.start_soon(cancelled)
        while not server.requests:
            await anyio.lowlevel.checkpoint()
        group.start_soon(call)
        scope.cancel()
        server.hold.set()
    assert len(got) == 1


async def test_a_token_is_dropped_only_while_it_is_the_current_one(cache, server):
    auth = oauth(server)
    first = await cache.get(auth, reached(server))
    cache.drop(auth, "another")
    assert await cache.get(auth, reached(server)) == first
    cache.drop(auth, first)
    assert await cache.get(auth, reached(server)) != first


async def test_another_scope_or_secret_has_its_own_token(cache, server):
    first = await cache.get(oauth(server, scope="a"), reached(server))
    assert await cache.get(oauth(server, scope="b"), reached(server)) != first
    with pytest.raises(TokenError):
        await cache.get(oauth(server, scope="a", client_secret="other"), reached(server))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (web.Response(status=500, text="canary"), "it returned 500"),
        (web.Response(text="<html>canary</html>", content_type="text/html"), "not the JSON of a token"),
        (web.Response(text="[1]", content_type="application/json"), "not the JSON of a token"),
        (web.Response(text="[" * 50_000, content_type="application/json"), "not the JSON of a token"),
        (web.Response(text='{"access_token":"a","expires_in":' + "9" * 5000 + "}"), "not the JSON of a token"),
        ({"token_type": "Bearer"}, "has no access_token"),
        ({"access_token": 7}, "has no access_token"),
        ({"access_token": ""}, "has no access_token"),
        ({"access_token": "a\r\nX-Canary: 1"}, "has no access_token"),
        ({"access_token": "a", "token_type": "mac"}, "not bearer tokens"),
        ({"error": "canary\nof many words"}, "not the JSON of a token"),
        ({"error": "slow_down", "error_description": "canary"}, "it returned 200 slow_down"),
        (
            web.Response(status=400, text='{"error":"invalid_scope"}', content_type="application/json"),
            "400 invalid_scope",
        ),
    ],
)
async def test_a_reply_without_a_token_is_an_error_that_does_not_quote_it(cache, server, fault, reason):
    server.faults = [fault]
    with pytest.raises(TokenError, match=reason) as caught:
        await cache.get(oauth(server), reached(server))
    assert server.token_url in caught.value.message
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_the_token_request_is_never_redirected(cache, server, status):
    async with faulty_server() as canary:
        server.faults = [web.Response(status=status, headers={"Location": f"{canary.url}/steal?key=canary-key"})]
        with pytest.raises(TokenError, match=f"redirect to {canary.url}, which") as caught:
            await cache.get(oauth(server), reached(server))
        assert "canary-key" not in str(caught.value)
        assert canary.connections == 0


async def test_a_silent_endpoint_fails_at_the_time_limit(server):
    server.hold = asyncio.Event()
    pool = HttpPool(Guard())
    with pytest.raises(TokenError, match=r"did not reply within 0\.1 seconds"):
        await TokenCache(pool, time_limit=0.1).get(oauth(server), reached(server))
    await pool.aclose()


@pytest.mark.parametrize(
    ("path", "reason"), [("/rst", "broke before"), ("/endless-body", "more than"), ("/garbage", "not HTTP")]
)
async def test_a_broken_endpoint_is_a_token_error(path, reason):
    async with faulty_server() as broken:
        pool = HttpPool(Guard(), max_response_bytes=100_000)
        auth = parse_auth({"token_url": broken.url + path, "client_id": "c", "client_secret": "canary"})
        with pytest.raises(TokenError, match=reason) as caught:
            await TokenCache(pool).get(auth, Source("shop", exempt=frozenset({broken.endpoint})))
        assert "canary" not in str(caught.value)
        await pool.aclose()


async def test_the_guard_checks_a_token_endpoint(cache):
    async with faulty_server() as canary:
        port = canary.endpoint.rpartition(":")[2]
        for url in (f"{canary.url}/token", f"https://localhost:{port}/token", "http://login.example/token"):
            auth = parse_auth({"token_url": url, "client_id": "c", "client_secret": "s"})
            with pytest.raises(PolicyError):
                await cache.get(auth, Source("shop"))
        assert canary.connections == 0
