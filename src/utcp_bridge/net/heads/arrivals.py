"""A reply that is read without aiohttp if it has the usual form (`net/heads/first_requests.py`)."""

from __future__ import annotations

import asyncio
from typing import Final

from multidict import CIMultiDict, CIMultiDictProxy

from utcp_bridge.late.patterns import late_pattern

__all__ = ["Arrival"]

_MAX_HEAD: Final = 8_192
_MAX_FIELDS: Final = 100
_END: Final = b"\r\n\r\n"
_HEAD: Final = late_pattern(
    rb"HTTP/1\.1 (?P<status>[245][0-9]{2})(?: [ -~]*)?\r\n"
    rb"(?P<fields>(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ -~\t]*\r\n)+)\r\n"
)
_LENGTH: Final = late_pattern(r"[0-9]{1,6}")
"""A longer body is read by aiohttp as it arrives."""
_OF_AIOHTTP: Final = frozenset({"transfer-encoding", "content-encoding", "upgrade"})
"""Headers of a reply that aiohttp reads."""
_WITHOUT_BODY: Final = frozenset({204, 205})


class Arrival(asyncio.Protocol):
    """What arrives on a connection, until it is a whole reply of the usual form or certainly another one."""

    def __init__(self) -> None:
        self.data: Final = bytearray()
        self.at_end = False
        """Whether the other side has closed its direction."""
        self.is_lost = False
        self.error: Exception | None = None
        self.found: tuple[int, CIMultiDictProxy[str], bytes] | None = None
        """Status, headers and body of the whole reply."""
        self.decided: Final = asyncio.Event()
        self._head: tuple[int, CIMultiDictProxy[str], int, int] | None = None

    def data_received(self, data: bytes) -> None:
        """Look whether the reply is whole."""
        self.data.extend(data)
        if not self.decided.is_set() and self._is_decided():
            self.decided.set()

    def eof_received(self) -> bool:
        """Note that nothing more comes. The connection stays until its reply was read."""
        self.at_end = True
        self.decided.set()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end of the connection."""
        self.is_lost, self.error = True, exc
        self.decided.set()

    def _is_decided(self) -> bool:
        if self._head is None:
            end = self.data.find(_END)
            if end < 0:
                return len(self.data) > _MAX_HEAD
            self._head = _head_of(bytes(self.data[: end + len(_END)]))
            if self._head is None:
                return True
        status, headers, start, length = self._head
        if len(self.data) < start + length:
            return False
        if len(self.data) == start + length:
            self.found = status, headers, bytes(self.data[start:])
        return True


def _head_of(head: bytes) -> tuple[int, CIMultiDictProxy[str], int, int] | None:
    """Return status, headers, where the body begins, and its length; None if the head is not of the usual form."""
    usual = _HEAD.fullmatch(head) if len(head) <= _MAX_HEAD else None
    if usual is None:
        return None
    lines = (line.partition(":") for line in usual["fields"].decode().splitlines())
    headers = CIMultiDict((name, value.strip(" \t")) for name, _, value in lines)
    lengths = headers.getall("Content-Length", [])
    status = int(usual["status"])
    if len(headers) > _MAX_FIELDS or len(lengths) != 1 or not _LENGTH.fullmatch(lengths[0]) or status in _WITHOUT_BODY:
        return None
    if any(name in headers for name in _OF_AIOHTTP):
        return None
    return status, CIMultiDictProxy(headers), len(head), int(lengths[0])
