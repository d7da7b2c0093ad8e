"""The search of one client: the configured strategy, with the live tools in its index.

Neither a call nor the start waits for the index. Many tools are indexed after the start, few at the first search, in
slices between which other calls run. A program may keep the index of many tools on disk (`search/kept.py`).

A search waits until each tool is in the index, in whatever version, and not for long: refreshes may change tools faster
than they can be indexed. It returns live tools only.

A strategy with `index` and `prepare` (`SemanticStrategy`) gets its vectors in the background. While its model fails,
the client tries again with growing pauses.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Generator, Iterable
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import anyio
import anyio.to_thread
import orjson

from utcp_bridge.dialects.auth_forms import rewrite_auth
from utcp_bridge.dialects.readings import Notes
from utcp_bridge.errors import ConfigError, UtcpError
from utcp_bridge.manuals.registration import Registration, as_manual_entry
from utcp_bridge.manuals.repository import Change
from utcp_bridge.model import Fault, JsonObject, Tool
from utcp_bridge.net.backoff import Backoff
from utcp_bridge.net.files.local_file import resolve_within
from utcp_bridge.placement.request import RequestParts
from utcp_bridge.processes.systems import own_folder
from utcp_bridge.search import SEMANTIC, Hit, ToolSearchStrategy, create_strategy
from utcp_bridge.search.strategy import Accept
from utcp_bridge.settings import UtcpClientConfig
from utcp_bridge.tasks import at_once, in_slices
from utcp_bridge.transport import Services

if TYPE_CHECKING:
    from pathlib import Path

    from utcp_bridge.search.kept import KeptIndex
    from utcp_bridge.search.memory import Meaning
    from utcp_bridge.search.semantic import EndpointOptions, SemanticScorer

__all__ = ["FoundTools", "ToolSearch"]

_logger = logging.getLogger(__name__)
_INDEX_FROM = 500
"""Tools from which the client builds the index before the first search. Indexing fewer takes no noticeable time."""
_INDEX_AFTER = 2.0
"""Seconds. A host's first requests come before the index."""
_FIRST_PATIENCE, _PATIENCE = 5.0, 0.25
"""Seconds that a search waits for tools that are not in the index: the first time, and after it was whole once."""
_NAME = "tool_search"
"""The manual's name in the variables and errors of the embeddings endpoint."""


@runtime_checkable
class Prepared(Protocol):
    """More methods, beside those of `ToolSearchStrategy`, of a strategy that needs another program."""

    async def index(self) -> None:
        """Make the vectors of new tools.

        :raises UtcpError: the other program failed.
        """
        ...

    async def prepare(self, queries: Iterable[str]) -> str | None:
        """Get ready for these queries, within the strategy's own time limit. Return a note if that failed."""
        ...


@runtime_checkable
class Meaningful(Protocol):
    """One more method of a strategy whose queries have vectors."""

    def meaning_of(self, query: str) -> Meaning | None:
        """Return the vector of a query that was prepared."""
        ...


class SearchParts(Protocol):
    """What `Extensions` has for the search."""

    @property
    def search_strategy(self) -> ToolSearchStrategy | None: ...
    @property
    def index_folder(self) -> Path | None: ...


class _Backlog:
    """The changes that are not in the index yet. Only the last change of a tool counts.

    Tools that the index does not contain in any version come first, and those that are gone come last.
    """

    def __init__(self) -> None:
        self._new: OrderedDict[str, Tool] = OrderedDict()
        self._changed: OrderedDict[str, Tool] = OrderedDict()
        self._gone: OrderedDict[str, Tool] = OrderedDict()

    def __len__(self) -> int:
        return len(self._new) + len(self._changed) + len(self._gone)

    @property
    def number_of_missing(self) -> int:
        """The number of tools that are not in the index in any version."""
        return len(self._new)

    def only_new(self) -> list[Tool]:
        """Return the tools to add if there is nothing else to do."""
        return [] if self._changed or self._gone else list(self._new.values())

    def clear(self) -> None:
        """Note that the index is up to date."""
        for changes in (self._new, self._changed, self._gone):
            changes.clear()

    def note(self, change: Change) -> None:
        """Note a change. A tool that changes again keeps its place, so that each has its turn."""
        added = {tool.qualified_name: tool for tool in change.added}
        for tool in change.removed:
            name = tool.qualified_name
            if (newer := added.pop(name, None)) is not None:
                (self._new if name in self._new else self._changed)[name] = newer
            elif self._new.pop(name, None) is None:
                self._changed.pop(name, None)
                self._gone[name] = tool
        for name, tool in added.items():
            is_indexed = self._gone.pop(name, None) is not None
            (self._changed if is_indexed else self._new)[name] = tool

    def pop(self) -> tuple[bool, Tool]:
        """Return the next change: whether a tool is added, and the tool."""
        waiting = self._new or self._changed or self._gone
        return waiting is not self._gone, waiting.popitem(last=False)[1]


class FoundTools(list[Tool]):
    """The best tools for a query: a list that may also be awaited. Awaiting it waits for a strategy that needs another
    program.

    The pages of the reference library use `search_tools` with and without `await`.
    """

    def __init__(self, tools: Iterable[Tool], better: Callable[[], Awaitable[list[Tool]]] | None = None) -> None:
        super().__init__(tools)
        self._better = better

    def __await__(self) -> Generator[Any, Any, list[Tool]]:
        better = self._better
        return (_same(self) if better is None else better()).__await__()


class ToolSearch:
    """Owns the strategy. All methods belong to the client's event loop."""

    def __init__(
        self,
        config: UtcpClientConfig,
        services: Services,
        registration: Registration,
        parts: SearchParts,
        find: Callable[[str], Tool | None],
    ) -> None:
        """`find` returns the live tool of a UTCP name."""
        self._config = config
        self._services = services
        self._registration = registration
        self._strategy = parts.search_strategy
        self._find = find
        self._backlog = _Backlog()
        self._was_whole = False
        self._index_folder = parts.index_folder
        self._kept: KeptIndex | None = None
        self._keeping = anyio.Lock()
        self._news = anyio.Event()

    def check(self) -> Fault | None:
        """Make the strategy of the configuration. If that fails, use the default strategy and return the fault."""
        if self._strategy is not None or not self._config.tool_search_strategy:
            return None
        try:
            self._strategy = self._configured(self._config.tool_search_strategy)
        except UtcpError as error:
            self._strategy = create_strategy()
            return Fault("tool_search_strategy", f"{error.message} Tools are ranked by words.", error.remedy or "")
        return None

    def changed(self, change: Change) -> None:
        """Note that tools were added or removed."""
        self._backlog.note(change)
        self._news.set()

    @property
    def strategy(self) -> ToolSearchStrategy:
        """The strategy, with all live tools in its index."""
        at_once(self._updates())
        return self._made()

    def search(
        self,
        query: str,
        *,
        limit: int = 10,
        tags: Collection[str] | None = None,
        providers: Collection[str] | None = None,
        accept: Accept | None = None,
    ) -> list[Hit]:
        """Return the best tools of those that are in the index, as `prepare` left it. See `Searchable.search`."""
        find, search = self._find, partial(self._made().search, query, tags=tags, providers=providers)
        if not self._backlog:
            return search(limit=limit, accept=accept)

        def is_live(indexed: Tool) -> bool:
            tool = find(indexed.qualified_name)
            return tool is not None and (accept is None or accept(tool))

        hits = search(limit=limit, accept=accept)
        if not all(is_live(hit.tool) for hit in hits):
            hits = search(limit=limit, accept=is_live)
        return [Hit(tool, hit.score) for hit in hits if (tool := find(hit.tool.qualified_name)) is not None]

    def meaning_of(self, query: str) -> Meaning | None:
        """Return the vector of a query that was prepared, None if the strategy has none."""
        strategy = self._strategy
        return strategy.meaning_of(query) if isinstance(strategy, Meaningful) else None

    def find(self, query: str, limit: int, tags: Collection[str] | None) -> FoundTools:
        """Return the best tools, as a list that may be awaited."""

        def ranked() -> list[Tool]:
            return [hit.tool for hit in self.strategy.search(query, limit=limit, tags=tags)]

        async def prepared() -> list[Tool]:
            await in_slices(self._updates(whole=False))
            await self.prepare([query])
            return [hit.tool for hit in self.search(query, limit=limit, tags=tags)]

        return FoundTools(ranked(), prepared if isinstance(self._strategy, Prepared) else None)

    async def prepare(self, queries: Iterable[str], *, patient: bool = False) -> str | None:
        """Get ready for these queries. Return a note for the caller if tools or their vectors are missing.

        `patient` waits until all are there: for programs that search once and end.
        """
        seconds = inf if patient else _PATIENCE if self._was_whole else _FIRST_PATIENCE
        with anyio.move_on_after(seconds):
            await in_slices(self._updates(whole=False))
        if patient:
            await self._keep()
        missing = self._backlog.number_of_missing
        notes = (
            [f"The index of the search lacks {missing:,} new tools. Search again in some seconds."] if missing else []
        )
        if note := await self._prepared(queries, patient=patient):
            notes.append(note)
        return " ".join(notes) or None

    async def _prepared(self, queries: Iterable[str], *, patient: bool) -> str | None:
        strategy = self._made()
        if not isinstance(strategy, Prepared):
            return None
        if patient:
            try:
                await self._catch_up(strategy)
            except UtcpError as error:
                return f"Ranked by words alone: {error}"
        return await strategy.prepare(queries)

    async def run(self) -> None:
        """Build the index before it is needed, as long as the client is open."""
        strategy = self._strategy
        if isinstance(strategy, Prepared):
            await self._keep_up(strategy)
            return
        while True:
            self._news = anyio.Event()
            await anyio.sleep(_INDEX_AFTER)
            if len(self._backlog) >= _INDEX_FROM:
                await in_slices(self._updates())
            await self._keep()
            await self._news.wait()

    def _made(self) -> ToolSearchStrategy:
        if self._strategy is None:
            self._strategy = create_strategy()
        return self._strategy

    def _updates(self, *, whole: bool = True) -> Generator[None, None, None]:
        """Bring the index up to date, or at least to contain each tool, in steps of one tool. Two may run at once.

        A few changes are not worth a difference.
        """
        strategy, backlog = self._made(), self._backlog
        if self._index_folder is not None and backlog.number_of_missing >= _INDEX_FROM:
            yield from self._restore(self._index_folder)
        while backlog.number_of_missing or (backlog and (whole or len(backlog) < _INDEX_FROM)):
            is_added, tool = backlog.pop()
            (strategy.add if is_added else strategy.remove)([tool])
            yield
        self._was_whole = True

    def _restore(self, folder: Path) -> Generator[None, None, None]:
        """Read the index from the disk if it was kept for these tools, in steps."""
        from utcp_bridge.search.kept import KeptIndex  # most clients have fewer tools
        from utcp_bridge.search.lexical import Bm25Strategy

        strategy, tools = self._made(), self._backlog.only_new()
        if not isinstance(strategy, Bm25Strategy) or not strategy.is_empty or not tools:
            return
        self._kept = self._kept or KeptIndex(folder)
        if (yield from self._kept.fill(strategy, tools, lambda: self._backlog.only_new() == tools)):
            self._backlog.clear()

    async def _keep(self) -> None:
        """Write the index to the disk if it is whole and not there yet.

        A program that searches once waits for the writing that has begun by itself: it ends afterwards.
        """
        if self._kept is None or self._backlog:
            return
        from utcp_bridge.search.lexical import Bm25Strategy  # most clients have fewer tools

        strategy = self._strategy
        if not isinstance(strategy, Bm25Strategy):
            return
        async with self._keeping:
            if (packed := await in_slices(self._kept.pack(strategy))) is not None:
                await anyio.to_thread.run_sync(self._kept.write, *packed)

    async def _keep_up(self, strategy: Prepared) -> None:
        backoff, failing = Backoff(), False
        while True:
            self._news = anyio.Event()
            try:
                await self._catch_up(strategy)
            except UtcpError as error:
                if not failing:
                    _logger.warning("Tools are ranked by words alone for now: %s", error)
                failing = True
                backoff.failed(anyio.current_time())
                await anyio.sleep(backoff.pause(anyio.current_time()))
                continue
            if failing:
                _logger.info("Tools are ranked by meaning again.")
            failing = False
            backoff.succeeded()
            await self._news.wait()

    async def _catch_up(self, strategy: Prepared) -> None:
        await in_slices(self._updates())
        await strategy.index()

    def _configured(self, raw: JsonObject) -> ToolSearchStrategy:
        """Return a strategy from its configuration.

        :raises ConfigError: the configuration is not valid.
        :raises VariableNotFound: a variable is not set.
        """
        options = {key: value for key, value in raw.items() if key != "tool_search_strategy_type"}
        kind = raw.get("tool_search_strategy_type")
        if kind != SEMANTIC:
            return create_strategy(str(kind), options) if kind else create_strategy()
        from utcp_bridge.search.encoders import LocalScorer
        from utcp_bridge.search.semantic import SemanticStrategy, read_semantic_options

        semantic = read_semantic_options(options)
        if semantic.words.get("tool_search_strategy_type") == SEMANTIC:
            raise ConfigError(
                "`lexical` must not be the strategy 'semantic' itself.", remedy="Use bm25, or omit `lexical`."
            )
        words = self._configured(semantic.words)
        scorer: SemanticScorer
        if semantic.endpoint is not None:
            scorer = self._endpoint(semantic.endpoint)
        else:
            scorer = LocalScorer(resolve_within(str(semantic.model_folder), self._services.root, confined=False))
        cache = own_folder() / "vectors" if semantic.cache else None
        return SemanticStrategy(words, scorer, seconds=semantic.query_timeout, cache=cache)

    def _endpoint(self, options: EndpointOptions) -> SemanticScorer:
        """Return a scorer that calls the endpoint through the gate, with the operator's rights and credentials."""
        from utcp_bridge.search.semantic import EndpointScorer

        try:
            auth = rewrite_auth(options.credentials, Notes())
        except ValueError as error:
            raise ConfigError(f"The embeddings endpoint: {error}", remedy="Correct its `auth`.") from None
        entry = {"name": _NAME, "call_template_type": "http", "url": options.url, "auth": auth}
        named = as_manual_entry({key: value for key, value in entry.items() if value is not None})
        source, target = self._registration.reach(named)
        headers = [("Content-Type", "application/json"), ("Accept", "application/json")]

        async def post(url: str, body: JsonObject) -> Any:
            parts = RequestParts("POST", url, headers, orjson.dumps(body))
            reply = await self._services.http.session(source).request(parts, credentials=target.credentials)
            reply.raise_for_status()
            return reply.value("application/json")

        return EndpointScorer(target.template.url, options.model, post, dimensions=options.dimensions)


async def _same(tools: list[Tool]) -> list[Tool]:
    return tools
