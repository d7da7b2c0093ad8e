"""What a host is shown of the arguments of `search_tools`. `arguments.py` validates them, with the first search."""

from __future__ import annotations

from typing import Final

from utcp_bridge.model import JsonObject

__all__ = ["DEFAULT_LIMIT", "DEFAULT_LIMIT_FULL", "MAX_PATTERN", "MAX_QUERIES", "MAX_QUERY", "MAX_RESULTS",
           "SEARCH_TOOLS_INPUT_SCHEMA"]  # fmt: skip

MAX_QUERY: Final = 1_000
MAX_PATTERN: Final = 500
MAX_QUERIES: Final = 5
MAX_RESULTS: Final = 50
DEFAULT_LIMIT: Final = 10
DEFAULT_LIMIT_FULL: Final = 3


def _words(description: str) -> JsonObject:
    items = {"maxLength": 200, "minLength": 1, "type": "string"}
    return {"description": description, "items": items, "maxItems": 50, "type": "array"}


def _choice(description: str, *values: str) -> JsonObject:
    """Return the schema of one of several words; the first is the default."""
    return {"default": values[0], "description": description, "enum": list(values), "type": "string"}


SEARCH_TOOLS_INPUT_SCHEMA: Final[JsonObject] = {
    "type": "object",
    "properties": {
        "query": {
            "description": "What the tool should do, in words; or words of its name.",
            "maxLength": MAX_QUERY,
            "type": "string",
        },
        "queries": {
            "description": "Several separate needs in one call; results are grouped by need.",
            "items": {"maxLength": MAX_QUERY, "type": "string"},
            "maxItems": MAX_QUERIES,
            "type": "array",
        },
        "limit": {
            "description": f"Most results: {DEFAULT_LIMIT} by default, {DEFAULT_LIMIT_FULL} with full detail.",
            "maximum": MAX_RESULTS,
            "minimum": 1,
            "type": "integer",
        },
        "cursor": {
            "description": "`next_cursor` of the page before, with the same other arguments.",
            "maxLength": 200,
            "type": "string",
        },
        "tags": _words("Only tools with these tags."),
        "tags_mode": _choice("Whether one of the tags is enough.", "any", "all"),
        "providers": _words("Only tools of these providers; `*` stands for any text."),
        "exclude_providers": _words("No tools of these providers; `*` stands for any text."),
        "detail": {
            **_choice(
                "names; summary: description and parameters; full: input and output schema.", "names", "summary", "full"
            ),
            "default": "summary",
        },
        "mode": _choice(
            "auto ranks by relevance; regex searches names, descriptions and parameters; exact: a name.",
            "auto", "regex", "exact",
        ),
    },
    "additionalProperties": False,
}  # fmt: skip
"""The constraints are those of `SearchArguments`, as a test holds."""
