"""The programs of UTCP's own guides run unchanged, except for the import path and the address."""

import json
import os
import re
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request

from utcp_bridge import UTCPClient
from utcp_bridge.errors import InvalidArguments

CLIENT = """
import asyncio
from utcp_bridge import UtcpClient

async def main():
    # Create a client instance. It automatically loads providers
    # from the specified file path.
    client = await UtcpClient.create(
        config={"providers_file_path": "./providers.json"}
    )

    # Call a tool. The name is namespaced: `provider_name.tool_name`
    result = await client.call_tool(
        tool_name="cool_public_apis.get_weather",
        arguments={"location": "Berlin"}
    )

    print(result)

if __name__ == "__main__":
    asyncio.run(main())
"""

DOTENV_CLIENT = """
import asyncio
from utcp_bridge import UtcpClient

async def main():
    # The client automatically loads providers from the path specified in the config
    client = await UtcpClient.create(
        config={
            "providers_file_path": "PROVIDERS",
            "load_variables_from": [{
                "type": "dotenv",
                "env_file_path": ".env"
            }]
        }
    )
    tools = client.search_tools(query="get current weather in London")
    for tool in tools:
        print(tool.name, tool.description)

asyncio.run(main())
"""

PROVIDER_CLIENT = """
import asyncio
from utcp_bridge import UtcpClient
from utcp_bridge.providers import HttpProvider

async def main():
    client = await UtcpClient.create()
    manual_provider = HttpProvider(
        name="weather_service",
        provider_type="http",
        url="BASE/utcp",
        http_method="GET"
    )
    await client.register_manual_provider(manual_provider)
    result = await client.call_tool("weather_service.get_weather", arguments={"location": "Berlin"})
    print(result)

asyncio.run(main())
"""

DIRECT = """
from utcp_bridge import UTCPClient

client = UTCPClient()
client.load_manual("./weather.json")

# List available tools
tools = client.list_tools()
print(tools)

# Get tool info
tool_info = client.get_tool_info("get_weather")
print(tool_info.description)
print(tool_info.parameters)

# Call a tool
result = client.call_tool(
    "get_weather",
    {"location": "Paris", "units": "metric"}
)
print(result)
"""

DISCOVERY = """
from utcp_bridge import UTCPClient, openapi_to_utcp

client = UTCPClient()
client.load_manual("BASE/utcp")

# Convert existing OpenAPI spec
utcp_manual = openapi_to_utcp("BASE/openapi.json")
client.load_manual_dict(utcp_manual)
print(sorted(client.list_tools()))
"""


REGISTRY = """
from utcp_bridge import UTCPClient, UTCPRegistry

client = UTCPClient()
tools = UTCPRegistry("BASE")
manuals = tools.discover(tags=["weather", "maps"])
for manual_url in manuals:
    client.load_manual(manual_url)
print(client.list_tools())
"""


def application() -> FastAPI:
    """The guide's server, with its tool at the server's own address."""
    app = FastAPI()

    # The discovery endpoint returns the tool manual
    @app.get("/utcp", include_in_schema=False)
    def utcp_discovery():
        return manual(app.state.base)

    # The actual tool endpoint
    @app.get("/api/weather")
    def get_weather(location: str, units: str = "metric"):
        return {"temperature": 22.5, "conditions": "Sunny"}

    @app.get("/api/volumes/brief/{key_type}/{value}.json", include_in_schema=False)
    def volumes(key_type: str, value: str, request: Request):
        return {"key_type": key_type, "value": value, "query": request.url.query}

    return app


def manual(base: str):
    return {
        "version": "1.0",
        "tools": [
            {
                "name": "get_weather",
                "description": "Get current weather for a location",
                "inputs": {
                    "type": "object",
                    "properties": {"location": {"type": "string"}, "units": {"type": "string"}},
                },
                "outputs": {"type": "object", "properties": {"temperature": {"type": "number"}}},
                "tool_provider": {"provider_type": "http", "url": f"{base}/api/weather", "http_method": "GET"},
            }
        ],
    }


@pytest.fixture(scope="module")
def base():
    app = application()
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        thread.join(0.02)
        assert thread.is_alive()
    app.state.base = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    yield app.state.base
    server.should_exit = True
    thread.join(60)


def run(program: str, folder: Path) -> str:
    path = folder / "client.py"
    path.write_text(program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "client.py"], cwd=folder, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def providers(base: str, folder: Path, **fields: str) -> None:
    entry = {"name": "cool_public_apis", "provider_type": "http", "url": f"{base}/utcp", "http_method": "GET"}
    (folder / "providers.json").write_text(json.dumps([{**entry, **fields}]), encoding="utf-8")


def test_the_first_program_of_the_readme_calls_the_guides_server(base, tmp_path):
    providers(base, tmp_path)
    assert "22.5" in run(CLIENT, tmp_path)


def test_variables_come_from_a_dotenv_file_and_tools_are_found(base, tmp_path):
    providers("${BASE}", tmp_path)
    (tmp_path / ".env").write_text(f"cool__public__apis_BASE={base}\n", encoding="utf-8")
    program = DOTENV_CLIENT.replace("PROVIDERS", str(tmp_path / "providers.json"))
    assert run(program, tmp_path) == "get_weather Get current weather for a location\n"


def test_a_provider_is_registered_in_code_as_the_encyclopedia_shows(base, tmp_path):
    assert "Sunny" in run(PROVIDER_CLIENT.replace("BASE", base), tmp_path)


def test_the_synchronous_client_of_the_deep_dive_does_what_its_comments_say(base, tmp_path):
    (tmp_path / "weather.json").write_text(json.dumps(manual(base)), encoding="utf-8")
    listed, description, parameters, result = run(DIRECT, tmp_path).splitlines()
    assert listed == "['get_weather']"
    assert description == "Get current weather for a location"
    assert "'location'" in parameters
    assert result == "{'temperature': 22.5, 'conditions': 'Sunny'}"


def test_one_client_uses_discovery_by_url_and_conversion(base, tmp_path):
    names = run(DISCOVERY.replace("BASE", base), tmp_path)
    assert "get_weather" in names


def volumes(base: str) -> dict[str, Any]:
    """The guide's tool whose URL has path parameters."""
    url = f"{base}/api/volumes/brief/{{key_type}}/{{value}}.json"
    return {"version": "1.0", "tools": [{"name": "brief", "tool_provider": {"provider_type": "http", "url": url}}]}


def test_arguments_fill_path_parameters_and_the_rest_becomes_the_query(base):
    arguments = {"key_type": "isbn", "value": "9780140328721", "format": "json"}
    with UTCPClient() as client:
        client.load_manual_dict(volumes(base), "openlibrary_api")
        asked = client.call_tool("openlibrary_api.brief", arguments)
        with pytest.raises(InvalidArguments, match="'value'"):
            client.call_tool("openlibrary_api.brief", {"key_type": "isbn"})
    assert asked == {"key_type": "isbn", "value": "9780140328721", "query": "format=json"}


def shell(line: str, folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-ec", line],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_utilities_convert_and_validate_as_documented(base, tmp_path):
    with urllib.request.urlopen(f"{base}/openapi.json") as reply:
        document = {**json.load(reply), "servers": [{"url": base}]}
    (tmp_path / "openapi.json").write_text(json.dumps(document), encoding="utf-8")
    shell("utcp convert openapi.json > utcp-manual.json", tmp_path)
    converted = json.loads((tmp_path / "utcp-manual.json").read_text(encoding="utf-8"))
    assert [tool["tool_call_template"]["url"] for tool in converted["tools"]] == [f"{base}/api/weather"]
    assert "utcp-manual.json" in shell("utcp validate utcp-manual.json", tmp_path)


def test_manuals_of_a_registry_are_found_by_tags_and_loaded(tmp_path):
    for name, tags in {"weather": ["weather"], "maps": ["maps"], "other": ["tea"]}.items():
        [tool] = manual("https://example.com")["tools"]
        document = {"version": "1.0", "tools": [{**tool, "name": f"{name}_tool", "tags": tags}]}
        (tmp_path / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")
    command = [Path(sys.executable).with_name("utcp-registry"), "serve", "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            url = re.search(r"http://\S+(?=/manuals)", process.stderr.readline())
            assert url is not None
            listed = run(REGISTRY.replace("BASE", url[0]), tmp_path)
        finally:
            process.terminate()
    assert listed == "['maps_tool', 'weather_tool']\n"
