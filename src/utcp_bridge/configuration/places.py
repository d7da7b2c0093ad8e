"""Documents by their place: a file, a URL, or stdin. What an operator names by hand counts as the operator's word."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread

from utcp_bridge.dialects.documents import parse_document
from utcp_bridge.errors import ConfigError
from utcp_bridge.model import Document, Source
from utcp_bridge.urls import bare_url

__all__ = [
    "DOCUMENT_SUFFIXES",
    "MOST_BYTES",
    "STDIN",
    "Placed",
    "fetch_url",
    "hint_of",
    "is_url",
    "read_file",
    "read_place",
]

STDIN: Final = "-"
DOCUMENT_SUFFIXES: Final = frozenset({".json", ".jsonc", ".yaml", ".yml"})
MOST_BYTES: Final = 16 * 1024 * 1024
_MAX_SECONDS: Final = 20


@dataclass(frozen=True, slots=True)
class Placed:
    """A document and where it was found."""

    document: Any = field(repr=False)
    data: bytes = field(repr=False)
    shown: str
    """The place in words, for messages."""
    url: str | None = None
    """Absolute path or final URL, where relative references start; None for stdin."""


def is_url(place: str) -> bool:
    """Whether a place is fetched over the network."""
    return place.lower().startswith(("http://", "https://"))


async def read_place(place: str, *, read_stdin: Callable[[], bytes] | None = None) -> Placed:
    """The document at a path, a URL, or `-`; local JSON may have comments.

    :raises ConfigError: there is none, or it cannot be read. :raises UtcpError: it cannot be fetched.
    :raises DocumentError: it is neither JSON nor YAML.
    """
    if place == STDIN:
        data = await anyio.to_thread.run_sync(read_stdin or sys.stdin.buffer.read)
        return Placed(parse_document(data, jsonc=_looks_like_json(data), where="stdin"), data, "stdin")
    if is_url(place):
        fetched, shown = await fetch_url(place), bare_url(place)
        document = parse_document(fetched.content, hint=fetched.media_type or place, where=shown)
        return Placed(document, fetched.content, shown, fetched.url)
    path = Path(await anyio.Path(place).absolute())
    data = await read_file(path)
    jsonc = path.suffix.lower() in {".json", ".jsonc"} or (not hint_of(path) and _looks_like_json(data))
    return Placed(parse_document(data, hint=hint_of(path), jsonc=jsonc, where=place), data, place, str(path))


async def read_file(path: Path) -> bytes:
    """The bytes of a regular file. Raises ConfigError."""

    def read() -> bytes:
        if not path.is_file():
            what = "There is no such file." if not path.exists() else "It is not a regular file."
            raise ConfigError(what, remedy="Check the path.")
        if path.stat().st_size > MOST_BYTES:
            raise ConfigError(f"It is larger than {MOST_BYTES} bytes.", remedy="Split it.")
        return path.read_bytes()

    try:
        return await anyio.to_thread.run_sync(read)
    except OSError as error:
        raise ConfigError(f"It cannot be read: {error.strerror}.", remedy="Check its permissions.") from None


async def fetch_url(url: str) -> Document:
    """Fetch the document at a URL. The operator wrote the URL, so its address may be a private one.

    :raises DeadlineExceeded: it did not arrive within 20 seconds.
    :raises UtcpError: it cannot be fetched, or is not a document.
    """
    from utcp_bridge.net.document import document_request, fetch_manual
    from utcp_bridge.net.guard import Guard
    from utcp_bridge.net.http import HttpPool

    pool = HttpPool(Guard(), max_response_bytes=MOST_BYTES)
    session = pool.session(Source(name="configuration", allowed_origins=frozenset({url})))
    try:
        return await fetch_manual(session, document_request(url), max_bytes=MOST_BYTES, seconds=_MAX_SECONDS)
    finally:
        await pool.aclose()


def hint_of(path: Path) -> str:
    """A file's suffix, if it says JSON or YAML."""
    return path.suffix.lower() if path.suffix.lower() in DOCUMENT_SUFFIXES else ""


def _looks_like_json(data: bytes) -> bool:
    return data[:64].lstrip().startswith((b"{", b"[", b"//", b"/*"))
