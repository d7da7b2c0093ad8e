"""The options and the result of a conversion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from utcp_bridge.dialects.readings import RawTool
from utcp_bridge.model import Fault, JsonObject

__all__ = ["Conversion", "ConversionOptions"]


@dataclass(frozen=True, slots=True)
class ConversionOptions:
    """How to convert one document.

    `base_url` replaces every server. `auth` replaces the document's own security if both are of one kind.
    `dialects.selection` describes `include`, `exclude` and `overrides`; `warn_of_unused` adds a warning for each of
    their patterns that matches no operation.
    """

    manual: str = ""
    base_url: str | None = field(default=None, repr=False)
    auth: JsonObject | None = field(default=None, repr=False)
    server_variables: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    include: Mapping[str, Any] | None = None
    exclude: Mapping[str, Any] | None = None
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]], repr=False)
    warn_of_unused: bool = True
    max_operations: int = 20_000


@dataclass(frozen=True, slots=True)
class Conversion:
    """The tools of one document.

    `variables` are the names of the variables that security needs, `variable_notes` contains the scheme of each.
    `info` is {title, version, description, openapi}.
    """

    tools: list[RawTool] = field(default_factory=list[RawTool])
    faults: list[Fault] = field(default_factory=list[Fault])
    variables: list[str] = field(default_factory=list[str])
    variable_notes: dict[str, str] = field(default_factory=dict[str, str])
    info: JsonObject = field(default_factory=dict[str, Any])
