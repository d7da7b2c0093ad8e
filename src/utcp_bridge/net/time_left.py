"""The time that a call has left, for upstreams: they can stop working when nobody waits any more."""

from __future__ import annotations

from math import inf

import anyio

__all__ = ["header_of_time", "seconds_left"]

_LEAST: float = 0.001


def seconds_left() -> float | None:
    """Return how many seconds the running call has left; None if it has no limit."""
    ends = anyio.current_effective_deadline()
    return None if ends == inf else max(ends - anyio.current_time(), _LEAST)


def header_of_time(name: str) -> tuple[str, str] | None:
    """Return the header that tells an HTTP service the time left; None if the call has no limit.

    The value is in seconds, such as `12.345`. If the name ends with `-ms`, it is in whole milliseconds.
    """
    left = seconds_left()
    if left is None:
        return None
    milliseconds = max(1, int(left * 1000))
    return name, str(milliseconds) if name.lower().endswith("-ms") else f"{milliseconds / 1000:.3f}"
