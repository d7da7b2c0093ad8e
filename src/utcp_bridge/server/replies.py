"""HTTP replies of the MCP endpoint: what a client accepts, and JSON or an event stream as it can read them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias

import anyio
import orjson
from starlette.requests import Request

from utcp_bridge.catalogue.spliced import spliced_message
from utcp_bridge.foreign import escape_line_ends, json_line
from utcp_bridge.model import JsonObject
from utcp_bridge.net.heads.ahead import WriteWhole
from utcp_bridge.server.wire.protocol import RequestId
from utcp_bridge.tasks import loop_time

__all__ = [
    "OK",
    "PROFILE_ENDS",
    "SERVER_ENDS",
    "Accepted",
    "AsgiApp",
    "Header",
    "McpReply",
    "Message",
    "Receive",
    "Scope",
    "Send",
    "as_accepted",
    "event_of",
    "is_json",
    "open_events",
    "read_accept",
    "refuse_at_end",
    "respond",
]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
AsgiApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Header: TypeAlias = tuple[bytes, bytes]

_JSON: Final = (b"content-type", b"application/json")
_EVENTS: Final = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)
_SESSION: Final = b"mcp-session-id"
OK: Final = 200
SERVER_ENDS: Final[JsonObject] = {"error": "shutting down"}
PROFILE_ENDS: Final[JsonObject] = {
    "error": "profile removed",
    "message": "A new configuration removed the profile that served this request, so the request was ended. It may have"
    " had an effect. Send it again if that does no harm: the profile of its token, if there is one now, serves it.",
}
"""What clients read of requests that were ended, by the cause."""
_ENDED: Final = -32_000
_LINES: Final = b"content-type: application/json\r\ncontent-length: %d\r\ncache-control: no-store\r\n"
"""The header lines of `respond`."""
_SESSION_LINES: Final = b"%bmcp-session-id: %%b\r\n" % _LINES
"""The same for a session."""
_PLAIN_LINES: Final = b"content-length: %d\r\ncontent-type: application/json\r\n"
"""Those of a response of 2026-07-28, in the order of the SDK."""
_ESCAPE: Final = b"\\u"
_SMALL_NUMBER: Final = b"e-0"
"""How the SDK's writer of JSON begins a small exponent. Others write it without the zero."""
_JSON_RANGES: Final = ("application/json", "application/*", "*/*")
_EVENT_RANGES: Final = ("text/event-stream", "text/*", "*/*")


@dataclass(frozen=True, slots=True)
class Accepted:
    """Which forms of a reply a client reads, and whether it says so of event streams by their name."""

    json: bool
    events: bool
    names_events: bool = False


def is_json(content_type: str | None) -> bool:
    """Return whether a `Content-Type` is that of JSON."""
    media = (content_type or "").partition(";")[0].strip().lower()
    return media == "application/json" or (media.startswith("application/") and media.endswith("+json"))


def read_accept(values: Iterable[bytes]) -> Accepted:
    """Read the `Accept` headers of a request (RFC 9110, section 12.5.1). Without one, a client reads every form."""
    return _read_accept(b",".join(values))


@lru_cache(maxsize=64)  # clients send the same header with each request
def _read_accept(value: bytes) -> Accepted:
    qualities: dict[str, bool] = {}
    for part in value.decode("latin-1").lower().split(","):
        media, *parameters = (text.strip() for text in part.split(";"))
        if media:
            qualities[media] = not any(_is_zero(parameter) for parameter in parameters)
    if not qualities:
        return Accepted(json=True, events=True)
    reads_json, reads_events = _allows(qualities, _JSON_RANGES), _allows(qualities, _EVENT_RANGES)
    named = qualities.get("text/event-stream", False)
    return Accepted(reads_json, reads_events, named)


def _is_zero(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    return name.strip() == "q" and value.strip().strip("0.") == "" and value.strip() != ""


def _allows(qualities: dict[str, bool], ranges: Iterable[str]) -> bool:
    """Return what the most specific range says."""
    return next((qualities[media] for media in ranges if media in qualities), False)


def encode(message: Any) -> bytes:
    """Return a message as JSON on one line."""
    try:
        return orjson.dumps(spliced_message(message))
    except TypeError:  # an integer above 64 bits, or half of a surrogate pair
        return json_line(json.dumps(message, separators=(",", ":")))


def event_of(message: Any) -> bytes:
    """Return a message as a server-sent event."""
    return b"event: message\r\ndata: " + escape_line_ends(encode(message)) + b"\r\n\r\n"


async def open_events(send: Send, session_id: str | None) -> None:
    """Begin an event stream."""
    headers = [*_EVENTS, *_session_header(session_id)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


def _session_header(session_id: str | None) -> list[Header]:
    return [] if session_id is None else [(_SESSION, session_id.encode())]


async def respond(send: Send, status: int, body: Any, headers: Iterable[Header] = ()) -> None:
    """Send a JSON document."""
    data = encode(body)
    fields = [_JSON, (b"content-length", str(len(data)).encode()), (b"cache-control", b"no-store"), *headers]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": data})


async def refuse_at_end(send: Send, why: JsonObject = SERVER_ENDS) -> None:
    """Refuse a request that was ended, with what the client reads of it: `SERVER_ENDS` or `PROFILE_ENDS`."""
    await respond(send, 503, why, [(b"retry-after", b"5")] if why is SERVER_ENDS else ())


class McpReply:
    """The reply to one POST: JSON, or an event stream from its first event on.

    `whole` writes a JSON document in one piece, if it can. Otherwise, it is sent as two messages.
    """

    session_id: str | None = None
    _turns: anyio.Lock | None = None
    _opened = False
    _ended = False

    def __init__(
        self, send: Send, accepted: Accepted, request: Request | None = None, whole: WriteWhole | None = None
    ) -> None:
        self.request = request
        self._whole = whole
        self._send = send
        self._accepted = accepted
        self._sent_at = loop_time()

    @property
    def _turn(self) -> anyio.Lock:
        """Held by the code that writes. Most replies are one JSON document, which needs no lock."""
        if self._turns is None:
            self._turns = anyio.Lock(fast_acquire=True)
        return self._turns

    async def end(self, ident: RequestId, why: JsonObject = SERVER_ENDS, *, is_refused: bool = False) -> None:
        """End the reply because its request was ended (`refuse_at_end`), or because the token of it was revoked."""
        if self._opened and not self._ended:
            self._ended = True
            said = why.get("message")
            error = {"jsonrpc": "2.0", "id": ident, "error": {"code": _ENDED, "message": said}}
            await self._send({"type": "http.response.body", "body": b"" if said is None else event_of(error)})
        elif not self._ended:
            self._ended = True
            if is_refused:
                await respond(self._send, 401, {"error": "unauthorized"})
            else:
                await refuse_at_end(self._send, why)

    @property
    def takes_events(self) -> bool:
        """Whether the client reads messages before the result."""
        return self._accepted.events

    @property
    def has_ended(self) -> bool:
        """Whether nothing more can be sent."""
        return self._ended

    async def event(self, message: Any) -> None:
        """Send a message before the result. It is lost if the client reads JSON alone."""
        if self._accepted.events:
            async with self._turn:
                await self._write(event_of(message))

    async def ping(self, after: float, within: float) -> None:
        """Send a comment if nothing was sent for `after` seconds. Give up after `within` seconds."""
        silent = anyio.current_time() - self._sent_at >= after
        if silent and self._accepted.events and not self._turn.locked():
            with anyio.move_on_after(within):
                async with self._turn:
                    await self._write(b": ping\r\n\r\n")

    async def finish(self, response: Any) -> None:
        """Send the response to the request and end the reply."""
        if not self.write(response):
            await self.send(response)

    def write(self, response: Any) -> int:
        """Do what `finish` does, in one piece. Return the size of the body.

        It is 0 if that was not possible; `send` does the rest then.
        """
        if self._opened or not self._accepted.json or (whole := self._whole) is None:
            return 0
        self._ended = True  # nothing else is written from here on
        data = encode(response)
        size, session = len(data), self.session_id
        lines = _LINES % size if session is None else _SESSION_LINES % (size, session.encode())
        return size if whole(OK, lines, data) else 0

    async def send(self, response: Any) -> None:
        """Do what `finish` does, message by message."""
        if not self._opened and self._accepted.json:
            self._ended = True
            await respond(self._send, OK, response, _session_header(self.session_id))
            return
        async with self._turn:
            await self._write(event_of(response), last=True)

    def write_plain(self, response: Any, status: int) -> int:
        """Do what `write` does for a request of 2026-07-28, as the SDK writes its response."""
        if self._opened or not self._accepted.json or (whole := self._whole) is None:
            return 0
        self._ended = True
        data = encode(response)
        size = len(data)
        return size if whole(status, _PLAIN_LINES % size, data) else 0

    async def send_plain(self, response: Any, status: int) -> None:
        """Do what `send` does for a request of 2026-07-28."""
        if self._opened or not self._accepted.json:
            await self.send(response)
            return
        self._ended = True
        data = encode(response)
        headers = [(b"content-length", str(len(data)).encode()), _JSON]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": data})

    async def accept(self) -> None:
        """End the reply without a response, because the message needs none."""
        async with self._turn:
            if self._opened:
                await self._write(b"", last=True)
                return
            self._ended = True
            headers = [(b"content-length", b"0"), *_session_header(self.session_id)]
            await self._send({"type": "http.response.start", "status": 202, "headers": headers})
            await self._send({"type": "http.response.body", "body": b""})

    async def _write(self, event: bytes, *, last: bool = False) -> None:
        if self._ended:
            return
        self._ended = last
        if not self._opened:
            self._opened = True
            await open_events(self._send, self.session_id)
        self._sent_at = anyio.current_time()
        await self._send({"type": "http.response.body", "body": event, "more_body": not last})


def as_accepted(send: Send, accepted: Accepted) -> Send:
    """Return a `send` that changes a reply of the SDK into a form that the client reads."""
    if not accepted.json:
        return _JsonAsEvents(send)
    plain = _PlainJson(send)
    return plain if accepted.events else _EventsAsJson(plain)


class _ConvertedReply:
    """A `send` that collects a reply of one form and sends it in another form at its end. Other replies pass."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._converts = False
        self._data = bytearray()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._converts = self._applies_to(message)
        if not self._converts:
            await self._send(message)
        elif message["type"] == "http.response.body":
            self._collect(message.get("body", b""))
            if not message.get("more_body", False):
                await self._end()

    def _applies_to(self, start: Message) -> bool:
        raise NotImplementedError

    def _collect(self, data: bytes) -> None:
        self._data += data

    async def _end(self) -> None:
        raise NotImplementedError


class _PlainJson(_ConvertedReply):
    """Sends a JSON document with its characters as they are, as every other reply of the bridge has them."""

    _start: Message

    def _applies_to(self, start: Message) -> bool:
        self._start = start
        return _JSON in start["headers"]

    async def _end(self) -> None:
        data = bytes(self._data)
        if _ESCAPE in data or _SMALL_NUMBER in data:
            data = encode(json.loads(data))
        kept = {b"content-length": str(len(data)).encode()}
        headers = [(name, kept.get(name, value)) for name, value in self._start["headers"]]
        await self._send({**self._start, "headers": headers})
        await self._send({"type": "http.response.body", "body": data})


class _EventsAsJson(_ConvertedReply):
    """Sends the last message of an event stream as a JSON document."""

    def _applies_to(self, start: Message) -> bool:
        return _is_event_stream(start["headers"])

    def _collect(self, data: bytes) -> None:
        self._data = _last_event(self._data + data)

    async def _end(self) -> None:
        lines = bytes(self._data).splitlines()
        data = b"\n".join(line[5:].strip() for line in lines if line.startswith(b"data:"))
        headers = [_JSON, (b"content-length", str(len(data)).encode())]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": data})


def _last_event(data: bytearray) -> bytearray:
    """Drop the events before the last one, which have no place in a JSON document."""
    start = data.rfind(b"\r\n\r\n", 0, len(data.rstrip()))
    return data if start < 0 else data[start + 4 :]


class _JsonAsEvents(_ConvertedReply):
    """Sends a JSON document as an event stream of one event."""

    def _applies_to(self, start: Message) -> bool:
        return start["status"] == 200 and not _is_event_stream(start["headers"])

    async def _end(self) -> None:
        await open_events(self._send, None)
        event = b"event: message\r\ndata: " + bytes(self._data) + b"\r\n\r\n"
        await self._send({"type": "http.response.body", "body": event})


def _is_event_stream(headers: Iterable[Header]) -> bool:
    return any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers)
