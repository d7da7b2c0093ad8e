"""Watching files that a test writes, replaces and removes."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest

from utcp_bridge.net.local_file_watcher import FileWatcher

pytestmark = pytest.mark.anyio


class Told:
    """What the watcher said; `next()` waits for the next name."""

    def __init__(self) -> None:
        self._send, self._receive = anyio.create_memory_object_stream[str](16)

    def __call__(self, name: str) -> None:
        self._send.send_nowait(name)

    async def next(self) -> str:
        with anyio.fail_after(5):
            return await self._receive.receive()

    def close(self) -> None:
        self._send.close()
        self._receive.close()


@pytest.fixture
async def told():
    told = Told()
    yield told
    told.close()


@pytest.fixture
async def watcher(told):
    scopes = []
    async with anyio.create_task_group() as group:

        def spawn(work):
            scope = anyio.CancelScope()
            scopes.append(scope)

            async def run():
                with scope:
                    await work()

            group.start_soon(run)
            return scope.cancel

        yield FileWatcher(told, spawn, interval=0.01)
        group.cancel_scope.cancel()


async def test_a_written_file_is_told_by_its_name_and_no_other(watcher, told, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("old", encoding="utf-8")
        watcher.watch(name, tmp_path / name)
    (tmp_path / "b").write_text("newer", encoding="utf-8")
    assert await told.next() == "b"
    (tmp_path / "a").write_text("newer", encoding="utf-8")
    assert await told.next() == "a"


async def test_a_file_that_an_editor_replaces_is_told_once_it_is_back(watcher, told, tmp_path: Path) -> None:
    path, other = tmp_path / "a", tmp_path / "a.new"
    path.write_text("old", encoding="utf-8")
    stamp = path.stat().st_mtime_ns
    watcher.watch("a", path)
    other.write_text("new", encoding="utf-8")
    os.utime(other, ns=(stamp, stamp))
    path.unlink()
    other.rename(path)
    assert await told.next() == "a"


async def test_a_file_that_was_missing_is_told_when_it_comes(watcher, told, tmp_path: Path) -> None:
    watcher.watch("late", tmp_path / "late")
    (tmp_path / "late").write_text("here", encoding="utf-8")
    assert await told.next() == "late"


async def test_a_forgotten_file_is_told_no_more_and_watching_can_start_again(watcher, told, tmp_path: Path) -> None:
    path = tmp_path / "a"
    watcher.watch("first", path)
    watcher.forget("first")
    watcher.watch("second", path)
    path.write_text("here", encoding="utf-8")
    assert await told.next() == "second"
    watcher.close()
