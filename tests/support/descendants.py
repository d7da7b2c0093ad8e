"""The processes below this one (Linux), and programs that report the processes they have started."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


def _stat(pid: int) -> list[str]:
    """Return state, parent and more of a process; nothing if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def is_running(pid: int) -> bool:
    """Return whether a process is alive; a zombie is not."""
    return _stat(pid)[:1] not in ([], ["Z"])


def descendants(pid: int) -> set[int]:
    """Return all processes below one, zombies included."""
    parents = {int(path.name): _stat(int(path.name))[1:2] for path in Path("/proc").iterdir() if path.name.isdecimal()}
    found: set[int] = set()
    newest = {pid}
    while newest:
        newest = {child for child, parent in parents.items() if parent and int(parent[0]) in newest} - found
        found |= newest
    return found


async def until_gone(*pids: int) -> None:
    """Return when none of the processes runs."""
    with anyio.fail_after(60):
        while any(map(is_running, pids)):  # noqa: ASYNC110 - the kernel does not report it to a stranger
            await anyio.sleep(0.01)


def open_descriptors() -> set[str]:
    """Return the descriptors that this process has open."""
    return {path.name for path in Path("/proc/self/fd").iterdir()}
