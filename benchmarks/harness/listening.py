"""A listening socket on a free port of loopback."""

from __future__ import annotations

import socket


def listen() -> socket.socket:
    """Bind and listen. The protocol is named, for asyncio switches Nagle's delay off only on sockets that name it."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(512)
    return listener
