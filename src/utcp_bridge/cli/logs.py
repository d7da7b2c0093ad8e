"""Log lines on stderr, and audit records on stderr or in a file. Neither contains a known secret."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from utcp_bridge.errors import ConfigError

if TYPE_CHECKING:
    from utcp_bridge.auth.redaction import Redactor

__all__ = ["audit_sink", "configure_logging"]

_OURS: Final = "utcp_bridge"
_ON_STDERR: Final = "-"


class _TextFormatter(logging.Formatter):
    """`12:30:01 WARNING utcp_bridge.client.client: …`"""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", datefmt="%H:%M:%S")
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        # Redact the whole text, including the traceback of a debug line.
        return self._redactor(super().format(record))


class _JsonFormatter(logging.Formatter):
    """One JSON object per line: time (RFC 3339, UTC), level, logger, message, and the traceback if there is one."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        import orjson

        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._redactor(record.getMessage()),
        }
        if record.exc_info:
            line["traceback"] = self._redactor(self.formatException(record.exc_info))
        return orjson.dumps(line, default=str).decode()


def configure_logging(level: str, style: str, redactor: Redactor) -> None:
    """Send log lines to stderr: those of this package from `level` on, those of others from `warning` on.

    `style` is `text` or `json`. Debug lines of other packages are not shown, because they may contain headers and
    bodies.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter(redactor) if style == "json" else _TextFormatter(redactor))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(_OURS).setLevel(level.upper())


@contextmanager
def audit_sink(place: str | None, root: Path) -> Generator[Callable[[bytes], None] | None]:
    """Return the function that writes audit lines. `-` is stderr; any other place is a file relative to `root`.

    Lines are appended to the file, and only its owner can read it.

    :raises ConfigError: the file cannot be opened.
    """
    if place is None:
        yield None
    elif place == _ON_STDERR:
        yield _writer(sys.stderr.buffer)
    else:
        with _opened(root / Path(place).expanduser()) as file:
            yield _writer(file)


def _opened(path: Path) -> IO[bytes]:
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
    except OSError as error:
        what = f"The audit log {path} cannot be opened: {error.strerror}."
        raise ConfigError(what, remedy="Change the setting `audit_log`.") from None


def _writer(file: IO[bytes]) -> Callable[[bytes], None]:
    def write(line: bytes) -> None:
        file.write(line)
        file.flush()

    return write
