"""The program of a worker: jobs by name, requests and replies over its pipes, and its limits."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import IO, Any

import orjson
import pytest

from utcp_bridge.dialects.worker import DOCUMENT_JOB
from utcp_bridge.workers.program import last_line, named

PARSE = {"job": DOCUMENT_JOB, "step": "parse", "url": None, "hint": "", "jsonc": False, "most": 10**9, "is_text": False}


@pytest.fixture
def program() -> Iterator[subprocess.Popen[bytes]]:
    code = f"from utcp_bridge.workers.program import run; run({2**30})"
    with subprocess.Popen([sys.executable, "-P", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert pipe(process.stdout).readline() == b"E{}\n"
        yield process
        process.kill()


def pipe(given: IO[bytes] | None) -> IO[bytes]:
    assert given is not None
    return given


def send(process: subprocess.Popen[bytes], head: dict[str, Any], data: bytes) -> None:
    pipe(process.stdin).write(json.dumps({**head, "size": len(data)}).encode() + b"\n" + data)
    pipe(process.stdin).flush()


def test_only_names_of_this_package_are_resolved() -> None:
    assert named("utcp_bridge.workers.program:last_line") is last_line
    for name in ("os:system", "utcp_bridge_x:run", "subprocess:run"):
        with pytest.raises(ValueError, match=name):
            named(name)


def test_whole_numbers_of_any_length_end_a_reply() -> None:
    assert json.loads(last_line({"a": 2**70})[1:]) == {"a": 2**70}
    assert last_line({"a": 1}) == b'E{"a":1}\n'


def test_one_request_is_done_after_another(program: subprocess.Popen[bytes]) -> None:
    for _ in range(2):
        send(program, PARSE, b'{"utcp_version": "1.0.1", "tools": []}')
        assert orjson.loads(pipe(program.stdout).readline()[1:])["shape"] == "manual"


def test_the_end_of_stdin_ends_the_program_also_in_the_middle_of_a_request(program: subprocess.Popen[bytes]) -> None:
    pipe(program.stdin).write(json.dumps({**PARSE, "size": 100}).encode() + b"\n{")
    pipe(program.stdin).close()
    assert program.wait(60) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="the limits of other systems are not exact")
def test_the_system_ends_a_job_that_takes_more_processor_time_than_its_request_allows(
    program: subprocess.Popen[bytes],
) -> None:
    send(program, {**PARSE, "hint": "yaml", "seconds": 0.0}, b"a:\n" + b"- [b, c]\n" * 2_000_000)
    assert program.wait(300) != 0
