"""The strategies that rank by words.

`Bm25Strategy`, the default, is fielded BM25 (BM25F) over names, providers, tags, descriptions and parameters. It splits
a long request into the needs that it names, because each of them may need another tool.

`TagStrategy` is UTCP's reference ranking, `tag_and_description_word_match`, with its weights. A tag counts `tag_weight`
if the query contains it as text or shares a word with it. Each distinct description word of more than two letters that
is in the query counts `description_weight`. Names do not count. Unlike the reference implementation, it does not return
tools that score zero.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest
from threading import Lock
from typing import Final
from weakref import WeakKeyDictionary

from utcp_bridge.model import Tool
from utcp_bridge.search.fields import gain_of
from utcp_bridge.search.index import InvertedIndex, Postings, QueryTerm, best
from utcp_bridge.search.memory import REMEMBERED, SearchMemory
from utcp_bridge.search.strategy import Accept, Hit, tool_filter
from utcp_bridge.search.text import synonyms_of, terms
from utcp_bridge.search.typos import split_compound

__all__ = ["Bm25Strategy", "TagStrategy", "clause_terms", "query_terms"]

SYNONYM_WEIGHT: Final = 0.25
REPAIR_WEIGHT: Final = 0.8
MEMORY_WEIGHT: Final = 2.5
"""The weight of the field of remembered words."""
CALLED_BEFORE: Final = 0.05
"""The part of its own text score that a tool gets in addition if it was asked for with a word of the query before."""
_DEEPER: Final = 100
"""With a memory, this number of tools more is taken by text. It leaves few of the others a chance."""
_FEW_REMEMBERED: Final = 100
"""Remembered tools below which their number says little about how common a word is in searches."""
MEMORY_SHARE: Final = 0.9
"""The most that remembered words add to a tool, relative to the best score by text."""
_MAX_QUERY: Final = 4_000
_BOUNDARY: Final = re.compile(
    r"[.?!;\n]\s|,\s+(?:and|then|but|or)\b|\b(?:and|then|also|additionally|moreover|furthermore)\b", re.IGNORECASE
)
_MIN_TERMS: Final = 2
_MAX_CLAUSES: Final = 12
_WORD: Final = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class _WordGains:
    """What a remembered word adds to tools by slots, before its weight in a query, and what this was made from."""

    tools: Mapping[str, float]
    changes: int
    gains: Sequence[tuple[int, float]]


class Bm25Strategy:
    """BM25F in pure Python over an `InvertedIndex`."""

    def __init__(self) -> None:
        self._index = InvertedIndex()
        self._lock: Final = Lock()
        self._gains_of: Final[WeakKeyDictionary[SearchMemory, dict[str, _WordGains]]] = WeakKeyDictionary()

    @property
    def size(self) -> int:
        """The number of tools."""
        return len(self._index)

    @property
    def is_empty(self) -> bool:
        """Whether no tool was added yet."""
        return not self._index.tools

    def adopt(self, index: InvertedIndex) -> bool:
        """Take another index if no tool was added yet; return whether it was taken."""
        with self._lock:
            if is_empty := self.is_empty:
                self._index = index
                self._gains_of.clear()
        return is_empty

    def content(self) -> tuple[list[Tool], Mapping[str, Postings]]:
        """Return the tools in the order of their slots, and the postings; nothing if tools were removed."""
        with self._lock:
            tools = [tool for tool in self._index.tools if tool is not None]
            return (tools, self._index.postings) if len(tools) == len(self._index.tools) else ([], {})

    def add(self, tools: Iterable[Tool]) -> None:
        for tool in tools:
            with self._lock:
                self._index.add(tool)

    def remove(self, tools: Iterable[Tool]) -> None:
        for tool in tools:
            with self._lock:
                self._index.remove(tool.qualified_name)

    def remove_manual(self, name: str) -> None:
        for qualified_name in self._index.names_of(name):
            with self._lock:
                self._index.remove(qualified_name)

    def search(
        self,
        query: str,
        *,
        limit: int = 10,
        tags: Collection[str] | None = None,
        providers: Collection[str] | None = None,
        accept: Accept | None = None,
    ) -> list[Hit]:
        if limit < 1:
            return []
        with self._lock:
            within = self._within(tags, providers, accept)
            found = query_terms(query[:_MAX_QUERY], self._index)
            memory = REMEMBERED.get()
            scores = best(found, limit if memory is None else limit + _DEEPER, within=within)
            if memory is not None:
                self._add_remembered(memory, query, found, scores, limit, within)
            self._lift_names(query, scores, within)
            ranked = sorted(
                (-score, tool.qualified_name, tool)
                for slot, score in scores.items()
                if (tool := self._index.tools[slot]) is not None
            )
        return [Hit(tool, score / ranked[0][0]) for score, _, tool in ranked[:limit]]

    def _within(
        self, tags: Collection[str] | None, providers: Collection[str] | None, accept: Accept | None
    ) -> set[int] | None:
        """Return the slots of the tools that pass the filters; None without filters."""
        if tags is None and providers is None and accept is None:
            return None
        tools = self._index.tools
        passes = tool_filter(tags, None, accept)
        slots = range(len(tools)) if providers is None else self._index.slots_of(providers)
        return {slot for slot in slots if (tool := tools[slot]) is not None and passes(tool)}

    def _add_remembered(
        self,
        memory: SearchMemory,
        query: str,
        found: Sequence[QueryTerm],
        scores: dict[int, float],
        limit: int,
        within: set[int] | None,
    ) -> None:
        """Add what earlier searches of the client say, as one more field of each tool, within `MEMORY_SHARE`.

        `scores` has the `limit + _DEEPER` best tools by text. Of the others, only those that may become one of the
        `limit` best are looked up.
        """
        gains = self._gains(memory, query, within)
        if not gains:
            return
        most = MEMORY_SHARE * max(scores.values(), default=0.0) or max(gains.values())

        def gain(slot: int, text: float) -> float:
            return min(gains[slot] + CALLED_BEFORE * text, most)

        others = gains.keys() - scores.keys()
        last = min(scores.values()) if len(scores) >= limit + _DEEPER else 0.0  # no other tool has a better text
        scores |= {slot: text + gain(slot, text) for slot, text in scores.items() if slot in gains}
        needed = nlargest(limit, scores.values())[-1] - last if len(scores) >= limit else 0.0
        if most >= needed:
            others = {slot for slot in others if gains[slot] + CALLED_BEFORE * last >= needed}
            texts = best(found, len(others), within=others) if others and last else {}
            scores |= {slot: (text := texts.get(slot, 0.0)) + gain(slot, text) for slot in others}

    def _gains(self, memory: SearchMemory, query: str, within: set[int] | None) -> dict[int, float]:
        """Return what the words of a query add to the tools that were asked for with them."""
        index = self._index
        gains: dict[int, float] = {}
        words = dict.fromkeys(terms(query[:_MAX_QUERY]))
        related = [(word, 1.0) for word in words]
        related += [(other, SYNONYM_WEIGHT) for word in words for other in synonyms_of(word) if other not in words]
        known = self._gains_of.setdefault(memory, {})
        for word, share in related:
            tools = memory.strengths(word)
            if not tools:
                continue
            entry = known.get(word)
            if entry is None or entry.tools is not tools or entry.changes != index.changes:
                entry = known[word] = self._gains_of_word(word, tools)
            # Words such as "find" are common in searches and rare in descriptions.
            in_searches = len(index) * len(tools) / (len(memory) + _FEW_REMEMBERED)
            weight = share * index.idf_of(max(index.frequency(word) + len(tools), in_searches))
            for slot, gain in entry.gains:
                gains[slot] = gains.get(slot, 0.0) + weight * gain
        return gains if within is None else {slot: gain for slot, gain in gains.items() if slot in within}

    def _gains_of_word(self, word: str, tools: Mapping[str, float]) -> _WordGains:
        index, postings = self._index, self._index.postings.get(word)
        gains: list[tuple[int, float]] = []
        for name, strength in tools.items():
            slot = index.slot_of(name)
            if slot is not None:
                text = 0.0 if postings is None else postings.weight_of(slot)
                gains.append((slot, gain_of(MEMORY_WEIGHT * strength, text)))
        return _WordGains(tools, index.changes, gains)

    def _lift_names(self, query: str, scores: dict[int, float], within: set[int] | None) -> None:
        """Rank tools of exactly this name first and tools whose name begins with it next, above every score."""
        ceiling = max(scores.values(), default=0.0) or 1.0
        for tier, slots in enumerate(reversed(self._index.named(query)), 1):
            for slot in slots if within is None else slots & within:
                scores[slot] = scores.get(slot, 0.0) + tier * ceiling


def query_terms(query: str, index: InvertedIndex) -> list[QueryTerm]:
    """Return the index terms of a query, rarest first: its words, corrections of unknown words, synonyms."""
    clauses = clause_terms(query)
    weights: dict[str, float] = {}
    members: dict[str, set[int]] = {}
    for word in dict.fromkeys(terms(query)):
        own = {number for number, clause in enumerate(clauses) if word in clause}
        for term, weight in _stand_ins(word, index):
            weights[term] = max(weight, weights.get(term, 0.0))
            members.setdefault(term, set()).update(own)
    found: list[tuple[int, str, QueryTerm]] = []
    for term, weight in weights.items():
        postings = index.postings[term]
        query_term = QueryTerm(postings, weight * index.idf(postings), frozenset(members[term]))
        found.append((len(postings.slots), term, query_term))
    return [query_term for *_, query_term in sorted(found, key=lambda entry: entry[:2])]


def _stand_ins(word: str, index: InvertedIndex) -> list[tuple[str, float]]:
    related = [(term, SYNONYM_WEIGHT) for term in synonyms_of(word) if term in index.postings]
    if word in index.postings:
        return [(word, 1.0), *related]
    if related:
        return related
    nearest = index.speller.nearest(word, index.frequency)
    repairs = [nearest] if nearest else split_compound(word, index.postings.__contains__) or ()
    return [(term, REPAIR_WEIGHT) for term in repairs]


def clause_terms(query: str) -> list[list[str]]:
    """Return the terms of each clause; empty unless at least two clauses have two terms or more."""
    parts = (dict.fromkeys(terms(part)) for part in _BOUNDARY.split(query))
    found = [list(part) for part in parts if len(part) >= _MIN_TERMS][:_MAX_CLAUSES]
    return found if len(found) > 1 else []


class TagStrategy:
    """The reference algorithm of UTCP, which scans every tool for every query."""

    def __init__(self, tag_weight: float = 3.0, description_weight: float = 1.0) -> None:
        self._tag_weight: Final = float(tag_weight)
        self._description_weight: Final = float(description_weight)
        self._tools: dict[str, Tool] = {}

    def add(self, tools: Iterable[Tool]) -> None:
        for tool in tools:
            self._tools[tool.qualified_name] = tool

    def remove(self, tools: Iterable[Tool]) -> None:
        for tool in tools:
            self._tools.pop(tool.qualified_name, None)

    def remove_manual(self, name: str) -> None:
        self._tools = {key: tool for key, tool in self._tools.items() if tool.manual != name}

    def search(
        self,
        query: str,
        *,
        limit: int = 10,
        tags: Collection[str] | None = None,
        providers: Collection[str] | None = None,
        accept: Accept | None = None,
    ) -> list[Hit]:
        text = query.lower()
        words = set(_WORD.findall(text))
        passes = tool_filter(tags, providers, accept)
        ranked: list[tuple[float, str, Tool]] = []
        for name, tool in self._tools.items():
            if passes(tool) and (score := self._score(tool, text, words)) > 0:
                ranked.append((-score, name, tool))
        ranked.sort(key=lambda entry: entry[:2])
        return [Hit(tool, score / ranked[0][0]) for score, _, tool in ranked[: max(0, limit)]]

    def _score(self, tool: Tool, text: str, words: set[str]) -> float:
        score = 0.0
        for tag in tool.tags:
            folded = tag.lower()
            if folded in text or not words.isdisjoint(_WORD.findall(folded)):
                score += self._tag_weight
        described = set(_WORD.findall(tool.description.lower()))
        return score + self._description_weight * sum(len(word) > 2 for word in described & words)
