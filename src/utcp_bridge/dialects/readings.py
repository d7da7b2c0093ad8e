"""What reading a document gives: plain data and faults, never an exception."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from utcp_bridge.errors import ConfigError
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import Fault, Faults, JsonObject, is_object

if TYPE_CHECKING:
    from utcp_bridge.settings import ManualOptions

__all__ = ["ManualEntry", "Notes", "ParsedConfig", "ParsedManual", "RawTool"]

_TOOL_FIELDS = frozenset({
    "name", "description", "title", "inputs", "outputs", "tags", "annotations", "deprecated", "average_response_size",
    "body_members", "tool_call_template", "overlay", "defaults", "projection", "extras",
})  # fmt: skip


@dataclass(frozen=True)
class ManualEntry:
    """One manual of a configuration.

    `template` is the manual's own call template in v1 names, with `name`, `call_template_type` and, next to its own
    fields, the keys that only the operator may write.
    """

    name: str
    template: JsonObject = field(repr=False)

    @property
    def kind(self) -> str:
        """The call template type; empty if the template names none."""
        return str(self.template.get("call_template_type") or "")

    @cached_property
    def options(self) -> ManualOptions:
        """The keys that only the operator may write, checked.

        :raises ConfigError: a value does not fit.
        """
        from pydantic import ValidationError

        from utcp_bridge.settings import ManualOptions, explain
        from utcp_bridge.settings.narrow import model_of

        known = {key: value for key, value in self.template.items() if key in ManualOptions.model_fields}
        try:
            return model_of(ManualOptions, known)
        except ValidationError as error:
            remedy = "`utcp-bridge help configuration` lists the keys of a manual."
            raise ConfigError(f"{explain(error)}.", remedy=remedy) from None


@dataclass(frozen=True, slots=True)
class RawTool:
    """One tool in v1 names, as its document describes it. No policy has checked it yet, and it is not bound."""

    name: str
    template: JsonObject = field(repr=False)
    """The tool's call template; `${VARIABLES}` are still in it."""
    inputs: JsonObject = field(default_factory=lambda: {"type": "object", "properties": {}}, repr=False)
    description: str = ""
    title: str | None = None
    outputs: JsonObject | None = field(default=None, repr=False)
    tags: tuple[str, ...] = ()
    annotations: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The hints of the document."""
    decided: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The hints of the operator's overrides."""
    deprecated: bool = False
    average_response_size: int | None = None
    body_members: tuple[str, ...] = ()
    returns_bytes: bool = False
    overlay: JsonObject | None = field(default=None, repr=False)
    defaults: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    projection: str | None = None
    extras: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    """`icons`, `execution` and `_meta` of an MCP server's tool."""
    rest: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    """Keys of the tool that the bridge does not use."""

    @classmethod
    def of(cls, raw: Mapping[str, Any], template: JsonObject) -> RawTool:
        """Return a tool that a transport made itself, an object in v1 names. Invalid optional fields are left out.

        `template` is the call template of a tool that names none.
        """
        inputs, outputs, own = raw.get("inputs"), raw.get("outputs"), raw.get("tool_call_template")
        size, projection = raw.get("average_response_size"), raw.get("projection")
        return cls(
            name=str(raw["name"]),
            template=own if is_object(own) else template,
            inputs=inputs if is_object(inputs) else {"type": "object", "properties": {}},
            description=str(raw.get("description") or ""),
            title=raw.get("title"),
            outputs=outputs if is_object(outputs) else None,
            tags=tuple(str(tag) for tag in raw.get("tags") or ()),
            annotations=raw.get("annotations") or {},
            deprecated=bool(raw.get("deprecated")),
            average_response_size=size if isinstance(size, int) else None,
            body_members=tuple(raw.get("body_members") or ()),
            overlay=raw.get("overlay"),
            defaults=raw.get("defaults") or {},
            projection=None if projection is None else str(projection),
            extras=raw.get("extras") or {},
            rest={key: value for key, value in raw.items() if key not in _TOOL_FIELDS},
        )

    def as_json(self) -> JsonObject:
        """Return the tool as an object of a v1 manual; empty optional fields are left out."""
        optional: JsonObject = {
            "title": self.title,
            "outputs": self.outputs,
            "annotations": {**self.annotations, **self.decided},
            "deprecated": self.deprecated,
            "body_members": list(self.body_members),
        }
        tool: JsonObject = {
            **self.rest,
            **self.extras,
            "name": self.name,
            "description": self.description,
            "inputs": self.inputs,
            "tags": list(self.tags),
            "tool_call_template": self.template,
            **{key: value for key, value in optional.items() if value},
        }
        if self.average_response_size is not None:
            tool["average_response_size"] = self.average_response_size
        return tool


@dataclass(frozen=True, slots=True)
class ParsedConfig:
    """A client configuration in v1 names.

    Each name of `entries` is there once. `client` holds those of `variables`, `load_variables_from`, `tool_repository`,
    `tool_search_strategy`, `post_processing`, `providers_file_path` and `registries` that were given, `bridge` the
    section of that name.
    """

    dialect: str
    entries: list[ManualEntry] = field(default_factory=list[ManualEntry], repr=False)
    client: JsonObject = field(default_factory=dict[str, Any], repr=False)
    bridge: JsonObject = field(default_factory=dict[str, Any], repr=False)
    faults: list[Fault] = field(default_factory=list[Fault])


@dataclass(frozen=True, slots=True)
class ParsedManual:
    """A manual's tools in v1 names, in whichever dialect it was written.

    A tool that could not be read is a fault in `faults`. `info` has those of `title`, `description` and `version` that
    were given. `auth` is the manual's own, in the official fields: a default for tools without any, where `wants_auth`
    says so and the tool's origin allows it. `protocols` are the call template types that the manual allows itself.
    `declared_variables` are names that its authors announce, with their instructions.
    """

    dialect: str
    """`v0.x`, `v1.x`, `extended`, `mcp` or `tools` (a bare list)."""
    tools: list[RawTool] = field(default_factory=list[RawTool], repr=False)
    info: JsonObject = field(default_factory=dict[str, Any])
    auth: JsonObject | None = field(default=None, repr=False)
    variables: JsonObject = field(default_factory=dict[str, Any], repr=False)
    protocols: tuple[str, ...] | None = None
    declared_variables: dict[str, str] = field(default_factory=dict[str, str])
    maps: JsonObject = field(default_factory=dict[str, Any], repr=False)
    """Its `resources` and `prompts`, as they were written."""
    faults: list[Fault] = field(default_factory=list[Fault])


class Notes(Faults):
    """Collects the faults of a document, its dialects, and the variables that its authors announce."""

    def __init__(self) -> None:
        super().__init__()
        self.dialects: set[str] = set()
        self.declared: dict[str, str] = {}
