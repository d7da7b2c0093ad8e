"""Kinds of IP addresses (pure): which are public, how near the others are, and which belong to the machine's cloud."""

from __future__ import annotations

import unicodedata
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

from utcp_bridge.late.patterns import late_pattern

__all__ = ["IpAddress", "IpNetwork", "Nearness", "address_class", "closed_host", "is_never_named", "nearness"]

IpAddress: TypeAlias = IPv4Address | IPv6Address
IpNetwork: TypeAlias = IPv4Network | IPv6Network

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
        ("168.63.129.16/32", "metadata"),
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
_IPV4_PARTS: Final = 4
_MAX_BYTE: Final = 255
_IPV4_NUMBER: Final = late_pattern(r"0x[0-9a-f]{0,16}|[0-9]{1,16}")
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_ISATAP_MARKS = (b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe")
# Services of the link or of the machine's cloud, which give credentials to every program that reaches them. Some have
# addresses that are private, or even public (Azure's 168.63.129.16). The IPv6 ones belong to AWS, Google and Scaleway.
_NEVER_NAMED: Final[tuple[IpNetwork, ...]] = tuple(
    ip_network(network)
    for network in (
        "169.254.0.0/16",
        "168.63.129.16/32",
        "100.100.100.200/32",
        "192.0.0.192/32",
        "fe80::/10",
        "fd00:ec2::/32",
        "fd00:42::42/128",
        "fd20:ce::254/128",
    )
)
_INSIDE: Final = frozenset({
    "loopback", "unspecified", "private", "carrier-grade NAT", "unique local", "site-local", "link-local", "metadata",
})  # fmt: skip
_NAT64: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_IPV4_AT_THE_END: Final = (*_NAT64, IPv6Network("::/96"), IPv6Network("::ffff:0:0:0/96"))
_SIX_TO_FOUR: Final = IPv6Network("2002::/16")


_LOCAL_NAMES: Final = ("localhost", "localdomain", "local", "internal", "intranet", "lan", "home", "corp", "private")
"""Last parts of names that are not public. A name of one part is not public either. Clouds use `internal`."""
_METADATA_NAME: Final = "metadata.goog"


class Nearness(IntEnum):
    """How near an address is to this machine."""

    PUBLIC = 0
    SPECIAL = 1
    """Neither public nor inside: reserved, multicast, documentation, tunnels."""
    INSIDE = 2
    """This machine, or a network that only this side reaches."""


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


def closed_host(host: str) -> str | None:
    """Return the kind of a host that is not public, in words, without a look-up; None if it may be public.

    Browsers and C libraries also read 127.1, 2130706433, 0x7f.1 and 0177.0.0.1 as addresses, and other digits and dots
    that Unicode considers the same (UTS 46).
    """
    name = unicodedata.normalize("NFKC", host).strip("[]").partition("%")[0].rstrip(".").casefold()
    if not name:
        return "unspecified"
    try:
        address: IpAddress | None = ip_address(name)
    except ValueError:
        address = _loose_ipv4(name)
    if address is None:
        is_local = ("." not in name and ":" not in name) or name.rpartition(".")[2] in _LOCAL_NAMES
        return "local" if is_local or f".{name}".endswith(f".{_METADATA_NAME}") else None
    kind = address_class(address)
    return "metadata" if kind is None and is_never_named(address) else kind


def _loose_ipv4(name: str) -> IPv4Address | None:
    """Return the address of one to four decimal, octal or hexadecimal numbers (inet_aton, WHATWG URL section 3.5)."""
    parts = name.split(".")
    if len(parts) > _IPV4_PARTS or not all(_IPV4_NUMBER.fullmatch(part) for part in parts):
        return None
    numbers = [_number(part) for part in parts]
    *heads, last = numbers
    room = 256 ** (_IPV4_PARTS - len(heads))
    if last >= room or any(one > _MAX_BYTE for one in heads):
        return None
    return IPv4Address(last + sum(one << 8 * (3 - place) for place, one in enumerate(heads)))


def _number(text: str) -> int:
    if text.startswith("0x"):
        return int(text[2:] or "0", 16)
    return int(text, 8 if text.startswith("0") and not set(text) & {"8", "9"} else 10)


def nearness(address: IpAddress) -> Nearness:
    """Return how near the address is, or the IPv4 address inside of it.

    A network with IPv6 alone writes public IPv4 addresses in the NAT64 form, so that form itself is not special.
    """
    kind = address_class(address)
    if kind is None:
        return Nearness.PUBLIC
    if kind in _INSIDE:
        return Nearness.INSIDE
    inner = _inner(address)
    if inner is None:
        return Nearness.SPECIAL
    return nearness(inner) if kind == "NAT64" else max(Nearness.SPECIAL, nearness(inner))


def is_never_named(address: IpAddress) -> bool:
    """Return whether no name may lead to the address: link-local, or a metadata service, in any of its forms."""
    inner = _inner(address)
    return any(one in network for one in (address, inner) if one is not None for network in _NEVER_NAMED)


def _inner(address: IpAddress) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 address stands for: mapped, NAT64, 6to4, Teredo, ISATAP, compatible."""
    if isinstance(address, IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.teredo is not None:
        return address.teredo[1]
    if address in _SIX_TO_FOUR:
        return IPv4Address(address.packed[2:6])
    if address.packed[8:12] in _ISATAP_MARKS or any(address in network for network in _IPV4_AT_THE_END):
        return IPv4Address(address.packed[12:])
    return None
