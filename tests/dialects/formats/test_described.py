"""Descriptions in formats of others as manuals of a client: named directly, without a conversion first."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from tests.upstreams.faulty import answer, faulty_server

from utcp_bridge.client.client import UtcpClient
from utcp_bridge.dialects import Shape, detect
from utcp_bridge.dialects.formats.described import is_described, referred_places
from utcp_bridge.model import JsonObject

INFO = {"title": "Things", "version": "1"}


def collection(url: str) -> JsonObject:
    """A Postman collection with one request that has a fixed header and a variable."""
    request = {
        "method": "GET",
        "url": f"{url}/things/{{{{id}}}}?part=a",
        "header": [{"key": "X-Fixed", "value": "yes"}],
    }
    return {"info": {"name": "Things", "schema": "x"}, "item": [{"name": "Get thing", "request": request}]}


def discovery(url: str) -> JsonObject:
    """A Discovery document with one method."""
    parameters = {"id": {"type": "string", "location": "path", "required": True}}
    method = {"id": "things.get", "path": "things/{id}", "httpMethod": "GET", "parameters": parameters}
    head = {"kind": "discovery#restDescription", "name": "things", "version": "v1"}
    return {**head, "rootUrl": f"{url}/", "servicePath": "", "resources": {"things": {"methods": {"get": method}}}}


def declaration(url: str) -> JsonObject:
    """An API declaration of Swagger 1.2 with one operation."""
    parameters = [{"paramType": "path", "name": "id", "type": "string", "required": True}]
    operation = {"method": "GET", "nickname": "getThing", "type": "void", "parameters": parameters}
    apis = [{"path": "/things/{id}", "operations": [operation]}]
    return {"swaggerVersion": "1.2", "basePath": url, "resourcePath": "/things", "apis": apis}


LISTING: JsonObject = {"swaggerVersion": "1.2", "apiVersion": "1", "apis": [{"path": "/things"}], "info": INFO}
WRITTEN: dict[str, Any] = {"postman": collection, "discovery": discovery, "swagger1": declaration}


@pytest.mark.anyio
@pytest.mark.parametrize("way", ["file", "url", "text", "bare file"])
@pytest.mark.parametrize("kind", [*WRITTEN])
async def test_a_description_named_as_a_manual_has_tools_that_reach_the_server(tmp_path: Path, kind: str, way: str):
    async with faulty_server() as server:
        server.answers["/things/7"] = answer(b'{"name": "a"}')
        document = WRITTEN[kind](server.url)
        server.answers["/description"] = answer(json.dumps(document).encode())
        (tmp_path / "things.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
        entries: dict[str, Any] = {
            "file": {"call_template_type": "file", "file_path": str(tmp_path / "things.yaml")},
            "url": {"call_template_type": "http", "url": f"{server.url}/description"},
            "text": {"call_template_type": "text", "content": document},
        }
        config: Any = str(tmp_path / "things.yaml")
        if way in entries:
            config = {"manual_call_templates": [{"name": "things", **entries[way]}]}
        async with await UtcpClient.create(config) as client:
            [tool] = await client.list_tools()
            server.requests.clear()
            assert await client.call_tool(tool.name, {"id": "7"}) == {"name": "a"}
    [seen] = server.requests
    assert seen.target.partition("?")[0] == "/things/7"
    assert seen.header("X-Fixed") == ("yes" if kind == "postman" else None)


@pytest.mark.anyio
@pytest.mark.parametrize("way", ["files", "url"])
async def test_a_listing_of_swagger_1_is_read_with_its_declarations(tmp_path: Path, way: str):
    async with faulty_server() as server:
        server.answers["/things/7"] = answer(b'{"name": "a"}')
        for path, one in {"/docs": LISTING, "/docs/things": declaration(server.url)}.items():
            server.answers[path] = answer(json.dumps(one).encode())
        (tmp_path / "docs.json").write_text(json.dumps(LISTING), encoding="utf-8")
        (tmp_path / "things.json").write_text(json.dumps(declaration(server.url)), encoding="utf-8")
        entry = {"call_template_type": "http", "url": f"{server.url}/docs"}
        if way == "files":
            entry = {"call_template_type": "file", "file_path": str(tmp_path / "docs.json")}
        async with await UtcpClient.create({"manual_call_templates": [{"name": "t", **entry}]}) as client:
            assert await client.call_tool("t.getThing", {"id": "7"}) == {"name": "a"}


@pytest.mark.anyio
async def test_operations_of_asyncapi_are_called_over_websockets(tmp_path: Path):
    heard: list[str] = []

    async def echo(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            heard.append(message.data)
            await socket.send_str('{"done": true}')
        return socket

    application = web.Application()
    application.router.add_get("/rooms/{room}", echo)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    payload = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    document = {
        "asyncapi": "2.6.0",
        "info": INFO,
        "servers": {"main": {"url": f"ws://127.0.0.1:{port}", "protocol": "ws"}},
        "channels": {
            "rooms/{room}": {
                "parameters": {"room": {"schema": {"type": "string"}}},
                "publish": {"operationId": "say", "message": {"payload": payload}},
            }
        },
    }
    (tmp_path / "rooms.json").write_text(json.dumps(document), encoding="utf-8")
    try:
        async with await UtcpClient.create(str(tmp_path / "rooms.json")) as client:
            assert await client.call_tool("rooms.say", {"room": "a", "text": "hello"}) == []
    finally:
        await runner.cleanup()
    assert [json.loads(one) for one in heard] == [{"text": "hello"}]


@pytest.mark.anyio
async def test_the_base_url_and_variables_of_an_entry_are_those_of_the_description(tmp_path: Path):
    async with faulty_server() as server:
        server.answers["/v2/things/7"] = answer(b'{"name": "a"}')
        document = collection("{{host}}/{{version}}")
        (tmp_path / "a.json").write_text(json.dumps(document), encoding="utf-8")
        entry = {
            "name": "a",
            "call_template_type": "file",
            "file_path": str(tmp_path / "a.json"),
            "server_variables": {"host": server.url, "version": "v2"},
        }
        async with await UtcpClient.create({"manual_call_templates": [entry]}) as client:
            [tool] = await client.list_tools()
            assert await client.call_tool(tool.name, {"id": "7"}) == {"name": "a"}


def test_a_description_in_a_format_of_others_has_a_shape_of_its_own():
    documents: list[Any] = [make("https://api.example.com") for make in WRITTEN.values()]
    documents += [{"collection": collection("https://a.example")}, {"asyncapi": "3.0.0", "info": INFO}]
    assert [detect(one) for one in documents] == [Shape.FOREIGN] * len(documents)
    others: list[Any] = [{"asyncapi": "1.2.0"}, {"kind": "List", "item": []}, {"collection": {"item": 1}}, {"item": []}]
    assert [detect(one) for one in others] == [Shape.UNKNOWN] * len(others)
    assert not any(map(is_described, [*others, [], "text", None]))


def test_declarations_are_beside_a_file_or_below_an_address():
    listing = {**LISTING, "apis": [{"path": "/a/b.{format}"}, {"path": "https://b.example/c"}]}
    assert referred_places(listing, "/folder/docs.json") == ["/folder/a_b.json", "https://b.example/c"]
    assert referred_places(listing, "https://a.example/docs?x=1") == [
        "https://a.example/docs/a/b.json",
        "https://b.example/c",
    ]
    assert referred_places(listing, None) == []


@pytest.mark.anyio
async def test_a_declaration_that_is_not_there_is_named_with_the_file_to_save(tmp_path: Path):
    (tmp_path / "docs.json").write_text(json.dumps(LISTING), encoding="utf-8")
    entry = {"name": "t", "call_template_type": "file", "file_path": str(tmp_path / "docs.json")}
    async with await UtcpClient.create({}) as client:
        [error] = (await client.register_manual(entry)).errors
    assert "names the API declaration '/things', which is not there." in error
    assert "Save it beside that file, as things.json." in error
