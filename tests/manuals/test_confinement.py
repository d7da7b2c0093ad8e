"""Large documents are read in processes that can be ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.support.tools import tool_object

from utcp_bridge.dialects import Shape
from utcp_bridge.errors import ManualError, UtcpError
from utcp_bridge.manuals.confinement import Confinement, DocumentReader, is_large

pytestmark = pytest.mark.anyio

ENTRY = {"name": "peer", "call_template_type": "http", "url": "https://api.example.com/utcp"}
SLOW = b"a:\n" + b"- [b, c]\n" * 500_000
"""Some seconds of reading."""


def manual(tools: list[dict[str, Any]]) -> bytes:
    return json.dumps({"utcp_version": "1.0.1", "tools": tools}).encode()


LARGE = manual([{**tool_object(f"t{number}"), "description": "x" * 100} for number in range(1000)])


@asynccontextmanager
async def reading(data: bytes, confinement: Confinement | None = None) -> AsyncGenerator[DocumentReader]:
    async with (confinement or Confinement()).reader(data, "", 10**7) as reader:
        yield reader


def worker_of(reader: Any) -> int | None:
    return getattr(getattr(reader, "_worker", None), "pid", None)


def has_ended(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


async def parse(reader: DocumentReader, data: Any) -> Shape:
    return (await reader.parse(data, url=None, hint="", jsonc=False)).shape


async def test_a_large_manual_is_read_in_another_process_with_the_same_result() -> None:
    async with reading(LARGE) as there, reading(b"{}") as here:
        assert worker_of(there) not in {None, os.getpid()}
        assert worker_of(here) is None
        assert await parse(there, LARGE) is await parse(here, LARGE)
        assert await there.manual(ENTRY, "m") == await here.manual(ENTRY, "m")


async def test_an_error_is_the_same_on_both_sides() -> None:
    broken = LARGE[:-2] + b"\n}"
    errors: list[UtcpError] = []
    for large in (LARGE, b"{}"):
        async with reading(large) as reader:
            with pytest.raises(ManualError) as caught:
                await reader.parse(broken, url=None, hint="application/json", jsonc=False)
            errors.append(caught.value)
    assert str(errors[0]) == str(errors[1])
    assert errors[0].line == errors[1].line == 2  # type: ignore[attr-defined]


async def test_a_deadline_ends_the_reading_and_its_process() -> None:
    process: int | None = None
    with anyio.move_on_after(0.5) as scope:
        async with reading(SLOW) as reader:
            process = worker_of(reader)
            await parse(reader, SLOW)
    assert scope.cancelled_caught
    assert process is None or has_ended(process)


async def test_the_same_process_reads_one_document_after_another_until_the_loads_end() -> None:
    confinement = Confinement()
    async with confinement.load():
        seen: set[int | None] = set()
        for _ in range(2):
            async with confinement.load(), reading(LARGE, confinement) as reader:
                seen.add(worker_of(reader))
                assert await parse(reader, LARGE) is Shape.MANUAL
        (process,) = seen
        assert process is not None
        assert not has_ended(process)
    assert has_ended(process)


async def test_the_others_go_on_while_a_document_is_read() -> None:
    turns = 0
    async with reading(SLOW) as reader, anyio.create_task_group() as group:

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await anyio.lowlevel.checkpoint()

        group.start_soon(others)
        await parse(reader, SLOW)
        group.cancel_scope.cancel()
    assert turns > 1000


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
async def test_a_worker_gets_no_variable_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEER_TOKEN", "secret-of-the-operator")
    async with reading(LARGE) as reader:
        given = await anyio.Path(f"/proc/{worker_of(reader)}/environ").read_bytes()
    assert b"secret" not in given
    assert {one.partition(b"=")[0] for one in given.split(b"\0") if one} == {b"PYDANTIC_DISABLE_PLUGINS"}


async def test_credentials_and_long_values_of_an_entry_stay_here() -> None:
    entry = {**ENTRY, "auth": {"auth_type": "api_key", "api_key": "k"}, "headers": {"X-Long": "y" * 10_000}}
    own = {"name": "own", "inputs": {}, "description": "z" * 200_000}
    data = manual([own, tool_object("other")])
    async with reading(data) as reader:
        await parse(reader, data)
        sent: list[Any] = []
        ask = reader._worker.ask  # type: ignore[attr-defined]

        async def recorded(head: Any, *rest: Any) -> Any:
            sent.append(head)
            return await ask(head, *rest)

        reader._worker.ask = recorded  # type: ignore[attr-defined]
        found = await reader.manual(entry, "m")
    assert found.tools[0].template == {key: value for key, value in entry.items() if key != "name"}
    assert "api_key" not in json.dumps(sent)
    assert len(json.dumps(sent)) < 1_000


async def test_a_thread_reads_where_no_process_can_be_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for executable in ("", str(tmp_path / "missing"), "/bin/false"):
        monkeypatch.setattr(sys, "executable", executable)
        async with reading(LARGE) as reader:
            assert worker_of(reader) is None
            assert await parse(reader, LARGE) is Shape.MANUAL
            assert len((await reader.manual(ENTRY, "m")).tools) == 1000


async def test_a_worker_that_is_killed_is_an_error_of_its_manual() -> None:
    confinement = Confinement()
    async with confinement.load():
        async with reading(LARGE, confinement) as reader:
            process = worker_of(reader)
            assert process is not None
            os.kill(process, 9)
            with pytest.raises(ManualError, match="memory or processor time"):
                await parse(reader, LARGE)
        async with reading(LARGE, confinement) as reader:
            assert await parse(reader, LARGE) is Shape.MANUAL


def started_by(process: int) -> list[int]:
    """Return the processes that a process has started, and those that they have started."""
    found: list[int] = []
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, path.read_text(encoding="ascii").split()):
                found += [child, *started_by(child)]
    return found


def has_worked(process: int) -> bool:
    """Return whether a process has used a second of a processor: its imports take less."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return False
    return int(fields[11]) >= os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
@pytest.mark.parametrize("way", [["--http", "--port", "0"], []], ids=["http", "stdio"])
def test_sigterm_ends_the_bridge_and_its_worker_in_the_middle_of_a_document(tmp_path: Path, way: list[str]) -> None:
    (tmp_path / "slow.yaml").write_bytes(SLOW * 4)
    entry = {"name": "slow", "call_template_type": "text", "file_path": str(tmp_path / "slow.yaml")}
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"manual_call_templates": [entry], "bridge": {"max_manual_bytes": 10**9}}))
    command = [sys.executable, "-m", "utcp_bridge", "serve", str(config), *way]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as bridge:
        while not any(map(has_worked, workers := started_by(bridge.pid))):
            assert bridge.poll() is None
            os.sched_yield()
        bridge.send_signal(signal.SIGTERM)
        out, err = bridge.communicate(timeout=60)
    assert (bridge.returncode, out) == (0, b"")
    assert b"Traceback" not in err
    assert all(map(has_ended, workers))


@pytest.mark.parametrize(
    ("data", "hint", "expected"),
    [
        (b"[" + b"1" * 99_000 + b"]", "", False),
        (b"[" + b"1" * 101_000 + b"]", "", True),
        (b"[" + b"1," * 30_000 + b"1]", "", True),
        (b"a: " + b"b" * 40_000, "", True),
        (b"{a: " + b"b" * 40_000 + b"}", "application/yaml", True),
        (b"a: b", "x.yml", False),
        ({"tools": []}, "", False),
    ],
)
def test_a_document_is_large_by_its_bytes_its_values_or_as_yaml(data: Any, hint: str, expected: bool) -> None:
    assert is_large(data, hint) is expected
