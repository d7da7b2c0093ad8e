"""The search of one client: the configured strategy, kept in step with the live tools.

Nothing is indexed on the way of a call or a start: many tools are indexed in a worker thread once the start is over,
few at the first search. A strategy with `index` and `prepare` (`SemanticStrategy`) gets its vectors here, in the
background, and is tried again with growing pauses while its model fails.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Generator, Iterable
from threading import Lock
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
from utcp_bridge.net.local_file import resolve_within
from utcp_bridge.placement.request import RequestParts
from utcp_bridge.search import SEMANTIC, ToolSearchStrategy, create_strategy
from utcp_bridge.settings import UtcpClientConfig
from utcp_bridge.transport import Services

if TYPE_CHECKING:
    from utcp_bridge.search.options import EndpointOptions
    from utcp_bridge.search.semantic import SemanticScorer

__all__ = ["FoundTools", "ToolSearch"]

_log = logging.getLogger(__name__)
_INDEX_FROM = 500
"""So many tools are indexed ahead of the first search; fewer take less time than anyone notices."""
_INDEX_AFTER = 2.0
"""Seconds: a host's first requests come before the index."""
_NAME = "tool_search"
"""What stands for a manual's name in the variables and errors of the embeddings endpoint."""


@runtime_checkable
class Prepared(Protocol):
    """What a strategy has beside `ToolSearchStrategy` if it waits for another program."""

    async def index(self) -> None:
        """Catch up with the tools. Raises UtcpError."""
        ...

    async def prepare(self, queries: Iterable[str]) -> str | None:
        """Get ready for these queries, within a time of its own; returns a note where that failed."""
        ...


class FoundTools(list[Tool]):
    """The best tools for a query. Awaiting them waits for a strategy that asks another program; else it is the same.

    The reference library's own pages use `search_tools` with and without `await`.
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
        strategy: ToolSearchStrategy | None,
    ) -> None:
        self._config = config
        self._services = services
        self._registration = registration
        self._strategy = strategy
        self._unindexed: list[Change] = []
        self._indexing = Lock()
        self._news = anyio.Event()

    def check(self) -> Fault | None:
        """Make the strategy that the configuration asks for; one that cannot be made is told and done without."""
        if self._strategy is not None or not self._config.tool_search_strategy:
            return None
        try:
            self._strategy = self._configured(self._config.tool_search_strategy)
        except UtcpError as error:
            self._strategy = create_strategy()
            return Fault("tool_search_strategy", f"{error.message} Tools are ranked by words.", error.remedy or "")
        return None

    def changed(self, change: Change) -> None:
        """Take note of tools that came or went."""
        self._unindexed.append(change)
        self._news.set()

    @property
    def strategy(self) -> ToolSearchStrategy:
        """The strategy, brought up to date with the live tools."""
        if self._strategy is None:
            self._strategy = create_strategy()
        with self._indexing:
            changes, self._unindexed = self._unindexed, []
            for change in changes:
                self._strategy.remove(change.removed)
                self._strategy.add(change.added)
        return self._strategy

    def find(self, query: str, limit: int, tags: Collection[str] | None) -> FoundTools:
        """The best tools alone, at once or awaited."""

        def ranked() -> list[Tool]:
            return [hit.tool for hit in self.strategy.search(query, limit=limit, tags=tags)]

        async def prepared() -> list[Tool]:
            await self.prepare([query])
            return ranked()

        return FoundTools(ranked(), prepared if isinstance(self._strategy, Prepared) else None)

    async def prepare(self, queries: Iterable[str], *, patient: bool = False) -> str | None:
        """Get ready for these queries; returns a note for the caller where vectors are missing.

        `patient` waits until the tools have theirs: for programs that search once and end.
        """
        strategy = self._strategy
        if not isinstance(strategy, Prepared):
            return None
        if patient:
            try:
                await self._catch_up(strategy)
            except UtcpError as error:
                return f"Ranked by words alone: {error}"
        return await strategy.prepare(queries)

    async def run(self) -> None:
        """Index ahead of searches, for as long as the client lives."""
        strategy = self._strategy
        if isinstance(strategy, Prepared):
            await self._keep_up(strategy)
            return
        await anyio.sleep(_INDEX_AFTER)
        if sum(len(change.added) for change in self._unindexed) >= _INDEX_FROM:
            await anyio.to_thread.run_sync(lambda: self.strategy)

    async def _keep_up(self, strategy: Prepared) -> None:
        backoff, failing = Backoff(), False
        while True:
            self._news = anyio.Event()
            try:
                await self._catch_up(strategy)
            except UtcpError as error:
                if not failing:
                    _log.warning("Tools are found by their words alone for now: %s", error)
                failing = True
                backoff.failed(anyio.current_time())
                await anyio.sleep(backoff.pause(anyio.current_time()))
                continue
            if failing:
                _log.info("Tools are found by their meaning again.")
            failing = False
            backoff.started(anyio.current_time())
            await self._news.wait()

    async def _catch_up(self, strategy: Prepared) -> None:
        await anyio.to_thread.run_sync(lambda: self.strategy)
        await strategy.index()

    def _configured(self, raw: JsonObject) -> ToolSearchStrategy:
        """Raises ConfigError, VariableNotFound."""
        options = {key: value for key, value in raw.items() if key != "tool_search_strategy_type"}
        kind = raw.get("tool_search_strategy_type")
        if kind != SEMANTIC:
            return create_strategy(str(kind), options) if kind else create_strategy()
        from utcp_bridge.search.options import read_semantic_options
        from utcp_bridge.search.semantic import LocalScorer, SemanticStrategy

        wished = read_semantic_options(options)
        if wished.words.get("tool_search_strategy_type") == SEMANTIC:
            raise ConfigError("`lexical` names the strategy 'semantic' itself.", remedy="Name bm25, or leave it out.")
        words = self._configured(wished.words)
        scorer: SemanticScorer
        if wished.endpoint is not None:
            scorer = self._endpoint(wished.endpoint)
        else:
            scorer = LocalScorer(resolve_within(str(wished.model_folder), self._services.root, confined=False))
        return SemanticStrategy(words, scorer, seconds=wished.query_timeout)

    def _endpoint(self, options: EndpointOptions) -> SemanticScorer:
        """The endpoint, reached through the gate with the operator's own rights and credentials."""
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
