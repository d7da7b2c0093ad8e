"""A v1 manual for other clients: in UTCP v0.x, or with official keys only (`portable`).

A tool that v0 cannot express without loss is left out and reported. v0 sends one argument as the body and the others in
the query; a request plan is dropped if these rules alone build the same request. A body that was flattened into
arguments becomes the one argument `body` again.

Released UTCP clients of other vendors refuse keys that the official models do not have; `portable` drops them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from utcp_bridge.convert.outcome import Converted
from utcp_bridge.dialects.fields import strings_in
from utcp_bridge.errors import ConfigError
from utcp_bridge.model import Fault, JsonObject, is_list, is_object
from utcp_bridge.placement.body import media_kind
from utcp_bridge.placement.openapi_plan import read_plan
from utcp_bridge.placement.plan_models import ParameterPlan, RequestPlan

__all__ = ["portable", "to_v0"]

_HTTP = frozenset({"url", "http_method", "content_type", "headers", "body_field", "header_fields", "auth"})
_SOCKET = frozenset({"host", "port", "timeout", "request_data_format", "request_data_template", "response_byte_format"})
_FIELDS: dict[str, frozenset[str]] = {
    "http": _HTTP,
    "sse": _HTTP - {"http_method", "content_type"} | {"event_type", "reconnect", "retry_timeout"},
    "streamable_http": _HTTP | {"chunk_size", "timeout"},
    "cli": frozenset({"command_name", "env_vars", "working_dir"}),
    "websocket": frozenset({"url", "protocol", "keep_alive", "headers", "header_fields", "auth"}),
    "grpc": frozenset({"host", "port", "service_name", "method_name", "use_ssl", "auth"}),
    "graphql": frozenset({"url", "operation_type", "operation_name", "headers", "header_fields", "auth"}),
    "tcp": _SOCKET
    | {"framing_strategy", "length_prefix_bytes", "length_prefix_endian", "message_delimiter", "fixed_message_length"}
    | {"max_response_size"},
    "udp": _SOCKET | {"number_of_response_datagrams"},
    "webrtc": frozenset({"signaling_server", "peer_id", "data_channel_name"}),
    "mcp": frozenset({"config", "auth"}),
    "file": frozenset({"file_path"}),
}
"""The fields of a v0 provider of each type. A template with other fields cannot be written in v0."""

_KINDS = {"streamable_http": "http_stream", "file": "text"}
_AUTH_TYPES = frozenset({"api_key", "basic", "oauth2"})
_SCALARS = frozenset({"string", "integer", "number", "boolean"})
_MANUAL_KEYS = ("utcp_version", "manual_version", "tools")
_TOOL_KEYS = ("name", "description", "inputs", "outputs", "tags", "average_response_size", "tool_call_template")


class _Lossy(Exception):
    """The reason why a tool cannot be written in v0."""


def to_v0(converted: Converted) -> Converted:
    """Return the manual in UTCP v0; tools that v0 cannot express are left out and reported.

    :raises ConfigError: the document is a configuration, or none of its tools can be written.
    """
    if not converted.is_manual:
        raise ConfigError("Only manuals can be written in v0, and this document is a configuration.")
    tools: list[JsonObject] = []
    notes = list(converted.notes)
    for tool in converted.tools:
        try:
            tools.append(_tool(tool))
        except _Lossy as reason:
            notes.append(Fault(f"{converted.name}, tool {tool.get('name')!r}", f"left out because in v0 {reason}."))
    if converted.tools and not tools:
        raise ConfigError("None of the tools can be written in v0 without loss.", remedy=str(notes[-1]))
    raw = converted.document
    manual: JsonObject = {"version": str(raw.get("manual_version") or "1.0")}
    if is_object(info := raw.get("info")):
        manual["provider_info"] = {"name" if key == "title" else key: value for key, value in info.items()}
    return Converted({**manual, "tools": tools}, converted.name, notes=notes)


def _tool(tool: JsonObject) -> JsonObject:
    template = tool.get("tool_call_template")
    if not is_object(template):
        raise _Lossy("a tool without a call template cannot be called")
    kind = str(template.get("call_template_type"))
    fields = {key: value for key, value in template.items() if key not in {"call_template_type", "name"}}
    inputs: JsonObject = tool.get("inputs") or {}
    if "request_plan" in fields:
        fields, inputs = _without_plan(fields, inputs)
    if kind == "mcp" and fields.get("tool_name") == tool.get("name") and len(fields["config"]["mcpServers"]) == 1:
        del fields["tool_name"]
    _check(kind, fields)
    rest = {key: value for key, value in tool.items() if key not in {"tool_call_template", "inputs", "body_members"}}
    provider = {"provider_type": _KINDS.get(kind, kind), **fields}
    if is_object(auth := provider.get("auth")):
        provider["auth"] = {key: value for key, value in auth.items() if key != "aliases"}
    return {**rest, "inputs": inputs, "tool_provider": provider}


def _check(kind: str, fields: JsonObject) -> None:
    known = _FIELDS.get(kind)
    if known is None:
        raise _Lossy(f"there is no provider of type {kind!r}")
    if strange := sorted(fields.keys() - known):
        raise _Lossy(f"a provider has no {', '.join(f'`{key}`' for key in strange)}")
    auth = fields.get("auth")
    if is_object(auth) and auth.get("auth_type") not in _AUTH_TYPES:
        raise _Lossy(f"there is no auth of type {str(auth.get('auth_type'))!r}")
    if any("{{" in text for text in strings_in(fields)):
        raise _Lossy("there are no {{expressions}}")


def _without_plan(fields: JsonObject, inputs: JsonObject) -> tuple[JsonObject, JsonObject]:
    """Return fields and inputs from which v0's rules alone build the request of the plan.

    :raises _Lossy: v0's rules would build another request.
    """
    try:
        plan = read_plan(fields["request_plan"])
    except ConfigError as error:
        raise _Lossy(f"its request plan is unusable ({error.message})") from None
    for reason in _obstacles(plan, fields, inputs):
        raise _Lossy(reason)
    plain = {key: value for key, value in fields.items() if key not in {"request_plan", "body_field", "content_type"}}
    if plan.headers:
        plain["headers"] = {**plan.headers, **plain.get("headers", {})}
    if plan.body is None:
        return plain, inputs
    plain |= {"body_field": plan.body.argument, "content_type": plan.body.media_type}
    return plain, inputs if plan.body.members is None else _gathered(inputs, plan.body.members, plan.body.required)


def _obstacles(plan: RequestPlan, fields: JsonObject, inputs: JsonObject) -> Iterator[str]:
    properties: JsonObject = inputs.get("properties") or {}
    for parameter in plan.parameters:
        if not _PLAIN[parameter.location](parameter, properties.get(parameter.argument)):
            yield f"{parameter.location} parameter {parameter.name!r} would be written in another way"
    if plan.defaults:
        yield "a provider has no defaults"
    if "%24" in str(fields.get("url")):
        yield "a URL cannot contain a dollar sign"
    if plan.body is None:
        return
    if media_kind(plan.body.media_type) != "json" or plan.body.encoding or plan.body.binary or plan.body.empty_object:
        yield f"a body of type {plan.body.media_type} would be written in another way"
    if plan.body.members is not None and any(p.argument == plan.body.argument for p in plan.parameters):
        yield f"two arguments would be named {plan.body.argument!r}"


def _is_plain_path(parameter: ParameterPlan, schema: Any) -> bool:
    simple = parameter.style == "simple" and not parameter.content_type and not parameter.allow_reserved
    return simple and _is_scalar(schema)


def _is_plain_query(parameter: ParameterPlan, schema: Any) -> bool:
    own_name = parameter.argument == parameter.name and not parameter.content_type and not parameter.allow_reserved
    repeated = parameter.style == "form" and parameter.explode
    return own_name and (_is_scalar(schema) or (repeated and _is_list_of_scalars(schema)))


def _is_plain_header(parameter: ParameterPlan, schema: Any) -> bool:
    return parameter.argument == parameter.name and not parameter.content_type and _is_scalar(schema)


_PLAIN: dict[str, Callable[[ParameterPlan, Any], bool]] = {
    "path": _is_plain_path,
    "query": _is_plain_query,
    "header": _is_plain_header,
    "cookie": lambda _parameter, _schema: False,
    "querystring": lambda _parameter, _schema: False,
}


def _is_scalar(schema: Any) -> bool:
    return is_object(schema) and isinstance(schema.get("type"), str) and schema["type"] in _SCALARS


def _is_list_of_scalars(schema: Any) -> bool:
    return is_object(schema) and schema.get("type") == "array" and _is_scalar(schema.get("items"))


def _gathered(inputs: JsonObject, members: tuple[str, ...], required: bool) -> JsonObject:
    """Return the inputs with the body's members combined under `body`."""
    properties: JsonObject = inputs.get("properties") or {}
    needed = [name for name in inputs["required"] if isinstance(name, str)] if is_list(inputs.get("required")) else []
    body: JsonObject = {
        "type": "object",
        "properties": {name: properties[name] for name in members if name in properties},
        "additionalProperties": False,
    }
    if inside := [name for name in needed if name in members]:
        body["required"] = inside
    outside = [name for name in needed if name not in members] + (["body"] if required or inside else [])
    rest = {name: schema for name, schema in properties.items() if name not in members}
    kept = {key: value for key, value in inputs.items() if key != "required"}
    return {**kept, "properties": {**rest, "body": body}, **({"required": outside} if outside else {})}


def portable(converted: Converted) -> Converted:
    """Return the same manual with official keys only; a configuration stays unchanged."""
    if not converted.is_manual:
        return converted
    tools = [{key: tool[key] for key in _TOOL_KEYS if key in tool} for tool in converted.tools]
    manual = {key: converted.document[key] for key in _MANUAL_KEYS if key in converted.document}
    return Converted({**manual, "tools": tools}, converted.name, notes=converted.notes)
