"""Which addresses are this machine's own: tests have servers there, and connect to nothing else."""

from __future__ import annotations

import socket
from functools import cache
from ipaddress import ip_address


def is_own_address(host: str, port: int) -> bool:
    """Return whether programs of this machine can listen on the host. No packet is sent."""
    del port
    return host == "localhost" or _is_own(host)


@cache
def _is_own(host: str) -> bool:
    try:
        address = ip_address(host)
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        with socket.socket(family, socket.SOCK_DGRAM) as one:
            one.bind((host, 0))
    except (OSError, ValueError):
        return False
    return not address.is_unspecified and not address.is_multicast
