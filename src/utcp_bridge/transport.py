"""The contract between the client and a transport, and every type that the author of a transport needs.

The client finds transports by scanning `utcp_bridge.transports`, whose modules assign `TRANSPORT = TheClass`, and by
the entry-point group `utcp_bridge.transports` of other packages. `utcp_bridge.testing.contract` is the suite that every
transport must pass.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeAlias, TypeVar

from utcp_bridge.errors import Unexplainable
from utcp_bridge.model import (
    Binary,
    Call,
    CallTemplate,
    ContentBlocks,
    Document,
    Emit,
    Result,
    Source,
    TlsOptions,
    Tool,
    Trust,
)
from utcp_bridge.net.preview import NativeRequest
from utcp_bridge.settings import BridgeSettings

if TYPE_CHECKING:
    from utcp_bridge.auth.credentials import Credentials
    from utcp_bridge.net.guard import Guard
    from utcp_bridge.net.http import HttpPool

__all__ = [
    "Binary",
    "Call",
    "CallTemplate",
    "ContentBlocks",
    "Document",
    "Emit",
    "Endpoint",
    "LocalFile",
    "NativeRequest",
    "Need",
    "Program",
    "Result",
    "Services",
    "Source",
    "Target",
    "TlsOptions",
    "Tool",
    "Transport",
    "Trust",
]

TemplateT = TypeVar("TemplateT", bound=CallTemplate)


@dataclass(frozen=True, slots=True)
class Services:
    """What the client lends to its transports."""

    http: HttpPool
    """The one seam for HTTP and WebSocket."""
    guard: Guard
    """The one gate in front of every other connection."""
    settings: BridgeSettings
    root: Path
    """Relative paths of local files start here (the folder of the configuration file)."""
    spawn: Callable[[Callable[[], Coroutine[Any, Any, None]]], Callable[[], None]]
    """Runs a background task for as long as the client is open, and returns the way to cancel it."""
    changed: Callable[[str], object]
    """Tells the registration that a manual's tools changed upstream: it discovers the manual again."""


@dataclass(frozen=True, slots=True)
class Target(Generic[TemplateT]):
    """One resolved template: variables filled in, credentials bound to origins.

    Made once per tool (and once per manual for discovery) and kept, so whatever a template compiles
    lazily (`functools.cached_property`) is compiled once. Holds secrets: never log it.
    """

    template: TemplateT = field(repr=False)
    source: Source
    credentials: Credentials | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A peer on the network. The scheme says whether TLS is spoken: https, wss, grpcs.

    `tls` stands in place of the source's options where the template has its own; `alpn` are the protocols that the
    handshake offers.
    """

    url: str = field(repr=False)
    tls: TlsOptions | None = None
    alpn: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Program:
    """A command to start. It is looked for in `path`, a PATH, or from `folder` if its name has a slash."""

    name: str
    folder: Path
    path: str | None = None


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file to read; a relative path starts at `folder`."""

    path: str
    folder: Path


Need: TypeAlias = Endpoint | Program | LocalFile


class Transport(ABC, Generic[TemplateT]):
    """One way to reach tools. One instance per client; state is kept per `target.source.name`."""

    kinds: ClassVar[tuple[str, ...]]
    """The `call_template_type`s served, the canonical one first."""
    template: ClassVar[type[CallTemplate]]
    """The pydantic model of this transport's templates."""
    local: ClassVar[bool] = False
    """Whether what it discovers counts as the operator's own words (a local file, inline text, a command)."""
    remote: ClassVar[bool] = True
    """Whether a fetched manual may hold tools of this kind without `trusted: true`."""
    implicit: ClassVar[bool] = True
    """Whether a local manual (`text`, `file`) may hold tools of this kind without listing the kind in
    `allowed_communication_protocols`."""
    raw_fields: ClassVar[frozenset[str]] = frozenset()
    """Template fields in which `$NAME` and `${NAME}` are left alone by variable substitution."""
    braced_only: ClassVar[frozenset[str]] = frozenset()
    """Template fields in which only `${NAME}` is a variable (a bare `$name` has its own meaning)."""
    file_fields: ClassVar[frozenset[str]] = frozenset()
    """Template fields that name local files: only the operator's own words may hold them."""
    streaming: ClassVar[bool] = False
    """Whether calls may run as long as `stream_timeout` instead of `call_timeout`."""

    def __init__(self, services: Services) -> None:
        self.services = services

    @classmethod
    def endpoint(cls, template: TemplateT) -> str | None:
        """URL that calls of this template go to, for credentials and target rules; None for local ones."""
        del template
        return None

    @classmethod
    def annotations(cls, template: TemplateT) -> Mapping[str, Any]:
        """MCP hints that follow from the template alone (GET is read-only, DELETE destroys, ...)."""
        del template
        return {}

    @classmethod
    def is_streaming(cls, tool: Tool) -> bool:
        """Whether calls of this tool may run as long as `stream_timeout`, where `streaming` does not say it of all."""
        del tool
        return cls.streaming

    def needs(self, target: Target[TemplateT]) -> Sequence[Need]:
        """What must be there for discovery to succeed, told without asking it: by default the endpoint."""
        endpoint = self.endpoint(target.template)
        return () if endpoint is None else (Endpoint(endpoint),)

    @abstractmethod
    async def discover(self, target: Target[TemplateT]) -> Document:
        """Fetch the manual that the template points at.

        :raises UtcpError: unreachable, refused, too large, or not a document at all.
        """

    @abstractmethod
    async def call(self, target: Target[TemplateT], call: Call, emit: Emit) -> Any:
        """Run one call and return its final value: JSON-shaped data, str, Binary, ContentBlocks or Result.

        Partial results are pushed through `emit` as they come; a streaming call returns the list of
        them. Must be cancel-safe: on cancellation the upstream connection or process is closed.
        Foreign exceptions are mapped to ours in one `except` block.

        :raises UtcpError: see errors.py.
        """

    async def explain(self, target: Target[TemplateT], call: Call) -> NativeRequest:
        """What `call` would send, built by the same code, and nothing of it sent. It may hold secrets.

        :raises Unexplainable: this transport cannot tell. :raises UtcpError: the call could not be made.
        """
        del target, call
        raise Unexplainable(
            f"The {self.kinds[0]} transport does not tell what it would send.", remedy="Call the tool to see."
        )

    async def forget(self, manual: str) -> None:
        """Close whatever is kept for one manual (it was deregistered)."""
        del manual

    async def aclose(self) -> None:
        """Close whatever is kept for all manuals."""
