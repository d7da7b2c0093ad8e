"""How a call looks on the wire, without making it; and errors with what helps and without the secrets of upstreams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from utcp_bridge.auth.redaction import Redactor
from utcp_bridge.errors import ConfigError, Rejected, UtcpError
from utcp_bridge.manuals.registration import Registration
from utcp_bridge.model import Call, Emit, JsonObject, Result, Tool, Trust, discard, is_list, is_object
from utcp_bridge.net.preview import NativeRequest, Visible
from utcp_bridge.pipeline import Layer, compose
from utcp_bridge.variables import variable_names

__all__ = [
    "Explainer",
    "add_advice",
    "redact_error",
]


class Explainer:
    """Builds the request of a call with the code that calls, and does not send it."""

    def __init__(self, registration: Registration, redactor: Redactor, layers: Sequence[Layer]) -> None:
        self._registration = registration
        self._redactor = redactor
        self._layers = layers

    async def explain(self, tool: Tool, arguments: JsonObject, *, show_values: bool) -> NativeRequest:
        """Return the request without its secrets. See `UtcpClient.explain`."""
        try:
            explained = await compose(tool, self._layers, self._build)(Call(tool, arguments), discard)
        except UtcpError as error:
            redact_error(error, self._redactor)
            raise
        request: NativeRequest = explained.value[0]
        is_public = tool.source.trust is Trust.REMOTE and tool.overlay is None
        if not show_values and not is_public:  # the schema that hosts see contains the defaults of arguments
            request = request.hidden(Visible.of(tool, explained.value[1]), is_command=tool.kind == "cli")
        return request.masked(self._redactor)

    async def _build(self, call: Call, _emit: Emit) -> Result:
        target = self._registration.bind(call.tool)
        if target.credentials is not None:
            self._redactor.learn(target.credentials.secrets(), force=True)
        request = await self._registration.transport(call.tool.kind).explain(target, call)
        return Result((request, call.arguments))


def redact_error(error: UtcpError, redactor: Redactor) -> None:
    """Remove known secrets from everything that a caller will see: upstreams send back what they received."""
    error.message = redactor(error.message)
    error.remedy = redactor(error.remedy) if error.remedy else None
    if isinstance(error, Rejected):
        error.detail = _clean(error.detail, redactor)


def _clean(value: Any, redactor: Redactor) -> Any:
    if isinstance(value, str):
        return redactor(value)
    if is_object(value):
        return {key: _clean(member, redactor) for key, member in value.items()}
    return [_clean(member, redactor) for member in value] if is_list(value) else value


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
