"""The further files that an OpenAPI description's `$ref`s name, fetched within its own origin or folder only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import anyio

from utcp_bridge.dialects.documents import parse_document
from utcp_bridge.errors import ManualError, UtcpError
from utcp_bridge.model import Fault, JsonObject

__all__ = ["gather_references", "read_local_reference"]

_MOST_FILES: Final = 100
_Fetch = Callable[[str], Awaitable[bytes]]


async def gather_references(
    document: JsonObject, url: str | None, fetch: _Fetch, *, where: str
) -> tuple[dict[str, Any], list[Fault]]:
    """Every file that `document`, found at `url`, refers to, directly or through another one; None for those that fail.

    `fetch` gets an absolute path or URL and raises UtcpError or OSError. `where` names the document in faults.
    """
    from utcp_bridge.dialects.openapi import external_references

    files: dict[str, Any] = {}
    faults: list[Fault] = []
    waiting = [(document, url)]
    while waiting and len(files) < _MOST_FILES:
        part, base = waiting.pop()
        for place in external_references(part, base):
            if place in files or not _is_near(place, url):
                continue
            try:
                files[place] = parse_document(await fetch(place), hint=place, where=place)
            except (UtcpError, OSError) as error:
                files[place] = None
                faults.append(Fault(f"{where}, reference {place}", str(error), severity="warning"))
                continue
            waiting.append((files[place], place))
    return files, faults


async def read_local_reference(place: str) -> bytes:
    """A local file that a reference names. Raises ManualError, OSError."""
    path = anyio.Path(place)
    if not await path.is_file():
        raise ManualError("There is no such file.")
    return await path.read_bytes()


def _is_near(place: str, url: str | None) -> bool:
    """Same origin for URLs, same folder or below for files."""
    if url is None:
        return False
    here, there = urlsplit(url), urlsplit(place)
    if here.scheme in {"http", "https"}:
        return (here.scheme, here.netloc) == (there.scheme, there.netloc)
    if there.scheme in {"http", "https"}:
        return False
    folder = Path(urljoin(url, ".")).resolve()
    return Path(place).resolve().is_relative_to(folder)
