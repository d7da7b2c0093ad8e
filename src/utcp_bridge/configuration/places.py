"""Documents by their place: a file, a URL, or stdin. The operator names the place, so it is trusted."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread

from utcp_bridge.dialects.documents import parse_document
from utcp_bridge.errors import ConfigError
from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import Document, Source
from utcp_bridge.urls import bare_url

__all__ = [
    "DOCUMENT_SUFFIXES",
    "MAX_BYTES",
    "STDIN",
    "NoSuchFile",
    "Placed",
    "fetch_url",
    "hint_of",
    "is_url",
    "parsed",
    "read_file",
    "read_place",
    "without_scheme",
]

STDIN: Final = "-"
DOCUMENT_SUFFIXES: Final = frozenset({".json", ".jsonc", ".yaml", ".yml"})
_HINTS: Final = DOCUMENT_SUFFIXES | {".toml"}
MAX_BYTES: Final = 16 * 1024 * 1024
_FETCH_SECONDS: Final = 20
_HOST_AND_PATH: Final = late_pattern(
    r"(?:localhost|(?:[\w-]{1,63}\.){1,9}[A-Za-z0-9]{1,63})(?::\d{1,5})?/.*", re.DOTALL
)
_THREAD_FROM: Final = 32_768


class NoSuchFile(ConfigError, FileNotFoundError):
    """A file that the operator names and that does not exist. The reference library raises `FileNotFoundError`."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A document and where it was found."""

    document: Any = field(repr=False)
    data: bytes = field(repr=False)
    shown: str
    """The name of the place in messages."""
    url: str | None = field(default=None, repr=False)
    """Absolute path, or URL after redirects, where relative references start; None for stdin."""


def is_url(place: str) -> bool:
    """Return whether a place is fetched over the network."""
    return place.lower().startswith(("http://", "https://"))


async def read_place(place: str, *, read_stdin: Callable[[], bytes] | None = None) -> Placed:
    """Return the document at a path, a URL, or `-` (stdin); local JSON may have comments.

    :raises ConfigError: there is no such file, or it cannot be read.
    :raises UtcpError: it cannot be fetched.
    :raises ManualError: it is neither JSON nor YAML.
    """
    if place == STDIN:
        data = await anyio.to_thread.run_sync(read_stdin or sys.stdin.buffer.read)
        return Placed(await parsed(data, jsonc=_looks_like_json(data), where="stdin"), data, "stdin")
    if is_url(place):
        fetched, shown = await fetch_url(place), bare_url(place)
        document = await parsed(fetched.content, hint=fetched.media_type or place, where=shown)
        return Placed(document, fetched.content, shown, fetched.url)
    path = Path(await anyio.Path(place).absolute())
    data = await read_file(path, Path(place))
    jsonc = path.suffix.lower() in {".json", ".jsonc"} or (not hint_of(path) and _looks_like_json(data))
    return Placed(await parsed(data, hint=hint_of(path), jsonc=jsonc, where=place), data, place, str(path))


async def parsed(data: bytes | str, *, hint: str = "", jsonc: bool = False, where: str) -> Any:
    """Return a document as data; a large one is parsed in a thread, so that a signal can end the program meanwhile.

    :raises ManualError: it is neither JSON nor YAML.
    """
    work = partial(parse_document, data, hint=hint, jsonc=jsonc, where=where)
    return work() if len(data) < _THREAD_FROM else await anyio.to_thread.run_sync(work, abandon_on_cancel=True)


def without_scheme(text: str) -> str:
    """Return a further sentence for a place that does not exist and looks like a URL without its scheme, or nothing."""
    return " If it is a URL, write https:// or http:// before it." if _HOST_AND_PATH.fullmatch(text) else ""


async def read_file(path: Path, named: Path | None = None) -> bytes:
    """Return the bytes of a regular file. `named` is its path as the user wrote it.

    :raises NoSuchFile: there is no such file.
    :raises ConfigError: it is too large, or it cannot be read.
    """

    def read() -> bytes:
        if not path.is_file():
            if path.is_symlink() and not path.exists():
                raise ConfigError("The link leads nowhere, or in a circle.", remedy="Correct the link.")
            remedy = f"Check the path.{without_scheme((named or path).as_posix())}"
            if not path.exists():
                raise NoSuchFile("There is no such file.", remedy=remedy)
            raise ConfigError("This is not a regular file.", remedy=remedy)
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(
                f"The file has {path.stat().st_size:,} bytes; a configuration may have {MAX_BYTES:,}.",
                remedy="Split it. Name a large description in an entry: `file_path`, with `max_manual_bytes`.",
            )
        return path.read_bytes()

    try:
        return await anyio.to_thread.run_sync(read)
    except ConfigError:
        raise
    except OSError as error:
        raise ConfigError(f"The file cannot be read: {error.strerror}.", remedy="Check its permissions.") from None


async def fetch_url(url: str, most: int | None = None) -> Document:
    """Fetch a document that the operator named, of at most `most` bytes (16 MiB). Its address may be a private one.

    :raises DeadlineExceeded: it did not arrive within 20 seconds.
    :raises UtcpError: it cannot be fetched, or is not a document.
    """
    from utcp_bridge.net.document import document_request, fetch_manual
    from utcp_bridge.net.guard import Guard
    from utcp_bridge.net.http import HttpPool

    most = MAX_BYTES if most is None else most
    pool = HttpPool(Guard(), max_response_bytes=MAX_BYTES)
    session = pool.session(Source(name="configuration", allowed_origins=frozenset({url})))
    try:
        return await fetch_manual(session, document_request(url), max_bytes=most, seconds=_FETCH_SECONDS)
    finally:
        await pool.aclose()


def hint_of(path: Path) -> str:
    """Return the suffix of a file if it says JSON, YAML or TOML, else an empty text."""
    return path.suffix.lower() if path.suffix.lower() in _HINTS else ""


def _looks_like_json(data: bytes) -> bool:
    return data[:64].lstrip().startswith((b"{", b"[", b"//", b"/*"))
