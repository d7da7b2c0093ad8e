"""The pipeline around every call: one file per cross-cutting concern, composed once per tool.

A layer receives the tool and the next step and returns a step. A layer with nothing to do for the tool returns the next
step itself, so a plain call has few awaits. `client/client.py` contains the order of the layers.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import orjson

from utcp_bridge.errors import UtcpError
from utcp_bridge.model import Call, Emit, Result, Tool
from utcp_bridge.upstream import InputRequired, ProtocolError

__all__ = ["Layer", "Next", "canonical_json", "compose", "outcome_of"]

Next: TypeAlias = Callable[[Call, Emit], Awaitable[Result]]
Layer: TypeAlias = Callable[[Tool, Next], Next]


def compose(tool: Tool, layers: Sequence[Layer], innermost: Next) -> Next:
    """Wrap `innermost` in `layers`, the outermost first, and return the whole."""
    step = innermost
    for layer in reversed(layers):
        step = layer(tool, step)
    return step


def outcome_of(error: BaseException | None) -> str:
    """Return how a call ended, in one word for audit and metrics.

    The word is `ok` without an error, the error's code for a `UtcpError`, `protocol_error` for a JSON-RPC error of an
    MCP server that is passed on, `input_required` for a call that the caller repeats with answers, `internal` for any
    other exception, and `cancelled` for what ends a task from outside.
    """
    if error is None:
        return "ok"
    if isinstance(error, InputRequired | ProtocolError):
        return "input_required" if isinstance(error, InputRequired) else "protocol_error"
    if isinstance(error, UtcpError):
        return error.code
    return "internal" if isinstance(error, Exception) else "cancelled"


def canonical_json(value: Any) -> bytes:
    """Return JSON whose bytes are equal only for equal values: members sorted, numbers as they are written.

    :raises ValueError: the value is not JSON, or is nested too deep.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS)
    except TypeError:  # integers of more than 64 bits, halves of surrogate pairs, and what is not JSON
        pass
    try:
        text = json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))
        is_same = json.loads(text) == value  # keys that are not text, and tuples, change
    except (TypeError, ValueError, RecursionError):
        is_same, text = False, ""
    if not is_same:
        raise ValueError("The value is not JSON.")
    return text.encode()
