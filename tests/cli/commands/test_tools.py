"""`utcp-bridge tools`, `search` and `learned`."""

import json
import sys

import anyio
import pytest
from tests.support.source import ROOT

from utcp_bridge.search.memory import SearchMemory
from utcp_bridge.server.lessons import store_key
from utcp_bridge.stores.file import FileStore


def test_tools_are_listed_by_name_and_faults_on_stderr(command, manual):
    outcome = command("tools", "-c", manual)
    assert outcome.code == 0
    assert outcome.out.splitlines() == [
        "NAME          KIND  DESCRIPTION",
        "notices.door  text  The notice at the door",
        "notices.list  text  (deprecated) All notices, as data.",
    ]
    assert "odd" in outcome.err
    assert "Manual gone failed: The file" in outcome.err
    assert "1 fault in manuals. `utcp-bridge check` lists them." in outcome.err
    assert "Traceback" not in outcome.err


def test_patterns_and_tags_select_tools(command, manual):
    by_pattern = command("tools", "-c", manual, "*.list", "--json")
    by_tag = command("tools", "-c", manual, "--tag", "door", "--json")
    assert [tool["name"] for tool in json.loads(by_pattern.out)] == ["notices.list"]
    assert [tool["name"] for tool in json.loads(by_tag.out)] == ["notices.door"]


def test_a_pattern_without_a_match_says_so_on_stderr(command, manual):
    outcome = command("tools", "-c", manual, "nothing.*")
    assert (outcome.code, outcome.out) == (0, "")
    assert "No tool matches." in outcome.err


def test_when_every_manual_failed_the_exit_code_says_so(command, tmp_path):
    path = tmp_path / "only.json"
    path.write_text('["./gone.json"]')
    outcome = command("tools", "-c", str(path))
    assert outcome.code == 5
    assert "There are no tools." in outcome.err


def test_a_configuration_without_manuals_has_no_tools(command, tmp_path):
    (tmp_path / "providers.json").write_text('{"manual_call_templates": []}')
    outcome = command("tools")
    assert outcome.code == 0
    assert "There are no tools." in outcome.err


def test_the_best_tool_comes_first(command):
    outcome = command("search", "--quickstart", "how", "many", "words", "--limit", "2")
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["SCORE", "NAME", "DESCRIPTION"]
    assert len(lines) == 3
    assert {line.split()[1] for line in lines[1:]} == {"desk.text_statistics", "desk.top_words"}


def test_json_has_scores_and_schemas(command):
    outcome = command("search", "--quickstart", "unit conversion", "--json", "-n", "1")
    (hit,) = json.loads(outcome.out)
    assert hit["name"] == "desk.convert_units"
    assert 0 < hit["score"] <= 1
    assert hit["inputs"]["required"] == ["value", "from", "to"]


def test_tags_narrow_the_search(command, manual):
    outcome = command("search", "-c", manual, "notice", "--tag", "door", "--json")
    assert [hit["name"] for hit in json.loads(outcome.out)] == ["notices.door"]


def test_a_search_without_a_match_says_so_on_stderr(command, manual):
    outcome = command("search", "-c", manual, "zzzzzzzz")
    assert (outcome.code, outcome.out) == (0, "")
    assert "No tool matches." in outcome.err


def test_a_profile_selects_tools_and_names_its_resources_and_prompts(command):
    config = str(ROOT / "configs" / "profiles.yaml")
    reports = command("tools", "-c", config, "--profile", "reports", "--json")
    assert [tool["name"] for tool in json.loads(reports.out)] == ["shop.list_orders"]
    support = command("tools", "-c", config, "--profile", "support")
    assert "Prompts: apologise" in support.err
    readers = command("tools", "-c", config, "--profile", "readers", "wiki.*")
    assert "wiki.read_page" in readers.out
    assert "Resources: wiki://rules" in readers.err
    assert "No tool matches." in command("tools", "-c", config, "--profile", "readers", "shop.*").err


def test_an_unknown_profile_is_named(command):
    outcome = command("tools", "-c", str(ROOT / "configs" / "profiles.yaml"), "--profile", "report")
    assert outcome.code == 2
    assert "does not have a profile 'report'. Did you mean 'reports'?" in outcome.err


# --- learned


@pytest.fixture
def configuration(tmp_path):
    path = tmp_path / "utcp.json"
    settings = {"search_memory": "disk", "search_store": "file:kept"}
    path.write_text(json.dumps({"manual_call_templates": [], "bridge": settings}))
    return path


@pytest.fixture
def taught(tmp_path, configuration):
    memory = SearchMemory()
    memory.learn("weather.forecast", ("umbrella", "rain"), 1e5)
    store = FileStore(tmp_path / "kept")
    anyio.run(store.put, store_key("stdio"), memory.as_json())
    anyio.run(store.put, "another kind", {"a": 1})
    return configuration


def test_the_words_are_shown_and_can_be_forgotten(command, taught):
    assert command("learned", str(taught)).out.split() == ["NAME", "WORDS", "weather.forecast", "rain", "umbrella"]
    outcome = command("learned", str(taught), "--json")
    assert json.loads(outcome.out) == [{"name": "weather.forecast", "asked_as": ["rain umbrella"]}]
    assert command("learned", str(taught), "--forget").err.endswith("Forgot the lessons of 1 client.\n")
    assert command("learned", str(taught)).err.endswith("Nothing was learned yet.\n")
    in_memory = command("learned", str(taught), "--set", "search_memory=session").err
    assert "Set `search_memory` to disk to keep what is learned." in in_memory


def test_a_manual_gets_the_words_of_its_tools(command, taught, tmp_path):
    manual = tmp_path / "manual.json"
    tools = [{"name": "forecast", "asked_as": ["will it rain"]}, {"name": "other"}, 3]
    manual.write_text(json.dumps({"utcp_version": "1.0.1", "tools": tools}))
    made = json.loads(command("learned", str(taught), "--into", str(manual)).out)
    assert made["tools"] == [{"name": "forecast", "asked_as": ["will it rain", "rain umbrella"]}, {"name": "other"}, 3]


def test_exported_words_lead_to_the_tool_after_the_manual_is_loaded(command, taught, tmp_path):
    manual = tmp_path / "manual.json"
    manual.write_text(json.dumps({"utcp_version": "1.0.1", "tools": [{"name": "forecast"}, {"name": "other"}]}))
    entry = {"name": "post", "call_template_type": "text", "file_path": "manual.json"}
    served = tmp_path / "served.json"
    served.write_text(json.dumps({"manual_call_templates": [entry]}))
    assert command("search", "served.json", "my umbrella", "--json").out.strip() == "[]"
    made = command("learned", str(taught), "--into", str(manual)).out
    manual.write_text(made)
    found = json.loads(command("search", "served.json", "my umbrella", "--json").out)
    assert [tool["name"] for tool in found] == ["post.forecast"]
    assert json.loads(command("learned", str(taught), "--into", str(manual)).out) == json.loads(made)


_MCP_SERVER = """
from mcp.server import MCPServer

server = MCPServer("sky", log_level="CRITICAL")


@server.tool(meta={"utcp/asked_as": ["do I need an umbrella"]})
def forecast() -> str:
    return "dry"


server.run("stdio")
"""


def test_examples_of_apis_and_mcp_servers_lead_to_their_tools(command, tmp_path):
    (tmp_path / "sky.py").write_text(_MCP_SERVER)
    operation = {
        "operationId": "tides",
        "x-asked-as": ["is it safe to swim"],
        "responses": {"200": {"description": "ok"}},
    }
    api = {"openapi": "3.1.0", "info": {"title": "Sea", "version": "1"}, "servers": [{"url": "http://127.0.0.1:9"}]}
    (tmp_path / "sea.json").write_text(json.dumps(api | {"paths": {"/tides": {"get": operation}}}))
    server = {"transport": "stdio", "command": sys.executable, "args": [str(tmp_path / "sky.py")]}
    entries = [
        {"name": "sea", "call_template_type": "text", "file_path": "sea.json"},
        {"name": "air", "call_template_type": "mcp", "config": {"mcpServers": {"sky": server}}},
    ]
    (tmp_path / "utcp.json").write_text(json.dumps({"manual_call_templates": entries}))
    for query, name in (("swim", "sea.tides"), ("umbrella", "air.sky.forecast")):
        found = json.loads(command("search", "utcp.json", query, "--json").out)
        assert [tool["name"] for tool in found] == [name]


@pytest.mark.parametrize("text", ["{", "[]", '{"tools": 3}'])
def test_a_file_that_is_not_a_manual_is_an_error(command, taught, tmp_path, text):
    manual = tmp_path / "manual.json"
    manual.write_text(text)
    outcome = command("learned", str(taught), "--into", str(manual))
    assert outcome.code == 2
    assert "manual.json" in outcome.err


@pytest.mark.parametrize(("setting", "files"), [("disk", 1), ("memory", 0)])
def test_the_index_of_many_tools_is_kept_for_the_next_search(command, own_home, tmp_path, setting, files):
    tools = [{"name": f"find_{number}", "description": f"Find parcel {number}."} for number in range(1_000)]
    (tmp_path / "manual.json").write_text(json.dumps({"utcp_version": "1.0.1", "tools": tools}))
    entry = {"name": "post", "call_template_type": "text", "file_path": "manual.json"}
    (tmp_path / "utcp.json").write_text(json.dumps({"manual_call_templates": [entry]}))
    words = ("search", "utcp.json", "parcel", "77", "--json", "--set", f"search_index={setting}")

    first = command(*words)
    kept = [*own_home.rglob("*.index")]
    second = command(*words)

    assert (first.code, len(kept)) == (0, files)
    assert json.loads(first.out)[0]["name"] == "post.find_77"
    assert first.out == second.out
    assert [*own_home.rglob("*.index")] == kept
