"""The reading of one document, and the program that does it for a parent."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from typing import Any, Self

import orjson
import pytest
from tests.support.tools import tool_object

from utcp_bridge.dialects import RawTool, Shape
from utcp_bridge.dialects.crossing import ToolReader
from utcp_bridge.dialects.worker import DOCUMENT_JOB, DocumentWork, OneTool
from utcp_bridge.errors import ManualError
from utcp_bridge.model import JsonObject
from utcp_bridge.workers.failures import rebuilt_error

PROGRAM = [sys.executable, "-P", "-c", "import sys; from utcp_bridge.workers.program import run; run(int(sys.argv[1]))"]
ENTRY = {"name": "peer", "call_template_type": "http", "url": "https://api.example.com/utcp"}
MANUAL = {"utcp_version": "1.0.1", "tools": [tool_object("one"), tool_object("two")]}


class Worker:
    """The program, over its own stdin and stdout."""

    def __init__(self, memory: int = 2**30) -> None:
        self.process = subprocess.Popen(
            [*PROGRAM, str(memory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self.reply() == ([], {})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(60)
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()

    def send(self, head: dict[str, Any], data: bytes = b"") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(orjson.dumps({"job": DOCUMENT_JOB, **head, "size": len(data)}) + b"\n" + data)
        self.process.stdin.flush()

    def parse(self, data: bytes, **changes: Any) -> None:
        head = {"step": "parse", "url": None, "hint": "", "jsonc": False, "most": 500_000, "seconds": 60.0}
        self.send({**head, "is_text": False, **changes}, data)

    def reply(self) -> tuple[list[RawTool], dict[str, Any]]:
        assert self.process.stdout is not None
        tools: list[RawTool] = []
        reader = ToolReader()
        for line in self.process.stdout:
            if line.startswith(b"E"):
                return tools, json.loads(line[1:])
            tools.append(reader.tool(line))
        raise AssertionError("the worker ended")


def test_a_worker_reads_a_manual_as_this_process_does() -> None:
    here = DocumentWork(1_000)
    outline = here.parse(json.dumps(MANUAL).encode(), url=None, hint="", jsonc=False)
    with Worker() as worker:
        worker.parse(json.dumps(MANUAL).encode())
        stated = {"shape": outline.shape.value, "described": "a manual", "references": [], "way": ""}
        assert worker.reply() == ([], stated)
        worker.send({"step": "manual", "entry": ENTRY, "where": "m"})
        tools, last = worker.reply()
    assert tools == here.manual(ENTRY, "m").tools
    assert last["dialect"] == "v1.x"


def test_a_worker_converts_an_openapi_description_with_its_files() -> None:
    schema = {"$ref": "more.json#/Item"}
    operation = {"operationId": "add", "parameters": [{"name": "a", "in": "query", "schema": schema}]}
    document = {"openapi": "3.1.0", "servers": [{"url": "https://a.example"}], "paths": {"/x": {"get": operation}}}
    with Worker() as worker:
        worker.parse(json.dumps(document).encode(), url="https://a.example/api.json")
        assert worker.reply()[1]["references"] == ["https://a.example/more.json"]
        worker.send({"step": "add", "place": "https://a.example/more.json"}, b'{"Item": {"type": "integer"}}')
        assert worker.reply()[1] == {"references": []}
        worker.send({"step": "openapi", "options": {}})
        tools, _ = worker.reply()
    assert [tool.inputs["properties"]["a"]["type"] for tool in tools] == ["integer"]


def test_a_worker_goes_on_after_an_error() -> None:
    with Worker() as worker:
        worker.parse(b'{"tools": [', hint="application/json")
        error = rebuilt_error(worker.reply()[1]["error"])
        assert isinstance(error, ManualError)
        assert (error.line, error.message[:28]) == (1, "The manual is not valid JSON")
        worker.parse(json.dumps(MANUAL).encode())
        assert worker.reply()[1]["shape"] == Shape.MANUAL.value


def test_a_worker_ends_when_its_parent_does_in_the_middle_of_its_work() -> None:
    """What a parent that is killed leaves is a closed pipe."""
    with Worker() as worker:
        worker.parse(b"a:\n" + b"- [b, c]\n" * 1_000_000, most=10**9, hint="yaml")
        assert worker.process.stdin is not None
        worker.process.stdin.close()
        assert worker.process.wait(60) == 0
        assert worker.process.stdout is not None
        assert worker.process.stdout.read() == b""


@pytest.mark.skipif(sys.platform != "linux", reason="the limits of other systems are not exact")
def test_a_worker_that_needs_too_much_memory_says_so_or_ends() -> None:
    with Worker(memory=2**28) as worker:
        data = b'["' + b'","'.join(b"%d" % number for number in range(4_000_000)) + b'"]'
        try:
            worker.parse(data, most=10**9)
            reply = worker.reply()[1]
        except (AssertionError, BrokenPipeError):
            assert worker.process.wait(60) != 0
        else:
            assert "memory" in reply["error"]["message"]


@pytest.mark.skipif(sys.platform != "linux", reason="the limits of other systems are not exact")
def test_a_worker_that_needs_too_much_time_is_ended_by_the_system() -> None:
    with Worker() as worker:
        worker.parse(b"a:\n" + b"- [b, c]\n" * 2_000_000, most=10**9, hint="yaml", seconds=0.0)
        assert worker.process.wait(300) != 0


def test_the_values_of_a_document_and_its_files_are_counted_together() -> None:
    document = {"openapi": "3.1.0", "paths": {}, "x": list(range(100))}
    work = DocumentWork(150)
    work.parse(json.dumps(document), url="/a/api.json", hint="", jsonc=False)
    work.add("/a/one.json", json.dumps([1] * 20).encode())
    with pytest.raises(ManualError, match=r"/a/two\.json has more than \d+ values"):
        work.add("/a/two.json", json.dumps([1] * 60).encode())
    assert work.files == {"/a/one.json": [1] * 20, "/a/two.json": None}


@pytest.mark.parametrize(
    ("wanted", "most", "expected"),
    [("two", 2, ["two"]), ("peer.two", 2, ["one", "two"]), ("three", 2, ["one", "two"]), ("two", 1, ["one", "two"])],
)
def test_the_one_tool_that_is_wanted_is_returned_alone_if_it_is_there(
    wanted: str, most: int, expected: list[str]
) -> None:
    work = DocumentWork(1_000)
    work.parse(MANUAL, url=None, hint="", jsonc=False)

    found = work.manual(ENTRY, "m", OneTool("peer", wanted, most))

    assert [tool.name for tool in found.tools] == expected
    assert found.is_narrowed == (len(expected) == 1)


def test_a_tool_whose_name_begins_with_that_of_its_manual_is_found_by_its_own_name() -> None:
    work = DocumentWork(1_000)
    work.parse({"tools": [tool_object("peer.one"), tool_object("two")]}, url=None, hint="", jsonc=False)

    assert [tool.name for tool in work.manual(ENTRY, "m", OneTool("peer", "one", 9)).tools] == ["peer.one"]


@pytest.mark.parametrize(
    ("others", "wanted", "expected"),
    [
        ([{"name": "broken", "inputs": 5}], "one", (["one"], 0, True)),
        ([{"name": "broken", "inputs": 5}], "broken", (["one", "two"], 1, False)),
        ([tool_object("one")], "one", (["one"], 1, True)),
        ([tool_object("peer.one")], "one", (["one", "two", "peer.one"], 0, False)),
    ],
    ids=["others are not read", "it cannot be read", "twice", "under two names"],
)
def test_only_the_tool_that_is_wanted_is_read_if_its_name_is_there_once(
    others: list[JsonObject], wanted: str, expected: tuple[list[str], int, bool]
) -> None:
    work = DocumentWork(1_000)
    work.parse({"tools": [tool_object("one"), tool_object("two"), *others]}, url=None, hint="", jsonc=False)

    found = work.manual(ENTRY, "m", OneTool("peer", wanted, 9))

    assert ([tool.name for tool in found.tools], len(found.faults), found.is_narrowed) == expected
