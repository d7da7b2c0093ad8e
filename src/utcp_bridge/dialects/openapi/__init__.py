"""Conversion of OpenAPI 2.0, 3.0, 3.1 and 3.2 descriptions to tools (pure: the caller fetches the documents).

`swagger2` rewrites 2.0 in 3.x form, piece by piece, so all versions share one way from operations to tools. A fault in
one operation never affects another operation.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, TypeAlias

from utcp_bridge.dialects.openapi.definitions import Definitions
from utcp_bridge.dialects.openapi.inputs import BodyReader, ParameterReader
from utcp_bridge.dialects.openapi.operations import OpenApiOperation, OperationReader
from utcp_bridge.dialects.openapi.options import Conversion, ConversionOptions
from utcp_bridge.dialects.openapi.outputs import OutputReader
from utcp_bridge.dialects.openapi.references import References, external_references
from utcp_bridge.dialects.openapi.security import SecurityReader, legacy_numbers
from utcp_bridge.dialects.openapi.servers import ServerChoice
from utcp_bridge.dialects.openapi.shapes import (
    Family,
    Faults,
    Located,
    as_array,
    as_text,
    describe,
    family_of,
    is_openapi,
)
from utcp_bridge.dialects.openapi.tools import OperationConverter, hints_of, unique_names
from utcp_bridge.dialects.readings import RawTool
from utcp_bridge.dialects.selection import ToolFacts, ToolSelection, changed
from utcp_bridge.errors import ManualError
from utcp_bridge.model import JsonObject
from utcp_bridge.tasks import at_once

__all__ = ["Conversion", "ConversionOptions", "convert", "convert_in_steps", "external_references", "is_openapi"]

_MANY_OPERATIONS = 300
_MAX_FAULTS = 1_000
_NO_FILES: Mapping[str, Any] = {}
_Found: TypeAlias = tuple[str, str, Located, Located]
"""METHOD, path, operation and path item of an operation."""


def convert(
    document: JsonObject, *, url: str | None, options: ConversionOptions, files: Mapping[str, Any] = _NO_FILES
) -> Conversion:
    """Return a tool for every operation of `document` that `options` select.

    `url` is the URL or path of the document. `files` maps absolute addresses to the parsed documents that the
    references name; `external_references` lists these addresses.

    :raises ManualError: the document is not an OpenAPI description.
    """
    return at_once(convert_in_steps(document, url=url, options=options, files=files))


def convert_in_steps(
    document: JsonObject, *, url: str | None, options: ConversionOptions, files: Mapping[str, Any] = _NO_FILES
) -> Generator[None, None, Conversion]:
    """Convert as `convert` does, in steps of one operation each, between which a program can do other work.

    :raises ManualError: the document is not an OpenAPI description.
    """
    family = family_of(document)
    if family is None:
        raise ManualError(
            "The document is not an OpenAPI description: it has neither `openapi: 3.x` nor `swagger: 2.0`."
        )
    return (yield from _Converter(document, url, family, options, files).steps())


class _Converter:
    """One conversion: the readers of one document and the order in which they run."""

    def __init__(
        self,
        document: JsonObject,
        url: str | None,
        family: Family,
        options: ConversionOptions,
        files: Mapping[str, Any],
    ) -> None:
        faults = Faults(limit=_MAX_FAULTS)
        references = References(document, url, files, faults)
        inputs = Definitions(references, family, "input", faults)
        readers = (
            ParameterReader(references, inputs, faults),
            BodyReader(references, inputs, family, faults),
            OutputReader(references, Definitions(references, family, "output", faults)),
        )
        address = url or references.base  # API addresses start where the document was found, not at its `$self`
        self._security = SecurityReader(references, family, options.auth, address, faults)
        servers = ServerChoice(references.root(), address, family, options, faults)
        self._builder = OperationConverter(readers, inputs, self._security, servers, faults)
        self._operations = OperationReader(references, family, faults)
        self._document, self._options, self._faults = document, options, faults

    def steps(self) -> Generator[None, None, Conversion]:
        found: list[_Found] = []
        for operation in self._operations.found():
            found.append(operation)
            yield
        numbers = legacy_numbers(
            ((method, path, node) for method, path, node, _ in found), self._document, self._security.schemes
        )
        wanted, overrides = self._selected(found)
        self._check_number(len(wanted))
        wanted = wanted[: self._options.max_operations]
        names = [override.get("name") for override in overrides]
        unique = unique_names(
            [
                (as_text(name) or _operation_id(node), method, path)
                for name, (method, path, node, _) in zip(names, wanted, strict=False)
            ]
        )
        tools: list[RawTool] = []
        for name, override, (method, path, node, item) in zip(unique, overrides, wanted, strict=False):
            tool = self._tool(name, method, path, node, item, numbers.get((method, path)))
            if tool is not None:
                tools.append(changed(tool, {**override, "name": name}) if override else tool)
            yield
        if tools:
            self._security.note_unused()
        notes = self._security.notes
        return Conversion(tools, self._faults.faults, list(notes), dict(notes), describe(self._document))

    def _tool(
        self, name: str, method: str, path: str, node: Located, item: Located, legacy: int | None
    ) -> RawTool | None:
        try:
            operation: OpenApiOperation = self._operations.read(method, path, node, item)
            return self._builder.build(operation, name, legacy)
        except Exception as error:  # noqa: BLE001 - the document is untrusted: one odd operation must not stop the rest
            self._faults.add(
                node.pointer,
                f"the operation cannot be read ({type(error).__name__})",
                "The operation was left out.",
                severity="error",
            )
            return None

    def _selected(self, found: list[_Found]) -> tuple[list[_Found], list[JsonObject]]:
        """Return the operations that the operator wants, and the operator's overrides for each."""
        options = self._options
        selection = ToolSelection(options.include, options.exclude, options.overrides)
        if selection.is_empty:
            return found, [{} for _ in found]
        names = unique_names([(_operation_id(node), method, path) for method, path, node, _ in found])
        wanted: list[_Found] = []
        overrides: list[JsonObject] = []
        for name, operation in zip(names, found, strict=True):
            override = selection.decide(_facts(name, *operation[:3]))
            if override is not None:
                wanted.append(operation)
                overrides.append(override)
        for fault in selection.faults(unused=options.warn_of_unused):
            self._faults.add(fault.where, fault.what, fault.remedy, severity=fault.severity)
        return wanted, overrides

    def _check_number(self, number: int) -> None:
        if number > self._options.max_operations:
            self._faults.add(
                "#/paths",
                f"the document has {number} operations; at most {self._options.max_operations} are allowed",
                "Select operations with `include` or `exclude`.",
                severity="error",
            )
        elif number > _MANY_OPERATIONS:
            self._faults.add(
                "#/paths",
                f"the document has {number} operations, which is a lot for one host",
                "Select operations with `include` or `exclude`.",
            )


def _operation_id(node: Located) -> str:
    return str(node.value.get("operationId") or "").strip()


def _facts(name: str, method: str, path: str, node: Located) -> ToolFacts:
    """Return the facts of an operation; `name` is the name of its tool unless an override changes it."""
    operation_id = _operation_id(node)
    return ToolFacts(
        names=(name, operation_id) if operation_id not in {"", name} else (name,),
        tags=tuple(tag for tag in as_array(node.value.get("tags")) if isinstance(tag, str)),
        path=path,
        method=method,
        operation_id=operation_id or name,
        annotations=hints_of(method),
    )
