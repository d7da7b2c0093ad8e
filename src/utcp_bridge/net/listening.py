"""Listening sockets, the limits on their connections, and which addresses are on this machine only."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import re
import socket
import ssl
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias, cast

from utcp_bridge.errors import ConfigError
from utcp_bridge.net.gate.connection_watch import issued
from utcp_bridge.tasks import OwnTasks

__all__ = [
    "LOOPBACK_NAMES",
    "ConnectionLimits",
    "Passing",
    "accept_last",
    "base_url",
    "bind",
    "close_all",
    "counted_address",
    "for_url",
    "host_and_port",
    "is_loopback",
    "listen",
    "listen_shared",
]

LOOPBACK_NAMES: Final = ("127.0.0.1", "localhost", "::1")
_BACKLOG: Final = 2048
_PORT_TRIES: Final = 20
_NOT_HERE: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT})
"""Errors of a family or an address that this machine does not have."""
_HOST: Final = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253})(?::([0-9]{1,5}))?")
_MAX_PORT: Final = 65_535
_Address: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How many connections a server has at once, and how long it waits for each, in seconds.

    `per_address` counts one IPv4 address or one /64 network of IPv6; clients on this machine are not counted.
    A new connection has `head` seconds for its first request, and what `idle` returns for each later one.
    A body has `body` seconds, and one more for each `rate` bytes. A client that does not read its response has
    `reading` seconds for each `rate * reading` bytes. At the end of the server, requests have `grace` seconds.
    `now` returns the first two as they are at the moment, where they may change.
    `on_refused` receives the address of a client and the status, if no application sees a request that is refused.
    """

    total: int = 1_000
    per_address: int | None = None
    head: float = 10.0
    idle: Callable[[], float] = lambda: 130.0
    body: float = 30.0
    reading: float = 30.0
    closing: float = 10.0
    rate: int = 1_024
    sweep: float = 1.0
    grace: int = 2
    on_refused: Callable[[Any, int], object] = lambda _peer, _status: None
    now: Callable[[], tuple[int, int | None]] | None = None

    def most(self) -> tuple[int, int | None]:
        """Return the most connections of all, and of one address."""
        return (self.total, self.per_address) if self.now is None else self.now()


def is_loopback(host: str) -> bool:
    """Return whether only programs on this machine can reach a server that listens on `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def for_url(host: str) -> str:
    """Return a host as it is written in a URL, with IPv6 in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def host_and_port(value: str) -> tuple[str, str] | None:
    """Return the host of a `Host` header in lower case, IPv6 in brackets, and the port, empty if there is none.

    None if the header is not a host with an optional port (RFC 9110, section 7.2): browsers and clients send only
    these, so anything else is meant to look like another host.
    """
    found = _HOST.fullmatch(value.lower())
    if found is None or int(found[2] or 0) > _MAX_PORT:
        return None
    return found[1], found[2] or ""


def listen(host: str, port: int) -> list[socket.socket]:
    """Return listening sockets on every address of a host name, all on the same port.

    An address that this machine does not have is left out if there is another: `localhost` is often both 127.0.0.1 and
    ::1, and not every machine has IPv6.

    :raises ConfigError: it cannot listen there.
    """
    return _listening(host, port, shared=False)


def _listening(host: str, port: int, *, shared: bool) -> list[socket.socket]:
    try:
        addresses = _addresses(host, port)
        for _ in range(_PORT_TRIES if port == 0 else 1):
            sockets = _listen_on(addresses, last_try=port != 0, shared=shared)
            if sockets:
                return sockets
        return _listen_on(addresses, last_try=True, shared=shared)
    except OSError as error:
        remedy = "Set another `host` or `port`."
        if isinstance(error, PermissionError):
            remedy = "The system reserves this port. Set a `port` of 1024 or above, for example --port 8000."
        raise ConfigError(f"Cannot listen on {host}:{port}: {error.strerror or error}.", remedy=remedy) from None


def listen_shared(host: str, port: int, count: int) -> list[list[socket.socket]]:
    """Return `count` sets of listening sockets on the same addresses, for one process each.

    Linux spreads connections over them. Elsewhere there is one set, from which all processes accept.

    :raises ConfigError: it cannot listen there.
    """
    first = listen(host, port)
    if sys.platform != "linux":
        return [first]
    # Each user's programs may share a port that was opened so. The first try tells whether another has it already.
    port = first[0].getsockname()[1]
    for one in first:
        one.close()
    return [_listening(host, port, shared=True) for _ in range(count)]


def counted_address(peer: Any) -> str:
    """Return what identifies the machine of a client, for a limit on its connections; empty for this machine.

    `peer` is the address of its socket: host, port and more.
    """
    try:
        address = ipaddress.ip_address(str(peer[0]).partition("%")[0])
    except (TypeError, IndexError, ValueError):  # a socket without addresses, or one that ended already
        return ""
    if address.is_loopback:
        return ""
    return str(address) if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))


def half_of_the_files() -> int:
    """Return half of the files that this process may open. Calls need the other half."""
    try:
        import resource
    except ImportError:  # Windows
        return 1 << 30
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 30 if soft == resource.RLIM_INFINITY else max(1, soft // 2)


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket on the first address of a host name that this machine has.

    :raises ConfigError: it cannot listen there.
    """
    first, *others = listen(host, port)
    for other in others:
        other.close()
    return first


def _addresses(host: str, port: int) -> list[tuple[int, _Address]]:
    """Return family and address of each address of a host name, IPv4 first."""
    issued.add(host)
    found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    if host == "localhost":  # some resolvers know one family alone
        found += [(socket.AF_INET6, socket.SOCK_STREAM, 0, "", ("::1", port, 0, 0))] if socket.has_ipv6 else []
    addresses = dict.fromkeys((int(family), cast("_Address", address)) for family, _, _, _, address in found)
    return sorted(addresses, key=lambda one: one[0] != socket.AF_INET)


def _listen_on(addresses: Iterable[tuple[int, _Address]], *, last_try: bool, shared: bool) -> list[socket.socket]:
    """Return a socket for each address, on the port of the first. Return none if that port is taken on another.

    :raises OSError: none of the addresses works, or on the last try, a port is taken.
    """
    sockets: list[socket.socket] = []
    absent: OSError | None = None
    with ExitStack() as opened:
        for family, address in addresses:
            port = sockets[0].getsockname()[1] if sockets else address[1]
            try:
                one = opened.enter_context(_socket(family, (address[0], port, *address[2:]), shared=shared))
            except OSError as error:
                if error.errno in _NOT_HERE:
                    absent = error
                    continue
                if not sockets or last_try:
                    raise
                return []
            sockets.append(one)
        if not sockets:
            raise absent or OSError("it has no address")
        opened.pop_all()
        return sockets


def _socket(family: int, address: _Address, *, shared: bool) -> socket.socket:
    """Return a listening socket that sends small writes at once.

    asyncio sets TCP_NODELAY only on sockets whose protocol number is that of TCP, and `socket.create_server` leaves it
    0. Without it, a reply in two writes waits 40 ms for the client's delayed acknowledgement.
    """
    one = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # On Windows SO_REUSEADDR would let other programs take the port; without it, a port is free again at once.
        option = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
        one.setsockopt(socket.SOL_SOCKET, option, 1)
        if shared:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        one.bind(address)
        one.listen(_BACKLOG)
    except BaseException:
        one.close()
        raise
    return one


def base_url(scope: Mapping[str, Any]) -> str:
    """Return scheme and host of the address that the client of a request opened: https also if a proxy serves that."""
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    host = next((value for name, value in headers if name == b"host"), b"").decode("latin-1")
    is_https = any(name == b"x-forwarded-proto" and value.strip().lower() == b"https" for name, value in headers)
    return f"{'https' if is_https else scope.get('scheme', 'http')}://{host}"


def accept_last(
    listeners: Iterable[socket.socket], protocol: Callable[[], Any], tls: ssl.SSLContext | None, tasks: OwnTasks
) -> None:
    """Take the connections that the system has accepted already. It would reset them when their socket is closed.

    `tasks` begin them.
    """
    for listener in listeners:
        with suppress(OSError):  # none is left
            while True:
                one, _ = listener.accept()
                one.setblocking(False)
                tasks.start(_taken(one, protocol, tls))


async def _taken(one: socket.socket, protocol: Callable[[], Any], tls: ssl.SSLContext | None) -> None:
    with suppress(OSError):  # its client has gone, or the handshake of TLS failed
        await asyncio.get_running_loop().connect_accepted_socket(protocol, one, ssl=tls)


def close_all(servers: Iterable[asyncio.base_events.Server], listeners: Iterable[socket.socket]) -> None:
    """Accept no connections any more. Those that are open go on."""
    for server in servers:
        server.close()
    for listener in listeners:
        listener.close()


class Passing(Protocol):
    """Hands connections to other processes that serve the same address, and takes theirs (with httptools)."""

    def open(self, connect: Callable[[], Any], count: Callable[[], int]) -> None:
        """Begin: `connect` makes the protocol of a connection, and `count` is how many are open."""
        ...

    def place_of(self, scope: Any, *, is_first: bool) -> int | None:
        """Return where a request belongs, by its head; None if here. It may be the first on its connection."""
        ...

    def send(self, place: int, transport: asyncio.Transport, data: bytes) -> bool:
        """Hand a connection over, with what was read of its request. Return False if it stays."""
        ...
