"""The pipeline around every call: one file per cross-cutting concern, composed once per tool.

A layer receives the tool and the next step and returns a step. A layer with nothing to do for the tool returns the next
step itself, so a plain call has few awaits. `client/client.py` contains the order of the layers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from utcp_bridge.errors import UtcpError
from utcp_bridge.model import Call, Emit, Result, Tool
from utcp_bridge.upstream import InputRequired, ProtocolError

__all__ = ["Layer", "Next", "compose", "outcome_of"]

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
