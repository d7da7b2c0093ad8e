"""The index on disk, so that a program that starts again with the same tools does not build it again.

The name of a file is a hash of all that its index was made from, so a file of other tools is never read. It has a line
of JSON, the hashes of the tools in the order of their slots, the terms, and the postings. The folder and the files are
the user's own: a file that others may write, that is damaged, or of another version, is not used and made anew. It
contains words of descriptions and schemas, and no code.
"""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from utcp_bridge import __version__
from utcp_bridge.model import Tool
from utcp_bridge.net.files.kept import KeptFiles
from utcp_bridge.search.index import InvertedIndex, Postings
from utcp_bridge.search.lexical import Bm25Strategy

__all__ = ["KEPT_FROM", "KeptIndex"]

KEPT_FROM: Final = 1_000
"""Tools from which an index is kept. Fewer are indexed in less than 0.1 s."""
_VERSION: Final = 2
"""Raise it if the same tools get other postings. Each release of the package counts as another version, too."""
_MAX_FILES: Final = 8
_MAX_BYTES: Final = 64 * 1024 * 1024
_DIGEST: Final = 16
_CHECK: Final = 32
_MAX_HEAD: Final = 1_000
_STEP: Final = 256
_SUFFIX: Final = ".index"


class _Parts(NamedTuple):
    """What a file contains. The arrays have the numbers as this machine writes them."""

    digests: bytes
    terms: list[str]
    sizes: array[int]
    """The number of postings of each term."""
    slots: array[int]
    weights: array[float]


class KeptIndex:
    """The index of one client on disk, in `folder`: read once if it is there, otherwise written once."""

    def __init__(self, folder: Path) -> None:
        self._files = KeptFiles(folder, _SUFFIX, most=_MAX_FILES, max_bytes=_MAX_BYTES)
        self._digests: dict[Tool, bytes] = {}
        self._is_done = not folder.is_absolute()

    def fill(
        self, strategy: Bm25Strategy, tools: Sequence[Tool], is_current: Callable[[], bool]
    ) -> Generator[None, None, bool]:
        """Give the index of exactly these tools to a strategy that is empty, in steps; return whether it was there.

        `is_current` says whether these are still the tools.
        """
        if self._is_done or len(tools) < KEPT_FROM or not strategy.is_empty:
            return False
        by_digest: dict[bytes, Tool] = {}
        for tool in tools:
            by_digest[self._digest_of(tool)] = tool
            yield
        path = self._files.path(_name(by_digest))
        parts = _parsed(self._files.read(path))
        if parts is None or len(by_digest) != len(tools):
            return False
        slots = (parts.digests[at : at + _DIGEST] for at in range(0, len(parts.digests), _DIGEST))
        in_slots = [by_digest[digest] for digest in slots if digest in by_digest]
        if len(in_slots) != len(tools):
            return False
        postings = yield from _postings(parts)
        index = yield from InvertedIndex.of(in_slots, postings)
        if not is_current() or not strategy.adopt(index):
            return False
        self._digests, self._is_done = {}, True
        self._files.use(path)
        return True

    def pack(self, strategy: Bm25Strategy) -> Generator[None, None, tuple[Path, bytes] | None]:
        """Return the path and the content of the file for the index of a strategy, in steps; None if none is due."""
        if self._is_done or strategy.size < KEPT_FROM:
            return None
        self._is_done = True
        tools, postings = strategy.content()
        known, self._digests = self._digests, {}
        digests: list[bytes] = []
        for tool in tools:
            digests.append(known.get(tool) or _digest_of(tool))
            yield
        terms, sizes, slots, weights = list(postings), array("I"), array("I"), array("f")
        for number, found in enumerate(postings.values()):
            sizes.append(len(found.slots))
            slots.extend(found.slots)
            weights.extend(found.weights)
            if number % _STEP == 0:
                yield
        if tools != strategy.content()[0]:
            return None  # it changed meanwhile
        data = _written(_Parts(b"".join(digests), terms, sizes, slots, weights))
        return (self._files.path(_name(digests)), data) if len(data) <= _MAX_BYTES else None

    def write(self, path: Path, data: bytes) -> None:
        """Write a file that `pack` made. A failure is a line of the log."""
        self._files.write(path, data)

    def _digest_of(self, tool: Tool) -> bytes:
        if tool not in self._digests:
            self._digests[tool] = _digest_of(tool)
        return self._digests[tool]


def _digest_of(tool: Tool) -> bytes:
    """Return a hash of all that the index reads of a tool (`fields.fields_of`), and of its name."""
    asked = tool.extras.get("asked_as")
    read = [tool.manual, tool.name, tool.title, tool.description, tool.tags, tool.inputs, asked]
    try:
        data = orjson.dumps(read, default=str, option=orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:  # whole numbers of YAML may have any length, and texts halves of surrogate pairs
        data = json.dumps(read, default=str).encode()
    return blake2b(data, digest_size=_DIGEST).digest()


def _name(digests: Iterable[bytes]) -> str:
    about = f"{_VERSION} {__version__} {sys.byteorder}\n".encode()
    return blake2b(about + b"".join(sorted(digests)), digest_size=_DIGEST).hexdigest()


def _written(parts: _Parts) -> bytes:
    terms = "\n".join(parts.terms).encode()
    sections = (parts.digests, terms, parts.sizes.tobytes(), parts.slots.tobytes(), parts.weights.tobytes())
    body = b"".join(sections)
    head = json.dumps({"version": _VERSION, "sections": [len(one) for one in sections]}).encode()
    return b"".join((head, b"\n", blake2b(body, digest_size=_CHECK).digest(), body))


def _parsed(data: bytes) -> _Parts | None:
    """Return the parts of a file's content; None if it is damaged or of another version."""
    head, _, _ = data[:_MAX_HEAD].partition(b"\n")
    check, body = (start := len(head) + 1), start + _CHECK
    try:
        about: Any = json.loads(head)
        ends = [*accumulate(about["sections"], initial=body)]
        is_whole = (
            about["version"] == _VERSION
            and ends[-1] == len(data)
            and blake2b(memoryview(data)[body:], digest_size=_CHECK).digest() == data[check:body]
        )
        if not is_whole:
            return None
        digests, terms, *numbers = (data[begin:end] for begin, end in pairwise(ends))
        sizes, slots, weights = array("I"), array("I"), array("f")
        sizes.frombytes(numbers[0])
        slots.frombytes(numbers[1])
        weights.frombytes(numbers[2])
        parts = _Parts(digests, terms.decode().split("\n"), sizes, slots, weights)
    except (ValueError, LookupError, TypeError):
        return None
    is_sound = len(parts.terms) == len(sizes) and sum(sizes) == len(slots) == len(weights)
    return parts if is_sound and max(slots, default=0) * _DIGEST < len(digests) else None


def _postings(parts: _Parts) -> Generator[None, None, Mapping[str, Postings]]:
    found: dict[str, Postings] = {}
    start = 0
    for number, (term, size) in enumerate(zip(parts.terms, parts.sizes, strict=True)):
        found[term] = Postings.of(parts.slots[start : start + size], parts.weights[start : start + size])
        start += size
        if number % _STEP == 0:
            yield
    return found
