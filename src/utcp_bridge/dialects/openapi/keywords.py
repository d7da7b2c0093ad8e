"""Values of single JSON Schema keywords, repaired or refused (pure).

Each function gives a value that draft 2020-12 allows, or None where the keyword has to go.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from utcp_bridge.dialects.openapi.shapes import as_array, is_array
from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.placement.encoding import format_scalar

__all__ = ["count", "examples", "is_plain_data", "number", "pattern", "text_list", "typed_enum", "types"]

_TYPES = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})
_MISNAMED = {
    "int": "integer", "int32": "integer", "int64": "integer", "long": "integer", "short": "integer",
    "float": "number", "double": "number", "decimal": "number", "bool": "boolean",
    "str": "string", "text": "string", "date": "string", "datetime": "string", "date-time": "string", "file": "string",
    "uuid": "string", "uri": "string", "email": "string", "enum": "string",
    "dict": "object", "map": "object", "hash": "object", "list": "array", "set": "array",
}  # fmt: skip
_MOST_EXAMPLES = 3
_LONGEST_PATTERN = 1_000
_LARGEST = 2**63 - 1
"""JSON writers and schema validators stop at 64 bits."""
_DELIMITED = re.compile(r"/.*/[a-z]*", re.DOTALL)
_NOT_PORTABLE = re.compile(r"\(\?(?![:=!])|\\[AZzGQEpPkX1-9]|[+*?}][+]|\[\[:|&&\[")
"""Python-only groups, lookbehind, inline flags, back references, property classes, possessive quantifiers."""


def types(declared: Any) -> str | list[str] | None:
    """A type or a list of types; misspelt ones are mended, unknown ones dropped."""
    known: list[str] = []
    for name in declared if is_array(declared) else [declared]:
        if isinstance(name, str):
            plain = name.strip().lower()
            plain = plain if plain in _TYPES else _MISNAMED.get(plain, "")
            if plain and plain not in known:
                known.append(plain)
    if not known:
        return None
    return known[0] if len(known) == 1 and not is_array(declared) else known


def number(value: Any) -> int | float | None:
    """A number of at most 64 bits, also one written as text."""
    if isinstance(value, str):
        try:
            value = float(value) if "." in value or "e" in value.lower() else int(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) <= _LARGEST else None  # neither NaN nor infinity passes


def count(value: Any) -> int | None:
    """A whole number from 0."""
    found = number(value)
    return int(found) if found is not None and found >= 0 and found == int(found) else None


def text_list(value: Any) -> list[str]:
    """The texts in a list, each once."""
    return list(dict.fromkeys(item for item in as_array(value) if isinstance(item, str)))


@lru_cache(maxsize=4096)
def pattern(value: str) -> bool:
    """Whether a regular expression means the same to JavaScript, Python and Rust.

    `/…/i` is a JavaScript literal: as a pattern it would refuse every real value.
    """
    if len(value) > _LONGEST_PATTERN or _DELIMITED.fullmatch(value) or _NOT_PORTABLE.search(value):
        return False
    try:
        re.compile(value)
    except (re.error, RecursionError, OverflowError):
        return False
    return True


def typed_enum(values: Any, kind: Any) -> list[Any] | None:
    """The values, each once, written as the type says: `[1, 2]` of type string are "1" and "2", and the reverse."""
    if not is_array(values) or not values or not is_plain_data(values):
        return None
    unique: dict[str, Any] = {}
    for value in values:
        fitting = _FITTED[kind](value) if isinstance(kind, str) and kind in _FITTED else value
        unique.setdefault(f"{type(fitting).__name__} {fitting}", fitting)
    return list(unique.values())


def _as_string(value: Any) -> Any:
    return format_scalar(value) if isinstance(value, bool | int | float) else value


def _as_number(value: Any) -> Any:
    fitting = number(value) if isinstance(value, str) else None
    return value if fitting is None else fitting


def _as_boolean(value: Any) -> Any:
    return {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value


_FITTED: dict[str, Callable[[Any], Any]] = {
    "string": _as_string,
    "number": _as_number,
    "integer": _as_number,
    "boolean": _as_boolean,
}


def examples(node: JsonObject) -> list[Any]:
    """`example`, `examples` (a list, or OpenAPI's map of example objects), at most three."""
    found: list[Any] = [node["example"]] if node.get("example") is not None else []
    several = node.get("examples")
    if is_array(several):
        found += several
    elif is_object(several):
        found += [item["value"] for item in several.values() if is_object(item) and "value" in item]
    return [value for value in found if is_plain_data(value)][:_MOST_EXAMPLES]


def is_plain_data(value: Any) -> bool:
    """Whether data can be repeated in a schema: JSON, without anything that looks like a reference."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if is_object(item):
            if "$ref" in item:
                return False
            waiting.extend(item.values())
        elif is_array(item):
            waiting.extend(item)
        elif not _is_scalar(item):
            return False
    return True


def _is_scalar(item: Any) -> bool:
    if isinstance(item, float):
        return math.isfinite(item)
    if isinstance(item, int):
        return -_LARGEST <= item <= _LARGEST
    return item is None or isinstance(item, str)
