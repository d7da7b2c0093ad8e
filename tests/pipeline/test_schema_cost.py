"""Schema cost: hostile schemas are recognised before the validator can hang or overflow; real ones are not."""

from time import perf_counter
from typing import Any

import pytest

from utcp_bridge.pipeline.schema_cost import is_affordable


def chain(keyword: str, length: int) -> dict[str, Any]:
    """`d<n>` refers to `d<n-1>` … refers to a string."""
    branch = {"$ref": lambda to: {"$ref": to}, "anyOf": lambda to: {"anyOf": [{"$ref": to}]}}[keyword]
    definitions: dict[str, Any] = {"d0": {"type": "string"}}
    definitions |= {f"d{number}": branch(f"#/$defs/d{number - 1}") for number in range(1, length + 1)}
    return {"$defs": definitions, "properties": {"a": {"$ref": f"#/$defs/d{length}"}}}


def doubling(levels: int) -> dict[str, Any]:
    """Every definition refers twice to the one below: 2^levels ways through a few hundred bytes."""
    definitions: dict[str, Any] = {"d0": {"type": "string"}}
    for level in range(1, levels + 1):
        below = {"$ref": f"#/$defs/d{level - 1}"}
        definitions[f"d{level}"] = {"anyOf": [below, below]}
    return {"$defs": definitions, "properties": {"a": {"$ref": f"#/$defs/d{levels}"}}}


NESTED_NOT: dict[str, Any] = {"type": "string"}
for _ in range(150):
    NESTED_NOT = {"not": NESTED_NOT}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {"a": {"type": "string"}}},
        {"oneOf": [{"const": number} for number in range(400)]},
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}]},
        {"$defs": {"tree": {"properties": {"children": {"items": {"$ref": "#/$defs/tree"}}}}}, "$ref": "#/$defs/tree"},
        {"properties": {f"p{number}": {"anyOf": [{"type": "string"}, {"type": "null"}]} for number in range(2000)}},
        {"$ref": "#/$defs/nowhere"},
        {"$ref": "#anchor"},
        {"$ref": "other.json"},
        {"$ref": "#/anyOf/7", "anyOf": [True]},
        {"$ref": "#/anyOf/x", "anyOf": "no list"},
        {"$ref": 7, "if": {"type": "string"}, "then": True},
        doubling(7),
        chain("$ref", 80),
    ],
    ids=lambda schema: str(schema)[:60],
)
def test_a_schema_that_somebody_would_write_is_affordable(schema: dict[str, Any]) -> None:
    assert is_affordable(schema)


@pytest.mark.parametrize(
    "schema",
    [
        doubling(12),
        doubling(60),
        chain("$ref", 10_000),
        chain("anyOf", 10_000),
        NESTED_NOT,
        {"definitions": {"a/b~c": {"allOf": [{}] * 999}}, "anyOf": [{"$ref": "#/definitions/a~1b~0c"}] * 2},
        {"x": [{"oneOf": [{}] * 600}], "allOf": [{"$ref": "#/x/0"}, {"$ref": "#/x/0"}]},
        {"enum": [{} for _ in range(60_000)]},
    ],
    ids=[
        "4096 ways",
        "2^60 ways",
        "references",
        "branches",
        "nesting",
        "escaped pointer",
        "pointer into a list",
        "size",
    ],
)
def test_a_schema_that_would_hold_up_every_call_is_not(schema: dict[str, Any]) -> None:
    started = perf_counter()
    assert not is_affordable(schema)
    assert perf_counter() - started < 1


def test_a_cycle_does_not_hide_the_branches_around_it() -> None:
    schema = doubling(40)
    schema["$defs"]["d0"] = {"$ref": "#/$defs/d40"}
    assert not is_affordable(schema)
