"""Policy: rules that may refuse a call when its arguments are known and before anything is sent.

These are rules of the embedding program, such as approval or limits per user. What follows from the configuration alone
(protocols, targets, credentials) is decided at registration and in `net/guard.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from utcp_bridge.late.records import dataclass
from utcp_bridge.model import Call, Emit, Result, Tool
from utcp_bridge.pipeline import Next

__all__ = ["Policy", "Rule"]


class Rule(Protocol):
    """A rule lets the call pass by returning.

    :raises PolicyError: the rule refuses the call; the caller receives the message.
    """

    async def __call__(self, call: Call, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Policy:
    """Applies every rule, in order."""

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
