"""Log messages of upstreams as MCP log notifications, at the level that the client asked for.

A client of the handshake era sets a level with `logging/setLevel`; without one it receives `info` and above, as the
protocol lets the server choose. Since 2026-07-28 each request states a level in its `_meta`, and receives nothing
without one.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, get_args

import mcp_types as types
from mcp.server.connection import Connection, allowed_log_levels
from mcp.server.context import ServerRequestContext
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from utcp_bridge.auth.redaction import Redactor
from utcp_bridge.auth.results import masked_partial
from utcp_bridge.model import JsonObject, LogMessage, LogReceiver

__all__ = ["LogRelay"]

_logger = logging.getLogger(__name__)
_LEVELS: Final[tuple[types.LoggingLevel, ...]] = get_args(types.LoggingLevel)
_DEFAULT: Final[types.LoggingLevel] = "info"
_IS_LOCAL: Final = "utcp_bridge/logs"


class LogRelay:
    """Relays log messages of calls to their own sessions. Holds the level of each session.

    `redactor` removes known secrets. `level_set` is called when a session has set its level.
    """

    def __init__(self, redactor: Redactor | None = None) -> None:
        self._redactor = redactor or Redactor()
        self._levels: weakref.WeakKeyDictionary[Connection, types.LoggingLevel] = weakref.WeakKeyDictionary()
        self._local: weakref.WeakSet[Connection] = weakref.WeakSet()
        """Sessions of the handshake era that are not over HTTP."""
        self.level_set: Callable[[], Awaitable[None]] = _nothing
        self.told: Callable[[str | None, str], None] | None = None
        """Receives the id of a session and the level that it set, for other bridges that serve it."""

    async def set_level(
        self, ctx: ServerRequestContext[Any, Any], params: types.SetLevelRequestParams
    ) -> types.EmptyResult:
        """Send this session messages of this level and above (handler of `logging/setLevel`)."""
        connection = _connection(ctx)
        self._levels[connection] = params.level
        if self.told is not None:
            self.told(connection.session_id, params.level)
        self._note(ctx)
        await self.level_set()
        return types.EmptyResult()

    def adopt(self, connection: Connection, level: object) -> None:
        """Note the level that a session set in another bridge."""
        if level in _LEVELS:
            self._levels[connection] = level

    def receiver(self, ctx: ServerRequestContext[Any, Any]) -> LogReceiver:
        """Return a function that sends a log message to the client of this request."""
        if ctx.request is None:
            self._note(ctx)
        return partial(self._send, ctx)

    def lowest_of(self, ctx: ServerRequestContext[Any, Any]) -> str | None:
        """Return the lowest level that the client of this request receives; None if it receives nothing."""
        if ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            return self._levels.get(_connection(ctx), _DEFAULT)
        allowed = self._allowed(ctx)
        return next((level for level in _LEVELS if level in allowed), None)

    @property
    def lowest(self) -> types.LoggingLevel | None:
        """The lowest level that a session has set; None if none has."""
        return min(self._levels.values(), key=_LEVELS.index, default=None)

    async def send_to_the_only_client(self, message: LogMessage) -> None:
        """Send a log message that belongs to no call, if one client alone can be meant: the one on stdio."""
        for connection in self._local if len(self._local) == 1 else ():
            level = _level_of(message)
            if level in _from(self._levels.get(connection, _DEFAULT)):
                await connection.notify("notifications/message", await self._params(level, message))

    def _note(self, ctx: ServerRequestContext[Any, Any]) -> None:
        if ctx.request is not None or ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
            return
        connection = _connection(ctx)
        if connection.state.get(_IS_LOCAL) is not self:  # a look into a weak set takes ten times as long
            connection.state[_IS_LOCAL] = self
            self._local.add(connection)

    async def _params(self, level: types.LoggingLevel, message: LogMessage) -> JsonObject:
        params: JsonObject = {"level": level, "data": await masked_partial(message.data, self._redactor)}
        return params if message.logger is None else {**params, "logger": self._redactor(message.logger)}

    async def _send(self, ctx: ServerRequestContext[Any, Any], message: LogMessage) -> None:
        level = _level_of(message)
        if level not in self._allowed(ctx):
            return
        params = types.LoggingMessageNotificationParams.model_validate(await self._params(level, message))
        try:
            await ctx.session.send_notification(
                types.LoggingMessageNotification(params=params), related_request_id=ctx.request_id
            )
        except Exception as error:  # noqa: BLE001 - a log message must not end the call
            _logger.debug("A log message could not be sent to a client (%s).", type(error).__name__)

    def _allowed(self, ctx: ServerRequestContext[Any, Any]) -> frozenset[types.LoggingLevel]:
        if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
            return allowed_log_levels(ctx.protocol_version, ctx.meta)
        return _from(self._levels.get(_connection(ctx), _DEFAULT))


def _level_of(message: LogMessage) -> types.LoggingLevel:
    for level in _LEVELS:
        if level == message.level:
            return level
    return _DEFAULT


def _from(lowest: types.LoggingLevel) -> frozenset[types.LoggingLevel]:
    return frozenset(_LEVELS[_LEVELS.index(lowest) :])


async def _nothing() -> None:
    pass


def _connection(ctx: ServerRequestContext[Any, Any]) -> Connection:
    return ctx.session._connection  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - no public way to a session's lifetime
