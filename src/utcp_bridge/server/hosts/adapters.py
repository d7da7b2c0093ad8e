"""The hosts behind requests, as MCP servers may ask them: `CallingHost` for both eras of the protocol.

A host of the handshake era is sent a request on the way of its own call: over HTTP, on the event stream of the call's
response. A host of 2026-07-28 gets an `InputRequiredResult` instead, and repeats its call with the answers. If the MCP
server is of the handshake era, the call is suspended meanwhile (`suspended.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final
from uuid import uuid4

from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError, NoBackChannelError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from utcp_bridge.auth.redaction import Redactor
from utcp_bridge.auth.results import shown_to_hosts
from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.server.hosts.suspended import SuspendedCall
from utcp_bridge.upstream import (
    HOST_ENDED,
    MISSING_CAPABILITY,
    URL_ELICITATION_REQUIRED,
    AnyHost,
    CallingHost,
    ProtocolError,
    relayed_capabilities,
)

__all__ = [
    "HandshakeHost",
    "HostSession",
    "LevelOf",
    "RetryingHost",
    "capabilities_of",
    "connection_of",
    "has_abilities",
    "host_ahead",
]

Context = ServerRequestContext[Any, Any]
LevelOf = Callable[[Context], str | None]
"""Returns the lowest level of log messages that the client of a request receives; None if it receives none."""
_STATE_KEY: Final = "utcp_bridge/host"
_METHOD_NOT_FOUND: Final = -32601
_STDIO: Final = "stdio"


def connection_of(ctx: Context) -> Connection:
    """Return the connection of a request: in the handshake era, that of the session."""
    return ctx.session._connection  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - no public way to a session's lifetime


def capabilities_of(connection: Connection) -> JsonObject:
    """Return what MCP servers may use of a client's capabilities."""
    stated = connection.client_capabilities
    if not has_abilities(connection) or stated is None:
        return {}  # most clients: writing the model out takes longer than the rest of the look-up
    return relayed_capabilities(stated.model_dump(by_alias=True, exclude_none=True))


def has_abilities(connection: Connection) -> bool:
    """Return whether a client states a capability that MCP servers may use."""
    stated = connection.client_capabilities
    return stated is not None and bool(stated.sampling or stated.elicitation or stated.roots or stated.extensions)


class HostSession:
    """One session of a host of the handshake era, from its first call to its end."""

    def __init__(self, connection: Connection, capabilities: JsonObject) -> None:
        self.key: Final = uuid4().hex
        self.capabilities: Final = capabilities
        self._hearers: list[Callable[[str], object]] = []
        connection.exit_stack.callback(self.report, HOST_ENDED)

    @classmethod
    def of(cls, connection: Connection, capabilities: JsonObject | None = None) -> HostSession:
        """Return the session of a connection. The first call may say its capabilities."""
        known = connection.state.get(_STATE_KEY)
        if isinstance(known, cls):
            return known
        made = connection.state[_STATE_KEY] = cls(
            connection, capabilities_of(connection) if capabilities is None else capabilities
        )
        return made

    def watch(self, hear: Callable[[str], object]) -> Callable[[], object]:
        """Call `hear` with what happens in the session. Return a function that ends this."""
        self._hearers.append(hear)

        def end() -> None:
            with suppress(ValueError):
                self._hearers.remove(hear)

        return end

    def report(self, what: str) -> None:
        """Report what happened: `ROOTS_CHANGED` or `HOST_ENDED`."""
        for hear in tuple(self._hearers):
            hear(what)


class HandshakeHost(CallingHost):
    """The client of a request of the handshake era. Without a request, it is asked on the way of the session."""

    takes_errors = frozenset({URL_ELICITATION_REQUIRED})

    _session: HostSession
    _connection: Connection
    _redactor: Redactor
    _ctx: Context | None
    _level_of: LevelOf | None

    @classmethod
    def of(
        cls, connection: Connection, redactor: Redactor, ctx: Context | None = None, level_of: LevelOf | None = None
    ) -> HandshakeHost:
        """Return the client of a request. Each call makes one, and with an `__init__` it would take twice as long."""
        made, session = cls(), HostSession.of(connection)
        made.key, made.capabilities, made.version = session.key, session.capabilities, connection.protocol_version
        made._session, made._connection, made._redactor = session, connection, redactor
        made._ctx, made._level_of = ctx, level_of
        return made

    @property
    def log_level(self) -> str | None:
        """The lowest level of log messages that its session receives."""
        return None if self._ctx is None or self._level_of is None else self._level_of(self._ctx)

    async def ask(self, method: str, params: JsonObject) -> JsonObject:
        """Send a request to the client and return its result.

        :raises ProtocolError: the client refused it, or cannot be reached.
        """
        shown: JsonObject = await shown_to_hosts(params, self._redactor)
        try:
            result: JsonObject = await self._way.send_raw_request(method, shown)
        except NoBackChannelError:
            message = f"{method}: the client accepts no event stream, so it cannot be asked during its call."
            raise ProtocolError(_METHOD_NOT_FOUND, message) from None
        except MCPError as error:
            raise ProtocolError(error.code, error.message, error.data) from None
        return result

    @property
    def _way(self) -> Any:
        request = None if self._ctx is None else self._ctx.session._request_outbound  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - requests as they are, outside the SDK's models
        return request if request is not None and request.can_send_request else self._connection.outbound

    async def notify(self, method: str, params: JsonObject) -> None:
        """Send a notification on the way of the session. It is lost if the client does not listen."""
        await self._connection.notify(method, await shown_to_hosts(params, self._redactor))

    def watch(self, hear: Callable[[str], object]) -> Callable[[], object]:
        """Call `hear` with what happens in the session."""
        return self._session.watch(hear)


class RetryingHost(CallingHost):
    """The client of a request of 2026-07-28. It is asked by suspending its call, if the call can be suspended."""

    retries = True
    takes_errors = frozenset({URL_ELICITATION_REQUIRED, MISSING_CAPABILITY})

    call: SuspendedCall | None = None
    _ctx: Context
    _level_of: LevelOf

    @classmethod
    def of(cls, ctx: Context, principal: str, level_of: LevelOf, capabilities: JsonObject) -> RetryingHost:
        """Return the client of a request. Each call makes one, and with an `__init__` it would take twice as long."""
        made = cls()
        if ctx.request is None:
            made.key = _STDIO
        made.principal, made.version, made.capabilities = principal, ctx.protocol_version, capabilities
        made._ctx, made._level_of = ctx, level_of
        return made

    @property
    def log_level(self) -> str | None:
        """The lowest level of log messages that its request states, also for the requests that repeat it."""
        return self._level_of(self._ctx)

    def take(self, answers: Any, state: str | None, origin: str) -> None:
        """Take up the answers of a request that the client repeats."""
        self.answers = answers if is_object(answers) else None
        self.state = state
        self.origin = origin

    async def ask(self, method: str, params: JsonObject) -> JsonObject:
        """Suspend the call until the client has answered, and return the answer.

        :raises ProtocolError: the call cannot be suspended.
        """
        if self.call is None:
            raise ProtocolError(_METHOD_NOT_FOUND, f"{method}: the client cannot be asked during this request.")
        return await self.call.ask(method, params)


class _StdioHost(AnyHost):
    """Stands for the host of 2026-07-28 over stdio, between its requests."""

    key = _STDIO

    def __init__(self, capabilities: JsonObject) -> None:
        self.capabilities = capabilities


def host_ahead(ctx: Context, redactor: Redactor) -> CallingHost:
    """Return the host that the next calls will come from, by its first message. Over HTTP it may be anyone."""
    connection = connection_of(ctx)
    if ctx.request is not None:
        return AnyHost()
    if ctx.method == "initialize":
        HostSession.of(connection, relayed_capabilities((ctx.params or {}).get("capabilities")))
    elif ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
        return _StdioHost(capabilities_of(connection))
    return HandshakeHost.of(connection, redactor)
