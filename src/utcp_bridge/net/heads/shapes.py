"""The bytes of a head around its values that vary, so that the next head of the same form is read by comparing bytes.

It says what the regular expression says that split the head which it was made of, in a quarter of the time.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["HeadShape"]

_END: Final = b"\r\n"


class HeadShape:
    """A head with one or two values that vary. The first group of its pattern is a length, the second one a text."""

    __slots__ = ("_checked", "_has_text", "_middle", "_most", "_rest", "_start", "_text", "_text_is_first")

    def __init__(self, data: bytes, end: int, varying: re.Pattern[bytes], text: re.Pattern[bytes], most: int) -> None:
        """Make the shape of a head that ends at `end`, and has a length of at most `most` digits and perhaps a text.

        `varying` finds both, each once. `text` is what the text may be.
        """
        found = list(varying.finditer(data, 0, end + 2))
        spans = [one.span(one.lastindex or 0) for one in found]
        self._has_text = len(spans) == 2
        self._text_is_first = found[0].lastindex == 2
        self._start = data[: spans[0][0]]
        self._middle = data[spans[0][1] : spans[1][0]] if self._has_text else b""
        self._rest = data[spans[-1][1] : end + 4]
        self._text = text
        self._most = most
        self._checked: bytes | None = None
        """The last text that was looked at."""

    def read(self, data: bytes, end: int) -> tuple[bytes, bytes | None] | None:
        """Return the length and the text of a head that ends at `end`; None if it has another form."""
        start, rest = self._start, self._rest
        if not data.startswith(start):
            return None
        size = len(start)
        at = data.find(_END, size)
        length, text = data[size:at], None
        if self._has_text:
            if not data.startswith(self._middle, at):
                return None
            begin = at + len(self._middle)
            at = data.find(_END, begin)
            text = data[begin:at]
            if self._text_is_first:
                length, text = text, length
            if text != self._checked:
                if not self._text.fullmatch(text):
                    return None
                self._checked = text
        if at + len(rest) != end + 4 or not data.startswith(rest, at):
            return None
        return (length, text) if length.isdigit() and len(length) <= self._most else None
