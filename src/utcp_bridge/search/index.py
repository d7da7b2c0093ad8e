"""The inverted index: posting lists of saturated weights, changed one tool at a time.

A posting contains the term's weight in the tool (`fields.weigh`), which depends on that tool only; the inverse document
frequency is applied at query time. So adding and removing tools gives exactly the same index as a rebuild.

Scoring finds the best k tools without reading long posting lists that cannot change the result. A score is
Σ weight(term, tool) · idf(term), plus a share of the best single clause. Terms are read from the rarest to the most
frequent. As soon as the remaining terms cannot lift a new tool into the best k, only tools that may still get there are
looked up in the remaining lists (MaxScore, term at a time). The result is the same as that of reading everything.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from heapq import nlargest
from itertools import accumulate
from math import log
from typing import Final

from utcp_bridge.late.records import dataclass
from utcp_bridge.model import Tool
from utcp_bridge.search.fields import weigh
from utcp_bridge.search.text import compact
from utcp_bridge.search.typos import Speller

__all__ = ["CLAUSE_SHARE", "InvertedIndex", "Postings", "QueryTerm", "best"]

_COST_OF_LOOKUP: Final = 10
"""One bisection takes about as long as reading this number of postings."""
CLAUSE_SHARE: Final = 0.5
"""The share of the score of its best clause that is added to a tool's score."""
_MAX_RESCORED: Final = 200
_SHORT_LIST: Final = 256


class Postings:
    """The tools of one term (ascending slots) and its weight in each."""

    __slots__ = ("_peak", "slots", "weights")

    def __init__(self) -> None:
        self.slots = array("I")
        self.weights = array("f")
        self._peak: float | None = 0.0

    @classmethod
    def of(cls, slots: array[int], weights: array[float]) -> Postings:
        """Return the postings with these slots, which ascend, and weights."""
        made = cls()
        made.slots, made.weights, made._peak = slots, weights, None
        return made

    @property
    def peak(self) -> float:
        """The largest weight. It is looked for when it is needed: dropping many tools must not read each list often."""
        if self._peak is None:
            self._peak = max(self.weights, default=0.0)
        return self._peak

    def put(self, slot: int, weight: float) -> None:
        """Note the weight of a tool, in the place of its former weight if it has one."""
        slots = self.slots
        if not slots or slots[-1] < slot:  # a new tool, usually
            slots.append(slot)
            self.weights.append(weight)
            if self._peak is not None:
                self._peak = max(self._peak, self.weights[-1])
            return
        position = bisect_left(slots, slot)
        if slots[position] == slot:
            self._forget(self.weights[position])
            self.weights[position] = weight
        else:
            slots.insert(position, slot)
            self.weights.insert(position, weight)
        if self._peak is not None:
            self._peak = max(self._peak, self.weights[position])

    def drop(self, slot: int) -> None:
        position = bisect_left(self.slots, slot)
        del self.slots[position]
        self._forget(self.weights.pop(position))

    def _forget(self, weight: float) -> None:
        if self._peak is not None and weight >= self._peak:
            self._peak = None

    def weight_of(self, slot: int) -> float:
        """Return the weight in one tool, 0 if it lacks the term."""
        position = bisect_left(self.slots, slot)
        has_term = position < len(self.slots) and self.slots[position] == slot
        return self.weights[position] if has_term else 0.0

    def add_to(self, scores: dict[int, float], factor: float) -> None:
        """Add `factor` times each weight to the scores."""
        score_of = scores.get
        for slot, weight in zip(self.slots, self.weights, strict=True):
            scores[slot] = score_of(slot, 0.0) + factor * weight

    def add_within(self, scores: dict[int, float], factor: float, slots: Collection[int]) -> None:
        """Do the same as `add_to`, for these slots only."""
        score_of = scores.get
        if len(slots) * _COST_OF_LOOKUP < len(self.slots):
            for slot in [*slots]:
                position = bisect_left(self.slots, slot)
                if position < len(self.slots) and self.slots[position] == slot:
                    scores[slot] = score_of(slot, 0.0) + factor * self.weights[position]
        else:
            for slot, weight in zip(self.slots, self.weights, strict=True):
                if slot in slots:
                    scores[slot] = score_of(slot, 0.0) + factor * weight


class InvertedIndex:
    """Tools in numbered slots, posting lists by term, full names for exact and prefix matches."""

    def __init__(self) -> None:
        self.tools: Final[list[Tool | None]] = []
        self.postings: Final[dict[str, Postings]] = {}
        self.speller: Final = Speller()
        self.changes = 0
        """The number of tools that were added and removed."""
        self._entries: Final[dict[str, tuple[int, Tool, tuple[str, ...] | None]]] = {}
        """The slot, the tool and its terms. Those of a tool that came with its postings are found when it goes."""
        self._free: Final[list[int]] = []
        self._manuals: Final[dict[str, set[int]]] = {}
        self._names: Final[list[tuple[str, int]]] = []

    @classmethod
    def of(cls, tools: Sequence[Tool], postings: Mapping[str, Postings]) -> Generator[None, None, InvertedIndex]:
        """Return the index of these tools, each in the slot of its place, and these postings of theirs, in steps."""
        index = cls()
        index.tools.extend(tools)
        index.postings.update(postings)
        for slot, tool in enumerate(tools):
            index._entries[tool.qualified_name] = slot, tool, None
            index._manuals.setdefault(tool.manual, set()).add(slot)
            index._names.extend((key, slot) for key in _name_keys(tool))
            yield
        index._names.sort()
        for term in postings:
            index.speller.add(term)
            yield
        return index

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, tool: Tool) -> None:
        """Add one tool; it replaces the tool with the same qualified name."""
        self.changes += 1
        if self._replace(tool):
            return
        self.remove(tool.qualified_name)
        slot = self._free.pop() if self._free else len(self.tools)
        if slot == len(self.tools):
            self.tools.append(tool)
        else:
            self.tools[slot] = tool
        weights = weigh(tool)
        self._entries[tool.qualified_name] = slot, tool, tuple(weights)
        self._manuals.setdefault(tool.manual, set()).add(slot)
        for key in _name_keys(tool):
            insort(self._names, (key, slot))
        self._put(slot, weights)

    def _replace(self, tool: Tool) -> bool:
        """Put a tool into the slot of its former version; False without one. Most of its terms are the same."""
        known = self._entries.get(tool.qualified_name)
        if known is None or known[1].name != tool.name:  # `a.b` + `c` and `a` + `b.c` are one qualified name
            return False
        slot, before, terms = known
        weights = weigh(tool)
        self.tools[slot] = tool
        self._entries[tool.qualified_name] = slot, tool, tuple(weights)
        self._drop(slot, (term for term in terms or weigh(before) if term not in weights))
        self._put(slot, weights)
        return True

    def _put(self, slot: int, weights: Mapping[str, float]) -> None:
        for term, weight in weights.items():
            postings = self.postings.get(term)
            if postings is None:
                postings = self.postings[term] = Postings()
                self.speller.add(term)
            postings.put(slot, weight)

    def _drop(self, slot: int, terms: Iterable[str]) -> None:
        for term in terms:
            postings = self.postings[term]
            postings.drop(slot)
            if not postings.slots:
                del self.postings[term]
                self.speller.remove(term)

    def remove(self, qualified_name: str) -> None:
        """Remove one tool, if the index contains it."""
        entry = self._entries.pop(qualified_name, None)
        if entry is None:
            return
        self.changes += 1
        slot, tool, terms = entry
        self.tools[slot] = None
        self._free.append(slot)
        members = self._manuals[tool.manual]
        members.discard(slot)
        if not members:
            del self._manuals[tool.manual]
        for key in _name_keys(tool):
            del self._names[bisect_left(self._names, (key, slot))]
        self._drop(slot, terms or weigh(tool))

    def idf(self, postings: Postings) -> float:
        """Return the inverse document frequency of a term with these postings; it is always above zero."""
        return self.idf_of(len(postings.slots))

    def idf_of(self, count: float) -> float:
        """Return the inverse document frequency of a term that this number of tools have."""
        count = min(count, len(self))
        return log(1 + (len(self) - count + 0.5) / (count + 0.5))

    def slot_of(self, qualified_name: str) -> int | None:
        """Return the slot of a tool; None if the index does not contain it."""
        entry = self._entries.get(qualified_name)
        return None if entry is None else entry[0]

    def frequency(self, term: str) -> int:
        """Return the number of tools in which a term occurs."""
        postings = self.postings.get(term)
        return len(postings.slots) if postings else 0

    def names_of(self, manual: str) -> list[str]:
        """Return the qualified names of a manual's tools."""
        return [tool.qualified_name for slot in self._manuals.get(manual, ()) if (tool := self.tools[slot])]

    def slots_of(self, manuals: Iterable[str]) -> set[int]:
        """Return the slots of the tools of these manuals."""
        found: set[int] = set()
        return found.union(*(self._manuals.get(manual, ()) for manual in manuals))

    def named(self, query: str) -> tuple[set[int], set[int]]:
        """Return the slots of the tools whose full name equals the query, and of those whose name begins with it."""
        key = compact(query)
        exact: set[int] = set()
        prefixed: set[int] = set()
        if len(key) < 3:
            return exact, prefixed
        for position in range(bisect_left(self._names, (key, -1)), len(self._names)):
            name, slot = self._names[position]
            if not name.startswith(key):
                break
            (exact if name == key else prefixed).add(slot)
        return exact, prefixed - exact


def _name_keys(tool: Tool) -> set[str]:
    return {compact(tool.name), compact(tool.qualified_name)}


@dataclass(frozen=True, slots=True)
class QueryTerm:
    """A term's posting list and its weight in this query (idf times the term's own weight)."""

    postings: Postings
    weight: float
    clauses: frozenset[int] = frozenset()
    """The numbers of the clauses that contain the term."""

    @property
    def ceiling(self) -> float:
        """The most that this term can add to a tool's score."""
        return self.weight * self.postings.peak


def best(terms: Sequence[QueryTerm], k: int, *, within: Collection[int] | None = None) -> dict[int, float]:
    """Return the scores of the `k` best slots, and of those that tie with the last of them, in no order.

    `terms` come rarest first. `within` restricts the search to these slots.
    """
    has_clauses = any(term.clauses for term in terms)
    kept = max(k, _MAX_RESCORED) if has_clauses else k
    scores = _accumulate(terms, k, 1 / (1 + CLAUSE_SHARE) if has_clauses else 1.0, within)
    scores = _top(scores, kept)
    if has_clauses:
        _add_clauses(terms, scores)
    return _top(scores, k)


def _accumulate(terms: Sequence[QueryTerm], k: int, margin: float, within: Collection[int] | None) -> dict[int, float]:
    remaining = [*accumulate((term.ceiling for term in reversed(terms)), initial=0.0)][::-1]
    scores: dict[int, float] = {}
    for position, term in enumerate(terms):
        size = len(term.postings.slots)
        if len(scores) >= k and size > _SHORT_LIST and size * 4 > len(scores):
            least = nlargest(k, scores.values())[-1] * margin
            if remaining[position] < least:
                return _finish(terms[position:], remaining[position:], scores, least)
        if within is None:
            term.postings.add_to(scores, term.weight)
        else:
            term.postings.add_within(scores, term.weight, within)
    return scores


def _finish(
    terms: Sequence[QueryTerm], remaining: Sequence[float], scores: dict[int, float], least: float
) -> dict[int, float]:
    """Complete the scores of the tools that may still reach `least`; no other tool can reach it."""
    for term, still in zip(terms, remaining, strict=False):
        needed = least - still
        scores = {slot: score for slot, score in scores.items() if score >= needed}
        term.postings.add_within(scores, term.weight, scores.keys())
    return scores


def _add_clauses(terms: Sequence[QueryTerm], scores: dict[int, float]) -> None:
    parts: dict[int, dict[int, float]] = {}
    for term in terms:
        if term.clauses:
            found: dict[int, float] = {}
            term.postings.add_within(found, term.weight, scores.keys())
            for clause in term.clauses:
                part = parts.setdefault(clause, {})
                for slot, score in found.items():
                    part[slot] = part.get(slot, 0.0) + score
    for slot in scores:
        scores[slot] += CLAUSE_SHARE * max(part.get(slot, 0.0) for part in parts.values())


def _top(scores: dict[int, float], k: int) -> dict[int, float]:
    if len(scores) <= k:
        return scores
    least = nlargest(k, scores.values())[-1]
    return {slot: score for slot, score in scores.items() if score >= least}
