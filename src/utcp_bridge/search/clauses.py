"""Splits a long request into the needs that it names, each of which may want a tool of its own."""

from __future__ import annotations

import re
from typing import Final

from utcp_bridge.search.text import terms

__all__ = ["clause_terms"]

_BOUNDARY: Final = re.compile(
    r"[.?!;\n]+\s|,\s+(?:and|then|but|or)\b|\b(?:and|then|also|additionally|moreover|furthermore)\b", re.IGNORECASE
)
_FEWEST_TERMS: Final = 2
_MOST_CLAUSES: Final = 12


def clause_terms(query: str) -> list[list[str]]:
    """The terms of each clause; empty unless there are two clauses of two terms or more."""
    parts = (dict.fromkeys(terms(part)) for part in _BOUNDARY.split(query))
    found = [list(part) for part in parts if len(part) >= _FEWEST_TERMS][:_MOST_CLAUSES]
    return found if len(found) > 1 else []
