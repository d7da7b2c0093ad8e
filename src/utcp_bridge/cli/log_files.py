"""Files of log and audit lines: opened, opened again after a rotation, and what of them was lost."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from utcp_bridge.errors import ConfigError

if TYPE_CHECKING:
    from utcp_bridge.cli.line_writer import LineWriter, OnLost

__all__ = ["AuditSink", "lost_audit_lines", "opened_file", "reopen_files"]

_logger = logging.getLogger(__name__)
_SECONDS: Final = 60.0
"""How often the log says that audit lines are lost."""
_open: Final[set[LineWriter]] = set()


@contextmanager
def opened_file(
    path: Path, setting: str, on_lost: OnLost, report: Callable[[int, str], None] | None = None
) -> Generator[LineWriter]:
    """Open a file that lines are appended to, until the end of the context. `setting` named it.

    :raises ConfigError: the file cannot be opened.
    """
    from utcp_bridge.cli.line_writer import LineWriter

    try:
        writer = LineWriter(path, str(path), on_lost, report)
    except OSError as error:
        what = f"The file {path} cannot be opened: {error.strerror}."
        raise ConfigError(what, remedy=f"Change the setting `{setting}`.") from None
    _open.add(writer)
    try:
        yield writer
    finally:
        _open.discard(writer)
        writer.close()


def reopen_files() -> None:
    """Open each file again: another program, such as logrotate, has renamed them."""
    for writer in tuple(_open):
        writer.reopen()


class AuditSink:
    """Takes audit lines. The log says once a minute how many were lost, because nothing else may wait for them."""

    def __init__(self, put: Callable[[bytes], bool] | None = None) -> None:
        """`put` returns False for a line that it drops. It may be set later."""
        self.put = put
        self.lost = 0
        """How many lines were dropped or could not be written."""
        self._reported = 0
        self._reported_at = -_SECONDS
        self._why = ""

    def __call__(self, line: bytes) -> None:
        """Write a line."""
        if self.put is not None and not self.put(line):
            self.report(self.lost + 1, "the reader of stderr does not read")

    def report(self, lost: int, why: str) -> None:
        """Note how many lines are lost in all."""
        self.lost, self._why = lost, why
        if monotonic() - self._reported_at >= _SECONDS:
            self._say()

    def _say(self) -> None:
        self._reported, self._reported_at = self.lost, monotonic()
        _logger.error("%d audit lines were lost so far, because %s. Calls went on.", self.lost, self._why)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.lost != self._reported:
            self._say()


def lost_audit_lines(number: int, why: str) -> bytes:
    """Return the record that takes the place of audit lines that were lost."""
    import orjson

    record = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "lost": number, "why": why}
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
