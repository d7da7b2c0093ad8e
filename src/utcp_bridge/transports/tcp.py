r"""tcp: one connection per call, one message each way.

    v1  {"call_template_type": "tcp", "host": "127.0.0.1", "port": 6379, "request_data_format": "text",
         "request_data_template": "GET UTCP_ARG_key_UTCP_ARG", "framing_strategy": "delimiter",
         "message_delimiter": "\\r\\n"}
    v0  the same with "provider_type": "tcp"

Discovery sends `{"type": "utcp"}` in the template's framing and reads a manual. With `stream` framing the
reply ends when the peer closes, when it is one complete JSON value, or `quiet_period` seconds after the
last byte. `read_greeting` skips what a server says first. Limits: `max_response_size` for `stream`, else
`max_reply_bytes`; `idle_timeout` without a byte.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import anyio
from anyio.abc import ByteStream
from pydantic import Field

from utcp_bridge.errors import ConfigError, ConnectionLost, InvalidArguments, MalformedReply, ReplyTooLarge
from utcp_bridge.model import Call, Document, Emit, Source
from utcp_bridge.net.preview import NativeRequest
from utcp_bridge.net.reply import decode_reply, parse_json
from utcp_bridge.placement.message import SocketTemplate, encode_request
from utcp_bridge.transport import Target, Transport

__all__ = ["TRANSPORT", "Deframer", "Framing", "TcpTemplate", "TcpTransport", "unescape"]

_CHUNK = 65_536
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


class TcpTemplate(SocketTemplate):
    """The socket family's fields, the framing's, and ours: `quiet_period`, `read_greeting`, `half_close`."""

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
        """The framing; `limit` bounds a reply of every strategy but `stream`. Raises ConfigError."""
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
    """Calls over plain TCP."""

    kinds: ClassVar[tuple[str, ...]] = ("tcp",)
    template = TcpTemplate
    implicit: ClassVar[bool] = False

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
        return decode_reply(
            template, await self._exchange(template, target.source, framing, encode_request(template, call))
        )

    async def explain(self, target: Target[TcpTemplate], call: Call) -> NativeRequest:
        """The framed message."""
        template = target.template
        framing = template.framing(self.services.settings.max_reply_bytes)
        message = _framed(template, framing, encode_request(template, call))
        notes = ("The server's greeting is read first.",) if template.read_greeting else ()
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
                return await self._receive(template, framing, stream)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, OSError) as error:
            raise ConnectionLost(f"{template.address} closed the connection before it had answered.") from error

    async def _receive(self, template: TcpTemplate, framing: Framing, stream: ByteStream) -> bytes:
        deframer = framing.deframer()
        while True:
            chunk = await self._next(template, deframer, stream)
            if chunk is None:
                if not deframer.pending:
                    raise anyio.EndOfStream
                return deframer.finish()
            message = deframer.feed(chunk)
            if message is not None:
                return message
            if framing.strategy == "stream" and _is_whole_json(deframer.pending):
                return deframer.finish()

    async def _next(self, template: TcpTemplate, deframer: Deframer, stream: ByteStream) -> bytes | None:
        """The next bytes; None at the end of the stream, or of a `stream` reply after which nothing more came."""
        by_silence = template.framing_strategy == "stream" and template.quiet_period > 0 and bool(deframer.pending)
        seconds = template.quiet_period if by_silence else self.services.settings.idle_timeout
        with anyio.move_on_after(seconds):
            try:
                return await stream.receive(_CHUNK)
            except anyio.EndOfStream:
                return None
        if by_silence:
            return None
        raise ConnectionLost(f"{template.address} sent nothing for {seconds:g} seconds.")


TRANSPORT = TcpTransport


def _framed(template: TcpTemplate, framing: Framing, message: bytes) -> bytes:
    return message if template.wire == "tool" else framing.frame(message, written=template.written)


def _is_whole_json(data: bytes) -> bool:
    text = data.strip()
    if not text or (text[:1], text[-1:]) not in {(b"{", b"}"), (b"[", b"]")}:
        return False
    try:
        parse_json(text, "")
    except MalformedReply:
        return False
    return True
