"""The words of MCP that are needed before the SDK is imported. A test compares each with the SDK's."""

from __future__ import annotations

from typing import Final, TypeAlias

__all__ = [
    "CLIENT_CAPABILITIES_META_KEY",
    "CLIENT_INFO_META_KEY",
    "CONNECTION_CLOSED",
    "DEFAULT_LEVEL",
    "HANDSHAKE_PROTOCOL_VERSIONS",
    "INTERNAL_ERROR",
    "INVALID_PARAMS",
    "LOGGING_LEVELS",
    "MODERN_PROTOCOL_VERSIONS",
    "PROTOCOL_VERSION_META_KEY",
    "SERVER_INFO_META_KEY",
    "ProgressToken",
    "RequestId",
    "same_id",
]

RequestId: TypeAlias = str | int
ProgressToken: TypeAlias = str | int

HANDSHAKE_PROTOCOL_VERSIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
MODERN_PROTOCOL_VERSIONS: Final = ("2026-07-28",)
PROTOCOL_VERSION_META_KEY: Final = "io.modelcontextprotocol/protocolVersion"
CLIENT_INFO_META_KEY: Final = "io.modelcontextprotocol/clientInfo"
CLIENT_CAPABILITIES_META_KEY: Final = "io.modelcontextprotocol/clientCapabilities"
SERVER_INFO_META_KEY: Final = "io.modelcontextprotocol/serverInfo"
LOGGING_LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
DEFAULT_LEVEL: Final = "info"
"""The lowest level of log messages that a session receives without having set one."""
INVALID_PARAMS: Final = -32_602
INTERNAL_ERROR: Final = -32_603
CONNECTION_CLOSED: Final = -32_000


def same_id(ident: RequestId) -> RequestId:
    """Return an id in the form by which ids are compared: "7" and 7 are one."""
    if isinstance(ident, str):
        if ident.islower() or ident.isupper():  # a letter is in it: to raise and catch an error takes ten times as long
            return ident
        try:
            return int(ident)
        except ValueError:
            return ident
    return ident
