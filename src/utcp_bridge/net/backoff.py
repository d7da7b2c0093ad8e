"""When something that keeps failing may be tried again (sans-I/O; times in seconds on one monotonic clock)."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Backoff"]


@dataclass(slots=True)
class Backoff:
    """Pauses that double from `first` to `most`; what lived for `healthy` seconds starts afresh.

    The first failure costs no pause: a server that ended after good service is simply started again.
    """

    first: float = 1.0
    most: float = 60.0
    healthy: float = 60.0
    _failures: int = 0
    _not_before: float = 0.0
    _since: float | None = None

    def started(self, now: float) -> None:
        """It came up."""
        self._since = now

    def failed(self, now: float) -> None:
        """It did not come up, or it ended."""
        if self._since is not None and now - self._since >= self.healthy:
            self._failures = 0
        self._since = None
        self._failures += 1
        pause = 0.0 if self._failures == 1 else min(self.most, self.first * 2 ** min(self._failures - 2, 16))
        self._not_before = now + pause

    def pause(self, now: float) -> float:
        """Seconds until it may be tried; 0 for at once."""
        return max(0.0, self._not_before - now)
