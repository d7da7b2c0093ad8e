"""The bridge as a UTCP service, over real HTTP."""

from dataclasses import replace

import anyio
import httpx2
import pytest
from tests.support.server_client import StandIn
from tests.upstreams.registry_service import served

from utcp_bridge import UtcpClient
from utcp_bridge.dialects import Shape, detect
from utcp_bridge.errors import Rejected, Unreachable
from utcp_bridge.model import Binary, ContentBlocks, Source, Tool, Trust
from utcp_bridge.server.app import BridgeServer
from utcp_bridge.server.http import build_app
from utcp_bridge.server.utcp_routes import native_template
from utcp_bridge.settings import BridgeSettings

pytestmark = pytest.mark.anyio
CITY = {"type": "object", "properties": {"city": {"type": "string"}, "$top": {"type": "integer"}}, "required": ["city"]}


async def forecast(arguments, _emit):
    return {"sky": "clear", **arguments}


async def ticks(arguments, emit):
    for number in range(arguments.get("to", 2)):
        await emit(number)
    if "fail" in arguments:
        raise Unreachable("The clock is gone.")
    return list(range(arguments.get("to", 2)))


async def picture(_arguments, _emit):
    return Binary(b"\x89PNG", "image/png")


async def broken(_arguments, _emit):
    raise Rejected("The shop said no.", status=409, detail={"why": "sold out"})


def client_with_tools(**settings):
    client = StandIn(BridgeSettings(port=0, **settings))
    client.loaded.set()
    outputs = {"type": "object", "properties": {"sky": {"type": "string"}}}
    client.add("weather", "fore cast", forecast, inputs=CITY, outputs=outputs, tags=("sky",), description="It.")
    client.add("clock", "ticks", ticks, tags=("stream",))
    client.add("art", "picture", picture)
    client.add("shop", "buy", broken)
    return client


@pytest.fixture
def client():
    return client_with_tools(exposure="search")


@pytest.fixture
def base(client):
    with served(build_app(BridgeServer(client))) as url:
        yield url


async def consumer_of(url, **options):
    entry = {"name": "bridge", "call_template_type": "http", "url": url, **options}
    return await UtcpClient.create({"manual_call_templates": [entry], "variables": {"bridge_UTCP_BRIDGE_TOKEN": "t-1"}})


def test_the_manual_has_every_tool_with_its_exact_schemas(client, base):
    manual = httpx2.get(f"{base}/utcp").json()
    assert detect(manual) is Shape.MANUAL
    assert manual.keys() == {"utcp_version", "manual_version", "tools"}
    by_name = {tool["name"]: tool for tool in manual["tools"]}
    first = client.find("weather.fore cast")
    assert len(by_name) == 4
    described = by_name[BridgeServer(client).catalogue.name_of(first)]
    assert (described["inputs"], described["outputs"], described["tags"]) == (CITY, first.outputs, ["sky"])
    assert described["tool_call_template"]["url"].startswith(f"{base}/utcp/tools/weather_fore_cast")
    assert "auth" not in described["tool_call_template"]


async def test_a_utcp_client_calls_tools_through_the_bridge(base):
    async with await consumer_of(f"{base}/utcp") as consumer:
        name = next(tool.name for tool in consumer.tools() if tool.name.startswith("weather"))
        assert await consumer.call_tool(f"bridge.{name}", {"city": "Oslo", "$top": 1}) == {
            "sky": "clear",
            "city": "Oslo",
            "$top": 1,
        }
        assert await consumer.call_tool("bridge.art_picture") == Binary(b"\x89PNG", "image/png")
        assert await consumer.call_tool("bridge.clock_ticks", {"to": 3}) == [0, 1, 2]


async def test_partial_results_are_streamed_if_the_client_accepts_them(base):
    protocols = ["http", "streamable_http"]
    async with await consumer_of(f"{base}/utcp?streaming=true", allowed_communication_protocols=protocols) as consumer:
        assert len(consumer.tools()) == 4
        assert [tick async for tick in consumer.call_tool_streaming("bridge.clock_ticks", {"to": 3})] == [0, 1, 2]


def test_a_failed_stream_is_an_error_for_the_client(base):
    lines = {"Accept": "application/x-ndjson"}
    with pytest.raises(httpx2.RemoteProtocolError):
        httpx2.post(f"{base}/utcp/tools/clock_ticks", json={"fail": 1}, headers=lines)
    answer = httpx2.post(f"{base}/utcp/tools/clock_ticks", json={"to": 0, "fail": 1}, headers=lines)
    assert (answer.status_code, answer.json()["code"]) == (502, "unreachable")


def test_the_response_has_the_upstreams_error(base):
    answer = httpx2.post(f"{base}/utcp/tools/shop_buy", json={})
    assert answer.status_code == 502
    told = answer.json()
    assert (told["upstream_status"], told["upstream_detail"]) == (409, {"why": "sold out"})


@pytest.mark.parametrize("name", ["art_picture", "art.picture"])
def test_a_tool_is_called_by_its_mcp_name_or_its_utcp_name(base, name):
    assert httpx2.post(f"{base}/utcp/tools/{name}", json={}).content == b"\x89PNG"


def test_an_unknown_tool_is_a_404_with_its_name(base):
    answer = httpx2.post(f"{base}/utcp/tools/no_such", json={})
    assert (answer.status_code, answer.json()["detail"]) == (404, "There is no tool 'no_such'. /utcp lists the tools.")


def test_the_manual_is_sent_again_only_after_a_change_of_the_tools(client, base):
    first = httpx2.get(f"{base}/utcp")
    same = httpx2.get(f"{base}/utcp", headers={"If-None-Match": first.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    client.add("art", "statue")
    changed = httpx2.get(f"{base}/utcp", headers={"If-None-Match": first.headers["etag"]})
    assert changed.status_code == 200
    assert len(changed.json()["tools"]) == 5


async def test_the_manual_waits_for_manuals_that_are_loading():
    client = client_with_tools(startup_wait=60)
    client.manuals = [type("Loading", (), {"name": "late", "status": "loading", "is_loading": True, "tools": 0})()]
    client.loaded = anyio.Event()
    server = BridgeServer(client)
    sent = anyio.Event()
    transport = httpx2.ASGITransport(app=build_app(server))
    async with (
        httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http,
        anyio.create_task_group() as group,
    ):

        async def ask():
            answer = await http.get("/utcp")
            sent.set()
            assert len(answer.json()["tools"]) == 5

        group.start_soon(ask)
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        assert not sent.is_set()
        client.add("late", "tool")
        client.loaded.set()


def test_tools_with_a_native_template_get_it_on_request():
    client = client_with_tools()
    native = {"name": "m", "call_template_type": "http", "url": "https://api.example.com/x"}
    tool = Tool(Source("api", Trust.REMOTE), "get", "http", native)
    client._tools[tool.qualified_name] = tool
    client.generation += 1
    with served(build_app(BridgeServer(client))) as base:
        tools = {one["name"]: one for one in httpx2.get(f"{base}/utcp?via=native").json()["tools"]}
    assert tools["api_get"]["tool_call_template"] == {"call_template_type": "http", "url": "https://api.example.com/x"}
    assert tools["shop_buy"]["tool_call_template"]["url"] == f"{base}/utcp/tools/shop_buy"


async def test_arguments_can_be_the_body_of_the_request(base):
    async with await consumer_of(f"{base}/utcp?arguments=body&via=native") as consumer:
        name = next(tool.name for tool in consumer.tools() if tool.name.startswith("weather"))
        assert (await consumer.call_tool(f"bridge.{name}", {"body": {"city": "Oslo"}}))["city"] == "Oslo"


def test_an_unknown_value_of_via_is_an_error(base):
    answer = httpx2.get(f"{base}/utcp?via=carrier-pigeon")
    assert (answer.status_code, answer.json()["detail"]) == (400, "`via` must be bridge or native.")


async def test_a_token_protects_manual_and_calls_and_the_manual_declares_it():
    with served(build_app(BridgeServer(client_with_tools(bearer_token="t-1")))) as base:
        assert httpx2.get(f"{base}/utcp").status_code == 401
        assert httpx2.post(f"{base}/utcp/tools/art_picture", json={}).status_code == 401
        auth = {"auth_type": "api_key", "api_key": "Bearer t-1", "var_name": "Authorization"}
        async with await consumer_of(f"{base}/utcp", auth=auth) as consumer:
            assert await consumer.call_tool("bridge.art_picture") == Binary(b"\x89PNG", "image/png")
        manual = httpx2.get(f"{base}/utcp", headers={"Authorization": "Bearer t-1"})
    assert manual.json()["tools"][0]["tool_call_template"]["auth"]["api_key"] == "Bearer ${UTCP_BRIDGE_TOKEN}"
    assert "t-1" not in manual.text


@pytest.mark.parametrize(
    ("headers", "status"), [({"Host": "evil.example"}, 421), ({"Origin": "https://evil.example"}, 403)]
)
def test_requests_of_foreign_web_pages_are_refused(base, headers, status):
    assert httpx2.get(f"{base}/utcp", headers=headers).status_code == status
    assert httpx2.post(f"{base}/utcp/tools/art_picture", headers=headers, json={}).status_code == status


def test_an_mcp_endpoint_at_the_same_path_wins_over_the_manual():
    routes = build_app(BridgeServer(client_with_tools(path="/utcp")))._app._app.routes
    assert [route.path for route in routes[:3]] == ["/utcp", "/utcp/p/{name:path}", "/utcp"]
    assert [route.methods for route in routes[:2]] == [None, None]


URL = "https://api.example.com/v1"


def tool(kind="http", overlay=None, projection=None, defaults=None, **template):
    template = {"name": "shop", "call_template_type": kind, "url": URL, **template}
    return Tool(
        Source("shop", Trust.REMOTE),
        "buy",
        kind,
        template,
        overlay=overlay,
        projection=projection,
        defaults=defaults or {},
    )


def test_a_native_template_keeps_variables_and_omits_the_operators_options():
    auth = {"auth_type": "api_key", "api_key": "Bearer ${KEY}", "var_name": "Authorization", "location": "header"}
    given = native_template(tool(auth=auth, allow_networks=["10.0.0.0/8"], ca_cert="/etc/ca.pem", retries=0), {})
    assert given == {"call_template_type": "http", "url": URL, "auth": auth}


@pytest.mark.parametrize("kind", ["cli", "mcp", "text", "file", "a_third_party_kind"])
def test_a_tool_that_runs_on_this_machine_has_no_native_template(kind):
    assert native_template(tool(kind), {}) is None


@pytest.mark.parametrize(
    "changes", [{"overlay": {"query": "{ me }"}}, {"projection": "items"}, {"defaults": {"region": "eu"}}]
)
def test_a_tool_that_the_bridge_discovered_or_changed_has_no_native_template(changes):
    assert native_template(tool(**changes), {}) is None


@pytest.mark.parametrize(
    "template",
    [
        {"auth": {"auth_type": "api_key", "api_key": "sk-123456", "var_name": "X-Key"}},
        {"auth": {"auth_type": "basic", "username": "${USER}", "password": "letmein"}},
        {"auth": {"any": [{"all": [{"auth_type": "oauth2", "client_secret": "abc", "token_url": URL}]}]}},
        {"headers": {"X-Api-Key": "sk-123456"}},
        {"headers": {"authorization": "Bearer abc"}},
        {"cookies": {"Cookie": "sid=1"}},
        {"url": "https://user:letmein@api.example.com/"},
        {"url": "https://api.example.com/?q=1&access_token=abc"},
        {"url": "https://[bad"},
    ],
)
def test_a_template_that_holds_a_credential_is_not_native(template):
    assert native_template(tool(**template), {}) is None


@pytest.mark.parametrize(
    "template",
    [
        {"auth": {"auth_type": "oauth2", "client_id": "me", "client_secret": "${SECRET}", "token_url": URL}},
        {"headers": {"X-Api-Key": "$API_KEY", "Accept": "text/csv"}},
        {"query_params": {"page_token": "{{page_token}}"}},
        {"url": "https://api.example.com/{key}?api_key=${KEY}&page=1"},
        {"message": {"token": "UTCP_ARG_token_UTCP_ARG"}},
    ],
)
def test_variables_and_arguments_are_not_credentials(template):
    given = native_template(tool(**template), {})
    assert given is not None
    assert template.items() <= given.items()


@pytest.mark.parametrize(
    "changes",
    [
        {"headers": {"X-Acme": "literal-1"}},
        {"query_params": {"page": "literal-1"}},
        {"body_template": {"a": ["literal-1"]}},
        {"url": "https://hooks.example.com/services/literal-1"},
        {"auth_message": {"op": "literal-1"}},
    ],
)
def test_a_template_that_the_operator_wrote_is_shown_only_where_the_manual_is_shared(changes):
    written = replace(tool(**changes), source=Source("shop"))
    assert native_template(written, {}) is None
    assert native_template(written, {"share": "yes"}) is None
    given = native_template(written, {"share": True})
    assert given is not None
    assert changes.items() <= given.items()


@pytest.mark.parametrize(
    "entry",
    [
        {"headers": {"X-Acme": "literal-1"}},
        {"auth": {"auth_type": "basic", "username": "literal-1", "password": "literal-2"}},
        {"auth_tools": {"auth_type": "api_key", "api_key": "literal-1"}},
        {"server_variables": {"tenant": "literal-1"}},
    ],
)
def test_a_fetched_tool_with_a_value_of_the_operator_has_no_native_template(entry):
    inherited = {key: value for key, value in entry.items() if key in {"headers", "auth"}}
    assert native_template(tool(**inherited), entry) is None


def test_variables_of_the_operator_do_not_hide_a_fetched_template():
    auth = {"auth_type": "api_key", "api_key": "Bearer ${KEY}", "var_name": "Authorization"}
    assert native_template(tool(auth=auth), {"auth_tools": auth}) is not None


LINKS = [
    ("https://docs.example.com/a", True),
    ("file:///etc/passwd", False),
    ("http://169.254.169.254/latest", False),
    ("http://10.0.0.1/", False),
    ("javascript:alert(1)", False),
]


@pytest.mark.parametrize(("uri", "passes"), LINKS)
@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
def test_links_in_results_follow_the_same_rule_as_over_mcp(uri, passes, accept):
    async def linking(_arguments, emit):
        blocks = ContentBlocks(
            [
                {"type": "resource_link", "uri": uri, "name": "open me"},
                {"type": "resource", "resource": {"uri": uri, "text": "its text"}},
            ]
        )
        await emit(blocks)
        return [blocks]

    client = client_with_tools()
    client.add("far", "links", linking, tags=("stream",))
    with served(build_app(BridgeServer(client))) as base:
        reply = httpx2.post(f"{base}/utcp/tools/far_links", headers={"Accept": accept})
    assert reply.status_code == 200
    assert (uri in reply.text) is passes
    assert ("was left out" in reply.text) is not passes
    assert "its text" in reply.text


def test_schemas_of_the_served_manual_hide_nothing():
    hidden = "\U000e0041\u202e"
    client = client_with_tools()
    schema = {"type": "object", "properties": {"a": {"enum": ["x", f"y{hidden}"], "title": f"A{hidden}"}}}
    client.add("far", "t", inputs=schema, outputs=schema)
    with served(build_app(BridgeServer(client))) as base:
        for query in ("", "?via=native"):
            text = httpx2.get(f"{base}/utcp{query}").text
            assert "\U000e0041" not in text
            assert "\u202e" not in text
            assert "\\u202e" not in text


@pytest.mark.parametrize(
    ("url", "passes"),
    [
        ("https://api.example.com/x", True),
        ("http://10.0.0.1/x", False),
        ("http://[::ffff:169.254.169.254]/x", False),
        ("http://10.0.0.2:8080/x", True),
    ],
)
def test_a_native_template_leads_to_public_addresses_or_those_of_the_operator(url, passes):
    source = Source("far", trust=Trust.REMOTE, origin="https://api.example.com", exempt=frozenset({"10.0.0.2:8080"}))
    tool = Tool(source=source, name="t", kind="http", template={"call_template_type": "http", "url": url})
    assert (native_template(tool, {}) is not None) is passes


def test_credentials_are_masked_in_results_and_lines():
    async def echo(_arguments, emit):
        await emit({"authorization": "Bearer s3cret-value"})
        return [{"authorization": "Bearer s3cret-value"}]

    client = client_with_tools()
    client.redactor.learn(["s3cret-value"], is_credential=True)
    client.add("far", "echo", echo, tags=("stream",))
    with served(build_app(BridgeServer(client))) as base:
        for accept in ("application/json", "application/x-ndjson"):
            reply = httpx2.post(f"{base}/utcp/tools/far_echo", headers={"Accept": accept})
            assert "s3cret-value" not in reply.text
            assert "Bearer ***" in reply.text


def test_the_proof_says_which_tools_are_native_and_why_the_others_are_not():
    client = client_with_tools()
    plan = {"body": {"media_type": "multipart/form-data", "argument": "body"}}
    url = "https://api.example.com/x"
    templates = {
        "get": {"call_template_type": "http", "url": url},
        "upload": {"call_template_type": "http", "url": url, "http_method": "POST", "request_plan": plan},
        "ticks": {"call_template_type": "sse", "url": url},
    }
    for name, template in templates.items():
        tool = Tool(Source("api", Trust.REMOTE), name, template["call_template_type"], template)
        client._tools[tool.qualified_name] = tool
    client.generation += 1
    with served(build_app(BridgeServer(client))) as base:
        tools = {one["name"]: one for one in httpx2.get(f"{base}/utcp?via=native").json()["tools"]}
        rows = {row["tool"]: row for row in httpx2.get(f"{base}/utcp/proof?via=native").json()["tools"]}
        wrong = httpx2.get(f"{base}/utcp/proof?via=x")
    assert rows.keys() == tools.keys()
    assert [name for name, row in rows.items() if row["state"] == "native"] == ["api_get"]
    assert "multipart" in rows["api_upload"]["why"][0]
    assert "'sse'" in rows["api_ticks"]["why"][0]
    assert tools["api_upload"]["tool_call_template"]["url"] == f"{base}/utcp/tools/api_upload"
    assert wrong.status_code == 400
