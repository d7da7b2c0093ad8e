"""Policy: rules that may refuse a call after its arguments are known and before anything is sent.

What follows from the configuration alone (protocols, targets, credentials) is decided at registration and
in wire/guard.py; this layer is for rules of the embedding program, such as approval or per-user limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from utcp_bridge.model import Call, Emit, Result, Tool
from utcp_bridge.pipeline import Next

__all__ = ["Policy", "Rule"]


class Rule(Protocol):
    """Returns to let the call pass.

    :raises PolicyError: to refuse it; the message reaches the caller.
    """

    async def __call__(self, call: Call, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Policy:
    """Asks every rule, in order."""

    rules: Sequence[Rule] = ()

    def __call__(self, tool: Tool, inner: Next) -> Next:
        del tool
        if not self.rules:
            return inner

        async def ruled(call: Call, emit: Emit) -> Result:
            for rule in self.rules:
                await rule(call)
            return await inner(call, emit)

        return ruled
