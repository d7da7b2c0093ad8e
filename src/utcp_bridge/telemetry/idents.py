"""Ids of traces and spans as texts, which are made many at a time: one by one, an id takes as long as its span.

They are random numbers, as those of OpenTelemetry's generator, but those of the operating system.
"""

from __future__ import annotations

import os
from binascii import hexlify
from collections.abc import Mapping
from typing import Final

__all__ = ["idents", "more_idents", "more_traces", "traces"]

_MANY: Final = 256
"""Texts that are made together. That takes a tenth of a millisecond."""
_TRACE_SIZE: Final = 55
_IDENT_SIZE: Final = 16
_DASHES: Final = {2: b"-", 35: b"-", 52: b"-"}


idents: Final[list[str]] = []
"""Ids of spans that are ready."""
_traces: Final[dict[str, list[str]]] = {}


def traces(flags: str) -> list[str]:
    """Return the list of those that are ready: each is the `traceparent` of a new trace, with these flags."""
    return _traces.setdefault(flags, [])


def more_traces(flags: str) -> str:
    """Make more for `traces`, and return one more."""
    fixed = {0: b"0", 1: b"0", **_DASHES, 53: flags[:1].encode(), 54: flags[1:].encode()}
    made = _random(_TRACE_SIZE, fixed)
    found = made.pop()
    traces(flags).extend(made)
    return found


def more_idents() -> str:
    """Make more `idents`, and return one more."""
    made = _random(_IDENT_SIZE, {})
    found = made.pop()
    idents.extend(made)
    return found


def _random(size: int, fixed: Mapping[int, bytes]) -> list[str]:
    """Return texts of random hexadecimal digits, but for the characters that are fixed, by their places."""
    every = size + 1
    digits = bytearray(hexlify(os.urandom(_MANY * every // 2)))
    for place, character in {**fixed, size: b" "}.items():
        digits[place::every] = character * _MANY
    return digits[:-1].decode().split(" ")


def _forget() -> None:
    for ready in (idents, *_traces.values()):
        ready.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)  # those that are ready are the ids of the parent
