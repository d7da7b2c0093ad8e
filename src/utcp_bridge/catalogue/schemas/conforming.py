"""Structured results that always fit their listed schema.

MCP clients check `structuredContent` against `outputSchema` and fail the whole call for one unexpected `null`, and
providers' replies often differ from their own schemas. So the listed schema states only shapes and types. A member of a
reply that still does not fit is moved to `_unexpected`, under its JSON Pointer. Nothing is lost, and no call fails.
"""

from __future__ import annotations

from copy import deepcopy
from itertools import islice
from typing import Any, Final

import jsonschema_rs

from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.pipeline.validation import is_affordable

__all__ = ["ASSERTIONS", "UNEXPECTED", "Conformer", "relaxed"]

UNEXPECTED: Final = "_unexpected"
ASSERTIONS: Final = frozenset(
    {
        "const",
        "contains",
        "dependentRequired",
        "dependentSchemas",
        "else",
        "enum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "format",
        "if",
        "maxContains",
        "maximum",
        "maxItems",
        "maxLength",
        "maxProperties",
        "minContains",
        "minimum",
        "minItems",
        "minLength",
        "minProperties",
        "multipleOf",
        "not",
        "oneOf",
        "pattern",
        "patternProperties",
        "propertyNames",
        "required",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
        "uniqueItems",
    }
)
_MAX_FAULTS: Final = 500
_MAX_ROUNDS: Final = 4


def relaxed(schema: JsonObject) -> JsonObject:
    """Return a sub-schema with only shapes, types and descriptions. Values of an `enum` become examples."""
    new = {key: value for key, value in schema.items() if key not in ASSERTIONS}
    values = schema["enum"] if "enum" in schema else [schema["const"]] if "const" in schema else []
    if values:
        new.setdefault("examples", values)
    return new


class Conformer:
    """Fits objects to one schema. It compiles the validator at the first use."""

    __slots__ = ("_compiled", "_schema", "_validator")

    def __init__(self, schema: JsonObject) -> None:
        self._schema = schema
        self._compiled = False
        self._validator: jsonschema_rs.Validator | None = None

    def __call__(self, value: JsonObject) -> JsonObject:
        """Return `value` itself if it fits, otherwise a copy with the members that do not fit in `_unexpected`."""
        validator = self._validator if self._compiled else self._compile()
        if validator is None or validator.is_valid(value):
            return value
        copy = deepcopy(value)
        misfits: JsonObject = {}
        for _ in range(_MAX_ROUNDS):
            paths = [error.instance_path for error in islice(validator.iter_errors(copy), _MAX_FAULTS)]
            if not paths:
                return {**copy, UNEXPECTED: misfits} if misfits else copy
            for path in paths:
                _take_out(copy, path, misfits)
        return {UNEXPECTED: {"": value}}

    def _compile(self) -> jsonschema_rs.Validator | None:
        self._compiled = True
        if not is_affordable(self._schema):
            return None
        try:
            self._validator = jsonschema_rs.validator_for(self._schema, pattern_options=jsonschema_rs.RegexOptions())
        except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError):
            self._validator = None
        return self._validator


def _take_out(root: JsonObject, path: list[str | int], misfits: JsonObject) -> None:
    """Move the value at `path` out of its nearest object. A null is dropped."""
    holder: Any = root
    owner, owned, depth = root, "", 0
    for index, step in enumerate(path):
        if is_object(holder) and isinstance(step, str) and step in holder:
            owner, owned, depth = holder, step, index + 1
            holder = holder[step]
        elif is_list(holder) and isinstance(step, int) and step < len(holder):
            holder = holder[step]
        else:
            return
    if depth == 0:
        return
    value = owner.pop(owned, None)
    if value is not None:
        misfits["".join(f"/{_escaped(step)}" for step in path[:depth])] = value


def _escaped(step: str | int) -> str:
    return str(step).replace("~", "~0").replace("/", "~1")
