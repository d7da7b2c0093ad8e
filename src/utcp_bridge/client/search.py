"""The search of one client: the configured strategy, with the live tools in its index.

Neither a call nor the start waits for the index. Many tools are indexed after the start, few at the first search, in
slices between which other calls run. A strategy with `index` and `prepare` (`SemanticStrategy`) gets its vectors in the
background. While its model fails, the client tries again with growing pauses.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import anyio
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
from utcp_bridge.search import SEMANTIC, ToolSearchStrategy, create_strategy
from utcp_bridge.settings import UtcpClientConfig
from utcp_bridge.tasks import in_slices
from utcp_bridge.transport import Services

if TYPE_CHECKING:
    from utcp_bridge.search.semantic import EndpointOptions, SemanticScorer

__all__ = ["FoundTools", "ToolSearch"]

_logger = logging.getLogger(__name__)
_INDEX_FROM = 500
"""Tools from which the client builds the index before the first search. Indexing fewer takes no noticeable time."""
_BATCH = 8
"""Tools to index before other calls may run. Indexing these takes less than a millisecond."""
_INDEX_AFTER = 2.0
"""Seconds. A host's first requests come before the index."""
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


def _batches(tools: Sequence[Tool]) -> Iterator[Sequence[Tool]]:
    return (tools[start : start + _BATCH] for start in range(0, len(tools), _BATCH))


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
        strategy: ToolSearchStrategy | None,
    ) -> None:
        self._config = config
        self._services = services
        self._registration = registration
        self._strategy = strategy
        self._unindexed: deque[tuple[bool, list[Tool]]] = deque()
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
        for added, tools in ((False, change.removed), (True, change.added)):
            self._unindexed.extend((added, [*batch]) for batch in _batches(tools))
        self._news.set()

    @property
    def strategy(self) -> ToolSearchStrategy:
        """The strategy, with all live tools in its index. `prepare` before it leaves little to do here."""
        for _ in self._updates():
            pass
        return self._made()

    def find(self, query: str, limit: int, tags: Collection[str] | None) -> FoundTools:
        """Return the best tools, as a list that may be awaited."""

        def ranked() -> list[Tool]:
            return [hit.tool for hit in self.strategy.search(query, limit=limit, tags=tags)]

        async def prepared() -> list[Tool]:
            await self.prepare([query])
            return ranked()

        return FoundTools(ranked(), prepared if isinstance(self._strategy, Prepared) else None)

    async def prepare(self, queries: Iterable[str], *, patient: bool = False) -> str | None:
        """Get ready for these queries. Return a note for the caller if vectors are missing.

        `patient` waits until the tools have vectors: for programs that search once and end.
        """
        await in_slices(self._updates())
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
        """Build the index before it is needed, as long as the client is open."""
        strategy = self._strategy
        if isinstance(strategy, Prepared):
            await self._keep_up(strategy)
            return
        while True:
            self._news = anyio.Event()
            await anyio.sleep(_INDEX_AFTER)
            if len(self._unindexed) * _BATCH >= _INDEX_FROM:
                await in_slices(self._updates())
            await self._news.wait()

    def _made(self) -> ToolSearchStrategy:
        if self._strategy is None:
            self._strategy = create_strategy()
        return self._strategy

    def _updates(self) -> Generator[None, None, None]:
        """Add and remove the tools that have changed, in their order, with pauses. Two may run at once."""
        strategy = self._made()
        while self._unindexed:
            added, tools = self._unindexed.popleft()
            (strategy.add if added else strategy.remove)(tools)
            yield

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
        from utcp_bridge.search.semantic import LocalScorer, SemanticStrategy, read_semantic_options

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
        return SemanticStrategy(words, scorer, seconds=semantic.query_timeout)

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
