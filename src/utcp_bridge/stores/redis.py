"""A store in Redis or Valkey, for several bridges that share their tokens. The extra `redis` brings the client."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any, Final

import orjson
from pydantic import SecretStr

from utcp_bridge.errors import ConfigError, MissingExtra
from utcp_bridge.foreign import write_json
from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.stores.connecting import connection_options, obstacle_behind
from utcp_bridge.stores.port import MAX_LOCK_SECONDS, Store
from utcp_bridge.urls import bare_url

__all__ = ["RedisStore"]

_PREFIX: Final = "utcp-bridge"
_SECONDS: Final = 5.0
"""For one command."""


class RedisStore(Store):
    """Objects below a prefix. The operator's URL is connected to as it is written; `password` is for one without."""

    def __init__(
        self, url: str, setting: str = "token_store", prefix: str = _PREFIX, password: SecretStr | None = None
    ) -> None:
        try:
            library: Any = import_module("redis.asyncio")
            self._faults: Any = import_module("redis.exceptions")
        except ImportError:
            raise ConfigError(
                f"`{setting}` is a Redis URL, and its package is not installed.",
                remedy=f"Install it with: {MissingExtra.install_line('redis')}",
            ) from None
        self.place = bare_url(url)
        self._prefix, self._lock_prefix = f"{prefix}:", f"{prefix}-lock:"
        given = {"socket_timeout": _SECONDS, **connection_options(url, setting, password, _SECONDS)}
        try:
            self._redis: Any = library.Redis.from_url(url, decode_responses=False, **given)
            pool = self._redis.connection_pool
            pool.connection_class(**pool.connection_kwargs)  # it refuses parameters of the URL that it does not know
        except (ValueError, TypeError, self._faults.RedisError):
            raise ConfigError(f"`{setting}` is not a Redis URL.", remedy="Write redis://host:port/0.") from None

    async def get(self, key: str) -> JsonObject | None:
        """Return the object of a key; None if the key is unknown.

        :raises ConfigError: Redis cannot be reached, or refuses the command.
        """
        async with self._errors():
            try:
                data = await self._redis.get(f"{self._prefix}{key}")
            except self._faults.ResponseError as error:
                if "WRONGTYPE" not in str(error):
                    raise
                return None  # another program's, as a text that is not an object
        try:
            found = orjson.loads(data) if data else None
        except orjson.JSONDecodeError:
            return None
        return found if is_object(found) else None

    async def put(self, key: str, value: JsonObject) -> None:
        """Keep an object.

        :raises ConfigError: Redis cannot be reached, or refuses the command.
        """
        async with self._errors():
            await self._redis.set(f"{self._prefix}{key}", write_json(value))

    async def delete(self, key: str) -> bool:
        """Forget the object of a key; False if the key is unknown."""
        async with self._errors():
            return bool(await self._redis.delete(f"{self._prefix}{key}"))

    async def keys(self) -> list[str]:
        """Return every key, sorted."""
        async with self._errors():
            found = [key async for key in self._redis.scan_iter(match=f"{self._prefix}*")]
        return sorted(key.decode(errors="replace").removeprefix(self._prefix) for key in found)

    @asynccontextmanager
    async def lock(self, key: str) -> AsyncGenerator[None]:
        """Hold a lock of Redis, which ends by itself if its owner does not come back."""
        held = self._redis.lock(
            f"{self._lock_prefix}{key}", timeout=MAX_LOCK_SECONDS, blocking_timeout=MAX_LOCK_SECONDS
        )
        async with self._errors():
            if not await held.acquire():
                message = f"Another program has held a lock of {self.place} for {MAX_LOCK_SECONDS:g} seconds."
                raise ConfigError(message, remedy="End it, and try again.")
        try:
            yield
        finally:
            async with self._errors():
                await held.release()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    @asynccontextmanager
    async def _errors(self) -> AsyncGenerator[None]:
        try:
            yield
        except self._faults.LockNotOwnedError:  # it ended by itself
            pass
        except (self._faults.RedisError, OSError) as error:
            pool = self._redis.connection_pool
            if (found := await obstacle_behind(error, self._faults, pool, _SECONDS)) is not None:
                raise ConfigError(f"The store {self.place} {found.what}.", remedy=found.remedy) from None
            raise ConfigError(
                f"The store {self.place} cannot be used ({type(error).__name__}).",
                remedy="Check that Redis runs there, and its user and password.",
            ) from None
