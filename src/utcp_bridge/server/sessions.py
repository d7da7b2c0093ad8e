"""MCP over HTTP for clients of the handshake era (up to 2025-11-25): their sessions, and how each reply is sent.

A session holds only what the client said of itself, in a bounded form, and its id carries that too. So the bridge takes
up a session that it did not open: after a restart, after it forgot an idle one, or opened by another replica. Clients
of this era do not start again when they get status 404, although the specification says that they should. A session
that its client ended (DELETE) stays ended. `replicas/across.py` says what bridges behind one balancer tell each other.

A reply is one JSON document. It becomes an event stream if the call sends something before its result, if the call is
silent for long, or if the client accepts nothing else.

A session belongs to the principal that opened it. The id of a named principal's session ends with a digest of the name
and of the id's random part, so another bridge that takes the session up knows whose it is. For any other principal, it
is an id that matches no session. The digest is not a secret: an id with another digest is the id of another session.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import anyio
import mcp_types as types
import orjson
from anyio.streams.memory import MemoryObjectSendStream
from mcp.server.connection import Connection
from mcp.server.runner import ServerRunner, aclose_shielded, modern_error_data
from mcp.shared.dispatcher import CallOptions, as_request_id, coerce_request_id
from mcp.shared.exceptions import MCPError, NoBackChannelError
from mcp.shared.jsonrpc_dispatcher import progress_token_from_params
from mcp.shared.transport_context import TransportContext
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from utcp_bridge.access.admissions import Admission, admission_of
from utcp_bridge.access.principals import Principal
from utcp_bridge.model import JsonObject, in_seconds, is_list, is_object
from utcp_bridge.server.hosts.adapters import capabilities_of
from utcp_bridge.server.hosts.exchange import SessionExchange, notification_of, params_of
from utcp_bridge.server.hot.requests import HotRequest
from utcp_bridge.server.replicas.place import new_ident
from utcp_bridge.server.replies import PROFILE_ENDS, McpReply, event_of, open_events
from utcp_bridge.tasks import Stoppable, loop_time
from utcp_bridge.upstream import APPS

if TYPE_CHECKING:
    from utcp_bridge.server.app import BridgeServer
    from utcp_bridge.server.replicas.across import SessionsAcross

__all__ = [
    "HandshakeSession",
    "HandshakeSessions",
    "Refusal",
    "read_session_id",
    "write_session_id",
]

_MAX_IDLE_SECONDS: Final = 1_800.0
"""A session that was idle for longer is forgotten. Its client can still use it."""
_CROWDED_IDLE_SECONDS: Final = 60.0
"""The same while more than half of the sessions that may be kept are."""
_MAX_ENDED: Final = 10_000
"""Ids of ended sessions to remember."""
_MAX_BATCH: Final = 100
_MAX_NAME: Final = 64
_EVENTS_AHEAD: Final = 64
"""Events that wait for a client that reads its stream slowly."""
_PING_SECONDS: Final = 15.0
_TICK_SECONDS: Final = 5.0
_NEW_STREAM: Final = b": This is a new stream. Events before it are not kept.\r\n\r\n"
_REQUEST_CANCELLED: Final = -32_800
_RANDOM: Final = 32
"""Characters of the random part of an id."""
_WITH_EVENTS: Final = TransportContext(kind="streamable-http", can_send_request=True)
_WITHOUT_EVENTS: Final = TransportContext(kind="streamable-http", can_send_request=False)
_ID: Final = re.compile(r"[0-9a-f]{32}(?:\.([A-Za-z0-9_-]{1,512}))?")
_ABILITIES: Final = {
    "s": ("sampling", ""),
    "t": ("sampling", "tools"),
    "c": ("sampling", "context"),
    "f": ("elicitation", "form"),
    "u": ("elicitation", "url"),
    "r": ("roots", ""),
    "l": ("roots", "listChanged"),
    "a": ("extensions", APPS),
}
"""The capabilities that a session's id carries, by their letters."""


class Refusal(Exception):
    """A request that gets this status and a JSON-RPC error."""

    def __init__(self, status: int, message: str, code: int = types.INVALID_REQUEST) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Stated:
    """What a client of a session says of itself. `able` has its capabilities, as `_written` writes them."""

    version: str
    name: str = ""
    release: str = ""
    able: str = ""

    @property
    def capabilities(self) -> JsonObject:
        """What MCP servers may use of the client's capabilities."""
        stated: JsonObject = {}
        for letter, (name, part) in _ABILITIES.items():
            if letter in self.able:
                members = stated.setdefault(name, {})
                if part:
                    members[part] = True if part == "listChanged" else {}
        return stated


def _written(capabilities: JsonObject) -> str:
    """Return capabilities in the form of `relayed_capabilities` as letters."""
    return "".join(
        letter
        for letter, (name, part) in _ABILITIES.items()
        if name in capabilities and (not part or part in capabilities[name])
    )


def write_session_id(stated: Stated, principal: Principal | None = None) -> str:
    """Return a new id: the place of this process, random bits, and what the client says of itself for any replica."""
    text = orjson.dumps([stated.version, stated.name[:_MAX_NAME], stated.release[:_MAX_NAME], stated.able])
    ident = f"{new_ident()}.{urlsafe_b64encode(text).decode().rstrip('=')}"
    return ident if principal is None else f"{ident}~{_mark(ident, principal)}"


def _mark(ident: str, principal: Principal) -> str:
    return blake2b(principal.name.encode(), digest_size=16, key=ident[:_RANDOM].encode()).hexdigest()


def _named(admission: Admission | None) -> Principal | None:
    """Return the principal to whom a session is bound; None without tokens, and for the shared token."""
    return None if admission is None or admission.principal.kind == "shared" else admission.principal


def _is_of(ident: str, principal: Principal | None) -> bool:
    """Return whether a principal may use the session of an id."""
    ident, _, mark = ident.partition("~")
    return mark == ("" if principal is None else _mark(ident, principal))


def read_session_id(ident: str, version: str | None) -> Stated | None:
    """Return what a session's id says of its client; None if no bridge wrote this id.

    `version` is the protocol version of the request, which is more recent than that of the id.
    """
    match = _ID.fullmatch(ident.partition("~")[0])
    if match is None:
        return None
    if match[1] is None:
        return Stated(version or types.DEFAULT_NEGOTIATED_VERSION)
    try:
        stated: Any = orjson.loads(urlsafe_b64decode(match[1] + "=" * (-len(match[1]) % 4)))
    except ValueError:
        return None
    if not is_list(stated) or len(stated) not in {3, 4} or not all(isinstance(text, str) for text in stated):
        return None
    if version is None and stated[0] not in HANDSHAKE_PROTOCOL_VERSIONS:
        return None
    able = "".join(letter for letter in _ABILITIES if letter in "".join(stated[3:]))
    return Stated(version or stated[0], stated[1][:_MAX_NAME], stated[2][:_MAX_NAME], able)


@dataclass(slots=True)
class _Question:
    """A request to the client that waits for its response."""

    answered: anyio.Event = field(default_factory=anyio.Event)
    response: JsonObject = field(default_factory=dict[str, Any])


Write = Callable[[JsonObject], Awaitable[None]]


class HandshakeSession:
    """One client: its connection, the requests that it is waiting for, and its event stream."""

    def __init__(self, server: BridgeServer, ident: str | None = None, across: SessionsAcross | None = None) -> None:
        self._server, self._across = server, across
        self.connection: Final = Connection.for_loop(self, session_id=ident)
        self.runner: Final = ServerRunner(server, self.connection, None)
        self.in_flight: Final[dict[types.RequestId, anyio.CancelScope | Stoppable]] = {}
        self._questions: Final[dict[str, _Question]] = {}
        self._asked = 0
        self.used_at = anyio.current_time()
        self.admission: Admission | None = None
        """Of its last request."""
        self.is_forgotten = False
        """Whether the last request in flight closes it."""
        self._events: MemoryObjectSendStream[bytes] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a request or the event stream is open."""
        return bool(self.in_flight) or self._events is not None

    def keep_only(self, stated: Stated) -> None:
        """Keep nothing else of what the client said of itself, which may be megabytes."""
        info = types.Implementation(name=stated.name, version=stated.release)
        self.connection.client_params = types.InitializeRequestParams(
            protocol_version=stated.version,
            capabilities=types.ClientCapabilities.model_validate(stated.capabilities),
            client_info=info,
        )
        self.connection.protocol_version = stated.version

    def take_up(self, stated: Stated) -> None:
        """Act as if this client had sent `initialize`."""
        self.keep_only(stated)
        self.connection.initialized.set()

    async def notify(self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None) -> None:
        """Send a notification on the client's event stream. Without a stream, the notification is lost."""
        del opts
        await self._push(notification_of(method, params))

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        """Send a request on the client's event stream and return the result.

        :raises NoBackChannelError: the client has not opened an event stream.
        """
        if self._events is None:
            raise NoBackChannelError(method)
        return await self.ask(self._push, method, params, opts)

    async def ask(
        self, write: Write, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None
    ) -> dict[str, Any]:
        """Send a request to the client and return its result.

        :raises MCPError: the client returned an error, or nothing in time.
        """
        self._asked += 1
        ident = f"bridge-{self._asked}" if self._across is None else f"bridge-{self._across.name}-{self._asked}"
        question = self._questions[ident] = _Question()
        seconds = (opts or {}).get("timeout")
        try:
            await write({"jsonrpc": "2.0", "id": ident, "method": method, **params_of(params)})
            with anyio.fail_after(seconds):
                await question.answered.wait()
        except TimeoutError:
            message = f"The client did not answer {method} within {in_seconds(seconds or 0)}."
            raise MCPError(types.REQUEST_TIMEOUT, message) from None
        except anyio.get_cancelled_exc_class():
            with anyio.move_on_after(_TICK_SECONDS, shield=True):
                await write(notification_of("notifications/cancelled", {"requestId": ident}))
            raise
        finally:
            del self._questions[ident]
        error = question.response.get("error")
        if is_object(error):
            raise MCPError.from_error_data(types.ErrorData.model_validate(error))
        result = question.response.get("result")
        return result if is_object(result) else {}

    def answered(self, response: JsonObject) -> None:
        """Hand a response of the client to the code that asked, here or in another bridge."""
        if not self._answer(response) and self._across is not None:
            self._across.tell("answer", self.connection.session_id, response)

    def _answer(self, response: JsonObject) -> bool:
        question = self._questions.get(str(response.get("id")))
        if question is not None:
            question.response = response
            question.answered.set()
        return question is not None

    def cancel(self, params: Any) -> None:
        """Cancel the request that a `notifications/cancelled` names, here or in another bridge."""
        if is_object(params) and not self._cancel(params) and self._across is not None:
            self._across.tell("cancel", self.connection.session_id, params)

    def _cancel(self, params: JsonObject) -> bool:
        ident = as_request_id(params.get("requestId"))
        scope = None if ident is None else self.in_flight.get(ident)
        if scope is None and ident is not None:  # some clients write the number of a request as text
            known = coerce_request_id(ident)
            scope = next((one for other, one in self.in_flight.items() if coerce_request_id(other) == known), None)
        if scope is not None:
            scope.cancel()
        return scope is not None

    def deliver(self, what: str, message: JsonObject) -> None:
        """Take what another bridge got (`SessionHere`). An event for a client that reads too slowly is lost."""
        if what == "answer":
            self._answer(message)
        elif what == "cancel":
            self._cancel(message)
        elif what == "level":
            self._server.logs.adopt(self.connection, message.get("level"))
        elif what == "push" and self._events is not None:
            with suppress(anyio.WouldBlock, anyio.BrokenResourceError, anyio.ClosedResourceError):
                self._events.send_nowait(event_of(message))

    async def listen(
        self, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]], *, resumes: bool = False
    ) -> None:
        """Serve the event stream until either side ends it. A newer stream of the session replaces an older one.

        No event is kept. A client that `resumes` a stream gets a comment that says so, and a new stream.
        """
        self.end_stream()
        sink, source = anyio.create_memory_object_stream[bytes](_EVENTS_AHEAD)
        self._events = sink

        async def watch(scope: anyio.CancelScope) -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            scope.cancel()

        try:
            async with sink, source, anyio.create_task_group() as group:
                group.start_soon(watch, group.cancel_scope)
                await open_events(send, self.connection.session_id)
                if resumes:
                    await send({"type": "http.response.body", "body": _NEW_STREAM, "more_body": True})
                while True:
                    event = b": ping\r\n\r\n"
                    with anyio.move_on_after(_PING_SECONDS):
                        event = await source.receive()
                    await send({"type": "http.response.body", "body": event, "more_body": True})
        except* (anyio.EndOfStream, anyio.ClosedResourceError):
            await send({"type": "http.response.body", "body": b""})
        finally:
            if self._events is sink:
                self._events = None

    def end_stream(self) -> None:
        """End the event stream, if there is one."""
        if self._events is not None:
            self._events.close()
            self._events = None

    async def close(self) -> None:
        """End the stream and the requests in flight."""
        self.end_stream()
        for scope in tuple(self.in_flight.values()):
            scope.cancel()
        await aclose_shielded(self.connection)

    async def _push(self, message: JsonObject) -> None:
        if self._events is not None:
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):  # the stream ended meanwhile
                await self._events.send(event_of(message))
        elif self._across is not None:  # another bridge may have the stream
            self._across.tell("push", self.connection.session_id, message)


class _ReadRequest(NamedTuple):
    """A request as it was read."""

    ident: types.RequestId
    method: str
    params: JsonObject | None


class HandshakeSessions:
    """The sessions of one server. At most `limit` are kept, and those unused for longest are forgotten first."""

    def __init__(self, server: BridgeServer, *, limit: int | None = None) -> None:
        self._server = server
        self._limit: Callable[[], int] = lambda: server.client.settings.max_sessions if limit is None else limit
        self._sessions: OrderedDict[str, HandshakeSession] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._cancelled = "Request cancelled"
        self.replies: Final[set[McpReply]] = set()
        """Those that are not complete. One that is silent for long has signs of life."""
        self._across: SessionsAcross | None = None
        if (store := server.client.shared) is not None:
            from utcp_bridge.server.replicas.across import SessionsAcross  # few configurations have a store

            part = server.part.profile_name or ""
            self._across = SessionsAcross(store, part, self._sessions.get, self._end_here)
            server.logs.told = self._across.has_level

    async def keep_alive(self) -> None:
        """Send a sign of life on silent replies, and forget idle sessions, for as long as the server runs."""
        while True:
            await anyio.sleep(_TICK_SECONDS)
            await self.forget_idle(anyio.current_time())
            await self.end_refused()
            async with anyio.create_task_group() as group:
                for reply in tuple(self.replies):
                    group.start_soon(reply.ping, _PING_SECONDS, _TICK_SECONDS)

    def known(self, ident: str | None, admission: Admission | None = None) -> HandshakeSession | None:
        """Return a session by its id, if it is there and that of the principal. It counts as used."""
        session = self._sessions.get(ident or "")
        if session is None or not (session.admission is admission or _is_of(str(ident), _named(admission))):
            return None
        self._sessions.move_to_end(str(ident))
        session.used_at = loop_time()
        session.admission = admission
        return session

    async def forget_idle(self, now: float) -> None:
        """Forget the sessions that were not used for long; sooner if there are many."""
        is_crowded = len(self._sessions) > self._limit() // 2
        since = now - (_CROWDED_IDLE_SECONDS if is_crowded else _MAX_IDLE_SECONDS)
        old = takewhile(lambda item: item[1].used_at <= since, self._sessions.items())  # the least recently used first
        for ident in [one for one, session in old if not session.is_busy]:
            await self._sessions.pop(ident).close()

    async def end_refused(self) -> None:
        """Close the sessions whose token was revoked, and their calls. Calls of one that has expired go on."""
        known = self._sessions.items()
        for ident in [one for one, other in known if other.admission is not None and not other.admission.holds()]:
            session = self._sessions.pop(ident)
            if session.in_flight and session.admission is not None and not session.admission.ended:
                session.is_forgotten = True
                session.end_stream()
            else:
                await session.close()

    async def end_all(self) -> None:
        """End every session with its requests in flight: the server is gone, and the others go on."""
        self._cancelled = str(PROFILE_ENDS["message"])
        while self._sessions:
            await self._sessions.popitem()[1].close()

    def end_streams(self) -> None:
        """End every event stream of a session: the server ends."""
        for session in self._sessions.values():
            session.end_stream()

    async def find(
        self, ident: str | None, version: str | None, admission: Admission | None = None
    ) -> HandshakeSession:
        """Return a session by its id. One that is not known, but that a bridge may have opened, is taken up.

        The session of another principal is one that is not known, and not taken up.

        :raises Refusal: the id matches no session.
        """
        if not ident:
            raise Refusal(400, "The request has no Mcp-Session-Id. Send `initialize` first; its reply has the id.")
        if (session := self.known(ident, admission)) is not None:
            return session
        is_other = ident in self._ended or not _is_of(ident, _named(admission))
        stated = None if is_other else read_session_id(ident, version)
        noted = {} if stated is None or self._across is None else await self._across.about(ident)
        if stated is None or noted.get("ended"):
            raise Refusal(404, "This Mcp-Session-Id matches no session. Send `initialize` to start one.")
        if (taken := self._sessions.get(ident)) is not None:  # another request took it up meanwhile
            taken.admission = admission
            return taken
        session = HandshakeSession(self._server, ident, self._across)
        session.take_up(stated)
        session.admission = admission
        self._server.logs.adopt(session.connection, noted.get("level"))
        await self._keep(ident, session)
        return session

    async def end(self, ident: str | None, version: str | None, admission: Admission | None = None) -> None:
        """End a session because its client says so. Its id is not taken up again.

        :raises Refusal: the id matches no session.
        """
        await self.find(ident, version, admission)
        if self._across is not None:
            self._across.has_ended(str(ident))
        await self._end_here(str(ident))

    async def _end_here(self, ident: str) -> None:
        """End a session that ended in this or another bridge."""
        session = self._sessions.pop(ident, None)
        self._ended[ident] = None
        while len(self._ended) > _MAX_ENDED:
            self._ended.popitem(last=False)
        if session is not None:
            await session.close()

    async def post(self, message: Any, ident: str | None, version: str | None, reply: McpReply) -> None:
        """Serve one message, or a batch of them as in 2025-03-26.

        :raises Refusal: the request is not valid.
        """
        if is_object(message) and message.get("method") == "initialize" and "id" in message:
            await self._initialize(message, ident, reply)
            return
        session = await self.find(ident, version, _admission(reply))
        reply.session_id = ident
        response: JsonObject | list[JsonObject] | None
        if not is_list(message):
            response = await self._serve(session, message, reply)
        elif not message or len(message) > _MAX_BATCH:
            raise Refusal(400, f"A batch has between 1 and {_MAX_BATCH} messages.")
        else:
            response = await self._serve_batch(session, message, reply)
        await (reply.accept() if response is None else reply.finish(response))

    async def _initialize(self, message: JsonObject, ident: str | None, reply: McpReply) -> None:
        admission = _admission(reply)
        principal = _named(admission)
        known = self._sessions.get(ident or "")
        if known is not None and not _is_of(str(ident), principal):
            known = None
        session = known or HandshakeSession(self._server, across=self._across)
        session.admission = admission
        response = await self._serve(session, message, reply)
        if response is not None and "result" in response:
            connection = session.connection
            if connection.session_id is None and connection.client_params is not None:
                info, able = connection.client_params.client_info, _written(capabilities_of(connection))
                stated = Stated(connection.protocol_version, info.name[:_MAX_NAME], info.version[:_MAX_NAME], able)
                session.keep_only(stated)
                connection.session_id = write_session_id(stated, principal)
                await self._keep(connection.session_id, session)
            reply.session_id = connection.session_id
        await reply.finish(response or {})

    async def _keep(self, ident: str, session: HandshakeSession) -> None:
        """Add a session. If there are too many, forget the one that was not used for longest.

        One that is not in use goes first, then one whose event stream alone is open. Its client can still use it. Calls
        of a forgotten session go on.
        """
        while len(self._sessions) >= self._limit():
            known = self._sessions.items()
            idle = next((one for one, other in known if not other.is_busy), None)
            listening = next((one for one, other in known if not other.in_flight), None)
            other = self._sessions.pop(idle or listening or next(iter(self._sessions)))
            if other.in_flight:
                other.is_forgotten = True
                other.end_stream()
            else:
                await other.close()
        self._sessions[ident] = session

    async def _serve_batch(
        self, session: HandshakeSession, messages: list[Any], reply: McpReply
    ) -> list[JsonObject] | None:
        responses: list[JsonObject] = []

        async def serve(message: Any) -> None:
            try:
                response = await self._serve(session, message, reply)
            except Refusal as refusal:
                response = _error(None, types.ErrorData(code=refusal.code, message=str(refusal)))
            if response is not None:
                responses.append(response)

        async with anyio.create_task_group() as group:
            for message in messages:
                group.start_soon(serve, message)
        return responses or None

    async def _serve(self, session: HandshakeSession, message: Any, reply: McpReply) -> JsonObject | None:
        """Return the response to one message, None if it needs none.

        :raises Refusal: it is not a message of JSON-RPC.
        """
        if not is_object(message) or message.get("jsonrpc") != "2.0":
            raise Refusal(400, 'A message is an object with "jsonrpc": "2.0".')
        method, params = message.get("method"), message.get("params")
        if method is None and ("result" in message or "error" in message):
            session.answered(message)
            return None
        if not isinstance(method, str) or not (params is None or is_object(params)):
            raise Refusal(400, "A message has a `method`, which is text, and `params`, which are an object.")
        if "id" not in message:
            await self._note(session, method, params, reply)
            return None
        ident = as_request_id(message["id"])
        if ident is None:
            raise Refusal(400, "The `id` of a request is text or an integer.")
        hot = self._server.hot.of_session(message, session.connection)
        asked, scope = _ReadRequest(ident, method, params), anyio.CancelScope()
        self.replies.add(reply)
        try:
            with scope:
                return await self._answer(session, asked, reply, scope, hot)
            return self.cancelled(asked)
        finally:
            self.replies.discard(reply)

    async def _note(self, session: HandshakeSession, method: str, params: JsonObject | None, reply: McpReply) -> None:
        if method == "notifications/cancelled":
            session.cancel(params)
        exchange = SessionExchange(session, None, None, _WITHOUT_EVENTS, reply.request)
        await session.runner.on_notify(exchange, method, params)

    async def _answer(
        self,
        session: HandshakeSession,
        asked: _ReadRequest,
        reply: McpReply,
        canceller: anyio.CancelScope,
        hot: HotRequest | None,
    ) -> JsonObject:
        """Return the response to a request. `hot` is the request itself if it is a hot one."""
        try:
            result = await self.begin(session, asked, reply, canceller, hot)
        except Exception as error:  # noqa: BLE001 - the SDK says which text of it clients may read
            return _error(asked.ident, modern_error_data(error))
        else:
            return {"jsonrpc": "2.0", "id": asked.ident, "result": result}
        finally:
            if (closing := self.leave(session, asked.ident, canceller)) is not None:
                await closing

    def begin(
        self,
        session: HandshakeSession,
        asked: _ReadRequest | HotRequest,
        reply: McpReply,
        canceller: anyio.CancelScope | Stoppable,
        hot: HotRequest | None = None,
    ) -> Awaitable[JsonObject]:
        """Return the result of a request, which is in flight until `leave`. Its client cancels it by `canceller`.

        `hot` is the request itself if it is a hot one.
        """
        ident = asked.ident
        transport = _WITH_EVENTS if reply.takes_events else _WITHOUT_EVENTS
        token = progress_token_from_params(asked.params) if hot is None else hot.token
        exchange = SessionExchange(session, reply, ident, transport, reply.request, token)
        session.in_flight[ident] = canceller
        if hot is not None:
            return self._server.hot.respond(hot, exchange, session.connection, reply.request)
        return session.runner.on_request(exchange, asked.method, asked.params)

    @staticmethod
    def leave(
        session: HandshakeSession, ident: types.RequestId, canceller: anyio.CancelScope | Stoppable
    ) -> Awaitable[None] | None:
        """Note that a request has its result. Return what closes its session if it was the last of a forgotten one."""
        if session.in_flight.get(ident) is canceller:
            del session.in_flight[ident]
        return session.close() if session.is_forgotten and not session.in_flight else None

    def cancelled(self, request: HotRequest | _ReadRequest) -> JsonObject:
        """Return the response to a request that its client has cancelled, or that `end_all` has ended."""
        return _error(request.ident, types.ErrorData(code=_REQUEST_CANCELLED, message=self._cancelled))


def _admission(reply: McpReply) -> Admission | None:
    return None if reply.request is None else admission_of(reply.request.scope)


def _error(ident: types.RequestId | None, error: types.ErrorData) -> JsonObject:
    return {"jsonrpc": "2.0", "id": ident, "error": error.model_dump(by_alias=True, mode="json", exclude_none=True)}
