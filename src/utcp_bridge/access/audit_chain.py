"""The chain of audit lines: each line has its number, and the hash of the line before it.

A hash is SHA-256 of the bytes of a line without its end, or HMAC-SHA-256 if there is a key. So a line that was changed,
removed or moved does not fit its neighbours (`check_audit`). Someone who can write the file can make a new chain; a
key that they do not have, or a hash that is kept elsewhere, shows that.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from utcp_bridge.errors import ConfigError
from utcp_bridge.model import JsonObject, is_object

__all__ = [
    "MAX_LINE_BYTES",
    "AuditChain",
    "AuditReport",
    "Link",
    "audit_files",
    "chain_key",
    "chain_record",
    "check_audit",
    "line_hash",
    "link_of",
]

MAX_LINE_BYTES: Final = 1024 * 1024
_MAX_RUNS: Final = 100_000
_NO_CHAIN: Final = "The files have no line of a chain. Name the files of an audit log; a configuration comes after -c."
_CHAIN_LABEL: Final = b"utcp-bridge audit chain"


class Link(NamedTuple):
    """Where a chain is: the id of the chain, the number of the last line, and the hash of that line."""

    chain: str
    number: int
    hash: str | None


def chain_key(secret: str | None) -> bytes | None:
    """Return the key of the hashes for the setting `audit_key`; None if it is not set."""
    return None if secret is None else hmac.digest(secret.encode(), _CHAIN_LABEL, "sha256")


def line_hash(line: bytes, key: bytes | None) -> str:
    """Return the hash of a line, which is without its line end, in hexadecimal."""
    return sha256(line).hexdigest() if key is None else hmac.digest(key, line, "sha256").hex()


def link_of(line: bytes) -> tuple[Link, JsonObject] | None:
    """Return the chain, the number and the hash that a line states, and its record; None if it is not of a chain.

    The hash is that of the line before it.
    """
    try:
        record: Any = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not is_object(record):
        return None
    chain, number, previous = record.get("chain"), record.get("line"), record.get("previous")
    if not isinstance(chain, str) or not isinstance(number, int) or isinstance(number, bool):
        return None
    return (Link(chain, number, previous), record) if previous is None or isinstance(previous, str) else None


def chain_record(kind: str, **members: Any) -> bytes:
    """Return a line about the log itself, before it is in a chain: `start`, `end`, `next file`, `cut line`."""
    record = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "log": kind, **members}
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


class AuditChain:
    """The end of a chain, to which lines are added."""

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key
        self.end = Link(secrets.token_hex(8), 0, None)

    def sealed(self, lines: Sequence[bytes]) -> list[bytes]:
        """Return JSON lines as members of the chain. It has them only after `keep`."""
        made: list[bytes] = []
        chain, number, before = self.end
        for line in lines:
            number += 1
            previous = b"null" if before is None else b'"%s"' % before.encode()
            body = b'%s,"chain":"%s","line":%d,"previous":%s}' % (
                line.rstrip(b"\n")[:-1],
                chain.encode(),
                number,
                previous,
            )
            before = line_hash(body, self._key)
            made.append(body + b"\n")
        return made

    def keep(self, sealed: Sequence[bytes]) -> None:
        """Take over lines that were written, as `sealed` returned them."""
        if sealed:
            last = sealed[-1].rstrip(b"\n")
            self.end = Link(self.end.chain, self.end.number + len(sealed), line_hash(last, self._key))

    def resume(self, tail: bytes) -> int:
        """Go on after the last bytes of a file, which begin anywhere. Return the length of a last line that was cut.

        A file without a line of a chain begins a chain.
        """
        *lines, cut = tail.split(b"\n")
        found = next((link for line in reversed(lines) if (link := link_of(line)) is not None), None)
        if found is None or (not cut and link_of(lines[-1]) is None):
            self.end = Link(secrets.token_hex(8), 0, None)
            return len(cut)
        last = cut or lines[-1]
        self.end = Link(found[0].chain, found[0].number, line_hash(last, self._key))
        return len(cut)


# --- the check -----------------------------------------------------------------------------------


@dataclass(slots=True)
class AuditReport:
    """What a check of audit files found."""

    files: list[str] = field(default_factory=list[str])
    lines: int = 0
    fault: str = ""
    """The first line that is wrong, with its file and number, and why; empty if none is."""
    notes: list[str] = field(default_factory=list[str])
    """What a reader should know of a chain that is right."""
    first: int = 0
    end: Link | None = None
    """The last line that is right. Its hash shows later whether the file was cut after it."""


def audit_files(path: Path) -> list[Path]:
    """Return an audit log and its old files `NAME.1`, `NAME.2` …, the oldest first. Only files that exist are in it."""
    begin = f"{path.name}."
    try:
        beside = [one for one in path.parent.iterdir() if one.name.startswith(begin)]
    except OSError:
        beside = []
    numbered = [(int(number), one) for one in beside if (number := one.name[len(begin) :]).isdecimal()]
    old = [one for _, one in sorted(numbered, reverse=True)]
    return [*old, path] if path.exists() else old


def check_audit(paths: Sequence[Path], key: bytes | None, expected: Link | None = None) -> AuditReport:
    """Check the chain of these files, which may be in any order.

    `expected` is the number and the hash of a line that was noted earlier.

    :raises ConfigError: a file cannot be read.
    """
    check = _Check(key, expected)
    for path in sorted(paths, key=_first_number):
        check.report.files.append(str(path))
        for number, line, is_whole in _lines_of(path):
            if not check.take(f"{path}, line {number}", line, is_whole=is_whole):
                return check.report
        if not check.end_file():
            return check.report
    check.finish()
    return check.report


class _Check:
    """The state of a check between two lines."""

    def __init__(self, key: bytes | None, expected: Link | None) -> None:
        self.report = AuditReport()
        self._key = key
        self._expected = expected
        self._place = ""
        self._cut: tuple[str, bytes] | None = None
        self._outside = self._lost = self._cuts = 0
        self._runs: set[str] = set()

    def take(self, place: str, line: bytes, *, is_whole: bool) -> bool:
        """Check a line; False at the first one that is wrong."""
        found = link_of(line) if is_whole else None
        if found is None:
            return self._take_other(place, line)
        link, record = found
        if (why := self._fault(place, link, record)) or (why := self._unexpected(place, link.number, line)):
            return self._refuse(why)
        if self.report.end is None:
            self.report.first = link.number
        self.report.lines += 1
        self.report.end, self._place, self._cut = Link(link.chain, link.number, line_hash(line, self._key)), place, None
        self._note(record)
        return True

    def _take_other(self, place: str, line: bytes) -> bool:
        """Take a line that is not of a chain: one of an older version, or the rest of a line that a crash cut."""
        if self.report.end is None:
            self._outside += 1
            return True
        if self._cut is not None:
            return self._refuse(f"{self._cut[0]}: the line is cut, or was changed.")
        self._cut = place, line
        return True

    def _fault(self, place: str, link: Link, record: JsonObject) -> str:
        end = self.report.end
        if end is None:
            return ""
        if link.chain != end.chain:
            return f"{place}: another chain begins here (line {link.number})."
        if link.number > end.number + 1:
            missing = (
                f"line {end.number + 1} is"
                if link.number == end.number + 2
                else (f"the lines {end.number + 1} to {link.number - 1} are")
            )
            return f"{place}: {missing} missing before line {link.number} of the chain."
        if link.number != end.number + 1:
            return f"{place}: line {link.number} of the chain is in the wrong place, after line {end.number}."
        return self._changed(link, record)

    def _changed(self, link: Link, record: JsonObject) -> str:
        """Return why the line before does not fit its hash in this line."""
        end = self.report.end
        if self._cut is not None:
            if record.get("log") != "cut line" or link.hash != line_hash(self._cut[1], self._key):
                return f"{self._cut[0]}: the line is cut, or was changed."
            self._cuts += 1
        elif end is not None and link.hash != end.hash:
            return f"{self._place}: the line was changed, or `audit_key` is another. The next line has another hash."
        return ""

    def _unexpected(self, place: str, number: int, line: bytes) -> str:
        expected = self._expected
        if expected is None or number != expected.number or line_hash(line, self._key) == expected.hash:
            return ""
        return f"{place}: line {number} of the chain does not have the expected hash."

    def _note(self, record: JsonObject) -> None:
        if isinstance(lost := record.get("lost"), int):
            self._lost += lost
        run, kind = record.get("run"), record.get("log")
        if isinstance(run, str) and kind == "start" and len(self._runs) < _MAX_RUNS:
            self._runs.add(run)
        elif isinstance(run, str) and kind == "end":
            self._runs.discard(run)

    def _refuse(self, why: str) -> bool:
        self.report.fault = why
        return False

    def end_file(self) -> bool:
        """Check the end of a file: its last line must be whole."""
        return self._cut is None or self._refuse(f"{self._cut[0]}: the last line is cut, or was changed.")

    def finish(self) -> None:
        """Check what only the end shows."""
        report, notes = self.report, self.report.notes
        if report.end is None:
            self._refuse(_NO_CHAIN if self._outside else "The files are empty.")
            return
        if self._expected is not None and not report.first <= self._expected.number <= report.end.number:
            self._refuse(f"The files end with line {report.end.number}; line {self._expected.number} is missing.")
            return
        if self._outside:
            notes.append(f"{self._outside:,} lines before the chain, of an older version, cannot be checked.")
        if report.first > 1:
            notes.append(f"The files begin with line {report.first} of the chain. The lines before it are not here.")
        if self._lost:
            notes.append(f"{self._lost:,} lines were lost when they were written, as the log itself says.")
        if self._cuts:
            notes.append(f"{self._cuts:,} lines were cut by a crash, as the log itself says.")
        if self._runs:
            runs = "1 run has" if len(self._runs) == 1 else f"{len(self._runs):,} runs have"
            notes.append(f"{runs} no end: the bridge still runs, or ended without closing the log.")


def _first_number(path: Path) -> int:
    """Return the number of the first line of a chain in a file; 0 if it has none, so that older lines come first."""
    for _, line, is_whole in _lines_of(path):
        if is_whole and (found := link_of(line)) is not None:
            return found[0].number
    return 0


def _lines_of(path: Path) -> Iterator[tuple[int, bytes, bool]]:
    """Yield the number of each line, the line without its end, and whether it has an end.

    :raises ConfigError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES):
                number += 1
                yield number, line.removesuffix(b"\n"), line.endswith(b"\n")
    except OSError as error:
        raise ConfigError(f"The audit file {path} cannot be read: {error.strerror}.") from None
