"""Regular expressions that are compiled when they are first used.

Python takes 0.1 ms for each, and up to 1.7 for one with a large set of characters. A start imports a hundred of them
and uses few: compiling all was 8 ms of a short command.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

__all__ = ["late_pattern"]

_MEMBERS: Final = tuple(name for name in dir(re.Pattern) if not name.startswith("_"))


class _Compiled:
    """Has the members of a pattern as its own, without the look-up of one that is missing."""


class _Uncompiled(_Compiled):
    """What `re.compile` returns, but for its class."""

    def __init__(self, text: str | bytes, flags: int) -> None:
        self._text = text
        self._flags = flags

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        compiled = re.compile(self._text, self._flags)
        vars(self).update((member, getattr(compiled, member)) for member in _MEMBERS)
        self.__class__ = _Compiled  # type: ignore[assignment]
        return getattr(compiled, name)


def _late(text: str | bytes, flags: int = 0) -> Any:
    """Return a pattern. One that is wrong raises `re.error` when it is first used.

    It has the methods of a pattern. The functions of `re`, which take patterns, do not take it.
    """
    return _Uncompiled(text, flags)


if TYPE_CHECKING:
    from re import compile as late_pattern
else:
    late_pattern = _late
