"""How many traces that begin at the bridge are noted a second, without a sampler of the operator.

A span that is sent costs several times as much as the rest of what traces cost. At the speed of people, every trace is
noted; a load has more traces than anybody reads, and those above the limit cost what a trace costs that is not sampled.
A trace that a caller samples is noted always: without the bridge, it would have a gap.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic_ns
from typing import Any, Final

from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult

__all__ = ["LimitedSampler", "TraceLimit"]

_logger = logging.getLogger(__name__)
_SECOND: Final = 1_000_000_000


class TraceLimit:
    """Says whether a trace that begins is noted: a number a second, and after a pause as many at once."""

    def __init__(self, most: int, clock: Callable[[], int] = monotonic_ns) -> None:
        """`most` is the number a second. `clock` returns nanoseconds."""
        self.most: Final = most
        self.clock: Final = clock
        self._every: Final = _SECOND // most
        self._saved: Final = (most - 1) * self._every
        """How far back the places reach that a pause leaves."""
        self.free = clock() - self._saved
        """When the next place is free: before now, if places were left."""
        self.left_out = 0
        """How many traces were not noted."""
        self.granted = ""
        """The `traceparent` of the last trace that the hot front has decided to note."""

    def takes(self) -> bool:
        """Return whether the next trace is noted."""
        now = self.clock()
        if now < self.free:
            self.left_out += 1
            if self.left_out == 1:
                self._say()
            return False
        self.free = max(self.free, now - self._saved) + self._every
        return True

    def _say(self) -> None:
        _logger.warning(
            "More than %d traces began in a second. Further ones are passed on and not recorded; the metric"
            " utcp_bridge_traces_not_recorded_total counts them. The setting `traces_per_second` changes the limit.",
            self.most,
        )


class LimitedSampler(ParentBased):
    """Decides by the parent, as OpenTelemetry's default does, and by a limit where a trace begins."""

    def __init__(self, limit: TraceLimit) -> None:
        self.limit: Final = limit
        super().__init__(_Beginning(limit))


class _Beginning(Sampler):
    """Decides about traces that begin."""

    def __init__(self, limit: TraceLimit) -> None:
        self._limit = limit

    def should_sample(
        self,
        parent_context: Any,
        trace_id: int,
        name: str,
        kind: Any = None,
        attributes: Any = None,
        *_: Any,
        **_more: Any,
    ) -> SamplingResult:
        """Decide, unless the hot front has decided to note this trace."""
        del parent_context, name, kind
        granted, self._limit.granted = self._limit.granted, ""
        if granted[3:35] == f"{trace_id:032x}" or self._limit.takes():
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)
        return SamplingResult(Decision.DROP)

    def get_description(self) -> str:
        """Return how the sampler is shown."""
        return f"TracesPerSecond{{{self._limit.most}}}"
