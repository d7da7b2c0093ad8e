"""A store in the memory of this process."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio

from utcp_bridge.model import JsonObject
from utcp_bridge.stores.port import Store

__all__ = ["MemoryStore"]


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
