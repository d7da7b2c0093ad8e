"""Tool search: the interface (`ToolSearchStrategy`, `Hit`) and the strategies by their ids.

`bm25` is the default, `tag_and_description_word_match` is the reference algorithm of UTCP. Other packages add
strategies through the entry-point group `utcp_bridge.search_strategies`: the name of an entry is the id, its value is a
callable that receives the options of the configuration as keywords and returns a strategy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from utcp_bridge.errors import ConfigError
from utcp_bridge.late.entry_points import entry_points
from utcp_bridge.search.strategy import Accept, Hit, ToolSearchStrategy

__all__ = [
    "DEFAULT_STRATEGY",
    "ENTRY_POINT_GROUP",
    "SEMANTIC",
    "Accept",
    "Hit",
    "ToolSearchStrategy",
    "create_strategy",
]

DEFAULT_STRATEGY: Final = "bm25"
SEMANTIC: Final = "semantic"
"""`utcp_bridge.client.search` creates this strategy."""
ENTRY_POINT_GROUP: Final = "utcp_bridge.search_strategies"


def create_strategy(
    strategy_id: str = DEFAULT_STRATEGY, options: Mapping[str, Any] | None = None
) -> ToolSearchStrategy:
    """Return a new, empty strategy; built-in ids win over entry points.

    `options` are the strategy's other keys in the configuration (`tag_weight`, …).

    :raises ConfigError: the id is unknown, or the strategy does not accept the options.
    """
    factory = _builtin(strategy_id) or _from_entry_points(strategy_id)
    try:
        strategy: Any = factory(**(options or {}))
    except ConfigError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"The search strategy {strategy_id!r} cannot be created with these options: {error}.",
            remedy="Correct the keys of `tool_search_strategy`.",
        ) from error
    if not isinstance(strategy, ToolSearchStrategy):
        raise ConfigError(
            f"The entry point {strategy_id!r} does not return a search strategy.",
            remedy="Return an object with the methods add, remove, remove_manual and search.",
        )
    return strategy


def _builtin(strategy_id: str) -> Callable[..., ToolSearchStrategy] | None:
    if strategy_id == DEFAULT_STRATEGY:
        from utcp_bridge.search.lexical import Bm25Strategy

        return Bm25Strategy
    if strategy_id == "tag_and_description_word_match":
        from utcp_bridge.search.lexical import TagStrategy

        return TagStrategy
    if strategy_id == SEMANTIC:
        raise ConfigError(
            "The search strategy 'semantic' needs a client, for its connections and variables.",
            remedy="Set `tool_search_strategy` in the client's configuration, or create a `SemanticStrategy`.",
        )
    return None


def _from_entry_points(strategy_id: str) -> Callable[..., Any]:
    found = entry_points(group=ENTRY_POINT_GROUP)
    for entry in found:
        if entry.name == strategy_id:
            try:
                factory: Callable[..., Any] = entry.load()
            except (ImportError, AttributeError) as error:
                raise ConfigError(
                    f"The search strategy {strategy_id!r} cannot be loaded: {error}.",
                    remedy=f"Install or repair the package that provides {entry.value!r}.",
                ) from error
            return factory
    known = sorted({DEFAULT_STRATEGY, SEMANTIC, "tag_and_description_word_match", *(entry.name for entry in found)})
    raise ConfigError(f"There is no search strategy {strategy_id!r}.", remedy=f"Known strategies: {', '.join(known)}.")
