"""Large documents are read in processes of their own, which can be ended: by time, memory, or the end of the bridge.

A document is someone else's. Reading it takes memory and time that only reading it tells, and Python cannot end a
thread. So `Confinement` starts workers, which do the job of `dialects/worker.py`, when the first large document comes,
and ends them after the loads. Where processes cannot be started, a thread reads the document, within its budget of
values.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, Protocol, TypeVar

import anyio
import anyio.to_thread
import orjson

from utcp_bridge.dialects import RawTool, Shape
from utcp_bridge.dialects.crossing import ToolReader
from utcp_bridge.dialects.worker import DOCUMENT_JOB, DocumentJob, DocumentWork, OneTool, Outline, ReadTools
from utcp_bridge.errors import ManualError
from utcp_bridge.foreign import has_more_values
from utcp_bridge.manuals.kept_replies import KeptReplies, Remembered, ReplyingWorker
from utcp_bridge.model import Fault, JsonObject
from utcp_bridge.tasks import at_once, in_slices
from utcp_bridge.workers.failures import rebuilt_error
from utcp_bridge.workers.process import EndedWorker, WorkerProcess, can_start

__all__ = ["Confinement", "DocumentReader"]

_logger = logging.getLogger(__name__)
_CONFINED_FROM: Final = 100_000
_CONFINED_YAML_FROM: Final = 32_768
_CONFINED_VALUES: Final = 20_000
_THREAD_FROM: Final = 200_000
_MAX_WORKERS: Final = 3
_DEFAULT_SECONDS: Final = 60.0
_MEMORY_BYTES: Final = 1024 * 1024 * 1024
"""The memory that a worker may have. The largest honest documents need a quarter of it."""
_HELD: Final = frozenset({"auth", "auth_tools", "content"})
_MAX_SENT: Final = 4_096
T = TypeVar("T")


class DocumentReader(Protocol):
    """The steps of `DocumentWork`, somewhere else."""

    async def parse(self, data: Any, *, url: str | None, hint: str, jsonc: bool) -> Outline: ...
    async def add(self, place: str, data: bytes) -> list[str]: ...
    async def miss(self, place: str) -> None: ...
    async def manual(self, entry: JsonObject, where: str, only: OneTool | None = None) -> ReadTools: ...
    async def openapi(self, options: JsonObject) -> ReadTools: ...


class Confinement:
    """The workers of a client. It starts one when it is needed, at most three at once."""

    def __init__(self) -> None:
        self._kept: KeptReplies | None = None
        self._idle: list[WorkerProcess] = []
        self._loads = 0
        self._places = anyio.CapacityLimiter(_MAX_WORKERS)
        self._is_possible = can_start()

    def keep_replies(self, folder: Path | None) -> None:
        """Keep the replies of workers in a folder, for the next start; None: nowhere."""
        self._kept = None if folder is None or not folder.is_absolute() else KeptReplies(folder)

    @asynccontextmanager
    async def load(self) -> AsyncGenerator[None]:
        """Keep workers for the next document of another manual. They end with the last load."""
        self._loads += 1
        try:
            yield
        finally:
            self._loads -= 1
            if not self._loads:
                idle, self._idle = self._idle, []
                with anyio.CancelScope(shield=True):
                    for worker in idle:
                        await worker.end()

    @asynccontextmanager
    async def reader(self, data: Any, hint: str, most: int) -> AsyncGenerator[DocumentReader]:
        """Yield a reader for a document: a worker process if the document is large."""
        if not is_large(data, hint):
            yield _Here(most, 0)
            return
        async with self._places, self._lent() as start:
            if self._kept is not None and self._is_possible:
                yield _InWorker(Remembered(self._kept, partial(_at_hand, start)), most)
            elif (worker := await start()) is None:
                yield _Here(most, len(data))
            else:
                yield _InWorker(_OfProcess(worker), most)

    @asynccontextmanager
    async def _lent(self) -> AsyncGenerator[Callable[[], Awaitable[WorkerProcess | None]]]:
        """Yield a function that returns a worker for one document. It is kept for the next document, or ended."""
        lent: list[WorkerProcess] = []

        async def start() -> WorkerProcess | None:
            if (worker := await self._worker()) is not None:
                lent.append(worker)
            return worker

        try:
            yield start
        finally:
            for worker in lent:
                if self._loads and worker.is_usable:
                    self._idle.append(worker)
                else:
                    with anyio.CancelScope(shield=True):
                        await worker.end()

    async def _worker(self) -> WorkerProcess | None:
        while self._idle:
            worker = self._idle.pop()
            if worker.is_usable:
                return worker
            await worker.end()
        if not self._is_possible:
            return None
        try:
            return await WorkerProcess.start(_MEMORY_BYTES)
        except (OSError, NotImplementedError, ValueError, EndedWorker) as error:
            self._is_possible = False
            _logger.debug("Documents are read in a thread, because no process can be started: %s", error)
            return None


def is_large(data: Any, hint: str) -> bool:
    """Return whether reading a document takes so long or so much that a process of its own reads it."""
    if not isinstance(data, bytes | str):
        return False
    limit = _CONFINED_YAML_FROM if "yaml" in hint or hint.endswith(".yml") or not _is_json(data) else _CONFINED_FROM
    return len(data) > limit or has_more_values(data, _CONFINED_VALUES)


def _is_json(data: bytes | str) -> bool:
    start = data[:64].lstrip()
    return start.startswith((b"{", b"[")) if isinstance(start, bytes) else start.startswith(("{", "["))


class _Here:
    """Reads in this process: at once, or in a thread if the document is large."""

    def __init__(self, most: int, size: int) -> None:
        self._work = DocumentWork(most)
        self._size = size

    async def parse(self, data: Any, *, url: str | None, hint: str, jsonc: bool) -> Outline:
        return await self._run(partial(self._work.parse, data, url=url, hint=hint, jsonc=jsonc))

    async def add(self, place: str, data: bytes) -> list[str]:
        self._size += len(data)
        return await self._run(partial(self._work.add, place, data))

    async def miss(self, place: str) -> None:
        self._work.miss(place)

    async def manual(self, entry: JsonObject, where: str, only: OneTool | None = None) -> ReadTools:
        return await self._run(partial(self._work.manual, entry, where, only))

    async def openapi(self, options: JsonObject) -> ReadTools:
        steps = self._work.openapi(options)
        return await (in_slices(steps) if self._size < _THREAD_FROM else self._run(partial(at_once, steps)))

    async def _run(self, work: Callable[[], T]) -> T:
        if self._size < _THREAD_FROM:
            return work()
        return await anyio.to_thread.run_sync(work, abandon_on_cancel=True)


class _OfProcess:
    """A worker process that does the job of `dialects/worker.py`."""

    def __init__(self, worker: WorkerProcess) -> None:
        self._worker = worker

    @property
    def pid(self) -> int:
        return self._worker.pid

    async def ask(self, head: JsonObject, data: bytes, take: Callable[[bytes], None]) -> JsonObject:
        reply, _ = await self._worker.ask({"job": DOCUMENT_JOB, **head}, data, take)
        return reply


class _OfThread:
    """The job of a worker, in a thread of this process."""

    def __init__(self) -> None:
        self._job = DocumentJob()

    async def ask(self, head: JsonObject, data: bytes, take: Callable[[bytes], None]) -> JsonObject:
        lines = await anyio.to_thread.run_sync(lambda: list(self._job.reply(head, data)), abandon_on_cancel=True)
        for line in lines[:-1]:
            take(line)
        reply: JsonObject = orjson.loads(lines[-1][1:])
        return reply


async def _at_hand(start: Callable[[], Awaitable[WorkerProcess | None]]) -> ReplyingWorker:
    worker = await start()
    return _OfThread() if worker is None else _OfProcess(worker)


class _InWorker:
    """Reads in a worker."""

    def __init__(self, worker: ReplyingWorker, most: int) -> None:
        self._worker = worker
        self._most = most

    async def parse(self, data: Any, *, url: str | None, hint: str, jsonc: bool) -> Outline:
        seconds = anyio.current_effective_deadline() - anyio.current_time()
        head: JsonObject = {"step": "parse", "url": url, "hint": hint, "jsonc": jsonc, "most": self._most}
        head |= {"seconds": seconds if math.isfinite(seconds) else _DEFAULT_SECONDS, "is_text": isinstance(data, str)}
        reply, _ = await self._ask(head, data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)
        return Outline(Shape(reply["shape"]), reply["described"], reply["references"], reply["way"])

    async def add(self, place: str, data: bytes) -> list[str]:
        reply, _ = await self._ask({"step": "add", "place": place}, data)
        references: list[str] = reply["references"]
        return references

    async def miss(self, place: str) -> None:
        await self._ask({"step": "miss", "place": place})

    async def manual(self, entry: JsonObject, where: str, only: OneTool | None = None) -> ReadTools:
        sent, held = _without_held(entry)
        choice = None if only is None else [only.manual, only.name, only.most]
        found = await self._tools({"step": "manual", "entry": sent, "where": where, "only": choice})
        return replace(found, tools=[_with_held(tool, held) for tool in found.tools]) if held else found

    async def openapi(self, options: JsonObject) -> ReadTools:
        return await self._tools({"step": "openapi", "options": options})

    async def _tools(self, head: JsonObject) -> ReadTools:
        reply, tools = await self._ask(head)
        protocols = reply["protocols"]
        return ReadTools(
            tools,
            [Fault(*one) for one in reply["faults"]],
            reply["dialect"],
            reply["info"],
            reply["auth"],
            None if protocols is None else tuple(protocols),
            reply["maps"],
            reply["is_narrowed"],
        )

    async def _ask(self, head: JsonObject, data: bytes = b"") -> tuple[JsonObject, list[RawTool]]:
        """Send a request and return its reply: what ends it, and the tools.

        :raises ManualError: the document cannot be read, or the worker has reached a limit.
        :raises ConfigError: the operator's choice of tools is not valid.
        """
        tools: list[RawTool] = []
        reader = ToolReader()
        try:
            reply = await self._worker.ask(head, data, lambda line: tools.append(reader.tool(line)))
        except EndedWorker:
            raise ManualError(
                "Reading the document took more memory or processor time than it may take.",
                remedy="Check the document. If it is right, split it.",
            ) from None
        if "error" in reply:
            raise rebuilt_error(reply["error"])
        return reply, tools


def _without_held(entry: JsonObject) -> tuple[JsonObject, JsonObject]:
    """Return an entry with a word in the place of each value that stays here, and these values by their words.

    Credentials stay here, and so does what is long: each tool without a call template would return a copy of it. A
    document cannot guess the words.
    """
    held = {
        f"{token_hex(16)} {key}": value
        for key, value in entry.items()
        if key in _HELD or len(orjson.dumps(value, default=str)) > _MAX_SENT
    }
    return {**entry, **{word.partition(" ")[2]: word for word in held}}, held


def _with_held(tool: RawTool, held: JsonObject) -> RawTool:
    template = tool.template
    if not any(isinstance(value, str) and value in held for value in template.values()):
        return tool
    full = {key: held.get(value, value) if isinstance(value, str) else value for key, value in template.items()}
    return replace(tool, template=full)
