"""Breaker: an upstream that does not answer is left alone for a while, and a call says at once when it is tried again.

`Breaker` is the rule, without I/O and with the time as an argument. After `threshold` failures in a row it opens. While
it is open, one call passes after each pause: the pauses grow by half, so calls are refused for about half as long again
as the upstream was away. One success closes it. Only what says nothing about this request counts as a failure: no
connection, a connection that broke, and the deadline. A reply of any kind is a success, also a refusal such as 404.
Calls that one broken connection took along count once.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import field
from math import inf
from random import Random
from typing import Final, NamedTuple

from utcp_bridge.errors import (
    CircuitOpen,
    ConnectionLost,
    DeadlineExceeded,
    MalformedReply,
    Rejected,
    ReplyTooLarge,
    Unreachable,
)
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import Call, Emit, JsonObject, Outage, Result, Tool, current_reader, discard
from utcp_bridge.pipeline import Next
from utcp_bridge.settings import ResilienceSettings
from utcp_bridge.tasks import effective_deadline, loop_time
from utcp_bridge.upstream import CallClock, InputRequired, ProtocolError, current_clock

__all__ = ["Breaker", "BreakerRule", "Breakers"]

_logger = logging.getLogger(__name__)
_GROWTH: Final = 1.5
_JITTER: Final = 0.25
_FAILURES: Final = (Unreachable, DeadlineExceeded)
_REPLIES: Final = (Rejected, MalformedReply, ReplyTooLarge, ProtocolError, InputRequired)
_random = Random()  # noqa: S311 - spreads tries, guards nothing
_REMEMBERED_SECONDS: Final = 600.0
"""An upstream that fails again within this time is one that comes and goes."""
_LASTING_SECONDS: Final = 10.0
"""An outage of this length is logged in any case, at its next probe."""


@dataclass(frozen=True, slots=True)
class BreakerRule:
    """After how many failures in a row calls are refused, and the shortest and longest pause in seconds.

    With a threshold of 0 no call is refused.
    """

    threshold: int = 5
    first: float = 1.0
    longest: float = 30.0

    @classmethod
    def of(cls, settings: ResilienceSettings, tool: Tool, longest: float | None) -> BreakerRule:
        """Return the rule for a tool. `longest` is the longest pause that its transport wants; None: any."""
        maximum = settings.breaker_max_pause if longest is None else min(settings.breaker_max_pause, longest)
        threshold = int(tool.limits.get("breaker_failures", settings.breaker_failures))
        return cls(threshold, min(settings.breaker_pause, maximum), maximum)


@dataclass(slots=True)
class Breaker:
    """The state of one upstream. All times are in seconds on one clock."""

    rule: BreakerRule
    failures: int = 0
    not_before: float = 0.0
    """When the next call passes, if it is open."""
    _pause: float = 0.0
    _last: float = -inf
    """When a failure was counted last."""

    @property
    def is_open(self) -> bool:
        """Whether at most one call passes after each pause."""
        return self.failures >= self.rule.threshold

    def wait(self, now: float) -> float:
        """Return the seconds until a call may pass; 0 means now."""
        return max(0.0, self.not_before - now) if self.is_open else 0.0

    def admit(self, now: float) -> bool:
        """Let a call pass and return whether it is the probe of an open breaker. The next one passes a pause later."""
        if not self.is_open:
            return False
        self._grow()
        self.not_before = now + self._spread()
        return True

    def failed(self, now: float, *, probe: bool, began: float = inf) -> bool:
        """Note a failure. Return whether it opened the breaker.

        `began` is when the call began, if it may have failed together with others: then it counts only if it began
        after the last failure.
        """
        was_open = self.is_open
        if began > self._last:
            self.failures += 1
            self._last = now
        if self.is_open and not was_open:
            self._grow()
        if self.is_open and (probe or not was_open):
            self.not_before = max(self.not_before, now + self._spread())
        return self.is_open and not was_open

    def _grow(self) -> None:
        self._pause = min(max(self._pause * _GROWTH, self.rule.first), self.rule.longest)

    def _spread(self) -> float:
        spread = self._pause * _random.uniform(1 - _JITTER, 1 + _JITTER)
        return min(max(spread, self.rule.first), self.rule.longest)


class _Times(NamedTuple):
    """When a call began and when its time ends, of a call whose clock is not all that limits it."""

    began: float
    ends: float


class _Trial(NamedTuple):
    """A call that failed: when it began, when its time ends, and whether it was the probe of an open breaker."""

    began: float
    ends: float
    is_probe: bool


@dataclass(slots=True)
class _Journal:
    """What the log says of one upstream: a line when it is left alone, and one when it answers again.

    The lines of an upstream that comes and goes have counts: those of its 1st, 2nd, 4th, 8th … outage are written.
    """

    outages: int = 0
    refused: int = 0
    """Calls since the last line."""
    opened_at: float = -inf
    is_written: bool = False
    """Whether the outage that is under way has its line."""

    def opened(self, now: float, name: tuple[str, str], breaker: Breaker) -> None:
        """Note that calls are refused from now on."""
        self.outages = self.outages + 1 if now < self.opened_at + _REMEMBERED_SECONDS else 1
        self.opened_at = now
        self.is_written = False
        if self.outages & (self.outages - 1) == 0:
            self._write(now, name, breaker)

    def still_open(self, now: float, name: tuple[str, str], breaker: Breaker) -> None:
        """Note that a probe failed."""
        if not self.is_written and now >= self.opened_at + _LASTING_SECONDS:
            self._write(now, name, breaker)

    def closed(self, now: float, name: tuple[str, str]) -> None:
        """Note that it answers again."""
        if self.is_written:
            text = "Manual %s: %s answers again after %.0f s. Calls that were refused: %d."
            _logger.info(text, *name, now - self.opened_at, self.refused)
            self.refused = 0

    def _write(self, now: float, name: tuple[str, str], breaker: Breaker) -> None:
        self.is_written = True
        again = f" This is outage {self.outages} in a short time." if self.outages > 1 else ""
        _logger.warning(
            "Manual %s: %d calls to %s in a row failed. Calls are refused for now; one tries it again in %.0f s.%s",
            name[0],
            breaker.failures,
            name[1],
            breaker.wait(now),
            again,
        )


@dataclass(slots=True)
class Breakers:
    """The breakers of all manuals. One exists only from a failure to the next success.

    `peer(tool)` names the upstream within its manual, or is None where the arguments of a call choose it: then no
    call is refused. It is asked at the first call of a tool, and may raise what the call itself would raise.
    """

    rule: Callable[[Tool], BreakerRule]
    peer: Callable[[Tool], str | None]
    clock: Callable[[], float] = loop_time
    _known: dict[tuple[str, str], Breaker] = field(default_factory=dict[tuple[str, str], Breaker])
    _journals: dict[tuple[str, str], _Journal] = field(default_factory=dict[tuple[str, str], _Journal])
    """Of each upstream that was left alone once."""
    tell: Callable[[JsonObject], None] | None = None
    """Receives what other bridges should know: that a breaker opened, or closed."""

    def refusal(self, tool: Tool, inner: Next) -> Next:
        """The outer layer, before the call waits for a slot: it refuses calls while the breaker is open."""
        if not self.rule(tool).threshold:
            return inner

        def gated(call: Call, emit: Emit) -> Awaitable[Result]:
            if self._known and (peer := self.peer(tool)) is not None:
                self._check((tool.manual, peer))
            return inner(call, emit)

        return gated

    def __call__(self, tool: Tool, inner: Next) -> Next:
        """The inner layer, which counts what became of calls that were sent."""
        rule, manual = self.rule(tool), tool.manual
        if not rule.threshold:
            return inner

        async def counted(call: Call, emit: Emit) -> Result:
            peer = self.peer(tool)
            if peer is None:
                return await inner(call, emit)
            key = manual, peer
            is_probe = bool(self._known) and self._admit(key)
            times: CallClock | _Times | None = current_clock()
            if times is None or current_reader() is None:  # else nothing but its clock limits the call
                times = _Times(self.clock(), effective_deadline())
            try:
                result = await inner(call, emit if emit is discard else self._noting(key, emit))
            except BaseException as error:
                self._count(key, rule, _Trial(times.began, times.ends, is_probe), error)
                raise
            if self._known:
                self._answered(key)
            return result

        return counted

    def forget(self, manual: str) -> None:
        """Drop the breakers of a manual that was deregistered."""
        for kept in (self._known, self._journals):
            for key in [key for key in kept if key[0] == manual]:
                del kept[key]

    def hear(self, news: JsonObject) -> None:
        """Note that another bridge opened or closed its breaker of an upstream. What it says is what `tell` got."""
        key = str(news["manual"]), str(news["peer"])
        known = self._known.get(key)
        if not news["open"]:
            if known is not None and known.is_open:
                self._answered(key, is_news=True)
            return
        if known is None or not known.is_open:
            now = self.clock()
            breaker = self._known[key] = Breaker(BreakerRule(*news["rule"]))
            breaker.failures = max(int(news["failures"]), breaker.rule.threshold)
            breaker.not_before = now + min(float(news["seconds"]), breaker.rule.longest)
            self._journals.setdefault(key, _Journal()).opened(now, key, breaker)

    def report(self) -> list[Outage]:
        """Return the upstream of every open breaker."""
        now = self.clock()
        return [
            Outage(manual, peer, breaker.failures, breaker.wait(now))
            for (manual, peer), breaker in sorted(self._known.items())
            if breaker.is_open
        ]

    def _check(self, key: tuple[str, str]) -> None:
        """:raises CircuitOpen: no call may pass now."""
        breaker = self._known.get(key)
        if breaker is not None and (seconds := breaker.wait(self.clock())):
            self._journals[key].refused += 1
            raise CircuitOpen(
                f"{key[0]}: the last {breaker.failures} calls to {key[1]} failed, so nothing was sent this time.",
                retry_after=seconds,
            )

    def _admit(self, key: tuple[str, str]) -> bool:
        """Return whether the call is the probe of an open breaker.

        :raises CircuitOpen: no call may pass now.
        """
        self._check(key)
        known = self._known.get(key)
        return known is not None and known.admit(self.clock())

    def _count(self, key: tuple[str, str], rule: BreakerRule, trial: _Trial, error: BaseException) -> None:
        """Count how a call failed, if that says something about the upstream."""
        if isinstance(error, CircuitOpen):  # a transport that refuses by itself; it has counted already
            return
        if isinstance(error, ConnectionLost):
            self._failed(key, rule, probe=trial.is_probe, began=trial.began)
        elif isinstance(error, _FAILURES):
            self._failed(key, rule, probe=trial.is_probe)
        elif isinstance(error, _REPLIES):
            self._answered(key)
        elif trial.began < trial.ends <= self.clock():
            # The layer above that limits the time cancels what runs below it.
            clock = current_clock()
            if clock is None or not clock.has_stopped:
                self._failed(key, rule, probe=trial.is_probe)

    def _noting(self, key: tuple[str, str], emit: Emit) -> Emit:
        """Return `emit` for a call, so that a partial result counts as an answer."""

        async def noting(partial: object) -> None:
            self._answered(key)
            await emit(partial)

        return noting

    def _answered(self, key: tuple[str, str], *, is_news: bool = False) -> None:
        """Note an answer, also before the end of its call. It is news if another bridge got it."""
        if self._known and (breaker := self._known.pop(key, None)) is not None and breaker.is_open:
            self._journals[key].closed(self.clock(), key)
            if self.tell is not None and not is_news:
                self.tell({"manual": key[0], "peer": key[1], "open": False})

    def _failed(self, key: tuple[str, str], rule: BreakerRule, *, probe: bool, began: float = inf) -> None:
        breaker = self._known.setdefault(key, Breaker(rule))
        now = self.clock()
        if breaker.failed(now, probe=probe, began=began):
            self._journals.setdefault(key, _Journal()).opened(now, key, breaker)
            if self.tell is not None:
                known = [rule.threshold, rule.first, rule.longest]
                seconds = breaker.wait(now)
                news = {"manual": key[0], "peer": key[1], "open": True, "rule": known, "seconds": seconds}
                self.tell({**news, "failures": breaker.failures})
        elif breaker.is_open and probe:
            self._journals[key].still_open(now, key, breaker)
