"""A store of files: one folder, one file for each key. Only the owner can read them."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import orjson

from utcp_bridge.errors import ConfigError
from utcp_bridge.foreign import write_json
from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.net.files.writing import try_lock, write_file
from utcp_bridge.stores.port import MAX_LOCK_SECONDS, Store

__all__ = ["FileStore", "file_lock"]

_MAX_BYTES: Final = 1024 * 1024
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_BETWEEN_TRIES: Final = 0.02
"""Seconds."""


class FileStore(Store):
    """`{"key": …, "value": …}` in files whose names are hashes of the keys. A crash leaves a file whole."""

    def __init__(self, folder: Path, *, holds: str = "tokens", anew: str = "log in again") -> None:
        """`holds` is what the files have, for messages, and `anew` what to do when a damaged one was removed."""
        self._folder = folder
        self._holds = holds
        self._anew = anew
        self.place = str(folder)

    async def get(self, key: str) -> JsonObject | None:
        """Return the object of a key; None if the key is unknown.

        :raises ConfigError: its file cannot be read, or others can read it too.
        """
        entry = await anyio.to_thread.run_sync(self._read, self._path(key))
        return entry["value"] if entry is not None and entry["key"] == key else None

    async def put(self, key: str, value: JsonObject) -> None:
        """Replace the file of a key in one step.

        :raises ConfigError: it cannot be written, or is a link that leads out of the folder.
        """
        data = write_json({"key": key, "value": value}, orjson.OPT_INDENT_2)
        await anyio.to_thread.run_sync(_write, self._path(key), data)

    async def delete(self, key: str) -> bool:
        """Remove the file of a key; False if the key has none."""
        return await anyio.to_thread.run_sync(_remove, self._path(key))

    async def keys(self) -> list[str]:
        """Return every key, sorted.

        :raises ConfigError: a file cannot be read.
        """
        return await anyio.to_thread.run_sync(self._keys)

    @asynccontextmanager
    async def lock(self, key: str) -> AsyncGenerator[None]:
        """Hold the lock file of a key, which stays when the lock is released."""
        async with file_lock(self._path(key).with_suffix(".lock")):
            yield

    def _keys(self) -> list[str]:
        found: list[str] = []
        for path in self._folder.glob("*.json"):
            with suppress(FileNotFoundError):
                if (entry := self._read(path)) is not None:
                    found.append(entry["key"])
        return sorted(found)

    def _read(self, path: Path) -> dict[str, Any] | None:
        remedy = f"Remove it, and {self._anew}."
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                if sys.platform != "win32" and status.st_mode & _OTHERS:
                    what = f"Others may read {path}, which holds {self._holds}."
                    raise ConfigError(what, remedy=f"Run `chmod 600 {path}`.")
                data = file.read(_MAX_BYTES + 1)
            if len(data) > _MAX_BYTES:
                raise ConfigError(f"{path} has more than {_MAX_BYTES:,} bytes.", remedy=remedy)
            entry: Any = orjson.loads(data)
        except FileNotFoundError:
            return None
        except (OSError, orjson.JSONDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not JSON"
            raise ConfigError(f"{path} cannot be read: {reason}.", remedy=remedy) from None
        if not is_object(entry) or not isinstance(entry.get("key"), str) or not is_object(entry.get("value")):
            raise ConfigError(f"{path} is not a file of this store.", remedy=remedy)
        return entry

    def _path(self, key: str) -> Path:
        return self._folder / f"{sha256(key.encode()).hexdigest()[:32]}.json"


@asynccontextmanager
async def file_lock(path: Path) -> AsyncGenerator[None]:
    """Let one task at a time among all processes of this machine in.

    The system releases the lock of a process that ends.

    :raises ConfigError: the file cannot be opened, or the lock is not released in time.
    """
    descriptor = await anyio.to_thread.run_sync(_open_lock, path)
    try:
        with anyio.move_on_after(MAX_LOCK_SECONDS) as scope:
            while not try_lock(descriptor):  # noqa: ASYNC110 - another process holds it
                await anyio.sleep(_BETWEEN_TRIES)
        if scope.cancelled_caught:
            message = f"Another program has held the lock {path} for {MAX_LOCK_SECONDS:g} seconds."
            raise ConfigError(message, remedy="End it, and try again.")
        yield
    finally:
        os.close(descriptor)  # releases the lock too


def _open_lock(path: Path) -> int:
    try:
        _make_folder(path.parent)
        return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    except OSError as error:
        raise ConfigError(f"The lock {path} cannot be opened: {error.strerror}.") from None


def _make_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _write(path: Path, data: bytes) -> None:
    try:
        _make_folder(path.parent)
    except OSError as error:
        raise ConfigError(f"The folder {path.parent} cannot be made: {error.strerror}.") from None
    write_file(path, data, private=True, within=path.parent)


def _remove(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ConfigError(f"{path} cannot be removed: {error.strerror}.") from None
    return True
