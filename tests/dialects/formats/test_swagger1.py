"""Swagger 1 listings and declarations as manuals that reach a real server."""

import json
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.upstreams.faulty import answer, faulty_server

from utcp_bridge.client.client import UtcpClient
from utcp_bridge.convert import Wishes, convert
from utcp_bridge.dialects.formats.swagger1 import declarations_of, is_swagger1, openapi_of_swagger1
from utcp_bridge.dialects.openapi import ConversionOptions
from utcp_bridge.dialects.openapi import convert as convert_openapi
from utcp_bridge.errors import ManualError, UtcpError

LISTING = {
    "swaggerVersion": "1.2",
    "apiVersion": "3",
    "info": {"title": "Zoo", "description": "Animals."},
    "apis": [{"path": "/animals", "description": "All of them."}, {"path": "/keepers"}],
    "authorizations": {"zoo": {"type": "apiKey", "passAs": "header", "keyname": "X-Zoo"}},
}
ANIMALS = {
    "swaggerVersion": "1.2",
    "basePath": "http://zoo.example.com/api",
    "resourcePath": "/animals",
    "produces": ["application/json"],
    "apis": [
        {
            "path": "/animals/{id}",
            "operations": [
                {
                    "method": "GET",
                    "nickname": "getAnimal",
                    "summary": "Get one.",
                    "notes": "By its number.",
                    "type": "Animal",
                    "authorizations": {"zoo": []},
                    "parameters": [
                        {"paramType": "path", "name": "id", "type": "integer", "format": "int64", "minimum": "1.0"},
                        {
                            "paramType": "query",
                            "name": "part",
                            "type": "string",
                            "enum": ["a", "b"],
                            "allowMultiple": True,
                        },
                        {"paramType": "query", "name": "all", "type": "boolean", "defaultValue": "false"},
                    ],
                },
                {
                    "method": "PUT",
                    "nickname": "changeAnimal",
                    "type": "void",
                    "deprecated": "true",
                    "parameters": [
                        {"paramType": "path", "name": "id", "type": "long", "required": True},
                        {"paramType": "body", "name": "body", "type": "Animal", "required": True},
                    ],
                },
            ],
        },
        {
            "path": "/animals/photo",
            "operations": [
                {
                    "method": "POST",
                    "nickname": "addPhoto",
                    "type": "array",
                    "items": {"$ref": "Animal"},
                    "parameters": [
                        {"paramType": "form", "name": "title", "type": "string", "required": True},
                        {"paramType": "form", "name": "file", "type": "File"},
                    ],
                }
            ],
        },
    ],
    "models": {
        "Animal": {
            "id": "Animal",
            "required": ["name"],
            "subTypes": ["Cat"],
            "discriminator": "name",
            "properties": {
                "name": {"type": "string"},
                "born": {"type": "dateTime"},
                "friends": {"type": "array", "items": {"$ref": "Animal"}, "uniqueItems": True},
                "legs": {"type": "int", "defaultValue": "4"},
            },
        },
        "Cat": {"id": "Cat", "properties": {"lives": {"type": "integer", "minimum": "0", "maximum": "9"}}},
    },
}
KEEPERS = {
    "swaggerVersion": "1.1",
    "basePath": "http://zoo.example.com/api",
    "resourcePath": "/keepers",
    "apis": [
        {
            "path": "/keepers.{format}",
            "operations": [
                {
                    "httpMethod": "GET",
                    "nickname": "keepers",
                    "responseClass": "List[Animal]",
                    "parameters": [{"paramType": "query", "name": "q", "dataType": "string"}],
                }
            ],
        }
    ],
    "models": {"Animal": {"id": "Animal", "properties": {"keeper": {"type": "string"}}}},
}


def described(*declarations):
    return openapi_of_swagger1(LISTING, [(one["resourcePath"], one) for one in declarations], None)[0]


def test_an_operation_has_typed_parameters():
    found = described(ANIMALS)["paths"]["/animals/{id}"]["get"]
    assert (found["operationId"], found["summary"], found["description"]) == ("getAnimal", "Get one.", "By its number.")
    assert found["security"] == [{"zoo": []}]
    schemas = {one["name"]: (one["required"], one["schema"]) for one in found["parameters"]}
    assert schemas == {
        "id": (True, {"type": "integer", "format": "int64", "minimum": 1}),
        "part": (False, {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}}),
        "all": (False, {"type": "boolean", "default": False}),
    }


def test_models_become_schemas_and_a_subtype_has_the_members_of_its_parent():
    schemas = described(ANIMALS)["components"]["schemas"]
    assert schemas["Animal"]["required"] == ["name"]
    assert schemas["Animal"]["properties"] == {
        "name": {"type": "string"},
        "born": {"type": "string", "format": "date-time"},
        "friends": {"type": "array", "items": {"$ref": "#/components/schemas/Animal"}, "uniqueItems": True},
        "legs": {"type": "integer", "format": "int32", "default": 4},
    }
    assert schemas["Cat"]["allOf"][0] == {"$ref": "#/components/schemas/Animal"}
    assert schemas["Cat"]["allOf"][1]["properties"]["lives"] == {"type": "integer", "minimum": 0, "maximum": 9}


def test_a_form_with_a_file_is_multipart():
    body = described(ANIMALS)["paths"]["/animals/photo"]["post"]["requestBody"]
    [(media_type, content)] = body["content"].items()
    assert media_type == "multipart/form-data"
    assert content["schema"]["properties"]["file"] == {"type": "string", "format": "binary"}


def test_models_of_one_name_in_two_declarations_stay_apart():
    made = described(ANIMALS, KEEPERS)
    assert set(made["components"]["schemas"]) == {"Animal", "Cat", "keepers_Animal"}
    reply = made["paths"]["/keepers.json"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert reply == {"type": "array", "items": {"$ref": "#/components/schemas/keepers_Animal"}}


def test_a_listing_names_declarations_and_a_declaration_none():
    assert declarations_of({**LISTING, "apis": [{"path": "/a.{format}"}]}) == ["/a.json"]
    assert declarations_of(ANIMALS) == []
    assert not is_swagger1({"swagger": "2.0"})
    with pytest.raises(ManualError, match=r"^/keepers has no operations\.$"):
        openapi_of_swagger1(LISTING, [("/keepers", {**KEEPERS, "apis": []})], None)


def test_what_is_left_out_is_a_fault():
    twice = {"method": "GET", "nickname": "again"}
    apis = [{"path": "/a", "operations": [twice, twice, {"method": "LINK", "nickname": "tie"}]}]
    _, faults = openapi_of_swagger1(LISTING, [("x.json", {**KEEPERS, "apis": apis})], None)
    assert [(fault.where, fault.what) for fault in faults] == [
        ("x.json, operation 'again'", "another operation also has GET /a, so this one is left out."),
        ("x.json, operation 'tie'", "the method LINK cannot be sent."),
    ]


@pytest.mark.anyio
@pytest.mark.parametrize("way", ["files", "urls"])
async def test_a_listing_becomes_tools_that_reach_the_server(tmp_path: Path, way):
    async with faulty_server() as server:
        server.answers["/api/animals/7"] = answer(b'{"name": "a"}')
        animals = {**ANIMALS, "basePath": f"{server.url}/api"}
        documents = {"/docs": LISTING, "/docs/animals": animals, "/docs/keepers": {**KEEPERS, "basePath": ""}}
        for path, one in documents.items():
            server.answers[path] = answer(json.dumps(one).encode())
        (tmp_path / "docs.json").write_text(json.dumps(LISTING), encoding="utf-8")
        (tmp_path / "animals.json").write_text(json.dumps(animals), encoding="utf-8")
        (tmp_path / "docs").mkdir()
        (tmp_path / "docs" / "keepers").write_text(json.dumps(documents["/docs/keepers"]), encoding="utf-8")
        place = f"{server.url}/docs" if way == "urls" else str(tmp_path / "docs.json")
        converted = await convert([place], Wishes(portable=False))
        assert [tool["name"] for tool in converted.tools] == ["getAnimal", "changeAnimal", "addPhoto", "keepers"]
        server.requests.clear()
        entry = {"name": "zoo", "call_template_type": "text", "content": converted.document}
        config = {"variables": {"ZOO_API_KEY": "k"}, "manual_call_templates": [entry]}
        async with await UtcpClient.create(config) as client:
            found = await client.call_tool("zoo.getAnimal", {"id": 7, "part": ["a", "b"]})
            await client.call_tool("zoo.changeAnimal", {"id": 7, "name": "b", "legs": 3})
    assert found == {"name": "a"}
    getting, changing = server.requests
    path, _, query = getting.target.partition("?")
    assert (path, parse_qsl(query), getting.header("X-Zoo")) == ("/api/animals/7", [("part", "a,b")], "k")
    assert (changing.method, json.loads(changing.body)) == ("PUT", {"name": "b", "legs": 3})


@pytest.mark.anyio
async def test_a_declaration_that_is_not_there_is_one_sentence(tmp_path: Path):
    place = tmp_path / "docs.json"
    place.write_text(json.dumps(LISTING), encoding="utf-8")
    with pytest.raises(UtcpError) as error:
        await convert([str(place)])
    assert str(error.value) == (
        f"{place} names the API declaration '/animals', which is not there. Save it beside that file, as animals.json."
    )
    (tmp_path / "animals.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ManualError, match=r"animals\.json is not an API declaration of Swagger 1, although "):
        await convert([str(place)])


VALUES = st.recursive(
    st.none() | st.booleans() | st.text(max_size=5) | st.sampled_from(["Animal", "array", "File", "GET", "query"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "$ref", "items", "enum", "name", "properties", "path"]), inner)
    ),
    max_leaves=10,
)
PARTS = ["method", "parameters", "type", "authorizations", "consumes", "nickname", "defaultValue", "minimum"]


@given(st.dictionaries(st.sampled_from(PARTS), VALUES), VALUES, VALUES)
def test_any_declaration_gives_a_description_or_one_sentence(operation, parameter, models):
    full = {"parameters": [{"paramType": "body", "type": parameter}, parameter], **operation}
    declaration = {**KEEPERS, "apis": [{"path": "/a", "operations": [full]}], "models": models}
    made, _ = openapi_of_swagger1(
        LISTING, [("x.json", {**declaration, "apis": [*declaration["apis"], *KEEPERS["apis"]]})], None
    )
    convert_openapi(made, url=None, options=ConversionOptions())
