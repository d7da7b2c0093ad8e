"""Binding: a call template with `${VARIABLES}` becomes a `Target` that a transport can use.

This is the innermost step of the pipeline and the only one that holds secrets. Credentials are bound to the origins
that they were written for. For a template that the operator wrote these are its own target and `allowed_origins`. For
a fetched manual they are the manual's origin and `allowed_origins`, and never another address that the manual names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from utcp_bridge.auth.alternatives import choose_auth
from utcp_bridge.dialects.v1 import MAP_KEYS
from utcp_bridge.errors import ConfigError
from utcp_bridge.model import JsonObject, Source, Tool, Trust, is_list, is_object
from utcp_bridge.net.guard import origin_of
from utcp_bridge.placement.compiling import CallTemplate
from utcp_bridge.settings import explain
from utcp_bridge.transport import Target, Transport
from utcp_bridge.variables import flat_key, variable_names

if TYPE_CHECKING:
    from utcp_bridge.auth.credentials import Credentials
    from utcp_bridge.auth.tokens import TokenCache
    from utcp_bridge.dialects import RawTool
    from utcp_bridge.variables import LookedUp, Variables

__all__ = ["Binder", "key_uses_secrets", "uses_secrets"]

AnyTransport = Transport[Any]


class Binder:
    """Fills in variables and binds credentials. Apart from reading the sources of variables it does no I/O."""

    def __init__(self, variables: Variables, tokens: TokenCache, on_secret: Callable[[str, str], None]) -> None:
        """`on_secret` receives what a secret of an `auth` belongs to, and the secret."""
        self._variables = variables
        self._tokens = tokens
        self._on_secret = on_secret

    def tool(
        self, tool: Tool, transport: type[AnyTransport], *, trust: Trust | None = None, bare_names: bool = True
    ) -> Target[Any]:
        """Return the target of one tool.

        `trust` is the trust of the template if it differs from the trust of the manual: a tool without a template of
        its own uses the operator's. Without `bare_names` it sees only the variables of its manual all the same.

        :raises VariableNotFound: a variable is not set.
        :raises ConfigError: the template does not fit the transport's model once its variables are filled in.
        """
        return self.bound(tool, tool.source, transport, trust=trust, bare_names=bare_names)

    def bound(
        self,
        tool: Tool | RawTool,
        source: Source,
        transport: type[AnyTransport],
        *,
        trust: Trust | None = None,
        bare_names: bool = True,
        unbound: CallTemplate | None = None,
    ) -> Target[Any]:
        """Do it for a tool that may not be live yet, of this source.

        `unbound` is its template before its variables are filled in, if it is valid then: without variables, it is the
        template of the target.
        """
        arguments = tool.inputs.get("properties")
        trust = source.trust if trust is None else trust
        resolved = self._resolve(
            tool.template,
            transport,
            source,
            trust=trust if bare_names else Trust.REMOTE,
            arguments=frozenset(arguments) if is_object(arguments) else frozenset(),
        )
        is_as_written = unbound is not None and resolved == tool.template
        if tool.overlay:
            resolved = {**resolved, **tool.overlay}
        return self._target(resolved, transport, source, trust=trust, known=unbound if is_as_written else None)

    def manual(self, entry: JsonObject, transport: type[AnyTransport], source: Source) -> Target[Any]:
        """Return the target of a manual's own template, for discovery.

        :raises VariableNotFound: a variable is not set.
        :raises ConfigError: the template does not fit the transport's model once its variables are filled in.
        """
        resolved = self._resolve(_for_discovery(entry), transport, source, trust=Trust.OPERATOR, arguments=frozenset())
        return self._target(resolved, transport, source, trust=Trust.OPERATOR)

    def is_unchanged(self, seen: Mapping[LookedUp, int]) -> bool:
        """Return whether the variables that `looked_up` noted still have the same values."""
        return self._variables.are_as(seen)

    def has(self, name: str) -> bool:
        """Return whether a source has a variable of this bare name.

        :raises ConfigError: a source of variables cannot be read.
        """
        return self._variables.lookup("", name, Trust.OPERATOR) is not None

    def unset(self, entry: JsonObject, transport: type[AnyTransport], manual: str) -> list[str]:
        """Return the keys of the variables that a manual's own template needs and no source has.

        :raises ConfigError: a source of variables cannot be read.
        """

        def is_set(name: str) -> bool:
            return self._variables.lookup(manual, name, Trust.OPERATOR) is not None

        chosen = _for_discovery(entry)
        if is_object(auth := entry.get("auth")):
            chosen["auth"] = choose_auth(auth, is_set)
        names = variable_names(chosen, raw_fields=transport.raw_fields, braced_only=transport.braced_only)
        return [flat_key(manual, name) or name for name in names if not is_set(name)]

    def _resolve(
        self,
        template: JsonObject,
        transport: type[AnyTransport],
        source: Source,
        *,
        trust: Trust,
        arguments: frozenset[str],
    ) -> JsonObject:
        auth = template.get("auth")
        if is_object(auth):
            # Only the chosen alternative is resolved, so the variables of the others may be unset.
            chosen = choose_auth(auth, lambda name: self._variables.lookup(source.owner, name, trust) is not None)
            template = {**template, "auth": chosen}
        resolved = self._variables.resolve(
            template,
            manual=source.owner,
            trust=trust,
            arguments=arguments,
            raw_fields=transport.raw_fields,
            braced_only=transport.braced_only,
        )
        return resolved if is_object(resolved) else {}

    def _target(
        self,
        resolved: JsonObject,
        transport: type[AnyTransport],
        source: Source,
        *,
        trust: Trust,
        known: CallTemplate | None = None,
    ) -> Target[Any]:
        try:
            template = transport.template.model_validate(resolved) if known is None else known
        except ValidationError as error:
            raise ConfigError(f"The {transport.kinds[0]} call template is not valid: {explain(error)}.") from None
        self._report_literals(resolved, source)
        return Target(template, source, self._credentials(template, transport, source, trust=trust))

    def _report_literals(self, resolved: JsonObject, source: Source) -> None:
        """Report secrets that are written in other fields than `auth`."""
        from utcp_bridge.auth.literals import literal_secrets

        for number, secret in enumerate(literal_secrets(resolved, without="auth")):
            self._on_secret(f"template {source.owner} {number}", secret)

    def _credentials(
        self, template: CallTemplate, transport: type[AnyTransport], source: Source, *, trust: Trust
    ) -> Credentials | None:
        if not template.auth:
            return None
        from utcp_bridge.auth.credentials import Credentials
        from utcp_bridge.auth.models import parse_auth

        origins, service = _origins(template, transport, source), transport.endpoint(template)
        credentials = Credentials(
            parse_auth(template.auth), origins, self._tokens, source=source, trust=trust, service=service
        )
        owner = f"auth {source.owner} {credentials.auth!r}"  # the models show no secret
        for secret in credentials.secrets():
            self._on_secret(owner, secret)
        return credentials


def _for_discovery(entry: JsonObject) -> JsonObject:
    """Leave out `auth_tools`, where a missing variable makes calls fail, not discovery; and maps, which have none."""
    return {key: value for key, value in entry.items() if key != "auth_tools" and key not in MAP_KEYS}


def _origins(template: CallTemplate, transport: type[AnyTransport], source: Source) -> frozenset[str]:
    origins = {origin_of(origin) for origin in source.allowed_origins}
    if source.origin is not None:
        origins.add(source.origin)
    endpoint = transport.endpoint(template)
    if endpoint is not None and source.trust is Trust.OPERATOR:
        origins.add(origin_of(endpoint))
    return frozenset(origins)


def uses_secrets(template: Mapping[str, Any]) -> bool:
    """Return whether a raw template has `auth` or names a variable; then it may reach only the operator's origins."""
    return any(key_uses_secrets(key, value) for key, value in template.items())


def key_uses_secrets(key: str, value: Any) -> bool:
    """Return whether one field of a raw template is a reason for `uses_secrets`."""
    if key == "auth" and value:
        return True
    return key != "request_plan" and _names_variable(value)


def _names_variable(value: Any) -> bool:
    if isinstance(value, str):
        return "$" in value
    if is_object(value):
        return any(_names_variable(one) for one in value.values())
    return is_list(value) and any(_names_variable(one) for one in value)
