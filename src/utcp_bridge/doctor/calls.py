"""The step `call`: a tool is really called, and what kind of answer came is told, never the answer itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from utcp_bridge.doctor.steps import Finding
from utcp_bridge.errors import Rejected, UnknownTool
from utcp_bridge.model import Binary, ContentBlocks, JsonObject, Result, is_list, is_object

if TYPE_CHECKING:
    from utcp_bridge.catalogue.catalogue import Catalogue
    from utcp_bridge.client.client import UtcpClient

__all__ = ["Trial", "manual_of", "try_call"]


@dataclass(frozen=True, slots=True)
class Trial:
    """A call to make: a tool by its UTCP or MCP name, and its arguments."""

    tool: str
    arguments: JsonObject = field(default_factory=dict[str, Any], repr=False)


def manual_of(trial: Trial, catalogue: Catalogue, manuals: list[str]) -> str | None:
    """The manual that the tool belongs to; by its name's beginning where there is no such tool."""
    entry = catalogue.resolve(trial.tool)
    if entry is not None:
        return entry.tool.manual
    fitting = [name for name in manuals if trial.tool.startswith((f"{name}.", f"{name}_"))]
    return max(fitting, key=len, default=None)


async def try_call(client: UtcpClient, catalogue: Catalogue, trial: Trial) -> Finding:
    """Make the call. Raises UtcpError as the call does, UnknownTool, and Rejected for a result that says it failed."""
    entry = catalogue.resolve(trial.tool)
    if entry is None:
        raise UnknownTool(f"There is no tool {trial.tool!r}.", remedy="`utcp-bridge tools` lists them all.")
    name = entry.tool.qualified_name
    result = await client.call(entry.tool, entry.own_arguments(trial.arguments))
    if isinstance(result.value, ContentBlocks) and result.value.is_error:
        raise Rejected(
            f"{name} answered that it failed.", status="isError", remedy=f"`utcp-bridge call {name}` shows how."
        )
    return Finding(
        f"{name} answered {_kind(result)}.", details=(f"note: {result.truncated}",) if result.truncated else ()
    )


def _kind(result: Result) -> str:
    """What an answer is, without a word of what it says."""
    value = result.value
    if isinstance(value, ContentBlocks):
        return _counted(len(value.content), "MCP content block")
    if isinstance(value, Binary):
        return f"{len(value.data)} bytes of {value.media_type}"
    if isinstance(value, str):
        return f"a text of {_counted(len(value), 'character')}"
    if is_object(value):
        return f"an object with {_counted(len(value), 'member')}"
    if is_list(value):
        return f"a list of {len(value)}"
    return "nothing" if value is None else f"a {'truth value' if isinstance(value, bool) else 'number'}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun if number == 1 else f'{noun}s'}"
