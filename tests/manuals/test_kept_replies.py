"""What a worker read of a large manual is kept for the next start, and gives the same tools."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from utcp_bridge.dialects.worker import OneTool, ReadTools
from utcp_bridge.errors import ManualError
from utcp_bridge.manuals.confinement import Confinement
from utcp_bridge.net.files.kept import KeptFiles

ENTRY = {"name": "m", "call_template_type": "http", "url": "http://127.0.0.1:9/m", "allow_networks": ["127.0.0.0/8"]}
ONE = OneTool("m", "tool_7", 20_000)


def manual(number: int = 1_000, **more: Any) -> bytes:
    tools = [
        {
            "name": f"tool_{place}",
            "description": f"Does {place}.\r\nAnd more: é\u2028.",
            "inputs": {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]},
            "tool_call_template": {"call_template_type": "http", "url": f"http://127.0.0.1:9/{place}"},
            **(more if place == 0 else {}),
        }
        for place in range(number)
    ]
    return json.dumps({"utcp_version": "1.0.1", "tools": [*tools, {"name": "bare", "inputs": {}}, 5]}).encode()


async def read(
    folder: Path | None, data: bytes, entry: dict[str, Any] | None = None, only: OneTool | None = None
) -> tuple[ReadTools, bool]:
    """The tools of a manual, and whether a worker was started for it."""
    confinement = Confinement()
    confinement.keep_replies(folder)
    async with confinement.load():
        async with confinement.reader(data, "", 10**7) as reader:
            await reader.parse(data, url=None, hint="", jsonc=False)
            found = await reader.manual(entry or ENTRY, "manual 'm'", only)
        was_started = bool(confinement._idle)
    return found, was_started


def kept_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.reply"))


@pytest.mark.parametrize("only", [None, ONE], ids=["all tools", "one tool"])
async def test_the_second_start_has_the_same_tools_without_a_worker(tmp_path: Path, only: OneTool | None) -> None:
    data = manual()
    plain, _ = await read(None, data, only=only)
    first, was_started = await read(tmp_path, data, only=only)
    assert was_started
    second, was_started_again = await read(tmp_path, data, only=only)
    assert not was_started_again
    assert plain == first == second
    assert len(second.tools) == (1_001 if only is None else 1)
    assert bool(second.faults) is (only is None)


@pytest.mark.parametrize("change", ["document", "entry", "tool"])
async def test_what_differs_is_read_anew(tmp_path: Path, change: str) -> None:
    await read(tmp_path, manual(), only=ONE)
    data = manual(description="Other.") if change == "document" else manual()
    entry = {**ENTRY, "url": "http://127.0.0.1:9/other"} if change == "entry" else ENTRY
    only = OneTool("m", "tool_8", 20_000) if change == "tool" else ONE
    found, was_started = await read(tmp_path, data, entry, only)
    assert was_started
    assert found == (await read(None, data, entry, only))[0]


async def test_a_file_that_was_changed_is_not_used(tmp_path: Path) -> None:
    data = manual()
    first, _ = await read(tmp_path, data)
    for path in kept_in(tmp_path):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    again, was_started = await read(tmp_path, data)
    assert was_started
    assert again == first


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
@pytest.mark.parametrize("what", ["folder", "file"])
async def test_what_others_may_write_is_not_used(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "own"
    await read(folder, manual())
    assert folder.stat().st_mode & 0o077 == 0
    for path in [folder] if what == "folder" else kept_in(folder):
        path.chmod(0o777 if what == "folder" else 0o666)
    _, was_started = await read(folder, manual())
    assert was_started


@pytest.mark.parametrize(
    "secret",
    [
        {
            "tool_call_template": {
                "call_template_type": "http",
                "url": "http://127.0.0.1:9/a",
                "headers": {"X-Key": "k"},
            }
        },
        {"tool_call_template": {"call_template_type": "http", "url": "http://127.0.0.1:9/a?api_key=k"}},
        {"tool_call_template": {"call_template_type": "http", "url": "http://a.b", "auth": {"auth_type": "api_key"}}},
        {"tool_call_template": {"call_template_type": "cli", "commands": [], "env_vars": {"KEY": "k"}}},
    ],
    ids=["headers", "query", "auth", "environment"],
)
async def test_a_manual_with_credentials_is_not_kept(tmp_path: Path, secret: dict[str, Any]) -> None:
    await read(tmp_path, manual(**secret))
    assert kept_in(tmp_path) == []


@pytest.mark.parametrize(
    "more",
    [
        {"headers": {"X-Key": "k"}},
        {"auth": {"auth_type": "api_key", "api_key": "k"}},
        {"url": "http://127.0.0.1:9/m?key=k"},
        {"url": "http://user:pass@127.0.0.1:9/m"},
    ],
    ids=["headers", "auth", "query", "password"],
)
async def test_an_entry_with_credentials_leaves_no_tools_on_the_disk(tmp_path: Path, more: dict[str, Any]) -> None:
    await read(tmp_path, manual(), {**ENTRY, **more})
    found, was_started = await read(tmp_path, manual(), {**ENTRY, **more})
    assert was_started
    assert len(found.tools) == 1_001
    assert all(b"tool_" not in path.read_bytes() for path in kept_in(tmp_path))


async def test_an_error_is_not_kept(tmp_path: Path) -> None:
    data = manual()[:-1]
    for _ in range(2):
        with pytest.raises(ManualError):
            await read(tmp_path, data)
    assert kept_in(tmp_path) == []


async def test_an_api_description_is_not_kept(tmp_path: Path) -> None:
    paths = {
        f"/p{place}": {"get": {"operationId": f"get{place}", "responses": {"200": {"description": "x" * 200}}}}
        for place in range(500)
    }
    data = json.dumps({"openapi": "3.1.0", "info": {"title": "a", "version": "1"}, "paths": paths}).encode()
    confinement = Confinement()
    confinement.keep_replies(tmp_path)
    async with confinement.reader(data, "", 10**7) as reader:
        await reader.parse(data, url="http://127.0.0.1:9/a", hint="", jsonc=False)
        found = await reader.openapi({"base_url": None})
    assert len(found.tools) == 500
    assert kept_in(tmp_path) == []


async def test_a_thread_reads_what_is_not_kept_if_no_process_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _ = await read(None, manual())
    monkeypatch.setattr(sys, "executable", "/bin/false")
    found, was_started = await read(tmp_path, manual())
    assert not was_started
    assert found == expected


def test_the_files_that_were_used_last_are_kept(tmp_path: Path) -> None:
    files = KeptFiles(tmp_path, ".part", most=2, max_bytes=100)
    (tmp_path / "other.text").write_text("stays", encoding="utf-8")
    for place, name in enumerate(("a", "b")):
        files.write(files.path(name), b"content")
        stamp = 1_000_000_000 + place
        os.utime(files.path(name), (stamp, stamp))
    files.use(files.path("a"))
    files.write(files.path("c"), b"content")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.part", "c.part", "other.text"]
    assert files.read(files.path("b")) == b""
    assert files.read(files.path("a")) == b"content"
    (tmp_path / "a.part").write_bytes(b"x" * 101)
    assert files.read(files.path("a")) == b""
