"""The programs in examples/ run, with a fake model on loopback. Those that need a framework: tests/interop."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.serving import free_port, serving
from tests.support.fake_model import FakeModel
from tests.support.source import ROOT
from tests.upstreams.registry_service import served

EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def bookshop() -> Iterator[str]:
    port = free_port()
    with serving([sys.executable, str(EXAMPLES / "provider.py"), "--port", str(port)], port=port):
        yield f"http://127.0.0.1:{port}/utcp"


def run(name: str, *words: str, **environment: str) -> str:
    command = [sys.executable, str(EXAMPLES / name), *words]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_model_calls_tools_of_the_service_and_answers(bookshop: str) -> None:
    model = FakeModel("find_books", {"below": 15})
    with served(model.app) as base:
        environment = {"OPENAI_BASE_URL": f"{base.rstrip('/')}/v1/", "OPENAI_API_KEY": "k1", "MODEL": "fake"}
        said = run("chat.py", bookshop, "Which books cost less than 15?", **environment)
    books = [{"title": "Tea", "price": 12.5}, {"title": "Cheese", "price": 14.0}]
    assert json.loads(said.removeprefix("The tool says: ")) == books
    assert model.keys == ["Bearer k1", "Bearer k1"]
    assert model.requests[0]["model"] == "fake"


def test_a_model_reads_the_error_of_a_tool(bookshop: str) -> None:
    model = FakeModel("add_book", {"title": "Tea", "price": 1})
    with served(model.app) as base:
        environment = {"OPENAI_BASE_URL": f"{base.rstrip('/')}/v1/", "OPENAI_API_KEY": "k1"}
        said = run("chat.py", bookshop, "Add the book Tea.", **environment)
    assert "Error: " in said
    assert "409" in said


def test_a_transport_of_its_own_tells_the_time() -> None:
    assert run("own_transport.py").strip().endswith("+00:00")


def test_a_strategy_of_its_own_ranks_by_names(bookshop: str) -> None:
    first, *_ = run("own_search.py", bookshop, "add book").splitlines()
    assert "add_book" in first


def test_the_page_lists_each_program() -> None:
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    programs = [path.relative_to(EXAMPLES) for path in EXAMPLES.rglob("*.py")]
    assert [str(path) for path in programs if f"]({Path(path).as_posix()})" not in page] == []
