"""The bridges that share an address or a store, for the console and the admin API of one of them."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from utcp_bridge import __version__
from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.server.replicas.board import State
from utcp_bridge.server.replicas.place import here
from utcp_bridge.stores.port import StoreAway

if TYPE_CHECKING:
    from utcp_bridge.server.replicas.replica import Replica
    from utcp_bridge.stores.replicas import SharedStore

__all__ = ["Overview", "name_of", "words_of_this"]

_STATES: Final = {State.STARTING: "starting", State.LOST: "lost", State.DRAINING: "ending"}
_MAX_NAME: Final = 100


def words_of_this(summary: JsonObject) -> JsonObject:
    """Return what other bridges may know of this process. `summary` is that of its readiness probe."""
    words: JsonObject = {"name": f"{platform.node()}, process {os.getpid()}", "version": __version__}
    if here().count > 1:
        words["worker"] = here().index
    kept = ("ready", "draining", "tools", "manuals", "breakers")
    return {**words, **{key: summary[key] for key in kept if key in summary}}


def name_of(words: JsonObject) -> str:
    """Return the name of a bridge for people, from what it said of itself."""
    name, worker = str(words.get("name", ""))[:_MAX_NAME], words.get("worker")
    return name if worker is None else f"worker {worker} ({name})"


class Overview:
    """All that one server knows of the others.

    `summary` is that of its readiness probe, and `replica` its place among several processes, once it has joined them.
    """

    def __init__(
        self, store: SharedStore | None, replica: Callable[[], Replica | None], summary: Callable[[], JsonObject]
    ) -> None:
        self._store, self._replica, self._summary = store, replica, summary

    @property
    def is_one_of_several(self) -> bool:
        """Whether there may be others."""
        return here().count > 1 or self._store is not None

    async def found(self) -> JsonObject:
        """Return {seen, ready, store, replicas: [{name, is_seen, state, tools, failed, open, connections, version,
        marks}]}.

        `marks` are numbers of each that change with what its console shows. `seen` is the name of this one, `ready` the
        number of those that are ready, and `store` the state of the store. `failed` are manuals that have failed,
        `open` breakers that are open. What is not known is None.
        """
        own = words_of_this(self._summary())
        shared = self._store
        known = {"": own}
        if shared is not None:
            with suppress(StoreAway):
                known |= {name: one for name, one in (await shared.signs()).items() if name != shared.name}
        this = _shown(own, is_seen=True)
        if (replica := self._replica()) is not None:
            this["connections"] = replica.members()[replica.place.index][1]
        shown = [this if one is own else _shown(one, is_seen=False) for one in known.values()]
        shown += self._of_board(own, with_serving=shared is None)
        shown.sort(key=lambda one: one["name"])
        return {
            "seen": this["name"],
            "ready": sum(one["state"] == "ready" for one in shown),
            "store": None if shared is None else shared.state,
            "replicas": shown,
        }

    def _of_board(self, own: JsonObject, *, with_serving: bool) -> list[JsonObject]:
        """Return the processes of this address that the store does not know, or all others if there is none."""
        if (replica := self._replica()) is None:
            return []
        found: list[JsonObject] = []
        for index, (state, connections, summary) in enumerate(replica.members()):
            if index == replica.place.index or (state == State.SERVING and not with_serving):
                continue
            one = {**summary, "name": f"worker {index}", "version": own["version"]}
            found.append({**_shown(one, is_seen=False), "connections": connections})
            if state in _STATES:
                found[-1]["state"] = _STATES[state]
        return found


def _shown(words: JsonObject, *, is_seen: bool) -> JsonObject:
    state = "ending" if words.get("draining") else "ready" if words.get("ready") else "not ready"
    return {
        "name": name_of(words),
        "is_seen": is_seen,
        "state": state,
        "tools": _number(words.get("tools")),
        "failed": _number(_part(words.get("manuals"), "failed")),
        "open": _number(_part(words.get("breakers"), "open")),
        "connections": None,
        "version": str(words.get("version", ""))[:_MAX_NAME],
        "marks": words.get("marks"),
    }


def _part(value: Any, key: str) -> Any:
    return value.get(key) if is_object(value) else None


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) else None
