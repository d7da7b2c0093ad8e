"""Large documents are read in processes of their own, which can be ended: by time, memory, or the end of the bridge.

A document is someone else's. Reading it takes memory and time that only reading it tells, and Python cannot end a
thread. So `Confinement` starts workers (`dialects/worker.py`) when the first large document comes, and ends them after
the loads. Where processes cannot be started, a thread reads the document, within its budget of values.
"""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, Protocol, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread
import orjson

import utcp_bridge
from utcp_bridge.dialects import RawTool, Shape
from utcp_bridge.dialects.worker import DocumentWork, Outline, ReadTools, read_tool_line, rebuilt_error
from utcp_bridge.errors import ManualError
from utcp_bridge.foreign import has_more_values
from utcp_bridge.model import Fault, JsonObject
from utcp_bridge.processes.child import Child, Launch
from utcp_bridge.processes.children import start_child
from utcp_bridge.tasks import at_once, in_slices

__all__ = ["Confinement", "DocumentReader"]

_logger = logging.getLogger(__name__)
_CONFINED_FROM: Final = 100_000
_CONFINED_YAML_FROM: Final = 32_768
_CONFINED_VALUES: Final = 20_000
_THREAD_FROM: Final = 200_000
_MAX_WORKERS: Final = 3
_START_SECONDS: Final = 20.0
_DEFAULT_SECONDS: Final = 60.0
_CHUNK: Final = 262_144
_SLICE_BYTES: Final = 65_536
_MAX_REPLY: Final = 192 * 1024 * 1024
"""Bytes of the tools of one document. They repeat what the tools share, so they are more than those of the document."""
_HELD: Final = frozenset({"auth", "auth_tools", "content"})
_MAX_SENT: Final = 4_096
_PROGRAM: Final = (
    "import sys; own, *others = sys.argv[1:]; sys.path.insert(0, own); import utcp_bridge; del sys.path[0]; "
    "sys.path += others; from utcp_bridge.dialects.worker import run; run()"
)
"""It finds this package where this process found it, and no file of the current folder comes before Python's own."""
_OF_WINDOWS: Final = ("SYSTEMROOT", "SYSTEMDRIVE", "TEMP", "TMP")
T = TypeVar("T")


class DocumentReader(Protocol):
    """The steps of `DocumentWork`, somewhere else."""

    async def parse(self, data: Any, *, url: str | None, hint: str, jsonc: bool) -> Outline: ...
    async def add(self, place: str, data: bytes) -> list[str]: ...
    async def miss(self, place: str) -> None: ...
    async def manual(self, entry: JsonObject, where: str) -> ReadTools: ...
    async def openapi(self, options: JsonObject) -> ReadTools: ...


class Confinement:
    """The workers of a client. It starts one when it is needed, at most three at once."""

    def __init__(self) -> None:
        self._idle: list[_WorkerProcess] = []
        self._loads = 0
        self._places = anyio.CapacityLimiter(_MAX_WORKERS)
        self._is_possible = bool(sys.executable) and not getattr(sys, "frozen", False)

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
        async with self._places:
            worker = await self._worker()
            if worker is None:
                yield _Here(most, len(data))
                return
            try:
                yield _InWorker(worker, most)
            finally:
                if self._loads and worker.is_usable:
                    self._idle.append(worker)
                else:
                    with anyio.CancelScope(shield=True):
                        await worker.end()

    async def _worker(self) -> _WorkerProcess | None:
        while self._idle:
            worker = self._idle.pop()
            if worker.is_usable:
                return worker
            await worker.end()
        if not self._is_possible:
            return None
        try:
            return await _WorkerProcess.start()
        except (OSError, NotImplementedError, ValueError, _EndedWorker) as error:
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

    async def manual(self, entry: JsonObject, where: str) -> ReadTools:
        return await self._run(partial(self._work.manual, entry, where))

    async def openapi(self, options: JsonObject) -> ReadTools:
        steps = self._work.openapi(options)
        return await (in_slices(steps) if self._size < _THREAD_FROM else self._run(partial(at_once, steps)))

    async def _run(self, work: Callable[[], T]) -> T:
        if self._size < _THREAD_FROM:
            return work()
        return await anyio.to_thread.run_sync(work, abandon_on_cancel=True)


class _InWorker:
    """Reads in a worker."""

    def __init__(self, worker: _WorkerProcess, most: int) -> None:
        self._worker = worker
        self._most = most

    async def parse(self, data: Any, *, url: str | None, hint: str, jsonc: bool) -> Outline:
        seconds = anyio.current_effective_deadline() - anyio.current_time()
        head: JsonObject = {"step": "parse", "url": url, "hint": hint, "jsonc": jsonc, "most": self._most}
        head |= {"seconds": seconds if math.isfinite(seconds) else _DEFAULT_SECONDS, "is_text": isinstance(data, str)}
        reply, _ = await self._worker.ask(
            head, data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
        )
        return Outline(Shape(reply["shape"]), reply["described"], reply["references"])

    async def add(self, place: str, data: bytes) -> list[str]:
        reply, _ = await self._worker.ask({"step": "add", "place": place}, data)
        references: list[str] = reply["references"]
        return references

    async def miss(self, place: str) -> None:
        await self._worker.ask({"step": "miss", "place": place})

    async def manual(self, entry: JsonObject, where: str) -> ReadTools:
        sent, held = _without_held(entry)
        found = await self._tools({"step": "manual", "entry": sent, "where": where})
        return replace(found, tools=[_with_held(tool, held) for tool in found.tools]) if held else found

    async def openapi(self, options: JsonObject) -> ReadTools:
        return await self._tools({"step": "openapi", "options": options})

    async def _tools(self, head: JsonObject) -> ReadTools:
        reply, tools = await self._worker.ask(head)
        protocols = reply["protocols"]
        return ReadTools(
            tools,
            [Fault(*one) for one in reply["faults"]],
            reply["dialect"],
            reply["info"],
            reply["auth"],
            None if protocols is None else tuple(protocols),
        )


class _EndedWorker(Exception):
    """A worker ended by itself."""


class _WorkerProcess:
    """One worker. It gets no variable of our environment, and its stderr goes nowhere."""

    def __init__(self, process: Child) -> None:
        self._process = process
        self._is_asked = False

    @classmethod
    async def start(cls) -> _WorkerProcess:
        """Start a worker and wait until it is ready.

        :raises OSError: it cannot be started.
        :raises _EndedWorker: it ends at once, or is not ready after 20 seconds.
        """
        environment = {name: os.environ[name] for name in _OF_WINDOWS if name in os.environ}  # noqa: TID251 - no secrets
        environment["PYDANTIC_DISABLE_PLUGINS"] = "1"  # they make the start slower
        own = str(Path(utcp_bridge.__file__).parent.parent)
        others = [path for path in sys.path if Path(path).is_absolute()]
        argv = [sys.executable, "-P", "-B", "-E", "-S", "-c", _PROGRAM, own, *others]
        process = await start_child(Launch(argv, environment, Path(own), has_stdin=True, has_stderr=False))
        worker = cls(process)
        try:
            with anyio.fail_after(_START_SECONDS):
                await worker._reply()
        except TimeoutError:
            await worker.end()
            raise _EndedWorker("it is not ready") from None
        except BaseException:
            with anyio.CancelScope(shield=True):
                await worker.end()
            raise
        return worker

    async def ask(self, head: JsonObject, data: bytes = b"") -> tuple[JsonObject, list[RawTool]]:
        """Send a request and return its reply: what ends it, and the tools.

        :raises ManualError: the document cannot be read, or the worker has reached a limit.
        :raises ConfigError: the operator's choice of tools is not valid.
        """
        self._is_asked = True
        try:
            await self._send(_request_line(head, len(data)))
            for start in range(0, len(data), _CHUNK):
                await self._send(data[start : start + _CHUNK])
            reply, tools = await self._reply()
        except (_EndedWorker, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            raise ManualError(
                "Reading the document took more memory or processor time than it may take.",
                remedy="Check the document. If it is right, split it.",
            ) from None
        self._is_asked = False
        if "error" in reply:
            raise rebuilt_error(reply["error"])
        return reply, tools

    @property
    def is_usable(self) -> bool:
        """Whether the process runs and has replied to all that it was asked."""
        return self._process.returncode is None and not self._is_asked

    async def end(self) -> None:
        """End the process, whatever it does."""
        self._process.end(grace=0)
        await self._process.gone()
        await self._process.aclose()

    async def _send(self, data: bytes) -> None:
        if self._process.stdin is not None:
            await self._process.stdin.send(data)

    async def _reply(self) -> tuple[JsonObject, list[RawTool]]:
        """Read lines up to the one that ends a reply. Other tasks run after each few tools."""
        tools: list[RawTool] = []
        size = unyielded = 0
        async for line in self._lines():
            size += len(line)
            if size > _MAX_REPLY:
                raise _EndedWorker
            if line.startswith(b"E"):
                reply: JsonObject = orjson.loads(line[1:])
                return reply, tools
            tools.append(read_tool_line(line))
            unyielded += len(line)
            if unyielded >= _SLICE_BYTES:
                unyielded = 0
                await anyio.lowlevel.checkpoint()
        raise _EndedWorker

    async def _lines(self) -> AsyncGenerator[bytes]:
        pieces: list[bytes] = []
        size = 0
        while True:
            try:
                chunk = await self._process.stdout.receive(_CHUNK)
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                return
            *ended, begun = chunk.split(b"\n")
            for line in ended:
                yield b"".join([*pieces, line])
                pieces, size = [], 0
            pieces.append(begun)
            size += len(begun)
            if size > _MAX_REPLY:
                return


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


def _request_line(head: JsonObject, size: int) -> bytes:
    return orjson.dumps({**head, "size": size}, default=str) + b"\n"
