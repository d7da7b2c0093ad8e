"""The guard: where a connection of any transport may go (docs/security.md).

It checks twice. At registration and before each request, `check_url` checks whether this manual may use this target. At
connect time, `resolve` looks the name up, checks **every** address, and returns the checked addresses, so that a second
look-up cannot return others.

A `host:port` that the operator wrote is exempt. If the host is a name, others decide its addresses: those of its DNS.
So the exemption goes no further than the first answer. A name that was public stays public. One that was loopback or
private may move between these (pods of Kubernetes, a VPN, Docker). Link-local and metadata addresses are never
reached by name.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeAlias

import anyio

from utcp_bridge.errors import ConfigError, PolicyError, Unreachable
from utcp_bridge.model import Source, Trust
from utcp_bridge.net.gate.addresses import IpAddress, IpNetwork, Nearness, address_class, is_never_named, nearness
from utcp_bridge.net.gate.connection_watch import issued
from utcp_bridge.net.gate.names import MAX_LOOKUP_SECONDS, Names
from utcp_bridge.net.gate.shortage import descriptor_shortage
from utcp_bridge.urls import DEFAULT_PORTS, endpoint_of, endpoint_of_url, origin, origin_of, port_of, split_url

if TYPE_CHECKING:
    from anyio.abc import ByteStream, TaskGroup

__all__ = ["Address", "Guard", "endpoint_of", "is_own_origin", "looks_like_address", "origin_of"]

Resolver: TypeAlias = Callable[[str, int], Awaitable[Iterable[str]]]
"""Host and port to the texts of all addresses. Raises OSError if there are none."""


_HEAD_START = 0.25
"""Seconds that one address has before the next one is tried too (RFC 8305)."""
_first_answers: dict[str, Nearness] = {}
"""By name, from the system's first answer in this process. The guard that read the configuration from a URL and that of
the client must agree. Only names that the operator wrote are kept."""


class Address(NamedTuple):
    """A checked address to connect to."""

    host: str
    port: int
    family: socket.AddressFamily


Connect: TypeAlias = "Callable[[Address], Awaitable[ByteStream]]"


class Guard:
    """Decides where connections may go. It keeps how near the names were that the operator wrote.

    `resolver` replaces the system's name resolution, and `connect` the opening of a TCP connection.
    """

    def __init__(
        self,
        resolver: Resolver | None = None,
        connect: Connect | None = None,
    ) -> None:
        self._resolver = resolver
        self._names = Names()
        self._connect = connect or _connect
        self._nearness = _first_answers if resolver is None else {}

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
        if not looks_like_address(host):
            return
        if not _is_exempt(host, port, source):
            _check_address(_number(host), host, port, source)
        issued.add(host.strip("[]"), port)

    async def resolve(self, host: str, port: int, source: Source) -> list[Address]:
        """Return all addresses of `host`, all of them checked. Connect to these only.

        :raises PolicyError: one of them is not allowed.
        :raises Unreachable: there are none.
        """
        self.check_literal(host, port, source)
        if looks_like_address(host):
            return [_issue(str(_number(host)), port)]
        texts = await self._look_up(host, port, source)
        addresses = [ip_address(text) for text in texts]
        if _is_exempt(host, port, source):
            self._check_written_name(addresses, host, port, source)
        else:
            for address in addresses:
                _check_address(address, host, port, source)
        return [_issue(text, port) for text in texts]

    def _check_written_name(self, addresses: Iterable[IpAddress], host: str, port: int, source: Source) -> None:
        """Check the addresses of a name that the operator wrote: none may be nearer than those of the first answer."""
        closed = [address for address in addresses if not _is_allowed(address, source)]
        for address in closed:
            if is_never_named(address):
                _refuse(address, host, port, source, ", and such an address is never reached by name")
        if not closed:
            return
        nearest = max(closed, key=nearness)
        first = self._nearness.setdefault(endpoint_of(host, 0), nearness(nearest))
        if nearness(nearest) > first:
            _refuse(
                nearest,
                host,
                port,
                source,
                ". The first addresses of the name were outside your networks, and a name may not come nearer",
            )

    def is_inside(self, url: str, source: Source) -> bool:
        """Return whether the operator wrote this endpoint and it is on this machine or in its networks."""
        parts = split_url(url)
        host, port = parts.hostname or "", port_of(parts)
        if not _is_exempt(host, port, source):
            return False
        if looks_like_address(host):
            return nearness(_number(host)) is Nearness.INSIDE
        return self._nearness.get(endpoint_of(host, 0)) is Nearness.INSIDE

    def doubt(self, host: str) -> list[str]:
        """Look the name up again before its next use: its addresses do not reply. Return those that are known."""
        return [] if self._resolver is not None or looks_like_address(host) else self._names.doubt(host)

    async def resolve_again(
        self, host: str, port: int, source: Source, failed: Sequence[Address] | None = None
    ) -> list[Address]:
        """Look the name up again after no connection could be made. Return the addresses that are not in `failed`.

        By default `failed` has the addresses that were known.

        :raises PolicyError: one of the addresses is not allowed.
        :raises Unreachable: there are none.
        """
        if self._resolver is not None or looks_like_address(host):
            return []
        known = self.doubt(host)
        old = known if failed is None else [address.host for address in failed]
        return [address for address in await self.resolve(host, port, source) if address.host not in old]

    async def connect_tcp(self, host: str, port: int, source: Source) -> ByteStream:
        """Return a TCP connection to the checked address that accepts one first. The first address has a head start.

        :raises PolicyError: an address is not allowed.
        :raises Unreachable: no address accepts a connection.
        """
        addresses = await self.resolve(host, port, source)
        try:
            try:
                return await _connect_first(addresses, self._connect)
            except OSError:
                if moved := await self.resolve_again(host, port, source, addresses):
                    return await _connect_first(moved, self._connect)
                raise
        except OSError as error:
            if shortage := descriptor_shortage(error):
                raise shortage from error
            raise Unreachable(f"No connection to {endpoint_of(host, port)}: {_reason(error)}.") from error

    async def _look_up(self, host: str, port: int, source: Source) -> list[str]:
        issued.add(host)
        try:
            if self._resolver is None:
                texts = await self._names.addresses(host, port, source.name)
            else:
                texts = list(await self._resolver(host, port))
        except TimeoutError:
            raise Unreachable(
                f"The host name {host!r} was not resolved within {MAX_LOOKUP_SECONDS:g} seconds."
            ) from None
        except (OSError, UnicodeError) as error:
            if shortage := descriptor_shortage(error, probe=True):
                raise shortage from error
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


def _number(host: str) -> IpAddress:
    """Return a host that is written as an address.

    :raises PolicyError: it is written as old programs read addresses, such as 127.1 or 2130706433.
    """
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        raise PolicyError(
            f"The host {host!r} is an address in an unusual form.",
            remedy="Write four decimal numbers, or IPv6.",
        ) from None


def _issue(text: str, port: int) -> Address:
    issued.add(text, port)
    return Address(text, port, socket.AF_INET6 if ":" in text else socket.AF_INET)


def _check_address(address: IpAddress, host: str, port: int, source: Source) -> None:
    if address_class(address) is not None and not _is_allowed(address, source):
        _refuse(address, host, port, source)


def _is_allowed(address: IpAddress, source: Source) -> bool:
    """Return whether `allow_networks` opens the address."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    networks = _networks(source.allow_networks)
    return any(one in network for one in (address, mapped) if one is not None for network in networks)


def _refuse(address: IpAddress, host: str, port: int, source: Source, why: str = "") -> NoReturn:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    kind = address_class(address) or "public"
    raise PolicyError(
        f"Manual {source.name!r} must not connect to {endpoint_of(host, port)}: it is a {kind} address{why}.",
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


async def _connect(address: Address) -> ByteStream:
    return await anyio.connect_tcp(address.host, address.port)


async def _connect_first(
    addresses: Sequence[Address], connect: Callable[[Address], Awaitable[ByteStream]]
) -> ByteStream:
    """Return the first connection that is made; each attempt starts when the one before failed or takes long.

    :raises OSError: no address accepts one; the last error.
    """
    made: list[ByteStream] = []
    errors: list[OSError] = []

    async def attempt(address: Address, failed: anyio.Event, group: TaskGroup) -> None:
        try:
            made.append(await connect(address))
        except OSError as error:
            errors.append(error)
            failed.set()
        else:
            group.cancel_scope.cancel()

    try:
        async with anyio.create_task_group() as group:
            for address in addresses:
                failed = anyio.Event()
                group.start_soon(attempt, address, failed, group)
                with anyio.move_on_after(_HEAD_START):
                    await failed.wait()
        if made:
            return made.pop(0)
        raise errors[-1]
    finally:
        for extra in made:
            await anyio.aclose_forcefully(extra)
