"""The configuration, commands and program of README.md and of the guide, in an empty folder, with local hosts."""

import json
import os
import re
import shlex
import subprocess
import sys
import threading
from pathlib import Path
from typing import Annotated

import pytest
import uvicorn
from fastapi import FastAPI, Security
from fastapi.security import APIKeyHeader
from tests.support.source import DOCS, ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = (DOCS / "getting-started.md").read_text(encoding="utf-8")
CONFIGURATION = next(block for block in re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL) if "shop" in block)
COMMANDS = next(
    block for block in re.findall(r"```console\n(.*?)```", GUIDE, re.DOTALL) if "utcp-bridge tools" in block
)
CALL, OUTPUT = re.search(r"^\$ (utcp-bridge call .*)\n((?:[^$`].*\n)+)", README, re.MULTILINE).groups()
PROGRAM = next(block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "providers.json" in block)


def application(base: list[str]) -> FastAPI:
    """Serve the shop, and the weather service with its manual."""
    app = FastAPI(title="Shop")

    @app.get("/orders")
    def orders(key: Annotated[str, Security(APIKeyHeader(name="X-Api-Key"))]):
        return {"key": key}

    @app.get("/utcp", include_in_schema=False)
    def utcp():
        inputs = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
        provider = {"provider_type": "http", "url": f"{base[0]}/weather", "http_method": "GET"}
        tool = {"name": "get_weather", "description": "The weather forecast of a city", "inputs": inputs}
        return {"version": "1.0", "tools": [{**tool, "tool_provider": provider}]}

    @app.get("/weather", include_in_schema=False)
    def weather(city: str):
        return {"city": city, "temperature": 18}

    return app


@pytest.fixture(scope="module")
def base():
    place = [""]
    server = uvicorn.Server(uvicorn.Config(application(place), port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        thread.join(0.02)
        assert thread.is_alive()
    place[0] = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    yield place[0]
    server.should_exit = True
    thread.join(60)


def typed(line, folder, **environ):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-ec", line],
        cwd=folder,
        env={**os.environ, "PATH": path, **environ},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.fixture
def folder(base, tmp_path):
    """Return a folder with the files that the pages name, with local hosts."""
    text = re.sub(r"https://(api|shop)\.example\.com", base, CONFIGURATION)
    (tmp_path / "utcp.json").write_text(text, encoding="utf-8")
    providers = [{"name": "weather", "provider_type": "http", "url": f"{base}/utcp"}]
    (tmp_path / "providers.json").write_text(json.dumps(providers), encoding="utf-8")
    (tmp_path / "manuals").mkdir()
    calendar = '{utcp_version: "1.0.1", tools: []}'
    (tmp_path / "manuals" / "calendar.yaml").write_text(calendar, encoding="utf-8")
    openapi = {"openapi": "3.0.3", "servers": [{"url": base}], "paths": {"/orders": {"get": {"responses": {}}}}}
    (tmp_path / "openapi.json").write_text(json.dumps(openapi), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("key", ["API_KEY", "shop_API_KEY"])
def test_the_configuration_works_with_both_names_of_the_key(folder, key):
    checked = typed("utcp-bridge check -c utcp.json", folder, **{key: "sesame"})
    assert (checked.returncode, checked.stdout.count(" ready ")) == (0, 3), checked.stdout
    assert "warning" not in checked.stdout
    called = typed("utcp-bridge call -c utcp.json shop.orders_orders_get", folder, **{key: "sesame"})
    assert json.loads(called.stdout) == {"key": "sesame"}


def test_without_the_key_the_shop_is_listed_and_the_message_names_the_variable(folder):
    checked = typed("utcp-bridge check -c utcp.json", folder)
    assert (checked.returncode, checked.stdout.count(" ready ")) == (0, 3), checked.stdout
    assert "set shop_API_KEY or API_KEY in `variables` or in the environment." in checked.stdout
    assert f"{folder / '.env'}" in checked.stdout
    called = typed("utcp-bridge call -c utcp.json shop.orders_orders_get", folder)
    assert called.returncode == 2
    assert "set shop_API_KEY or API_KEY in `variables`" in called.stderr


@pytest.mark.parametrize("line", re.findall(r"^\$ (.*)$", COMMANDS, re.MULTILINE))
def test_every_line_of_the_command_line_section_works(folder, line):
    done = typed(line, folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert "Traceback" not in done.stderr


def test_the_call_of_the_readme_prints_the_output_of_the_readme(folder):
    done = typed(CALL, folder)
    assert (done.returncode, done.stdout) == (0, OUTPUT)


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 75


def test_the_program_of_the_page_works(folder):
    (folder / "program.py").write_text(PROGRAM, encoding="utf-8")
    done = typed(shlex.join([sys.executable, "program.py"]), folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("{'city': 'Paris', 'temperature': 18}\n")
