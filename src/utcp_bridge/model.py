"""The nouns: what flows between the parts. Plain data, no I/O, no UTCP version.

JSON Schemas are raw dicts throughout: squeezing them through a model would drop keywords.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from fnmatch import translate
from functools import lru_cache
from typing import Any, Generic, TypeAlias, TypeGuard, TypeVar

from pydantic import BaseModel, ConfigDict

__all__ = [
    "Binary",
    "Call",
    "CallTemplate",
    "ContentBlocks",
    "Document",
    "Emit",
    "Fault",
    "FaultCollector",
    "Faults",
    "Json",
    "JsonObject",
    "Result",
    "Source",
    "TlsOptions",
    "Tool",
    "Trust",
    "discard",
    "is_list",
    "is_object",
    "matches_glob",
]

JsonObject: TypeAlias = dict[str, Any]
Json: TypeAlias = dict[str, Any] | list[Any] | str | int | float | bool | None
"""Any JSON value one level deep: type checkers narrow it where they cannot narrow `Any`."""
Emit: TypeAlias = Callable[[Any], Awaitable[None]]
"""Pushes one partial result to the caller; awaiting it gives back-pressure."""


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


async def discard(_partial: Any) -> None:
    """An `Emit` for callers that want the final value only."""


class Trust(IntEnum):
    """Who wrote a manual (docs/security.md): decides variables, protocols and targets."""

    REMOTE = 0
    """Fetched: its tools reach their own origin only, namespaced variables only."""
    OPERATOR = 1
    """Written into the configuration or a local file by the operator."""


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """What the operator says about a manual's TLS; files are paths to PEM."""

    verify: bool = True
    ca_cert: str | None = None
    """Certificate authorities to trust instead of the system's."""
    client_cert: str | None = None
    client_key: str | None = None
    server_name: str | None = None
    """Name to ask for and to check, where it is not the URL's host."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a manual came from and what its tools may therefore do.

    `name` is the manual's registered name (pool, namespace and limits key). `origin` is
    `scheme://host[:port]` of the document, None for local files. `allowed_origins` are further
    origins that the operator named, credentials included. `allow_networks` are CIDRs that the
    address gate lets through for this manual; `exempt` are exact `host:port` pairs that the
    operator wrote into the configuration.
    """

    name: str
    trust: Trust = Trust.OPERATOR
    origin: str | None = None
    allowed_origins: frozenset[str] = frozenset()
    allow_networks: tuple[str, ...] = ()
    exempt: frozenset[str] = frozenset()
    trusted: bool = False
    """Operator wrote `trusted: true`: a fetched manual may use cli, files and stdio servers."""
    tls: TlsOptions = TlsOptions()
    proxy: str | None = None


class CallTemplate(BaseModel):
    """Base of every transport's template: how to reach one tool or one manual.

    Transports subclass it; unknown keys are kept out (the registration warns about them).
    The repr names only what can hold no secret.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, hide_input_in_errors=True)

    name: str = ""
    call_template_type: str
    auth: JsonObject | None = None
    timeout: float | None = None
    """Seconds for one call; None takes the bridge's default. Dialects convert v0 milliseconds."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.call_template_type} {self.name!r}>"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class Document:
    """What a transport's discovery found, undigested: the dialects make tools of it.

    `content` is the raw bytes or text, or already parsed JSON (dict or list). `url` is where it was
    found (URL or file path), for relative references and servers; `media_type` helps parsing.
    """

    content: Any
    url: str | None = None
    media_type: str | None = None
    generated: bool = False
    """The transport made the tools itself (introspection, reflection): a dict with `tools`, each a
    normalised tool object whose `overlay` is laid over the manual's own template."""


@dataclass(frozen=True, slots=True, eq=False)
class Tool:
    """One callable tool. `template` is normalised to v1 names and still holds `${VARIABLES}`."""

    source: Source
    name: str
    kind: str
    template: JsonObject = field(repr=False)
    overlay: JsonObject | None = field(default=None, repr=False)
    """Template fields that a transport's own discovery found; laid over the resolved template, never resolved."""
    description: str = ""
    title: str | None = None
    inputs: JsonObject = field(default_factory=lambda: {"type": "object", "properties": {}}, repr=False)
    outputs: JsonObject | None = field(default=None, repr=False)
    tags: tuple[str, ...] = ()
    annotations: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """MCP tool annotations: readOnlyHint, destructiveHint, idempotentHint, openWorldHint."""
    deprecated: bool = False
    average_response_size: int | None = None
    body_members: tuple[str, ...] = ()
    """Arguments that were flattened out of a request body; `{"body": {...}}` stays accepted."""
    limits: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Operator's per-manual overrides of the settings: timeout, concurrency, rate, retries."""
    defaults: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Operator's values for arguments that the caller leaves out."""
    projection: str | None = None
    """JMESPath expression of the operator that the result goes through; the output schema is gone then."""

    @property
    def manual(self) -> str:
        """Name of the manual that the tool belongs to."""
        return self.source.name

    @property
    def qualified_name(self) -> str:
        """The UTCP name, `manual.tool`."""
        return f"{self.source.name}.{self.name}"


@dataclass(frozen=True, slots=True)
class Call:
    """One invocation on its way through the pipeline; `id` correlates logs, audit and errors."""

    tool: Tool
    arguments: JsonObject = field(repr=False)
    id: str = ""


@dataclass(frozen=True, slots=True)
class Binary:
    """Bytes with a media type: images and audio become MCP content, the rest a resource."""

    data: bytes = field(repr=False)
    media_type: str = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class ContentBlocks:
    """MCP content passed through untouched (the `mcp` transport): wire-shaped dicts."""

    content: list[JsonObject]
    structured: Any = None
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """The final value of a call.

    `value` is JSON-shaped data, `str`, `Binary`, a list of partials for streams, or
    `ContentBlocks`. `truncated` says which limit cut it, in words. `meta` is for the host
    (HTTP status, pagination links).
    """

    value: Any
    truncated: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with one manual, tool or field, in words for its operator."""

    where: str
    what: str
    remedy: str = ""
    severity: str = "error"
    """`error`: something was left out; `warning`: used, but look at it."""

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}"
        return f"{text} {self.remedy}" if self.remedy else text


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

    def add(self, where: WhereT, what: str, remedy: str = "", *, severity: str = "warning") -> None:
        """Add a fault, unless it is there already or the limit is reached; `severity` as in `Fault`."""
        if (self._limit is None or len(self.faults) < self._limit) and (where, what) not in self._seen:
            self._seen.add((where, what))
            self.faults.append(self._make(where, what, remedy, severity))


class Faults(FaultCollector[str, Fault]):
    """Collects `Fault`s."""

    def __init__(self, *, limit: int | None = None) -> None:
        super().__init__(Fault, limit=limit)

    def extend(self, faults: Iterable[Fault]) -> None:
        """Add the faults that another reader found."""
        for fault in faults:
            self.add(fault.where, fault.what, fault.remedy, severity=fault.severity)
