"""What a process tree holds, read from the kernel: descriptors, threads, children, memory; and its tasks (Linux)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.processes import Running

SETTLING, PAUSE = 12.0, 0.5
MAX_MORE = 2
"""A connection or thread that is kept warm does not count as growth."""
MAX_HOLES_MB = 1.0
"""What the process has written may grow by this much more than its objects."""


@dataclass(frozen=True)
class Held:
    """Numbers of one moment. `memory` is what the objects of the process take, in MiB, and `written` what the process
    has written: that has holes between the objects, whose number differs from run to run.
    """

    descriptors: int
    threads: int
    children: int
    zombies: int
    tasks: int
    memory: float
    written: float

    def grown(self, before: Held, memory: float) -> list[str]:
        """Return what has grown. `memory` is how many MiB may stay."""
        most = {"descriptors": MAX_MORE, "threads": MAX_MORE, "children": 0, "zombies": 0, "tasks": MAX_MORE}
        found = [
            f"{name}: {getattr(before, name)} before, {getattr(self, name)} after"
            for name, more in most.items()
            if getattr(self, name) > getattr(before, name) + more
        ]
        if self.memory > before.memory + memory:
            found.append(f"memory: {before.memory:.1f} MiB before, {self.memory:.1f} after")
        if self.written > before.written + memory + MAX_HOLES_MB:
            found.append(f"written memory: {before.written:.1f} MiB before, {self.written:.1f} after")
        return found


def children(pid: int, word: bytes = b"") -> Iterator[int]:
    """Yield the descendants of a process whose command has `word`."""
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, task.read_text(encoding="ascii").split()):
                with contextlib.suppress(OSError):
                    if word in Path(f"/proc/{child}/cmdline").read_bytes():
                        yield child
                yield from children(child, word)


async def held(bridge: Running) -> Held:
    """Return what a bridge holds now."""
    root = Path(f"/proc/{bridge.process.pid}")
    below = list(children(bridge.process.pid))
    own = await _told(bridge.process.pid)
    return Held(
        descriptors=len(list((root / "fd").iterdir())),
        threads=len(list((root / "task").iterdir())),
        children=sum(not _is_zombie(child) for child in below),
        zombies=sum(map(_is_zombie, below)),
        tasks=own["tasks"],
        memory=own["used"] / 2**20,
        written=_own_memory(root),
    )


async def settled(bridge: Running, before: Held | None) -> Held:
    """Return what a bridge holds when it is at rest: as little as `before`, or the least of some seconds."""
    least = now = await held(bridge)
    for _ in range(int((SETTLING if before is not None else SETTLING / 3) / PAUSE)):
        await asyncio.sleep(PAUSE)
        now = await held(bridge)
        if before is not None and not now.grown(before, 0.5):
            return now
        if (now.memory, now.descriptors) < (least.memory, least.descriptors):
            least = now
    return least if before is None else now


def _is_zombie(pid: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def _own_memory(root: Path) -> float:
    """Return what the process has written. Whether pages of libraries count as its own depends on other processes."""
    text = (root / "smaps_rollup").read_text(encoding="ascii")
    return sum(int(found) for found in re.findall(r"Private_(?:Dirty|Hugetlb):\s+(\d+) kB", text)) / 1024


async def _told(pid: int) -> dict[str, int]:
    """Ask the bridge, which `benchmarks.harness.probed` started, for its tasks and the bytes in use."""
    known = _reported()
    os.kill(pid, signal.SIGUSR1)
    for _ in range(200):
        await asyncio.sleep(0.05)
        if (said := _reported()) != known and said.endswith("\n"):
            told: dict[str, int] = json.loads(said.splitlines()[-1])
            return told
    return {"tasks": -1, "used": 0}


def _reported() -> str:
    file = Path(os.environ["PROBE"])
    return file.read_text(encoding="ascii") if file.exists() else ""
