"""Top-k scoring over posting lists, without reading the long lists that cannot change the answer.

A score is Σ weight(term, tool) · idf(term), plus a share of the best single clause. Terms are taken
from the rarest to the commonest. Once all the terms still to come could not lift a tool that has
not been seen into the top k, only the tools that may still get there are looked up in the remaining
lists (MaxScore, term at a time). The result is the same as that of reading everything.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from heapq import nlargest
from itertools import accumulate
from typing import Final

from utcp_bridge.search.index import Postings

__all__ = ["CLAUSE_SHARE", "QueryTerm", "best"]

CLAUSE_SHARE: Final = 0.5
"""How much of its best clause's score a tool is given on top."""
_MOST_RESCORED: Final = 200
_SHORT_LIST: Final = 256


@dataclass(frozen=True, slots=True)
class QueryTerm:
    """A term's posting list and its weight in this query (idf times the term's own weight)."""

    postings: Postings
    weight: float
    clauses: frozenset[int] = frozenset()
    """Numbers of the clauses that the term belongs to."""

    @property
    def ceiling(self) -> float:
        """No tool gets more than this from the term."""
        return self.weight * self.postings.peak


def best(terms: Sequence[QueryTerm], k: int, *, within: Collection[int] | None = None) -> dict[int, float]:
    """Scores of the `k` best slots and of those that tie with the last of them, in no order.

    `terms` come rarest first. `within` restricts the search to these slots.
    """
    has_clauses = any(term.clauses for term in terms)
    kept = max(k, _MOST_RESCORED) if has_clauses else k
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
    """Completes the scores of the tools that may still reach `least`; no other tool can."""
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
