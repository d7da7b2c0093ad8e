"""What a provided manual says.

A FastAPI application's own routes as UTCP tools, over real HTTP.
"""

from typing import Annotated

import httpx2
import pytest
from fastapi import Body, Depends, FastAPI, HTTPException
from fastapi.security import APIKeyHeader
from pydantic import BaseModel
from tests.upstreams.registry_service import served

from utcp_bridge import UtcpClient, add_manual
from utcp_bridge.dialects import Shape, detect
from utcp_bridge.providing.manuals import ManualForm, ProvidedTool, manual_of, provided_tool

INPUTS = {"type": "object", "properties": {"n": {"type": "integer"}}}
OFFICIAL = {"name", "description", "inputs", "outputs", "tags", "average_response_size", "tool_call_template"}


def test_tools_are_called_below_the_manuals_address():
    tool = provided_tool(ProvidedTool("up/down", "Count.", INPUTS), ManualForm("http://127.0.0.1:8000/utcp/"))
    assert tool["tool_call_template"] == {
        "call_template_type": "http",
        "http_method": "POST",
        "url": "http://127.0.0.1:8000/utcp/tools/up%2Fdown",
        "content_type": "application/json",
        "body_field": "*",
    }
    assert "outputs" not in tool


def test_a_streaming_tool_is_written_as_a_stream_on_request():
    counting = ProvidedTool("count", "", INPUTS, streams=True)
    assert provided_tool(counting, ManualForm("http://h/utcp"))["tool_call_template"]["call_template_type"] == "http"
    template = provided_tool(counting, ManualForm("http://h/utcp", streaming=True))["tool_call_template"]
    assert template["call_template_type"] == "streamable_http"
    assert template["headers"] == {"Accept": "application/x-ndjson"}


def test_manuals_contain_only_keys_that_every_client_accepts():
    auth = {"auth_type": "api_key", "api_key": "${KEY}", "var_name": "X-Api-Key"}
    whole = ProvidedTool("count", "Count.", INPUTS, {"type": "integer"}, ("math",), False, 12)
    tool = provided_tool(whole, ManualForm("http://h/utcp"), auth=auth)
    assert tool.keys() == OFFICIAL
    assert tool["tool_call_template"]["auth"] == auth
    manual = manual_of([tool], version="2.1.0")
    assert manual.keys() == {"utcp_version", "manual_version", "tools"}
    assert detect(manual) is Shape.MANUAL


def test_arguments_may_be_the_body_of_the_request():
    place = {"$ref": "#/$defs/place"}
    inputs = {"type": "object", "properties": {"at": place}, "required": ["at"], "$defs": {"place": {"type": "string"}}}
    tool = provided_tool(ProvidedTool("go", "", inputs), ManualForm("http://h/utcp", in_body=True))
    body = {"type": "object", "properties": {"at": place}, "required": ["at"]}
    assert tool["inputs"] == {
        "type": "object",
        "properties": {"body": body},
        "required": ["body"],
        "$defs": inputs["$defs"],
    }
    assert tool["tool_call_template"]["body_field"] == "body"
    optional = provided_tool(ProvidedTool("go", "", INPUTS), ManualForm("http://h/utcp", in_body=True))
    assert "required" not in optional["inputs"]


pytestmark = pytest.mark.anyio


class Order(BaseModel):
    item: str
    amount: int = 1


@pytest.fixture
def app():
    app = FastAPI(title="Shop", version="4.2.0")
    key = APIKeyHeader(name="X-Key")

    @app.get("/orders/{number}", operation_id="get_order", tags=["orders"])
    def get_order(number: int, verbose: bool = False) -> dict[str, int | bool]:
        return {"number": number, "verbose": verbose}

    @app.post("/orders", operation_id="place_order", tags=["orders"])
    def place_order(order: Order, given: Annotated[str, Depends(key)]) -> Order:
        if given != "shop-key-1":
            raise HTTPException(401)
        return order

    @app.delete("/all", operation_id="drop_all", tags=["admin"])
    def drop_all() -> None:
        """Never."""

    return app


async def test_routes_of_fastapi_are_called_as_utcp_tools(app):
    add_manual(app, exclude={"tags": ["admin"]})
    with served(app) as base:
        entry = {"name": "shop", "call_template_type": "http", "url": f"{base}/utcp"}
        config = {"manual_call_templates": [entry], "variables": {"shop_API_KEY_HEADER_API_KEY": "shop-key-1"}}
        async with await UtcpClient.create(config) as client:
            assert sorted(tool.name for tool in client.tools()) == ["get_order", "place_order"]
            assert await client.call_tool("shop.get_order", {"number": 7, "verbose": True}) == {
                "number": 7,
                "verbose": True,
            }
            placed = await client.call_tool("shop.place_order", {"item": "tea", "amount": 2})
            assert placed == {"item": "tea", "amount": 2}


def test_calls_go_to_the_address_of_the_request_for_the_manual(app):
    add_manual(app, path="/manual")
    with served(app) as base:
        by_name = httpx2.get(f"{base}/manual", headers={"Host": "shop.example:81"}).json()
        by_number = httpx2.get(f"{base}/manual").json()
    urls = [manual["tools"][0]["tool_call_template"]["url"] for manual in (by_name, by_number)]
    assert urls == ["http://shop.example:81/orders/{number}", f"{base}/orders/{{number}}"]
    assert by_name["manual_version"] == "4.2.0"


def test_public_url_replaces_the_address_of_the_request(app):
    add_manual(app, public_url="https://shop.example.com")
    with served(app) as base:
        manual = httpx2.get(f"{base}/utcp").json()
    assert manual["tools"][0]["tool_call_template"]["url"] == "https://shop.example.com/orders/{number}"


def test_manuals_are_kept_for_a_limited_number_of_addresses(app):
    add_manual(app)
    with served(app) as base:
        for number in range(40):
            answer = httpx2.get(f"{base}/utcp", headers={"Host": f"h{number}.example"})
            assert f"h{number}.example" in answer.text


def test_an_unreadable_openapi_description_is_a_problem(app):
    app.openapi = lambda: {"openapi": "9", "paths": 1}
    add_manual(app)
    with served(app) as base:
        answer = httpx2.get(f"{base}/utcp")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.status_code == 502


async def test_routes_that_others_would_call_wrongly_are_left_out_and_named(app, caplog):
    @app.post("/text", operation_id="say")
    def say(text: Annotated[str, Body()]) -> str:
        return text

    add_manual(app)
    with served(app) as base:
        manual = httpx2.get(f"{base}/utcp").json()
        rows = {row["tool"]: row for row in httpx2.get(f"{base}/utcp/proof").json()["tools"]}
    names = [tool["name"] for tool in manual["tools"]]
    assert "say" not in names
    assert rows.keys() == {*names, "say"}
    assert rows["say"]["state"] == "left out"
    assert "a JSON body that is text" in rows["say"]["why"][0]
    assert "'say'" in caplog.text


async def test_a_body_of_a_route_is_one_argument(app):
    add_manual(app)
    with served(app) as base:
        tools = {tool["name"]: tool for tool in httpx2.get(f"{base}/utcp").json()["tools"]}
    order = tools["place_order"]
    assert list(order["inputs"]["properties"]) == ["body"]
    assert order["inputs"]["required"] == ["body"]
    assert order["tool_call_template"]["body_field"] == "body"


@pytest.mark.parametrize(
    ("schema", "is_flat"),
    [
        ({"type": "string"}, True),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, True),
        ({"type": "boolean"}, False),
        ({"type": ["integer", "string"]}, False),
        ({"type": "array", "items": {"type": "string"}}, False),
        ({}, False),
    ],
)
def test_arguments_are_in_the_body_unless_a_query_says_them_exactly(schema, is_flat):
    tool = ProvidedTool("t", "", {"type": "object", "properties": {"a": schema}})
    written = provided_tool(tool, ManualForm("http://h/utcp", in_body=None))
    assert list(written["inputs"]["properties"]) == (["a"] if is_flat else ["body"])
    assert written["tool_call_template"]["body_field"] == ("*" if is_flat else "body")
