"""When to try again what keeps failing (sans-I/O; times in seconds on one monotonic clock).

Pauses differ by a quarter either way, so that clients that failed together do not come back together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from utcp_bridge.late.records import dataclass

__all__ = ["MAX_PAUSE", "Backoff", "jittered", "pauses"]

MAX_PAUSE = 60.0
_JITTER = 0.25
_MAX_DOUBLINGS = 16
_random = Random()  # noqa: S311 - spreads tries, guards nothing


def jittered(seconds: float) -> float:
    """Return `seconds`, more or less a quarter of them."""
    return seconds * _random.uniform(1 - _JITTER, 1 + _JITTER)


def pauses(first: float, maximum: float = MAX_PAUSE) -> Iterator[float]:
    """Yield pauses that double from `first`, with jitter, none above `maximum`."""
    pause = first
    while True:
        yield min(maximum, jittered(pause))
        pause = min(maximum, pause * 2)


@dataclass(slots=True)
class Backoff:
    """Pauses that double from `first` to `maximum`. After a success they start again.

    The first failure brings no pause: a server that ended after it worked is started again at once.
    """

    first: float = 1.0
    maximum: float = MAX_PAUSE
    spread: Callable[[float], float] = jittered
    _failures: int = 0
    _not_before: float = 0.0

    @property
    def failures(self) -> int:
        """The number of failures since the last success."""
        return self._failures

    def succeeded(self) -> None:
        """Note that it works."""
        self._failures = 0
        self._not_before = 0.0

    def failed(self, now: float) -> None:
        """Note that it did not start, or that it ended before it worked."""
        self._failures += 1
        pause = 0.0
        if self._failures > 1:
            doubled = self.first * 2 ** min(self._failures - 2, _MAX_DOUBLINGS)
            pause = min(self.maximum, self.spread(min(self.maximum, doubled)))
        self._not_before = now + pause

    def pause(self, now: float) -> float:
        """Return the seconds until the next try; 0 means now."""
        return max(0.0, self._not_before - now)
