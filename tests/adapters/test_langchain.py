"""UTCP tools as LangChain tools: names, descriptions, schemas, arguments, and where the toolkit comes from."""

import json
import re
import subprocess
import sys

import pytest
from langchain_core.tools import BaseTool, ToolException
from langchain_core.utils.function_calling import convert_to_openai_tool
from tests.support.local_manuals import entry, http_tool
from tests.support.threaded import threaded_service

from utcp_bridge import UtcpClient
from utcp_bridge.adapters.langchain import UTCPToolkit
from utcp_bridge.errors import ConfigError, ManualError, MissingExtra, UnknownTool, UtcpError

RICH = {
    "type": "object",
    "properties": {
        "when": {"anyOf": [{"type": "string", "format": "date"}, {"type": "integer", "minimum": 0}]},
        "note": {"anyOf": [{"type": "string", "maxLength": 20}, {"type": "null"}]},
        "unit": {"type": "string", "enum": ["C", "F"], "default": "C"},
        "place": {"$ref": "#/$defs/Place"},
    },
    "required": ["place"],
    "$defs": {
        "Place": {
            "type": "object",
            "properties": {"city": {"type": "string", "minLength": 1}, "at": {"$ref": "#/$defs/Point"}},
            "required": ["city"],
        },
        "Point": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
    },
}
LISTED = {key: value for key, value in RICH.items() if key != "additionalProperties"}
"""What is listed: some hosts cannot read a boolean in the place of a schema."""
ODD_NAMES = ("self", "config", "run_manager", "callbacks", "args", "kwargs", "input", "tool_call_id", "type", "user-id")


@pytest.fixture(scope="module")
def service():
    with threaded_service() as found:
        yield found


def open_toolkit(*entries, **options):
    return UTCPToolkit.from_config(list(entries), **options)


def only_tool(toolkit) -> BaseTool:
    (tool,) = toolkit.get_tools()
    return tool


def sent(service) -> object:
    return json.loads(service.last.body)


def test_tools_of_a_manual_file_can_be_invoked(service, tmp_path):
    path = tmp_path / "tools.json"
    echo = http_tool("get_weather", f"{service.base}/echo", description="The weather.")
    path.write_text(json.dumps({"utcp_version": "1.0", "tools": [echo]}), encoding="utf-8")
    with UTCPToolkit.from_manual(path) as toolkit:
        tool = only_tool(toolkit)
        assert isinstance(tool, BaseTool)
        assert (tool.name, tool.description) == ("tools_get_weather", "The weather.")
        assert tool.metadata == {"utcp_name": "tools.get_weather", "openWorldHint": True}
        assert json.loads(tool.invoke({"city": "Paris"}))["json"] == {"city": "Paris"}


def test_a_manual_at_a_url_can_be_named(service):
    with UTCPToolkit.from_manual(f"{service.base}/utcp", name="peer", tools=["echo", "peer.get_*"]) as toolkit:
        assert [tool.name for tool in toolkit.get_tools()] == ["peer_echo", "peer_get_item"]


def test_a_place_without_a_manual_raises_at_once(service, tmp_path):
    with pytest.raises(ConfigError, match=re.escape("missing.json")):
        UTCPToolkit.from_manual(tmp_path / "missing.json")
    with pytest.raises(UtcpError, match="401"):
        UTCPToolkit.from_manual(f"{service.base}/secure/utcp")
    empty = tmp_path / "empty.json"
    empty.write_text("[]", encoding="utf-8")
    with pytest.raises(ManualError, match=r"empty\.json contains no manual"):
        UTCPToolkit.from_manual(empty)


def test_a_failed_manual_of_a_configuration_is_reported_and_others_work(service):
    down = {"name": "down", "call_template_type": "http", "url": f"{service.refusing}/utcp"}
    with open_toolkit(down, entry("up", http_tool("echo", f"{service.base}/echo"))) as toolkit:
        assert [tool.name for tool in toolkit.get_tools()] == ["up_echo"]
        assert {state.name: state.status for state in toolkit.client.report()} == {"down": "failed", "up": "ready"}


def test_names_are_valid_for_every_model_and_unique(service):
    url = f"{service.base}/echo"
    names = ["pets.get", "pets_get", "pets/get", "grüße", "x" * 90, "x" * 89 + "y"]
    with open_toolkit(entry("shop", *(http_tool(name, url) for name in names))) as toolkit:
        tools = toolkit.get_tools()
    assert len({tool.name.casefold() for tool in tools}) == len(names)
    assert all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", tool.name) for tool in tools)
    assert {tool.metadata["utcp_name"] for tool in tools} == {f"shop.{name}" for name in names}


def test_selecting_tools_does_not_change_their_names(service):
    tools = [http_tool(name, f"{service.base}/echo") for name in ("a.b", "a_b")]
    with open_toolkit(entry("m", *tools)) as toolkit, open_toolkit(entry("m", *tools), tools="m.a.b") as chosen:
        assert only_tool(chosen).name == toolkit.get_tools()[0].name != "m_a_b"


def test_a_pattern_that_matches_no_tool_raises_with_the_known_tools(service):
    toolkit = open_toolkit(entry("m", http_tool("echo", f"{service.base}/echo")), tools=["eco*"])
    with toolkit, pytest.raises(UnknownTool, match=r"'eco\*'.*m\.echo"):
        toolkit.get_tools()


def test_schemas_keep_unions_nesting_constraints_and_definitions(service):
    with open_toolkit(entry("m", http_tool("rich", f"{service.base}/echo", RICH, description="Rich."))) as toolkit:
        tool = only_tool(toolkit)
    assert tool.args_schema == LISTED
    assert tool.args == RICH["properties"]
    definitions = RICH["$defs"]
    place = {
        **definitions["Place"],
        "properties": {"city": {"type": "string", "minLength": 1}, "at": definitions["Point"]},
    }
    parameters = {key: value for key, value in LISTED.items() if key != "$defs"}
    parameters["properties"] = {**RICH["properties"], "place": place}
    function = {"name": "m_rich", "description": "Rich.", "parameters": parameters}
    assert convert_to_openai_tool(tool) == {"type": "function", "function": function}


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/Missing"}}},
        {"type": "object", "properties": {"a": {"$ref": "https://example.com/schema.json"}}},
        {"type": "object", "properties": {"a": {"$ref": "#"}}},
        {"anyOf": [{"properties": {"a": {"type": "string"}}}, {"properties": {"a": {"type": "integer"}}}]},
    ],
    ids=["empty", "dangling", "remote", "recursive", "union at the root"],
)
def test_a_schema_that_models_refuse_is_rewritten(service, inputs):
    with open_toolkit(entry("m", http_tool("odd", f"{service.base}/echo", inputs))) as toolkit:
        tool = only_tool(toolkit)
    parameters = convert_to_openai_tool(tool)["function"]["parameters"]
    assert parameters["type"] == "object"
    assert set(parameters["properties"]) == set(tool.args) == ({"a"} if inputs else set())
    assert parameters.keys() & {"anyOf", "oneOf", "allOf"} == set()


@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_argument_may_have_any_name(service, name):
    inputs = {"type": "object", "properties": {name: {"type": "string"}}, "required": [name]}
    with open_toolkit(entry("m", http_tool("echo", f"{service.base}/echo", inputs))) as toolkit:
        only_tool(toolkit).invoke({"type": "tool_call", "id": "1", "name": "m_echo", "args": {name: "value"}})
    assert sent(service) == {name: "value"}


def test_a_key_that_models_refuse_is_renamed_and_sent_under_its_own_name(service):
    inputs = {"type": "object", "properties": {"filter[name]": {"type": "string"}}, "required": ["filter[name]"]}
    with open_toolkit(entry("m", http_tool("echo", f"{service.base}/echo", inputs))) as toolkit:
        tool = only_tool(toolkit)
        (key,) = tool.args
        assert re.fullmatch(r"[A-Za-z0-9_.-]+", key)
        tool.invoke({key: "tea"})
    assert sent(service) == {"filter[name]": "tea"}


@pytest.mark.parametrize(
    "arguments",
    [
        {"place": {"city": "Paris", "at": [1.5, 2]}, "when": 7, "note": None},
        {"place": {"city": "Paris"}, "when": "2026-01-01", "note": "12", "unit": "F"},
    ],
)
def test_arguments_are_sent_as_the_model_wrote_them(service, arguments):
    with open_toolkit(entry("m", http_tool("rich", f"{service.base}/echo", RICH))) as toolkit:
        only_tool(toolkit).invoke(arguments)
    assert sent(service) == arguments


def test_invalid_arguments_are_refused_before_anything_is_sent(service):
    with open_toolkit(entry("m", http_tool("rich", f"{service.base}/echo", RICH))) as toolkit:
        asked = len(service.requests)
        with pytest.raises(ToolException, match=r"m\.rich: .*place.*Its arguments are: when"):
            only_tool(toolkit).invoke({"when": 7})
        assert len(service.requests) == asked


def test_get_tools_returns_current_tools_and_a_removed_tool_raises(service):
    with open_toolkit() as toolkit:
        assert toolkit.get_tools() == []
        toolkit._caller.owner.register_manual(entry("m", http_tool("echo", f"{service.base}/echo")))
        tool = only_tool(toolkit)
        toolkit._caller.owner.deregister_manual("m")
        assert toolkit.get_tools() == []
        with pytest.raises(ToolException, match=r"no longer has the tool 'm\.echo'.*again"):
            tool.invoke({})


def test_tools_work_until_the_toolkit_is_closed(service):
    toolkit = open_toolkit(entry("m", http_tool("echo", f"{service.base}/echo")))
    close, tool = toolkit.close, only_tool(toolkit)
    del toolkit
    assert "json" in tool.invoke({})
    close()
    close()
    with pytest.raises(ToolException, match="closed"):
        tool.invoke({})


@pytest.mark.anyio
async def test_a_programs_own_client_runs_on_its_event_loop_and_stays_open(service):
    async with await UtcpClient.create([entry("m", http_tool("echo", f"{service.base}/echo"))]) as client:
        with UTCPToolkit.from_client(client) as toolkit:
            tool = only_tool(toolkit)
            with pytest.raises(NotImplementedError, match="ainvoke"):
                tool.invoke({})
        assert json.loads(await tool.ainvoke({"a": 1}))["json"] == {"a": 1}


def test_the_import_without_the_extra_names_the_install_command():
    code = "import sys; sys.modules['langchain_core'] = None; import utcp_bridge.adapters.langchain"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=False)
    line = MissingExtra.install_line("langchain")
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: The LangChain adapter needs langchain-core. Install it with: {line}"
    )
    assert "During handling" not in done.stderr
