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

from typing import Any, ClassVar, Literal

import anyio
from anyio.abc import ByteStream
from pydantic import Field

from utcp_bridge.errors import ConnectionLost, MalformedReply
from utcp_bridge.model import Call, Document, Emit, Source
from utcp_bridge.net.framing import Deframer, Framing, unescape
from utcp_bridge.net.preview import NativeRequest
from utcp_bridge.net.reply import parse_json
from utcp_bridge.placement.message import SocketTemplate, decode_reply, encode_request
from utcp_bridge.transport import Target, Transport

__all__ = ["TRANSPORT", "TcpTemplate", "TcpTransport"]

_CHUNK = 65_536


class TcpTemplate(SocketTemplate):
    """The socket family's fields, the framing's, and ours: `quiet_period`, `read_greeting`, `half_close`."""

    framing_strategy: Literal["length_prefix", "delimiter", "fixed_length", "stream"] = "stream"
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
