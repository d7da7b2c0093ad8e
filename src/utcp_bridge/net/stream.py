"""Read a stream within its limits: values are emitted as they arrive, gathered, and cut with a reason."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import anyio

from utcp_bridge.errors import DeadlineExceeded, MalformedReply, Rejected, UtcpError
from utcp_bridge.model import (
    Binary,
    Deferred,
    Emit,
    JsonObject,
    LogMessage,
    Result,
    in_seconds,
    large_reader,
    log_receiver,
)
from utcp_bridge.net.collecting import Collecting
from utcp_bridge.net.stream_decoders import ChunkSplitter, Later, Splitter
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.tasks import Slices, heavy_turn, in_slices, slice_clock
from utcp_bridge.workers.program import named

__all__ = ["Batch", "Collector", "read_later", "read_parts"]

_MARGIN: Final = 0.25
"""Seconds before the call's deadline at which a stream ends by itself, so that its partial results are not lost."""
_SMALL: Final = 1_024
_MANY: Final = 32
_PAUSE: Final = 0.02
"""After `_MANY` pieces in a row, each below `_SMALL` bytes and without a value, a stream is read only every `_PAUSE`
seconds: a server that sends its bytes one by one must not take the turns of the others."""
_UNCOUNTED: Final = 65_536
_VALUES_PER_STEP: Final = 32
_MAX_DETAIL: Final = 400
Batch = tuple[list[Any], int]
"""Values, of which `Later` ones still have to be read, and the number of bytes that they came in."""


@dataclass(slots=True)
class Collector:
    """Gathers the values of one call of `manual` over one or several connections.

    At a limit it stops and sets `truncated`. The limits are the number of values, bytes, the time without a value
    (`idle_timeout` seconds; comments and pings are not values), and the deadline of the call. If an error ends a stream
    that has values, they are kept: see `keeping`.
    """

    settings: BridgeSettings
    emit: Emit
    manual: str = ""
    idle: float | None = None
    """Seconds without a value, instead of `idle_timeout`."""
    values: list[Any] = field(default_factory=list[Any])
    """Those that take long to read are `Later` if the caller of the transport has them read elsewhere."""
    truncated: str | None = None
    failure: UtcpError | None = None
    _received: int = 0
    _logged: int = 0
    _ends: float = field(default_factory=lambda: anyio.current_effective_deadline() - _MARGIN)
    _place: Collecting = field(init=False)
    _slices: Slices = field(default_factory=Slices)

    def __post_init__(self) -> None:
        self._place = Collecting(self.manual)

    @contextmanager
    def keeping(self) -> Generator[None]:
        """Enclose what is done to receive the stream. Its error is raised only if no value came before it.

        The block is left shortly before the call's deadline.

        :raises DeadlineExceeded: no value came before it.
        """
        scope = anyio.CancelScope(deadline=self._ends + _MARGIN / 2)
        try:
            with scope:
                yield
        except UtcpError as error:
            if not self.values:
                raise
            self.failure = error
            self.truncated = _incomplete(error)
        finally:
            self._place.__exit__(None, None, None)
        if scope.cancelled_caught and not self.values:
            raise DeadlineExceeded("The time limit of the call ended before the stream began.")
        if scope.cancelled_caught and self.truncated is None:
            self.truncated = self._why()

    async def consume(self, chunks: AsyncIterator[bytes], splitter: Splitter) -> None:
        """Read `chunks` to their end or to a limit. Errors of reading and splitting are raised.

        If the stream is cut or breaks, the bytes that fill no chunk are a last, shorter one.
        """
        try:
            await self.gather(_split(chunks, splitter, self._slices))
        except UtcpError:
            await self._take_rest(splitter)
            raise
        await self._take_rest(splitter)

    async def gather(self, batches: AsyncGenerator[Batch]) -> None:
        """Read batches to their end or to a limit. Errors of reading are raised.

        A batch without values does not end the time without a value. A large stream waits for its manual's place.
        """
        quiet_from = anyio.current_time()
        async with aclosing(batches):
            while self.truncated is None:
                batch: Batch | None = None
                with anyio.CancelScope(deadline=min(quiet_from + self._idle_seconds, self._ends)) as scope:
                    batch = await anext(batches, None)
                if scope.cancelled_caught:
                    self.truncated = self._why()
                if batch is None:
                    return
                values, size = batch
                before = anyio.current_time()
                with anyio.CancelScope(deadline=self._ends) as scope:
                    await self._place.grow(size)
                if scope.cancelled_caught:
                    self.truncated = self._why()
                await self.take(values, size)
                now = anyio.current_time()
                quiet_from = now if values else quiet_from + now - before

    def result(self) -> Result:
        """Return the gathered values: joined if all are bytes or all are text, otherwise as a list."""
        return self._result(joins=True)

    def listed(self) -> Result:
        """Return the gathered values as a list."""
        return self._result()

    def only(self) -> Result:
        """Return the value itself if it is the only one, otherwise what `result` returns."""
        return self._result(joins=True, is_alone=len(self.values) == 1)

    def _result(self, *, joins: bool = False, is_alone: bool = False) -> Result:
        unread = [one for one in self.values if isinstance(one, Later)]
        if not unread:
            value: Any = self.values[0] if is_alone else _joined(self.values) if joins else self.values
        else:
            data = unread[0].data if len(unread) == 1 else b"".join(one.data for one in unread)
            given: JsonObject = {"parts": [_described(one) for one in self.values], "joins": joins}
            given |= {"is_alone": is_alone, "most": self.settings.max_stream_events}
            value = Deferred(data, ((read_parts, given),))
            self.values = []
        return Result(value, truncated=self.truncated, failure=self.failure)

    @property
    def _idle_seconds(self) -> float:
        return self.settings.idle_timeout if self.idle is None else self.idle

    async def take(self, found: list[Any], size: int) -> None:
        """Pass values on that came in `size` bytes, and keep them, up to a limit."""
        began = slice_clock()
        is_read_here = large_reader.get() is None
        for number, one in enumerate(found, 1):
            for value in await read_later(one) if is_read_here else [one]:
                if not await self._add(value):
                    return
            if not number % _VALUES_PER_STEP:
                await self._slices.after(began)
                began = slice_clock()
        await self._slices.after(began)
        self._received += size
        if self._received > self.settings.max_reply_bytes:
            self.truncated = f"the stream was cut at {self.settings.max_reply_bytes} bytes"

    async def _take_rest(self, splitter: Splitter) -> None:
        """Pass on the bytes that came and fill no chunk, unless a limit was reached."""
        if isinstance(splitter, ChunkSplitter) and self._received <= self.settings.max_reply_bytes:
            for value in splitter.finish():
                await self._add(value)

    async def _add(self, value: Any) -> bool:
        """Pass a value on and keep it. Return False at the limit of values."""
        if isinstance(value, LogMessage):
            self._logged += 1
            if self._logged <= self.settings.max_stream_events and (receive := log_receiver.get()) is not None:
                await receive(value)
            return True
        if len(self.values) >= self.settings.max_stream_events:
            self.truncated = _cut_at(self.settings.max_stream_events)
            return False
        self.values.append(value)
        await self.emit(f"{len(value.data):,} bytes arrived." if isinstance(value, Later) else value)
        return True

    def _why(self) -> str:
        if anyio.current_time() >= self._ends:
            return "the time limit of the call ended before the stream did"
        return f"nothing arrived for {in_seconds(self._idle_seconds)}"


def _cut_at(most: int) -> str:
    return f"the stream was cut at {most} results"


def _incomplete(error: UtcpError) -> str:
    return f"the stream is incomplete: {_said(error)}"


def _said(error: UtcpError) -> str:
    said = error.message.rstrip(".")
    if isinstance(error, Rejected) and error.detail:
        said = f"{said}: {json.dumps(error.detail, ensure_ascii=False, default=str)[:_MAX_DETAIL]}"
    return said


def read_parts(data: bytes, *, parts: list[JsonObject], joins: bool, is_alone: bool, most: int) -> Any:
    """Return the values of a stream whose large ones have not been read. Their bytes are in `data`, one after another.

    They are in a `Result` that says so if there are more than `most`, or if one of them cannot be read.

    :raises MalformedReply: the first of them cannot be read.
    """
    values: list[Any] = []
    position = 0
    truncated: str | None = None
    for part in parts:
        if "value" in part:
            values.append(part["value"])
        elif "base64" in part:
            values.append(Binary(base64.b64decode(part["base64"]), part["media_type"]))
        else:
            end = position + part["size"]
            try:
                values += Later(data[position:end], named(part["work"]), part["arguments"], part["is_many"]).values()
            except MalformedReply as error:
                if not values:
                    raise
                truncated = _incomplete(error)
                break
            position = end
    if len(values) > most:
        del values[most:]
        truncated = _cut_at(most)
    value = values[0] if is_alone and len(values) == 1 else _joined(values) if joins else values
    return value if truncated is None else Result(value, truncated)


def _described(value: Any) -> JsonObject:
    """Return a value as JSON for `read_parts`, without the bytes of one that has not been read."""
    if isinstance(value, Later):
        work = f"{value.work.__module__}:{value.work.__qualname__}"
        return {"size": len(value.data), "work": work, "arguments": value.arguments, "is_many": value.is_many}
    if isinstance(value, Binary):
        return {"base64": base64.b64encode(value.data).decode(), "media_type": value.media_type}
    return {"value": value}


async def read_later(value: Any) -> list[Any]:
    """Return what a value of a splitter stands for: itself, or after a pause what takes long to read.

    :raises MalformedReply: it cannot be read.
    """
    if not isinstance(value, Later):
        return [value]
    await heavy_turn(keep=False)
    return value.values()


async def _split(
    chunks: AsyncIterator[bytes], splitter: Splitter, slices: Slices | None = None
) -> AsyncGenerator[Batch]:
    size = small = 0
    values: list[Any] = []
    try:
        async for chunk in chunks:
            await in_slices(splitter.steps(chunk, values), slices)
            size += len(chunk)
            small = 0 if values or len(chunk) >= _SMALL else small + 1
            if values or size >= _UNCOUNTED:
                batch, values, size = (values, size), [], 0
                yield batch
            elif small >= _MANY:
                await anyio.sleep(_PAUSE)
        await in_slices(splitter.last_steps(values), slices)
    except UtcpError as error:
        failure: UtcpError | None = error
    else:
        failure = None
    yield values, size
    if failure is not None:
        raise failure


def _joined(values: list[Any]) -> Any:
    if values and all(isinstance(value, Binary) for value in values):
        return Binary(b"".join(value.data for value in values), values[0].media_type)
    if values and all(isinstance(value, str) for value in values):
        return "".join(values)
    return values
