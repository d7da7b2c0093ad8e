"""From normalised tool objects to live tools: selection, policy, binding; each tool stands or falls alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from utcp_bridge.errors import PolicyError, UtcpError, VariableNotFound
from utcp_bridge.manuals.binding import Binder, uses_secrets
from utcp_bridge.model import Fault, JsonObject, Source, Tool, Trust, is_object
from utcp_bridge.net.guard import Guard, endpoint_of, origin_of
from utcp_bridge.pipeline.post_processing import compile_projection
from utcp_bridge.settings import BridgeSettings, ManualOptions
from utcp_bridge.transport import Target, Transport
from utcp_bridge.transports.registry import TransportRegistry

__all__ = ["Building", "ToolBuilder", "endpoint_pair"]

AnyTransport = type[Transport[Any]]
_WEB_SCHEMES = ("http", "https", "ws", "wss")
_LIMIT_KEYS = ("call_timeout", "concurrency", "queue", "rate_limit", "retries", "max_reply_bytes")


@dataclass(slots=True)
class Building:
    """What became of a manual's tools."""

    tools: list[Tool] = field(default_factory=list[Tool])
    faults: list[Fault] = field(default_factory=list[Fault])
    missing: dict[str, str] = field(default_factory=dict[str, str])
    """Variables that some tools need and no source holds, with what to do about each."""
    exempt: set[str] = field(default_factory=set[str])
    """`host:port` of the endpoints that the operator wrote."""


class ToolBuilder:
    """Builds the tools of one manual after the other; keeps nothing between them."""

    def __init__(self, registry: TransportRegistry, binder: Binder, guard: Guard, settings: BridgeSettings) -> None:
        self._registry = registry
        self._binder = binder
        self._guard = guard
        self._settings = settings

    def build(
        self, objects: Sequence[JsonObject], *, entry: JsonObject, source: Source, protocols: tuple[str, ...] | None
    ) -> Building:
        """Make tools of normalised tool objects.

        `entry` is the manual's own template, `source` its trust and origin; `protocols` are the call
        template types that the manual allows itself, which counts for the operator's manuals only.
        """
        options = ManualOptions.model_validate(entry)
        building = Building()
        if len(objects) > self._settings.max_tools:
            where = f"manual {source.name!r}"
            what = f"{len(objects)} tools, of which the first {self._settings.max_tools} are used."
            building.faults.append(Fault(where, what, "Raise `max_tools` or use `include`.", "warning"))
        allowed = self._allowed_kinds(entry, options, source, protocols)
        limits = {key: value for key in _LIMIT_KEYS if (value := getattr(options, key)) is not None}
        for raw in objects[: self._settings.max_tools]:
            try:
                tool = self._build_one(_with_projection(raw, options), entry, source, allowed, building)
            except UtcpError as error:
                where = f"manual {source.name!r}, tool {raw.get('name')!r}"
                building.faults.append(Fault(where, error.message, error.remedy or ""))
                continue
            building.tools.append(tool)
        shared = replace(source, exempt=source.exempt | building.exempt)
        building.tools = [replace(tool, source=shared, limits=limits) for tool in building.tools]
        building.faults.extend(_missing_variables(building, source))
        return building

    def target(self, tool: Tool, entry: JsonObject) -> Target[Any]:
        """The resolved target of a tool; `entry` is its manual's own template.

        The target rules are checked here and not at registration alone: a variable that is set later must
        not open what was closed.

        :raises PolicyError: the tool may not reach what it points at. Otherwise as `Binder.tool`.
        """
        transport = self._registry.find(tool.kind)
        _check_files(transport, tool.template, entry, tool.source)
        trust = Trust.OPERATOR if _is_operators(tool.template, entry) else tool.source.trust
        target = self._binder.tool(tool, transport, trust=trust)
        endpoint = transport.endpoint(target.template)
        if endpoint is not None:
            self._check_endpoint(endpoint, tool.template, tool.source)
        return target

    def _build_one(
        self, raw: JsonObject, entry: JsonObject, source: Source, allowed: frozenset[str] | None, building: Building
    ) -> Tool:
        template: JsonObject = raw["tool_call_template"]
        transport = self._registry.find(str(template.get("call_template_type")))
        kind = transport.kinds[0]
        _check_kind(kind, transport, source, allowed)
        tool = _as_tool(raw, source, kind, template)
        try:
            target = self.target(tool, entry)
        except VariableNotFound as error:
            building.missing[error.key] = error.remedy or ""
            return tool
        endpoint = transport.endpoint(target.template)
        if endpoint is not None and source.trust is Trust.OPERATOR:
            building.exempt |= endpoint_pair(endpoint)
        hints = {**transport.annotations(target.template), **tool.annotations}
        return replace(tool, annotations=hints)

    def _allowed_kinds(
        self, entry: JsonObject, options: ManualOptions, source: Source, protocols: tuple[str, ...] | None
    ) -> frozenset[str] | None:
        """Kinds that tools of this manual may have; None leaves it to the transports' own defaults."""
        listed = options.allowed_communication_protocols
        if listed is None and source.trust is Trust.OPERATOR:
            listed = protocols
        if listed:
            return frozenset(self._registry.canonical(kind) for kind in listed)
        if source.trust is Trust.OPERATOR and not self._settings.strict:
            return None
        return frozenset({self._registry.canonical(str(entry["call_template_type"]))})

    def _check_endpoint(self, endpoint: str, template: JsonObject, source: Source) -> None:
        if source.trust is Trust.OPERATOR:
            return
        host = urlsplit(endpoint).netloc
        if "{" in host or "$" in host:
            raise PolicyError(
                "Its host is filled in at call time, which a fetched manual may not do.",
                remedy="Write the template into the configuration instead.",
            )
        if urlsplit(endpoint).scheme in _WEB_SCHEMES:
            self._guard.check_url(endpoint, source, credentials=uses_secrets(template))
        elif origin_of(endpoint) not in {source.origin, *source.allowed_origins}:
            raise PolicyError(
                f"It points at {origin_of(endpoint)}, which is not the manual's own address.",
                remedy=f'If that is intended, add "allowed_origins": ["{origin_of(endpoint)}"] to the manual.',
            )


def endpoint_pair(endpoint: str) -> frozenset[str]:
    """`host:port` of an endpoint, as it stands in `Source.exempt`; empty while its host has placeholders."""
    parts = urlsplit(endpoint)
    try:
        port = parts.port or {"https": 443, "wss": 443}.get(parts.scheme, 80)
    except ValueError:
        return frozenset()
    return frozenset({endpoint_of(parts.hostname, port)}) if parts.hostname else frozenset()


def _check_kind(kind: str, transport: AnyTransport, source: Source, allowed: frozenset[str] | None) -> None:
    if source.trust is not Trust.OPERATOR and not transport.remote and not source.trusted:
        raise PolicyError(
            f"A fetched manual may not use {kind}.", remedy='If you trust it fully, add "trusted": true to the manual.'
        )
    if allowed is None and not transport.implicit and not transport.local:
        raise PolicyError(
            f"Its type {kind} is not among the types that a local manual may use unasked.",
            remedy=f'Add "allowed_communication_protocols": ["{kind}"] to the manual.',
        )
    if allowed is not None and kind not in allowed:
        raise PolicyError(
            f"Its type {kind} is not allowed in this manual, only {', '.join(sorted(allowed))}.",
            remedy=f'Add "allowed_communication_protocols": ["{kind}", …] to the manual.',
        )


def _check_files(transport: AnyTransport, template: JsonObject, entry: JsonObject, source: Source) -> None:
    """A fetched manual may not name files of this machine; its entry's own fields are the operator's."""
    if source.trust is Trust.OPERATOR or source.trusted:
        return
    for name in transport.file_fields:
        if template.get(name) and template[name] != entry.get(name):
            raise PolicyError(
                f"A fetched manual may not name local files, as its `{name}` does.",
                remedy='Write the field into the configuration, or add "trusted": true to the manual.',
            )


def _is_operators(template: JsonObject, entry: JsonObject) -> bool:
    """Whether every variable in the template stands there as the operator wrote it.

    `auth_tools` is the operator's word too: tools that come out of an OpenAPI description carry it as their `auth`.
    """
    return all(
        entry.get(key) == value or (key == "auth" and entry.get("auth_tools") == value)
        for key, value in template.items()
        if uses_secrets({key: value})
    )


def _with_projection(raw: JsonObject, options: ManualOptions) -> JsonObject:
    """The tool object with the operator's projection, in place of an output schema. Raises ConfigError."""
    expression = raw.get("projection") or options.overrides.get(str(raw.get("name")), {}).get("result")
    if expression is None:
        return raw
    compile_projection(str(expression))
    return {**raw, "projection": str(expression), "outputs": None}


def _as_tool(raw: JsonObject, source: Source, kind: str, template: JsonObject) -> Tool:
    inputs, outputs = raw.get("inputs"), raw.get("outputs")
    size = raw.get("average_response_size")
    return Tool(
        source=source,
        name=str(raw["name"]).removeprefix(f"{source.name}."),
        kind=kind,
        template=template,
        overlay=raw.get("overlay"),
        description=str(raw.get("description") or ""),
        title=raw.get("title"),
        inputs=inputs if is_object(inputs) else {"type": "object", "properties": {}},
        outputs=outputs if is_object(outputs) else None,
        tags=tuple(str(tag) for tag in raw.get("tags") or ()),
        annotations=raw.get("annotations") or {},
        deprecated=bool(raw.get("deprecated")),
        average_response_size=size if isinstance(size, int) else None,
        body_members=tuple(raw.get("body_members") or ()),
        defaults=raw.get("defaults") or {},
        projection=raw.get("projection"),
    )


def _missing_variables(building: Building, source: Source) -> list[Fault]:
    return [
        Fault(
            f"manual {source.name!r}",
            f"Variable {key!r} is not set; the tools that need it fail until it is.",
            remedy,
            "warning",
        )
        for key, remedy in sorted(building.missing.items())
    ]
