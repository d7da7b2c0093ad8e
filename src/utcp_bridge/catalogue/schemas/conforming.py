"""Structured results that always fit their listed schema.

MCP clients check `structuredContent` against `outputSchema` and fail the whole call for one unexpected `null`, and
providers' replies often differ from their own schemas. So the listed schema states only shapes and types. A member of a
reply that still does not fit is moved to `_unexpected`, under its JSON Pointer. Nothing is lost, and no call fails.
"""

from __future__ import annotations

from copy import deepcopy
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.pipeline.schema_checks import SchemaChecks

if TYPE_CHECKING:
    import jsonschema_rs

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
_MAX_LARGE_ROUNDS: Final = 20
_MAX_STEPS: Final = 60_000
"""Steps of a check whose faults are all collected: each takes about 10 microseconds, in a union 50."""
_MAX_UNION_STEPS: Final = 20_000


def relaxed(schema: JsonObject) -> JsonObject:
    """Return a sub-schema with only shapes, types and descriptions. Values of an `enum` become examples."""
    new = {key: value for key, value in schema.items() if key not in ASSERTIONS}
    values = schema["enum"] if "enum" in schema else [schema["const"]] if "const" in schema else []
    if values:
        new.setdefault("examples", values)
    return new


class Conformer:
    """Fits objects to one schema. It compiles the validator at the first use."""

    __slots__ = ("_checks", "schema")

    def __init__(self, schema: JsonObject) -> None:
        self.schema = schema
        self._checks: SchemaChecks | None = None

    def __call__(self, value: JsonObject) -> JsonObject:
        """Return `value` itself if it fits, otherwise a copy with the members that do not fit in `_unexpected`.

        What would take too long to check is returned as it is.
        """
        if self._checks is None:
            self._checks = SchemaChecks(self.schema)
        form = self._checks.whole
        if form is None or not form.cost.allows(value) or form.validator.is_valid(value):
            return value
        most = _MAX_UNION_STEPS if form.cost.has_deep_unions else _MAX_STEPS
        is_large = not form.cost.allows(value, most)
        if is_large and not form.has_cheap_faults:
            return {UNEXPECTED: {"": value}}
        copy = deepcopy(value)
        misfits: JsonObject = {}
        for _ in range(_MAX_LARGE_ROUNDS if is_large else _MAX_ROUNDS):
            paths = _paths(form.validator, copy, is_first=is_large)
            if not paths:
                return {**copy, UNEXPECTED: misfits} if misfits else copy
            for path in paths:
                _take_out(copy, path, misfits)
        return {UNEXPECTED: {"": value}}


def _paths(validator: jsonschema_rs.Validator, value: JsonObject, *, is_first: bool) -> list[list[str | int]]:
    """Return where a value does not fit. Of a large value only the first place: the library collects all at once."""
    if not is_first:
        return [error.instance_path for error in islice(validator.iter_errors(value), _MAX_FAULTS)]
    from jsonschema_rs import ValidationError

    try:
        validator.validate(value)
    except ValidationError as error:
        return [error.instance_path]
    return []


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
