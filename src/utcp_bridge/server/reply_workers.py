"""The workers that read large replies and kept results, so that neither holds the event loop or fills this process.

A worker starts when it is first needed, stays for some seconds after its work, and ends with a call that is cancelled
or too slow. Each manual has one place at most, so a bad provider cannot take those of the others. Where no process can
be started, this process reads.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import astuple, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread
import orjson

from utcp_bridge.auth.results import masked_later, masked_notes
from utcp_bridge.catalogue.fitting import Budget
from utcp_bridge.catalogue.render import Rendering
from utcp_bridge.errors import DeadlineExceeded, InternalError, ReplyTooLarge
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import Deferred, JsonObject, LargeReader, Result, Tool, has_steps, is_list
from utcp_bridge.server.kept_results import KeptResult, Page, Shelf, page_of, resource_contents, selected
from utcp_bridge.server.replicas.place import here
from utcp_bridge.tasks import effective_deadline, end_heavy_turn, heavy_turn, in_slices, pause_if_heavy
from utcp_bridge.workers.failures import TOO_MUCH, rebuilt_error
from utcp_bridge.workers.memory import give_back, return_large_blocks
from utcp_bridge.workers.process import EndedWorker, WorkerProcess, can_start

if TYPE_CHECKING:
    from utcp_bridge.auth.redaction import Redactor
    from utcp_bridge.catalogue.catalogue import Entry

__all__ = ["REPLY_JOB", "Rendered", "ReplyWorkers"]

REPLY_JOB: Final = "utcp_bridge.server.reply_job:ReplyJob"

_logger = logging.getLogger(__name__)
_MAX_WORKERS: Final = 2
_WARM_SECONDS: Final = 20.0
_AGAIN_SECONDS: Final = 60.0
"""Seconds until a worker is started again after that failed."""
_DEFAULT_SECONDS: Final = 60.0
_READ_SECONDS: Final = 30.0
_LEAST_MEMORY: Final = 1024 * 1024 * 1024
_MEMORY_OF_A_BYTE: Final = 24
"""Bytes of memory for each byte of a reply: a value of JSON, the copies of its text, and what is left out."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A reply that a worker has read: the finished MCP result."""

    result: JsonObject


@dataclass(slots=True)
class _Turn:
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    users: int = 0


class ReplyWorkers:
    """The workers of one server."""

    def __init__(self, max_reply_bytes: int) -> None:
        self._memory = max(_LEAST_MEMORY, _MEMORY_OF_A_BYTE * max_reply_bytes)
        self._idle: list[tuple[float, WorkerProcess]] = []
        self._rested = anyio.Event()
        self._turns: dict[str, _Turn] = {}
        self._places = anyio.Semaphore(_MAX_WORKERS)
        self.opened = 0
        """How many contexts of `open` there are: large replies are read in workers if there is one."""
        self._not_before = 0.0 if can_start() else math.inf

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Let large replies be read in workers, until the end of the context."""
        return_large_blocks()
        async with anyio.create_task_group() as group:
            group.start_soon(self._retire)
            self.opened += 1
            try:
                yield
            finally:
                self.opened -= 1
                group.cancel_scope.cancel()
                await self._end_idle(math.inf)

    def reader(self, entry: Entry, rendering: Rendering, redactor: Redactor) -> LargeReader:
        """Return the `large_reader` for the calls of a tool whose results are rendered this way, while this is open.

        Results have no credentials that the redactor knows.
        """
        return partial(self._read, entry, rendering, redactor)

    async def page(self, kept: KeptResult, selection: JsonObject, offset: int, limit: int) -> Page:
        """Return a part of a kept result.

        :raises InvalidArguments: the selection or the offset does not fit.
        """
        head = {"step": "page", "selection": selection, "offset": offset, "limit": limit}
        found = await self._read_kept(kept, head, lambda: page_of(selected(kept, selection), offset, limit))
        return found if isinstance(found, Page) else Page(**found[0]["page"])

    async def contents(self, kept: KeptResult, handle: str, offset: int, limit: int) -> list[JsonObject]:
        """Return a kept result as contents of `resources/read`; see `resource_contents`."""
        head = {"step": "contents", "handle": handle, "offset": offset, "limit": limit}
        found = await self._read_kept(kept, head, partial(resource_contents, kept, handle, offset, limit))
        return found if is_list(found) else orjson.loads(found[1][0])

    async def _read(self, entry: Entry, rendering: Rendering, redactor: Redactor, tool: Tool, result: Result) -> Result:
        """Return a result with a finished MCP result as its value, or the value itself where no worker can be had."""
        result = masked_notes(result, redactor)
        deferred: Deferred = masked_later(result.value, redactor)
        rest = rendering.budget.rest
        shelf = rest.keep if rest is not None and isinstance(rest.keep, Shelf) else None
        head: JsonObject = {
            "step": "render",
            "work": [(f"{work.__module__}:{work.__qualname__}", given) for work, given in deferred.work],
            "rendering": _described(entry, rendering),
            "truncated": result.truncated,
            "meta": dict(result.meta),
            "place": astuple(here()),
            "max_kept": 0 if shelf is None else shelf.results.max_bytes,
        }
        size = len(deferred.data)
        reply = await self._ask(tool.manual, head, deferred.take, size)
        if reply is None:
            return await _read_here(result, deferred)
        last, (written, *pieces) = reply
        for (handle, *about), data in zip(last["kept"], pieces, strict=True):
            if shelf is not None:
                shelf.results.put(handle, KeptResult(shelf.owner, data, *about))
        savings = rendering.budget.savings
        if savings is not None:
            savings.note_saved(size - len(written))
        return Result(Rendered(orjson.loads(written)), failure=result.failure)

    async def _read_kept(self, kept: KeptResult, head: JsonObject, here: Callable[[], Any]) -> Any:
        about = {"media_type": kept.media_type, "is_text": kept.is_text, "size": kept.size, "is_packed": kept.is_packed}
        with anyio.move_on_after(_READ_SECONDS):
            reply = None
            if self.opened and kept.is_large:
                reply = await self._ask(f"reader:{kept.owner}", {**head, "kept": about}, lambda: kept.data, kept.size)
            return await anyio.to_thread.run_sync(here, abandon_on_cancel=True) if reply is None else reply
        raise DeadlineExceeded(
            f"Reading the result took longer than {_READ_SECONDS:g} seconds.", remedy="Use a simpler `jmespath`."
        )

    async def _ask(
        self, place: str, head: JsonObject, data: Callable[[], bytes], size: int
    ) -> tuple[JsonObject, list[bytes]] | None:
        """Let a worker reply to a request about `size` bytes of data. Return None if no worker can be had.

        :raises UtcpError: the worker reports it.
        :raises ReplyTooLarge: the worker has reached a limit.
        """
        async with self._place(place):
            worker = await self._worker(max(self._memory, _MEMORY_OF_A_BYTE * size))
            if worker is None:
                return None
            try:
                seconds = effective_deadline() - anyio.current_time()
                head |= {"job": REPLY_JOB, "seconds": seconds if math.isfinite(seconds) else _DEFAULT_SECONDS}
                last, pieces = await worker.ask(head, data(), sent=end_heavy_turn)
            except EndedWorker:
                raise ReplyTooLarge(TOO_MUCH, remedy="Ask for less.") from None
            finally:
                await self._rest(worker)
        if "error" in last:
            error = rebuilt_error(last["error"])
            if isinstance(error, InternalError):
                _logger.error("%s", error.message)
            raise error
        return last, pieces

    @asynccontextmanager
    async def _place(self, name: str) -> AsyncGenerator[None]:
        """Wait for a worker: first for the others of this name, then for those of other names."""
        turn = self._turns.setdefault(name, _Turn())
        turn.users += 1
        try:
            async with turn.lock, self._places:
                yield
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[name]
            if not self._turns:
                give_back()

    async def _worker(self, memory: int) -> WorkerProcess | None:
        """Return a worker that may have at least this memory; None if none can be started."""
        while self._idle:
            _, worker = self._idle.pop()
            if worker.is_usable and worker.memory >= memory:
                return worker
            with anyio.CancelScope(shield=True):
                await worker.end()
        if anyio.current_time() < self._not_before:
            return None
        try:
            return await WorkerProcess.start(memory)
        except (OSError, NotImplementedError, ValueError, EndedWorker) as error:
            self._not_before = anyio.current_time() + _AGAIN_SECONDS
            _logger.warning("Large replies are read in this process, because no worker can be started: %s", error)
            return None

    async def _rest(self, worker: WorkerProcess) -> None:
        if worker.is_usable and self.opened:
            self._idle.append((anyio.current_time() + _WARM_SECONDS, worker))
            self._rested.set()
        else:
            with anyio.CancelScope(shield=True):
                await worker.end()

    async def _retire(self) -> None:
        """End workers that had no work for some seconds."""
        while True:
            if not self._idle:
                self._rested = anyio.Event()
                await self._rested.wait()
            await anyio.sleep_until(self._idle[0][0] if self._idle else 0)
            await self._end_idle(anyio.current_time())

    async def _end_idle(self, until: float) -> None:
        ended = [worker for end, worker in self._idle if end <= until]
        self._idle = [(end, worker) for end, worker in self._idle if end > until]
        with anyio.CancelScope(shield=True):
            for worker in ended:
                await worker.end()


def _described(entry: Entry, rendering: Rendering) -> JsonObject:
    """Return how a result is rendered, as JSON."""
    budget: Budget = rendering.budget
    rest = budget.rest
    return {
        "structured": rendering.structured,
        "schema": None if rendering.conform is None else rendering.conform.schema,
        "wrapped": rendering.wrapped,
        "uri": rendering.uri,
        "is_local": entry.tool.is_local,
        "written": list(entry.tool.source.exempt),
        "budget": {
            "max_bytes": budget.max_bytes,
            "prefers_structure": budget.prefers_structure,
            "max_message_bytes": budget.max_message_bytes,
            "rest": None
            if rest is None
            else {"seconds": rest.seconds, "reader": rest.reader, "through": rest.through, "links": rest.links},
        },
    }


async def _read_here(result: Result, deferred: Deferred) -> Result:
    """Return a result with the value of its large reply, read in this process, in turn with other large replies."""
    await heavy_turn()
    value: Any = deferred.take()
    for work, given in deferred.work:
        await pause_if_heavy()
        value = work(value, **given)
        if has_steps(value):
            value = await in_slices(value)
        if isinstance(value, Result):  # it was cut while it was read
            result, value = replace(result, truncated=value.truncated or result.truncated), value.value
    return replace(result, value=value)
