"""WebSockets: one connection with the task that reads it.

The task reads all the time, so that pings are answered and a closed connection is noticed between calls.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from utcp_bridge.errors import ConnectionLost, ReplyTooLarge, Unreachable
from utcp_bridge.foreign import decode
from utcp_bridge.model import in_seconds
from utcp_bridge.net.collecting import LARGE
from utcp_bridge.tasks import Owned, Spawn

if TYPE_CHECKING:
    from utcp_bridge.net.gated_websocket import GatedWebSocket

__all__ = ["Admit", "Connection", "Frame", "Inbox", "LargeText"]

Frame: TypeAlias = str | bytes


class LargeText(bytes):
    """A large text as it arrived. To decode it would hold the event loop, and often a worker reads it."""


Admit: TypeAlias = Callable[[int], Awaitable[None]]
_BUFFER = 64
_MAX_UNREAD = 4_194_304
"""Characters or bytes of unread frames above which the connection is not read. One frame more may be larger."""
_TOO_LARGE = 1009
_ORDERLY = frozenset({None, 1000, 1001})


@dataclass(frozen=True, slots=True)
class _Coming:
    """A large message whose first bytes have arrived. The rest is read when the call is ready for it."""

    size: int


@dataclass(frozen=True, slots=True)
class _Ending:
    code: int | None
    reason: str
    broken: bool


class Inbox:
    """The frames of one call, in order."""

    def __init__(self, connection: Connection, key: str, frames: MemoryObjectReceiveStream[Frame | _Coming]) -> None:
        self._connection = connection
        self._key = key
        self._frames = frames
        self.received = 0

    async def next(self, seconds: float, admit: Admit | None = None) -> Frame | None:
        """Return the next frame; None at an orderly end after at least one frame.

        A large message is read when `admit` has returned, which gets its size; the time until then does not count.

        :raises ConnectionLost: the connection broke, was closed before the first frame, or was silent for `seconds`.
        :raises ReplyTooLarge: a message is larger than the limit.
        """
        frame = await self._next(seconds)
        while isinstance(frame, _Coming):
            if admit is not None:
                await admit(frame.size)
            self._connection.go_on()
            frame = await self._next(seconds)
        if frame is not None:
            self.received += 1
            self._connection.took(frame)
        return frame

    async def _next(self, seconds: float) -> Frame | _Coming | None:
        with anyio.move_on_after(seconds):
            try:
                return await self._frames.receive()
            except anyio.EndOfStream:
                self._connection.check_end(self.received > 0)
                return None
        raise ConnectionLost(f"{self._connection.where} sent nothing for {in_seconds(seconds)}.")

    @property
    def waiting(self) -> int:
        """Return the number of frames that arrived and were not read."""
        return self._frames.statistics().current_buffer_used

    def close(self) -> None:
        """Stop receiving frames. Those that were not read are unclaimed."""
        with suppress(anyio.WouldBlock, anyio.EndOfStream, anyio.ClosedResourceError):
            while True:
                frame = self._frames.receive_nowait()
                if not isinstance(frame, _Coming):
                    self._connection.took(frame)
                    self._connection.unclaimed += 1
        self._connection.drop(self._key)
        self._connection.go_on()
        self._frames.close()


class Connection:
    """An open WebSocket. A frame goes to the inbox of a key in `keys_of(frame)`, else to the inbox without a key.

    A frame without an inbox, or that nobody read when its inbox closed, is counted in `unclaimed` and dropped.
    """

    def __init__(self, where: str, keys_of: Callable[[Frame], Iterable[str]]) -> None:
        self.where = where
        self.unclaimed = 0
        self._keys_of = keys_of
        self._inboxes: dict[str, MemoryObjectSendStream[Frame | _Coming]] = {}
        self._socket: GatedWebSocket | None = None
        self._ending: _Ending | None = None
        self._task: Owned | None = None
        self._has_ended = False
        self._first: Inbox | None = None
        self._unread = 0
        self._has_room = anyio.Event()

    @classmethod
    async def open(
        cls,
        opening: AbstractAsyncContextManager[GatedWebSocket],
        spawn: Spawn,
        *,
        where: str,
        keys_of: Callable[[Frame], Iterable[str]],
        seconds: float = math.inf,
    ) -> Connection:
        """Open within `seconds` and start reading. Early frames wait for `next_frame`, if it is called first.

        :raises Unreachable: the WebSocket did not open within `seconds`.
        :raises UtcpError: as `opening` raises.
        """
        connection = cls(where, keys_of)
        connection._first = connection.inbox()

        async def hold(is_open: Callable[[], None]) -> None:
            try:
                async with opening as socket:
                    connection._socket = socket
                    socket.on_large = connection._announce
                    is_open()
                    await connection._read(socket)
            finally:
                connection._finish()

        connection._task = Owned(spawn, hold)
        if not await connection._task.opened(seconds):
            raise Unreachable(f"{where} did not open a WebSocket within {in_seconds(seconds)}.")
        return connection

    @property
    def closed(self) -> bool:
        """Return whether the connection has ended, on either side."""
        return self._has_ended or self._socket is None or self._socket.closed

    @property
    def busy(self) -> bool:
        """Return whether a call waits for frames."""
        return self._first is None and bool(self._inboxes)

    def inbox(self, key: str = "", *, with_early: bool = False) -> Inbox:
        """Receive frames of this key from now on. A greeting that was not read is dropped, except `with_early`."""
        if self._first is not None:
            first, self._first = self._first, None
            if with_early:
                return first
            first.close()
        send, receive = anyio.create_memory_object_stream[Frame | _Coming](_BUFFER)
        if self._has_ended:
            send.close()
        else:
            self._inboxes[key] = send
        return Inbox(self, key, receive)

    def took(self, frame: Frame) -> None:
        """Count a frame that left its inbox."""
        self._unread -= len(frame)
        if self._unread <= _MAX_UNREAD:
            self._has_room.set()

    def go_on(self) -> None:
        """Read the large message that was announced, if there is one."""
        if self._socket is not None:
            self._socket.go_on()

    def drop(self, key: str) -> None:
        """Stop receiving frames of this key."""
        if (send := self._inboxes.pop(key, None)) is not None:
            send.close()

    async def send(self, text: str) -> None:
        """Send one text frame.

        :raises ConnectionLost: the connection is closed.
        """
        try:
            if self._socket is None:
                raise ConnectionResetError
            await self._socket.send_str(text)
        except ConnectionError as error:
            raise ConnectionLost(f"{self.where} closed the connection before the request was sent.") from error

    async def next_frame(self, seconds: float) -> Frame:
        """Return the next frame that does not belong to a call.

        :raises ConnectionLost: the connection ended, or was silent for `seconds`.
        :raises ReplyTooLarge: a message is larger than the limit.
        """
        inbox, self._first = self._first or self.inbox(), None
        try:
            frame = await inbox.next(seconds)
        finally:
            inbox.close()
        if frame is None:
            raise ConnectionLost(f"{self.where} closed the connection before it sent a reply.")
        return frame

    async def aclose(self) -> None:
        """Close the connection and wait at most one second for its task to end."""
        if self._task is not None:
            await self._task.end()

    def check_end(self, answered: bool) -> None:
        """Raise the error of the connection's end, for a call that waits; none if it was orderly and after a reply."""
        ending = self._ending or _Ending(None, "", broken=True)
        if ending.code == _TOO_LARGE:
            raise ReplyTooLarge(f"{self.where} sent a message larger than the limit.")
        if answered and not ending.broken:
            return
        if ending.code in _ORDERLY and not ending.broken:
            raise ConnectionLost(f"{self.where} closed the connection before it sent a reply.")
        said = f" {ending.reason}" if ending.reason else ""
        raise ConnectionLost(f"{self.where} closed the connection with code {ending.code}{said}.")

    def _announce(self, size: int) -> bool:
        """Tell the only call about a large message. Calls that share a connection do not wait for one another."""
        send = self._inboxes.get("")
        if send is None or len(self._inboxes) > 1:
            return False
        try:
            send.send_nowait(_Coming(size))
        except (anyio.WouldBlock, anyio.BrokenResourceError, anyio.ClosedResourceError):
            return False
        return True

    async def _read(self, socket: GatedWebSocket) -> None:
        from aiohttp import WSMsgType

        while True:
            message = await socket.receive()
            if message.type in {WSMsgType.TEXT, WSMsgType.BINARY}:
                data, is_text = message.data, message.type is WSMsgType.TEXT
                del message  # while this waits for the next one, a large message would stay in memory
                if is_text and isinstance(data, bytes):
                    data = LargeText(data) if len(data) > LARGE else decode(data)
                await self._deliver(data)
                del data
                continue
            reason = str(message.extra or "")[:100] if message.type is WSMsgType.CLOSE else ""
            broken = message.type is WSMsgType.ERROR or socket.close_code == 1006
            self._ending = _Ending(socket.close_code, reason, broken)
            return

    async def _deliver(self, frame: Frame) -> None:
        """Put a frame into its inbox. Only a full one is waited for, and meanwhile another may take its key."""
        for key in (*self._keys_of(frame), ""):
            if (send := self._inboxes.get(key)) is not None:
                self._unread += len(frame)
                try:
                    send.send_nowait(frame)
                except anyio.WouldBlock:
                    await self._deliver_late(send, frame)
                if self._unread > _MAX_UNREAD:
                    self._has_room = anyio.Event()
                    await self._has_room.wait()
                return
        self.unclaimed += 1

    async def _deliver_late(self, send: MemoryObjectSendStream[Frame | _Coming], frame: Frame) -> None:
        try:
            await send.send(frame)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            self.took(frame)
            self.unclaimed += 1

    def _finish(self) -> None:
        self._has_ended = True
        if self._first is not None:
            self._first.close()
        for send in self._inboxes.values():
            send.close()
        self._inboxes.clear()
