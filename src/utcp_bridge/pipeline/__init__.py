"""The pipeline around every call: cross-cutting concerns, one file each, composed once per tool.

A layer takes the tool and the next step and returns a step; where it has nothing to do for the tool it
returns the next step itself, so a plain call passes few awaits. The order is written in client.py.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from utcp_bridge.model import Call, Emit, Result, Tool

__all__ = ["Layer", "Next", "compose"]

Next: TypeAlias = Callable[[Call, Emit], Awaitable[Result]]
Layer: TypeAlias = Callable[[Tool, Next], Next]


def compose(tool: Tool, layers: Sequence[Layer], innermost: Next) -> Next:
    """Fold `layers` (outermost first) around `innermost`."""
    step = innermost
    for layer in reversed(layers):
        step = layer(tool, step)
    return step
