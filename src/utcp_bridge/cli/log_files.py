"""Files of log and audit lines: opened, opened again after a rotation, and what of them was lost."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final

from utcp_bridge.errors import ConfigError

if TYPE_CHECKING:
    from utcp_bridge.cli.line_writer import LineWriter, OnLost

__all__ = ["AuditSink", "LossReport", "lost_audit_lines", "opened_file", "reopen_files"]

_logger = logging.getLogger(__name__)
_SECONDS: Final = 60.0
"""How often lost lines are reported."""
_open: Final[set[LineWriter]] = set()


@contextmanager
def opened_file(
    path: Path,
    setting: str,
    on_lost: OnLost,
    report: LossReport,
    make: Callable[[Path, LossReport], LineWriter] | None = None,
) -> Generator[LineWriter]:
    """Open a file that lines are appended to, until the end of the context. `setting` named it; `make` may open it.

    :raises ConfigError: the file cannot be opened.
    """
    from utcp_bridge.cli.line_writer import LineWriter

    try:
        writer = LineWriter(path, str(path), on_lost, report) if make is None else make(path, report)
    except OSError as error:
        what = f"The file {path} cannot be opened: {error.strerror}."
        raise ConfigError(what, remedy=f"Change the setting `{setting}`.") from None
    _open.add(writer)
    try:
        yield writer
    finally:
        _open.discard(writer)
        writer.close()
        report.end()


def reopen_files() -> None:
    """Open each file again: another program, such as logrotate, has renamed them."""
    for writer in tuple(_open):
        writer.reopen()


class LossReport:
    """Says once a minute at most how many lines were lost, and why: nothing waits for lines."""

    def __init__(self, say: Callable[[int, str], None]) -> None:
        self._say = say
        self.lost = 0
        self._said = 0
        self._said_at = -_SECONDS
        self._why = ""

    def __call__(self, lost: int, why: str) -> None:
        """Note how many lines are lost in all."""
        is_new = why != self._why
        self.lost, self._why = lost, why
        if is_new or monotonic() - self._said_at >= _SECONDS:
            self.end()

    def end(self) -> None:
        """Say what was not said yet."""
        if self._why and (self.lost != self._said or not self.lost):
            self._said, self._said_at = self.lost, monotonic()
            self._say(self.lost, self._why)


class AuditSink:
    """Takes lines of the audit log, or of another one. `lost` is how many were dropped or could not be written."""

    def __init__(self, put: Callable[[bytes], bool] | None = None, log: str = "audit") -> None:
        """`put` returns False for a line that it drops. It may be set later."""
        self.put = put
        self.put_all: Callable[[Sequence[bytes]], object] | None = None
        """Takes many lines at once, and reports by itself what it drops."""
        self.report: Final = LossReport(partial(_log_lost_lines, log))

    @property
    def lost(self) -> int:
        """How many lines were dropped or could not be written."""
        return self.report.lost

    def __call__(self, line: bytes) -> None:
        """Write a line."""
        if self.put is not None and not self.put(line):
            self.report(self.lost + 1, "the reader of stderr does not read")

    def put_lines(self, lines: Sequence[bytes]) -> None:
        """Write lines in their order."""
        if self.put_all is not None:
            self.put_all(lines)
            return
        for line in lines:
            self(line)


def _log_lost_lines(log: str, number: int, why: str) -> None:
    if number:
        _logger.error("%d %s lines were lost so far, because %s. Calls went on.", number, log, why)
    else:
        _logger.error("The %s log goes on in the old file, because %s.", log, why)


def lost_audit_lines(number: int, why: str) -> bytes:
    """Return the record that takes the place of lines of the audit log, or of the access log, that were lost."""
    import orjson

    record = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "lost": number, "why": why}
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
