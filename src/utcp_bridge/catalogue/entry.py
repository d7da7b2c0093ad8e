"""One tool as `tools/list` shows it under its MCP name. Knows no MCP SDK."""

from __future__ import annotations

from functools import cached_property
from typing import Final

import orjson

from utcp_bridge.catalogue.schemas.conforming import Conformer
from utcp_bridge.catalogue.schemas.portable import PortableInput, PortableOutput, portable_input, portable_output
from utcp_bridge.catalogue.text import clean, clean_line
from utcp_bridge.model import JsonObject, Tool

__all__ = ["Entry"]

_LONGEST_DESCRIPTION: Final = 1024
_LONGEST_TITLE: Final = 120
_HINTS: Final = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")
_RENAMED: Final = "utcp/renamed"


class Entry:
    """One tool under its MCP name; the listed parts are worked out when first asked for."""

    def __init__(self, tool: Tool, name: str, *, max_schema_bytes: int, with_output: bool) -> None:
        self.tool = tool
        self.name = name
        self._max_schema_bytes = max_schema_bytes
        self._with_output = with_output

    @cached_property
    def input(self) -> PortableInput:
        return portable_input(self.tool.inputs, self._max_schema_bytes)

    @cached_property
    def output(self) -> PortableOutput | None:
        if not self._with_output or not self.tool.outputs:
            return None
        return portable_output(self.tool.outputs, self._max_schema_bytes)

    @cached_property
    def conform(self) -> Conformer | None:
        """Fits structured results to the listed output schema; None where none is listed."""
        return None if self.output is None else Conformer(self.output.schema)

    @cached_property
    def listed(self) -> JsonObject:
        """The entry of `tools/list`, for every protocol version."""
        tool = self.tool
        description = clean(tool.description)
        if tool.deprecated:
            description = f"Deprecated. {description}"
        meta: JsonObject = {"utcp/name": clean_line(tool.qualified_name, 256)}
        if tool.tags:
            meta["utcp/tags"] = [tag for one in tool.tags[:20] if (tag := clean_line(one, 64))]
        if self.input.renamed:
            meta[_RENAMED] = {name: clean_line(key, 256) for name, key in self.input.renamed.items()}
        entry: JsonObject = {
            "name": self.name,
            "title": clean_line(tool.title, _LONGEST_TITLE) or clean_line(tool.qualified_name, _LONGEST_TITLE),
            "description": clean(description, _LONGEST_DESCRIPTION),
            "inputSchema": self.input.schema,
        }
        if self.output is not None:
            entry["outputSchema"] = self.output.schema
        if hints := {key: tool.annotations[key] for key in _HINTS if isinstance(tool.annotations.get(key), bool)}:
            entry["annotations"] = hints
        entry["_meta"] = meta
        return entry

    @cached_property
    def composed(self) -> JsonObject:
        """The entry for protocol versions whose input schemas may have combinators at the root."""
        if self.input.composed is self.input.schema:
            return self.listed
        return {**self.listed, "inputSchema": self.input.composed}

    @cached_property
    def data(self) -> bytes:
        """`listed` as JSON."""
        return orjson.dumps(self.listed)

    def own_arguments(self, arguments: JsonObject) -> JsonObject:
        """Arguments with listed keys turned back into the tool's own."""
        renamed = self.input.renamed
        if not renamed:
            return arguments
        return {renamed.get(key, key): value for key, value in arguments.items()}
