"""The relay of one server: the directory of what its upstreams offer, and the handlers that read from it."""

from __future__ import annotations

import logging
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio
import mcp_types as types
from anyio.abc import TaskGroup
from mcp.server.caching import CacheHint
from mcp.server.lowlevel import Server
from mcp.server.subscriptions import ResourceUpdated, ServerEvent

from utcp_bridge.auth.results import masked_at_once
from utcp_bridge.errors import UtcpError
from utcp_bridge.model import JsonObject, LogMessage
from utcp_bridge.server.changes import Changes
from utcp_bridge.server.hosts.interaction import Interaction
from utcp_bridge.server.logging_relay import LogRelay
from utcp_bridge.server.readiness import Readiness
from utcp_bridge.server.relay.apps import Apps
from utcp_bridge.server.relay.desk import Desk
from utcp_bridge.server.relay.introduction import HANDSHAKE_SECONDS, advertised, merged_instructions
from utcp_bridge.server.relay.kept import KeptResources
from utcp_bridge.server.relay.prompts import Completions, Prompts
from utcp_bridge.server.relay.resources import Resources
from utcp_bridge.server.relay.subscriptions import Subscriptions
from utcp_bridge.server.relay.tasks import Tasks
from utcp_bridge.upstream import ProtocolError, Upstream

if TYPE_CHECKING:
    from utcp_bridge.client.client import UtcpClient

__all__ = ["Relay"]

_logger = logging.getLogger(__name__)
_LISTS_CHANGED: Final = frozenset({"notifications/resources/list_changed", "notifications/prompts/list_changed"})
_MAX_LINES: Final = 100
"""Log lines of one upstream that wait for the host; the oldest are lost first."""
_LEVEL_SECONDS: Final = 5.0
_NEVER: Final = CacheHint(ttl_ms=0, scope="private")
"""Kept results belong to one caller and end. An upstream that says nothing promises nothing."""


class Relay:
    """Adds the methods of resources, prompts and completions to a server, and passes on what upstreams say."""

    def __init__(
        self, client: UtcpClient, readiness: Readiness, interaction: Interaction, logs: LogRelay, changes: Changes
    ) -> None:
        self.desk = Desk(client, readiness, interaction)
        self.subscriptions = Subscriptions(self.desk)
        self.apps = Apps(self.desk)
        # A task's result does not pass the post-processors, so with these a call waits for its task.
        self.tasks = Tasks(self.desk, is_on=not client.config.post_processing)
        self._logs = logs
        self._changes = changes
        self._keeps_results = False
        self._lines: dict[Upstream, deque[LogMessage]] = {}
        """Log lines that wait for the host, while some do."""
        self._set_levels: weakref.WeakKeyDictionary[Upstream, str] = weakref.WeakKeyDictionary()
        logs.level_set = self._pass_level_on
        changes.also = self._announce

    def register(self, server: Server[Any], kept: KeptResources) -> None:
        """Add the handlers to a server. Its hint for `tools/list` holds for the lists of upstreams too."""
        self._keeps_results = kept.is_on
        Resources(self.desk, kept).register(server)
        Prompts(self.desk).register(server)
        Completions(self.desk).register(server)
        self.subscriptions.register(server)
        self.tasks.register(server)
        lists = server.cache_hints["tools/list"]
        server.cache_hints |= {
            "resources/list": _NEVER if kept.is_on else lists,
            "resources/templates/list": lists,
            "resources/read": _NEVER,
            "prompts/list": lists,
        }

    def advertised(self, base: types.ServerCapabilities, *, modern: bool = False) -> types.ServerCapabilities:
        """Return the capabilities of the server, with those of the relay as far as an upstream has them."""
        base = self.apps.advertised(self.tasks.advertised(base, modern=modern))
        return advertised(base, self.desk, keeps_results=self._keeps_results)

    async def introduced(self, method: str) -> None:
        """Wait a moment for MCP servers that are being read, before the answer to this method says what they offer."""
        await self.desk.introduced(HANDSHAKE_SECONDS[method])

    def instructions(self, own: str) -> str:
        """Return the instructions of the bridge with those of its upstreams."""
        text: str = masked_at_once(merged_instructions(own, self.desk), self.desk.client.redactor)
        return text

    @asynccontextmanager
    async def listening(self, params: types.SubscriptionsListenRequestParams) -> AsyncGenerator[None]:
        """Hold the subscriptions to resources of a stream while it is open."""

        async def publish(uri: str) -> None:
            await self._changes.publish(ResourceUpdated(uri=uri))

        wanted = params.notifications.resource_subscriptions or ()
        if wanted:
            await self.desk.settled()
        async with self.subscriptions.streaming(wanted, "streams", publish):
            yield

    @asynccontextmanager
    async def hearing(self) -> AsyncGenerator[None]:
        """Pass on what upstreams say without being asked, during the block."""
        async with anyio.create_task_group() as group:

            def hear(upstream: Upstream, method: str, params: JsonObject) -> None:
                self._pass_on(upstream, method, params, group)

            stop = self.desk.client.on_upstream(hear)
            try:
                yield
            finally:
                stop()
                group.cancel_scope.cancel()

    def _pass_on(self, upstream: Upstream, method: str, params: JsonObject, group: TaskGroup) -> None:
        """Act on a notification at once. Log lines wait, apart for each upstream, so that none delays another."""
        if method in _LISTS_CHANGED:
            self._changes.mark()
        elif method == "notifications/resources/updated":
            self.subscriptions.changed(upstream, str(params.get("uri")), group)
        elif method == "notifications/message":
            message = LogMessage(str(params.get("level")), params.get("data"), params.get("logger"))
            if (lines := self._lines.get(upstream)) is not None:
                lines.append(message)
            else:
                self._lines[upstream] = deque([message], _MAX_LINES)
                group.start_soon(self._write_lines, upstream)

    async def _write_lines(self, upstream: Upstream) -> None:
        lines = self._lines[upstream]
        try:
            while lines:
                await self._logs.send_to_the_only_client(lines.popleft())
        except Exception as error:  # noqa: BLE001 - one lost line must not end what others hear
            _logger.debug("A log line could not be sent to a host (%s).", type(error).__name__)
        finally:
            del self._lines[upstream]

    async def _announce(self, publish: Callable[[ServerEvent], Awaitable[None]]) -> None:
        """Notify hosts of changed lists, and ask upstreams that are new for what was asked of the others."""
        await self.desk.changes.announce(self.desk.directory, publish)
        await self.subscriptions.keep_up()
        await self._pass_level_on()

    async def _pass_level_on(self) -> None:
        """Set the lowest level that a host wants at each upstream that has logs."""
        level = self._logs.lowest
        if level is None:
            return

        async def set_level(upstream: Upstream) -> None:
            try:
                with anyio.move_on_after(_LEVEL_SECONDS):
                    await upstream.request("logging/setLevel", {"level": level})
            except (ProtocolError, UtcpError) as error:
                _logger.debug("An upstream could not set its level of logs (%s).", type(error).__name__)

        async with anyio.create_task_group() as group:
            for upstream in self.desk.directory.offering("logging"):
                if self._set_levels.get(upstream) != level:
                    self._set_levels[upstream] = level
                    group.start_soon(set_level, upstream)
