"""`python -m utcp_bridge.compat program.py [argument ...]`, or `-m module` instead of the program's file."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from utcp_bridge.compat.hook import install

__all__: list[str] = []


def _main(words: list[str]) -> None:
    if not words or words[0] in {"-h", "--help"} or words == ["-m"]:
        sys.exit("Usage: python -m utcp_bridge.compat (program.py | -m module) [argument ...]")
    install()
    if words[0] == "-m":
        sys.argv = words[1:]
        sys.path.insert(0, str(Path.cwd()))
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        return
    sys.argv = words
    sys.path.insert(0, str(Path(words[0]).resolve().parent))
    runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    _main(sys.argv[1:])
