"""Names of the UTCP reference library (python-utcp 0.2 and 1.x) for what the client has under its own names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeAlias, TypedDict

import anyio

from utcp_bridge.configuration.loading import ConfigLike, Template, as_entry
from utcp_bridge.errors import ConfigError
from utcp_bridge.manuals.registration import ManualState
from utcp_bridge.manuals.repository import ToolRepository
from utcp_bridge.manuals.variables_needed import names_in_template, variables_of_tools
from utcp_bridge.model import Tool
from utcp_bridge.search import ToolSearchStrategy
from utcp_bridge.settings import UtcpClientConfig
from utcp_bridge.transports.registry import TransportRegistry
from utcp_bridge.variables import flat_key

__all__ = ["Arguments", "ReferenceKeywords", "ReferenceNames", "parts_of_keywords"]

Arguments: TypeAlias = Mapping[str, Any] | str | None
"""The arguments of a call: a mapping, or JSON text, as models write it."""


class ReferenceKeywords(TypedDict, total=False):
    """Keywords of `UtcpClient.create` as in the reference library."""

    root_dir: str | Path | None
    """The folder where relative paths start (v1)."""
    tool_repository: ToolRepository | None
    """The same as `Extensions.repository` (v0.2)."""
    search_strategy: ToolSearchStrategy | None
    """The same as `Extensions.search_strategy` (v0.2)."""


class ReferenceNames(ABC):
    """Methods of the client under the names of the reference library."""

    config: UtcpClientConfig
    repository: ToolRepository

    @classmethod
    @abstractmethod
    async def create(cls, config: ConfigLike = None) -> Self:
        """Open a client and load every manual of its configuration."""

    @abstractmethod
    async def aclose(self) -> None:
        """Cancel running calls and tasks; close every transport, connection and child process."""

    @abstractmethod
    async def register_manual(self, template: Template) -> ManualState:
        """Register one manual, and wait for its tools."""

    @abstractmethod
    async def deregister_manual(self, name: str) -> bool:
        """Remove a manual and its tools. Return False if no manual has this name."""

    @abstractmethod
    def tools(self) -> Sequence[Tool]:
        """Return every live tool, ordered by UTCP name."""

    @abstractmethod
    def find_tool(self, tool: str | Tool) -> Tool:
        """Return the tool of this UTCP name, or of this own name if only one manual has it."""

    @property
    def tool_repository(self) -> ToolRepository:
        """The store of the live tools (v0.2)."""
        return self.repository

    async def close(self) -> None:
        """Do the same as `aclose`."""
        await self.aclose()

    async def register_manuals(self, manual_call_templates: Sequence[Template]) -> list[ManualState]:
        """Register several manuals at once (v1). Return their states, in the same order.

        :raises ConfigError: a template has no usable name or type, or another manual has its name. The other manuals
            are registered then.
        """
        states: dict[int, ManualState] = {}
        errors: list[ConfigError] = []

        async def register(number: int, template: Template) -> None:
            try:
                states[number] = await self.register_manual(template)
            except ConfigError as error:
                errors.append(error)

        async with anyio.create_task_group() as group:
            for number, template in enumerate(manual_call_templates):
                group.start_soon(register, number, template)
        if errors:
            raise errors[0]
        return [state for _, state in sorted(states.items())]

    async def register_tool_provider(self, manual_provider: Template) -> list[Tool]:
        """Register a provider (v0.2) and return its tools.

        :raises UtcpError: the provider could not be loaded, or none of its tools can be used. It is not registered
            then.
        """
        state = await self.register_manual(manual_provider)
        error = state.error or state.unusable
        if error is not None:
            await self.deregister_manual(state.name)
            raise error
        return [tool for tool in self.tools() if tool.manual == state.name]

    async def register_manual_provider(self, manual_provider: Template) -> list[Tool]:
        """Register a provider and return its tools: another name of `register_tool_provider`."""
        return await self.register_tool_provider(manual_provider)

    async def deregister_tool_provider(self, provider_name: str) -> bool:
        """Remove a provider and its tools (v0.2). Return False if no provider has this name."""
        return await self.deregister_manual(provider_name)

    async def list_tools(self) -> list[Tool]:
        """Return every live tool, ordered by UTCP name."""
        return list(self.tools())

    async def get_required_variables_for_manual_and_tools(self, manual_call_template: Template) -> list[str]:
        """Return the keys of every variable that a manual's template and its tools name, set or not (v1).

        A second client loads the manual for this, and is closed again.

        :raises ConfigError: the template is not valid.
        """
        entry = as_entry(manual_call_template, known_fields=TransportRegistry().fields)
        needed = dict.fromkeys(flat_key(entry.name, one) or one for one in names_in_template(entry.template))
        scratch = self.config.model_copy(update={"manual_call_templates": (entry.template,), "registries": ()})
        client = await type(self).create(scratch)
        try:
            needed |= dict.fromkeys(variables_of_tools(client.tools(), entry.name))
        finally:
            await client.aclose()
        return list(needed)

    async def get_required_variables_for_registered_tool(self, tool_name: str | Tool) -> list[str]:
        """Return the keys of every variable that a registered tool names (v1).

        :raises UnknownTool: no tool has this name.
        """
        tool = self.find_tool(tool_name)
        return list(variables_of_tools([tool], tool.source.owner))

    async def get_required_variables_for_tool(self, tool_name: str | Tool) -> list[str]:
        """Do the same as `get_required_variables_for_registered_tool` (v0.2)."""
        return await self.get_required_variables_for_registered_tool(tool_name)


def parts_of_keywords(root: Path | None, given: ReferenceKeywords) -> tuple[Path | None, dict[str, Any]]:
    """Return the folder of a client, and its parts by their names in `Extensions`, from these keywords.

    :raises TypeError: a keyword has another name.
    """
    if unknown := set(given) - ReferenceKeywords.__optional_keys__:
        raise TypeError(f"create() got an unexpected keyword argument {min(unknown)!r}")
    folder = given.get("root_dir")
    named = {"repository": given.get("tool_repository"), "search_strategy": given.get("search_strategy")}
    return root if folder is None else Path(folder), {name: part for name, part in named.items() if part}
