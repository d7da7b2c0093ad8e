"""Upkeep: when manuals and registries are loaded, loaded again after a failure, and read again."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import TYPE_CHECKING

import anyio

from utcp_bridge.auth.redaction import Redactor
from utcp_bridge.dialects.fields import safe_name
from utcp_bridge.errors import UtcpError
from utcp_bridge.manuals.registration import REGISTRY, ManualState, Registration, as_manual_entry
from utcp_bridge.model import first_few
from utcp_bridge.settings import UtcpClientConfig
from utcp_bridge.tasks import Background
from utcp_bridge.transport import Services

if TYPE_CHECKING:
    from utcp_bridge.manuals.registries import Registries

__all__ = ["Upkeep"]

_logger = logging.getLogger(__name__)


class Upkeep:
    """Schedules loading, retry and refresh of manuals and registries. Holds no state."""

    def __init__(self, services: Services, registration: Registration, tasks: Background, redactor: Redactor) -> None:
        self._registration = registration
        self._services = services
        self._tasks = tasks
        self._redactor = redactor

    @cached_property
    def _registries(self) -> Registries:
        from utcp_bridge.manuals.registries import Registries  # few configurations have one

        return Registries(self._services, self._registration, self._start)

    def begin(self, config: UtcpClientConfig) -> None:
        """Start to load all manuals and registries of a configuration; on a clash of names its own manuals win."""
        announced: list[ManualState] = []
        kinds = [(False, entry) for entry in config.manual_call_templates]
        kinds += [(True, entry) for entry in config.registries]
        for is_registry, entry in kinds:
            announce = self._registries.announce if is_registry else self._registration.announce
            try:
                announced.append(announce(as_manual_entry(entry)))
            except UtcpError as error:
                _logger.error("%s", error)  # noqa: TRY400 - an operator needs the sentence, not the traceback
        for state in announced:
            self._start(state)

    async def reconfigure(self, before: UtcpClientConfig, after: UtcpClientConfig) -> None:
        """Load the manuals that are new or changed, and remove those that are gone.

        Manuals that only the operator could repair are loaded again, because the operator may have done so elsewhere.
        """
        old = {safe_name(str(entry.get("name"))): entry for entry in before.manual_call_templates}
        new = {safe_name(str(entry.get("name"))): entry for entry in after.manual_call_templates}
        for name in (name for name in old if new.get(name) != old[name]):
            await self.deregister(name)
        states = {state.name: state for state in self._registration.states()}
        changed = [entry for name, entry in new.items() if name not in states]
        self.begin(after.model_copy(update={"manual_call_templates": tuple(changed), "registries": ()}))
        for state in states.values():
            if state.status == "failed" and state.next_try is None:
                self._start(state)
        _logger.info("The configuration was read again; it has %d manuals.", len(new))
        self._tasks.tell()

    def keep(self, state: ManualState) -> None:
        """Retry and refresh a manual that was loaded already."""
        self._tasks.spawn(lambda: self._maintain(state))

    async def refresh(self, name: str) -> None:
        """Read a manual again, or ask a registry again; present tools stay until the new ones are ready."""
        state = next((state for state in self._registration.states() if state.name == name), None)
        if state is not None and state.kind == REGISTRY:
            await self._registries.load(state)
        else:
            await self._registration.refresh(name)
        self._tasks.tell()

    async def deregister(self, name: str) -> bool:
        """Remove a manual, or a registry and its manuals; False if none has this name."""
        if any(state.kind == REGISTRY for state in self._registration.states() if state.name == name):
            await self._registries.forget(name)
        return await self._registration.deregister(name)

    def _start(self, state: ManualState) -> None:
        self._tasks.spawn(lambda: self._load_and_maintain(state))

    async def _load_and_maintain(self, state: ManualState) -> None:
        await (self._registries if state.kind == REGISTRY else self._registration).load(state)
        self._tasks.tell()
        if state.error is not None:
            _logger.warning("%s %s: %s", _noun(state), state.name, self._redactor(str(state.error)))
        rest = f"more faults in {_noun(state).lower()} {state.name}. `utcp-bridge check` lists them."
        for text in first_few(state.faults, rest):
            _logger.warning("%s", self._redactor(text))
        await self._maintain(state)

    async def _maintain(self, state: ManualState) -> None:
        await self._registration.keep_trying(state, self._registries.load if state.kind == REGISTRY else None)
        seconds = state.entry.template.get("refresh_interval", self._registration.settings.refresh_interval)
        while seconds and any(known is state for known in self._registration.states()):
            await anyio.sleep(float(seconds))
            await self.refresh(state.name)


def _noun(state: ManualState) -> str:
    return "Registry" if state.kind == REGISTRY else "Manual"
