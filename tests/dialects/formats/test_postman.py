"""Postman collections as OpenAPI descriptions, and as manuals that reach a real server."""

import json
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.upstreams.faulty import answer, faulty_server

from utcp_bridge.client.client import UtcpClient
from utcp_bridge.convert import Wishes, convert
from utcp_bridge.dialects.formats.postman import is_postman, openapi_of_postman
from utcp_bridge.dialects.openapi import ConversionOptions
from utcp_bridge.dialects.openapi import convert as convert_openapi
from utcp_bridge.errors import ManualError, UtcpError

BEARER = {"type": "bearer", "bearer": [{"key": "token", "value": "{{shopToken}}", "type": "string"}]}
JSON_TYPE = [{"key": "Content-Type", "value": "application/json"}]
LIST = {
    "name": "List orders",
    "request": {
        "method": "GET",
        "header": [
            {"key": "Shop-Version", "value": "2026-01"},
            {"key": "Idempotency-Key", "value": "{{$guid}}"},
            {"key": "Off", "value": "1", "disabled": True},
        ],
        "url": {
            "raw": "{{baseUrl}}/orders?state=open&page={{page}}",
            "host": ["{{baseUrl}}"],
            "path": ["orders"],
            "query": [
                {"key": "state", "value": "open", "description": "Which orders."},
                {"key": "page", "value": "{{page}}"},
                {"key": "limit", "value": "20", "disabled": True},
            ],
        },
        "description": {"content": "Lists orders.", "type": "text/markdown"},
    },
}
ADD = {
    "name": "Add an order",
    "request": {
        "method": "POST",
        "header": JSON_TYPE,
        "body": {
            "mode": "raw",
            "raw": '{\n  // who\n  "customer": "{{customer}}", "count": {{count}}, "gift": true,\n'
            '  "lines": [{"sku": "a", "price": 1.5}]}',
            "options": {"raw": {"language": "json"}},
        },
        "url": "{{baseUrl}}/orders",
    },
}
ADD_MORE = {
    "name": "Add an order with a note",
    "request": {
        "method": "POST",
        "header": JSON_TYPE,
        "body": {"mode": "raw", "raw": '{"note": "x"}'},
        "url": "{{baseUrl}}/orders",
    },
}
GET = {
    "name": "Get",
    "request": {
        "url": {
            "raw": "{{baseUrl}}/orders/:orderId/lines/{{line}}",
            "variable": [{"key": "orderId", "value": "7", "description": "The id of the order."}],
        },
        "auth": {"type": "basic", "basic": [{"key": "username", "value": "u"}, {"key": "password", "value": "p"}]},
    },
}
LOGIN = {
    "name": "Log in",
    "request": {
        "method": "POST",
        "auth": {"type": "noauth"},
        "url": {"protocol": "http", "host": ["{{host}}"], "path": ["login"]},
        "body": {"mode": "urlencoded", "urlencoded": [{"key": "user", "value": "a"}, {"key": "age", "value": "5"}]},
    },
}
UPLOAD = {
    "name": "Upload",
    "request": {
        "method": "PUT",
        "url": "{{baseUrl}}/files",
        "body": {
            "mode": "formdata",
            "formdata": [
                {"key": "photo", "type": "file", "src": "/x.png"},
                {"key": "title", "value": "t", "type": "text"},
            ],
        },
    },
}
QUERY = {
    "name": "Query",
    "request": {
        "method": "POST",
        "url": "{{baseUrl}}/graphql",
        "body": {"mode": "graphql", "graphql": {"query": "query($id: ID) { a(id: $id) }", "variables": '{"id": 1}'}},
    },
}


def collection(*items, **members):
    whole = {
        "info": {"name": "Shop", "schema": "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"},
        "variable": [{"key": "baseUrl", "value": "https://{{host}}/v1"}, {"key": "host", "value": "shop.example.com"}],
        "auth": BEARER,
        "item": list(items),
    }
    return {**whole, **members}


def described(*items, **members):
    return openapi_of_postman(collection(*items, **members), "shop.json", {})


def test_a_request_becomes_an_operation_with_its_parameters():
    made = described({"name": "Orders", "item": [LIST]})
    found = made.openapi["paths"]["/orders"]["get"]
    assert found["operationId"] == "List_orders"
    assert (found["summary"], found["description"], found["tags"]) == ("List orders", "Lists orders.", ["Orders"])
    assert found["servers"] == [{"url": "https://shop.example.com/v1"}]
    assert [(one["name"], one["in"], one["schema"]) for one in found["parameters"]] == [
        ("Idempotency-Key", "header", {"type": "string"}),
        ("state", "query", {"type": "string", "examples": ["open"]}),
        ("page", "query", {"type": "string"}),
        ("limit", "query", {"type": ["number", "string"], "examples": ["20"]}),
    ]
    assert found["security"] == [{"shopToken": []}]
    assert made.openapi["components"]["securitySchemes"] == {"shopToken": {"type": "http", "scheme": "bearer"}}
    assert made.headers == {"List_orders": {"Shop-Version": "2026-01"}}
    assert made.faults == []


def test_variables_of_a_path_are_its_parameters():
    path, item = next(iter(described(GET).openapi["paths"].items()))
    assert path == "/orders/{orderId}/lines/{line}"
    parameters = item["get"]["parameters"]
    assert [(one["name"], one["description"], one["required"]) for one in parameters] == [
        ("orderId", "The id of the order.", True),
        ("line", "", True),
    ]
    assert item["get"]["security"] == [{"basic": []}]


def body_of(item):
    [found] = described(item).openapi["paths"].values()
    [operation] = found.values()
    [(media_type, content)] = operation["requestBody"]["content"].items()
    return media_type, content["schema"]


@pytest.mark.parametrize(
    ("item", "media_type", "types"),
    [
        (ADD, "application/json", {"customer": "string", "count": None, "lines": "array", "gift": "boolean"}),
        (LOGIN, "application/x-www-form-urlencoded", {"user": "string", "age": ["number", "string"]}),
        (UPLOAD, "multipart/form-data", {"photo": "string", "title": "string"}),
        (QUERY, "application/json", {"query": "string", "variables": "object"}),
    ],
)
def test_a_body_has_the_types_of_its_sample(item, media_type, types):
    found, schema = body_of(item)
    assert found == media_type
    assert {name: one.get("type") for name, one in schema["properties"].items()} == types


def test_requests_of_one_method_and_path_are_one_tool_with_the_members_of_both():
    made = described(ADD, ADD_MORE)
    [operation] = made.openapi["paths"]["/orders"].values()
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["properties"]) == {"customer", "count", "lines", "gift", "note"}
    assert [fault.what for fault in made.faults] == [
        "it has the method and path of 'Add_an_order', so both are one tool."
    ]


def test_a_request_without_a_value_for_its_address_is_one_sentence():
    with pytest.raises(ManualError) as error:
        openapi_of_postman(collection(LIST, variable=[]), "shop.json", {})
    assert str(error.value) == (
        "shop.json, request 'List orders': its address has the variable 'baseUrl', which has no value in the "
        "collection. "
        "Give it, for example --server-variable baseUrl=https://api.example.com, or --base-url."
    )
    made = openapi_of_postman(collection(LIST, variable=[]), "shop.json", {"baseUrl": "http://127.0.0.1:1"})
    assert made.openapi["paths"]["/orders"]["get"]["servers"] == [{"url": "http://127.0.0.1:1"}]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"method": "LINK", "url": "x.example.com"}, "the method LINK cannot be sent, so this request is left out."),
        (
            {"url": "x.example.com", "auth": {"type": "hawk"}},
            "credentials of the type 'hawk' cannot be sent, so its tool sends none.",
        ),
        ({"url": "x.example.com", "body": {"mode": "odd"}}, "its body has the unknown mode 'odd', which is left out."),
    ],
)
def test_what_cannot_be_sent_is_a_fault_with_its_place(request_, expected):
    [fault] = described({"name": "A", "item": [{"name": "B", "request": request_}]}).faults
    assert (fault.where, fault.what) == ("shop.json, request 'A/B'", expected)


def test_no_value_of_a_credential_is_copied():
    item = {
        "name": "A",
        "request": {
            "url": "https://x.example.com/?access_token=SECRET-1",
            "header": [{"key": "X-Api-Key", "value": "SECRET-2"}, {"key": "Authorization", "value": "Bearer SECRET-3"}],
        },
    }
    made = described(item, auth={"type": "apikey", "apikey": {"key": "k", "value": "SECRET-4", "in": "query"}})
    assert "SECRET" not in json.dumps([made.openapi, made.headers])
    assert made.openapi["components"]["securitySchemes"] == {
        "k": {"type": "apiKey", "in": "query", "name": "k"},
        "X_Api_Key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
        "bearer": {"type": "http", "scheme": "bearer"},
        "access_token": {"type": "apiKey", "in": "query", "name": "access_token"},
    }
    [operation] = made.openapi["paths"]["/"].values()
    assert operation["security"] == [{"k": [], "X_Api_Key": [], "bearer": [], "access_token": []}]


@pytest.mark.anyio
@pytest.mark.parametrize("portable", [True, False])
async def test_converted_tools_reach_the_server(tmp_path: Path, portable):
    async with faulty_server() as server:
        for path in ("/v1/orders", "/v1/orders/7/lines/3", "/login"):
            server.answers[path] = answer(b'{"ok": true}')
        place = tmp_path / "shop.json"
        place.write_text(json.dumps(collection(LIST, ADD, GET, LOGIN)), encoding="utf-8")
        host = server.url.removeprefix("http://")
        wishes = Wishes(portable=portable, server_variables={"host": host, "baseUrl": f"{server.url}/v1"})
        converted = await convert([str(place)], wishes)
        entry = {"name": "shop", "call_template_type": "text", "content": converted.document}
        variables = {"SHOP_TOKEN": "t", "BASIC_USERNAME": "u", "BASIC_PASSWORD": "p"}
        async with await UtcpClient.create({"variables": variables, "manual_call_templates": [entry]}) as client:
            await client.call_tool("shop.List_orders", {"state": "paid", "limit": 5})
            await client.call_tool("shop.Add_an_order", {"customer": "c", "count": 2})
            await client.call_tool("shop.Get", {"orderId": 7, "line": "3"})
            await client.call_tool("shop.Log_in", {"user": "a b"})
    listing, adding, getting, logging_in = server.requests
    path, _, query = listing.target.partition("?")
    assert (listing.method, path) == ("GET", "/v1/orders")
    assert dict(parse_qsl(query)) == {"state": "paid", "limit": "5"}
    assert (listing.header("Shop-Version"), listing.header("Authorization")) == ("2026-01", "Bearer t")
    assert (adding.method, json.loads(adding.body)) == ("POST", {"customer": "c", "count": 2})
    assert (getting.method, getting.target) == ("GET", "/v1/orders/7/lines/3")
    assert getting.header("Authorization") == "Basic dTpw"
    assert (parse_qsl(logging_in.body.decode()), logging_in.header("Authorization")) == ([("user", "a b")], None)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["{{a}}", "https://a/:b", "?c"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["key", "value", "type", "raw", "mode"]), inner)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["url", "method", "header", "body", "auth", "description"]), VALUES), VALUES)
def test_any_collection_gives_a_description_or_one_sentence(request_, variable):
    document = {"info": {}, "item": [{"name": "a", "request": request_}], "variable": variable}
    assert is_postman(document)
    try:
        made = openapi_of_postman(document, "a.json", {})
        convert_openapi(made.openapi, url=None, options=ConversionOptions())
    except UtcpError as error:
        said = str(error)
    else:
        said = "a.json"
    assert said.startswith("a.json")


def test_a_json_body_is_sent_without_its_comments_and_trailing_commas():
    raw = '{\n  "a": 1, // one\n  /* two */ "url": "http://x",\n  "b": [1, 2,],\n}'
    made = described(
        {"name": "x", "request": {"method": "POST", "url": "https://a.example/x", "body": {"mode": "raw", "raw": raw}}}
    )
    content = made.openapi["paths"]["/x"]["post"]["requestBody"]["content"]
    assert list(content["application/json"]["schema"]["properties"]) == ["a", "url", "b"]


def test_words_in_place_of_values_are_types_instead_of_examples():
    raw = '{"n": "<integer>", "when": "<dateTime>", "on": "<boolean>", "t": "<string>"}'
    url = {
        "raw": "https://a.example/x",
        "query": [{"key": "limit", "value": "<long>"}, {"key": "q", "value": "%7B%7D"}],
    }
    made = described({"name": "x", "request": {"method": "POST", "url": url, "body": {"mode": "raw", "raw": raw}}})
    operation = made.openapi["paths"]["/x"]["post"]
    assert {one["name"]: one["schema"] for one in operation["parameters"]} == {
        "limit": {"type": "integer"},
        "q": {"type": "string"},
    }
    assert operation["requestBody"]["content"]["application/json"]["schema"]["properties"] == {
        "n": {"type": "integer"},
        "when": {"type": "string", "format": "date-time"},
        "on": {"type": "boolean"},
        "t": {"type": "string"},
    }
