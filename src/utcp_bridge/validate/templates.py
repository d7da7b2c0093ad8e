"""Whether a call template can be used: its type, its keys, its values, its address, its placeholders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from pydantic import ValidationError

from utcp_bridge.dialects import v1
from utcp_bridge.dialects.fields import nearest, word
from utcp_bridge.dialects.positions import Path
from utcp_bridge.dialects.readings import Notes
from utcp_bridge.dialects.shapes import kind_key
from utcp_bridge.dialects.templates import read_template
from utcp_bridge.errors import ConfigError
from utcp_bridge.model import CallTemplate, JsonObject, is_list, is_object
from utcp_bridge.placement.http_template import HttpFamilyTemplate
from utcp_bridge.transports.registry import TransportRegistry
from utcp_bridge.urls import split_url
from utcp_bridge.validate.findings import Findings

__all__ = ["check_template"]

_REGISTRY: Final = TransportRegistry()
_SECRETS: Final = ("api_key", "password", "client_secret", "access_token", "token")
_ANY_URL: Final = "https://api.example.com"
_FREE_KEYS: Final = ("$", "_", "x-")


def check_template(
    raw: Any, path: Path, findings: Findings, *, beside: JsonObject | None = None, configured: bool = False
) -> JsonObject | None:
    """The template in v1 names, or None if it cannot be read at all.

    `beside` is the object that holds it, whose `auth` may be its own. `configured` says that it stands in a
    configuration, where the operator's keys may stand too and secrets are at home.
    """
    notes = Notes()
    template = read_template(raw, "", notes, beside=beside)
    for fault in notes.faults:
        key, separator, what = fault.what.partition(": ")
        if separator and key in {"auth", "auth_tools"}:
            findings.take((*path, key), [replace(fault, what=what)])
        else:
            findings.take(path, [fault])
    if template is None:
        return None
    try:
        transport = _REGISTRY.find(template["call_template_type"])
    except ConfigError as error:
        findings.error((*path, kind_key(raw) or ""), error.message, error.remedy or "")
        return template
    _check_keys(raw, template, path, findings, configured=configured)
    model = _modelled(transport.template, template, path, findings)
    if _check_address(template, path, findings) and isinstance(model, HttpFamilyTemplate):
        _check_request(model, path, findings)
    if not configured:
        _check_secrets(template.get("auth"), (*path, "auth"), findings)
    return template


def _check_keys(raw: JsonObject, template: JsonObject, path: Path, findings: Findings, *, configured: bool) -> None:
    known = (_REGISTRY.fields(template["call_template_type"]) or frozenset()) | v1.BASE_FIELDS
    for key in template:
        if key in known or key.startswith(_FREE_KEYS) or (configured and key in v1.OPERATOR_KEYS):
            continue
        place = (*path, key) if key in raw else path
        if key in v1.OPERATOR_KEYS:
            findings.warn(
                place, f"`{key}` means nothing in a manual.", "It belongs to the manual's entry in a configuration."
            )
        else:
            findings.warn(place, f"nothing reads the key {word(key)!r}.", nearest(key, known))


def _modelled(model: type[CallTemplate], template: JsonObject, path: Path, findings: Findings) -> CallTemplate | None:
    """The template as its transport has it; values that variables will fill in are not judged."""
    try:
        return model.model_validate(template)
    except ValidationError as error:
        for fault in error.errors(include_input=False, include_url=False):
            location, value = _within(template, fault["loc"])
            if not (isinstance(value, str) and "$" in value):
                missing = fault["loc"][-1:] if fault["type"] == "missing" else ()
                name = f"`{missing[0]}` is missing" if missing else fault["msg"].removeprefix("Value error, ")
                findings.error(
                    (*path, *location), f"the {template['call_template_type']} template does not fit: {name}."
                )
        return None


def _within(template: JsonObject, location: tuple[int | str, ...]) -> tuple[Path, Any]:
    """As much of a pydantic location as the template has (it also names alternatives of a union), and what is there."""
    path: list[str | int] = []
    value: Any = template
    for step in location:
        if is_object(value) and step in value:
            value = value[str(step)]
        elif is_list(value) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            continue
        path.append(step)
    return tuple(path), value


def _check_request(model: HttpFamilyTemplate, path: Path, findings: Findings) -> None:
    if "$" in model.url:
        model = model.model_copy(update={"url": _ANY_URL})  # what a variable will make of it, nobody knows
    try:
        _ = model.build_request
    except ConfigError as error:
        findings.error(path, error.message, error.remedy or "")


def _check_address(template: JsonObject, path: Path, findings: Findings) -> bool:
    """Whether the URL, if there is one and no variable is in it, is one."""
    url = template.get("url")
    if not isinstance(url, str) or "$" in url:
        return True
    try:
        split_url(url)
    except ConfigError as error:
        findings.error((*path, "url"), error.message, error.remedy or "")
        return False
    return True


def _check_secrets(auth: Any, path: Path, findings: Findings) -> None:
    for place, key in _plain_secrets(auth, path):
        findings.warn(place, f"`{key}` holds a secret that everyone can read.", f'Write "${{{key.upper()}}}" instead.')


def _plain_secrets(auth: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if not is_object(auth):
        return
    for key in _SECRETS:
        value = auth.get(key)
        if isinstance(value, str) and value and "$" not in value and "{{" not in value:
            yield (*path, key), key
    for key in ("schemes", "options"):
        members = auth.get(key)
        for index, member in enumerate(members if is_list(members) else ()):
            yield from _plain_secrets(member, (*path, key, index))
