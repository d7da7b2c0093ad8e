"""What a server serves: a whole client, or the part of it that one profile has.

Each profile has a server of its own over a client that has nothing else (`access/narrowed.py`), so sessions, kept
results, tasks, subscriptions and lists of one profile do not exist for another one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from utcp_bridge.access.budgets import Budgets, Meter, read_budgets, spending
from utcp_bridge.access.narrowed import NarrowedClient, PartCatalogue, ServedCatalogue, ServedClient
from utcp_bridge.access.principals import Principal
from utcp_bridge.access.profiles import Profile, Profiles, read_profiles
from utcp_bridge.catalogue.catalogue import Catalogue
from utcp_bridge.catalogue.fitting import json_bytes
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import JsonObject
from utcp_bridge.server.callers import principal_of
from utcp_bridge.server.meta_tools import meta_tool_entries
from utcp_bridge.server.relay.subscribers import Subscribers
from utcp_bridge.server.reply_workers import ReplyWorkers
from utcp_bridge.stores.limiter import SharedLimits

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

    from utcp_bridge.client.client import UtcpClient

__all__ = ["ServedPart", "Spending", "size_of", "whole_part"]

T = TypeVar("T")
Spend: TypeAlias = "Callable[[ServerRequestContext[Any, Any], Callable[[], Awaitable[JsonObject]]], Any]"


@dataclass(frozen=True, slots=True)
class ServedPart:
    """What one server serves. `whole` is the client with every tool."""

    client: UtcpClient
    catalogue: Catalogue
    workers: ReplyWorkers
    profiles: Profiles
    whole: UtcpClient
    names: Catalogue
    """The catalogue of every tool, which gives the names."""
    spending: Spending
    narrowed: NarrowedClient
    """The client: of one profile, or a `ServedClient`, which may have all tools."""
    leave: Callable[[], object] = lambda: None
    """Ends the part: it follows the settings no more."""
    subscribers: Subscribers = field(default_factory=Subscribers)
    owns_workers: bool = True
    """Whether the server opens the workers, or another one does."""

    def of(self, profile: Profile) -> ServedPart:
        """Return the part of a profile, for a server next to this one."""
        return _narrowed(self, profile)

    def serve_anyone(self) -> None:
        """Note that callers have no token of their own: they get `default_profile`, if it is set."""
        if isinstance(self.narrowed, ServedClient):
            self.narrowed.serves_anyone = True
            self.narrow(self.profiles)

    def narrow(self, profiles: Profiles) -> None:
        """Take over the one profile that everyone has now, or all tools without one."""
        client, catalogue = self.narrowed, self.catalogue
        if not isinstance(client, ServedClient) or not isinstance(catalogue, ServedCatalogue):
            return
        profile = profiles.fixed or (profiles.default if client.serves_anyone else None)
        if not (client.is_whole and profile is None):
            client.narrow_to(profile)
            catalogue.follow()
        self.spending.renew(profile)

    @property
    def profile(self) -> Profile | None:
        """The profile; None is the whole bridge."""
        narrowed = self.narrowed
        return None if isinstance(narrowed, ServedClient) and narrowed.is_whole else narrowed.profile

    @property
    def profile_name(self) -> str | None:
        """The name of the profile; None is the whole bridge."""
        return None if self.profile is None else self.profile.name


class Spending:
    """What the requests to one server may use: the budgets of their principals, and that of the profile."""

    def __init__(self, budgets: Budgets, shared: SharedLimits | None) -> None:
        self._budgets = budgets
        self._shared = shared
        self._meter: Meter | None = None
        self._of = ""
        """The name of the profile of the meter."""
        self.spend: Spend | None = None
        """Runs the work of a request within its budgets; None without budgets."""

    def renew(self, profile: Profile | None = None) -> None:
        """Have the budget of a profile from now on, as it is at first, and look whether there are budgets at all."""
        budget = None if profile is None else profile.budget
        if profile is None or budget is None:
            self._meter = None
        elif self._meter is None or (self._meter.budget, self._of) != (budget, profile.name):
            self._meter, self._of = Meter(f"Profile {profile.name!r}", budget, f"profile {profile.name}"), profile.name
        self.spend = self._spend if self._budgets.has_any or self._meter is not None else None

    def beside(self) -> Spending:
        """Return the same for another server."""
        return Spending(self._budgets, self._shared)

    def meters(self, principal: Principal) -> list[Meter]:
        """Return the meters of a request."""
        return [meter for meter in (self._budgets.of(principal), self._meter) if meter is not None]

    def _spend(
        self, ctx: ServerRequestContext[Any, Any], work: Callable[[], Awaitable[JsonObject]]
    ) -> Awaitable[JsonObject]:
        meters = self.meters(principal_of(ctx))
        return spending(meters, work, size_of, self._shared) if meters else work()

    async def within(self, principal: Principal, work: Callable[[], Awaitable[T]], size_of: Callable[[T], int]) -> T:
        """Return what `work` returns, within the budgets of a principal.

        :raises Busy: a budget does not cover it.
        """
        meters = self.meters(principal)
        return await (spending(meters, work, size_of, self._shared) if meters else work())


def size_of(result: JsonObject) -> int:
    """Return the bytes of a result, for a budget."""
    return len(json_bytes(result))


def whole_part(client: UtcpClient) -> ServedPart:
    """Return what the settings of a client serve: every tool, or the one profile that `profile` names.

    It follows the settings: a profile in place of all tools, and the other way round.

    :raises ConfigError: the profiles or the budgets are not valid.
    """
    settings = client.settings
    profiles = read_profiles(settings)
    served = ServedClient(client, profiles.fixed)
    names = ServedCatalogue(served, partial(meta_tool_entries, settings))
    workers = ReplyWorkers(settings.max_reply_bytes)
    found = read_budgets(settings.budgets)
    budgets = Budgets(()) if found is None else found
    limits = Spending(budgets, None if client.shared is None else client.shared.limits)
    part = ServedPart(served.as_client(), names, workers, profiles, client, names, limits, served)
    written = settings.budgets

    def renew() -> None:
        nonlocal written
        if settings.budgets != written:
            written = settings.budgets
            budgets.renew(read_budgets(written))
        part.narrow(read_profiles(settings))

    limits.renew(profiles.fixed)
    client.on_settings.append(renew)
    return part


def _narrowed(part: ServedPart, profile: Profile) -> ServedPart:
    client, whole, limits = NarrowedClient(part.whole, profile), part.whole, part.spending.beside()

    def renew() -> None:
        """Take over what the profile has now. A removed profile keeps what it had."""
        for one in read_profiles(whole.settings):
            if one.name == profile.name:
                if one != client.profile:
                    client.narrow_to(one)
                limits.renew(one)

    limits.renew(profile)
    whole.on_settings.append(renew)
    catalogue = PartCatalogue(part.names, client, partial(meta_tool_entries, client.settings))
    leave = partial(whole.on_settings.remove, renew)
    return replace(
        part,
        client=client.as_client(),
        catalogue=catalogue,
        narrowed=client,
        spending=limits,
        leave=leave,
        owns_workers=False,
    )
