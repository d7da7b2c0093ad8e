import pytest

from utcp_bridge.dialects.openapi.shapes import Located
from utcp_bridge.dialects.openapi.swagger2 import (
    upgrade_body,
    upgrade_parameter,
    upgrade_response,
    upgrade_schemes,
    upgrade_servers,
)

PLACE = Located({}, "u", "#/op")


def parameter(**node):
    return Located({"name": "p", "in": "query", **node}, "u", "#/p")


@pytest.mark.parametrize(
    ("node", "style", "explode"),
    [
        ({}, "form", False),
        ({"collectionFormat": "ssv"}, "spaceDelimited", False),
        ({"collectionFormat": "tsv"}, "tabDelimited", False),
        ({"collectionFormat": "pipes"}, "pipeDelimited", False),
        ({"collectionFormat": "multi"}, "form", True),
        ({"collectionFormat": "odd"}, "form", False),
        ({"in": "header"}, "simple", False),
        ({"in": "path", "collectionFormat": "pipes"}, "pipeDelimited", False),
    ],
)
def test_a_collection_format_becomes_a_style(node, style, explode):
    upgraded = upgrade_parameter(parameter(type="array", items={"type": "string"}, **node)).value
    assert (upgraded["style"], upgraded["explode"]) == (style, explode)
    assert upgraded["schema"] == {"type": "array", "items": {"type": "string"}}


def test_a_parameters_keywords_become_its_schema():
    node = {"type": "integer", "minimum": 1, "required": True, "description": "d", "schema": {"maximum": 5}}
    assert upgrade_parameter(parameter(**node)).value == {
        "name": "p",
        "in": "query",
        "required": True,
        "description": "d",
        "schema": {"type": "integer", "minimum": 1, "description": "d", "maximum": 5},
    }


def test_a_body_parameter_becomes_a_body_for_each_consumed_media_type():
    body = parameter(**{"in": "body"}, schema={"type": "object"}, required=True, description="d")
    made = upgrade_body([body], PLACE, ["application/json", "application/xml"]).value
    assert (list(made["content"]), made["required"], made["description"]) == (
        ["application/json", "application/xml"],
        True,
        "d",
    )
    assert list(upgrade_body([parameter(**{"in": "body"})], PLACE, []).value["content"]) == ["application/json"]


@pytest.mark.parametrize(
    ("fields", "consumes", "kinds"),
    [
        ([{"type": "string"}], [], ["application/x-www-form-urlencoded"]),
        ([{"type": "string"}], ["application/json"], ["application/x-www-form-urlencoded"]),
        ([{"type": "string"}], ["multipart/form-data"], ["multipart/form-data"]),
        ([{"type": "file"}], ["application/x-www-form-urlencoded"], ["multipart/form-data"]),
    ],
)
def test_form_data_uses_a_consumed_form_type_and_multipart_for_files(fields, consumes, kinds):
    parameters = [parameter(**{"in": "formData"}, **field) for field in fields]
    assert list(upgrade_body(parameters, PLACE, consumes).value["content"]) == kinds


def test_form_data_becomes_the_properties_of_a_body():
    fields = [
        Located({"name": "f", "in": "formData", "type": "file", "required": True}, "u", "#"),
        Located({"name": "a", "in": "formData", "type": "array", "collectionFormat": "multi"}, "u", "#"),
    ]
    made = upgrade_body(fields, PLACE, []).value
    media = made["content"]["multipart/form-data"]
    assert made["required"] is True
    assert media["schema"]["properties"] == {"f": {"type": "string", "format": "binary"}, "a": {"type": "array"}}
    assert media["encoding"] == {"a": {"style": "form", "explode": True}}


def test_an_operation_without_body_or_form_parameters_has_no_body():
    assert upgrade_body([parameter(type="string")], PLACE, []) is None


def test_a_response_has_content_for_each_media_type_produced():
    response = Located({"description": "d", "schema": {"type": "string"}}, "u", "#")
    assert upgrade_response(response, ["text/plain"]).value["content"] == {"text/plain": {"schema": {"type": "string"}}}
    assert list(upgrade_response(response, []).value["content"]) == ["application/json"]
    for unchanged in ({"description": "d"}, {"content": {}}, None):
        place = Located(unchanged, "u", "#")
        assert upgrade_response(place, []) is place


def test_security_definitions_become_schemes():
    made = upgrade_schemes(
        {
            "b": {"type": "basic"},
            "k": {"type": "apiKey", "in": "query", "name": "k"},
            "o": {"type": "oauth2", "flow": "application", "tokenUrl": "https://t", "scopes": {"r": "read"}},
            "x": "odd",
        }
    )
    assert made["b"] == {"type": "http", "scheme": "basic"}
    assert made["k"] == {"type": "apiKey", "in": "query", "name": "k"}
    assert made["o"]["flows"]["clientCredentials"]["tokenUrl"] == "https://t"
    assert made["x"] == {}
    assert upgrade_schemes(None) == {}


@pytest.mark.parametrize(
    ("document", "url", "schemes", "servers"),
    [
        (
            {"host": "api.example.com", "basePath": "/v1/", "schemes": ["http", "https"]},
            None,
            [],
            ["https://api.example.com/v1"],
        ),
        (
            {"host": "api.example.com", "schemes": ["http"]},
            "https://docs.example.com/s",
            [],
            ["http://api.example.com"],
        ),
        ({"host": "api.example.com"}, "http://docs.example.com/s", [], ["http://api.example.com"]),
        ({"host": "api.example.com"}, "/specs/s.json", [], ["https://api.example.com"]),
        ({"host": "api.example.com", "schemes": ["wss"]}, None, [], ["https://api.example.com"]),
        ({"basePath": "/v1"}, "https://docs.example.com:8443/s", [], ["https://docs.example.com:8443/v1"]),
        ({"host": "http://api.example.com", "basePath": "v1"}, None, ["https"], ["http://api.example.com/v1"]),
        ({"basePath": "/v1"}, None, [], ["/v1"]),
        ({}, None, [], []),
    ],
)
def test_host_base_path_and_schemes_become_one_server(document, url, schemes, servers):
    assert [server["url"] for server in upgrade_servers(document, url, schemes)] == servers


@pytest.mark.parametrize(("place", "value"), [("query", "none"), ("formData", "CSV"), ("query", 7), ("query", ["csv"])])
def test_an_unknown_collection_format_is_named_and_read_as_commas(conversion, place, value):
    parameter = {"name": "p", "in": place, "type": "array", "items": {"type": "string"}, "collectionFormat": value}
    made = conversion({"parameters": [parameter]}, method="post", version="2.0")
    assert [(fault.what, fault.remedy) for fault in made.faults] == [
        (f"`collectionFormat` must be csv, ssv, tsv, pipes or multi, not {value!r}", "The items are joined by commas.")
    ]
    plan = made.tools[0].template["request_plan"]
    style = plan["body"]["encoding"]["p"] if place == "formData" else plan["parameters"][0]
    assert (style["style"], style["explode"]) == ("form", False)


def test_the_collection_format_of_a_text_is_not_named(conversion):
    parameter = {"name": "p", "in": "query", "type": "string", "collectionFormat": "none"}
    assert not conversion({"parameters": [parameter]}, version="2.0").faults
