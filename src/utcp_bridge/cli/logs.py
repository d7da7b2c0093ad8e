"""Log lines on stderr or in a file, and audit records too. Neither contains a known secret.

While a server runs, a thread writes the lines, so that a host that does not read stderr stops nothing. What libraries,
the interpreter and other code write to the descriptor becomes log lines. Log lines have visible characters only.
"""

from __future__ import annotations

import copy
import logging
import os
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import IO, TYPE_CHECKING, Final

from utcp_bridge.cli.log_files import AuditSink, LossReport, lost_audit_lines, opened_file
from utcp_bridge.foreign import decode, escape_line_ends, visible
from utcp_bridge.late.records import dataclass

if TYPE_CHECKING:
    from utcp_bridge.auth.redaction import Redactor
    from utcp_bridge.cli.line_writer import LineWriter
    from utcp_bridge.settings import LogSettings

__all__ = [
    "RepeatedLines",
    "access_sink",
    "audit_sink",
    "change_level",
    "configure_logging",
    "discard_stderr",
    "log_file",
    "log_line",
    "logs_json",
    "unblocked_stderr",
    "write_line",
]

_OURS: Final = "utcp_bridge"
_CLI: Final = "utcp_bridge.cli"
_STDERR: Final = "stderr"
_MAX_LINE: Final = 65_536
_LAST_LINES_SECONDS: Final = 1.0
_ON_STDERR: Final = "-"
_SYSLOG: Final = "syslog"
_OTLP: Final = "otlp"
_COLLECTED_SECONDS: Final = 0.05
"""How long lines of the access log are collected, to be written together."""
_COUNT_SECONDS: Final = 60.0
_MOST_OF_ONE: Final = 10
_MOST_OF_KIND: Final = 100
_MAX_KINDS: Final = 1_000
_MAX_KEY: Final = 200

_Key = tuple[str, int, str, str | None]
_stderr: LineWriter | None = None
"""What writes to stderr while `unblocked_stderr` is open."""


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
    """Writes to stderr, or through `writer`. A closed stderr is not reported: the report would go there too."""

    writer: LineWriter | None = None

    @property
    def is_current(self) -> bool:
        """Whether lines go where `sys.stderr` leads now."""
        return self.writer is not None or self.stream is sys.stderr

    def emit(self, record: logging.LogRecord) -> None:
        if self.writer is None:
            super().emit(record)
            return
        try:
            self.writer.put(_encoded(self.format(record)))
        except Exception:  # noqa: BLE001 - logging reports it in its own way
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name of logging
        if not isinstance(sys.exc_info()[1], OSError | ValueError):
            super().handleError(record)


def logs_json() -> bool:
    """Return whether lines on stderr must be JSON."""
    return any(isinstance(one.formatter, _JsonFormatter) and one.is_current for one in _handlers())


def write_line(text: str) -> bool:
    """Write a line to stderr without waiting for its reader. Return False if nothing takes such lines now."""
    if _stderr is None:
        return False
    _stderr.put(_encoded(text))
    return True


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


def change_level(level: str) -> None:
    """Log lines of this package from another level on."""
    logging.getLogger(_OURS).setLevel(level.upper())


_LOGGERS_OF_SDK: Final = frozenset({"client", "server"})
"""Loggers of the MCP SDK that do not have the name of their module."""


def _without_foreign_traceback(record: logging.LogRecord) -> logging.LogRecord:
    """Leave out the traceback of the MCP SDK, which logs one for each message of a server that it cannot read."""
    if record.exc_info is None or not (record.name.startswith("mcp.") or record.name in _LOGGERS_OF_SDK):
        return record
    plain = copy.copy(record)
    plain.exc_info = plain.exc_text = None
    return plain


# --- lines that repeat -------------------------------------------------------------------------


@dataclass(slots=True)
class _Repeated:
    """Lines of one kind since `since`: how many were written, and how many only counted."""

    most: int
    since: float
    written: int = 0
    held: int = 0
    last: logging.LogRecord | None = field(default=None, repr=False)


class RepeatedLines(logging.Filter):
    """Holds back lines that repeat: the first few are written, and then their number once a minute.

    Lines are of one kind if one statement of the code makes them. A kind has ten lines for each first argument, which
    is the manual or tool that it is about, and a hundred in all. So one noisy manual does not fill the log, and does
    not hide the lines of another one. `write` receives the records that count lines.
    """

    def __init__(self, write: Callable[[logging.LogRecord], None], *, now: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._write = write
        self._now = now
        self._turn = threading.RLock()  # reentrant: a collected object may log
        self._seen: dict[_Key, _Repeated] = {}
        self._timer: threading.Timer | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to write the record."""
        kind = (record.name, record.levelno, str(record.msg).partition("\n")[0][:_MAX_KEY])
        first = record.args[0] if isinstance(record.args, tuple) and record.args else None
        with self._turn:
            one = self._passes((*kind, str(first)[:_MAX_KEY]), _MOST_OF_ONE, record)
            return one and self._passes((*kind, None), _MOST_OF_KIND, record)

    def count(self, *, at_end: bool = False) -> None:
        """Write the number of each kind that was held back, and forget the kinds that were silent for a minute."""
        with self._turn:
            now = self._now()
            for key, seen in tuple(self._seen.items()):
                if seen.last is not None:
                    self._write(_counted(seen.last, seen.held))
                    seen.since, seen.held, seen.last = now, 0, None
                elif now - seen.since >= _COUNT_SECONDS:
                    del self._seen[key]
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if not at_end and any(seen.written == seen.most for seen in self._seen.values()):
                self._start_timer()

    def _passes(self, key: _Key, most: int, record: logging.LogRecord) -> bool:
        now = self._now()
        seen = self._seen.get(key)
        if seen is None or (seen.written < most and now - seen.since >= _COUNT_SECONDS):
            if len(self._seen) >= _MAX_KINDS:
                self._seen = {key: seen for key, seen in self._seen.items() if seen.written == seen.most}
            if len(self._seen) >= _MAX_KINDS:
                return True
            seen = self._seen[key] = _Repeated(most, now)
        if seen.written < most:
            seen.written += 1
            return True
        seen.held += 1
        seen.last = record
        if self._timer is None:
            self._start_timer()
        return False

    def _start_timer(self) -> None:
        self._timer = threading.Timer(_COUNT_SECONDS, self.count)
        self._timer.daemon = True
        self._timer.start()


def _counted(record: logging.LogRecord, number: int) -> logging.LogRecord:
    counted = copy.copy(record)
    counted.msg, counted.args = "%d more lines like this one: %s", (number, record.getMessage())
    counted.exc_info = counted.exc_text = None
    return counted


# --- stderr ---------------------------------------------------------------------------------------


@contextmanager
def unblocked_stderr(*, serving: bool = False) -> Generator[None]:
    """Let a thread write log lines while a server runs, or while each line of stderr must be JSON.

    Descriptor 2 leads to a pipe meanwhile, which another thread reads: what libraries and the interpreter write to it
    becomes log lines. A terminal stays descriptor 2 if the log is text. Uncaught exceptions become one record with a
    traceback. A server limits lines that repeat. Nothing happens if `sys.stderr` is not the descriptor.
    """
    if not (serving or logs_json()) or not _is_descriptor_2(sys.stderr):
        yield
        return
    from utcp_bridge.cli.line_writer import LineWriter

    global _stderr  # noqa: PLW0603 - a process has one
    sys.stderr.flush()
    with _uncaught_logged(), _repetition_limited(serving=serving):
        _stderr = writer = LineWriter(os.dup(2), "stderr", _lost_lines)
        unset = [handler for handler in _handlers() if handler.writer is None]
        for handler in unset:
            handler.writer = writer
        try:
            with _strays_logged() if logs_json() or not sys.stderr.isatty() else nullcontext():
                yield
        finally:
            for handler in unset:
                handler.writer = None
            _stderr = None
            if not writer.close():  # what comes later, such as the last error, must not wait either
                discard_stderr()


def discard_stderr() -> None:
    """Let what is written to stderr from now on go nowhere, so that the interpreter's last flush succeeds too."""
    if _is_descriptor_2(sys.stderr):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)


@contextmanager
def _strays_logged() -> Generator[None]:
    """Log what is written to descriptor 2."""
    own = os.dup(2)
    read_end, write_end = os.pipe()
    os.dup2(write_end, 2)
    os.close(write_end)
    reader = threading.Thread(target=_relay, args=(read_end,), name="stderr", daemon=True)
    reader.start()
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(own, 2)  # closes the last writing end of the pipe, unless a child still has it
        os.close(own)
        reader.join(_LAST_LINES_SECONDS)


@contextmanager
def _uncaught_logged() -> Generator[None]:
    hooks = sys.excepthook, threading.excepthook
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda caught: _log_uncaught(caught.exc_type, caught.exc_value, caught.exc_traceback)
    try:
        yield
    finally:
        sys.excepthook, threading.excepthook = hooks


@contextmanager
def _repetition_limited(*, serving: bool) -> Generator[None]:
    """Limit lines that repeat, unless the operator wants every line (level `debug`)."""
    is_limited = serving and logging.getLogger(_OURS).getEffectiveLevel() > logging.DEBUG
    limits = [(handler, RepeatedLines(handler.emit)) for handler in _handlers()] if is_limited else []
    for handler, limit in limits:
        handler.addFilter(limit)
    try:
        yield
    finally:
        for handler, limit in limits:
            handler.removeFilter(limit)
            limit.count(at_end=True)


def _handlers() -> list[_Handler]:
    return [one for one in logging.getLogger().handlers if isinstance(one, _Handler)]


def _encoded(text: str) -> bytes:
    return f"{text}\n".encode(errors="replace")


def _lost_lines(number: int, why: str) -> bytes:
    """Return the log line about lines that were lost."""
    text = f"{number:,} lines were dropped, because {why}."
    record = logging.makeLogRecord({"name": _CLI, "levelno": logging.WARNING, "levelname": "WARNING", "msg": text})
    return b"".join(_encoded(handler.format(record)) for handler in _handlers()[:1])


def _is_descriptor_2(stream: IO[str]) -> bool:
    try:
        return stream.fileno() == 2
    except (OSError, ValueError):
        return False


def _log_uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    del trace
    log_line(logging.ERROR, f"Uncaught exception ({kind.__name__}).", error)


def _relay(descriptor: int) -> None:
    """Log each line of the pipe. A line that is a JSON object already stays as it is."""
    logger = logging.getLogger(_STDERR)
    logger.setLevel(logging.INFO)
    with os.fdopen(descriptor, "rb") as lines:
        while line := lines.readline(_MAX_LINE):
            if logs_json() and _is_json_object(line) and _stderr is not None:
                _stderr.put(line)
            elif text := decode(line).rstrip():
                logger.info("%s", text)


def _is_json_object(line: bytes) -> bool:
    import orjson

    try:
        return line.startswith(b"{") and line.endswith(b"\n") and isinstance(orjson.loads(line), dict)
    except orjson.JSONDecodeError:
        return False


@contextmanager
def log_file(place: str | None, root: Path) -> Generator[None]:
    """Send log lines to a file instead of stderr, if `place` names one. A relative path starts at `root`.

    :raises ConfigError: the file cannot be opened.
    """
    if place is None:
        yield
        return
    path = root / Path(place).expanduser()
    report = LossReport(lambda number, why: _say_on_stderr(f"The log file lost {number:,} lines, because {why}."))
    with opened_file(path, "log_file", _lost_lines, report) as writer:
        handlers = [handler for handler in _handlers() if handler.writer is None]
        for handler in handlers:
            handler.writer = writer
        try:
            yield
        finally:
            for handler in handlers:
                handler.writer = None


@contextmanager
def audit_sink(settings: LogSettings, root: Path) -> Generator[AuditSink | None]:
    """Return the function that writes audit lines to the place that `audit_log` names; None if it names none.

    `-` is stderr, `syslog` the system's log, `otlp` a collector; any other place is a file relative to `root`. Lines
    are appended to the file as a chain, and only its owner can read it.

    :raises ConfigError: the file cannot be opened, or the place of syslog cannot be read.
    """
    place = settings.audit_log
    if place is None:
        yield None
        return
    from utcp_bridge.access.audit_chain import chain_key
    from utcp_bridge.cli.audit_files import ChainedPut, ChainedWriter, Rotation

    key = chain_key(None if settings.audit_key is None else settings.audit_key.get_secret_value())
    sink = AuditSink()
    if place == _ON_STDERR:
        sink.put = chained = ChainedPut(_put_on_stderr, key)
        try:
            yield sink
        finally:
            chained.close()
            sink.report.end()
        return
    if place == _OTLP:
        yield from _otlp(key, sink)
        return
    if place.partition(":")[0] == _SYSLOG:
        yield from _syslog(place, key, sink)
        return

    def rotation() -> Rotation:
        return Rotation(settings.audit_max_bytes, settings.audit_max_age, settings.audit_keep)

    def opened(path: Path, report: LossReport) -> LineWriter:
        return ChainedWriter(path, rotation, key, report)

    path = root / Path(place).expanduser()
    with opened_file(path, "audit_log", lost_audit_lines, sink.report, opened) as writer:

        def put(line: bytes) -> bool:
            writer.put(line)  # which reports by itself what it drops
            return True

        sink.put = put
        yield sink


@contextmanager
def access_sink(settings: LogSettings, root: Path) -> Generator[AuditSink | None]:
    """Return the function that writes lines to the place that `access_log` names, as `audit_sink`, without a chain.

    :raises ConfigError: the file cannot be opened.
    """
    place = settings.access_log
    if place is None:
        yield None
        return
    sink = AuditSink(log="access")
    if place == _ON_STDERR:

        def put_on_stderr(line: bytes) -> bool:
            try:
                return _put_on_stderr(line)
            except (OSError, ValueError, AttributeError):  # it is closed
                return False

        sink.put = put_on_stderr
        try:
            yield sink
        finally:
            sink.report.end()
        return

    def opened(path: Path, report: LossReport) -> LineWriter:
        from utcp_bridge.cli.line_writer import LineWriter

        return LineWriter(path, str(path), lost_audit_lines, report, _COLLECTED_SECONDS)

    path = root / Path(place).expanduser()
    with opened_file(path, "access_log", lost_audit_lines, sink.report, opened) as writer:
        sink.put_all = writer.put_lines  # which reports by itself what it drops
        yield sink


def _otlp(key: bytes | None, sink: AuditSink) -> Generator[AuditSink]:
    from utcp_bridge.cli.audit_files import ChainedPut
    from utcp_bridge.telemetry.exporting import AuditExport

    def lost(number: int) -> None:
        sink.report(sink.lost + number, "the collector does not take them")

    export = AuditExport(os.environ, lost)  # noqa: TID251 - of OpenTelemetry
    sink.put = chained = ChainedPut(export.put, key)
    try:
        yield sink
    finally:
        chained.close()
        export.close()
        sink.report.end()


def _syslog(place: str, key: bytes | None, sink: AuditSink) -> Generator[AuditSink]:
    from utcp_bridge.cli.audit_files import SyslogWriter
    from utcp_bridge.errors import ConfigError

    try:
        writer = SyslogWriter(place.partition(":")[2], key, sink.report)
    except ValueError:
        raise ConfigError(
            "`audit_log` does not name a place of syslog.",
            remedy="Write syslog, syslog:PATH or syslog:udp://HOST:PORT.",
        ) from None

    def put(line: bytes) -> bool:
        writer.put(line)  # which reports by itself what it drops
        return True

    sink.put = put
    try:
        yield sink
    finally:
        writer.close()
        sink.report.end()


def _say_on_stderr(text: str) -> None:
    if not write_line(text):
        with suppress(OSError):
            sys.stderr.write(f"{text}\n")


def _put_on_stderr(line: bytes) -> bool:
    if _stderr is not None:
        return _stderr.put(line)
    sys.stderr.buffer.write(line)
    sys.stderr.buffer.flush()
    return True
