"""udp: one request datagram, and a fixed number of reply datagrams.

    v1  {"call_template_type": "udp", "host": "127.0.0.1", "port": 9125, "request_data_format": "text",
         "request_data_template": "UTCP_ARG_name_UTCP_ARG:1|c", "number_of_response_datagrams": 0}
    v0  the same with "provider_type": "udp"

The socket is connected, so a refused port fails at once and datagrams from other senders are dropped. If the host has
several addresses, the request goes to the next one when a port refuses it. After silence it does not, because it may
have been processed: but the next call begins with another address. The first reply may take the whole time limit of the
call, each further one a second. If some are missing then, the result is marked as cut. With 0 datagrams the call
returns "" when the request is sent. Limit: 65,507 bytes.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, ClassVar, cast

import anyio
from pydantic import Field

from utcp_bridge.errors import ConnectionLost, InvalidArguments, Unreachable
from utcp_bridge.model import Binary, Call, Document, Emit, Result, Source, in_seconds
from utcp_bridge.net.collecting import Collecting
from utcp_bridge.net.gate.shortage import descriptor_shortage
from utcp_bridge.net.guard import Address
from utcp_bridge.net.preview import NativeRequest
from utcp_bridge.net.reply import decode_reply
from utcp_bridge.placement.message import SocketTemplate, encode_request
from utcp_bridge.transport import Services, Target, Transport

__all__ = ["TRANSPORT", "UdpTemplate", "UdpTransport"]

_MAX_BYTES = 65_507
_FURTHER_SECONDS = 1.0
_MARGIN = 0.25
"""Seconds before the call's deadline at which the datagrams that came are returned."""
_REFUSAL_SECONDS = 0.1
"""Until a port has refused a datagram, if no reply is expected and another address could take it."""
_MAX_SILENT = 256
_MAX_WAITING = 1024
_MAX_WAITING_BYTES = 4_194_304


class UdpTemplate(SocketTemplate):
    """Fields of sockets, and the number of reply datagrams."""

    number_of_response_datagrams: int = Field(default=1, ge=0, le=10_000)


class UdpTransport(Transport[UdpTemplate]):
    """Calls over UDP."""

    kinds: ClassVar[tuple[str, ...]] = ("udp",)
    template = UdpTemplate

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._silent: OrderedDict[Address, None] = OrderedDict()
        """Addresses that did not reply the last time."""

    @classmethod
    def endpoint(cls, template: UdpTemplate) -> str | None:
        """`udp://host:port`."""
        return f"udp://{template.address}"

    async def discover(self, target: Target[UdpTemplate]) -> Document:
        """Ask for the manual, which must fit into one datagram."""
        template, seconds = target.template, self.services.settings.idle_timeout
        with anyio.move_on_after(seconds):
            async with self._exchange(template, target.source, template.discovery_request()) as socket:
                manual = await socket.receive()
            return Document(content=manual, url=self.endpoint(template), media_type="application/json")
        raise ConnectionLost(f"{template.address} sent nothing for {in_seconds(seconds)}.")

    async def call(self, target: Target[UdpTemplate], call: Call, emit: Emit) -> Result:
        """Send one datagram and join the replies."""
        del emit
        template = target.template
        message = _datagram(template, call)
        wanted, most = template.number_of_response_datagrams, self.services.settings.max_reply_bytes
        async with self._exchange(template, target.source, message, has_reply=wanted > 0) as socket:
            replies = [await socket.receive()] if wanted else []
            if wanted > 1:
                with Collecting(target.source.name, has_arrived=True) as place:
                    await _receive_more(socket, place, replies, wanted, most)
        missing, received = wanted - len(replies), sum(map(len, replies))
        truncated = f"{missing} of {wanted} reply datagrams did not arrive" if missing else None
        if received > most:
            truncated = f"the reply was cut at {most} bytes"
        if not wanted:
            return Result("")
        return Result(_joined(template, replies), truncated=truncated)

    async def explain(self, target: Target[UdpTemplate], call: Call) -> NativeRequest:
        """Return the datagram."""
        return NativeRequest(str(self.endpoint(target.template)), messages=(_datagram(target.template, call),))

    @asynccontextmanager
    async def _exchange(
        self, template: UdpTemplate, source: Source, message: bytes, *, has_reply: bool = True
    ) -> AsyncGenerator[_Socket]:
        """Send the datagram to the first address that does not refuse it. The first reply, if any, has arrived then.

        :raises Unreachable: every address refuses it.
        """
        guard, host, port = self.services.guard, template.host, template.port
        waiting = sorted(await guard.resolve(host, port, source), key=lambda one: one in self._silent)
        tried: list[Address] = []
        socket: _Socket | None = None
        while socket is None:
            tried.append(waiting.pop(0))
            patience = math.inf if has_reply else _REFUSAL_SECONDS if waiting else 0.0
            try:
                socket = await self._sent(template, tried[-1], message, patience)
            except Unreachable:
                waiting = waiting or await guard.resolve_again(host, port, source, tried)
                if not waiting:
                    raise
        try:
            yield socket
        finally:
            socket.close()

    async def _sent(self, template: UdpTemplate, address: Address, message: bytes, patience: float) -> _Socket:
        """Send the datagram, and wait for `patience` seconds for the first reply or a refusal."""
        socket = await self._connected(template, address)
        try:
            socket.send(message)
            if patience:
                with anyio.move_on_after(patience):
                    await socket.wait()
        except Unreachable:
            socket.close()
            raise
        except BaseException:  # the time of the call is over, or the caller has left
            socket.close()
            self._note_silence(template.host, address)
            raise
        self._silent.pop(address, None)
        return socket

    def _note_silence(self, host: str, address: Address) -> None:
        """Begin the next call with another address, and look the name up before: the service may have moved."""
        self.services.guard.doubt(host)
        self._silent[address] = None
        while len(self._silent) > _MAX_SILENT:
            self._silent.popitem(last=False)

    async def _connected(self, template: UdpTemplate, address: Address) -> _Socket:
        loop = asyncio.get_running_loop()
        try:
            _, socket = await loop.create_datagram_endpoint(
                lambda: _Socket(template.address), remote_addr=(address.host, address.port), family=address.family
            )
        except OSError as error:
            if shortage := descriptor_shortage(error):
                raise shortage from error
            raise Unreachable(f"{template.address} cannot be reached: {error.strerror}.") from error
        return socket


TRANSPORT = UdpTransport


class _Socket(asyncio.DatagramProtocol):
    """A connected socket with a bounded queue. asyncio reports refused ports, which anyio's sockets do not."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._arrived = asyncio.Event()
        self._datagrams: deque[bytes] = deque()
        self._waiting = 0
        self._error: Exception | None = None
        self._transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        del addr
        if len(self._datagrams) < _MAX_WAITING and self._waiting < _MAX_WAITING_BYTES:
            self._datagrams.append(data)
            self._waiting += len(data)
        self._arrived.set()

    def error_received(self, exc: Exception) -> None:
        self._error = exc
        self._arrived.set()

    def send(self, data: bytes) -> None:
        """Send one datagram."""
        self._transport.sendto(data)

    def close(self) -> None:
        """Close the socket."""
        self._transport.close()

    async def wait(self) -> None:
        """Wait for a datagram.

        :raises Unreachable: the port refused the datagram that was sent.
        """
        while not self._datagrams:
            if self._error is not None:
                raise Unreachable(f"{self._where} refused the datagram.") from self._error
            self._arrived.clear()
            await self._arrived.wait()

    async def receive(self) -> bytes:
        """Return the next datagram, in order.

        :raises Unreachable: the port refused the datagram that was sent.
        """
        await self.wait()
        datagram = self._datagrams.popleft()
        self._waiting -= len(datagram)
        return datagram


async def _receive_more(socket: _Socket, place: Collecting, replies: list[bytes], wanted: int, most: int) -> None:
    """Add datagrams up to their number, to `most` bytes, to a pause, or until shortly before the call's deadline."""
    ends = anyio.current_effective_deadline() - _MARGIN
    received = len(replies[0])
    while len(replies) < wanted and received <= most:
        with anyio.CancelScope(deadline=ends):  # a second without a datagram begins when the place is free
            await place.grow(len(replies[-1]))
        with anyio.CancelScope(deadline=min(anyio.current_time() + _FURTHER_SECONDS, ends)) as scope:
            replies.append(await socket.receive())
            received += len(replies[-1])
        if scope.cancelled_caught:
            return


def _datagram(template: UdpTemplate, call: Call) -> bytes:
    message = encode_request(template, call)
    if len(message) > _MAX_BYTES:
        raise InvalidArguments(f"The request has {len(message)} bytes. A datagram can have at most {_MAX_BYTES}.")
    return message


def _joined(template: UdpTemplate, replies: list[bytes]) -> Any:
    if template.response_byte_format is None:
        return Binary(b"".join(replies))
    return decode_reply(template, b"".join(replies))
