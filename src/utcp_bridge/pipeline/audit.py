"""Audit: one JSON line per call, with any outcome. It never contains values of arguments."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from time import monotonic, perf_counter
from typing import Final

import orjson

from utcp_bridge.model import CALLER, Call, Emit, Result, Tool
from utcp_bridge.pipeline import Next, outcome_of

__all__ = ["Audit"]

_logger = logging.getLogger(__name__)
_LOG_SECONDS: Final = 60.0


@dataclass(slots=True)
class _Failures:
    """Counts the lines that a sink refused."""

    number: int = 0
    _logged_at: float = float("-inf")

    def add(self, call: Call, error: Exception) -> None:
        self.number += 1
        now = monotonic()
        if now - self._logged_at >= _LOG_SECONDS:
            self._logged_at = now
            message = "The audit line of call %s was not written (%s). Audit lines lost so far: %d."
            _logger.error(message, call.id, type(error).__name__, self.number)


@dataclass(frozen=True, slots=True)
class Audit:
    """Writes a line to `sink` for each call; without a sink the layer is left out.

    Keys: time (RFC 3339, UTC), call, tool, kind, caller, outcome (see `outcome_of`), seconds. `caller` is a digest that
    is the same for all calls of a session, or of an address and program without a session. With `names`, `arguments`
    has the sorted names of the arguments. The caller chooses these, so they may be anything, also a secret.

    A sink that fails is logged, once a minute, and does not change the outcome, because reporting a completed call as
    failed would invite a second one.
    """

    sink: Callable[[bytes], None] | None = None
    names: bool = False
    _failures: _Failures = field(default_factory=_Failures, repr=False)

    @property
    def lost(self) -> int | None:
        """How many lines were not written; None without a sink.

        A sink that writes later counts for itself, in an attribute `lost`.
        """
        if self.sink is None:
            return None
        later = getattr(self.sink, "lost", 0)
        return self._failures.number + (later if isinstance(later, int) else 0)

    def __call__(self, tool: Tool, inner: Next) -> Next:
        del tool
        sink, names, failures = self.sink, self.names, self._failures
        if sink is None:
            return inner

        async def audited(call: Call, emit: Emit) -> Result:
            started = perf_counter()
            try:
                result = await inner(call, emit)
            except BaseException as error:
                write(call, _line(call, outcome_of(error), perf_counter() - started, names=names))
                raise
            write(call, _line(call, outcome_of(result.failure), perf_counter() - started, names=names))
            return result

        def write(call: Call, line: bytes) -> None:
            try:
                sink(line)
            except Exception as error:  # noqa: BLE001 - a sink is a file, a socket or code of others
                failures.add(call, error)

        return audited


def _line(call: Call, outcome: str, seconds: float, *, names: bool) -> bytes:
    record: dict[str, object] = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "call": call.id,
        "tool": call.tool.qualified_name,
        "kind": call.tool.kind,
        "caller": blake2b(CALLER.get().encode(errors="replace"), digest_size=8).hexdigest(),
        "outcome": outcome,
        "seconds": round(seconds, 6),
    }
    if names:
        record["arguments"] = sorted(map(_writable, call.arguments))
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


def _writable(name: object) -> str:
    """Return an argument name that UTF-8 can encode, so that a lone surrogate does not prevent the audit line."""
    return str(name).encode(errors="replace").decode()
