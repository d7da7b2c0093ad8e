"""Giving memory back."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from utcp_bridge.workers import memory


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_a_large_block_goes_back_to_the_system_as_soon_as_it_is_free() -> None:
    memory.return_large_blocks()

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096

    for _ in range(2):  # by default, the second block would come from the heap, and a small one would hold it
        before = resident()
        block = bytearray(b"x") * 100_000_000
        small = [bytes(1000) for _ in range(1000)]
        assert resident() - before > 90_000_000
        del block
        memory.give_back()
        assert resident() - before < 50_000_000
        del small


def test_nothing_happens_where_the_library_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_library", lambda: None)
    memory.give_back()
    memory.return_large_blocks.__wrapped__()
    monkeypatch.setattr(memory, "_library", object)
    memory.give_back()
    memory.return_large_blocks.__wrapped__()
