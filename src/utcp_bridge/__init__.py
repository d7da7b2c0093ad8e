"""One MCP server for every UTCP tool, and a complete UTCP client as a Python library.

    from utcp_bridge import UtcpClient

    client = await UtcpClient.create("providers.json")
    print(await client.call_tool("weather.get_forecast", {"city": "Paris"}))

Importing the package loads nothing heavy; each public name brings its own module along.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
"""The one place that states the version; the build reads it from here."""

if TYPE_CHECKING:
    from utcp_bridge.client.client import Extensions, UtcpClient
    from utcp_bridge.client.sync import ToolInfo, UTCPClient
    from utcp_bridge.convert import openapi_to_utcp
    from utcp_bridge.errors import UtcpError
    from utcp_bridge.model import Binary, CallTemplate, Document, Result, Tool
    from utcp_bridge.providing import ToolServer, add_manual
    from utcp_bridge.registry.client import AsyncUTCPRegistry, UTCPRegistry
    from utcp_bridge.settings import BridgeSettings, UtcpClientConfig
    from utcp_bridge.transport import Transport

__all__ = [
    "AsyncUTCPRegistry",
    "Binary",
    "BridgeSettings",
    "CallTemplate",
    "Document",
    "Extensions",
    "Result",
    "Tool",
    "ToolInfo",
    "ToolServer",
    "Transport",
    "UTCPClient",
    "UTCPRegistry",
    "UtcpClient",
    "UtcpClientConfig",
    "UtcpError",
    "__version__",
    "add_manual",
    "openapi_to_utcp",
]

_HOMES = {
    "AsyncUTCPRegistry": "registry.client",
    "Binary": "model",
    "BridgeSettings": "settings",
    "CallTemplate": "model",
    "Document": "model",
    "Extensions": "client.client",
    "Result": "model",
    "Tool": "model",
    "ToolInfo": "client.sync",
    "ToolServer": "providing",
    "Transport": "transport",
    "UTCPClient": "client.sync",
    "UTCPRegistry": "registry.client",
    "UtcpClient": "client.client",
    "UtcpClientConfig": "settings",
    "UtcpError": "errors",
    "add_manual": "providing",
    "openapi_to_utcp": "convert",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
