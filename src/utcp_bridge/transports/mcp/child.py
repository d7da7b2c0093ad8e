"""An MCP server as a child process: its messages, its stderr, and its end.

Lines of stdout are read as their sender meant them: bytes that are not UTF-8 and halves of surrogate pairs become
U+FFFD. A line that is not a message is skipped; if it is a response that cannot be read, its call gets an error instead
of no reply. stderr goes to the log, line by line, with the server's name; its last lines are for messages.
"""

from __future__ import annotations

import json
import logging
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.lowlevel
import orjson
from anyio.abc import ByteReceiveStream
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from utcp_bridge.foreign import decode, has_more_values, is_heavy, json_line, most_values, outer_id, visible
from utcp_bridge.model import is_object
from utcp_bridge.net.collecting import Collecting
from utcp_bridge.processes.child import Child, Launch
from utcp_bridge.processes.children import start_child
from utcp_bridge.processes.systems import merge_environment
from utcp_bridge.tasks import heavy_turn
from utcp_bridge.transports.mcp.results import UNREADABLE, unread_reply

if TYPE_CHECKING:
    from mcp.shared.message import SessionMessage

__all__ = ["ChildProcess", "read_line"]

_logger = logging.getLogger(__name__)
_LINE_FACTOR: Final = 2
"""Bytes of one message for each byte of a reply: JSON escapes text, and structured content repeats it."""
_FRAME_BYTES: Final = 65_536
"""Room for what is around a result, and for a list of tools above a small limit."""
_CHUNK: Final = 65_536
_BLANK_BYTES: Final = 1_024
_LINES_PER_TURN: Final = 64
"""Lines of one piece after which other tasks have a turn: a piece may consist of newlines."""
_PATIENCE_SECONDS: Final = 2.0
"""How long a server may take to end after its stdin has closed, before SIGTERM. One that never spoke has no time."""
_GRACE_SECONDS: Final = 2.0
_LAST_WORDS_SECONDS: Final = 0.2
"""How long a server that has ended may still be heard through the processes that it left behind."""
_FLUSH_SECONDS: Final = 0.5
_MAX_STDERR_LINE: Final = 8_192
_FLOOD_BYTES: Final = 262_144
"""Bytes of stderr in a second that are read whole."""
_FLOOD_SECONDS: Final = 0.002
"""The pause after each further piece: the server may go on, but does not keep the bridge busy."""
_KEPT_LINES: Final = 20
_BURST_LINES: Final = 6
_SECONDS_PER_LINE: Final = 5.0
_MAX_WORDS: Final = 300
_MIN_SECRET: Final = 6
_TELLING: Final = re.compile(
    r"error|exception|cannot|can't|not found|denied|refused|missing|invalid|fail", re.IGNORECASE
)


@dataclass(slots=True, eq=False)
class ChildProcess:
    """One start of a server. `limit` is the most bytes of one reply."""

    where: str
    argv: Sequence[str] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    """What the manual adds to the variables that every server receives. Its values are masked in messages."""
    folder: Path
    limit: int
    manual: str = ""
    """Whose place a large message takes."""
    inherited: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """Variables of the bridge that this server receives besides the few that every server receives."""
    _said: deque[str] = field(default_factory=lambda: deque[str](maxlen=_KEPT_LINES))
    _code: int | None = None
    _has_spoken: bool = False
    _has_warned: bool = False
    _burst: _Burst = field(init=False)
    _process: Child | None = None

    def __post_init__(self) -> None:
        self._burst = _Burst()

    @asynccontextmanager
    async def streams(self) -> AsyncGenerator[tuple[Any, Any]]:
        """Start the server and yield what the SDK's client reads and writes. The end stops the server.

        :raises OSError: it cannot be started.
        """
        from mcp.client.stdio import get_default_environment

        process = await start_child(
            Launch(
                self.argv,
                merge_environment(get_default_environment(), self.inherited, self.environment),
                self.folder,
                has_stdin=True,
            )
        )
        self._process = process
        heard, received = anyio.create_memory_object_stream[Any](0)
        given, to_send = anyio.create_memory_object_stream[Any](0)
        written, logged = anyio.Event(), anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(self._hear, process, heard)
            group.start_soon(self._log, process, logged)
            group.start_soon(_complete_when_ended, process)
            group.start_soon(_write, process, to_send, heard, written)
            try:
                yield received, given
            finally:
                with anyio.CancelScope(shield=True):
                    received.close()
                    given.close()
                    with anyio.move_on_after(_FLUSH_SECONDS):
                        await written.wait()
                    await _end(process, _PATIENCE_SECONDS if self._has_spoken else 0, logged)
                    for stream in (heard, to_send):
                        stream.close()
                group.cancel_scope.cancel()

    def has_ended(self) -> bool:
        """Return whether the process has ended, also if nobody has reported that yet."""
        return self._process is not None and self._process.has_ended()

    @property
    def code(self) -> int | None:
        """The exit code, as soon as it is known."""
        return self._code

    def last_words(self) -> str:
        """Return how the server ended and the most telling of its last lines, as a sentence; empty if it is silent."""
        words = next((line for line in reversed(self._said) if _TELLING.search(line)), "")
        words = words or (self._said[-1] if self._said else "")
        for value in self.environment.values():
            if len(value) >= _MIN_SECRET:
                words = words.replace(value, "***")
        said = f"its stderr says: {words[:_MAX_WORDS].rstrip('. ')}." if words else ""
        if self._code is None:
            return said and f"I{said[1:]}"
        return f"It ended with exit code {self._code}{'; ' + said if said else '.'}"

    async def _hear(self, process: Child, heard: MemoryObjectSendStream[Any]) -> None:
        from mcp.shared.message import SessionMessage

        parse = partial(read_line, limit=self.limit)
        try:
            async with heard:
                async for line in _lines(process.stdout, _most_bytes(self.limit), self.manual):
                    message = (
                        unread_reply(line, partial(read_line, limit=self.limit)) if len(line) <= self.limit else None
                    )
                    if message is None:
                        if is_heavy(line):
                            await heavy_turn(keep=False)
                        message = parse(line)
                    if message is not None:
                        self._has_spoken = True
                        await heard.send(SessionMessage(message))
                    elif line.strip():
                        self._warn(line)
                with anyio.move_on_after(_FLUSH_SECONDS):
                    self._code = await process.wait()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            await _drain(process.stdout)

    def _warn(self, line: bytes) -> None:
        if not self._has_warned:
            self._has_warned = True
            _logger.warning("%s writes lines to stdout that are not JSON-RPC. The bridge skips them.", self.where)
        _logger.debug("%s wrote to stdout: %s", self.where, visible(decode(line[:_MAX_STDERR_LINE]), terminal=True))

    async def _log(self, process: Child, logged: anyio.Event) -> None:
        try:
            await self._log_lines(process)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        finally:
            logged.set()

    async def _log_lines(self, process: Child) -> None:
        async for line in _lines(_Calmed(process.stderr), _MAX_STDERR_LINE):
            for text in visible(decode(line[:_MAX_STDERR_LINE]), terminal=True).splitlines():
                if text.strip():
                    self._said.append(text.strip())
                    self._burst.log(self.where, text.rstrip())


class _Calmed:
    """The stderr of a server. Of one that writes without end, only the end of each piece is read."""

    def __init__(self, inner: ByteReceiveStream | None) -> None:
        self._inner = inner
        self._since = 0.0
        self._bytes = 0

    async def receive(self, most: int) -> bytes:
        """Return the next piece.

        :raises anyio.EndOfStream: the stream has ended.
        """
        if self._inner is None:
            raise anyio.EndOfStream
        piece = await self._inner.receive(most)
        now = anyio.current_time()
        if now - self._since >= 1:
            self._since, self._bytes = now, 0
        self._bytes += len(piece)
        if self._bytes <= _FLOOD_BYTES:
            return piece
        await anyio.sleep(_FLOOD_SECONDS)
        return b"\n" + piece[-_MAX_STDERR_LINE // 8 :]


class _Burst:
    """Logs a few lines at once at the level `info`, and then one from time to time; all others at `debug`."""

    def __init__(self) -> None:
        self._left = float(_BURST_LINES)
        self._at = anyio.current_time()
        self._has_noted = False

    def log(self, where: str, line: str) -> None:
        now = anyio.current_time()
        self._left = min(_BURST_LINES, self._left + (now - self._at) / _SECONDS_PER_LINE)
        self._at = now
        if self._left >= 1:
            self._left -= 1
            _logger.info("%s wrote to stderr: %s", where, line)
            return
        if not self._has_noted:
            self._has_noted = True
            _logger.info("%s writes much to stderr. The level debug shows all lines.", where)
        _logger.debug("%s wrote to stderr: %s", where, line)


def read_line(line: bytes, limit: int) -> Any:
    """Return the message of a line; None if it is not a message. `limit` is the most bytes of a reply.

    A response whose form is wrong is mended where possible. One that cannot be read becomes an error of its call.
    """
    import mcp_types as types

    from utcp_bridge.transports.mcp.lenient import repaired_message, too_large, too_many_values

    is_short = len(line) <= _most_bytes(limit)
    if is_short and has_more_values(line, most_values(limit)):
        identifier = outer_id(line)
        return (
            None
            if identifier is None
            else types.JSONRPCError(jsonrpc="2.0", id=identifier, error=too_many_values(limit))
        )
    if is_short and is_heavy(line) and (message := repaired_message(line)) is not None:
        return message  # it takes half the time of the checks of the SDK's model
    if is_short:
        for candidate in (line, json_line(line)):
            with suppress(ValueError):
                return types.jsonrpc_message_adapter.validate_json(candidate, by_name=False)
        if line.lstrip().startswith(b"{") and (message := repaired_message(line)) is not None:
            return message
    identifier = _answered(json_line(line) if is_short else line)
    if identifier is None:
        return None
    error = types.ErrorData(code=types.PARSE_ERROR, message=UNREADABLE) if is_short else too_large(limit)
    return types.JSONRPCError(jsonrpc="2.0", id=identifier, error=error)


def _most_bytes(limit: int) -> int:
    """Return the most bytes of a line with a reply of `limit` bytes."""
    return _LINE_FACTOR * limit + _FRAME_BYTES


def _answered(line: bytes) -> str | int | None:
    """Return the id of the request that a broken response is for; None if the line is not a response."""
    if not line[:_BLANK_BYTES].lstrip().startswith(b"{"):
        return None
    if is_heavy(line):
        return outer_id(line) if b'"method"' not in line[:200] else None
    with suppress(orjson.JSONDecodeError):
        value = orjson.loads(line)
        found = value.get("id") if is_object(value) and "method" not in value else None
        return found if isinstance(found, str | int) and not isinstance(found, bool) else None
    return outer_id(line) if b'"method"' not in line[:200] else None


async def _lines(stream: ByteReceiveStream | _Calmed | None, limit: int, manual: str = "") -> AsyncIterator[bytes]:
    """Yield lines. Of a line that is longer than `limit`, the first `limit` + 1 bytes are kept.

    A large line has the place of `manual` until the next one is asked for.
    """
    rest, place = bytearray(), Collecting(manual)
    try:
        while stream is not None:
            try:
                chunk = await stream.receive(_CHUNK)
            except anyio.EndOfStream:
                break
            *ended, begun = chunk.split(b"\n")
            for number, line in enumerate(ended, 1):
                if not number % _LINES_PER_TURN:
                    await anyio.lowlevel.checkpoint()
                rest += line[: limit + 1 - len(rest)] if len(rest) <= limit else b""
                whole, rest = bytes(rest), bytearray()
                yield whole
                place.release()
            kept = begun[: limit + 1 - len(rest)] if len(rest) <= limit else b""
            rest += kept
            await place.grow(len(kept))
        if rest:
            yield bytes(rest)
    finally:
        place.release()


async def _write(
    process: Child,
    to_send: MemoryObjectReceiveStream[SessionMessage],
    heard: MemoryObjectSendStream[Any],
    written: anyio.Event,
) -> None:
    try:
        async with to_send:
            async for item in to_send:
                if process.stdin is not None:
                    await process.stdin.send(_encoded(item.message) + b"\n")
    except (anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
        await heard.aclose()  # the client notices the end instead of waiting for a reply
    finally:
        written.set()


def _encoded(message: Any) -> bytes:
    try:
        data: str = message.model_dump_json(by_alias=True, exclude_unset=True)
        return data.encode()
    except ValueError:  # a lone surrogate
        return json_line(json.dumps(message.model_dump(by_alias=True, exclude_unset=True)))


async def _complete_when_ended(process: Child) -> None:
    await process.wait()
    await anyio.sleep(_LAST_WORDS_SECONDS)
    process.complete()


async def _end(process: Child, patience: float, logged: anyio.Event) -> None:
    """Close stdin. Later end the server and its children, if closing stdin does not end them. Then read its last words,
    and close its pipes.
    """
    if process.stdin is not None:
        with suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            await process.stdin.aclose()
    process.end(patience, _GRACE_SECONDS)
    await process.gone(patience + 2 * _GRACE_SECONDS)
    process.complete()
    with anyio.move_on_after(_LAST_WORDS_SECONDS):
        await logged.wait()
    await process.aclose()


async def _drain(stream: ByteReceiveStream | None) -> None:
    """Read what a server still writes, so that a full pipe does not keep it from ending."""
    with suppress(anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
        while stream is not None:
            await stream.receive(_CHUNK)
