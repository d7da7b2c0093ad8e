"""Optional semantic side of the search: vectors of tools and queries, fused with the lexical ranking.

The lexical score (over its maximum) and `SHARE` of the cosine are added, for the lexical top 100 and the
nearest 20 by vector. Scores are fused rather than ranks: with a vector model that is weaker than the
words, fusing ranks makes the answer worse.

Embedding waits for another program, so it is kept out of `search`: `index` embeds tools in the
background, `prepare` embeds queries within a time budget, and `search` uses whatever vectors are there.

The configuration of the semantic strategy.

    {"tool_search_strategy_type": "semantic",
     "endpoint": {"url": "https://api.example.com/v1/embeddings", "model": "small", "api_key": "${EMBEDDINGS_KEY}"}}

or `"model_folder": "models/potion"` in place of `endpoint`.
"""

from __future__ import annotations

import importlib
import math
import operator
from array import array
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from heapq import nlargest
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, Final, Protocol, Self, TypeAlias

import anyio
import anyio.to_thread
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from utcp_bridge.errors import ConfigError, MalformedReply, MissingExtra, UtcpError
from utcp_bridge.model import JsonObject, Tool, is_list, is_object
from utcp_bridge.search.fields import parameters_of
from utcp_bridge.search.strategy import Accept, Hit, ToolSearchStrategy, tool_filter
from utcp_bridge.settings import explain

__all__ = [
    "EndpointOptions",
    "EndpointScorer",
    "LocalScorer",
    "Post",
    "SemanticOptions",
    "SemanticScorer",
    "SemanticStrategy",
    "read_semantic_options",
]

SHARE: Final = 0.3
QUERY_SECONDS: Final = 0.15
_LEXICAL_CANDIDATES: Final = 100
_VECTOR_CANDIDATES: Final = 20
_MAX_PRODUCTS: Final = 4_000_000
"""Above this many multiplications (tools times dimensions) only the lexical candidates are compared."""
_BATCH: Final = 64
_MAX_QUERIES: Final = 256
_MAX_TEXT: Final = 1_000
_FALLBACK: Final = "Ranked by words alone: the embedding model did not answer in time."
_NOT_YET: Final = "Ranked by words alone: the tools have no embeddings yet."
_PACKAGES: Final = (("model2vec", "StaticModel"), ("sentence_transformers", "SentenceTransformer"))
_INSTALL: Final = (
    f"Install one that does: {MissingExtra.install_line('semantic')}, or pip install sentence-transformers."
)

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

    async def embed(self, texts: list[str]) -> list[Vector]:
        """Return one vector for each text, in order.

        :raises UtcpError: the model cannot be reached or loaded.
        """
        ...


class EndpointScorer:
    """Any endpoint with the shape of OpenAI's `POST /v1/embeddings`; `url` is the full URL."""

    def __init__(self, url: str, model: str, post: Post, *, dimensions: int | None = None) -> None:
        self.model: Final = model if dimensions is None else f"{model}, {dimensions} dimensions"
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


class LocalScorer:
    """A model2vec or sentence-transformers folder on this machine; nothing is ever downloaded.

    The first `embed` loads the model in a worker thread.

    :raises ConfigError: the folder does not exist, or no package that reads embedding models is installed.
    """

    def __init__(self, folder: str | Path) -> None:
        self.model: Final = str(folder)
        if not Path(folder).is_dir():
            raise ConfigError(
                f"The folder of the embedding model, {folder}, does not exist.",
                remedy="Name a local model2vec or sentence-transformers folder.",
            )
        if not any(find_spec(package) for package, _ in _PACKAGES):
            raise ConfigError("No package that reads embedding models is installed.", remedy=_INSTALL)
        self._loading: Final = Lock()
        self._encode: Callable[[list[str]], Any] | None = None

    async def embed(self, texts: list[str]) -> list[Vector]:
        # A caller who runs out of time does not wait; the thread ends by itself.
        return await anyio.to_thread.run_sync(self._embed, texts, abandon_on_cancel=True)

    def _embed(self, texts: list[str]) -> list[Vector]:
        with self._loading:
            encode = self._encode = self._encode or _load_encoder(self.model)
        rows: Iterable[Iterable[Any]] = encode(texts)
        return [array("f", map(float, row)) for row in rows]


class SemanticStrategy:
    """A strategy of words combined with vectors; without vectors it ranks exactly as the strategy of words."""

    def __init__(self, lexical: ToolSearchStrategy, scorer: SemanticScorer, *, seconds: float = QUERY_SECONDS) -> None:
        self._lexical: Final = lexical
        self._scorer: Final = scorer
        self._seconds: Final = seconds
        self._tools: Final[dict[str, tuple[Tool, bytes]]] = {}
        self._vectors: Final[dict[bytes, Vector]] = {}
        self._queries: Final[OrderedDict[str, Vector]] = OrderedDict()

    def add(self, tools: Iterable[Tool]) -> None:
        added = list(tools)
        self._lexical.add(added)
        for tool in added:
            self._tools[tool.qualified_name] = tool, _digest(self._scorer.model, _text_of(tool))

    def remove(self, tools: Iterable[Tool]) -> None:
        removed = list(tools)
        self._lexical.remove(removed)
        for tool in removed:
            self._tools.pop(tool.qualified_name, None)

    def remove_manual(self, name: str) -> None:
        self.remove([tool for tool, _ in self._tools.values() if tool.manual == name])

    async def index(self) -> None:
        """Embed the tools that have no vector yet, and drop vectors without a tool.

        :raises UtcpError: the model cannot be reached or loaded.
        """
        wanted = {digest: tool for tool, digest in self._tools.values()}
        for digest in self._vectors.keys() - wanted.keys():
            del self._vectors[digest]
        missing = [digest for digest in wanted if digest not in self._vectors]
        for start in range(0, len(missing), _BATCH):
            batch = missing[start : start + _BATCH]
            vectors = await self._scorer.embed([_text_of(wanted[digest]) for digest in batch])
            self._vectors.update(zip(batch, map(_unit, vectors), strict=True))

    async def prepare(self, queries: Iterable[str]) -> str | None:
        """Embed queries for the searches that follow; return a note if they will be ranked by words only."""
        if not self._vectors:
            return _NOT_YET
        missing = [query for query in dict.fromkeys(queries) if query.strip() and query not in self._queries]
        if not missing:
            return None
        try:
            with anyio.fail_after(self._seconds):
                vectors = await self._scorer.embed(missing)
        except (TimeoutError, UtcpError):
            return _FALLBACK
        self._queries.update(zip(missing, map(_unit, vectors), strict=True))
        while len(self._queries) > max(_MAX_QUERIES, len(missing)):
            self._queries.popitem(last=False)
        return None

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
        if vector is None or limit < 1:
            return lexical(limit=limit)
        fused = {hit.tool.qualified_name: hit.score for hit in lexical(limit=max(limit, _LEXICAL_CANDIDATES))}
        cosines = {name: self._cosine(vector, name) for name in fused}
        if len(self._tools) * len(vector) <= _MAX_PRODUCTS:
            allowed = tool_filter(tags, providers, accept)
            near = ((self._cosine(vector, name), name) for name, (tool, _) in self._tools.items() if allowed(tool))
            cosines |= {name: cosine for cosine, name in nlargest(_VECTOR_CANDIDATES, near) if cosine > 0}
        scores = {name: fused.get(name, 0.0) + SHARE * max(0.0, cosine) for name, cosine in cosines.items()}
        ranked = sorted((-score, name) for name, score in scores.items() if score > 0)[:limit]
        return [Hit(self._tools[name][0], score / ranked[0][0]) for score, name in ranked]

    def _cosine(self, vector: Vector, name: str) -> float:
        other = self._vectors.get(self._tools[name][1])
        return sum(map(operator.mul, vector, other)) if other is not None and len(other) == len(vector) else 0.0


def _text_of(tool: Tool) -> str:
    parameters = ", ".join(parameters_of(tool.inputs))
    return f"{tool.title or tool.name} ({tool.manual}): {tool.description} [{parameters}]"[:_MAX_TEXT]


def _digest(model: str, text: str) -> bytes:
    return blake2b(f"{model}\n{text}".encode("utf-8", "replace"), digest_size=16).digest()


def _unit(vector: Vector) -> Vector:
    length = math.sqrt(sum(map(operator.mul, vector, vector)))
    return array("f", (number / length for number in vector)) if length and math.isfinite(length) else array("f")


def _row_number(row: JsonObject) -> int:
    number = row.get("index")
    return number if isinstance(number, int) else 0


def _load_encoder(folder: str) -> Callable[[list[str]], Any]:
    for package, loader in _PACKAGES:
        try:
            module: Any = importlib.import_module(package)
        except ImportError:
            continue
        made: Any = getattr(module, loader)
        try:
            encoder = made.from_pretrained(folder) if loader == "StaticModel" else made(folder, local_files_only=True)
        except (OSError, ValueError, KeyError):
            continue
        encode: Callable[[list[str]], Any] = encoder.encode
        return encode
    raise ConfigError("The embedding model cannot be loaded: no installed package reads its folder.", remedy=_INSTALL)


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
    """Where vectors come from, and what they are fused with. `query_timeout` is in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, protected_namespaces=())

    endpoint: EndpointOptions | None = None
    model_folder: Path | None = None
    lexical: JsonObject | str = "bm25"
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
