"""Servers and sessions for the tests of connections."""

import socket

import anyio
import pytest
from tests.upstreams.faulty import faulty_server

from utcp_bridge.model import Source
from utcp_bridge.net.guard import Guard
from utcp_bridge.net.http import HttpPool


@pytest.fixture
async def deadline(anyio_backend):
    """End a test that waits too long."""
    with anyio.fail_after(60):
        yield


@pytest.fixture
async def server():
    async with faulty_server() as running:
        yield running


@pytest.fixture
async def canary():
    """Start another origin, to which nothing must connect."""
    async with faulty_server() as running:
        yield running
        assert running.connections == 0


@pytest.fixture(params=["plain", "whole", "brief"])
def way(request, monkeypatch):
    """Send plain requests past aiohttp's session, through it, or at first without it: the same holds for all ways."""
    if request.param == "whole":
        monkeypatch.setattr("utcp_bridge.net.http_session.is_plain", lambda _parts: False)
    return request.param


@pytest.fixture
async def pool(way):
    kept = HttpPool(Guard(), max_response_bytes=1_000_000, is_brief=way == "brief")
    yield kept
    await kept.aclose()


@pytest.fixture
def session(pool, server):
    """Return the session of an operator's manual that may reach `server`."""
    return pool.session(Source("shop", exempt=frozenset({server.endpoint})))


@pytest.fixture
def passes(monkeypatch):
    """Stop the clock of the connections that wait: it moves by what a test says, however slow the machine is."""
    now, ours = [1_000.0], "utcp_bridge.net.heads"
    for module in ("aiohttp.connector", f"{ours}.plain_requests", f"{ours}.idle_connections"):
        monkeypatch.setattr(f"{module}.monotonic", lambda: now[0])

    def add(seconds):
        now[0] += seconds

    return add


@pytest.fixture
def free_endpoint():
    """Return an endpoint of loopback that refuses connections: its port is bound, and nothing listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"
