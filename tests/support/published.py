"""What published schemas require of documents for discovery, written down as facts: keys, patterns and lengths.

The schemas themselves belong to others and are not in this repository. Each constant names its source.
"""

from __future__ import annotations

from typing import Any, Final

_TEXT: Final[dict[str, Any]] = {"type": "string"}
_SHORT: Final[dict[str, Any]] = {"type": "string", "minLength": 1, "maxLength": 100}
_VERSION: Final[dict[str, Any]] = {"type": "string", "maxLength": 255, "pattern": r"^[^\^~<>=*xX]+$"}
_SERVER_NAME: Final[dict[str, Any]] = {
    "type": "string",
    "minLength": 3,
    "maxLength": 200,
    "pattern": "^[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+$",
}
_ENDPOINT: Final[dict[str, Any]] = {
    "type": "string",
    "pattern": r"^(https?://[^\s]+|\{[a-zA-Z_][a-zA-Z0-9_]*\}[^\s]*)$",
}
_INPUT: Final[dict[str, Any]] = {
    "choices": {"type": "array", "items": _TEXT},
    "default": _TEXT,
    "description": _TEXT,
    "format": {"enum": ["boolean", "filepath", "number", "string"]},
    "isRequired": {"type": "boolean"},
    "isSecret": {"type": "boolean"},
    "placeholder": _TEXT,
    "value": _TEXT,
    "variables": {"type": "object"},
}


def _object(required: list[str], members: dict[str, Any], *, closed: bool = True, **others: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": members, "additionalProperties": not closed, **others}


_HEADER: Final = _object(["name"], {**_INPUT, "name": _TEXT})
_REPOSITORY: Final = _object(["source", "url"], {"id": _TEXT, "source": _TEXT, "subfolder": _TEXT, "url": _TEXT})

SERVER_CARD: Final = _object(
    ["$schema", "description", "name", "version"],
    {
        "$schema": {"const": "https://static.modelcontextprotocol.io/schemas/v1/server-card.schema.json"},
        "_meta": {"type": "object"},
        "description": _SHORT,
        "icons": {"type": "array"},
        "name": _SERVER_NAME,
        "remotes": {
            "type": "array",
            "items": _object(
                ["type", "url"],
                {
                    "headers": {"type": "array", "items": _HEADER},
                    "supportedProtocolVersions": {"type": "array", "items": _TEXT},
                    "type": {"enum": ["sse", "streamable-http"]},
                    "url": _ENDPOINT,
                    "variables": {"type": "object"},
                },
            ),
        },
        "repository": _REPOSITORY,
        "title": _SHORT,
        "version": _VERSION,
        "websiteUrl": _TEXT,
    },
)
"""modelcontextprotocol/experimental-ext-server-card, schema.json, `ServerCard` (SEP-2127)."""

AI_CATALOG: Final = _object(
    ["specVersion", "entries"],
    {
        "specVersion": {"enum": ["1.0"]},
        "host": _object(["displayName"], {"displayName": _TEXT, "identifier": _TEXT, "documentationUrl": _TEXT}),
        "entries": {
            "type": "array",
            "items": _object(
                ["identifier", "displayName", "type"],
                {
                    "identifier": {"type": "string", "pattern": "^urn:air:[a-zA-Z0-9.-]+(:[a-zA-Z0-9._-]+)+$"},
                    "displayName": _TEXT,
                    "type": _TEXT,
                    "url": _TEXT,
                    "data": {"type": "object"},
                    "description": _TEXT,
                    "version": _TEXT,
                },
                closed=False,
                oneOf=[{"required": ["url"]}, {"required": ["data"]}],
            ),
        },
    },
)
"""ards-project/ard-spec, spec/schemas/ai-catalog.schema.json (AI Catalog 1.0)."""

_ARGUMENT: Final = {
    "oneOf": [
        _object(
            ["type"],
            {**_INPUT, "type": {"const": "positional"}, "valueHint": _TEXT, "isRepeated": {"type": "boolean"}},
            anyOf=[{"required": ["valueHint"]}, {"required": ["value"]}],
        ),
        _object(
            ["type", "name"], {**_INPUT, "type": {"const": "named"}, "name": _TEXT, "isRepeated": {"type": "boolean"}}
        ),
    ]
}
SERVER_JSON: Final = _object(
    ["name", "description", "version"],
    {
        "$schema": {"const": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"},
        "description": _SHORT,
        "name": _SERVER_NAME,
        "packages": {
            "type": "array",
            "items": _object(
                ["registryType", "identifier", "transport"],
                {
                    "registryType": {"enum": ["npm", "pypi", "cargo", "oci", "nuget", "mcpb"]},
                    "identifier": _TEXT,
                    "version": {**_VERSION, "minLength": 1, "not": {"const": "latest"}},
                    "fileSha256": {"type": "string", "pattern": "^[a-f0-9]{64}$"},
                    "runtimeHint": _TEXT,
                    "transport": _object(["type"], {"type": {"const": "stdio"}}),
                    "packageArguments": {"type": "array", "items": _ARGUMENT},
                    "environmentVariables": {"type": "array", "items": _HEADER},
                },
                # "Required for MCPB packages": the description of fileSha256
                anyOf=[{"properties": {"registryType": {"not": {"const": "mcpb"}}}}, {"required": ["fileSha256"]}],
            ),
        },
        "remotes": {"type": "array"},
        "repository": _REPOSITORY,
        "title": _SHORT,
        "version": _VERSION,
        "websiteUrl": _TEXT,
    },
)
"""modelcontextprotocol/registry, docs/reference/server-json, server.schema.json of 2025-12-11."""
