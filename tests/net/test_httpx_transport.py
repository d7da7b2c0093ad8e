"""The HTTP session as an httpx2 transport, used by httpx2's own client."""

import httpx2
import pytest
from tests.upstreams.faulty import answer

from utcp_bridge.errors import (
    ConnectionLost,
    DeadlineExceeded,
    MalformedReply,
    PolicyError,
    ReplyTooLarge,
    Unreachable,
)
from utcp_bridge.model import Source
from utcp_bridge.net.httpx_transport import _foreign

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("deadline")]


@pytest.fixture
async def client(session):
    async with httpx2.AsyncClient(transport=session.transport) as opened:
        yield opened


async def test_a_client_sends_and_reads_through_the_transport(client, server):
    reply = await client.post(f"{server.url}/echo", params={"q": "a b"}, json={"a": 1}, headers={"X-A": "1"})
    assert reply.json()["body"] == '{"a":1}'
    [seen] = server.requests
    assert seen.target == "/echo?q=a+b"
    assert (seen.header("x-a"), seen.header("host")) == ("1", server.endpoint)


async def test_a_compressed_reply_is_decoded_once(client, server):
    reply = await client.get(f"{server.url}/gzip")
    assert reply.json() == {"packed": 1}
    assert "content-encoding" not in reply.headers


async def test_repeated_reply_headers_stay_apart(client, server):
    server.answers["/two"] = answer(b"{}", extra="X-A: 1\r\nX-A: 2\r\n")
    assert (await client.get(f"{server.url}/two")).headers.get_list("x-a") == ["1", "2"]


async def test_redirects_are_left_to_the_client(client, server):
    assert (await client.get(f"{server.url}/moved?to=/ok")).status_code == 307


async def test_an_event_stream_runs_beyond_the_limit_and_closes_with_its_response(client, server):
    server.answers["/events"] = answer(b"data: x\n\n" * 150_000, "text/event-stream")
    assert len((await client.get(f"{server.url}/events")).content) == 1_350_000
    async with client.stream("GET", f"{server.url}/drip") as reply:
        async for line in reply.aiter_lines():
            assert line == "data: x"
            break
    await server.gone.wait()


@pytest.mark.parametrize(
    ("path", "theirs", "ours"),
    [
        ("/endless-body", httpx2.RemoteProtocolError, ReplyTooLarge),
        ("/bomb", httpx2.RemoteProtocolError, ReplyTooLarge),
        ("/garbage", httpx2.RemoteProtocolError, MalformedReply),
        ("/half", httpx2.ReadError, ConnectionLost),
        ("/close", httpx2.ReadError, ConnectionLost),
    ],
)
async def test_errors_are_httpx2_errors_with_ours_as_the_cause(client, server, path, theirs, ours):
    with pytest.raises(theirs) as caught:
        await client.get(f"{server.url}{path}?key=canary-key")
    assert isinstance(caught.value.__cause__, ours)
    assert "canary-key" not in str(caught.value)


async def test_the_guard_checks_requests_of_the_transport(pool, canary):
    transport = pool.session(Source("other")).transport
    async with httpx2.AsyncClient(transport=transport) as opened:
        with pytest.raises(httpx2.ConnectError) as caught:
            await opened.get(canary.url)
    assert isinstance(caught.value.__cause__, PolicyError)


def test_each_error_has_its_httpx2_counterpart():
    assert _foreign(DeadlineExceeded("late")) is httpx2.ReadTimeout
    assert _foreign(Unreachable("nobody")) is httpx2.ConnectError
