"""Serving until a signal arrives, in a process of its own, and the limits of its connections."""

import asyncio
import logging
import select
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import ExitStack, contextmanager, suppress

import anyio
import pytest

from utcp_bridge.net import asgi_server
from utcp_bridge.net.heads import ahead
from utcp_bridge.net.heads.repeats import Repeats

pytestmark = pytest.mark.anyio

PROGRAM = """
import sys
import anyio
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from utcp_bridge.net.asgi_server import serve_asgi
from utcp_bridge.net.listening import bind

listener = bind("127.0.0.1", 0)
app = Starlette(routes=[Route("/", lambda request: PlainTextResponse("hello"))])

async def at_end():
    print("ending", flush=True)

def ready():
    print(listener.getsockname()[1], flush=True)

anyio.run(lambda: serve_asgi(app, [listener], on_ready=ready, at_end=at_end))
print("closed" if listener.fileno() == -1 else "open", flush=True)
"""


def test_a_signal_ends_the_server_with_status_0():
    for number in (signal.SIGTERM, signal.SIGINT):
        with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as process:
            port = int(process.stdout.readline())
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
                assert answer.read() == b"hello"
                assert answer.headers["server"] is None
            process.send_signal(number)
            said, _ = process.communicate(timeout=60)
            assert (said, process.returncode) == ("ending\nclosed\n", 0)


# --- limits of connections -----------------------------------------------------------------------

LIMITED = """
import logging
import sys
import anyio
from utcp_bridge.net import asgi_server
from utcp_bridge.net.heads import ahead
from utcp_bridge.net.heads.repeats import Repeats
from utcp_bridge.net.listening import bind

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["path"] == "/body":
        while (await receive()).get("more_body"):
            pass
    if scope["path"] == "/later":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    if scope["path"] == "/clock":
        began = anyio.current_time()
        while anyio.current_time() == began:
            await anyio.sleep(0.001)
    if scope["path"] == "/flood":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(3_000):
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
            await anyio.lowlevel.checkpoint()
    seen = b"".join(name for name, _ in scope["headers"]) if scope["path"] == "/body" else b"ok"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(seen))]})
    await send({"type": "http.response.body", "body": seen})

if sys.argv[1] == "h11":
    asgi_server.HttpToolsProtocol = None
logging.basicConfig(format="%(levelname)s %(message)s")
seconds = dict.fromkeys(("head", "idle", "body", "reading", "closing"), 60.0) | dict.fromkeys(sys.argv[3:], 0.3)
idle = seconds.pop("idle")
limits = asgi_server.ConnectionLimits(total=8, sweep=0.1, idle=lambda: idle, **seconds)
listener = bind("127.0.0.1", 0)
ready = lambda: print(listener.getsockname()[1], flush=True)
loop = {"use_uvloop": sys.argv[2] == "uvloop"}
anyio.run(lambda: asgi_server.serve_asgi(app, [listener], on_ready=ready, limits=limits), backend_options=loop)
"""
GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
POST = b"POST /body HTTP/1.1\r\nHost: a\r\n"
KEPT = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
ENDLESS = 64
"""Pieces of 64 KiB."""


@pytest.fixture(
    scope="module",
    params=[("httptools", "asyncio"), ("httptools", "uvloop"), ("h11", "asyncio"), ("h11", "uvloop")],
    ids=" ".join,
)
def way(request):
    """Return a parser and an event loop."""
    if sys.platform == "win32":
        pytest.skip("neither parser nor loop in C exists there")
    return request.param


@contextmanager
def limited(*arguments):
    with subprocess.Popen(
        [sys.executable, "-c", LIMITED, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        yield int(process.stdout.readline())
        process.terminate()
        _, logged = process.communicate(timeout=60)
        assert process.returncode == 0
        invalid = [line for line in logged.splitlines() if "Invalid HTTP request" in line]
        assert len(invalid) <= 4, "one line in a minute, and the number of the others"
        assert "graceful shutdown exceeded" not in logged, "the server waited for a connection"


@pytest.fixture(scope="module")
def port(way):
    """Serve with limits of time that no test reaches, also if its machine is busy."""
    with limited(*way) as found:
        yield found


@pytest.fixture(scope="module")
def port_in_haste(way):
    """Serve with little time for all that comes after a head."""
    with limited(*way, "body", "reading", "closing") as found:
        yield found


@pytest.fixture(scope="module")
def port_in_great_haste(way):
    """Serve with little time for a head."""
    with limited(*way, "head") as found:
        yield found


@pytest.fixture(scope="module")
def port_without_idleness(way):
    """Serve with little time for the next request on a connection."""
    with limited(*way, "idle") as found:
        yield found


def sent(port, data, more=b"", times=0):
    """Send data until the server stops reading; return the beginning of what it sent."""
    received = b""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(60)
        with suppress(ConnectionError):
            client.sendall(data)
            for _ in range(times):
                client.sendall(more)
        with suppress(ConnectionError):
            while piece := client.recv(65_536):
                received = (received + piece)[:1_000]
    return received


def status(port, *parts):
    return sent(port, *parts)[9:12]


def asked(client, request=KEPT):
    """Send a request on a connection, and return the status of its reply; nothing if the connection has ended."""
    received = b""
    with suppress(ConnectionError):
        client.sendall(request)
        while not received.endswith(b"ok"):
            if not (piece := client.recv(1_000)):
                break
            received += piece
    return received[9:12]


def use_for_a_moment(client):
    """Use a connection until the server's clock has moved: that of uvloop counts milliseconds."""
    assert asked(client, KEPT.replace(b"GET /", b"GET /clock")) == b"200"


@contextmanager
def connected(port):
    """Return a connection that was used once. A server in haste may end one before a busy machine sends a request."""
    with ExitStack() as opened:
        while True:
            client = opened.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.settimeout(60)
            if reply := asked(client):
                break
        assert reply == b"200"
        yield client


@pytest.mark.parametrize("size", [0, 60_000])
def test_a_request_of_usual_size_is_served(port, size):
    assert status(port, GET + b"X-Long: " + b"a" * size + b"\r\n\r\n") == b"200"


@pytest.mark.parametrize(
    ("data", "more"),
    [
        (GET + b"X-Long: ", b"a" * 65_536),
        (GET, b"X-Short: aaaa\r\n" * 4_000),
        (b"GET /", b"a" * 65_536),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n1;", b"a" * 65_536),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-Trailer: ", b"a" * 65_536),
    ],
    ids=["header", "headers", "target", "chunk extension", "trailer"],
)
def test_what_has_no_end_is_not_read_on(port, data, more):
    assert b"200" not in sent(port, data, more, ENDLESS)[:12]


@pytest.mark.parametrize(
    "head",
    [
        GET + b"X-Long: " + b"a" * 70_000 + b"\r\n",
        GET + b"X: 1\r\n" * 257,
        GET.replace(b"/ ", b"/" + b"a" * 70_000 + b" "),
    ],
    ids=["one header", "many headers", "target"],
)
def test_a_head_that_is_too_large_is_refused(port, head):
    assert sent(port, head + b"\r\n")[9:10] in {b"4", b""}


@pytest.mark.parametrize(
    "request_head",
    [
        GET.replace(b"/ ", b"http://evil.example/ ") + b"\r\n",
        GET + b"X-Folded: 1\r\n 2\r\n\r\n",
        GET.replace(b"\r\n", b"\n") + b"\n",
        GET + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        GET + b"Transfer-Encoding: xchunked\r\n\r\n",
        GET + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        GET + b"X-Blank : 1\r\n\r\n",
    ],
    ids=["absolute target", "folded", "bare LF", "both lengths", "unknown encoding", "two lengths", "blank"],
)
def test_a_head_that_two_programs_may_read_differently_is_refused(port, request_head):
    assert sent(port, request_head)[9:10] in {b"4", b"5"}


def test_many_invalid_requests_are_answered(port):
    assert {status(port, b"garbage\r\n\r\n") for _ in range(50)} == {b"400"}


def test_equal_warnings_are_counted_and_reported_once_a_minute(caplog):
    now = [0.0]
    repeats, logger = Repeats(lambda: now[0]), logging.getLogger("uvicorn.error")
    logger.addFilter(repeats)
    try:
        with caplog.at_level(logging.INFO):
            for number in range(1_000):
                logger.warning("Invalid HTTP request received.")
                logger.warning("Invalid HTTP request received.")
                logger.info("Started.")
                odd = f"Odd line {number}."
                logger.warning(odd)
                repeats.report()
            first = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
            assert first[:2] == ["Invalid HTTP request received.", "Odd line 0."]
            assert len(first) < 100
            assert sum(record.levelno == logging.INFO for record in caplog.records) == 1_000
            caplog.clear()
            now[0] = 60.0
            repeats.report()
            repeats.report()
            assert "Invalid HTTP request received. 1999 more in the last minute." in caplog.messages
            assert len(caplog.messages) == 2
            now[0] = 120.0
            repeats.report()
            caplog.clear()
            logger.warning("Invalid HTTP request received.")
            assert caplog.messages == ["Invalid HTTP request received."]
    finally:
        logger.removeFilter(repeats)


@pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.1\r\nX-Half: ", b"\r\n"], ids=["silent", "half a head", "blank"])
def test_a_connection_without_a_request_ends(port_in_great_haste, data):
    assert b"200" not in sent(port_in_great_haste, data)[:12]


@pytest.mark.parametrize("request_", [KEPT, KEPT * 3, POST + b"Content-Length: 2\r\n\r\nab", KEPT + b"\r\n"])
def test_an_idle_connection_ends_after_its_own_time(port_without_idleness, port_in_great_haste, request_):
    with connected(port_in_great_haste) as kept:
        assert sent(port_without_idleness, request_).count(b"HTTP/1.1 200") == max(1, request_.count(KEPT))
        assert sent(port_in_great_haste, b"") == b"", "by now, a connection without a first request has ended"
        assert asked(kept) == b"200", "the time for a head is not that of an idle connection"


def test_an_idle_connection_makes_room_for_a_new_one_the_oldest_first(way):
    with limited(*way) as port, ExitStack() as opened:
        clients = [opened.enter_context(connected(port)) for _ in range(2)]
        use_for_a_moment(clients[0])
        clients += [opened.enter_context(connected(port)) for _ in range(6)]
        use_for_a_moment(clients[0])
        clients[2].sendall(b"GET /later HTTP/1.1\r\nHost: a\r\n\r\n")
        assert clients[2].recv(1_000)[9:12] == b"200"
        assert status(port, GET + b"\r\n") == b"200"
        assert clients[1].recv(100) == b""
        assert [asked(client) for client in (clients[0], *clients[3:])] == [b"200"] * 6


def test_the_end_of_the_server_closes_idle_connections(way):
    with ExitStack() as opened:
        with limited(*way) as port:
            client = opened.enter_context(connected(port))
        assert client.recv(100) == b""


def test_the_trailers_of_a_body_are_not_headers_of_the_request(port):
    chunked = POST + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nab\r\n0\r\n"
    received = sent(port, chunked + b"X-Trailer: a\r\nAuthorization: b\r\nExpect: 100-continue\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 200")
    assert received.endswith(b"hosttransfer-encodingconnection")


def test_a_body_that_does_not_come_ends_its_request(port_in_haste):
    assert status(port_in_haste, POST + b"Content-Length: 10\r\n\r\nab") == b"408"


def test_a_client_that_does_not_send_its_unread_body_is_not_waited_for(port_in_haste):
    assert status(port_in_haste, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nab") == b"200"


def test_requests_after_one_another_are_served_also_after_a_long_body(port):
    body = POST + b"Content-Length: 300000\r\n\r\n" + b"a" * 300_000
    first = body + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + GET + b"\r\n"
    assert sent(port, first).count(b"HTTP/1.1 200") == 3


def test_a_client_that_reads_nothing_is_cut_off(port_in_haste):
    with socket.create_connection(("127.0.0.1", port_in_haste)) as client:
        client.settimeout(60)
        client.sendall(b"GET /flood HTTP/1.1\r\nHost: a\r\n\r\n")
        watcher = select.poll()
        watcher.register(client, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
        assert watcher.poll(60_000), "the server closed the connection although nothing was read"


def test_more_connections_than_allowed_are_refused_and_later_served_again(port):
    with ExitStack() as opened:
        clients = [opened.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(9)]
        clients[-1].settimeout(60)
        assert clients[-1].recv(100)[9:12] == b"503"
        for client in clients[:-1]:
            client.settimeout(60)
            client.shutdown(socket.SHUT_WR)
            assert client.recv(100) == b""
    assert status(port, GET + b"\r\n") == b"200"


class Peer:
    """A transport of a connection from this address."""

    def __init__(self, address):
        self.address = address

    def get_extra_info(self, _name):
        return (self.address, 1)


class Clock:
    """A protocol without connection."""

    cycle = None

    class loop:  # noqa: N801
        time = staticmethod(lambda: 0.0)


@pytest.mark.parametrize(
    ("addresses", "admitted"),
    [
        (["203.0.113.5"] * 4, 2),
        (["203.0.113.5", "203.0.113.6"] * 2, 4),
        ([f"2001:db8::{number}" for number in range(4)], 2),
        ([f"2001:db8:0:{number}::1" for number in range(4)], 4),
        (["127.0.0.1"] * 4, 4),
        (["::1"] * 4, 4),
    ],
)
async def test_connections_are_counted_by_address_beyond_this_machine(addresses, admitted):
    connections = asgi_server._Connections(asgi_server.ConnectionLimits(per_address=2))
    inbound = [asgi_server._Inbound(Clock, Peer(address)) for address in addresses]
    assert sum(map(connections.admit, inbound)) == admitted
    for one in inbound:
        connections.forget(one)
    assert sum(map(connections.admit, inbound)) == admitted, "ended connections are not counted"


# --- writes --------------------------------------------------------------------------------------


def test_the_head_of_a_response_does_not_wait_for_its_body(port):
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(60)
        client.sendall(b"GET /later HTTP/1.1\r\nHost: a\r\n\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += client.recv(1)
        assert head.startswith(b"HTTP/1.1 200 ")


class Written(asyncio.Transport):
    """Keeps each write."""

    def __init__(self):
        super().__init__()
        self.writes = []

    def write(self, data):
        self.writes.append(data)

    def close(self):
        self.writes.append("closed")

    def is_closing(self):
        return "closed" in self.writes


HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ([HEAD, b"body"], [HEAD + b"body"]),
        ([HEAD, b"first", b"second"], [HEAD + b"first", b"second"]),
        ([HEAD, b"x" * 70_000], [HEAD, b"x" * 70_000]),
        ([HEAD], [HEAD]),
        ([HEAD, HEAD, b"body"], [HEAD + HEAD, b"body"]),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", HEAD, b"body"], [b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD, b"body"]),
        ([b"body"], [b"body"]),
        ([HEAD, "close"], [HEAD, "closed"]),
        ([HEAD, b"body", "close"], [HEAD + b"body", "closed"]),
    ],
)
async def test_a_head_goes_out_with_its_body_and_the_order_of_the_bytes_stays(given, written):
    transport = Written()
    joined = ahead.JoinedWrites(transport, asyncio.get_running_loop())
    for data in given:
        if data == "close":
            joined.close()
        else:
            joined.write(data)
    await anyio.wait_all_tasks_blocked()
    assert transport.writes == written
    assert joined.is_closing() == transport.is_closing()
