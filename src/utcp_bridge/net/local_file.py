"""Read a local file within limits (no device, no pipe, not outside the root), and watch files for changes."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import anyio.to_thread

from utcp_bridge.errors import ConfigError, PolicyError, ReplyTooLarge, Unreachable

__all__ = ["FileWatcher", "read_local_file", "resolve_within"]

Stamp: TypeAlias = tuple[int, int, int]
Spawn: TypeAlias = Callable[[Callable[[], Coroutine[Any, Any, None]]], Callable[[], None]]

_INTERVAL = 1.0


def resolve_within(path: str, root: Path, *, confined: bool) -> Path:
    """Return the absolute path of `path`, which starts at `root`, with symbolic links resolved.

    `confined` (a fetched manual names the file) refuses paths that end outside the root, also absolute ones and links.

    :raises PolicyError: the path leads out of the root.
    :raises ConfigError: it is not a path.
    """
    if not path or "\0" in path:
        raise ConfigError("`file_path` is empty or contains a NUL character.", remedy="Write the path of a file.")
    base = root.resolve()
    try:
        resolved = (base / (path if confined else os.path.expanduser(path))).resolve()  # noqa: PTH111 - Path raises for unknown users
    except (OSError, RuntimeError) as error:
        raise _loop(path) from error
    if os.path.islink(resolved):  # noqa: PTH114 - Path raises for names too long; Python 3.13 leaves loops unresolved
        raise _loop(path)
    if confined and not resolved.is_relative_to(base):
        raise PolicyError(
            f"The path {path!r} leads out of the folder of the configuration.",
            remedy="A fetched manual can read only files in this folder.",
        )
    return resolved


def _loop(path: str) -> ConfigError:
    return ConfigError(f"The path {path!r} cannot be resolved.", remedy="Look for a loop of symbolic links.")


async def read_local_file(path: str, root: Path, *, limit: int, confined: bool) -> tuple[Path, bytes]:
    """Return the file's resolved path and its bytes, read in a worker thread.

    :raises ConfigError: it is not a path, or not a regular file.
    :raises PolicyError: the path leads out of the root.
    :raises Unreachable: the file does not exist or must not be read.
    :raises ReplyTooLarge: it has more than `limit` bytes.
    """
    return await anyio.to_thread.run_sync(_read, path, root, limit, confined, abandon_on_cancel=True)


def _read(path: str, root: Path, limit: int, confined: bool) -> tuple[Path, bytes]:
    resolved = resolve_within(path, root, confined=confined)
    try:
        # O_NONBLOCK: opening a pipe without a writer would block for ever. O_NOFOLLOW: a link that replaced
        # the file after it was resolved is refused.
        descriptor = os.open(resolved, os.O_RDONLY | _flag("O_NONBLOCK") | _flag("O_NOFOLLOW") | _flag("O_BINARY"))
        try:
            return resolved, _read_open(descriptor, path, limit)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _translated(error, path) from error


def _read_open(descriptor: int, path: str, limit: int) -> bytes:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"{path!r} is not a regular file.", remedy="Name a file, not a folder, pipe or device.")
    if status.st_size > limit:
        raise _too_large(path, limit)
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        data = file.read(limit + 1)  # a file that grows, or one of /proc without a size, is cut here
    if len(data) > limit:
        raise _too_large(path, limit)
    return data


def _flag(name: str) -> int:
    return int(getattr(os, name, 0))


def _too_large(path: str, limit: int) -> ReplyTooLarge:
    return ReplyTooLarge(f"The file {path!r} has more than {limit} bytes.", remedy="Raise the size limit.")


def _translated(error: OSError, path: str) -> Unreachable | ConfigError:
    if error.errno in {errno.EISDIR, errno.ENXIO}:
        return ConfigError(f"{path!r} is not a regular file.", remedy="Name a file, not a folder, pipe or device.")
    reason = error.strerror or "it cannot be read"
    return Unreachable(f"The file {path!r} cannot be read: {reason}.", remedy="Check the path and its permissions.")


@dataclass(slots=True)
class _Watched:
    path: Path
    stamp: Stamp | None


class FileWatcher:
    """Calls `changed(name)` when the file of `name` was written or replaced. It checks the files once a second.

    If a file disappears for a moment, as with many editors, the change counts when the file is back. A worker thread
    checks the files, because a network folder may hang.
    """

    def __init__(self, changed: Callable[[str], object], spawn: Spawn, *, interval: float = _INTERVAL) -> None:
        self._changed = changed
        self._spawn = spawn
        self._interval = interval
        self._watched: dict[str, _Watched] = {}
        self._stop: Callable[[], None] | None = None

    def watch(self, name: str, path: Path) -> None:
        """Watch `path` as the file of `name`, instead of the file before."""
        self._watched[name] = _Watched(path, _stamp(path))
        if self._stop is None:
            self._stop = self._spawn(self._look)

    def forget(self, name: str) -> None:
        """Stop watching the file of `name`. Without files, the background task ends."""
        self._watched.pop(name, None)
        if not self._watched and self._stop is not None:
            self._stop()
            self._stop = None

    def close(self) -> None:
        """Stop watching all files."""
        for name in list(self._watched):
            self.forget(name)

    async def _look(self) -> None:
        while True:
            await anyio.sleep(self._interval)
            paths = {name: watched.path for name, watched in self._watched.items()}
            stamps = await anyio.to_thread.run_sync(_stamps, paths, abandon_on_cancel=True)
            for name, stamp in stamps.items():
                watched = self._watched.get(name)
                if watched is not None and stamp is not None and stamp != watched.stamp:
                    watched.stamp = stamp
                    self._changed(name)


def _stamps(paths: dict[str, Path]) -> dict[str, Stamp | None]:
    return {name: _stamp(path) for name, path in paths.items()}


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
