"""UTCP's reference ranking, `tag_and_description_word_match`, with its weights.

A tag counts `tag_weight` when it stands in the query as text or shares a word with it; each distinct
description word longer than two letters that is in the query counts `description_weight`. Names do not
count. Unlike the reference implementation, tools that score zero are not returned.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Final

from utcp_bridge.model import Tool
from utcp_bridge.search.strategy import Accept, Hit, has_any_tag

__all__ = ["TagStrategy"]

_WORD: Final = re.compile(r"\w+")


class TagStrategy:
    """The reference algorithm: a scan of every tool for every query."""

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
        """See `ToolSearchStrategy.search`."""
        text = query.lower()
        words = set(_WORD.findall(text))
        wanted = None if tags is None else {tag.casefold() for tag in tags}
        ranked: list[tuple[float, str, Tool]] = []
        for name, tool in self._tools.items():
            if providers is not None and tool.manual not in providers:
                continue
            if wanted is not None and not has_any_tag(tool, wanted):
                continue
            if accept is not None and not accept(tool):
                continue
            score = self._score(tool, text, words)
            if score > 0:
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
