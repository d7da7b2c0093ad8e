"""The import hook: modules of the reference library and its plugins, whose names are looked up in one namespace each.

The modules of 0.x are below `utcp.client` and `utcp.shared`, those of 1.x elsewhere, so that both fit into one process.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

__all__ = ["MODULES", "install", "uninstall"]

_V0: Final = "v0"
_V1: Final = "v1"
_GUIDES: Final = "guides"
_TRANSPORTS: Final = ("cli", "graphql", "http", "mcp", "sse", "streamable_http", "tcp", "text", "udp")
_PLUGINS: Final = {
    "cli": ("cli",),
    "file": ("file",),
    "gql": ("gql",),
    "http": ("http", "sse", "streamable_http"),
    "mcp": ("mcp",),
    "socket": ("tcp", "udp"),
    "text": ("text",),
    "websocket": ("websocket",),
}


_MODULES_OF_V0: Final = (
    "client",
    "client.client_transport_interface",
    "client.openapi_converter",
    "client.tool_repositories",
    "client.tool_repositories.in_mem_tool_repository",
    "client.tool_repository",
    "client.tool_search_strategies",
    "client.tool_search_strategies.tag_search",
    "client.tool_search_strategy",
    "client.transport_interfaces",
    *(f"client.transport_interfaces.{name}_transport" for name in _TRANSPORTS),
    "client.utcp_client",
    "client.utcp_client_config",
    "client.variable_substitutor",
    "shared",
    *(f"shared.{name}" for name in ("auth", "provider", "tool", "utcp_manual")),
    "version",
)
_MODULES_OF_V1: Final = (
    "data",
    "data.auth",
    "data.auth_implementations",
    *(f"data.auth_implementations.{name}_auth" for name in ("api_key", "basic", "oauth2")),
    *(f"data.{name}" for name in ("call_template", "register_manual_response", "tool", "utcp_client_config")),
    "data.utcp_manual",
    "data.variable_loader",
    "data.variable_loader_implementations",
    "data.variable_loader_implementations.dot_env_variable_loader",
    "exceptions",
    *(f"exceptions.utcp_{name}" for name in ("protocol_close_error", "serializer_validation_error")),
    "exceptions.utcp_variable_not_found_exception",
    "implementations",
    *(f"implementations.{name}" for name in ("default_variable_substitutor", "in_mem_tool_repository")),
    "implementations.post_processors",
    *(f"implementations.post_processors.{name}_post_processor" for name in ("filter_dict", "limit_strings")),
    *(f"implementations.{name}" for name in ("tag_search", "utcp_client_implementation")),
    "interfaces",
    *(f"interfaces.{name}" for name in ("communication_protocol", "concurrent_tool_repository", "serializer")),
    *(f"interfaces.{name}" for name in ("tool_post_processor", "tool_search_strategy", "variable_substitutor")),
    "plugins",
    "plugins.discovery",
    "plugins.plugin_loader",
    "python_specific_tooling",
    "python_specific_tooling.tool_decorator",
    "python_specific_tooling.version",
    "utcp_client",
)


def _modules() -> dict[str, str]:
    """Return each module's name, with the namespace that its names are in."""
    found = {"utcp": _GUIDES, "utcp.converters": _GUIDES, "utcp.adapters": _GUIDES, "utcp.adapters.langchain": _GUIDES}
    found |= {f"utcp.{name}": _V0 for name in _MODULES_OF_V0} | {f"utcp.{name}": _V1 for name in _MODULES_OF_V1}
    for plugin, kinds in _PLUGINS.items():
        found[f"utcp_{plugin}"] = _V1
        for kind in kinds:
            found |= {f"utcp_{plugin}.{kind}_{part}": _V1 for part in ("call_template", "communication_protocol")}
    return found | {"utcp_http.openapi_converter": _V1}


MODULES: Final[Mapping[str, str]] = _modules()
"""The modules that exist under the hook, and the generation of each: `v0`, `v1`, or `guides` for what both have."""


@cache
def _namespace(generation: str) -> Mapping[str, Any]:
    names: Mapping[str, Any] = import_module(f"utcp_bridge.compat.{generation}").NAMES
    return names


class _Module(ModuleType):
    """A module whose names come from a namespace when they are first used."""

    def __getattr__(self, name: str) -> Any:
        is_public = not name.startswith("__") or name == "__version__"
        names: Mapping[str, Any] = _namespace(MODULES[self.__name__]) if is_public else {}
        if name not in names:
            raise AttributeError(f"module {self.__name__!r} of utcp_bridge.compat has no {name!r}.")
        value: Any = names[name]
        setattr(self, name, value)
        return value


class _Finder(MetaPathFinder, Loader):
    """Finds the modules of the reference library, before any that is installed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        del path, target
        return ModuleSpec(fullname, self, is_package=True) if fullname in MODULES else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: names come when they are used."""


_FINDER: Final = _Finder()


def install() -> None:
    """Let imports of the reference library's modules resolve to this package. A second call changes nothing.

    :raises ImportError: the reference library itself was imported before.
    """
    for name in MODULES:
        if name in sys.modules and not isinstance(sys.modules[name], _Module):
            raise ImportError(f"{name} was imported before utcp_bridge.compat.install(). Call install() first.")
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)


def uninstall() -> None:
    """Undo `install`. Names that a program has imported stay as they are."""
    if _FINDER in sys.meta_path:
        sys.meta_path.remove(_FINDER)
    for name in MODULES:
        if isinstance(sys.modules.get(name), _Module):
            del sys.modules[name]
