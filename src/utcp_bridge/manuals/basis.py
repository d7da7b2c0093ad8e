"""What the live tools of a manual were made from, so that a refresh of the same costs nothing more than the question.

Tools depend on the bytes of the document and of the files that it refers to, on the manual's entry and source, on the
variables that were looked up while they were built, and on `utcp.lock`. If none of these has changed, the tools have
not changed either.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Hashable, Mapping
from dataclasses import field
from hashlib import sha256
from typing import Any, Final, TypeAlias

import anyio.to_thread
import orjson

from utcp_bridge.errors import UtcpError
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import Document, Edition, JsonObject, Source, is_list, is_object
from utcp_bridge.tasks import in_slices
from utcp_bridge.variables import LookedUp

__all__ = ["Basis", "ReferredFile", "ReferredFiles", "digest_of"]

_THREAD_FROM: Final = 1_000_000
"""Bytes. Hashing more takes more than a millisecond, and a thread does it without holding up the others."""
Fetch: TypeAlias = Callable[[str, int, Edition | None], Awaitable[Document]]
"""Fetches a file of a document: its place, the most bytes that it may have, and the edition that is known."""


@dataclass(frozen=True, slots=True)
class ReferredFile:
    """One file: the hash of its bytes or of why it could not be read, its size, and what its server says of it."""

    digest: bytes
    size: int = 0
    edition: Edition | None = None

    @classmethod
    async def of(cls, file: Document) -> ReferredFile:
        """Return what a fetched file is."""
        return cls(await _digest(file.content), len(file.content), file.edition)

    @classmethod
    def failed(cls, error: Exception) -> ReferredFile:
        """Return what a file is that cannot be read."""
        return cls(sha256(str(error).encode("utf-8", "replace")).digest())


@dataclass(frozen=True, slots=True)
class ReferredFiles:
    """The files that a document refers to, in the order in which they were read, and how to fetch one again."""

    fetch: Fetch | None = None
    parts: Mapping[str, ReferredFile] = field(default_factory=dict[str, ReferredFile])
    max_bytes: int = 0

    async def are_unchanged(self) -> bool:
        """Return whether each file is as it was."""
        left = self.max_bytes
        for place, part in self.parts.items():
            if self.fetch is None:
                return False
            try:
                file = await self.fetch(place, max(left, 1), part.edition)
                now = part if file.is_known else await ReferredFile.of(file)
            except (UtcpError, OSError) as error:
                now = ReferredFile.failed(error)
            if (now.digest, now.size) != (part.digest, part.size):
                return False
            left -= part.size
        return True


@dataclass(frozen=True, slots=True)
class Basis:
    """What the live tools of a manual were made from."""

    digest: bytes
    document: Document = field(repr=False)
    """Without its content."""
    source: Source
    references: ReferredFiles
    variables: Mapping[LookedUp, int]
    lock: Hashable
    """The state of `utcp.lock`."""

    def has(self, document: Document, digest: bytes | None) -> bool:
        """Return whether a document is the same one, at the same place."""
        if document.is_known:
            return document.edition == self.document.edition
        known = self.document
        return digest == self.digest and (known.url, known.media_type) == (document.url, document.media_type)


async def digest_of(document: Document) -> bytes | None:
    """Return the SHA-256 of a document's bytes, or of its value; None if it cannot be computed."""
    content: Any = document.content
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogatepass")
    if isinstance(content, bytes):
        return await _digest(content)
    try:
        return await in_slices(_digest_of_value(content))
    except TypeError:  # such as whole numbers of more than 64 bits
        return None


def _digest_of_value(content: Any) -> Generator[None, None, bytes]:
    """Return a hash of a value in steps. What its tools share is written once, however many tools have it."""
    if not is_object(content) or not is_list(tools := content.get("tools")):
        return sha256(_json(content)).digest()
    whole = sha256(_json({**content, "tools": len(tools)}))
    known: dict[int, bytes] = {}  # the content keeps its parts, so an id is not used again
    for tool in tools:
        schemas = [schema for schema in tool.values() if is_object(schema)] if is_object(tool) else []
        shared = {id(one): one for schema in schemas for one in _definitions(schema).values()}
        for key in shared.keys() - known.keys():
            known[key] = sha256(_json(shared[key])).digest()
        whole.update(_json(_without_definitions(tool)))
        for schema in schemas:
            for name, one in _definitions(schema).items():
                whole.update(b"%b\0%b" % (name.encode("utf-8", "surrogatepass"), known[id(one)]))
        yield
    return whole.digest()


def _without_definitions(tool: Any) -> Any:
    if not is_object(tool):
        return tool
    return {
        name: {key: one for key, one in member.items() if key != "$defs"} if is_object(member) else member
        for name, member in tool.items()
    }


def _definitions(schema: JsonObject) -> JsonObject:
    found = schema.get("$defs")
    return found if is_object(found) else {}


def _json(value: Any) -> bytes:
    return orjson.dumps(value, default=repr, option=orjson.OPT_NON_STR_KEYS)


async def _digest(data: bytes) -> bytes:
    if len(data) < _THREAD_FROM:
        return sha256(data).digest()
    return await anyio.to_thread.run_sync(lambda: sha256(data).digest())
