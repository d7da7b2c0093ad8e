"""Requests for what is in one of several bridges: a call that waits for its host, or a task of an MCP server.

The bridge that the client reaches sends the request over the news of the store to the bridge that has it, and the
outcome comes back the same way. The bridge that works on it gives a sign of life now and then, so the other one notices
its end.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from math import inf
from secrets import token_hex
from typing import Any, Final

import anyio
import mcp_types as types
import orjson
from anyio.streams.memory import MemoryObjectSendStream
from mcp.shared.exceptions import MCPError

from utcp_bridge.model import Emit, JsonObject, discard, is_object
from utcp_bridge.stores.port import StoreAway
from utcp_bridge.stores.replicas import SharedStore
from utcp_bridge.tasks import OwnTasks
from utcp_bridge.upstream import InputRequired, ProtocolError

__all__ = ["Answer", "ReplicaGone", "RequestsAcross", "outcome_of", "result_of"]

Answer = Callable[[JsonObject, Emit], Awaitable[JsonObject]]
_BEAT_SECONDS: Final = 2.0
_SILENCE_SECONDS: Final = 10.0
_MAX_INLINE: Final = 512 * 1024
"""Bytes of a value in a message. A larger one is kept in the store until it is read."""
_LARGE_SECONDS: Final = 2.0
"""For writing or reading a large value."""
_KEPT_SECONDS: Final = 60.0
_INTERNAL: Final = (
    "Internal error in utcp-bridge. The log of the replica that has the call or the task shows its cause."
)
_logger = logging.getLogger(__name__)


class ReplicaGone(Exception):
    """The bridge that has something has ended, or the store does not answer."""


class RequestsAcross:
    """The requests between the bridges of one store, for one part of them."""

    def __init__(self, store: SharedStore, part: str) -> None:
        """`part` is the profile that is served."""
        self.name: Final = store.name
        self._store, self._topic = store, f"request {part}"
        self._answers: dict[str, Answer] = {}
        self._waiting: dict[str, MemoryObjectSendStream[JsonObject]] = {}
        self._tasks = OwnTasks()
        self._running: dict[str, Callable[[], object]] = {}
        """What cancels the work for other bridges."""
        store.on_news(self._topic, self._hear)

    def answer(self, kind: str, answer: Answer) -> None:
        """Answer the requests of a kind with what `answer` returns: an outcome (`outcome_of`)."""
        self._answers[kind] = answer

    async def ask(self, bridge: str, kind: str, asked: Mapping[str, Any], emit: Emit) -> JsonObject:
        """Return the outcome of a request in another bridge. Partial results go through `emit`.

        If the caller is cancelled, so is the work there.

        :raises ReplicaGone: the bridge has ended, or gives no sign of life.
        """
        if not await self._runs(bridge):
            raise ReplicaGone
        ident = token_hex(8)
        self._waiting[ident], messages = anyio.create_memory_object_stream[JsonObject](inf)
        try:
            self._tell(bridge, ident, "ask", {"kind": kind, **await self._packed(ident, "asked", asked)})
            while True:
                message: JsonObject | None = None
                with anyio.move_on_after(_SILENCE_SECONDS):
                    message = await messages.receive()
                if message is None:
                    raise ReplicaGone
                if message["what"] == "partial":
                    await emit(message["value"])
                elif message["what"] == "done":
                    return await self._unpacked(ident, "outcome", message)
        except anyio.get_cancelled_exc_class():
            self._tell(bridge, ident, "cancel", {})
            raise
        finally:
            self._waiting.pop(ident).close()
            messages.close()

    @property
    def is_away(self) -> bool:
        """Whether the store does not answer."""
        return self._store.is_away

    async def others(self) -> dict[str, JsonObject]:
        """Return what the other servers of the store said of themselves (`words_of_this`), by their names.

        :raises StoreAway: the store does not answer.
        """
        signs = await self._store.signs()
        return {name: words for name, words in signs.items() if name != self.name and "name" in words}

    async def ask_all(
        self, kind: str, asked: Mapping[str, Any], seconds: float
    ) -> tuple[dict[str, JsonObject], dict[str, JsonObject]]:
        """Return the outcomes of a request in all other bridges, and the words of those that gave none in time, by
        their names. While the store is away, there are none.
        """
        try:
            silent = await self.others()
        except StoreAway:
            return {}, {}
        found: dict[str, JsonObject] = {}

        async def ask(bridge: str) -> None:
            with suppress(ReplicaGone), anyio.move_on_after(seconds):
                outcome = await self.ask(bridge, kind, asked, discard)
                if "refused" not in outcome:
                    found[bridge] = outcome

        async with anyio.create_task_group() as group:
            for bridge in silent:
                group.start_soon(ask, bridge)
        return found, {name: words for name, words in silent.items() if name not in found}

    async def close(self) -> None:
        """Cancel what is done for other bridges, and wait for its end."""
        while self._running:
            self._running.popitem()[1]()
        await self._tasks.ended()

    async def _runs(self, bridge: str) -> bool:
        try:
            return await self._store.is_alive(bridge)
        except StoreAway:
            raise ReplicaGone from None

    def _tell(self, bridge: str, ident: str, what: str, more: JsonObject) -> None:
        self._store.tell(self._topic, {"to": bridge, "id": ident, "what": what, **more})

    def _hear(self, news: JsonObject) -> None:
        if news["to"] != self.name:
            return
        ident, what = str(news["id"]), news["what"]
        if what == "ask":
            if (answer := self._answers.get(str(news["kind"]))) is not None:
                self._running[ident] = self._tasks.start(self._work(str(news["from"]), ident, answer, news))
        elif what == "cancel":
            if (cancel := self._running.pop(ident, None)) is not None:
                cancel()
        elif (waiting := self._waiting.get(ident)) is not None:
            waiting.send_nowait(news)

    async def _work(self, back: str, ident: str, answer: Answer, news: JsonObject) -> None:
        async def emit(value: Any) -> None:
            self._tell(back, ident, "partial", {"value": value})

        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._beat, back, ident)
                try:
                    outcome = await answer(await self._unpacked(ident, "asked", news), emit)
                except Exception as error:  # noqa: BLE001 - the log of this bridge has the cause
                    outcome = _failed(error)
                with suppress(ReplicaGone):  # the other side notices the silence
                    self._tell(back, ident, "done", await self._packed(ident, "outcome", outcome))
                group.cancel_scope.cancel()
        finally:
            self._running.pop(ident, None)

    async def _beat(self, back: str, ident: str) -> None:
        while True:
            self._tell(back, ident, "beat", {})
            await anyio.sleep(_BEAT_SECONDS)

    async def _packed(self, ident: str, name: str, value: Mapping[str, Any]) -> JsonObject:
        """Return what a message has of a value: the value itself, or nothing if it is kept in the store."""
        data = orjson.dumps(value)
        if len(data) <= _MAX_INLINE:
            return {name: value}
        try:
            await self._store.put(self._key(ident, name), data, _KEPT_SECONDS, seconds=_LARGE_SECONDS)
        except StoreAway:
            raise ReplicaGone from None
        return {}

    async def _unpacked(self, ident: str, name: str, message: JsonObject) -> JsonObject:
        value: Any = message.get(name)
        if value is None:
            take = partial(_taken, f"{self._store.prefix}{self._key(ident, name)}")
            with suppress(StoreAway):
                data = await self._store.run(take, seconds=_LARGE_SECONDS)
                value = None if data is None else orjson.loads(data)
        if not is_object(value):
            raise ReplicaGone
        return value

    def _key(self, ident: str, name: str) -> str:
        return f"{self._topic}:{ident}:{name}"


async def _taken(key: str, redis: Any) -> bytes | None:
    data: bytes | None = await redis.get(key)
    await redis.delete(key)
    return data


async def outcome_of(work: Awaitable[JsonObject]) -> JsonObject:
    """Return a result, an error of the protocol or a need for input in a form for another bridge (`result_of`).

    :raises Exception: what else `work` raised.
    """
    try:
        return {"result": await work}
    except InputRequired as required:
        return {"required": [required.requests, required.state, required.origin]}
    except ProtocolError as error:
        return {"refused": [error.code, str(error), error.data], "is_upstream": True}
    except MCPError as error:
        return _refused(error)


def _failed(error: Exception) -> JsonObject:
    _logger.error("A request of another replica failed with an internal error (%s).", type(error).__name__)
    _logger.debug("Its cause:", exc_info=error)
    return _refused(MCPError(types.INTERNAL_ERROR, _INTERNAL))


def _refused(error: MCPError) -> JsonObject:
    return {"refused": [error.code, error.message, error.data]}


def result_of(outcome: JsonObject) -> JsonObject:
    """Return the result of an outcome.

    :raises InputRequired: an upstream needs input of the host first.
    :raises ProtocolError: an upstream refused the request.
    :raises MCPError: the other bridge refused it.
    """
    if required := outcome.get("required"):
        raise InputRequired(*required)
    if refused := outcome.get("refused"):
        raise ProtocolError(*refused) if outcome.get("is_upstream") else MCPError(*refused)
    result: JsonObject = outcome["result"]
    return result
