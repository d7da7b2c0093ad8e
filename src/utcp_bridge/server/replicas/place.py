"""Which of several processes this is, and ids that contain it.

An id is 32 hexadecimal digits. The first eight, as a number modulo the number of processes, are the place of the
process that has what the id names. So an id stays valid when a process is started again.
"""

from __future__ import annotations

import secrets
from typing import Final

from utcp_bridge.late.records import dataclass

__all__ = ["ProcessPlace", "be_at", "here", "new_ident"]

_DIGITS: Final = 8
_SPAN: Final = 16**_DIGITS


@dataclass(frozen=True, slots=True)
class ProcessPlace:
    """The process `index` of `count`."""

    index: int = 0
    count: int = 1

    def of(self, ident: bytes | str) -> int | None:
        """Return the place of the process that has what an id names; None if it is not an id."""
        try:
            return int(ident[:_DIGITS], 16) % self.count
        except ValueError:
            return None


_here = ProcessPlace()


def here() -> ProcessPlace:
    """Return the place of this process."""
    return _here


def be_at(place: ProcessPlace) -> None:
    """Set the place of this process, before it makes ids."""
    global _here  # noqa: PLW0603 - a fact about the whole process
    _here = place


def new_ident(place: ProcessPlace | None = None) -> str:
    """Return an id that nobody can guess: 128 random bits, but for those that say the place."""
    at = _here if place is None else place
    number = secrets.randbelow(_SPAN // at.count) * at.count + at.index
    return f"{number:0{_DIGITS}x}{secrets.token_hex(12)}"
