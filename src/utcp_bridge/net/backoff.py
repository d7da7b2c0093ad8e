"""When to try again what keeps failing (sans-I/O; times in seconds on one monotonic clock)."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Backoff"]


@dataclass(slots=True)
class Backoff:
    """Pauses that double from `first` to `maximum`. After a success of `healthy` seconds they start again.

    There is no pause after the first failure: a server that ended after it ran well is started again at once.
    """

    first: float = 1.0
    maximum: float = 60.0
    healthy: float = 60.0
    _failures: int = 0
    _not_before: float = 0.0
    _since: float | None = None

    def started(self, now: float) -> None:
        """Note that it started."""
        self._since = now

    def failed(self, now: float) -> None:
        """Note that it did not start, or that it ended."""
        if self._since is not None and now - self._since >= self.healthy:
            self._failures = 0
        self._since = None
        self._failures += 1
        pause = 0.0 if self._failures == 1 else min(self.maximum, self.first * 2 ** min(self._failures - 2, 16))
        self._not_before = now + pause

    def pause(self, now: float) -> float:
        """Return the seconds until the next try; 0 means now."""
        return max(0.0, self._not_before - now)
