"""The vectors of tools: one matrix in memory, and a cache on disk.

A vector is known by the hash of its model and text. The matrix has 4 bytes a number, because products of 2-byte numbers
take fifteen times as long; the file has 2 bytes. The file is a line of JSON, the hashes, and the numbers. Only the user
can read it. A file that is damaged, or of another version, is made anew.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from utcp_bridge.errors import ConfigError, MissingExtra
from utcp_bridge.net.files.writing import write_file

__all__ = ["DIGEST_BYTES", "Mixture", "VectorTable", "cache_file", "digest_of", "numpy", "read_cache", "write_cache"]

DIGEST_BYTES: Final = 16
_VERSION: Final = 1
_MAX_ROWS: Final = 100_000
_MAX_DIMENSIONS: Final = 8_192
_MAX_BYTES: Final = 512 * 1024 * 1024
_MAX_HEAD: Final = 1_000
_TINY: Final = 1e-9
_FEW: Final = 100
"""Rows below which their distances say little about the model."""
_SAMPLE: Final = 1_024
_NEIGHBOURS: Final = 1 / 80
"""The share of the sample that are neighbours of a row."""
_SAME: Final = 0.9999


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


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """Some rows of a table, what is added to each of them, and the lengths of the sums."""

    rows: Any
    added: Any
    lengths: Any

    def put(self, cosines: Any, vector: Any) -> None:
        """Replace the cosines of these rows with a vector of length 1 by those of the sums."""
        cosines[self.rows] = (cosines[self.rows] + self.added @ vector) / self.lengths


class VectorTable:
    """Vectors of length 1 as the rows of a matrix. All rows have the length of the first one."""

    def __init__(self) -> None:
        self._numpy: Final = numpy()
        self._rows: dict[bytes, int] = {}
        self._space: Any = None
        """The matrix, and rows that are not used yet."""
        self._matrix: Any = None
        self._closeness: Any = None
        """How near each row is to its neighbours. Rows that were added later have none yet."""
        self.spread: float = 0.0
        """The standard deviation of the cosines of two rows; 0 if it is not known."""

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def digests(self) -> Collection[bytes]:
        """The hashes, in the order of the rows."""
        return self._rows.keys()

    def row_of(self, digest: bytes) -> int | None:
        """Return the number of a row; None if no row has this hash."""
        return self._rows.get(digest)

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
            places = [self._rows[digest] for digest in kept]
            if self._closeness is not None:
                self._closeness = self.closeness()[places] if kept else None
            self._space = self._matrix = self._matrix[places] if kept else None
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

    def measure(self) -> None:
        """Measure how near each row is to its neighbours, and the spread of cosines, on a sample of the rows.

        A text such as "Returns data" is near to many others, and so near to every query. With few rows, nothing is
        measured.
        """
        np, matrix, digests = self._numpy, self._matrix, list(self._rows)
        if len(digests) < _FEW or matrix is None or len(matrix) != len(digests):
            self._closeness, self.spread = None, 0.0
            return
        sample = matrix[sorted(range(len(digests)), key=digests.__getitem__)[:_SAMPLE]].T.copy()
        neighbours = max(1, round(sample.shape[1] * _NEIGHBOURS))
        found = np.zeros(len(matrix), "float32")
        spreads: list[float] = []
        for start in range(0, len(matrix), _SAMPLE):
            cosines = matrix[start : start + _SAMPLE] @ sample
            spreads.append(float(cosines.std()))
            cosines[cosines > _SAME] = -1  # the row itself, and copies of it
            cosines.partition(cosines.shape[1] - neighbours, axis=1)
            found[start : start + len(cosines)] = cosines[:, -neighbours:].mean(1)
        self._closeness, self.spread = found, sum(spreads) / len(spreads)

    def closeness(self) -> Any:
        """Return how near each row is to its neighbours; the mean for rows that were not measured."""
        np, known = self._numpy, self._closeness
        if known is None:
            return np.zeros(len(self._rows), "float32")
        missing = len(self._rows) - len(known)
        return np.concatenate([known, np.full(missing, known.mean(), "float32")]) if missing > 0 else known

    def mixture(self, digests: Sequence[bytes], others: Any, shares: Sequence[float]) -> Mixture | None:
        """Return the rows of these hashes with other vectors mixed in.

        `others` has a vector for each hash, and `shares` its weight; None if the lengths of the vectors differ.
        """
        np = self._numpy
        if self._matrix is None or not digests or others.shape[1] != self._matrix.shape[1]:
            return None
        rows = np.asarray([self._rows[digest] for digest in digests])
        weights = np.asarray(shares, "float32") / np.maximum(np.linalg.norm(others, axis=1), _TINY)
        added = others * weights[:, None]
        return Mixture(rows, added, np.maximum(np.linalg.norm(self._matrix[rows] + added, axis=1), _TINY))

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
