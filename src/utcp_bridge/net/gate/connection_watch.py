"""The watch behind the gate: connections of this process go only to addresses that the gate has checked.

The gate (`net/guard.py`) issues each address that it has checked. `watched` adds a hook to the interpreter that stops
every other connection, also one that a library makes by itself. It is the second lock: with it, a way around the gate
is an error instead of a connection.

It sees what Python's sockets do (`socket.connect`, `sendto`, `sendmsg`, name look-ups), in every thread. uvloop and
the event loop of Windows connect in C, which Python's hooks do not see; for these the methods of the loop are checked.
It does not see the connections of libraries written in C (gRPC, whose targets are checked addresses in numbers; c-ares,
which asks the name servers of the system's configuration) and of child processes. It costs about three microseconds
for each connection and each datagram, and nothing that can be measured for a call over a kept connection.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from threading import Lock
from typing import Any, Final, TypeAlias, cast

from utcp_bridge.errors import PolicyError
from utcp_bridge.urls import endpoint_of

__all__ = ["CheckedDatagrams", "Issued", "issued", "watched"]

_LIFETIME: Final = 600.0
"""Seconds from the last use. A name is resolved again after thirty seconds; a peer of WebRTC is sent to every few."""
_MAX_ISSUED: Final = 16_384
_Key: TypeAlias = tuple[bytes | str, int | None]
Allowed: TypeAlias = Callable[[str, int], bool]
"""Whether packets may go to this host and port."""


class Issued:
    """The addresses and names that the gate has let through. Each is forgotten some time after its last use."""

    def __init__(
        self, *, lifetime: float = _LIFETIME, most: int = _MAX_ISSUED, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lifetime = lifetime
        self._most = most
        self._clock = clock
        self._expiry: OrderedDict[_Key, float] = OrderedDict()
        self._lock = Lock()  # look-ups are in threads

    def add(self, host: str, port: int | None = None) -> None:
        """Let through connections to the address; without a port, look-ups of the name."""
        key = _key(host, port)
        with self._lock:
            self._expiry[key] = self._clock() + self._lifetime
            self._expiry.move_to_end(key)
            while len(self._expiry) > self._most:
                self._expiry.popitem(last=False)

    def has(self, host: str, port: int | None = None) -> bool:
        """Return whether the gate let it through. A use extends its time."""
        expiry = self._expiry.get(_key(host, port))
        if expiry is None or expiry < self._clock():
            return False
        self.add(host, port)
        return True


issued: Final = Issued()
"""Those of this process: hooks of the interpreter serve the whole process, too."""


@lru_cache(maxsize=4_096)
def _key(host: str, port: int | None) -> _Key:
    """Return one key for all forms of an address."""
    try:
        address = ip_address(host)
    except ValueError:
        return host.rstrip(".").lower(), port
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.packed, port


class _Watch:
    """The state of the hook. A hook cannot be removed, so it is added once, and does nothing while nobody watches."""

    def __init__(self) -> None:
        self.added = False
        self.allowed: list[Allowed] = []

    def check(self, host: str, port: int | None) -> None:
        """Stop a connection that no rule lets through.

        :raises PolicyError: the gate did not check the address.
        """
        if not issued.has(host, port) and not any(rule(host, port or 0) for rule in self.allowed):
            what = f"a connection to {endpoint_of(host, port)}" if port is not None else f"a look-up of {host!r}"
            raise PolicyError(
                f"The bridge stopped {what}, because the address gate did not check it.",
                remedy="Please report this. `check_connections: false` lets it through.",
            )

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Check one event of the interpreter."""
        if self.allowed and event in _EVENTS:
            _EVENTS[event](self, arguments)

    def on_address(self, arguments: tuple[Any, ...]) -> None:
        """Check the peer of a socket: `(socket, address)`. Other families than IP stay on this machine."""
        one, address = arguments
        if one.family in _FAMILIES and address is not None:
            self.check(str(address[0]), int(address[1]))

    def on_name(self, arguments: tuple[Any, ...]) -> None:
        """Check a look-up. A number needs no server of names, and no host means this machine."""
        host = arguments[0]
        name = host.decode("latin-1") if isinstance(host, bytes | bytearray) else host
        if name and not _is_number(str(name)):
            self.check(str(name), None)


_watch: Final = _Watch()
_FAMILIES: Final = frozenset({socket.AF_INET, socket.AF_INET6})
_EVENTS: Final[dict[str, Callable[[_Watch, tuple[Any, ...]], None]]] = {
    "socket.connect": _Watch.on_address,
    "socket.sendto": _Watch.on_address,
    "socket.sendmsg": _Watch.on_address,
    "socket.getaddrinfo": _Watch.on_name,
    "socket.gethostbyname": _Watch.on_name,
    "socket.gethostbyaddr": _Watch.on_name,
}


def _is_number(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _never(host: str, port: int) -> bool:
    del host, port
    return False


@contextmanager
def watched(also: Allowed = _never) -> Generator[None]:
    """Stop connections that the gate has not checked, until the block ends. Call it in the event loop's thread, if any.

    `also` lets through further addresses: those that a program around the bridge needs.
    """
    if not _watch.added:
        sys.addaudithook(_watch.hook)
        _watch.added = True
    _watch.allowed.append(also)
    restore = _watch_loop()
    try:
        yield
    finally:
        restore()
        _watch.allowed.remove(also)


def _watch_loop() -> Callable[[], None]:
    """Check the connections that an event loop makes in C. Return a function that ends it."""
    try:
        loop: Any = asyncio.get_running_loop()
    except RuntimeError:
        return lambda: None
    if isinstance(loop, asyncio.SelectorEventLoop):
        return lambda: None  # all of it is Python's sockets
    checked = _CheckedLoop(loop)
    before = {name: getattr(loop, name) for name in _OF_THE_LOOP}
    for name in _OF_THE_LOOP:
        setattr(loop, name, getattr(checked, name))

    def restore() -> None:
        for name, method in before.items():
            setattr(loop, name, method)

    return restore


_OF_THE_LOOP: Final = ("create_connection", "create_datagram_endpoint", "getaddrinfo", "sock_connect")


class _CheckedLoop:
    """The methods of an event loop that connect, with a check in front."""

    def __init__(self, loop: Any) -> None:
        self._connect = loop.create_connection
        self._datagrams = loop.create_datagram_endpoint
        self._look_up = loop.getaddrinfo
        self._sock_connect = loop.sock_connect

    async def create_connection(
        self, factory: Callable[[], Any], host: Any = None, port: Any = None, **options: Any
    ) -> tuple[Any, Any]:
        if host is not None:
            _watch.check(str(host), int(port))
        return cast("tuple[Any, Any]", await self._connect(factory, host, port, **options))

    async def create_datagram_endpoint(
        self, factory: Callable[[], Any], local_addr: Any = None, remote_addr: Any = None, **options: Any
    ) -> tuple[Any, Any]:
        if remote_addr is not None:
            _watch.check(str(remote_addr[0]), int(remote_addr[1]))
        relay = (await self._datagrams(lambda: _Relay(factory()), local_addr, remote_addr, **options))[1]
        return relay.transport, relay.inner

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        _watch.on_name((host, port))
        return await self._look_up(host, port, **options)

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        _watch.on_address((sock, address))
        await self._sock_connect(sock, address)


def _is_allowed(host: str, port: int) -> bool:
    return issued.has(host, port) or any(rule(host, port) for rule in _watch.allowed)


class _Relay(asyncio.DatagramProtocol):
    """Passes everything on to another protocol, and gives it a transport that checks the receiver of each datagram."""

    def __init__(self, inner: asyncio.DatagramProtocol) -> None:
        self.inner = inner
        self.transport: CheckedDatagrams

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = CheckedDatagrams(transport, _is_allowed)
        self.inner.connection_made(self.transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.inner.datagram_received(data, addr)

    def error_received(self, exc: Exception) -> None:
        self.inner.error_received(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self.inner.connection_lost(exc)

    def pause_writing(self) -> None:
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        self.inner.resume_writing()


class CheckedDatagrams(asyncio.DatagramTransport):
    """A transport that drops datagrams to addresses that `allowed` refuses. One without an address has its peer."""

    def __init__(self, inner: Any, allowed: Allowed) -> None:
        super().__init__()
        self._inner = inner
        self._allowed = allowed
        self._known: set[tuple[str, int]] = set()

    def sendto(self, data: Any, addr: Any = None) -> None:
        """Send one datagram, or drop it."""
        if addr is not None:
            peer = (str(addr[0]), int(addr[1]))
            if peer not in self._known:
                if not self._allowed(*peer):
                    return
                if len(self._known) >= _MAX_ISSUED:
                    self._known.clear()
                self._known.add(peer)
        self._inner.sendto(data, addr)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the transport inside returns."""
        return self._inner.get_extra_info(name, default)

    def is_closing(self) -> bool:
        """Return whether it is closing or closed."""
        return bool(self._inner.is_closing())

    def close(self) -> None:
        """Close the transport."""
        self._inner.close()

    def abort(self) -> None:
        """Close it at once."""
        self._inner.abort()
