"""Processes that a run of tests leaves behind (Linux): found by a variable of their environment, and by parents."""

from __future__ import annotations

import os
import re
import select
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from secrets import token_hex
from typing import Final

VARIABLE: Final = "TEST_RUN_MARK"
"""Set for all that a run starts. A program that starts others without it is their parent, or that of their parent."""
_BOUND: Final = int(os.environ.get("TEST_LEFT_SECONDS", "20"))
"""Seconds in which one process more has to end."""
_TRACKER: Final = b"multiprocessing.resource_tracker"
"""A process of the standard library that ends with the one that uses it."""
_NAME = re.compile(r"-{0,2}[A-Za-z_][A-Za-z_.-]*")
_SHOWN: Final = 8
"""Words of a command line that are shown."""


def can_look() -> bool:
    """Return whether this system says which processes there are, and when one ends."""
    return sys.platform == "linux" and hasattr(os, "pidfd_open") and Path("/proc/self/environ").exists()


def mark_this_run() -> None:
    """Let what is started from now on be known as that of this run."""
    os.environ[VARIABLE] = token_hex(8)


def left_processes() -> list[str]:
    """Return the command lines of the processes of this run that do not end by themselves. None of them is ended."""
    while found := _of_this_run():
        with ExitStack() as stack:
            poll = select.poll()
            for pid in found:
                with suppress(ProcessLookupError):
                    descriptor = os.pidfd_open(pid)
                    stack.callback(os.close, descriptor)
                    poll.register(descriptor, select.POLLIN)
            if not poll.poll(_BOUND * 1000):
                return [f"process {pid}: {shown(_words(pid))}" for pid in sorted(found) if _is_alive(pid)]
    return []


def _of_this_run() -> set[int]:
    """Return the processes that carry the mark, and those below them or below this one, without this one."""
    wanted = f"{VARIABLE}={os.environ[VARIABLE]}".encode()
    everyone = {int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()}
    newest = {pid for pid in everyone if wanted in _read(pid, "environ").split(b"\0")} | {os.getpid()}
    parents = {pid: _parent(pid) for pid in everyone}
    found: set[int] = set()
    while newest:
        found |= newest
        newest = {pid for pid, parent in parents.items() if parent in newest} - found
    return {pid for pid in found - {os.getpid()} if _is_alive(pid) and _TRACKER not in _read(pid, "cmdline")}


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:  # it has ended, or is another user's
        return b""


def _stat(pid: int) -> list[bytes]:
    return _read(pid, "stat").rpartition(b")")[2].split()


def _parent(pid: int) -> int:
    return int((*_stat(pid)[1:2], b"0")[0])


def _is_alive(pid: int) -> bool:
    return _stat(pid)[:1] not in ([], [b"Z"])


def _words(pid: int) -> list[str]:
    return _read(pid, "cmdline").decode(errors="replace").split("\0")[:-1]


def shown(words: list[str]) -> str:
    """Return a command line without the values in it: the program, names of options, of modules and of verbs."""
    return " ".join([*_shown(words[:_SHOWN]), *(["…"] if len(words) > _SHOWN else [])]) or "a program without a name"


def _shown(words: list[str]) -> Iterator[str]:
    before = ""
    for place, word in enumerate(words):
        name, equals, _ = word.partition("=")
        is_value = before.startswith("-") and before != "-m" and not word.startswith("-")
        if place == 0 or (word.endswith(".py") and not is_value):
            yield Path(word).name
        elif is_value or not _NAME.fullmatch(name):
            yield "…"
        else:
            yield f"{name}{equals and '=…'}"
        before = "" if equals else word
