"""The supervisor of one MCP server: its state, its connection, what it lists, and the requests on it.

A server starts, fails, is tried again and is read again by itself, whatever other servers of its manual do. A task of
its own holds the connection open. A slow server is kept until its own limit, not replaced.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import anyio

from utcp_bridge import __version__
from utcp_bridge.dialects.fields import word
from utcp_bridge.errors import (
    AuthRequired,
    CircuitOpen,
    ConnectionLost,
    LoginFailed,
    MalformedReply,
    OperatorError,
    Rejected,
    ReplyTooLarge,
    UtcpError,
)
from utcp_bridge.model import (
    ContentBlocks,
    Deferred,
    Emit,
    Fault,
    Faults,
    JsonObject,
    Outage,
    discard,
    is_list,
    is_object,
    large_reader,
    log_receiver,
)
from utcp_bridge.net.backoff import Backoff, pauses
from utcp_bridge.net.collecting import LARGE, arrived
from utcp_bridge.tasks import heavy_turn
from utcp_bridge.transport import Services, Target
from utcp_bridge.transports.mcp.connection import McpConnection, McpDialer
from utcp_bridge.transports.mcp.failures import (
    handshake_failure,
    is_end_of_session,
    is_end_of_stream,
    late_failure,
    response_failure,
)
from utcp_bridge.transports.mcp.hearing import Progress
from utcp_bridge.transports.mcp.hosts.rounds import ASKING_METHODS, INPUT_METHODS, HostRefusal, with_answers
from utcp_bridge.transports.mcp.hosts.sessions import HostSessions, prefers_handshake
from utcp_bridge.transports.mcp.listing import Listed, ListLimits, read_list, usable_templates, usable_tools
from utcp_bridge.transports.mcp.results import UNREADABLE, Unread, content_of
from utcp_bridge.transports.mcp.servers import McpServer, McpTemplate, resource_tools, shown_name, tool_object
from utcp_bridge.transports.mcp.tasks import TASKS, TaskCalls, as_task
from utcp_bridge.transports.mcp.upstream_port import METHOD_NOT_FOUND, McpUpstream, in_words
from utcp_bridge.upstream import HOST, CallingHost, ProtocolError, ServerState
from utcp_bridge.urls import bare_url

if TYPE_CHECKING:
    from utcp_bridge.transports.mcp.handshake import RawSession
    from utcp_bridge.transports.mcp.hosts.asking import Asking

__all__ = ["LONGEST_PAUSE", "McpSupervisor"]

T = TypeVar("T")
_START_SECONDS = 60.0
"""How long a start may take at least, before it counts as failed."""
_SHARE = 0.9
"""The part of the time for a discovery after which a server that is still silent is reported."""
_FIRST_PAUSE = 1.0
_CLOSING_SECONDS = 5.0
LONGEST_PAUSE = 5.0
"""Seconds until a server that does not start is started again, at most."""


class McpSupervisor:
    """The connection to one server, owned by a task of its own and shared by all calls; opened again after it broke."""

    asks = False
    """Whether the server has asked a host for something."""
    refuses_handshake = False
    """Whether the server speaks only 2026-07-28 and later, also to a host of the handshake era."""

    def __init__(
        self,
        services: Services,
        target: Target[McpTemplate],
        name: str,
        server: McpServer,
        moved: Callable[[McpSupervisor], object] = lambda _supervisor: None,
        changed: Callable[[], object] | None = None,
    ) -> None:
        """Connect nothing yet.

        :param moved: called when the server has been read, or when its first attempt has failed.
        :param changed: called when the server lists something else; by default the manual is read again.
        """
        self._services = services
        self._target = target
        self.name = name
        self.server = server
        self.shown = f"MCP server {shown_name(target.template, name, target.source.name)!r}"
        """What reports call it."""
        self.where = self.shown if server.command else bare_url(str(server.url))
        self.listing: Listed | None = None
        """What it listed last."""
        self.failure: UtcpError | None = None
        """Why the last attempt to read it failed; None after a success."""
        self.settled = anyio.Event()
        """Set when the present reading has a listing or a failure."""
        self._manual = target.source.name
        self._place = f"{self._manual} {name}"
        self._moved = moved
        self._changed = changed or partial(services.changed, self._manual)
        self._backoff = Backoff(maximum=LONGEST_PAUSE)
        self._connection: McpConnection | None = None
        """The one that new requests use."""
        self._connections: set[McpConnection] = set()
        self._opened = 0
        self._dialer = McpDialer(services, target, server, self.where, self._place)
        self._headers: dict[str, Any] = {}
        """By tool, which arguments are sent as headers too (2026-07-28)."""
        self._last: UtcpError | None = None
        """Why the last connection could not be opened."""
        self._tasks = TaskCalls(self.where, services.spawn, lambda: self.port, content_of)
        self.port = McpUpstream(target, name, self, services, self.outdate)
        self._is_stale = False
        self._is_pausing = False
        self._wake = anyio.Event()
        self._stop_reading: Callable[[], None] | None = None
        self._expected_host = services.expected_host
        self._hosts: HostSessions | None = HostSessions(self, self._for_host, services.spawn, server.sessions)
        """The sessions of single hosts; None for such a session itself."""

    def _for_host(self, host: CallingHost | None) -> McpSupervisor:
        """Return a session for one host alone; without one, for all hosts that cannot be asked."""

        async def expected() -> CallingHost | None:
            return host

        own = McpSupervisor(self._services, self._target, self.name, self.server, changed=lambda: None)
        own.port.join(self.port)
        own._expected_host, own._hosts, own._headers = expected, None, self._headers
        return own

    # --- state ---

    @property
    def is_remote(self) -> bool:
        """Whether another session costs only another handshake, and not another process."""
        return self.server.command is None

    @property
    def asking(self) -> Asking | None:
        """The relay of the server's requests to hosts on the present connection."""
        return None if self._connection is None else self._connection.asking

    @property
    def is_modern(self) -> bool:
        """Whether the server speaks 2026-07-28 or later, as far as the present connection says."""
        return self._connection is not None and getattr(self._connection.client, "is_modern", False)

    @property
    def outage(self) -> Outage:
        """How often the server failed in a row, and for how long it is left alone."""
        pause = self._backoff.pause(anyio.current_time())
        return Outage(self._manual, self.where, self._backoff.failures, pause)

    @property
    def state(self) -> ServerState:
        """The state of the server, for reports."""
        tools = 0 if self.listing is None else len(self.listing.tools)
        failure = "" if self.failure is None else _said_of(self.shown, str(self.failure))
        return ServerState(self._manual, self.name, self._status, tools, self.is_awaited, failure)

    @property
    def _status(self) -> Literal["connecting", "ready", "lost", "waiting", "needs login"]:
        connection = self._connection
        if connection is not None and not connection.is_lost:
            return "connecting" if connection.client is None else "ready"
        refused = isinstance(self.failure, Rejected) and self.failure.status == 401
        if refused or isinstance(self.failure, AuthRequired | LoginFailed):
            return "needs login"
        return "lost" if self._opened and self.failure is None and not self._is_pausing else "waiting"

    @property
    def is_reading(self) -> bool:
        """Whether it is read, or will be as soon as a pause is over."""
        return self._stop_reading is not None

    @property
    def is_awaited(self) -> bool:
        """Whether its first listing is on its way, and nothing has been said of it."""
        return self.is_reading and self.listing is None and not self.settled.is_set()

    @property
    def words(self) -> str:
        """What the present process of the server wrote to stderr last, as a sentence."""
        return "" if self._connection is None else self._connection.last_words

    def tools(self, *, flat: bool, only: str | None = None) -> list[JsonObject]:
        """Return the tool objects of what it listed last; with `only`, those of one tool of the server."""
        if self.listing is None:
            return []
        timeout = self.server.timeout
        found = [tool_object(tool, self.name, flat=flat, timeout=timeout) for tool in self.listing.tools]
        found += resource_tools(self.name, self.listing.resources, self.listing.templates, flat=flat)
        return [tool for tool in found if only is None or tool["overlay"].get("tool_name") == only]

    def faults(self) -> list[Fault]:
        """Return what is wrong with it and with what it lists, for the report of its manual."""
        where = self.shown
        found = [] if self.listing is None else list(self.listing.faults.faults)
        if self.failure is not None and self.listing is not None:
            what = f"it could not be read again, and its tools stay as they were. {self.failure.message}"
            found.append(Fault(where, what, self.failure.remedy or "", "warning"))
        elif self.failure is not None:
            found.append(Fault(where, _said_of(where, self.failure.message), self.failure.remedy or ""))
        elif self.is_awaited:
            words = f" {self.words}" if self.words else ""
            what = f"it has not answered yet. The bridge announces its tools when they come.{words}"
            found.append(Fault(where, what, severity="warning"))
        return found

    # --- reading ---

    def read(self, *, again: bool) -> None:
        """Begin to read what the server lists, unless it is known; with `again`, also then. `settled` reports the end.

        A failed reading is tried again, with growing pauses, until it succeeds or only the operator can repair it.
        """
        if self._stop_reading is not None:
            if again and (self._is_pausing or isinstance(self.failure, AuthRequired | LoginFailed)):
                self.settled = anyio.Event()
                self._wake.set()  # an attempt that is under way may have begun before a login: then another one follows
        elif again or self._is_stale or self.listing is None:
            self.settled = anyio.Event()
            self._is_stale = False
            self._stop_reading = self._services.spawn(self._keep_reading)

    def outdate(self) -> None:
        """Note that the server lists something else now."""
        self._is_stale = True
        self._changed()

    async def _keep_reading(self) -> None:
        log_receiver.set(None)  # reading the server belongs to no call
        growing = pauses(_FIRST_PAUSE)
        try:
            while not await self._has_read():
                self._is_pausing = True
                with anyio.move_on_after(next(growing)):
                    await self._wake.wait()
                self._is_pausing = False
        finally:
            self._stop_reading = None
            self.settled.set()

    async def _has_read(self) -> bool:
        """Read once, and return whether that is the end of it."""
        await anyio.sleep(self._backoff.pause(anyio.current_time()))
        self._wake = anyio.Event()
        failure: UtcpError | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(self._judge)
            failure = await self._failure_of_reading()
            group.cancel_scope.cancel()
        if failure is not None and self._wake.is_set():
            return False
        self._settle(failure)
        return failure is None or isinstance(failure, OperatorError)

    async def _judge(self) -> None:
        """Report a server that is silent for too long. It is not given up."""
        seconds = self._target.template.discovery_timeout or self._services.settings.discovery_timeout
        await anyio.sleep(seconds * _SHARE)
        what = None if self._connection is None else self._connection.client
        self._settle(late_failure(self._dialer.attempt(self._connection), seconds * _SHARE, is_open=what is not None))

    def _settle(self, failure: UtcpError | None) -> None:
        is_news = failure is None or not self.settled.is_set()
        self.failure = failure
        self.settled.set()
        if is_news:
            self._moved(self)

    async def _failure_of_reading(self) -> UtcpError | None:
        try:
            with anyio.fail_after(self._start_seconds):
                self.listing = await self._listed()
        except UtcpError as error:
            return error
        except TimeoutError:
            return late_failure(
                self._dialer.attempt(self._connection), self._start_seconds, is_open=True, goes_on=False
            )
        return None

    async def _listed(self) -> Listed:
        """Return what the server lists now.

        :raises UtcpError: it cannot be reached, or it does not list its tools.
        """
        listing = Listed()
        where, faults, template = self.shown, listing.faults, self._target.template
        async with self._connected(reads_manual=True):
            pass
        if self.port.has_tools:
            listing.tools = self._callable(usable_tools(await self._tool_entries(faults), where, faults), where, faults)
        if template.tool_name is not None:
            self.port.offer_nothing()
            return listing
        before = self.listing or listing  # a list that fails stays as it was
        wanted = ("resources", "resource_templates") if template.register_resources_as_tools else ()
        lists = await self.port.read(faults, wanted=wanted)
        if wanted:
            listing.resources = lists.get("resources", before.resources)
            templates = lists.get("resource_templates")
            listing.templates = before.templates if templates is None else usable_templates(templates, where, faults)
        return listing

    async def _tool_entries(self, faults: Faults) -> list[Any]:
        """Return the entries of the list of tools; none if the server does not have this list.

        :raises UtcpError: the server refused the list, or cannot be reached.
        """
        ask, settings = partial(self.request, reads_manual=True), self._services.settings
        limits = ListLimits(settings.max_tools, settings.max_manual_bytes, self._start_seconds * _SHARE)
        try:
            return await read_list(ask, "tools/list", "tools", limits=limits, where=self.shown, faults=faults)
        except ProtocolError as error:
            if error.code != METHOD_NOT_FOUND:
                refusal = self.refusal(error)
                refusal.message = f"{self.where} refused `tools/list`: {in_words(error)}."
                raise refusal from error
        faults.warn(self.shown, "it does not know `tools/list`. The bridge takes this list as empty.")
        return []

    def _callable(self, tools: list[JsonObject], where: str, faults: Faults) -> list[JsonObject]:
        """Return the tools that may be called, and note the arguments that are sent as headers too (2026-07-28)."""
        from utcp_bridge.transports.mcp.handshake import header_fault, header_map

        connection = self._connection
        if connection is None or connection.client is None or not connection.client.is_modern:
            return tools
        kept: list[JsonObject] = []
        self._headers.clear()
        for tool in tools:
            if fault := header_fault(tool["inputSchema"]):
                faults.error(f"{where}, tool {word(tool['name'])!r}", f"its `x-mcp-header` is not valid ({fault}).")
                continue
            kept.append(tool)
            if found := header_map(tool["inputSchema"]):
                self._headers[tool["name"]] = found
        return kept

    # --- requests ---

    async def request(
        self, method: str, params: JsonObject, emit: Emit = discard, *, reads_manual: bool = False
    ) -> JsonObject:
        """Send any request of the protocol and return its result as it came. Progress goes through `emit`.

        :param reads_manual: the caller reads what the manual is made from, so it need not be read again if the
            request opened another session.
        A request during which the server may ask its host uses the session of that host.

        :raises ProtocolError: the server refused the request.
        :raises InputRequired: the host has to retry the request with answers.
        :raises UtcpError: the server cannot be reached, or its reply cannot be read.
        """
        if method not in INPUT_METHODS:
            return await self.exchange(method, params, emit, reads_manual=reads_manual)

        async def send(more: JsonObject) -> JsonObject:
            return await session.send(method, {**params, **more}, emit, reads_manual=reads_manual)

        async with nullcontext(self) if self._hosts is None else self._hosts.using() as session:
            return await with_answers(
                send, self._place, seconds=self._services.settings.ask_timeout, give_up=session.give_up
            )

    async def send(self, method: str, params: JsonObject, emit: Emit, *, reads_manual: bool) -> JsonObject:
        """Send a request on the session's own connection and follow it to its end if it becomes a task."""
        exchange = partial(self.exchange, reads_manual=reads_manual)
        if method == "tools/call":
            return await self._tasks.call(exchange, params, emit)
        return await exchange(method, params, emit)

    def give_up(self, state: str | None) -> None:
        """Note that the host does not give what the server requires under this state."""
        self._tasks.give_up(self.exchange, state)

    async def exchange(
        self, method: str, params: JsonObject, emit: Emit = discard, *, reads_manual: bool = False
    ) -> JsonObject:
        """Send one request and return its result, also one that requires input or is a task."""

        async def ask(connection: McpConnection) -> JsonObject:
            if method in ASKING_METHODS:
                await connection.until_listening()
            given, report = self.port.with_level(params), None if emit is discard else Progress(emit)
            with self.port.calling():
                result: JsonObject = await connection.client.request(method, given, report)
            return result

        result = await self._request(ask, reads_manual=reads_manual)
        if isinstance(result, Unread):
            return await self._read(result, is_deferrable=method == "tools/call" and "task" not in params)
        if (size := getattr(result, "size", 0)) > LARGE:
            await arrived(self._place, size)
            await heavy_turn()
        return result

    async def _read(self, result: Unread, *, is_deferrable: bool) -> JsonObject:
        """Return the result itself, unless a worker can read it for this call."""
        await arrived(self._place, result.size)
        if is_deferrable and large_reader.get() is not None and result.is_plain():
            return result
        await heavy_turn()
        return result.read(self.where, self._services.settings.max_reply_bytes)

    async def read_resource(self, uri: str) -> list[JsonObject]:
        """Return the parts of a resource."""
        contents = (await self.request_or_refuse("resources/read", {"uri": uri})).get("contents")
        return [one for one in contents if is_object(one)] if is_list(contents) else []

    async def call(
        self, name: str, arguments: JsonObject, emit: Emit, *, task: str | None = None
    ) -> ContentBlocks | Deferred:
        """Call a tool. Progress goes through `emit`. `task` is the tool's `taskSupport` (2025-11-25)."""
        params = as_task({"name": name, "arguments": arguments}, task)
        result = await self.request_or_refuse("tools/call", params, emit)
        kind = result.get("resultType")
        if isinstance(kind, str) and kind != "complete":
            raise Rejected(
                f"{self.where} answered the call with {word(kind)!r} instead of a result.", status=kind[:100]
            )
        if isinstance(result, Unread):
            return result.deferred(self.where, self._services.settings.max_reply_bytes)
        return content_of(result)

    async def request_or_refuse(self, method: str, params: JsonObject, emit: Emit = discard) -> JsonObject:
        """Send a request as `request` does; the server's refusal is an error of ours.

        :raises ProtocolError: the host has to do something first, and then to send the request again.
        :raises InputRequired: the host has to retry the request with answers.
        :raises UtcpError: the server refused the request or cannot be reached, or its reply cannot be read.
        """
        try:
            return await self.request(method, params, emit)
        except HostRefusal as refusal:
            raise Rejected(f"{self.where} asked the client for input. {refusal}", status=refusal.code) from refusal
        except ProtocolError as error:
            host = HOST.get()
            if host is not None and error.code in host.takes_errors:
                raise
            raise self.refusal(error) from error

    def refusal(self, error: ProtocolError) -> Rejected:
        """Return the error of ours for a refusal of the server."""
        message = f"{self.where} returned error {error.code}."
        return Rejected(message, status=error.code, detail=str(error)[:2000])

    async def close(self) -> None:
        """End the connection and wait until its process is gone."""
        if self._stop_reading is not None:
            self._stop_reading()
        if self._hosts is not None:
            await self._hosts.close()
        connections = list(self._connections)
        for connection in connections:
            connection.stop.set()
            if connection.client is None:
                connection.handshake.cancel()
        with anyio.move_on_after(_CLOSING_SECONDS):
            for connection in connections:
                await connection.ended.wait()

    def lose(self, connection: McpConnection) -> None:
        """Drop a connection that broke: the next request opens another. Requests that run on it come to their end."""
        if self._connection is connection:
            self._connection = None
        if not connection.is_lost:
            connection.is_lost = True
            if not isinstance(connection.refusal, AuthRequired | LoginFailed):  # the next call may come after the login
                self._backoff.failed(anyio.current_time())
        if not connection.users:
            connection.stop.set()

    async def _request(self, ask: Callable[[McpConnection], Awaitable[T]], *, reads_manual: bool = False) -> T:
        """Return what `ask` returns. It is asked once more if the server refused it because its session is gone:
        then nothing was carried out.

        A server that started again may have other tools, so the manual is read again, unless this request reads it.

        :raises UtcpError: the request failed.
        """
        from utcp_bridge.transports.mcp.lenient_http import SessionLost

        try:
            return await self._try(ask, reads_manual=reads_manual)
        except SessionLost:
            pass
        except ConnectionLost:
            if not reads_manual:  # a list may be asked for twice, a call may have been carried out
                raise
        try:
            return await self._try(ask, reads_manual=reads_manual)
        except SessionLost as lost:
            raise Rejected(f"{self.where} refuses each session that it has just opened.", status=404) from lost

    async def _try(self, ask: Callable[[McpConnection], Awaitable[T]], *, reads_manual: bool) -> T:
        async with self._connected(reads_manual=reads_manual) as connection:
            with _errors(self, connection):
                found = await ask(connection)
            self._backoff.succeeded()
            return found

    @asynccontextmanager
    async def _connected(self, *, reads_manual: bool) -> AsyncGenerator[McpConnection]:
        """Yield the connection. Open one first if necessary; callers that come meanwhile wait for the same one."""
        if self._connection is not None and self._connection.child is not None and self._connection.child.has_ended():
            self.lose(self._connection)
        connection = self._connection or self._begin()
        connection.users += 1
        try:
            if not await connection.opening.wait(self._start_seconds):
                self.lose(connection)
                raise self._late(connection)
            if not connection.is_announced:
                connection.is_announced = True
                if connection.number > 1 and not reads_manual:
                    self.outdate()
            yield connection
        finally:
            connection.users -= 1
            if connection.is_lost and not connection.users:
                connection.stop.set()

    def _begin(self) -> McpConnection:
        """Begin to open a connection. It has its own time limit, whatever becomes of the caller."""
        if pause := self._backoff.pause(anyio.current_time()):
            why = f" {self._last.message}" if self._last is not None else ""
            times = self._backoff.failures
            raise CircuitOpen(f"{self.where} keeps failing ({times} times in a row).{why}", retry_after=pause)
        self._opened += 1
        connection = self._connection = McpConnection(self._opened)
        self._connections.add(connection)
        self._services.spawn(partial(self._own, connection))
        return connection

    @property
    def _start_seconds(self) -> float:
        discovery = self._target.template.discovery_timeout or self._services.settings.discovery_timeout
        return max(_START_SECONDS, discovery, self.server.timeout or 0)

    def _late(self, connection: McpConnection) -> UtcpError:
        return late_failure(self._dialer.attempt(connection), self._start_seconds, is_open=False, goes_on=False)

    async def _own(self, connection: McpConnection) -> None:
        """Hold the SDK's session open until it is to end. Its context belongs to this task alone, and to no caller."""
        from utcp_bridge.transports.mcp.lenient import quiet_sdk

        log_receiver.set(None)  # the connection outlives the call that opened it
        if self._hosts is not None:
            HOST.set(None)
        connection.handshake.deadline = anyio.current_time() + self._start_seconds
        failure: UtcpError | None = None
        with connection.handshake, quiet_sdk():
            try:
                hold = partial(self._dialer.hold, connection, partial(self.lose, connection), self._hold)
                await hold()
                if connection.client is None and self.refuses_handshake:
                    await hold()  # on a new connection: a server may keep to the era of its first message
            except Exception as error:  # noqa: BLE001 - whatever the SDK or the child raises, the caller gets one sentence
                failure = handshake_failure(error, self._dialer.attempt(connection))
            finally:
                if connection.client is None:
                    self._last = failure or self._late(connection)
                    connection.opening.settle(self._last)
                self.lose(connection)
                connection.ended.set()
                self._connections.discard(connection)

    async def _hold(self, connection: McpConnection, read: Any, write: Any) -> None:
        """Open the SDK's session over two streams, and hold it until it is to end."""
        from utcp_bridge.transports.mcp.hosts.asking import Asking

        expected = await self._expected_host()
        connection.asking = Asking(expected, self._services, self._note_asking)
        with connection.asking.relaying(read, write) as (reader, writer):
            await self._use(
                connection, reader, writer, handshake_first=prefers_handshake(expected) and not self.refuses_handshake
            )

    def _note_asking(self) -> None:
        self.asks = True

    async def _use(self, connection: McpConnection, read: Any, write: Any, *, handshake_first: bool) -> None:
        async with self._client(read, write) as client:
            if not handshake_first:
                await client.open(quietly=connection.child is not None, at_once=self._dialer.initializes_at_once)
            elif not await client.open_handshake():
                self.refuses_handshake = True
                return
            connection.handshake.deadline = inf
            connection.client = client
            self.port.opened(client)
            connection.opening.settle()
            async with anyio.create_task_group() as group:
                group.start_soon(self.port.listen, client)
                await connection.stop.wait()
                group.cancel_scope.cancel()

    def _client(self, read: Any, write: Any) -> RawSession:
        """Return the SDK's session over two streams: what the bridge says of itself, and what it hears."""
        from mcp_types import Implementation

        from utcp_bridge.transports.mcp.handshake import RawSession

        return RawSession(
            read,
            write,
            client_info=Implementation(name="utcp-bridge", version=__version__),
            extensions={TASKS: {}},
            message_handler=self._heard,
        ).with_headers(self._headers)

    async def _heard(self, message: Any) -> None:
        if type(message).__name__ == "ProgressNotification":
            await self._tasks.heard(message.params)
        await self.port.heard(message)


@contextmanager
def _errors(session: McpSupervisor, connection: McpConnection) -> Generator[None]:
    """Map the SDK's exceptions to our errors. After a broken connection, the next request opens another."""
    from mcp import MCPError

    try:
        yield
    except MCPError as error:
        raise _translated(session, connection, error) from error
    except (anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream, OSError) as error:
        session.lose(connection)
        raise _broken(session, connection) from error
    except (RuntimeError, ValueError) as error:
        raise MalformedReply(
            f"{session.where} returned a result that does not match the protocol or its schema."
        ) from error


def _translated(session: McpSupervisor, connection: McpConnection, error: Any) -> UtcpError | ProtocolError:
    from utcp_bridge.transports.mcp.lenient import is_too_large

    if connection.kept is not None and (ours := connection.kept.take(error)) is not None:
        return ours  # type: ignore[no-any-return]
    if is_too_large(error):
        if connection.is_sse:  # one stream has all replies, and it has ended
            session.lose(connection)
        return ReplyTooLarge(
            f"{session.where} returned {error.message}.", remedy="Ask for less, or raise `max_reply_bytes`."
        )
    message = str(error.message)
    if has_ended := is_end_of_session(error.code, message):
        session.lose(connection)
    if has_ended or is_end_of_stream(error.code, message):
        return _broken(session, connection)
    if connection.kept is not None and (failure := response_failure(message, session.where)) is not None:
        return failure
    if message == UNREADABLE:
        return MalformedReply(f"{session.where} sent a response that cannot be read.")
    return ProtocolError(error.code, message, error.data)


def _broken(session: McpSupervisor, connection: McpConnection) -> ConnectionLost:
    return ConnectionLost(f"{session.where} ended the connection during the call. {connection.last_words}".rstrip())


def _said_of(where: str, message: str) -> str:
    """Return the message without the name of the server, because the report has it in front."""
    return f"it {message[len(where) + 1 :]}" if message.startswith(f"{where} ") else message
