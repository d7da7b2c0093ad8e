"""The last calls, in memory, for the console.

A call costs one more entry in a bounded list. Nothing is read before somebody looks.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from typing import Any, Final

from utcp_bridge.late.records import dataclass
from utcp_bridge.telemetry.counting import CallDetails

__all__ = ["MAX_CALLS", "RecentCalls", "Slice", "slices"]

MAX_CALLS: Final = 1_000
"""Calls that are kept."""
_MAX_LINE: Final = 4_096
"""Bytes of an audit line that is kept with its call."""


@dataclass(slots=True)
class _RecentCall:
    ended: float
    details: CallDetails
    line: bytes | None = None


@dataclass(slots=True)
class RecentCalls:
    """Keeps the last calls of a client, as a hook of the pipeline (`Metrics`), with the lines of its audit log.

    Audit lines say more: who called, and the arguments if the operator records them.
    """

    is_on: bool = False
    """Whether calls are kept. `UtcpClient.keep_recent_calls` turns it on, also for tools that were called before."""
    number: int = 0
    """How many calls were kept since the start."""
    saved: int = 0
    """Bytes of results that no host received since the start, because they were cut or projected."""
    _savings: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=MAX_CALLS))
    _calls: deque[_RecentCall] = field(default_factory=lambda: deque(maxlen=MAX_CALLS))

    def __call__(self, details: CallDetails, /) -> None:
        self.number += 1
        self._calls.append(_RecentCall(time.time(), details))

    def beside(self, sink: Callable[[bytes], None] | None) -> Callable[[bytes], None] | None:
        """Return an audit sink that also keeps each line here; None for None."""
        return None if sink is None else _Tee(sink, self)

    def note(self, line: bytes) -> None:
        """Keep the audit line of the last call. Audit writes it right after this hook, before any other call ends."""
        if self.is_on and self._calls and len(line) <= _MAX_LINE:
            self._calls[-1].line = line

    def note_saved(self, size: int) -> None:
        """Note that a result was shortened by this number of bytes."""
        if self.is_on and size > 0:
            self.saved += size
            self._savings.append((time.time(), size))

    def savings(self) -> list[tuple[float, int]]:
        """Return the last savings, the oldest first: seconds since 1970, and bytes."""
        return list(self._savings)

    def found(self) -> Iterator[dict[str, Any]]:
        """Yield {time, tool, manual, kind, outcome, seconds} of each call, the newest first.

        `time` is in seconds since 1970. With an audit log, `audit` has its line.
        """
        for kept in reversed(self._calls):
            one = kept.details
            call = {"time": kept.ended, "tool": one.tool, "manual": one.manual, "kind": one.kind}
            told: dict[str, Any] = {} if kept.line is None else json.loads(kept.line)
            is_its = told.get("tool") == one.tool and told.get("outcome") == one.outcome
            yield {**call, "outcome": one.outcome, "seconds": one.seconds, **({"audit": told} if is_its else {})}


@dataclass(frozen=True, slots=True)
class _Tee:
    sink: Callable[[bytes], None]
    recent: RecentCalls

    @property
    def lost(self) -> int:
        found = getattr(self.sink, "lost", 0)
        return found if isinstance(found, int) else 0

    def __call__(self, line: bytes) -> None:
        self.recent.note(line)
        self.sink(line)


@dataclass(slots=True)
class Slice:
    """The calls of one span of time. Durations are in seconds."""

    begins: float
    ok: int = 0
    failed: int = 0
    durations: list[float] = field(default_factory=list[float])
    saved: int = 0
    """Bytes by which results were shortened."""

    def share(self, part: float) -> float:
        """Return the duration that this part of the calls stayed below; 0 without calls."""
        ordered = sorted(self.durations)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


def slices(
    calls: Sequence[dict[str, Any]],
    savings: Sequence[tuple[float, int]] = (),
    *,
    number: int = 30,
    now: float | None = None,
) -> list[Slice]:
    """Return the calls and savings in equal spans of time, from the oldest call until now; at least a minute in all.

    Savings before the oldest call are left out.
    """
    now = time.time() if now is None else now
    first = min((one["time"] for one in calls), default=now)
    width = max(60.0, now - first) / number
    begins = now - width * number
    found = [Slice(begins + place * width) for place in range(number)]
    for one in calls:
        part = found[min(number - 1, max(0, int((one["time"] - begins) / width)))]
        if one["outcome"] == "ok":
            part.ok += 1
        else:
            part.failed += 1
        part.durations.append(one["seconds"])
    for at, size in savings:
        if at >= begins - width:  # a result is shortened shortly before its call ends
            found[min(number - 1, max(0, int((at - begins) / width)))].saved += size
    return found
