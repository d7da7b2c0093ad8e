"""Text from other programs as hosts and terminals show it: visible, stripped, and cut to a length.

`utcp_bridge.foreign` says what is removed.
"""

from __future__ import annotations

import re
from typing import Any, Final

from utcp_bridge.foreign import visible

__all__ = ["clean", "clean_line", "shorten"]

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_SPACE: Final = re.compile(r"\s+")
_CUT: Final = "…"


def clean(value: Any, limit: int | None = None) -> str:
    """Return the visible text of `value`, at most `limit` characters. It is empty if `value` is not a string."""
    if not isinstance(value, str):
        return ""
    text = value
    if not (text.isascii() and text.isprintable()):
        text = visible(_SURROGATE.sub("", text)).replace("\r\n", "\n")
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
