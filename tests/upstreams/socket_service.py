"""Real TCP and UDP servers on loopback: all framings, an echo, a manual, silence, resets and floods."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

from utcp_bridge.transports.tcp import Framing

Answer = Callable[[bytes], Awaitable[bytes | None]]


def manual(kind: str, port: int, dialect: str, **fields: Any) -> dict[str, Any]:
    """Return the manual of the service."""
    template = {"host": "127.0.0.1", "port": port, **fields}
    if dialect == "v0":
        return {"version": "0.2.0", "tools": [{"name": "echo", "tool_provider": {"provider_type": kind, **template}}]}
    tool = {"name": "echo", "tool_call_template": {"call_template_type": kind, **template}}
    return {"utcp_version": "1.0.1", "manual_version": "1.0.0", "tools": [tool]}


@dataclass
class TcpService:
    """Replies to each message in the same framing. The message says what the server does."""

    framing: Framing = field(default_factory=lambda: Framing("delimiter", delimiter=b"\n"))
    greeting: bytes = b""
    always: dict[str, Any] = field(default_factory=dict)
    """What every message asks for, whatever it says."""
    host: str = "127.0.0.1"
    port: int = 0
    received: list[bytes] = field(default_factory=list)
    slow_arrived: asyncio.Event = field(default_factory=asyncio.Event)
    slow_gone: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None
    _closed_port: socket.socket | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self.host, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._closed_port = socket.socket()
        self._closed_port.bind(("127.0.0.1", 0))
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self._server is not None
        assert self._closed_port is not None
        self._server.close()
        self._closed_port.close()
        await self._server.wait_closed()

    @property
    def refusing(self) -> int:
        """Return a port that is bound but does not listen."""
        assert self._closed_port is not None
        return self._closed_port.getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        deframer = self.framing.deframer()
        writer.write(self.greeting)
        try:
            while chunk := await reader.read(65_536):
                message = chunk if self.framing.strategy == "stream" else deframer.feed(chunk)
                if message is not None:
                    await self._answer(message, reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def _answer(self, message: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.received.append(message)
        asked = self.always or _asked(message)
        if asked.get("slow"):
            self.slow_arrived.set()
            with suppress(ConnectionError):
                await reader.read(1)
            self.slow_gone.set()
        elif asked.get("reset"):
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        elif asked.get("cut"):
            writer.write(self.framing.frame(b"half of it")[:5])
            writer.close()
        else:
            reply = _reply("tcp", asked, message, self.port, _fields(self.framing))
            writer.write(self.framing.frame(reply))
            if asked.get("close"):
                writer.close()


class UdpService(asyncio.DatagramProtocol):
    """Replies to each datagram with one datagram, or with the number that it asks for."""

    def __init__(self) -> None:
        self.port = 0
        self.received: list[bytes] = []
        self.slow_arrived = asyncio.Event()
        self._transport: asyncio.DatagramTransport | None = None
        self._closed_port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self.port = self._transport.get_extra_info("sockname")[1]
        self._closed_port.bind(("127.0.0.1", 0))
        self.refusing = self._closed_port.getsockname()[1]
        self._closed_port.connect(("127.0.0.1", self.port))  # keeps the port, and takes nothing from anybody else
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self._transport is not None
        self._transport.close()
        self._closed_port.close()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        assert self._transport is not None
        self.received.append(data)
        asked = _asked(data)
        if asked.get("slow"):
            self.slow_arrived.set()
            return
        foreign = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        if asked.get("foreign"):
            foreign.sendto(b"from elsewhere", addr)
        foreign.close()
        reply = _reply("udp", asked, data, self.port, {})
        for number in range(asked.get("datagrams", 1)):
            self._transport.sendto(reply if number == 0 else b" again", addr)


def _asked(message: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(message)
    except ValueError:
        return {}
    return asked if isinstance(asked, dict) else {}


def _reply(kind: str, asked: dict[str, Any], message: bytes, port: int, fields: dict[str, Any]) -> bytes:
    if asked.get("type") == "utcp" or asked.get("action") == "list":
        return json.dumps(manual(kind, port, "v1", **fields)).encode()
    if "flood" in asked:
        return b"x" * asked["flood"]
    if asked.get("malformed"):
        return b'{"broken": '
    if asked:
        return json.dumps(asked, separators=(",", ":")).encode()
    return b"echo " + message


def _fields(framing: Framing) -> dict[str, Any]:
    return {"framing_strategy": framing.strategy, "message_delimiter": framing.delimiter.decode("latin-1")}
