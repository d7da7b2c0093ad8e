"""The cost of a stranger's schema: hostile ones are recognised with little work, real ones are checked whole."""

from typing import Any

import pytest
from tests.support.work import calls_made_by

from utcp_bridge.pipeline.schema_checks import SchemaChecks
from utcp_bridge.pipeline.schema_cost import pattern_size
from utcp_bridge.pipeline.schema_forms import TooDearError, reduced_form, whole_form


def is_whole(schema: dict[str, Any]) -> bool:
    return SchemaChecks(schema).whole is not None


def chain(keyword: str, length: int) -> dict[str, Any]:
    """`d<n>` refers to `d<n-1>` … refers to a string."""
    branch = {"$ref": lambda to: {"$ref": to}, "anyOf": lambda to: {"anyOf": [{"$ref": to}]}}[keyword]
    definitions: dict[str, Any] = {"d0": {"type": "string"}}
    definitions |= {f"d{number}": branch(f"#/$defs/d{number - 1}") for number in range(1, length + 1)}
    return {"$defs": definitions, "properties": {"a": {"$ref": f"#/$defs/d{length}"}}}


def doubling(levels: int, how: str = "pointer", keyword: str = "anyOf") -> dict[str, Any]:
    """Every definition refers twice to the one below: 2^levels ways through a few hundred bytes."""
    base = "https://example.com/tools/search"
    names = {
        "pointer": lambda level: {"$ref": f"#/$defs/d{level}"},
        "anchor": lambda level: {"$ref": f"#n{level}"},
        "absolute": lambda level: {"$ref": f"{base}#/$defs/d{level}"},
        "relative": lambda level: {"$ref": f"search#n{level}"},
        "dynamic": lambda level: {"$dynamicRef": f"#n{level}"},
        "old anchor": lambda level: {"$ref": f"#n{level}"},
        "embedded": lambda level: {"$ref": f"d{level}"},
    }[how]
    marks = {
        "anchor": lambda level: {"$anchor": f"n{level}"},
        "relative": lambda level: {"$anchor": f"n{level}"},
        "dynamic": lambda level: {"$dynamicAnchor": f"n{level}"},
        "old anchor": lambda level: {"$id": f"#n{level}"},
        "embedded": lambda level: {"$id": f"d{level}"},
    }.get(how, lambda _: {})
    definitions: dict[str, Any] = {"d0": {**marks(0), "type": "string"}}
    for level in range(1, levels + 1):
        many = {"dependentSchemas": {"k": names(level - 1), "l": names(level - 1)}}
        few = {keyword: [names(level - 1), names(level - 1)]}
        definitions[f"d{level}"] = {**marks(level), **(many if keyword == "dependentSchemas" else few)}
    head = {"$schema": "http://json-schema.org/draft-07/schema#"} if how == "old anchor" else {}
    return {**head, "$id": base, "$defs": definitions, "properties": {"a": names(levels)}}


NESTED_NOT: dict[str, Any] = {"type": "string"}
for _ in range(150):
    NESTED_NOT = {"not": NESTED_NOT}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {"a": {"type": "string"}}},
        {"oneOf": [{"const": number} for number in range(400)]},
        {"$defs": {"tree": {"properties": {"children": {"items": {"$ref": "#/$defs/tree"}}}}}, "$ref": "#/$defs/tree"},
        {"properties": {f"p{number}": {"anyOf": [{"type": "string"}, {"type": "null"}]} for number in range(2000)}},
        {"properties": {"a": {"enum": [f"value {number}" for number in range(5000)]}}},
        {"properties": {f"p{number}": {"pattern": r"^[\w+=,.@-]{1,128}$"} for number in range(100)}},
        {"$ref": "#/anyOf/0", "anyOf": [True]},
        {
            "$schema": "https://json-schema.org/draft/2019-09/schema",
            "$recursiveAnchor": True,
            "properties": {"a": {"$recursiveRef": "#"}},
        },
        {"properties": {"a": {"$id": "#/properties/a", "type": "string"}}},
        {"unevaluatedProperties": False, "allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]},
        chain("$ref", 80),
        *(doubling(5, how) for how in ("pointer", "anchor", "absolute", "relative", "dynamic", "old anchor")),
    ],
    ids=lambda schema: str(schema)[:60],
)
def test_a_schema_that_somebody_would_write_is_checked_whole(schema: dict[str, Any]) -> None:
    assert is_whole(schema)


@pytest.mark.parametrize("keyword", ["allOf", "anyOf", "oneOf", "dependentSchemas"])
@pytest.mark.parametrize("how", ["pointer", "anchor", "absolute", "relative", "dynamic", "old anchor", "embedded"])
def test_references_of_every_form_are_counted(how: str, keyword: str) -> None:
    assert not is_whole(doubling(40, how, keyword))


@pytest.mark.parametrize(
    "schema",
    [
        chain("$ref", 10_000),
        chain("anyOf", 10_000),
        NESTED_NOT,
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}]},
        {"$defs": {"a": {"oneOf": [{}] * 999}}, "anyOf": [{"$ref": "#/$defs/a"}] * 30},
        {"enum": [{} for _ in range(100_000)]},
        {"enum": ["x" * 1_000_000, "y" * 10_000_000]},
        {"pattern": "((a{1,1000}){1,1000}){1,1000}"},
        {"properties": {f"p{number}": {"pattern": f"a{{1,{900 + number}}}"} for number in range(300)}},
        {"properties": {"a": {"$ref": "https://example.com/other.json"}}},
        {"properties": {"a": {"$ref": "#nowhere"}}},
        {"properties": {"a": {"$ref": "file:///etc/hostname"}}},
        {"properties": {"a": {"$id": "https://example.com/inner", "properties": {"b": {"$ref": "#"}}}}},
        {"properties": {f"p{number}": {"type": "string"} for number in range(30_000)}},
    ],
    ids=lambda schema: str(schema)[:60],
)
def test_what_cannot_be_shown_cheap_is_not_compiled(schema: dict[str, Any]) -> None:
    assert not is_whole(schema)


@pytest.mark.parametrize("levels", [12, 24, 90])
@pytest.mark.parametrize("keyword", ["unevaluatedProperties", "unevaluatedItems"])
def test_what_is_unevaluated_at_each_of_many_levels_is_not_compiled(keyword: str, levels: int) -> None:
    definitions = {f"d{n}": {keyword: False, "allOf": [{"$ref": f"#/$defs/d{n + 1}"}]} for n in range(levels)}
    assert not is_whole({"properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": {**definitions, f"d{levels}": {}}})


@pytest.mark.parametrize(
    "schema",
    [
        doubling(60),
        doubling(60, "anchor"),
        chain("$ref", 10_000),
        chain("anyOf", 10_000),
        {"enum": [{} for _ in range(60_000)]},
        {"properties": {f"p{number}": {"$ref": "#/$defs/a"} for number in range(15_000)}, "$defs": {"a": {}}},
    ],
)
def test_a_schema_is_judged_with_little_work(schema: dict[str, Any]) -> None:
    assert calls_made_by(lambda: SchemaChecks(schema).reduced) < 1_500_000


def test_a_cycle_does_not_hide_the_branches_around_it() -> None:
    schema = doubling(40)
    schema["$defs"]["d0"] = {"$ref": "#/$defs/d40"}
    assert not is_whole(schema)


def test_steps_that_multiply_with_the_levels_of_the_value_bound_the_levels() -> None:
    again = {"properties": {"c": {"$ref": "#"}}, "required": ["c"]}
    checks = SchemaChecks({"anyOf": [again, again, {"type": "integer"}]})
    value: Any = 1
    for level in range(40):
        expected = checks.whole if level < 8 else checks.reduced
        assert checks.form_for(value) is expected or 8 <= level < 20
        value = {"c": value}


def test_branches_with_different_keys_do_not_multiply() -> None:
    names = [f"k{number}" for number in range(10)]
    checks = SchemaChecks({"anyOf": [{"properties": {name: {"$ref": "#"}}} for name in names]})
    value: Any = 1
    for level in range(30):
        value = {names[level % 10]: value}
    assert checks.form_for(value) is checks.whole


def test_steps_are_multiplied_with_the_number_of_values() -> None:
    checks = SchemaChecks({"properties": {"rows": {"items": {"oneOf": [{"const": n} for n in range(500)]}}}})
    assert checks.form_for({"rows": [1] * 1_000}) is checks.whole
    assert checks.form_for({"rows": [1] * 100_000}) is None
    assert checks.form_for({"other": [1] * 100_000}) is checks.whole


def test_long_text_meets_large_patterns_only_where_they_are() -> None:
    checks = SchemaChecks({"properties": {"a": {"pattern": "[ab]*a[ab]{2000}c"}, "b": {}}})
    long = "ab" * 200_000
    assert checks.form_for({"a": "ab", "b": long}) is checks.whole
    assert checks.form_for({"a": long}) is None


def test_a_pattern_with_look_around_is_bounded_by_the_length_of_the_text() -> None:
    checks = SchemaChecks({"properties": {"a": {"pattern": "(?!x)(a+)+b"}}})
    assert checks.form_for({"a": "a" * 30_000}) is checks.whole
    assert checks.form_for({"a": "a" * 1_000_000}) is None


@pytest.mark.parametrize(
    ("pattern", "size"),
    [("abc", 3), (r"\d{4}-\d{2}", 25), ("(ab){10}", 20), ("((a{10}){10}){10}", 1000), ("[(){}]", 4), (r"\({3}", 12)],
)
def test_repeats_multiply_the_size_of_a_pattern(pattern: str, size: int) -> None:
    assert pattern_size(pattern) == size


def test_the_whole_form_has_listed_keywords_and_pointers_only() -> None:
    schema = {
        "$id": "https://example.com/a",
        "title": "A",
        "x-more": {"$ref": "#/x"},
        "properties": {"a": {"$ref": "#word"}, "title": {"$ref": "a#/$defs/word"}},
        "$defs": {"word": {"$anchor": "word", "type": "string", "examples": ["b"]}},
    }
    assert whole_form(schema) == {
        "properties": {"a": {"$ref": "#/$defs/d0"}, "title": {"$ref": "#/$defs/d0"}},
        "$defs": {"d0": {"type": "string"}},
    }


def test_a_reference_of_another_kind_is_refused() -> None:
    with pytest.raises(TooDearError):
        whole_form({"properties": {"a": {"$ref": 7}}})


def test_the_reduced_form_keeps_types_near_the_root() -> None:
    schema = doubling(60)
    schema["properties"] |= {
        "n": {"type": "integer", "minimum": 1, "allOf": [{"$ref": "#/$defs/d60"}]},
        "word": {"$ref": "#/$defs/word"},
        "rows": {"type": "array", "items": {"enum": ["a", "b"]}},
    }
    schema["$defs"]["word"] = {"type": "string", "maxLength": 3}
    schema["required"] = ["n"]
    accepts = SchemaChecks(schema).reduced.validator.is_valid
    assert accepts({"n": 1, "a": 5, "word": "abc", "rows": ["a"]})
    for wrong in ({}, {"n": "1"}, {"n": 0}, {"n": 1, "word": "abcd"}, {"n": 1, "rows": ["c"]}):
        assert not accepts(wrong)


def test_the_reduced_form_of_an_unsound_schema_is_valid() -> None:
    properties = {"a": {"type": ["integer", 5], "minLength": -1}, "b": 7}
    assert reduced_form({"type": "strange", "required": "a", "properties": properties}, 100) == {
        "properties": {"a": {}, "b": {}}
    }
