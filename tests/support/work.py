"""How much work a function does, counted: the same on every machine, whatever else the machine does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def calls_made_by(work: Callable[[], Any]) -> int:
    """Return the number of calls of functions, written in Python or in C, that `work` makes in this thread.

    Code that C runs at one stroke, such as the search of a list, counts as one call.
    """
    made = 0

    def count(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal made
        made += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return made
