"""What several bridges share in one Redis or Valkey: values that end by themselves, and news that all of them hear.

Each call of the store has a bounded time. After two failures in a row no call is sent until the store answers again,
so callers learn at once that it is away (`StoreAway`) and go on without it. A store that lacks or refuses a command is
not used either (`StoreRefuses`). The extra `redis` brings the client.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib import import_module
from ipaddress import ip_address
from math import inf
from secrets import token_hex
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import anyio
import orjson

from utcp_bridge.errors import ConfigError, MissingExtra
from utcp_bridge.model import Fault, JsonObject, is_object
from utcp_bridge.settings import BridgeSettings, ReplicaSettings
from utcp_bridge.stores.connecting import Obstacle, connection_options, obstacle, obstacle_behind
from utcp_bridge.stores.limiter import SharedLimits
from utcp_bridge.stores.needs import first_refused, obstacle_of_command
from utcp_bridge.stores.port import StoreAway, StoreRefuses
from utcp_bridge.tasks import OwnTasks, loop_time
from utcp_bridge.urls import bare_url

__all__ = ["SharedStore", "shared_store", "store_faults", "stores_of"]

T = TypeVar("T")
_logger = logging.getLogger(__name__)
_PORT: Final = 6379
_MAX_CONNECTIONS: Final = 8
_MAX_FAILURES: Final = 2
"""In a row, after which the store is taken to be away."""
_PAUSE_SECONDS: Final = 0.5
"""Between two tries of a store that is away."""
_TICK_SECONDS: Final = 1.0
_ALIVE: Final = 10_000
"""Milliseconds for which a sign of life is kept."""
_SIGN: Final = "alive:"
_MEMBERS_SECONDS: Final = 86_400
_MAX_MEMBERS: Final = 1_000
_TRIES: Final = 4
"""How many times the time of one call the first check may take, which tries all commands."""
_QUIET_SECONDS: Final = 5.0
"""After which a silent connection for news is asked for a sign of life."""
_MAX_WAITING: Final = 20_000
"""News that wait to be sent: a change may concern each of `max_sessions`."""
_AT_ONCE: Final = 256
"""News in one round trip."""
_MAX_MESSAGE: Final = 1024 * 1024
_END_SECONDS: Final = 1.0


def shared_store(settings: ReplicaSettings) -> SharedStore | None:
    """Return the store that `store` names; None if there is none.

    :raises ConfigError: the URL is wrong, or its package is not installed.
    """
    return None if settings.store is None else SharedStore(settings.store, settings)


def stores_of(settings: BridgeSettings) -> Callable[[str, int], bool]:
    """Return whether a connection to this host and port, or the look-up of this host (port 0), is one to a store of the
    operator, which needs no address gate. Behind a name, it may be any address with the port of the store.
    """
    urls = [url for url in (settings.store, settings.token_store, settings.search_store) if url and "://" in url]
    ends = {end for end in map(_end_of, urls) if end is not None}
    names = {host for host, _ in ends if not _is_number(host)}
    ports = {port for host, port in ends if host in names}

    def is_store(host: str, port: int) -> bool:
        return (host, port) in ends or port in ports or (not port and host in names)

    return is_store


def _end_of(url: str) -> tuple[str, int] | None:
    """Return the host and the port of a store; None if its URL is wrong, which opening it reports."""
    try:
        parts = urlsplit(url)
        return parts.hostname or "localhost", parts.port or _PORT
    except ValueError:
        return None


def _is_number(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


async def store_faults(settings: BridgeSettings) -> list[Fault]:
    """Return what is wrong with the store that `store` names; each command that bridges need is tried.

    A fault of the place `replicas.store` says that it cannot be used.
    """
    try:
        store = shared_store(settings)
    except ConfigError as error:
        return [Fault("replicas.store", error.message, error.remedy or "", code=error.code)]
    if store is None:
        return []
    found: list[Fault] = []
    try:
        await store.check()
    except StoreRefuses as error:
        found.append(Fault("replicas.store", str(error), error.remedy))
    except StoreAway as error:
        remedy = "Check that Redis runs there, and its user and password. Until then each replica goes on alone."
        found.append(Fault("replicas.store", str(error), remedy, "warning"))
    finally:
        await store.aclose()
    if settings.transport == "http" and settings.state_key is None:
        what = "Each replica makes a `state_key` of its own, so none can read the `requestState` of another one."
        found.append(Fault("server.state_key", what, "Set the same `state_key` for all of them.", "warning"))
    return found


class SharedStore:
    """Values and news below one prefix. `name` is that of this process among those that share the store."""

    def __init__(self, url: str, settings: ReplicaSettings) -> None:
        try:
            library: Any = import_module("redis.asyncio")
            self._faults: Any = import_module("redis.exceptions")
            retry: Any = import_module("redis.asyncio.retry").Retry
            no_pause: Any = import_module("redis.backoff").NoBackoff
        except ImportError:
            raise ConfigError(
                "`store` is a Redis URL, and its package is not installed.",
                remedy=f"Install it with: {MissingExtra.install_line('redis')}",
            ) from None
        self.name: Final = token_hex(4)
        self.place: Final = bare_url(url)
        self.prefix: Final = f"{settings.store_prefix}:"
        self._seconds = settings.store_timeout
        given = connection_options(url, "store", settings.store_password, self._seconds)
        given["retry"] = retry(no_pause(), 1)
        try:
            pool: Any = library.BlockingConnectionPool.from_url(
                url, max_connections=_MAX_CONNECTIONS, timeout=self._seconds, socket_timeout=self._seconds, **given
            )
            self._listening: Any = library.Redis.from_url(url, socket_timeout=None, **given)
            pool.connection_class(**pool.connection_kwargs)  # it refuses parameters of the URL that it does not know
        except (ValueError, TypeError, self._faults.RedisError):
            raise ConfigError("`store` is not a Redis URL.", remedy="Write redis://host:port/0.") from None
        self._redis: Any = library.Redis(connection_pool=pool)
        self._not_before = 0.0
        self._failures, self._failed_at = 0, -inf
        self._lost_at: float | None = None
        self._obstacle: Obstacle | None = None
        self._logged: str | None = None
        self._has_answered = self._has_tried = self._is_tried = self._has_sign = False
        self._hearers: dict[str, Callable[[JsonObject], None]] = {}
        self._news, self._sent = anyio.create_memory_object_stream[bytes](_MAX_WAITING)
        self._tasks = OwnTasks()
        self._runs = False
        self.hears = anyio.Event()
        """Set while news of the others arrive."""
        self.summary: Callable[[], JsonObject] = dict
        """Returns what the others may know of this process. It is written with each sign of life."""
        self.limits: Final = SharedLimits(self)

    @property
    def is_away(self) -> bool:
        """Whether calls failed, and no check was answered since."""
        return self._lost_at is not None

    @property
    def state(self) -> str:
        """The state in one word, for probes: `connecting` until the first try has ended, then `ready`, `away`, or
        `refused` if a person has to change something.
        """
        if self._obstacle is not None:
            return "refused"
        if not self._has_tried:
            return "connecting"
        return "ready" if self._has_answered and not self.is_away else "away"

    def script(self, text: str) -> Any:
        """Return a script that Redis runs in one step. A function that calls it is passed to `run`."""
        return self._redis.register_script(text)

    async def run(self, command: Callable[[Any], Awaitable[T]], *, seconds: float | None = None) -> T:
        """Return what a command returns, within `store_timeout` or `seconds`. It receives the client of Redis.

        :raises StoreAway: Redis does not answer in time, refuses the command, or failed a moment ago.
        """
        if loop_time() < self._not_before:
            raise self._away()
        return await self._run(command, seconds or self._seconds)

    async def _run(self, command: Callable[[Any], Awaitable[T]], seconds: float, *, is_check: bool = False) -> T:
        began = loop_time()
        try:
            with anyio.fail_after(seconds):
                result = await command(self._redis)
        except StoreRefuses:
            raise
        except (self._faults.RedisError, OSError) as error:
            if is_check:
                rest = seconds - (loop_time() - began)
                found = await obstacle_behind(error, self._faults, self._redis.connection_pool, rest)
            else:  # a caller waits, and the next check finds the rest
                found = obstacle(error, self._faults)
            if found is not None:
                self._lost(error, found)
            elif not isinstance(error, self._faults.ResponseError):
                self._failed(error, began)
            elif is_check:
                self._lost(error)
            else:  # it answers; as with another type under a key, only this command has no result
                self._is_tried = False
                _logger.debug("The store %s refused a command (%s).", self.place, type(error).__name__)
            raise self._away() from None
        finally:
            self._has_tried = True
        self._failures, self._has_answered = 0, True
        if self._lost_at is not None:
            self._found()
        return result

    async def get(self, key: str, *, seconds: float | None = None) -> bytes | None:
        """Return the value of a key; None if there is none, or it has ended.

        :raises StoreAway: see `run`.
        """
        return await self.run(lambda redis: redis.get(self.prefix + key), seconds=seconds)

    async def put(self, key: str, value: bytes, lifetime: float, *, seconds: float | None = None) -> None:
        """Keep a value for `lifetime` seconds.

        :raises StoreAway: see `run`.
        """
        milliseconds = max(int(lifetime * 1000), 1)
        await self.run(lambda redis: redis.set(self.prefix + key, value, px=milliseconds), seconds=seconds)

    async def check(self) -> None:
        """Ask for a sign of life, also if the store was away a moment ago.

        The sign is that it writes: one that is read-only after a failover, or full, answers a ping all the time. At
        first, and after each failure, all commands that bridges need are tried.

        :raises StoreAway: see `run`.
        :raises StoreRefuses: a person has to change the store, its user or its URL.
        """
        if self._is_tried:
            await self._run(self._write_sign, self._seconds, is_check=True)
        else:
            await self._run(self._try_all, _TRIES * self._seconds, is_check=True)
            self._is_tried = True

    async def _try_all(self, redis: Any) -> None:
        refused = await first_refused(redis, self._listening, self.prefix)
        if refused is None:
            await self._write_sign(redis)
            return
        command, error = refused
        if (found := obstacle_of_command(command, error, self.prefix, self._faults)) is None:
            raise error
        self._lost(error, found)
        raise self._away()

    async def _write_sign(self, redis: Any) -> None:
        members, self._has_sign = f"{self.prefix}bridges", True
        async with redis.pipeline(transaction=False) as pipeline:
            pipeline.set(f"{self.prefix}{_SIGN}{self.name}", orjson.dumps(self.summary()), px=_ALIVE)
            pipeline.zadd(members, {self.name: 0})
            pipeline.expire(members, _MEMBERS_SECONDS)
            await pipeline.execute()

    async def signs(self) -> dict[str, JsonObject]:
        """Return what each bridge of this store said of itself with its last sign of life (`summary`), by names.

        :raises StoreAway: see `run`.
        """
        return await self.run(self._read_signs)

    async def _read_signs(self, redis: Any) -> dict[str, JsonObject]:
        members = f"{self.prefix}bridges"
        names = await redis.zrangebyscore(members, "-inf", "+inf", start=0, num=_MAX_MEMBERS)
        async with redis.pipeline(transaction=False) as pipeline:
            for name in names:
                pipeline.get(f"{self.prefix}{_SIGN}{name.decode()}")
            found = dict(zip(names, await pipeline.execute(), strict=True))
            for name in [name for name, sign in found.items() if sign is None]:
                pipeline.zrem(members, name)
            await pipeline.execute()
        signs = {name.decode(): orjson.loads(sign) for name, sign in found.items() if sign is not None}
        return {name: sign for name, sign in signs.items() if is_object(sign)}

    async def is_alive(self, name: str) -> bool:
        """Return whether a bridge of this name gave a sign of life within ten seconds.

        :raises StoreAway: see `run`.
        """
        return await self.get(f"{_SIGN}{name}") is not None

    async def insist(self) -> None:
        """Check the store before it is used. One that does not answer may do so later.

        :raises ConfigError: a person has to change the store, its user or its URL.
        """
        try:
            await self.check()
        except StoreRefuses as error:
            await self.aclose()
            raise ConfigError(str(error), remedy=error.remedy) from None
        except StoreAway:
            pass

    def start(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run a few commands in the background. If the store is away, they are left out."""

        async def attempt() -> None:
            with suppress(StoreAway):
                await work()

        self._tasks.start(attempt())

    # --- news ---

    def on_news(self, topic: str, hear: Callable[[JsonObject], None]) -> None:
        """Call `hear` with each message of the others about a topic."""
        self._hearers[topic] = hear

    def tell(self, topic: str, message: Mapping[str, Any]) -> None:
        """Send a message to the others, in order. It is lost if the store is away, or too many wait to be sent."""
        if not self._runs:
            return
        with suppress(anyio.WouldBlock, anyio.ClosedResourceError, TypeError):
            data = orjson.dumps({"from": self.name, "topic": topic, **message})
            if len(data) <= _MAX_MESSAGE:
                self._news.send_nowait(data)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Hear and send news, and look after the store, until the end of the context."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.serve)
            try:
                yield
            finally:
                group.cancel_scope.cancel()

    async def serve(self) -> None:
        """Do what `open` does, until the task is cancelled."""
        self._runs = True
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._send)
                group.start_soon(self._hear)
                group.start_soon(self._tick)
        finally:
            self._runs = False

    async def aclose(self) -> None:
        """Wait for what runs in the background, and close the connections."""
        with anyio.CancelScope(shield=True), anyio.move_on_after(_END_SECONDS):
            await self._tasks.ended()
            if self._has_sign and not self.is_away:  # the others need not wait until the sign of life ends
                with suppress(StoreAway):
                    await self.run(lambda redis: redis.delete(f"{self.prefix}{_SIGN}{self.name}"))
        self._news.close()
        self._sent.close()
        for one in (self._redis, self._listening):
            with suppress(self._faults.RedisError, OSError):
                await one.aclose()
                await one.connection_pool.disconnect()

    async def _send(self) -> None:
        async for data in self._sent:
            waiting = [data]
            with suppress(anyio.WouldBlock):
                while len(waiting) < _AT_ONCE:
                    waiting.append(self._sent.receive_nowait())
            with suppress(StoreAway):
                await self.run(partial(self._publish, waiting))

    async def _publish(self, waiting: Sequence[bytes], redis: Any) -> None:
        async with redis.pipeline(transaction=False) as pipeline:
            for data in waiting:
                pipeline.publish(f"{self.prefix}news", data)
            await pipeline.execute()

    async def _hear(self) -> None:
        while True:
            try:
                await self._hear_once()
            except (self._faults.RedisError, OSError) as error:
                _logger.debug("The news of the store ended (%s).", type(error).__name__)
            if self.hears.is_set():
                self.hears = anyio.Event()
            await anyio.sleep(_PAUSE_SECONDS)

    async def _hear_once(self) -> None:
        is_asked = False
        async with self._listening.pubsub() as channel:
            await channel.subscribe(f"{self.prefix}news")
            while True:
                message = await channel.get_message(timeout=_QUIET_SECONDS)
                if message is None:
                    if is_asked:
                        return
                    is_asked = True
                    await channel.ping()
                    continue
                is_asked = False
                if message["type"] == "message":
                    self._hear_one(message["data"])
                elif message["type"] == "subscribe":
                    self.hears.set()

    def _hear_one(self, data: bytes) -> None:
        try:
            message: Any = orjson.loads(data)
        except orjson.JSONDecodeError:
            return
        if not is_object(message) or message.get("from") == self.name:
            return
        hear = self._hearers.get(str(message.get("topic")))
        if hear is not None:
            try:
                hear(message)
            except Exception as error:  # noqa: BLE001 - one message must not end the news
                _logger.debug("News of the store cannot be read (%s).", type(error).__name__)

    async def _tick(self) -> None:
        while True:
            with suppress(StoreAway):
                await self.check()
                await self.limits.renew()
            await anyio.sleep(_PAUSE_SECONDS if self.is_away else _TICK_SECONDS)

    # --- whether it answers ---

    def _away(self) -> StoreAway:
        if self._obstacle is not None:
            return StoreRefuses(f"The store {self.place} {self._obstacle.what}.", self._obstacle.remedy)
        return StoreAway(f"The store {self.place} does not answer.")

    def _failed(self, error: BaseException, began: float) -> None:
        """Count a failure. Calls that failed together count once, so a moment in which this process stood still is not
        taken for a store that is away.
        """
        now = loop_time()
        if began >= self._failed_at:
            self._failed_at = now
            self._failures += 1
        if self._failures >= _MAX_FAILURES:
            self._lost(error)

    def _lost(self, error: BaseException, found: Obstacle | None = None) -> None:
        self._not_before = inf if self._runs else loop_time() + _PAUSE_SECONDS
        self._obstacle, self._is_tried = found, False
        if self._lost_at is None:
            self._lost_at = loop_time()
        text = "" if found is None else found.what
        if self._runs and self._logged != text:
            self._logged = text
            what = f"does not answer ({type(error).__name__})." if found is None else f"{found.what}. {found.remedy}"
            _logger.warning(
                "The store %s %s Until this changes, each bridge applies its limits alone, and has only its own kept"
                " results.",
                self.place,
                what,
            )

    def _found(self) -> None:
        lost_at, self._lost_at, self._not_before = self._lost_at, None, 0.0
        self._obstacle = self._logged = None
        if lost_at is not None and self._runs:
            _logger.info("The store %s answers again after %.1f s.", self.place, loop_time() - lost_at)
