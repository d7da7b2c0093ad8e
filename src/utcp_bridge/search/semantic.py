"""Optional semantic side of the search: vectors of tools and queries, fused with the lexical ranking.

The best 100 tools by words and the best 100 by vectors are candidates. The score by words is at most 1. To it comes the
cosine, less a part of how near the tool is to its neighbours, because tools that are near to many others are near to
every query. One standard deviation of the cosines between tools counts `_PER_SPREAD`, so the scale of a model's cosines
does not matter. Among few tools, the best cosine counts `SHARE`. Ranks are not fused: with a model that is weaker than
the words, the answer would be worse.

Embedding waits for another program, so it is kept out of `search`: `index` embeds tools in the
background, `prepare` embeds queries within a time budget, and `search` uses whatever vectors are there.

A tool that the client called after a search has the mean of the vectors of such searches mixed into its own
(Tool2Vec), because requests are more like other requests than like descriptions.

The configuration of the semantic strategy.

    {"tool_search_strategy_type": "semantic",
     "endpoint": {"url": "https://api.example.com/v1/embeddings", "model": "small", "api_key": "${EMBEDDINGS_KEY}"}}

or `"model_folder": "models/potion"` in place of `endpoint`.
"""

from __future__ import annotations

import logging
from array import array
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final, Protocol, Self, TypeAlias

import anyio
import anyio.to_thread
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from utcp_bridge.errors import ConfigError, MalformedReply, UtcpError
from utcp_bridge.model import JsonObject, Tool, is_list, is_object
from utcp_bridge.search.fields import parameters_of
from utcp_bridge.search.memory import REMEMBERED, Meaning, Meanings
from utcp_bridge.search.strategy import Accept, Hit, ToolSearchStrategy, tool_filter
from utcp_bridge.search.text import compact
from utcp_bridge.search.vectors import Mixture, VectorTable, cache_file, digest_of, read_cache, write_cache
from utcp_bridge.settings import explain

__all__ = [
    "EndpointOptions",
    "EndpointScorer",
    "Post",
    "SemanticOptions",
    "SemanticScorer",
    "SemanticStrategy",
    "read_semantic_options",
]

_logger = logging.getLogger(__name__)
SHARE: Final = 0.9
_PER_SPREAD: Final = 0.25
_CLOSENESS: Final = 0.6
"""The part of a tool's nearness to its neighbours by which its cosine is lessened."""
_LEAST: Final = 0.001
"""The score of the last candidate."""
_MOST_MIXED: Final = 0.8
"""The weight of the mean of many past searches in the vector of a tool, whose own vector weighs 1."""
_FEW_LESSONS: Final = 2.0
"""The number of searches whose mean has half of that weight."""
_EXACT: Final = 100.0
"""Lifts a tool of exactly this name above every sum."""
QUERY_SECONDS: Final = 0.15
_CANDIDATES: Final = 100
_BATCH: Final = 64
_MANY: Final = 1_000
_PROGRESS_BATCHES: Final = 32
"""After this number of batches, the log shows the progress, and the vectors are written."""
_MAX_QUERIES: Final = 256
_MAX_TEXT: Final = 1_000
_FALLBACK: Final = "Ranked by words alone: the embedding model did not answer in time."
_NOT_YET: Final = "Ranked by words alone: the tools have no embeddings yet."

Vector: TypeAlias = Sequence[float]
Post: TypeAlias = Callable[[str, JsonObject], Awaitable[Any]]
"""Sends a JSON body with credentials to a URL and returns the parsed JSON response; raises UtcpError."""
_REMEDY: Final = "Run utcp-bridge help search for its keys."


class SemanticScorer(Protocol):
    """Turns texts into vectors of one length."""

    @property
    def model(self) -> str:
        """The name of the model; vectors of different models are never mixed."""
        ...

    async def embed(self, texts: list[str]) -> Sequence[Any]:
        """Return one vector for each text, in order.

        :raises UtcpError: the model cannot be reached or loaded.
        """
        ...


class EndpointScorer:
    """Any endpoint with the shape of OpenAI's `POST /v1/embeddings`; `url` is the full URL."""

    def __init__(self, url: str, model: str, post: Post, *, dimensions: int | None = None) -> None:
        place = digest_of("url", url).hex()
        self.model: Final = (
            f"{model} of {place}" if dimensions is None else f"{model} of {place}, {dimensions} dimensions"
        )
        self._url: Final = url
        self._post: Final = post
        self._body: Final[JsonObject] = {"model": model} | ({} if dimensions is None else {"dimensions": dimensions})

    async def embed(self, texts: list[str]) -> list[Vector]:
        answer = await self._post(self._url, {**self._body, "input": texts})
        data = answer.get("data") if is_object(answer) else None
        rows = [row for row in data if is_object(row)] if is_list(data) else []
        vectors = [row.get("embedding") for row in sorted(rows, key=_row_number)]
        try:
            if len(vectors) == len(texts) and all(map(is_list, vectors)):
                return [array("f", vector or []) for vector in vectors]
        except (TypeError, OverflowError):
            pass
        raise MalformedReply("The embeddings endpoint did not return one vector for each text.")


class SemanticStrategy:
    """A strategy of words combined with vectors; without vectors it ranks exactly as the strategy of words."""

    def __init__(
        self,
        lexical: ToolSearchStrategy,
        scorer: SemanticScorer,
        *,
        seconds: float = QUERY_SECONDS,
        cache: Path | None = None,
    ) -> None:
        """`cache` is the folder in which vectors of tools outlive the process.

        :raises ConfigError: numpy is not installed.
        """
        self._lexical: Final = lexical
        self._scorer: Final = scorer
        self._seconds: Final = seconds
        self._cache: Final = None if cache is None else cache_file(cache, scorer.model)
        self._tools: Final[dict[str, tuple[Tool, bytes]]] = {}
        self._vectors: Final = VectorTable()
        self._model: Final = digest_of("model", scorer.model).hex()
        self._queries: Final[OrderedDict[str, Any]] = OrderedDict()
        self._names: list[list[str]] | None = None
        """The UTCP names of the tools of each row; None after a change."""
        self._mixture: tuple[Meanings, list[list[str]], Mixture | None] | None = None
        """What was mixed for the last search: the meanings, the names that they belong to, and the result."""
        self._missing = 0

    def add(self, tools: Iterable[Tool]) -> None:
        added = list(tools)
        self._lexical.add(added)
        self._names = None
        for tool in added:
            self._tools[tool.qualified_name] = tool, digest_of(self._scorer.model, _text_of(tool))

    def remove(self, tools: Iterable[Tool]) -> None:
        removed = list(tools)
        self._lexical.remove(removed)
        self._names = None
        for tool in removed:
            self._tools.pop(tool.qualified_name, None)

    def remove_manual(self, name: str) -> None:
        self.remove([tool for tool, _ in self._tools.values() if tool.manual == name])

    async def index(self) -> None:
        """Embed the tools that have no vector yet, and drop vectors without a tool. Vectors in the cache are read.

        :raises UtcpError: the model cannot be reached or loaded.
        """
        wanted = {digest: tool for tool, digest in self._tools.values()}
        self._vectors.keep(wanted)
        self._names = None
        missing = [digest for digest in wanted if digest not in self._vectors]
        if missing and self._cache is not None:
            known = await anyio.to_thread.run_sync(read_cache, self._cache, frozenset(missing))
            if known:
                self._vectors.add(list(known), list(known.values()))
                missing = [digest for digest in missing if digest not in known]
        self._missing = len(missing)
        try:
            await self._embed(wanted, missing)
        finally:
            await anyio.to_thread.run_sync(self._vectors.measure)
            self._names = None
        if missing and self._cache is not None:
            await self._write(self._cache)

    async def _embed(self, wanted: Mapping[bytes, Tool], missing: Sequence[bytes]) -> None:
        for start in range(0, len(missing), _BATCH):
            batch = missing[start : start + _BATCH]
            vectors = await self._scorer.embed([_text_of(wanted[digest]) for digest in batch])
            self._vectors.add(batch, vectors)
            self._names = None
            self._missing = len(missing) - start - len(batch)
            if len(missing) >= _MANY and (start // _BATCH + 1) % _PROGRESS_BATCHES == 0:
                _logger.info("%d of %d tools have vectors.", len(self._vectors), len(wanted))
                if self._cache is not None:
                    await self._write(self._cache)

    async def _write(self, path: Path) -> None:
        digests, matrix = list(self._vectors.digests), self._vectors.matrix()
        try:
            await anyio.to_thread.run_sync(write_cache, path, digests, matrix)
        except ConfigError as error:
            _logger.warning("The vectors of the tools cannot be kept: %s", error)

    async def prepare(self, queries: Iterable[str]) -> str | None:
        """Embed queries for the searches that follow; return a note if they will be ranked by words only."""
        if not len(self._vectors):
            return _NOT_YET
        missing = [query for query in dict.fromkeys(queries) if query.strip() and query not in self._queries]
        if missing:
            try:
                with anyio.fail_after(self._seconds):
                    vectors = await self._scorer.embed(missing)
            except (TimeoutError, UtcpError):
                return _FALLBACK
            self._queries.update(zip(missing, map(self._vectors.unit, vectors), strict=True))
            while len(self._queries) > max(_MAX_QUERIES, len(missing)):
                self._queries.popitem(last=False)
        return (
            f"{self._missing:,} tools have no embeddings yet, and are found by words alone." if self._missing else None
        )

    def meaning_of(self, query: str) -> Meaning | None:
        """Return the vector of a query that was prepared, for the memory of searches."""
        vector = self._queries.get(query)
        return None if vector is None else Meaning(self._model, array("f", vector))

    def search(
        self,
        query: str,
        *,
        limit: int = 10,
        tags: Collection[str] | None = None,
        providers: Collection[str] | None = None,
        accept: Accept | None = None,
    ) -> list[Hit]:
        lexical = partial(self._lexical.search, query, tags=tags, providers=providers, accept=accept)
        vector = self._queries.get(query)
        cosines = None if vector is None or limit < 1 else self._vectors.cosines(vector)
        if cosines is None:
            return lexical(limit=limit)
        hits = lexical(limit=max(limit, _CANDIDATES))
        if (mixture := self._remembered()) is not None:
            mixture.put(cosines, vector)
        allowed = None if (tags, providers, accept) == (None, None, None) else tool_filter(tags, providers, accept)
        scores = {hit.tool.qualified_name: hit.score for hit in hits}
        for name, more in self._by_vectors(cosines, scores, allowed).items():
            scores[name] = scores.get(name, 0.0) + more
        wanted = compact(query)
        for hit in hits:
            if wanted not in {compact(hit.tool.name), compact(hit.tool.qualified_name)}:
                break  # the words rank an exact name first
            scores[hit.tool.qualified_name] += _EXACT
        ranked = sorted((-score, name) for name, score in scores.items())[:limit]
        best = ranked[0][0] if ranked else 0.0  # 0 if there is only one candidate
        return [Hit(self._tools[name][0], max(score / best, _LEAST) if best else 1.0) for score, name in ranked]

    def _remembered(self) -> Mixture | None:
        """Return the rows of the tools that the client called after a search, with the means of these searches."""
        memory, names = REMEMBERED.get(), self._names_of_rows()
        meanings = None if memory is None else memory.meanings(self._model)
        if meanings is None:
            return None
        if self._mixture is None or self._mixture[0] is not meanings or self._mixture[1] is not names:
            places = {name: place for place, name in enumerate(meanings.tools) if self._has_vector(name)}
            others = self._vectors.rows_of(meanings.vectors, len(meanings.tools), list(places.values()))
            numbers = [meanings.lessons[place] for place in places.values()]
            shares = [_MOST_MIXED * number / (number + _FEW_LESSONS) for number in numbers]
            mixed = self._vectors.mixture([self._tools[name][1] for name in places], others, shares)
            self._mixture = meanings, names, mixed
        return self._mixture[2]

    def _has_vector(self, name: str) -> bool:
        entry = self._tools.get(name)
        return entry is not None and entry[1] in self._vectors

    def _by_vectors(self, cosines: Any, by_words: Collection[str], allowed: Accept | None) -> dict[str, float]:
        """Return what vectors add to the candidates: at least 0."""
        spread = self._vectors.spread
        likeness = cosines - _CLOSENESS * self._vectors.closeness() if spread else cosines
        rows = dict(self._nearest(cosines, likeness, allowed))
        if not spread:
            most = max((float(likeness[row]) for row in rows.values()), default=1.0)
            return {name: SHARE * float(likeness[row]) / most for name, row in rows.items()}
        rows |= {name: row for name in by_words if (row := self._vectors.row_of(self._tools[name][1])) is not None}
        found = dict(zip(rows, likeness[list(rows.values())].tolist(), strict=True)) if rows else {}
        least = min(found.values(), default=0.0)
        return {name: (one - least) * _PER_SPREAD / spread for name, one in found.items()}

    def _nearest(self, cosines: Any, likeness: Any, allowed: Accept | None) -> list[tuple[str, int]]:
        """Return the candidates with the largest likeness and their rows, the nearest first; cosines are above 0."""
        names, size = self._names_of_rows(), len(likeness)
        found: list[tuple[str, int]] = []
        for step in (2 * _CANDIDATES, 20 * _CANDIDATES, size):
            order = (-likeness).argpartition(step)[:step] if step < size else (-likeness).argsort()
            ordered: list[int] = order[(-likeness[order]).argsort(kind="stable")].tolist()
            passed = (
                (name, row)
                for row in ordered
                if cosines[row] > 0
                for name in names[row]
                if allowed is None or allowed(self._tools[name][0])
            )
            found = list(islice(passed, _CANDIDATES))
            if len(found) == _CANDIDATES or step >= size:
                break
        return found

    def _names_of_rows(self) -> list[list[str]]:
        if self._names is None:
            of_digest: dict[bytes, list[str]] = {}
            for name, (_, digest) in self._tools.items():
                of_digest.setdefault(digest, []).append(name)
            self._names = [of_digest.get(digest, []) for digest in self._vectors.digests]
        return self._names


def _text_of(tool: Tool) -> str:
    parameters = ", ".join(parameters_of(tool.inputs))
    asked = " ".join(str(text) for text in tool.extras.get("asked_as", ()))
    described = f"{tool.title or tool.name} ({tool.manual}): {tool.description} [{parameters}]"
    return f"{asked} {described}".lstrip()[:_MAX_TEXT]


def _row_number(row: JsonObject) -> int:
    number = row.get("index")
    return number if isinstance(number, int) else 0


class EndpointOptions(BaseModel):
    """An endpoint of the shape of OpenAI's `POST /v1/embeddings`; `api_key` goes as a bearer token."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: str = Field(pattern="^(https?://|\\$)", repr=False)
    model: str = Field(min_length=1)
    dimensions: Annotated[int, Field(ge=1, le=8192)] | None = None
    api_key: str | None = Field(default=None, repr=False)
    auth: JsonObject | None = Field(default=None, repr=False)

    @model_validator(mode="after")
    def _one_credential(self) -> Self:
        if self.api_key is not None and self.auth is not None:
            raise ValueError("give api_key or auth, not both")
        return self

    @property
    def credentials(self) -> JsonObject | None:
        """As a template's `auth`."""
        if self.api_key is None:
            return self.auth
        return {"auth_type": "api_key", "api_key": f"Bearer {self.api_key}", "var_name": "Authorization"}


class SemanticOptions(BaseModel):
    """Where vectors come from, and what they are fused with. `cache` keeps them; `query_timeout` is in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, protected_namespaces=())

    endpoint: EndpointOptions | None = None
    model_folder: Path | None = None
    lexical: JsonObject | str = "bm25"
    cache: bool = True
    query_timeout: float = Field(default=QUERY_SECONDS, gt=0, le=10)

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        if (self.endpoint is None) == (self.model_folder is None):
            raise ValueError("give either endpoint or model_folder")
        return self

    @property
    def words(self) -> JsonObject:
        """The strategy beside, as a `tool_search_strategy` of its own."""
        return {"tool_search_strategy_type": self.lexical} if isinstance(self.lexical, str) else self.lexical


def read_semantic_options(raw: Mapping[str, Any]) -> SemanticOptions:
    """Return the options of the configuration, without their type.

    :raises ConfigError: an option is invalid; the message contains the first fault.
    """
    try:
        return SemanticOptions.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"The search strategy 'semantic' is not valid: {explain(error)}.", remedy=_REMEDY) from None
