"""What a server serves: a whole client, or the part of it that one profile has.

Each profile has a server of its own over a client that has nothing else (`access/narrowed.py`), so sessions, kept
results, tasks, subscriptions and lists of one profile do not exist for another one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from utcp_bridge.access.budgets import Budgets, Meter, read_budgets, spending
from utcp_bridge.access.narrowed import NarrowedClient, PartCatalogue
from utcp_bridge.access.principals import Principal
from utcp_bridge.access.profiles import Profile, Profiles, read_profiles
from utcp_bridge.catalogue.catalogue import Catalogue
from utcp_bridge.catalogue.fitting import json_bytes
from utcp_bridge.model import JsonObject
from utcp_bridge.server.callers import principal_of
from utcp_bridge.server.meta_tools import catalogue_with_meta_tools, meta_tool_entries
from utcp_bridge.server.relay.subscribers import Subscribers
from utcp_bridge.server.reply_workers import ReplyWorkers
from utcp_bridge.stores.limiter import SharedLimits

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

    from utcp_bridge.client.client import UtcpClient

__all__ = ["ServedPart", "size_of", "whole_part"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ServedPart:
    """What one server serves. `whole` is the client with every tool, `meter` the budget of the profile's callers."""

    client: UtcpClient
    catalogue: Catalogue
    workers: ReplyWorkers
    profiles: Profiles
    whole: UtcpClient
    names: Catalogue
    """The catalogue of every tool, which gives the names."""
    profile: Profile | None = None
    budgets: Budgets | None = None
    meter: Meter | None = None
    subscribers: Subscribers = field(default_factory=Subscribers)
    owns_workers: bool = True
    """Whether the server opens the workers, or another one does."""

    def of(self, profile: Profile, *, owns_workers: bool = False) -> ServedPart:
        """Return the part of a profile, for a server next to this one, or in place of it if it owns the workers."""
        return replace(_narrowed(self, profile), owns_workers=owns_workers)

    @property
    def profile_name(self) -> str | None:
        """The name of the profile; None is the whole bridge."""
        return None if self.profile is None else self.profile.name

    def meters(self, principal: Principal) -> list[Meter]:
        """Return the meters of a request."""
        own = None if self.budgets is None else self.budgets.of(principal)
        return [meter for meter in (own, self.meter) if meter is not None]

    @property
    def _shared(self) -> SharedLimits | None:
        return None if self.whole.shared is None else self.whole.shared.limits

    @property
    def spend(self) -> Callable[[ServerRequestContext[Any, Any], Callable[[], Awaitable[JsonObject]]], Any] | None:
        """What runs the work of a request within its budgets; None if there are no budgets."""
        return None if self.budgets is None and self.meter is None else self._spend

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

    :raises ConfigError: the profiles or the budgets are not valid.
    """
    settings = client.settings
    profiles = read_profiles(settings)
    names = catalogue_with_meta_tools(client)
    workers = ReplyWorkers(settings.max_reply_bytes)
    budgets = read_budgets(settings.budgets)
    if budgets is not None:
        client.on_settings.append(lambda: budgets.renew(read_budgets(settings.budgets)))
    part = ServedPart(client, names, workers, profiles, client, names, budgets=budgets)
    return part if profiles.fixed is None else _narrowed(part, profiles.fixed)


def _narrowed(part: ServedPart, profile: Profile) -> ServedPart:
    client = NarrowedClient(part.whole, profile)

    def renew() -> None:
        """Take over what the profile has now. A budget of its own is a part of the server, and stays."""
        for one in read_profiles(part.whole.settings):
            if one.name == client.profile.name and one != client.profile:
                client.narrow_to(one)

    part.whole.on_settings.append(renew)
    catalogue = PartCatalogue(part.names, client, partial(meta_tool_entries, client.settings))
    meter = (
        None
        if profile.budget is None
        else Meter(f"Profile {profile.name!r}", profile.budget, f"profile {profile.name}")
    )
    return replace(part, client=client.as_client(), catalogue=catalogue, profile=profile, meter=meter)
