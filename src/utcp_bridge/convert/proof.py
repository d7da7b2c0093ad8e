"""The proof that other clients call a written tool as this bridge calls the original.

For each sample of arguments, the interpreter of official fields (`replay`) and the transport of this bridge build a
request. Both must be equal: method, origin, path, query and body by value, and every header that either of them sends
on purpose. Numbers outside of JSON are compared as numbers (`1.0` and `1`), JSON as values. Credentials are the same
official `auth` on both sides and are not part of the requests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import ValidationError

from utcp_bridge.convert.official import Unwritable
from utcp_bridge.convert.replay import CLIENTS, Client, Unsendable, refusal, replay
from utcp_bridge.convert.samples import sample_arguments
from utcp_bridge.convert.writing import WrittenTool
from utcp_bridge.errors import ConfigError, InvalidArguments
from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.placement.body import media_kind
from utcp_bridge.placement.http_template import HttpFamilyTemplate
from utcp_bridge.placement.request import RequestParts
from utcp_bridge.transports.registry import TransportRegistry

__all__ = ["difference", "prove_http", "request_builder"]

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
