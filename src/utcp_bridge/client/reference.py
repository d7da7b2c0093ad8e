"""Methods of `UtcpClient` under the names that the UTCP reference libraries give them (python-utcp 0.2 and 1.x)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self

from utcp_bridge.configuration.loading import as_entry
from utcp_bridge.errors import ManualError, UnknownTool
from utcp_bridge.manuals.variables_needed import names_in_template, variables_of_tools
from utcp_bridge.model import JsonObject, Tool
from utcp_bridge.settings import UtcpClientConfig
from utcp_bridge.transports.registry import TransportRegistry
from utcp_bridge.variables import flat_key

if TYPE_CHECKING:
    from utcp_bridge.manuals.registration import ManualState

__all__ = ["ReferenceApi", "Template", "as_mapping"]


class _Model(Protocol):
    def model_dump(self, *, exclude_none: bool) -> dict[str, Any]: ...


Template = Mapping[str, Any] | _Model
"""A call template or provider: any mapping, or any pydantic model of one."""


def as_mapping(template: Template) -> Mapping[str, Any]:
    """The template as a mapping."""
    return template if isinstance(template, Mapping) else template.model_dump(exclude_none=True)


class ReferenceApi:
    """What `UtcpClient` inherits; everything here is said in terms of the client's own methods."""

    if TYPE_CHECKING:
        config: UtcpClientConfig

        def tools(self) -> Sequence[Tool]: ...
        def find(self, name: str) -> Tool | None: ...
        async def register_manual(self, template: Template) -> ManualState: ...
        async def deregister_manual(self, name: str) -> bool: ...
        @classmethod
        async def create(cls, config: Any = None, *, wait: float | None = None) -> Self: ...
        async def aclose(self) -> None: ...

    async def register_tool_provider(self, manual_provider: Template) -> list[Tool]:
        """Register a provider (v0.2) and return its tools.

        :raises UtcpError: it could not be loaded, or none of its tools can be used; nothing stays registered then.
        """
        state = await self.register_manual(manual_provider)
        error = state.error or _unusable(state)
        if error is not None:
            await self.deregister_manual(state.name)
            raise error
        return [tool for tool in self.tools() if tool.manual == state.name]

    async def register_manual_provider(self, manual_provider: Template) -> list[Tool]:
        """`register_tool_provider` under its other name."""
        return await self.register_tool_provider(manual_provider)

    async def deregister_tool_provider(self, provider_name: str) -> bool:
        """Forget a provider and its tools (v0.2); False if there is none of this name."""
        return await self.deregister_manual(provider_name)

    async def list_tools(self) -> list[Tool]:
        """Every live tool, ordered by UTCP name."""
        return list(self.tools())

    async def get_required_variables_for_manual_and_tools(self, manual_call_template: Template) -> list[str]:
        """Keys of every variable that a manual's template and its tools name, whether set or not (v1).

        The manual is loaded for it, by a client of its own that is closed again.

        :raises ConfigError: it is no call template.
        """
        entry = as_entry(as_mapping(manual_call_template), known_fields=TransportRegistry().fields)
        name = entry.name
        needed = dict.fromkeys(flat_key(name, one) or one for one in names_in_template(entry.template))
        scratch = self.config.model_copy(update={"manual_call_templates": (entry.template,), "registries": ()})
        client = await type(self).create(scratch)
        try:
            needed |= dict.fromkeys(variables_of_tools(map(_as_object, client.tools()), name))
        finally:
            await client.aclose()
        return list(needed)

    async def get_required_variables_for_registered_tool(self, tool_name: str) -> list[str]:
        """Keys of every variable that a registered tool names (v1).

        :raises UnknownTool: no tool has this name.
        """
        tool = self.find(tool_name)
        if tool is None:
            raise UnknownTool(f"There is no tool {tool_name!r}.")
        return list(variables_of_tools([_as_object(tool)], tool.manual))


def _unusable(state: ManualState) -> ManualError | None:
    """Why a manual gave no tool, if it has some; a list without tools would not tell."""
    fault = next((fault for fault in state.faults if fault.severity == "error"), None)
    if state.tools or fault is None:
        return None
    return ManualError(
        f"No tool of manual {state.name!r} can be used. {fault.where}: {fault.what}", remedy=fault.remedy
    )


def _as_object(tool: Tool) -> JsonObject:
    return {"name": tool.name, "inputs": tool.inputs, "tool_call_template": tool.template}
