"""What clients asked before they called a tool successfully: words, never texts.

A lesson is the stems of a search and the tool that was called after it. A tool's words are counted, and fade with time
and with each new lesson. Of a text only words stay that look like words: no numbers, names of accounts, addresses or
keys. The ranking adds the words as one more field of the tool (`Bm25Strategy`), with a bounded gain. Words of short
searches weigh more than those of long ones: a long search shares some word with nearly every other.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.search.text import terms

__all__ = ["MAX_TERMS", "MAX_TOOLS", "REMEMBERED", "SearchMemory", "remembering", "terms_to_learn"]

MAX_TERMS: Final = 60
"""Words of one tool."""
MAX_TOOLS: Final = 400
_VERSION: Final = 1
_HALF_LIFE: Final = 30.0
"""Days after which a lesson counts half."""
_FADE: Final = 0.97
"""What each lesson of a tool leaves of the lessons before it."""
_LEAST: Final = 0.05
"""A word that counts less is forgotten."""
_HALF_COUNT: Final = 0.5
"""The count at which a word has half of its weight."""
_USUAL_LENGTH: Final = 9.0
"""Words of a usual lesson."""
_LENGTH_MATTERS: Final = 0.9
"""How much the length of its lessons matters for the weight of a tool's words, from 0 to 1."""
_MAX_QUERY: Final = 1_000
_MAX_WORD: Final = 24
_MAX_LESSON: Final = 30
_NOT_A_WORD: Final = re.compile(r"[@=\\/<>{}$%~^|]|\d{4}")
"""Parts of addresses, paths, codes and keys."""
_NUMBER: Final = re.compile(r"\d+")
_CAMEL: Final = re.compile(r"[a-z][A-Z]")
_SECRET: Final = re.compile(
    r"\b(?:pass(?:word|phrase|code|wd)?|secret|token|credentials?|bearer|pin|(?:api|access|private)[ _-]?key)\b"
    r"(?:\s+is\b|\s*[:=])?\s*\S+",
    re.IGNORECASE,
)
"""A word for a secret, and the word after it, which may be the secret."""
_TERM: Final = re.compile(rf"[^\W\d_]{{2,{_MAX_WORD}}}|[a-z]{{1,4}}\d{{1,2}}")


def terms_to_learn(text: str) -> tuple[str, ...]:
    """Return the stems of a query that may be kept, each once."""
    words = (word for word in _SECRET.sub(" ", text[:_MAX_QUERY]).split() if _is_word(word))
    found = dict.fromkeys(term for word in words for term in terms(word))
    return tuple(term for term in found if _TERM.fullmatch(term))[:_MAX_LESSON]


def _is_word(word: str) -> bool:
    if len(word) > 2 * _MAX_WORD or _NOT_A_WORD.search(word):
        return False
    numbers = _NUMBER.findall(word)
    return not numbers or (len(numbers) == 1 and not _CAMEL.search(word))


@dataclass(slots=True)
class _Learned:
    """The words of one tool by their counts and the number of lessons, all faded, as of `day` (days since 1970)."""

    counts: dict[str, float]
    lessons: float
    day: float

    def fade(self, day: float, factor: float = 1.0) -> None:
        factor *= 0.5 ** (max(0.0, day - self.day) / _HALF_LIFE)
        self.counts = {word: left for word, count in self.counts.items() if (left := count * factor) >= _LEAST}
        self.lessons *= factor
        self.day = max(day, self.day)

    def strengths(self) -> dict[str, float]:
        """Return the weight of each word: more for a word of many lessons, less if the lessons are long."""
        length = sum(self.counts.values()) / max(self.lessons, 1e-9, *self.counts.values())
        by_length = 1 - _LENGTH_MATTERS + _LENGTH_MATTERS * length / _USUAL_LENGTH
        return {word: count / (count + _HALF_COUNT) / by_length for word, count in self.counts.items()}


class SearchMemory:
    """The lessons of one client. It holds at most `max_tools` tools and `MAX_TERMS` words of each."""

    def __init__(self, *, max_tools: int = MAX_TOOLS) -> None:
        self._max_tools = max_tools
        self._tools: dict[str, _Learned] = {}
        self._of_word: dict[str, dict[str, float]] | None = None

    def __len__(self) -> int:
        return len(self._tools)

    def learn(self, tool: str, words: Iterable[str], day: float) -> None:
        """Learn that a search with these words led to the tool of this UTCP name. `day` is days since 1970."""
        learned = self._tools.pop(tool, None) or _Learned({}, 0.0, day)
        learned.fade(day, _FADE)
        learned.lessons += 1.0
        for word in words:
            learned.counts[word] = learned.counts.get(word, 0.0) + 1.0
        learned.counts = dict(sorted(learned.counts.items(), key=lambda entry: (-entry[1], entry[0]))[:MAX_TERMS])
        self._tools[tool] = learned  # the last one that was learned comes last
        self.shorten(self._max_tools)

    def shorten(self, tools: int) -> None:
        """Forget the tools that were learned first, until this number is left."""
        while len(self._tools) > tools:
            del self._tools[next(iter(self._tools))]
        self._of_word = None

    def strengths(self, word: str) -> Mapping[str, float]:
        """Return the tools that were asked for with this word, and its weight in each, above 0."""
        if self._of_word is None:
            self._of_word = {}
            for tool, learned in self._tools.items():
                for one, strength in learned.strengths().items():
                    self._of_word.setdefault(one, {})[tool] = strength
        return self._of_word.get(word, {})

    def words(self) -> dict[str, list[str]]:
        """Return the words of each tool, the most frequent first. The last tool that was learned comes last."""
        return {tool: list(learned.counts) for tool, learned in self._tools.items()}

    @property
    def last_day(self) -> float:
        """The day of the last lesson, 0 without one."""
        return max((learned.day for learned in self._tools.values()), default=0.0)

    def as_json(self) -> JsonObject:
        """Return the lessons for a store."""
        tools = {
            tool: {
                "day": round(one.day, 2),
                "lessons": round(one.lessons, 2),
                "words": {word: round(count, 2) for word, count in one.counts.items()},
            }
            for tool, one in self._tools.items()
        }
        return {"version": _VERSION, "tools": tools}

    @classmethod
    def from_json(cls, value: Any, day: float) -> SearchMemory:
        """Return lessons from a store, as of this day. Parts that are not valid are left out."""
        memory = cls()
        tools = value.get("tools") if is_object(value) and value.get("version") == _VERSION else None
        for tool, one in list(tools.items())[-MAX_TOOLS:] if is_object(tools) else ():
            words, since = (one.get("words"), one.get("day")) if is_object(one) else (None, None)
            if not is_object(words) or not _is_number(since):
                continue
            counts = {
                word: float(count) for word, count in words.items() if _TERM.fullmatch(word) and _is_number(count)
            }
            lessons = one.get("lessons")  # earlier versions did not count them
            number = float(lessons) if _is_number(lessons) else max(counts.values(), default=0.0)
            learned = _Learned(dict(list(counts.items())[:MAX_TERMS]), number, min(float(since), day))
            learned.fade(day)
            if learned.counts:
                memory._tools[str(tool)] = learned
        return memory


REMEMBERED: Final[ContextVar[SearchMemory | None]] = ContextVar("utcp_bridge_search_memory", default=None)
"""What the client of the current search asked before; None if nothing is remembered."""


@contextmanager
def remembering(memory: SearchMemory | None) -> Generator[None]:
    """Let the searches inside use this memory."""
    token = REMEMBERED.set(memory)
    try:
        yield
    finally:
        REMEMBERED.reset(token)


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e6
