"""The command `utcp-bridge`, which on SIGUSR1 adds what it holds to the file that PROBE names.

Each line is a JSON object: `tasks`, and `used`, the bytes of memory that its objects take. What is not in use does not
count: circles that the collector has not found yet, free blocks, and the holes between blocks.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import re
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from utcp_bridge.workers.memory import give_back


class _MallInfo(ctypes.Structure):
    """The structure `mallinfo2` of glibc 2.33 and later."""

    _fields_ = [
        *((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd")),
        *((name, ctypes.c_size_t) for name in ("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")),
    ]


def used_bytes() -> int:
    """Return the bytes of all blocks that Python's allocator and that of the C library have given out."""
    with tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            sys._debugmallocstats()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - it writes to stderr only
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        file.seek(0)
        small = re.search(rb"# bytes in allocated blocks\s*=\s*([\d,]+)", file.read())
    library = ctypes.CDLL(None)
    library.mallinfo2.restype = _MallInfo
    large: Any = library.mallinfo2()
    return (int(small[1].replace(b",", b"")) if small else 0) + int(large.uordblks) + int(large.hblkhd)


def _report(_number: int, _frame: Any) -> None:
    tasks = len(asyncio.all_tasks())
    gc.collect()
    give_back()
    with Path(os.environ["PROBE"]).open("a", encoding="ascii") as file:
        file.write(json.dumps({"tasks": tasks, "used": used_bytes()}) + "\n")


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _report)
    from utcp_bridge.cli import main

    main()
