"""Ruling: the operator's rules look at the arguments that are sent, and at the result that is given back.

The rules themselves are in `access`; this is the port for them, and their place in the pipeline. It is inside
validation, so rules see the arguments as they are sent, and outside of what changes a result, so they see all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from utcp_bridge.errors import ConfigError, UtcpError
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import Call, Emit, Fault, JsonObject, Result, Tool, discard, read_at_once
from utcp_bridge.pipeline import Layer, Next
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.tasks import setting
from utcp_bridge.upstream import TASK_WISH, InputRequired

__all__ = ["RulingPort", "Rulings", "ToolRuling"]


class ToolRuling(Protocol):
    """The rules that may decide about the calls of one tool."""

    reads_results: bool
    """Whether a rule looks at results. Then the host receives no partial results and no task, only the result."""

    async def before(self, call: Call) -> Any:
        """Return what `give_back` takes, if the call may be sent.

        :raises PolicyError: a rule refuses it.
        """
        ...

    async def give_back(self, grant: Any) -> None:
        """Take back what a call used that its caller has to send again with answers."""
        ...

    async def after(self, call: Call, result: Result) -> Result:
        """Return the result that the caller may have.

        :raises PolicyError: a rule refuses it.
        """
        ...

    async def mask(self, call: Call, error: UtcpError) -> None:
        """Replace in an error what the caller may not have."""
        ...


class RulingPort(Protocol):
    """The rules of a configuration."""

    def of(self, tool: Tool) -> ToolRuling | None:
        """Return the rules for a tool; None if none can match its calls."""
        ...

    def faults(self, tools: Sequence[Tool]) -> list[Fault]:
        """Return a warning for each rule that can never match one of these tools."""
        ...

    async def explain(self, tool: Tool, arguments: JsonObject) -> list[JsonObject]:
        """Return {rule, do, decides} for each rule that looks at a tool, in order, without an effect."""
        ...


@dataclass(slots=True)
class Rulings:
    """The layer; it leaves itself out for a tool without rules. `ruling` may be exchanged: later calls have the new."""

    ruling: RulingPort | None = None

    @classmethod
    def of(cls, ruling: RulingPort | None, settings: BridgeSettings) -> Rulings:
        """Return the layer for the rules that a program passes.

        :raises ConfigError: the configuration has rules, and the program does not pass any.
        """
        if settings.access_rules and ruling is None:
            raise ConfigError(
                "The configuration has `access.rules`, and this program does not enforce them.",
                remedy="Pass `Extensions(ruling=open_rules(...))`, or remove them (docs/rules.md).",
            )
        return cls(ruling)

    def faults(self, tools: Sequence[Tool]) -> list[Fault]:
        """Return a warning for each rule that can never match one of these tools."""
        return [] if self.ruling is None else self.ruling.faults(tools)

    async def explain(self, tool: Tool, arguments: JsonObject, reading: Layer) -> list[JsonObject]:
        """Return what `RulingPort.explain` does about arguments, as the layer `reading` reads them.

        :raises InvalidArguments: the arguments do not fit.
        """
        if self.ruling is None:
            return []
        read = arguments

        async def innermost(call: Call, _emit: Emit) -> Result:
            nonlocal read
            read = call.arguments
            return Result(None)

        await reading(tool, innermost)(Call(tool, arguments), discard)
        return await self.ruling.explain(tool, read)

    def __call__(self, tool: Tool, inner: Next) -> Next:
        own = None if self.ruling is None else self.ruling.of(tool)
        if own is None:
            return inner

        async def ruled(call: Call, emit: Emit) -> Result:
            grant = await own.before(call)
            try:
                if not own.reads_results:
                    return await inner(call, emit)
                with read_at_once(), setting(TASK_WISH, None):
                    result = await inner(call, discard)
            except InputRequired:
                await own.give_back(grant)
                raise
            except UtcpError as error:
                if own.reads_results:
                    await own.mask(call, error)
                raise
            if result.failure is not None:
                await own.mask(call, result.failure)
            return await own.after(call, result)

        return ruled
