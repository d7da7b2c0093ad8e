"""Adapters: one program for each implementation, which speaks JSON lines over stdio (docs/conformance.md)."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.abc
from anyio.streams.buffered import BufferedByteReceiveStream

from utcp_bridge.conformance.vectors import kit_folder
from utcp_bridge.errors import ConfigError, MalformedReply
from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.processes.child import Child, Launch
from utcp_bridge.processes.children import start_child

__all__ = ["SHIPPED", "Adapter", "AdapterFailed", "Shipped", "command_of"]

_MAX_LINE: Final = 2**24
_MAX_WORDS: Final = 2_000
"""Bytes of stderr that are kept for the report of a crash."""
_MAX_LAST_WORDS: Final = 5.0
"""Seconds that the report of a crash waits for the end of stderr."""


@dataclass(frozen=True, slots=True)
class Shipped:
    """An adapter that the kit has. `interpreter` is empty for this Python."""

    file: str
    interpreter: str


SHIPPED: Final[Mapping[str, Shipped]] = {
    "utcp-bridge": Shipped("utcp_bridge_adapter.py", ""),
    "python-utcp": Shipped("python_utcp_adapter.py", "python"),
    "python-utcp-0": Shipped("python_utcp_0_adapter.py", "python"),
    "utcp-sdk": Shipped("utcp_sdk_adapter.mjs", "node"),
}
"""The implementations that the kit has an adapter for, by their names."""


def command_of(target: Sequence[str], program: str | None = None) -> list[str]:
    """Return the command line of an adapter: of the one that the kit ships under a name, or the target itself.

    `program` is the interpreter in whose environment the implementation is installed.

    :raises ConfigError: the command does not exist.
    """
    shipped = SHIPPED.get(target[0]) if len(target) == 1 else None
    if shipped is not None:
        chosen = program or shipped.interpreter or sys.executable
        command = [chosen, str(kit_folder() / "adapters" / shipped.file)]
    else:
        command = list(target)
    found = shutil.which(command[0])
    if found is None:
        names = ", ".join(SHIPPED)
        remedy = f"Name one of {names}, or give the command of an adapter."
        raise ConfigError(f"{command[0]!r} is neither an adapter of the kit nor a program.", remedy=remedy)
    return [found, *command[1:]]


class AdapterFailed(MalformedReply):
    """The adapter ended, or wrote what cannot be read."""


class Adapter:
    """A running adapter. `ask` sends one request and returns its reply."""

    def __init__(self, process: Child) -> None:
        self._process = process
        self._stdout = BufferedByteReceiveStream(process.stdout)
        self._words = bytearray()
        self._stderr_ended = anyio.Event()

    @classmethod
    async def start(cls, command: Sequence[str], environment: Mapping[str, str], group: anyio.abc.TaskGroup) -> Adapter:
        """Start an adapter; a task of `group` reads its stderr."""
        process = await start_child(Launch(command, environment, Path.cwd(), has_stdin=True))
        adapter = cls(process)
        group.start_soon(adapter._read_stderr)
        return adapter

    async def ask(self, **request: Any) -> JsonObject:
        """Send a request and return the next JSON object on stdout. Other lines are ignored.

        :raises AdapterFailed: the adapter ended.
        """
        try:
            if self._process.stdin is not None:
                await self._process.stdin.send(json.dumps(request).encode() + b"\n")
            while True:
                line = await self._line()
                try:
                    reply: Any = json.loads(line)
                except ValueError:
                    continue
                if is_object(reply):
                    return reply
        except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            with anyio.move_on_after(_MAX_LAST_WORDS):
                await self._stderr_ended.wait()
            raise AdapterFailed(f"The adapter ended.{self._last_words()}") from None

    async def end(self) -> None:
        """End the process and everything that it started."""
        self._process.end(grace=0)
        await self._process.gone(5)
        await self._process.aclose()

    async def _line(self) -> bytes:
        try:
            return await self._stdout.receive_until(b"\n", _MAX_LINE)
        except anyio.DelimiterNotFound:
            raise AdapterFailed("The adapter wrote a line of more than 16 MiB.") from None

    async def _read_stderr(self) -> None:
        stream = self._process.stderr
        while stream is not None:
            try:
                self._words += await stream.receive(65_536)
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                break
            del self._words[:-_MAX_WORDS]
        self._stderr_ended.set()

    def _last_words(self) -> str:
        lines = self._words.decode(errors="replace").strip().splitlines()
        return f" Its last line on stderr: {lines[-1][:300]}" if lines else ""
