"""How a server is reached: the connection, and the ways in which it can be opened."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlsplit, urlunsplit

import anyio

from utcp_bridge.auth.credentials import Credentials
from utcp_bridge.errors import Rejected, UtcpError
from utcp_bridge.model import Source, Trust
from utcp_bridge.processes.inherited import CHILDREN_INHERIT, inherited_environment
from utcp_bridge.processes.systems import merge_environment
from utcp_bridge.tasks import Opening
from utcp_bridge.transport import Services, Target
from utcp_bridge.transports.mcp.child import ChildProcess, read_line
from utcp_bridge.transports.mcp.failures import Attempt
from utcp_bridge.transports.mcp.results import UnreadReplies
from utcp_bridge.transports.mcp.servers import McpServer, McpTemplate
from utcp_bridge.urls import endpoint_of_url, origin_of
from utcp_bridge.variables import read_dotenv

if TYPE_CHECKING:
    from utcp_bridge.transports.mcp.hosts.asking import Asking

__all__ = ["McpConnection", "McpDialer"]

_ASKED_TOO_EARLY: Final = re.compile("initiali[sz]e", re.IGNORECASE)
"""What servers say that end at a request before `initialize`."""
_LEADS_ON: Final = frozenset({400, 404, 405, 406})
"""Statuses after which a server may speak at another path, or the older transport (2025-03-26, "Backwards
Compatibility")."""
_FRAME_BYTES: Final = 65_536
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
    unread: UnreadReplies | None = None
    """Large replies over HTTP, outside the SDK."""
    http: Any = None
    """What is below the SDK's client over Streamable HTTP (`lenient_http.LenientHttp`)."""
    asking: Asking | None = None
    """The server's requests to hosts."""
    refusal: UtcpError | None = None
    """How the server refused a request last: by a status of HTTP, or for want of a login."""
    is_sse: bool = False
    """Whether it is the HTTP+SSE transport of 2024-11-05."""
    opening: Opening = field(default_factory=Opening)
    handshake: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    """Cancels the opening; without effect on an open connection."""
    stop: anyio.Event = field(default_factory=anyio.Event)
    ended: anyio.Event = field(default_factory=anyio.Event)
    users: int = 0
    is_lost: bool = False
    is_announced: bool = False
    """Whether the manual is read, or will be, through this connection."""

    async def until_listening(self) -> None:
        """Wait, for a moment, until the server can ask the host of a request: an older one may do so on a stream of
        its own.
        """
        may_ask = self.asking is not None and self.asking.declared and not self.client.is_modern
        if may_ask and self.http is not None:
            await self.http.until_listening()

    @property
    def last_words(self) -> str:
        """What the server's process said last; empty for a server over HTTP."""
        return "" if self.child is None else self.child.last_words()


Lost: TypeAlias = Callable[[], None]
"""Called when the other side has ended the connection, or does not have the session any more."""
Use: TypeAlias = Callable[[McpConnection, Any, Any], Awaitable[None]]
"""Opens a session over the two streams of a connection, and holds it until it is to end."""


class McpDialer:
    """Opens connections to one server, in the way that worked last, or else in the others."""

    def __init__(
        self, services: Services, target: Target[McpTemplate], server: McpServer, where: str, place: str
    ) -> None:
        self._services = services
        self._target = target
        self._server = server
        self._where = where
        self._place = place
        """Where large messages of the server wait: see `net.collecting`."""
        self.initializes_at_once = False
        """Whether the server ended at another question than `initialize`."""
        self._way = 0
        """The way that worked last: see `_ways`."""

    def attempt(self, connection: McpConnection | None) -> Attempt:
        """Return what is known of an attempt to open a connection."""
        server, child = self._server, connection and connection.child
        return Attempt(
            self._where,
            server.command,
            folder=self._folder,
            path=merge_environment(inherited_environment(("PATH",)), server.env).get("PATH"),
            words="" if connection is None else connection.last_words,
            code=child.code if child else None,
            refusal=None if connection is None else connection.refusal,
        )

    def _environment(self) -> dict[str, str]:
        """Return the variables of the command: those of its file, and `env`.

        :raises ConfigError: the file cannot be read.
        """
        named = self._server.env_file
        if named is None:
            return dict(self._server.env)
        read = read_dotenv(self._services.root / Path(named).expanduser())
        for name, value in read.items():
            self._services.learn(name, value)
        return {**read, **self._server.env}

    @property
    def _folder(self) -> Path:
        return (self._services.root / (self._server.cwd or "")).absolute()

    def _ways(self) -> list[tuple[str, bool]]:
        """Return where the server may be, in order: each address, and whether the transport is the older HTTP+SSE."""
        url = str(self._server.url)
        if self._server.command is not None or self._server.transport == "sse":
            return [(url, True)]
        parts = urlsplit(url)
        bare = [] if parts.path.strip("/") else [(urlunsplit(parts._replace(path="/mcp")), False)]
        return [(url, False), *bare, (url, True)]

    async def hold(self, connection: McpConnection, lost: Lost, use: Use) -> None:
        """Open the connection and have it used to its end.

        Raises what the first way raised if none works.
        """

        def lost_when_open() -> None:
            if connection.client is not None:  # before that, the failure of the opening says it
                lost()

        try:
            await self._hold_in_some_way(connection, lost_when_open, use)
        except Exception:
            ended_at_a_question = connection.client is None and _ASKED_TOO_EARLY.search(connection.last_words)
            if self.initializes_at_once or not ended_at_a_question:
                raise
            self.initializes_at_once = True
            await self._hold_in_some_way(connection, lost_when_open, use)

    async def _hold_in_some_way(self, connection: McpConnection, lost: Lost, use: Use) -> None:
        ways = self._ways()
        first: tuple[Exception, UtcpError | None] | None = None
        for number in (self._way, *(number for number in range(len(ways)) if number != self._way)):
            url, connection.is_sse = ways[number]
            try:
                await self._hold_way(connection, url, lost, use)
            except Exception as error:
                if connection.client is not None:
                    raise
                refusal = connection.refusal
                first = first or (error, refusal)
                if not (isinstance(refusal, Rejected) and refusal.status in _LEADS_ON):
                    break
                connection.refusal = None
            else:
                self._way = number
                return
        if first is not None:
            connection.refusal = first[1]
            raise first[0]

    async def _hold_way(self, connection: McpConnection, url: str, lost: Lost, use: Use) -> None:
        from utcp_bridge.transports.mcp.lenient import lenient

        limit = self._services.settings.max_reply_bytes
        transport = await self._transport(connection, url, lost)
        async with lenient(transport, limit, lost, connection.unread) as (read, write):
            await use(connection, read, write)

    async def _transport(self, connection: McpConnection, url: str, lost: Lost) -> AbstractAsyncContextManager[Any]:
        """Return what the SDK's client connects with: a command, or an HTTP transport."""
        server, source = self._server, self._target.source
        if server.command is not None:
            connection.child = ChildProcess(
                self._where,
                [server.command, *server.args],
                self._environment(),
                self._folder,
                self._services.settings.max_reply_bytes,
                self._place,
                inherited=inherited_environment((*CHILDREN_INHERIT, *server.inherit_env_vars)),
            )
            return connection.child.streams()
        if source.trust is Trust.OPERATOR:
            source = replace(source, exempt=source.exempt | {endpoint_of_url(url)})
        if self._target.credentials is not None:
            self._target.credentials.check(origin_of(url))
        return self._http_connection(connection, source, url, lost)

    def _http_connection(
        self, connection: McpConnection, source: Source, url: str, lost: Lost
    ) -> AbstractAsyncContextManager[Any]:
        """Return Streamable HTTP or legacy SSE over our own HTTP session, so that the guard checks each address."""
        from mcp.client.streamable_http import streamable_http_client

        from utcp_bridge.transports.mcp.lenient import legacy_sse
        from utcp_bridge.transports.mcp.lenient_http import KeptErrors, LenientHttp
        from utcp_bridge.transports.mcp.login import LoginTransport, possible_login

        def refused(refusal: UtcpError) -> None:
            connection.refusal = refusal

        connection.kept = KeptErrors()
        limit = self._services.settings.max_reply_bytes + _FRAME_BYTES
        connection.unread = UnreadReplies(limit, partial(read_line, limit=limit))
        inner, credentials = self._services.http.session(source).transport, self._target.credentials
        if (login := possible_login(self._services, self._target, self._server)) is not None:
            inner, credentials = LoginTransport(inner, login, refused), None
        transport = LenientHttp(
            inner,
            connection.kept,
            connection.unread,
            is_open=lambda: connection.client is not None,
            refused=refused,
            lost=lost,
        )
        client = _http_client(transport, credentials, self._server, self._services.settings.ask_timeout)
        if connection.is_sse:
            return legacy_sse(url, client, limit)
        connection.http = transport
        return streamable_http_client(url, http_client=client, max_sse_event_size=limit)


def _http_client(transport: Any, credentials: Credentials | None, server: McpServer, asking: float) -> Any:
    import httpx2

    from utcp_bridge.net.httpx_transport import CredentialsAuth

    return httpx2.AsyncClient(  # noqa: TID251 - the SDK accepts nothing else
        transport=transport,
        headers=server.all_headers,
        timeout=httpx2.Timeout(30, read=300 + asking),  # nothing arrives while a host is asked
        auth=None if credentials is None else CredentialsAuth(credentials),
    )
