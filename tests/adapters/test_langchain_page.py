"""The programs of docs/langchain.md run unchanged."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.local_manuals import entry, http_tool
from tests.support.source import DOCS
from tests.support.threaded import threaded_service

TOOLKIT, LOOP, EVENT_LOOP = re.findall(
    r"```python\n(.*?)```", (DOCS / "langchain.md").read_text(encoding="utf-8"), re.DOTALL
)
MODEL = """
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage

class Model(FakeMessagesListChatModel):
    def bind_tools(self, tools):
        assert [tool.name for tool in tools] == ["weather_get_weather"]
        return self

asked = {"name": "weather_get_weather", "args": {"city": "Paris"}, "id": "call_1"}
model = Model(responses=[AIMessage("", tool_calls=[asked]), AIMessage("It is sunny.")])
"""


@pytest.fixture(scope="module")
def service():
    with threaded_service() as found:
        yield found


@pytest.fixture
def folder(tmp_path: Path, service) -> Path:
    """Return a folder with the files that the programs name."""
    properties = {"city": {"type": "string"}}
    schema = {"type": "object", "properties": properties, "required": ["city"]}
    tool = http_tool("get_weather", f"{service.base}/echo", schema, description="The weather.")
    files = {"tools.json": {"utcp_version": "1.0", "tools": [tool]}, "providers.json": [entry("weather", tool)]}
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
    (tmp_path / "my_program.py").write_text(MODEL, encoding="utf-8")
    return tmp_path


def run(program: str, folder: Path) -> str:
    path = folder / "program.py"
    path.write_text(program, encoding="utf-8")
    done = subprocess.run([sys.executable, path], cwd=folder, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_toolkit_lists_and_calls(folder):
    listed, result = run(TOOLKIT, folder).splitlines()
    assert listed == "tools_get_weather The weather. {'city': {'type': 'string'}}"
    assert json.loads(result)["json"] == {"city": "Paris"}


def test_the_loop_ends_with_the_models_answer(folder, service):
    assert run(LOOP, folder) == "It is sunny.\n"
    assert json.loads(service.last.body) == {"city": "Paris"}


def test_the_program_with_an_event_loop_calls_twice(folder, service):
    asked = len(service.requests)
    assert "Rome" in run(EVENT_LOOP, folder)
    bodies = [json.loads(request.body) for request in service.requests[asked:]]
    assert sorted(body["city"] for body in bodies) == ["Paris", "Rome"]
