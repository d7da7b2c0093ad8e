"""Log messages of upstreams as MCP log notifications, at the level that the client asked for.

A client of the handshake era sets a level with `logging/setLevel`; without one it receives `info` and above, as the
protocol lets the server choose. Since 2026-07-28 each request states a level in its `_meta`, and receives nothing
without one.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, Final, get_args

import mcp_types as types
from mcp.server.connection import Connection, allowed_log_levels
from mcp.server.context import ServerRequestContext
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from utcp_bridge.model import LogMessage

__all__ = ["LogRelay"]

_logger = logging.getLogger(__name__)
_LEVELS: Final[tuple[types.LoggingLevel, ...]] = get_args(types.LoggingLevel)
_DEFAULT: Final[types.LoggingLevel] = "info"


class LogRelay:
    """Relays log messages of calls to their own sessions. Holds the level of each session."""

    def __init__(self) -> None:
        self._levels: weakref.WeakKeyDictionary[Connection, types.LoggingLevel] = weakref.WeakKeyDictionary()

    async def set_level(
        self, ctx: ServerRequestContext[Any, Any], params: types.SetLevelRequestParams
    ) -> types.EmptyResult:
        """Send this session messages of this level and above (handler of `logging/setLevel`)."""
        self._levels[_connection(ctx)] = params.level
        return types.EmptyResult()

    def receiver(self, ctx: ServerRequestContext[Any, Any]) -> Callable[[LogMessage], Awaitable[None]]:
        """Return a function that sends a log message to the client of this request."""

        async def receive(message: LogMessage) -> None:
            await self._send(ctx, message)

        return receive

    async def _send(self, ctx: ServerRequestContext[Any, Any], message: LogMessage) -> None:
        level = next((one for one in _LEVELS if one == message.level), _DEFAULT)
        if level not in self._allowed(ctx):
            return
        params = types.LoggingMessageNotificationParams(level=level, data=message.data, logger=message.logger)
        try:
            await ctx.session.send_notification(
                types.LoggingMessageNotification(params=params), related_request_id=ctx.request_id
            )
        except Exception as error:  # noqa: BLE001 - a log message must not end the call
            _logger.debug("A log message could not be sent to a client (%s).", type(error).__name__)

    def _allowed(self, ctx: ServerRequestContext[Any, Any]) -> frozenset[types.LoggingLevel]:
        if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
            return allowed_log_levels(ctx.protocol_version, ctx.meta)
        lowest = self._levels.get(_connection(ctx), _DEFAULT)
        return frozenset(_LEVELS[_LEVELS.index(lowest) :])


def _connection(ctx: ServerRequestContext[Any, Any]) -> Connection:
    return ctx.session._connection  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - no public way to a session's lifetime
