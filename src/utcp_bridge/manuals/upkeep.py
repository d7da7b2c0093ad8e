"""Upkeep: when manuals and registries are loaded, loaded again after a failure, and read again."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import contextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING

import anyio

from utcp_bridge.auth.redaction import Redactor
from utcp_bridge.dialects import ManualEntry
from utcp_bridge.dialects.fields import safe_name
from utcp_bridge.errors import UtcpError
from utcp_bridge.manuals.registration import REGISTRY, ManualState, Registration, as_manual_entry
from utcp_bridge.model import Fault, JsonObject, first_few
from utcp_bridge.settings import UtcpClientConfig
from utcp_bridge.tasks import Background
from utcp_bridge.transport import Services

if TYPE_CHECKING:
    from utcp_bridge.manuals.registries import Registries

__all__ = ["Upkeep"]

_logger = logging.getLogger(__name__)


class Upkeep:
    """Schedules loading, retry, refresh and exchange of manuals and registries."""

    def __init__(
        self,
        services: Services,
        registration: Registration,
        tasks: Background,
        redactor: Redactor,
        left: Callable[[str], Awaitable[None]] | None = None,
        exchanged: Callable[[str], object] = lambda _manual: None,
    ) -> None:
        """`left` returns when the calls of a manual that are in flight have ended; by default at once.

        `exchanged` receives the name of each manual whose changed entry is in use from now on.
        """
        self._registration = registration
        self._services = services
        self._tasks = tasks
        self._redactor = redactor
        self._running: dict[str, Callable[[], None]] = {}
        """What ends the task that loads and maintains each manual."""
        self._prepared: dict[str, ManualState] = {}
        """The manuals whose changed entries are not in use yet."""
        self._again: dict[str, object] = {}
        """The last reading of each present manual that is under way because of a change elsewhere."""
        self._left, self._on_exchange = left, exchanged
        registration.exchanged = self._exchanged

    @cached_property
    def _registries(self) -> Registries:
        from utcp_bridge.manuals.registries import Registries  # few configurations have one

        return Registries(self._services, self._registration, self._start)

    @property
    def is_exchanging(self) -> bool:
        """Whether the changed entry of a manual is on its way, or a manual that is read again after a change."""
        return bool(self._again) or any(state.is_loading for state in self._prepared.values())

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

    async def reconfigure(
        self,
        before: UtcpClientConfig,
        after: UtcpClientConfig,
        has_new_values: bool = False,
        *,
        reads_again: bool = False,
    ) -> list[str]:
        """Load the manuals and registries that are new or changed, and remove those that are gone.

        Return the names of the manuals whose entries have not changed and that are read again.

        A changed manual serves as before until its tools are loaded. Connections that nothing uses any more are closed
        when the calls in flight have ended. Manuals that only the operator could repair are loaded again, because the
        operator may have done so elsewhere. `has_new_values`: variables may have other values, so manuals that use
        some are read again. `reads_again`: settings that manuals have since they were read are other ones.
        """
        old, again = {*_named(before.manual_call_templates), *_named(before.registries)}, list[str]()
        manuals, registries = _named(after.manual_call_templates), _named(after.registries)
        states = {state.name: state for state in self._registration.states()}
        for name in old - {*manuals, *registries}:
            await self._remove(name, states.get(name))
        for name, entry in _named(before.registries).items():
            if name in registries and registries[name] != entry:
                await self._remove(name, states.pop(name, None))
        for name, entry in manuals.items():
            if (state := states.get(name)) is None:
                continue
            is_same = as_manual_entry(entry).template == state.entry.template
            if await self._renew(state, entry, has_new_values=has_new_values, reads_again=reads_again) and is_same:
                again.append(name)
        fresh = tuple(entry for name, entry in manuals.items() if name not in states)
        asked = tuple(entry for name, entry in registries.items() if name not in states)
        self.begin(after.model_copy(update={"manual_call_templates": fresh, "registries": asked}))
        self._tasks.tell()
        return again

    async def _remove(self, name: str, state: ManualState | None) -> None:
        self._stop(name)
        self._prepared.pop(name, None)
        if state is None:
            return
        if state.kind == REGISTRY:
            await self.deregister(name)
            return
        self._registration.withdraw(name)
        self._tasks.spawn(partial(self._release, name))

    async def _renew(self, state: ManualState, written: JsonObject, *, has_new_values: bool, reads_again: bool) -> bool:
        """Bring a manual that is known up to its entry. Return whether it is read."""
        entry, prepared = as_manual_entry(written), self._prepared.get(state.name)
        if entry.template == state.entry.template and not reads_again:
            if prepared is not None:  # the change was taken back
                del self._prepared[state.name]
                self._stop(state.name)
                _forget_fault(state)
                self._start(state, loads=False)
                self._tasks.spawn(partial(self._release, state.name))
            if state.status == "failed" and state.next_try is None:
                self._again[state.name] = reading = object()
                self._start(state, reading=reading)
            elif has_new_values and state.status == "ready" and "$" in str(entry.template):
                self._again[state.name] = reading = object()
                self._tasks.spawn(partial(self._refreshed_and_released, state.name, reading))
            else:
                return False
        elif state.status != "ready" and prepared is None:
            await self._remove(state.name, state)
            self._start(self._registration.announce(entry))
        elif has_new_values or reads_again or prepared is None or prepared.entry.template != entry.template:
            _forget_fault(state)
            fresh = self._prepared[state.name] = self._registration.prepare(entry, state)
            self._start(fresh)
        else:
            return False
        return True

    async def _refreshed_and_released(self, name: str, reading: object) -> None:
        with self._until_read(name, reading):
            await self.refresh(name)
        await self._release(name)

    @contextmanager
    def _until_read(self, name: str, reading: object) -> Generator[None]:
        """Note at the end of the context that a manual was read again, unless a later reading is under way.

        `reading` is None if the manual is read for another reason.
        """
        try:
            yield
        finally:
            if reading is not None and self._again.get(name) is reading:
                del self._again[name]
            self._tasks.tell()

    async def _release(self, name: str) -> None:
        """Close what no entry uses any more, once the calls in flight have ended."""
        await self._registration.leftovers.renew(name)
        if self._left is not None:
            with anyio.move_on_after(self._services.settings.stream_timeout):
                await self._left(name)
        await self._registration.leftovers.release(name, self._entries)

    def _entries(self, name: str) -> list[ManualEntry]:
        """Return the entry of a manual that is in use, and the changed one that is not in use yet."""
        states = [state for state in self._registration.states() if state.name == name and state.kind != REGISTRY]
        prepared = self._prepared.get(name)
        return [state.entry for state in (*states, *([] if prepared is None else [prepared]))]

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

    def _start(self, state: ManualState, *, loads: bool = True, reading: object = None) -> None:
        """Load and maintain a manual, instead of what was under way for it."""
        self._stop(state.name)
        work = partial(self._load_and_maintain, reading=reading) if loads else self._maintain
        self._running[state.name] = self._tasks.spawn(partial(work, state))

    def _stop(self, name: str) -> None:
        if (stop := self._running.pop(name, None)) is not None:
            stop()

    async def _load_and_maintain(self, state: ManualState, reading: object) -> None:
        before = state.replaces
        with self._until_read(state.name, reading):
            await (self._registries if state.kind == REGISTRY else self._registration).load(state)
        if state.error is not None:
            _logger.warning("%s %s: %s", _noun(state), state.name, self._redactor(str(state.error)))
        if before is not None and state.replaces is not None:
            what = f"its changed entry is not in use yet: {state.error}"
            _forget_fault(before)
            before.faults = [*before.faults, Fault(_where(state), what, "The entry before it serves until then.")]
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

    def _exchanged(self, name: str) -> None:
        """Note that the changed entry of a manual is in use."""
        self._prepared.pop(name, None)
        self._on_exchange(name)
        self._tasks.spawn(partial(self._release, name))


def _noun(state: ManualState) -> str:
    return "Registry" if state.kind == REGISTRY else "Manual"


def _where(state: ManualState) -> str:
    return f"entry {state.name}"


def _forget_fault(state: ManualState) -> None:
    state.faults = [fault for fault in state.faults if fault.where != _where(state)]


def _named(entries: Iterable[JsonObject]) -> dict[str, JsonObject]:
    return {safe_name(str(entry.get("name"))): entry for entry in entries}
