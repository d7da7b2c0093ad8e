"""Log lines on stderr, and audit records on stderr or in a file. Neither contains a known secret.

With `json`, every line of stderr is a JSON object: `only_json_on_stderr` turns what libraries, the
interpreter and other code write to the descriptor into records. Log lines have visible characters only.
"""

from __future__ import annotations

import copy
import logging
import os
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Final

from utcp_bridge.errors import ConfigError
from utcp_bridge.foreign import decode, escape_line_ends, visible

if TYPE_CHECKING:
    from utcp_bridge.auth.redaction import Redactor

__all__ = ["audit_sink", "configure_logging", "log_line", "logs_json", "only_json_on_stderr"]

_OURS: Final = "utcp_bridge"
_CLI: Final = "utcp_bridge.cli"
_STDERR: Final = "stderr"
_MAX_LINE: Final = 65_536
_LAST_LINES_SECONDS: Final = 1.0
_ON_STDERR: Final = "-"


class _TextFormatter(logging.Formatter):
    """`12:30:01 WARNING utcp_bridge.client.client: …`"""

    def __init__(self, redactor: Redactor, *, debug: bool = False) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", datefmt="%H:%M:%S")
        self._redactor = redactor
        self._debug = debug

    def format(self, record: logging.LogRecord) -> str:
        record = record if self._debug else _without_foreign_traceback(record)
        # Redact the whole text, including the traceback of a debug line.
        return self._redactor(visible(super().format(record), terminal=True))


class _JsonFormatter(logging.Formatter):
    """One JSON object per line: time (RFC 3339, UTC), level, logger, message, and the traceback if there is one."""

    def __init__(self, redactor: Redactor, *, debug: bool = False) -> None:
        super().__init__()
        self._redactor = redactor
        self._debug = debug

    def format(self, record: logging.LogRecord) -> str:
        import orjson

        record = record if self._debug else _without_foreign_traceback(record)
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._text(record.getMessage()),
        }
        if record.exc_info:
            line["traceback"] = self._text(self.formatException(record.exc_info))
        return escape_line_ends(orjson.dumps(line, default=str)).decode()

    def _text(self, text: str) -> str:
        return self._redactor(visible(text, terminal=True))


class _Handler(logging.StreamHandler[IO[str]]):
    """Writes to stderr. If that is closed, nothing is reported: the report would go there too."""

    is_redirected = False

    @property
    def is_current(self) -> bool:
        """Whether lines go where `sys.stderr` leads now."""
        return self.is_redirected or self.stream is sys.stderr

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name of logging
        if not isinstance(sys.exc_info()[1], OSError | ValueError):
            super().handleError(record)


def logs_json() -> bool:
    """Return whether lines on stderr must be JSON."""
    return any(
        isinstance(one, _Handler) and isinstance(one.formatter, _JsonFormatter) and one.is_current
        for one in logging.getLogger().handlers
    )


def log_line(level: int, text: str, error: BaseException | None = None) -> None:
    """Log a line of the command itself, whatever the level of the log is."""
    caused = None if error is None else (type(error), error, error.__traceback__)
    logger = logging.getLogger(_CLI)
    logger.handle(logger.makeRecord(_CLI, level, "", 0, text, (), caused))


def configure_logging(level: str, style: str, redactor: Redactor) -> None:
    """Send log lines to stderr: those of this package from `level` on, those of others from `warning` on.

    `style` is `text` or `json`. Debug lines of other packages are not shown, because they may contain headers and
    bodies.
    """
    handler = _Handler(sys.stderr)
    formatter = _JsonFormatter if style == "json" else _TextFormatter
    handler.setFormatter(formatter(redactor, debug=level == "debug"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(_OURS).setLevel(level.upper())
    logging.captureWarnings(style == "json")


def _without_foreign_traceback(record: logging.LogRecord) -> logging.LogRecord:
    """Leave out the traceback of the MCP SDK, which logs one for each message of a server that it cannot read."""
    if record.exc_info is None or not record.name.startswith("mcp."):
        return record
    plain = copy.copy(record)
    plain.exc_info = plain.exc_text = None
    return plain


@contextmanager
def only_json_on_stderr() -> Generator[None]:
    """Make each line that anything writes to stderr a log line, while log lines themselves go there as they are.

    Descriptor 2 leads to a pipe meanwhile; a thread reads it. Uncaught exceptions become one record with a traceback.
    Nothing happens if the log is text, or if `sys.stderr` is not the descriptor.
    """
    if not logs_json() or not _is_descriptor_2(sys.stderr):
        yield
        return
    sys.stderr.flush()
    read_end, write_end = os.pipe()
    own = os.dup(2)
    out = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace", buffering=1)
    handlers = [one for one in logging.getLogger().handlers if isinstance(one, _Handler)]
    before = [_redirected(handler, out) for handler in handlers]
    os.dup2(write_end, 2)
    os.close(write_end)
    reader = threading.Thread(target=_relay, args=(read_end, out), name="stderr", daemon=True)
    reader.start()
    hooks = sys.excepthook, threading.excepthook
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda caught: _log_uncaught(caught.exc_type, caught.exc_value, caught.exc_traceback)
    try:
        yield
    finally:
        sys.excepthook, threading.excepthook = hooks
        sys.stderr.flush()
        os.dup2(own, 2)  # closes the last writing end of the pipe, unless a child still has it
        os.close(own)
        reader.join(_LAST_LINES_SECONDS)
        for handler, stream in zip(handlers, before, strict=True):
            handler.setStream(stream)
            handler.is_redirected = False
        with suppress(OSError):
            out.close()


def _redirected(handler: _Handler, stream: IO[str]) -> IO[str]:
    """Write to `stream` from now on; return the stream until now."""
    before: IO[str] = handler.stream
    handler.setStream(stream)
    handler.is_redirected = True
    return before


def _is_descriptor_2(stream: IO[str]) -> bool:
    try:
        return stream.fileno() == 2
    except (OSError, ValueError):
        return False


def _log_uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    del trace
    log_line(logging.ERROR, f"Uncaught exception ({kind.__name__}).", error)


def _relay(descriptor: int, out: IO[str]) -> None:
    """Log each line of the pipe. A line that is a JSON object already, such as an audit record, stays as it is."""
    logger = logging.getLogger(_STDERR)
    logger.setLevel(logging.INFO)
    with os.fdopen(descriptor, "rb") as lines:
        while line := lines.readline(_MAX_LINE):
            if _is_json_object(line):
                with suppress(OSError, ValueError):
                    out.write(line.decode())
            elif text := decode(line).rstrip():
                logger.info("%s", text)


def _is_json_object(line: bytes) -> bool:
    import orjson

    try:
        return line.startswith(b"{") and line.endswith(b"\n") and isinstance(orjson.loads(line), dict)
    except orjson.JSONDecodeError:
        return False


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
    from utcp_bridge.net.files.writing import open_log

    try:
        return open_log(path)
    except OSError as error:
        what = f"The audit log {path} cannot be opened: {error.strerror}."
        raise ConfigError(what, remedy="Change the setting `audit_log`.") from None


def _writer(file: IO[bytes]) -> Callable[[bytes], None]:
    def write(line: bytes) -> None:
        file.write(line)
        file.flush()

    return write
