"""The vectors of tools: one matrix in memory, and a cache on disk.

A vector is known by the hash of its model and text. The matrix has 4 bytes a number, because products of 2-byte numbers
take fifteen times as long; the file has 2 bytes. The file is a line of JSON, the hashes, and the numbers. Only the user
can read it. A file that is damaged, or of another version, is made anew.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from utcp_bridge.errors import ConfigError, MissingExtra
from utcp_bridge.net.files.writing import write_file

__all__ = ["DIGEST_BYTES", "VectorTable", "cache_file", "digest_of", "numpy", "read_cache", "write_cache"]

DIGEST_BYTES: Final = 16
_VERSION: Final = 1
_MAX_ROWS: Final = 100_000
_MAX_DIMENSIONS: Final = 8_192
_MAX_BYTES: Final = 512 * 1024 * 1024
_MAX_HEAD: Final = 1_000
_TINY: Final = 1e-9


def numpy() -> Any:
    """Return the module.

    :raises ConfigError: it is not installed.
    """
    try:
        return import_module("numpy")
    except ImportError:
        raise ConfigError(
            "Search by meaning needs numpy, which is not installed.",
            remedy=f"Install it with: {MissingExtra.install_line('semantic')}",
        ) from None


def digest_of(model: str, text: str) -> bytes:
    """Return the hash by which the vector of a text is known."""
    return blake2b(f"{model}\n{text}".encode("utf-8", "replace"), digest_size=DIGEST_BYTES).digest()


class VectorTable:
    """Vectors of length 1 as the rows of a matrix. All rows have the length of the first one."""

    def __init__(self) -> None:
        self._numpy: Final = numpy()
        self._rows: dict[bytes, int] = {}
        self._space: Any = None
        """The matrix, and rows that are not used yet."""
        self._matrix: Any = None

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def digests(self) -> Collection[bytes]:
        """The hashes, in the order of the rows."""
        return self._rows.keys()

    def add(self, digests: Sequence[bytes], vectors: Any) -> None:
        """Add rows. One that is not a direction, or of another length, becomes zero and is like nothing.

        Vectors that are there already stay: two tasks may embed the same texts.
        """
        np = self._numpy
        new = {digest: vector for digest, vector in zip(digests, vectors, strict=True) if digest not in self._rows}
        digests, vectors = list(new), list(new.values())
        length = self._matrix.shape[1] if self._matrix is not None else max(map(len, vectors), default=0)
        start, end = len(self._rows), len(self._rows) + len(digests)
        if self._space is None or end > len(self._space):
            larger = np.zeros((max(end, 2 * start), length), "float32")
            if self._matrix is not None:
                larger[:start] = self._matrix
            self._space = larger
        self._matrix = self._space[:end]
        for number, vector in enumerate(vectors, start):
            if len(vector) == length:
                self._matrix[number] = self.unit(vector)
        self._rows.update((digest, start + number) for number, digest in enumerate(digests))

    def keep(self, wanted: Collection[bytes]) -> None:
        """Remove all other rows."""
        kept = [digest for digest in self._rows if digest in wanted]
        if len(kept) < len(self._rows):
            self._space = self._matrix = self._matrix[[self._rows[digest] for digest in kept]] if kept else None
            self._rows = {digest: number for number, digest in enumerate(kept)}

    def unit(self, vector: Any) -> Any:
        """Return the vector with length 1, all zeros if it has no direction."""
        row = self._numpy.asarray(vector, "float32")
        length = float(self._numpy.linalg.norm(row)) if row.size else 0.0
        return row / length if 0 < length < float("inf") else self._numpy.zeros_like(row)

    def cosines(self, vector: Any) -> Any:
        """Return the cosine of a vector of length 1 with each row; None if the lengths differ."""
        if self._matrix is None or self._matrix.shape[1] != len(vector):
            return None
        return self._matrix @ vector

    def mixed_cosines(self, vector: Any, digests: Sequence[bytes], others: Any, shares: Sequence[float]) -> Any:
        """Return the cosine of a vector of length 1 with each row of these hashes, with another vector mixed in.

        `others` has a row for each hash, and `shares` the weight of that row. None if the lengths differ.
        """
        np = self._numpy
        if self._matrix is None or others.shape[1] != self._matrix.shape[1] or others.shape[1] != len(vector):
            return None
        weights = np.asarray(shares, "float32") / np.maximum(np.linalg.norm(others, axis=1), _TINY)
        mixed = self._matrix[[self._rows[digest] for digest in digests]] + others * weights[:, None]
        return (mixed @ vector) / np.maximum(np.linalg.norm(mixed, axis=1), _TINY)

    def rows_of(self, numbers: array[float], count: int, wanted: Sequence[int]) -> Any:
        """Return the wanted ones of `count` vectors that are one after another in an array."""
        return self._numpy.frombuffer(numbers, "float32").reshape(count, -1)[list(wanted)]

    def matrix(self) -> Any:
        """Return the rows with 2 bytes a number."""
        return self._matrix.astype("float16") if self._matrix is not None else None


def cache_file(folder: Path, model: str) -> Path:
    """Return the file for the vectors of a model."""
    return folder / f"{digest_of('file', model).hex()}.vectors"


def read_cache(path: Path, wanted: Collection[bytes]) -> Mapping[bytes, Any]:
    """Return the wanted vectors of those in the file; none if it is missing, damaged, or of another version."""
    np = numpy()
    try:
        if not path.is_file() or path.stat().st_size > _MAX_BYTES:
            return {}
        data = path.read_bytes()
        head, _, rest = data[:_MAX_HEAD].partition(b"\n")
        about = json.loads(head)
        rows, length = int(about["rows"]), int(about["dimensions"])
        is_known = about["version"] == _VERSION and 0 <= rows <= _MAX_ROWS and 0 < length <= _MAX_DIMENSIONS
        body = memoryview(data)[len(head) + 1 :]
        if not rest or not is_known or len(body) != rows * (DIGEST_BYTES + 2 * length):
            return {}
        numbers = np.frombuffer(body[rows * DIGEST_BYTES :], "<f2").reshape(rows, length)
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    digests = (bytes(body[at : at + DIGEST_BYTES]) for at in range(0, rows * DIGEST_BYTES, DIGEST_BYTES))
    return {digest: numbers[row] for row, digest in enumerate(digests) if digest in wanted}


def write_cache(path: Path, digests: Iterable[bytes], matrix: Any) -> None:
    """Replace the file in one step.

    :raises ConfigError: it cannot be written.
    """
    known = list(digests)[:_MAX_ROWS]
    head = json.dumps({"version": _VERSION, "rows": len(known), "dimensions": int(matrix.shape[1])})
    numbers = matrix[: len(known)].astype("<f2").tobytes()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"The folder {path.parent} cannot be made: {error.strerror}.") from None
    write_file(path, b"".join((head.encode(), b"\n", *known, numbers)), private=True)
