"""The request of a tool of this bridge: which argument goes where, by a plan or by the template's fields (pure)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import quote, urlencode

from utcp_bridge.convert.forms import unchanged
from utcp_bridge.convert.official import Unwritable
from utcp_bridge.errors import ConfigError
from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.placement.openapi_plan import read_plan
from utcp_bridge.placement.openapi_styles import DELIMITERS
from utcp_bridge.placement.plan_models import BodyPlan, ParameterPlan, RequestPlan

__all__ = ["PLACEHOLDER", "OriginalBody", "OriginalPlace", "OriginalRequest", "gathered", "original_request"]

PLACEHOLDER: Final = re.compile(r"(?<!\$)\{([^{}]+)\}")
"""An argument in the URL of a template; `${NAME}` is a variable."""
_ONE_NAME: Final = re.compile(r"\{\{\s*([\w@-]+)\s*\}\}|\$\{(\w+)\}")
_DOUBLE: Final = re.compile(r"\{\{\s*([\w@-]+)\s*\}\}")
_VARIABLE: Final = re.compile(r"\$\{(\w+)\}")
_CONTENT_TYPE: Final = {"streamable_http": "application/octet-stream"}
_WHOLE_REST: Final = "*"


@dataclass(frozen=True, slots=True)
class OriginalPlace:
    """An argument of the original tool outside of the body. `name` is its name in the request."""

    argument: str
    name: str
    where: str
    schema: Any
    required: bool = False
    delimiter: str | None = None
    prefix: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class OriginalBody:
    plan: BodyPlan
    schema: Any
    required: bool
    back: Callable[[Any], JsonObject]


@dataclass(frozen=True, slots=True)
class OriginalRequest:
    """The request of the original tool."""

    url: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    places: list[OriginalPlace]
    body: OriginalBody | None = field(repr=False)


def original_request(template: JsonObject, inputs: JsonObject) -> OriginalRequest:
    """Return the request of a tool of one of the HTTP types.

    :raises Unwritable: official fields cannot say where its arguments go.
    """
    return _planned(template, inputs) if template.get("request_plan") is not None else _placed(template, inputs)


def _planned(template: JsonObject, inputs: JsonObject) -> OriginalRequest:
    """Return the request of a tool with a request plan."""
    try:
        plan = read_plan(template["request_plan"])
    except ConfigError as error:
        raise Unwritable(f"its request plan is unusable ({error.message})") from None
    if plan.defaults:
        raise Unwritable("a call template has no defaults for arguments")
    properties: JsonObject = inputs.get("properties") or {}
    needed = _required(inputs)
    places = [_planned_place(one, properties, needed) for one in plan.parameters]
    known = {place.argument for place in places if place.where == "path"}
    url = str(template.get("url"))
    places += [
        OriginalPlace(name, name, "path", properties.get(name, {"type": "string"}), required=True, delimiter=",")
        for name in dict.fromkeys(PLACEHOLDER.findall(url))
        if name not in known
    ]
    headers = {**plan.headers, **_fixed_headers(template)}
    return OriginalRequest(url, headers, places, _planned_body(plan, properties, needed, inputs))


def _planned_place(one: ParameterPlan, properties: JsonObject, needed: frozenset[str]) -> OriginalPlace:
    schema = properties.get(one.argument, {"type": "string"})
    required = one.required or one.argument in needed or one.location == "path"
    place = OriginalPlace(one.argument, one.name, one.location, schema, required)
    if one.location in {"cookie", "querystring"}:
        return replace(place, problem=f"clients send no {one.location}")
    if one.content_type or one.style == "deepObject":
        return replace(place, problem="clients write it in other ways")
    delimiter = DELIMITERS.get(one.style, ",")
    if one.location == "query":
        return place if one.explode else replace(place, delimiter=delimiter)
    prefix = {"label": ".", "matrix": f";{quote(one.name, safe='')}="}.get(one.style, "")
    if prefix and _may_be(schema, "array"):
        return replace(place, problem="clients write it in other ways")
    return replace(place, delimiter=delimiter, prefix=prefix)


def _may_be(schema: Any, kind: str) -> bool:
    return is_object(schema) and kind in str(schema.get("type", kind))


def _planned_body(
    plan: RequestPlan, properties: JsonObject, needed: frozenset[str], inputs: JsonObject
) -> OriginalBody | None:
    body = plan.body
    if body is None:
        return None
    if body.members is None:
        required = body.argument in needed or body.required
        return OriginalBody(body, properties.get(body.argument, {}), required, lambda value: {body.argument: value})
    schema = gathered(inputs, body.members)
    spread = body.argument in body.members or body.argument in properties  # a parameter may have that name

    def back(value: Any) -> JsonObject:
        return value if spread and is_object(value) else {body.argument: value}

    return OriginalBody(body, schema, body.required or bool(schema.get("required")), back)


def gathered(inputs: JsonObject, members: Iterable[str]) -> JsonObject:
    """Return the schema of an object that has these arguments as its properties."""
    properties: JsonObject = inputs.get("properties") or {}
    needed = _required(inputs)
    kept: JsonObject = {name: properties[name] for name in members if name in properties}
    inside = [name for name in kept if name in needed]
    schema: JsonObject = {"type": "object", "properties": kept, "additionalProperties": False}
    return {**schema, "required": inside} if inside else schema


def _required(inputs: JsonObject) -> frozenset[str]:
    needed = inputs.get("required")
    return frozenset(name for name in needed if isinstance(name, str)) if is_list(needed) else frozenset()


def _placed(template: JsonObject, inputs: JsonObject) -> OriginalRequest:
    """Return the request of a tool without a plan, by the rules of `placement.http_template`."""
    if template.get("cookies"):
        raise Unwritable("a call template has no `cookies`")
    kind = str(template.get("call_template_type"))
    properties: JsonObject = inputs.get("properties") or {}
    needed = _required(inputs)
    url = _plain_url(str(template.get("url")), properties)
    in_url = list(dict.fromkeys(PLACEHOLDER.findall(url)))
    in_headers = {
        **{str(name): str(name) for name in template.get("header_fields") or ()},
        **_headers_of(template, properties),
    }
    places = [
        OriginalPlace(argument, name, "header", properties.get(argument, {"type": "string"}), argument in needed, ",")
        for name, argument in in_headers.items()
    ]
    places += [
        OriginalPlace(name, name, "path", properties.get(name, {"type": "string"}), True, ",") for name in in_url
    ]
    taken = {*in_headers.values(), *in_url}
    body = _placed_body(template, kind, inputs, taken)
    taken |= body[1]
    url, query = _placed_query(template, url, properties, needed, taken)
    return OriginalRequest(url, _fixed_headers(template), [*places, *query], body[0])


def _plain_url(url: str, properties: JsonObject) -> str:
    url = _VARIABLE.sub(lambda found: f"{{{found[1]}}}" if found[1] in properties else found[0], url)
    url = _DOUBLE.sub(lambda found: f"{{{found[1]}}}", url)
    if "{{" in url:
        raise Unwritable("a call template has no {{expressions}}")
    return url


def _headers_of(template: JsonObject, properties: JsonObject) -> dict[str, str]:
    """Return the argument of each header that consists of one."""
    found: dict[str, str] = {}
    headers: JsonObject = template.get("headers") or {}
    for name, value in headers.items():
        if (argument := _argument_in(value, properties)) is not None:
            found[str(name)] = argument
        elif isinstance(value, str) and "{{" in value:
            raise Unwritable("a call template has no {{expressions}}")
    return found


def _argument_in(value: Any, properties: JsonObject) -> str | None:
    """Return the argument that a value of a template consists of."""
    found = _ONE_NAME.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        return None
    return found[1] or (found[2] if found[2] in properties else None)


def _fixed_headers(template: JsonObject) -> dict[str, str]:
    headers: JsonObject = template.get("headers") or {}
    return {
        str(name): str(value)
        for name, value in headers.items()
        if value is not None and not (isinstance(value, str) and "{{" in value)
    }


def _placed_query(
    template: JsonObject, url: str, properties: JsonObject, needed: frozenset[str], taken: set[str]
) -> tuple[str, list[OriginalPlace]]:
    """Return the URL with the fixed part of the query, and the places in it."""
    given = template.get("query_params")
    templated = template.get("body_template", template.get("body")) is not None
    if is_object(given):
        fixed: list[tuple[str, str]] = []
        places: list[OriginalPlace] = []
        for name, value in given.items():
            argument = _argument_in(value, properties)
            if argument is not None:
                places.append(
                    OriginalPlace(
                        argument, name, "query", properties.get(argument, {"type": "string"}), argument in needed
                    )
                )
            elif isinstance(value, str | int | float) and not isinstance(value, bool) and "{{" not in str(value):
                fixed.append((name, str(value)))
            else:
                raise Unwritable("a call template has no `query_params`")
        return (f"{url}{'&' if '?' in url else '?'}{urlencode(fixed)}" if fixed else url), places
    whole = template.get("body_field") == _WHOLE_REST
    if whole or (templated and template.get("http_method", template.get("method", "GET")) != "GET"):
        return url, []
    names = (name for name in properties if name not in taken)
    return url, [OriginalPlace(name, name, "query", properties[name], name in needed) for name in names]


def _placed_body(
    template: JsonObject, kind: str, inputs: JsonObject, taken: set[str]
) -> tuple[OriginalBody | None, set[str]]:
    """Return the body, and the arguments that it takes."""
    properties: JsonObject = inputs.get("properties") or {}
    needed = _required(inputs)
    media_type = next(
        (value for name, value in _fixed_headers(template).items() if name.lower() == "content-type"),
        str(template.get("content_type") or _CONTENT_TYPE.get(kind, "application/json")),
    )
    shape = template.get("body_template", template.get("body"))
    if shape is not None:
        return _templated_body(shape, media_type, inputs)
    name = template.get("body_field", "body" if kind == "http" else None)
    if name == _WHOLE_REST:
        rest = [one for one in properties if one not in taken]
        schema = gathered(inputs, rest)
        plan = BodyPlan(media_type=media_type)
        return (OriginalBody(plan, schema, bool(schema.get("required")), unchanged) if rest else None), set(rest)
    if not name or name not in properties or name in taken:
        return None, set()
    plan = BodyPlan(media_type=media_type, argument=str(name))
    return OriginalBody(plan, properties[name], name in needed, lambda value: {str(name): value}), {str(name)}


def _templated_body(shape: Any, media_type: str, inputs: JsonObject) -> tuple[OriginalBody, set[str]]:
    """Return a body whose template is an object of arguments."""
    properties: JsonObject = inputs.get("properties") or {}
    names: dict[str, str | None] = {}
    if is_object(shape):
        names = {key: _argument_in(value, properties) for key, value in shape.items()}
    arguments = [name for name in names.values() if name is not None]
    if len(arguments) < max(1, len(names)) or len(set(arguments)) < len(arguments):
        raise Unwritable("a call template has no `body_template`")
    renamed = {key: str(name) for key, name in names.items()}
    whole = gathered(inputs, renamed.values())
    inside: JsonObject = {key: properties.get(name, {}) for key, name in renamed.items()}
    schema: JsonObject = {**whole, "properties": inside}
    schema["required"] = [key for key, name in renamed.items() if name in _required(inputs)]

    def back(value: Any) -> JsonObject:
        return {renamed[key]: one for key, one in value.items()}

    plan = BodyPlan(media_type=media_type)
    return OriginalBody(plan, schema, bool(schema["required"]), back), set(arguments)
