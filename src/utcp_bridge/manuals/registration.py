"""Registration: entries of the configuration become live tools. All manuals load at once, each by itself.

The steps of one manual: name and options → source (trust, origin) → target → discovery within its deadline → document →
raw tools → live tools → repository. A failure is kept in the manual's state, in words, and does not affect other
manuals. A manual that failed is loaded again, with growing pauses.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from dataclasses import field, replace
from functools import partial
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any, Final, Literal

import anyio

from utcp_bridge.dialects import ManualEntry
from utcp_bridge.dialects.fields import safe_name
from utcp_bridge.errors import (
    ConfigError,
    DeadlineExceeded,
    InternalError,
    ManualError,
    OperatorError,
    UnknownTool,
    UtcpError,
)
from utcp_bridge.late.records import dataclass
from utcp_bridge.manuals.basis import Basis, digest_of
from utcp_bridge.manuals.binding import Binder
from utcp_bridge.manuals.building import ToolBuilder, endpoint_pair
from utcp_bridge.manuals.fetches import Fetches
from utcp_bridge.manuals.leftovers import Leftovers
from utcp_bridge.manuals.lock import document_line
from utcp_bridge.manuals.pinning import Approved, Pins
from utcp_bridge.manuals.reading import LoadedManual, ManualReader
from utcp_bridge.manuals.repository import Change, InMemoryToolRepository, ToolRepository, same_definition
from utcp_bridge.maps.reading import MapFaults, Maps, read_maps
from utcp_bridge.model import (
    Document,
    Fault,
    FileScope,
    JsonObject,
    Outage,
    Source,
    TlsOptions,
    Tool,
    Trust,
    counted,
    in_seconds,
)
from utcp_bridge.net.backoff import pauses
from utcp_bridge.net.files.local_file import resolve_within
from utcp_bridge.net.guard import origin_of
from utcp_bridge.settings import BridgeSettings, ManualOptions
from utcp_bridge.tasks import in_slices
from utcp_bridge.transport import Services, Target, Transport
from utcp_bridge.transports.registry import TransportRegistry
from utcp_bridge.upstream import Offers, ServerState, Upstream
from utcp_bridge.variables import looked_up

__all__ = ["REGISTRY", "ManualState", "Registration", "as_manual_entry", "certain_tool", "manual_name"]

_logger = logging.getLogger(__name__)
REGISTRY: Final = "registry"
"""The kind in a registry's `ManualState`, where a manual has its call template type."""
_FORWARDING: Final = frozenset({"http", "sse", "streamable_http", "graphql", "file", "text"})
"""Types whose requests are made for one call alone. Connections of others are shared by many callers."""
_NEW_TOGETHER: Final = 32
"""New tools that take one step together: there is nothing to compare them with."""
_FIRST_PAUSE: Final = 2.0
"""Seconds until the first new attempt to load a failed manual."""
_MAX_POLITE_PAUSE: Final = 600.0
"""Most seconds until the next attempt if the upstream itself said when to come back."""

AnyTransport = Transport[Any]


@dataclass(frozen=True, slots=True)
class RegisteredManual:
    """What a manual says about itself, and its live tools."""

    title: str
    description: str
    tools: tuple[Tool, ...] = field(repr=False)


@dataclass(slots=True)
class ManualState:
    """The state of one manual. `tools` is the number of its tools, `seconds` the time that its last load took."""

    name: str
    kind: str
    status: Literal["loading", "ready", "failed"] = "loading"
    tools: int = 0
    faults: list[Fault] = field(default_factory=list[Fault])
    error: UtcpError | None = None
    dialect: str = ""
    title: str = ""
    description: str = ""
    seconds: float = 0.0
    arrived: float = 0.0
    """When its first load ended, on the monotonic clock."""
    entry: ManualEntry = field(default_factory=lambda: ManualEntry("", {}), repr=False)
    approved: Approved = field(default_factory=dict[str, Tool | str], repr=False)
    awaited: tuple[str, ...] = ()
    """Parts of the manual that have not arrived yet, such as MCP servers that start slowly. Its tools may be used."""
    next_try: float | None = None
    """When a failed manual is loaded again, on the clock of the event loop; None if nothing waits for it."""
    maps: Maps = field(default_factory=Maps, repr=False)
    """Its resources and prompts. Those of the entry are there before the manual is loaded."""
    basis: Basis | None = field(default=None, repr=False)
    """What its live tools were made from."""
    turn: anyio.Lock = field(default_factory=anyio.Lock, repr=False)
    """Held while its tools are replaced, which other work interrupts."""
    loads: anyio.Lock = field(default_factory=anyio.Lock, repr=False)
    """Held while it is loaded. Who loads it after a change, such as a login, does not get what began before that."""
    repository: ToolRepository | None = field(default=None, repr=False)
    """Where its live tools are."""
    is_narrowed: bool = False
    """Whether it has more tools than the one that was wanted."""
    replaces: ManualState | None = field(default=None, repr=False)
    """The state whose place it takes once it is loaded: that of the same manual before its entry was changed."""

    @property
    def is_loading(self) -> bool:
        """Whether it, or a part of it, is on its way for the first time."""
        return self.status == "loading" or bool(self.awaited)

    @property
    def success(self) -> bool:
        """Whether its tools can be called (UTCP v1, `RegisterManualResult`)."""
        return self.status == "ready"

    @property
    def manual_call_template(self) -> JsonObject:
        """The entry of the configuration (UTCP v1, `RegisterManualResult`)."""
        return self.entry.template

    @property
    def manual(self) -> RegisteredManual:
        """Its live tools (UTCP v1, `RegisterManualResult`)."""
        tools = self.repository.tools() if self.repository is not None else ()
        return RegisteredManual(self.title, self.description, tuple(one for one in tools if one.manual == self.name))

    @property
    def unusable(self) -> ManualError | None:
        """Why no tool of the manual can be used; None if some can, or if the manual has no tools."""
        fault = next((fault for fault in self.faults if fault.severity == "error"), None)
        if self.tools or fault is None:
            return None
        message = f"No tool of manual {self.name!r} can be used. {fault.where}: {fault.what}"
        return ManualError(message, remedy=fault.remedy)

    @property
    def errors(self) -> list[str]:
        """The error and the faults, as sentences."""
        return [*([str(self.error)] if self.error is not None else []), *map(str, self.faults)]


@dataclass(frozen=True, slots=True)
class _Found:
    """A document that was read. `digest` is that of its bytes, if it has one."""

    document: Document = field(repr=False)
    digest: bytes | None
    manual: LoadedManual


class Registration:
    """Holds the state of every manual, and one instance of each transport in use."""

    def __init__(
        self,
        services: Services,
        registry: TransportRegistry,
        binder: Binder,
        repository: ToolRepository,
        documents: Mapping[str, Document] | None = None,
        lock_file: Path | None = None,
    ) -> None:
        self._pins = Pins(services.settings, lock_file)
        self._services = services
        self._fetches = Fetches(documents or {}, services.settings.max_manual_bytes)
        self._registry = registry
        self._binder = binder
        self._repository = repository
        self._builder = ToolBuilder(registry, binder, services.guard, services.settings)
        self._reader = ManualReader(services, registry)
        self._transports: dict[type[AnyTransport], AnyTransport] = {}
        self._states: dict[str, ManualState] = {}
        self.only: str | None = None
        """The UTCP name of the one tool that is wanted. A manual that has it loads no other tool, if nothing but its
        list of tools depends on the others."""
        self.remapped: Callable[[str], object] = lambda _manual: None
        """Receives the name of each manual whose resources or prompts have changed."""
        self.leftovers: Final = Leftovers(
            self._transports, self.transport, self._open, self.bind, repository, services.http
        )
        self.exchanged: Callable[[str], object] = lambda _manual: None
        """Receives the name of each manual whose changed entry is in use from now on."""

    def set_up(self, only: str | None, folder: Path | None) -> None:
        """Load `only` one tool, and keep what workers read of large manuals in a folder for the next start.

        Without a name, all tools are loaded; without a folder, nothing is kept.
        """
        self.only = only
        self._reader.confinement.keep_replies(folder)

    @property
    def settings(self) -> BridgeSettings:
        return self._services.settings

    def states(self) -> list[ManualState]:
        """Return the state of every manual, in the order of registration."""
        return list(self._states.values())

    def transport(self, kind: str) -> AnyTransport:
        """Return the one transport that serves a kind; it is created at first use.

        :raises ConfigError: the kind is unknown.
        """
        found = self._registry.find(kind)
        if found not in self._transports:
            self._transports[found] = found(self._services)
        return self._transports[found]

    def announce(self, entry: ManualEntry) -> ManualState:
        """Add a manual in status `loading`.

        :raises ConfigError: the name is not usable, or another manual has it.
        """
        name = manual_name(entry.template)
        if name in self._states:
            raise ConfigError(f"There are two manuals named {name!r}.", remedy="Rename one of them.")
        state = self._states[name] = ManualState(name, entry.kind, entry=entry, repository=self._repository)
        state.maps = read_maps(entry.template, MapFaults(name))
        return state

    def prepare(self, entry: ManualEntry, before: ManualState) -> ManualState:
        """Return the state of a manual whose entry has changed. `before` serves until it is loaded."""
        state = ManualState(before.name, entry.kind, entry=entry, repository=self._repository, replaces=before)
        state.maps, state.turn = before.maps, before.turn
        return state

    def _is_wanted(self, state: ManualState) -> bool:
        return any(known is state or known is state.replaces for known in self.states())

    def _takes_place(self, state: ManualState) -> bool:
        """Return whether a state that is loaded is that of its manual, from now on if it was prepared."""
        known = self._states.get(state.name)
        if known is not state and known is not None and known is state.replaces:
            self._states[state.name], state.replaces, state.arrived = state, None, known.arrived
            self.exchanged(state.name)
            known = state
        return known is state

    async def load(self, state: ManualState, *, anew: bool = False) -> Change | None:
        """Discover a manual and make its tools live. Return what has changed.

        A failure is kept in `state`, not raised. Loads of one manual follow one another. With `anew`, transports forget
        what failed before, as after a login.
        """
        async with state.loads:
            for transport in self._transports.values() if anew else ():
                await transport.forget(state.name)
            started, was_loading = perf_counter(), state.is_loading
            change: Change | None = None
            try:
                async with self._reader.confinement.load():
                    change = await self._load(state)
                state.status, state.error = "ready", None
            except UtcpError as error:
                state.status, state.error, state.awaited = "failed", error, ()
            except Exception as error:  # one manual must not fail another
                _logger.debug("Loading %s failed.", state.name, exc_info=True)
                state.status = "failed"
                state.error = InternalError(f"Internal error while loading the manual ({type(error).__name__}).")
            state.seconds = perf_counter() - started
            if was_loading:
                state.arrived = monotonic()
            return change

    async def keep_trying(
        self, state: ManualState, load: Callable[[ManualState], Awaitable[object]] | None = None
    ) -> None:
        """Load a failed manual again, with doubling pauses, until it is ready or deregistered.

        `load` replaces `self.load` for a registry.
        """
        growing = pauses(_FIRST_PAUSE)
        while state.status == "failed" and self._is_wanted(state):
            if not _may_recover(state.error):
                return
            pause = max(next(growing), _wished_pause(state.error))
            state.next_try = anyio.current_time() + pause
            await anyio.sleep(pause)
            state.next_try = None
            await (load or self.load)(state)
            if state.error is None:
                what = "Manual" if load is None else "Registry"
                _logger.info("%s %s is ready again; it has %s.", what, state.name, counted(state.tools, "tool"))

    async def refresh(self, name: str) -> None:
        """Discover a manual again; if that fails, its present tools stay."""
        state = self._states.get(name)
        if state is None:
            return
        before = state.tools
        change = await self.load(state)
        if state.status == "failed" and before:
            _logger.warning("Manual %s could not be read again: %s", name, state.error)
            state.status = "ready"
        if change is not None and not change.is_empty:
            _logger.info("Manual %s was read again: %s.", name, change)

    async def deregister(self, name: str) -> bool:
        """Remove a manual, its tools and all that its transport keeps for it; False if there is no such manual."""
        if not self.withdraw(name):
            return False
        for transport in self._transports.values():
            await transport.forget(name)
        await self._services.http.close_session(name)
        return True

    def withdraw(self, name: str) -> bool:
        """Remove a manual and its tools, and leave its connections to calls in flight (`Leftovers.release`)."""
        state = self._states.pop(name, None)
        if state is None:
            return False
        self._repository.remove(name)
        if state.maps:
            self.remapped(name)
        return True

    def outages(self) -> list[Outage]:
        """Return the upstreams that the transports themselves leave alone for now."""
        return [outage for transport in self._transports.values() for outage in transport.outages()]

    def servers(self) -> list[ServerState]:
        """Return the state of each MCP server."""
        return [server for transport in self._transports.values() for server in transport.servers()]

    async def screened(self, upstream: Upstream, offers: Offers) -> tuple[Offers, list[Fault]]:
        """Return the prompts and instructions of a server that are as they were approved, and the others' faults."""
        return await self._pins.offers(upstream.manual, upstream.name, offers)

    def upstreams(self) -> list[Upstream]:
        """Return the MCP servers that the transports know."""
        return [upstream for transport in self._transports.values() for upstream in transport.upstreams()]

    async def aclose(self) -> None:
        """Close every transport."""
        for transport in self._transports.values():
            await transport.aclose()

    def bind(self, tool: Tool) -> Target[Any]:
        """Return the target of a tool.

        :raises VariableNotFound: a variable is not set.
        :raises UtcpError: the call template is not valid, or its target is refused.
        """
        state = self._states.get(tool.manual)
        if state is None:
            raise UnknownTool(f"Manual {tool.manual!r} was removed.")
        return self._builder.target(tool, state.entry.template)

    def reach(self, entry: ManualEntry) -> tuple[Source, Target[Any]]:
        """Return source and target of an entry without loading it: for a registry, or for diagnosis.

        :raises UtcpError: the error that `load` would keep in the state.
        """
        return self._open(entry, self.transport(entry.kind))

    def unset_variables(self, entry: ManualEntry) -> list[str]:
        """Return the keys of the variables that an entry needs and no source has.

        :raises ConfigError: the kind is unknown, or a source of variables cannot be read.
        """
        return self._binder.unset(entry.template, type(self.transport(entry.kind)), entry.name)

    async def _load(self, state: ManualState) -> Change | None:
        """Discover a manual and make its tools live. Return what has changed; None if the manual is the same one."""
        entry, options = state.entry, state.entry.options
        transport = self.transport(state.kind)
        source, target = self._open(entry, transport)
        found: _Found | None = None
        seconds = options.discovery_timeout or self.settings.discovery_timeout
        with anyio.move_on_after(seconds):
            basis = await self._basis(state, source)
            known = None if basis is None else basis.document.edition
            document = self._fetches.handed(entry) or await self._fetches.share(
                entry, source, known, partial(transport.discover, replace(target, known=known))
            )
            digest = None if document.is_known else await digest_of(document)
            if basis is not None and basis.has(document, digest) and await basis.references.are_unchanged():
                state.awaited = document.awaited
                return None
            if document.is_known:  # its references have changed, so the document itself is needed again
                document = await transport.discover(target)
                digest = await digest_of(document)
            _check_hash(document, digest, options)
            only = self._only_of(entry)
            manual = await self._reader.read(document, entry=entry.template, source=source, options=options, only=only)
            found = _Found(document, digest, manual)
        if found is None:
            raise DeadlineExceeded(
                f"The manual did not arrive within {in_seconds(seconds)}.",
                remedy="Check the address, or raise `discovery_timeout`.",
            )
        return await self._replace(state, source, found)

    def _only_of(self, entry: ManualEntry) -> str | None:
        """Return the own name of the one tool of a manual that is wanted; None for all of them."""
        manual, name = f"{entry.name}.", self.only or ""
        options = entry.options
        chooses = options.include or options.exclude or options.overrides or options.shadow
        if chooses or not name.startswith(manual) or "pin" in self.settings.model_fields_set:
            return None
        return name.removeprefix(manual)

    async def widen(self) -> None:
        """Load all tools of the manuals of which only one was loaded."""
        self.only = None
        for state in [one for one in self.states() if one.is_narrowed]:
            state.approved.clear()
            await self.load(state)

    async def _basis(self, state: ManualState, source: Source) -> Basis | None:
        """Return what the live tools were made from, if another document is all that could change them."""
        basis = state.basis
        if basis is None or basis.source != source or basis.lock != await self._pins.state():
            return None
        return basis if self._binder.is_unchanged(basis.variables) else None

    async def _replace(self, state: ManualState, source: Source, found: _Found) -> Change | None:
        """Make the tools of a document live. Return what has changed."""
        manual = found.manual
        with looked_up() as variables:
            steps = self._builder.steps(
                manual.tools,
                entry=state.entry,
                source=source,
                protocols=manual.protocols,
                dialect=manual.dialect,
            )
            built = await in_slices(steps)
        async with state.turn:
            live = await in_slices(_kept(self._repository, built.tools))
            tools, withheld = await self._pins.kept(live, state.approved, document_line(source, found.digest))
            lock = await self._pins.state()
            if not self._takes_place(state):
                return None
            state.dialect, state.title, state.description = manual.dialect, manual.title, manual.description
            mapped = MapFaults(state.name)
            maps = _maps(state, source, manual.maps, mapped)
            if not manual.is_narrowed:
                maps = maps.with_tools({name for tool in tools for name in (tool.name, tool.qualified_name)}, mapped)
            state.is_narrowed = manual.is_narrowed
            state.faults = [*manual.faults, *built.faults.faults, *withheld, *mapped.faults]
            state.tools, state.basis, state.awaited = len(tools), None, found.document.awaited
            change = await _replaced(self._repository, state.name, tools)
            if maps != state.maps:
                state.maps = maps
                self.remapped(state.name)
            if found.digest is not None and not manual.is_narrowed:
                document = replace(found.document, content=None)
                state.basis = Basis(found.digest, document, source, manual.references, variables, lock)
            return change

    def _open(self, entry: ManualEntry, transport: AnyTransport) -> tuple[Source, Target[Any]]:
        """Return source and target of a manual. The endpoint in the manual's own entry decides about trust."""
        options = entry.options
        source = Source(
            name=entry.name,
            from_file="file_path" in entry.template and not options.trusted,
            namespace=options.registry_namespace,
            allowed_origins=frozenset(options.allowed_origins) | _base_origin(options),
            allow_networks=options.allow_networks + self.settings.allow_networks,
            trusted=options.trusted,
            tls=_tls(options, self._services.root),
            proxy=options.proxy or self.settings.proxy,
            deadline_header=options.deadline_header or self.settings.deadline_header,
            forward_headers=_forwarded(entry, transport),
        )
        target = self._binder.manual(entry.template, type(transport), source)
        endpoint = transport.endpoint(target.template)
        if transport.local or endpoint is None:
            return replace(source, file_scope=self._file_scope(entry, transport, target.template)), target
        exempt = frozenset[str]() if _is_foreign(endpoint, options) else endpoint_pair(endpoint)
        source = replace(source, trust=Trust.REMOTE, origin=origin_of(endpoint), exempt=exempt)
        return source, self._binder.manual(entry.template, type(transport), source)

    def _file_scope(self, entry: ManualEntry, transport: AnyTransport, template: Any) -> FileScope | None:
        """Return which files the tools of a manual in a file or a text may read; None if its entry allows any."""
        if transport.kinds[0] not in {"file", "text"} or entry.options.trusted:
            return None
        if "file" in map(self._registry.canonical, entry.options.allowed_communication_protocols or ()):
            return None
        root = self._services.root
        path = getattr(template, "file_path", None)
        folder = root if path is None else resolve_within(path, root, confined=False).parent
        return FileScope(folder, root)


def _maps(state: ManualState, source: Source, stated: JsonObject, faults: MapFaults) -> Maps:
    """Return the resources and prompts of a manual's entry, and those that its document states."""
    is_operators = source.trust is Trust.OPERATOR
    return read_maps(state.entry.template, faults).over(
        read_maps(
            stated,
            faults,
            files=is_operators or source.trusted,
            confined=not is_operators or source.from_file,
            foreign=not is_operators,
        )
    )


async def _replaced(repository: ToolRepository, manual: str, tools: list[Tool]) -> Change:
    if isinstance(repository, InMemoryToolRepository):
        return await in_slices(repository.replace_in_steps(manual, tools))
    return repository.replace(manual, tools)


def _kept(repository: ToolRepository, tools: Iterable[Tool]) -> Generator[None, None, list[Tool]]:
    """Return the tools, with the object that is live already for each one that has not changed."""
    kept: list[Tool] = []
    for tool in tools:
        known = repository.get(tool.qualified_name)
        kept.append(tool if known is None or not same_definition(known, tool) else known)
        if known is not None or not len(kept) % _NEW_TOGETHER:
            yield
    return kept


def _tls(options: ManualOptions, root: Path) -> TlsOptions:
    def absolute(path: str | None) -> str | None:
        return None if path is None else str(resolve_within(path, root, confined=False))

    return TlsOptions(
        verify=options.verify_ssl,
        ca_cert=absolute(options.ca_cert),
        client_cert=absolute(options.client_cert),
        client_key=absolute(options.client_key),
        server_name=options.server_name,
    )


def manual_name(template: JsonObject) -> str:
    """Return the registered name: each character that is not a letter, a digit or `_` becomes `_` (UTCP v0.2 and v1).

    :raises ConfigError: the name has no letter and no digit.
    """
    name = safe_name(str(template.get("name") or ""))
    if not name.strip("_"):
        raise ConfigError("A manual has no name.", remedy='Give it a "name" of letters, digits and underscores.')
    return name


def as_manual_entry(template: JsonObject) -> ManualEntry:
    """Return a call template that has a name as an entry.

    :raises ConfigError: the name is not usable.
    """
    name = manual_name(template)
    return ManualEntry(name, {**template, "name": name})


def _forwarded(entry: ManualEntry, transport: AnyTransport) -> tuple[str, ...]:
    """Return the headers of the client's request that go on to the manual's service.

    :raises ConfigError: requests of this type are not made for one client's request alone.
    """
    names, kind = entry.options.forward_headers, transport.kinds[0]
    if names and kind not in _FORWARDING:
        raise ConfigError(
            f"Manual {entry.name!r}: `forward_headers` has no effect on a call template of type {kind!r}.",
            remedy=f"Remove it. It works with the types {', '.join(sorted(_FORWARDING))}.",
        )
    return names


def _base_origin(options: ManualOptions) -> frozenset[str]:
    return frozenset({origin_of(options.base_url)}) if options.base_url else frozenset()


def _is_foreign(endpoint: str, options: ManualOptions) -> bool:
    """Return whether a registry chose the address; the operator chose only the registry's own origin."""
    return options.registry is not None and origin_of(endpoint) != options.registry


def _check_hash(document: Document, digest: bytes | None, options: ManualOptions) -> None:
    """Compare the fetched bytes with the hash that the operator wrote.

    :raises ManualError: the hash is another one, or the manual is not a document.
    """
    if options.sha256 is None:
        return
    if digest is None or not isinstance(document.content, bytes | str):
        raise ManualError(
            "The transport makes this manual itself, so it has no document that `sha256` could be compared with.",
            remedy="Remove `sha256` from the manual's entry.",
        )
    found = digest.hex()
    if found != options.sha256.lower():
        raise ManualError(
            f"The manual's SHA-256 is {found}, not {options.sha256.lower()}.",
            remedy="Check what changed in the manual before you change the hash.",
        )


def _wished_pause(error: UtcpError | None) -> float:
    """Return the seconds that the upstream asked to wait, within reason."""
    return min((error and error.retry_after) or 0.0, _MAX_POLITE_PAUSE)


def _may_recover(error: UtcpError | None) -> bool:
    """Return whether a later attempt may succeed; an error in the configuration stays until someone corrects it."""
    return not isinstance(error, OperatorError)


def certain_tool(tool: Tool, states: Iterable[ManualState]) -> Tool:
    """Return a tool whose own name no other loaded manual has.

    :raises UnknownTool: a manual of the configuration is not loaded, and it may have a tool of this name.
    """
    for state in states:
        if state.status != "ready" and "registry" not in state.entry.template and state.name != tool.manual:
            raise UnknownTool(
                f"Manual {state.name!r} is not loaded, and it may have a tool named {tool.name!r}.",
                remedy=f"Use the full name: {tool.qualified_name}.",
            )
    return tool
