"""Data that flows between the parts: plain, without I/O, and without a UTCP version.

JSON Schemas are raw dicts everywhere, because a model would drop keywords.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import field, replace
from enum import IntEnum
from fnmatch import translate
from functools import lru_cache
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeGuard, TypeVar

import orjson

from utcp_bridge.errors import UtcpError
from utcp_bridge.foreign import is_heavy
from utcp_bridge.late.records import dataclass

if TYPE_CHECKING:
    pass

__all__ = [
    "MISREAD",
    "REQUESTER",
    "TRAIL",
    "Binary",
    "Call",
    "ContentBlocks",
    "Deferred",
    "Document",
    "Edition",
    "Emit",
    "Fault",
    "FaultCollector",
    "FaultGroup",
    "Faults",
    "FileScope",
    "Json",
    "JsonObject",
    "LargeReader",
    "LogMessage",
    "LogReceiver",
    "Outage",
    "Requester",
    "Result",
    "Source",
    "StatusMeta",
    "TlsOptions",
    "Tool",
    "Trust",
    "WrittenValue",
    "counted",
    "current_reader",
    "defers",
    "discard",
    "draft_of",
    "first_few",
    "grouped_faults",
    "has_steps",
    "in_seconds",
    "is_list",
    "is_object",
    "large_reader",
    "log_receiver",
    "made_call",
    "made_result",
    "matches_glob",
    "read_at_once",
    "status_meta",
]

JsonObject: TypeAlias = dict[str, Any]
Json: TypeAlias = dict[str, Any] | list[Any] | str | int | float | bool | None
"""Any JSON value one level deep: type checkers narrow it where they cannot narrow `Any`."""
Emit: TypeAlias = Callable[[Any], Awaitable[None]]
"""Passes one partial result to the caller. Awaiting it applies back-pressure."""


@dataclass(frozen=True, slots=True)
class Requester:
    """Who the current call comes from, for rules and the audit log, in words of no protocol."""

    principal: str = "anyone"
    """The name of `identity`."""
    identity: Any = field(default=None, repr=False)
    """The principal (`access.principals`). Rooms below `access` pass it on. None: anyone."""
    profile: str | None = None
    """The name of the profile through which the call comes."""
    client: str | None = None
    """The name that the program gives itself. It proves nothing."""
    address: str | None = None
    """The IP address of the connection, over HTTP."""
    session: str | None = None
    """A digest of the session or the token."""


REQUESTER: Final[ContextVar[Requester]] = ContextVar("utcp_bridge_requester", default=Requester())  # noqa: B039 - frozen
TRAIL: Final[ContextVar[list[JsonObject] | None]] = ContextVar("utcp_bridge_trail", default=None)
"""Where rules note what they decide about the current call; None: nobody reads it."""


def in_seconds(seconds: float) -> str:
    """Return a time for a message: `1 second`, `2.5 seconds`."""
    return f"{seconds:g} second{'' if seconds == 1 else 's'}"


def is_object(value: Any) -> TypeGuard[JsonObject]:
    """Return whether a JSON value is an object.

    The keys are not checked: every parser in this package returns text keys, and a check would read the whole object.
    """
    return isinstance(value, dict)


def is_list(value: Any) -> TypeGuard[list[Any]]:
    """Return whether a JSON value is an array."""
    return isinstance(value, list)


def matches_glob(glob: str, text: str) -> bool:
    """Return whether `text` matches a shell-style pattern (`*`, `?`, `[abc]`), whatever the case of either.

    This is the one rule for every pattern that a person writes for names: of tools, manuals, tags, paths, methods,
    providers and clients.
    """
    return _compiled_glob(glob)(text.casefold()) is not None


@lru_cache(maxsize=4096)
def _compiled_glob(glob: str) -> Callable[[str], re.Match[str] | None]:
    return re.compile(translate(glob.casefold())).match


@dataclass(frozen=True, slots=True)
class LogMessage:
    """A line of an upstream's log that belongs to a call. `level` is one of MCP's; `data` is JSON-shaped."""

    level: str
    data: Any
    logger: str | None = None


LogReceiver: TypeAlias = Callable[[LogMessage], Awaitable[None]]
log_receiver: ContextVar[LogReceiver | None] = ContextVar("log_receiver", default=None)
"""Receives the log messages of the calls in this context. A transport awaits it; without one, messages are dropped."""


async def discard(_partial: Any) -> None:
    """Ignore a partial result: an `Emit` for callers that use only the final value."""


class Trust(IntEnum):
    """Who wrote a manual. It decides which variables, protocols and targets the manual may use (docs/security.md)."""

    REMOTE = 0
    """Fetched. Its tools reach only their own origin and see only their own variables."""
    OPERATOR = 1
    """Written by the operator into the configuration or a local file."""


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """The operator's TLS options for a manual. Files are paths of PEM files."""

    verify: bool = True
    ca_cert: str | None = None
    """Certificate authorities to trust instead of those of the system."""
    client_cert: str | None = None
    client_key: str | None = None
    server_name: str | None = None
    """The name to request and check, if it is not the host of the URL."""


@dataclass(frozen=True, slots=True)
class FileScope:
    """The folder whose files the tools of a local manual may read, and the folder where relative paths start."""

    folder: Path
    root: Path


@dataclass(frozen=True, slots=True)
class Source:
    """Where a manual comes from, and so what its tools may do.

    `name` is the manual's registered name: the key for pools, variables and limits. `origin` is `scheme://host[:port]`
    of the document, None for local files. `allowed_origins` are further origins that the operator allows, also for
    credentials. `allow_networks` are CIDRs that the guard allows for this manual. `exempt` are exact `host:port` pairs
    from the configuration.
    """

    name: str
    trust: Trust = Trust.OPERATOR
    origin: str | None = None
    allowed_origins: frozenset[str] = frozenset()
    allow_networks: tuple[str, ...] = ()
    exempt: frozenset[str] = frozenset()
    trusted: bool = False
    """Whether the operator wrote `trusted: true`: a fetched manual may then use cli, files and stdio servers."""
    from_file: bool = False
    """Whether the manual is a file of its own, which may be a download: its tools see only its own variables."""
    file_scope: FileScope | None = None
    """Which files its tools may read; None if its entry allows any. A fetched manual has rules of its own."""
    namespace: str | None = None
    """The owner of its variables if that is not `name`: a registry's manual must not see those of another manual."""
    tls: TlsOptions = TlsOptions()
    proxy: str | None = field(default=None, repr=False)
    deadline_header: str | None = None
    """The HTTP header in which calls say how much time they have left."""
    forward_headers: tuple[str, ...] = ()
    """Names of headers of the client's request that go on to the manual's own origins."""

    def __hash__(self) -> int:
        """Hash what distinguishes sources: each call looks its session up, and has no time for all fields."""
        return hash((self.name, self.origin, self.namespace))

    @property
    def owner(self) -> str:
        """The manual part of its variables."""
        return self.namespace or self.name


@dataclass(frozen=True, slots=True)
class Edition:
    """What an HTTP server says about the edition of a document: its `ETag` and `Last-Modified`, for the next request.

    `url` is where the document was found, after redirects.
    """

    url: str = field(repr=False)
    etag: str | None = None
    modified: str | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """The document that a transport's discovery found. The dialects read tools from it.

    `content` is raw bytes or text, or parsed JSON (dict or list). `url` is its URL or file path, for relative
    references and servers. `media_type` helps the parser.
    """

    content: Any = field(repr=False)
    url: str | None = field(default=None, repr=False)
    media_type: str | None = None
    generated: bool = False
    """Whether the transport made the tools itself (introspection, reflection): then `content` is a dict with `tools`,
    each a normalised tool object whose `overlay` is merged into the manual's own template."""
    edition: Edition | None = None
    """What a later request can ask about this document."""
    is_known: bool = False
    """Whether the server says that the document is still `Target.known`. `content` is then None."""
    awaited: tuple[str, ...] = ()
    """Parts that are still on their way, such as MCP servers that start slowly. The transport reports them as a change
    (`Services.changed`) when they come."""


@dataclass(frozen=True, slots=True, eq=False)
class Tool:
    """One callable tool. `template` has v1 names and still contains `${VARIABLES}`."""

    source: Source
    name: str
    kind: str
    template: JsonObject = field(repr=False)
    overlay: JsonObject | None = field(default=None, repr=False)
    """Template fields from a transport's own discovery, merged into the resolved template. They have no variables."""
    description: str = ""
    title: str | None = None
    inputs: JsonObject = field(default_factory=lambda: {"type": "object", "properties": {}}, repr=False)
    outputs: JsonObject | None = field(default=None, repr=False)
    tags: tuple[str, ...] = ()
    annotations: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """MCP tool annotations: readOnlyHint, destructiveHint, idempotentHint, openWorldHint."""
    repeatable: bool = False
    """Whether a failed call may be sent again, as the call template or the operator says."""
    is_local: bool = False
    """Whether calls go to a program that the operator starts on this machine."""
    deprecated: bool = False
    average_response_size: int | None = None
    body_members: tuple[str, ...] = ()
    """Arguments that were flattened out of a request body. `{"body": {...}}` is still accepted."""
    returns_bytes: bool = False
    """Whether the document says that every result is bytes, such as an image."""
    limits: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The operator's settings for this manual: timeout, concurrency, rate, retries, validation."""
    defaults: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    """The operator's values for arguments that the caller omits."""
    extras: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    """`icons`, `execution` and `_meta` of an MCP server's tool, for hosts."""
    projection: str | None = None
    """A JMESPath expression of the operator that is applied to the result. The tool then has no output schema."""
    qualified_name: str = field(init=False)
    """The UTCP name, `manual.tool`: one text, which is a key in several tables."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "qualified_name", f"{self.source.name}.{self.name}")

    @property
    def manual(self) -> str:
        """The name of the tool's manual."""
        return self.source.name

    @property
    def tool_call_template(self) -> JsonObject:
        """The call template as UTCP v1 shows it, with the manual's name, and `${VARIABLES}` as they are written."""
        return {**self.template, **(self.overlay or {}), "name": self.manual, "call_template_type": self.kind}

    @property
    def tool_provider(self) -> JsonObject:
        """The same with the type under its name in UTCP 0.x, `provider_type`."""
        template = self.tool_call_template
        kind = template.pop("call_template_type")
        return {**template, "provider_type": "http_stream" if kind == "streamable_http" else kind}

    def model_dump(self, **_options: Any) -> JsonObject:
        """Return the tool as a dict, as models of the reference library do: for prompts of language models.

        `name` is the UTCP name. Of the call template, only the manual and the type are in it: other fields may have
        credentials. Options of pydantic have no effect.
        """
        return {
            "name": self.qualified_name,
            "description": self.description,
            "inputs": self.inputs,
            "outputs": self.outputs or {"type": "object", "properties": {}},
            "tags": list(self.tags),
            "average_response_size": self.average_response_size,
            "tool_call_template": {"name": self.manual, "call_template_type": self.kind},
        }


@dataclass(frozen=True, slots=True)
class Call:
    """One call on its way through the pipeline. `id` correlates logs, audit and errors."""

    tool: Tool
    arguments: JsonObject = field(repr=False)
    id: str = ""


@dataclass(frozen=True, slots=True)
class Binary:
    """Bytes with a media type. Images and audio become MCP content, other types a resource."""

    data: bytes = field(repr=False)
    media_type: str = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class ContentBlocks:
    """MCP content that is passed through unchanged (the `mcp` transport), as wire-shaped dicts."""

    content: list[JsonObject]
    structured: Any = None
    is_error: bool = False
    meta: JsonObject | None = field(default=None, repr=False)
    """`_meta` of the result."""

    def plain(self) -> Any:
        """Return the content as plain data: JSON, text, `Binary`, or a list of these and of blocks of other types.

        Structured content comes first. Servers wrap a result that is not an object as `{"result": …}`: that is undone.
        """
        structured = self.structured
        if structured is not None:
            is_wrapped = is_object(structured) and list(structured) == ["result"]
            return structured["result"] if is_wrapped and not is_object(structured["result"]) else structured
        values = [_plain_block(block) for block in self.content]
        return values[0] if len(values) == 1 else values


def _plain_block(block: Any) -> Any:
    inner = block.get("resource") if is_object(block) else None
    part = inner if is_object(inner) else block
    if is_object(part) and isinstance(text := part.get("text"), str):
        return text if part is inner else _json_in(text)
    encoded = part.get("blob", part.get("data")) if is_object(part) else None
    try:
        data = b64decode(encoded, validate=True) if isinstance(encoded, str) else None
    except ValueError:
        data = None
    return block if data is None else Binary(data, str(part.get("mimeType") or "application/octet-stream"))


def _json_in(text: str) -> Any:
    """Return the JSON value that a text is; another text unchanged, also a number in an unusual form, as in an id."""
    try:
        value = orjson.loads(text)
    except ValueError:
        return text
    is_usual = is_object(value) or is_list(value) or orjson.dumps(value).decode() == text
    return value if is_usual and not isinstance(value, str) else text


class WrittenValue:
    """A value of JSON with its compact form, so that a large one is written once on its way to a client.

    `data` is what orjson writes of `value`, which nobody may change. `is_exact` says that reading `data` gives an equal
    value: it has no number that JSON cannot represent.
    """

    __slots__ = ("data", "is_exact", "value")

    def __init__(self, value: Any, data: bytes, *, is_exact: bool = False) -> None:
        self.value = value
        self.data = data
        self.is_exact = is_exact

    def __repr__(self) -> str:
        return f"<WrittenValue {len(self.data)} bytes>"


@dataclass(frozen=True, slots=True)
class Result:
    """The final value of a call.

    `value` is JSON-shaped data, `str`, `Binary`, a list of partial results for streams, or `ContentBlocks`; `Deferred`
    only where the caller set `large_reader`. `truncated` says in words which limit cut it, or which error: then
    `failure` is that error, and `value` has what came before it. `meta` is for the host (HTTP status, links).
    `written` is the value in its compact form, if `written.value` is this value. `clean` is the value if nothing is to
    be removed from its texts (`pipeline/cleaning.py`); a layer that replaces the value needs not care.
    """

    value: Any
    truncated: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict[str, Any])
    failure: UtcpError | None = field(default=None, compare=False)
    written: WrittenValue | None = field(default=None, compare=False, repr=False)
    clean: Any = field(default=None, compare=False, repr=False)

    @property
    def data(self) -> WrittenValue | None:
        """The value with its compact form, if that is known. A layer that replaces the value needs not care."""
        written = self.written
        return written if written is not None and written.value is self.value else None


def draft_of(kind: type) -> Any:
    """Return a class that differs from a frozen one in that its fields can be written.

    Each call makes a `Call` and a `Result`, a start makes thousands of tools, and writing the fields of a frozen object
    takes as long as a dozen calls of functions. So these are filled in as a draft, whose class is then exchanged.
    """
    return type(f"{kind.__name__}Draft", (), {"__slots__": kind.__slots__})  # type: ignore[attr-defined]


_CallDraft, _ResultDraft = draft_of(Call), draft_of(Result)


def made_call(tool: Tool, arguments: JsonObject, ident: str) -> Call:
    """Return `Call(tool, arguments, ident)`."""
    draft = _CallDraft()
    draft.tool, draft.arguments, draft.id = tool, arguments, ident
    draft.__class__ = Call
    call: Call = draft
    return call


def made_result(value: Any, meta: Mapping[str, Any], written: WrittenValue | None, clean: Any) -> Result:
    """Return `Result(value, meta=meta, written=written, clean=clean)`."""
    draft = _ResultDraft()
    draft.value, draft.meta, draft.written, draft.clean = value, meta, written, clean
    draft.truncated = draft.failure = None
    draft.__class__ = Result
    result: Result = draft
    return result


class StatusMeta(dict[str, Any]):
    """The `meta` of a result that has nothing but the status of a reply: layers that look at texts pass it by.

    One serves many calls, so nothing may change it.
    """


@lru_cache(maxsize=64)
def status_meta(status: int) -> StatusMeta:
    """Return the `meta` of a result of which nothing else is known."""
    return StatusMeta(status=status)


Work: TypeAlias = Callable[..., Any]
"""A function of a module: it takes a value and JSON-shaped arguments, and returns a value or a generator of one."""


def has_steps(value: Any) -> TypeGuard[Generator[None, None, Any]]:
    """Return whether work is not done yet, but goes on in steps."""
    return isinstance(value, Generator)


@dataclass(slots=True)
class Deferred:
    """The value of a large reply that is not read yet: its bytes, and the work that makes the value of them.

    A worker process does the work, so each piece of it is a function that can be named. The first one takes the bytes.
    """

    data: bytes = field(repr=False)
    work: tuple[tuple[Work, JsonObject], ...]

    def then(self, work: Work, **arguments: Any) -> Deferred:
        """Return the value with more work to do. The bytes move to it, so that nothing else holds them."""
        return Deferred(self.take(), (*self.work, (work, arguments)))

    def take(self) -> bytes:
        """Return the bytes and let them go, so that they are in memory no longer than they must."""
        data, self.data = self.data, b""
        return data


LargeReader: TypeAlias = Callable[[Tool, Result], Awaitable[Result]]
large_reader: ContextVar[LargeReader | None] = ContextVar("large_reader", default=None)
"""Reads the large replies of the calls in this context: it receives a result whose value is `Deferred`. Without one, a
transport reads each reply at once."""
current_reader: Final = large_reader.get
"""The variable's own method: Python calls the method of an imported object in three times the time."""


def defers(data: bytes | str) -> bool:
    """Return whether a transport returns these bytes as `Deferred`."""
    return is_heavy(data) and current_reader() is not None


@contextmanager
def read_at_once() -> Generator[None]:
    """Let transports read each reply at once, for a layer that needs the value itself."""
    token = large_reader.set(None)
    try:
        yield
    finally:
        large_reader.reset(token)


@dataclass(frozen=True, slots=True)
class Outage:
    """An upstream of a manual that did not answer, so that calls are refused for now: for reports.

    `failures` is the number of failures in a row, `seconds` the time until the next call passes; 0 means now.
    """

    manual: str
    peer: str
    failures: int
    seconds: float

    def __str__(self) -> str:
        when = f"A call after {ceil(self.seconds)} s" if self.seconds else "The next call"
        return f"{self.manual}: {self.peer} failed {self.failures} times in a row. {when} tries it again."


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with one manual, tool or field, in words for the operator."""

    where: str
    what: str
    remedy: str = ""
    severity: str = "error"
    """`error`: a part is not used; `warning`: it is used, but should be checked."""
    code: str = ""
    """The code of the error that left a part out (`errors`), if there was one. `misread`: a key of a configuration that
    has no effect as it is written."""

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}"
        return f"{text} {self.remedy}" if self.remedy else text


MISREAD: Final = "misread"


_MAX_NAMED: Final = 3
_TOOL: Final = ", tool "


@dataclass(frozen=True, slots=True)
class FaultGroup:
    """Equal faults of several tools of one manual, or one fault."""

    faults: tuple[Fault, ...]

    @property
    def where(self) -> str:
        """The place of the only fault; of several, their number and the first few tools."""
        first, count = self.faults[0].where, len(self.faults)
        if count == 1:
            return first
        names = [fault.where.rpartition(_TOOL)[2] for fault in self.faults[:_MAX_NAMED]]
        more = f" and {count - _MAX_NAMED:,} more" if count > _MAX_NAMED else ""
        return f"{first.rpartition(_TOOL)[0]}, {count:,} tools ({', '.join(names)}{more})"

    def __str__(self) -> str:
        return str(replace(self.faults[0], where=self.where))


def grouped_faults(faults: Iterable[Fault]) -> list[FaultGroup]:
    """Return faults in their order, with equal ones of several tools as one group."""
    groups: dict[tuple[str, ...], list[Fault]] = {}
    for fault in faults:
        manual, is_tool, _ = fault.where.rpartition(_TOOL)
        place = manual if is_tool else f"{fault.where}:"
        groups.setdefault((place, fault.severity, fault.what, fault.remedy, fault.code), []).append(fault)
    return [FaultGroup(tuple(group)) for group in groups.values()]


def counted(number: int, noun: str) -> str:
    """Return `1 tool`, `2 tools`."""
    return f"{number:,} {noun if number == 1 else f'{noun}s'}"


_MAX_TOLD: Final = 10


def first_few(texts: Iterable[object], rest: str) -> Iterator[str]:
    """Yield the first ten texts for the log, then the number of the others, followed by `rest`.

    A document of a thousand faulty tools must not become a thousand lines.
    """
    number = 0
    for number, text in enumerate(texts, 1):
        if number <= _MAX_TOLD:
            yield str(text)
    if number > _MAX_TOLD:
        yield f"{number - _MAX_TOLD:,} {rest}"


WhereT = TypeVar("WhereT")
FaultT = TypeVar("FaultT")


class FaultCollector(Generic[WhereT, FaultT]):
    """Collects faults while something is read: each one once, at most `limit` of them.

    `make(where, what, remedy, severity)` creates one fault. Most code uses `Faults`; a subclass may say where a fault
    is in its own way, such as by a path within a document.
    """

    def __init__(self, make: Callable[[WhereT, str, str, str], FaultT], *, limit: int | None = None) -> None:
        self.faults: list[FaultT] = []
        self._make = make
        self._limit = limit
        self._seen: set[tuple[WhereT, str]] = set()

    def error(self, where: WhereT, what: str, remedy: str = "") -> None:
        """Add a fault because of which something was left out."""
        self.add(where, what, remedy, severity="error")

    def warn(self, where: WhereT, what: str, remedy: str = "") -> None:
        """Add a fault of something that is used all the same, but that a person should look at."""
        self.add(where, what, remedy, severity="warning")

    def misread(self, where: WhereT, what: str, remedy: str = "") -> None:
        """Add a warning about a key of a configuration that has no effect as it is written."""
        self.add(where, what, remedy, code=MISREAD)

    def add(self, where: WhereT, what: str, remedy: str = "", *, severity: str = "warning", code: str = "") -> None:
        """Add a fault, unless it is there already or the limit is reached; `severity` and `code` as in `Fault`."""
        if (self._limit is None or len(self.faults) < self._limit) and (where, what) not in self._seen:
            self._seen.add((where, what))
            fault: Any = self._make(where, what, remedy, severity)
            if code and isinstance(fault, Fault):
                fault = replace(fault, code=code)
            self.faults.append(fault)


class Faults(FaultCollector[str, Fault]):
    """Collects `Fault`s."""

    def __init__(self, *, limit: int | None = None) -> None:
        super().__init__(Fault, limit=limit)

    def extend(self, faults: Iterable[Fault]) -> None:
        """Add the faults that another reader found."""
        for fault in faults:
            self.add(fault.where, fault.what, fault.remedy, severity=fault.severity, code=fault.code)
