"""Hints of tools (MCP annotations): what is listed of those that a document or a server states (pure).

Hosts ask a person before a call unless the hints say that it does no harm. So the word of a stranger counts only where
it makes a tool look more dangerous than its call template does. The operator's word counts in full: overrides, tools
in the configuration itself, servers that the operator starts on this machine, and manuals with `trusted: true`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from utcp_bridge.dialects import RawTool
from utcp_bridge.model import Source, Trust
from utcp_bridge.placement.compiling import CallTemplate
from utcp_bridge.transport import Transport

__all__ = ["hints_of_template", "is_repeatable", "stated_hints", "template_of"]

_HARMLESS: Final = {"readOnlyHint": True, "destructiveHint": False, "idempotentHint": True, "openWorldHint": False}
"""The value of each hint that makes a tool look harmless."""
AnyTransport = type[Transport[Any]]


def template_of(raw: RawTool, transport: AnyTransport) -> CallTemplate | None:
    """Return a tool's template before its variables are filled in; None if it is not valid then."""
    try:
        return transport.template.model_validate({**raw.template, **(raw.overlay or {})})
    except ValidationError:
        return None


def hints_of_template(transport: AnyTransport, template: CallTemplate | None) -> Mapping[str, Any]:
    """Return the hints that follow from a template; none if it is not valid."""
    return {} if template is None else transport.annotations(template)


def stated_hints(
    raw: RawTool, source: Source, transport: AnyTransport, template: CallTemplate | None, known: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the hints of a tool, without the operator's overrides; `known` are those of its template."""
    if _is_believed(raw, source, transport, template):
        return {**known, **raw.annotations}
    kept = dict(known)
    for name, harmless in _HARMLESS.items():
        if raw.annotations.get(name) is (not harmless):
            kept[name] = not harmless
    if raw.annotations.get("destructiveHint") is True and "readOnlyHint" in kept:
        kept["readOnlyHint"] = False
    return kept


def is_repeatable(raw: RawTool, source: Source, known: Mapping[str, Any]) -> bool:
    """Return whether a failed call may be sent again: by its template or by the operator, never by a stranger."""
    own: Mapping[str, Any] = raw.annotations if _is_operators(raw, source) else {}
    hints = {**known, **own, **raw.decided}
    return bool(hints.get("idempotentHint") or hints.get("readOnlyHint"))


def _is_operators(raw: RawTool, source: Source) -> bool:
    """Return whether the operator wrote the tool: it is in the configuration itself."""
    return source.trust is Trust.OPERATOR and not source.from_file and raw.overlay is None


def _is_believed(raw: RawTool, source: Source, transport: AnyTransport, template: CallTemplate | None) -> bool:
    if source.trusted or _is_operators(raw, source):
        return True
    return source.trust is Trust.OPERATOR and template is not None and transport.starts_program(template)
