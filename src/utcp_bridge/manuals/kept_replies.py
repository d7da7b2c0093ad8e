"""Replies of workers on disk, so that a program that starts again with the same large manual does not read it again.

The name of a file is a hash of the document and of all that was asked. So a changed document is read anew. A file has
a hash of its lines, which are the lines of the reply. It contains tools as their manual describes them, and nothing of
the operator: an entry with more than the place of its manual, or a manual with credentials or headers, is not kept.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Protocol

import anyio.to_thread
import orjson

from utcp_bridge import __version__
from utcp_bridge.dialects import Shape
from utcp_bridge.model import JsonObject
from utcp_bridge.net.files.kept import KeptFiles
from utcp_bridge.tasks import let_others_run

__all__ = ["KeptReplies", "Remembered", "ReplyingWorker"]

_MAX_FILES: Final = 32
_MAX_BYTES: Final = 64 * 1024 * 1024
_SUFFIX: Final = ".reply"
_CHECK: Final = 32
_TURN_BYTES: Final = 65_536
_PRIVATE: Final = (
    b'"auth"',
    b'"headers"',
    b'"cookies"',
    b'"env"',
    b'"env_vars"',
    b"authorization",
    b"bearer ",
    b"key=",
    b"token=",
)
"""What a manual with credentials contains, in small letters."""
_OF_JSON: Final = (b"{", b"[")
_MANUALS: Final = frozenset({Shape.MANUAL, Shape.TOOLS, Shape.MCP_TOOLS})
_PLACE: Final = frozenset({
    "name", "call_template_type", "url", "file_path", "http_method", "allow_networks",
    "allowed_communication_protocols",
})  # fmt: skip
"""Keys of an entry that has no values but where its manual is, and whom it may reach."""
Take = Callable[[bytes], None]


class ReplyingWorker(Protocol):
    """Something that replies to requests: `take` gets the lines, and what the last one says is returned."""

    async def ask(self, head: JsonObject, data: bytes, take: Take) -> JsonObject: ...


class KeptReplies:
    """The replies that are kept in a folder."""

    def __init__(self, folder: Path) -> None:
        self._files = KeptFiles(folder, _SUFFIX, most=_MAX_FILES, max_bytes=_MAX_BYTES)

    def read(self, name: str) -> list[bytes]:
        """Return the lines of a reply; none if it is not there or damaged."""
        path = self._files.path(name)
        data = self._files.read(path)
        if len(data) <= _CHECK or sha256(memoryview(data)[_CHECK:]).digest() != data[:_CHECK]:
            return []
        self._files.use(path)
        return data[_CHECK:].split(b"\n")

    def write(self, name: str, lines: list[bytes]) -> None:
        """Keep the lines of a reply. A failure is a line of the log."""
        body = b"\n".join(lines)
        if len(body) < _MAX_BYTES - _CHECK:
            self._files.write(self._files.path(name), sha256(body).digest() + body)


class Remembered:
    """Replies to the requests about one document: from the disk, otherwise from a worker.

    The worker is started with the first request whose reply is not kept, and is asked first what came before.
    """

    def __init__(self, kept: KeptReplies, start: Callable[[], Awaitable[ReplyingWorker]]) -> None:
        self._kept = kept
        self._start = start
        self._worker: ReplyingWorker | None = None
        self._before: list[tuple[JsonObject, bytes]] = []
        self._key: bytes | None = b""
        """Hash of the requests until now; None if their replies are not kept."""

    async def ask(self, head: JsonObject, data: bytes, take: Take) -> JsonObject:
        """Return the reply to a request, as a worker does."""
        name, lines = await anyio.to_thread.run_sync(self._found, head, data)
        if lines:
            self._before.append((head, data))
            return await _replayed(lines, take)
        if name is None:
            return await (await self._asked()).ask(head, data, take)
        found: list[bytes] = []

        def take_both(line: bytes) -> None:
            found.append(line)
            take(line)

        reply = await (await self._asked()).ask(head, data, take_both)
        if "error" not in reply and reply.get("shape", Shape.MANUAL) in _MANUALS:
            await anyio.to_thread.run_sync(self._kept.write, name, [*found, b"E" + orjson.dumps(reply)])
        return reply

    def _found(self, head: JsonObject, data: bytes) -> tuple[str | None, list[bytes]]:
        """Return the name of the file with the reply to a request, and its lines; no name if it is not to be kept.

        A document is searched for credentials only if there is no file: for one with credentials, none was written.
        """
        if (name := self._named(head, data)) is None:
            return None, []
        lines = self._kept.read(name)
        if not lines and head["step"] == "parse" and not _is_public(data):
            self._key = name = None
        return name, lines

    def _named(self, head: JsonObject, data: bytes) -> str | None:
        """Return the name of the file for the reply to a request; None after one that is not to be kept."""
        if self._key is None or not _may_be_kept(head):
            self._key = None
            return None
        asked = {key: value for key, value in head.items() if key != "seconds"}
        known = sha256(orjson.dumps([__version__, asked, len(data)], option=orjson.OPT_SORT_KEYS))
        known.update(self._key)
        known.update(data)
        self._key = known.digest()
        return known.hexdigest()

    async def _asked(self) -> ReplyingWorker:
        """Return the worker, which has been asked what came before."""
        if self._worker is None:
            self._worker = await self._start()
            before, self._before = self._before, []
            for head, data in before:
                await self._worker.ask(head, data, _nothing)
        return self._worker


def _may_be_kept(head: JsonObject) -> bool:
    """Return whether the reply to a request may be kept: to parse a document, or for the tools of a UTCP manual."""
    return head["step"] == "parse" or (head["step"] == "manual" and _is_a_place(head["entry"]))


def _is_public(data: bytes) -> bool:
    """Return whether a document is JSON without the words of credentials."""
    written = data.lower()
    return written.lstrip().startswith(_OF_JSON) and not any(word in written for word in _PRIVATE)


def _is_a_place(entry: Mapping[str, Any]) -> bool:
    written = {key for key, value in entry.items() if value is not None}
    return written <= _PLACE and not {"?", "@"} & set(str(entry.get("url", "")))


async def _replayed(lines: list[bytes], take: Take) -> JsonObject:
    size = 0
    for line in lines[:-1]:
        take(line)
        size += len(line)
        if size > _TURN_BYTES:
            size = 0
            await let_others_run()
    reply: JsonObject = orjson.loads(lines[-1][1:])
    return reply


def _nothing(_line: bytes) -> None:
    pass
