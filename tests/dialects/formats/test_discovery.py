"""Discovery documents as OpenAPI descriptions, and as manuals that reach a real server."""

import json
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.upstreams.faulty import answer, faulty_server

from utcp_bridge.client.client import UtcpClient
from utcp_bridge.convert import Wishes, convert
from utcp_bridge.dialects.formats.discovery import is_discovery, openapi_of_discovery
from utcp_bridge.dialects.openapi import ConversionOptions
from utcp_bridge.dialects.openapi import convert as convert_openapi
from utcp_bridge.errors import ManualError, UtcpError
from utcp_bridge.model import JsonObject

SCOPES = ["https://www.example.com/auth/a", "https://www.example.com/auth/a.readonly"]
BOOKS: JsonObject = {
    "kind": "discovery#restDescription",
    "name": "books",
    "version": "v1",
    "title": "Books",
    "rootUrl": "https://books.example.com/",
    "servicePath": "books/v1/",
    "auth": {"oauth2": {"scopes": {scope: {"description": "See books"} for scope in SCOPES}}},
    "parameters": {"fields": {"type": "string", "location": "query"}, "alt": {"type": "string", "location": "query"}},
    "schemas": {
        "Volume": {
            "id": "Volume",
            "type": "object",
            "properties": {
                "id": {"type": "string", "annotations": {"required": ["books.volumes.add"]}},
                "extra": {"type": "any"},
                "pages": {"type": "integer", "format": "int32", "minimum": "1"},
                "shelf": {"$ref": "Shelf"},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        },
        "Shelf": {"type": "object", "properties": {"volumes": {"type": "array", "items": {"$ref": "Volume"}}}},
    },
    "resources": {
        "volumes": {
            "methods": {
                "list": {
                    "id": "books.volumes.list",
                    "path": "volumes",
                    "httpMethod": "GET",
                    "description": "Find volumes.",
                    "parameters": {
                        "q": {"type": "string", "location": "query", "required": True},
                        "max": {"type": "integer", "location": "query", "default": "10", "maximum": "40"},
                        "lang": {"type": "string", "location": "query", "repeated": True, "enum": ["de", "en"]},
                        "all": {"type": "boolean", "location": "query", "default": "false"},
                    },
                    "response": {"$ref": "Volume"},
                },
                "add": {
                    "id": "books.volumes.add",
                    "path": "{+parent}/volumes",
                    "flatPath": "shelves/{shelvesId}/rows/{rowsId}/volumes",
                    "httpMethod": "POST",
                    "parameters": {
                        "parent": {"type": "string", "location": "path", "pattern": "^shelves/[^/]+/rows/[^/]+$"}
                    },
                    "request": {"$ref": "Volume"},
                    "response": {"$ref": "Volume"},
                    "scopes": SCOPES,
                    "supportsMediaUpload": True,
                },
            },
            "resources": {"notes": {"methods": {"get": {"id": "books.volumes.notes.get", "path": "{+name}"}}}},
        }
    },
}  # fmt: skip


def operation(verb: str, path: str) -> JsonObject:
    made, _ = openapi_of_discovery(BOOKS, "books.json")
    found: JsonObject = made["paths"][path][verb]
    return found


def test_a_method_becomes_an_operation_with_typed_parameters() -> None:
    found = operation("get", "/volumes")
    assert found["operationId"] == "volumes.list"
    assert found["tags"] == ["volumes"]
    schemas = {one["name"]: (one["in"], one["required"], one["schema"]) for one in found["parameters"]}
    assert schemas == {
        "q": ("query", True, {"type": "string"}),
        "max": ("query", False, {"type": "integer", "default": 10, "maximum": 40}),
        "lang": ("query", False, {"type": "array", "items": {"enum": ["de", "en"], "type": "string"}}),
        "all": ("query", False, {"type": "boolean", "default": False}),
        "fields": ("query", False, {"type": "string"}),
    }


def test_a_path_of_several_segments_has_an_argument_for_each() -> None:
    found = operation("post", "/shelves/{shelvesId}/rows/{rowsId}/volumes")
    path = [one for one in found["parameters"] if one["in"] == "path"]
    assert [(one["name"], one["required"]) for one in path] == [("shelvesId", True), ("rowsId", True)]
    assert "`parent`" in path[0]["description"]
    assert found["security"] == [{"google_oauth": SCOPES[:1]}, {"google": []}]


def test_schemas_refer_to_one_another_by_pointer() -> None:
    made, _ = openapi_of_discovery(BOOKS, "books.json")
    volume = made["components"]["schemas"]["Volume"]["properties"]
    assert volume["shelf"] == {"$ref": "#/components/schemas/Shelf"}
    assert volume["extra"] == {}
    assert volume["id"] == {"type": "string"}
    assert volume["pages"] == {"format": "int32", "type": "integer", "minimum": 1}
    assert volume["labels"]["additionalProperties"] == {"type": "string"}


def test_what_is_changed_or_left_out_is_a_fault() -> None:
    document = {**BOOKS, "methods": {"twice": {"id": "books.twice", "path": "volumes"}}}
    _, faults = openapi_of_discovery(document, "books.json")
    assert [(fault.severity, fault.where, fault.what.split(":")[0][:45]) for fault in faults] == [
        ("error", "books.json, method books.volumes.list", "another method also has GET /volumes, so this"),
        ("warning", "books.json, method books.volumes.add", "its tool sends the metadata only"),
        ("warning", "books.json, method books.volumes.notes.get", "a slash in the value of its path is sent as %"),
    ]


def test_a_document_without_an_address_is_refused() -> None:
    with pytest.raises(ManualError, match=r"books\.json does not contain `rootUrl` or `baseUrl`"):
        openapi_of_discovery({"kind": BOOKS["kind"]}, "books.json")
    with pytest.raises(ManualError, match=r"x\.json is not a Google API Discovery document"):
        openapi_of_discovery({"openapi": "3.0.0"}, "x.json")
    assert not is_discovery([])


@pytest.mark.anyio
@pytest.mark.parametrize("portable", [True, False])
async def test_convert_makes_tools_that_reach_the_server(tmp_path: Path, portable: bool) -> None:
    async with faulty_server() as server:
        server.answers["/books/v1/volumes"] = answer(b'{"id": "1"}')
        document = {**BOOKS, "rootUrl": f"{server.url}/"}
        place = tmp_path / "books.json"
        place.write_text(json.dumps(document), encoding="utf-8")
        converted = await convert([str(place)], Wishes(portable=portable))
        assert [tool["name"] for tool in converted.tools] == ["volumes_list", "volumes_add", "volumes_notes_get"]
        entry = {"name": "books", "call_template_type": "text", "content": converted.document}
        config = {"variables": {"GOOGLE_API_KEY": "k"}, "manual_call_templates": [entry]}
        async with await UtcpClient.create(config) as client:
            found = await client.call_tool("books.volumes_list", {"q": "a b", "fields": "id"})
        [seen] = server.requests
    assert found == {"id": "1"}
    path, _, query = seen.target.partition("?")
    assert (seen.method, path) == ("GET", "/books/v1/volumes")
    assert dict(parse_qsl(query)) == {"q": "a b", "fields": "id", "key": "k"}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
KEYS = ["methods", "resources", "parameters", "schemas", "auth", "rootUrl", "servicePath", "name"]
PARTS = ["id", "path", "flatPath", "httpMethod", "parameters", "request", "response", "scopes", "description"]


@given(
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6),
    st.dictionaries(st.sampled_from(PARTS), VALUES | st.just({"a": {"location": "path"}}) | st.just("{+a}/{b}")),
)
def test_any_document_gives_a_description_or_one_sentence(top: JsonObject, method: JsonObject) -> None:
    document = {"methods": {"m": method}, **top, "kind": BOOKS["kind"]}
    try:
        made, _ = openapi_of_discovery(document, "a.json")
        convert_openapi(made, url=None, options=ConversionOptions())
    except UtcpError as error:
        said = str(error)
    else:
        said = "a.json"
    assert said.startswith("a.json")
