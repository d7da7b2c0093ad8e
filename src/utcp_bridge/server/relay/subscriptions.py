"""Subscriptions to resources: each upstream is asked once, and each change goes to the hosts that asked for it.

A host of the handshake era is a session, which receives `notifications/resources/updated`. Since 2026-07-28 it is a
stream of `subscriptions/listen`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import anyio
import mcp_types as types
from anyio.abc import TaskGroup
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from utcp_bridge.errors import UtcpError
from utcp_bridge.model import JsonObject
from utcp_bridge.server.relay.desk import Desk
from utcp_bridge.server.relay.directory import Owner, can_subscribe
from utcp_bridge.server.relay.requests import ask, connection_of, speaking_protocol
from utcp_bridge.server.relay.subscribers import Subscribers
from utcp_bridge.upstream import ProtocolError, Upstream

__all__ = ["Subscribers", "Subscriptions"]

_logger = logging.getLogger(__name__)
_MAX_URIS: Final = 10_000
"""Resources with subscriptions of all hosts."""
_MAX_OF_ONE: Final = 1_000
"""Resources that one host subscribes to."""
_SEND_SECONDS: Final = 5.0
_STATE_KEY: Final = "utcp-bridge/subscriptions"
Tell = Callable[[str], Awaitable[None]]
"""Tells a host that the resource of this URI has changed."""


@dataclass(slots=True)
class _Subscribed:
    """One resource that hosts subscribe to, by the URI that they know. `owner` is None if no upstream has it."""

    owner: Owner | None
    holders: Counter[Hashable] = field(default_factory=Counter[Hashable])
    tell: dict[Hashable, Tell] = field(default_factory=dict[Hashable, Tell])


class Subscriptions:
    """The subscriptions of all hosts of one server."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._held: dict[str, _Subscribed] = {}
        self._turn_of_none = anyio.Lock()
        self._subscribers = Subscribers()
        self.share(self._subscribers)
        self._telling: dict[tuple[Hashable, str], bool] = {}
        """Which hosts are being notified of which resource, and whether it has changed again meanwhile."""

    def share(self, subscribers: Subscribers) -> None:
        """Share the upstreams with other servers. Call this before the first subscription."""
        self._subscribers = subscribers
        subscribers.all.add(self)

    def held(self) -> Iterable[_Subscribed]:
        """Return the resources that hosts subscribe to."""
        return self._held.values()

    def register(self, server: Server[Any]) -> None:
        """Add the handlers of the handshake era to a server."""
        server.add_request_handler("resources/subscribe", types.SubscribeRequestParams, self._subscribe)
        server.add_request_handler("resources/unsubscribe", types.UnsubscribeRequestParams, self._unsubscribe)

    async def _subscribe(self, ctx: ServerRequestContext[Any, Any], params: types.SubscribeRequestParams) -> JsonObject:
        uri, connection = str(params.uri), connection_of(ctx)
        with speaking_protocol(self._desk.client, ctx):
            await self._desk.settled()
            own = _uris_of(connection, self._leave)
            if uri not in own:
                if len(own) >= _MAX_OF_ONE:
                    raise MCPError(types.INVALID_REQUEST, f"A session has at most {_MAX_OF_ONE:,} subscriptions.")
                await self._add(uri, connection, connection.send_resource_updated)
                own.add(uri)
            return {}

    async def _unsubscribe(
        self, ctx: ServerRequestContext[Any, Any], params: types.UnsubscribeRequestParams
    ) -> JsonObject:
        uri, connection = str(params.uri), connection_of(ctx)
        with speaking_protocol(self._desk.client, ctx):
            own = _uris_of(connection, self._leave)
            if uri in own:
                own.discard(uri)
                await self._remove(uri, connection)
            return {}

    async def _leave(self, connection: Connection) -> None:
        """End the subscriptions of a session that ends."""
        for uri in tuple(_uris_of(connection, self._leave)):
            await self._remove(uri, connection)

    @asynccontextmanager
    async def streaming(self, uris: Iterable[str], holder: Hashable, tell: Tell) -> AsyncGenerator[None]:
        """Hold subscriptions while a stream is open. What an upstream refuses is not served, without an error."""
        taken: list[str] = []
        try:
            for uri in list(dict.fromkeys(uris))[:_MAX_OF_ONE]:
                try:
                    await self._add(uri, holder, tell)
                    taken.append(uri)
                except (ProtocolError, UtcpError, MCPError) as error:
                    _logger.debug("A resource could not be subscribed to (%s).", type(error).__name__)
            yield
        finally:
            with anyio.CancelScope(shield=True):
                for uri in taken:
                    await self._remove(uri, holder)

    async def _add(self, uri: str, holder: Hashable, tell: Tell) -> None:
        """Subscribe to a resource for a host; for the first one, at the upstream.

        :raises MCPError: too many resources have subscriptions, or the upstream does not answer.
        :raises ProtocolError: the upstream refused it.
        :raises UtcpError: the upstream cannot be reached.
        """
        owner = self._owner(uri)
        async with self._turn(owner):
            held = self._held.get(uri)
            if held is None:
                if len(self._held) >= _MAX_URIS:
                    raise MCPError(types.INTERNAL_ERROR, f"Hosts have {_MAX_URIS:,} subscriptions, the most at a time.")
                if owner is not None:
                    await self._ask("resources/subscribe", owner)
                held = self._held.setdefault(uri, _Subscribed(owner))
            held.holders[holder] += 1
            held.tell[holder] = tell

    def _turn(self, owner: Owner | None) -> anyio.Lock:
        """Return the lock for changes at one upstream: another one that does not answer keeps no host waiting."""
        return self._turn_of_none if owner is None else self._subscribers.turn(owner[0])

    async def _remove(self, uri: str, holder: Hashable) -> None:
        held = self._held.get(uri)
        if held is None or holder not in held.holders:
            return
        held.holders[holder] -= 1
        if held.holders[holder]:
            return
        del held.holders[holder], held.tell[holder]
        async with self._turn(held.owner):
            if held.holders or self._held.get(uri) is not held:  # a host came meanwhile
                return
            del self._held[uri]
            if held.owner is not None and not self._subscribers.has(held.owner):
                await self._attempt("resources/unsubscribe", held.owner)

    def _owner(self, uri: str) -> Owner | None:
        """Return the upstream to ask, if it can report changes."""
        owner = next(iter(self._desk.directory.owners(uri)), None)
        return owner if owner is not None and can_subscribe(owner[0]) else None

    async def _ask(self, method: str, owner: Owner) -> None:
        await ask(self._desk.client, owner[0], method, {"uri": owner[1]})

    async def _attempt(self, method: str, owner: Owner) -> None:
        """Ask an upstream for something that may fail without harm."""
        try:
            await self._ask(method, owner)
        except Exception as error:  # noqa: BLE001 - whatever the upstream does, the host has what it asked for
            _logger.debug("%s failed (%s).", method, type(error).__name__)

    async def keep_up(self) -> None:
        """Subscribe again where another upstream has a resource now, such as after a new configuration."""
        for uri, held in list(self._held.items()):
            owner = self._owner(uri)
            if owner != held.owner:
                held.owner = owner
                if owner is not None:
                    async with self._turn(owner):
                        await self._attempt("resources/subscribe", owner)

    def changed(self, upstream: Upstream, uri: str, group: TaskGroup) -> None:
        """Tell the hosts that subscribe to a resource of an upstream, or to one that contains it.

        Each host is notified in a task of its own: one that does not read keeps no other waiting.
        """
        for known, held in self._held.items():
            if held.owner is None or held.owner[0] is not upstream or not _is_within(uri, held.owner[1]):
                continue
            for holder, tell in held.tell.items():
                key = (holder, known)
                is_free = key not in self._telling
                self._telling[key] = True
                if is_free:
                    group.start_soon(self._tell, key, partial(tell, known))

    async def _tell(self, key: tuple[Hashable, str], tell: Callable[[], Awaitable[None]]) -> None:
        try:
            while self._telling[key]:
                self._telling[key] = False
                await _told(tell)
        finally:
            del self._telling[key]


async def _told(tell: Callable[[], Awaitable[None]]) -> None:
    try:
        with anyio.move_on_after(_SEND_SECONDS):
            await tell()
    except Exception as error:  # noqa: BLE001 - one broken session must not keep others from what they asked for
        _logger.debug("A host could not be notified of a changed resource (%s).", type(error).__name__)


def _is_within(uri: str, known: str) -> bool:
    """Return whether a URI is the known one, or that of a part of it."""
    return uri == known or uri.startswith(known if known.endswith(("/", "#", "?")) else (f"{known}/", f"{known}#"))


def _uris_of(connection: Connection, leave: Callable[[Connection], Awaitable[None]]) -> set[str]:
    """Return what a session subscribes to. `leave` is called when it ends."""
    own: set[str] | None = connection.state.get(_STATE_KEY)
    if own is None:
        own = set[str]()
        connection.state[_STATE_KEY] = own
        connection.exit_stack.push_async_callback(leave, connection)
    return own
