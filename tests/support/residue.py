"""What a piece of work left open in this process: descriptors, tasks, child processes."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import anyio


@dataclass(frozen=True)
class Residue:
    """Counts of open things at one moment."""

    descriptors: Counter[str]
    tasks: int
    children: frozenset[int]

    @classmethod
    def now(cls) -> Residue:
        """Count the sockets, pipes and files of this process, its unfinished tasks and its children."""
        return cls(
            descriptors=Counter(_descriptor_kinds()), tasks=len(asyncio.all_tasks()), children=frozenset(_children())
        )

    def left_since(self, before: Residue, *, breath: int = 0) -> dict[str, object]:
        """What is open now and was not then; empty if nothing. `breath` descriptors and tasks may be more."""
        left: dict[str, object] = {}
        if (more := self.descriptors - before.descriptors) and more.total() > breath:
            left["descriptors"] = dict(more)
        if self.tasks > before.tasks + breath:
            left["tasks"] = [repr(task.get_coro()) for task in asyncio.all_tasks()]
        if children := self.children - before.children:
            left["children"] = sorted(children)
        return left


async def assert_nothing_left(before: Residue, *, within: float = 3.0, breath: int = 0) -> None:
    """Wait until nothing more is open than before; name what still is when the time is over."""
    left: dict[str, object] = {}
    with anyio.move_on_after(within):
        while left := Residue.now().left_since(before, breath=breath):  # noqa: ASYNC110 - closing a descriptor fires no event
            await anyio.sleep(0.01)
    assert not left, f"left open: {left}"


def _descriptor_kinds() -> list[str]:
    kinds: list[str] = []
    for entry in os.listdir("/proc/self/fd"):  # noqa: PTH208 - Path.iterdir opens one more descriptor for longer
        try:
            kinds.append(os.readlink(f"/proc/self/fd/{entry}").split(":[", 1)[0])  # noqa: PTH115 - plain text is wanted
        except OSError:
            continue
    return kinds


def _children() -> list[int]:
    found: list[int] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            found.append(int(stat.parent.name))
    return found
