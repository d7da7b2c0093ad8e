"""HTTP below the SDK's client: what it would end a whole connection for becomes the error of one request.

The SDK gives up its connection, with all calls of others, when one request cannot be sent or one reply breaks off. It
passes on neither statuses nor `Retry-After`, and it does not make a new session when the server no longer has the old
one. Here each failed request becomes a JSON-RPC error with the code `KEPT`, whose data is the key of our own error.
The stream of notifications is opened again as long as the connection lasts.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from typing import Any, Final

import anyio
import httpx2
import orjson

from utcp_bridge.errors import ConnectionLost, MalformedReply, Rejected, ReplyTooLarge, UpstreamError, UtcpError
from utcp_bridge.foreign import decode, json_line, most_values, values_of
from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.net.backoff import Backoff
from utcp_bridge.net.collecting import LARGE
from utcp_bridge.net.reply import Reply
from utcp_bridge.net.web_page import HTML_TYPES, is_web_page, words_of
from utcp_bridge.transports.mcp.lenient import VALUE_LIMIT, mended_message, mended_reply
from utcp_bridge.transports.mcp.results import UnreadReplies
from utcp_bridge.urls import bare_url

__all__ = ["KEPT", "KeptErrors", "LenientHttp", "SessionLost"]

KEPT: Final = -32098
"""Code of the error that stands for one of ours: see `KeptErrors`."""
_MAX_KEPT: Final = 1_000
_KEY_BITS: Final = 62
_END_OF_EVENT: Final = re.compile(rb"\n\r?\n")
_MENDED_BYTES: Final = 1024 * 1024
"""Replies above this are not read twice: their envelopes are not mended."""
_KEPT_WORDS: Final = re.compile(r"kept error (\d{1,20})\b")
_SESSION_WORDS: Final = re.compile(r"session|initiali[sz]|protocol.version", re.IGNORECASE)
_SESSION_HEADER: Final = "mcp-session-id"
_GONE: Final = frozenset({404, 410})
_MAX_PAGE_WORDS: Final = 120
_METHOD_NOT_FOUND: Final = -32601
_INVALID_PARAMS: Final = -32602
_LISTENING_SECONDS: Final = 2.0
"""For so long the first call waits for the stream of notifications: some servers only begin it with the first one."""
_NOTICE_SECONDS: Final = 5.0
"""For so long a server may take for a message that is not a request: the SDK sends nothing else meanwhile."""
_SESSION_ID: Final = re.compile(r"[\x20-\x7e]*")
"""What can be sent back as a header."""
_EVENT_HEADER: Final = "last-event-id"
_EARLY_SECONDS: Final = 1.0
"""A stream of notifications that ends within this time is opened again after a pause."""
_LONGEST_PAUSE: Final = 5.0
_QUICK_RESUMPTIONS: Final = 10
_MAX_RESUMPTIONS: Final = 300
"""How often the reply of one request may go on in another stream. The SDK nests them."""
_RESUMED: Final[ContextVar[int]] = ContextVar("utcp_bridge_resumed_streams", default=0)
"""How often the reply of this request has gone on in another stream."""


class SessionLost(UpstreamError):
    """The server refused a request because it does not have the session: the request was not carried out."""

    code = "session_lost"


class KeptErrors:
    """Errors of requests, while the SDK passes their keys on."""

    def __init__(self) -> None:
        self._errors: dict[int, UtcpError] = {}

    def keep(self, error: UtcpError) -> int:
        """Keep an error and return its key. Callers that gave up never fetch theirs, so the oldest go."""
        while len(self._errors) >= _MAX_KEPT:
            del self._errors[next(iter(self._errors))]
        key = secrets.randbits(_KEY_BITS)  # a server cannot say it
        self._errors[key] = error
        return key

    def take(self, received: Any) -> UtcpError | None:
        """Return the error behind an `MCPError`; None if it is the server's own."""
        if received.code == KEPT and isinstance(received.data, int):
            return self._errors.pop(received.data, None)
        words = _KEPT_WORDS.search(str(received.message))
        return self._errors.pop(int(words[1]), None) if words else None


def _drop_bad_location(response: httpx2.Response) -> None:
    """Remove a `Location` that is not a URL. Some versions of httpx2 would end the connection for it."""
    location = response.headers.get("location")
    if location is not None:
        try:
            httpx2.URL(location)
        except httpx2.InvalidURL:
            del response.headers["location"]


class LenientHttp(httpx2.AsyncBaseTransport):
    """An HTTP transport whose JSON and event streams can be encoded, and whose failures are those of one request.

    `is_open` returns whether the handshake is over; before that the SDK gets statuses and errors as they are, and
    `refused` receives the error of a status. `lost` is called when the server does not have the session any more.
    """

    def __init__(
        self,
        inner: httpx2.AsyncBaseTransport,
        kept: KeptErrors,
        unread: UnreadReplies,
        *,
        is_open: Callable[[], bool],
        refused: Callable[[UtcpError], None],
        lost: Callable[[], None],
    ) -> None:
        self._inner = inner
        self._kept = kept
        self._unread = unread
        self._is_open = is_open
        self._refused = refused
        self._lost = lost
        self._is_lost = False
        self._has_listened = False
        self._listener: int | None = None
        self._has_session = False
        self._listened_at = 0.0
        self._streams = Backoff(maximum=_LONGEST_PAUSE)
        """Pauses between streams of notifications that end early."""
        self._listens = anyio.Event()
        """Set when the server has answered the request for the stream of notifications, or has taken too long."""

    async def until_listening(self) -> None:
        """Wait until the stream of notifications is open, refused, or late.

        A server may ask the host on that stream, and what it sends before the stream is open can be lost. A server
        without sessions has no such stream.
        """
        if not self._has_session or self._listens.is_set():
            return
        with anyio.move_on_after(_LISTENING_SECONDS):
            await self._listens.wait()
        self._listens.set()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send the request and return its response while the body arrives."""
        if request.method == "GET":
            return await self._listen(request)
        if request.method == "DELETE" and self._is_lost:
            return httpx2.Response(204, request=request)
        message = _message_of(request)
        if request.method != "POST" or {"id", "method"} <= message.keys():
            return await self._exchanged(request, message)
        with anyio.move_on_after(_NOTICE_SECONDS):
            return await self._exchanged(request, message)
        return httpx2.Response(202, request=request)

    async def _exchanged(self, request: httpx2.Request, message: JsonObject) -> httpx2.Response:
        try:
            response = await self._inner.handle_async_request(request)
        except httpx2.TransportError as error:
            if request.method != "POST" or not self._is_open():
                raise
            return self._instead(request, 200, _ours(error))
        _drop_bad_location(response)
        if (session := response.headers.get(_SESSION_HEADER)) is not None:
            self._has_session = True
            if not _SESSION_ID.fullmatch(session):
                return await self._without_session(request, response)
        if response.status_code >= 400 and request.method == "POST":
            return await self._judged(request, response)
        if _is_odd(request, response, message):
            return await self._read_oddly(request, response)
        self._repair(response, keep=request.method == "POST", identifier=message.get("id"))
        return response

    async def _without_session(self, request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
        """Refuse a response whose session no request could name."""
        await response.aclose()
        what = f"{bare_url(str(request.url))} opens a session whose id is not ASCII text, so no request can name it."
        error = MalformedReply(what, remedy="Report this to the makers of the server.")
        if not self._is_open():
            self._refused(error)
        return self._instead(request, 200, error)

    async def aclose(self) -> None:
        """Close the transport within."""
        await self._inner.aclose()

    async def _listen(self, request: httpx2.Request) -> httpx2.Response:
        """Open a stream of events. The first one is that of notifications, which the SDK gives up after two failures:
        it is tried again here, with growing pauses, and ends without an error if it breaks.
        """
        task, resumes = anyio.get_current_task().id, _EVENT_HEADER in request.headers
        self._listener = task if self._listener is None and not resumes else self._listener
        if task == self._listener:
            await self._rest()
            response = await self._opened_at_last(request)
            self._listened_at = anyio.current_time()
        else:
            await _rest_between_resumptions()
            response = await self._inner.handle_async_request(request)
        if response.status_code == 200:
            self._has_listened = True
        elif response.status_code in _GONE and self._has_listened and _SESSION_HEADER in request.headers:
            self._note_loss()  # before the first stream, 404 may also mean that the server has none
        self._repair(response, keep=False, ends_quietly=task == self._listener)
        return response

    async def _rest(self) -> None:
        """Pause if the server has ended the last stream of notifications early, longer each time."""
        now = anyio.current_time()
        if self._has_listened and now - self._listened_at < _EARLY_SECONDS:
            self._streams.failed(now)
            await anyio.sleep(self._streams.pause(now))
        else:
            self._streams.succeeded()

    async def _opened_at_last(self, request: httpx2.Request) -> httpx2.Response:
        backoff = Backoff()
        while True:
            try:
                response = await self._inner.handle_async_request(request)
                if response.status_code < 500 or response.status_code == 501 or not self._is_open():
                    return response
                await response.aclose()
            except httpx2.TransportError:
                if not self._is_open():
                    raise
            finally:
                self._listens.set()
            backoff.failed(anyio.current_time())
            await anyio.sleep(max(backoff.first, backoff.pause(anyio.current_time())))

    async def _judged(self, request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
        """Return a refusal as the SDK is to see it: the server's own JSON-RPC error, or one that stands for ours."""
        try:
            body = await response.aread()
        except (httpx2.TransportError, httpx2.StreamError):
            body = b""
        kept = httpx2.Response(response.status_code, headers=response.headers, content=body, request=request)
        refusal = _refusal(str(request.url), response, body)
        if not self._is_open():
            self._refused(refusal)
            return kept
        error = _json_rpc_error(body)
        if _session_is_gone(response.status_code, error, body, has_session=_SESSION_HEADER in request.headers):
            self._note_loss()
            return self._instead(request, response.status_code, SessionLost(refusal.message))
        return kept if error is not None else self._instead(request, response.status_code, refusal)

    async def _read_oddly(self, request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
        """Return a reply of another media type as JSON if it is JSON, or else the error that it is something else."""
        try:
            body = await response.aread()
        except (httpx2.TransportError, httpx2.StreamError):
            body = b""
        if _is_json_object(body):
            headers = {**response.headers, "content-type": "application/json"}
            return httpx2.Response(
                response.status_code,
                headers=headers,
                content=mended_reply(json_line(body), _id_of(request)),
                request=request,
            )
        error = _no_mcp(str(request.url), response, body)
        if not self._is_open():
            self._refused(error)
        return self._instead(request, 200, error)

    def _note_loss(self) -> None:
        self._is_lost = True
        self._lost()

    def _instead(self, request: httpx2.Request, status: int, error: UtcpError) -> httpx2.Response:
        """Return a response with the key of our error. The SDK sets the id of the request."""
        said = {"code": KEPT, "message": "kept", "data": self._kept.keep(error)}
        body = orjson.dumps({"jsonrpc": "2.0", "id": _id_of(request), "error": said})
        headers = {"content-type": "application/json"}
        return httpx2.Response(status, headers=headers, content=body, request=request)

    def _repair(
        self, response: httpx2.Response, *, keep: bool, ends_quietly: bool = False, identifier: Any = None
    ) -> None:
        if isinstance(response.stream, httpx2.AsyncByteStream):
            has_events = "event-stream" in response.headers.get("content-type", "")
            kept = self._kept if keep and not has_events and self._is_open() else None
            response.stream = _RepairedStream(
                response.stream,
                kept,
                self._unread,
                has_events=has_events,
                ends_quietly=ends_quietly,
                identifier=identifier,
            )


def _ours(error: httpx2.TransportError) -> UtcpError:
    cause = error.__cause__
    return cause if isinstance(cause, UtcpError) else ConnectionLost("The connection broke.")


async def _rest_between_resumptions() -> None:
    """Pause before the reply of a request goes on in another stream, longer each time after the first few.

    :raises httpx2.ReadError: it has gone on too often.
    """
    count = _RESUMED.get() + 1
    _RESUMED.set(count)
    if count > _MAX_RESUMPTIONS:
        raise httpx2.ReadError(f"The reply was in more than {_MAX_RESUMPTIONS} streams.")
    if count > _QUICK_RESUMPTIONS:
        await anyio.sleep(min(0.05 * 2 ** (count - _QUICK_RESUMPTIONS), _LONGEST_PAUSE))


def _message_of(request: httpx2.Request) -> JsonObject:
    """Return the message that a request carries; an empty one if it carries none."""
    try:
        message = orjson.loads(request.content)
    except (orjson.JSONDecodeError, httpx2.RequestNotRead):
        return {}
    return message if is_object(message) else {}


def _id_of(request: httpx2.Request) -> Any:
    return _message_of(request).get("id")


def _json_rpc_error(body: bytes) -> dict[str, Any] | None:
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    error = message.get("error") if is_object(message) else None
    return error if is_object(error) and isinstance(error.get("code"), int) else None


def _mended_line(line: bytes) -> bytes:
    """Return a line of an event, with the message in it mended: servers write a message as one line."""
    data = line[5:].strip() if line.startswith(b"data:") else b""
    mended = mended_message(data) if data.startswith(b"{") else data
    if mended is data:
        return line
    return b"data: " + mended if mended else b": a message that cannot be used"


def _is_odd(request: httpx2.Request, response: httpx2.Response, message: JsonObject) -> bool:
    """Return whether the reply to a request has a media type that MCP does not use."""
    kind = response.headers.get("content-type", "").lower()
    expected = kind.startswith(("application/json", "text/event-stream"))
    return request.method == "POST" and response.status_code == 200 and not expected and "id" in message


def _is_json_object(body: bytes) -> bool:
    try:
        return is_object(orjson.loads(json_line(body)))
    except orjson.JSONDecodeError:
        return False


def _no_mcp(url: str, response: httpx2.Response, body: bytes) -> MalformedReply:
    where, kind = bare_url(url), response.headers.get("content-type", "").partition(";")[0].strip()
    if not is_web_page(body) and kind not in HTML_TYPES:
        what = f"{where} returned {kind[:100] or 'something without a media type'} instead of MCP."
        return MalformedReply(what, remedy="Check the path of the URL.")
    says = " ".join(words_of(decode(body), _MAX_PAGE_WORDS).split())
    remedy = "Check the path of the URL; a page for people may also mean that it wants a login."
    return MalformedReply(f"{where} returned a web page instead of MCP{f': {says!r}' if says else ''}.", remedy=remedy)


def _session_is_gone(status: int, error: dict[str, Any] | None, body: bytes, *, has_session: bool) -> bool:
    """Return whether a refusal means that the server does not have the session, so nothing was carried out.

    404 says so (streamable HTTP, "Session Management"). Servers that were restarted also return 400, for a session
    that they do not know or for a protocol that they did not agree on.
    """
    code = None if error is None else error["code"]
    if code in {_METHOD_NOT_FOUND, _INVALID_PARAMS}:
        return False
    if status in _GONE:
        return has_session
    words = body.decode(errors="replace") if error is None else str(error.get("message"))
    return status == 400 and ((has_session and error is None) or _SESSION_WORDS.search(words[:500]) is not None)


def _refusal(url: str, response: httpx2.Response, body: bytes) -> Rejected:
    try:
        Reply(response.status_code, response.headers, body, url).raise_for_status()
    except Rejected as refusal:
        return refusal
    return Rejected(f"The server returned {response.status_code}.", status=response.status_code)


class _RepairedStream(httpx2.AsyncByteStream):
    """Repairs whole lines of at most `unread.max_bytes`: neither an escape nor a character continues on the next one.

    It counts the values of a body, or of each event, before the SDK parses it. A large reply is held to its end, and
    kept from the SDK (`UnreadReplies`): parsing it takes long, and all other calls would wait.
    """

    def __init__(
        self,
        inner: httpx2.AsyncByteStream,
        kept: KeptErrors | None,
        unread: UnreadReplies,
        *,
        has_events: bool,
        ends_quietly: bool,
        identifier: Any = None,
    ) -> None:
        self._inner = inner
        self._max_bytes = unread.max_bytes
        self._kept = kept
        self._has_events = has_events
        self._ends_quietly = ends_quietly
        self._values = 0
        self._identifier = identifier
        """That of the request to which a body without events is the reply."""
        self._is_whole = not has_events
        """Whether the body is held until its end, because its envelope may have to be mended."""
        self._unread = unread

    async def __aiter__(self) -> AsyncIterator[bytes]:
        waiting = bytearray()
        try:
            async for chunk in self._inner:
                self._is_whole = self._is_whole and len(waiting) + len(chunk) <= _MENDED_BYTES
                if self._is_whole or (self._may_be_unread and len(waiting) <= self._max_bytes):
                    waiting += chunk
                    continue
                head, newline, tail = chunk.rpartition(b"\n")
                if newline or len(waiting) > self._max_bytes:
                    waiting += head
                    waiting += newline
                    yield self._repaired(bytes(waiting))
                    waiting = bytearray()
                waiting += tail
        except httpx2.TransportError as error:
            if isinstance(error.__cause__, ReplyTooLarge):
                raise self._limit_error("exceeded the 0 byte limit") from error
            if self._kept is not None:  # the SDK makes this the error of the request, and of nothing else
                raise httpx2.StreamError(f"kept error {self._kept.keep(_ours(error))}") from error
            if not self._ends_quietly:
                raise
        if waiting:
            yield self._repaired(bytes(waiting))

    @property
    def _may_be_unread(self) -> bool:
        """Whether the body is the reply to one request: then the whole of it is one message."""
        return not self._has_events and self._identifier is not None

    def _small_event(self, line: bytes) -> bytes:
        is_large = len(line) > LARGE and line.startswith(b"data:")
        small = self._unread.keep(line[5:].strip(), anyio.current_time()) if is_large else None
        return line if small is None else b"data: " + small

    def _repaired(self, lines: bytes) -> bytes:
        if self._has_events and len(lines) > LARGE:
            lines = b"\n".join(map(self._small_event, lines.split(b"\n")))
        elif self._may_be_unread and (small := self._unread.keep(lines, anyio.current_time())) is not None:
            return small
        *ended, begun = _END_OF_EVENT.split(lines) if self._has_events else (lines,)
        for event in ended:
            self._count(event)
            self._values = 0
        self._count(begun)
        if self._is_whole:
            return mended_reply(json_line(lines), self._identifier)
        lines = json_line(lines)
        if not self._has_events or len(lines) > _MENDED_BYTES:
            return lines
        return b"\n".join(map(_mended_line, lines.split(b"\n")))

    def _count(self, text: bytes) -> None:
        self._values += values_of(text)
        if self._values > most_values(self._max_bytes):
            raise self._limit_error(VALUE_LIMIT)

    def _limit_error(self, what: str) -> Exception:
        """Return the error that the SDK makes that of the request: it expects another one of events than of JSON."""
        kind = httpx2.SSEError if self._has_events else httpx2.StreamError
        return kind(f"The reply {what}.")

    async def aclose(self) -> None:
        await self._inner.aclose()
