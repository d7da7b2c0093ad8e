"""The guard: where a connection of any transport may go (docs/security.md).

It checks twice. At registration and before each request, `check_url` checks whether this manual may use this target. At
connect time, `resolve` looks the name up, checks **every** address, and returns the checked addresses, so that a second
look-up cannot return others.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import anyio

from utcp_bridge.errors import ConfigError, PolicyError, Unreachable
from utcp_bridge.model import Source, Trust
from utcp_bridge.urls import DEFAULT_PORTS, endpoint_of, endpoint_of_url, origin, origin_of, port_of, split_url

if TYPE_CHECKING:
    from anyio.abc import ByteStream

__all__ = ["Address", "Guard", "address_class", "endpoint_of", "is_own_origin", "looks_like_address", "origin_of"]

IpAddress: TypeAlias = IPv4Address | IPv6Address
IpNetwork: TypeAlias = IPv4Network | IPv6Network
Resolver: TypeAlias = Callable[[str, int], Awaitable[Iterable[str]]]
"""Host and port to the texts of all addresses. Raises OSError if there are none."""

# The order matters only for the message: the first network that contains the address names it.
# `is_global` alone is not enough: it is true for NAT64 and 6to4 forms of 127.0.0.1, for fec0::/10, for
# multicast and for 192.0.0.192, a metadata address of a cloud.
_BLOCKED: tuple[tuple[IpNetwork, str], ...] = tuple(
    (ip_network(network), name)
    for network, name in (
        ("0.0.0.0/8", "unspecified"),
        ("127.0.0.0/8", "loopback"),
        ("10.0.0.0/8", "private"),
        ("172.16.0.0/12", "private"),
        ("192.168.0.0/16", "private"),
        ("169.254.0.0/16", "link-local"),
        ("100.64.0.0/10", "carrier-grade NAT"),
        ("192.0.0.0/24", "IETF protocol"),
        ("192.88.99.0/24", "6to4 relay"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::1/128", "loopback"),
        ("::/128", "unspecified"),
        ("::/96", "IPv4-compatible"),
        ("::ffff:0:0:0/96", "IPv4-translated"),
        ("64:ff9b::/96", "NAT64"),
        ("64:ff9b:1::/48", "NAT64"),
        ("2001::/32", "Teredo"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "documentation"),
        ("fc00::/7", "unique local"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_ISATAP_MARKS = (b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe")


class Address(NamedTuple):
    """A checked address to connect to."""

    host: str
    port: int
    family: socket.AddressFamily


class Guard:
    """Decides where connections may go. It has no state.

    `resolver` replaces the system's name resolution, and `connect` the opening of a TCP connection.
    """

    def __init__(
        self,
        resolver: Resolver | None = None,
        connect: Callable[[Address], Awaitable[ByteStream]] | None = None,
    ) -> None:
        self._resolver = resolver or _system_resolver
        self._connect = connect or _connect

    def check_url(self, url: str, source: Source, *, credentials: bool = False) -> str:
        """Check that a tool of `source` may use `url`, and return the URL's origin.

        An operator's manual may use any http(s) or ws(s) URL. A fetched manual may use its own origin and the
        operator's `allowed_origins`, and other https origins only without `credentials`.

        :raises PolicyError: the tool may not use it.
        :raises ConfigError: it is not a URL.
        """
        parts = split_url(url)
        if parts.username is not None or parts.password is not None:
            raise PolicyError(
                f"The URL of {parts.hostname} contains a user name or a password.",
                remedy='Write them into "auth": {"auth_type": "basic", …} instead.',
            )
        return self.check_target(parts.scheme, parts.hostname or "", port_of(parts), source, credentials=credentials)

    def check_target(self, scheme: str, host: str, port: int, source: Source, *, credentials: bool = False) -> str:
        """Do `check_url` for a URL that the HTTP engine has split, so that the checked parts are those in use."""
        if scheme not in DEFAULT_PORTS:
            raise PolicyError(
                f"Manual {source.name!r} uses a URL with the scheme {scheme!r}.", remedy="Use http, https, ws or wss."
            )
        target = origin(scheme, host, port)
        if not is_own_origin(scheme, host, port, source):
            _check_foreign_origin(target, source, credentials=credentials)
        self.check_literal(host, port, source)
        return target

    def check_token_url(self, url: str, source: Source) -> None:
        """Check that a client secret may be sent to `url`: over https, or to an endpoint that the operator named.

        :raises PolicyError: it may not.
        """
        self.check_url(url, source)
        endpoint = endpoint_of_url(url)
        if not url.lower().startswith("https:") and endpoint not in _exempt_endpoints(source):
            raise PolicyError(f"The token URL at {endpoint} is not https.", remedy="Use https.")

    def check_literal(self, host: str, port: int, source: Source) -> None:
        """Check a host that is written as an address. Names pass; `resolve` checks them.

        :raises PolicyError: the address is not allowed.
        """
        if not looks_like_address(host) or _is_exempt(host, port, source):
            return
        try:
            address = ip_address(host.strip("[]"))
        except ValueError:
            raise PolicyError(
                f"The host {host!r} is an address in an unusual form.",
                remedy="Write four decimal numbers, or IPv6.",
            ) from None
        _check_address(address, host, port, source)

    async def resolve(self, host: str, port: int, source: Source) -> list[Address]:
        """Return all addresses of `host`, all of them checked. Connect to these only.

        :raises PolicyError: one of them is not allowed.
        :raises Unreachable: there are none.
        """
        self.check_literal(host, port, source)
        texts = [host.strip("[]")] if looks_like_address(host) else await self._look_up(host, port)
        exempt = _is_exempt(host, port, source)
        addresses: list[Address] = []
        for text in texts:
            address = ip_address(text)
            if not exempt:
                _check_address(address, host, port, source)
            family = socket.AF_INET if address.version == 4 else socket.AF_INET6
            addresses.append(Address(text, port, family))
        return addresses

    async def connect_tcp(self, host: str, port: int, source: Source) -> ByteStream:
        """Return a TCP connection to the first checked address that accepts one.

        :raises PolicyError: an address is not allowed.
        :raises Unreachable: no address accepts a connection.
        """
        reason = "no address"
        for address in await self.resolve(host, port, source):
            try:
                return await self._connect(address)
            except OSError as error:
                reason = _reason(error)
        raise Unreachable(f"No connection to {endpoint_of(host, port)}: {reason}.")

    async def _look_up(self, host: str, port: int) -> list[str]:
        try:
            texts = list(await self._resolver(host, port))
        except (OSError, UnicodeError) as error:
            raise Unreachable(f"The host name {host!r} could not be resolved.") from error
        if not texts:
            raise Unreachable(f"The host name {host!r} has no address.")
        return texts


def _reason(error: OSError) -> str:
    """Return the system's text for the error. With anyio only the cause has it, and asyncio replaces it."""
    cause = error if error.errno or not isinstance(error.__cause__, OSError) else error.__cause__
    return os.strerror(cause.errno) if cause.errno else "no route"


def looks_like_address(host: str) -> bool:
    """Return whether HTTP clients use `host` as an address without name resolution: digits and dots, or a colon."""
    return ":" in host or host.replace(".", "").isdigit()


def address_class(address: IpAddress) -> str | None:
    """Return the kind of a non-public address in words; None for a public one."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif address.packed[8:12] in _ISATAP_MARKS:
            return "ISATAP"
    for network, name in _BLOCKED:
        if address in network:
            return name
    outside = isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST
    return None if address.is_global and not outside else "reserved"


def _check_address(address: IpAddress, host: str, port: int, source: Source) -> None:
    kind = address_class(address)
    if kind is None or any(address in network for network in _networks(source.allow_networks)):
        return
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    if mapped is not None and any(mapped in network for network in _networks(source.allow_networks)):
        return
    raise PolicyError(
        f"Manual {source.name!r} must not connect to {endpoint_of(host, port)}: it is a {kind} address.",
        remedy=f'If that is intended, add "allow_networks": ["{_single_network(mapped or address)}"] to the manual.',
    )


def _check_foreign_origin(target: str, source: Source, *, credentials: bool) -> None:
    remedy = f'If that is intended, add "allowed_origins": ["{target}"] to the manual.'
    if not target.startswith("https://"):
        raise PolicyError(f"Manual {source.name!r} must not use {target}: it is not its own origin.", remedy=remedy)
    if credentials:
        raise PolicyError(f"Credentials of manual {source.name!r} must not be sent to {target}.", remedy=remedy)


def is_own_origin(scheme: str, host: str, port: int, source: Source) -> bool:
    """Return whether the manual's credentials may go to this origin: to any if the operator wrote the manual."""
    return source.trust is Trust.OPERATOR or origin(scheme, host, port) in _own_origins(source)


@lru_cache(maxsize=256)
def _own_origins(source: Source) -> frozenset[str]:
    named = source.allowed_origins if source.origin is None else {source.origin, *source.allowed_origins}
    return frozenset(origin_of(url) for url in named)


@lru_cache(maxsize=256)
def _exempt_endpoints(source: Source) -> frozenset[str]:
    """Return the endpoints that the operator wrote: exempt pairs, allowed origins, and the origin of an own manual."""
    named = set(source.allowed_origins)
    if source.origin is not None and source.trust is Trust.OPERATOR:
        named.add(source.origin)
    return frozenset({endpoint_of_url(url) for url in named} | {pair.lower() for pair in source.exempt})


def _is_exempt(host: str, port: int, source: Source) -> bool:
    return endpoint_of(host, port) in _exempt_endpoints(source)


@lru_cache(maxsize=256)
def _networks(texts: tuple[str, ...]) -> tuple[IpNetwork, ...]:
    try:
        return tuple(ip_network(text, strict=False) for text in texts)
    except ValueError as error:
        raise ConfigError(
            f"`allow_networks` has an entry that is not a network: {error}.", remedy='Write CIDRs such as "10.0.0.0/8".'
        ) from None


def _single_network(address: IpAddress) -> str:
    return f"{address}/{address.max_prefixlen}"


async def _system_resolver(host: str, port: int) -> list[str]:
    infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(info[4][0]) for info in infos]


async def _connect(address: Address) -> ByteStream:
    return await anyio.connect_tcp(address.host, address.port)
