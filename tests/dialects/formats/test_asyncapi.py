"""AsyncAPI descriptions as manuals whose tools reach a real server."""

import json
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.client.client import UtcpClient
from utcp_bridge.convert import Wishes, convert
from utcp_bridge.dialects.formats.asyncapi import on_transport, openapi_of_asyncapi
from utcp_bridge.dialects.openapi import ConversionOptions
from utcp_bridge.dialects.openapi import convert as convert_openapi
from utcp_bridge.errors import ManualError, UtcpError

TOKEN = {"token": {"type": "http", "scheme": "bearer"}}
NONE = "a.yaml has no operation that the bridge can call: "
PAYLOADS = {
    "ask": {
        "type": "object",
        "properties": {"event": {"const": "ask"}, "id": {"$ref": "#/components/schemas/id"}},
        "required": ["event"],
    },
    "told": {"type": "object", "properties": {"event": {"const": "told"}, "id": {"$ref": "#/components/schemas/id"}}},
    "either": {"oneOf": [{"type": "object", "properties": {"a": {}}, "required": ["a"]}, {"type": "string"}]},
    "id": {"type": "integer", "description": "The number of the question."},
}
MESSAGES = {
    name: {"payload": {"$ref": f"#/components/schemas/{name}"}, "summary": f"It is {name}."}
    for name in ("ask", "told", "either")
}


def socket_document(host):
    """Version 3: a WebSocket with a query and a header, and one with a path."""
    channel = {"$ref": "#/channels/talk"}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Talk", "version": "1"},
        "servers": {
            "queue": {"host": "b.example.com", "protocol": "kafka"},
            "live": {
                "host": host,
                "pathname": "/v1",
                "protocol": "ws",
                "security": [{"$ref": "#/components/securitySchemes/token"}],
            },
        },
        "channels": {
            "talk": {
                "address": "/talk/{room}",
                "servers": [{"$ref": "#/servers/live"}],
                "parameters": {"room": {"description": "Its name.", "enum": ["a", "b"]}},
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in MESSAGES},
                "bindings": {
                    "ws": {
                        "query": {"type": "object", "properties": {"lang": {"type": "string", "default": "en"}}},
                        "headers": {"type": "object", "properties": {"X-Trace": {"type": "string"}}},
                    }
                },
            },
            "bus": {"address": "bus", "servers": [{"$ref": "#/servers/queue"}]},
        },
        "operations": {
            "askIt": {
                "action": "receive",
                "channel": channel,
                "messages": [{"$ref": "#/channels/talk/messages/ask"}],
                "reply": {"channel": channel, "messages": [{"$ref": "#/channels/talk/messages/told"}]},
            },
            "sayIt": {
                "action": "receive",
                "channel": channel,
                "messages": [{"$ref": "#/channels/talk/messages/either"}],
            },
            "hearIt": {"action": "send", "channel": channel, "messages": [{"$ref": "#/channels/talk/messages/told"}]},
            "queueIt": {"action": "receive", "channel": {"$ref": "#/channels/bus"}},
        },
        "components": {"schemas": PAYLOADS, "messages": MESSAGES, "securitySchemes": TOKEN},
    }


def http_document(host):
    """Version 2: a request with a method and a query, and a stream of events."""
    return {
        "asyncapi": "2.6.0",
        "info": {"title": "Feed", "version": "1"},
        "servers": {
            "main": {"url": f"{host}/{{stage}}", "protocol": "http", "variables": {"stage": {"default": "v2"}}}
        },
        "channels": {
            "orders/{orderId}": {
                "parameters": {"orderId": {"schema": {"type": "integer"}}},
                "publish": {
                    "operationId": "changeOrder",
                    "bindings": {
                        "http": {
                            "type": "request",
                            "method": "PUT",
                            "query": {"type": "object", "properties": {"dry": {"type": "boolean"}}},
                        }
                    },
                    "message": {"oneOf": [{"$ref": "#/components/messages/ask"}]},
                },
            },
            "/events": {
                "subscribe": {
                    "operationId": "events",
                    "message": {"contentType": "text/event-stream", "payload": {"type": "object"}},
                }
            },
        },
        "components": {"schemas": PAYLOADS, "messages": MESSAGES},
    }


class Service:
    """Replies on WebSockets, on HTTP and with events, and keeps what arrived."""

    def __init__(self):
        self.seen = []

    async def talk(self, request):
        opened = web.WebSocketResponse()
        await opened.prepare(request)
        self.seen.append((request.path_qs, request.headers.get("Authorization"), request.headers.get("X-Trace")))
        if request.match_info["room"] == "b":
            await opened.send_json({"event": "news"})
            await opened.send_json({"event": "told", "id": 1})
        async for message in opened:
            self.seen.append(json.loads(message.data))
            await opened.send_json({"event": "news"})
            await opened.send_json({"event": "told", "id": 2})
        return opened

    async def order(self, request):
        self.seen.append((request.method, request.path_qs, await request.json()))
        return web.json_response({"ok": True})

    async def events(self, request):
        return web.Response(text='data: {"n": 1}\n\ndata: {"n": 2}\n\n', content_type="text/event-stream")


@pytest.fixture
async def service():
    served = Service()
    app = web.Application()
    app.router.add_get("/v1/talk/{room}", served.talk)
    app.router.add_put("/v2/orders/{id}", served.order)
    app.router.add_get("/v2/events", served.events)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    served.host = f"127.0.0.1:{runner.addresses[0][1]}"
    yield served
    await runner.cleanup()


async def converted(document, tmp_path: Path, *, portable=False):
    place = tmp_path / "api.json"
    place.write_text(json.dumps(document), encoding="utf-8")
    return await convert([str(place)], Wishes(portable=portable))


async def client_of(made):
    entry = {"name": "api", "call_template_type": "text", "content": made.document}
    return await UtcpClient.create({"variables": {"TOKEN": "t"}, "manual_call_templates": [entry]})


@pytest.mark.anyio
async def test_tools_on_a_websocket_send_and_wait_for_the_message_that_is_meant(service, tmp_path):
    made = await converted(socket_document(service.host), tmp_path)
    tools = {tool["name"]: tool for tool in made.tools}
    assert list(tools) == ["askIt", "sayIt", "hearIt"]
    assert set(tools["askIt"]["inputs"]["properties"]) == {"room", "lang", "X-Trace", "event", "id"}
    assert tools["askIt"]["description"] == "It is ask."
    async with await client_of(made) as client:
        asked = await client.call_tool(
            "api.askIt", {"room": "a", "lang": "de", "X-Trace": "x", "event": "ask", "id": 5}
        )
        heard = await client.call_tool("api.hearIt", {"room": "b"})
        said = await client.call_tool("api.sayIt", {"room": "a", "body": {"a": 1}})
        await client.call_tool("api.askIt", {"room": "a", "event": "ask"})
    assert asked == {"event": "told", "id": 2}
    assert heard == {"event": "told", "id": 1}
    assert said == []
    assert service.seen == [
        ("/v1/talk/a?lang=de", "Bearer t", "x"),
        {"event": "ask", "id": 5},
        ("/v1/talk/b?lang=en", "Bearer t", None),
        ("/v1/talk/a?lang=en", "Bearer t", None),
        {"a": 1},
        ("/v1/talk/a?lang=en", "Bearer t", None),
        {"event": "ask"},
    ]
    [note] = made.notes
    assert (note.where.split(", ")[1], note.what) == (
        "operation 'queueIt'",
        "the bridge has no transport for kafka, so this operation is left out.",
    )


@pytest.mark.anyio
@pytest.mark.parametrize("portable", [True, False])
async def test_tools_on_http_send_requests_and_read_events(service, tmp_path, portable):
    made = await converted(http_document(service.host), tmp_path, portable=portable)
    async with await client_of(made) as client:
        changed = await client.call_tool("api.changeOrder", {"orderId": 3, "dry": True, "event": "ask"})
        events = await client.call_tool("api.events", {})
    assert changed == {"ok": True}
    assert events == [{"n": 1}, {"n": 2}]
    assert service.seen == [("PUT", "/v2/orders/3?dry=true", {"event": "ask"})]


@pytest.mark.anyio
@pytest.mark.parametrize("has_servers", [True, False])
async def test_a_base_url_replaces_or_adds_the_server(service, tmp_path, has_servers):
    document = socket_document("talk.example.com")
    if not has_servers:
        document["servers"] = {}
        del document["channels"]["talk"]["servers"]
    place = tmp_path / "api.json"
    place.write_text(json.dumps(document), encoding="utf-8")
    made = await convert([str(place)], Wishes(portable=False, base_url=f"ws://{service.host}/v1"))
    async with await client_of(made) as client:
        asked = await client.call_tool("api.askIt", {"room": "a", "event": "ask"})
    assert asked == {"event": "told", "id": 2}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"operations": {}}, NONE + "it has no operations."),
        (
            {
                "servers": {},
                "channels": {"talk": {"address": "x"}},
                "operations": {"o": {"channel": {"$ref": "#/channels/talk"}}},
            },
            NONE + "the document names no server for it, so this operation is left out.",
        ),
        (
            {"operations": {"o": {"channel": {"$ref": "#/channels/none"}}}},
            NONE + "its channel has no address, so this operation is left out.",
        ),
        ({"asyncapi": "1.2.0"}, "a.yaml is not an AsyncAPI description of version 2 or 3."),
    ],
)
def test_a_document_without_a_usable_operation_is_one_sentence(change, expected):
    with pytest.raises(ManualError) as error:
        openapi_of_asyncapi({**socket_document("a"), **change}, "a.yaml")
    assert str(error.value) == expected


def test_credentials_have_the_form_of_openapi_and_others_are_noted():
    document = socket_document("a")
    document["servers"]["live"]["security"] = [
        {"type": "httpApiKey", "in": "query", "name": "key"},
        {"type": "userPassword"},
        {"type": "X509"},
    ]
    made = openapi_of_asyncapi(document, "a.yaml")
    assert made.openapi["components"]["securitySchemes"] == {
        "httpApiKey": {"type": "apiKey", "in": "query", "name": "key"},
        "userPassword": {"type": "http", "scheme": "basic"},
    }
    assert made.faults[0].what == "credentials of the type 'X509' are not sent."


VALUES = st.recursive(
    st.none() | st.booleans() | st.text(max_size=5) | st.sampled_from(["#/channels/c", "ws", "http", "send"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["$ref", "payload", "message", "protocol", "host", "url", "address", "ws"]), inner
        )
    ),
    max_leaves=10,
)
PARTS = ["channel", "messages", "reply", "bindings", "traits", "security", "tags", "action", "publish", "subscribe"]


@given(st.sampled_from(["2.6.0", "3.0.0"]), st.dictionaries(st.sampled_from(PARTS), VALUES), VALUES, VALUES)
def test_any_document_gives_a_description_or_one_sentence(version, part, server, components):
    document = {
        "asyncapi": version,
        "servers": {"s": server if isinstance(server, dict) else {"protocol": "ws", "host": "a", "url": "ws://a"}},
        "channels": {"c": {"address": "/c", **part}},
        "operations": {"o": {"channel": {"$ref": "#/channels/c"}, **part}},
        "components": components,
    }
    try:
        made = openapi_of_asyncapi(document, "a.yaml")
        convert_openapi(made.openapi, url=None, options=ConversionOptions())
    except UtcpError as error:
        said = str(error)
    else:
        said = "a.yaml"
    assert said.startswith("a.yaml")


@pytest.mark.parametrize(
    ("server", "channel", "expected"),
    [
        ("ws://a.example/ws/v1", "/ws/v1", "ws://a.example/ws/v1"),
        ("ws://a.example/ws/v1/", "ws/v1", "ws://a.example/ws/v1"),
        ("wss://a.example/ws", "/", "wss://a.example/ws"),
        ("wss://a.example", "/", "wss://a.example/"),
        ("wss://a.example/ws", "/rooms", "wss://a.example/ws/rooms"),
        ("wss://a.example/{v}", "/", "wss://a.example/1/"),
    ],
)
def test_a_path_that_server_and_channel_both_have_is_in_the_address_once(server, channel, expected):
    variables = {"v": {"default": "1"}} if "{v}" in server else {}
    document = {
        "asyncapi": "2.6.0",
        "info": {"title": "T", "version": "1"},
        "servers": {"main": {"url": server, "protocol": server.partition(":")[0], "variables": variables}},
        "channels": {channel: {"publish": {"operationId": "say", "message": {"payload": {"type": "object"}}}}},
    }
    made = openapi_of_asyncapi(document, "a.yaml")
    [tool] = convert_openapi(made.openapi, url=None, options=ConversionOptions()).tools
    assert on_transport(tool.as_json(), made.ways["say"])["tool_call_template"]["url"] == expected
