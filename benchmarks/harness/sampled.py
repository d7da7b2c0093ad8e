"""The bridge with a sampler inside: `python -m benchmarks.harness.sampled FILE serve …`.

SIGUSR1 starts to sample, and the next one writes `frame;frame;… count` to FILE, the innermost frame last. The timer
counts the CPU time of the process. A sampler outside would have to stop the process, and that lands on system calls
more often than they last.
"""

from __future__ import annotations

import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

from utcp_bridge.cli import main

SECONDS = 0.001


class Sampler:
    """Collects the stacks of the main thread."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stacks: Counter[str] = Counter()
        self._runs = False

    def toggle(self, *_: object) -> None:
        """Start, or stop and write what was collected."""
        self._runs = not self._runs
        signal.setitimer(signal.ITIMER_PROF, *((SECONDS, SECONDS) if self._runs else (0, 0)))
        if not self._runs:
            done = self._file.with_suffix(".part")
            done.write_text("\n".join(f"{stack} {count}" for stack, count in self._stacks.items()), encoding="utf-8")
            done.rename(self._file)

    def note(self, _number: int, frame: FrameType | None) -> None:
        """Count the present stack."""
        names: list[str] = []
        while frame is not None:
            code = frame.f_code
            names.append(f"{code.co_qualname} ({code.co_filename})")
            frame = frame.f_back
        self._stacks[";".join(reversed(names))] += 1


if __name__ == "__main__":
    sampler = Sampler(Path(sys.argv[1]))
    signal.signal(signal.SIGUSR1, sampler.toggle)
    signal.signal(signal.SIGPROF, sampler.note)
    sys.argv = ["utcp-bridge", *sys.argv[2:]]
    main()
