"""Request plans of OpenAPI operations, compiled into functions from arguments to `RequestParts` (pure).

Rule 1. Nulls and absent arguments are omitted; a missing path argument is an error that names it.
Rule 2. No argument can change the path's segments, add a header line or end the query.
Rule 3. An argument that is not in the plan is refused, not dropped.
Rule 4. No argument adds a value to a name that the URL's query fixes; such a value is left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from pydantic import ValidationError

from utcp_bridge.errors import ConfigError, InvalidArguments
from utcp_bridge.model import Json, JsonObject, is_list
from utcp_bridge.placement.body import BodyWriter, compile_body, encode_form, media_kind, reserved_text
from utcp_bridge.placement.encoding import (
    MAX_URL,
    compact_json,
    format_scalar,
    header_value,
    percent_encode,
    refuse_dot_segments,
    refuse_long_url,
)
from utcp_bridge.placement.headers import MAX_HEADER_BYTES, HeaderPlan
from utcp_bridge.placement.openapi_styles import Encode, Pair, expand_pairs, expand_segment, expand_simple
from utcp_bridge.placement.plan_models import BodyPlan, ParameterPlan, PropertyPlan, RequestPlan
from utcp_bridge.placement.request import RequestParts
from utcp_bridge.placement.url import MAX_URL_TEMPLATE
from utcp_bridge.urls import query_names

__all__ = ["BodyPlan", "BuildRequest", "ParameterPlan", "PropertyPlan", "RequestPlan", "compile_plan", "read_plan"]

BuildRequest: TypeAlias = Callable[[JsonObject], RequestParts]
_Write: TypeAlias = Callable[[Any], str]
_Expand: TypeAlias = Callable[[Any], list[Pair]]

MAX_PARAMETERS: Final = 2_000
"""Parameters of one operation. The largest known have about a hundred."""
MAX_USES: Final = 8
"""Parameters that one argument is the value of; the converter makes one."""

_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
_COOKIE_BREAKS = re.compile(r"[\x00-\x1f\x7f;]")
_KEPT_IN_PATH = ":@!$&'()*+,;="


def read_plan(data: JsonObject) -> RequestPlan:
    """Return the plan in a call template.

    :raises ConfigError: the data is not a request plan.
    """
    parameters = data.get("parameters")
    if is_list(parameters) and len(parameters) > MAX_PARAMETERS:
        raise ConfigError(
            f"`request_plan` has more than {MAX_PARAMETERS:,} parameters.", remedy="Use a smaller description."
        )
    try:
        plan = RequestPlan.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        raise ConfigError(f"`request_plan` cannot be used at {where!r}: {first['msg']}.") from error
    for argument, uses in Counter(parameter.argument for parameter in plan.parameters).most_common(1):
        if uses > MAX_USES:
            raise ConfigError(
                f"`request_plan` uses argument {argument!r} for more than {MAX_USES} parameters.",
                remedy="Use it for fewer parameters.",
            )
    return plan


def compile_plan(plan: RequestPlan, url: str, method: str, own: HeaderPlan | None = None) -> BuildRequest:
    """Return the function from arguments to a request, which raises `InvalidArguments`.

    `own` are headers of the operator. They replace those of the plan, except for Accept.
    `url` is the template's: absolute, with `{argument}` for path arguments and literals already percent-encoded
    (`%24` means `$`, which a template cannot contain).
    """
    if len(url) > MAX_URL_TEMPLATE:
        raise ConfigError(f"`url` has more than {MAX_URL_TEMPLATE:,} characters.", remedy="Write a shorter URL.")
    target, _, fixed_query = url.partition("#")[0].partition("?")
    write_target, write_query = _compile_target(target, plan), _compile_query(fixed_query.replace("%24", "$"), plan)
    headers = [(p.argument, p.name, _header_writer(p)) for p in plan.parameters if p.location == "header"]
    cookies = [(p.argument, _cookie_writer(p)) for p in plan.parameters if p.location == "cookie"]
    taken = {parameter.argument for parameter in plan.parameters} | set(_PLACEHOLDER.findall(target))
    write_body = compile_body(plan.body, taken=taken) if plan.body else None
    known = _known_arguments(plan) | set(_PLACEHOLDER.findall(target)) | (own.used if own else frozenset[str]())
    verb, defaults, fixed_headers = method.upper(), plan.defaults, list(plan.headers.items())

    def build(arguments: JsonObject) -> RequestParts:
        if not arguments.keys() <= known:
            _refuse_unknown(arguments, known)
        given = {**defaults, **arguments}
        query = write_query(given)
        lines = [
            (name, write(value)) for argument, name, write in headers if (value := given.get(argument)) is not None
        ]
        if fixed_headers:
            named = {name.lower() for name, _ in lines}
            lines += [line for line in fixed_headers if line[0].lower() not in named]
        _add_cookies(lines, cookies, given)
        if own is not None:
            lines = _replaced(lines, own.build(given))
        if len(lines) > 1:
            _check_size(lines)
        body = _add_body(lines, write_body, given)
        location = write_target(given)
        target_url = f"{location}?{query}" if query else location
        if len(target_url) > MAX_URL:
            refuse_long_url()
        return RequestParts(verb, target_url, lines, body)

    return build


def _known_arguments(plan: RequestPlan) -> set[str]:
    known = {parameter.argument for parameter in plan.parameters}
    if plan.body:
        known |= {plan.body.argument, *(plan.body.members or ())}
    return known


def _refuse_unknown(arguments: JsonObject, known: set[str]) -> None:
    unknown = min(arguments.keys() - known)
    raise InvalidArguments(
        f"Argument {unknown!r} is not an argument of this tool.",
        remedy=f"The tool takes: {', '.join(sorted(known))}." if known else "The tool takes no arguments.",
    )


# --- path -------------------------------------------------------------------------------------


def _compile_target(target: str, plan: RequestPlan) -> Callable[[JsonObject], str]:
    """Return the function that writes the path. A segment with placeholders is checked as a whole."""
    by_argument = {p.argument: p for p in plan.parameters if p.location == "path"}
    segments: list[str | Callable[[JsonObject], str]] = []
    for segment in target.split("/"):
        if _PLACEHOLDER.search(segment):
            segments.append(_segment_writer(segment, by_argument))
        else:
            segments.append(segment.replace("%24", "$"))
    if all(isinstance(segment, str) for segment in segments):
        literal = target.replace("%24", "$")
        return lambda _arguments: literal

    def write(arguments: JsonObject) -> str:
        written: list[str] = []
        room = MAX_URL
        for segment in segments:
            text = segment if isinstance(segment, str) else segment(arguments)
            room -= len(text)
            if room < 0:
                refuse_long_url()
            written.append(text)
        return "/".join(written)

    return write


def _segment_writer(segment: str, by_argument: dict[str, ParameterPlan]) -> Callable[[JsonObject], str]:
    pieces = _PLACEHOLDER.split(segment)
    literals = [piece.replace("%24", "$") for piece in pieces[::2]]
    names = pieces[1::2]
    writers = [_path_writer(by_argument.get(name) or _plain_path_parameter(name)) for name in names]

    def write(arguments: JsonObject) -> str:
        text = literals[0]
        for name, write_value, literal in zip(names, writers, literals[1:], strict=True):
            written = write_value(arguments.get(name))
            if not written:
                raise InvalidArguments(
                    f"Argument {name!r} must not be missing or empty because it is part of the URL path.",
                    remedy=f"Send {name!r}.",
                )
            text += written + literal
            if len(text) > MAX_URL:
                refuse_long_url(name)
        refuse_dot_segments(text, argument=names[0] if len(names) == 1 else ", ".join(names))
        return text

    return write


def _plain_path_parameter(name: str) -> ParameterPlan:
    return ParameterPlan.model_validate({"argument": name, "name": name, "in": "path"})


def _path_writer(plan: ParameterPlan) -> _Write:
    safe = _KEPT_IN_PATH if plan.allow_reserved else ""

    def encode(text: str) -> str:
        return percent_encode(text, argument=plan.argument, safe=safe)

    def write(value: Json) -> str:
        if value is None:
            return ""
        if plan.content_type:
            return encode(_content_text(plan, value))
        return expand_segment(plan.style, plan.name, value, explode=plan.explode, encode=encode)

    return write


# --- query, headers, cookies ------------------------------------------------------------------


def _compile_query(fixed_query: str, plan: RequestPlan) -> Callable[[JsonObject], str]:
    """Return the function that writes the query after the fixed one."""
    queries = [(p.argument, _query_writer(p)) for p in plan.parameters if p.location in {"query", "querystring"}]
    fixed = frozenset(query_names(fixed_query)) - {""}

    def write(given: JsonObject) -> str:
        query = fixed_query
        for argument, write_one in queries:
            if (value := given.get(argument)) is None or not (text := write_one(value)):
                continue
            if fixed and not (text := _without(fixed, text)):
                continue
            query = f"{query}&{text}" if query else text
            if len(query) > MAX_URL:
                refuse_long_url(argument)
        return query

    return write


def _without(fixed: frozenset[str], query: str) -> str:
    """Return a query without the values of fixed names: an exploded object names its own."""
    return "&".join(part for part in query.split("&") if fixed.isdisjoint(query_names(part)))


def _query_writer(plan: ParameterPlan) -> _Write:
    encode = _query_encoder(plan)
    if plan.location == "querystring":
        return lambda value: _whole_query(plan, value)
    if plan.content_type:
        return lambda value: f"{encode(plan.name)}={encode(_content_text(plan, value))}"

    def write(value: Json) -> str:
        pairs = expand_pairs(plan.style, plan.name, value, explode=plan.explode, encode=encode)
        return "&".join(f"{name}={text}" for name, text in pairs)

    return write


def _query_encoder(plan: ParameterPlan) -> Encode:
    if plan.allow_reserved:
        return lambda text: reserved_text(text, plan.argument)
    return lambda text: percent_encode(text, argument=plan.argument)


def _whole_query(plan: ParameterPlan, value: Json) -> str:
    """Return the whole query from one value: `in: querystring` of OpenAPI 3.2."""
    if isinstance(value, dict) and media_kind(plan.content_type or "") != "json":
        return encode_form(value, {})
    return percent_encode(_content_text(plan, value), argument=plan.argument)


def _content_text(plan: ParameterPlan, value: Json) -> str:
    """Write a parameter that has `content`: as a form, as JSON, or as text, by its media type."""
    kind = media_kind(plan.content_type or "")
    if kind == "form" and isinstance(value, dict):
        return encode_form(value, {})
    if kind == "json":
        return compact_json(value).decode("utf-8")
    return format_scalar(value)


def _header_writer(plan: ParameterPlan) -> _Write:
    def write(value: Json) -> str:
        if plan.content_type:
            text = _content_text(plan, value)
        else:
            text = expand_simple(plan.style, value, explode=plan.explode, encode=str)
        return header_value(text, argument=plan.argument)

    return write


def _cookie_writer(plan: ParameterPlan) -> _Expand:
    def encode(text: str) -> str:
        if plan.style != "cookie":
            return percent_encode(text, argument=plan.argument)
        if _COOKIE_BREAKS.search(text):
            raise InvalidArguments(
                f"Argument {plan.argument!r} is sent in a cookie and contains ';', a line break or a control character."
            )
        return header_value(text, argument=plan.argument)

    def write(value: Json) -> list[Pair]:
        if plan.content_type:
            return [(encode(plan.name), encode(_content_text(plan, value)))]
        style = "form" if plan.style == "cookie" else plan.style
        return expand_pairs(style, plan.name, value, explode=plan.explode, encode=encode)

    return write


def _add_cookies(lines: list[Pair], cookies: list[tuple[str, _Expand]], given: JsonObject) -> None:
    pairs = [pair for argument, write in cookies if (value := given.get(argument)) is not None for pair in write(value)]
    if pairs:
        lines.append(("Cookie", "; ".join(f"{name}={text}" for name, text in pairs)))


def _replaced(lines: list[Pair], own: list[Pair]) -> list[Pair]:
    chosen = [line for line in own if line[0].lower() != "accept"]
    names = {name.lower() for name, _ in chosen}
    return [*(line for line in lines if line[0].lower() not in names), *chosen]


def _check_size(lines: list[Pair]) -> None:
    if sum(len(text) for _, text in lines) > MAX_HEADER_BYTES:
        raise InvalidArguments(
            f"The headers of the request have more than {MAX_HEADER_BYTES:,} characters.",
            remedy="Send shorter arguments.",
        )


def _add_body(lines: list[Pair], write_body: BodyWriter | None, given: JsonObject) -> bytes | None:
    encoded = write_body(given) if write_body else None
    if encoded is None:
        return None
    lines.append(("Content-Type", encoded.content_type))
    return encoded.content
