"""Bridges behind one balancer that share a store (`stores/replicas.py`): their sessions and kept results.

An id of a session says all that a bridge needs for its client's requests, so any bridge takes the session up. Only
what waits or listens is in one process: an event stream, a request in flight, a question to the client. A bridge that
gets something for it tells the others, and the one that has it acts.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import partial
from hashlib import sha256
from typing import Any, Final, Protocol

import anyio
import orjson

from utcp_bridge.errors import InvalidArguments
from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.stores.port import StoreAway
from utcp_bridge.stores.replicas import SharedStore

__all__ = ["ResultHere", "ResultsAcross", "SessionHere", "SessionsAcross"]

_MAX_RESULT: Final = 16 * 1024 * 1024
_RESULT_SECONDS: Final = 2.0
"""For one kept result, which may have megabytes."""
_REMEMBERED_SECONDS: Final = 86_400.0
_HANDLE: Final = re.compile(r"[0-9a-f]{32}")


class SessionHere(Protocol):
    """A session of this process."""

    def deliver(self, what: str, message: JsonObject) -> None:
        """Take what another bridge got: a `push` for the event stream, an `answer`, a `cancel` or a `level`."""
        ...


class SessionsAcross:
    """The sessions of one server, as far as the other bridges have to know of them."""

    def __init__(
        self,
        store: SharedStore,
        part: str,
        find: Callable[[str], SessionHere | None],
        end: Callable[[str], Awaitable[None]],
    ) -> None:
        """`part` is the profile that is served, `find` returns a session of this process, and `end` ends it."""
        self.name: Final = store.name
        self._store, self._topic, self._find, self._end = store, f"session {part}", find, end
        store.on_news(self._topic, self._hear)

    def tell(self, what: str, ident: str | None, message: JsonObject) -> None:
        """Tell the others what `SessionHere.deliver` takes."""
        if ident is not None:
            self._store.tell(self._topic, {"what": what, "session": ident, "message": message})

    def has_ended(self, ident: str) -> None:
        """Tell the others, and those that start later, that a client ended its session."""
        self._note(ident, {"ended": True})
        self.tell("end", ident, {})

    def has_level(self, ident: str | None, level: str) -> None:
        """Tell the others, and those that take the session up later, the least severe messages that a client wants."""
        if ident is not None:
            self._note(ident, {"level": level})
            self.tell("level", ident, {"level": level})

    async def about(self, ident: str) -> JsonObject:
        """Return what the others noted of a session: `ended` or `level`; nothing while the store is away."""
        try:
            found = await self._store.get(self._key(ident))
            noted: Any = None if found is None else orjson.loads(found)
        except (StoreAway, orjson.JSONDecodeError):
            return {}
        return noted if is_object(noted) else {}

    def _note(self, ident: str, noted: JsonObject) -> None:
        self._store.start(partial(self._store.put, self._key(ident), orjson.dumps(noted), _REMEMBERED_SECONDS))

    def _key(self, ident: str) -> str:
        return f"{self._topic}:{_digest(ident)}"

    def _hear(self, news: JsonObject) -> None:
        ident, what = str(news["session"]), str(news["what"])
        if what == "end":
            self._store.start(partial(self._end, ident))
        elif (session := self._find(ident)) is not None and is_object(message := news["message"]):
            session.deliver(what, message)


class ResultHere(Protocol):
    """A kept result of this process."""

    @property
    def owner(self) -> str:
        """Whose it is."""
        ...

    @property
    def data(self) -> bytes:
        """What is kept of it."""
        ...

    def written(self) -> bytes:
        """Return it in one piece, for another process."""
        ...


class ResultsAcross:
    """Copies of kept results in the store, for the other bridges. They end with their lifetime."""

    def __init__(self, store: SharedStore, part: str, seconds: float) -> None:
        self._store, self._part, self._seconds = store, part, seconds
        self.waiting: set[anyio.Event] = set()
        """Copies that are being written."""

    def put(self, handle: str, kept: ResultHere) -> None:
        """Begin to write a copy. A result that is too large stays here."""
        if len(kept.data) > _MAX_RESULT or self._store.is_away:
            return
        written = anyio.Event()
        self.waiting.add(written)

        async def write() -> None:
            try:
                key = self._key(kept.owner, handle)
                await self._store.put(key, kept.written(), self._seconds, seconds=_RESULT_SECONDS)
            finally:
                self.waiting.discard(written)
                written.set()

        self._store.start(write)

    async def written(self, before: set[anyio.Event]) -> None:
        """Wait for copies that were begun since, so that a client that has a handle can use it anywhere."""
        for one in self.waiting - before:
            await one.wait()

    async def fetch(self, owner: str, handle: str) -> bytes | None:
        """Return what another bridge has written, and prolong it; None if there is nothing.

        :raises InvalidArguments: the store does not answer.
        """
        if not _HANDLE.fullmatch(handle):
            return None
        key, lifetime = self._key(owner, handle), int(self._seconds * 1000)
        try:
            found = await self._store.get(key, seconds=_RESULT_SECONDS)
            if found is not None:
                await self._store.run(lambda redis: redis.pexpire(self._store.prefix + key, lifetime))
        except StoreAway:
            raise InvalidArguments(
                "This handle belongs to another replica of the bridge, and the store that they share does not answer.",
                remedy="Send it again in a moment, or call the tool again.",
            ) from None
        return found

    def _key(self, owner: str, handle: str) -> str:
        return f"result {self._part}:{_digest(owner)}:{handle}"


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:32]
