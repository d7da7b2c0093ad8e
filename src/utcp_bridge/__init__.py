"""One MCP server for every UTCP tool, and a complete UTCP client as a Python library.

    from utcp_bridge import UtcpClient

    async with await UtcpClient.create("providers.json") as client:
        print(await client.call_tool("weather.get_forecast", {"city": "Paris"}))

The public modules are `utcp_bridge`, `utcp_bridge.errors`, `utcp_bridge.providers`, `utcp_bridge.transport` and
`utcp_bridge.testing`, each with its `__all__`; `utcp_bridge.adapters.langchain` and `utcp_bridge.compat` are public
too. All other modules are private: they may change in any release.

Importing the package loads nothing heavy. Each public name loads its module when it is first used.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if sys.version_info < (3, 11):  # noqa: UP036 - in a checkout, pip does not look at the version
    _found = ".".join(map(str, sys.version_info[:2]))
    _why = f"utcp_bridge: this is Python {_found}, and 3.11 or later is needed. Start it with another one."
    raise SystemExit(_why) if sys.argv[:1] == ["-m"] else ImportError(_why)

__version__ = "0.1.0"
"""The version of the distribution; the build reads it from here."""

if TYPE_CHECKING:
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.client.extensions import Extensions
    from utcp_bridge.client.sync import SyncUtcpClient, ToolInfo, UTCPClient
    from utcp_bridge.convert import openapi_to_utcp
    from utcp_bridge.errors import (
        AuthRequired,
        Busy,
        CallerError,
        CircuitOpen,
        ConfigError,
        ConnectionLost,
        DeadlineExceeded,
        InternalError,
        InvalidArguments,
        LoginFailed,
        MalformedReply,
        ManualError,
        MissingExtra,
        OperatorError,
        PolicyError,
        Rejected,
        ReplyTooLarge,
        StaleCursor,
        TokenError,
        Unexplainable,
        UnknownTool,
        Unreachable,
        UpstreamError,
        UtcpError,
        VariableNotFound,
    )
    from utcp_bridge.manuals.registration import ManualState
    from utcp_bridge.model import Binary, Call, ContentBlocks, Document, Emit, Fault, Result, Tool
    from utcp_bridge.placement.compiling import CallTemplate
    from utcp_bridge.providing import ToolServer, add_manual
    from utcp_bridge.registry.client import AsyncUTCPRegistry, UTCPRegistry
    from utcp_bridge.search import Hit
    from utcp_bridge.settings import BridgeSettings, UtcpClientConfig
    from utcp_bridge.transport import Services, Target, Transport
    from utcp_bridge.upstream import CallingHost, ProtocolError

__all__ = [
    "AsyncUTCPRegistry",
    "AuthRequired",
    "Binary",
    "BridgeSettings",
    "Busy",
    "Call",
    "CallTemplate",
    "CallerError",
    "CallingHost",
    "CircuitOpen",
    "ConfigError",
    "ConnectionLost",
    "ContentBlocks",
    "DeadlineExceeded",
    "Document",
    "Emit",
    "Extensions",
    "Fault",
    "Hit",
    "InternalError",
    "InvalidArguments",
    "LoginFailed",
    "MalformedReply",
    "ManualError",
    "ManualState",
    "MissingExtra",
    "OperatorError",
    "PolicyError",
    "ProtocolError",
    "Rejected",
    "ReplyTooLarge",
    "Result",
    "Services",
    "StaleCursor",
    "SyncUtcpClient",
    "Target",
    "TokenError",
    "Tool",
    "ToolInfo",
    "ToolServer",
    "Transport",
    "UTCPClient",
    "UTCPRegistry",
    "Unexplainable",
    "UnknownTool",
    "Unreachable",
    "UpstreamError",
    "UtcpClient",
    "UtcpClientConfig",
    "UtcpError",
    "VariableNotFound",
    "__version__",
    "add_manual",
    "openapi_to_utcp",
]

_HOMES = {
    "AsyncUTCPRegistry": "registry.client",
    "AuthRequired": "errors",
    "Binary": "model",
    "BridgeSettings": "settings",
    "Busy": "errors",
    "CircuitOpen": "errors",
    "Call": "model",
    "CallTemplate": "placement.compiling",
    "CallerError": "errors",
    "CallingHost": "upstream",
    "ConfigError": "errors",
    "ConnectionLost": "errors",
    "ContentBlocks": "model",
    "DeadlineExceeded": "errors",
    "Document": "model",
    "Emit": "model",
    "Extensions": "client.client",
    "Fault": "model",
    "Hit": "search",
    "InternalError": "errors",
    "InvalidArguments": "errors",
    "LoginFailed": "errors",
    "MalformedReply": "errors",
    "ManualError": "errors",
    "ManualState": "manuals.registration",
    "MissingExtra": "errors",
    "OperatorError": "errors",
    "PolicyError": "errors",
    "ProtocolError": "upstream",
    "Rejected": "errors",
    "ReplyTooLarge": "errors",
    "Result": "model",
    "Services": "transport",
    "StaleCursor": "errors",
    "SyncUtcpClient": "client.sync",
    "Target": "transport",
    "TokenError": "errors",
    "Tool": "model",
    "ToolInfo": "client.sync",
    "ToolServer": "providing",
    "Transport": "transport",
    "UTCPClient": "client.sync",
    "UTCPRegistry": "registry.client",
    "Unexplainable": "errors",
    "UnknownTool": "errors",
    "Unreachable": "errors",
    "UpstreamError": "errors",
    "UtcpClient": "client.client",
    "UtcpClientConfig": "settings",
    "UtcpError": "errors",
    "VariableNotFound": "errors",
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
