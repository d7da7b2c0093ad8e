"""`utcp_bridge.compat`: the suites of the reference library's plugins, unchanged, in a process with the import hook.

`left_out.yaml` lists what is left out, and why.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi import FastAPI
from tests.interop.software import Suites
from tests.upstreams.registry_service import served

HERE = Path(__file__).parent
SUITES = Suites(
    "utcp-http==1.1.15 utcp-cli==1.1.5 utcp-file==1.1.0 utcp-gql==1.1.6 utcp-mcp==1.2.0 utcp-socket==1.1.1"
    " utcp-text==1.1.0 utcp-websocket==1.2.1",
    needs="pytest-asyncio==1.5.0 pytest-aiohttp==1.1.1",
    program="python",
)
MIN_PASSED = 140
OLD, NEW = Suites("utcp==0.2.3", program="python"), Suites("utcp==1.2.0", program="python")


def blocks(software: Suites) -> list[str]:
    """The Python programs of a package's README."""
    [page] = software.folder.glob("utcp-*/README.md")
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def run(folder: Path, program: str) -> str:
    (folder / "program.py").write_text(program, encoding="utf-8")
    command = [sys.executable, "-m", "utcp_bridge.compat", "program.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout


def authors() -> FastAPI:
    """A service with the operation that the README's client calls, and one for 0.2."""
    app = FastAPI()

    @app.get("/search/authors.json")
    def read_search_authors_json(q: str) -> dict[str, Any]:
        return {"docs": [{"name": q, "key": "A1", "works": 9}]}

    @app.get("/example_tool", operation_id="example_tool")
    def example_tool() -> list[int]:
        return [1, 2]

    return app


def left_out() -> list[str]:
    reasons = yaml.safe_load((HERE / "left_out.yaml").read_text(encoding="utf-8"))
    return [line for lines in reasons.values() for line in lines]


@pytest.mark.timeout(300)
@pytest.mark.needs(SUITES)
def test_the_suites_of_the_reference_plugins_pass(tmp_path: Path) -> None:
    lines = tmp_path / "left_out.json"
    lines.write_text(json.dumps(left_out()), encoding="utf-8")
    options = ["-q", "-W", "ignore", "-p", "child_plugin", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto"]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(SUITES.plugins), str(HERE)]),
        "UTCP_SUITE_LEFT_OUT": str(lines),
    }
    command = ["-m", "utcp_bridge.compat", "-m", "pytest", *options, "-c", os.devnull, "--rootdir", str(SUITES.folder)]
    done = subprocess.run(
        [sys.executable, *command, *map(str, SUITES.sources)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= MIN_PASSED


@pytest.mark.needs(SUITES)
def test_each_line_of_what_is_left_out_names_a_test() -> None:
    files = {path.name: path.read_text(encoding="utf-8") for place in SUITES.sources for path in place.glob("*.py")}
    stale = []
    for line in left_out():
        name, _, test = line.partition("::")
        if name not in files or (test and not re.search(rf"def {re.escape(test)}", files[name])):
            stale.append(line)
    assert stale == []


@pytest.mark.needs(NEW)
def test_the_client_of_the_readme_of_1x_runs_with_another_address_only(tmp_path: Path) -> None:
    [program] = [block for block in blocks(NEW) if "config_obj" in block]
    with served(authors()) as base:
        out = run(tmp_path, program.replace("https://openlibrary.org/static/openapi.json", f"{base}/openapi.json"))
    assert out == "{'docs': [{'name': 'J. K. Rowling', 'key': 'A1'}]}\n"


@pytest.mark.needs(NEW)
def test_the_decorated_server_of_the_readme_of_1x_serves_its_manual(tmp_path: Path) -> None:
    [server] = [block for block in blocks(NEW) if "create_from_decorators" in block and "FastAPI" in block]
    asked = "\nfrom starlette.testclient import TestClient\nprint(TestClient(app).get('/utcp').text)\n"
    [tool] = json.loads(run(tmp_path, server + asked))["tools"]
    assert (tool["name"], tool["tags"], tool["inputs"]["required"]) == ("get_weather", ["weather"], ["location"])
    assert tool["tool_call_template"]["url"] == "https://example.com/api/weather"


@pytest.mark.needs(OLD)
def test_the_client_of_the_readme_of_02_runs_unchanged(tmp_path: Path) -> None:
    [program] = [block for block in blocks(OLD) if "cool_public_apis" in block]
    with served(authors()) as base:
        provider = {"name": "cool_public_apis", "provider_type": "http", "url": f"{base}/openapi.json"}
        (tmp_path / "providers.json").write_text(json.dumps([provider]), encoding="utf-8")
        assert run(tmp_path, program) == "[1, 2]\n"
