"""A streaming call of the client as an iterator of its partial results."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from utcp_bridge.errors import UtcpError
from utcp_bridge.model import Emit, JsonObject, Result, Tool

__all__ = ["StreamingRun"]


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
            if not self._emitted:
                await self._send.send(result.value)

    async def _emit(self, partial_result: Any) -> None:
        self._emitted = True
        await self._send.send(partial_result)
