"""What an MCP server says without being asked: changes of its lists and resources, and log lines.

Since 2026-07-28 a client subscribes to changes with `subscriptions/listen`; older servers send them to every session.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Self

import anyio
from anyio.abc import TaskStatus

from utcp_bridge.foreign import visible, visible_json, write_json
from utcp_bridge.model import Emit, LogMessage, log_receiver
from utcp_bridge.net.backoff import pauses
from utcp_bridge.upstream import HOST

if TYPE_CHECKING:
    from utcp_bridge.transports.mcp.handshake import RawSession

__all__ = ["Calmed", "Levels", "LogRoutes", "Progress", "Updates", "listen_to_lists", "log_message"]

_SUBSCRIBE_SECONDS: Final = 5.0
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 30.0
"""Seconds between two reactions to a server that reports changes without end."""
_MAX_WAITING: Final = 100
"""Reports of the progress of one request that wait for its caller."""
_MAX_LINE: Final = 65_536
"""Bytes of one log line of a server, as JSON."""
Receive = Callable[[LogMessage], Awaitable[None]]


class Calmed:
    """Reacts to the changes that a server reports: to the first at once, to those that follow after growing pauses.

    So a server that reports changes without end is read again every half minute, and keeps nobody busy.
    """

    def __init__(self, spawn: Callable[[Callable[[], Any]], object], react: Callable[[], Awaitable[object]]) -> None:
        self._spawn = spawn
        self._react = react
        self._is_running = self._is_due = False

    def note(self) -> None:
        """Note a change. Several of them before a reaction cause one."""
        self._is_due = True
        if not self._is_running:
            self._is_running = True
            self._spawn(self._run)

    async def _run(self) -> None:
        log_receiver.set(None)  # a change belongs to no call
        growing = pauses(_FIRST_PAUSE, _LONGEST_PAUSE)
        try:
            while self._is_due:
                self._is_due = False
                await self._react()
                await anyio.sleep(next(growing))
        finally:
            self._is_running = False


class Progress:
    """Passes the progress of one request on. A caller that takes it too slowly loses some of it."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._waiting = 0

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        """Report progress."""
        if self._waiting >= _MAX_WAITING:
            return
        self._waiting += 1
        try:
            partial = {"progress": progress, "total": total, "message": None if message is None else visible(message)}
            await self._emit({key: value for key, value in partial.items() if value is not None})
        finally:
            self._waiting -= 1


class LogRoutes:
    """Finds the caller that a log line of a server is for.

    Over HTTP, a line arrives on the stream of the request that it belongs to. On a connection without such streams, it
    belongs to the one host that has requests in flight. If several hosts have, it is dropped.
    """

    def __init__(self) -> None:
        self._calls: dict[object, tuple[object, Receive]] = {}

    @contextmanager
    def calling(self) -> Generator[None]:
        """Take lines that arrive during the block for those of the caller of this context."""
        receive, call, host = log_receiver.get(), object(), HOST.get()
        if receive is not None:
            self._calls[call] = (receive if host is None or host.key is None else host.key), receive
        try:
            yield
        finally:
            self._calls.pop(call, None)

    @property
    def is_idle(self) -> bool:
        """Whether no caller waits for a result."""
        return not self._calls

    def receiver(self) -> Receive | None:
        """Return the receiver of a line that arrives now; None if its caller is not known."""
        if (own := log_receiver.get()) is not None:
            return own
        hosts = {host for host, _ in self._calls.values()}
        return next(iter(self._calls.values()))[1] if len(hosts) == 1 else None


class Levels:
    """The level of logs of one server of the handshake era, on each of its connections."""

    def __init__(self) -> None:
        self._level: str | None = None
        self._open: set[RawSession] = set()

    async def set(self, level: str) -> None:
        """Set the level on every connection that is open, and on those to come."""
        self._level = level
        for session in tuple(self._open):
            await self._send(session)

    async def hold(self, session: RawSession) -> None:
        """Have the level on a connection, for as long as it is open."""
        self._open.add(session)
        try:
            await self._send(session)
            await anyio.sleep_forever()
        finally:
            self._open.discard(session)

    async def _send(self, session: RawSession) -> None:
        if self._level is not None:
            with suppress(Exception):  # a level is a wish; the SDK says in several ways that a server refuses it
                await session.request("logging/setLevel", {"level": self._level})


def log_message(params: Any) -> LogMessage:
    """Return a log line in the form of the bridge. Of one that is too long, the beginning is kept as text."""
    data = params.data
    size = len(write_json(data))
    if size > _MAX_LINE:
        text = data if isinstance(data, str) else write_json(data).decode()
        data = f"{text[:_MAX_LINE]} [the line has {size:,} bytes]"
    logger = visible(params.logger) if isinstance(params.logger, str) else None
    return LogMessage(str(params.level), visible_json(data), logger)


async def listen_to_lists(session: RawSession, reopened: Callable[[], object]) -> None:
    """Keep a stream of changed lists open. What it says arrives as notifications of the session.

    `reopened` is called when the stream is open again after it broke: changes may be missing. A server that does not
    offer the stream is left alone.
    """
    from mcp.client.subscriptions import listen

    for number, pause in enumerate(pauses(1.0)):
        with _Interrupted() as interrupted:
            async with listen(
                session, tools_list_changed=True, prompts_list_changed=True, resources_list_changed=True
            ) as events:
                honored = events.honored
                if not (honored.tools_list_changed or honored.prompts_list_changed or honored.resources_list_changed):
                    return
                if number:
                    reopened()
                async for _ in events:
                    pass
        if interrupted.is_final:
            return
        await anyio.sleep(pause)


class Updates:
    """The stream of changed resources of a 2026-07-28 server: of all that are subscribed to.

    When that changes, the new stream opens before the old one ends, so that no change is missed.
    """

    def __init__(self) -> None:
        self.uris: set[str] = set()
        self._served: frozenset[str] = frozenset()
        self._wanted = anyio.Event()
        self._moved = anyio.Event()

    async def want(self, uri: str) -> None:
        """Subscribe to a resource. Return when the stream has it, or after a few seconds."""
        self.uris.add(uri)
        self._wanted.set()
        with anyio.move_on_after(_SUBSCRIBE_SECONDS):
            while uri not in self._served:
                await self._moved.wait()

    def drop(self, uri: str) -> None:
        """End the subscription to a resource."""
        self.uris.discard(uri)
        self._wanted.set()

    async def run(self, session: RawSession) -> None:
        """Keep the stream open on one connection."""
        current: anyio.CancelScope | None = None
        self._served = frozenset()
        async with anyio.create_task_group() as group:
            while True:
                uris = frozenset(self.uris)
                if uris != self._served:
                    scope = anyio.CancelScope()
                    if uris:
                        await group.start(self._stream, session, uris, scope)
                    if current is not None:
                        current.cancel()
                    current = scope
                    self._serve(uris)
                await self._wanted.wait()
                self._wanted = anyio.Event()

    def _serve(self, uris: frozenset[str]) -> None:
        self._served = uris
        self._moved.set()
        self._moved = anyio.Event()

    async def _stream(
        self,
        session: RawSession,
        uris: frozenset[str],
        scope: anyio.CancelScope,
        *,
        task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        from mcp.client.subscriptions import listen

        is_first = True
        with scope:
            for pause in pauses(1.0):
                with _Interrupted() as interrupted:
                    async with listen(session, resource_subscriptions=sorted(uris)) as events:
                        if is_first:
                            is_first = False
                            task_status.started()
                        async for _ in events:
                            pass
                if interrupted.is_final:
                    break
                await anyio.sleep(pause)
        if is_first:
            with suppress(RuntimeError):
                task_status.started()


class _Interrupted:
    """Catches what ends a stream, and says whether to open it again."""

    def __init__(self) -> None:
        self.is_final = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        from mcp import MCPError
        from mcp_types import CONNECTION_CLOSED

        from utcp_bridge.transports.mcp.lenient_http import KEPT

        if error is None:
            return False
        if isinstance(error, MCPError):
            self.is_final = error.code not in {CONNECTION_CLOSED, KEPT}  # servers need not offer it
        else:  # whatever the SDK raises, calls go on without notifications
            self.is_final = type(error).__name__ not in {"SubscriptionLost", "TimeoutError"}
        return isinstance(error, Exception)
