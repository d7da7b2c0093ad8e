"""Audit: one JSON line per call, with any outcome. It contains names of arguments, never their values."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter

import orjson

from utcp_bridge.model import Call, Emit, Result, Tool
from utcp_bridge.pipeline import Next, outcome_of

__all__ = ["Audit"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Audit:
    """Writes a line to `sink` for each call; without a sink the layer is left out.

    Keys: time (RFC 3339, UTC), call, tool, kind, arguments (sorted names), outcome (see `outcome_of`), seconds. A sink
    that fails is logged and does not change the outcome, because reporting a completed call as failed would invite a
    second one.
    """

    sink: Callable[[bytes], None] | None = None

    def __call__(self, tool: Tool, inner: Next) -> Next:
        del tool
        sink = self.sink
        if sink is None:
            return inner

        async def audited(call: Call, emit: Emit) -> Result:
            started = perf_counter()
            try:
                result = await inner(call, emit)
            except BaseException as error:
                _write(sink, call, _line(call, outcome_of(error), perf_counter() - started))
                raise
            _write(sink, call, _line(call, outcome_of(None), perf_counter() - started))
            return result

        return audited


def _write(sink: Callable[[bytes], None], call: Call, line: bytes) -> None:
    try:
        sink(line)
    except Exception as error:  # noqa: BLE001 - a sink is a file, a socket or code of others
        message = "The audit line of call %s was not written (%s)."
        _logger.error(message, call.id, type(error).__name__)  # noqa: TRY400


def _line(call: Call, outcome: str, seconds: float) -> bytes:
    record = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "call": call.id,
        "tool": call.tool.qualified_name,
        "kind": call.tool.kind,
        "arguments": sorted(map(_writable, call.arguments)),
        "outcome": outcome,
        "seconds": round(seconds, 6),
    }
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


def _writable(name: object) -> str:
    """Return an argument name that UTF-8 can encode, so that a lone surrogate does not prevent the audit line."""
    return str(name).encode(errors="replace").decode()
