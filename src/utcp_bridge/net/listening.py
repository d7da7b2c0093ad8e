"""Listening sockets, and which addresses are on this machine only."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any, Final, cast

from utcp_bridge.errors import ConfigError

__all__ = ["LOOPBACK_NAMES", "bind", "for_url", "is_loopback"]

LOOPBACK_NAMES: Final = ("127.0.0.1", "localhost", "::1")
_BACKLOG: Final = 2048


def is_loopback(host: str) -> bool:
    """Return whether only programs on this machine can reach a server that listens on `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def for_url(host: str) -> str:
    """Return a host as it is written in a URL, with IPv6 in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket on the first address of a host name.

    :raises ConfigError: it cannot listen there.
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        return socket.create_server(cast("Any", address), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"Cannot listen on {host}:{port}: {error.strerror or error}.", remedy="Set another `host` or `port`."
        ) from None
