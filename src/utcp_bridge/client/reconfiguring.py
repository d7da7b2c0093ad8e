"""What a client takes over from a configuration that was read again, besides its manuals."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import field
from typing import Final

import anyio.to_thread

from utcp_bridge.auth.literals import learn_configuration
from utcp_bridge.auth.redaction import Redactor
from utcp_bridge.late.records import dataclass
from utcp_bridge.pipeline.ruling import RulingPort, Rulings
from utcp_bridge.settings import BridgeSettings, UtcpClientConfig
from utcp_bridge.variables import EnvFile, VariableLoader, Variables

__all__ = ["Reconfiguring"]

_READ_AGAIN: Final = frozenset({"max_manual_bytes", "max_tools", "deadline_header", "refresh_interval"})
"""Settings that a manual has since it was read: with another value, all manuals are read again."""


@dataclass(frozen=True, slots=True)
class Reconfiguring:
    """What `UtcpClient.reconfigure` takes over. All of it was checked before, so that it is applied as a whole."""

    settings: tuple[str, ...] = ()
    """The keys of the settings that get the values of the new configuration."""
    own: BridgeSettings | None = field(default=None, repr=False)
    """The settings of the client; None: they stay as they are."""
    ruling: RulingPort | None = field(default=None, repr=False)
    """What enforces `access.rules`, if they are among the settings."""
    has_ruling: bool = False
    """Whether `ruling` replaces the rules before; None then means that there are none any more."""
    loaders: Sequence[VariableLoader] | None = field(default=None, repr=False)
    """The sources of `load_variables_from`; None leaves those that are in use."""
    env_files: Sequence[EnvFile] | None = field(default=None, repr=False)
    commits: Sequence[Callable[[], Awaitable[None]]] = ()
    """What parts of the program have prepared (`UtcpClient.on_prepare`)."""
    has_new_values: bool = False
    """Whether variables may have other values than before."""

    read: list[str] = field(default_factory=list[str])
    """Receives the names of the manuals whose entries have not changed and that are read again."""

    @property
    def reads_again(self) -> bool:
        """Whether all manuals are read again, because of settings that they have since they were read."""
        return not _READ_AGAIN.isdisjoint(self.settings)

    async def apply(
        self, config: UtcpClientConfig, variables: Variables, rulings: Rulings, redactor: Redactor
    ) -> UtcpClientConfig:
        """Take over what is not a manual, and return the configuration with the settings that are in use.

        Commands that print the values of variables run first, in a thread.
        """
        learn_configuration(redactor, config)
        if self.loaders is not None:
            await anyio.to_thread.run_sync(Variables(loaders=self.loaders).run_commands)
            variables.loaders = self.loaders
        if self.env_files is not None:
            variables.env_files = self.env_files
        variables.reconfigure(config.variables)
        if self.has_ruling:
            rulings.ruling = self.ruling
        if self.own is None:
            return config
        self.own.take_over(config.bridge, self.settings)
        return config.model_copy(update={"bridge": self.own})
