"""Read a stream within its limits: values are emitted as they arrive, gathered, and cut with a reason."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import anyio

from utcp_bridge.model import Binary, Emit, LogMessage, Result, log_receiver
from utcp_bridge.net.stream_decoders import Splitter
from utcp_bridge.settings import BridgeSettings

__all__ = ["Collector"]

_MARGIN = 0.25
"""Seconds before the call's deadline at which a stream ends by itself, so that its partial results are not lost."""
_SMALL = 1_024
_MANY = 32
_PAUSE = 0.02
"""After `_MANY` pieces in a row, each below `_SMALL` bytes and without a value, a stream is read only every `_PAUSE`
seconds: a server that sends its bytes one by one must not take the turns of the others."""
_UNCOUNTED = 65_536


@dataclass(slots=True)
class Collector:
    """Gathers the values of one call over one or several connections.

    At a limit it stops and sets `truncated`. The limits are the number of values, bytes, the time without a value
    (`idle_timeout` seconds; comments and pings are not values), and the deadline of the call.
    """

    settings: BridgeSettings
    emit: Emit
    values: list[Any] = field(default_factory=list[Any])
    truncated: str | None = None
    _received: int = 0
    _logged: int = 0

    async def consume(self, chunks: AsyncIterator[bytes], splitter: Splitter) -> None:
        """Read `chunks` to their end or to a limit. Errors of reading and splitting are raised."""
        await self.gather(_split(chunks, splitter))

    async def gather(self, batches: AsyncGenerator[tuple[list[Any], int]]) -> None:
        """Read batches (values and their size in bytes) to their end or to a limit. Errors of reading are raised.

        A batch without values does not end the time without a value.
        """
        ends = anyio.current_effective_deadline() - _MARGIN
        quiet_from = anyio.current_time()
        async with aclosing(batches):
            while self.truncated is None:
                batch: tuple[list[Any], int] | None = None
                with anyio.CancelScope(deadline=min(quiet_from + self.settings.idle_timeout, ends)) as scope:
                    batch = await anext(batches, None)
                if scope.cancelled_caught:
                    self.truncated = self._why(ends)
                if batch is None:
                    return
                if batch[0]:
                    quiet_from = anyio.current_time()
                await self._take(*batch)

    def result(self) -> Result:
        """Return the gathered values: joined if all are bytes or all are text, otherwise as a list."""
        return Result(_joined(self.values), truncated=self.truncated)

    async def _take(self, found: list[Any], size: int) -> None:
        for value in found:
            if isinstance(value, LogMessage):
                self._logged += 1
                if self._logged > self.settings.max_stream_events:
                    continue
                if (receive := log_receiver.get()) is not None:
                    await receive(value)
                continue
            if len(self.values) >= self.settings.max_stream_events:
                self.truncated = f"the stream was cut at {self.settings.max_stream_events} results"
                return
            self.values.append(value)
            await self.emit(value)
        self._received += size
        if self._received > self.settings.max_reply_bytes:
            self.truncated = f"the stream was cut at {self.settings.max_reply_bytes} bytes"

    def _why(self, ends: float) -> str:
        if anyio.current_time() >= ends:
            return "the time limit of the call ended before the stream did"
        return f"nothing arrived for {self.settings.idle_timeout:g} seconds"


async def _split(chunks: AsyncIterator[bytes], splitter: Splitter) -> AsyncGenerator[tuple[list[Any], int]]:
    size = small = 0
    async for chunk in chunks:
        values = splitter.feed(chunk)
        size += len(chunk)
        small = 0 if values or len(chunk) >= _SMALL else small + 1
        if values or size >= _UNCOUNTED:
            yield values, size
            size = 0
        elif small >= _MANY:
            await anyio.sleep(_PAUSE)
    yield splitter.finish(), size


def _joined(values: list[Any]) -> Any:
    if values and all(isinstance(value, Binary) for value in values):
        return Binary(b"".join(value.data for value in values), values[0].media_type)
    if values and all(isinstance(value, str) for value in values):
        return "".join(values)
    return values
