"""A search strategy of your own: tools whose names have the longest common part with the query come first."""

import asyncio
import sys
from collections.abc import Callable, Collection, Iterable
from difflib import SequenceMatcher

from utcp_bridge import Hit, Tool, UtcpClient
from utcp_bridge.search import ToolSearchStrategy


class NameStrategy(ToolSearchStrategy):
    """Ranks by names alone. The client adds and removes tools as manuals come and go."""

    def __init__(self) -> None:
        self.tools: dict[str, Tool] = {}

    def add(self, tools: Iterable[Tool]) -> None:
        self.tools.update({tool.qualified_name: tool for tool in tools})

    def remove(self, tools: Iterable[Tool]) -> None:
        for tool in tools:
            self.tools.pop(tool.qualified_name, None)

    def remove_manual(self, name: str) -> None:
        self.remove([tool for tool in self.tools.values() if tool.manual == name])

    def search(
        self,
        query: str,
        *,
        limit: int = 10,
        tags: Collection[str] | None = None,
        providers: Collection[str] | None = None,
        accept: Callable[[Tool], bool] | None = None,
    ) -> list[Hit]:
        def passes(tool: Tool) -> bool:
            return (
                (tags is None or bool(set(tags) & set(tool.tags)))
                and (providers is None or tool.manual in providers)
                and (accept is None or accept(tool))
            )

        scores = [
            (SequenceMatcher(None, query, tool.name).ratio(), tool) for tool in self.tools.values() if passes(tool)
        ]
        best = sorted(scores, key=lambda one: (-one[0], one[1].qualified_name))[:limit]
        return [Hit(tool, score) for score, tool in best if score > 0]


async def main(place: str, query: str) -> None:
    async with await UtcpClient.create(place, search_strategy=NameStrategy()) as client:
        for tool in client.search_tools(query, limit=3):
            print(tool.qualified_name)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
