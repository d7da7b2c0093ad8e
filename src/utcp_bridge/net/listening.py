"""Listening sockets, and which addresses are the machine's own."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any, Final, cast

from utcp_bridge.errors import ConfigError

__all__ = ["LOOPBACK_NAMES", "bind", "for_url", "is_loopback"]

LOOPBACK_NAMES: Final = ("127.0.0.1", "localhost", "::1")
_BACKLOG: Final = 2048


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine can reach what listens on `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def for_url(host: str) -> str:
    """A host as it stands in a URL: IPv6 in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def bind(host: str, port: int) -> socket.socket:
    """A listening socket on the first address that the host's name stands for. Raises ConfigError."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        return socket.create_server(cast("Any", address), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"Cannot listen on {host}:{port}: {error.strerror or error}.", remedy="Choose another `host` or `port`."
        ) from None
