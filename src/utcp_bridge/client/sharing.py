"""What a client shares with the clients of other bridges in one store: changes of manuals, and breakers.

Limits ask the store themselves. News are hints: each bridge reads a manual itself, and one that misses a message finds
the change when it reads the manual next.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from utcp_bridge.manuals.repository import Change, ToolRepository
from utcp_bridge.model import JsonObject
from utcp_bridge.pipeline.breaker import Breakers
from utcp_bridge.stores.replicas import SharedStore

__all__ = ["share"]


async def share(
    store: SharedStore, breakers: Breakers, repository: ToolRepository, refresh: Callable[[str], Awaitable[None]]
) -> None:
    """Tell the others what changes here, and hear what changes there, until the task is cancelled."""
    manuals = _Manuals(store)
    breakers.tell = lambda news: store.tell("breaker", news)
    store.on_news("breaker", breakers.hear)
    store.on_news("manual", manuals.hear)
    unsubscribe = repository.subscribe(manuals.changed)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(store.serve)
            group.start_soon(manuals.follow, refresh)
    finally:
        unsubscribe()
        breakers.tell = None


class _Manuals:
    """Which manuals changed elsewhere. Nobody tells of the first load of a manual: each bridge loads it for itself."""

    def __init__(self, store: SharedStore) -> None:
        self._store = store
        self._loaded: set[str] = set()
        self._changed: set[str] = set()
        self._news = anyio.Event()

    def changed(self, change: Change) -> None:
        if change.manual in self._loaded:
            self._store.tell("manual", {"name": change.manual})
        self._loaded.add(change.manual)

    def hear(self, news: JsonObject) -> None:
        if (name := str(news.get("name"))) in self._loaded:
            self._changed.add(name)
            self._news.set()

    async def follow(self, refresh: Callable[[str], Awaitable[None]]) -> None:
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            names, self._changed = sorted(self._changed), set()
            for name in names:
                await refresh(name)
