"""Schemas and their own values, over drawn schemas: a tool accepts what its document shows, or says what it changed."""

import json
import random
from collections import Counter

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.upstreams.faulty import answer, faulty_server

from utcp_bridge.client.client import UtcpClient
from utcp_bridge.dialects.openapi import ConversionOptions, convert

VERSIONS = ("2.0", "3.0.3", "3.1.0")
TEXTS = st.sampled_from(["", "a", "ab", "2012", "-1", "1.5", "true", "FALSE", "é", "null", "[1]", "{}"])
PLAIN = st.integers(-5, 12) | st.sampled_from([0.5, 1.0, -2.5]) | st.booleans() | st.none() | TEXTS
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
    max_leaves=4,
)
BOUND, SIZE = st.integers(-3, 8), st.integers(0, 4)


def keywords(values):
    """Keywords of one schema in any combination, so that most of them contradict one another."""
    return st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["string", "integer", "number", "boolean", "array", "object"]),
            "enum": st.lists(values, min_size=1, max_size=4),
            "const": values,
            "default": values,
            "example": values,
            "examples": st.lists(values, min_size=1, max_size=3),
            "minimum": BOUND,
            "maximum": BOUND,
            "exclusiveMinimum": BOUND,
            "exclusiveMaximum": BOUND,
            "multipleOf": st.sampled_from([2, 0.5, 5]),
            "minLength": SIZE,
            "maxLength": SIZE,
            "pattern": st.sampled_from(["^a", "^[0-9]+$", "b$", "^(?!x)a"]),
            "minItems": SIZE,
            "maxItems": SIZE,
            "uniqueItems": st.booleans(),
            "minProperties": SIZE,
            "maxProperties": SIZE,
            "required": st.lists(st.sampled_from("abz"), max_size=2, unique=True),
            "nullable": st.booleans(),
        },
    )


SCHEMAS = st.one_of(
    keywords(VALUES),
    st.builds(lambda outer, items: {**outer, "items": items}, keywords(VALUES), keywords(PLAIN)),
    st.builds(
        lambda outer, a, b: {**outer, "properties": {"a": a, "b": b}},
        keywords(VALUES), keywords(PLAIN), keywords(PLAIN),
    ),
)  # fmt: skip


def converted(schema, version):
    """The conversion of a document whose one operation takes a value of this schema."""
    body = {"type": "object", "properties": {"value": schema}}
    info = {"info": {"title": "t", "version": "1"}}
    if version == "2.0":
        operation = {"parameters": [{"name": "body", "in": "body", "schema": body}], "responses": {}}
        document = {"swagger": version, "host": "api.example.com", **info, "paths": {"/x": {"post": operation}}}
    else:
        operation = {"requestBody": {"content": {"application/json": {"schema": body}}}, "responses": {}}
        servers = [{"url": "https://api.example.com"}]
        document = {"openapi": version, "servers": servers, **info, "paths": {"/x": {"post": operation}}}
    return convert(document, url=None, options=ConversionOptions())


def parts(schema):
    """A schema and what is within it."""
    yield schema
    inner = [*schema.get("properties", {}).values(), *schema.get("anyOf", []), *schema.get("allOf", [])]
    for part in [*inner, schema.get("items")]:
        if isinstance(part, dict):
            yield from parts(part)


def refused(schema):
    """The keywords whose values a schema refuses itself."""
    accepts = jsonschema_rs.Draft202012Validator(schema).is_valid
    if "enum" in schema and not any(map(accepts, schema["enum"])):
        yield "enum"
    for key in ("const", "default"):
        if key in schema and not accepts(schema[key]):
            yield key
    if not all(map(accepts, schema.get("examples", []))):
        yield "examples"


@settings(max_examples=400, deadline=None)
@given(SCHEMAS, st.sampled_from(VERSIONS))
def test_a_tool_accepts_each_value_that_its_schema_shows(schema, version):
    made = converted(schema, version)
    shown = made.tools[0].inputs["properties"].get("value", {})
    assert [(key, part) for part in parts(shown) for key in refused(part)] == []


@settings(max_examples=200, deadline=None)
@given(SCHEMAS, st.sampled_from(VERSIONS))
def test_a_schema_that_contradicts_itself_is_one_diagnostic(schema, version):
    places = Counter(fault.where for fault in converted(schema, version).faults if "contradicts" in fault.what)
    assert set(places.values()) <= {1}


def around(value):
    """Schemas that accept a value in each of their keywords."""
    below, above = st.integers(0, 3), st.integers(0, 3)
    shown = {"default": st.just(value), "examples": st.just([value]), "enum": st.just([value, "other"])}
    if isinstance(value, str):
        own = {
            "type": st.just("string"),
            "minLength": below.map(lambda size: max(0, len(value) - size)),
            "maxLength": above.map(lambda size: len(value) + size),
        }
    elif isinstance(value, int):
        own = {
            "type": st.sampled_from(["integer", "number"]),
            "minimum": below.map(lambda size: value - size),
            "maximum": above.map(lambda size: value + size),
        }
    elif isinstance(value, list):
        own = {"type": st.just("array"), "maxItems": above.map(lambda size: len(value) + size)}
    else:
        own = {"type": st.just("object"), "required": st.just([*value]), "properties": st.just({"a": {}, "b": {}})}
    return st.fixed_dictionaries({}, optional={**shown, **own})


SOUND = (TEXTS | st.integers(-5, 12) | st.lists(PLAIN, max_size=3) | st.just({"a": 1, "b": [None]})).flatmap(around)


@settings(max_examples=200, deadline=None)
@given(SOUND, st.sampled_from(VERSIONS))
def test_a_schema_that_accepts_its_own_values_is_left_as_it_is(schema, version):
    made = converted(schema, version)
    assert made.faults == []
    shown = made.tools[0].inputs["properties"]["value"]
    assert {key: shown[key] for key in schema if key != "examples"} == {
        key: value for key, value in schema.items() if key != "examples"
    }


@pytest.mark.parametrize(
    ("schema", "what"),
    [
        ({"type": "number", "multipleOf": 5, "enum": [1, 2]}, "`multipleOf` refuses each value of `enum`"),
        ({"type": "array", "uniqueItems": True, "default": [1, 1]}, "`uniqueItems` refuses the values"),
        ({"type": "object", "required": ["z"], "const": {"a": 1}}, "`required` refuses each value of `const`"),
        ({"type": "object", "required": ["z"], "examples": [{"a": 1}]}, "the examples are not values"),
        ({"properties": {"a": {"type": "string"}}, "default": {"a": 1}}, "`default` is not a value"),
        ({"additionalProperties": False, "properties": {}, "examples": [{"a": 1}]}, "the examples are not values"),
        ({"items": {"type": "string"}, "enum": [[1], [2]]}, "what is within refuses each value of `enum`"),
        ({"const": 1, "default": 2}, "`default` is not a value"),
        ({"anyOf": [{"type": "string"}, {"type": "boolean"}], "default": 5}, "`default` is not a value"),
        ({"pattern": "^(?!a)", "default": "ab"}, "`pattern` refuses the values"),
    ],
)
def test_each_kind_of_contradiction_is_named(schema, what):
    (fault,) = converted(schema, "3.1.0").faults
    assert what in fault.what


# --- what was read, changed and sent back ---


def drawn_object(draw, definitions, depth=0):
    """The schema of an object, a value of it that a server may send, and what a server takes back of it."""
    members, required, sent, taken = {}, [], {}, {}
    for name in "abcdef"[: draw.randint(1, 6)]:
        schema, value = draw.choice([({"type": "integer"}, 5), ({"type": "string"}, "x"), ({"type": "boolean"}, True)])
        back = value
        if depth < 3 and draw.random() < 0.4:
            schema, value, back = drawn_object(draw, definitions, depth + 1)
            schema, value, back = draw.choice(WRAPPED)(schema, value, back)
        mark = None if name == "a" else draw.choice([None, None, "readOnly", "writeOnly"])
        members[name] = {**schema, mark: True} if mark else schema
        if draw.random() < 0.5 and mark != "writeOnly":
            required.append(name)
        if mark != "writeOnly":
            sent[name] = value
        if mark is None:
            taken[name] = back
    schema = {"type": "object", "properties": members, "required": required}
    if draw.random() < 0.3:
        schema["additionalProperties"] = False
    elif depth and draw.random() < 0.3:
        schema = {"allOf": [{"type": "object", "properties": members}, {"required": required}]}
    if depth and draw.random() < 0.3:
        name = f"D{len(definitions)}"
        definitions[name], schema = schema, {"$ref": f"#/components/schemas/{name}"}
    return schema, sent, taken


WRAPPED = [
    lambda schema, value, back: (schema, value, back),
    lambda schema, value, back: ({"type": "array", "items": schema}, [value, value], [back, back]),
    lambda schema, value, back: ({"type": "object", "additionalProperties": schema}, {"k": value}, {"k": back}),
    lambda schema, value, back: ({"oneOf": [schema, {"type": "string"}]}, value, back),
]


@pytest.mark.anyio
async def test_objects_that_were_read_are_accepted_when_they_are_sent_back():
    draw, definitions = random.Random(11), {}
    objects = [drawn_object(draw, definitions) for _ in range(80)]
    async with faulty_server() as server:
        paths = {}
        for number, (schema, sent, _) in enumerate(objects):
            content = {"application/json": {"schema": schema}}
            paths[f"/o/{number}"] = {
                "get": {
                    "operationId": f"read{number}",
                    "responses": {"200": {"description": "ok", "content": content}},
                },
                "put": {"operationId": f"write{number}", "requestBody": {"required": True, "content": content}},
            }
            server.answers[f"/o/{number}"] = answer(json.dumps(sent).encode())
        info, servers = {"title": "t", "version": "1"}, [{"url": server.url}]
        document = {"openapi": "3.1.0", "info": info, "servers": servers, "paths": paths}
        document["components"] = {"schemas": definitions}
        entry = {"name": "a", "call_template_type": "text", "content": document}
        async with await UtcpClient.create({"manual_call_templates": [entry]}) as client:
            for number in range(len(objects)):
                found = await client.call_tool(f"a.read{number}", {})
                await client.call_tool(f"a.write{number}", found)
    written = [json.loads(one.body) for one in server.requests if one.method == "PUT"]
    assert written == [taken for _, _, taken in objects]
