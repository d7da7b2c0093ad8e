"""Redirects: which are followed, which are refused, and that another origin receives nothing."""

import pytest
from tests.upstreams.faulty import answer

from utcp_bridge.auth.credentials import Credentials
from utcp_bridge.auth.models import parse_auth
from utcp_bridge.errors import PolicyError, Rejected
from utcp_bridge.placement.request import RequestParts

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("deadline")]

KEY = "canary-api-key-1"


def get(url):
    return RequestParts("GET", url)


def api_key(server):
    return Credentials(parse_auth({"api_key": KEY}), frozenset({server.url}))


@pytest.mark.parametrize(("method", "status"), [("GET", 301), ("GET", 302), ("HEAD", 303), ("POST", 307), ("PUT", 308)])
async def test_a_redirect_within_the_origin_keeps_method_body_and_credentials(session, server, method, status):
    body = b"data" if method in {"POST", "PUT"} else None
    parts = RequestParts(method, f"{server.url}/moved?status={status}&to=/echo", [("X-A", "1")], body)
    reply = await session.request(parts, credentials=api_key(server))
    last = server.requests[-1]
    assert reply.url == f"{server.url}/echo"
    assert (last.method, last.body) == (method, body or b"")
    assert last.header("x-api-key") == KEY


@pytest.mark.parametrize("status", [301, 302, 303])
async def test_a_redirect_that_would_change_a_post_to_a_get_is_an_error(session, server, status):
    with pytest.raises(Rejected, match=r"redirects POST to .*/ok without the status 307 or 308") as caught:
        await session.request(RequestParts("POST", f"{server.url}/moved?status={status}&to=/ok?secret=1", [], b"x"))
    assert caught.value.status == status
    assert len(server.requests) == 1
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_redirect_to_another_origin_is_not_followed(session, server, canary, status, method):
    url = f"{server.url}/moved?status={status}&to={canary.url}/steal%3Fq=1"
    with pytest.raises(PolicyError, match="another origin") as caught:
        await session.request(RequestParts(method, url, [], b"body"), credentials=api_key(server))
    assert f"{canary.url}/steal" in caught.value.message
    assert "q=1" not in str(caught.value)


@pytest.mark.parametrize(
    "to", ["//evil.invalid/", "https://127.0.0.1/", "http://u:p@{endpoint}/ok", "file:///etc/passwd"]
)
async def test_other_redirects_out_of_the_origin_are_not_followed(session, server, to):
    with pytest.raises(PolicyError, match="another origin"):
        await session.request(get(f"{server.url}/moved?to={to.format(endpoint=server.endpoint)}"))
    assert len(server.requests) == 1


async def test_a_redirect_to_an_unreadable_url_is_an_error(session, server):
    with pytest.raises(Rejected, match="cannot be read"):
        await session.request(get(f"{server.url}/moved?to=http://[::1/"))


async def test_a_redirect_without_a_location_is_returned(session, server):
    server.answers["/odd"] = answer(b"{}", status="302 Found")
    assert (await session.request(get(f"{server.url}/odd"))).status == 302
