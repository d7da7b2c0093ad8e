"""`serve --workers N`: the parent of N processes behind one address, and what each of them learns from it.

The parent opens the address, starts the processes and starts again those that end. It serves nothing itself. All of
them write to its stderr. Secrets go through a socket, and not through arguments or the environment.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import anyio

import utcp_bridge
from utcp_bridge.cli.log_files import reopen_files
from utcp_bridge.cli.logs import configure_logging, log_file, unblocked_stderr
from utcp_bridge.cli.opening import env_file_lines
from utcp_bridge.cli.options import Options
from utcp_bridge.cli.output import complain, note
from utcp_bridge.errors import ConfigError
from utcp_bridge.model import JsonObject, counted, first_few
from utcp_bridge.net.backoff import Backoff
from utcp_bridge.net.listening import for_url, listen_shared
from utcp_bridge.processes.child import Child, Launch
from utcp_bridge.processes.children import ChildrenHold, start_child
from utcp_bridge.server.replicas.board import Board, State
from utcp_bridge.server.replicas.place import ProcessPlace

if TYPE_CHECKING:
    from utcp_bridge.configuration.loading import LoadedConfig
    from utcp_bridge.processes.ending import Ending
    from utcp_bridge.server.replicas.replica import Replica
    from utcp_bridge.settings import BridgeSettings

__all__ = ["meet_parent", "supervise"]

Announce: TypeAlias = "Callable[[BridgeSettings, str, str], None]"
_logger = logging.getLogger(__name__)
_HELLO: Final = "UTCP_PARENT_SOCKET"
_STDERR: Final = "UTCP_PARENT_STDERR"
"""Variables with the descriptors of the socket to the parent and of the parent's stderr."""
_PROGRAM: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); import utcp_bridge; del sys.path[0]; "
    "from utcp_bridge.cli.command import main; sys.argv = ['utcp-bridge', 'serve', '--replica']; main()"
)
_LOOK_SECONDS: Final = 0.05
_MORE_SECONDS: Final = 5.0
"""How much longer than its drain the end of a process may take."""
_STEADY_SECONDS: Final = 30.0
"""A process that served for so long is started again at once."""
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 30.0
_BATCH: Final = 16
"""Descriptors in one message."""
_MAX_HELLO: Final = 1 << 20


async def supervise(options: Options, loaded: LoadedConfig, ending: Ending, announce: Announce) -> int:
    """Run the processes until a signal asks for the end, and return the exit code.

    `announce` prints settings, URL and a few words once they are ready. The exit code is 0, or that of a process that
    could not start at all.

    :raises ConfigError: several processes cannot serve this configuration, or the address cannot be opened.
    """
    settings = loaded.config.bridge
    _refuse(options, settings)
    from utcp_bridge.auth.redaction import Redactor

    with ExitStack() as stack:
        stderr = os.dup(2)  # `unblocked_stderr` puts a pipe of this process in its place
        stack.callback(os.close, stderr)
        configure_logging(settings.log_level, settings.log_format, Redactor())
        stack.enter_context(log_file(settings.log_file, loaded.root))
        stack.enter_context(unblocked_stderr(serving=True))
        for fault in first_few(loaded.faults, "more faults in the configuration. `utcp-bridge check` lists them."):
            complain(str(fault))
        for line in env_file_lines(loaded):
            note(line)
        shared = stack.enter_context(_SharedByAll.opened(settings))
        family = _Family(_given(options, settings, shared.port), settings, shared, stderr)
        ending.survives_hangup = True
        stack.enter_context(ending.at_hangup(family.pass_on_hangup))
        return await family.run(ending, announce)


def _refuse(options: Options, settings: BridgeSettings) -> None:
    """Check whether several processes can serve.

    :raises ConfigError: they cannot.
    """
    if settings.transport != "http":
        raise ConfigError(
            f"`workers: {settings.workers}` is for HTTP: stdio has one client.", remedy="Add --http, or remove it."
        )
    if options.quickstart:
        raise ConfigError(
            "The sample tools of --quickstart are part of one process.", remedy="Remove --workers, or --quickstart."
        )
    if sys.platform == "win32" or not hasattr(socket, "send_fds"):
        raise ConfigError(
            f"`workers: {settings.workers}` does not work on this system: its processes cannot hand connections over.",
            remedy="Set `workers` to 1, and put several bridges with the same `state_key` behind a balancer.",
        )
    if settings.tls_certificate is not None:
        raise ConfigError(
            f"`workers: {settings.workers}` and `tls.certificate` cannot both be set: an encrypted connection cannot go"
            " to another process.",
            remedy="Set `workers` to 1, or let a proxy in front of the bridge do the encryption.",
        )
    if find_spec("httptools") is None:
        raise ConfigError(
            f"`workers: {settings.workers}` needs the library httptools.", remedy="Install it: pip install httptools"
        )
    if not sys.executable or getattr(sys, "frozen", False):
        raise ConfigError(
            f"`workers: {settings.workers}` needs Python as a program of its own.", remedy="Set `workers` to 1."
        )


def _given(options: Options, settings: BridgeSettings, port: int) -> JsonObject:
    """Return what each process gets: the same sources, and settings that all must share."""
    from utcp_bridge.settings import GeneratedToken

    shared: JsonObject = {"transport": "http", "port": port, "workers": 1}
    if isinstance(settings.bearer_token, GeneratedToken):
        shared["bearer_token"] = settings.bearer_token.get_secret_value()
    if settings.state_key is None:
        shared["state_key"] = secrets.token_urlsafe(32)
    return {"sources": options.found(), "settings": {**options.settings, **shared}, "parent": os.getpid()}


@dataclass(frozen=True, slots=True)
class _SharedByAll:
    """What the processes share, which outlives each of them."""

    count: int
    board: Board
    memory: int
    listeners: list[list[socket.socket]]
    inboxes: list[tuple[socket.socket, socket.socket]]

    @classmethod
    @contextmanager
    def opened(cls, settings: BridgeSettings) -> Generator[_SharedByAll]:
        with ExitStack() as stack:
            count = settings.workers
            listeners = listen_shared(settings.host, settings.port, count)
            for one in (one for group in listeners for one in group):
                stack.callback(one.close)
            kind = socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_DGRAM
            inboxes = [socket.socketpair(socket.AF_UNIX, kind) for _ in range(count)]
            for one in (one for pair in inboxes for one in pair):
                stack.callback(one.close)
            for _, outbox in inboxes:
                outbox.setblocking(False)
            memory = Board.memory(count)
            stack.callback(os.close, memory)
            board = Board(memory, count)
            stack.callback(board.close)
            yield cls(count, board, memory, listeners, inboxes)

    @property
    def port(self) -> int:
        """The port of the address."""
        port: int = self.listeners[0][0].getsockname()[1]
        return port

    def close_listeners(self) -> None:
        """Leave the address to the processes, which close it one by one."""
        for group in self.listeners:
            for one in group:
                one.close()

    def descriptors(self, index: int) -> list[int]:
        """Return what a process gets, in the order in which `meet_parent` reads it."""
        sockets = [self.inboxes[index][0], *(outbox for _, outbox in self.inboxes)]
        sockets += [one for group in self.listeners for one in group]
        return [self.memory, *(one.fileno() for one in sockets)]


@dataclass(slots=True)
class _Family:
    """The processes."""

    given: JsonObject = field(repr=False)
    settings: BridgeSettings
    shared: _SharedByAll
    stderr: int
    _children: dict[int, Child] = field(default_factory=dict[int, Child])
    _ends: anyio.Event = field(default_factory=anyio.Event)
    _failed: int = 0

    async def run(self, ending: Ending, announce: Announce) -> int:
        hold = ChildrenHold()
        try:
            with ending.stops(lambda: self._end(ending)):
                async with anyio.create_task_group() as group:
                    group.start_soon(self._start_all, announce, group)
                    await self._ends.wait()
                    self.shared.close_listeners()
                    patience = self.settings.drain_seconds + _MORE_SECONDS
                    with anyio.move_on_after(patience):
                        while self._children:  # noqa: ASYNC110 - signals change it
                            await anyio.sleep(_LOOK_SECONDS)
                    for child in self._children.values():
                        _logger.warning("Worker process %d did not end in time. It is ended now.", child.pid)
                        child.end()
                    group.cancel_scope.cancel()
        finally:
            ending.begin()
            with anyio.CancelScope(shield=True):
                await hold.release()
        return self._failed

    def pass_on_hangup(self) -> None:
        """Let each process open its files again and read the configuration again."""
        reopen_files()
        for index, child in self._children.items():
            if self.shared.board.state(index) == State.SERVING:
                _send(child, signal.SIGHUP)

    def _end(self, ending: Ending) -> None:
        """Pass a signal on that asks for the end. A second one hurries the processes."""
        number = signal.SIGINT if ending.asked_by == signal.SIGINT else signal.SIGTERM
        self._ends.set()
        for child in self._children.values():
            _send(child, number)

    async def _start_all(self, announce: Announce, group: anyio.abc.TaskGroup) -> None:
        """Start the first process, whose faults are those of all, then the others, and announce them."""
        board, count = self.shared.board, self.shared.count
        for index in range(count):
            group.start_soon(self._keep, index)
            while index == 0 and board.state(0) == State.STARTING:  # noqa: ASYNC110 - memory of other processes
                await anyio.sleep(_LOOK_SECONDS)
        with anyio.move_on_after(self.settings.startup_wait):
            while not all(_serves(board, index) for index in range(count)):  # noqa: ASYNC110
                await anyio.sleep(_LOOK_SECONDS)
        summary = board.summary(0)
        manuals = summary.get("manuals", {})
        parts = [counted(summary.get("tools", 0), "tool")]
        parts += [
            f"{manuals[status]} of {manuals['total']} manuals {status}"
            for status in ("failed", "loading")
            if manuals.get(status)
        ]
        pids = ", ".join(str(child.pid) for _, child in sorted(self._children.items()))
        parts.append(f"{count} workers: processes {pids} of {os.getpid()}")
        url = f"http://{for_url(self.settings.host)}:{self.shared.port}{self.settings.path}"
        announce(self.settings, url, "; ".join(parts))

    async def _keep(self, index: int) -> None:
        """Run one process, and start it again when it ends by itself."""
        board, backoff = self.shared.board, Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
        while not self._ends.is_set():
            began = anyio.current_time()
            code = await self._run_once(index)
            if self._ends.is_set():
                return
            state = board.state(index)
            if state == State.STARTING:  # it has never served
                self._failed = code if code > 0 else 1
                self._ends.set()
                for child in self._children.values():
                    _send(child, signal.SIGTERM)
                return
            board.set_state(index, State.LOST)
            now = anyio.current_time()
            if now - began >= _STEADY_SECONDS:
                backoff.succeeded()
            backoff.failed(now)
            pause = backoff.pause(now)
            how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
            when = f"in {pause:.0f} seconds" if pause else "at once"
            _logger.warning("Worker %d ended %s. It is started again %s.", index, how, when)
            with anyio.move_on_after(pause):
                await self._ends.wait()

    async def _run_once(self, index: int) -> int:
        own, other = socket.socketpair()
        own.setblocking(False)
        with own, other:
            environment = dict(os.environ)  # noqa: TID251 - the process is this program once more
            folder = str(Path(utcp_bridge.__file__).parent.parent)
            argv = [sys.executable, "-P", "-c", _PROGRAM, folder]
            descriptors = {_HELLO: other.fileno(), _STDERR: self.stderr}
            launch = Launch(argv, environment, Path.cwd(), has_stdin=False, has_stderr=False, descriptors=descriptors)
            try:
                child = await start_child(launch)
            except OSError as error:
                complain(f"Worker {index} cannot be started: {error.strerror}.")
                return 1
            other.close()
            self._children[index] = child
            try:
                if self._ends.is_set():
                    _send(child, signal.SIGTERM)
                with suppress(OSError):  # it ended already
                    await anyio.to_thread.run_sync(self._greet, index, own)
                return await child.wait()
            finally:
                del self._children[index]
                child.end()
                await child.aclose()

    def _greet(self, index: int, own: socket.socket) -> None:
        """Send a process what it needs."""
        own.settimeout(_MORE_SECONDS)
        descriptors = self.shared.descriptors(index)
        hello = {**self.given, "place": [index, self.shared.count], "descriptors": len(descriptors)}
        hello["groups"] = [len(group) for group in self.shared.listeners]
        data = json.dumps(hello).encode()
        own.sendall(len(data).to_bytes(4, "big") + data)
        for start in range(0, len(descriptors), _BATCH):
            socket.send_fds(own, [b"."], descriptors[start : start + _BATCH])


def _serves(board: Board, index: int) -> bool:
    """Return whether a process accepts connections, and its manuals have loaded."""
    return board.state(index) == State.SERVING and bool(board.summary(index).get("ready"))


def _send(child: Child, number: int) -> None:
    if child.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(child.pid, number)


# --- the other side ------------------------------------------------------------------------------


def meet_parent() -> tuple[Options, Replica]:
    """Return what this process serves, and its place among the others.

    :raises ConfigError: this process was not started by a parent.
    """
    from utcp_bridge.server.replicas.replica import Links, Replica

    environ = os.environ  # noqa: TID251 - numbers that the parent gives
    try:
        hello, stderr = int(environ.pop(_HELLO)), int(environ.pop(_STDERR))
    except (KeyError, ValueError):
        raise ConfigError("--replica is for processes that `serve --workers` starts.", remedy="Remove it.") from None
    os.dup2(stderr, 2)
    os.close(stderr)
    with socket.socket(fileno=hello) as parent:
        told, descriptors = _heard(parent)
    index, count = told["place"]
    memory, inbox, *others = descriptors
    board = Board(memory, count)
    os.close(memory)
    opened = [socket.socket(fileno=one) for one in others]
    for one in opened:
        one.setblocking(False)
    outboxes, listeners = opened[:count], _grouped(opened[count:], told["groups"])
    links = Links(board, socket.socket(fileno=inbox), outboxes, listeners)
    options = Options(tuple(told["sources"]), settings=told["settings"], parent=told["parent"])
    return options, Replica(ProcessPlace(index, count), links)


def _heard(parent: socket.socket) -> tuple[JsonObject, Sequence[int]]:
    def exactly(size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = parent.recv(size - len(data))
            if not piece:
                raise SystemExit(1)  # the parent has ended
            data += piece
        return data

    told: Any = json.loads(exactly(min(int.from_bytes(exactly(4), "big"), _MAX_HELLO)))
    found: list[int] = []
    while len(found) < told["descriptors"]:
        data, descriptors, _, _ = socket.recv_fds(parent, 1, _BATCH)
        if not data:
            raise SystemExit(1)
        found += descriptors
    return told, found


def _grouped(sockets: Sequence[socket.socket], sizes: Sequence[int]) -> list[Sequence[socket.socket]]:
    found: list[Sequence[socket.socket]] = []
    start = 0
    for size in sizes:
        found.append(sockets[start : start + size])
        start += size
    return found
