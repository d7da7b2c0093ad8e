"""Limits that several bridges share: buckets of calls and bytes, and slots for calls at the same time.

The library `limits` counts hits in windows of time. It has neither buckets that fill steadily and may owe something
(the size of a result is known after its call), nor slots that a call gives back, and it cannot test several limits and
then charge all of them or none. One script does this in one round trip, on the clock of Redis.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any, Final, Protocol, TypeVar

import orjson

from utcp_bridge.late.records import dataclass
from utcp_bridge.stores.port import StoreAway

__all__ = ["Bucket", "Lease", "ScriptStore", "SharedLimits", "Slots", "Uncovered"]

T = TypeVar("T")

_LEASE_SECONDS: Final = 30.0
"""After which the slots of a bridge that ended without a word are free. Those of a call in flight are renewed."""
_RENEWALS: Final = 10
"""Seconds between two renewals: every tenth tick of the store."""
_ENTER: Final = """
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local wants = cjson.decode(ARGV[1])
local levels = {}
for place, want in ipairs(wants) do
  local key = KEYS[place]
  if want.most then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
    if redis.call('ZCARD', key) >= want.most then return {place, '1'} end
  else
    local known = redis.call('HMGET', key, 'level', 'at')
    local level = want.size
    if known[1] then
      level = math.min(want.size, tonumber(known[1]) + math.max(0, now - tonumber(known[2])) * want.rate)
    end
    if level < want.least then return {place, string.format('%.6f', (1 - level) / want.rate)} end
    levels[place] = level
  end
end
for place, want in ipairs(wants) do
  local key = KEYS[place]
  if want.most then
    redis.call('ZADD', key, now + tonumber(ARGV[3]), ARGV[2])
    redis.call('EXPIRE', key, math.ceil(ARGV[3]))
  elseif want.cost > 0 then
    local level = levels[place] - want.cost
    redis.call('HSET', key, 'level', string.format('%.6f', level), 'at', string.format('%.6f', now))
    redis.call('EXPIRE', key, math.ceil((want.size - level) / want.rate) + 1)
  end
end
return {0, '0'}
"""
_CHARGE: Final = """
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local wants = cjson.decode(ARGV[1])
for place, want in ipairs(wants) do
  local key = KEYS[place]
  local known = redis.call('HMGET', key, 'level', 'at')
  local level = want.size
  if known[1] then
    level = math.min(want.size, tonumber(known[1]) + math.max(0, now - tonumber(known[2])) * want.rate)
  end
  level = level - tonumber(ARGV[2])
  redis.call('HSET', key, 'level', string.format('%.6f', level), 'at', string.format('%.6f', now))
  redis.call('EXPIRE', key, math.ceil((want.size - level) / want.rate) + 1)
end
return 0
"""
_RENEW: Final = """
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
for place, key in ipairs(KEYS) do
  redis.call('ZADD', key, now + tonumber(ARGV[1]), ARGV[place + 1])
  redis.call('EXPIRE', key, math.ceil(ARGV[1]))
end
return 0
"""


@dataclass(frozen=True, slots=True)
class Bucket:
    """What holds `size` at most, fills with `rate` a second, and must hold `least` for a call, which takes `cost`."""

    key: str
    size: float
    rate: float
    least: float
    cost: float = 0.0


@dataclass(frozen=True, slots=True)
class Slots:
    """Slots for `most` calls at the same time."""

    key: str
    most: int


@dataclass(frozen=True, slots=True)
class Uncovered:
    """Which of the wants is not covered, and in how many seconds it may be."""

    place: int
    seconds: float


class Lease:
    """What one call holds: its slots."""

    __slots__ = ("_limits", "keys", "member")

    def __init__(self, limits: SharedLimits, keys: Sequence[str], member: str) -> None:
        self._limits = limits
        self.keys: Final = keys
        self.member: Final = member

    def leave(self) -> None:
        """Give the slots back."""
        self._limits.leave(self)

    def take_back(self) -> None:
        """Hold the slots again, also beyond the limit."""
        self._limits.hold(self)


class ScriptStore(Protocol):
    """What limits need of a store."""

    @property
    def name(self) -> str:
        """The name of this process among those that share the store."""
        ...

    @property
    def prefix(self) -> str:
        """The beginning of the names of all keys."""
        ...

    def script(self, text: str) -> Any:
        """Return a script that the store runs in one step."""
        ...

    async def run(self, command: Callable[[Any], Awaitable[T]]) -> T:
        """Return what a command returns.

        :raises StoreAway: the store does not answer.
        """
        ...

    def start(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run a few commands in the background."""
        ...


class SharedLimits:
    """The limits in one store."""

    def __init__(self, store: ScriptStore) -> None:
        self._store = store
        self._enter = store.script(_ENTER)
        self._charge = store.script(_CHARGE)
        self._renew = store.script(_RENEW)
        self._held: set[Lease] = set()
        self._numbers = count(1)
        self._ticks = 0

    async def enter(self, wants: Sequence[Bucket | Slots]) -> Lease | Uncovered | None:
        """Charge a call to all limits, or to none if one does not cover it. None: the store is away."""
        keys = [f"{self._store.prefix}limit:{want.key}" for want in wants]
        member = f"{self._store.name}-{next(self._numbers)}"
        told = orjson.dumps([_as_json(want) for want in wants])

        async def enter(_redis: Any) -> Any:
            return await self._enter(keys=keys, args=[told, member, _LEASE_SECONDS])

        try:
            place, seconds = await self._store.run(enter)
        except StoreAway:
            return None
        if place:
            return Uncovered(place - 1, max(float(seconds), 0.001))
        slots = [key for key, want in zip(keys, wants, strict=True) if isinstance(want, Slots)]
        lease = Lease(self, slots, member)
        if slots:
            self._held.add(lease)
        return lease

    def charge(self, buckets: Sequence[Bucket], amount: int) -> None:
        """Take an amount from buckets, which may owe it then."""
        keys = [f"{self._store.prefix}limit:{bucket.key}" for bucket in buckets]
        told = orjson.dumps([_as_json(bucket) for bucket in buckets])

        async def charge(_redis: Any) -> None:
            await self._charge(keys=keys, args=[told, amount])

        self._store.start(lambda: self._store.run(charge))

    def leave(self, lease: Lease) -> None:
        """Give the slots of a call back."""
        if lease in self._held:
            self._held.discard(lease)
            self._store.start(lambda: self._free([lease]))

    def hold(self, lease: Lease) -> None:
        """Take slots that were given back, also beyond the limit."""
        if lease.keys:
            self._held.add(lease)
            self._store.start(lambda: self._prolong([lease]))

    async def renew(self) -> None:
        """Prolong the slots of calls in flight, now and then.

        :raises StoreAway: the store does not answer.
        """
        self._ticks += 1
        if self._ticks % _RENEWALS == 0 and self._held:
            await self._prolong(list(self._held))

    async def _prolong(self, leases: Sequence[Lease]) -> None:
        pairs = [(key, lease.member) for lease in leases for key in lease.keys]
        keys, members = [key for key, _ in pairs], [member for _, member in pairs]

        async def prolong(_redis: Any) -> None:
            await self._renew(keys=keys, args=[_LEASE_SECONDS, *members])

        await self._store.run(prolong)
        if ended := [lease for lease in leases if lease not in self._held]:
            await self._free(ended)

    async def _free(self, leases: Sequence[Lease]) -> None:
        async def free(redis: Any) -> None:
            for lease in leases:
                for key in lease.keys:
                    await redis.zrem(key, lease.member)

        await self._store.run(free)


def _as_json(want: Bucket | Slots) -> dict[str, float]:
    if isinstance(want, Slots):
        return {"most": want.most}
    return {"size": want.size, "rate": want.rate, "least": want.least, "cost": want.cost}
