import pytest
from tests.upstreams.faulty import answer, faulty_server

from utcp_bridge.client.client import UtcpClient

PET = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}, "required": ["name"]}


@pytest.fixture
def body(tool):
    """(input schema, body plan, body members) of a POST with this content."""

    def run(content, *, version="3.0.3", components=None, **more):
        if "schema" in content:
            content = {"application/json": content}
        made = tool(
            {"requestBody": {"content": content, **more}}, method="post", version=version, components=components or {}
        )
        return made["inputs"], made["tool_call_template"]["request_plan"].get("body"), made.get("body_members")

    return run


def test_a_plain_object_is_flattened(body):
    inputs, plan, members = body({"schema": PET}, required=True)
    assert list(inputs["properties"]) == members == plan["members"] == ["name", "age"]
    assert inputs["required"] == ["name"]


def test_an_optional_body_requires_nothing(body):
    inputs, plan, _ = body({"schema": PET})
    assert "required" not in inputs
    assert plan["required"] is False


@pytest.mark.parametrize(
    "schema",
    [
        {**PET, "oneOf": [{}]},
        {**PET, "discriminator": {"propertyName": "name"}},
        {**PET, "patternProperties": {"^x": {}}},
        {**PET, "additionalProperties": {"type": "string"}},
        {"type": "array", "items": PET},
        {"type": "object"},
        {"type": ["object", "string"], "properties": PET["properties"]},
        {"properties": {f"p{number}": {} for number in range(41)}},
        {"properties": {"id": {"readOnly": True}}},
        {"allOf": [PET, {"oneOf": [{}]}]},
        {"allOf": [True]},
        {"$ref": "#/components/schemas/Loop"},
    ],
)
def test_a_body_that_flattening_would_misrepresent_stays_one_argument(body, schema):
    inputs, plan, members = body(
        {"schema": schema}, components={"schemas": {"Loop": {"allOf": [{"$ref": "#/components/schemas/Loop"}]}}}
    )
    assert list(inputs["properties"]) == ["body"]
    assert ("members" in plan, members) == (False, None)


@pytest.mark.parametrize("kind", ["object", ["object", "null"], None])
@pytest.mark.parametrize("extra", [True, False, {}])
def test_any_plain_object_flattens(body, kind, extra):
    schema = {**PET, "type": kind, "additionalProperties": extra}
    if kind is None:
        del schema["type"]
    assert body({"schema": schema})[2] == ["name", "age"]


def test_all_of_is_merged_through_references(body):
    schema = {
        "allOf": [
            {"$ref": "#/components/schemas/Pet"},
            {
                "required": ["tag", "slip"],
                "properties": {"tag": {"type": "string", "required": True}, "age": {"maximum": 9}},
            },
            {"properties": {"name": {"type": "string"}}},
        ],
    }
    inputs, _, members = body({"schema": schema}, required=True, components={"schemas": {"Pet": PET}})
    assert members == ["name", "age", "tag", "slip"]
    assert inputs["properties"]["age"] == {"allOf": [{"maximum": 9}, {"type": "integer"}]} or inputs["properties"][
        "age"
    ] == {"allOf": [{"type": "integer"}, {"maximum": 9}]}
    assert inputs["properties"]["slip"] == {}
    assert inputs["required"] == ["name", "tag"]


def test_read_only_properties_are_dropped_also_behind_a_reference(body):
    schema = {"properties": {"id": {"$ref": "#/components/schemas/Id"}, "n": {}, "r": {"readOnly": True}}}
    assert body({"schema": schema}, components={"schemas": {"Id": {"readOnly": True}}})[2] == ["n"]


READ = {"readOnly": True}
ENTITY = {"type": "object", "properties": {"id": READ, "name": {}}}


@pytest.mark.parametrize(
    ("schema", "paths"),
    [
        ({"properties": {"a": ENTITY}}, [["a", "id"]]),
        ({"properties": {"a": {"items": {"$ref": "#/components/schemas/Entity"}}}}, [["a", None, "id"]]),
        ({"properties": {"a": {"additionalProperties": ENTITY}}}, [["a", None, "id"]]),
        ({"anyOf": [ENTITY, {"type": "string"}]}, [["body", "id"]]),
        ({"type": "array", "items": ENTITY}, [["body", None, "id"]]),
        ({"properties": {"a": {"oneOf": [ENTITY, {"properties": {"id": {}}}]}}}, None),
        ({"properties": {"a": {"allOf": [ENTITY, {"properties": {"id": READ}}]}}}, [["a", "id"]]),
        ({"properties": {"id": READ, "b": {}}}, None),
    ],
)
def test_read_only_members_inside_of_arguments_are_in_the_plan(body, schema, paths):
    _, plan, _ = body({"schema": schema}, components={"schemas": {"Entity": ENTITY}})
    assert plan.get("read_only_within") == paths


def test_read_only_members_of_recursive_schemas_are_found_to_a_depth(body):
    node = {"properties": {"id": READ, "next": {"$ref": "#/components/schemas/Node"}, "name": {}}}
    schema = {"$ref": "#/components/schemas/Node"}
    _, plan, _ = body({"schema": schema}, components={"schemas": {"Node": node}})
    assert plan["read_only_within"] == [["next"] * depth + ["id"] for depth in range(1, 7)]


@pytest.mark.parametrize(
    ("schema", "empty"),
    [
        ({"type": "object"}, True),
        ({"type": "object", "additionalProperties": {"type": "string"}}, True),
        ({"type": "object", "required": ["a"]}, False),
        ({}, True),
        ({"type": "array"}, False),
        ({"type": "string"}, False),
        ({"anyOf": [{"type": "object"}]}, False),
    ],
)
def test_a_required_body_is_a_required_argument_that_may_be_empty_if_it_can_be_an_object(body, schema, empty):
    inputs, plan, _ = body({"schema": schema}, required=True)
    assert plan.get("empty_object", False) is empty
    assert inputs["required"] == ["body"]
    assert "required" not in body({"schema": schema}, required=False)[0]


@pytest.mark.parametrize(
    ("kinds", "chosen"),
    [
        (["application/xml", "application/json"], "application/json"),
        (["application/x-www-form-urlencoded", "application/vnd.a+json"], "application/vnd.a+json"),
        (["application/json-patch+json", "application/merge-patch+json"], "application/merge-patch+json"),
        (["multipart/form-data", "application/x-www-form-urlencoded"], "application/x-www-form-urlencoded"),
        (["application/octet-stream", "text/plain"], "text/plain"),
        (["*/*"], "application/json"),
        (["application/*"], "application/json"),
        (["text/*"], "text/plain"),
        ([" application/json ; charset=utf-8 "], "application/json ; charset=utf-8"),
    ],
)
def test_the_media_type_closest_to_json_is_chosen(body, kinds, chosen):
    assert body({kind: {"schema": PET} for kind in kinds})[1]["media_type"] == chosen


def test_any_media_type_with_a_binary_schema_is_bytes(body):
    inputs, plan, _ = body({"*/*": {"schema": {"type": "string", "format": "binary"}}}, description="The image.")
    assert (plan["media_type"], plan["binary"]) == ("application/octet-stream", True)
    assert inputs["properties"]["body"] == {
        "type": "string",
        "contentEncoding": "base64",
        "description": "The image. Content as base64.",
    }


def test_an_object_in_a_binary_media_type_stays_an_object(body):
    inputs, plan, _ = body({"application/x-protobuf": {"schema": {"type": "object", "properties": {"a": {}}}}})
    assert list(inputs["properties"]) == ["a"]
    assert "binary" not in plan


@pytest.mark.parametrize(
    ("media_type", "schema", "expected"),
    [
        ("application/xml", PET, {"type": "string", "description": "d The complete application/xml document as text."}),
        ("text/plain", {"type": "string"}, {"type": "string", "description": "d"}),
        ("text/plain", {"type": "string", "enum": ["a"]}, {"type": "string", "enum": ["a"], "description": "d"}),
    ],
)
def test_text_is_one_string(body, media_type, schema, expected):
    assert body({media_type: {"schema": schema}}, description="d")[0]["properties"]["body"] == expected


def test_text_without_a_description_gets_one(body):
    made = body({"text/csv": {"schema": {}}}, required=True)[0]
    assert made["properties"]["body"]["description"] == "The complete text/csv document as text."
    assert made["required"] == ["body"]


def test_an_item_schema_makes_a_body_of_lines(body):
    inputs, plan, _ = body({"application/x-ndjson": {"itemSchema": PET}}, version="3.2.0", description="d")
    assert plan["media_type"] == "application/x-ndjson"
    assert inputs["properties"]["body"]["type"] == "array"
    assert inputs["properties"]["body"]["description"] == "d"


@pytest.mark.parametrize(
    ("property_schema", "encoding", "is_file"),
    [
        ({"type": "string", "format": "binary"}, None, True),
        ({"type": "array", "items": {"type": "string", "format": "binary"}}, None, True),
        ({"anyOf": [{"type": "string", "format": "binary"}, {"type": "null"}]}, None, True),
        ({"$ref": "#/components/schemas/File"}, None, True),
        ({"type": "string"}, "image/png, image/jpeg", True),
        ({}, "application/octet-stream", True),
        ({"type": "string", "contentMediaType": "application/pdf"}, None, True),
        ({"type": "string", "format": "byte"}, "image/png", False),
        ({"type": "string", "contentEncoding": "base64", "contentMediaType": "image/png"}, None, False),
        ({"type": "object", "properties": {}}, "application/octet-stream", False),
        ({"type": "string"}, "text/csv", False),
        ({"type": "string"}, None, False),
        ({"type": "array", "items": True}, None, False),
    ],
)
def test_a_file_is_recognised_by_format_media_type_or_members(body, property_schema, encoding, is_file):
    media = {"schema": {"type": "object", "properties": {"f": property_schema}}}
    if encoding:
        media["encoding"] = {"f": {"contentType": encoding}}
    components = {"schemas": {"File": {"type": "string", "format": "binary", "description": "A file."}}}
    inputs, plan, _ = body({"multipart/form-data": media}, version="3.1.0", components=components)
    assert plan.get("encoding", {}).get("f", {}).get("binary", False) is is_file
    assert ("File content as base64." in str(inputs["properties"]["f"])) is is_file


@pytest.mark.parametrize(
    ("version", "media_type", "encoding", "plan"),
    [
        ("3.0.3", "application/x-www-form-urlencoded", {"explode": False}, {"style": "form", "explode": False}),
        (
            "3.0.3",
            "application/x-www-form-urlencoded",
            {"style": "deepObject"},
            {"style": "deepObject", "explode": False},
        ),
        (
            "3.0.3",
            "application/x-www-form-urlencoded",
            {"allowReserved": True},
            {"style": "form", "explode": True, "allow_reserved": True},
        ),
        (
            "3.0.3",
            "application/x-www-form-urlencoded",
            {"contentType": "application/json"},
            {"content_type": "application/json"},
        ),
        ("3.0.3", "multipart/form-data", {"style": "form", "explode": False}, None),
        ("3.1.0", "multipart/form-data", {"style": "form", "explode": False}, {"style": "form", "explode": False}),
        ("3.0.3", "application/json", {"style": "form"}, None),
        ("3.0.3", "application/x-www-form-urlencoded", {"contentType": "odd"}, None),
    ],
)
@pytest.mark.parametrize("flat", [True, False])
def test_encodings_are_kept_if_they_have_an_effect(body, version, media_type, encoding, plan, flat):
    schema = {"type": "object", "properties": {"p": {"type": "array", "items": {"type": "string"}}}}
    whole = {**schema, "additionalProperties": {"type": "string"}}
    components = {"schemas": {"Whole": whole}}
    if not flat:
        schema = {"$ref": "#/components/schemas/Whole"}
    media = {"schema": schema, "encoding": {"p": encoding}}
    made = body({media_type: media}, version=version, components=components)[1]
    assert made.get("encoding", {}).get("p") == plan


def test_all_of_parts_in_different_files_keep_the_later_property(tool):
    other = "https://docs.example.com/specs/other.yaml"
    parts = [{"$ref": "other.yaml#/A"}, {"properties": {"a": {"type": "integer"}}}]
    operation = {"requestBody": {"content": {"application/json": {"schema": {"allOf": parts}}}}}
    made = tool(operation, method="post", files={other: {"A": {"properties": {"a": {"type": "string"}}}}})
    assert made["inputs"]["properties"]["a"] == {"type": "string"}


@pytest.fixture
def read(conversion):
    """(schema, plan, faults) of one parameter."""

    def run(version="3.0.3", path="/things/{p}", **node):
        parameter = {"name": "p", "in": "query", **node}
        made = conversion(
            {"parameters": [parameter]}, path=path if node.get("in") == "path" else "/things", version=version
        )
        plans = made.tools[0].template["request_plan"]["parameters"]
        return (
            made.tools[0].inputs["properties"].get(node.get("name", "p")),
            plans[0] if plans else None,
            made.faults,
        )

    return run


@pytest.mark.parametrize(
    ("node", "style", "explode"),
    [
        ({}, "form", True),
        ({"style": "form", "explode": False}, "form", False),
        ({"style": "deepObject"}, "deepObject", False),
        ({"style": "spaceDelimited"}, "spaceDelimited", False),
        ({"in": "path"}, "simple", False),
        ({"in": "path", "style": "matrix", "explode": True}, "matrix", True),
        ({"in": "header"}, "simple", False),
        ({"in": "cookie"}, "form", True),
        ({"in": "cookie", "style": "cookie"}, "cookie", True),
        ({"in": "querystring"}, "form", True),
        ({"style": 5, "explode": "yes"}, "form", True),
    ],
)
def test_a_style_has_its_places_defaults(read, node, style, explode):
    _, plan, faults = read(schema={}, **node)
    assert (plan["style"], plan["explode"], faults) == (style, explode, [])


def test_an_impossible_style_becomes_the_default_with_a_fault(read):
    _, plan, faults = read(schema={}, style="matrix")
    assert plan["style"] == "form"
    assert "matrix" in faults[0].what


def test_content_is_written_in_its_media_type(read):
    schema, plan, _ = read(content={"application/json": {"schema": {"type": "object"}}})
    assert schema == {"type": "object"}
    assert plan == {"argument": "p", "name": "p", "in": "query", "content_type": "application/json"}


def test_reserved_characters_required_and_deprecation_are_kept(read):
    schema, plan, _ = read(
        schema={"type": "string", "description": "s"},
        description=" d ",
        deprecated=True,
        required=True,
        allowReserved=True,
    )
    assert schema == {"type": "string", "description": "d", "deprecated": True}
    assert (plan["required"], plan["allow_reserved"]) == (True, True)


def test_a_path_parameter_is_always_required(read):
    _, plan, _ = read(**{"in": "path"}, required=False, schema={})
    assert plan["required"] is True


@pytest.mark.parametrize(
    ("place", "name"), [("header", "X Y"), ("header", "X:\r\n"), ("cookie", "a;b"), ("cookie", "")]
)
def test_a_parameter_whose_name_cannot_be_sent_is_left_out(read, place, name):
    schema, plan, faults = read(**{"in": place}, name=name, schema={})
    assert (schema, plan, len(faults)) == (None, None, 1)


def test_parameters_written_as_in_2_0_work_in_a_3_x_document(read):
    schema, _, _ = read(type="integer", minimum=1)
    assert schema == {"type": "integer", "minimum": 1}
    assert read()[0] == {}
    assert read(schema=False, description="d")[0] == {"not": {}, "description": "d"}


@pytest.mark.anyio
async def test_an_object_that_was_read_is_changed_and_sent_back():
    thing = {
        "type": "object",
        "properties": {
            "id": {"type": "integer", "readOnly": True},
            "made": {"type": "string", "readOnly": True},
            "name": {"type": "string"},
        },
        "required": ["id", "name"],
        "additionalProperties": False,
    }
    place = {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}
    async with faulty_server() as server:
        server.answers["/things/5"] = answer(b'{"id": 5, "made": "today", "name": "a"}')
        document = {
            "openapi": "3.1.0",
            "info": {"title": "t", "version": "1"},
            "servers": [{"url": server.url}],
            "paths": {
                "/things/{id}": {
                    "parameters": [place],
                    "get": {"operationId": "read", "responses": {"200": {"description": "ok", "content": content}}},
                    "put": {"operationId": "change", "requestBody": {"required": True, "content": content}},
                }
            },
            "components": {"schemas": {"Thing": thing}},
        }
        entry = {"name": "a", "call_template_type": "text", "content": document}
        async with await UtcpClient.create({"manual_call_templates": [entry]}) as client:
            found = await client.call_tool("a.read", {"id": 5})
            await client.call_tool("a.change", {**found, "name": "b"})
    [_, changing] = server.requests
    assert (changing.method, changing.target, changing.body) == ("PUT", "/things/5", b'{"name":"b"}')


@pytest.mark.anyio
async def test_whole_numbers_reach_the_server_as_integers_in_each_place():
    number, numbers = {"type": "integer"}, {"type": "array", "items": {"type": "integer"}}
    members = {"n": number, "x": {"type": "number"}, "list": numbers, "any": {"oneOf": [{"type": "string"}, number]}}
    operation = {
        "operationId": "put",
        "parameters": [
            {"name": "id", "in": "path", "required": True, "schema": number},
            {"name": "big", "in": "query", "schema": number},
            {"name": "many", "in": "query", "schema": numbers, "explode": False},
            {"name": "X-Count", "in": "header", "schema": number},
        ],
        "requestBody": {"content": {"application/json": {"schema": {"type": "object", "properties": members}}}},
    }
    async with faulty_server() as server:
        server.answers["/things/7"] = answer(b'{"ok": 1}')
        document = {
            "openapi": "3.1.0",
            "info": {"title": "t", "version": "1"},
            "servers": [{"url": server.url}],
            "paths": {"/things/{id}": {"put": operation}},
        }
        entry = {"name": "a", "call_template_type": "text", "content": document}
        arguments = {"id": 7.0, "big": 1e20, "many": [1.0, -0.0], "X-Count": 1e3}
        body = {"n": 1.0, "x": 1.0, "list": [1e3, 2], "any": 5.0}
        async with await UtcpClient.create({"manual_call_templates": [entry]}) as client:
            assert await client.call_tool("a.put", {**arguments, **body}) == {"ok": 1}
    [seen] = server.requests
    assert seen.target == "/things/7?big=100000000000000000000&many=1,0"
    assert seen.header("X-Count") == "1000"
    assert seen.body == b'{"n":1,"x":1.0,"list":[1000,2],"any":5}'


@pytest.mark.parametrize(
    ("declared", "schema", "sent"),
    [
        ("image/*", {"type": "string", "contentMediaType": "image/png"}, "image/png"),
        ("*/*", {"contentMediaType": "application/pdf"}, "application/pdf"),
        ("image/*", {"contentMediaType": "text/csv"}, "image/*"),
        ("*/*", {"type": "string", "contentMediaType": "image/png", "contentEncoding": "base64"}, "application/json"),
    ],
)
def test_of_a_range_the_media_type_that_the_schema_names_is_sent(body, declared, schema, sent):
    assert body({declared: {"schema": schema}}, version="3.1.0")[1]["media_type"] == sent
