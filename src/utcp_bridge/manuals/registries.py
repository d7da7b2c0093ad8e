"""The registries of a configuration: the manuals that they list are loaded as fetched manuals, each by itself.

A registry is not trusted. It chooses addresses, so these have no variables and none of the exemptions of an address
that the operator wrote. It chooses names, and a name decides which variables a manual sees, so the name of each manual
begins with the operator's name for the registry. A registry gives its manuals no credentials, commands or files.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlsplit

import anyio

from utcp_bridge.configuration.places import is_url
from utcp_bridge.dialects import ManualEntry
from utcp_bridge.dialects.configs import PASSED_ON
from utcp_bridge.errors import DeadlineExceeded, InternalError, PolicyError, UtcpError
from utcp_bridge.manuals.registration import REGISTRY, ManualState, Registration, as_manual_entry
from utcp_bridge.model import Fault, JsonObject, Source, in_seconds, is_list, is_object
from utcp_bridge.net.document import document_request, fetch_manual
from utcp_bridge.net.files.local_file import resolve_within
from utcp_bridge.registry.client import Fetched, list_manuals, parsed_listing
from utcp_bridge.registry.listing import Listing, ListingPage
from utcp_bridge.transport import Services, Target
from utcp_bridge.urls import origin_of

__all__ = ["Registries"]

_logger = logging.getLogger(__name__)

_MAX_MANUALS: Final = 100
_OF_ITS_MANUALS: Final = frozenset({"registry", "sha256"})
"""Keys of a registry that have another meaning in the entry of a manual."""


class Registries:
    """Loads the manuals that each registry lists, and removes those that it lists no more."""

    def __init__(self, services: Services, registration: Registration, start: Callable[[ManualState], object]) -> None:
        self._services = services
        self._registration = registration
        self._start = start
        self._children: dict[str, dict[str, JsonObject]] = {}

    def announce(self, entry: ManualEntry) -> ManualState:
        """Add a registry in status `loading`.

        :raises ConfigError: another manual or registry has its name.
        """
        return self._registration.announce(ManualEntry(entry.name, {**entry.template, "call_template_type": REGISTRY}))

    async def load(self, state: ManualState) -> None:
        """Ask the registry and load the manuals that are new. A failure is kept in `state`, not raised.

        If the registry fails, its present manuals stay. A manual that it no longer lists is removed.
        """
        started = anyio.current_time()
        try:
            await self._apply(state, *await self._ask(state.entry.template))
            state.status, state.error, state.dialect = "ready", None, REGISTRY
        except UtcpError as error:
            state.status, state.error = ("ready" if self._children.get(state.name) else "failed"), error
        except Exception as error:  # a registry must not fail a manual
            _logger.debug("Loading the registry %s failed.", state.name, exc_info=True)
            state.status = "failed"
            state.error = InternalError(f"Internal error while loading the registry ({type(error).__name__}).")
        state.seconds = anyio.current_time() - started

    async def forget(self, name: str) -> None:
        """Remove the manuals of a registry that is removed."""
        for child in self._children.pop(name, {}):
            await self._registration.deregister(child)

    async def _ask(self, entry: JsonObject) -> tuple[ListingPage, str | None]:
        """Return what the registry lists now, and its own origin; a file has none."""
        place = str(entry["registry"])
        filters: dict[str, Any] = {
            "tags": entry.get("tags") or (),
            "q": entry.get("q") or "",
            "limit": entry.get("limit") or _MAX_MANUALS,
        }
        if not is_url(place) and "$" not in place:
            path = resolve_within(place, self._services.root, confined=False)
            return await list_manuals(str(path), _no_network, **filters), None
        seconds = float(entry.get("discovery_timeout") or self._services.settings.discovery_timeout)
        own = {key: value for key, value in entry.items() if key not in _OF_ITS_MANUALS}
        source, target = self._registration.reach(as_manual_entry({**own, "call_template_type": "http", "url": place}))
        page: ListingPage | None = None
        with anyio.move_on_after(seconds):
            page = await list_manuals(target.template.url, self._fetcher(source, target), **filters)
        if page is None:
            raise DeadlineExceeded(
                f"The registry did not answer within {in_seconds(seconds)}.", remedy="Check the registry's address."
            )
        return page, origin_of(target.template.url)

    def _fetcher(self, source: Source, target: Target[Any]) -> Callable[[str], Awaitable[Fetched]]:
        async def fetch(url: str) -> Fetched:
            document = await fetch_manual(
                self._services.http.session(source),
                document_request(url),
                max_bytes=self._services.settings.max_manual_bytes,
                credentials=target.credentials,
                entry=REGISTRY,
            )
            hint = document.media_type or url
            listing = await parsed_listing(document.content, hint, "The registry")
            return Fetched(listing, document.url or url)

        return fetch

    async def _apply(self, state: ManualState, page: ListingPage, origin: str | None) -> None:
        known = self._children.setdefault(state.name, {})
        wanted: dict[str, JsonObject] = {}
        state.faults = list(page.faults)
        for listing in page.listings:
            try:
                entry = _entry_of(listing, state.entry.template, origin)
                wanted[str(entry["name"])] = entry
            except UtcpError as error:
                state.faults.append(_fault(state.name, listing, error))
        self._drop_ambiguous(state, wanted)
        for name in [name for name, entry in known.items() if wanted.get(name) != entry]:
            del known[name]
            await self._registration.deregister(name)
        for name, entry in wanted.items():
            if name not in known:
                try:
                    child = self._registration.announce(as_manual_entry(entry))
                except UtcpError as error:
                    state.faults.append(Fault(f"registry {state.name!r}", error.message, error.remedy or ""))
                    continue
                known[name] = entry
                self._start(child)
        state.tools = 0
        state.description = f"{len(known)} manuals"

    def _drop_ambiguous(self, state: ManualState, wanted: dict[str, JsonObject]) -> None:
        """Leave out manuals whose names begin like those of another registry, or of a manual of the configuration."""
        own = self._children.get(state.name, {})
        others = [one.name for one in self._registration.states() if one.name not in own and one is not state]
        for name in list(wanted):
            other = next((other for other in others if name.startswith(f"{other}_")), None)
            if other is not None and len(other) > len(state.name):
                del wanted[name]
                what = f"The registry's manual would be named {name!r}, which belongs to {other!r}."
                state.faults.append(Fault(f"registry {state.name!r}", what, "Rename the registry."))


def _entry_of(listing: Listing, registry: JsonObject, registry_origin: str | None) -> JsonObject:
    """Return the entry of a listed manual: the operator's keys of the registry, and the registry's address and hash.

    :raises PolicyError: the address is neither https nor at the registry's own origin.
    """
    origin = origin_of(listing.url)
    allowed = registry.get("allowed_origins")
    own = origin == registry_origin
    if not (own or origin.startswith("https:") or (is_list(allowed) and origin in allowed)):
        raise PolicyError(
            f"The manual is at {origin}, which is neither https nor the registry's own address.",
            remedy=f'If that is intended, add "allowed_origins": ["{origin}"] to the registry.',
        )
    pins = registry.get("sha256")
    pin = pins.get(listing.name) if is_object(pins) else None
    entry: JsonObject = {
        **{key: value for key, value in registry.items() if key in PASSED_ON},
        "name": f"{registry['name']}_{listing.name}",
        "call_template_type": "http",
        "url": listing.url.replace("$", "$$"),
        "registry": registry_origin or "",
        "registry_namespace": f"{registry['name']}/{listing.name}",
    }
    if digest := pin or listing.sha256:
        entry["sha256"] = str(digest)
    if own and registry.get("auth") is not None:
        entry["auth"] = registry["auth"]
    return entry


def _fault(registry: str, listing: Listing, error: UtcpError) -> Fault:
    return Fault(f"registry {registry!r}, manual {listing.name!r}", error.message, error.remedy or "")


async def _no_network(url: str) -> Fetched:
    raise PolicyError(
        f"The registry's file lists another registry, at {urlsplit(url).netloc}.",
        remedy="Add that registry to `registries`.",
    )
