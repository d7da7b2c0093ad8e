"""Which local files have changed: one look a second at each, by a background task that starts with the first."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import anyio.to_thread

__all__ = ["FileWatcher"]

Stamp: TypeAlias = tuple[int, int, int]
Spawn: TypeAlias = Callable[[Callable[[], Coroutine[Any, Any, None]]], Callable[[], None]]

_INTERVAL = 1.0


@dataclass(slots=True)
class _Watched:
    path: Path
    stamp: Stamp | None


class FileWatcher:
    """Calls `changed(name)` whenever the file that `name` stands for was written or replaced.

    A file that is away for a moment, as many editors have it, counts once it is back. Looking is left to a worker
    thread: a network folder may hang.
    """

    def __init__(self, changed: Callable[[str], object], spawn: Spawn, *, interval: float = _INTERVAL) -> None:
        self._changed = changed
        self._spawn = spawn
        self._interval = interval
        self._watched: dict[str, _Watched] = {}
        self._stop: Callable[[], None] | None = None

    def watch(self, name: str, path: Path) -> None:
        """Watch `path` in the name of `name` from now on, in place of what it stood for before."""
        self._watched[name] = _Watched(path, _stamp(path))
        if self._stop is None:
            self._stop = self._spawn(self._look)

    def forget(self, name: str) -> None:
        """Watch no longer for `name`; the last one ends the task."""
        self._watched.pop(name, None)
        if not self._watched and self._stop is not None:
            self._stop()
            self._stop = None

    def close(self) -> None:
        """Forget all."""
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
