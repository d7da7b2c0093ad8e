"""The programs of docs/library.md run unchanged."""

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.support.source import DOCS
from tests.support.threaded import threaded_service

PROGRAMS = re.findall(r"```python\n(.*?)```", (DOCS / "library.md").read_text(encoding="utf-8"), re.DOTALL)
OPENAPI = Path(__file__).parents[1] / "data" / "openapi" / "oai-v3.1-tictactoe.json"


def run(program: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def manual(tool: str, template: dict) -> dict:
    described = {"name": tool, "description": "The weather forecast.", "inputs": {"type": "object"}}
    return {"utcp_version": "1.0", "tools": [{**described, "tool_call_template": template}]}


def test_the_asynchronous_program_finds_calls_and_streams(tmp_path):
    with threaded_service() as service:
        weather = {"call_template_type": "http", "url": f"{service.base}/echo"}
        news = {"call_template_type": "cli", "command": "echo", "args": ["{{topic}}"], "stream": True}
        entries = [
            {"name": "weather", "call_template_type": "text", "content": manual("get_weather", weather)},
            {
                "name": "news",
                "call_template_type": "text",
                "content": manual("watch", news),
                "allowed_communication_protocols": ["cli"],
            },
        ]
        (tmp_path / "providers.json").write_text(json.dumps(entries), encoding="utf-8")
        found, result, part = run(PROGRAMS[0], tmp_path).splitlines()[-3:]
    assert "The weather forecast." in found
    assert "'Paris'" in result
    assert part == "tea"


def test_the_synchronous_program_loads_lists_and_calls(tmp_path):
    (tmp_path / "tools").mkdir()
    (tmp_path / "shop").mkdir()
    described = {**json.loads(OPENAPI.read_text(encoding="utf-8")), "servers": [{"url": "https://api.example.com"}]}
    (tmp_path / "shop" / "openapi.json").write_text(json.dumps(described), encoding="utf-8")
    with threaded_service() as service:
        weather = {"call_template_type": "http", "url": f"{service.base}/echo"}
        path = tmp_path / "tools" / "weather.json"
        path.write_text(json.dumps(manual("get_weather", weather)), encoding="utf-8")
        listed, parameters, result = run(PROGRAMS[1], tmp_path).splitlines()
    assert "get_weather" in listed
    assert "type" in parameters
    assert "'Paris'" in result
