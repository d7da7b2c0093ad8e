"""What an entry of the configuration adds to the tools of its document: credentials and headers (pure).

`auth` is also for the tools of a UTCP manual at the manual's own origin. `headers` and `header_fields` are also for the
tools of an OpenAPI description, which may say nothing of a header that the service insists on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from utcp_bridge.dialects import RawTool, wants_auth
from utcp_bridge.errors import ConfigError
from utcp_bridge.manuals.binding import uses_secrets
from utcp_bridge.model import Fault, JsonObject, Source, Trust, is_list, is_object
from utcp_bridge.net.gate.addresses import closed_host
from utcp_bridge.placement.own_arguments import with_own_arguments
from utcp_bridge.placement.placeholders import Syntax, compile_template
from utcp_bridge.urls import origin_of

__all__ = ["with_entry_auth", "with_entry_headers"]

_UNKNOWN = "an address that is filled in later"


def with_entry_auth(tools: Sequence[RawTool], entry: JsonObject, source: Source) -> list[RawTool]:
    """Return the tools of a UTCP manual, with the `auth` of its entry for those at its own origin that have none."""
    auth = entry.get("auth")
    if not is_object(auth) or source.origin is None:
        return list(tools)
    return [
        replace(tool, template={**tool.template, "auth": auth})
        if _origin(tool.template) == source.origin and wants_auth(tool.template, auth)
        else tool
        for tool in tools
    ]


def with_entry_headers(
    tools: Sequence[RawTool], entry: JsonObject, source: Source
) -> tuple[list[RawTool], list[Fault]]:
    """Return the tools of an OpenAPI description with the headers of its entry, and a fault if some do not get them.

    Headers go to the origins that credentials go to. A parameter of the description that an entry's header replaces is
    not an argument any more.

    :raises ConfigError: the headers of the entry cannot be used.
    """
    headers, fields = entry.get("headers"), entry.get("header_fields")
    headers, fields = headers if is_object(headers) else {}, fields if is_list(fields) else []
    if not headers and not fields:
        return list(tools), []
    named = compile_template(headers, syntaxes=Syntax.MUSTACHE, where="`headers`").names
    made: list[RawTool] = []
    elsewhere: dict[str, None] = {}
    for tool in tools:
        origin = _origin(tool.template)
        if _may_receive(origin, headers, source):
            made.append(_with_headers(tool, headers, [str(one) for one in fields], named))
        else:
            elsewhere[origin or _UNKNOWN] = None
            made.append(tool)
    if not elsewhere:
        return made, []
    what = f"The `headers` of the entry are not sent to {', '.join(elsewhere)}: the document names that address itself."
    line = ", ".join(f'"{origin}"' for origin in elsewhere if origin != _UNKNOWN)
    remedy = f'add "allowed_origins": [{line}] to the manual' if line else "set `base_url`"
    return made, [Fault(f"manual {source.name!r}", what, f"If that is intended, {remedy}.", "warning")]


def _origin(template: JsonObject) -> str | None:
    url = template.get("url")
    try:
        return origin_of(url) if isinstance(url, str) else None
    except (ConfigError, ValueError):
        return None


def _may_receive(origin: str | None, headers: JsonObject, source: Source) -> bool:
    if origin is None or origin in {source.origin, *map(origin_of, source.allowed_origins)}:
        return origin is not None
    if source.trust is not Trust.OPERATOR:
        return False
    return not uses_secrets({"headers": headers}) or closed_host(urlsplit(origin).hostname or "") is None


def _with_headers(tool: RawTool, headers: JsonObject, fields: list[str], named: frozenset[str]) -> RawTool:
    plan: Any = tool.template.get("request_plan")
    if not is_object(plan):
        return tool
    replaced = {name.lower() for name in headers}
    stated: list[Any] = plan.get("parameters") or []
    gone = [one for one in stated if one["in"] == "header" and str(one["name"]).lower() in replaced]
    kept = [one for one in stated if one not in gone]
    known = {one["argument"] for one in kept}
    kept += [{"argument": name, "name": name, "in": "header"} for name in fields if name not in known]
    template = {**tool.template, "headers": headers, "request_plan": {**plan, "parameters": kept}}
    inputs = _without(tool.inputs, {str(one["argument"]) for one in gone})
    [extended] = with_own_arguments([{"inputs": inputs}], header_fields=fields, named=named)
    return replace(tool, template=template, inputs=extended["inputs"])


def _without(inputs: JsonObject, names: set[str]) -> JsonObject:
    if not names:
        return inputs
    properties = {name: one for name, one in inputs.get("properties", {}).items() if name not in names}
    kept = {**inputs, "properties": properties}
    if "required" in inputs:
        kept["required"] = [name for name in inputs["required"] if name not in names]
    return kept
