"""What clients asked before they called a tool successfully: words, never texts.

A lesson is the stems of a search and the tool that was called after it. A tool's words are counted, and fade with time
and with each new lesson. Of a text only words stay that look like words: no numbers, names of accounts, addresses or
keys. The ranking adds the words as one more field of the tool (`Bm25Strategy`), with a bounded gain. Words of short
searches weigh more than those of long ones: a long search shares some word with nearly every other.

With the search by meaning, a tool also has the mean of the vectors of these searches. A search that contains anything
that looks like a secret, an account or an address gives no vector.
"""

from __future__ import annotations

import re
from array import array
from base64 import b64decode, b64encode
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import field
from typing import Any, Final, TypeGuard

from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.search.text import terms

__all__ = [
    "MAX_TERMS",
    "MAX_TOOLS",
    "REMEMBERED",
    "Meaning",
    "Meanings",
    "SearchMemory",
    "examples_of",
    "has_only_words",
    "remembering",
    "terms_to_learn",
]

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
_HALF_COUNT: Final = 0.8
"""The count at which a word has half of its weight."""
_USUAL_LENGTH: Final = 9.0
"""Words of a usual lesson."""
_LENGTH_MATTERS: Final = 0.95
"""How much the length of its lessons matters for the weight of a tool's words, from 0 to 1."""
_MAX_QUERY: Final = 1_000
_MAX_WORD: Final = 24
_MAX_LESSON: Final = 30
_VECTOR_BYTES: Final = 512
"""Bytes of vectors for each tool that a memory may have, with one byte a number. The tools that were learned last keep
theirs: all of them if the model has up to this number of dimensions.
"""
_MAX_DIMENSIONS: Final = 8_192
_MAX_EXAMPLES: Final = 5
_MAX_EXAMPLE: Final = 200
"""Characters."""
_NOT_A_WORD: Final = late_pattern(r"[@=\\/<>{}$%~^|]|\d{4}")
"""Parts of addresses, paths, codes and keys."""
_NUMBER: Final = late_pattern(r"\d+")
_MAX_DIGITS: Final = 4
_CAMEL: Final = late_pattern(r"[a-z][A-Z]")
_SECRET: Final = late_pattern(
    r"\b(?:pass(?:word|phrase|code|wd)?|secret|token|credentials?|bearer|pin|(?:api|access|private)[ _-]?key)\b"
    r"(?:\s+is\b|\s*[:=])?\s*\S+",
    re.IGNORECASE,
)
"""A word for a secret, and the word after it, which may be the secret."""
_TERM: Final = late_pattern(rf"[^\W\d_]{{2,{_MAX_WORD}}}|[a-z]{{1,4}}\d{{1,2}}")


def terms_to_learn(text: str) -> tuple[str, ...]:
    """Return the stems of a query that may be kept, each once."""
    words = (word for word in _SECRET.sub(" ", text[:_MAX_QUERY]).split() if _is_word(word))
    found = dict.fromkeys(term for word in words for term in terms(word))
    return tuple(term for term in found if _TERM.fullmatch(term))[:_MAX_LESSON]


def has_only_words(text: str) -> bool:
    """Return whether a query has nothing that may be private: only words, and numbers of at most four digits."""
    words = (word.strip(".,;:!?()'\"") for word in text.split())
    plain = all(_is_word(word) or (word.isdigit() and len(word) <= _MAX_DIGITS) for word in words)
    return plain and not _SECRET.search(text)


def _is_word(word: str) -> bool:
    if len(word) > 2 * _MAX_WORD or _NOT_A_WORD.search(word):
        return False
    numbers = _NUMBER.findall(word)
    return not numbers or (len(numbers) == 1 and not _CAMEL.search(word))


@dataclass(frozen=True, slots=True)
class Meaning:
    """The vector of a search, of length 1, and the hash of the model that made it."""

    model: str
    vector: array[float]


@dataclass(frozen=True, slots=True)
class Meanings:
    """The means of the vectors of past searches, one for each of `tools` (UTCP names), one after another.

    `lessons` is the number of searches of each, faded.
    """

    tools: tuple[str, ...]
    vectors: array[float]
    lessons: tuple[float, ...]


@dataclass(slots=True)
class _Learned:
    """The words of one tool by their counts and the number of lessons, all faded, as of `day` (days since 1970).

    `vector` is the mean of the vectors of its searches, or empty.
    """

    counts: dict[str, float]
    lessons: float
    day: float
    vector: array[float] = field(default_factory=lambda: array("f"))

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

    def add_vector(self, vector: array[float]) -> None:
        """Take the vector of the last lesson into the mean."""
        if len(self.vector) != len(vector):
            self.vector = vector
            return
        share = 1 / max(1.0, self.lessons)
        self.vector = array("f", [old + (new - old) * share for old, new in zip(self.vector, vector, strict=True)])


class SearchMemory:
    """The lessons of one client. It holds at most `max_tools` tools and `MAX_TERMS` words of each."""

    def __init__(self, *, max_tools: int = MAX_TOOLS) -> None:
        self._max_tools = max_tools
        self._tools: dict[str, _Learned] = {}
        self._of_word: dict[str, dict[str, float]] | None = None
        """A lesson replaces the entries of its words, so the object of an entry says whether it is as before."""
        self._model = ""
        self._meanings: Meanings | None = None

    def __len__(self) -> int:
        return len(self._tools)

    def learn(self, tool: str, words: Iterable[str], day: float, meaning: Meaning | None = None) -> None:
        """Learn that a search with these words led to the tool of this UTCP name. `day` is days since 1970.

        `meaning` is the vector of the search. If it is of another model than those before, those are forgotten.
        """
        learned = self._tools.pop(tool, None) or _Learned({}, 0.0, day)
        before = [*learned.counts]
        learned.fade(day, _FADE)
        learned.lessons += 1.0
        for word in words:
            learned.counts[word] = learned.counts.get(word, 0.0) + 1.0
        learned.counts = dict(sorted(learned.counts.items(), key=lambda entry: (-entry[1], entry[0]))[:MAX_TERMS])
        self._tools[tool] = learned  # the last one that was learned comes last
        self._note(tool, before, learned.strengths())
        if meaning is not None:
            if meaning.model != self._model:
                self._forget_vectors()
                self._model = meaning.model
            learned.add_vector(meaning.vector)
            self._limit_vectors()
        self.shorten(self._max_tools)

    def _note(self, tool: str, before: Iterable[str], strengths: Mapping[str, float]) -> None:
        """Put the words of a tool in the place of those that it had before, if the words are sorted already."""
        if (of_word := self._of_word) is not None:
            for word in {*before, *strengths}:
                others = {name: one for name, one in of_word.pop(word, {}).items() if name != tool}
                if word in strengths:
                    others[tool] = strengths[word]
                if others:
                    of_word[word] = others

    def _forget_vectors(self) -> None:
        for learned in self._tools.values():
            learned.vector = array("f")

    def _limit_vectors(self) -> None:
        size = 0
        for learned in reversed(self._tools.values()):
            size += len(learned.vector)
            if size > _VECTOR_BYTES * self._max_tools:
                learned.vector = array("f")

    def shorten(self, tools: int) -> None:
        """Forget the tools that were learned first, until this number is left."""
        while len(self._tools) > tools:
            first = next(iter(self._tools))
            self._note(first, self._tools.pop(first).counts, {})
        self._meanings = None

    def strengths(self, word: str) -> Mapping[str, float]:
        """Return the tools that were asked for with this word, and its weight in each, above 0."""
        if self._of_word is None:
            self._of_word = {}
            for tool, learned in self._tools.items():
                for one, strength in learned.strengths().items():
                    self._of_word.setdefault(one, {})[tool] = strength
        return self._of_word.get(word, {})

    def meanings(self, model: str) -> Meanings | None:
        """Return the vectors of past searches, if any were made by this model."""
        if self._meanings is None:
            found = {tool: one.vector for tool, one in self._tools.items() if one.vector}
            length = max(map(len, found.values()), default=0)
            found = {tool: vector for tool, vector in found.items() if len(vector) == length}
            flat = array("f")
            for vector in found.values():
                flat.extend(vector)
            self._meanings = Meanings(tuple(found), flat, tuple(self._tools[tool].lessons for tool in found))
        return self._meanings if self._meanings.tools and model == self._model else None

    def words(self) -> dict[str, list[str]]:
        """Return the words of each tool, the most frequent first. The last tool that was learned comes last."""
        return {tool: list(learned.counts) for tool, learned in self._tools.items()}

    def tallies(self) -> Iterator[tuple[str, Mapping[str, float], float]]:
        """Yield each tool, how often each of its words was asked, and the number of its lessons; both are faded."""
        yield from ((tool, learned.counts, learned.lessons) for tool, learned in self._tools.items())

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
            | ({"vector": _packed(one.vector)} if one.vector else {})
            for tool, one in self._tools.items()
        }
        return {"version": _VERSION, "tools": tools} | ({"model": self._model} if self._model else {})

    @staticmethod
    def is_newer(value: JsonObject) -> bool:
        """Return whether lessons in a store are those of a later version, which this one can neither read nor write."""
        version = value.get("version")
        return isinstance(version, int) and version > _VERSION

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
                learned.vector = _unpacked(one.get("vector"))
                memory._tools[str(tool)] = learned
        memory._model = str(value["model"]) if memory._tools and "model" in value else ""
        memory._limit_vectors()
        return memory


def examples_of(memories: Iterable[SearchMemory]) -> dict[str, list[str]]:
    """Return texts for `asked_as` by UTCP names: stems of all these memories, never the text of a search.

    A tool has a text for each lesson, at most five. Each word is in about the same share of them as of the lessons.
    """
    counts: dict[str, dict[str, float]] = {}
    lessons: dict[str, float] = {}
    for memory in memories:
        for tool, found, number in memory.tallies():
            lessons[tool] = lessons.get(tool, 0.0) + number
            words = counts.setdefault(tool, {})
            for word, count in found.items():
                words[word] = words.get(word, 0.0) + count
    return {tool: _examples(counts[tool], lessons[tool]) for tool in sorted(counts)}


def _examples(counts: Mapping[str, float], lessons: float) -> list[str]:
    number = max(1, min(_MAX_EXAMPLES, round(lessons)))
    texts: list[list[str]] = [[] for _ in range(number)]
    place = 0
    for word, count in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])):
        for _ in range(max(1, min(number, round(count * number / max(lessons, _LEAST))))):
            text = texts[place % number]
            place += 1
            if sum(map(len, text)) + len(text) + len(word) <= _MAX_EXAMPLE:
                text.append(word)
    return [" ".join(text) for text in texts if text]


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


def _packed(vector: array[float]) -> str:
    """Return a vector with one byte a number. Its length does not matter, so it is not kept."""
    most = max(map(abs, vector)) or 1.0
    return b64encode(array("b", [round(number / most * 127) for number in vector])).decode()


def _unpacked(value: Any) -> array[float]:
    """Return a vector with length 1; an empty one if the text is not a vector."""
    found = array("b")
    if isinstance(value, str) and len(value) <= 2 * _MAX_DIMENSIONS:
        with suppress(ValueError):
            found.frombytes(b64decode(value, validate=True))
    length = sum(number * number for number in found) ** 0.5
    return array("f", [number / length for number in found]) if length else array("f")


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e6
