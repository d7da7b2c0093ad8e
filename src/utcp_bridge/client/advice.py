"""What an error of a call says besides: the tool whose template is wrong, and the credentials that were refused."""

from __future__ import annotations

from typing import Final

from utcp_bridge.errors import ConfigError, Rejected, UtcpError
from utcp_bridge.model import Tool
from utcp_bridge.variables import variable_names

__all__ = ["add_advice"]

_REFUSED: Final = frozenset({401, 4401, "UNAUTHENTICATED"})
"""Statuses of HTTP, WebSocket and gRPC for credentials that are missing, wrong or expired."""


def add_advice(error: UtcpError, tool: Tool, *, has_credentials: bool) -> None:
    """Complete the error of a call. `has_credentials` says whether the request had any from `auth`."""
    if isinstance(error, ConfigError) and tool.name not in error.message:
        error.message = f"{tool.qualified_name}: {error.message}"  # a limit of templates, for example
    if not isinstance(error, Rejected) or error.status not in _REFUSED or error.remedy is not None:
        return
    if not has_credentials:
        error.remedy = f"Check the headers and `auth` of the manual {tool.manual!r}."
        return
    names = ", ".join(variable_names(tool.template.get("auth")))
    renew = f" Renew the value of {names}." if names else " Renew them."
    error.remedy = f"The service refused the credentials of the manual {tool.manual!r}.{renew}"
