"""Building: raw tools become live tools. The policy checks each by itself; one that fails does not affect others."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import field, replace
from functools import lru_cache
from typing import Any, Final, cast
from urllib.parse import urlsplit

from utcp_bridge.dialects import ManualEntry, RawTool
from utcp_bridge.errors import ConfigError, PolicyError, UtcpError, VariableNotFound
from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.late.records import dataclass
from utcp_bridge.manuals.binding import Binder, key_uses_secrets, uses_secrets
from utcp_bridge.manuals.hints import hints_of_template, is_repeatable, stated_hints, template_of
from utcp_bridge.manuals.variables_needed import names_in_template
from utcp_bridge.model import Faults, JsonObject, Source, Tool, Trust, draft_of, in_seconds, is_list
from utcp_bridge.net.gate.addresses import closed_host
from utcp_bridge.net.guard import Guard, endpoint_of, origin_of
from utcp_bridge.pipeline.post_processing import compile_projection
from utcp_bridge.placement.compiling import CallTemplate
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.transport import Target, Transport
from utcp_bridge.transports.registry import TransportRegistry
from utcp_bridge.variables import flat_key

__all__ = [
    "BuiltTools",
    "ToolBuilder",
    "check_program",
    "endpoint_pair",
]

AnyTransport = type[Transport[Any]]
_AFTER_HOST: Final = late_pattern(r"[/?#]")
_MADE_TOGETHER: Final = 16
"""Tools that are made in one step: it takes some microseconds for each."""
_WEB_SCHEMES = ("http", "https", "ws", "wss")
_LIMIT_KEYS = (
    "breaker_failures",
    "call_timeout",
    "concurrency",
    "max_reply_bytes",
    "queue",
    "rate_limit",
    "retries",
    "shadow",
    "validation",
)


@dataclass(slots=True)
class BuiltTools:
    """The live tools of one manual, and what is wrong with the others."""

    tools: list[Tool] = field(default_factory=list[Tool])
    faults: Faults = field(default_factory=Faults)
    missing: dict[str, str] = field(default_factory=dict[str, str])
    """Variables that some tools need and no source has, with the remedy for each."""
    exempt: set[str] = field(default_factory=set[str])
    """`host:port` of the endpoints that the operator wrote."""
    hints: dict[frozenset[tuple[str, Any]], JsonObject] = field(default_factory=dict[Any, JsonObject], repr=False)
    """Each set of hints once: most tools have the same few."""
    judged: dict[int, _Judged] = field(default_factory=dict[int, "_Judged"], repr=False)
    """What the policy says of the call templates that may be several tools', by identity."""

    def one_of(self, hints: JsonObject) -> JsonObject:
        """Return hints as one object for all tools that have the same."""
        for value in hints.values():
            if not isinstance(value, bool):
                return hints
        return self.hints.setdefault(frozenset(hints.items()), hints)


@dataclass(frozen=True, slots=True)
class _Judged:
    """What the policy says of a tool that may be used."""

    kind: str
    hints: Mapping[str, Any] = field(default_factory=dict[str, Any])
    is_repeatable: bool = False
    is_local: bool = False


@dataclass(frozen=True, slots=True)
class _Rules:
    """Which kinds the tools of one manual may have.

    With `allowed` None each transport's own default decides. `kinds` are those that its tools have, for remedies.
    `web` says whether tools may have any kind on the web at the manual's own origin.
    """

    allowed: frozenset[str] | None
    kinds: tuple[str, ...]
    web: bool


class ToolBuilder:
    """Builds the tools of one manual after the other; holds no state of them."""

    def __init__(self, registry: TransportRegistry, binder: Binder, guard: Guard, settings: BridgeSettings) -> None:
        self._registry = registry
        self._binder = binder
        self._guard = guard
        self._settings = settings

    def build(
        self,
        raw: Sequence[RawTool],
        *,
        entry: ManualEntry,
        source: Source,
        protocols: tuple[str, ...] | None,
        dialect: str = "",
    ) -> BuiltTools:
        """Return the live tools of a manual, as `steps` does, without a pause."""
        steps = self.steps(raw, entry=entry, source=source, protocols=protocols, dialect=dialect)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return cast("BuiltTools", end.value)

    def steps(
        self,
        raw: Sequence[RawTool],
        *,
        entry: ManualEntry,
        source: Source,
        protocols: tuple[str, ...] | None,
        dialect: str = "",
    ) -> Generator[None, None, BuiltTools]:
        """Return the live tools of a manual, and yield after each one of them that was judged.

        `source` is the manual's trust and origin; `protocols` are the call template types that the manual allows
        itself, which counts for the operator's manuals only, and never for programs. `dialect` is that of the document.
        """
        built = BuiltTools()
        kinds = self._kinds_of(raw)
        if len(raw) > self._settings.max_tools:
            where = f"manual {source.name!r}"
            what = f"The manual has {len(raw)} tools; the bridge uses the first {self._settings.max_tools}."
            built.faults.warn(where, what, "Raise `max_tools`, or choose tools with `include`.")
        rules = _Rules(self._allowed_kinds(entry, source, protocols), kinds, self._leaves_web_kinds(entry, dialect))
        limits = {key: value for key in _LIMIT_KEYS if (value := getattr(entry.options, key)) is not None}
        if (timeout := entry.template.get("timeout")) is not None:
            limits["timeout"] = timeout
        usable: list[tuple[RawTool, _Judged]] = []
        for one in raw[: self._settings.max_tools]:
            try:
                judged = self._judge(one, entry.template, source, rules, built)
                usable.append((self._patient(one, judged.kind, entry.template, source, built), judged))
            except UtcpError as error:
                where = f"manual {source.name!r}, tool {one.name!r}"
                built.faults.add(where, error.message, error.remedy or "", severity="error", code=error.code)
            yield
        shared = replace(source, exempt=source.exempt | built.exempt)
        for number, (one, judged) in enumerate(usable):
            built.tools.append(_as_tool(one, shared, judged, limits))
            if not number % _MADE_TOGETHER:
                yield
        for key, remedy in sorted(built.missing.items()):
            what = f"Variable {key!r} is not set. Calls of the tools that need it fail until it is set."
            built.faults.add(f"manual {source.name!r}", what, remedy, code=VariableNotFound.code)
        return built

    def target(self, tool: Tool, entry: JsonObject) -> Target[Any]:
        """Return the target of a tool; `entry` is its manual's own call template.

        The rules for targets are checked here too, not only at registration: a variable that is set later must not
        give access to an address that was refused.

        :raises PolicyError: the tool may not reach its target.
        :raises VariableNotFound: a variable is not set.
        :raises ConfigError: the template does not fit the transport's model once its variables are filled in.
        """
        return self._bound(tool, tool.source, self._registry.find(tool.kind), entry)

    def _bound(
        self,
        tool: Tool | RawTool,
        source: Source,
        transport: AnyTransport,
        entry: JsonObject,
        unbound: CallTemplate | None = None,
    ) -> Target[Any]:
        """Do it for a tool that is live or not yet. `unbound` is its template before its variables are filled in."""
        _check_files(transport, tool.template, entry, source)
        own = _is_operators(tool.template, entry)
        trust = Trust.OPERATOR if own else source.trust
        target = self._binder.bound(
            tool, source, transport, trust=trust, bare_names=own or not source.from_file, unbound=unbound
        )
        check_program(transport, target.template, entry, source)
        transport.check_use(target.template, source)
        endpoint = transport.endpoint(target.template)
        if endpoint is not None:
            self._check_endpoint(endpoint, tool.template, source)
            if source.from_file and entry.get("auth_tools") is not None:
                _check_near(endpoint, tool.template, entry, source)
        return target

    def _judge(self, raw: RawTool, entry: JsonObject, source: Source, rules: _Rules, built: BuiltTools) -> _Judged:
        """Return the kind and the hints of a tool that may be used.

        :raises UtcpError: it may not be used, or it cannot be bound.
        """
        is_bare = raw.overlay is None and raw.projection is None and not raw.annotations and not raw.decided
        known = built.judged.get(id(raw.template)) if is_bare else None
        if known is not None:
            return known
        judged = self._judge_anew(raw, entry, source, rules, built)
        if is_bare and not uses_secrets(raw.template) and "request_plan" not in raw.template:
            built.judged[id(raw.template)] = judged  # it depends on nothing else of the tool
        return judged

    def _judge_anew(self, raw: RawTool, entry: JsonObject, source: Source, rules: _Rules, built: BuiltTools) -> _Judged:
        transport = self._registry.find(str(raw.template.get("call_template_type")))
        kind = transport.kinds[0]
        unbound = template_of(raw, transport)
        if not (rules.web and _is_near(transport, unbound, source)):
            _check_kind(kind, transport, source, rules.allowed)
        check_program(transport, unbound, entry, source, rules.kinds)
        if raw.projection is not None:
            compile_projection(raw.projection)
        template: CallTemplate | None = None
        try:
            template = self._bound(raw, source, transport, entry, unbound).template
        except VariableNotFound as error:
            built.missing[error.key] = self._remedy_of(error, raw, source)
            template = unbound
            if template is not None:
                transport.check_use(template, source)
        else:
            endpoint = transport.endpoint(template)
            if endpoint is not None and source.trust is Trust.OPERATOR:
                built.exempt |= endpoint_pair(endpoint)
        known = hints_of_template(transport, template)
        hints = built.one_of({**stated_hints(raw, source, transport, template, known), **raw.decided})
        is_local = template is not None and source.trust is Trust.OPERATOR and transport.starts_program(template)
        return _Judged(kind, hints, is_repeatable(raw, source, known), is_local)

    def _remedy_of(self, error: VariableNotFound, raw: RawTool, source: Source) -> str:
        """Return what to do about a missing variable: a manual in a file does not see the ones without its prefix."""
        remedy = error.remedy or ""
        if not source.from_file:
            return remedy
        bare = next((name for name in names_in_template(raw.template) if flat_key(source.owner, name) == error.key), "")
        if not bare or not self._binder.has(bare):
            return remedy
        return (
            f"{bare} is set, but a manual in a file of its own sees only variables with its name. Set {error.key}, "
            'or, if you trust the file fully, add "trusted": true to the manual.'
        )

    def _patient(self, raw: RawTool, kind: str, entry: JsonObject, source: Source, built: BuiltTools) -> RawTool:
        """Return the tool with times of silence that are not above the operator's, unless the operator wrote them."""
        most = self._settings.idle_timeout
        template = raw.template
        for name in self._registry.find(kind).silence_fields if source.trust is not Trust.OPERATOR else ():
            value = template.get(name)
            if isinstance(value, int | float) and value > most and value != entry.get(name):
                template = {**template, name: most}
                where = f"manual {source.name!r}, tool {raw.name!r}"
                what = f"Its `{name}` is above `idle_timeout`; the bridge waits {in_seconds(most)}."
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

    def _leaves_web_kinds(self, entry: ManualEntry, dialect: str) -> bool:
        """Return whether tools may have any kind on the web: UTCP v0 has no key that allows kinds."""
        listed = entry.options.allowed_communication_protocols
        return not listed and dialect == "v0.x" and not self._settings.follows_reference_protocol_rules

    def _kinds_of(self, raw: Sequence[RawTool]) -> tuple[str, ...]:
        """Return the known kinds that the tools of a manual have."""
        stated = {str(one.template.get("call_template_type")) for one in raw[: self._settings.max_tools]}
        return tuple(
            sorted(self._registry.canonical(kind) for kind in stated if self._registry.fields(kind) is not None)
        )

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
    """Return `host:port` of an endpoint, in the form of `Source.exempt`; an empty set if its host has placeholders.

    It is empty too for a text that is not a URL, which `origin_of` names.
    """
    scheme, separator, rest = endpoint.partition("://")
    return _pair_of(f"{scheme}{separator}{_AFTER_HOST.split(rest, maxsplit=1)[0]}")


@lru_cache(maxsize=256)
def _pair_of(address: str) -> frozenset[str]:
    """Do it for an address without a path: most tools of a manual have the same one."""
    try:
        parts = urlsplit(address)
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
    if allowed is not None and kind not in allowed:
        raise PolicyError(
            f"Its type {kind} is not allowed in this manual. Allowed: {', '.join(sorted(allowed))}.",
            remedy=f'Add "allowed_communication_protocols": ["{kind}", …] to the manual.',
        )


def _is_near(transport: AnyTransport, template: CallTemplate | None, source: Source) -> bool:
    """Return whether calls of a template go to the web, to the origin of the manual itself."""
    endpoint = None if template is None else transport.endpoint(template)
    if endpoint is None or "$" in endpoint.partition("//")[2].partition("/")[0] or not transport.remote:
        return False
    try:
        return urlsplit(endpoint).scheme in _WEB_SCHEMES and origin_of(endpoint) == source.origin
    except (ConfigError, ValueError):
        return False


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
        if key_uses_secrets(key, value)
    )


def _check_near(endpoint: str, template: JsonObject, entry: JsonObject, source: Source) -> None:
    """Refuse the operator's credentials to an address of this machine or its networks that a file names itself.

    :raises PolicyError: the operator did not write the address.
    """
    host, own = urlsplit(endpoint).hostname or "", origin_of(endpoint)
    if template.get("auth") != entry.get("auth_tools") or own in {origin_of(one) for one in source.allowed_origins}:
        return
    if kind := closed_host(host):
        raise PolicyError(
            f"The file names {own} itself, a {kind} address, so `auth_tools` is not sent there.",
            remedy=f'If that is intended, add "allowed_origins": ["{own}"] to the manual.',
        )


_ToolDraft: Final = draft_of(Tool)


def _as_tool(raw: RawTool, source: Source, judged: _Judged, limits: Mapping[str, Any]) -> Tool:
    """Return the live tool. A draft is filled in a third of the time that `Tool()` takes."""
    draft: Any = _ToolDraft()
    draft.source = source
    draft.name = name = raw.name.removeprefix(f"{source.name}.")
    draft.qualified_name = f"{source.name}.{name}"
    draft.kind = judged.kind
    draft.template, draft.overlay = raw.template, raw.overlay
    draft.description, draft.title, draft.tags = raw.description, raw.title, raw.tags
    draft.inputs, draft.outputs = raw.inputs, raw.outputs if raw.projection is None else None
    draft.annotations, draft.repeatable, draft.is_local = judged.hints, judged.is_repeatable, judged.is_local
    draft.deprecated = raw.deprecated
    draft.average_response_size = raw.average_response_size
    draft.body_members, draft.returns_bytes = raw.body_members, raw.returns_bytes
    draft.limits, draft.defaults, draft.extras, draft.projection = limits, raw.defaults, raw.extras, raw.projection
    draft.__class__ = Tool
    tool: Tool = draft
    return tool


def check_program(
    transport: type[Transport[Any]],
    template: CallTemplate | None,
    entry: JsonObject,
    source: Source,
    kinds: Iterable[str] = (),
) -> None:
    """Refuse a program that a local manual would start without the word of its entry.

    An entry that starts programs itself allows its own kind. `template` is None if it cannot be read yet, `kinds` are
    those of the manual's tools, for the remedy.

    :raises PolicyError: the tool starts a program, and the entry does not allow that.
    """
    if source.trust is not Trust.OPERATOR or source.trusted:
        return
    if transport.implicit and (template is None or not transport.starts_program(template)):
        return
    listed = entry.get("allowed_communication_protocols")
    if not {entry.get("call_template_type"), *(listed if is_list(listed) else ())}.isdisjoint(transport.kinds):
        return
    listing = ", ".join(f'"{one}"' for one in sorted({transport.kinds[0], *kinds}))
    raise PolicyError(
        "It runs a program on this machine. A local manual may do that only if its entry says so.",
        remedy=f'If you trust it, add "allowed_communication_protocols": [{listing}] to its entry in a configuration.',
    )
