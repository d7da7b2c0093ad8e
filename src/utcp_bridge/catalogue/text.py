"""Text from other programs, without the characters that a person would not see.

Invisible and direction-changing characters can hide instructions in a tool's name or description from people, and
terminal sequences can hide them in logs.
"""

from __future__ import annotations

import re
from typing import Any, Final

__all__ = ["clean", "clean_line", "shorten"]

_ANSI: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_HIDDEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, tab and newline excepted
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"  # soft hyphen, joiners, fillers
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"  # zero width, line separators, bidi
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff"  # variation selectors, BOM, annotations, surrogates
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"  # musical controls, tags
)
_SPACE: Final = re.compile(r"\s+")
_CUT: Final = "…"


def clean(value: Any, limit: int | None = None) -> str:
    """Return the visible text of `value`, at most `limit` characters. It is empty if `value` is not a string."""
    if not isinstance(value, str):
        return ""
    text = value
    if not (text.isascii() and text.isprintable()):
        text = _HIDDEN.sub("", _ANSI.sub("", text)) if not text.isprintable() or _HIDDEN.search(text) else text
    text = text.strip()
    return text if limit is None else shorten(text, limit)


def clean_line(value: Any, limit: int | None = None) -> str:
    """Return the visible text of `value` on one line. See `clean`."""
    text = value if isinstance(value, str) else ""
    if text.isascii() and text.isprintable():
        return clean(text, limit)
    return clean(_SPACE.sub(" ", text), limit)


def shorten(text: str, limit: int) -> str:
    """Return `text` cut to `limit` characters at the end of a word, with an ellipsis if something was cut."""
    if len(text) <= limit:
        return text
    head = text[: limit - 1]
    space = head.rfind(" ", limit * 3 // 4)
    return (head[:space] if space > 0 else head).rstrip() + _CUT
