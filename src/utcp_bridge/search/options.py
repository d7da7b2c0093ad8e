"""The configuration of the semantic strategy.

    {"tool_search_strategy_type": "semantic",
     "endpoint": {"url": "https://api.example.com/v1/embeddings", "model": "small", "api_key": "${EMBEDDINGS_KEY}"}}

or `"model_folder": "models/potion"` in place of `endpoint`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from utcp_bridge.errors import ConfigError
from utcp_bridge.model import JsonObject
from utcp_bridge.search.semantic import QUERY_SECONDS
from utcp_bridge.settings import explain

__all__ = ["EndpointOptions", "SemanticOptions", "read_semantic_options"]

_REMEDY: Final = "docs/search.md lists the keys of the strategy `semantic`."


class EndpointOptions(BaseModel):
    """An endpoint of the shape of OpenAI's `POST /v1/embeddings`; `api_key` goes as a bearer token."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: str = Field(pattern="^(https?://|\\$)")
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
    """The options without their type. Raises ConfigError with the first fault in words."""
    try:
        return SemanticOptions.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"The search strategy 'semantic' is not right: {explain(error)}.", remedy=_REMEDY) from None
