"""The port of all stores: JSON objects by keys, and one lock for each key. The store in memory shows what it asks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

import anyio

from utcp_bridge.model import JsonObject

__all__ = ["MAX_LOCK_SECONDS", "MemoryStore", "Store", "StoreAway", "StoreRefuses"]

MAX_LOCK_SECONDS: Final = 60.0
"""For one owner of a lock, and for those who wait for it."""


class StoreAway(Exception):
    """The store that bridges share does not answer now. The message has no secrets."""


class StoreRefuses(StoreAway):
    """The store answers, but not as bridges need it. `remedy` says what a person has to change."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy: Final = remedy


class Store(ABC):
    """JSON objects by keys of any text. The values may be secrets, so no repr and no error shows them."""

    place: str
    """Where the objects are, for messages."""

    @abstractmethod
    async def get(self, key: str) -> JsonObject | None:
        """Return the object of a key; None if the key is unknown.

        :raises ConfigError: the store cannot be read.
        """

    @abstractmethod
    async def put(self, key: str, value: JsonObject) -> None:
        """Keep an object whole or not at all.

        :raises ConfigError: the store cannot be written.
        """

    @abstractmethod
    async def delete(self, key: str) -> bool:
        """Forget the object of a key; False if the key is unknown.

        :raises ConfigError: the store cannot be written.
        """

    @abstractmethod
    async def keys(self) -> list[str]:
        """Return every key, sorted.

        :raises ConfigError: the store cannot be read.
        """

    @abstractmethod
    def lock(self, key: str) -> AbstractAsyncContextManager[None]:
        """Let one task at a time work on a key, also among all processes that share the store.

        :raises ConfigError: another owner does not release it within `MAX_LOCK_SECONDS`.
        """

    async def aclose(self) -> None:  # noqa: B027 - most stores hold no connection
        """Close the connections of the store."""


class MemoryStore(Store):
    """Objects that end with the process."""

    place = "memory"

    def __init__(self) -> None:
        self._values: dict[str, JsonObject] = {}
        self._locks: defaultdict[str, anyio.Lock] = defaultdict(anyio.Lock)

    async def get(self, key: str) -> JsonObject | None:
        """Return a copy of the object."""
        found = self._values.get(key)
        return None if found is None else dict(found)

    async def put(self, key: str, value: JsonObject) -> None:
        """Keep a copy of the object."""
        self._values[key] = dict(value)

    async def delete(self, key: str) -> bool:
        """Forget the object."""
        return self._values.pop(key, None) is not None

    async def keys(self) -> list[str]:
        """Return every key, sorted."""
        return sorted(self._values)

    @asynccontextmanager
    async def lock(self, key: str) -> AsyncGenerator[None]:
        """Let one task at a time work on a key."""
        async with self._locks[key]:
            yield
