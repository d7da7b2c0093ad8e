"""Where packets of a WebRTC connection may go: STUN and TURN servers, and the peer's addresses, all through the gate.

aiortc would resolve the servers' names itself, and aioice sends to each address that signalling or a packet names. Here
each server is resolved once and checked, and aioice receives the checked address in numbers. The rule for the peer's
addresses is in docs/security.md.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import anyio.to_thread

from utcp_bridge.errors import ConfigError, MissingExtra, PolicyError, Unreachable
from utcp_bridge.model import Source
from utcp_bridge.net.gate.addresses import address_class, is_never_named
from utcp_bridge.net.gate.connection_watch import CheckedDatagrams, issued
from utcp_bridge.net.guard import Address, Guard
from utcp_bridge.urls import endpoint_of

__all__ = ["IcePolicy", "IceRoute", "IceUrl", "Peers", "ice_endpoints", "ice_url"]

_logger = logging.getLogger(__name__)

MAX_ICE_URLS: Final = 32
"""Of one template. aioice uses one STUN and one TURN server; services list four or five."""
_PORTS: Final[Mapping[str, int]] = {"stun": 3478, "turn": 3478, "stuns": 5349, "turns": 5349}
_TRANSPORTS: Final = frozenset({"udp", "tcp"})
_NO_PEER: Final = frozenset({"multicast", "unspecified"})
_MDNS: Final = ("224.0.0.251", 5353)

Servers: TypeAlias = Sequence[Mapping[str, Any]]
"""`{urls, username, credential}` each."""
Peers: TypeAlias = Literal["any", "not loopback", "public"]
"""Which addresses the peer may have: any if the operator chose the signalling server."""


class IceUrl(NamedTuple):
    """The parts of the URL of a STUN or TURN server (RFC 7064, RFC 7065)."""

    scheme: str
    host: str
    port: int
    transport: str

    @property
    def is_usable(self) -> bool:
        """Whether aioice can use it: it has neither STUN over TLS nor TURN over DTLS."""
        return self.scheme in {"stun", "turn"} or (self.scheme == "turns" and self.transport == "tcp")


@dataclass(frozen=True, slots=True)
class IceRoute:
    """The checked servers of one connection."""

    stun: tuple[str, int] | None = None
    turn: tuple[str, int] | None = None
    transport: str = "udp"
    tls: ssl.SSLContext | None = None
    username: str | None = None
    credential: str | None = field(default=None, repr=False)

    def place(self, connection: Any) -> None:
        """Set the servers of an `aioice.Connection` that has not gathered its candidates."""
        connection.stun_server = self.stun
        connection.turn_server = self.turn
        connection.turn_transport = self.transport
        connection.turn_ssl = self.tls
        connection.turn_username = self.username
        connection.turn_password = self.credential


def ice_url(url: str) -> IceUrl:
    """Return the parts of a URL such as `turn:[2001:db8::1]:3478?transport=tcp`. `//` after the scheme is ignored.

    :raises ConfigError: it cannot be read.
    """
    scheme, _, rest = url.strip().partition(":")
    scheme = scheme.lower()
    address, mark, query = rest.removeprefix("//").partition("?")
    host, port = _host_and_port(address)
    name, _, transport = query.lower().partition("=")
    known = not mark or (scheme.startswith("turn") and name == "transport" and transport.isalnum())
    number = _PORTS.get(scheme, 0) if not port else _port(port)
    if scheme not in _PORTS or not host or not number or not known:
        raise ConfigError(
            "An entry of `ice_servers` cannot be used.",
            remedy="Write stun:host:port or turn:host:port?transport=tcp, with IPv6 in brackets.",
        )
    return IceUrl(scheme, host, number, transport or ("tcp" if scheme == "turns" else "udp"))


def _host_and_port(address: str) -> tuple[str, str]:
    """Return host and port as text; an empty host if there is none that a server can have."""
    if address.startswith("["):
        host, closed, rest = address[1:].partition("]")
        usable = ":" in host and closed and (not rest or rest.startswith(":"))
        return (host if usable else ""), rest[1:]
    host, _, port = address.partition(":")
    usable = all(character.isalnum() or character in "-._" for character in host)
    return (host if usable else ""), port


def _port(text: str) -> int:
    """Return the number; 0 if it is none."""
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= 5 else 0
    return number if number <= 65_535 else 0


def _urls(servers: Servers) -> list[tuple[IceUrl, Mapping[str, Any]]]:
    written = [(url, server) for server in servers for url in _listed(server["urls"])]
    if len(written) > MAX_ICE_URLS:
        raise ConfigError(f"`ice_servers` has {len(written)} URLs.", remedy=f"List at most {MAX_ICE_URLS}.")
    return [(ice_url(url), server) for url, server in written]


def _listed(urls: str | Iterable[str]) -> Iterable[str]:
    return [urls] if isinstance(urls, str) else urls


def ice_endpoints(servers: Servers) -> frozenset[str]:
    """Return the servers as in `Source.exempt`, for a template that the operator wrote.

    :raises ConfigError: an entry cannot be read.
    """
    return frozenset(endpoint_of(url.host, url.port) for url, _ in _urls(servers))


class IcePolicy:
    """Where the packets of one manual's connections may go. `refused` is the first error of a peer's address."""

    def __init__(self, guard: Guard, source: Source, peers: Peers = "public") -> None:
        self._guard = guard
        self._source = source
        self._peers = peers
        self.refused: PolicyError | None = None

    def admit(self, host: str, port: int) -> bool:
        """Return whether packets may go to an address of the peer. What it admits, the gate has issued."""
        if self._peers == "any" and host.endswith(".local"):
            issued.add(*_MDNS)  # aioice asks the local network; the answer is checked before packets go there
            return True
        try:
            address = ip_address(host)
        except ValueError:
            return False
        kind = address_class(address)
        if kind in _NO_PEER or is_never_named(address):
            return False
        if self._peers == "public" or (self._peers == "not loopback" and kind == "loopback"):
            try:
                self._guard.check_literal(host, port, replace(self._source, exempt=frozenset()))
            except PolicyError as error:
                self.refused = self.refused or error
                return False
        issued.add(host, port)
        return True

    async def route(self, servers: Servers) -> IceRoute:
        """Return the first STUN and the first TURN server that can be used, resolved and checked.

        :raises PolicyError: the manual may not reach one of them.
        :raises ConfigError: an entry cannot be read.
        """
        route = IceRoute()
        urls = _urls(servers)
        for url, _ in urls:
            self._guard.check_literal(url.host, url.port, self._source)
        for url, server in urls:
            taken = route.stun if url.scheme == "stun" else route.turn
            if not url.is_usable or taken is not None or url.transport not in _TRANSPORTS:
                continue
            try:
                addresses = await self._guard.resolve(url.host, url.port, self._source)
            except Unreachable as error:
                _logger.info("An ICE server of manual %r cannot be used: %s", self._source.name, error.message)
                continue
            route = await self._with(route, url, server, addresses)
        return route

    async def _with(
        self, route: IceRoute, url: IceUrl, server: Mapping[str, Any], addresses: Sequence[Address]
    ) -> IceRoute:
        if url.scheme == "stun":
            usable = [address for address in addresses if ":" not in address.host]  # aioice asks over IPv4 only
            return replace(route, stun=(usable[0].host, url.port)) if usable else route
        tls = None
        if url.scheme == "turns":
            tls = await anyio.to_thread.run_sync(_tls, url.host, self._source.tls.ca_cert)
        return replace(
            route,
            turn=(addresses[0].host, url.port),
            transport=url.transport,
            tls=tls,
            username=server.get("username"),
            credential=server.get("credential"),
        )

    def watch(self, connection: Any) -> None:
        """Check each packet of an `aioice.Connection` that has gathered: a packet from anywhere makes its sender a
        candidate, and a name of the local network resolves to any address.
        """
        for protocol in connection._protocols:  # noqa: SLF001 - aioice has no other place for it
            protocol.transport = CheckedDatagrams(protocol.transport, self.admit)


class _NamedTls(ssl.SSLContext):
    """A client's context that verifies one name, whatever address the connection goes to."""

    server_name: str

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        """Begin TLS, with the name instead of the address."""
        return super().wrap_bio(*arguments, **{**options, "server_hostname": self.server_name})


def _tls(host: str, ca_cert: str | None) -> ssl.SSLContext:
    context = _NamedTls(ssl.PROTOCOL_TLS_CLIENT)
    context.server_name = host
    if ca_cert is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(ca_cert)
    return context


def ice_connection(peer: Any) -> Any:
    """Return the `aioice.Connection` of a peer connection that has a data channel.

    :raises MissingExtra: this aiortc is built in another way, so that its packets could not be checked.
    """
    try:
        return peer.sctp.transport.transport._connection  # noqa: SLF001 - aiortc has no other place for it
    except AttributeError:
        raise MissingExtra("webrtc", "webrtc") from None
