"""One tool for other UTCP clients: official fields alone, which say the same request (pure).

A body is one argument, also where its properties were arguments of their own. Arguments that the clients write in
different ways get another form (`forms`). An optional argument without such a form is left out, and so is a tool whose
request the official fields cannot say. `WrittenTool.limits` and `Unwritable` say what and why.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from utcp_bridge.convert.forms import ArgumentForm, body_form, unchanged, value_form
from utcp_bridge.convert.official import FIELDS, Unwritable, official_auth, official_tool
from utcp_bridge.convert.original import PLACEHOLDER, OriginalBody, OriginalPlace, OriginalRequest, original_request
from utcp_bridge.dialects.fields import strings_in
from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.settings import ManualOptions
from utcp_bridge.urls import query_name, query_names

__all__ = ["WrittenTool", "written_http", "written_other"]

_COMBINING: Final = frozenset({
    "anyOf", "oneOf", "allOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies",
    "minProperties", "maxProperties", "patternProperties", "propertyNames", "unevaluatedProperties",
})  # fmt: skip
"""Keywords about several arguments at once, which name arguments that may have changed."""
_OPERATORS: Final = frozenset(ManualOptions.model_fields)
_COMMAND_ARGUMENT: Final = re.compile(r"UTCP_ARG_(\w{1,128}?)_UTCP_END")


@dataclass(frozen=True, slots=True)
class WrittenTool:
    """A tool for other clients. `back` turns its arguments into those of the original tool."""

    tool: JsonObject
    limits: tuple[str, ...]
    back: Callable[[JsonObject], JsonObject]


@dataclass(slots=True)
class _Arguments:
    """The written arguments, as they are collected."""

    properties: JsonObject = field(default_factory=dict[str, Any])
    required: list[str] = field(default_factory=list[str])
    limits: list[str] = field(default_factory=list[str])
    back: list[tuple[str, Callable[[Any], JsonObject]]] = field(default_factory=list[tuple[str, Any]])
    header_fields: list[str] = field(default_factory=list[str])
    in_url: dict[str, str] = field(default_factory=dict[str, str], repr=False)

    def add(self, name: str, form: ArgumentForm, *, required: bool, back: Callable[[Any], JsonObject]) -> None:
        self.properties[name] = form.schema
        if required:
            self.required.append(name)
        self.back.append((name, lambda value: back(form.back(value))))

    def original(self, arguments: JsonObject) -> JsonObject:
        """Return the arguments of the original tool."""
        given: JsonObject = {}
        for name, back in self.back:
            if name in arguments:
                given |= back(arguments[name])
        return given


def written_http(tool: JsonObject, *, repeats: bool = False) -> WrittenTool:
    """Return a tool of the types in `HTTP_KINDS`. `repeats` is for clients that all repeat the name of a list.

    :raises Unwritable: its request cannot be said with official fields.
    """
    template: JsonObject = tool["tool_call_template"]
    inputs: JsonObject = tool["inputs"] if is_object(tool.get("inputs")) else {}
    if "properties" not in inputs and inputs.keys() & {"$ref", "allOf", "anyOf", "oneOf"}:
        raise Unwritable("its arguments are not listed in one schema")
    if template.get("wire") not in {None, "plain"}:
        raise Unwritable("clients do not know `wire`")
    request = original_request(template, inputs)
    arguments = _arguments(request, inputs, repeats=repeats)
    body_name = _add_body(request.body, arguments, inputs, repeats=repeats)
    url, written = _template(template, request, arguments, body_name), _inputs(inputs, arguments)
    return WrittenTool(official_tool(tool, inputs=written, template=url), tuple(arguments.limits), arguments.original)


# --- the written tool -------------------------------------------------------------------------


def _arguments(request: OriginalRequest, inputs: JsonObject, *, repeats: bool) -> _Arguments:
    """Return the arguments outside of the body, each under the name that the official fields give it."""
    arguments = _Arguments()
    fixed = frozenset(query_names(request.url.partition("?")[2])) - {""}
    reserved = {place.name for place in request.places if place.where != "path"}
    for place in request.places:
        if place.where == "query" and query_name(place.name) in fixed:
            continue
        try:
            form = _form_of(place, inputs, repeats=repeats)
            name = _written_name(place, arguments, reserved)
        except Unwritable as reason:
            if place.required:
                raise Unwritable(f"its argument {place.argument!r} is required, and {reason}") from None
            arguments.limits.append(f"has no argument {place.argument!r}, because {reason}")
            continue
        arguments.limits.extend(f"{text} for {name!r}" for text in form.limits)
        if place.where == "header":
            arguments.header_fields.append(name)
        elif place.where == "path":
            arguments.in_url[place.argument] = f"{place.prefix}{{{name}}}"
        arguments.add(name, form, required=place.required, back=_only(place.argument))
    return arguments


def _only(argument: str) -> Callable[[Any], JsonObject]:
    return lambda value: {argument: value}


def _form_of(place: OriginalPlace, inputs: JsonObject, *, repeats: bool) -> ArgumentForm:
    if place.problem:
        raise Unwritable(place.problem)
    return value_form(
        place.schema, inputs, name=place.name, delimiter=place.delimiter, repeats=repeats and place.where == "query"
    )


def _written_name(place: OriginalPlace, arguments: _Arguments, reserved: set[str]) -> str:
    """Return the argument's name: that in the request, except for the path, whose names are the template's own."""
    if place.where == "path":
        return _free(place.argument.replace("$", "_"), reserved | arguments.properties.keys(), "_path")
    if place.name in arguments.properties:
        raise Unwritable(f"another argument is named {place.name!r}")
    if place.where == "header" and "$" in place.name:
        raise Unwritable("`$` would be read as a variable")
    return place.name


def _free(name: str, taken: Iterable[str], more: str) -> str:
    known = set(taken)
    while name in known:
        name += more
    return name


def _add_body(body: OriginalBody | None, arguments: _Arguments, inputs: JsonObject, *, repeats: bool) -> str | None:
    """Add the body as one argument, and return its name."""
    if body is None:
        return None
    form = body_form(body.plan, body.schema, inputs, repeats=repeats)
    name = _free(body.plan.argument if body.plan.members is None else "body", arguments.properties, "_content")
    arguments.limits.extend(f"{text} for {name!r}" for text in form.limits)
    arguments.add(name, form, required=body.required, back=body.back)
    return name


def _inputs(inputs: JsonObject, arguments: _Arguments) -> JsonObject:
    """Return the written schema of the arguments: the original one if it says the same."""
    given: JsonObject = inputs.get("properties") or {}
    written = arguments.properties
    same = written.keys() == given.keys() and all(given[name] is schema for name, schema in written.items())
    in_url = arguments.in_url.keys()  # needed anyway, whether the schema says so or not
    if same and set(arguments.required) - in_url == set(inputs.get("required") or ()) - in_url:
        return inputs
    kept = {key: value for key, value in inputs.items() if key not in _COMBINING | {"properties", "required"}}
    made: JsonObject = {"type": "object", **kept, "properties": written}
    return {**made, "required": arguments.required} if arguments.required else made


def _template(
    template: JsonObject, request: OriginalRequest, arguments: _Arguments, body_name: str | None
) -> JsonObject:
    kind = str(template.get("call_template_type"))
    dropped = {"body_field", "content_type", "header_fields", "headers", "auth"}
    kept = {key: value for key, value in template.items() if key in FIELDS[kind] - dropped and value is not None}
    url = PLACEHOLDER.sub(lambda found: arguments.in_url.get(found[1], found[0]), request.url)
    written: JsonObject = {"call_template_type": kind, **kept, "url": url}
    if "http_method" in FIELDS[kind] and (method := template.get("http_method") or template.get("method")):
        written["http_method"] = str(method).upper()
    headers = {name: value for name, value in request.headers.items() if name.lower() != "content-type"}
    names = {name.lower() for name in arguments.header_fields}
    headers = {name: value for name, value in headers.items() if name.lower() not in names}
    if body_name is not None and request.body is not None:
        media_type = request.body.plan.media_type
        written["body_field"] = body_name
        if "content_type" in FIELDS[kind]:
            written["content_type"] = media_type
        else:
            headers["Content-Type"] = media_type
    elif kind == "http" and "body" in arguments.properties:
        written["body_field"] = ""
    if headers:
        written["headers"] = headers
    if arguments.header_fields:
        written["header_fields"] = arguments.header_fields
    if (auth := official_auth(template.get("auth"))) is not None:
        written["auth"] = auth
    return written


# --- other types of call templates ------------------------------------------------------------


def written_other(tool: JsonObject) -> WrittenTool:
    """Return a tool of another type than HTTP, whose official fields mean the same to every client.

    :raises Unwritable: no released client calls this type, or it needs a field that they do not have.
    """
    template: JsonObject = tool["tool_call_template"]
    kind = str(template.get("call_template_type"))
    known = FIELDS.get(kind)
    if known is None:
        raise Unwritable(f"released clients have no call template of type {kind!r}")
    kept = {key: value for key, value in template.items() if key not in _OPERATORS and value is not None}
    if kind == "mcp":
        kept = _without_tool_name(kept, str(tool.get("name")))
    if strange := sorted(kept.keys() - known - {"call_template_type", "name"}):
        raise Unwritable(f"clients do not know `{strange[0]}` of a call template of type {kind!r}")
    kept = {key: value for key, value in kept.items() if key not in {"name", "auth"}}
    if any("{{" in text for text in strings_in(kept)):
        raise Unwritable("a call template has no {{expressions}}")
    if is_object(content := kept.get("content")):
        kept["content"] = json.dumps(content, ensure_ascii=False)
    if (auth := official_auth(template.get("auth"))) is not None:
        kept["auth"] = auth
    inputs: JsonObject = tool["inputs"] if is_object(tool.get("inputs")) else {}
    limits: tuple[str, ...] = ()
    if kind == "cli":
        inputs, limits = _with_required(kept, inputs)
    return WrittenTool(official_tool(tool, inputs=inputs, template=kept), limits, unchanged)


def _without_tool_name(template: JsonObject, name: str) -> JsonObject:
    """Return an `mcp` template without `tool_name`: clients call the tool by the name in the manual."""
    config = template.get("config")
    servers = config.get("mcpServers") if is_object(config) else None
    wanted = template.get("tool_name", name)
    if not is_object(servers) or len(servers) != 1 or name not in {wanted, f"{next(iter(servers))}.{wanted}"}:
        raise Unwritable("clients call a tool of an MCP server by its own name")
    return {key: value for key, value in template.items() if key != "tool_name"}


def _with_required(template: JsonObject, inputs: JsonObject) -> tuple[JsonObject, tuple[str, ...]]:
    """Return the schema with every argument of a command required: clients write a mark for a missing one."""
    known: JsonObject = inputs.get("properties") or {}
    names = dict.fromkeys(name for text in strings_in(template) for name in _COMMAND_ARGUMENT.findall(text))
    needed = [one for one in inputs.get("required") or () if isinstance(one, str)]
    optional = [name for name in names if name in known and name not in needed]
    if not optional:
        return inputs, ()
    return {**inputs, "required": [*needed, *optional]}, tuple(f"needs its argument {name!r}" for name in optional)
