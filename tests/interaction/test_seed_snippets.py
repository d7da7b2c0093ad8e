"""The programs that UTCP's own guides show, run as they stand but for the import path and the address."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI

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
    tools = await client.search_tools(query="get current weather in London")
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


def application() -> FastAPI:
    """The guide's server; its tool is at the server's own address."""
    app = FastAPI()

    # The discovery endpoint returns the tool manual
    @app.get("/utcp", include_in_schema=False)
    def utcp_discovery():
        return manual(app.state.base)

    # The actual tool endpoint
    @app.get("/api/weather")
    def get_weather(location: str, units: str = "metric"):
        return {"temperature": 22.5, "conditions": "Sunny"}

    return app


def manual(base: str):
    return {
        "version": "1.0",
        "tools": [
            {
                "name": "get_weather",
                "description": "Get current weather for a location",
                "inputs": {"type": "object", "properties": {"location": {"type": "string"}}},
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
    thread.join(10)


def run(program: str, folder: Path) -> str:
    path = folder / "client.py"
    path.write_text(program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "client.py"], cwd=folder, capture_output=True, text=True, timeout=30, check=False
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


def test_a_provider_is_registered_by_hand_as_the_encyclopedia_shows(base, tmp_path):
    assert "Sunny" in run(PROVIDER_CLIENT.replace("BASE", base), tmp_path)


def test_the_synchronous_client_of_the_deep_dive_does_what_its_comments_say(base, tmp_path):
    (tmp_path / "weather.json").write_text(json.dumps(manual(base)), encoding="utf-8")
    listed, description, parameters, result = run(DIRECT, tmp_path).splitlines()
    assert listed == "['get_weather']"
    assert description == "Get current weather for a location"
    assert "'location'" in parameters
    assert result == "{'temperature': 22.5, 'conditions': 'Sunny'}"


def test_discovery_by_url_and_conversion_meet_in_one_client(base, tmp_path):
    names = run(DISCOVERY.replace("BASE", base), tmp_path)
    assert "get_weather" in names
