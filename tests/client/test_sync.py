"""The client for programs without an event loop, as in the guides."""

import json
import subprocess
import sys
import threading

import pytest
from tests.support.threaded import threaded_service

from utcp_bridge import SyncUtcpClient, UTCPClient, openapi_to_utcp
from utcp_bridge.errors import CallerError, ConfigError, UnknownTool, Unreachable, UtcpError


@pytest.fixture(scope="module")
def service():
    with threaded_service() as found:
        yield found


@pytest.fixture
def client():
    with UTCPClient() as opened:
        yield opened


def local(service, name="get_weather", **fields):
    template = {"call_template_type": "http", "url": f"{service.base}/echo", "http_method": "GET"}
    inputs = {"type": "object", "properties": {"location": {"type": "string"}}}
    tool = {"name": name, "description": "Weather.", "inputs": inputs, "tool_call_template": template, **fields}
    return {"utcp_version": "1.0", "tools": [tool]}


def test_a_file_is_loaded_listed_described_and_called(client, service, tmp_path):
    path = tmp_path / "weather.json"
    path.write_text(json.dumps(local(service)), encoding="utf-8")
    assert client.load_manual(path) == ["weather.get_weather"]
    assert client.list_tools() == ["get_weather"]
    info = client.get_tool_info("get_weather")
    assert info.description == "Weather."
    assert info.parameters["properties"] == {"location": {"type": "string"}}
    assert client.call_tool("get_weather", {"location": "Paris"})["query"] == [["location", "Paris"]]
    assert [tool.name for tool in client.search_tools("what is the weather")] == ["get_weather"]


def test_a_url_and_an_openapi_description_are_loaded_too(client, service):
    names = client.load_manual(f"{service.base}/utcp")
    assert any(name.endswith(".echo") for name in names)
    manual = openapi_to_utcp(f"{service.base}/openapi.json")
    loaded = client.load_manual_dict(manual)
    assert loaded
    assert set(loaded) <= {tool.qualified_name for tool in client.client.tools()}


def test_one_manual_can_get_a_name_and_several_cannot(client, service, tmp_path):
    assert "peer.echo" in client.load_manual(f"{service.base}/utcp", "peer")
    entries = [{"name": name, "call_template_type": "http", "url": f"{service.base}/utcp"} for name in ("a", "b")]
    path = tmp_path / "two.json"
    path.write_text(json.dumps(entries), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"two\.json contains 2 manuals\. Omit `name`"):
        client.load_manual(path, "one")
    assert {state.name for state in client.client.report()} == {"peer"}


def test_the_future_of_a_started_call_has_its_result_or_error(client, service):
    client.load_manual_dict(local(service), "m")
    tool = client.client.find("m.get_weather")
    started = [client.start_call(tool, {"location": place}) for place in ("Paris", 7)]
    assert started[0].result(60).value["query"] == [["location", "Paris"]]
    assert isinstance(started[1].exception(20), CallerError)
    client.close()
    with pytest.raises(CallerError, match=r"m\.get_weather belongs to a client that is closed"):
        client.start_call(tool, {})


def test_a_name_in_two_manuals_needs_the_full_name(client, service):
    client.load_manual_dict(local(service), "a")
    client.load_manual_dict(local(service), "b")
    assert sorted(client.list_tools()) == ["a.get_weather", "b.get_weather"]
    with pytest.raises(UnknownTool, match="Several manuals"):
        client.call_tool("get_weather")
    assert client.get_tool_info("b.get_weather").name == "b.get_weather"
    assert client.deregister_manual("a")
    assert client.list_tools() == ["get_weather"]
    assert client.load_manual_dict(local(service, "other"))[0].startswith("manual.")
    assert client.load_manual_dict(local(service, "third"))[0].startswith("manual_2.")


def test_a_source_that_cannot_be_loaded_raises_and_is_not_registered(client, service, tmp_path):
    with pytest.raises(UtcpError):
        client.load_manual(tmp_path / "missing.json")
    with pytest.raises(Unreachable):
        client.register_manual({"name": "down", "call_template_type": "http", "url": f"{service.refusing}/utcp"})
    assert client.list_tools() == []
    with pytest.raises(UnknownTool, match="list_tools"):
        client.get_tool_info("nothing")


def test_a_stream_is_an_iterator_that_can_be_left_early(client):
    lines = {"call_template_type": "cli", "command": "seq", "args": ["1", "{{to}}"], "stream": True}
    entry = {
        "name": "m",
        "call_template_type": "text",
        "content": {"utcp_version": "1.0", "tools": [{"name": "count", "tool_call_template": lines}]},
        "allowed_communication_protocols": ["cli"],
    }
    client.register_manual(entry)
    assert [str(line) for line in client.call_tool_streaming("count", {"to": 3})] == ["1", "2", "3"]
    for line in client.call_tool_streaming("count", {"to": 1_000_000}):
        assert str(line) == "1"
        break


def test_several_threads_can_call_at_the_same_time(client, service):
    client.load_manual_dict(local(service), "m")
    answers = {}

    def ask(number):
        answers[number] = client.call_tool("m.get_weather", {"location": f"place {number}"})["query"]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == {number: [["location", f"place {number}"]] for number in range(20)}


def test_a_program_that_does_not_close_the_client_still_ends():
    code = "from utcp_bridge import UTCPClient; client = UTCPClient(); print(client.list_tools())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "[]", "")


def test_the_client_has_two_names() -> None:
    assert SyncUtcpClient is UTCPClient


@pytest.mark.parametrize("form", ["own name", "UTCP name", "Tool"])
def test_every_method_takes_a_tool_or_its_names(client, service, form):
    client.load_manual_dict(local(service), "m")
    found = client.find_tool("get_weather")
    tool = {"own name": "get_weather", "UTCP name": "m.get_weather", "Tool": found}[form]
    arguments = {"location": "Paris"}
    assert client.find_tool(tool) is found
    assert client.get_tool_info(tool).name == "m.get_weather"
    assert client.streams(tool) is False
    assert client.explain(tool, arguments, show_values=True).line == f"GET {service.base}/echo?location=Paris"
    values = [
        client.call(tool, arguments).value,
        client.call_tool(tool, arguments),
        client.start_call(tool, arguments).result(60).value,
        *client.call_tool_streaming(tool, arguments),
    ]
    assert [value["query"] for value in values] == [[["location", "Paris"]]] * 4


def test_closing_twice_does_nothing():
    client = UTCPClient()
    client.close()
    client.close()
