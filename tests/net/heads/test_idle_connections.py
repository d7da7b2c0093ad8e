"""Requests over connections that were idle: which of them are used, while their server closes them."""

import asyncio
import socket
import struct
from contextlib import asynccontextmanager, suppress

import anyio
import pytest
from tests.upstreams.certificates import Authority
from tests.upstreams.faulty import faulty_server

from utcp_bridge.errors import ConnectionLost
from utcp_bridge.model import Source, TlsOptions
from utcp_bridge.placement.request import RequestParts

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.usefixtures("deadline"),
    pytest.mark.parametrize("way", ["plain", "whole"], indirect=True),  # the third way keeps no connection
]

PROVEN = 8


class Server:
    """Replies to each request, and closes its connections when a test says so, within the call that says it."""

    def __init__(self, listener):
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._open = {}
        self.url = "http://{}:{}".format(*listener.getsockname())
        self.header = ""
        self.closes = False
        """After each reply, without saying so."""
        self.refuses = set()
        """Bodies at which it resets the connection instead of a reply."""
        self.bodies = []
        self.connections = 0
        self.ended = anyio.Event()
        """Set when a client closes a connection."""

    async def accept(self):
        while True:
            connection, _ = await self._loop.sock_accept(self._listener)
            connection.setblocking(False)
            self.connections += 1
            self._open[connection] = asyncio.create_task(self._serve(connection))

    async def _serve(self, connection):
        data = b""
        with suppress(ConnectionError):
            while chunk := await self._loop.sock_recv(connection, 1 << 20):
                data += chunk
                while (whole := _whole(data)) is not None:
                    body, data = whole
                    self.bodies.append(body)
                    if body in self.refuses:
                        self.end(connection, "reset")
                        return
                    await self._loop.sock_sendall(connection, _reply(self.header))
                    if self.closes:
                        self.end(connection)
                        return
        self.ended.set()
        self.end(connection)

    def end(self, connection, how="end"):
        if self._open.pop(connection, None) is not None:
            self._loop.remove_reader(connection)
            if how == "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

    def end_all(self, how="end"):
        """Close all connections. The clients' event loop has read nothing of it when this returns."""
        for connection, task in tuple(self._open.items()):
            self.end(connection, how)
            task.cancel()


def _whole(data):
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        return None
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    return None if len(rest) < length else (rest[:length], rest[length:])


def _reply(header):
    return f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{header}Content-Length: 2\r\n\r\n{{}}".encode()


@asynccontextmanager
async def closing_server():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        running = Server(listener)
        accepting = asyncio.create_task(running.accept())
        yield running
        accepting.cancel()
        with suppress(asyncio.CancelledError):
            await accepting
        running.end_all()


@pytest.fixture
async def server():
    async with closing_server() as running:
        yield running


@pytest.fixture
def session(pool, server):
    return pool.session(Source("shop", exempt=frozenset({server.url.removeprefix("http://")})))


class Calls:
    """Calls that have each another body."""

    def __init__(self, session, server):
        self._session = session
        self._server = server
        self._sent = 0

    async def __call__(self, method="POST", times=1):
        """Send requests at once, and check that each got a reply and arrived."""
        before, bodies = len(self._server.bodies), [b"%d" % (self._sent + number) for number in range(times)]
        self._sent += times

        async def one(body):
            reply = await self._session.request(RequestParts(method, f"{self._server.url}/x", body=body))
            assert reply.body == b"{}"

        async with anyio.create_task_group() as group:
            for body in bodies:
                group.start_soon(one, body)
        assert sorted(self._server.bodies[before:]) == sorted(bodies)


@pytest.fixture
def call(session, server):
    return Calls(session, server)


@pytest.mark.parametrize(
    ("header", "idle", "connections"),
    [
        ("Keep-Alive: timeout=60, max=100\r\n", 3.9, 1),
        ("Keep-Alive: timeout=5\r\n", 3.9, 1),
        ("Keep-Alive: max=5, timeout=2\r\n", 1.4, 1),
        ("Keep-Alive: max=5, timeout=2\r\n", 1.6, 2),
        ("Keep-Alive: timeout=1\r\n", 0.6, 2),
        ("Keep-Alive: timeout=0\r\n", 0.1, 2),
        ("Keep-Alive: timeout=soon\r\n", 0.6, 2),
    ],
)
async def test_an_announced_time_counts_instead_of_a_guess(server, call, passes, header, idle, connections):
    server.header = header
    await call()
    passes(idle)
    await call()
    assert server.connections == connections


async def test_a_connection_is_closed_before_its_announced_time(server, call, way):
    server.header = "Keep-Alive: timeout=1\r\n"
    await call()
    if way == "whole":  # aiohttp's pool closes it with the next request
        return
    await server.ended.wait()
    await call()
    assert server.connections == 2


async def test_a_server_that_is_seen_to_keep_connections_gets_a_post_over_them(server, call, passes):
    await call(times=2)
    passes(2.0)
    await call()
    assert server.connections == 3
    passes(1.4)
    await call()
    assert server.connections == 3


async def test_a_get_takes_a_connection_that_a_post_leaves(server, call, passes):
    await call()
    passes(2.0)
    await call("POST")
    passes(1.9)
    await call("GET", times=2)
    assert server.connections == 2


async def end_while_idle(server, session):
    """Close all connections of a server, and wait until their client has seen it."""
    server.end_all()
    pool, plain = session._client.connector._conns, session._plain
    with anyio.fail_after(60):
        while any(place.parked for place in plain._places.values()) or any(
            protocol.is_connected() for waiting in pool.values() for protocol, _ in waiting
        ):
            await anyio.lowlevel.checkpoint()


async def test_a_time_after_which_the_server_closed_connections_counts_more_than_what_it_announces(
    server, session, call, passes
):
    server.header = "Keep-Alive: timeout=60\r\n"
    await call()
    passes(1.0)
    await end_while_idle(server, session)
    await call()
    passes(0.7)
    await call()
    assert server.connections == 2
    passes(0.8)
    await call()
    assert server.connections == 3


async def test_an_early_end_is_forgotten_when_other_connections_are_open_for_longer(server, session, call, passes):
    server.header = "Keep-Alive: timeout=60\r\n"
    await call(times=2)
    passes(0.01)
    await end_while_idle(server, session)
    seen = []
    for _ in range(8):
        await call()
        passes(0.1)
        seen.append(server.connections)
    assert seen[:2] == [3, 4]
    assert seen[-3:] == seen[-1:] * 3


@pytest.mark.parametrize("how", ["end", "reset"])
@pytest.mark.parametrize("proven", [1, 2 * PROVEN])
async def test_a_connection_whose_end_has_arrived_takes_no_post(server, call, passes, how, proven):
    for _ in range(proven):
        await call()
    passes(0.1)
    server.end_all(how)
    await call()
    assert server.connections == 2


@pytest.mark.parametrize("how", ["end", "reset"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_many_connections_that_end_at_once_lose_no_call(server, call, passes, how, method):
    await call(times=16)
    passes(0.1)
    server.end_all(how)
    await call(method, times=16)
    await call(method)


async def test_a_server_that_closes_after_each_reply_and_does_not_say_so_loses_no_post(server, session):
    server.closes = True
    for number in range(6):
        await session.request(RequestParts("POST", f"{server.url}/x", body=b"%d" % number))
    assert server.bodies == [b"%d" % number for number in range(6)]


async def test_a_post_avoids_an_idle_connection_that_a_large_body_has_left(server, session, call, passes):
    await session.request(RequestParts("POST", f"{server.url}/x", body=b"1" * 100_000))
    passes(0.4)
    await call()
    assert server.connections == 1
    await session.request(RequestParts("POST", f"{server.url}/x", body=b"2" * 100_000))
    before = server.connections
    passes(0.6)
    await call()
    assert server.connections == before + 1


@pytest.mark.parametrize(("method", "arrived"), [("GET", 2), ("POST", 1)])
async def test_what_may_be_repeated_is_sent_once_more_and_a_post_is_not(server, session, call, passes, method, arrived):
    await call(times=4)
    server.refuses.add(b"once")
    with pytest.raises(ConnectionLost):
        await session.request(RequestParts(method, f"{server.url}/x", body=b"once"))
    assert server.bodies.count(b"once") == arrived


async def test_idle_connections_over_tls_are_used_until_their_end_has_arrived(pool, passes, tmp_path):
    authority = Authority.create(tmp_path)
    async with faulty_server(tls=authority.server_context()) as server:
        source = Source("shop", exempt=frozenset({server.endpoint}), tls=TlsOptions(ca_cert=authority.ca))
        session = pool.session(source)
        for number, idle in enumerate((0.0, 0.1, 0.4, 0.4)):
            passes(idle)
            await session.request(RequestParts("POST", f"{server.url}/ok", body=b"%d" % number))
        assert server.connections == 1
