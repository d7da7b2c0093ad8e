"""The options and the result of a conversion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from utcp_bridge.model import Fault, JsonObject

__all__ = ["Conversion", "ConversionOptions"]


@dataclass(frozen=True, slots=True)
class ConversionOptions:
    """How to convert one document.

    `base_url` replaces every server. `auth` replaces the document's own security if both are of one kind.
    `include` and `exclude` {tags, paths, methods, operation_ids} contain lists of shell-style patterns: an operation
    is kept if it matches every field of `include` and no field of `exclude`.
    `overrides` is {operationId: {name, description, annotations, hidden, defaults}}.
    """

    manual: str = ""
    base_url: str | None = None
    auth: JsonObject | None = field(default=None, repr=False)
    server_variables: Mapping[str, str] = field(default_factory=dict[str, str])
    include: Mapping[str, Any] | None = None
    exclude: Mapping[str, Any] | None = None
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    max_operations: int = 20_000


@dataclass(frozen=True, slots=True)
class Conversion:
    """The tools of one document.

    `tools` are normalised tool objects. `variables` are the names of the variables that security needs,
    `variable_notes` contains the scheme of each. `info` is {title, version, description, openapi}.
    """

    tools: list[JsonObject] = field(default_factory=list[JsonObject])
    faults: list[Fault] = field(default_factory=list[Fault])
    variables: list[str] = field(default_factory=list[str])
    variable_notes: dict[str, str] = field(default_factory=dict[str, str])
    info: JsonObject = field(default_factory=dict[str, Any])
