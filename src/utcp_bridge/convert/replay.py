"""The requests of other vendors' clients: an interpreter of the official fields of UTCP, and of nothing else.

`refusal` says why those clients would refuse a tool, and with it the whole manual. `replay` returns the request that a
client sends for a call. The clients differ where the specification is silent, so each is a `Client`:

* headers, then the body, then `{name}` in the URL take their arguments; the others are the query;
* text of a value is Python's or JavaScript's: `True` or `true`, `[1, 2]` or `1,2`;
* in the query, Python repeats the name of a list and refuses booleans, nulls and objects; JavaScript writes `name[]`;
* the body is JSON if its type contains `application/json`. Python writes other objects as a form, and text as it is.

TypeScript's client only pretends to call `sse` and `streamable_http`. Sources: those of `official`, and utcp 0.2.3.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

from utcp_bridge.convert.official import AUTH_FIELDS, FIELDS, METHODS, TOOL_KEYS
from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.placement.request import RequestParts

__all__ = ["CLIENTS", "PYTHON", "PYTHON_0", "TYPESCRIPT", "Client", "Unsendable", "refusal", "replay"]

_PLACEHOLDER: Final = re.compile(r"\{([^{}]+)\}")
_JSON: Final = "application/json"
_FORM: Final = "application/x-www-form-urlencoded"
_MAX_SAFE: Final = 1e21
"""From here on, JavaScript writes numbers with an exponent."""


class Unsendable(Exception):
    """The client sends no request for these arguments; the text says what it refuses."""


@dataclass(frozen=True, slots=True)
class Client:
    """How one client writes values; each function is pure."""

    name: str
    text: Callable[[Any], str]
    query: Callable[[str, Any], Iterator[tuple[str, str]]]
    body: Callable[[Any, str], bytes]
    omits_null_body: bool


def _python_text(value: Any) -> str:
    return str(value)


def _python_query(name: str, value: Any) -> Iterator[tuple[str, str]]:
    for one in value if is_list(value) else (value,):
        if isinstance(one, bool) or not isinstance(one, str | int | float):
            raise Unsendable(f"a {_kind(one)} in the query ({name})")
        yield name, str(one)


def _python_body(value: Any, media_type: str) -> bytes:
    if _JSON in media_type:
        return json.dumps(value).encode()
    if isinstance(value, str):
        return value.encode()
    if is_object(value):
        return urlencode(value, doseq=True).encode()
    raise Unsendable(f"a {_kind(value)} as a body of type {media_type}")


def _javascript_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < _MAX_SAFE:
        return str(int(value))
    if is_list(value):
        return ",".join("" if one is None else _javascript_text(one) for one in value)
    return "[object Object]" if is_object(value) else str(value)


def _javascript_query(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if is_object(value):
        for key, member in value.items():
            yield from _javascript_query(f"{name}[{key}]", member)
    elif is_list(value):
        flat = not any(isinstance(one, dict | list) for one in value)
        stem = name.removesuffix("[]")
        for index, one in enumerate(value):
            yield from _javascript_query(f"{stem}[]" if flat else f"{stem}[{index}]", one)
    elif value is not None:
        yield name, _javascript_text(value)


def _javascript_body(value: Any, media_type: str) -> bytes:
    if is_object(value) or is_list(value):
        if _FORM in media_type:
            members: JsonObject = (
                value if is_object(value) else dict(zip(map(str, range(len(value))), value, strict=True))
            )
            pairs = [pair for key, member in members.items() for pair in _javascript_query(key, member)]
            return urlencode(pairs).encode()
        if "multipart/form-data" in media_type:
            raise Unsendable("a multipart body")
        return json.dumps(value).encode()
    if _JSON not in media_type:
        return _javascript_text(value).encode()
    if isinstance(value, str):
        with suppress(ValueError):
            json.loads(value)
            return value.strip().encode()
    return json.dumps(value).encode()


def _kind(value: Any) -> str:
    if is_object(value) or is_list(value):
        return "object" if is_object(value) else "list"
    return "boolean" if isinstance(value, bool) else "null" if value is None else "number"


PYTHON: Final = Client("python-utcp", _python_text, _python_query, _python_body, omits_null_body=True)
PYTHON_0: Final = Client("python-utcp 0.2", _python_text, _python_query, _python_body, omits_null_body=True)
TYPESCRIPT: Final = Client("@utcp/sdk", _javascript_text, _javascript_query, _javascript_body, omits_null_body=False)
CLIENTS: Final[dict[str, tuple[Client, ...]]] = {
    "http": (PYTHON, TYPESCRIPT),
    "sse": (PYTHON,),
    "streamable_http": (PYTHON,),
}
"""The clients that send requests for each type of call template."""
_METHOD: Final = {"http": "GET", "streamable_http": "GET"}
_CONTENT_TYPE: Final = {"http": _JSON, "streamable_http": "application/octet-stream"}
_BODY_FIELD: Final = {"http": "body"}


def replay(template: JsonObject, arguments: JsonObject, client: Client) -> RequestParts:
    """Return the request for these arguments, without credentials. `template` is one of `CLIENTS`, in v1 form.

    :raises Unsendable: the client raises an error before it sends anything.
    """
    kind = str(template["call_template_type"])
    rest = dict(arguments)
    headers: dict[str, str] = dict(template.get("headers") or {})
    for name in template.get("header_fields") or ():
        if name in rest:
            headers[name] = client.text(rest.pop(name))
    body_field = str(template.get("body_field", _BODY_FIELD.get(kind, "")))
    body: Any = None
    has_body = bool(body_field) and body_field in rest
    if has_body:
        body = rest.pop(body_field)
        has_body = body is not None or not client.omits_null_body
    url = _url(str(template["url"]), rest, client)
    method = str(template.get("http_method", _METHOD.get(kind, "POST" if has_body else "GET")))
    content = None
    if has_body:
        media_type = next((value for name, value in headers.items() if name == "Content-Type"), None)
        if media_type is None:
            media_type = str(template.get("content_type", _CONTENT_TYPE.get(kind, "")))
            headers["Content-Type"] = media_type
        content = client.body(body, media_type)
    pairs = [pair for name, value in rest.items() for pair in client.query(name, value)]
    if pairs:
        url = f"{url}{'&' if '?' in url else '?'}{'&'.join(f'{_quoted(n)}={_quoted(v)}' for n, v in pairs)}"
    return RequestParts(method, url, list(headers.items()), content)


def _url(template: str, rest: JsonObject, client: Client) -> str:
    url = template
    for name in dict.fromkeys(_PLACEHOLDER.findall(template)):
        if name not in rest:
            raise Unsendable(f"a URL without {name!r}")
        url = url.replace(f"{{{name}}}", _quoted(client.text(rest.pop(name))))
    if _PLACEHOLDER.search(url):
        raise Unsendable("a URL with a placeholder")
    return url


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="replace")


# --- what a client loads ----------------------------------------------------------------------


def refusal(tool: JsonObject) -> str | None:
    """Return why the clients refuse this tool of a v1 manual, and with it the manual; None if they load it."""
    if strange := sorted(tool.keys() - set(TOOL_KEYS)):
        return f"a tool has no `{strange[0]}`"
    if not isinstance(tool.get("name"), str) or not isinstance(tool.get("description", ""), str):
        return "a name or description is not text"
    size = tool.get("average_response_size", 0)
    if not all(isinstance(tag, str) for tag in tool.get("tags", ())) or isinstance(size, bool | str | None):
        return "`tags` or `average_response_size` has another form"
    for key in ("inputs", "outputs"):
        if (where := _refused_schema(tool.get(key, {}), f"`{key}`")) is not None:
            return where
    template = tool.get("tool_call_template")
    return _refused_template(template) if is_object(template) else "there is no call template"


def _refused_template(template: JsonObject) -> str | None:
    kind = str(template.get("call_template_type"))
    known = FIELDS.get(kind)
    if known is None:
        return f"there is no call template of type {kind!r}"
    if strange := sorted(template.keys() - known - {"call_template_type", "name"}):
        return f"a call template of type {kind!r} has no `{strange[0]}`"
    if kind in METHODS and template.get("http_method", "GET") not in METHODS[kind]:
        return f"the method {template['http_method']} is not one of {', '.join(sorted(METHODS[kind]))}"
    auth = template.get("auth")
    return _refused_values(template) or (None if auth is None else _refused_auth(auth))


def _refused_values(template: JsonObject) -> str | None:
    for key in ("url", "content_type", "body_field"):
        if not isinstance(template.get(key, ""), str):
            return f"`{key}` is not text"
    headers, fields = template.get("headers", {}), template.get("header_fields", [])
    if not is_object(headers) or not all(isinstance(value, str) for value in headers.values()):
        return "a header is not text"
    if not is_list(fields) or not all(isinstance(one, str) for one in fields):
        return "`header_fields` is not a list of names"
    return None


def _refused_auth(auth: Any) -> str | None:
    kind = str(auth.get("auth_type")) if is_object(auth) else ""
    if kind not in AUTH_FIELDS:
        return f"the auth type {kind!r} is unknown"
    required, optional = AUTH_FIELDS[kind]
    fields = auth.keys() - {"auth_type"}
    return None if required <= fields <= required | optional else f"auth of type {kind!r} has other fields"


def _refused_schema(schema: Any, where: str) -> str | None:
    """Return which part of a schema the clients refuse. They look at properties, items and additional properties."""
    pending: list[tuple[Any, str]] = [(schema, where)]
    while pending:
        one, place = pending.pop()
        if not is_object(one):
            return f"{place} has a schema that is not an object"
        required, properties, items = one.get("required", []), one.get("properties", {}), one.get("items")
        if not is_list(required) or not all(isinstance(name, str) for name in required):
            return f"{place} has `required` that is not a list of names"
        if not is_object(properties) or not isinstance(one.get("type", ""), str | list):
            return f"{place} has a keyword of another form"
        pending.extend((member, f"{place}, {name!r},") for name, member in properties.items())
        more = one.get("additionalProperties")
        nested = items if is_list(items) else [] if items is None else [items]
        pending.extend((member, place) for member in [*nested, *([] if isinstance(more, bool | None) else [more])])
    return None
