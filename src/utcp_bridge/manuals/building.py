"""Building: raw tools become live tools. The policy checks each tool by itself; one that fails does not affect others.

Pinning comes last. It notices when the definition of a tool changes after the bridge has seen it (tool poisoning after
approval). The definition that the bridge sees first after its start counts as approved. Description, schemas, template
and hints are compared. Tools that the operator wrote, in the configuration or a local file, may change freely.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import orjson

from utcp_bridge.dialects import ManualEntry, RawTool
from utcp_bridge.errors import PolicyError, UtcpError, VariableNotFound
from utcp_bridge.manuals.binding import Binder, uses_secrets
from utcp_bridge.manuals.repository import same_definition
from utcp_bridge.model import Fault, Faults, JsonObject, Source, Tool, Trust
from utcp_bridge.net.guard import Guard, endpoint_of, origin_of
from utcp_bridge.pipeline.post_processing import compile_projection
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.transport import Target, Transport
from utcp_bridge.transports.registry import TransportRegistry

__all__ = ["BuiltTools", "ToolBuilder", "endpoint_pair", "fingerprint", "pinned"]

_logger = logging.getLogger(__name__)
AnyTransport = type[Transport[Any]]
_WEB_SCHEMES = ("http", "https", "ws", "wss")
_LIMIT_KEYS = ("call_timeout", "concurrency", "queue", "rate_limit", "retries", "max_reply_bytes", "validation")


@dataclass(slots=True)
class BuiltTools:
    """The live tools of one manual, and what is wrong with the others."""

    tools: list[Tool] = field(default_factory=list[Tool])
    faults: Faults = field(default_factory=Faults)
    missing: dict[str, str] = field(default_factory=dict[str, str])
    """Variables that some tools need and no source has, with the remedy for each."""
    exempt: set[str] = field(default_factory=set[str])
    """`host:port` of the endpoints that the operator wrote."""


class ToolBuilder:
    """Builds the tools of one manual after the other; holds no state of them."""

    def __init__(self, registry: TransportRegistry, binder: Binder, guard: Guard, settings: BridgeSettings) -> None:
        self._registry = registry
        self._binder = binder
        self._guard = guard
        self._settings = settings

    def build(
        self, raw: Sequence[RawTool], *, entry: ManualEntry, source: Source, protocols: tuple[str, ...] | None
    ) -> BuiltTools:
        """Return the live tools of a manual, as `steps` does, without a pause."""
        steps = self.steps(raw, entry=entry, source=source, protocols=protocols)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return cast("BuiltTools", end.value)

    def steps(
        self, raw: Sequence[RawTool], *, entry: ManualEntry, source: Source, protocols: tuple[str, ...] | None
    ) -> Generator[None, None, BuiltTools]:
        """Return the live tools of a manual, and yield after each one of them.

        `source` is the manual's trust and origin; `protocols` are the call template types that the manual allows
        itself, which counts for the operator's manuals only.
        """
        built = BuiltTools()
        if len(raw) > self._settings.max_tools:
            where = f"manual {source.name!r}"
            what = f"The manual has {len(raw)} tools; the bridge uses the first {self._settings.max_tools}."
            built.faults.warn(where, what, "Raise `max_tools`, or choose tools with `include`.")
        allowed = self._allowed_kinds(entry, source, protocols)
        limits = {key: value for key in _LIMIT_KEYS if (value := getattr(entry.options, key)) is not None}
        if (timeout := entry.template.get("timeout")) is not None:
            limits["timeout"] = timeout
        usable: list[tuple[RawTool, str, Mapping[str, Any]]] = []
        for one in raw[: self._settings.max_tools]:
            try:
                kind, hints = self._judge(one, entry.template, source, allowed, built)
                usable.append((self._patient(one, kind, entry.template, source, built), kind, hints))
            except UtcpError as error:
                built.faults.error(f"manual {source.name!r}, tool {one.name!r}", error.message, error.remedy or "")
            yield
        shared = replace(source, exempt=source.exempt | built.exempt)
        for one, kind, hints in usable:
            built.tools.append(_as_tool(one, shared, kind, hints, limits))
            yield
        for key, remedy in sorted(built.missing.items()):
            what = f"Variable {key!r} is not set. Calls of the tools that need it fail until it is set."
            built.faults.warn(f"manual {source.name!r}", what, remedy)
        return built

    def target(self, tool: Tool, entry: JsonObject) -> Target[Any]:
        """Return the target of a tool; `entry` is its manual's own call template.

        The rules for targets are checked here too, not only at registration: a variable that is set later must not
        give access to an address that was refused.

        :raises PolicyError: the tool may not reach its target.
        :raises VariableNotFound: a variable is not set.
        :raises ConfigError: the template does not fit the transport's model once its variables are filled in.
        """
        transport = self._registry.find(tool.kind)
        _check_files(transport, tool.template, entry, tool.source)
        trust = Trust.OPERATOR if _is_operators(tool.template, entry) else tool.source.trust
        target = self._binder.tool(tool, transport, trust=trust)
        endpoint = transport.endpoint(target.template)
        if endpoint is not None:
            self._check_endpoint(endpoint, tool.template, tool.source)
        return target

    def _judge(
        self, raw: RawTool, entry: JsonObject, source: Source, allowed: frozenset[str] | None, built: BuiltTools
    ) -> tuple[str, Mapping[str, Any]]:
        """Return the kind and the annotations of a tool that may be used.

        :raises UtcpError: it may not be used, or it cannot be bound.
        """
        transport = self._registry.find(str(raw.template.get("call_template_type")))
        kind = transport.kinds[0]
        _check_kind(kind, transport, source, allowed)
        if raw.projection is not None:
            compile_projection(raw.projection)
        try:
            target = self.target(_as_tool(raw, source, kind, raw.annotations, {}), entry)
        except VariableNotFound as error:
            built.missing[error.key] = error.remedy or ""
            return kind, raw.annotations
        endpoint = transport.endpoint(target.template)
        if endpoint is not None and source.trust is Trust.OPERATOR:
            built.exempt |= endpoint_pair(endpoint)
        return kind, {**transport.annotations(target.template), **raw.annotations}

    def _patient(self, raw: RawTool, kind: str, entry: JsonObject, source: Source, built: BuiltTools) -> RawTool:
        """Return the tool with times of silence that are not above the operator's, unless the operator wrote them."""
        most = self._settings.idle_timeout
        template = raw.template
        for name in self._registry.find(kind).silence_fields if source.trust is not Trust.OPERATOR else ():
            value = template.get(name)
            if isinstance(value, int | float) and value > most and value != entry.get(name):
                template = {**template, name: most}
                where = f"manual {source.name!r}, tool {raw.name!r}"
                what = f"Its `{name}` is above `idle_timeout`; the bridge waits {most:g} seconds."
                built.faults.warn(
                    where, what, "Raise `idle_timeout`, or write the call template into the configuration."
                )
        return raw if template is raw.template else replace(raw, template=template)

    def _allowed_kinds(
        self, entry: ManualEntry, source: Source, protocols: tuple[str, ...] | None
    ) -> frozenset[str] | None:
        """Return the kinds that tools of this manual may have; with None each transport's own default decides."""
        listed = entry.options.allowed_communication_protocols
        if listed is None and source.trust is Trust.OPERATOR:
            listed = protocols
        if listed:
            return frozenset(self._registry.canonical(kind) for kind in listed)
        if source.trust is Trust.OPERATOR and not self._settings.follows_reference_protocol_rules:
            return None
        return frozenset({self._registry.canonical(entry.kind)})

    def _check_endpoint(self, endpoint: str, template: JsonObject, source: Source) -> None:
        if source.trust is Trust.OPERATOR:
            return
        host = urlsplit(endpoint).netloc
        if "{" in host or "$" in host:
            raise PolicyError(
                "Its host is filled in when the tool is called. A fetched manual may not do that.",
                remedy="Write the call template into the configuration instead.",
            )
        if urlsplit(endpoint).scheme in _WEB_SCHEMES:
            self._guard.check_url(endpoint, source, credentials=uses_secrets(template))
        elif origin_of(endpoint) not in {source.origin, *source.allowed_origins}:
            raise PolicyError(
                f"Its target is {origin_of(endpoint)}, which is not the manual's own address.",
                remedy=f'If that is intended, add "allowed_origins": ["{origin_of(endpoint)}"] to the manual.',
            )


def endpoint_pair(endpoint: str) -> frozenset[str]:
    """Return `host:port` of an endpoint, in the form of `Source.exempt`; an empty set if its host has placeholders."""
    parts = urlsplit(endpoint)
    try:
        port = parts.port or {"https": 443, "wss": 443}.get(parts.scheme, 80)
    except ValueError:
        return frozenset()
    return frozenset({endpoint_of(parts.hostname, port)}) if parts.hostname else frozenset()


def _check_kind(kind: str, transport: AnyTransport, source: Source, allowed: frozenset[str] | None) -> None:
    if source.trust is not Trust.OPERATOR and not transport.remote and not source.trusted:
        raise PolicyError(
            f"A fetched manual may not have tools of type {kind}.",
            remedy='If you trust it fully, add "trusted": true to the manual.',
        )
    if allowed is None and not transport.implicit and not transport.local:
        raise PolicyError(
            f"A local manual may have tools of type {kind} only if its entry allows that type.",
            remedy=f'Add "allowed_communication_protocols": ["{kind}"] to the manual.',
        )
    if allowed is not None and kind not in allowed:
        raise PolicyError(
            f"Its type {kind} is not allowed in this manual. Allowed: {', '.join(sorted(allowed))}.",
            remedy=f'Add "allowed_communication_protocols": ["{kind}", …] to the manual.',
        )


def _check_files(transport: AnyTransport, template: JsonObject, entry: JsonObject, source: Source) -> None:
    """Refuse local files that a fetched manual names; those in the manual's own entry are the operator's.

    :raises PolicyError: the template names a local file.
    """
    if source.trust is Trust.OPERATOR or source.trusted:
        return
    for name in transport.file_fields:
        if template.get(name) and template[name] != entry.get(name):
            raise PolicyError(
                f"Its `{name}` names local files. A fetched manual may not do that.",
                remedy='Write the field into the configuration, or add "trusted": true to the manual.',
            )


def _is_operators(template: JsonObject, entry: JsonObject) -> bool:
    """Return whether the operator wrote every field of the template that names a variable.

    `auth_tools` counts too: tools of an OpenAPI description have it as their `auth`.
    """
    return all(
        entry.get(key) == value or (key == "auth" and entry.get("auth_tools") == value)
        for key, value in template.items()
        if uses_secrets({key: value})
    )


def _as_tool(
    raw: RawTool, source: Source, kind: str, annotations: Mapping[str, Any], limits: Mapping[str, Any]
) -> Tool:
    return Tool(
        source=source,
        name=raw.name.removeprefix(f"{source.name}."),
        kind=kind,
        template=raw.template,
        overlay=raw.overlay,
        description=raw.description,
        title=raw.title,
        inputs=raw.inputs,
        outputs=raw.outputs if raw.projection is None else None,
        tags=raw.tags,
        annotations=annotations,
        deprecated=raw.deprecated,
        average_response_size=raw.average_response_size,
        body_members=raw.body_members,
        returns_bytes=raw.returns_bytes,
        limits=limits,
        defaults=raw.defaults,
        projection=raw.projection,
    )


def pinned(
    tools: Iterable[Tool], approved: dict[str, Tool], pin: Literal["off", "warn", "refuse"]
) -> tuple[list[Tool], list[Fault]]:
    """Return the tools that may be used, and a fault for each tool that is withheld.

    `approved` has the definitions seen so far, by tool name; this function updates it. `warn` logs a change with both
    fingerprints and approves it. `refuse` withholds the tool until the bridge is restarted.
    """
    kept: list[Tool] = []
    faults: list[Fault] = []
    for tool in tools:
        known = approved.setdefault(tool.name, tool)
        free = pin == "off" or tool.source.trust is Trust.OPERATOR
        if free or known is tool or same_definition(known, tool):
            kept.append(tool)
            continue
        change = f"Its definition changed from {fingerprint(known)} to {fingerprint(tool)}"
        _logger.warning("%s: %s.", tool.qualified_name, change)
        if pin == "refuse":
            what = f"{change}, so the tool is withheld."
            remedy = "Check the change, then restart the bridge to approve it."
            faults.append(Fault(f"manual {tool.manual!r}, tool {tool.name!r}", what, remedy))
            continue
        approved[tool.name] = tool
        kept.append(tool)
    return kept, faults


def fingerprint(tool: Tool) -> str:
    """Return twelve hexadecimal digits that identify the definition of a tool."""
    seen = [tool.kind, tool.description, tool.title, tool.inputs, tool.outputs, tool.template, tool.overlay]
    return sha256(orjson.dumps(seen, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)).hexdigest()[:12]
