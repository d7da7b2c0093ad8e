"""The step `auth` against real servers: accepted, refused, missing, a token fetched or refused."""

import pytest
from tests.upstreams.authorization_server import CLIENT_ID, CLIENT_SECRET, authorization_server
from tests.upstreams.http_service import API_KEY, HttpService

from utcp_bridge.client.client import Extensions, UtcpClient
from utcp_bridge.doctor import diagnose
from utcp_bridge.errors import Rejected, TokenError
from utcp_bridge.net.guard import Guard

pytestmark = pytest.mark.anyio


@pytest.fixture
async def service():
    async with HttpService() as opened:
        yield opened


async def steps(url, auth):
    """The steps `auth` and `discovery` of a manual at this URL."""
    guard = Guard()
    entry = {"name": "shop", "call_template_type": "http", "url": url, **({"auth": auth} if auth else {})}
    async with await UtcpClient.create({}, extensions=Extensions(guard=guard)) as client:
        (course,) = (await diagnose(client, [entry], guard=guard)).courses
    return course.step("auth"), course.step("discovery")


def key(value):
    return {"auth_type": "api_key", "api_key": value, "var_name": "X-Api-Key"}


async def test_a_key_with_which_the_manual_is_read_is_accepted(service):
    auth, discovery = await steps(f"{service.base}/secure/utcp", key(API_KEY))
    assert (auth.status, auth.message) == ("ok", "The API key is there; the manual was read with it.")
    assert discovery.error is None


async def test_a_key_that_is_refused_fails_the_step_and_not_the_discovery(service):
    auth, discovery = await steps(f"{service.base}/secure/utcp", key("a wrong key"))
    assert (auth.status, auth.message) == ("failed", "The API key is refused (401).")
    assert isinstance(auth.error, Rejected)
    assert "still valid" in auth.remedy
    assert (discovery.status, discovery.message) == ("skipped", "not read: auth failed.")


async def test_where_credentials_are_wanted_and_none_are_there_it_is_said(service):
    auth, _ = await steps(f"{service.base}/secure/utcp", None)
    assert auth.status == "failed"
    assert "wants credentials (401) and the manual has none" in auth.message
    assert '"auth"' in auth.remedy


async def test_a_password_that_is_forbidden_is_refused_too(service):
    basic = {"auth_type": "basic", "username": "me", "password": "a password"}
    auth, _ = await steps(f"{service.base}/status/403", basic)
    assert auth.message == "The user name with its password is refused (403)."


async def test_when_discovery_fails_otherwise_nothing_is_known(service):
    auth, discovery = await steps(f"{service.base}/page", key(API_KEY))
    assert (auth.status, discovery.status) == ("ok", "failed")
    assert "whether it is accepted is not known" in auth.message


async def test_without_auth_the_step_is_skipped(service):
    auth, discovery = await steps(f"{service.base}/utcp", None)
    assert (auth.status, discovery.status) == ("skipped", "ok")


def oauth2(server, secret):
    fields = {"token_url": server.token_url, "client_id": CLIENT_ID, "client_secret": secret}
    return {"auth_type": "oauth2", **fields}


async def test_an_access_token_is_really_fetched_and_then_used(service):
    async with authorization_server() as server:
        auth, _ = await steps(f"{service.base}/utcp", oauth2(server, CLIENT_SECRET))
        assert len(server.requests) == 1
        assert next(iter(server.tokens)) in service.last.headers["Authorization"]
    assert auth.message == f"{server.token_url} gave an access token; the manual was read with it."


async def test_a_token_endpoint_that_refuses_fails_the_step_and_nothing_is_read(service):
    async with authorization_server() as server:
        auth, discovery = await steps(f"{service.base}/utcp", oauth2(server, "another secret"))
    assert (auth.status, discovery.status) == ("failed", "skipped")
    assert isinstance(auth.error, TokenError)
    assert "invalid_client" in auth.message
    assert service.requests == []
