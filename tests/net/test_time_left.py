"""The time that a call has left, and the header that tells it to an HTTP service."""

import anyio
import pytest

from utcp_bridge.model import Source
from utcp_bridge.net.time_left import header_of_time, seconds_left
from utcp_bridge.placement.request import RequestParts

pytestmark = pytest.mark.anyio


async def test_without_a_limit_nothing_is_left_to_tell():
    assert seconds_left() is None
    assert header_of_time("X-Request-Timeout") is None


async def test_the_nearest_limit_decides():
    with anyio.move_on_after(1000), anyio.move_on_after(60), anyio.move_on_after(900):
        await anyio.lowlevel.checkpoint()
        left = seconds_left()
    assert left is not None
    assert 0 < left <= 60


@pytest.mark.parametrize(("name", "most"), [("X-Request-Timeout", 60), ("x-expected-timeout-MS", 60_000)])
async def test_the_name_decides_about_the_unit(name, most):
    with anyio.move_on_after(60):
        await anyio.lowlevel.checkpoint()
        header = header_of_time(name)
    assert header is not None
    assert header[0] == name
    assert most / 2 < float(header[1]) <= most
    assert ("." in header[1]) == (most == 60)


async def test_a_limit_that_is_over_is_the_least_time():
    with anyio.CancelScope(deadline=anyio.current_time() - 5):
        header = header_of_time("X-Request-Timeout")
        await anyio.lowlevel.checkpoint()
    assert header == ("X-Request-Timeout", "0.001")


async def test_a_request_has_the_header_that_the_operator_named(pool, server):
    session = pool.session(Source("timed", exempt=frozenset({server.url.partition("//")[2]}), deadline_header="X-Left"))
    with anyio.move_on_after(60):
        await session.request(RequestParts("GET", f"{server.url}/echo"))
        await session.request(RequestParts("GET", f"{server.url}/echo", [("x-left", "7")]))
    await session.request(RequestParts("GET", f"{server.url}/echo"))
    timed, own, unlimited = [request.header("x-left") for request in server.requests]
    assert 30 < float(timed) <= 60
    assert own == "7"
    assert unlimited is None
