"""The default strategy: fielded BM25 (BM25F) over names, providers, tags, descriptions and parameters."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from heapq import nlargest
from math import log
from threading import Lock
from typing import Final

from utcp_bridge.model import Tool
from utcp_bridge.search.index import InvertedIndex
from utcp_bridge.search.strategy import Accept, Hit, has_any_tag
from utcp_bridge.search.text import terms

__all__ = ["Bm25Strategy"]

_HIDDEN: Final = -1e9


class Bm25Strategy:
    """BM25F in pure Python; see the module docstring of `index` for how it is kept up to date."""

    def __init__(self) -> None:
        self._index: Final = InvertedIndex()
        self._lock: Final = Lock()

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
        """See `ToolSearchStrategy.search`."""
        if limit < 1:
            return []
        with self._lock:
            scores = self._blank(tags, providers, accept)
            self._score(query, scores)
            exact, prefixed = self._index.named(query)
            best = max(scores, default=0.0)
            ceiling = max(best, 1.0)
            for slot in exact | prefixed:
                if scores[slot] > _HIDDEN / 2:
                    scores[slot] += ceiling * (2 if slot in exact else 1)
            found = nlargest(
                limit,
                ((score, slot) for slot, score in enumerate(scores) if score > 0),
                key=lambda pair: pair[0],
            )
            ranked = sorted(
                ((-score, tool.qualified_name, tool) for score, slot in found if (tool := self._index.tools[slot])),
                key=lambda t: t[:2],
            )
        return [Hit(tool, score / ranked[0][0]) for score, _, tool in ranked]

    def _blank(
        self, tags: Collection[str] | None, providers: Collection[str] | None, accept: Accept | None
    ) -> list[float]:
        tools = self._index.tools
        if tags is None and providers is None and accept is None:
            return [0.0] * len(tools)
        scores = [_HIDDEN] * len(tools)
        wanted = {tag.casefold() for tag in tags} if tags is not None else None
        for slot in range(len(tools)) if providers is None else self._index.slots_of(providers):
            tool = tools[slot]
            if tool and (wanted is None or has_any_tag(tool, wanted)) and (accept is None or accept(tool)):
                scores[slot] = 0.0
        return scores

    def _score(self, query: str, scores: list[float]) -> None:
        total = len(self._index)
        for term in dict.fromkeys(terms(query)):
            postings = self._index.postings.get(term)
            if postings:
                count = len(postings.slots)
                idf = log(1 + (total - count + 0.5) / (count + 0.5))
                for slot, weight in zip(postings.slots, postings.weights, strict=True):
                    scores[slot] += idf * weight
