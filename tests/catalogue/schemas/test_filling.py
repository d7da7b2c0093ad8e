"""What goes into a schema of limited size, and in which order."""

from random import Random

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from utcp_bridge.catalogue.schemas.parts import SharedParts
from utcp_bridge.catalogue.schemas.portable import input_in_steps, portable_input, portable_output
from utcp_bridge.tasks import at_once

LONG = "word " * 100


def listed(schema, most_bytes):
    ported = portable_input(schema, most_bytes)
    assert len(orjson.dumps(ported.schema)) <= most_bytes
    return ported.schema, ported.cut


def nested(levels, leaf):
    for _ in range(levels):
        leaf = {"type": "object", "properties": {"x": leaf}}
    return leaf


def test_a_schema_that_fits_is_left_alone():
    schema = {"type": "object", "properties": {"a": {"type": "string", "title": "A", "examples": ["x"]}}}
    assert listed(schema, len(orjson.dumps(schema))) == (schema, ())


@pytest.mark.parametrize(
    ("bulk", "lost"),
    [
        ({"type": "string", "examples": [LONG * 4]}, ("examples",)),
        (nested(3, {"type": "string", "description": LONG * 4}), ("long descriptions",)),
        (nested(30, {"type": "string"}), ("deep levels",)),
        ({"type": "string", "enum": [f"value{number}" for number in range(200)]}, ("long enums",)),
    ],
)
def test_what_a_model_needs_least_is_omitted(bulk, lost):
    schema = {"type": "object", "properties": {"keep": {"type": "string", "description": "Stay."}, "bulk": bulk}}
    made, cut = listed(schema, 600)
    assert cut == lost
    assert made["properties"]["keep"] == {"type": "string", "description": "Stay."}
    assert made["properties"]["bulk"]["type"] == bulk["type"]


def test_a_long_enumeration_becomes_a_description_with_its_first_values():
    schema = {
        "type": "object",
        "properties": {"a": {"description": "Pick.", "enum": [f"v{number}" for number in range(400)]}},
    }
    described = listed(schema, 500)[0]["properties"]["a"]
    assert described["description"] == "Pick. One of 400 values: v0, v1, v2, v3, v4, v5, v6, v7, …"


def test_a_long_description_takes_the_room_that_is_left():
    words = " ".join(f"word{number}" for number in range(500))
    schema = {"type": "object", "properties": {"a": {"type": "string", "description": words}}}
    shown = listed(schema, 1_000)[0]["properties"]["a"]["description"]
    assert words.startswith(shown.removesuffix("…").rstrip())
    assert 800 < len(shown) < 1_000


def test_required_properties_come_before_others_and_keep_their_order():
    properties = {f"p{number}": {"type": "string"} for number in range(100)}
    made, cut = listed({"type": "object", "properties": properties, "required": ["p97", "p7"]}, 300)
    assert list(made["properties"])[-1] == "p97"
    assert made["required"] == ["p97", "p7"]
    assert "optional arguments" in cut


def test_described_properties_come_before_bare_ones():
    inner = {
        f"p{number}": {"type": "string", **({"description": "Say."} if number > 90 else {})} for number in range(99)
    }
    made, _ = listed({"type": "object", "properties": {"o": {"type": "object", "properties": inner}}}, 400)
    assert {f"p{number}" for number in range(91, 99)} <= made["properties"]["o"]["properties"].keys()


def test_an_object_that_lost_properties_says_nothing_of_others():
    properties = {f"p{number}": {"type": "string"} for number in range(100)}
    schema = {
        "type": "object",
        "properties": {"o": {"properties": properties, "additionalProperties": {"type": "null"}}},
    }
    assert "additionalProperties" not in listed(schema, 400)[0]["properties"]["o"]


def test_branches_go_in_together_or_not_at_all():
    branches = [{"type": "object", "properties": {f"p{number}": {"type": "string"}}} for number in range(60)]
    for most_bytes in range(150, 3_000, 50):
        made, _ = listed({"type": "object", "properties": {"a": {"anyOf": branches}}}, most_bytes)
        shown = made["properties"]["a"]
        # equal branches are joined, so that one that has no room for its properties may be the only one of its kind
        assert shown == {"type": "object"} or {"type": "object"} in shown["anyOf"] or len(shown["anyOf"]) == 60


def test_a_schema_without_room_for_anything_becomes_an_open_object():
    properties = {f"p{number}": {"type": "string"} for number in range(100)}
    made, cut = listed({"type": "object", "properties": properties, "required": list(properties)}, 60)
    assert made["type"] == "object"
    assert cut


def test_a_schema_that_json_cannot_represent_becomes_an_open_object():
    made = portable_input({"type": "object", "properties": {"a": {"const": {1: object()}}}}, 9_999).schema
    assert made == {"type": "object", "properties": {"a": {}}}


def test_an_output_schema_keeps_names_and_types_of_its_upper_levels():
    leaf = {"type": "string", "description": "What it is. " * 5}
    inner = {"type": "object", "properties": {f"inner{number}": leaf for number in range(5)}}
    schema = {"type": "object", "properties": {f"member{number}": inner for number in range(4)}}
    made = portable_output(schema, 16_384)
    assert len(orjson.dumps(made.schema)) <= 1_024
    assert made.schema["properties"]["member3"]["properties"]["inner4"]["type"] == "string"
    assert made.cut


# --- what holds of each


SEEDS = st.integers(0, 2**32)


def large_schema(seed, *, with_defaults=False):
    """A schema of some hundred kilobytes over definitions that name one another. Some defaults are of a wrong type."""
    random = Random(seed)
    names = [f"D{number}" for number in range(random.randint(2, 60))]

    def sub(depth):
        kind = random.randrange(8) if depth else 4
        about = {"description": "Say what it is, in words. " * random.randrange(6)} if random.random() < 0.7 else {}
        if kind == 5:
            return whole(depth - 1)
        if kind < 3:
            inner = [sub(depth - 1) for _ in range(3)]
            forms = (
                {"type": "array", "items": inner[0]},
                {"anyOf": inner},
                {"type": "object", "additionalProperties": inner[0]},
            )
            return {**forms[kind], **about}
        if kind == 3:
            return {"enum": [f"value{number}" for number in range(random.randrange(1, 90))], **about}
        if kind == 4:
            default = {"default": random.choice(["text", 7])} if with_defaults and random.random() < 0.2 else {}
            return {"type": random.choice(["string", "integer", "boolean"]), **default, **about}
        return {"$ref": f"#/$defs/{random.choice(names)}", **about}

    def whole(depth):
        properties = {f"p{number}": sub(depth) for number in range(random.randrange(1, 12))}
        return {"type": "object", "properties": properties, "required": list(properties)[:: random.randrange(2, 5)]}

    return {**whole(4), "$defs": {name: whole(3) for name in names}}


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(SEEDS, st.sampled_from([2_000, 6_000, 16_384]))
def test_a_cut_schema_uses_its_bytes_and_is_listed_as_it_is(seed, most_bytes):
    schema = large_schema(seed)
    ported = portable_input(schema, most_bytes)
    size = len(orjson.dumps(ported.schema))
    assert size <= most_bytes
    if set(ported.cut) - {"examples"}:
        assert size >= 0.8 * most_bytes
    assert portable_input(ported.schema, most_bytes).schema == ported.schema
    assert portable_input(schema, most_bytes) == ported


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(SEEDS, min_size=2, max_size=4), st.sampled_from([2_000, 16_384]))
def test_what_other_tools_share_does_not_change_what_is_listed(seeds, most_bytes):
    parts, schemas = SharedParts(), [large_schema(seed, with_defaults=True) for seed in seeds]
    for schema in [*schemas, *reversed(schemas)]:
        shared = at_once(input_in_steps(parts.cleaned(schema), most_bytes, parts))
        assert shared == portable_input(schema, most_bytes)
