"""The session with one MCP server: its connection, which a task of its own holds open, and the requests on it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from utcp_bridge import __version__
from utcp_bridge.auth.credentials import Credentials
from utcp_bridge.errors import (
    AuthRequired,
    CircuitOpen,
    ConnectionLost,
    LoginFailed,
    MalformedReply,
    Rejected,
    ReplyTooLarge,
    Unreachable,
    UtcpError,
)
from utcp_bridge.model import ContentBlocks, Emit, JsonObject, Outage, Source, Trust, discard, is_list, is_object
from utcp_bridge.net.backoff import Backoff, pauses
from utcp_bridge.net.collecting import LARGE, arrived
from utcp_bridge.tasks import Opening, heavy_turn
from utcp_bridge.transport import Services, Target
from utcp_bridge.transports.mcp.child import UNREADABLE, ChildProcess
from utcp_bridge.transports.mcp.servers import McpServer, McpTemplate, ResourceTemplate, connection_error
from utcp_bridge.transports.mcp.upstream_port import McpUpstream
from utcp_bridge.upstream import ProtocolError
from utcp_bridge.urls import bare_url, endpoint_of_url, origin_of

if TYPE_CHECKING:
    from utcp_bridge.transports.mcp.handshake import RawSession

__all__ = ["LONGEST_PAUSE", "McpSupervisor"]

T = TypeVar("T")
_CONNECT_SECONDS = 20.0
_CLOSING_SECONDS = 5.0
LONGEST_PAUSE = 5.0
"""Seconds until a server that does not start is started again, at most."""
_METHOD_NOT_FOUND = -32601
_FRAME_BYTES = 65_536
"""Room for what is around a result in an event of 10 MiB, and for a list of tools above a small limit."""


@dataclass(slots=True, eq=False)
class McpConnection:
    """One connection to a server, from its opening to its end."""

    number: int
    """Which one it is of its session, from 1."""
    client: Any = None
    """The open session (`handshake.RawSession`); None before the handshake is over."""
    child: ChildProcess | None = None
    kept: Any = None
    """The errors of requests, outside the SDK (`lenient_http.KeptErrors`)."""
    refusal: UtcpError | None = None
    """How the server refused a request last: by a status of HTTP, or for want of a login."""
    opening: Opening = field(default_factory=Opening)
    handshake: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    """Cancels the opening; without effect on an open connection."""
    stop: anyio.Event = field(default_factory=anyio.Event)
    ended: anyio.Event = field(default_factory=anyio.Event)
    users: int = 0
    is_lost: bool = False
    is_announced: bool = False
    """Whether the manual is read, or will be, through this connection."""

    @property
    def last_words(self) -> str:
        """What the server's process said last; empty for a server over HTTP."""
        return "" if self.child is None else self.child.last_words()


class McpSupervisor:
    """The connection to one server, owned by a task of its own and shared by all calls; opened again after it broke."""

    def __init__(self, services: Services, target: Target[McpTemplate], name: str, server: McpServer) -> None:
        self._services = services
        self._target = target
        self.server = server
        self.where = f"MCP server {name!r}" if server.command else bare_url(str(server.url))
        self._place = f"{target.source.name} {name}"
        self._backoff = Backoff(maximum=LONGEST_PAUSE)
        self._connection: McpConnection | None = None
        """The one that new requests use."""
        self._connections: set[McpConnection] = set()
        self._opened = 0
        self.port = McpUpstream(target.source.name, name, self, services, target.credentials)

    @property
    def outage(self) -> Outage:
        """How often the server failed in a row, and for how long it is left alone."""
        pause = self._backoff.pause(anyio.current_time())
        return Outage(self._target.source.name, self.where, self._backoff.failures, pause)

    async def connect(self) -> None:
        """Open the connection, unless it is open.

        :raises UtcpError: the server cannot be reached.
        """
        async with self._connected(reads_manual=True):
            pass

    async def request(
        self, method: str, params: JsonObject, emit: Emit = discard, *, reads_manual: bool = False
    ) -> JsonObject:
        """Send any request of the protocol and return its result as it came. Progress goes through `emit`.

        :param reads_manual: the caller reads what the manual is made from, so it need not be read again if the
            request opened another session.
        :raises ProtocolError: the server refused the request.
        :raises UtcpError: the server cannot be reached, or its reply cannot be read.
        """

        async def progress(done: float, total: float | None, message: str | None) -> None:
            partial = {"progress": done, "total": total, "message": message}
            await emit({key: value for key, value in partial.items() if value is not None})

        async def ask(connection: McpConnection) -> JsonObject:
            result: JsonObject = await connection.client.request(method, params, None if emit is discard else progress)
            return result

        result = await self._request(ask, reads_manual=reads_manual)
        if (size := getattr(result, "size", 0)) > LARGE:
            await arrived(self._place, size)
            await heavy_turn()
        return result

    async def list_tools(self) -> list[JsonObject]:
        """Return all pages of the server's tools."""
        return await self._pages("tools/list", "tools")

    async def list_resources(self) -> tuple[list[JsonObject], list[ResourceTemplate]]:
        """Return all resources and all templates; none if the server does not offer resources."""
        from mcp.shared.uri_template import InvalidUriTemplate, UriTemplate

        resources = await self._pages("resources/list", "resources")
        templates: list[ResourceTemplate] = []
        for template in await self._pages("resources/templates/list", "resourceTemplates"):
            with suppress(InvalidUriTemplate):
                pattern = UriTemplate.parse(str(template.get("uriTemplate")))
                required = {name: name not in pattern.query_variable_names for name in pattern.variable_names}
                templates.append(ResourceTemplate(template, required))
        return resources, templates

    async def read_resource(self, uri: str) -> list[JsonObject]:
        """Return the parts of a resource."""
        contents = (await self.request_or_refuse("resources/read", {"uri": uri})).get("contents")
        return [one for one in contents if is_object(one)] if is_list(contents) else []

    async def _pages(self, method: str, field: str) -> list[JsonObject]:
        """Return the entries of all pages of a list; an empty one if the server does not know the method."""
        found: list[JsonObject] = []
        params: JsonObject = {}
        while len(found) < self._services.settings.max_tools:
            try:
                page = await self.request(method, params, reads_manual=True)
            except ProtocolError as error:
                if error.code == _METHOD_NOT_FOUND and field != "tools":
                    break
                raise self.refusal(error) from error
            entries = page.get(field)
            found += [one for one in entries if is_object(one)] if is_list(entries) else []
            cursor = page.get("nextCursor")
            if not isinstance(cursor, str) or params.get("cursor") == cursor:
                break
            params = {"cursor": cursor}
        return found

    async def call(self, name: str, arguments: JsonObject, emit: Emit) -> ContentBlocks:
        """Call a tool. Progress goes through `emit`."""
        params = {"name": name, "arguments": arguments}
        return _content(await self.request_or_refuse("tools/call", params, emit))

    async def request_or_refuse(self, method: str, params: JsonObject, emit: Emit = discard) -> JsonObject:
        """Send a request as `request` does; the server's refusal is an error of ours.

        :raises UtcpError: the server refused the request or cannot be reached, or its reply cannot be read.
        """
        try:
            return await self.request(method, params, emit)
        except ProtocolError as error:
            raise self.refusal(error) from error

    def refusal(self, error: ProtocolError) -> Rejected:
        """Return the error of ours for a refusal of the server."""
        message = f"{self.where} returned error {error.code}."
        return Rejected(message, status=error.code, detail=str(error)[:2000])

    async def close(self) -> None:
        """End the connection and wait until its process is gone."""
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
            if not await connection.opening.wait(_CONNECT_SECONDS):
                self.lose(connection)
                raise self._late(connection)
            if not connection.is_announced:
                connection.is_announced = True
                if connection.number > 1 and not reads_manual:
                    self._services.changed(self._target.source.name)
            yield connection
        finally:
            connection.users -= 1
            if connection.is_lost and not connection.users:
                connection.stop.set()

    def _begin(self) -> McpConnection:
        """Begin to open a connection. It has its own time limit, whatever becomes of the caller."""
        if pause := self._backoff.pause(anyio.current_time()):
            times = self._backoff.failures
            raise CircuitOpen(f"{self.where} keeps failing ({times} times in a row).", retry_after=pause)
        self._opened += 1
        connection = self._connection = McpConnection(self._opened)
        self._connections.add(connection)
        self._services.spawn(partial(self._own, connection))
        return connection

    def _late(self, connection: McpConnection) -> Unreachable:
        late = f"{self.where} did not finish its handshake within {_CONNECT_SECONDS:g} seconds."
        return Unreachable(f"{late} {connection.last_words}".rstrip())

    async def _own(self, connection: McpConnection) -> None:
        """Hold the SDK's client open until it is to end. Its context belongs to this task alone."""
        connection.handshake.deadline = anyio.current_time() + _CONNECT_SECONDS
        with connection.handshake:
            try:
                await self._hold(connection)
            except UtcpError as error:
                connection.opening.settle(error)
            except Exception as error:  # noqa: BLE001 - whatever the SDK or the child raises, the caller gets one sentence
                failure = connection_error(error, self.where, self.server.command, connection.last_words)
                connection.opening.settle(connection.refusal or failure)
            finally:
                if connection.client is None:
                    connection.opening.settle(self._late(connection))
                self.lose(connection)
                connection.ended.set()
                self._connections.discard(connection)

    async def _hold(self, connection: McpConnection) -> None:
        from utcp_bridge.transports.mcp.lenient import lenient

        limit = self._services.settings.max_reply_bytes
        transport = lenient(await self._transport(connection), limit, partial(self.lose, connection))
        async with transport as streams, self._client(*streams) as client:
            await client.open(quietly=connection.child is not None)
            connection.handshake.deadline = inf
            connection.client = client
            stated = client.server_capabilities
            offered = {} if stated is None else stated.model_dump(mode="json", by_alias=True, exclude_none=True)
            self.port.opened(client.protocol_version or "", offered, client.instructions)
            connection.opening.settle()
            async with anyio.create_task_group() as group:
                group.start_soon(self._listen, client)
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
            message_handler=self._heard,
        )

    async def _listen(self, client: Any) -> None:
        """Subscribe to changes in the 2026-07-28 protocol, again after the stream broke; older servers notify without
        a subscription.
        """
        from mcp import MCPError
        from mcp.client.subscriptions import listen
        from mcp_types import CONNECTION_CLOSED

        from utcp_bridge.transports.mcp.lenient_http import KEPT

        resources = self._target.template.register_resources_as_tools
        for number, pause in enumerate(pauses(1.0)):
            try:
                async with listen(client, tools_list_changed=True, resources_list_changed=resources) as events:
                    if not (events.honored.tools_list_changed or events.honored.resources_list_changed):
                        return
                    if number:  # nobody said what changed while the stream was away
                        self._services.changed(self._target.source.name)
                    async for _ in events:
                        self._services.changed(self._target.source.name)
            except MCPError as error:
                if error.code not in {CONNECTION_CLOSED, KEPT}:
                    return  # servers need not offer it
            except Exception as error:  # noqa: BLE001 - whatever the SDK raises, calls go on without notifications
                if type(error).__name__ not in {"SubscriptionLost", "TimeoutError"}:
                    return
            await anyio.sleep(pause)

    async def _heard(self, message: Any) -> None:
        if type(message).__name__ in {"ToolListChangedNotification", "ResourceListChangedNotification"}:
            self._services.changed(self._target.source.name)

    async def _transport(self, connection: McpConnection) -> AbstractAsyncContextManager[Any]:
        """Return what the SDK's client connects with: a command, or an HTTP transport."""
        server, source = self.server, self._target.source
        if server.command is not None:
            folder = (self._services.root / (server.cwd or "")).absolute()
            limit = self._services.settings.max_reply_bytes
            argv = [server.command, *server.args]
            connection.child = ChildProcess(self.where, argv, dict(server.env), folder, limit, self._place)
            return connection.child.streams()
        url = str(server.url)
        if source.trust is Trust.OPERATOR:
            source = replace(source, exempt=source.exempt | {endpoint_of_url(url)})
        if self._target.credentials is not None:
            self._target.credentials.check(origin_of(url))
        return self._http_connection(connection, source)

    def _http_connection(self, connection: McpConnection, source: Source) -> AbstractAsyncContextManager[Any]:
        """Return Streamable HTTP or legacy SSE over our own HTTP session, so that the guard checks each address."""
        from utcp_bridge.transports.mcp.lenient_http import KeptErrors, LenientHttp
        from utcp_bridge.transports.mcp.login import LoginTransport, possible_login

        def refused(refusal: UtcpError) -> None:
            connection.refusal = refusal

        connection.kept = KeptErrors()
        limit = self._services.settings.max_reply_bytes + _FRAME_BYTES
        inner, credentials = self._services.http.session(source).transport, self._target.credentials
        if (login := possible_login(self._services, self._target, self.server)) is not None:
            inner, credentials = LoginTransport(inner, login, refused), None
        transport = LenientHttp(
            inner,
            limit,
            connection.kept,
            is_open=lambda: connection.client is not None,
            refused=refused,
            lost=partial(self.lose, connection),
        )
        return _http_streams(transport, limit, credentials, self.server)


def _http_streams(
    transport: Any, limit: int, credentials: Credentials | None, server: McpServer
) -> AbstractAsyncContextManager[Any]:
    import httpx2

    from utcp_bridge.net.httpx_transport import CredentialsAuth
    from utcp_bridge.transports.mcp.lenient import legacy_sse

    url = str(server.url)
    client = httpx2.AsyncClient(  # noqa: TID251 - the SDK accepts nothing else
        transport=transport,
        headers=server.all_headers,
        timeout=httpx2.Timeout(30, read=300),
        auth=None if credentials is None else CredentialsAuth(credentials),
    )
    if server.transport == "sse":
        return legacy_sse(url, client, limit)
    from mcp.client.streamable_http import streamable_http_client

    return streamable_http_client(url, http_client=client, max_sse_event_size=limit)


def _content(result: JsonObject) -> ContentBlocks:
    """Return a result of another server as it is, block by block. A null is the same as nothing."""
    content = result.get("content")
    blocks: list[Any] = content if is_list(content) else [] if content is None else [content]
    kept = [_without_nulls(block) for block in blocks if block is not None]
    return ContentBlocks(kept, result.get("structuredContent"), result.get("isError") is True)


def _without_nulls(block: Any) -> Any:
    return {key: value for key, value in block.items() if value is not None} if is_object(block) else block


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
    from mcp_types import CONNECTION_CLOSED

    from utcp_bridge.transports.mcp.lenient import TOO_LARGE

    if connection.kept is not None and (ours := connection.kept.take(error)) is not None:
        return ours  # type: ignore[no-any-return]
    if error.code == TOO_LARGE:
        if session.server.transport == "sse":  # one stream has all replies, and it has ended
            session.lose(connection)
        return ReplyTooLarge(
            f"{session.where} returned {error.message}.", remedy="Ask for less, or raise `max_reply_bytes`."
        )
    if error.code == CONNECTION_CLOSED:
        if connection.kept is None:  # over HTTP, one broken reply does not end the session
            session.lose(connection)
        return _broken(session, connection)
    if error.message == UNREADABLE:
        return MalformedReply(f"{session.where} sent a response that cannot be read.")
    return ProtocolError(error.code, str(error.message), error.data)


def _broken(session: McpSupervisor, connection: McpConnection) -> ConnectionLost:
    return ConnectionLost(f"{session.where} ended the connection during the call. {connection.last_words}".rstrip())
