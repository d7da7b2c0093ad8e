"""Budgets: how much one principal, or all callers of a profile, may use.

    rate              calls per second, on average
    burst             calls that may come at once; by default those of one second, at least one
    concurrency       calls at the same time
    bytes_per_minute  bytes of results as JSON; a result counts when it is known, so the last one may exceed it
    bytes_per_day     the same for 24 hours

Each is a bucket that fills again at a steady rate. State is in memory, and bounded: a meter is forgotten when it is as
it was at first, and if there are too many, those that were not used for longest go. Bridges that share a store charge a
call there, too (`stores/limiter.py`). While the store is away, each applies its own meters alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field
from functools import partial
from math import ceil
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from utcp_bridge.access.principals import Principal
from utcp_bridge.dialects.fields import sort_of
from utcp_bridge.errors import Busy, ConfigError, explain
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import is_object, matches_glob
from utcp_bridge.stores.limiter import Bucket, Lease, SharedLimits, Slots, Uncovered
from utcp_bridge.tasks import loop_time

__all__ = ["MAX_METERS", "Budgets", "CallerBudget", "Meter", "read_budget", "read_budgets", "spending"]

MAX_METERS: Final = 10_000
"""Principals whose use is known at a time."""
_MINUTE, _DAY = 60.0, 86_400.0
_SLACK: Final = 1e-6
"""Of a call: what adding up seconds loses."""
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Whole = Annotated[int, Field(gt=0)]
T = TypeVar("T")


class CallerBudget(BaseModel):
    """What one principal, or all callers of a profile, may use. None is without a limit."""

    model_config = ConfigDict(frozen=True, defer_build=True, extra="forbid", strict=True, hide_input_in_errors=True)

    rate: _Positive | None = None
    burst: _Whole | None = None
    concurrency: _Whole | None = None
    bytes_per_minute: _Whole | None = None
    bytes_per_day: _Whole | None = None


def read_budget(where: str, written: Any) -> CallerBudget:
    """Return a budget that the operator wrote. `where` begins the message of an error.

    :raises ConfigError: it is not valid.
    """
    if not is_object(written):
        raise ConfigError(f"{where} must be an object, not {sort_of(written)}.", remedy="Write, such as, `{rate: 5}`.")
    try:
        budget = CallerBudget.model_validate(written)
    except ValidationError as error:
        known = ", ".join(CallerBudget.model_fields)
        raise ConfigError(f"{where}: {explain(error)}.", remedy=f"A budget has: {known}.") from None
    if budget.burst is not None and budget.rate is None:
        raise ConfigError(f"{where}: `burst` needs `rate`.", remedy="Add the calls per second as `rate`.")
    return budget


def read_budgets(written: Mapping[str, Any]) -> Budgets | None:
    """Return the budgets of the settings by patterns of principals' names; None if there are none.

    :raises ConfigError: a budget is not valid.
    """
    if not written:
        return None
    return Budgets([(str(glob), read_budget(f"Budget {glob!r}", one)) for glob, one in written.items()])


@dataclass(slots=True)
class _Bucket:
    """Holds `size` at most, and fills with `rate` a second. It may owe something: then it is below zero."""

    size: float
    rate: float
    level: float = field(init=False)
    at: float = 0.0

    def __post_init__(self) -> None:
        self.level = self.size

    @property
    def span(self) -> str:
        """The time in which an empty bucket of bytes is full again, as a word."""
        return "minute" if self.size / self.rate <= _MINUTE + 1 else "day"

    def fill(self, now: float) -> float:
        """Return the level now."""
        level = self.level = min(self.size, self.level + (now - self.at) * self.rate)
        self.at = now
        return level


class Meter:
    """The use of one budget. `name` says in messages whose it is, and `key` names it among bridges."""

    __slots__ = ("_budget", "_bytes", "_calls", "_in_flight", "_key", "_most", "_name")

    def __init__(self, name: str, budget: CallerBudget, key: str = "") -> None:
        self._name = name
        self._budget = budget
        self._key = f"budget:{key or name}"
        self._in_flight = 0
        self._most = budget.concurrency
        rate = budget.rate
        self._calls = None if rate is None else _Bucket(float(budget.burst or max(ceil(rate), 1)), rate)
        sizes = ((budget.bytes_per_minute, _MINUTE), (budget.bytes_per_day, _DAY))
        self._bytes = [_Bucket(float(size), size / seconds) for size, seconds in sizes if size is not None]

    @property
    def budget(self) -> CallerBudget:
        """The budget."""
        return self._budget

    @property
    def counts_bytes(self) -> bool:
        """Whether `count` has to be called."""
        return bool(self._bytes)

    def check(self, now: float) -> None:
        """Refuse a call that the budget does not cover. Nothing is taken.

        :raises Busy: `retry_after` says when a call may succeed, if that is known.
        """
        if self._most is not None and self._in_flight >= self._most:
            raise self._has_many(1.0)
        calls = self._calls
        if calls is not None and calls.fill(now) < 1 - _SLACK:
            raise self._too_fast((1 - calls.level) / calls.rate)
        for bucket in self._bytes:
            if bucket.fill(now) <= 0:
                raise self._used_up(bucket, (1 - bucket.level) / bucket.rate)

    def _has_many(self, seconds: float) -> Busy:
        return _refused(f"{self._name} has {self._budget.concurrency} calls in flight, the most at a time.", seconds)

    def _too_fast(self, seconds: float) -> Busy:
        return _refused(f"{self._name} may send {self._budget.rate:g} calls a second.", seconds)

    def _used_up(self, bucket: _Bucket, seconds: float) -> Busy:
        what = f"{self._name} has used up its {int(bucket.size):,} bytes of results a {bucket.span}."
        return _refused(what, seconds)

    def wants(self) -> list[tuple[Bucket | Slots, Callable[[float], Busy]]]:
        """Return what a call needs of the limits that bridges share, each with the error for a call beyond it."""
        found: list[tuple[Bucket | Slots, Callable[[float], Busy]]] = []
        if self._most is not None:
            found.append((Slots(f"{self._key}:slots", self._most), self._has_many))
        if self._calls is not None:
            calls = Bucket(f"{self._key}:calls", self._calls.size, self._calls.rate, 1 - _SLACK, 1)
            found.append((calls, self._too_fast))
        shared = zip(self.byte_buckets(), self._bytes, strict=True)
        return [*found, *((bucket, partial(self._used_up, own)) for bucket, own in shared)]

    def byte_buckets(self) -> list[Bucket]:
        """Return the buckets of bytes that bridges share."""
        return [Bucket(f"{self._key}:{own.span}", own.size, own.rate, _SLACK) for own in self._bytes]

    def enter(self) -> None:
        """Take a call, after `check`."""
        self._in_flight += 1
        if self._calls is not None:
            self._calls.level -= 1

    def leave(self) -> None:
        """Note the end of a call."""
        self._in_flight -= 1

    def take_back(self) -> None:
        """Undo `enter`: the call was refused."""
        self._in_flight -= 1
        if self._calls is not None:
            self._calls.level += 1

    def count(self, size: int) -> None:
        """Note the bytes of a result."""
        for bucket in self._bytes:
            bucket.level -= size

    def is_fresh(self, now: float) -> bool:
        """Return whether the meter is as it was at first, so that it can be forgotten."""
        buckets = [*self._bytes, *([] if self._calls is None else [self._calls])]
        return not self._in_flight and all(bucket.fill(now) >= bucket.size for bucket in buckets)

    @property
    def is_idle(self) -> bool:
        """Whether no call is in flight."""
        return not self._in_flight


def _refused(message: str, seconds: float) -> Busy:
    busy = Busy(message, remedy=f"Try again in {ceil(seconds)} s.")
    busy.retry_after = float(ceil(seconds * 1000)) / 1000
    return busy


class Budgets:
    """The meters of principals. The first pattern that matches a principal's name gives the budget."""

    def __init__(self, budgets: Sequence[tuple[str, CallerBudget]], max_meters: int = MAX_METERS) -> None:
        self._budgets = budgets
        self._max = max_meters
        self._meters: OrderedDict[str, Meter | None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._meters)

    @property
    def has_any(self) -> bool:
        """Whether anyone has a budget."""
        return bool(self._budgets)

    def renew(self, budgets: Budgets | None) -> None:
        """Have the budgets of others from now on. What was used of those before is forgotten."""
        self._budgets = () if budgets is None else budgets._budgets  # noqa: SLF001 - of the same class
        self._meters.clear()

    def of(self, principal: Principal) -> Meter | None:
        """Return the meter of a principal; None if no budget is for it."""
        name = principal.name
        if name in self._meters:
            self._meters.move_to_end(name)
            return self._meters[name]
        names = principal.names
        budget = next((budget for glob, budget in self._budgets if any(matches_glob(glob, one) for one in names)), None)
        self._make_room()
        who = "This caller" if principal.kind in {"anyone", "shared"} else f"{name[:64]!r}"
        found = self._meters[name] = None if budget is None else Meter(who, budget, f"principal {name}")
        return found

    def _make_room(self) -> None:
        if len(self._meters) < self._max:
            return
        now = loop_time()
        for name in [name for name, meter in self._meters.items() if meter is None or meter.is_fresh(now)]:
            del self._meters[name]
        idle = [name for name, meter in self._meters.items() if meter is None or meter.is_idle]
        for name in idle[: max(len(self._meters) - self._max + 1, 0)]:
            del self._meters[name]


async def spending(
    meters: Sequence[Meter],
    work: Callable[[], Awaitable[T]],
    size_of: Callable[[T], int],
    shared: SharedLimits | None = None,
) -> T:
    """Return what `work` returns, within budgets. All of them must cover the call, or none is charged.

    :raises Busy: one does not cover it.
    """
    now = loop_time()
    for meter in meters:
        meter.check(now)
    for meter in meters:
        meter.enter()
    lease = None if shared is None else await _charged(meters, shared)
    try:
        result = await work()
    finally:
        for meter in meters:
            meter.leave()
        if lease is not None:
            lease.leave()
    counting = [meter for meter in meters if meter.counts_bytes]
    if counting:
        size = size_of(result)
        for meter in counting:
            meter.count(size)
        if shared is not None:
            shared.charge([bucket for meter in meters for bucket in meter.byte_buckets()], size)
    return result


async def _charged(meters: Sequence[Meter], shared: SharedLimits) -> Lease | None:
    """Charge a call to the limits that bridges share; None if the store is away.

    :raises Busy: one does not cover it. Then the own meters have the call back.
    """
    wants = [want for meter in meters for want in meter.wants()]
    is_covered = False
    try:
        found = await shared.enter([want for want, _ in wants])
        if isinstance(found, Uncovered):
            raise wants[found.place][1](found.seconds)
        is_covered = True
    finally:
        if not is_covered:
            for meter in meters:
                meter.take_back()
    return found
