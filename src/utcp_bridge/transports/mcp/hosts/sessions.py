"""Which session with an MCP server a request of a host uses: the shared one, or one of the host's own.

A server of the handshake era learns the client's capabilities once, when a session opens, and over stdio nothing says
which client its own requests are for. So each host with capabilities has a session of its own, but only at servers that
ask hosts: the shared session is the only one until the server has asked for something. It is also the host's own while
no other host has used it and it was opened with the same capabilities, so that a bridge over stdio starts each server
once. A server of 2026-07-28 receives the capabilities with each request and needs no second session. One that speaks
both eras may ask an older host only in the older era, so over HTTP such a host has a session of that era.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import anyio
import orjson

from utcp_bridge.errors import Busy
from utcp_bridge.foreign import write_json
from utcp_bridge.transports.mcp.hosts.rounds import identity_of
from utcp_bridge.upstream import HOST, HOST_ENDED, CallingHost

if TYPE_CHECKING:
    from utcp_bridge.transports.mcp.hosts.asking import Asking

__all__ = ["HostSessions", "prefers_handshake"]

MAX_SESSIONS: Final = 64
"""Sessions of single hosts with one server."""
IDLE_SECONDS: Final = 600.0
"""A session of a host that was not used for so long ends. The host gets another when it needs one."""
_LOOK_SECONDS: Final = 60.0
_FIRST_MODERN: Final = "2026-07-28"


class ServerSession(Protocol):
    """What is needed of a session with a server."""

    asks: bool
    """Whether the server has asked a host for something."""

    @property
    def asking(self) -> Asking | None:
        """The relay of the present connection."""
        ...

    refuses_handshake: bool
    """Whether the server speaks only 2026-07-28 and later."""

    @property
    def is_remote(self) -> bool:
        """Whether another session costs only another handshake, and not another process."""
        ...

    @property
    def is_modern(self) -> bool:
        """Whether the server speaks 2026-07-28 or later."""
        ...

    async def close(self) -> None:
        """End the session."""
        ...


@dataclass(slots=True, eq=False)
class _Own:
    """A session of one host. One without a `key` is used by one request at a time."""

    session: Any
    key: Hashable
    used_at: float
    users: int = 0
    end_watch: Callable[[], object] = field(default=lambda: None)


class HostSessions:
    """The sessions with one server: `shared`, and those of single hosts, which `make` makes."""

    def __init__(
        self,
        shared: ServerSession,
        make: Callable[[CallingHost | None], ServerSession],
        spawn: Callable[[Callable[[], Any]], Callable[[], None]],
        setting: Literal["shared", "per_host"] | None,
    ) -> None:
        self._shared = shared
        self._make = make
        self._spawn = spawn
        self._setting = setting
        self._own: list[_Own] = []
        self._is_watched = False

    @asynccontextmanager
    async def using(self) -> AsyncGenerator[Any]:
        """Yield the session for a request of the current host.

        :raises Busy: too many hosts use the server.
        """
        host = HOST.get()
        if self._shares(host):
            yield self._shared
            return
        own = self._find(host) or self._open(host)
        own.users += 1
        try:
            yield own.session
        finally:
            own.users -= 1
            own.used_at = anyio.current_time()
            asking = own.session.asking
            self._shared.refuses_handshake |= own.session.refuses_handshake
            is_disputed = _is_exclusive(own) and asking is not None and asking.is_disputed
            if is_disputed or own.session.refuses_handshake:
                self._end(own)

    async def close(self) -> None:
        """End the sessions of hosts."""
        while self._own:
            own = self._own.pop()
            own.end_watch()
            await own.session.close()

    def _shares(self, host: CallingHost | None) -> bool:
        if self._setting == "shared":
            return True
        if self._shared.is_modern:
            may_have_own = self._shared.is_remote or self._setting == "per_host"
            return not (may_have_own and prefers_handshake(host)) or self._shared.refuses_handshake
        asking = self._shared.asking
        wanted = {} if host is None else host.capabilities
        declared = {} if asking is None else asking.declared
        if self._setting is None and not self._shared.asks:
            return asking is None or wanted.keys() <= declared.keys()
        return declared == wanted and (not wanted or asking is None or asking.users <= {identity_of(host)})

    def _find(self, host: CallingHost | None) -> _Own | None:
        key = _key_of(host)
        for own in self._own:
            if own.key == key and not (_is_exclusive(own) and own.users):
                return own
        return None

    def _open(self, host: CallingHost | None) -> _Own:
        if len(self._own) >= MAX_SESSIONS:
            idle = min((own for own in self._own if not own.users), key=lambda own: own.used_at, default=None)
            if idle is None:
                raise Busy(
                    f"{MAX_SESSIONS} clients use sessions of their own with this MCP server.",
                    remedy='Try again later, or set "sessions": "shared" for the server.',
                )
            self._end(idle)
        bare = host is None or not host.capabilities
        own = _Own(self._make(None if bare else host), _key_of(host), anyio.current_time())
        self._own.append(own)
        if host is not None and not bare:
            own.end_watch = host.watch(partial(self._hear, own))
        if not self._is_watched:
            self._is_watched = True
            self._spawn(self._end_idle)
        return own

    def _hear(self, own: _Own, what: str) -> None:
        if what == HOST_ENDED:
            self._end(own)

    def _end(self, own: _Own) -> None:
        if own in self._own:
            self._own.remove(own)
            own.end_watch()
            self._spawn(own.session.close)

    async def _end_idle(self) -> None:
        while self._own:
            await anyio.sleep(_LOOK_SECONDS)
            since = anyio.current_time() - IDLE_SECONDS
            for own in [one for one in self._own if not one.users and one.used_at < since]:
                self._end(own)
        self._is_watched = False


def prefers_handshake(host: CallingHost | None) -> bool:
    """Return whether a host of the handshake era is behind a call, and a server may ask it."""
    return host is not None and bool(host.capabilities) and "" < host.version < _FIRST_MODERN


def _key_of(host: CallingHost | None) -> Hashable:
    """Return what hosts of one session have in common. Those without capabilities share one: they are not asked."""
    if host is None or not host.capabilities:
        return None
    if host.key is not None:
        return host.key
    return host.principal, write_json(host.capabilities, orjson.OPT_SORT_KEYS)


def _is_exclusive(own: _Own) -> bool:
    return isinstance(own.key, tuple)
