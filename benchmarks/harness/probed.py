"""The command `utcp-bridge`, which on SIGUSR1 adds its number of tasks to the file that PROBE names."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any


def _report(_number: int, _frame: Any) -> None:
    tasks = len(asyncio.all_tasks())
    with Path(os.environ["PROBE"]).open("a", encoding="ascii") as file:
        file.write(f"{tasks}\n")


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _report)
    from utcp_bridge.cli import main

    main()
