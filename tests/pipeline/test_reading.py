"""The lenient reading of arguments: each mistake that models make, and what must never change.

The properties draw a schema together with a value that fits it. Then they spoil the value as hosts do (text for
numbers, objects and lists, nulls for what is not set, one value for a list of one), and expect the value back.
"""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.errors import InvalidArguments
from utcp_bridge.model import JsonObject
from utcp_bridge.pipeline.reading import ArgumentReader, WholeNumbers, as_arguments, object_in
from utcp_bridge.pipeline.schema_checks import SchemaChecks


def fields(**properties: Any) -> JsonObject:
    """An object schema."""
    return {"type": "object", "properties": properties}


def needs(name: str, **properties: Any) -> JsonObject:
    """An object schema with one required member."""
    return {**fields(**properties), "required": [name]}


def read(schema: JsonObject, arguments: JsonObject) -> JsonObject:
    return ArgumentReader(schema).read(arguments).arguments


INTEGER = {"type": "integer"}
TEXT = {"type": "string"}
TEXTS = {"type": "array", "items": TEXT}
TREE = {
    "$defs": {"node": needs("v", v=INTEGER, note=TEXT, kids={"type": "array", "items": {"$ref": "#/$defs/node"}})},
    **needs("tree", tree={"$ref": "#/$defs/node"}),
}


@pytest.mark.parametrize(
    ("schema", "given", "expected"),
    [
        (INTEGER, "5", 5),
        (INTEGER, " -7 ", -7),
        (INTEGER, "5.0", 5),
        (INTEGER, "123456789012345678901", 123456789012345678901),
        ({"type": "number"}, "0.1", 0.1),
        ({"type": "number"}, "1e3", 1000.0),
        ({"type": "boolean"}, "true", True),
        ({"type": "boolean"}, "False", False),
        ({"type": ["integer", "null"]}, "5", 5),
        ({"type": ["integer", "null"]}, "null", None),
        ({"anyOf": [{"type": "object"}, {"type": "null"}]}, '{"k": 1}', {"k": 1}),
        ({"oneOf": [INTEGER, {"type": "boolean"}]}, "true", True),
        ({"anyOf": [{"type": "string", "enum": ["auto"]}, INTEGER]}, "5", 5),
        ({"allOf": [{"minimum": 1}, {"anyOf": [INTEGER, {"type": "null"}]}]}, "5", 5),
        ({"enum": [5, 6]}, "5", 5),
        ({"const": True}, "true", True),
        ({"type": "string", "enum": ["true", "false"]}, False, "false"),
        ({"type": ["string", "integer"], "enum": [5]}, "5", 5),
        (TEXTS, '["a", "b"]', ["a", "b"]),
        (TEXTS, '"[\\"a\\"]"', ["a"]),
        (TEXTS, "urgent", ["urgent"]),
        (TEXTS, "https://shop.example/a?b=1", ["https://shop.example/a?b=1"]),
        ({"type": "array", "items": INTEGER}, 5, [5]),
        ({"type": "array", "items": INTEGER}, "5", [5]),
        ({"type": "array", "items": fields(n=INTEGER)}, {"n": "1"}, [{"n": 1}]),
        ({"type": "array", "items": fields(n=INTEGER)}, '{"n": "1"}', [{"n": 1}]),
        ({"anyOf": [TEXTS, INTEGER]}, "5", 5),
        ({"anyOf": [TEXTS, {"type": "null"}]}, "urgent", ["urgent"]),
        (fields(tags=TEXTS, n=INTEGER), '{"tags": "x", "n": "3"}', {"tags": ["x"], "n": 3}),
        ({"type": "array", "prefixItems": [INTEGER, TEXT]}, ["1", "2"], [1, "2"]),
        ({"type": "array", "items": [INTEGER], "additionalItems": {"type": "boolean"}}, ["1", "true"], [1, True]),
        ({"type": "object", "patternProperties": {"^n": INTEGER}, "additionalProperties": TEXT}, {"n1": "1", "o": "1"},
         {"n1": 1, "o": "1"}),
        ({"if": needs("n"), "then": fields(n=INTEGER), "else": fields(m=INTEGER)}, {"n": "1", "m": "1"},
         {"n": 1, "m": "1"}),
        ({"type": "object", "dependentSchemas": {"a": fields(n=INTEGER)}}, {"a": 1, "n": "1"}, {"a": 1, "n": 1}),
    ],
    ids=str,
)  # fmt: skip
def test_a_value_that_does_not_fit_is_read_by_its_schema(schema: JsonObject, given: Any, expected: Any) -> None:
    root = (
        {**fields(a=schema), "$schema": "http://json-schema.org/draft-07/schema#"}
        if "additionalItems" in schema
        else fields(a=schema)
    )
    got = read(root, {"a": given})
    assert got == {"a": expected}
    assert type(got["a"]) is type(expected)


@pytest.mark.parametrize(
    ("schema", "given"),
    [
        (INTEGER, "five"),
        (INTEGER, "5.5"),
        (INTEGER, "0x10"),
        (INTEGER, "5,000"),
        (INTEGER, ""),
        (INTEGER, "٣"),
        (INTEGER, "1" * 400),
        ({"type": "number"}, "1e400"),
        ({"type": "number"}, "NaN"),
        ({"type": "number"}, "-Infinity"),
        ({"type": "array", "items": {"type": "number"}}, "[1e999]"),
        ({"type": "boolean"}, "yes"),
        ({"type": "boolean"}, 1),
        (INTEGER, "null"),
        (TEXT, 5),
        (TEXT, True),
        ({"type": "string", "enum": ["yes", "no"]}, True),
        ({"enum": ["S", "M"]}, "s"),
        (TEXTS, "not json"),
        (TEXTS, "a,b"),
        (TEXTS, "[broken"),
        (TEXTS, ["a", None]),
        ({"type": "array", "items": {"enum": ["S"]}}, "XL"),
        ({"type": "object"}, "[1]"),
        (needs("n", n=INTEGER), {"n": None}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_read_stays_as_it_was_sent(schema: JsonObject, given: Any) -> None:
    arguments = {"a": given}
    assert read(fields(a=schema), arguments) is arguments


def test_nulls_are_dropped_at_any_depth_where_the_member_is_optional_and_not_nullable() -> None:
    sent = {"tree": {"v": 1, "note": None, "kids": [{"v": 2, "note": None, "kids": None}, {"v": 3, "kids": []}]}}
    assert read(TREE, sent) == {"tree": {"v": 1, "kids": [{"v": 2}, {"v": 3, "kids": []}]}}
    assert sent["tree"]["note"] is None, "the caller's arguments are not changed"


def test_a_null_that_the_schema_accepts_stays_next_to_one_that_is_dropped() -> None:
    schema = fields(a={"type": ["string", "null"]}, b={}, c=TEXT)
    assert read(schema, {"a": None, "b": None, "c": None, "d": None}) == {"a": None, "b": None, "d": None}


@pytest.mark.parametrize("word", ["anyOf", "oneOf"])
def test_nulls_for_the_members_of_other_branches_are_dropped(word: str) -> None:
    card = {**needs("card", card=TEXT, kind={"const": "card"}), "additionalProperties": False}
    bank = {**needs("iban", iban=TEXT, kind={"const": "bank"}), "additionalProperties": False}
    sent = {"kind": "bank", "iban": "x", "card": None}
    assert read({"type": "object", word: [card, bank]}, sent) == {"kind": "bank", "iban": "x"}


BODY = needs("n", n=INTEGER, s=TEXT)


@pytest.mark.parametrize(
    ("schema", "given", "expected"),
    [
        (needs("body", body=BODY), {"n": 1, "s": "x"}, {"body": {"n": 1, "s": "x"}}),
        (needs("body", body=BODY, dry={"type": "boolean"}), {"n": "1", "dry": "true"}, {"body": {"n": 1}, "dry": True}),
        (needs("map", map={"type": "object", "additionalProperties": TEXT}), {"team": "a"}, {"map": {"team": "a"}}),
        (fields(deep=needs("body", body=BODY)), {"deep": {"n": 1}}, {"deep": {"body": {"n": 1}}}),
        (BODY, {"arguments": {"n": 1}}, {"n": 1}),
        (BODY, {"input": '{"n": "1", "s": null}'}, {"n": 1}),
        (needs("body", body=BODY), {"params": {"n": 1}}, {"body": {"n": 1}}),
    ],
)  # fmt: skip
def test_one_wrapper_too_few_or_too_many_is_repaired(
    schema: JsonObject, given: JsonObject, expected: JsonObject
) -> None:
    assert read(schema, given) == expected


@pytest.mark.parametrize(
    ("schema", "given"),
    [
        (needs("body", body={"type": "object"}), {"boddy": {"n": 1}}),
        (needs("body", body={}), {"n": 1}),
        (needs("body", body=BODY), {"m": 1}),
        (needs("body", body=BODY), {}),
        ({**fields(a=BODY, b=BODY), "required": ["a", "b"]}, {"n": 1}),
        (needs("n", n=INTEGER, input={"type": "object"}), {"input": {"n": 1}}),
        (BODY, {"arguments": {"n": 1}, "more": 1}),
        (BODY, {"payload": {"n": 1}}),
    ],
)
def test_members_are_not_moved_if_it_is_not_clear_where_they_belong(schema: JsonObject, given: JsonObject) -> None:
    assert read(schema, given) == given


def test_changes_name_places_and_types_and_no_values() -> None:
    changes = ArgumentReader(TREE).read({"tree": {"v": "777", "note": None, "kids": [{"v": "778"}]}}).changes
    assert changes == (
        "tree.v: text was read as integer",
        "tree.note: null was dropped",
        "tree.kids[0].v: text was read as integer",
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [('{"a": 1}', {"a": 1}), (" {}", {}), ("[1]", "[1]"), ("{broken", "{broken"), ('"{}"', '"{}"'), (None, None)],
)
def test_an_object_is_found_in_text(value: Any, expected: Any) -> None:
    assert object_in(value) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [(None, {}), ("", {}), (" ", {}), ({}, {}), ({"a": 1}, {"a": 1}), ('{"a": "1"}', {"a": "1"})],
)
def test_a_program_may_pass_a_mapping_its_json_text_or_nothing(given: Any, expected: JsonObject) -> None:
    assert as_arguments(given) == expected


@pytest.mark.parametrize("given", ["[1]", "words", [1], [], [["a", 1]], 3])
def test_other_values_are_not_arguments(given: Any) -> None:
    with pytest.raises(InvalidArguments, match="not an object"):
        as_arguments(given)


# --- what bounds the work


def doubling(levels: int) -> JsonObject:
    """Each level has two ways to the next one, in the value: 2^levels ways to read it."""
    definitions: JsonObject = {"d0": INTEGER}
    for level in range(1, levels + 1):
        below = {"$ref": f"#/$defs/d{level - 1}"}
        definitions[f"d{level}"] = {"anyOf": [fields(a=below), needs("b", a=below, b=TEXT)]}
    return {**fields(a={"$ref": f"#/$defs/d{levels}"}), "$defs": definitions}


def nested(levels: int, leaf: Any) -> Any:
    value = leaf
    for _ in range(levels):
        value = {"a": value}
    return value


def test_branches_that_multiply_with_the_depth_of_the_value_end() -> None:
    arguments = nested(31, "no number")
    checks = SchemaChecks(doubling(30))
    assert checks.form_for(nested(5, 1)) is checks.whole
    assert checks.form_for(arguments) is checks.reduced
    assert read(doubling(30), arguments) is arguments
    assert read(doubling(3), nested(4, "5")) == nested(4, 5)


@pytest.mark.parametrize("levels", [45, 150, 300, 3000])
def test_values_deeper_than_the_bound_stay_as_they_were_sent(levels: int) -> None:
    arguments = {"n": "5", "deep": nested(levels, 1)}
    assert read(fields(n=INTEGER, deep=True), arguments)["deep"] is arguments["deep"]
    recursive = {**fields(n=INTEGER, a={"$ref": "#"}), "required": ["n"]}
    assert read(recursive, {"a": nested(levels, 1)})["a"] is not None


def test_many_values_are_read_up_to_the_bound() -> None:
    rows = {"rows": [str(number) for number in range(5_000)]}
    schema = fields(rows={"type": "array", "items": INTEGER})
    assert read(schema, rows) == {"rows": list(range(5_000))}
    many = {"rows": ["1"] * 200_000}
    assert read(schema, many) is many


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}], "required": ["b"]},
        {"anyOf": [{"$ref": "#"}], "required": ["b"]},
        {"anyOf": [{"$ref": "#"}, {"$ref": "#"}, {"oneOf": [{"$ref": "#"}, {"$ref": "#"}]}], "required": ["b"]},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, **fields(a={"$ref": "#/$defs/a"})},
    ],
)
def test_references_in_a_circle_end(schema: JsonObject) -> None:
    assert read(schema, {"a": "1"}) == {"a": "1"}


@pytest.mark.parametrize("key", ["a/b", "a~b", "a b", "%41", "é", "", "#", '"', "a\nb"])
def test_any_name_of_a_member_leads_to_its_schema(key: str) -> None:
    definitions = {key: fields(**{key: INTEGER})}
    pointer = "#/$defs/" + quote(key.replace("~", "~0").replace("/", "~1"), safe="~")
    schema = {**fields(**{key: {"$ref": pointer}}), "$defs": definitions}
    assert read(schema, {key: {key: "5"}}) == {key: {key: 5}}


# --- properties

Made = tuple[JsonObject, Any, Any]
"""A schema, a value that fits it, and the same value as a careless host sends it."""
NAMES = st.sampled_from(["a", "b", "c/d", "é"])


@st.composite
def scalars(draw: Callable[..., Any]) -> Made:
    schema, values = draw(
        st.sampled_from(
            [
                (INTEGER, st.integers(-(10**20), 10**20)),
                ({"type": "number"}, st.floats(allow_nan=False, allow_infinity=False, width=32)),
                ({"type": "boolean"}, st.booleans()),
                ({"type": ["integer", "null"]}, st.integers(-9, 9)),
                ({"enum": [1, 2, None]}, st.sampled_from([1, 2])),
            ]
        )
    )
    value = draw(values)
    return schema, value, json.dumps(value) if draw(st.booleans()) else value


texts = st.text(max_size=6).map(lambda text: (TEXT, text, text))


@st.composite
def arrays(draw: Callable[..., Any], inner: st.SearchStrategy[Made]) -> Made:
    schema, value, spoiled = draw(inner)
    count = draw(st.integers(0, 2))
    values, sent = [value] * count, [spoiled] * count
    how = draw(st.sampled_from(["as it is", "text", "alone"]))
    array = {"type": "array", "items": schema}
    if how == "alone" and count == 1 and type(value) in {int, bool, float, dict}:
        return array, values, spoiled
    return array, values, json.dumps(sent) if how == "text" else sent


@st.composite
def objects(draw: Callable[..., Any], inner: st.SearchStrategy[Made], *, as_text: bool = True) -> Made:
    members = draw(st.dictionaries(NAMES, inner, max_size=3))
    absent = draw(st.sets(NAMES, max_size=2)) - members.keys()
    schema: JsonObject = fields(**{name: made[0] for name, made in members.items()})
    schema["properties"] |= {name: draw(inner)[0] for name in sorted(absent)}
    if draw(st.booleans()):
        schema["required"] = list(members)
    value = {name: made[1] for name, made in members.items()}
    sent = {name: made[2] for name, made in members.items()}
    sent |= {name: None for name in absent if not accepts(schema["properties"][name], None)}
    return schema, value, json.dumps(sent) if as_text and draw(st.booleans()) else sent


made_values = st.recursive(scalars() | texts, lambda inner: arrays(inner) | objects(inner), max_leaves=5)
made_arguments = objects(made_values, as_text=False)


def accepts(schema: JsonObject, value: Any) -> bool:
    return jsonschema_rs.validator_for(schema).is_valid(value)


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal, also in the types of their numbers."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@given(made_arguments)
def test_what_was_spoiled_on_the_way_is_read_as_it_was_meant(made: Made) -> None:
    schema, value, sent = made
    got = read(schema, sent)
    assert accepts(schema, got)
    assert got == value


@given(made_arguments, st.sampled_from(["allOf", "anyOf", "oneOf", "$ref"]))
def test_spoiled_arguments_are_read_through_branches_and_references(made: Made, word: str) -> None:
    schema, value, sent = made
    whole = {
        "$ref": {"$defs": {"it": schema}, **fields(it={"$ref": "#/$defs/it"})},
        "allOf": fields(it={"allOf": [schema]}),
    }.get(word) or fields(it={word: [schema, {"type": "null"}]})
    got = read(whole, {"it": sent})
    assert got == {"it": value}


ANY_VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from(["", "1", "true", "null", "[1]", '{"a": "1"}', "x"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=6,
)  # fmt: skip
TYPES = st.sampled_from(["string", "integer", "number", "boolean", "null", "array", "object"])


def any_keywords(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[JsonObject]:
    some = st.lists(inner, min_size=1, max_size=2)
    named = st.dictionaries(NAMES, inner, max_size=2)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": TYPES | st.lists(TYPES, min_size=1, max_size=3, unique=True),
            "properties": named,
            "patternProperties": st.dictionaries(st.sampled_from(["a", "^b"]), inner, max_size=1),
            "additionalProperties": inner,
            "unevaluatedProperties": inner,
            "required": st.lists(NAMES, max_size=2, unique=True),
            "items": inner,
            "prefixItems": some,
            "anyOf": some,
            "oneOf": some,
            "allOf": some,
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
            "dependentSchemas": named,
            "enum": st.lists(ANY_VALUE, min_size=1, max_size=2),
            "const": ANY_VALUE,
            "$ref": st.just("#"),
        },
    )


ANY_SCHEMA = any_keywords(st.recursive(st.booleans(), any_keywords, max_leaves=4))
ANY_ARGUMENTS = st.dictionaries(NAMES | st.just("input"), ANY_VALUE, max_size=3)


@given(ANY_SCHEMA, ANY_ARGUMENTS)
def test_whatever_any_schema_accepts_is_returned_as_the_same_object(schema: JsonObject, arguments: JsonObject) -> None:
    reading = ArgumentReader(schema).read(arguments)
    if accepts(schema, arguments):
        assert reading.arguments is arguments
        assert reading.changes == ()


@given(ANY_SCHEMA, ANY_ARGUMENTS)
def test_reading_again_changes_nothing_more(schema: JsonObject, arguments: JsonObject) -> None:
    sent = json.dumps(arguments)
    once = read(schema, arguments)
    assert json.dumps(arguments) == sent, "the caller's arguments are not changed"
    assert same(read(schema, once), once)


@given(ANY_SCHEMA, ANY_ARGUMENTS)
def test_a_member_that_its_schema_accepts_stays(schema: JsonObject, arguments: JsonObject) -> None:
    whole = fields(a=schema, b=INTEGER)
    got = read(whole, {"a": arguments, "b": "5"})
    assert got["b"] == 5
    if accepts(whole, {"a": arguments}):
        assert got["a"] is arguments


# --- numbers without a fraction -------------------------------------------------------------------------------------


def whole(schema: JsonObject, value: Any) -> str:
    """The JSON text of one argument after the integers of its schema are written as such."""
    return json.dumps(WholeNumbers(fields(v=schema)).written({"v": value})["v"])


@pytest.mark.parametrize(
    ("schema", "text", "expected"),
    [
        (INTEGER, "1.0", "1"),
        (INTEGER, "-0.0", "0"),
        (INTEGER, "1e3", "1000"),
        (INTEGER, "1E+2", "100"),
        (INTEGER, "9007199254740993", "9007199254740993"),
        (INTEGER, "1e23", "100000000000000000000000"),
        (INTEGER, "18446744073709551616.0", "18446744073709552000"),
        (INTEGER, "1.5", "1.5"),
        ({"type": ["integer", "null"]}, "2.0", "2"),
        ({"type": ["integer", "number"]}, "2.0", "2.0"),
        ({"type": "number"}, "2.0", "2.0"),
        ({}, "2.0", "2.0"),
        ({"type": "array", "items": INTEGER}, "[1.0, 2, 3e0]", "[1, 2, 3]"),
        ({"prefixItems": [INTEGER, {"type": "number"}], "items": INTEGER}, "[1.0, 1.0, 1.0]", "[1, 1.0, 1]"),
        (fields(n=INTEGER, x={"type": "number"}), '{"n": 1.0, "x": 1.0, "y": 1.0}', '{"n": 1, "x": 1.0, "y": 1.0}'),
        ({"additionalProperties": INTEGER}, '{"a": 5.0}', '{"a": 5}'),
        ({"patternProperties": {"^n": INTEGER}}, '{"n1": 5.0}', '{"n1": 5}'),
        ({"oneOf": [TEXT, INTEGER]}, "7.0", "7"),
        ({"anyOf": [fields(id=INTEGER), {"type": "array", "items": INTEGER}]}, "[7.0]", "[7]"),
        ({"allOf": [{"type": "number"}, INTEGER]}, "7.0", "7"),
        ({"if": TEXT, "then": {}, "else": INTEGER}, "7.0", "7"),
    ],
)
def test_a_number_without_a_fraction_is_an_integer_where_the_schema_says_so(
    schema: JsonObject, text: str, expected: str
) -> None:
    assert whole(schema, json.loads(text)) == expected


def test_integers_behind_references_and_in_trees_are_found() -> None:
    tree = {"v": 1.0, "note": "1.0", "kids": [{"v": 2e2, "kids": [{"v": 3.0}]}]}
    expected = {"v": 1, "note": "1.0", "kids": [{"v": 200, "kids": [{"v": 3}]}]}
    assert json.dumps(WholeNumbers(TREE).written({"tree": tree})) == json.dumps({"tree": expected})


def test_the_given_arguments_are_not_changed_and_are_returned_if_no_number_changes() -> None:
    given = {"v": [1.0, 2]}
    assert WholeNumbers(fields(v={"items": INTEGER})).written(given) == {"v": [1, 2]}
    assert repr(given) == "{'v': [1.0, 2]}"
    for schema in (fields(v={"items": {"type": "number"}}), fields(w=INTEGER)):
        assert WholeNumbers(schema).written(given) is given
    huge = {"v": [2**70, b"bytes"]}
    assert WholeNumbers(fields(v={"items": INTEGER})).written(huge) is huge


def test_a_value_that_takes_too_long_to_look_through_stays() -> None:
    knot: JsonObject = {"type": "integer", "anyOf": []}
    knot["anyOf"] = [{"items": {"$ref": "#/$defs/k"}, "allOf": [{"$ref": "#/$defs/k"}]} for _ in range(150)]
    schema = {"$defs": {"k": knot}, **fields(v={"$ref": "#/$defs/k"})}
    given = {"v": [[1.0] * 100] * 100}
    assert WholeNumbers(schema).written(given) is given
