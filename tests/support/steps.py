"""Tools, calls and innermost steps for tests of the layers of the pipeline."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from utcp_bridge.model import Call, Emit, JsonObject, Result, Source, Tool, discard
from utcp_bridge.pipeline import Next


def make_tool(*, manual: str = "shop", name: str = "search", **fields: Any) -> Tool:
    """Return a tool with an empty template."""
    return Tool(source=Source(name=manual), name=name, kind="test", **{"template": {}, **fields})


def make_call(tool: Tool | None = None, arguments: JsonObject | None = None) -> Call:
    """Return a call of `tool`."""
    return Call(tool or make_tool(), {} if arguments is None else arguments, "call-1")


@dataclass
class Step:
    """An innermost step that records its calls and then returns a value, raises, or runs a coroutine."""

    answer: Any = "done"
    does: Callable[[Call, Emit], Awaitable[Any]] | None = None
    faults: list[Exception] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    async def __call__(self, call: Call, emit: Emit) -> Result:
        self.calls.append(call)
        if self.faults:
            raise self.faults.pop(0)
        if self.does is not None:
            return Result(await self.does(call, emit))
        return Result(self.answer)


async def run(step: Next, call: Call | None = None, emit: Emit = discard) -> Any:
    """Return the value of a step for a call."""
    return (await step(call or make_call(), emit)).value
