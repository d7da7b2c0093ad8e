"""`python -m utcp_bridge.compat`: unchanged programs for the reference library, in a process of their own."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from tests.upstreams.registry_service import served

LLM_0 = """
import asyncio, json, sys, urllib.request
from pathlib import Path
from utcp.client.utcp_client import UtcpClient
from utcp.client.utcp_client_config import UtcpClientConfig, UtcpDotEnv

def ask(base, messages):
    body = json.dumps({"model": "fake", "messages": messages}).encode()
    request = urllib.request.Request(base + "/v1/chat/completions", body, {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))["choices"][0]["message"]["content"]

async def main(base):
    here = Path(__file__).parent
    dotenv = UtcpDotEnv(env_file_path=str(here / ".env"))
    config = UtcpClientConfig(providers_file_path=str(here / "providers.json"), load_variables_from=[dotenv])
    client = await UtcpClient.create(config)
    tools = await client.search_tools("weather in Paris", limit=10)
    prompt = json.dumps([tool.model_dump() for tool in tools])
    reply = json.loads(ask(base, [{"role": "system", "content": prompt}, {"role": "user", "content": "Paris?"}]))
    result = await client.call_tool(reply["tool_name"], reply["arguments"])
    print(reply["tool_name"], str(result))

asyncio.run(main(sys.argv[1]))
"""

LLM_1 = """
import asyncio, json, sys
from utcp.utcp_client import UtcpClient
from utcp.data.utcp_client_config import UtcpClientConfig
from utcp_http.http_call_template import HttpCallTemplate

async def main(base):
    template = HttpCallTemplate(name="w", url=base + "/utcp", headers={"X-Key": "${KEY}"})
    config = UtcpClientConfig(variables={"w_KEY": "k1"}, manual_call_templates=[template])
    client = await UtcpClient.create(config=config)
    [tool] = await client.search_tools("weather")
    print(tool.name, tool.inputs.properties["location"].type, tool.tool_call_template.call_template_type)
    print(await client.call_tool(tool.name, {"location": "Paris"}))
    try:
        await client.call_tool("w.none", {})
    except ValueError as error:
        print("ValueError", error)
    await client.close()

asyncio.run(main(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    app = FastAPI()
    seen: list[Any] = []

    @app.get("/utcp", include_in_schema=False)
    def manual(request: Request):
        provider = {"provider_type": "http", "url": f"{request.base_url}weather", "http_method": "GET"}
        inputs = {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]}
        tool = {"name": "get_weather", "description": "Weather of a place.", "tags": ["weather"], "inputs": inputs}
        return {"version": "1.0", "tools": [{**tool, "tool_provider": provider}]}

    @app.get("/weather")
    def weather(location: str):
        return {"location": location, "conditions": "Sunny"}

    @app.post("/v1/chat/completions")
    async def chat(request: Request):
        """Call the first tool of the prompt under the name that it shows."""
        seen.append(await request.json())
        [tool] = json.loads(seen[-1]["messages"][0]["content"])
        content = json.dumps({"tool_name": tool["name"], "arguments": {"location": "Paris"}})
        return {"choices": [{"message": {"role": "assistant", "content": content}}]}

    with served(app) as base:
        yield base.rstrip("/")


def run(folder: Path, program: str, *words: str) -> str:
    path = folder / "program.py"
    path.write_text(program, encoding="utf-8")
    command = [sys.executable, "-m", "utcp_bridge.compat", str(path), *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_loop_with_a_language_model_of_0x_runs(service: str, tmp_path: Path) -> None:
    provider = {"name": "w", "provider_type": "http", "url": f"{service}/utcp", "headers": {"X-Key": "${KEY}"}}
    (tmp_path / "providers.json").write_text(json.dumps([provider]), encoding="utf-8")
    (tmp_path / ".env").write_text("w_KEY=secret-1\n", encoding="utf-8")
    out = run(tmp_path, LLM_0, service)
    assert out == "w.get_weather {'location': 'Paris', 'conditions': 'Sunny'}\n"


def test_a_program_of_1x_runs(service: str, tmp_path: Path) -> None:
    first, second, third = run(tmp_path, LLM_1, service).splitlines()
    assert first == "w.get_weather string http"
    assert second == "{'location': 'Paris', 'conditions': 'Sunny'}"
    assert third.startswith("ValueError Tool not found: w.none.")


def test_a_module_runs_as_well_and_a_missing_word_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "told.py").write_text("import sys, utcp.utcp_client\nprint(sys.argv[1:])\n", encoding="utf-8")
    command = [sys.executable, "-m", "utcp_bridge.compat"]
    done = subprocess.run([*command, "-m", "told", "a"], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout == "['a']\n"
    for words in ([], ["-m"], ["--help"]):
        failed = subprocess.run([*command, *words], capture_output=True, text=True, cwd=tmp_path, check=False)
        assert failed.returncode == 1
        assert failed.stderr.startswith("Usage: ")
