"""One call template (v0: provider) of any dialect in v1 names, units and auth fields."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from utcp_bridge.dialects import v0, v1
from utcp_bridge.dialects.auth_forms import rewrite_auth
from utcp_bridge.dialects.extended import TEMPLATE_FIELDS as EXTENDED_FIELDS
from utcp_bridge.dialects.fields import nearest, seconds, sort_of, word
from utcp_bridge.dialects.readings import Notes
from utcp_bridge.dialects.shapes import kind_key
from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = ["KnownFields", "read_protocols", "read_template", "warn_of_unknown_fields"]

KnownFields: TypeAlias = Callable[[str], frozenset[str] | None]
"""Returns the fields (aliases included) of a kind's call template; None for a kind that no transport serves."""

_HINTS = (
    ("config", "mcp"),
    ("server_url", "mcp"),
    ("signaling_server", "webrtc"),
    ("service_name", "grpc"),
    ("framing_strategy", "tcp"),
    ("number_of_response_datagrams", "udp"),
    ("commands", "cli"),
    ("command_name", "cli"),
    ("command", "cli"),
    ("file_path", "file"),
    ("operation_type", "graphql"),
    ("url", "http"),
)


def read_template(raw: Any, where: str, notes: Notes, *, beside: JsonObject | None = None) -> JsonObject | None:
    """Return a template in v1 names: canonical type, `timeout` in seconds, `auth` in the official fields.

    `beside` is the object that contains the template; a template without `auth` uses that of this object. If the
    template has no type or cannot be read, the result is None, and an error is in `notes`.
    """
    if not is_object(raw):
        notes.error(where, f"the call template is {sort_of(raw)}, not an object.")
        return None
    key = kind_key(raw)
    kind = raw.get(key) if key else None
    if not isinstance(kind, str) or not kind:
        notes.error(where, "the call template has no `call_template_type`.", _guess(raw))
        return None
    notes.dialects.add("v0" if key != "call_template_type" else "v1")
    template = v0.rename_template(raw, kind)
    if not EXTENDED_FIELDS.get(template["call_template_type"], frozenset()).isdisjoint(template):
        notes.dialects.add("extended")
    _read_timeout(template, where, notes)
    protocols = read_protocols(template, where, notes)
    template.pop("allowed_communication_protocols", None)
    if protocols is not None:
        template["allowed_communication_protocols"] = protocols
    return template if _read_auth(template, where, notes, beside) else None


def warn_of_unknown_fields(template: JsonObject, known: frozenset[str], where: str, notes: Notes) -> None:
    """Warn of every key of a configured template that nothing reads, and name the nearest known key."""
    known = known | v1.BASE_FIELDS | v1.OPERATOR_KEYS
    for key in template:
        if key not in known and not word(key).startswith(("$", "_", "x-")):
            notes.misread(where, f"nothing reads the key {word(key)!r}.", nearest(key, known))


def _guess(raw: JsonObject) -> str:
    kind = next((kind for key, kind in _HINTS if key in raw), None)
    return f'Did you mean "call_template_type": "{kind}"?' if kind else 'Add one, such as "call_template_type": "http".'


def _read_timeout(template: JsonObject, where: str, notes: Notes) -> None:
    if (stated := template.pop("timeout", None)) is None:
        return
    in_milliseconds = template["call_template_type"] in v0.MILLISECONDS
    timeout = seconds(stated, milliseconds=in_milliseconds)
    if timeout is None:
        notes.misread(where, "`timeout` is not a positive number, so the default is used.")
        return
    template["timeout"] = timeout
    if timeout < 0.1:
        notes.warn(where, f"`timeout` is only {timeout:g} seconds.", "Write it in milliseconds for this type.")


def read_protocols(raw: JsonObject, where: str, notes: Notes) -> list[str] | None:
    """Return the call template types in `allowed_communication_protocols`, in v1 names."""
    allowed = raw.get("allowed_communication_protocols")
    if allowed is None:
        return None
    if is_list(allowed) and all(isinstance(kind, str) for kind in allowed):
        return [v0.canonical_kind(kind) for kind in allowed]
    notes.misread(where, "`allowed_communication_protocols` is not a list of types and is ignored.")
    return None


def _read_auth(template: JsonObject, where: str, notes: Notes, beside: JsonObject | None) -> bool:
    if template.get("auth") is None and beside is not None and beside.get("auth") is not None:
        template["auth"] = beside["auth"]
        notes.dialects.add("extended")
    for key in ("auth", "auth_tools"):
        if key not in template:
            continue
        try:
            template[key] = rewrite_auth(template[key], notes, template=template)
        except ValueError as error:
            notes.error(where, f"{key}: {error}")
            return False
        if template[key] is None:
            del template[key]
    return True
