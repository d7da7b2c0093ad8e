"""Read a tool's arguments from the words of the command line.

    key=value     the type that the tool's schema gives: a number, text, true or false
    key:=json     JSON
    {…}           a JSON object with all arguments
    -             a JSON object from stdin

A later word replaces an earlier one. If the schema says array, a key repeated with `=` collects its values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from utcp_bridge.errors import InvalidArguments
from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = ["read_arguments"]

_WORD: Final = late_pattern(r"(?P<key>[^=:]+|[^=]+?)(?P<sign>:=|=)(?P<value>.*)", re.DOTALL)
_FORMS: Final = "Arguments are key=value, key:=JSON, one JSON object, or - for a JSON object on stdin."


def read_arguments(words: Sequence[str], inputs: JsonObject, read_stdin: Callable[[], str]) -> JsonObject:
    """Return the arguments that `words` give; `inputs` is the tool's schema.

    :raises InvalidArguments: a word has none of the forms, or its JSON cannot be parsed.
    """
    arguments: dict[str, Any] = {}
    collected: set[str] = set()
    for word in words:
        if word == "-":
            arguments |= _object(read_stdin(), "stdin")
        elif word.lstrip().startswith("{"):
            arguments |= _object(word, "the JSON object")
        else:
            _add_word(word, inputs, arguments, collected)
    return arguments


def _add_word(word: str, inputs: JsonObject, arguments: JsonObject, collected: set[str]) -> None:
    match = _WORD.fullmatch(word)
    if match is None:
        raise InvalidArguments(f"{word!r} is not an argument.", remedy=_FORMS)
    key, sign, text = match["key"], match["sign"], match["value"]
    if sign == ":=":
        arguments[key] = _json(text, key)
        return
    schema = _property(inputs, key)
    if "array" not in _types(schema) or text.lstrip().startswith("["):
        arguments[key] = _typed(text, schema)
        return
    items = schema.get("items")
    item = _typed(text, items if is_object(items) else {})
    arguments[key] = [*arguments[key], item] if key in collected else [item]
    collected.add(key)


def _property(inputs: JsonObject, key: str) -> JsonObject:
    properties = inputs.get("properties")
    schema = properties.get(key) if is_object(properties) else None
    return schema if is_object(schema) else {}


def _types(schema: JsonObject) -> set[str]:
    kind = schema.get("type")
    if isinstance(kind, str):
        return {kind}
    return {one for one in kind if isinstance(one, str)} if is_list(kind) else set()


def _typed(text: str, schema: JsonObject) -> Any:
    """Return `text` in the schema's type. Other text stays text, and the validation then reports it."""
    types = _types(schema)
    if types == {"string"} or text in _texts_of(schema) or _is_composed(schema):
        return text
    try:
        value = json.loads(text, parse_constant=_refuse)
    except ValueError:
        return text
    if not types:
        return value
    return value if types & _types_of(value) else text


def _is_composed(schema: JsonObject) -> bool:
    """Return whether other schemas decide on the type. The validation then reads the text by them."""
    return "type" not in schema and not schema.keys().isdisjoint({"$ref", "allOf", "anyOf", "oneOf"})


def _texts_of(schema: JsonObject) -> list[Any]:
    allowed = schema.get("enum", [schema.get("const")])
    return allowed if is_list(allowed) else []


def _types_of(value: Any) -> set[str]:
    """Return the names that JSON Schema has for the type of a value."""
    if value is None:
        return {"null"}
    if isinstance(value, bool):
        return {"boolean"}
    if isinstance(value, int):
        return {"integer", "number"}
    if isinstance(value, float):
        return {"number", "integer"} if value.is_integer() else {"number"}
    names: dict[type, str] = {str: "string", list: "array", dict: "object"}
    return {names[type(value)]}


def _object(text: str, where: str) -> JsonObject:
    value = _json(text, where)
    if not is_object(value):
        raise InvalidArguments(f"The value of {where} must be a JSON object.", remedy=_FORMS)
    return value


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        place = f" at line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise InvalidArguments(f"The value of {where} is not valid JSON{place}.", remedy=_FORMS) from None


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")
