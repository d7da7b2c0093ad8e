"""The step `requests`: whether the call of each tool could be made, by building its request and sending none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from utcp_bridge.doctor.examples import example_arguments
from utcp_bridge.doctor.steps import Finding
from utcp_bridge.errors import InvalidArguments, Unexplainable, UtcpError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.model import Tool

__all__ = ["build_requests"]

_MOST: Final = 500
"""Tools of one manual; what is wrong with a manual shows in fewer."""


async def build_requests(client: UtcpClient, tools: Sequence[Tool]) -> Finding:
    """Build a request for each tool from arguments made up by its schema. Raises UtcpError where none can be built."""
    built, notes, failed = 0, list[str](), list[tuple[str, UtcpError]]()
    for tool in tools[:_MOST]:
        try:
            await client.explain(tool, example_arguments(tool.inputs))
            built += 1
        except InvalidArguments:
            notes.append(f"note: {tool.qualified_name}: no arguments that fit could be made up")
        except Unexplainable as error:
            return Finding(error.message, "skipped")
        except UtcpError as error:
            failed.append((tool.qualified_name, error))
    if failed and not built and not notes:
        raise failed[0][1]
    if len(tools) > _MOST:
        notes.append(f"note: the first {_MOST} of {len(tools)} tools were looked at")
    if not failed:
        return Finding(f"{_counted(built)} can be built; nothing was sent.", details=tuple(notes))
    errors = [f"error: {name}: {error}" for name, error in failed]
    message = f"{_counted(built)} can be built, {len(failed)} cannot."
    return Finding(message, "warning", "The details say what each of them lacks.", (*errors, *notes))


def _counted(number: int) -> str:
    return f"{number} {'request' if number == 1 else 'requests'}"
