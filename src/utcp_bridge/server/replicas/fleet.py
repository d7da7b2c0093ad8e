"""Questions of one bridge's console to all others: over the store that they share, or between workers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import anyio
import orjson

from utcp_bridge.model import Emit, JsonObject, is_object
from utcp_bridge.server.replicas.overview import name_of, words_of_this

if TYPE_CHECKING:
    from utcp_bridge.server.replicas.replica import Replica
    from utcp_bridge.server.replicas.requests import RequestsAcross

__all__ = ["Answered", "Fleet"]

_KIND: Final = "console"
Work = Callable[[JsonObject], Awaitable[JsonObject]]
Answered = tuple[dict[str, JsonObject], list[str]]
"""The answers by the names of the bridges, and the names of those that gave none in time."""


class Fleet:
    """The other bridges, for one server. `replica` is its place among workers, once it has joined them."""

    def __init__(self, across: RequestsAcross | None, replica: Callable[[], Replica | None]) -> None:
        self._across, self._replica = across, replica
        self._work: Work | None = None
        self.marks: Callable[[], JsonObject] = dict
        """Returns what the others may know of this bridge for their consoles."""
        if across is not None:
            across.answer(_KIND, self._answer)

    @property
    def name(self) -> str:
        """The name of this bridge, as people read it."""
        return name_of(words_of_this({}))

    def serve(self, work: Work) -> None:
        """Answer the questions of the others with what `work` returns."""
        self._work = work

    async def ask(self, asked: JsonObject, seconds: float) -> Answered:
        """Return what all others answer within some seconds. Workers are asked directly while the store is away."""
        if self._across is not None and not self._across.is_away:
            outcomes, quiet = await self._across.ask_all(_KIND, asked, seconds)
            answers = [_answer_of(one) for one in outcomes.values()]
            return dict(one for one in answers if one), sorted(name_of(words) for words in quiet.values())
        replica = self._replica()
        return ({}, []) if replica is None else await self._ask_workers(replica, asked, seconds)

    async def _ask_workers(self, replica: Replica, asked: JsonObject, seconds: float) -> Answered:
        found: dict[str, JsonObject] = {}
        silent: list[str] = []

        async def ask(place: int) -> None:
            data = await replica.ask(place, orjson.dumps(asked), seconds)
            if data and (answer := _answer_of(orjson.loads(data))):
                found[answer[0]] = answer[1]
            else:
                silent.append(f"worker {place}")

        async with anyio.create_task_group() as group:
            for place in replica.others():
                group.start_soon(ask, place)
        return found, sorted(silent)

    async def work_for_worker(self, data: bytes) -> bytes:
        """Return the answer to a question of another worker."""
        return orjson.dumps(await self._answer(orjson.loads(data), _ignore), default=str)

    async def _answer(self, asked: JsonObject, _emit: Emit) -> JsonObject:
        return {} if self._work is None else {"name": self.name, "answer": await self._work(asked)}


def _answer_of(outcome: Any) -> tuple[str, JsonObject] | None:
    name, answer = (outcome.get("name"), outcome.get("answer")) if is_object(outcome) else (None, None)
    return (name, answer) if isinstance(name, str) and is_object(answer) else None


async def _ignore(_value: Any) -> None:
    pass
