"""Schemas from all keywords, with references of all forms: judged and used within bounds, whatever values come."""

from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.bounded import finished_by_killable_process
from tests.support.work import calls_made_by

from utcp_bridge.pipeline.schema_checks import SchemaChecks

BASE = "https://example.com/schemas/root"
DRAFTS = (
    None,
    "http://json-schema.org/draft-04/schema#",
    "http://json-schema.org/draft-06/schema#",
    "http://json-schema.org/draft-07/schema#",
    "https://json-schema.org/draft/2019-09/schema",
    "https://json-schema.org/draft/2020-12/schema",
)
LEAVES = st.sampled_from([
    True, {"type": "string"}, {"type": "object"}, {"type": "integer", "multipleOf": 1e-300}, {"const": {"a": [1]}},
    {"enum": [f"v{n}" for n in range(500)]}, {"uniqueItems": True}, {"format": "regex"}, {"format": "idn-email"},
    {"pattern": "^(a|aa)+$"}, {"pattern": "(?!x)(a+)+b"}, {"pattern": "([ab]*a[ab]{1,90}){1,40}c"},
    {"pattern": "(a{1,1000}){1,1000}"}, {"minLength": 3, "maxLength": 9}, {"required": ["a", "b"]}, {},
])  # fmt: skip


def reference(number: int, form: str) -> dict[str, Any]:
    return {
        "pointer": {"$ref": f"#/$defs/d{number}"},
        "anchor": {"$ref": f"#n{number}"},
        "absolute": {"$ref": f"{BASE}#/$defs/d{number}"},
        "relative": {"$ref": f"root#n{number}"},
        "identifier": {"$ref": f"inner{number}"},
        "dynamic": {"$dynamicRef": f"#n{number}"},
        "recursive": {"$recursiveRef": "#"},
        "root": {"$ref": "#"},
    }[form]


FORMS = ("pointer", "anchor", "absolute", "relative", "identifier", "dynamic", "recursive", "root")


@st.composite
def bodies(draw: st.DrawFn, number: int, count: int, form: str) -> dict[str, Any]:
    """One definition: a few keywords, whose parts refer mostly to the next definitions."""

    def part() -> Any:
        if draw(st.integers(0, 4)) == 0:
            return draw(LEAVES)
        following = min(number + draw(st.integers(1, 2)), count - 1)
        return reference(draw(st.sampled_from([following, following, following, number, 0])), form)

    made: dict[str, Any] = {}
    for keyword in draw(st.lists(st.sampled_from(sorted(SHAPES)), min_size=1, max_size=3)):
        made |= SHAPES[keyword](part)
    return made


SHAPES: dict[str, Any] = {
    "allOf": lambda part: {"allOf": [part(), part()]},
    "anyOf": lambda part: {"anyOf": [part(), part(), part()]},
    "oneOf": lambda part: {"oneOf": [part(), part()]},
    "not": lambda part: {"not": part()},
    "if": lambda part: {"if": part(), "then": part(), "else": part()},
    "ref": lambda part: made if isinstance(made := part(), dict) else {},
    "properties": lambda part: {"properties": {"a": part(), "b": part()}},
    "additional": lambda part: {"additionalProperties": part()},
    "patterns": lambda part: {"patternProperties": {"^(a|b)+$": part(), "a": part()}},
    "names": lambda part: {"propertyNames": part()},
    "items": lambda part: {"items": part()},
    "tuple": lambda part: {"items": [part(), part()], "additionalItems": part()},
    "prefix": lambda part: {"prefixItems": [part(), part()], "items": part()},
    "contains": lambda part: {"contains": part(), "minContains": 2},
    "dependent": lambda part: {"dependentSchemas": {"a": part(), "b": part()}},
    "dependencies": lambda part: {"dependencies": {"a": part(), "b": ["a"]}},
    "unevaluated properties": lambda part: {"unevaluatedProperties": part(), "allOf": [part()]},
    "unevaluated items": lambda part: {"unevaluatedItems": part(), "anyOf": [part(), part()]},
}


@st.composite
def schemas(draw: st.DrawFn) -> dict[str, Any]:
    count, form = draw(st.integers(2, 60)), draw(st.sampled_from(FORMS))
    pattern = [draw(bodies(number, count, form)) for number in range(min(count, 4))]
    definitions: dict[str, Any] = {}
    for number in range(count):  # a few kinds of levels, one after the other: what multiplies does so at each of them
        body = moved(pattern[number % len(pattern)], number - number % len(pattern), count)
        mark = {"$dynamicAnchor" if form == "dynamic" else "$anchor": f"n{number}"}
        own = {"$id": f"inner{number}"} if form == "identifier" else {}
        definitions[f"d{number}"] = {**body, **own, **(mark if form != "pointer" else {})}
    head = {"$schema": dialect} if (dialect := draw(st.sampled_from(DRAFTS))) else {}
    return {**head, "$id": BASE, "$defs": definitions, "properties": {"x": reference(0, form)}, "type": "object"}


def moved(value: Any, by: int, count: int) -> Any:
    """Return a body whose references lead `by` definitions further."""
    if isinstance(value, dict):
        return {key: moved(one, by, count) for key, one in value.items()}
    if isinstance(value, list):
        return [moved(one, by, count) for one in value]
    if isinstance(value, str) and (place := max(value.rfind(mark) for mark in ("/d", "#n", "inner"))) >= 0:
        stem = value[:place] + next(mark for mark in ("/d", "#n", "inner") if value.startswith(mark, place))
        digits = value[len(stem) :]
        return f"{stem}{min(int(digits) + by, count - 1)}" if digits.isdecimal() else value
    return value


def nested(levels: int, wide: int, leaf: Any) -> Any:
    value = leaf
    for level in range(levels):
        value = {"a": value, "b": 1} if level % 2 else [value] * wide
    return value


HOSTILE: list[Any] = [
    {"x": 1},
    {"x": nested(30, 1, {"a": 1})},
    {"x": nested(12, 2, "a")},
    {"x": nested(100, 1, {})},
    {"x": [1] * 20_000},
    {"x": {f"{'ab' * 20}{number}": number for number in range(3_000)}},
    {"x": "a" * 50_000 + "!"},
    {"x": ["ab" * 200] * 200},
    {"x": '{"a":' * 60 + "1" + "}" * 60},
]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(schemas())
def test_every_schema_is_judged_in_bounded_steps(schema: dict[str, Any]) -> None:
    assert calls_made_by(lambda: SchemaChecks(schema).reduced) < 1_500_000


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(schemas())
def test_the_reduced_form_accepts_what_the_schema_accepts(schema: dict[str, Any]) -> None:
    checks = SchemaChecks(schema)
    if checks.whole is None:
        return
    for value in ({}, {"x": 1}, {"x": "aaa"}, {"x": {"a": 1, "b": 2}}, {"x": [1, {"a": "a"}]}, {"x": None}):
        if checks.whole.validator.is_valid(value):
            assert checks.reduced.validator.is_valid(value)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(schemas())
def test_the_whole_form_means_what_the_schema_means(schema: dict[str, Any]) -> None:
    checks = SchemaChecks(schema)
    if checks.whole is None or checks.whole.cost.steps > 1_000:
        return
    try:
        original = jsonschema_rs.validator_for(schema)
    except (ValueError, jsonschema_rs.ReferencingError):
        return
    for value in ({}, {"x": 1}, {"x": "aaa"}, {"x": {"a": 1, "b": 2}}, {"x": [1, {"a": "a"}]}, {"x": None}):
        assert checks.whole.validator.is_valid(value) == original.is_valid(value)


@pytest.mark.parametrize(
    ("schema", "most"),
    [
        ({"pattern": "^[a-z]{1,50}$"}, 200_000),
        ({"pattern": "(?!x)(a+)+b"}, 25_000),
        ({"properties": {"x": {"pattern": "a{100}"}}, "additionalProperties": {"type": "string"}}, 100_000),
    ],
    ids=["linear", "with a bound for each character", "one property"],
)
def test_texts_of_an_object_without_containers_are_checked_up_to_a_bound(schema: dict[str, Any], most: int) -> None:
    properties = schema if "properties" in schema else {"properties": {"x": schema, "y": schema}}
    checks = SchemaChecks(properties)
    assert checks.form_for({"x": "a" * most, "y": 1}) is checks.whole
    assert checks.form_for({"x": "a" * 40 * most, "y": 1}) is not checks.whole
    assert checks.form_for({"x": "a" * 20 * most, "y": "a" * 20 * most}) is not checks.whole


def test_names_that_patterns_look_at_are_counted_with_the_values() -> None:
    checks = SchemaChecks({"patternProperties": {"^[a-z]{1,50}$": {}}})
    assert checks.form_for({"a" * 100_000: 1}) is checks.whole
    assert checks.form_for({"a" * 10_000_000: 1}) is not checks.whole


@pytest.mark.timeout(600)
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.lists(schemas(), min_size=25, max_size=25))
def test_no_schema_with_no_value_takes_a_process_its_time_or_memory(many: list[dict[str, Any]]) -> None:
    assert finished_by_killable_process([(schema, HOSTILE) for schema in many]) == len(many)
