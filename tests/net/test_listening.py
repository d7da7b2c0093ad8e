import asyncio
import errno
import socket
import sys

import pytest

from utcp_bridge.errors import ConfigError
from utcp_bridge.net import listening
from utcp_bridge.net.listening import bind, for_url, is_loopback, listen


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.1", False),
        ("localhost.example.com", False),
    ],
)
def test_loopback_means_reachable_only_from_this_machine(host, own):
    assert is_loopback(host) is own


def test_ipv6_is_in_brackets_in_a_url():
    assert [for_url(host) for host in ("::1", "[::1]", "127.0.0.1")] == ["[::1]", "[::1]", "127.0.0.1"]


def test_a_port_is_bound_once():
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ConfigError, match=f"Cannot listen on 127.0.0.1:{port}"):
            bind("127.0.0.1", port)
    with pytest.raises(ConfigError, match="Cannot listen on no such host"):
        bind("no such host", 0)


def test_a_port_that_needs_a_right_is_named_with_one_that_does_not(monkeypatch):
    """The system's refusal is raised here: a test may run as a user who has the right."""

    def refused(*_arguments, **_options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refused)
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:80: Permission denied.*1024 or above"):
        listen("127.0.0.1", 80)


def has_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def close(sockets):
    for one in sockets:
        one.close()


def test_localhost_is_both_families_on_one_port():
    if not has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    sockets = listen("localhost", 0)
    try:
        assert [one.getsockname()[0] for one in sockets] == ["127.0.0.1", "::1"]
        assert len({one.getsockname()[1] for one in sockets}) == 1
        for one in sockets:
            socket.create_connection(one.getsockname()[:2], 10).close()
    finally:
        close(sockets)


@pytest.fixture
def resolved(monkeypatch):
    """Give a name these addresses, as a resolver would."""

    def resolve(*addresses):
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]
        monkeypatch.setattr(listening.socket, "getaddrinfo", lambda *_args, **_kwargs: found)

    return resolve


def test_a_name_with_several_addresses_is_served_on_each(resolved):
    resolved("127.0.0.1", "127.0.0.2", "127.0.0.1")
    try:
        sockets = listen("both.example", 0)
    except ConfigError:
        pytest.skip("this machine has one loopback address")
    assert [one.getsockname()[0] for one in sockets] == ["127.0.0.1", "127.0.0.2"]
    assert len({one.getsockname()[1] for one in sockets}) == 1
    close(sockets)


def test_an_address_that_this_machine_lacks_is_left_out(monkeypatch):
    """`::1` as on a machine without IPv6."""
    real = listening._socket

    def without_ipv6(family, address, *, shared):
        if family == socket.AF_INET6:
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        return real(family, address, shared=shared)

    monkeypatch.setattr(listening, "_socket", without_ipv6)
    sockets = listen("localhost", 0)
    assert [one.getsockname()[0] for one in sockets] == ["127.0.0.1"]
    close(sockets)
    with pytest.raises(ConfigError, match="Cannot assign requested address"):
        listen("::1", 0)


def test_a_port_that_is_taken_on_the_second_address_is_another_try_if_any_port_will_do(resolved, monkeypatch):
    resolved("127.0.0.1", "127.0.0.2")
    real, failures = listening._socket, [OSError(errno.EADDRINUSE, "Address already in use")] * 2

    def busy(family, address, *, shared):
        if address[0] == "127.0.0.2" and failures:
            raise failures.pop()
        return real(family, ("127.0.0.1" if address[0] == "127.0.0.2" else address[0], 0), shared=shared)

    monkeypatch.setattr(listening, "_socket", busy)
    sockets = listen("both.example", 0)
    assert (len(sockets), failures) == (2, [])
    close(sockets)


def test_a_port_that_is_taken_on_one_address_is_an_error():
    if not has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    with bind("::1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"Cannot listen on localhost:{port}"):
            listen("localhost", port)


def test_accepted_connections_send_small_writes_at_once():
    """On asyncio's own event loop, whatever loop the server has."""

    async def option():
        accepted = asyncio.get_running_loop().create_future()

        def connected(_reader, writer):
            one = writer.get_extra_info("socket")
            accepted.set_result(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listener = bind("127.0.0.1", 0)
        async with await asyncio.start_server(connected, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            told = await accepted
            writer.close()
            await writer.wait_closed()
            return told

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        assert runner.run(asyncio.wait_for(option(), 10)) != 0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all processes accept from one socket")
def test_several_processes_have_sockets_of_their_own_on_one_port():
    groups = listening.listen_shared("127.0.0.1", 0, 3)
    assert len({one.getsockname()[1] for group in groups for one in group}) == 1
    assert len({one.fileno() for group in groups for one in group}) == 3
    port = groups[0][0].getsockname()[1]
    with pytest.raises(ConfigError, match="Cannot listen"):
        listening.listen_shared("127.0.0.1", port, 2)
    for group in groups:
        close(group)
