"""search_tools and call_tool."""

import anyio
import orjson
import pytest
from tests.support.host_rules import COMPOSED_RULES, INPUT_RULES, broken
from tests.support.server_client import Manual, StandIn

from utcp_bridge.client.client import UtcpClient
from utcp_bridge.errors import ConfigError, InvalidArguments
from utcp_bridge.model import discard
from utcp_bridge.server.app import BridgeServer
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.settings import MetaToolNames as Names

pytestmark = pytest.mark.anyio


def server_of(**settings):
    client = StandIn(BridgeSettings(**settings))

    async def strict(arguments, _emit):
        if "city" not in arguments:
            raise InvalidArguments("city is missing.")
        return {"city": arguments["city"]}

    client.add(
        "weather",
        "forecast",
        strict,
        description="Tomorrow's weather in a city.",
        inputs={"type": "object", "properties": {"city": {"type": "string"}}},
    )
    client.add("stock", "quote", description="The price of a share.")
    return BridgeServer(client)


async def call(server, name, arguments):
    with anyio.fail_after(60):
        return await server.meta_tools.call(name, arguments, discard)


def test_every_host_accepts_the_schemas_of_the_meta_tools():
    for listed in server_of().catalogue.meta_tools:
        assert list(broken(listed["inputSchema"], INPUT_RULES)) == []
        assert list(broken(listed.get("outputSchema", {}), COMPOSED_RULES)) == []


async def test_a_search_finds_tools_and_says_how_to_call_them():
    found = await call(server_of(), "search_tools", {"query": "weather forecast"})
    assert found["content"][0]["text"] == "1. weather_forecast(city: string) - Tomorrow's weather in a city."
    assert "structuredContent" not in found


async def test_a_search_is_structured_content_too_if_results_always_are():
    found = await call(server_of(structured_content="always"), "search_tools", {"query": "weather forecast"})
    assert [entry["name"] for entry in found["structuredContent"]["results"]] == ["weather_forecast"]
    assert "weather_forecast" in found["content"][0]["text"]


async def test_a_note_of_the_strategy_reaches_the_caller():
    server = server_of()
    server.part.whole.search_note = "Ranked by words alone."
    found = await call(server, "search_tools", {"query": "weather forecast"})
    assert "Ranked by words alone." in found["content"][0]["text"]


async def test_full_detail_is_what_tools_list_shows():
    found = await call(server_of(), "search_tools", {"query": "weather forecast", "detail": "full"})
    assert 'inputSchema: {"type":"object","properties":{"city":{"type":"string"}}' in found["content"][0]["text"]


@pytest.mark.parametrize(
    ("names", "how"),
    [(Names(), "Call these tools with call_tool."), (Names(call="run"), "with run."), (Names(call=None), "")],
)
async def test_search_says_to_use_call_tool_for_tools_that_are_not_listed(names, how):
    server = server_of(exposure="search", meta_tools=names)
    found = await call(server, "search_tools", {"query": "share price"})
    first, *rest = found["content"][0]["text"].split("\n")
    assert first == "1. stock_quote - The price of a share."
    assert len(rest) == bool(how)
    assert "".join(rest).endswith(how)


async def test_bad_search_arguments_are_an_error_result():
    found = await call(server_of(), "search_tools", {"query": "x", "limit": 999})
    assert found["isError"] is True
    assert "limit" in found["content"][0]["text"]


@pytest.mark.parametrize("name", ["weather_forecast", "weather.forecast"])
@pytest.mark.parametrize("arguments", [{"city": "Bonn"}, '{"city": "Bonn"}'])
async def test_call_tool_takes_either_name_and_arguments_also_as_json_text(name, arguments):
    result = await call(server_of(), "call_tool", {"name": name, "arguments": arguments})
    assert result["content"] == [{"type": "text", "text": '{"city":"Bonn"}'}]


@pytest.mark.parametrize("name", ["name", "tool_name", "tool"])
@pytest.mark.parametrize("key", ["arguments", "args", "parameters", "params", "input", "tool_input"])
async def test_call_tool_takes_the_names_that_models_give_its_members(name, key):
    result = await call(server_of(), "call_tool", {name: "weather_forecast", key: {"city": "Bonn"}})
    assert result["content"] == [{"type": "text", "text": '{"city":"Bonn"}'}]


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": "weather_forecast", "city": "Bonn"},
        {"tool_name": "weather_forecast", "city": "Bonn"},
        {"name": None, "tool": "weather_forecast", "args": '{"city": "Bonn"}'},
    ],
)
async def test_call_tool_takes_members_next_to_the_name_as_arguments(arguments):
    result = await call(server_of(), "call_tool", arguments)
    assert '"city":"Bonn"' in result["content"][0]["text"]


async def test_call_tool_passes_a_member_called_name_to_the_tool_if_it_is_among_the_arguments():
    server = server_of()
    received = []

    async def keep(arguments, _emit):
        received.append(arguments)

    server.client.add("people", "find", keep)
    await call(server, "call_tool", {"name": "people_find", "arguments": {"name": "Ann", "input": "x"}})
    await call(server, "call_tool", {"name": "people_find", "arguments": None})
    assert received == [{"name": "Ann", "input": "x"}, {}]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"name": "run_job", "input": {"a": 1}, "mode": "x"}, {"input": {"a": 1}, "mode": "x"}),
        ({"name": "run_job", "input": {"a": 1}}, {"input": {"a": 1}}),
        ({"name": "run_job", "args": ["a"]}, {"args": ["a"]}),
        ({"name": "run_job", "input": {"mode": "x"}}, {"mode": "x"}),
        ({"name": "run_job", "parameters": {"mode": "x"}}, {"mode": "x"}),
        ({"tool_name": "run_job", "name": "Ann"}, {"name": "Ann"}),
    ],
)
async def test_call_tool_does_not_lose_arguments_that_have_names_of_its_own(arguments, expected):
    server = server_of()
    received = []

    async def keep(arguments, _emit):
        received.append(arguments)

    names = ("input", "mode", "args", "name")
    server.client.add("run", "job", keep, inputs={"type": "object", "properties": {name: {} for name in names}})
    await call(server, "call_tool", arguments)
    assert received == [expected]


async def test_call_tool_returns_the_schema_for_wrong_arguments():
    result = await call(server_of(), "call_tool", {"name": "weather_forecast"})
    (text,) = (block["text"] for block in result["content"])
    assert result["isError"] is True
    assert text.startswith("city is missing.")
    assert '"properties":{"city":{"type":"string"}}' in text


@pytest.mark.parametrize(
    "arguments", [{}, {"name": 3}, {"name": "x", "arguments": "no json"}, {"name": "x", "arguments": [1]}]
)
async def test_call_tool_says_what_it_needs(arguments):
    result = await call(server_of(), "call_tool", arguments)
    assert result["isError"] is True
    assert '"name"' in result["content"][0]["text"]


@pytest.mark.parametrize("name", ["search_tools", "call_tool"])
async def test_meta_tools_do_not_call_each_other(name):
    result = await call(server_of(), "call_tool", {"name": name, "arguments": {}})
    assert result["isError"] is True
    assert "directly" in result["content"][0]["text"]


@pytest.mark.parametrize(("names", "hint"), [(Names(), "search_tools"), (Names(search=None), "tools/list")])
async def test_an_unknown_name_is_an_error_that_says_how_to_find_the_right_one(names, hint):
    result = await call(server_of(meta_tools=names), "call_tool", {"name": "no\u200bsuch"})
    assert result["content"][0]["text"].startswith("There is no tool 'nosuch'.")
    assert hint in result["content"][0]["text"]


async def test_an_unknown_name_is_an_error_with_the_nearest_mcp_name():
    result = await call(server_of(), "call_tool", {"name": "weather_forecst"})
    assert result["content"][0]["text"] == (
        "There is no tool 'weather_forecst'. Did you mean weather_forecast? Find the right name with search_tools."
    )


@pytest.mark.parametrize(
    ("names", "listed"),
    [
        (Names(), ["search_tools", "call_tool"]),
        (Names(search="find", call="run", read="more"), ["find", "run"]),
        (Names(search=None, read=None), ["call_tool"]),
        (Names(search=None, call=None), ["read_result"]),
        (Names(search=None, call=None, read=None), []),
    ],
)
def test_meta_tools_can_be_renamed_and_omitted(names, listed):
    server = server_of(meta_tools=names)
    assert [tool["name"] for tool in server.catalogue.meta_tools] == listed
    assert all(name in server.meta_tools for name in listed)
    assert ("search_tools" in server.meta_tools) == (names.search == "search_tools")


def test_a_server_that_keeps_nothing_has_no_tool_to_read_results():
    server = server_of(max_kept_bytes=0)
    assert [tool["name"] for tool in server.catalogue.meta_tools] == ["search_tools", "call_tool"]
    assert "read_result" not in server.meta_tools


def test_descriptions_name_the_providers_within_a_size_limit():
    server = server_of()
    search, call_entry = server.catalogue.meta_tools
    assert "2 tools from stock (1), weather (1)" in search["description"]
    assert "call_tool" in search["description"]
    assert "search_tools" in call_entry["description"]
    for number in range(300):
        server.client.add_many(f"provider_with_a_long_name_{number}", ["x"])
    assert len(server.catalogue.meta_tools[0]["description"]) <= 1024


async def test_a_search_above_the_budget_has_fewer_tools_and_says_so():
    server = server_of(max_result_bytes=10_000, structured_content="always")
    inputs = {"type": "object", "properties": {f"weather {n}": {"type": "string"} for n in range(60)}}
    for number in range(8):
        server.client.add("weather", f"report_{number}", inputs=inputs)
    found = await call(server, "search_tools", {"query": "weather report", "detail": "full", "limit": 8})
    structured = found["structuredContent"]
    assert 0 < len(structured["results"]) < 8
    assert "Not all tools are shown" in structured["note"]
    assert len(orjson.dumps(found)) <= 10_000


@pytest.mark.parametrize(
    "names", [Names(search="a b"), Names(call="x.y"), Names(search="same", call="same"), Names(search="")]
)
def test_a_meta_tool_name_that_no_host_accepts_is_an_error(names):
    with pytest.raises(ConfigError, match="cannot be the name of a meta-tool"):
        server_of(meta_tools=names)


# --- manuals that are not loaded -----------------------------------------------------------------

DOWN = {
    "manual_call_templates": [
        {"name": "well", "call_template_type": "text", "content": {"utcp_version": "1.0.1", "tools": []}},
        {"name": "gh", "call_template_type": "http", "url": "http://127.0.0.1:9/?token=canary-5e1f"},
        {"name": "keyed", "call_template_type": "http", "url": "http://127.0.0.1:9/", "headers": {"X": "${MY_KEY}"}},
        {
            "name": "pair",
            "call_template_type": "mcp",
            "config": {"mcpServers": {"one": {"command": "no-such-one"}, "two": {"command": "no-such-two"}}},
        },
    ],
    "bridge": {"retries": 0},
}


async def test_a_search_without_results_and_an_unknown_tool_name_the_manuals_that_failed():
    async with await UtcpClient.create(DOWN) as client:
        server = BridgeServer(client)
        found = (await call(server, "search_tools", {"query": "create an issue"}))["content"][0]["text"]
        unknown = server.meta_tools.unknown("create_issue")
    for text in (found, str(unknown)):
        assert "gh (failed), keyed (failed)" in text
        assert "bridge_status says why" in text


async def test_a_need_without_a_result_among_others_names_the_manuals_that_failed():
    server = server_of()
    server.client.manuals.append(Manual("gh", status="failed", error=ConfigError("It is away.")))
    for queries, is_named in ((["weather", "share price"], False), (["weather", "zzzz"], True)):
        text = (await call(server, "search_tools", {"queries": queries}))["content"][0]["text"]
        assert ("gh (failed)" in text) is is_named


async def test_the_status_names_each_part_its_cause_and_the_remedy_and_no_secret():
    async with await UtcpClient.create(DOWN) as client:
        server = BridgeServer(client)
        direct = await call(server, "bridge_status", {})
        assert await call(server, "call_tool", {"name": "bridge_status"}) == direct
    down = {one["name"]: one for one in direct["structuredContent"]["down"]}
    assert {"gh", "keyed"} <= down.keys()
    assert any(name.startswith("pair") for name in down)
    assert "127.0.0.1:9" in down["gh"]["cause"]
    assert "MY_KEY" in down["keyed"]["cause"]
    assert "MY_KEY" in down["keyed"]["remedy"]
    assert direct["structuredContent"]["ready"]["manuals"] >= 1
    text = direct["content"][0]["text"]
    assert "gh: failed. " in text
    assert "canary-5e1f" not in orjson.dumps(direct).decode()


async def test_nothing_is_added_while_all_manuals_are_loaded():
    server = server_of()
    for query in ("weather", "zzzz"):
        assert "do not offer" not in (await call(server, "search_tools", {"query": query}))["content"][0]["text"]
    assert "bridge_status" not in str(server.meta_tools.unknown("nothing_like_it"))
    assert (await call(server, "bridge_status", {}))["structuredContent"]["down"] == []


@pytest.mark.parametrize("wanted", [True, False])
async def test_the_status_is_listed_if_the_setting_says_so(wanted):
    names = [one["name"] for one in server_of(list_status=wanted).catalogue.meta_tools]
    assert ("bridge_status" in names) == wanted


async def test_the_status_can_have_another_name_or_none():
    assert "well" in server_of(meta_tools=Names(status="well")).meta_tools
    assert "bridge_status" not in server_of(meta_tools=Names(status=None)).meta_tools
