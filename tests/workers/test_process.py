"""A worker process, as its parent sees it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from utcp_bridge.dialects.worker import DOCUMENT_JOB
from utcp_bridge.server.reply_workers import REPLY_JOB
from utcp_bridge.workers.process import EndedWorker, WorkerProcess, can_start

pytestmark = pytest.mark.anyio

MEMORY = 2**30
PARSE: dict[str, Any] = {
    "job": DOCUMENT_JOB,
    "step": "parse",
    "url": None,
    "hint": "",
    "jsonc": False,
    "is_text": False,
}
PAGE: dict[str, Any] = {"job": REPLY_JOB, "step": "contents", "handle": "ab", "offset": 0}


def has_ended(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


async def test_lines_and_pieces_of_bytes_of_any_length_arrive() -> None:
    worker = await WorkerProcess.start(MEMORY)
    try:
        for size in (1, 300_000, 5_000_000):
            kept = {"media_type": "text/plain", "is_text": True, "size": size, "is_packed": False}
            last, pieces = await worker.ask({**PAGE, "kept": kept, "limit": 2 * size + 2_000}, b"\n" * size)
            assert last == {"sizes": [len(pieces[0])]}
            assert pieces[0].count(rb"\n") == size
            assert worker.is_usable
    finally:
        await worker.end()
    assert has_ended(worker.pid)


async def test_data_is_sent_before_the_reply_is_awaited() -> None:
    worker = await WorkerProcess.start(MEMORY)
    try:
        seen: list[bool] = []
        await worker.ask({**PARSE, "most": 1000}, b"[]", sent=lambda: seen.append(worker.is_usable))
        assert (seen, worker.is_usable) == ([False], True)
    finally:
        await worker.end()


async def test_a_worker_that_ends_in_the_middle_is_not_used_again() -> None:
    worker = await WorkerProcess.start(MEMORY)
    data = b"a:\n" + b"- [b, c]\n" * 500_000
    try:
        with pytest.raises(EndedWorker), anyio.fail_after(60):
            await worker.ask({**PARSE, "hint": "yaml", "most": 10**8}, data, sent=lambda: os.kill(worker.pid, 9))
        assert not worker.is_usable
    finally:
        await worker.end()


async def test_a_cancelled_request_leaves_a_worker_that_is_not_usable() -> None:
    worker = await WorkerProcess.start(MEMORY)
    data = b"a:\n" + b"- [b, c]\n" * 500_000
    try:
        with anyio.CancelScope() as scope:
            await worker.ask({**PARSE, "hint": "yaml", "most": 10**8}, data, sent=scope.cancel)
        assert scope.cancelled_caught
        assert not worker.is_usable
    finally:
        await worker.end()
    assert has_ended(worker.pid)


async def test_a_program_that_ends_at_once_is_not_a_worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises((EndedWorker, OSError)):
        await WorkerProcess.start(MEMORY)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))
    with pytest.raises(OSError, match="No such file"):
        await WorkerProcess.start(MEMORY)
    assert can_start()
    monkeypatch.setattr(sys, "executable", "")
    assert not can_start()
