"""The proof that other clients call a written tool as this bridge calls the original.

For each sample of arguments, the interpreter of official fields (`replay`) and the transport of this bridge build a
request. Both must be equal: method, origin, path, query and body by value, and every header that either of them sends
on purpose. Numbers outside of JSON are compared as numbers (`1.0` and `1`), JSON as values. Credentials are the same
official `auth` on both sides and are not part of the requests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import ValidationError

from utcp_bridge.convert.forms import ALL_TYPES, types_of
from utcp_bridge.convert.official import Unwritable
from utcp_bridge.convert.replay import CLIENTS, Client, Unsendable, refusal, replay
from utcp_bridge.convert.writing import WrittenTool
from utcp_bridge.errors import ConfigError, InvalidArguments
from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.placement.body import media_kind
from utcp_bridge.placement.http_template import HttpFamilyTemplate
from utcp_bridge.placement.request import RequestParts
from utcp_bridge.transports.registry import TransportRegistry
from utcp_bridge.urls import at_pointer

__all__ = [
    "difference",
    "prove_http",
    "request_builder",
    "sample_arguments",
]

_NUMBER: Final = re.compile(r"-?\d{1,40}(?:\.\d{1,40})?(?:[eE][+-]?\d{1,3})?")
_VARIABLE: Final = re.compile(r"\$\{(\w+)\}|\$(\w+)", re.ASCII)
_BuildRequest = Callable[[JsonObject], RequestParts]


def prove_http(original: JsonObject, written: WrittenTool, *, clients: Sequence[Client] | None = None) -> int:
    """Return the number of requests that were compared, for a tool of `official.HTTP_KINDS` and its v1 form.

    :raises Unwritable: a client refuses the tool or its arguments, or sends another request.
    """
    if (reason := refusal(written.tool)) is not None:
        raise Unwritable(reason)
    template: JsonObject = written.tool["tool_call_template"]
    inputs: JsonObject = original.get("inputs") or {}
    declared: frozenset[str] = frozenset(inputs.get("properties") or ())
    build = request_builder(_filled(original["tool_call_template"], declared))
    filled: JsonObject = _filled(template, frozenset())
    headers = template.get("header_fields") or ()
    compared = 0
    for arguments in sample_arguments(written.tool["inputs"], headers=headers):
        try:
            ours = build(written.back(arguments))
        except InvalidArguments:
            continue
        for client in clients or CLIENTS[str(template["call_template_type"])]:
            _compare(ours, filled, arguments, client)
            compared += 1
    if not compared:
        raise Unwritable("no request could be compared")
    return compared


def _compare(ours: RequestParts, template: JsonObject, arguments: JsonObject, client: Client) -> None:
    try:
        theirs = replay(template, arguments, client)
    except Unsendable as reason:
        raise Unwritable(f"{client.name} does not send {reason}") from None
    if (where := difference(ours, theirs)) is not None:
        raise Unwritable(f"{client.name} sends another {where}")


def request_builder(template: JsonObject) -> _BuildRequest:
    """Return the function from arguments to the request of this bridge; `sse` with a body is a POST.

    :raises Unwritable: the template cannot be used.
    """
    kind = str(template.get("call_template_type"))
    model = TransportRegistry().find(kind).template
    try:
        made = model.model_validate({key: value for key, value in template.items() if key != "auth"})
        if not isinstance(made, HttpFamilyTemplate):
            raise Unwritable(f"a call template of type {kind!r} has no request")
        build = made.build_request
    except (ConfigError, ValidationError) as error:
        said = error.message if isinstance(error, ConfigError) else error.errors()[0]["msg"]
        raise Unwritable(f"its call template cannot be used ({said})") from None
    if kind != "sse":
        return build

    def build_sse(arguments: JsonObject) -> RequestParts:
        parts = build(arguments)
        return parts if parts.body is None else replace(parts, method="POST")

    return build_sse


def _filled(value: Any, declared: frozenset[str], key: str = "") -> Any:
    """Return a template with a text in place of each variable, as both clients would have it."""
    if is_object(value):
        return {
            name: _filled(member, declared, name) if name != "request_plan" else member
            for name, member in value.items()
        }
    if is_list(value):
        return [_filled(one, declared) for one in value]
    if not isinstance(value, str) or "$" not in value:
        return value
    filled = _VARIABLE.sub(
        lambda found: found[0] if not declared.isdisjoint({found[0], found[1] or found[2]}) else "v", value
    )
    return f"https://{filled}.example" if key == "url" and "://" not in filled else filled


# --- equal requests ---------------------------------------------------------------------------


def difference(ours: RequestParts, theirs: RequestParts) -> str | None:
    """Return the first part in which two requests differ: `method`, `URL`, `query`, `header …` or `body`."""
    if ours.method != theirs.method:
        return "method"
    mine, other = urlsplit(ours.url), urlsplit(theirs.url)
    if _location(mine.scheme, mine.netloc, mine.path) != _location(other.scheme, other.netloc, other.path):
        return "URL"
    if _query(mine.query) != _query(other.query):
        return "query"
    has_body = ours.body is not None
    if has_body is not (theirs.body is not None):
        return "body"
    if (name := _different_header(ours, theirs, has_body=has_body)) is not None:
        return f"header {name}"
    media_type = next((value for name, value in ours.headers if name.lower() == "content-type"), "")
    return "body" if _body(ours.body, media_type) != _body(theirs.body, media_type) else None


def _location(scheme: str, host: str, path: str) -> tuple[str, str, list[str]]:
    return scheme.lower(), host.lower(), [_plain(unquote(segment)) for segment in (path or "/").split("/")]


def _query(text: str) -> list[tuple[str, str]]:
    pairs = parse_qsl(text, keep_blank_values=True, errors="surrogateescape")
    return sorted((name, _plain(value)) for name, value in pairs)


def _plain(text: str) -> str:
    """Return a text so that equal numbers, and equal JSON objects or lists, are equal."""
    if _NUMBER.fullmatch(text):
        with suppress(InvalidOperation):
            return str(Decimal(text).normalize() + 0)
    if text[:1] in {"{", "["}:
        with suppress(ValueError):
            return _json(text)
    return text


def _different_header(ours: RequestParts, theirs: RequestParts, *, has_body: bool) -> str | None:
    mine = {name.lower(): _plain(value) for name, value in ours.headers}
    other = {name.lower(): _plain(value.strip(" \t")) for name, value in theirs.headers}
    ignored = {"content-type"} - ({"content-type"} if has_body else set()) | ({"accept"} - other.keys())
    names = (mine.keys() | other.keys()) - ignored
    return next((name for name in sorted(names) if mine.get(name) != other.get(name)), None)


def _body(content: bytes | None, media_type: str) -> Any:
    if content is None:
        return None
    kind = media_kind(media_type)
    if kind == "form":
        return _query(content.decode("utf-8", "replace"))
    if kind == "json":
        with suppress(ValueError):
            return _json(content)
    return content


def _json(text: str | bytes) -> str:
    """Return JSON so that equal values are equal text: `1.0` is `1`."""
    return json.dumps(json.loads(text, parse_float=_number), sort_keys=True)


def _number(text: str) -> float | int:
    value = float(text)
    return int(value) if value.is_integer() else value


_STRINGS: Final = ("plain", "a b&c=d/é?#%41+;,:@'!", "0", 'x "y" {z} \\ <w> ü|~', "true")
_HEADERS: Final = ("plain", "a b&c=d/?#%41+;:@'!", "0", 'x "y" {z} \\ <w>|~', "true")
_INTEGERS: Final = (7, -1, 0, 2_147_483_648, 1)
_NUMBERS: Final = (1.5, -0.25, 3, 1_000_000.5, 0)
_JSON_TEXT: Final = '{"a":[1,"é"],"b":{"c":null}}'
_VARIANTS: Final = 5
_MAX_DEPTH: Final = 8
_MAX_MEMBERS: Final = 40


def sample_arguments(inputs: JsonObject, *, headers: Collection[str] = frozenset()) -> Iterator[JsonObject]:
    """Yield arguments for a tool with this input schema. Those in `headers` are ASCII text without control characters.

    The first object has the required arguments alone, the others have all.
    """
    properties: JsonObject = inputs.get("properties") or {}
    required: set[str] = set(inputs.get("required") or ())
    for variant in range(_VARIANTS):
        yield {
            name: _value(schema, inputs, variant, _HEADERS if name in headers else _STRINGS, 0)
            for name, schema in properties.items()
            if variant or name in required
        }


def _value(
    schema: Any, root: JsonObject, variant: int, strings: Sequence[str], depth: int, allowed: frozenset[str] = ALL_TYPES
) -> Any:
    """Return a value of one of the `allowed` types, which schemas around this one leave."""
    if not is_object(schema):
        return _pick(strings, variant)
    kinds = (types_of(schema, root) & allowed) - {"null"}
    if is_list(values := schema.get("enum")) and (named := [one for one in values if one is not None]):
        return _pick(named, variant)
    if "const" in schema:
        return schema["const"]
    if (target := _target(schema, root, kinds, variant)) is not None and depth < _MAX_DEPTH:
        found = _value(target, root, variant, strings, depth + 1, kinds)
        if not is_object(found) or "object" not in kinds:
            return found
        return {**found, **_object(schema, root, variant, depth)}
    return _typed(schema, root, variant, strings, depth, kinds)


def _target(schema: JsonObject, root: JsonObject, kinds: frozenset[str], variant: int) -> Any:
    """Return the schema that this one refers to, or one of its branches that has one of the types."""
    if isinstance(place := schema.get("$ref"), str):
        return at_pointer(root, place)
    for word in ("anyOf", "oneOf", "allOf"):
        branches = [one for one in schema.get(word) or () if types_of(one, root) & kinds]
        if branches:
            return _pick(branches, variant)
    return None


def _typed(
    schema: JsonObject, root: JsonObject, variant: int, strings: Sequence[str], depth: int, kinds: frozenset[str]
) -> Any:
    if "object" in kinds and (len(kinds) == 1 or "properties" in schema):
        return _object(schema, root, variant, depth)
    if kinds == frozenset({"array"}):
        items = schema.get("items", {})
        count = 1 + variant % 2 if depth < _MAX_DEPTH else 0
        return [_value(items, root, variant + one, strings, depth + 1) for one in range(count)]
    if "string" in kinds:
        text = str(schema.get("contentMediaType", ""))
        return _JSON_TEXT if text.partition(";")[0].endswith(("/json", "+json")) else _pick(strings, variant)
    if "number" in kinds:
        return _pick(_NUMBERS, variant)
    if "integer" in kinds:
        return _pick(_INTEGERS, variant)
    return variant % 2 == 0 if "boolean" in kinds else {}


def _object(schema: JsonObject, root: JsonObject, variant: int, depth: int) -> JsonObject:
    properties = schema.get("properties")
    members: JsonObject = properties if is_object(properties) else {}
    required = schema.get("required")
    needed = set(required) if is_list(required) else set[str]()
    least = schema.get("minProperties", 0)
    wanted = [
        name
        for number, name in enumerate(members)
        if name in needed or number < least or (variant and depth < _MAX_DEPTH // 2 and number < _MAX_MEMBERS)
    ]
    if depth >= _MAX_DEPTH:
        return {}
    return {name: _value(members[name], root, variant, _STRINGS, depth + 1) for name in wanted}


def _pick(values: Sequence[Any], variant: int) -> Any:
    return values[variant % len(values)]
