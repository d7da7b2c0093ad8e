"""WebSockets of aiohttp that read a large message only when its receiver is ready for it.

aiohttp collects a message as a whole, whatever else lies in memory. The head of a frame says how long the frame is. So
the connection is paused there, and the sender waits. aiohttp has no place for this, so its parser is wrapped.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import aiohttp

from utcp_bridge.net.collecting import LARGE

__all__ = ["FrameSizes", "GatedWebSocket"]

_FIN, _OPCODE, _MASK, _LENGTH = 0x80, 0x0F, 0x80, 0x7F
_FIRST_CONTROL = 8
_LENGTH_BYTES = {126: 2, 127: 8}


class FrameSizes:
    """The size of the message that is being received, from the heads of its frames (RFC 6455 section 5.2)."""

    def __init__(self) -> None:
        self.message = 0
        """Bytes of its frames, also of one that is still to come; 0 between messages. A compressed one is larger."""
        self.number = 0
        """Messages that are complete."""
        self._head = bytearray()
        self._left = 0
        self._is_last = False

    def feed(self, data: bytes) -> None:
        """Count bytes that arrived."""
        position = 0
        while position < len(data):
            if self._left:
                step = min(self._left, len(data) - position)
                position += step
                self._left -= step
            else:
                self._head.append(data[position])
                position += 1
                if not self._is_head():
                    continue
            if not self._left and self._is_last:
                self.number += 1
                self.message, self._is_last = 0, False

    def _is_head(self) -> bool:
        """Read the head of a frame, and return whether it is complete."""
        head = self._head
        if len(head) < 2:
            return False
        short = head[1] & _LENGTH
        more = _LENGTH_BYTES.get(short, 0)
        if len(head) < 2 + more + (4 if head[1] & _MASK else 0):
            return False
        self._left = int.from_bytes(head[2 : 2 + more], "big") if more else short
        is_control = head[0] & _OPCODE >= _FIRST_CONTROL
        self._is_last = bool(head[0] & _FIN) and not is_control
        if not is_control:
            self.message += self._left
        head.clear()
        return True


class GatedWebSocket(aiohttp.ClientWebSocketResponse):
    """Pauses at the beginning of a large message if `on_large(size)` returns true, until `go_on` is called."""

    def __init__(self, reader: Any, writer: Any, protocol: Any, response: Any, *args: Any, **options: Any) -> None:
        super().__init__(reader, writer, protocol, response, *args, **options)
        self.on_large: Callable[[int], bool] | None = None
        self._sizes = FrameSizes()
        self._asked = -1
        """The number of the large message that `on_large` was asked about last."""
        self._is_held = False
        self._receiver = response.connection.protocol
        set_parser = self._receiver.set_parser

        def set_gated_parser(parser: Any, *args: Any, **options: Any) -> None:
            del self._receiver.set_parser
            set_parser(_Parser(parser, self._fed), *args, **options)

        self._receiver.set_parser = set_gated_parser

    def go_on(self) -> None:
        """Read the large message."""
        if self._is_held:
            self._is_held = False
            is_full = self._receiver._reading_paused  # noqa: SLF001 - aiohttp resumes when its queue has room
            if not is_full and self._receiver.transport is not None:
                with suppress(RuntimeError):  # it is closing
                    self._receiver.transport.resume_reading()

    def _fed(self, data: bytes) -> None:
        self._sizes.feed(data)
        if self._sizes.message <= LARGE:
            return
        if self._asked != self._sizes.number:
            self._asked = self._sizes.number
            self._is_held = self.on_large is not None and self.on_large(self._sizes.message)
        if self._is_held and self._receiver.transport is not None:
            with suppress(RuntimeError):
                self._receiver.transport.pause_reading()


class _Parser:
    """aiohttp's parser, with a function that sees what it is fed."""

    def __init__(self, inner: Any, fed: Callable[[bytes], None]) -> None:
        self._inner = inner
        self._fed = fed

    def feed_data(self, data: bytes) -> Any:
        result = self._inner.feed_data(data)
        self._fed(data)
        return result

    def feed_eof(self) -> None:
        self._inner.feed_eof()
