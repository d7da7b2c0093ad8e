"""A folder of manuals as a registry's contents, read again when its files change.

Manuals and OpenAPI descriptions are listed, those in folders below too. Client configurations are not: they may hold
secrets. Neither is what a symbolic link leads to outside the folder, nor what begins with a dot.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any, Final

import orjson

from utcp_bridge.configuration.places import DOCUMENT_SUFFIXES, MAX_BYTES
from utcp_bridge.dialects import RawTool, Shape, detect, read_manual
from utcp_bridge.dialects.documents import parse_document
from utcp_bridge.dialects.fields import safe_name
from utcp_bridge.dialects.openapi import ConversionOptions, convert
from utcp_bridge.errors import UtcpError
from utcp_bridge.model import JsonObject
from utcp_bridge.registry.index import ListingIndex
from utcp_bridge.registry.listing import Listing

__all__ = ["Folder", "Shelf", "served_bytes"]

_log = logging.getLogger(__name__)
_MOST_FILES: Final = 10_000
_MOST_TAGS: Final = 30
_LONGEST_WORDS: Final = 20_000
_State = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Shelf:
    """The manuals of a folder at one moment; URLs of their listings are relative: `manuals/weather.json`."""

    index: ListingIndex = field(default_factory=lambda: ListingIndex(()))
    files: dict[str, Path] = field(default_factory=dict[str, Path])
    """Last part of the URL → file."""


@dataclass(frozen=True, slots=True)
class _Read:
    """What one file holds; None for one that is no manual."""

    state: _State
    listing: Listing | None = None
    words: str = ""


class Folder:
    """Scans a folder. Blocking, and safe to be used by several threads."""

    def __init__(self, path: Path) -> None:
        self._root = path.resolve()
        self._known: dict[Path, _Read] = {}
        self._shelf = Shelf()
        self._lock = Lock()

    def current(self) -> Shelf:
        """The folder as it is now; only files that changed are read."""
        with self._lock:
            found = dict(self._files())
            changed = [path for path, state in found.items() if self._read_state(path) != state]
            gone = [path for path in self._known if path not in found]
            for path in changed:
                self._known[path] = self._read(path, found[path])
            for path in gone:
                del self._known[path]
            if changed or gone:
                self._shelf = self._arranged()
            return self._shelf

    def _files(self) -> Iterator[tuple[Path, _State]]:
        for number, path in enumerate(sorted(self._root.rglob("*"))):
            if number >= _MOST_FILES:
                _log.warning("%s holds more than %d files; the rest is not listed.", self._root, _MOST_FILES)
                return
            below = path.relative_to(self._root)
            if path.suffix.lower() not in DOCUMENT_SUFFIXES or any(part.startswith(".") for part in below.parts):
                continue
            try:
                if path.resolve().is_relative_to(self._root) and path.is_file():
                    status = path.stat()
                    yield path, (status.st_mtime_ns, status.st_size, status.st_ino)
            except OSError:
                continue  # gone since, or a loop of links

    def _read_state(self, path: Path) -> _State | None:
        known = self._known.get(path)
        return known.state if known is not None else None

    def _read(self, path: Path, state: _State) -> _Read:
        if state[1] > MAX_BYTES:
            _log.warning("%s is not listed: it is larger than %d bytes.", path, MAX_BYTES)
            return _Read(state)
        try:
            data = served_bytes(path)
            document = parse_document(data, hint=path.suffix, where="The file")
            tools, info = _contents(document)
        except (UtcpError, OSError, ValueError) as error:
            _log.warning("%s is not listed: %s", path, error)
            return _Read(state)
        if tools is None:
            _log.info("%s is not listed: it is no manual.", path)
            return _Read(state)
        listing = Listing(
            name="",
            url="",
            description=str(info.get("description") or info.get("title") or ""),
            tags=_tags(tools),
            manual_version=str(info.get("version") or ""),
            sha256=sha256(data).hexdigest(),
        )
        return _Read(state, listing, _words(tools, info))

    def _arranged(self) -> Shelf:
        listings: list[Listing] = []
        words: dict[str, str] = {}
        files: dict[str, Path] = {}
        for path in sorted(self._known):
            read = self._known[path]
            if read.listing is None:
                continue
            name = _unique(safe_name("_".join(path.relative_to(self._root).with_suffix("").parts)), words)
            file = f"{name}{'.json' if path.suffix.lower() == '.jsonc' else path.suffix.lower()}"
            about = read.listing
            listings.append(
                Listing(name, f"manuals/{file}", about.description, about.tags, about.manual_version, about.sha256)
            )
            words[name], files[file] = read.words, path
        return Shelf(ListingIndex(listings, words), files)


def served_bytes(path: Path) -> bytes:
    """The bytes that a manual is served as: the file's own; for JSON with comments, JSON without. Raises OSError."""
    data = path.read_bytes()
    if path.suffix.lower() not in {".json", ".jsonc"}:
        return data
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return orjson.dumps(parse_document(data, jsonc=True, where="The file"), option=orjson.OPT_INDENT_2)
    return data


def _contents(document: Any) -> tuple[list[RawTool] | None, JsonObject]:
    """The tools of a manual and what it says of itself; no list for what is none."""
    shape = detect(document)
    if shape is Shape.OPENAPI:
        conversion = convert(document, url=None, options=ConversionOptions(base_url="https://api.example.com"))
        return conversion.tools, conversion.info
    if shape in {Shape.MANUAL, Shape.TOOLS}:
        reading = read_manual(document, default_template={}, where="manual")
        return reading.tools, reading.info
    return None, {}


def _tags(tools: list[RawTool]) -> tuple[str, ...]:
    """Tags of the tools, the most frequent first."""
    counts = Counter(tag for tool in tools for tag in dict.fromkeys(tool.tags))
    return tuple(tag for tag, _ in counts.most_common(_MOST_TAGS))


def _words(tools: list[RawTool], info: JsonObject) -> str:
    parts = [str(info.get("title") or "")]
    parts += [f"{tool.name} {tool.description[:200]}" for tool in tools]
    return "\n".join(parts)[:_LONGEST_WORDS]


def _unique(name: str, taken: dict[str, str]) -> str:
    unique, number = name, 2
    while unique in taken:
        unique, number = f"{name}_{number}", number + 1
    return unique
