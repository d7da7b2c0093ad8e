"""A store in the keyring of the operating system: macOS Keychain, Windows Credential Locker, Secret Service.

The extra `keyring` brings the library. It has no list of names, so an entry of its own holds the keys. Windows limits
an entry to 1,280 characters, so an object is kept in pieces. The keyring has no locks: lock files do that.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio.to_thread
import orjson

from utcp_bridge.errors import ConfigError, MissingExtra
from utcp_bridge.foreign import write_json
from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.stores.file import file_lock
from utcp_bridge.stores.port import Store

__all__ = ["KeyringStore"]

T = TypeVar("T")
_SERVICE: Final = "utcp-bridge"
_INDEX: Final = "keys"
_PIECE: Final = 1_000
"""Characters of one entry."""


class KeyringStore(Store):
    """Objects in the keyring of the user. `locks` is the folder of the lock files."""

    place = "the system's keyring"

    def __init__(self, locks: Path) -> None:
        try:
            self._keyring: Any = import_module("keyring")
            self._faults: Any = import_module("keyring.errors")
        except ImportError:
            raise ConfigError(
                "`token_store` is `keyring`, and its package is not installed.",
                remedy=f"Install it with: {MissingExtra.install_line('keyring')}",
            ) from None
        self._locks = locks

    async def get(self, key: str) -> JsonObject | None:
        """Return the object of a key; None if the key is unknown.

        :raises ConfigError: the keyring is locked, or the system has none.
        """
        found = await self._run(lambda: self._read(_name(key)))
        return found if is_object(found) else None

    async def put(self, key: str, value: JsonObject) -> None:
        """Keep an object.

        :raises ConfigError: the keyring is locked, or the system has none.
        """
        async with file_lock(self._locks / "keyring.lock"):
            await self._run(lambda: self._write(_name(key), value))
            await self._run(lambda: self._write(_INDEX, sorted({*self._index(), key})))

    async def delete(self, key: str) -> bool:
        """Forget the object of a key; False if the key is unknown."""
        async with file_lock(self._locks / "keyring.lock"):
            await self._run(lambda: self._write(_INDEX, [one for one in self._index() if one != key]))
            return await self._run(lambda: self._remove(_name(key), 0))

    async def keys(self) -> list[str]:
        """Return every key, sorted."""
        return await self._run(self._index)

    @asynccontextmanager
    async def lock(self, key: str) -> AsyncGenerator[None]:
        """Hold a lock file."""
        async with file_lock(self._locks / f"{_name(key)}.lock"):
            yield

    def _index(self) -> list[str]:
        found = self._read(_INDEX)
        return [one for one in found if isinstance(one, str)] if is_list(found) else []

    def _read(self, name: str) -> Any:
        text, number = "", 0
        while (piece := self._keyring.get_password(_SERVICE, f"{name} {number}")) is not None:
            text, number = text + piece, number + 1
        try:
            return orjson.loads(text) if text else None
        except orjson.JSONDecodeError:
            return None

    def _write(self, name: str, value: Any) -> None:
        text = write_json(value).decode()
        pieces = [text[start : start + _PIECE] for start in range(0, len(text), _PIECE)]
        for number, piece in enumerate(pieces):
            self._keyring.set_password(_SERVICE, f"{name} {number}", piece)
        self._remove(name, len(pieces))

    def _remove(self, name: str, first: int) -> bool:
        """Remove the pieces from a number on; False if the key has none."""
        number = first
        while self._keyring.get_password(_SERVICE, f"{name} {number}") is not None:
            self._keyring.delete_password(_SERVICE, f"{name} {number}")
            number += 1
        return number > first

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await anyio.to_thread.run_sync(work)
        except self._faults.KeyringError as error:
            raise ConfigError(
                f"The system's keyring cannot be used ({type(error).__name__}).",
                remedy="Unlock it, or set `token_store` to `file`.",
            ) from None


def _name(key: str) -> str:
    return sha256(key.encode()).hexdigest()[:32]
