"""The request that OpenAPI prescribes for given values, in decoded form: path segments, pairs, header texts, body.

Styles after RFC 6570 as the Parameter Object's table shows them. Undefined combinations raise `Undefined`.
"""

import json
from dataclasses import dataclass
from urllib.parse import unquote

DELIMITERS = {"csv": ",", "form": ",", "simple": ",", "spaceDelimited": " ", "pipeDelimited": "|", "tab": "\t"}


class Undefined(Exception):
    """OpenAPI does not say how this is written."""


@dataclass
class Prescribed:
    method: str
    bases: list
    path: str  # decoded, `/` within values as \0
    query: list
    headers: dict
    cookies: list
    body: object  # None, or (kind, value)
    media_types: list


def scalar(value):
    if isinstance(value, str):
        return value
    if isinstance(value, dict | list):
        raise Undefined("nested")
    return json.dumps(value)


def flat(value):
    """Array items, or an object's keys and values in turn."""
    if isinstance(value, dict):
        return [text for key, member in value.items() for text in (key, scalar(member))]
    return [scalar(item) for item in value]


def segment(field, value):
    value = {key: member for key, member in value.items() if member is not None} if isinstance(value, dict) else value
    if field.content_type:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    if field.style in DELIMITERS:
        return joined(value, DELIMITERS[field.style], explode=field.explode)
    if field.style == "label":
        return "." + joined(value, "." if field.explode else ",", explode=field.explode)
    if isinstance(value, dict) and field.explode:
        return "".join(f";{key}={scalar(member)}" for key, member in value.items())
    if isinstance(value, list) and field.explode:
        return "".join(f";{field.name}={scalar(item)}" for item in value)
    return f";{field.name}={joined(value, ',', explode=False)}"


def joined(value, delimiter, *, explode):
    if isinstance(value, dict) and explode:
        return delimiter.join(f"{key}={scalar(member)}" for key, member in value.items())
    if isinstance(value, dict | list):
        return delimiter.join(flat(value))
    return scalar(value)


def pairs(field, value):
    if field.content_type:
        is_json = "json" in field.content_type or not isinstance(value, str)
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False) if is_json else value
        return [(field.name, text)]
    if field.style == "deepObject":
        if not isinstance(value, dict):
            raise Undefined("deepObject is for objects")
        return [(f"{field.name}[{key}]", scalar(member)) for key, member in value.items()]
    if isinstance(value, dict) and field.explode:
        return [(key, scalar(member)) for key, member in value.items()]
    if isinstance(value, list) and field.explode:
        return [(field.name, scalar(item)) for item in value]
    if isinstance(value, dict | list):
        return [(field.name, DELIMITERS[field.style].join(flat(value)))] if value else []
    return [(field.name, scalar(value))]


def path_of(declared, values):
    path = unquote(declared.path.partition("#")[0].partition("?")[0])
    for field in declared.fields:
        if field.place == "path":
            path = path.replace(f"{{{field.name}}}", segment(field, values["path", field.name]).replace("/", "\0"))
    return path


def form_pairs(encoding, name, value):
    """One property of a form body: styled if the encoding says so, else JSON for objects and repeated for arrays."""
    from tests.openapi_oracle.reading import Field

    if encoding.keys() & {"style", "explode", "allowReserved"}:
        style = encoding.get("style", "form")
        return pairs(
            Field(name, "query", {}, required=False, style=style, explode=encoding.get("explode", style == "form")),
            value,
        )
    if "json" in encoding.get("contentType", ""):
        return [(name, as_json(value))]
    items = value if isinstance(value, list) else [value]
    return [
        (name, as_json(item) if isinstance(item, dict | list) else scalar(item)) for item in items if item is not None
    ]


def as_json(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def prescribe(declared, values, body):
    """`values` {(place, name): value}; `body` None or (kind, value) as `bodies.prepared` made it."""
    given = [
        (field, values[field.place, field.name]) for field in declared.fields if (field.place, field.name) in values
    ]
    fixed = declared.path.partition("#")[0].partition("?")[2]
    return Prescribed(
        declared.method,
        declared.servers,
        path_of(declared, values),
        [tuple(part.partition("=")[::2]) for part in fixed.split("&") if part]
        + [pair for field, value in given if field.place == "query" for pair in pairs(field, value)],
        {field.name.lower(): segment(field, value) for field, value in given if field.place == "header"},
        [pair for field, value in given if field.place == "cookie" for pair in pairs(field, value)],
        body,
        [*declared.body.contents] if declared.body else [],
    )
