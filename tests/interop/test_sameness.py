"""The road from an MCP server to its API: compare, shadow, promote and undo, with a twin that has one difference."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from tests.interop.serving import until
from tests.interop.test_mcp import EVERYTHING, child, entry
from tests.support.threaded import threaded
from tests.upstreams.twins import RestTwin, rest_twin

from utcp_bridge import SyncUtcpClient
from utcp_bridge.client.shadowing import read_record, record_file

pytestmark = pytest.mark.timeout(240)

NUMBER = {"type": "number"}
CITIES = {
    "New York": {"temperature": 33, "conditions": "Cloudy", "humidity": 82},
    "Chicago": {"temperature": 36, "conditions": "Light rain / drizzle", "humidity": 82},
    "Los Angeles": {"temperature": 73, "conditions": "Sunny / Clear", "humidity": 48},
}
TOOLS = ["echo", "get-structured-content", "get-sum"]
CALLS = ('echo {"message": "hi"}', 'get-sum {"a": 2, "b": 3.5}', 'get-structured-content {"location": "Chicago"}')
CALL_WORDS = [word for call in CALLS for word in ("--call", call)]


def reply(tool, arguments):
    if tool == "echo":
        return f"Echo: {arguments['message']}"
    if tool == "get-sum":
        a, b = float(arguments["a"]), float(arguments["b"])
        return f"The sum of {a:g} and {b:g} is {a + b:g}."
    return CITIES[arguments["location"]]


def with_difference(tool, value):
    return {**value, "humidity": value["humidity"] + 1} if tool == "get-structured-content" else value


@pytest.fixture
def twin():
    """Run the REST twin of three tools of the server. Each of its reports on the weather has another humidity."""
    documents = {
        "temperature": {**NUMBER, "description": "Temperature in celsius"},
        "conditions": {"type": "string", "description": "Weather conditions description"},
        "humidity": {**NUMBER, "description": "Humidity percentage"},
    }
    weather = {
        "type": "object",
        "properties": documents,
        "required": list(documents),
        "additionalProperties": False,
    }
    service = RestTwin(
        descriptions={
            "echo": "Echoes back the input string",
            "get-sum": "Returns the sum of two numbers",
            "get-structured-content": "Returns structured content along with an output schema for"
            " client data validation",
        },
        parameters={
            "echo": {"message": {"type": "string", "description": "Message to echo"}},
            "get-sum": {
                "a": {**NUMBER, "description": "First number"},
                "b": {**NUMBER, "description": "Second number"},
            },
            "get-structured-content": {
                "location": {"type": "string", "enum": [*CITIES], "description": "Choose city"},
            },
        },
        outputs={"get-structured-content": weather},
        reply=reply,
        change=with_difference,
    )
    with threaded(partial(rest_twin, service)) as running:
        yield running


@pytest.fixture
def config(twin, tmp_path: Path) -> Path:
    """Write the configuration: the server, of which three tools are used, and its twin with the hints of the server."""
    names = {"echo": "Echo Tool", "get-sum": "Get Sum Tool", "get-structured-content": "Get Structured Content Tool"}
    hints = {"destructiveHint": False, "openWorldHint": False}
    old = {**entry(every=child(EVERYTHING)), "name": "every", "include": {"names": [f"every.{one}" for one in TOOLS]}}
    rest = {
        "name": "rest",
        "call_template_type": "http",
        "url": f"{twin.base}/openapi.json",
        "overrides": {name: {"title": title, "annotations": hints} for name, title in names.items()},
    }
    path = tmp_path / "utcp.json"
    path.write_text(json.dumps({"manual_call_templates": [{**old, "shadow": {"new": "rest"}}, rest]}, indent=2))
    return path


def bridge(*words: str) -> tuple[int, str, str]:
    """Run the command, and return its exit code, stdout and stderr."""
    done = subprocess.run([sys.executable, "-m", "utcp_bridge", *words], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


class Host:
    """An MCP host, which starts the bridge with a configuration."""

    def __init__(self, config: Path, twin: RestTwin) -> None:
        whole_list = ["--set", "startup_wait=60", "--set", "startup_settle=60"]
        words = ["-m", "utcp_bridge", "serve", str(config), *whole_list]
        self._entry = entry(bridge={"command": sys.executable, "args": words})
        self._twin = twin

    def use(self, record: Path | None = None):
        """Return the tools that the host sees, the replies to its calls, and the tools that the twin was asked for.

        With `record`, wait until it has the comparison of each call.
        """
        with SyncUtcpClient({"manual_call_templates": [self._entry]}) as client:
            seen = {tool.name: tool.inputs for tool in map(client.find_tool, client.list_tools())}
            self._twin.calls.clear()
            replies = {}
            for call in CALLS:
                name, _, arguments = call.partition(" ")
                [tool] = [one for one in seen if one.endswith(f".every_{name}")]
                value = client.call_tool(f"m.{tool}", json.loads(arguments))
                replies[name] = value.structured or value.content[0]["text"]
            if record is not None:
                until(lambda: len(read_record(record)) == len(CALLS))
        return seen, replies, sorted(self._twin.calls)


def tools_that_differ(report):
    """Return the unexplained differences of tools: the twin has none of the server's resources and prompts."""
    found = [one for one in report["differences"] if not one["explained"]]
    others = {one["what"] for one in found if not one["where"].startswith("tool ")}
    assert others <= {
        "The new side does not have this resource.",
        "The new side does not have this resource template.",
        "The new side does not have this prompt.",
        "The instructions differ.",
    }
    return [
        (one["where"], one["pointer"], one.get("old"), one.get("new"))
        for one in found
        if one["where"].startswith("tool ")
    ]


@pytest.mark.needs(EVERYTHING)
def test_the_comparison_finds_the_one_difference(config: Path) -> None:
    code, out, err = bridge("compare", str(config), "every", "rest", *CALL_WORDS, "--json")
    assert code == 1, err
    report = json.loads(out)
    assert tools_that_differ(report) == [("tool 'get-structured-content', reply", "/humidity", 82, 83)]
    assert {one["tool"]: one["outcome"] for one in report["calls"]} == {
        "echo": "equal",
        "get-sum": "equal",
        "get-structured-content": "different",
    }


@pytest.mark.needs(EVERYTHING)
def test_the_shadow_finds_the_one_difference_and_keeps_it_from_being_promoted(config: Path, twin: RestTwin) -> None:
    record = record_file(config.with_name("utcp.lock"))
    host, before = Host(config, twin), config.read_bytes()
    seen, replies, _ = host.use(record)
    assert replies["get-structured-content"]["humidity"] == 82
    counts = json.loads(bridge("shadow", str(config), "--json")[1])["tools"]
    assert {name: (one["equal"], one["different"]) for name, one in counts.items()} == {
        "every.echo": (1, 0),
        "every.get-sum": (1, 0),
        "every.get-structured-content": (0, 1),
    }
    assert "/humidity" in counts["every.get-structured-content"]["last"][0]

    code, _, err = bridge("promote", str(config), "every", "--all-same")
    assert code == 0, err
    assert "get-structured-content is not promoted, because the sides differ." in err
    assert "/humidity" in err
    assert json.loads(config.read_text())["manual_call_templates"][0]["shadow"]["promoted"] == ["echo", "get-sum"]
    code, _, err = bridge("promote", str(config), "every", "get-structured-content", "--no-calls")
    assert (code, "because the shadow counted 1 call with another reply" in err) == (1, True)
    assert host.use()[:2] == (seen, replies)
    assert {"echo", "get-sum"} <= set(twin.calls)

    code, _, err = bridge("promote", str(config), "every", "--undo")
    assert (code, config.read_bytes() == before) == (0, True), err
    assert host.use(record)[:2] == (seen, replies)


@pytest.mark.needs(EVERYTHING)
def test_a_mended_twin_is_promoted_as_a_whole(config: Path, twin: RestTwin) -> None:
    host, record = Host(config, twin), record_file(config.with_name("utcp.lock"))
    seen, replies, _ = host.use(record)
    twin.change = lambda _tool, value: value
    record.unlink()
    code, _, err = bridge("promote", str(config), "every", *TOOLS, *CALL_WORDS)
    assert code == 0, err
    assert host.use() == (seen, replies, TOOLS)
