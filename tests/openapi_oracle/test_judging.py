"""The oracle itself: it sees a wrong request, whatever is wrong with it."""

from dataclasses import replace
from textwrap import dedent

import pytest
from tests.openapi_oracle.judging import judge
from tests.openapi_oracle.loopback import Arrived, recorder
from tests.openapi_oracle.prescribing import Prescribed
from tests.openapi_oracle.reading import Reader
from tests.openapi_oracle.running import run
from tests.openapi_oracle.samples import load
from tests.openapi_oracle.values import Values

WANTED = Prescribed(
    "POST", ["https://api.example.com/v1"], "/users/a b", [("q", "1"), ("q", "2")], {"x-h": "1"}, [("c", "é")],
    ("json", {"a": 1}), ["application/json"],
)  # fmt: skip
SENT = Arrived(
    "POST",
    "/v1/users/a%20b?q=1&q=2",
    [("Host", "api.example.com"), ("X-H", "1"), ("Cookie", "c=%C3%A9"), ("Content-Type", "application/json")],
    b'{"a":1}',
)


def test_the_prescribed_request_is_right():
    assert judge(WANTED, SENT) is None


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"method": "GET"}, "method"),
        ({"target": "/users/a%20b?q=1&q=2"}, "target"),
        ({"target": "/v1/users/a%2520b?q=1&q=2"}, "target"),
        ({"target": "/v1/users/a%20b?q=1"}, "query"),
        ({"target": "/v1/users/a%20b?q=1%2C2"}, "query"),
        ({"target": "/v1/users/a%20b?q=1+&q=2"}, "bare +"),
        ({"headers": [pair for pair in SENT.headers if pair[0] != "X-H"]}, "header"),
        ({"headers": [pair for pair in SENT.headers if pair[0] != "Cookie"]}, "cookies"),
        ({"headers": [*SENT.headers[:3], ("Content-Type", "text/plain")]}, "content type"),
        ({"headers": [("Host", "evil.example.com"), *SENT.headers[1:]]}, "target"),
        ({"body": b'{"a":2}'}, "JSON body"),
        ({"body": b""}, "no JSON"),
    ],
)
def test_a_wrong_request_is_seen(change, fault):
    assert fault in (judge(WANTED, replace(SENT, **change)) or "")


def test_a_body_that_was_not_asked_for_is_seen():
    assert judge(replace(WANTED, body=None), SENT) == "a body of 7 bytes"


@pytest.mark.parametrize(
    ("kind", "wanted", "content_type", "body"),
    [
        ("form", [("a", "1 &")], "application/x-www-form-urlencoded", b"a=1%20%26"),
        ("bytes", b"\x00", "application/octet-stream", b"\x00"),
        (
            "multipart",
            [("f", "x")],
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="f"\r\n\r\nx\r\n--b--\r\n',
        ),
    ],
)
def test_every_kind_of_body_is_compared(kind, wanted, content_type, body):
    prescribed = replace(WANTED, body=(kind, wanted), media_types=[content_type])
    arrived = replace(SENT, headers=[*SENT.headers[:3], ("Content-Type", content_type)], body=body)
    assert judge(prescribed, arrived) is None
    assert judge(
        prescribed, replace(arrived, body=body.replace(b"1", b"2").replace(b"\x00", b"\x01").replace(b"x\r", b"y\r"))
    )


SPLIT = {
    "openapi.yaml": """
        openapi: 3.0.3
        info: {title: Split, version: "1"}
        servers: [{url: "https://api.example.com/v1"}]
        paths: {"/orders/{id}": {$ref: paths/orders.yaml}}
        """,
    "paths/orders.yaml": """
        parameters: [{$ref: "../parts/parameters.yaml#/Id"}]
        put:
          parameters: [{$ref: "../parts/parameters.yaml#/Trace"}]
          requestBody: {required: true, content: {application/json: {schema: {$ref: ../schemas/Order.yaml}}}}
          responses: {"200": {description: ok}}
        """,
    "parts/parameters.yaml": """
        Id: {name: id, in: path, required: true, schema: {$ref: ../schemas/Name.yaml}}
        Trace: {name: X-Trace, in: header, required: true, schema: {$ref: "#/Text"}}
        Text: {type: string}
        """,
    "schemas/Order.yaml": """
        type: object
        required: [lines, buyer]
        properties:
          buyer: {$ref: ./Name.yaml}
          lines: {type: array, items: {$ref: ./deep/Line.yaml}}
        """,
    "schemas/Name.yaml": "{type: string, maxLength: 200}",
    "schemas/deep/Line.yaml": """
        allOf: [{$ref: "#/Bare"}, {type: object, required: [name], properties: {name: {$ref: ../Name.yaml}}}]
        Bare: {type: object, required: [count], properties: {count: {type: integer}}}
        """,
}


def test_a_document_of_many_files_is_read_by_the_place_of_each_reference(tmp_path):
    for name, text in SPLIT.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
    document, url, files = load(tmp_path / "openapi.yaml")
    assert len(files) == len(SPLIT) - 1
    (declared,) = Reader(document, url, files).operations()
    body, _ = declared.body.contents["application/json"]
    drawn = Values(Reader(document, url, files), "required", 1).of(body, "body")
    assert drawn.keys() == {"buyer", "lines"}
    assert drawn["lines"][0].keys() == {"count", "name"}
    with recorder() as loopback:
        score = run(document, url, loopback, files=files)
    assert (score.right, score.operations, score.wrong) == (1, 1, [])


@pytest.mark.parametrize(
    "schema",
    [
        {"allOf": [{"type": "object", "properties": {"a": {"type": "string"}}}, {"required": ["a"]}]},
        {"properties": {"b": {"type": "string"}}, "allOf": [{"required": ["a"], "properties": {"a": {}}}]},
        {"type": "object", "anyOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]}, {}]},
    ],
)
def test_what_any_part_of_an_object_requires_is_drawn(schema):
    document = {"openapi": "3.1.0", "paths": {}}
    assert "a" in Values(Reader(document, "https://a.example/", {}), "required", 1).of(schema, "body")


WHOLE = {"a": {"type": "object", "properties": {"b": {"type": "string"}}}}


@pytest.mark.parametrize(
    ("schema", "value", "is_accepted"),
    [
        ({"$ref": "#/components/schemas/a"}, {"b": "x"}, True),
        ({"$ref": "#/components/schemas/a"}, {"b": 1}, False),
        ({"type": "string", "maxLength": 1}, "long", True),
        ({"type": "file"}, 1, True),
        ({"$ref": "#/gone"}, 1, True),
    ],
)
@pytest.mark.parametrize("version", ["3.0.3", "3.1.0"])
def test_a_value_is_held_against_the_documents_own_schema(schema, value, is_accepted, version):
    reader = Reader({"openapi": version, "paths": {}, "components": {"schemas": WHOLE}}, "https://a.example/", {})
    assert reader.accepts(schema, value) is is_accepted


def test_another_branch_is_drawn_if_the_document_refuses_the_first():
    """Each part accepts what is drawn from it, and refuses what the other one requires."""
    flag = {"type": "object", "required": ["b"], "properties": {"b": {"type": "boolean"}}}
    branches = [{"type": "object", "required": ["a"], "properties": {"a": False}}, flag]
    schema = {"type": "object", "properties": {"in": {"oneOf": branches}}, "required": ["in"]}
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    document = {
        "openapi": "3.1.0",
        "info": {"title": "t", "version": "1"},
        "servers": [{"url": "https://api.example.com"}],
        "paths": {"/a": {"post": {"requestBody": body, "responses": {}}}},
    }
    with recorder() as loopback:
        score = run(document, "https://api.example.com/", loopback)
    assert (score.right, score.operations, score.wrong) == (1, 1, [])


@pytest.mark.parametrize("items", [{"type": "string", "format": "binary"}, {"type": "file"}])
def test_binary_items_of_an_old_multipart_form_are_files(items):
    field = {"name": "f", "in": "formData", "type": "array", "items": items}
    document = {
        "swagger": "2.0",
        "host": "api.example.com",
        "schemes": ["https"],
        "info": {"title": "t", "version": "1"},
        "consumes": ["multipart/form-data"],
        "paths": {"/a": {"post": {"parameters": [field], "responses": {}}}},
    }
    with recorder() as loopback:
        score = run(document, "https://api.example.com/", loopback)
    assert (score.right, score.operations, score.wrong) == (1, 1, [])
