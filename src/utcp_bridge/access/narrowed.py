"""A client that has the tools of one profile only, for the server of that profile.

A server over such a client cannot show or call anything else: list, search, names, suggestions, resources, prompts,
reports and calls all come through it. It has the members that the server uses, and no other: a new one has to be added
here before a server of a profile can use it.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import replace
from functools import partial
from types import MethodType
from typing import TYPE_CHECKING, Any, Final, cast

from utcp_bridge.access.profiles import Profile, server_of
from utcp_bridge.catalogue.catalogue import Catalogue, MetaToolEntries
from utcp_bridge.errors import AuthRequired, LoginFailed, ManualError, UnknownTool
from utcp_bridge.manuals.repository import unknown_tool
from utcp_bridge.model import Emit, JsonObject, Outage, Result, Tool, discard
from utcp_bridge.search import Hit
from utcp_bridge.search.strategy import Accept, Searchable
from utcp_bridge.upstream import Hear, HostAhead, Offers, ProtocolError, ServerState, Upstream

if TYPE_CHECKING:
    from utcp_bridge.auth.redaction import Redactor
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.manuals.registration import ManualState
    from utcp_bridge.search.memory import Meaning
    from utcp_bridge.settings import BridgeSettings, UtcpClientConfig
    from utcp_bridge.stores.replicas import SharedStore

__all__ = ["NarrowedClient", "NarrowedUpstream", "PartCatalogue", "ServedCatalogue", "ServedClient"]

_NOT_FOUND: Final = -32002
_INCOMPLETE: Final = "The search may lack some tools for now. Search again in some seconds."
_OF_URIS: Final = frozenset({"resources/read", "resources/subscribe", "resources/unsubscribe"})
_EVERYTHING: Final = Profile("", resources=("*",), prompts=("*",))
"""What a bridge without a profile has."""
_PASSED_ON: Final = (
    "call", "find", "find_tool", "is_silent", "outages", "prepare_search", "report", "servers", "streams",
    "tools", "upstreams",
)  # fmt: skip
"""The members of a whole client that take the place of those that look at a profile."""


class NarrowedUpstream(Upstream):
    """One MCP server with the resources and prompts of a profile."""

    def __init__(self, whole: Upstream, profile: Profile) -> None:
        self.whole = whole
        self.manual, self.name = whole.manual, whole.name
        self.is_local, self.written = whole.is_local, whole.written
        self._profile = profile
        self._known: tuple[Offers, Offers] | None = None

    @property
    def origin(self) -> Upstream:
        """The upstream itself."""
        return self.whole

    @property
    def offers(self) -> Offers | None:
        """What it offers in the profile. Its instructions may name any of its tools, so a part of them has none."""
        offers = self.whole.offers
        if offers is None:
            return None
        if self._known is None or self._known[0] is not offers:
            self._known = offers, self._narrowed(offers)
        return self._known[1]

    def _narrowed(self, offers: Offers) -> Offers:
        profile = self._profile
        resources = tuple(one for one in offers.resources if profile.has_resource(one["uri"]))
        templates = tuple(one for one in offers.resource_templates if profile.has_resource(one["uriTemplate"]))
        prompts = tuple(one for one in offers.prompts if profile.has_prompt(one["name"]))
        lists_none = not (offers.resources or offers.resource_templates)
        kept = {
            "resources": bool(resources or templates or (lists_none and profile.resources)),
            "prompts": bool(prompts),
            "completions": bool(templates or prompts),
            "extensions": bool(resources or templates),
        }
        return replace(
            offers,
            capabilities={key: value for key, value in offers.capabilities.items() if kept.get(key, True)},
            instructions=offers.instructions if profile.is_whole else None,
            resources=resources,
            resource_templates=templates,
            prompts=prompts,
        )

    async def request(self, method: str, params: JsonObject, emit: Emit = discard) -> JsonObject:
        """Send a request, if it is about something that the profile has.

        :raises ProtocolError: the profile does not have it, or the upstream refused it.
        """
        if not self._may(method, params):
            uri = params.get("uri")
            raise ProtocolError(_NOT_FOUND, "Resource not found.", {"uri": uri} if uri is not None else None)
        return await self.whole.request(method, params, emit)

    def _may(self, method: str, params: JsonObject) -> bool:
        if method in _OF_URIS:
            return self._profile.has_resource(str(params.get("uri")))
        if method == "prompts/get":
            return self._profile.has_prompt(str(params.get("name")))
        if method == "completion/complete":
            ref: Any = params.get("ref") or {}
            if "uri" in ref:
                return self._profile.has_resource(str(ref["uri"]))
            return self._profile.has_prompt(str(ref.get("name")))
        return True


class _NarrowedSearch:
    """A search that finds tools of a profile only. The ranking filters, so a search has its full number of results."""

    def __init__(self, whole: Searchable, has: Accept) -> None:
        self._whole = whole
        self._has = has

    def search(
        self,
        query: str,
        *,
        limit: int = 10,
        tags: Collection[str] | None = None,
        providers: Collection[str] | None = None,
        accept: Accept | None = None,
    ) -> list[Hit]:
        """Return the best tools of the profile. See `Searchable.search`."""

        def accept_both(tool: Tool) -> bool:
            return self._has(tool) and (accept is None or accept(tool))

        return self._whole.search(query, limit=limit, tags=tags, providers=providers, accept=accept_both)


class NarrowedClient:
    """The part of a client that one profile has."""

    def __init__(self, whole: UtcpClient, profile: Profile) -> None:
        self.whole: Final = whole
        self.profile = profile
        self.settings: BridgeSettings = whole.settings
        self.root = whole.root
        self.refusals = whole.refusals
        self.redactor: Redactor = whole.redactor
        self.host_ahead: HostAhead = whole.host_ahead
        self.shared: SharedStore | None = whole.shared
        self._generation: int | None = None
        self._verdicts: dict[Tool, bool] = {}
        self._tools: tuple[Tool, ...] = ()
        self._counts: dict[str, int] = {}
        self._of_servers: dict[tuple[str, str | None], int] = {}
        self._parts: dict[int, NarrowedUpstream] = {}

    def narrow_to(self, profile: Profile) -> None:
        """Have what a profile has, which has changed, from now on."""
        self.profile, self._generation = profile, None
        self._verdicts, self._parts = {}, {}
        self.tools()

    @property
    def notes_requesters(self) -> bool:
        """Whether a server should say who each call comes from. See `UtcpClient.notes_requesters`."""
        return self.whole.notes_requesters

    @property
    def configuration(self) -> JsonObject | None:
        """What `/readyz` says of the configuration. See `UtcpClient.configuration`."""
        return self.whole.configuration

    def as_client(self) -> UtcpClient:
        """Return this object as what servers take. A member that it does not have raises `AttributeError`."""
        return cast("UtcpClient", self)

    def has(self, tool: Tool) -> bool:
        """Return whether the profile has a tool."""
        known = self._verdicts.get(tool)
        if known is None:
            known = self._verdicts[tool] = self.profile.includes(tool)
        return known

    @property
    def config(self) -> UtcpClientConfig:
        """The configuration."""
        return self.whole.config

    @property
    def generation(self) -> int:
        """A number that grows with every change of the tools."""
        return self.whole.generation

    @property
    def audit_lost(self) -> int | None:
        """How many audit lines were not written."""
        return self.whole.audit_lost

    def outages(self) -> list[Outage]:
        """Return the upstreams that did not answer, for probes, which only count them."""
        return self.whole.outages()

    # --- tools ---

    def tools(self) -> Sequence[Tool]:
        """Return the live tools of the profile, ordered by UTCP name."""
        if self._generation != self.whole.generation:
            self._renew()
        return self._tools

    def _renew(self) -> None:
        self._generation, before = self.whole.generation, self._verdicts
        self._verdicts = {}
        for tool in self.whole.tools():
            known = before.get(tool)
            self._verdicts[tool] = self.profile.includes(tool) if known is None else known
        self._tools = tuple(tool for tool, verdict in self._verdicts.items() if verdict)
        self._counts, self._of_servers = {}, {}
        for tool in self._tools:
            self._counts[tool.manual] = self._counts.get(tool.manual, 0) + 1
            server = tool.manual, server_of(tool)
            self._of_servers[server] = self._of_servers.get(server, 0) + 1

    def find(self, tool: str | Tool) -> Tool | None:
        """Return the live tool of this UTCP name, or None."""
        found = self.whole.find(tool)
        return found if found is not None and self.has(found) else None

    def find_tool(self, tool: str | Tool, *, remedy: str = "") -> Tool:
        """Return the tool of this UTCP name, or of this own name if only one manual has it.

        :raises UnknownTool: the profile has none, or several.
        """
        name = tool.qualified_name if isinstance(tool, Tool) else tool
        same = [one for one in self.tools() if name in {one.qualified_name, one.name}]
        exact = [one for one in same if one.qualified_name == name] or same
        if len(exact) == 1:
            return exact[0]
        if exact:
            full = " or ".join(one.qualified_name for one in exact[:3])
            raise UnknownTool(
                f"Several manuals have a tool named {name[:128]!r}.", remedy=f"Use the full name: {full}."
            )
        raise unknown_tool(name, [one.qualified_name for one in self.tools()], remedy=remedy)

    def streams(self, tool: str | Tool) -> bool:
        """Return whether a call of this tool gives partial results."""
        return self.whole.streams(self.find_tool(tool))

    def is_silent(self, tool: Tool) -> bool:
        """Return whether no call of this tool ever gives partial results. See `UtcpClient.is_silent`."""
        return self.whole.is_silent(tool)

    def call(self, tool: Tool, arguments: JsonObject, emit: Emit = discard) -> Awaitable[Result]:
        """Call a tool. See `UtcpClient.call`.

        :raises UnknownTool: the profile does not have it.
        """
        if not self.has(tool):
            raise unknown_tool(tool.qualified_name, [one.qualified_name for one in self.tools()])
        return self.whole.call(tool, arguments, emit)

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after every change of the tools. Return a function that ends this."""
        return self.whole.on_change(callback)

    # --- search ---

    @property
    def prepared_search(self) -> Searchable:
        """The search as `prepare_search` left it, for tools of the profile."""
        return cast("Searchable", _NarrowedSearch(self.whole.prepared_search, self.has))

    async def prepare_search(self, queries: Iterable[str]) -> str | None:
        """Get ready for these queries. Return a note, which counts nothing, if the search is not complete."""
        return _INCOMPLETE if await self.whole.prepare_search(queries) else None

    def meaning_of(self, query: str) -> Meaning | None:
        """Return the vector of a query that `prepare_search` was given."""
        return self.whole.meaning_of(query)

    # --- manuals and MCP servers ---

    async def wait_loaded(self, seconds: float | None = None) -> bool:
        """Wait until no manual is loading. Return False if that takes more than `seconds`."""
        return await self.whole.wait_loaded(seconds)

    async def next_loaded(self) -> None:
        """Wait until a manual that is loading has loaded or failed."""
        await self.whole.next_loaded()

    def report(self) -> list[ManualState]:
        """Return the states of the manuals that the profile has tools of, or may have once they are loaded."""
        self.tools()
        return [self._state(one) for one in self.whole.report() if self._shows(one.name, None, one.status == "ready")]

    def _state(self, state: ManualState) -> ManualState:
        """Return a state that counts and names tools of the profile only."""
        shown = copy.copy(state)
        shown.tools = self._counts.get(state.name, 0)
        shown.faults = []
        if (
            state.error is not None
            and not self.profile.is_whole
            and not isinstance(state.error, AuthRequired | LoginFailed)
        ):
            shown.error = ManualError("It could not be loaded.")
        return shown

    def servers(self) -> list[ServerState]:
        """Return the state of each MCP server that the profile has something of, or may have."""
        self.tools()
        return [
            replace(one, tools=self._of_servers.get((one.manual, one.name), 0), failure=self._failure_of(one))
            for one in self.whole.servers()
            if self._shows(one.manual, one.name, one.status == "ready")
        ]

    def _failure_of(self, state: ServerState) -> str:
        """Return why a server is not ready, in words that name nothing which the profile does not have."""
        hides = state.failure and not self.profile.is_whole and state.status != "needs login"
        return "It could not be reached." if hides else state.failure

    def upstreams(self, *, servers_only: bool = False) -> list[Upstream]:
        """Return the MCP servers that the profile has something of, each with that part."""
        self.tools()
        whole = self.whole.upstreams(servers_only=True) if servers_only else self.whole.upstreams()
        shown = [one for one in whole if self._shows(one.manual, one.name, one.offers is not None)]
        parts = [self._parts.get(id(one)) or NarrowedUpstream(one, self.profile) for one in shown]
        if not servers_only:
            self._parts = {id(part.whole): part for part in parts}
        return list[Upstream](parts)

    def _shows(self, manual: str, server: str | None, is_read: bool) -> bool:
        """Return whether the profile has something of a manual or a server; for one that is not read, may have."""
        if not is_read:
            return self.profile.may_have(manual, server)
        offers = self.profile.resources or self.profile.prompts or self.profile.is_whole
        if offers and self.profile.admits(manual, server):
            return True
        return (manual, server) in self._of_servers if server is not None else manual in self._counts

    def on_upstream(self, hear: Hear) -> Callable[[], None]:
        """Call `hear` with notifications about what the profile has. Log lines that belong to no call are not."""
        return self.whole.on_upstream(partial(self._hear, hear))

    def _hear(self, hear: Hear, upstream: Upstream, method: str, params: JsonObject) -> None:
        part = next((one for one in self.upstreams() if one.origin is upstream), None)
        if part is not None and (method != "notifications/message" or self.profile.is_whole):
            hear(part, method, params)


class ServedClient(NarrowedClient):
    """What the first server of a bridge serves: every tool, or one profile, and either in place of the other.

    While it has every tool, the members that calls use are those of the client itself, so a call passes nothing more.
    What uses this object asks it for each member anew: one that was kept would go on with what a new profile hides.
    """

    def __init__(self, whole: UtcpClient, profile: Profile | None) -> None:
        super().__init__(whole, profile or _EVERYTHING)
        self.is_whole = profile is None
        self.serves_anyone = False
        """Whether all callers are such without a token of their own, so that they have `default_profile`."""
        self._pass_on()

    def __getattr__(self, name: str) -> Any:
        """Return a member that only the whole client has, for as long as this is the whole client."""
        if not vars(self).get("is_whole"):
            raise AttributeError(name)
        return getattr(self.whole, name)

    def narrow_to(self, profile: Profile | None) -> None:
        """Have what a profile has from now on; None: everything."""
        self.is_whole = profile is None
        self._pass_on()
        super().narrow_to(profile or _EVERYTHING)

    def _pass_on(self) -> None:
        members = vars(self)
        for name in _PASSED_ON:
            members.pop(name, None)
            if self.is_whole:
                members[name] = getattr(self.whole, name)

    @property
    def prepared_search(self) -> Searchable:
        """The search as `prepare_search` left it."""
        return self.whole.prepared_search if self.is_whole else super().prepared_search

    def _hear(self, hear: Hear, upstream: Upstream, method: str, params: JsonObject) -> None:
        if self.is_whole:
            hear(upstream, method, params)
        else:
            super()._hear(hear, upstream, method, params)


class PartCatalogue(Catalogue):
    """The tools of a profile under the names, and with the entries, that the whole catalogue gives them."""

    def __init__(self, whole: Catalogue, client: NarrowedClient, meta_tools: MetaToolEntries) -> None:
        self._start(client.as_client(), meta_tools)
        self._whole = whole
        self._has = client.has
        self._version: int | None = None

    def _refresh(self) -> None:
        whole = self._whole
        whole._refresh()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - of the same class
        if whole.version == self._version:
            return
        entries, aliases, qualified = whole.named()
        self._entries = {name: entry for name, entry in entries.items() if self._has(entry.tool)}
        self._by_alias = {name: entry for name, entry in aliases.items() if self._has(entry.tool)}
        self._by_qualified = {name: entry for name, entry in qualified.items() if self._has(entry.tool)}
        self._of_tool = {entry.tool: entry for entry in self._entries.values()}
        self._views, self._meta_tools = {}, None
        self._version, self._generation = whole.version, self._client.generation


class ServedCatalogue(PartCatalogue):
    """The catalogue of a `ServedClient`: that of every tool, or the part that one profile has of it."""

    def __init__(self, client: ServedClient, meta_tools: MetaToolEntries) -> None:
        Catalogue.__init__(self, client.whole, meta_tools)
        self._client = client.as_client()
        self._served = client
        self._has = client.has
        self._version = None
        self._whole: Catalogue = self
        self._names: Catalogue | None = None
        """What gives the names while a profile is served."""
        self.follow()

    def follow(self) -> None:
        """Show what the client has from now on: it has another profile, or none any more."""
        if self._served.is_whole:
            self._of_tool = self._whole._of_tool  # noqa: SLF001 - of the same class
            self._whole = self
            as_whole = MethodType(Catalogue._refresh, self)  # noqa: SLF001 - of the same class
            vars(self)["_refresh"] = as_whole  # no call more than for a plain catalogue
        elif self._whole is self:
            vars(self).pop("_refresh", None)
            self._whole = self._names = self._named_before()
        self._version = self._generation = None
        self._needs_names, self._is_complete = True, False
        self.version += 1

    def _named_before(self) -> Catalogue:
        """Return the catalogue of every tool, with the names and entries that this one has given."""
        names = self._names or Catalogue(self._served.whole, self._make_meta_tools)
        names._short_owners, names._of_tool = self._short_owners, self._of_tool  # noqa: SLF001 - of the same class
        names._generation, names._needs_names = None, True  # noqa: SLF001 - of the same class
        return names
