"""The door of a running server for `utcp-bridge reload`, and how that command finds it.

A server writes a file with its number and its sources into the user's own folder of the bridge, and listens on a socket
that only this user can open. A file whose server was killed is removed when somebody finds it.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import sys
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.abc

from utcp_bridge.errors import ConfigError, DeadlineExceeded
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.processes.systems import own_folder
from utcp_bridge.urls import bare_url

if TYPE_CHECKING:
    from utcp_bridge.cli.live.following import Follower

__all__ = ["Door", "doors", "listening_door", "shown_sources"]

_logger = logging.getLogger(__name__)
_MAX_PATH: Final = 100
"""Bytes of the path of a socket: systems allow between 104 and 108."""
_MAX_LINE: Final = 1 << 20
_SECONDS: Final = 90.0
_HAS_SOCKETS: Final = hasattr(socket, "AF_UNIX") and sys.platform != "win32"


def _folder() -> Path:
    return own_folder() / "running"


def shown_sources(sources: Sequence[str]) -> list[str]:
    """Return sources as a file may have them: absolute paths, and URLs without what may be a secret."""
    return [bare_url(one) if "://" in one else os.path.realpath(one) for one in sources]


# --- the side of the server ----------------------------------------------------------------------


@asynccontextmanager
async def listening_door(follower: Follower, sources: Sequence[str], parent: int | None) -> AsyncGenerator[None]:
    """Serve `utcp-bridge reload` until the end of the context. Where that is impossible, the server goes on without.

    `parent` is the number of the process that users know, if this one is one of its workers.
    """
    if not _HAS_SOCKETS:
        yield
        return
    with ExitStack() as stack:
        try:
            listener = await _opened(stack, {"parent": parent, "sources": shown_sources(sources)})
        except OSError as error:
            _logger.debug("`utcp-bridge reload` will not find this server: %s.", error.strerror or error)
            yield
            return
        async with listener, anyio.create_task_group() as group:
            group.start_soon(partial(listener.serve, partial(_serve, follower)))
            yield
            group.cancel_scope.cancel()


async def _opened(stack: ExitStack, about: JsonObject) -> anyio.abc.Listener[anyio.abc.SocketStream]:
    """Return the listener of this process, and write its file. `stack` removes both.

    :raises OSError: a folder cannot be written, is full, or takes no sockets.
    """
    place, made = _place()
    if made is not None:
        import shutil  # few paths are too long

        stack.callback(shutil.rmtree, made, ignore_errors=True)
    stack.callback(_remove, Path(place))
    note = _folder() / f"{os.getpid()}.json"
    stack.callback(_remove, note)
    listener = await anyio.create_unix_listener(place, mode=0o600)
    try:
        _write(note, {"pid": os.getpid(), **about, "socket": place})
    except OSError:
        await listener.aclose()
        raise
    return listener


def _remove(path: Path) -> None:
    with suppress(OSError, ValueError):  # the second: it is not a path
        path.unlink()


def _place() -> tuple[str, str | None]:
    """Return the path of a new socket, and the folder that was made for it, if the usual path is too long.

    :raises OSError: the user has no folder, or it cannot be written.
    """
    folder = _folder()
    if not folder.is_absolute():  # `~` of a user without a home folder
        raise FileNotFoundError(errno.ENOENT, "This user has no home folder")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    place, made = str(folder / f"{os.getpid()}.sock"), None
    if len(os.fsencode(place)) > _MAX_PATH:
        import tempfile

        made = tempfile.mkdtemp(prefix="utcp-")
        place = f"{made}/reload.sock"
    with suppress(FileNotFoundError):  # of an earlier process with this number
        Path(place).unlink()
    return place, made


def _write(path: Path, document: JsonObject) -> None:
    with suppress(FileNotFoundError):
        path.unlink()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(document, file)


async def _serve(follower: Follower, stream: anyio.abc.SocketStream) -> None:
    """Serve one command: a line with its name, and a line with what became of it."""
    async with stream:
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            if (await stream.receive(64)).strip() == b"reload":
                await stream.send(json.dumps(await follower.reloaded()).encode() + b"\n")


# --- the side of the command ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Door:
    """A process that serves, as its file says it."""

    pid: int
    server: int
    """The number of the process that users know: its own, or that of its parent."""
    sources: tuple[str, ...]
    socket: str
    note: Path

    def runs(self) -> bool:
        """Return whether the process takes commands. What one that was killed has left is removed."""
        with socket.socket(socket.AF_UNIX) as opened:
            opened.settimeout(_SECONDS)
            try:
                opened.connect(self.socket)
            except (FileNotFoundError, ConnectionRefusedError):
                _remove(self.note)
                _remove(Path(self.socket))
                return False
            except OSError:
                return False
        return True

    def reload(self) -> JsonObject | None:
        """Let the process read its configuration again, and return what it says; None if it has ended.

        :raises UtcpError: it does not answer.
        """
        with socket.socket(socket.AF_UNIX) as opened:
            opened.settimeout(_SECONDS)
            try:
                opened.connect(self.socket)
                opened.sendall(b"reload\n")
                answer: Any = json.loads(_line(opened))
            except TimeoutError:
                raise DeadlineExceeded(f"The bridge of process {self.pid} did not answer in time.") from None
            except (OSError, ValueError):
                return None
        return answer if is_object(answer) else None


def _line(opened: socket.socket) -> bytes:
    found = b""
    while not found.endswith(b"\n") and len(found) < _MAX_LINE:
        piece = opened.recv(65_536)
        if not piece:
            break
        found += piece
    return found


def doors() -> Iterator[Door]:
    """Yield the processes of this user that serve, or did before they were killed.

    :raises ConfigError: this system does not have sockets with a path.
    """
    if not _HAS_SOCKETS:
        raise ConfigError(
            "`reload` does not work on this system.",
            remedy="The bridge follows its files by itself; or start it again.",
        )
    for path in sorted(_folder().glob("*.json")):
        with suppress(OSError, ValueError, KeyError, TypeError):
            told: Any = json.loads(path.read_text(encoding="utf-8"))
            sources: list[Any] = told["sources"]
            pid = int(told["pid"])
            yield Door(pid, int(told["parent"] or pid), tuple(map(str, sources)), str(told["socket"]), path)
