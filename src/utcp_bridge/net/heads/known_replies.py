"""Heads of replies that are read once: aiohttp's protocol for clients, without its parser where the result is known.

Most replies of a service have the same head, but for the date and the length. So a head that aiohttp's parser has read
is kept without these two values. A later reply with the same bytes around them, which arrives whole in one piece, is
handed over at once. The parser reads all others, and what it refuses is never kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol

from aiohttp.http import HttpVersion11
from multidict import CIMultiDict, CIMultiDictProxy

from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.net.heads.idle_connections import WatchedProtocol
from utcp_bridge.net.heads.shapes import HeadShape

__all__ = ["GivenBody", "Head", "KnownHead", "KnownReplies", "PlainProtocol"]

_MAX_KNOWN: Final = 128
_MAX_HEAD_BYTES: Final = 4_096
_MAX_MISSES: Final = 64
"""Heads in a row that were not known after which no more are kept: each reply of the service has another one."""
_END: Final = b"\r\n\r\n"
_VARYING: Final = late_pattern(
    rb"\r\n(?i:content-length): ?([0-9]{1,9})(?=\r\n)"
    rb"|\r\n(?i:date): ?([A-Za-z0-9](?:[A-Za-z0-9,: +-]{0,38}[A-Za-z0-9])?)(?=\r\n)"
)
_DATE_TEXT: Final = late_pattern(rb"[A-Za-z0-9](?:[A-Za-z0-9,: +-]{0,38}[A-Za-z0-9])?")
_MAX_LENGTH_DIGITS: Final = 9
_LENGTH: Final = "Content-Length"
_DATE: Final = "Date"
_WITHOUT_BODY: Final = frozenset({204, 304})
_FINAL: Final = 200


class KnownHead:
    """A head that replies share (`Head`). `facts` is what their reader found out about it, and `None` at first."""

    __slots__ = ("code", "facts", "headers")

    def __init__(self, code: int, headers: CIMultiDictProxy[str]) -> None:
        self.code = code
        self.headers = headers
        self.facts: Any = None


class _KnownReply:
    """A head that was read, how it writes the names of the two headers that vary, and the last reply with it.

    Replies of the same second and length share their headers, which nothing changes.
    """

    __slots__ = ("code", "date_name", "headers", "last", "length_name", "shape")

    def __init__(
        self, code: int, headers: CIMultiDict[str], length_name: str, date_name: str, shape: HeadShape
    ) -> None:
        self.shape = shape
        self.code = code
        self.headers = headers
        self.length_name = length_name
        self.date_name = date_name
        self.last: tuple[bytes | None, bytes | None, KnownHead] | None = None

    def head(self, length: bytes, date: bytes | None) -> KnownHead:
        """Return the head with this length and date."""
        if self.last is not None and self.last[0] == length and self.last[1] == date:
            return self.last[2]
        headers = self.headers.copy()
        headers[self.length_name] = length.decode()
        if date is not None:
            headers[self.date_name] = date.decode()
        head = KnownHead(self.code, CIMultiDictProxy(headers))
        self.last = length, date, head
        return head


class Head(Protocol):
    """What is read of the head of a reply, by the parser or from those that are known."""

    @property
    def code(self) -> int: ...
    @property
    def headers(self) -> Any: ...


class GivenBody:
    """A body that came with its head, in the form of aiohttp's stream."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def readany(self) -> bytes:
        """Return the whole body, then nothing."""
        data, self._data = self._data, b""
        return data

    def is_eof(self) -> bool:
        """Return whether the whole body has come."""
        return True

    def at_eof(self) -> bool:
        """Return whether the body was read."""
        return not self._data

    def on_eof(self, act: Callable[[], None]) -> None:
        """Call `act`, since the whole body has come."""
        act()


class KnownReplies:
    """The heads that the connections of one client have read."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, ...], _KnownReply] = {}
        self._last: _KnownReply | None = None
        """That of the last reply, which the next one has as a rule."""
        self._misses = 0
        self._same: tuple[bytes, int, int, KnownHead] | None = None
        """The last known head with its blank line, its length, that of the whole reply, and what was read of it."""

    @property
    def is_learning(self) -> bool:
        """Whether heads are kept."""
        return self._misses < _MAX_MISSES

    def find(self, data: bytes) -> tuple[KnownHead, bytes] | None:
        """Return the head and the body of a reply that is whole and has a known head; None for any other."""
        same = self._same
        if same is not None and len(data) == same[2] and data.startswith(same[0]):
            self._misses = 0
            return same[3], data[same[1] :]
        end = data.find(_END)
        if not self._known or not 0 < end <= _MAX_HEAD_BYTES:
            return None
        known = self._last
        length: bytes | None
        date: bytes | None
        if known is not None and (values := known.shape.read(data, end)) is not None:
            length, date = values
        else:
            key, length, date = _split(data, end)
            known = self._last = self._known.get(key)
        if known is None or length is None or int(length) != len(data) - end - 4:
            return None
        self._misses = 0
        head = known.head(length, date)
        self._same = data[: end + 4], end + 4, len(data), head
        return head, data[end + 4 :]

    def learn(self, data: bytes, message: Any) -> None:
        """Keep the head that the parser has read as `message`, if `data` is the whole reply."""
        self._misses += 1
        end = data.find(_END)
        if not 0 < end <= _MAX_HEAD_BYTES or message.should_close or message.chunked or message.compression:
            return
        if message.code < _FINAL or message.code in _WITHOUT_BODY or message.version != HttpVersion11:
            return
        key, length, date = _split(data, end)
        headers = CIMultiDict(message.headers)
        if length is None or int(length) != len(data) - end - 4:
            return
        if headers.getall(_LENGTH) != [length.decode()] or len(headers.getall(_DATE, ())) != (date is not None):
            return
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        names = {name.lower(): name for name in headers}
        shape = HeadShape(data, end, _VARYING, _DATE_TEXT, _MAX_LENGTH_DIGITS)
        self._known[key] = _KnownReply(message.code, headers, names["content-length"], names.get("date", ""), shape)


def _split(data: bytes, end: int) -> tuple[tuple[bytes, ...], bytes | None, bytes | None]:
    """Return the parts of a head that do not vary, its length and its date. `end` is where its last line ends."""
    parts: list[Any] = _VARYING.split(data[: end + 2])
    if len(parts) == 4:
        return (parts[0], parts[3]), parts[1], None
    if len(parts) != 7 or (parts[1] is None) == (parts[4] is None):
        return (), None, None
    first = b"l" if parts[2] is None else b"d"  # which of both comes first is a part of the key
    return (parts[0], parts[3], parts[6], first), parts[1] or parts[4], parts[2] or parts[5]


class PlainProtocol(WatchedProtocol):
    """aiohttp's protocol for clients. After `expect`, the parser is made only for a reply that is not known."""

    def __init__(self, *, loop: Any, lost: Callable[[Any], None], known: KnownReplies) -> None:
        super().__init__(loop=loop, lost=lost)
        self.used: Any = None
        """What `PlainRequests` has noted of the connection."""
        self._known = known
        self._expected: dict[str, Any] | None = None

    def expect(self, options: dict[str, Any]) -> asyncio.Future[tuple[KnownHead, bytes] | None] | None:
        """Prepare for a reply that is parsed with these options (`set_response_params`).

        Return what becomes its known head and its body; None, also later, if it is to be read as the parser hands it
        over.
        """
        if options["skip_payload"] or self._tail or self._buffer or self._upgraded or self._eof:
            self.set_response_params(**options)
            return None
        self._parser = self._payload = None  # the last body has ended, so nothing has to look at it again
        self._expected = options
        waiter: Any = self._loop.create_future()
        self._waiter = waiter  # that of `read`, which also hears of the end of the connection
        return waiter  # type: ignore[no-any-return]

    def data_received(self, data: bytes) -> None:
        """Hand over a reply whose head is known; let the parser read any other."""
        if type(data) is not bytes:  # the loop of Windows in Python 3.11 hands over a bytearray
            data = bytes(data)
        if (options := self._expected) is None:
            super().data_received(data)
            return
        self._expected = None
        waiter: Any = self._waiter
        if waiter is not None and (found := self._known.find(data)) is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(found)
            return
        self.set_response_params(**options)
        super().data_received(data)
        if self._known.is_learning and len(self._buffer) == 1 and not self._upgraded:
            (message, payload), _ = self._buffer[0]
            if payload.is_eof() and payload.exception() is None:
                self._known.learn(data, message)
