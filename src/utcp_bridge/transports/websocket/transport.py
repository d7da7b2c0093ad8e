"""websocket: one message out, one or several messages back.

    v1  {"call_template_type": "websocket", "url": "wss://api.example.com/tools",
         "message": {"action": "get", "id": "UTCP_ARG_id_UTCP_ARG"}, "expected_responses": 1}
    v0  {"provider_type": "websocket", "url": "wss://api.example.com/socket", "protocol": "utcp"}

`wire` says what a message is: `raw` the template or the arguments, `envelope` `{"type": "call", "id", "tool",
"params"}` whose reply has the same id, `path` a connection to `url/<tool>` with the arguments as JSON; `auto` is the
form that discovery found, else `raw`. Raw calls lease a kept connection, envelopes share one, each path call opens
one. Limits: `max_reply_bytes` a message and a stream, `max_stream_events`, `idle_timeout` between messages.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import Annotated, Any, ClassVar, Literal, TypeAlias
from urllib.parse import urlsplit, urlunsplit

import anyio
from pydantic import AliasChoices, BeforeValidator, Field, field_validator

from utcp_bridge.errors import ConnectionLost, ManualError, ReplyTooLarge
from utcp_bridge.foreign import decode, is_heavy
from utcp_bridge.model import Call, Document, Emit, JsonObject, Result, defers, is_object
from utcp_bridge.net.collecting import LARGE, Collecting, arrived
from utcp_bridge.net.document import document_request, fetch_manual
from utcp_bridge.net.http_options import SocketOptions
from utcp_bridge.net.preview import NativeRequest, socket_request
from utcp_bridge.net.stream import Batch, Collector
from utcp_bridge.placement.compiling import CallTemplate, compiled_property
from utcp_bridge.placement.encoding import encode_path_segment
from utcp_bridge.placement.headers import HeaderPlan, compile_headers
from utcp_bridge.placement.placeholders import Context, Syntax, Template, compile_template
from utcp_bridge.placement.url import UrlPlan, compile_url
from utcp_bridge.tasks import heavy_turn
from utcp_bridge.transport import Services, Target, Transport
from utcp_bridge.transports.websocket.connection import Connection, Frame, Inbox, LargeText
from utcp_bridge.transports.websocket.pool import Key, SocketPool
from utcp_bridge.transports.websocket.replies import NOTHING, ReplyReader, envelope, ids_of, message_text, parsed
from utcp_bridge.urls import bare_url, origin_of

__all__ = ["TRANSPORT", "WebSocketTemplate", "WebSocketTransport"]

_SYNTAXES = Syntax.UTCP_ARG | Syntax.MUSTACHE | Syntax.DOLLAR
_NONE_AS_EMPTY = BeforeValidator(lambda value: value or {})
_PROBE_SECONDS = 3.0
_PING_SECONDS = 30.0
_MIN_PING_SECONDS = 1.0
_MAX_HELD_SECONDS = 5.0
"""For which a large message waits before it is read, and at most a quarter of the time between two pings."""
_OTHER_FACTOR = 10
"""Messages that belong to no call may have this many times the bytes of a reply: a busy subscription."""
_FROM_MILLISECONDS = 1000
Wire: TypeAlias = Literal["raw", "envelope", "path"]


def _seconds(value: Any) -> Any:
    """Return seconds: UTCP's documents count seconds, its older forms milliseconds, which start at 1000 here."""
    return value / 1000 if isinstance(value, int | float) and value >= _FROM_MILLISECONDS else value


Seconds = Annotated[float | None, BeforeValidator(_seconds), Field(gt=0)]


class WebSocketTemplate(CallTemplate):
    """Fields of UTCP's websocket templates, of its documents and of the bridge.

    An `expected_responses` of -1 means all responses until the connection ends.
    """

    url: str = Field(min_length=1, repr=False)
    message: Any = Field(default=None, repr=False, validation_alias=AliasChoices("message", "message_template"))
    auth_message: Any = Field(default=None, repr=False)
    auth_response: bool = False
    read_greeting: bool = False
    protocol: str | None = None
    headers: Annotated[Mapping[str, Any], _NONE_AS_EMPTY] = Field(default_factory=dict[str, Any], repr=False)
    header_fields: Annotated[tuple[str, ...], BeforeValidator(lambda value: value or ())] = ()
    keep_alive: bool = True
    ping_interval: Seconds = None
    compression: bool = False
    connection_timeout: Seconds = None
    response_timeout: Seconds = None
    response_format: Literal["json", "text", "raw"] | None = None
    expected_responses: int = Field(default=1, ge=-1)
    message_filter: Annotated[Mapping[str, Any], _NONE_AS_EMPTY] = Field(default_factory=dict[str, Any])
    close_after_response: bool = False
    discovery_url: str | None = Field(default=None, repr=False)
    wire: Literal["auto", "raw", "envelope", "path"] = "auto"

    @field_validator("url")
    @classmethod
    def _web_socket(cls, url: str) -> str:
        scheme, _, rest = url.partition("://")
        scheme = {"http": "ws", "https": "wss"}.get(scheme.lower(), scheme.lower())
        if scheme not in {"ws", "wss"} or not rest:
            raise ValueError("must be a ws:// or wss:// URL")
        return f"{scheme}://{rest}"

    @compiled_property
    def build_url(self) -> UrlPlan:
        """Return the compiled URL.

        :raises ConfigError: it cannot be compiled.
        """
        return compile_url(self.url)

    @compiled_property
    def build_headers(self) -> HeaderPlan:
        """Return the compiled headers.

        :raises ConfigError: it cannot be compiled.
        """
        return compile_headers(self.headers, self.header_fields)

    @compiled_property
    def build_message(self) -> Template | None:
        """Return the compiled message.

        :raises ConfigError: it cannot be compiled.
        """
        if self.message is None:
            return None
        return compile_template(self.message, syntaxes=_SYNTAXES, where="`message`")


class WebSocketTransport(Transport[WebSocketTemplate]):
    """Calls over WebSockets, which are kept between calls if the form of the messages allows it."""

    kinds: ClassVar[tuple[str, ...]] = ("websocket",)
    template = WebSocketTemplate
    silence_fields: ClassVar[frozenset[str]] = frozenset({"response_timeout"})

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._pool = SocketPool(services.spawn)
        self._found: dict[str, Wire] = {}
        """By manual: the form of messages that its discovery found."""

    @classmethod
    def endpoint(cls, template: WebSocketTemplate) -> str | None:
        """Return the template's URL, with its placeholders."""
        return template.url

    async def discover(self, target: Target[WebSocketTemplate]) -> Document:
        """Fetch `discovery_url`, or send `{"type": "utcp"}`, and then `manual` for Go and Rust servers."""
        template, manual = target.template, target.source.name
        if template.discovery_url is not None:
            self._found[manual] = "envelope"
            return await fetch_manual(
                self.services.http.session(target.source),
                document_request(template.discovery_url),
                max_bytes=self.services.settings.max_manual_bytes,
                credentials=target.credentials,
                entry="manual",
                known=target.known,
            )
        questions: tuple[tuple[str, Wire], ...] = (('{"type": "utcp"}', "raw"), ("manual", "path"))
        for question, wire in questions:
            try:
                value = await self._ask(target, question)
            except ConnectionLost:
                continue
            if is_object(value) and "tools" in value:
                self._found[manual] = wire
                return Document(content=value, url=template.url)
        raise ManualError(
            f"{bare_url(template.url)} sent no manual.",
            remedy="Set `discovery_url` to the URL of the manual, or write the tools into a local manual.",
        )

    async def call(self, target: Target[WebSocketTemplate], call: Call, emit: Emit) -> Result:
        """Send one message, if there is one, and collect the replies."""
        template = target.template
        wire, url, headers = self._way(target, call)
        if wire == "envelope" and template.message is None:
            return await self._call_shared(target, call, url, headers, emit)
        message = _rendered(template, call)
        streams = template.expected_responses != 1
        sends = message != ""  # the server may have sent what is wanted before the call has an inbox of its own
        keep = wire == "raw" and template.keep_alive and not template.close_after_response and not streams and sends
        reader = _reader(template, message)
        async with self._pool.lease(
            _key(target, url, headers), lambda: self._open(target, url, headers, _everything), keep=keep
        ) as connection:
            inbox = connection.inbox(with_early=not sends)
            try:
                if sends:
                    await connection.send(message_text(message))
                return await self._gather(inbox, target, reader, emit)
            finally:
                inbox.close()

    async def explain(self, target: Target[WebSocketTemplate], call: Call) -> NativeRequest:
        """Return the messages: the one that authenticates a new connection, if any, and the call."""
        template = target.template
        wire, url, headers = self._way(target, call)
        own = [("Sec-WebSocket-Protocol", template.protocol)] if template.protocol else []
        message = _rendered(template, call)
        notes: tuple[str, ...] = ()
        if wire == "envelope" and template.message is None:
            message = envelope(call.tool.name, _left(template, call), "1")
            notes = ("Each call has its own `id`.",)
        messages = [message_text(one) for one in (template.auth_message, message) if one is not None and one != ""]
        return socket_request(url, [*headers, *own], target.credentials, messages, notes)

    def _way(self, target: Target[WebSocketTemplate], call: Call) -> tuple[Wire, str, tuple[tuple[str, str], ...]]:
        """Return the form of a call's messages, its URL and its headers."""
        template, arguments = target.template, dict(call.arguments)
        wire = self._found.get(target.source.name, "raw") if template.wire == "auto" else template.wire
        url = template.build_url.build(arguments)
        headers = tuple(template.build_headers.build(arguments))
        return wire, _with_tool(url, call.tool.name) if wire == "path" else url, headers

    async def forget(self, manual: str) -> None:
        """Close the manual's connections."""
        self._found.pop(manual, None)
        await self._pool.close(manual)

    async def renew(self, manual: str) -> None:
        """Close the manual's connections when no call uses them."""
        await self._pool.renew(manual)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.close()

    async def _call_shared(
        self,
        target: Target[WebSocketTemplate],
        call: Call,
        url: str,
        headers: tuple[tuple[str, str], ...],
        emit: Emit,
    ) -> Result:
        """Send an envelope on the connection that all calls share; its reply has the same id."""
        template, identifier = target.template, uuid.uuid4().hex
        reader = ReplyReader(bare_url(template.url), template.response_format, is_envelope=True)
        connection = await self._pool.share(
            _key(target, url, headers), lambda: self._open(target, url, headers, ids_of)
        )
        inbox = connection.inbox(identifier)
        try:
            await connection.send(message_text(envelope(call.tool.name, _left(template, call), identifier)))
            return await self._gather(inbox, target, reader, emit)
        finally:
            inbox.close()

    async def _open(
        self, target: Target[WebSocketTemplate], url: str, headers: tuple[tuple[str, str], ...], keys_of: Any
    ) -> Connection:
        """Open a connection and send the message that authenticates it."""
        template = target.template
        options = SocketOptions(
            decode_text=False,
            protocols=(template.protocol,) if template.protocol else (),
            max_message_bytes=self.services.settings.max_reply_bytes,
            ping_interval=max(template.ping_interval or _PING_SECONDS, _MIN_PING_SECONDS)
            if template.keep_alive
            else None,
            compression=template.compression,
        )
        session = self.services.http.session(target.source)
        opening = session.websocket(url, headers=headers, credentials=target.credentials, options=options)
        seconds = template.connection_timeout or self.services.settings.call_timeout
        where = bare_url(template.url)
        connection = await Connection.open(opening, self.services.spawn, where=where, keys_of=keys_of, seconds=seconds)
        try:
            await self._greet(connection, template)
        except BaseException:
            await connection.aclose()
            raise
        return connection

    async def _greet(self, connection: Connection, template: WebSocketTemplate) -> None:
        seconds = self.services.settings.idle_timeout
        if template.read_greeting:
            await connection.next_frame(seconds)
        if template.auth_message is not None:
            await connection.send(message_text(template.auth_message))
            if template.auth_response:
                await connection.next_frame(seconds)

    async def _gather(self, inbox: Inbox, target: Target[WebSocketTemplate], reader: ReplyReader, emit: Emit) -> Result:
        template = target.template
        manual, limit = target.source.name, self.services.settings.max_reply_bytes
        pings = max(template.ping_interval or _PING_SECONDS, _MIN_PING_SECONDS)
        place = _MessagePlace(manual, min(_MAX_HELD_SECONDS, pings / 4))
        frames = _Frames(inbox, reader, template.expected_responses, limit, place)
        seconds = template.response_timeout or self.services.settings.idle_timeout
        if frames.wanted == 1:
            async with aclosing(frames.batches(seconds)) as batches:
                async for values, _ in batches:
                    if values:
                        return Result(values[0])
            raise ConnectionLost(f"{reader.where} closed the connection before it sent a reply.")

        async def emit_parts(value: Any) -> None:
            if not (reader.is_envelope and frames.is_done):
                await emit(value)

        collector = Collector(self.services.settings, emit_parts, manual, seconds)
        with collector.keeping():
            await collector.gather(frames.batches())
            missing = frames.wanted - len(collector.values)
            if collector.truncated is None and missing > 0 and not frames.is_done:
                collector.truncated = f"the connection ended {missing} messages early"
        if not collector.values and collector.truncated is not None:
            raise ConnectionLost(f"{reader.where} sent no reply: {collector.truncated}.")
        if not collector.values and frames.wanted > 0:
            raise ConnectionLost(f"{reader.where} closed the connection before it sent a reply.")
        return collector.listed()

    async def _ask(self, target: Target[WebSocketTemplate], question: str) -> Any:
        headers = tuple(target.template.build_headers.build({}))
        connection = await self._open(target, target.template.url, headers, _everything)
        try:
            await connection.send(question)
            return parsed(await connection.next_frame(_PROBE_SECONDS))
        finally:
            await connection.aclose()


class _MessagePlace:
    """The place of the one large message of a call: before it is read, if it is announced, or else afterwards."""

    def __init__(self, manual: str, seconds: float) -> None:
        self._manual = manual
        self._seconds = seconds
        self._announced: Collecting | None = None

    async def admit(self, size: int) -> None:
        """Wait until the message may be read, at most for some seconds: pings have no reply meanwhile."""
        place = Collecting(self._manual)
        with anyio.move_on_after(self._seconds), place:
            await place.grow(size)
            self._announced = place

    async def arrived(self, size: int) -> None:
        """Wait until the message may be worked on."""
        if self._announced is None:
            await arrived(self._manual, size)
        elif size > LARGE:
            self._announced = None  # it has its place


class _Frames:
    """The messages of one call, as values. `limit` is in bytes."""

    def __init__(self, inbox: Inbox, reader: ReplyReader, wanted: int, limit: int, place: _MessagePlace) -> None:
        self.wanted = wanted
        self.is_done = False
        self._inbox = inbox
        self._reader = reader
        self._limit = limit
        self._place = place

    async def batches(self, seconds: float = math.inf) -> AsyncGenerator[Batch]:
        """Yield each message, and nothing for one that is not part of the reply.

        :raises ConnectionLost: the connection broke, or was silent for `seconds`.
        :raises ReplyTooLarge: a message is too large, or too many are not part of the reply.
        """
        found = other = 0
        while not self.is_done and (self.wanted < 0 or found < self.wanted):
            is_alone = self.wanted == 1
            frame = await self._inbox.next(seconds, self._place.admit if is_alone else None)
            if frame is None:
                return
            if is_alone:
                await self._place.arrived(len(frame))
                if self._reader.takes_any and defers(frame):
                    yield [self._reader.later(frame)], len(frame)
                    return
            if is_heavy(frame):
                await heavy_turn(keep=is_alone)
            if isinstance(frame, LargeText):
                frame = decode(frame)
            self.is_done, value = self._reader.read(frame)
            if value is not NOTHING:
                found += 1
                yield [value], len(frame)
                continue
            other += len(frame)
            if other > _OTHER_FACTOR * self._limit:
                raise ReplyTooLarge(f"{self._reader.where} sent too many messages that are not part of the reply.")
            yield [], 0


TRANSPORT = WebSocketTransport


def _key(target: Target[WebSocketTemplate], url: str, headers: tuple[tuple[str, str], ...]) -> Key:
    """Return what distinguishes a manual's connections: the handshake and the first messages."""
    template = target.template
    auth = None if target.credentials is None else target.credentials.auth
    said = message_text(template.auth_message)
    way = target.source.tls, target.source.proxy, target.source.allow_networks
    handshake = (url, headers, template.protocol, template.compression, auth, said, way)
    return Key(target.source.name, origin_of(url), handshake)


def _everything(_frame: Frame) -> Iterable[str]:
    return ()


def _rendered(template: WebSocketTemplate, call: Call) -> Any:
    if template.build_message is None:
        return _left(template, call)
    return template.build_message.render(call.arguments, context=Context.JSON)


def _left(template: WebSocketTemplate, call: Call) -> JsonObject:
    """Return the arguments that the handshake does not take: as in HTTP, an argument has one place."""
    taken = template.build_url.used | template.build_headers.used
    return {name: value for name, value in call.arguments.items() if name not in taken} if taken else call.arguments


def _reader(template: WebSocketTemplate, message: Any) -> ReplyReader:
    """Return the reader of a call's reply; the reply to a JSON-RPC message has the message's id."""
    where = bare_url(template.url)
    is_json_rpc = template.message is not None and is_object(message) and "id" in message and "method" in message
    if not is_json_rpc or template.expected_responses != 1:
        return ReplyReader(where, template.response_format, wanted=template.message_filter)
    return ReplyReader(where, template.response_format, wanted=template.message_filter, sent_id=message["id"])


def _with_tool(url: str, tool: str) -> str:
    """Return `url` without a trailing `/tools`, and with `/<tool>`, as Go and Rust servers expect."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/").removesuffix("/tools")
    return urlunsplit(parts._replace(path=f"{path}/{encode_path_segment(tool, argument='tool')}"))
