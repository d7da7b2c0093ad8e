"""What a long run has measured so far, in a file: a run that was ended goes on where it was."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic
from typing import Any

__all__ = ["Journal"]


class Journal:
    """The groups of cells of one run. `label` names what the groups depend on; another label starts anew."""

    def __init__(self, path: Path | None = None, label: str = "", minutes: float | None = None) -> None:
        self._path = path
        self._label = label
        self._began = monotonic()
        self._ends = None if minutes is None else self._began + minutes * 60
        self._groups: dict[str, Any] = {}
        self.left_out: list[str] = []
        """Groups for which there was no time."""
        if path is not None and path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            if found.get("label") == label:
                self._groups = found["groups"]

    async def group(self, name: str, measure: Callable[[], Awaitable[Any]]) -> Any:
        """Return the JSON value of a group: from the file, or measured now; None if the time is over."""
        if name in self._groups:
            self._say(f"{name}: measured before")
            return self._groups[name]
        if self._ends is not None and monotonic() > self._ends:
            self._say(f"{name}: left out, the time is over")
            self.left_out.append(name)
            return None
        started = monotonic()
        self._say(f"{name} …")
        found = await measure()
        self._groups[name] = found
        if self._path is not None:
            new = self._path.with_suffix(".new")
            new.write_text(json.dumps({"label": self._label, "groups": self._groups}), encoding="utf-8")
            new.replace(self._path)
        self._say(f"{name}: {monotonic() - started:.0f} s")
        return found

    def _say(self, text: str) -> None:
        print(f"[{monotonic() - self._began:5.0f} s] {text}", file=sys.stderr, flush=True)
