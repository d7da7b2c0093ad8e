"""Audit: one JSON line per call, with any outcome. Values of arguments are in it only if the operator says so."""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
import sys
from collections.abc import Callable
from dataclasses import field, replace
from datetime import UTC, datetime
from hashlib import blake2b
from time import monotonic, perf_counter
from typing import Any, Final, Literal

import orjson

from utcp_bridge.auth.redaction import Redactor
from utcp_bridge.auth.results import masked_arguments
from utcp_bridge.client_request import CLIENT_REQUEST
from utcp_bridge.foreign import visible_json
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import (
    REQUESTER,
    TRAIL,
    Binary,
    Call,
    ContentBlocks,
    Deferred,
    Emit,
    JsonObject,
    Requester,
    Result,
    Tool,
    is_list,
)
from utcp_bridge.pipeline import Next, canonical_json, outcome_of
from utcp_bridge.settings import LogSettings
from utcp_bridge.tasks import setting

__all__ = ["ArgumentRecord", "Audit", "Refusals", "audits_of"]

_logger = logging.getLogger(__name__)
_LOG_SECONDS: Final = 60.0
_MAX_ARGUMENTS: Final = 16 * 1024
"""Bytes of the arguments in a line. More than that is replaced by a digest."""
_MAX_NAMES: Final = 200
_MAX_NAME: Final = 128
_MAX_DECISIONS: Final = 50
_REFUSAL_SECONDS: Final = 60.0
_MAX_REFUSED: Final = 1_000
"""Different refusals that are counted at a time: of an outcome, an address, a principal and a profile."""
_DIGEST_LABEL: Final = b"utcp-bridge audit digests"
_PROCESS_KEY: Final = secrets.token_bytes(32)
"""Key of digests without the setting `audit_key`."""
_OPTIONS: Final = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS

ArgumentRecord = Literal["none", "names", "digest", "full"]


@dataclass(slots=True)
class _Failures:
    """Counts the lines that a sink refused."""

    number: int = 0
    _logged_at: float = float("-inf")

    def add(self, call: Call, error: Exception) -> None:
        self.number += 1
        now = monotonic()
        if now - self._logged_at >= _LOG_SECONDS:
            self._logged_at = now
            message = "The audit line of call %s was not written (%s). Audit lines lost so far: %d."
            _logger.error(message, call.id, type(error).__name__, self.number)


@dataclass(frozen=True, slots=True)
class Audit:
    """Writes a line to `sink` for each call; without a sink the layer is left out.

    Keys of each line: time (RFC 3339, UTC), call, tool, manual, kind, caller, principal, outcome (see `outcome_of`),
    seconds, bytes_in (of the arguments as JSON). `caller` is a digest that is the same for all calls of a session, or
    of an address and program without a session. Keys where they are known: client, profile, address, session, bytes_out
    (of the result as JSON), trace, decisions (of rules), arguments, arguments_digest.

    `record` says what a line has of the arguments: with `names`, `arguments` has the sorted names, which a caller
    chooses, so they may be anything, also a secret. With `digest`, `arguments_digest` is the same for equal arguments,
    under the `key`. With `full`, `arguments` has them with secrets masked, or the digest if they are large.

    A sink that fails is logged, once a minute, and does not change the outcome, because reporting a completed call as
    failed would invite a second one.
    """

    sink: Callable[[bytes], None] | None = None
    record: ArgumentRecord = "none"
    key: str | None = field(default=None, repr=False)
    redactor: Redactor = field(default_factory=Redactor, repr=False)
    settings: LogSettings | None = field(default=None, repr=False)
    """Where `record` is looked up each time that the steps of a tool are made, which other settings cause, too."""
    _failures: _Failures = field(default_factory=_Failures, repr=False)

    @property
    def lost(self) -> int | None:
        """How many lines were not written; None without a sink.

        A sink that writes later counts for itself, in an attribute `lost`.
        """
        if self.sink is None:
            return None
        later = getattr(self.sink, "lost", 0)
        return self._failures.number + (later if isinstance(later, int) else 0)

    def __call__(self, tool: Tool, inner: Next) -> Next:
        del tool
        sink, failures = self.sink, self._failures
        if sink is None:
            return inner
        record = self.record if self.settings is None else self.settings.audit_arguments
        lines = _Lines(record, self.key, self.redactor)

        async def audited(call: Call, emit: Emit) -> Result:
            started = perf_counter()
            trail: list[JsonObject] = []
            try:
                with setting(TRAIL, trail):
                    result = await inner(call, emit)
            except BaseException as error:
                write(call, outcome_of(error), perf_counter() - started, trail, None)
                raise
            write(call, outcome_of(result.failure), perf_counter() - started, trail, result)
            return result

        def write(call: Call, outcome: str, seconds: float, trail: list[JsonObject], result: Result | None) -> None:
            try:
                sink(lines.line(call, outcome, seconds, trail, result))
            except Exception as error:  # noqa: BLE001 - a sink is a file, a socket or code of others
                failures.add(call, error)

        return audited


class Refusals:
    """Writes lines for requests that were refused before they reached a tool: without a token, or for no such tool.

    The first one of an outcome, an address, a principal and a profile is a line. Those that follow within a minute are
    counted, and are one more line together, so that a flood cannot fill a disk. `refused` is how many requests a line
    stands for. Nothing is written without a `sink`.
    """

    def __init__(self, sink: Callable[[bytes], None] | None, redactor: Redactor) -> None:
        self._sink = sink
        self._redactor = redactor
        self._fails = False
        self._counts: dict[tuple[str, Requester | None], int] = {}
        self._since = ""
        self._timer: asyncio.TimerHandle | None = None

    def note(self, outcome: str, requester: Requester, asked: str | None = None) -> None:
        """Note a refused request. `requester` may have an empty principal; `asked` is the name that was asked for."""
        if self._sink is None:
            return
        who = replace(requester, identity=None, session=None)
        if (outcome, who) not in self._counts and len(self._counts) >= _MAX_REFUSED:
            self._counts[outcome, None] = self._counts.get((outcome, None), 0) + 1
            return
        if (outcome, who) in self._counts:
            self._counts[outcome, who] += 1
            return
        if self._timer is None:
            self._since = _now()
            self._timer = asyncio.get_running_loop().call_later(_REFUSAL_SECONDS, self.end)
        self._counts[outcome, who] = 0
        self._write(outcome, who, 1, {} if asked is None else {"asked": _writable(self._redactor(asked))})

    def end(self) -> None:
        """Write what was counted, and begin anew."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        counts, self._counts = self._counts, {}
        for (outcome, who), number in counts.items():
            if number:
                self._write(outcome, who, number, {"since": self._since})

    def _write(self, outcome: str, who: Requester | None, number: int, more: JsonObject) -> None:
        found = {} if who is None else {name: value for name, value in _who(who).items() if value}
        record = {"time": _now(), "refused": number, "outcome": outcome, **found, **more}
        try:
            if self._sink is not None:
                self._sink(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
            self._fails = False
        except Exception as error:  # noqa: BLE001 - a sink is a file, a socket or code of others
            if not self._fails:
                self._fails = True
                _logger.warning("Audit lines of refused requests are not written (%s).", type(error).__name__)


def audits_of(
    sink: Callable[[bytes], None] | None, settings: LogSettings, redactor: Redactor
) -> tuple[Audit, Refusals]:
    """Return the layer that the settings describe, and what notes requests that a server refused."""
    key = None if settings.audit_key is None else settings.audit_key.get_secret_value()
    return Audit(sink, settings.audit_arguments, key, redactor, settings), Refusals(sink, redactor)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class _Lines:
    """Makes the lines of one tool's calls."""

    def __init__(self, record: ArgumentRecord, key: str | None, redactor: Redactor) -> None:
        self._record = record
        self._key = _PROCESS_KEY if key is None else hmac.digest(key.encode(), _DIGEST_LABEL, "sha256")
        self._redactor = redactor

    def line(self, call: Call, outcome: str, seconds: float, trail: list[JsonObject], result: Result | None) -> bytes:
        """Return the line of one call."""
        given = _json(call.arguments)
        requester = REQUESTER.get()
        record: JsonObject = {
            "time": _now(),
            "call": call.id,
            "tool": call.tool.qualified_name,
            "manual": call.tool.manual,
            "kind": call.tool.kind,
            "caller": blake2b(CLIENT_REQUEST.get().caller.encode(errors="replace"), digest_size=8).hexdigest(),
            **_who(requester),
            "outcome": outcome,
            "seconds": round(seconds, 6),
        }
        if given is not None:
            record["bytes_in"] = len(given)
        if result is not None and (size := _size_of(result)) is not None:
            record["bytes_out"] = size
        if (trace := _trace_id()) is not None:
            record["trace"] = trace
        if trail:
            record["decisions"] = trail[:_MAX_DECISIONS]
        if self._record != "none":
            record |= self._of_arguments(call.arguments, given)
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)

    def _of_arguments(self, arguments: JsonObject, given: bytes | None) -> JsonObject:
        if self._record == "names":
            return {"arguments": sorted(map(_writable, arguments))[:_MAX_NAMES]}
        if self._record == "full" and given is not None and len(given) <= _MAX_ARGUMENTS:
            return {"arguments": visible_json(masked_arguments(arguments, self._redactor))}
        try:
            digest = hmac.digest(self._key, canonical_json(arguments), "sha256").hex()[:32]
        except ValueError:
            return {}
        return {"arguments_digest": digest}


def _who(requester: Requester) -> JsonObject:
    found: JsonObject = {"principal": requester.principal}
    for name in ("profile", "client", "address", "session"):
        if (value := getattr(requester, name)) is not None:
            found[name] = _writable(value)
    return found


def _trace_id() -> str | None:
    """Return the id of the trace that the call belongs to, if the program traces."""
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None


def _json(value: Any) -> bytes | None:
    try:
        return orjson.dumps(value, option=_OPTIONS)
    except (TypeError, ValueError):
        return None


def _size_of(result: Result) -> int | None:
    return _size(result.value) if result.data is None else len(result.data.data)


def _size(value: Any) -> int | None:
    """Return the bytes of a result; None if it is not JSON, or was rendered already."""
    if isinstance(value, Deferred | Binary):
        return len(value.data)
    if isinstance(value, str):
        return len(value.encode(errors="replace"))
    if isinstance(value, ContentBlocks):
        value = [value.content, value.structured]
    elif is_list(value) and any(isinstance(one, Binary | ContentBlocks) for one in value):
        sizes = [_size(one) for one in value]
        return None if None in sizes else sum(size or 0 for size in sizes)
    data = _json(value)
    return None if data is None else len(data)


def _writable(name: object) -> str:
    """Return a name that UTF-8 can encode, and of a bounded length, so that it does not prevent the audit line."""
    return str(name)[:_MAX_NAME].encode(errors="replace").decode()
