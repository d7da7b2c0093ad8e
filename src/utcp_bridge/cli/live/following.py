"""A running server follows its configuration: read, check, compare, and take over only what has changed.

The files are looked at by their times, sizes and numbers (`stat`), off the event loop. Notifications of the system
would be faster, but they do not come from network file systems, and they follow a name instead of the file that a link
leads to, as a ConfigMap of Kubernetes has them. A look at a handful of files takes less than a millisecond.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from utcp_bridge.access.profiles import read_profiles
from utcp_bridge.auth.literals import learn_configuration
from utcp_bridge.auth.redaction import Redactor
from utcp_bridge.cli.logs import change_level
from utcp_bridge.cli.opening import rules_of
from utcp_bridge.cli.options import Options
from utcp_bridge.client.reconfiguring import Reconfiguring
from utcp_bridge.configuration.changes import (
    ConfigurationChange,
    changes_between,
    fingerprint,
    stamps_of,
    variable_files,
)
from utcp_bridge.configuration.loading import LoadedConfig, load_config
from utcp_bridge.dialects.fields import safe_name
from utcp_bridge.errors import ConfigError, UtcpError
from utcp_bridge.late.records import dataclass
from utcp_bridge.manuals.registration import as_manual_entry
from utcp_bridge.model import Fault, JsonObject
from utcp_bridge.variables import Variables, load_variable_loaders

if TYPE_CHECKING:
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.net.files.local_file import Stamp
    from utcp_bridge.processes.ending import Ending
    from utcp_bridge.settings import BridgeSettings

__all__ = ["Follower", "following"]

_logger = logging.getLogger(__name__)
_USUAL_SECONDS: Final = 1.0
_STILL_SECONDS: Final = 0.25
"""A file that has not changed for so long is taken for written."""
_MAX_LOOKS: Final = 20
"""A file that is written all the time is read after this number of looks."""
_MAX_ERROR: Final = 600
"""Characters of an error in `/readyz`."""
_OF_RULES: Final = frozenset({"access_rules", "approvals", "rule_timeout"})

Stamps = Mapping[Path, "Stamp | None"]


@dataclass(slots=True)
class Reloaded:
    """What became of one reading."""

    change: ConfigurationChange = field(default_factory=ConfigurationChange)
    error: UtcpError | None = None
    again: Sequence[str] = ()
    """The manuals that are read again because of another change, such as that of a variable."""

    def as_json(self, client: UtcpClient) -> JsonObject:
        """Return it for `utcp-bridge reload`. Texts have no known secret."""
        error = None if self.error is None else client.redactor(str(self.error))
        names = {*self.change.added, *self.change.changed, *self.again, *_not_in_use(client)}
        manuals = {
            state.name: {"state": state.status, "tools": state.tools, "errors": [*map(client.redactor, state.errors)]}
            for state in client.report()
            if state.name in names
        }
        told: JsonObject = {**self.change.as_json(), "read_again": [*self.again], "error": error, "manuals": manuals}
        return {**told, "configuration": client.configuration}


class Follower:
    """Reads a configuration again, and lets a client take over what has changed."""

    def __init__(self, options: Options, loaded: LoadedConfig, client: UtcpClient) -> None:
        self._options = options
        self._sources = options.found()
        self._loaded = loaded
        self._started = loaded.config
        self._client = client
        self._turn = anyio.Lock()
        self._asked = anyio.Event()
        self._later: tuple[str, ...] = ()
        self._reasons: dict[str, str] = {}
        self._seen: Stamps = stamps_of(self._sources, self._others)
        self._loaded_at = datetime.now(UTC)
        if client.settings.transport == "http":
            self._note()

    def ask(self) -> None:
        """Read the configuration as soon as possible."""
        self._asked.set()

    async def run(self) -> None:
        """Look at the files, and read the configuration when one has changed or somebody has asked."""
        while True:
            seconds = self._client.settings.follow_configuration
            with anyio.move_on_after(None if seconds is False else _USUAL_SECONDS if seconds is True else seconds):
                await self._asked.wait()
            if self._asked.is_set():
                self._asked = anyio.Event()
                await self.read_again(is_asked=True)
            elif self._client.settings.follow_configuration is not False and await self._look() != self._seen:
                await self._settled()
                await self.read_again()

    async def read_again(self, *, is_asked: bool = False) -> Reloaded:
        """Read the configuration and take over what has changed. A fault changes nothing, and is logged.

        `is_asked`: also what has no file is looked at again, such as values that commands print.
        """
        async with self._turn:
            if self._client.configuration is None:
                self._note()
            before, self._seen = self._seen, await self._look()
            files = {*variable_files(self._loaded)}
            has_new_values = is_asked or any(before.get(path) != self._seen.get(path) for path in files)
            try:
                return await self._taken_over(await self._read(), has_new_values=has_new_values)
            except UtcpError as error:
                return self._refused(error)
            except Exception as error:  # a fault of the bridge itself must not end a server that works
                _logger.debug("Reading the configuration again failed.", exc_info=True)
                return self._refused(ConfigError(f"Internal error while reading it ({type(error).__name__})."))

    async def reloaded(self) -> JsonObject:
        """Read the configuration again, wait a while for all manuals that are read, and return what became of it."""
        done, client = await self.read_again(is_asked=True), self._client
        if done.error is None:
            await client.wait_loaded(client.settings.startup_wait)
        return done.as_json(client)

    async def _read(self) -> LoadedConfig:
        """Return the configuration as it is now.

        :raises ConfigError: it cannot be read, or has an error that it did not have before.
        """
        after = await load_config(self._sources, overrides=self._options.settings)
        known, faults = self._faults_of(self._loaded), self._faults_of(after)
        worse = next((one for one in faults if one.severity == "error" and one not in known), None)
        if worse is not None:
            raise ConfigError(f"{worse.where}: {worse.what}", remedy=worse.remedy or None)
        Variables(after.config.variables)
        return after

    def _faults_of(self, loaded: LoadedConfig) -> list[Fault]:
        """Return the faults of a configuration, with those of its variable loaders: manuals would lose their values."""
        return [*loaded.faults, *load_variable_loaders(loaded.config.load_variables_from, root=self._client.root)[1]]

    async def _taken_over(self, after: LoadedConfig, *, has_new_values: bool) -> Reloaded:
        client, config = self._client, after.config
        change = changes_between(self._loaded.config, config, client.settings, self._started)
        has_new_values = has_new_values or change.has_new_variables or "dotenv" in change.settings
        settings = self._checked(config.bridge, change.settings)
        has_ruling = not _OF_RULES.isdisjoint(change.settings)
        loaders = load_variable_loaders(config.load_variables_from, root=client.root)[0] if has_new_values else None
        also = Reconfiguring(
            settings=change.settings,
            own=client.settings,
            ruling=rules_of(settings, client.root, client.redactor) if has_ruling else None,
            has_ruling=has_ruling,
            loaders=loaders,
            env_files=after.env_files,
            has_new_values=has_new_values,
            commits=[prepare(settings, change.settings) for prepare in client.on_prepare] if change.settings else (),
        )
        await client.reconfigure(config, also)
        if "log_level" in change.settings:
            change_level(config.bridge.log_level)
        _logger.info("The configuration was read again: %s.", change)
        if change.later and change.later != self._later:
            _logger.warning("%s", change.sentence)
        self._later, self._reasons, self._loaded = change.later, change.reasons, after
        self._loaded_at = datetime.now(UTC)
        self._note()
        return Reloaded(change, again=also.read)

    def _checked(self, wanted: BridgeSettings, keys: Sequence[str]) -> BridgeSettings:
        """Return the settings that will be in use: those of now, with the values that are wanted for some keys.

        :raises ConfigError: they do not fit each other.
        """
        from utcp_bridge.access.budgets import read_budgets  # for a change alone

        settings = self._client.settings.model_copy()
        settings.take_over(wanted, keys)
        profiles = read_profiles(settings)
        read_budgets(settings.budgets)
        if "profiles" in keys and settings.access_rules:
            from utcp_bridge.access.rules import open_rules  # few configurations have rules

            open_rules(settings.access_rules, seconds=settings.rule_timeout, profiles=[one.name for one in profiles])
        return settings

    def _refused(self, error: UtcpError) -> Reloaded:
        text = self._client.redactor(str(error))
        _logger.warning("The changed configuration is not used: %s", text)
        before = self._client.configuration or {}
        self._client.configuration = {**before, "state": "refused", "error": text[:_MAX_ERROR]}
        return Reloaded(error=error)

    def _note(self) -> None:
        """Note what `/readyz` says of the configuration in use. Over stdio nobody asks before it is read again."""
        masked = Redactor()
        learn_configuration(masked, self._loaded.config)
        self._client.configuration = {
            "state": "current",
            "loaded_at": self._loaded_at.isoformat(timespec="seconds"),
            "hash": fingerprint(self._loaded.config, masked),
            **({"needs_restart": [*self._later], "restart_reasons": self._reasons} if self._later else {}),
        }

    def _others(self) -> Iterator[Path]:
        yield from variable_files(self._loaded)
        yield from self._loaded.files

    async def _look(self) -> Stamps:
        return await anyio.to_thread.run_sync(stamps_of, self._sources, self._others, abandon_on_cancel=True)

    async def _settled(self) -> None:
        """Wait until nothing is being written any more: a file may be half written, or away for a moment."""
        last: Stamps = {}
        for _ in range(_MAX_LOOKS):
            now = await self._look()
            if now == last:
                return
            last = now
            await anyio.sleep(_STILL_SECONDS)


def _not_in_use(client: UtcpClient) -> set[str]:
    """Return the names of the manuals whose changed entries are not in use yet."""
    written = {safe_name(str(entry.get("name"))): entry for entry in client.config.manual_call_templates}
    return {
        state.name
        for state in client.report()
        if state.name in written and as_manual_entry(written[state.name]).template != state.entry.template
    }


@asynccontextmanager
async def following(
    options: Options, loaded: LoadedConfig, client: UtcpClient, ending: Ending, *, survives: bool
) -> AsyncGenerator[Follower]:
    """Follow the configuration until the end of the context. `survives`: SIGHUP reads it, and does not end a server."""
    follower = Follower(options, loaded, client)
    hangups = ending.at_hangup(follower.ask) if survives else nullcontext()
    async with anyio.create_task_group() as group:
        group.start_soon(follower.run)
        with hangups:
            yield follower
        group.cancel_scope.cancel()
