"""Output schemas: the first JSON response of a success, read permissively, if it is small (pure)."""

from __future__ import annotations

import re
from typing import Any

import orjson

from utcp_bridge.dialects.openapi.definitions import Definitions
from utcp_bridge.dialects.openapi.operations import OpenApiOperation
from utcp_bridge.dialects.openapi.references import References
from utcp_bridge.dialects.openapi.shapes import Located, as_object
from utcp_bridge.model import JsonObject
from utcp_bridge.placement.body import media_kind

__all__ = ["OutputReader"]

_SUCCESS = re.compile(r"2(\d\d|XX)", re.IGNORECASE)
_MAX_BYTES = 8_192


class OutputReader:
    """Output schemas and Accept headers of one document's operations."""

    def __init__(self, references: References, definitions: Definitions) -> None:
        self._references = references
        self._definitions = definitions

    def schema(self, operation: OpenApiOperation) -> JsonObject | None:
        """Return the schema of the result.

        The schema is None if a success has no body, if no success is JSON, or if the schema is too large.
        """
        media = self._json_media(operation)
        if media is None or media.at("schema").value is None:
            return None
        place = self._references.follow(media.at("schema"))
        piece = self._definitions.translate(place)
        if not piece.schema or self._definitions.is_larger(piece, _MAX_BYTES):
            return None
        schema = self._definitions.attach(as_object(piece.schema), piece.refs)
        kind = schema.get("type")
        if isinstance(kind, list) and "object" in kind:
            schema = {**schema, "type": "object"}
        return schema if len(orjson.dumps(schema)) <= _MAX_BYTES else None

    def accept(self, operation: OpenApiOperation) -> str | None:
        """Return an Accept header; None unless the server offers a choice or a JSON type other than the usual one."""
        declared = [name for content in self._contents(operation) for name in as_object(content.value)]
        preferred = next((name for name in declared if _is_json(name) and "*" not in name), None)
        if preferred is None or set(declared) == {"application/json"} or not preferred.isprintable():
            return None
        return f"{preferred}, */*;q=0.1" if preferred.isascii() else None

    def are_bytes(self, operation: OpenApiOperation) -> bool:
        """Return whether every success has a body of bytes, such as an image."""
        declared = [name for content in self._contents(operation) for name in as_object(content.value)]
        return bool(declared) and all("*/*" not in name and media_kind(name) == "binary" for name in declared)

    def _contents(self, operation: OpenApiOperation) -> list[Located]:
        return [
            response.at("content") for status, response in operation.responses.items() if _SUCCESS.fullmatch(status)
        ]

    def _json_media(self, operation: OpenApiOperation) -> Located | None:
        found: Located | None = None
        for content in self._contents(operation):
            if not as_object(content.value):
                return None
            for name in as_object(content.value):
                if found is None and (_is_json(name) or name == "*/*"):
                    found = self._references.follow(content.at(name))
        return found


def _is_json(media_type: Any) -> bool:
    return isinstance(media_type, str) and media_kind(media_type) == "json"
