"""A manual for other clients: in UTCP v0.x, or in v1 with official fields only (`portable`).

A tool that these fields cannot express without loss is left out and reported. One argument is the body and the others
are the query; a request plan is dropped if these rules alone build the same request, and a body that was flattened into
arguments becomes the one argument `body` again. `proof` compares the requests of each tool that is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from utcp_bridge.convert.official import HTTP_KINDS, Unwritable, family_of, official_auth, official_schema
from utcp_bridge.convert.outcome import LEFT_OUT, PROVEN, UTCP_VERSION, Converted, ToolProof
from utcp_bridge.convert.proof import prove_http
from utcp_bridge.convert.replay import PYTHON_0, refusal
from utcp_bridge.convert.writing import WrittenTool, written_http, written_other
from utcp_bridge.dialects import wants_auth
from utcp_bridge.dialects.fields import strings_in
from utcp_bridge.errors import ConfigError
from utcp_bridge.model import Fault, JsonObject, is_list, is_object
from utcp_bridge.placement.body import media_kind
from utcp_bridge.placement.openapi_plan import read_plan
from utcp_bridge.placement.plan_models import ParameterPlan, RequestPlan

__all__ = ["portable", "portable_tool", "to_v0", "tools_with_auth"]

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
_SCALARS = frozenset({"string", "integer", "number", "boolean"})


class _Lossy(Exception):
    """The reason why a tool cannot be written in v0."""


def to_v0(converted: Converted) -> Converted:
    """Return the manual in UTCP v0; tools that v0 cannot express are left out and reported.

    :raises ConfigError: the document is a configuration, or none of its tools can be written.
    """
    if not converted.is_manual:
        raise ConfigError("Only manuals can be written in v0, and this document is a configuration.")
    tools: list[JsonObject] = []
    proof: list[ToolProof] = []
    notes = list(converted.notes)
    for tool in tools_with_auth(converted):
        name = str(tool.get("name"))
        where = f"{converted.name}, tool {name!r}"
        try:
            written, row = _v0_tool(tool)
        except (_Lossy, Unwritable) as reason:
            notes.append(Fault(where, f"left out because in v0 {reason}."))
            row = ToolProof(name, LEFT_OUT, (str(reason),))
        else:
            tools.append(written)
            if row.why:
                notes.append(Fault(where, f"in v0, the tool {'; it '.join(row.why)}.", "", "warning"))
        proof.append(row)
    if converted.tools and not tools:
        raise ConfigError("None of the tools can be written in v0 without loss.", remedy=str(notes[-1]))
    raw = converted.document
    manual: JsonObject = {"version": str(raw.get("manual_version") or "1.0")}
    if is_object(info := raw.get("info")):
        manual["provider_info"] = {"name" if key == "title" else key: value for key, value in info.items()}
    return Converted({**manual, "tools": tools}, converted.name, notes=notes, proof=proof)


def _v0_tool(tool: JsonObject) -> tuple[JsonObject, ToolProof]:
    template = tool.get("tool_call_template")
    if not is_object(template):
        raise _Lossy("a tool without a call template cannot be called")
    kind = str(template.get("call_template_type"))
    fields = {key: value for key, value in template.items() if key not in {"call_template_type", "name"}}
    inputs: JsonObject = tool.get("inputs") or {}
    if "request_plan" in fields:
        _refuse_lossy_plan(fields, inputs)
        del fields["request_plan"]
    if kind == "mcp" and fields.get("tool_name") == tool.get("name") and len(fields["config"]["mcpServers"]) == 1:
        del fields["tool_name"]
    _check(kind, fields)
    row = ToolProof(str(tool.get("name")), PROVEN)
    if kind in HTTP_KINDS:
        written = written_http(tool, repeats=True)
        row = ToolProof(row.tool, PROVEN, written.limits, prove_http(tool, written, clients=(PYTHON_0,)))
        fields, inputs = _v0_fields(written, fields), written.tool["inputs"]
    rest = {key: value for key, value in tool.items() if key not in {"tool_call_template", "inputs", "body_members"}}
    provider = {"provider_type": _KINDS.get(kind, kind), **fields}
    if (auth := official_auth(provider.pop("auth", None))) is not None:
        provider["auth"] = auth
    if is_object(outputs := rest.get("outputs")):
        rest["outputs"] = _v0_schema(outputs)
    return {**rest, "inputs": _v0_schema(inputs), "tool_provider": provider}, row


def _v0_schema(schema: JsonObject) -> JsonObject:
    """Return a schema that v0's model accepts: it has one type, and one schema for all items."""
    written = official_schema(schema)
    if is_list(kinds := written.get("type")):
        written["type"] = next((kind for kind in kinds if kind != "null"), "null")
    return {key: value for key, value in written.items() if key != "items" or is_object(value)}


def _v0_fields(written: WrittenTool, fields: JsonObject) -> JsonObject:
    """Return the fields of a provider from the v1 form of its tool."""
    made = {key: value for key, value in written.tool["tool_call_template"].items() if key != "call_template_type"}
    return {**{key: made[key] for key in fields if key in made}, **made}


def _check(kind: str, fields: JsonObject) -> None:
    known = _FIELDS.get(kind)
    if known is None:
        raise _Lossy(f"there is no provider of type {kind!r}")
    if strange := sorted(fields.keys() - known):
        raise _Lossy(f"a provider has no {', '.join(f'`{key}`' for key in strange)}")
    if any("{{" in text for text in strings_in(fields)):
        raise _Lossy("there are no {{expressions}}")


def _refuse_lossy_plan(fields: JsonObject, inputs: JsonObject) -> None:
    """Refuse a plan whose request v0's rules do not build.

    :raises _Lossy: v0's rules would build another request.
    """
    try:
        plan = read_plan(fields["request_plan"])
    except ConfigError as error:
        raise _Lossy(f"its request plan is unusable ({error.message})") from None
    for reason in _obstacles(plan, fields, inputs):
        raise _Lossy(reason)


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


def portable(converted: Converted) -> Converted:
    """Return the manual for UTCP clients of other vendors; a configuration stays unchanged.

    Each tool has official fields alone, and `proof` says for each whether they say the same request. A tool without
    such a form is left out and reported. Tools of one package of clients stay: a client that lacks the package of one
    tool refuses the whole manual.
    """
    if not converted.is_manual:
        return converted
    rows = [portable_tool(tool) for tool in tools_with_auth(converted)]
    families = Counter(family_of(_kind_of(tool)) for tool, _ in rows if tool is not None)
    family = max(families, key=lambda name: (families[name], name == "http"), default="http")
    tools: list[JsonObject] = []
    proof: list[ToolProof] = []
    for tool, row in rows:
        if tool is not None and family_of(_kind_of(tool)) != family:
            other = f"its type is {_kind_of(tool)!r}, and clients that call {family} alone would refuse the manual"
            row = ToolProof(row.tool, LEFT_OUT, (other,))  # noqa: PLW2901 - the row of a tool that was written
        elif tool is not None:
            tools.append(tool)
        proof.append(row)
    return Converted(
        {**_versions(converted.document), "tools": tools},
        converted.name,
        notes=[*converted.notes, *_proof_notes(converted.name, proof)],
        proof=proof,
    )


def _versions(document: JsonObject) -> JsonObject:
    """Return the head of a v1 manual with a version of UTCP 1."""
    stated = document.get("utcp_version")
    version = stated if isinstance(stated, str) and stated.startswith("1.") else UTCP_VERSION
    own = document.get("manual_version")
    return {"utcp_version": version, **({"manual_version": str(own)} if own is not None else {})}


def _kind_of(tool: JsonObject) -> str:
    return str(tool["tool_call_template"].get("call_template_type"))


def portable_tool(tool: JsonObject) -> tuple[JsonObject | None, ToolProof]:
    """Return a v1 tool for other clients, or None, and what became of it."""
    name = str(tool.get("name"))
    try:
        written, compared = _proven(tool)
    except Unwritable as reason:
        return None, ToolProof(name, LEFT_OUT, (str(reason),))
    return written.tool, ToolProof(name, PROVEN, written.limits, compared)


def _proven(tool: JsonObject) -> tuple[WrittenTool, int]:
    if not is_object(tool.get("tool_call_template")):
        raise Unwritable("a tool without a call template cannot be called")
    if _kind_of(tool) in HTTP_KINDS:
        written = written_http(tool)
        return written, prove_http(tool, written)
    written = written_other(tool)
    if (reason := refusal(written.tool)) is not None:
        raise Unwritable(reason)
    return written, 0


def tools_with_auth(converted: Converted) -> list[JsonObject]:
    """Return the manual's tools; those that use the manual's auth get a copy of it, for a document without it."""
    auth = converted.document.get("auth")
    if not is_object(auth):
        return converted.tools
    return [
        {**tool, "tool_call_template": {**template, "auth": auth}}
        if is_object(template := tool.get("tool_call_template")) and wants_auth(template, auth)
        else tool
        for tool in converted.tools
    ]


def _proof_notes(manual: str, proof: list[ToolProof]) -> list[Fault]:
    """Return an error for each tool that was left out, and a warning for each with fewer arguments."""
    notes: list[Fault] = []
    for row in proof:
        where = f"{manual}, tool {row.tool!r}"
        if row.state == LEFT_OUT:
            notes.append(Fault(where, f"left out for other clients because {row.why[0]}."))
        elif row.why:
            notes.append(Fault(where, f"for other clients, the tool {'; it '.join(row.why)}.", "", "warning"))
    return notes
