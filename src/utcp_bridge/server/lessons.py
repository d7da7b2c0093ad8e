"""The bridge learns from use: a successful call of a tool that a search returned is a lesson for the next search.

Each client has its own lessons (`Caller`). With `search_memory: session` they end with the client's session or the
process. With `disk` they are kept in a store as well, for clients that can be recognised: the one of stdio, and those
with a token. Lessons are written some seconds after a call, on top of what other replicas wrote meanwhile.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import anyio
import orjson

from utcp_bridge.errors import ConfigError
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import JsonObject
from utcp_bridge.processes.systems import own_folder
from utcp_bridge.search.memory import Meaning, SearchMemory, examples_of, has_only_words, terms_to_learn
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.stores.opening import open_replica_store, open_store
from utcp_bridge.stores.port import Store

__all__ = ["Lessons", "examples_of_all", "forget_all", "open_search_store", "store_key"]

_logger = logging.getLogger(__name__)
_MAX_CLIENTS: Final = 200
"""Clients whose lessons are in memory at once. Those that searched last stay."""
_MAX_STORED: Final = 64
"""Clients with lessons in the store."""
_MAX_STORED_BYTES: Final = 900_000
_MAX_UNWRITTEN: Final = 500
"""Lessons of one client that wait for a store that fails."""
_MAX_SEARCHES: Final = 8
"""Searches of one client that a call may belong to."""
_SEARCH_SECONDS: Final = 900.0
_WRITE_AFTER: Final = 5.0
"""Seconds."""
_READ_AGAIN: Final = 60.0
"""Seconds after which lessons of other replicas are read."""
_READ_SECONDS: Final = 1.0
"""Seconds that a search waits for the store."""
_PREFIX: Final = "search memory, "


def open_search_store(settings: BridgeSettings, root: Path) -> Store:
    """Return the store of `search_memory: disk`: `search_store`, or the store of replicas unless that is set.

    :raises ConfigError: `search_store` does not name one.
    """
    if "search_store" not in settings.model_fields_set and (shared := open_replica_store(settings, "search")):
        return shared
    return open_store(settings.search_store, folder=own_folder() / "search", root=root, setting="search_store")


def store_key(owner: str) -> str:
    """Return the key of a client's lessons in the store."""
    return f"{_PREFIX}{owner}"


@dataclass(slots=True)
class _Search:
    """The words and the vector of a search, the tools that it returned and that were not called yet, and its time."""

    words: tuple[str, ...]
    meaning: Meaning | None
    tools: set[str]
    when: float


@dataclass(frozen=True, slots=True)
class _Lesson:
    """A tool, and the words and the vector of the search that led to it."""

    tool: str
    words: tuple[str, ...]
    meaning: Meaning | None

    def teach(self, memory: SearchMemory) -> None:
        memory.learn(self.tool, self.words, _today(), self.meaning)


def _waiting() -> deque[_Lesson]:
    return deque(maxlen=_MAX_UNWRITTEN)


class _Pupil:
    """The lessons of one client, its last searches, and when its lessons were read from the store."""

    __slots__ = ("memory", "read_at", "searches")

    def __init__(self) -> None:
        self.memory = SearchMemory()
        self.searches: list[_Search] = []
        self.read_at: float | None = None


class Lessons:
    """What each client's searches led to."""

    def __init__(self, settings: BridgeSettings, root: Path, mask: Callable[[str], str]) -> None:
        """`mask` hides known secrets in a text.

        :raises ConfigError: `search_store` does not name a store.
        """
        self.is_on = settings.search_memory != "off"
        self._store = open_search_store(settings, root) if settings.search_memory == "disk" else None
        self._mask = mask
        self._pupils: OrderedDict[str, _Pupil] = OrderedDict()
        self._unwritten: defaultdict[str, deque[_Lesson]] = defaultdict(_waiting)
        self._news = anyio.Event()
        self._is_failing = False
        self._is_newer = False

    async def memory_of(self, owner: str, lasting_owner: str) -> SearchMemory | None:
        """Return the lessons of a client, also those in the store; None if there are none."""
        if not self.is_on:
            return None
        key = self._key(owner, lasting_owner)
        pupil = self._pupil(key)
        if self._store is not None and lasting_owner and not self._unwritten.get(key):
            now = time.monotonic()
            if pupil.read_at is None or now - pupil.read_at > _READ_AGAIN:
                pupil.read_at = now
                with anyio.move_on_after(_READ_SECONDS), suppress(ConfigError):  # `_read` has logged it
                    pupil.memory = await self._read(self._store, key) or pupil.memory
        return pupil.memory if len(pupil.memory) else None

    def searched(
        self, owner: str, lasting_owner: str, query: str, tools: Iterable[str], meaning: Meaning | None = None
    ) -> None:
        """Note the tools, by UTCP names, that a client's search returned. `meaning` is the vector of the query."""
        masked = self._mask(query)
        if not self.is_on or not (words := terms_to_learn(masked)):
            return
        if masked != query or not has_only_words(query):
            meaning = None
        searches = self._pupil(self._key(owner, lasting_owner)).searches
        searches.append(_Search(words, meaning, set(tools), time.monotonic()))
        del searches[:-_MAX_SEARCHES]

    def called(self, owner: str, lasting_owner: str, tool: str) -> None:
        """Learn from a successful call of the tool of this UTCP name, if a search of the client returned it."""
        if not self._pupils:  # nobody has searched, or the memory is off
            return
        key = self._key(owner, lasting_owner)
        pupil = self._pupils.get(key)
        if pupil is None:
            return
        since = time.monotonic() - _SEARCH_SECONDS
        for search in reversed(pupil.searches):
            if tool in search.tools and search.when > since:
                search.tools.discard(tool)  # ten calls after one search are one lesson
                lesson = _Lesson(tool, search.words, search.meaning)
                lesson.teach(pupil.memory)
                if self._store is not None and lasting_owner:
                    self._unwritten[key].append(lesson)
                    self._news.set()
                return

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Write lessons while the server runs, and the last ones at its end."""
        if self._store is None:
            yield
            return
        async with anyio.create_task_group() as group:
            group.start_soon(self._keep_written)
            try:
                yield
            finally:
                group.cancel_scope.cancel()
                with anyio.CancelScope(shield=True), anyio.move_on_after(_WRITE_AFTER):
                    await self.write()
                    await self._store.aclose()

    async def write(self) -> None:
        """Write the lessons that are not in the store yet. A failure is logged, and they are written later."""
        if self._store is None:
            return
        for key in list(self._unwritten):
            given = self._unwritten.pop(key)
            try:
                async with self._store.lock(key):
                    await self._write(self._store, key, given)
            except ConfigError as error:
                if not (self._is_failing or self._is_newer):
                    _logger.warning("What the search learned cannot be written: %s", error)
                self._is_failing = True
                self._unwritten[key] = deque([*given, *self._unwritten[key]], maxlen=_MAX_UNWRITTEN)
                self._news.set()
            else:
                self._is_failing = False

    async def _keep_written(self) -> None:
        while True:
            await self._news.wait()
            await anyio.sleep(_WRITE_AFTER)
            self._news = anyio.Event()
            await self.write()

    async def _write(self, store: Store, key: str, given: Iterable[_Lesson]) -> None:
        memory = await self._read(store, key)
        if memory is None:
            memory = SearchMemory()
            await _make_room(store)
        for lesson in given:
            lesson.teach(memory)
        while len(orjson.dumps(value := memory.as_json(), option=orjson.OPT_INDENT_2)) > _MAX_STORED_BYTES:
            memory.shorten(len(memory) * 3 // 4)
        await store.put(key, value)
        if (pupil := self._pupils.get(key)) is not None and not self._unwritten.get(key):
            pupil.memory, pupil.read_at = memory, time.monotonic()

    async def _read(self, store: Store, key: str) -> SearchMemory | None:
        """Return the lessons of a client in the store; None if there are none or if they are damaged.

        :raises ConfigError: they are those of a later version, and are kept for it.
        """
        try:
            value = await store.get(key)
        except ConfigError as error:
            _logger.warning("What the search learned cannot be read, so it starts anew: %s", error.message)
            return None
        try:
            return None if value is None else _lessons_of(value)
        except ConfigError as error:
            if not self._is_newer:
                _logger.warning("%s", error)
            self._is_newer = True
            raise

    def _key(self, owner: str, lasting_owner: str) -> str:
        return store_key(lasting_owner) if self._store is not None and lasting_owner else owner

    def _pupil(self, key: str) -> _Pupil:
        pupil = self._pupils.get(key)
        if pupil is None:
            pupil = self._pupils[key] = _Pupil()
            if len(self._pupils) > _MAX_CLIENTS:
                self._pupils.popitem(last=False)
        self._pupils.move_to_end(key)
        return pupil


def _lessons_of(value: JsonObject) -> SearchMemory:
    """Return the lessons of a store.

    :raises ConfigError: they are those of a later version.
    """
    if SearchMemory.is_newer(value):
        raise ConfigError(
            "What the search learned was written by a later version of utcp-bridge, so it is neither used nor changed.",
            remedy="Update utcp-bridge, or set another `search_store`.",
        )
    return SearchMemory.from_json(value, _today())


async def _make_room(store: Store) -> None:
    """Forget the client whose lessons are the oldest, if a new one would be too many."""
    ages: list[tuple[float, str]] = []
    with suppress(ConfigError):  # a damaged file is in the way of nothing but room
        for key in [key for key in await store.keys() if key.startswith(_PREFIX)]:
            value = await store.get(key)
            if value is None or SearchMemory.is_newer(value):
                continue
            memory = SearchMemory.from_json(value, _today())
            ages.append((memory.last_day, key))
        for _, key in sorted(ages)[: max(0, len(ages) - _MAX_STORED + 1)]:
            await store.delete(key)


async def examples_of_all(store: Store) -> dict[str, list[str]]:
    """Return the words that led to each tool, of all clients, as texts for `asked_as`, by UTCP names.

    :raises ConfigError: the store cannot be read.
    """
    keys = [key for key in await store.keys() if key.startswith(_PREFIX)]
    return examples_of([_lessons_of(value) for key in keys if (value := await store.get(key)) is not None])


async def forget_all(store: Store) -> int:
    """Forget the lessons of all clients, and return the number of clients.

    :raises ConfigError: the store cannot be read or written.
    """
    keys = [key for key in await store.keys() if key.startswith(_PREFIX)]
    for key in keys:
        await store.delete(key)
    return len(keys)


def _today() -> float:
    return time.time() / 86_400
