"""websocket: one message out, one or several back, on a connection of the call's own.

    v1  {"call_template_type": "websocket", "url": "wss://api.example.com/tools",
         "message": {"action": "get", "id": "UTCP_ARG_id_UTCP_ARG"}, "expected_responses": 1}
    v0  {"provider_type": "websocket", "url": "wss://api.example.com/socket", "protocol": "utcp"}

`wire` says what a message is: `raw` the template or the arguments, `envelope` `{"type": "call", "id", "tool",
"params"}` answered by the same id, `path` a connection to `url/<tool>` with the arguments as JSON. Limits:
`max_reply_bytes` a message, `max_stream_events`, `idle_timeout` between messages.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit, urlunsplit

import anyio
import orjson
from pydantic import AliasChoices, BeforeValidator, Field, field_validator

from utcp_bridge.errors import ConnectionLost, ManualError, Rejected, ReplyTooLarge
from utcp_bridge.model import Binary, Call, CallTemplate, Document, Emit, JsonObject, Result, is_object
from utcp_bridge.transport import Target, Transport
from utcp_bridge.urls import bare_url
from utcp_bridge.wire.header_plan import HeaderPlan, compile_headers
from utcp_bridge.wire.reply import parse_json
from utcp_bridge.wire.serialization import encode_path_segment
from utcp_bridge.wire.templating import Context, Syntax, Template, compile_template
from utcp_bridge.wire.url_plan import UrlPlan, compile_url

__all__ = ["TRANSPORT", "WebSocketTemplate", "WebSocketTransport"]

_SYNTAXES = Syntax.UTCP_ARG | Syntax.MUSTACHE | Syntax.DOLLAR
_END = frozenset({"stream_end", "complete", "done"})
_NONE_AS_EMPTY = BeforeValidator(lambda value: value or {})


class WebSocketTemplate(CallTemplate):
    """Fields of UTCP's websocket templates, of its documents and ours; -1 `expected_responses` is until the end."""

    url: str = Field(min_length=1, repr=False)
    message: Any = Field(default=None, repr=False, validation_alias=AliasChoices("message", "message_template"))
    protocol: str | None = None
    headers: Annotated[Mapping[str, Any], _NONE_AS_EMPTY] = Field(default_factory=dict[str, Any], repr=False)
    header_fields: Annotated[tuple[str, ...], BeforeValidator(lambda value: value or ())] = ()
    keep_alive: bool = True
    response_format: Literal["json", "text", "raw"] | None = None
    expected_responses: int = Field(default=1, ge=-1)
    wire: Literal["raw", "envelope", "path"] = "raw"

    @field_validator("url")
    @classmethod
    def _web_socket(cls, url: str) -> str:
        scheme, _, rest = url.partition("://")
        scheme = {"http": "ws", "https": "wss"}.get(scheme.lower(), scheme.lower())
        if scheme not in {"ws", "wss"} or not rest:
            raise ValueError("must be a ws:// or wss:// URL")
        return f"{scheme}://{rest}"

    @cached_property
    def build_url(self) -> UrlPlan:
        """The compiled URL. Raises ConfigError."""
        return compile_url(self.url)

    @cached_property
    def build_headers(self) -> HeaderPlan:
        """The compiled headers. Raises ConfigError."""
        return compile_headers(self.headers, self.header_fields)

    @cached_property
    def build_message(self) -> Template | None:
        """The compiled message. Raises ConfigError."""
        return None if self.message is None else compile_template(self.message, syntaxes=_SYNTAXES)


class WebSocketTransport(Transport[WebSocketTemplate]):
    """One connection per call, so that no call reads another's answer."""

    kinds: ClassVar[tuple[str, ...]] = ("websocket",)
    template = WebSocketTemplate

    @classmethod
    def endpoint(cls, template: WebSocketTemplate) -> str | None:
        """The template's URL, placeholders included."""
        return template.url

    async def discover(self, target: Target[WebSocketTemplate]) -> Document:
        """Ask by `{"type": "utcp"}`; who does not know that is asked by `manual` (Go, Rust)."""
        for question in ('{"type":"utcp"}', "manual"):
            async with self._connected(target, target.template.url, {}) as socket:
                await socket.send_str(question)
                try:
                    with anyio.move_on_after(_PROBE_SECONDS):
                        answer = await self._receive(socket, target.template, first=True)
                        if answer is not None and is_object(value := _parsed(answer)) and "tools" in value:
                            return Document(content=value, url=target.template.url)
                except ConnectionLost:
                    continue
        raise ManualError(
            f"{bare_url(target.template.url)} gave no manual.",
            remedy="Write its tools into a local manual, or point an http manual at its discovery URL.",
        )

    async def call(self, target: Target[WebSocketTemplate], call: Call, emit: Emit) -> Result:
        """Send one message and gather the answers."""
        template = target.template
        arguments = dict(call.arguments)
        url = template.build_url.build(arguments)
        if template.wire == "path":
            url = _with_tool(url, call.tool.name)
        identifier = uuid.uuid4().hex if template.wire == "envelope" else None
        async with self._connected(target, url, arguments) as socket:
            await socket.send_str(_message(template, call, identifier))
            return await self._gather(socket, template, identifier, emit)

    def _connected(self, target: Target[WebSocketTemplate], url: str, arguments: JsonObject) -> Any:
        template = target.template
        return self.services.http.session(target.source).websocket(
            url,
            headers=template.build_headers.build(arguments),
            protocols=(template.protocol,) if template.protocol else (),
            credentials=target.credentials,
            max_message_bytes=self.services.settings.max_reply_bytes,
        )

    async def _gather(self, socket: Any, template: WebSocketTemplate, identifier: str | None, emit: Emit) -> Result:
        values: list[Any] = []
        wanted = template.expected_responses
        most = self.services.settings.max_stream_events
        truncated: str | None = None
        while wanted < 0 or len(values) < wanted:
            if len(values) >= most:
                truncated = f"the stream was cut at {most} results"
                break
            data = await self._receive(socket, template, first=not values)
            if data is None:
                break
            done, value = _read(data, template, identifier)
            if value is not _NOTHING:
                values.append(value)
                if wanted != 1 and not (identifier and done):
                    await emit(value)
            if done:
                break
        if not values and wanted >= 0:
            raise ConnectionLost(f"{bare_url(template.url)} closed the connection before it had answered.")
        return Result(values[0] if wanted == 1 else values, truncated=truncated)

    async def _receive(self, socket: Any, template: WebSocketTemplate, *, first: bool) -> str | bytes | None:
        """The next message; None at an orderly end.

        :raises ConnectionLost: broken, or silent for too long. :raises ReplyTooLarge: above the limit.
        """
        from aiohttp import WSMsgType

        where, seconds = bare_url(template.url), self.services.settings.idle_timeout
        message: Any = None
        with anyio.move_on_after(seconds):
            message = await socket.receive()
        if message is None:
            raise ConnectionLost(f"{where} sent nothing for {seconds:g} seconds.")
        if message.type in {WSMsgType.TEXT, WSMsgType.BINARY}:
            data: str | bytes = message.data
            return data
        if socket.close_code == 1009:
            raise ReplyTooLarge(f"{where} sent a message above {self.services.settings.max_reply_bytes} bytes.")
        if message.type is WSMsgType.ERROR or (first and socket.close_code not in {None, 1000, 1001}):
            reason = str(message.extra or "")[:100] if message.type is WSMsgType.CLOSE else ""
            raise ConnectionLost(f"{where} closed the connection with code {socket.close_code} {reason}".rstrip() + ".")
        return None


TRANSPORT = WebSocketTransport

_PROBE_SECONDS = 3.0
_NOTHING = object()


def _message(template: WebSocketTemplate, call: Call, identifier: str | None) -> str:
    if template.build_message is not None:
        rendered = template.build_message.render(call.arguments, context=Context.JSON)
        return rendered if isinstance(rendered, str) else orjson.dumps(rendered).decode()
    if identifier is None:
        return orjson.dumps(call.arguments).decode()
    envelope = {"type": "call", "tool": call.tool.name, "id": identifier, "request_id": identifier}
    return orjson.dumps({**envelope, "params": call.arguments}).decode()


def _read(data: str | bytes, template: WebSocketTemplate, identifier: str | None) -> tuple[bool, Any]:
    """Whether this ends the answer, and its value; `_NOTHING` for what belongs to somebody else."""
    value = _value(data, template)
    if not is_object(value):
        return False, value if identifier is None else _NOTHING
    if value.get("type") in _END:
        return True, _NOTHING
    if identifier is None:
        return False, value
    if identifier not in {value.get("id"), value.get("request_id")}:
        return False, _NOTHING
    if (error := value.get("error")) or value.get("type") == "tool_error":
        raise Rejected(f"{bare_url(template.url)} answered with an error.", status="error", detail=error)
    return not value.get("partial"), value.get("result", value.get("output"))


def _value(data: str | bytes, template: WebSocketTemplate) -> Any:
    if isinstance(data, bytes):
        return Binary(data)
    if template.response_format == "json":
        return parse_json(data, bare_url(template.url))
    return data if template.response_format in {"text", "raw"} else _parsed(data)


def _parsed(data: str | bytes) -> Any:
    """An object or array where the text is one, else the text."""
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    if text.lstrip()[:1] not in {"{", "["}:
        return text
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _with_tool(url: str, tool: str) -> str:
    """`url` without a trailing `/tools`, then `/<tool>` (Go, Rust)."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/").removesuffix("/tools")
    return urlunsplit(parts._replace(path=f"{path}/{encode_path_segment(tool, argument='tool')}"))
