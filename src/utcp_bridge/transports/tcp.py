r"""tcp: one connection per call, one message each way.

    v1  {"call_template_type": "tcp", "host": "127.0.0.1", "port": 6379, "request_data_format": "text",
         "request_data_template": "GET UTCP_ARG_key_UTCP_ARG", "framing_strategy": "delimiter",
         "message_delimiter": "\\r\\n"}
    v0  the same with "provider_type": "tcp"

Discovery sends `{"type": "utcp"}` in the template's framing and reads a manual. With `stream` framing the reply ends
when the peer closes the connection, when the reply is one complete JSON value, or `quiet_period` seconds after the last
byte. `read_greeting` skips what a server sends first. Limits: `max_response_size` for `stream`, else `max_reply_bytes`;
`idle_timeout` without a byte.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import anyio
from anyio.abc import ByteStream
from pydantic import Field

from utcp_bridge.errors import ConfigError, ConnectionLost, InvalidArguments, MalformedReply, ReplyTooLarge
from utcp_bridge.foreign import is_heavy
from utcp_bridge.model import Call, Document, Emit, Source, defers, in_seconds
from utcp_bridge.net.collecting import Collecting
from utcp_bridge.net.preview import NativeRequest
from utcp_bridge.net.reply import decode_reply, deferred_message, parse_json
from utcp_bridge.net.stream_decoders import Nesting
from utcp_bridge.placement.message import SocketTemplate, encode_request
from utcp_bridge.tasks import heavy_turn
from utcp_bridge.transport import Target, Transport

__all__ = ["TRANSPORT", "Deframer", "Framing", "TcpTemplate", "TcpTransport", "unescape"]

_CHUNK = 65_536
_SMALL = 1_024
_MANY = 32
_PAUSE = 0.02
"""After `_MANY` pieces in a row, each below `_SMALL` bytes, a reply is read only every `_PAUSE` seconds: a server that
sends its bytes one by one must not take the turns of the others."""
Strategy = Literal["length_prefix", "delimiter", "fixed_length", "stream"]
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|([0-7]{1,3})|([abfnrtv\\'\"]))")
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


@dataclass(frozen=True, slots=True)
class Framing:
    """How messages are separated on a byte stream (UTCP v0.2 and v1 `tcp`), the same way in both directions.

    `limit` is the maximum size of an incoming message in bytes.
    """

    strategy: Strategy = "stream"
    prefix_bytes: int = 4
    endian: Literal["big", "little"] = "big"
    delimiter: bytes = b"\0"
    fixed_length: int | None = None
    limit: int = 65_536

    def __post_init__(self) -> None:
        if self.strategy == "fixed_length" and not self.fixed_length:
            raise ConfigError("Framing by fixed_length needs `fixed_message_length`.")
        if self.strategy == "delimiter" and not self.delimiter:
            raise ConfigError("Framing by delimiter needs a `message_delimiter` that is not empty.")

    def frame(self, message: bytes, *, written: bytes = b"") -> bytes:
        """Return an outgoing message with its framing. A fixed length is not padded, as in UTCP.

        `written` is the operator's part of the message. It may contain the delimiter, for example in a template of
        several lines; arguments must not.

        :raises InvalidArguments: the message does not fit the framing.
        """
        if self.strategy == "length_prefix":
            if len(message) >= 1 << (8 * self.prefix_bytes):
                raise InvalidArguments(
                    f"The message has {len(message)} bytes, too many for a {self.prefix_bytes}-byte length prefix."
                )
            return len(message).to_bytes(self.prefix_bytes, self.endian) + message
        if self.strategy == "delimiter":
            if message.count(self.delimiter) > written.count(self.delimiter):
                raise InvalidArguments("An argument contains the delimiter that ends the message.")
            return message + self.delimiter
        if self.strategy == "fixed_length" and self.fixed_length and len(message) > self.fixed_length:
            raise InvalidArguments(
                f"The message has {len(message)} bytes, more than the {self.fixed_length} of a frame."
            )
        return message

    def deframer(self) -> Deframer:
        """Return a reader of incoming messages."""
        return Deframer(self)


@dataclass(slots=True)
class Deframer:
    """Finds complete messages in a byte stream that arrives in pieces."""

    framing: Framing
    _buffer: bytearray = field(default_factory=bytearray)
    _searched: int = 0
    _nesting: Nesting | None = field(default_factory=Nesting)
    """How deep the reply is in JSON; None once it is known not to be JSON."""

    def feed(self, data: bytes) -> bytes | None:
        """Add bytes. Return the first complete message, or None; later messages wait for the next call.

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
        """Return the message that the end of the connection completes.

        :raises MalformedReply: the connection ended inside a message.
        """
        rest = bytes(self._buffer)
        self._buffer.clear()
        if self.framing.strategy != "stream":
            raise MalformedReply(f"The connection ended inside a message, after {len(rest)} bytes of it.")
        return rest

    @property
    def pending(self) -> bytes:
        """The bytes of an incomplete message."""
        return bytes(self._buffer)

    @property
    def is_empty(self) -> bool:
        """Whether no byte of an incomplete message has arrived."""
        return not self._buffer

    def is_whole_json(self, added: bytes) -> bool:
        """Return whether the pending bytes, whose last ones are `added`, are one object or array of JSON.

        The brackets are counted as they arrive, and the reply is parsed once, where they are closed first.
        """
        if self._nesting is None or not added or added.isspace():
            return False
        self._nesting.add(added)
        if self._nesting.depth > 0:
            return False
        self._nesting = None
        return _is_whole_json(bytes(self._buffer).strip())

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
    r"""Replace `\n`, `\x00`, `\0` and similar escapes by the characters they stand for."""

    def character(match: re.Match[str]) -> str:
        hexadecimal, unicode_point, octal, simple = match.groups()
        if hexadecimal or unicode_point:
            return chr(int(hexadecimal or unicode_point, 16))
        if octal:
            return chr(int(octal, 8))
        return _SIMPLE.get(simple, simple)

    return _ESCAPE.sub(character, text)


class TcpTemplate(SocketTemplate):
    """Fields of sockets and of framing, and of this bridge: `quiet_period`, `read_greeting`, `half_close`."""

    framing_strategy: Strategy = "stream"
    length_prefix_bytes: Literal[1, 2, 4, 8] = 4
    length_prefix_endian: Literal["big", "little"] = "big"
    message_delimiter: str = "\\x00"
    interpret_escape_sequences: bool = True
    fixed_message_length: int | None = Field(default=None, gt=0)
    max_response_size: int = Field(default=65_536, gt=0)
    quiet_period: float = Field(default=1.0, ge=0)
    read_greeting: bool = False
    half_close: bool = False

    def framing(self, limit: int) -> Framing:
        """Return the framing. `limit` is the size limit of a reply, except for `stream`.

        :raises ConfigError: the fields do not make a framing.
        """
        delimiter = unescape(self.message_delimiter) if self.interpret_escape_sequences else self.message_delimiter
        return Framing(
            strategy=self.framing_strategy,
            prefix_bytes=self.length_prefix_bytes,
            endian=self.length_prefix_endian,
            delimiter=delimiter.encode(),
            fixed_length=self.fixed_message_length,
            limit=min(self.max_response_size, limit) if self.framing_strategy == "stream" else limit,
        )


class TcpTransport(Transport[TcpTemplate]):
    """Calls over TCP without TLS."""

    kinds: ClassVar[tuple[str, ...]] = ("tcp",)
    template = TcpTemplate
    silence_fields: ClassVar[frozenset[str]] = frozenset({"quiet_period"})

    @classmethod
    def endpoint(cls, template: TcpTemplate) -> str | None:
        """`tcp://host:port`."""
        return f"tcp://{template.address}"

    async def discover(self, target: Target[TcpTemplate]) -> Document:
        """Ask for the manual and read one message."""
        framing = target.template.framing(self.services.settings.max_manual_bytes)
        reply = await self._exchange(target.template, target.source, framing, target.template.discovery_request())
        return Document(content=reply, url=self.endpoint(target.template), media_type="application/json")

    async def call(self, target: Target[TcpTemplate], call: Call, emit: Emit) -> Any:
        """Send one message and read one."""
        del emit
        template = target.template
        framing = template.framing(self.services.settings.max_reply_bytes)
        reply = await self._exchange(template, target.source, framing, encode_request(template, call))
        if defers(reply):
            return deferred_message(template, reply, self.services.settings.max_reply_bytes)
        if is_heavy(reply):
            await heavy_turn()
        return decode_reply(template, reply, self.services.settings.max_reply_bytes)

    async def explain(self, target: Target[TcpTemplate], call: Call) -> NativeRequest:
        """Return the framed message."""
        template = target.template
        framing = template.framing(self.services.settings.max_reply_bytes)
        message = _framed(template, framing, encode_request(template, call))
        notes = ("The bridge reads the server's greeting first.",) if template.read_greeting else ()
        return NativeRequest(str(self.endpoint(template)), messages=(message,), notes=notes)

    async def _exchange(self, template: TcpTemplate, source: Source, framing: Framing, message: bytes) -> bytes:
        framed = _framed(template, framing, message)
        stream = await self.services.guard.connect_tcp(template.host, template.port, source)
        try:
            async with stream:
                if template.read_greeting:
                    await stream.receive(_CHUNK)
                await stream.send(framed)
                if template.half_close:
                    await stream.send_eof()
                with Collecting(source.name) as place:
                    return await self._receive(template, framing, stream, place)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, OSError) as error:
            raise ConnectionLost(f"{template.address} closed the connection before the reply was complete.") from error

    async def _receive(self, template: TcpTemplate, framing: Framing, stream: ByteStream, place: Collecting) -> bytes:
        deframer = framing.deframer()
        small = 0
        while True:
            chunk = await self._next(template, deframer, stream)
            if chunk is None:
                if deframer.is_empty:
                    raise anyio.EndOfStream
                return deframer.finish()
            message = deframer.feed(chunk)
            if message is not None:
                return message
            if framing.strategy == "stream" and deframer.is_whole_json(chunk):
                return deframer.finish()
            await place.grow(len(chunk))
            small = small + 1 if len(chunk) < _SMALL else 0
            if small >= _MANY:
                await anyio.sleep(_PAUSE)

    async def _next(self, template: TcpTemplate, deframer: Deframer, stream: ByteStream) -> bytes | None:
        """Return the next bytes; None at the end of the connection, or after the quiet period of a `stream` reply."""
        by_silence = template.framing_strategy == "stream" and template.quiet_period > 0 and not deframer.is_empty
        seconds = template.quiet_period if by_silence else self.services.settings.idle_timeout
        with anyio.move_on_after(seconds):
            try:
                return await stream.receive(_CHUNK)
            except anyio.EndOfStream:
                return None
        if by_silence:
            return None
        raise ConnectionLost(f"{template.address} sent nothing for {in_seconds(seconds)}.")


TRANSPORT = TcpTransport


def _framed(template: TcpTemplate, framing: Framing, message: bytes) -> bytes:
    return message if template.wire == "tool" else framing.frame(message, written=template.written)


def _is_whole_json(data: bytes) -> bool:
    if (data[:1], data[-1:]) not in {(b"{", b"}"), (b"[", b"]")}:
        return False
    try:
        parse_json(data, "")
    except MalformedReply:
        return False
    return True
