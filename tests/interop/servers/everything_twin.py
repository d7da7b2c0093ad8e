"""Three tools of the everything server as a REST service with one difference, and a host that uses the bridge."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.interop.serving import until
from tests.upstreams.twins import RestTwin

from utcp_bridge import SyncUtcpClient
from utcp_bridge.client.shadowing import read_record

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


def weather_twin() -> RestTwin:
    """Return the REST twin of three tools of the server. Each of its reports on the weather has another humidity."""
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
    return RestTwin(
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


def bridge(*words: str) -> tuple[int, str, str]:
    """Run the command, and return its exit code, stdout and stderr."""
    done = subprocess.run([sys.executable, "-m", "utcp_bridge", *words], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


class Host:
    """An MCP host, which starts the bridge with a configuration."""

    def __init__(self, config: Path, twin: RestTwin) -> None:
        whole_list = ["--set", "startup_wait=60", "--set", "startup_settle=60"]
        words = ["-m", "utcp_bridge", "serve", str(config), *whole_list]
        server = {"command": sys.executable, "args": words}
        self._entry = {"name": "m", "call_template_type": "mcp", "config": {"mcpServers": {"bridge": server}}}
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
                replies[name] = client.call_tool(f"m.{tool}", json.loads(arguments))
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
