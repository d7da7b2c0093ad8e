"""A streaming call of the client as an iterator of its partial results."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio

from utcp_bridge.errors import Rejected, UtcpError
from utcp_bridge.model import ContentBlocks, Emit, JsonObject, Result, Tool, is_list

__all__ = ["StreamingRun", "plain_value"]

_MAX_SAID: Final = 1_000
"""Characters of an error of an MCP server in a message; `detail` has all of it."""


def plain_value(value: Any) -> Any:
    """Return the value of a result with content blocks of MCP servers as plain data.

    :raises Rejected: an MCP server returned an error.
    """
    if not isinstance(value, ContentBlocks):
        return [one.plain() if isinstance(one, ContentBlocks) else one for one in value] if is_list(value) else value
    if value.is_error:
        detail = value.plain()
        said = f": {detail}" if isinstance(detail, str) and detail else "."
        raise Rejected(f"The tool returned an error{said}"[:_MAX_SAID], status="isError", detail=detail)
    return value.plain()


class StreamingRun:
    """One streaming call in a task of its own: partial results go through a stream, an error is kept for the end."""

    def __init__(
        self, call: Callable[[Tool, JsonObject, Emit], Awaitable[Result]], tool: Tool, arguments: JsonObject
    ) -> None:
        self._call = call
        self._tool = tool
        self._arguments = arguments
        self._send, self.partials = anyio.create_memory_object_stream[Any](0)
        self._emitted = False
        self.error: UtcpError | None = None

    async def run(self) -> None:
        """Make the call."""
        async with self._send:
            try:
                result = await self._call(self._tool, self._arguments, self._emit)
            except UtcpError as error:
                self.error = error
                return
            self.error = result.failure
            try:
                value = plain_value(result.value)
            except Rejected as error:
                self.error = error
                return
            if not self._emitted:
                await self._send.send(value)

    async def _emit(self, partial_result: Any) -> None:
        self._emitted = True
        await self._send.send(partial_result)
