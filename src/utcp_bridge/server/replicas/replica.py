"""One of several processes behind one address.

It accepts connections, counts them, and hands one to another process where the request on it belongs there: the
session, the task or the kept result of the request is there, or that process has fewer connections. The other process
gets the socket itself, and what was read of the request. While a process is lost, the others accept its connections
and take up its sessions (`sessions.py`).
"""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import anyio
import orjson

from utcp_bridge.catalogue.fitting import RESULT_SCHEME
from utcp_bridge.model import JsonObject
from utcp_bridge.server.replicas.board import Board, State
from utcp_bridge.server.replicas.place import ProcessPlace, be_at
from utcp_bridge.tasks import OwnTasks

__all__ = ["Links", "Replica"]

_TICK_SECONDS: Final = 0.2
_MAX_INLINE: Final = 32_768
"""Bytes of a request in a message. More go through a file."""
_MAX_MESSAGE: Final = 131_072
_MAX_DESCRIPTORS: Final = 4
_UNEVEN: Final = 2
"""How many connections more than another process this one has before it hands over a new one."""
_FETCH_SECONDS: Final = 10.0
_CHUNK: Final = 262_144
_CONNECTION: Final = b"C"
_FETCH: Final = b"F"
_ASK: Final = b"A"
_HOP: Final = frozenset({b"content-length", b"transfer-encoding", b"expect"})
_RESULT_SCHEME: Final = RESULT_SCHEME.encode()


@dataclass(frozen=True, slots=True)
class Links:
    """What a process has of the others. `outboxes` are by place; `listeners` too, or one entry that all share."""

    board: Board
    inbox: socket.socket
    outboxes: Sequence[socket.socket]
    listeners: Sequence[Sequence[socket.socket]]
    adopted: dict[int, list[asyncio.Server]] = field(default_factory=dict[int, list[asyncio.Server]])


class Replica:
    """One process, seen from inside (`net.listening.Passing`)."""

    def __init__(self, place: ProcessPlace, links: Links) -> None:
        be_at(place)
        self.place: Final = place
        self._links = links
        self._board = links.board
        self._connect: Callable[[], Any] | None = None
        self._count: Callable[[], int] = int
        self._tasks = OwnTasks()
        self.finders: dict[str, Callable[[str, str], bytes | None]] = {}
        """By the name of the profile, empty for the whole bridge: what returns a kept result of this process, written
        for another one, by its owner and its handle."""
        self.answer: Callable[[bytes], Awaitable[bytes]] | None = None
        """Returns the answer to a question of another process."""
        self.summary: Callable[[], JsonObject] = dict
        """Returns what `/readyz` would report of this process alone."""
        self.is_for_console: Callable[[Any], bool] | None = None
        """Returns whether a request is for the console, whose visitors are all in one process."""

    @property
    def listeners(self) -> Sequence[socket.socket]:
        """The sockets that this process accepts from."""
        found = self._links.listeners
        return found[self.place.index % len(found)]

    @property
    def url_port(self) -> int:
        """The port of the address."""
        port: int = self.listeners[0].getsockname()[1]
        return port

    # --- handing over ---

    def place_of(self, scope: Any, *, is_first: bool) -> int | None:
        """Return the place that a request belongs to; None if that is this process, or one that does not serve.

        `is_first` says that it is the first on its connection.
        """
        session = method = name = b""
        for key, value in scope["headers"]:
            if key == b"mcp-session-id":
                session = value
            elif key == b"mcp-method":
                method = value
            elif key == b"mcp-name":
                name = value
        home: int | None = None
        if session:
            home = self.place.of(session)
        elif method.startswith(b"tasks/"):
            home = self.place.of(name)
        elif name.lower().startswith(_RESULT_SCHEME):
            home = self.place.of(name[len(_RESULT_SCHEME) :])
        elif self.is_for_console is not None and self.is_for_console(scope):
            home = self._first_serving()
        elif is_first and scope["method"] == "POST":
            home = self._emptiest()
        return self._other(home)

    def _other(self, place: int | None) -> int | None:
        if place is None or place == self.place.index or self._board.state(place) != State.SERVING:
            return None
        return None if self._board.state(self.place.index) == State.DRAINING else place

    def _first_serving(self) -> int | None:
        return next((one for one in range(self.place.count) if self._board.state(one) == State.SERVING), None)

    def _emptiest(self) -> int | None:
        own = self._count()
        self._board.set_connections(self.place.index, own)
        others = (one for one in range(self.place.count) if one != self.place.index)
        serving = [(self._board.connections(one), one) for one in others if self._board.state(one) == State.SERVING]
        least, place = min(serving, default=(own, None))
        return place if own - least >= _UNEVEN else None

    def send(self, place: int, transport: asyncio.Transport, data: bytes) -> bool:
        """Hand a connection over, with what was read of its request. Return False if it stays."""
        opened = transport.get_extra_info("socket")
        if transport.is_closing() or transport.get_write_buffer_size() or opened is None:
            return False
        try:
            if len(data) <= _MAX_INLINE:
                self._post(place, _CONNECTION + data, [opened.fileno()])
            else:
                with tempfile.TemporaryFile() as file:
                    file.write(data)
                    file.flush()
                    self._post(place, _CONNECTION, [opened.fileno(), file.fileno()])
        except OSError:  # its inbox is full
            return False
        self._board.set_connections(place, self._board.connections(place) + 1)
        transport.abort()  # it closes this process's descriptor; the connection lives on
        return True

    def pass_on(self, scope: Any, body: bytes, place: int | None) -> bool:
        """Hand a connection over whose request was read in full. Return False if it stays."""
        connection, other = scope.get("utcp_bridge.connection"), self._other(place)
        if connection is None or other is None:
            return False
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        lines = [b"%s %s%s HTTP/1.1" % (scope["method"].encode(), scope["raw_path"], query)]
        lines += [b"%s: %s" % header for header in scope["headers"] if header[0] not in _HOP]
        lines += [b"content-length: %d" % len(body), b"", body]
        return self.send(other, connection.transport, b"\r\n".join(lines))

    def _post(self, place: int, message: bytes, descriptors: list[int]) -> None:
        socket.send_fds(self._links.outboxes[place], [message], descriptors)

    # --- what is kept elsewhere ---

    async def fetch(self, part: str, owner: str, handle: str) -> bytes | None:
        """Return a kept result as its process has written it; None if it has none of this handle, or does not serve."""
        place = self._other(self.place.of(handle))
        if place is None:
            return None
        return await self._reply(place, _FETCH + orjson.dumps([part, owner, handle]), _FETCH_SECONDS)

    def others(self) -> list[int]:
        """Return the places of the other processes that serve."""
        return [one for one in range(self.place.count) if self._other(one) is not None]

    async def ask(self, place: int, question: bytes, seconds: float) -> bytes | None:
        """Return what `answer` of another process returns; None if it does not do so in time."""
        return await self._reply(place, _ASK + question, seconds)

    async def _reply(self, place: int, message: bytes, seconds: float) -> bytes | None:
        own, other = socket.socketpair()
        with suppress(OSError, ValueError, TimeoutError), own, other:
            own.setblocking(False)
            self._post(place, message, [other.fileno()])
            other.close()
            with anyio.fail_after(seconds):
                return await _read_all(own) or None
        return None

    async def _answer_to(self, question: bytes, asker: socket.socket) -> None:
        with asker, suppress(OSError):  # the asker may have gone
            found = b"" if self.answer is None else await self.answer(question)
            await asyncio.get_running_loop().sock_sendall(asker, found)

    async def _give(self, data: bytes, asker: socket.socket) -> None:
        part, owner, handle = orjson.loads(data)
        find = self.finders.get(part)
        found = None if find is None else find(owner, handle)
        loop = asyncio.get_running_loop()
        with asker, suppress(OSError, TimeoutError), anyio.fail_after(_FETCH_SECONDS):
            await loop.sock_sendall(asker, found or b"")

    # --- the inbox ---

    def open(self, connect: Callable[[], Any], count: Callable[[], int]) -> None:
        """Serve: `connect` makes the protocol of a connection, and `count` is how many are open."""
        self._connect, self._count = connect, count
        self._links.inbox.setblocking(False)
        asyncio.get_running_loop().add_reader(self._links.inbox, self._receive)
        self._board.publish(self.place.index, self.summary())
        self._board.set_state(self.place.index, State.SERVING)

    @asynccontextmanager
    async def working(self) -> AsyncGenerator[None]:
        """Publish the state of this process, and accept for lost ones, until the end of the context."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._tick)
            try:
                yield
            finally:
                group.cancel_scope.cancel()
                self.drain()
                asyncio.get_running_loop().remove_reader(self._links.inbox)
                for place in tuple(self._links.adopted):
                    self._release(place)

    def drain(self) -> None:
        """Hand nothing over any more, and let go what belongs to others: each accepts for itself until its end."""
        self._board.set_state(self.place.index, State.DRAINING)
        self._board.publish(self.place.index, self.summary())
        for listeners in self._links.listeners:
            if listeners is not self.listeners:
                for one in listeners:
                    one.close()

    def _receive(self) -> None:
        for _ in range(64):
            try:
                data, descriptors, _, _ = socket.recv_fds(self._links.inbox, _MAX_MESSAGE, _MAX_DESCRIPTORS)
            except OSError:  # nothing more
                return
            if not descriptors:
                continue
            first, *more = descriptors
            received = socket.socket(fileno=first)
            received.setblocking(False)
            if data[:1] == _FETCH:
                self._tasks.start(self._give(data[1:], received))
                continue
            if data[:1] == _ASK:
                self._tasks.start(self._answer_to(data[1:], received))
                continue
            rest = b"".join(_content(one) for one in more)
            self._tasks.start(self._take(received, data[1:] + rest))

    async def _take(self, received: socket.socket, data: bytes) -> None:
        """Serve a connection of another process. What it has read comes before everything else."""
        connect = self._connect
        if connect is None:
            received.close()
            return

        def made() -> Any:
            protocol = connect()
            protocol.connection_made = partial(_feed, protocol, protocol.connection_made, data)
            return protocol

        try:
            await asyncio.get_running_loop().connect_accepted_socket(made, received)
        except OSError:
            received.close()
        self._board.set_connections(self.place.index, self._count())

    async def _tick(self) -> None:
        """Publish what may change at any time, and look after the others."""
        index = self.place.index
        while True:
            self._board.set_connections(index, self._count())
            self._board.publish(index, self.summary())
            if self._connect is not None and self._board.state(index) == State.SERVING:
                for place in range(len(self._links.listeners)):
                    await self._look_after(place)
            await anyio.sleep(_TICK_SECONDS)

    async def _look_after(self, place: int) -> None:
        if place == self.place.index or self._connect is None:
            return
        state = self._board.state(place)
        if state == State.LOST and place not in self._links.adopted:
            loop = asyncio.get_running_loop()
            copies = [one.dup() for one in self._links.listeners[place]]
            self._links.adopted[place] = [await loop.create_server(self._connect, sock=one) for one in copies]
        elif state == State.SERVING:
            self._release(place)

    def _release(self, place: int) -> None:
        for server in self._links.adopted.pop(place, ()):
            server.close()

    # --- the whole ---

    def members(self) -> list[tuple[State, int, JsonObject]]:
        """Return the state, the connections and the summary of each process, by place."""
        board, places = self._board, range(self.place.count)
        return [(board.state(place), board.connections(place), board.summary(place)) for place in places]

    def whole(self, summary: JsonObject) -> JsonObject:
        """Return what `/readyz` reports of all processes, given what this one would report alone.

        They are ready if each that serves is ready, and none starts for the first time.
        """
        states = [self._board.state(place) for place in range(self.place.count)]
        summaries = [
            summary if place == self.place.index else self._board.summary(place) for place in range(self.place.count)
        ]
        ready = [bool(one.get("ready")) for one, state in zip(summaries, states, strict=True) if state == State.SERVING]
        whole = {**summary, "ready": bool(ready) and all(ready) and State.STARTING not in states and summary["ready"]}
        if any(one.get("draining") for one in summaries):
            whole |= {"ready": False, "draining": True}
        for log in {"audit", "access_log"} & summary.keys():
            whole[log] = {"lost": sum(one.get(log, {}).get("lost", 0) for one in summaries)}
        found = [one for one in (one.get("configuration") for one in summaries) if one]
        if found:
            whole["configuration"] = next((one for one in found if one["state"] != "current"), found[0])
        return {**whole, "workers": {"total": self.place.count, "ready": sum(ready), "lost": states.count(State.LOST)}}


def _feed(protocol: Any, usual: Callable[[Any], None], data: bytes, transport: Any) -> None:
    protocol.is_settled = True
    usual(transport)
    protocol.data_received(data)


def _content(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        return file.read()


async def _read_all(opened: socket.socket) -> bytes:
    loop, pieces = asyncio.get_running_loop(), list[bytes]()
    while piece := await loop.sock_recv(opened, _CHUNK):
        pieces.append(piece)
    return b"".join(pieces)
