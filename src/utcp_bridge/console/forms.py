"""A form for a tool's arguments, made from its JSON Schema, and the arguments that a filled form means.

Every value of a form is text. What the schema says about a field decides what its text means, so numbers keep all of
their digits. A field whose schema says more than a form can show is a field for JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import from_json

from utcp_bridge.catalogue.text import clean, clean_line
from utcp_bridge.errors import InvalidArguments
from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = ["FormField", "fields_of", "read_form"]

_MAX_TEXT: Final = 600
_MAX_CHOICES: Final = 200
_SIMPLE: Final = frozenset({"string", "integer", "number", "boolean"})


@dataclass(frozen=True, slots=True)
class FormField:
    """One field: `kind` is `text`, `long`, `integer`, `number`, `boolean`, `choice` or `json`."""

    name: str
    kind: str
    label: str
    help: str = ""
    required: bool = False
    value: str = ""
    choices: tuple[str, ...] = ()


def fields_of(schema: JsonObject) -> list[FormField]:
    """Return the fields of an object schema, the required ones first, otherwise in its order."""
    properties = schema.get("properties")
    required = schema.get("required")
    needed = {one for one in required if isinstance(one, str)} if is_list(required) else set[str]()
    if not is_object(properties):
        return []
    fields = [_field(str(name), one if is_object(one) else {}, str(name) in needed) for name, one in properties.items()]
    return sorted(fields, key=lambda field: not field.required)


def read_form(schema: JsonObject, texts: Mapping[str, Any]) -> JsonObject:
    """Return the arguments that the texts of a form mean. An empty field is left out; JSON can say an empty text.

    :raises InvalidArguments: a text does not fit its field.
    """
    arguments: JsonObject = {}
    for field in fields_of(schema):
        text = texts.get(field.name)
        if not isinstance(text, str) or not text:
            continue
        arguments[field.name] = _value(field, text)
    return arguments


def _field(name: str, schema: JsonObject, is_required: bool) -> FormField:
    kind, choices = _kind(schema)
    default = schema.get("default")
    value = ""
    if default is not None:
        value = default if isinstance(default, str) and kind != "json" else json.dumps(default, ensure_ascii=False)
    label = clean_line(schema.get("title"), 120) or clean_line(name, 120)
    return FormField(name, kind, label, clean(schema.get("description"), _MAX_TEXT), is_required, value, choices)


def _kind(schema: JsonObject) -> tuple[str, tuple[str, ...]]:
    options = schema.get("enum")
    if is_list(options) and options and len(options) <= _MAX_CHOICES and all(isinstance(one, str) for one in options):
        return "choice", tuple(options)
    named = schema.get("type")
    if is_list(named):
        rest = [one for one in named if one != "null"]
        named = rest[0] if len(rest) == 1 else None
    if named not in _SIMPLE or "$ref" in schema:
        return "json", ()
    if named != "string":
        return str(named), ()
    length = schema.get("maxLength")
    return ("long" if isinstance(length, int) and length > 300 else "text"), ()


def _value(field: FormField, text: str) -> Any:
    if field.kind in {"text", "long", "choice"}:
        return text
    try:
        value = from_json(text)
    except ValueError:
        raise InvalidArguments(f"{field.label}: {_EXPECTED[field.kind]}.") from None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = {"integer": is_number, "number": is_number, "boolean": isinstance(value, bool), "json": True}
    if not fits[field.kind]:
        raise InvalidArguments(f"{field.label}: {_EXPECTED[field.kind]}.")
    return value


_EXPECTED: Final = {
    "integer": "write a whole number",
    "number": "write a number, such as 1.5",
    "boolean": "choose true or false",
    "json": 'write JSON, such as [1, 2] or {"key": "value"}',
}
