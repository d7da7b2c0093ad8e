"""Framing of messages on a byte stream (sans-I/O): length prefix, delimiter, fixed length, or until the end.

UTCP v0.2 and v1 `tcp` templates name one of the four; see docs/transports/tcp.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from utcp_bridge.errors import ConfigError, InvalidArguments, MalformedReply, ReplyTooLarge

__all__ = ["Deframer", "Framing", "unescape"]

Strategy = Literal["length_prefix", "delimiter", "fixed_length", "stream"]
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|([0-7]{1,3})|([abfnrtv\\'\"]))")
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


@dataclass(frozen=True, slots=True)
class Framing:
    """How one message is told from the next; the same in both directions.

    `limit` is the most bytes of one incoming message.
    """

    strategy: Strategy = "stream"
    prefix_bytes: int = 4
    endian: Literal["big", "little"] = "big"
    delimiter: bytes = b"\0"
    fixed_length: int | None = None
    limit: int = 65_536

    def __post_init__(self) -> None:
        if self.strategy == "fixed_length" and not self.fixed_length:
            raise ConfigError("fixed_length framing needs `fixed_message_length`.")
        if self.strategy == "delimiter" and not self.delimiter:
            raise ConfigError("delimiter framing needs a `message_delimiter` that is not empty.")

    def frame(self, message: bytes, *, written: bytes = b"") -> bytes:
        """One outgoing message as it goes onto the wire; fixed length is not padded, as in UTCP.

        `written` is what the operator wrote of it: a template of several lines may hold the delimiter, arguments
        may not.

        :raises InvalidArguments: it does not fit the framing.
        """
        if self.strategy == "length_prefix":
            if len(message) >= 1 << (8 * self.prefix_bytes):
                raise InvalidArguments(
                    f"The message has {len(message)} bytes; its {self.prefix_bytes}-byte length prefix cannot say that."
                )
            return len(message).to_bytes(self.prefix_bytes, self.endian) + message
        if self.strategy == "delimiter":
            if message.count(self.delimiter) > written.count(self.delimiter):
                raise InvalidArguments("An argument holds the delimiter that ends the message.")
            return message + self.delimiter
        if self.strategy == "fixed_length" and self.fixed_length and len(message) > self.fixed_length:
            raise InvalidArguments(
                f"The message has {len(message)} bytes, more than the {self.fixed_length} of a frame."
            )
        return message

    def deframer(self) -> Deframer:
        """A reader of incoming messages."""
        return Deframer(self)


@dataclass(slots=True)
class Deframer:
    """Finds whole messages in what arrives, however it is cut."""

    framing: Framing
    _buffer: bytearray = field(default_factory=bytearray)
    _searched: int = 0

    def feed(self, data: bytes) -> bytes | None:
        """The first whole message, once it is there; what follows it waits for the next call.

        :raises ReplyTooLarge: the message is above the limit.
        """
        self._buffer += data
        match self.framing.strategy:
            case "length_prefix":
                message = self._by_prefix()
            case "delimiter":
                message = self._by_delimiter()
            case "fixed_length":
                message = self._take(self.framing.fixed_length or 0)
            case _:
                message = None
        if message is None and self.framing.strategy != "length_prefix":
            self._check(len(self._buffer))
        return message

    def finish(self) -> bytes:
        """The message that the end of the connection completes.

        :raises MalformedReply: it ends inside a message.
        """
        rest = bytes(self._buffer)
        self._buffer.clear()
        if self.framing.strategy != "stream":
            raise MalformedReply(f"The connection ended inside a message, after {len(rest)} bytes of it.")
        return rest

    @property
    def pending(self) -> bytes:
        """What has arrived of an incomplete message."""
        return bytes(self._buffer)

    def _by_prefix(self) -> bytes | None:
        size = self.framing.prefix_bytes
        if len(self._buffer) < size:
            return None
        length = int.from_bytes(self._buffer[:size], self.framing.endian)
        self._check(length)
        if len(self._buffer) < size + length:
            return None
        return self._take(size + length, skip=size)

    def _by_delimiter(self) -> bytes | None:
        delimiter = self.framing.delimiter
        found = self._buffer.find(delimiter, self._searched)
        if found < 0:
            self._searched = max(0, len(self._buffer) - len(delimiter) + 1)
            return None
        self._check(found)
        self._searched = 0
        message = bytes(self._buffer[:found])
        del self._buffer[: found + len(delimiter)]
        return message

    def _take(self, length: int, *, skip: int = 0) -> bytes | None:
        self._check(length - skip)
        if len(self._buffer) < length:
            return None
        message = bytes(self._buffer[skip:length])
        del self._buffer[:length]
        return message

    def _check(self, size: int) -> None:
        if size > self.framing.limit:
            raise ReplyTooLarge(f"The reply is larger than {self.framing.limit} bytes.")


def unescape(text: str) -> str:
    r"""`\n`, `\x00`, `\0` and the like as the characters they name; anything else stays as it is."""

    def character(match: re.Match[str]) -> str:
        hexadecimal, unicode_point, octal, simple = match.groups()
        if hexadecimal or unicode_point:
            return chr(int(hexadecimal or unicode_point, 16))
        if octal:
            return chr(int(octal, 8))
        return _SIMPLE.get(simple, simple)

    return _ESCAPE.sub(character, text)
