"""Comments and trailing commas in JSON, as people write them (pure)."""

from __future__ import annotations

import re
from typing import Final

from utcp_bridge.late.patterns import late_pattern

__all__ = ["without_comments"]

_COMMENTS: Final = late_pattern(
    r'"[^"\\]*+(?:\\(?:.|\Z)[^"\\]*+)*+(?:"|\Z)|//[^\n]*|/\*(?:[^*]++|\*(?!/))*+(?:\*/|\Z)|,(?=\s*+[\]}])', re.DOTALL
)
"""Strings and comments, also those without an end: so each character is looked at once."""


def without_comments(text: str) -> str:
    """Replace comments and trailing commas by blanks, so that lines and columns stay the same."""

    def blank(match: re.Match[str]) -> str:
        found = match[0]
        is_unclosed = found.startswith("/*") and not found.endswith("*/", 2)
        return found if is_unclosed or found.startswith('"') else re.sub(r"[^\n]", " ", found)

    return _COMMENTS.sub(blank, _COMMENTS.sub(blank, text))
