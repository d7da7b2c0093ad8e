"""The port of all stores: JSON objects by keys, and one lock for each key."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from typing import Final

from utcp_bridge.model import JsonObject

__all__ = ["MAX_LOCK_SECONDS", "Store"]

MAX_LOCK_SECONDS: Final = 60.0
"""For one owner of a lock, and for those who wait for it."""


class Store(ABC):
    """JSON objects by keys of any text. The values may be secrets, so no repr and no error shows them."""

    place: str
    """Where the objects are, for messages."""

    @abstractmethod
    async def get(self, key: str) -> JsonObject | None:
        """Return the object of a key; None if there is none.

        :raises ConfigError: the store cannot be read.
        """

    @abstractmethod
    async def put(self, key: str, value: JsonObject) -> None:
        """Keep an object whole or not at all.

        :raises ConfigError: the store cannot be written.
        """

    @abstractmethod
    async def delete(self, key: str) -> bool:
        """Forget the object of a key; False if there is none.

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
