"""Where spans and metrics go: to an OTLP collector, as OpenTelemetry's standard environment variables say.

`OTEL_EXPORTER_OTLP_ENDPOINT`, or its forms for one signal, turn the export on, `OTEL_SDK_DISABLED=true` turns it off.
A program that has set a tracer provider of its own keeps it (`opentelemetry-instrument`). The operator names the
collector, so the address gate does not apply to it.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from functools import cache, partial
from importlib.metadata import entry_points
from time import monotonic, time_ns
from typing import Any, Final

import orjson

from utcp_bridge import __version__
from utcp_bridge.errors import ConfigError, MissingExtra
from utcp_bridge.telemetry import trace_context
from utcp_bridge.telemetry.counting import EXTRA, CallCounts, Key

__all__ = ["AuditExport", "leave_out_missing", "start"]

_logger = logging.getLogger(__name__)
_FLUSH_SECONDS: Final = 0.5
"""How long the end of the bridge waits for the last spans and metrics. The export itself ignores its limit while it
repeats a request, and what ends after it, such as the audit log, needs the rest of the time (`processes/ending.py`)."""
_FLUSH_MILLISECONDS: Final = int(_FLUSH_SECONDS * 1000)
_CONSOLE: Final = "console"
_SDK_SCOPE: Final = "mcp-python-sdk"
_PROPAGATORS: Final = "OTEL_PROPAGATORS"
_LOADED: Final = {
    _PROPAGATORS: "opentelemetry_propagator",
    "OTEL_PYTHON_TRACER_PROVIDER": "opentelemetry_tracer_provider",
}
"""Variables that name parts of OpenTelemetry, and the entry points that such parts have."""
_MAX_SHOWN: Final = 64
_MAX_TOGETHER: Final = 64
"""Durations of calls that are recorded together. That takes half a millisecond."""
_DURATION: Final = {
    "name": "mcp.server.operation.duration",
    "unit": "s",
    "description": "Duration of calls of tools.",
}
_MAX_RECORDS: Final = 8_192
"""Audit lines that wait for the collector."""
_AUDIT_SECONDS: Final = 5.0
_TOLD: Final = ("tool", "manual", "kind", "principal", "profile", "outcome", "seconds", "refused")
"""Members of an audit line that are attributes of its record, too."""


def leave_out_missing(environment: MutableMapping[str, str]) -> list[str]:
    """Remove each variable that names a part that is not installed, and return a sentence for each.

    OpenTelemetry would raise an exception where something uses such a part first, and the MCP SDK does so when it is
    imported.
    """
    said: list[str] = []
    for variable in _LOADED.keys() & environment.keys():
        names = [name.strip() for name in environment[variable].split(",")]
        missing = [name for name in names if not entry_points(group=_LOADED[variable], name=name)]
        if not missing or (variable == _PROPAGATORS and "none" in map(str.lower, names)):
            continue
        del environment[variable]
        if any(names):
            shown = repr(missing[0][:_MAX_SHOWN])
            said.append(
                f"{variable} has no effect: OpenTelemetry's part {shown} is not installed. Install its package, or"
                " remove the variable."
            )
    return said


def start(counts: CallCounts, environment: Mapping[str, str], traces_per_second: int = 0) -> Callable[[], None]:
    """Begin to export what the variables `OTEL_*` ask for. Return the function that sends the rest and ends the export.

    `traces_per_second` limits traces that begin here, unless a variable names a sampler. 0: no limit.
    A part that cannot be started is logged with its remedy, and the bridge runs without it.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return _nothing
    traces, metrics = _is_wanted("TRACES", environment), _is_wanted("METRICS", environment)
    ends: list[Callable[[], None]] = []
    if traces or metrics:
        try:
            if traces:
                ends.append(_start_traces(environment, traces_per_second))
            if metrics:
                ends.append(_start_metrics(counts, environment))
        except ImportError as error:
            _logger.warning(
                "Traces and metrics are not exported: %s is not installed. Install it with: %s",
                error.name,
                MissingExtra.install_line(EXTRA),
            )
        except Exception as error:  # noqa: BLE001 - a wrong variable must not end the bridge
            _logger.warning(
                "Traces and metrics are not exported (%s). Look at the variables OTEL_*.", type(error).__name__
            )
    _begin_spans()

    def end() -> None:
        trace_context.end()
        senders = [threading.Thread(target=_send_rest, args=(one,), name="last spans", daemon=True) for one in ends]
        for sender in senders:
            sender.start()
        until = monotonic() + _FLUSH_SECONDS
        for sender in senders:
            sender.join(max(0.0, until - monotonic()))

    return end


def _begin_spans() -> None:
    """Make spans from now on. The texts of errors stay out of those of the MCP SDK: they may have a secret.

    Its spans then have the status and the code of an error, as those of the bridge.
    """
    if not trace_context.begin():
        return
    from opentelemetry import trace
    from opentelemetry.sdk.trace import Span, SpanProcessor
    from opentelemetry.trace import Status, StatusCode

    @cache
    def without_texts(kind: Any) -> Any:
        class Quiet(kind):  # type: ignore[misc]
            """A span that leaves out what the SDK says of an error."""

            def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
                del description
                plain: Any = super()
                plain.set_status(status.status_code if isinstance(status, Status) else status)

            def record_exception(self, exception: BaseException, *_: Any, **_named: Any) -> None:
                self.add_event("exception", {"exception.type": type(exception).__qualname__})

        return Quiet

    class WithoutTexts(SpanProcessor):
        """Changes spans when they begin: an exporter may be ahead of us when they end."""

        def on_start(self, span: Span, parent_context: Any = None) -> None:
            """Leave out what the SDK says of an error."""
            del parent_context
            if span.instrumentation_scope is not None and span.instrumentation_scope.name == _SDK_SCOPE:
                span.__class__ = without_texts(type(span))

    provider = trace.get_tracer_provider()
    add = getattr(provider, "add_own_processor", getattr(provider, "add_span_processor", None))
    if add is not None:
        add(WithoutTexts())


class AuditExport:
    """Sends audit lines to an OTLP collector as log records. The body of a record is the line as it is in a file."""

    def __init__(self, environment: Mapping[str, str], on_lost: Callable[[int], None]) -> None:
        """Begin. `on_lost` hears how many lines the collector did not take, from a thread.

        :raises ConfigError: OpenTelemetry is not installed.
        """
        try:
            from opentelemetry._logs import LogRecord, SeverityNumber
            from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
            from opentelemetry.sdk._logs import LoggerProvider
            from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExportResult
        except ImportError:
            raise ConfigError(
                "`audit_log: otlp` needs packages that are not installed.",
                remedy=f"Install them with: {MissingExtra.install_line(EXTRA)}",
            ) from None

        class Exporter(OTLPLogExporter):
            """Counts what the collector does not take."""

            def export(self, batch: Any) -> Any:
                """Send records."""
                result = super().export(batch)
                if result is not LogRecordExportResult.SUCCESS:
                    on_lost(len(batch))
                return result

        self._provider = LoggerProvider(resource=_resource(environment), shutdown_on_exit=False)
        self._provider.add_log_record_processor(BatchLogRecordProcessor(Exporter(), max_queue_size=_MAX_RECORDS))
        self._logger = self._provider.get_logger("utcp_bridge.audit", __version__)
        self._record = partial(LogRecord, severity_number=SeverityNumber.INFO, event_name="utcp_bridge.audit")

    def put(self, line: bytes) -> bool:
        """Send a line as soon as possible."""
        members = orjson.loads(line)
        told = {f"utcp.{name}": members[name] for name in _TOLD if name in members}
        self._logger.emit(self._record(timestamp=time_ns(), body=line.rstrip(b"\n").decode(), attributes=told))
        return True

    def close(self) -> None:
        """Send what waits, for a bounded time."""
        sender = threading.Thread(target=_send_rest, args=(self._provider.shutdown,), name="audit lines", daemon=True)
        sender.start()
        sender.join(_AUDIT_SECONDS)


def _send_rest(send: Callable[[], None]) -> None:
    try:
        send()
    except Exception as error:  # noqa: BLE001 - the end of the program goes on
        _logger.debug("The last spans or metrics were not sent (%s).", type(error).__name__)


def _nothing() -> None:
    pass


def _is_wanted(signal: str, environment: Mapping[str, str]) -> bool:
    exporter = environment.get(f"OTEL_{signal}_EXPORTER", "").strip().lower()
    if exporter == _CONSOLE:
        _logger.warning(
            "OTEL_%s_EXPORTER=console is not possible, because stdout belongs to the protocol. Set it to otlp.", signal
        )
        return False
    if exporter:
        return "otlp" in exporter.split(",")
    return any(
        environment.get(name, "").strip()
        for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    )


def _resource(environment: Mapping[str, str]) -> Any:
    from opentelemetry.sdk.resources import Resource

    named = {} if environment.get("OTEL_SERVICE_NAME") else {"service.name": "utcp-bridge"}
    return Resource.create({**named, "service.version": __version__})


def _start_traces(environment: Mapping[str, str], most: int) -> Callable[[], None]:
    from opentelemetry import trace

    from utcp_bridge.telemetry.light_spans import LightProvider
    from utcp_bridge.telemetry.limiting import LimitedSampler, TraceLimit
    from utcp_bridge.telemetry.span_bytes import SpanExporter

    if trace_context.is_of_sdk(trace.get_tracer_provider()):
        return _nothing
    has_sampler = bool(environment.get("OTEL_TRACES_SAMPLER", "").strip())
    sampler: dict[str, Any] = {"sampler": LimitedSampler(TraceLimit(most))} if most and not has_sampler else {}
    own = {"resource": _resource(environment), "shutdown_on_exit": False, **sampler}
    provider = LightProvider(environment, SpanExporter(), **own)
    trace.set_tracer_provider(provider)

    def end() -> None:
        provider.force_flush(_FLUSH_MILLISECONDS)

    return end


def _start_metrics(counts: CallCounts, environment: Mapping[str, str]) -> Callable[[], None]:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    from utcp_bridge.telemetry.durations import Durations, DurationsReader

    exporter, resource = OTLPMetricExporter(), _resource(environment)
    shutdown: Callable[[float], None]
    if Durations.can_count(environment):
        durations = Durations(counts.settle)
        counts.also_many = durations.many
        reader: Any = DurationsReader(exporter, durations, _DURATION, ("utcp_bridge", __version__), resource)
        counts.also, shutdown = durations, reader.shutdown
    else:
        counts.also, shutdown = _histogram_of_sdk(exporter, resource)
    counts.is_on = True

    def end() -> None:
        counts.also = None
        shutdown(_FLUSH_MILLISECONDS)
        counts.also_many = None

    return end


def _histogram_of_sdk(exporter: Any, resource: Any) -> tuple[Callable[[float, Key], None], Callable[[float], None]]:
    """Return what records a call in a histogram of OpenTelemetry, and what sends the rest."""
    from opentelemetry.context import get_current
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    from utcp_bridge.telemetry.durations import attributes_of

    waiting: deque[tuple[float, Key, Any]] = deque()

    def put(seconds: float, key: Key) -> None:
        waiting.append((seconds, key, get_current()))  # the context has the trace, for an exemplar
        if len(waiting) >= _MAX_TOGETHER:
            record()

    def record() -> None:
        """Record what waits. One by one, between other work, each would take several times as long."""
        with suppress(IndexError):  # another thread was quicker
            while waiting:
                seconds, key, context = waiting.popleft()
                histogram.record(seconds, attributes_of(key), context)

    def before_export(_: Any) -> list[Any]:
        record()
        return []

    reader = PeriodicExportingMetricReader(exporter)
    provider = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
    meter = provider.get_meter("utcp_bridge", __version__)
    histogram = meter.create_histogram(_DURATION["name"], _DURATION["unit"], _DURATION["description"])
    meter.create_observable_gauge("utcp_bridge.before_export", [before_export])  # has no values
    return put, provider.shutdown
