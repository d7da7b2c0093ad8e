"""The contract between the client and a transport, and every type that the author of a transport needs.

The client finds transports by scanning `utcp_bridge.transports`, whose modules assign `TRANSPORT = TheClass`, and by
the entry-point group `utcp_bridge.transports` of other packages. `utcp_bridge.testing.contract` is the suite that every
transport must pass.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeAlias, TypeVar

from utcp_bridge.errors import Unexplainable
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import (
    Binary,
    Call,
    ContentBlocks,
    Document,
    Edition,
    Emit,
    Outage,
    Result,
    Source,
    TlsOptions,
    Tool,
    Trust,
)
from utcp_bridge.net.preview import NativeRequest
from utcp_bridge.placement.compiling import CallTemplate
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.upstream import CallingHost, Hear, Screen, ServerState, Upstream, passed
from utcp_bridge.urls import origin_of

if TYPE_CHECKING:
    from utcp_bridge.auth.credentials import Credentials
    from utcp_bridge.auth.login.logins import Logins
    from utcp_bridge.auth.login.port import PossibleLogin
    from utcp_bridge.net.guard import Guard
    from utcp_bridge.net.http import HttpPool

__all__ = [
    "Binary",
    "Call",
    "CallTemplate",
    "ContentBlocks",
    "Document",
    "Edition",
    "Emit",
    "Endpoint",
    "LocalFile",
    "NativeRequest",
    "Need",
    "Outage",
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


async def no_host() -> CallingHost | None:
    """Return no host: MCP servers cannot ask for anything."""
    return None


@dataclass(frozen=True, slots=True)
class Services:
    """What the client provides to its transports."""

    http: HttpPool
    """All HTTP and WebSocket connections."""
    guard: Guard
    """The check before every other connection."""
    settings: BridgeSettings
    root: Path
    """Where relative paths of local files start: the folder of the configuration file."""
    spawn: Callable[[Callable[[], Coroutine[Any, Any, None]]], Callable[[], None]]
    """Runs a background task while the client is open, and returns a function that cancels it."""
    changed: Callable[[str], object]
    """Reports that a manual's tools changed upstream. The client then discovers the manual again."""
    heard: Hear = lambda _upstream, _method, _params: None
    """Passes on a notification of an MCP server that belongs to no request."""
    logins: Logins | None = None
    """The logins of persons; None where logins are not possible."""
    expected_host: Callable[[], Awaitable[CallingHost | None]] = no_host
    """Returns the host that calls will come from: MCP servers learn its capabilities before its first call."""
    learn: Callable[[str, str], object] = lambda _name, _value: None
    """Reports a variable that the transport read, by name and value, so that logs and errors do not show it."""
    screen: Screen = passed
    """Returns what of the offers of an MCP server hosts may see, and the faults of the others."""


@dataclass(frozen=True, slots=True)
class Target(Generic[TemplateT]):
    """One resolved template: variables filled in, credentials bound to origins.

    There is one per tool, and one per manual for discovery. They are kept, so a template may compile parts lazily
    (`functools.cached_property`). A target holds secrets: never log it.
    """

    template: TemplateT = field(repr=False)
    source: Source
    credentials: Credentials | None = field(default=None, repr=False)
    known: Edition | None = None
    """The edition of the manual that the client has, for `discover`. If it is still the newest, `discover` may return a
    document that says so (`Document.is_known`)."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A peer on the network. The scheme says whether it uses TLS: https, wss, grpcs.

    `tls` replaces the source's options if the template has its own. `alpn` lists the protocols that the handshake
    offers.
    """

    url: str = field(repr=False)
    tls: TlsOptions | None = None
    alpn: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Program:
    """A command to start. It is searched in `path` (a PATH), or from `folder` if its name has a slash."""

    name: str
    folder: Path
    path: str | None = None


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file to read. A relative path starts at `folder`."""

    path: str
    folder: Path


Need: TypeAlias = Endpoint | Program | LocalFile


class Transport(ABC, Generic[TemplateT]):
    """One way to reach tools. There is one instance per client; state is kept per `target.source.name`."""

    kinds: ClassVar[tuple[str, ...]]
    """The `call_template_type`s that it serves, the canonical one first."""
    template: ClassVar[type[CallTemplate]]
    """The pydantic model of this transport's templates."""
    local: ClassVar[bool] = False
    """Whether manuals that it discovers count as written by the operator (a local file, inline text, a command)."""
    remote: ClassVar[bool] = True
    """Whether a fetched manual may have tools of this kind without `trusted: true`."""
    implicit: ClassVar[bool] = True
    """Whether a local manual (`text`, `file`) may have tools of this kind without the operator's word in its entry:
    `allowed_communication_protocols` with this kind, or `trusted: true`. Tools that start programs need it in any case
    (`starts_program`)."""
    raw_fields: ClassVar[frozenset[str]] = frozenset()
    """Template fields in which `$NAME` and `${NAME}` are not variables."""
    braced_only: ClassVar[frozenset[str]] = frozenset()
    """Template fields in which only `${NAME}` is a variable (a bare `$name` has its own meaning)."""
    file_fields: ClassVar[frozenset[str]] = frozenset()
    """Template fields that name local files. Only templates that the operator wrote may have them."""
    silence_fields: ClassVar[frozenset[str]] = frozenset()
    """Template fields that say how many seconds of silence to wait for. A fetched manual may not exceed `idle_timeout`
    with them."""
    streaming: ClassVar[bool] = False
    """Whether calls may run as long as `stream_timeout` instead of `call_timeout`."""
    ends_at_once: ClassVar[bool] = False
    """Whether the clean-up of a call that is cancelled waits for nothing, so that it is enough to cancel it once."""
    emits: ClassVar[bool] = True
    """Whether a call may give partial results. If not, the layers do not look for any."""
    longest_pause: ClassVar[float | None] = None
    """Most seconds for which calls to a peer that does not answer are refused; None for the setting."""

    def __init__(self, services: Services) -> None:
        self.services = services

    @classmethod
    def endpoint(cls, template: TemplateT) -> str | None:
        """Return the URL that calls of this template go to, for credentials and rules; None for local ones."""
        del template
        return None

    @classmethod
    def peer(cls, template: TemplateT) -> str | None:
        """Return what calls of this template fail together with: by default the origin of the endpoint.

        None means the tool alone. While a peer does not answer, calls to it are refused for a while.

        :raises ConfigError: the arguments of a call choose the origin.
        """
        endpoint = cls.endpoint(template)
        return None if endpoint is None else origin_of(endpoint)

    @classmethod
    def annotations(cls, template: TemplateT) -> Mapping[str, Any]:
        """Return the MCP hints that follow from the template alone (GET is read-only, DELETE destroys, ...)."""
        del template
        return {}

    @classmethod
    def starts_program(cls, template: TemplateT) -> bool:
        """Return whether a call goes to a program that the bridge starts on this machine."""
        del template
        return False

    @classmethod
    def check_use(cls, template: TemplateT, source: Source) -> None:
        """Check what a manual of this source may use besides its kind and its endpoint; by default anything.

        :raises PolicyError: the template uses something else.
        """
        del template, source

    @classmethod
    def is_streaming(cls, tool: Tool) -> bool:
        """Return whether calls of this tool may run as long as `stream_timeout`; by default `streaming` decides."""
        del tool
        return cls.streaming

    def needs(self, target: Target[TemplateT]) -> Sequence[Need]:
        """Return what discovery needs, without connecting to it: by default the endpoint."""
        endpoint = self.endpoint(target.template)
        return () if endpoint is None else (Endpoint(endpoint),)

    @abstractmethod
    async def discover(self, target: Target[TemplateT]) -> Document:
        """Fetch the manual that the template points to.

        :raises UtcpError: it is unreachable, refused, too large, or not a document.
        """

    @abstractmethod
    async def call(self, target: Target[TemplateT], call: Call, emit: Emit) -> Any:
        """Run one call and return its final value: JSON-shaped data, str, Binary, ContentBlocks or Result.

        Pass partial results to `emit` as they arrive; a streaming call returns the list of them. When the call is
        cancelled, close the upstream connection or process. Map exceptions of other libraries to errors of
        `utcp_bridge.errors` in one place.

        :raises UtcpError: see `utcp_bridge.errors`.
        """

    async def explain(self, target: Target[TemplateT], call: Call) -> NativeRequest:
        """Return what `call` would send, built by the same code, without sending it. It may hold secrets.

        :raises Unexplainable: this transport cannot show it.
        :raises UtcpError: the call could not be made.
        """
        del target, call
        raise Unexplainable(
            f"The {self.kinds[0]} transport cannot show what it would send.", remedy="Call the tool instead."
        )

    def logins(self, target: Target[TemplateT]) -> Sequence[PossibleLogin]:
        """Return where a person can log in for this target: by default what its `auth` says."""
        from utcp_bridge.auth.login.flows import OAuthLogin

        found = None if target.credentials is None else target.credentials.login
        return () if found is None else (OAuthLogin(*found),)

    def outages(self) -> Sequence[Outage]:
        """Return the upstreams that this transport itself leaves alone for now, besides those that calls do."""
        return ()

    def servers(self) -> Sequence[ServerState]:
        """Return the state of each MCP server that this transport looks after."""
        return ()

    def upstreams(self) -> Sequence[Upstream]:
        """Return the MCP servers that this transport knows, for what they offer besides tools."""
        return ()

    async def forget(self, manual: str) -> None:
        """Close what is kept for one manual, which was deregistered."""
        del manual

    async def renew(self, manual: str) -> None:
        """Let later calls of a manual open other connections: its entry has changed.

        Each connection that is open now is closed as soon as no call uses it. For what calls share for long, such as a
        process, there is `retire`.
        """
        del manual

    async def retire(self, manual: str, targets: Iterable[Target[TemplateT]]) -> None:
        """Close what is kept for one manual and what its entry, which was changed, does not use any more.

        `targets` are those of the entry and its tools as they are now, bound when they are asked for. No call uses what
        belongs to the entry before.
        """
        del manual, targets

    async def aclose(self) -> None:
        """Close what is kept for all manuals."""
