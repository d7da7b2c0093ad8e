"""OpenAPI parameter styles: one value and its name as text, per RFC 6570 (pure).

A style is a set of delimiters; `encode` decides for each location whether text is percent-encoded. Nulls inside arrays
and objects are omitted. Containers inside containers are compact JSON, except in `deepObject`, which nests, and in
exploded objects of a query or form, whose arrays repeat their name.
OpenAPI 2.0's `tsv` is `tabDelimited` here; `ssv` and `pipes` are `spaceDelimited` and `pipeDelimited`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from utcp_bridge.model import Json, is_list
from utcp_bridge.placement.encoding import format_scalar

__all__ = ["DELIMITERS", "Encode", "Pair", "expand_pairs", "expand_segment", "expand_simple"]

Encode: TypeAlias = Callable[[str], str]
Pair: TypeAlias = tuple[str, str]

DELIMITERS = {"spaceDelimited": " ", "pipeDelimited": "|", "tabDelimited": "\t"}


def expand_segment(style: str, name: str, value: Json, *, explode: bool, encode: Encode) -> str:
    """Return a path parameter with its prefix: `simple`, `label`, `matrix` or one of `DELIMITERS`."""
    if style == "label":
        return "." + _joined(value, "." if explode else ",", explode=explode, encode=encode)
    if style == "matrix":
        return _matrix(name, value, explode=explode, encode=encode)
    return expand_simple(style, value, explode=explode, encode=encode)


def expand_simple(style: str, value: Json, *, explode: bool, encode: Encode) -> str:
    """Return the value of a header or a plain path segment, joined by commas or by the style's delimiter."""
    delimiter = DELIMITERS.get(style)
    return _joined(value, encode(delimiter) if delimiter else ",", explode=explode, encode=encode)


def expand_pairs(style: str, name: str, value: Json, *, explode: bool, encode: Encode) -> list[Pair]:
    """Return query, form and cookie values as encoded name-value pairs; none for an empty array or object."""
    if style == "deepObject":
        return list(_deep(encode(name), value, encode))
    if isinstance(value, dict):
        if explode:
            return [(encode(key), encode(text)) for key, text in _spread(value)]
        return _one_pair(name, [part for member in _members(value) for part in member], style, encode)
    if isinstance(value, list):
        items = _items(value)
        if explode:
            return [(encode(name), encode(text)) for text in items]
        return _one_pair(name, items, style, encode)
    return [(encode(name), encode(format_scalar(value)))]


def _one_pair(name: str, parts: list[str], style: str, encode: Encode) -> list[Pair]:
    delimiter = encode(DELIMITERS[style]) if style in DELIMITERS else ","
    return [(encode(name), delimiter.join(map(encode, parts)))] if parts else []


def _joined(value: Json, delimiter: str, *, explode: bool, encode: Encode) -> str:
    if isinstance(value, dict):
        members = [(encode(key), encode(text)) for key, text in _members(value)]
        if explode:
            return delimiter.join(f"{key}={text}" for key, text in members)
        return delimiter.join(part for member in members for part in member)
    if isinstance(value, list):
        return delimiter.join(map(encode, _items(value)))
    return encode(format_scalar(value))


def _matrix(name: str, value: Json, *, explode: bool, encode: Encode) -> str:
    pairs = expand_pairs("form", name, value, explode=explode, encode=encode)
    return "".join(f";{key}={text}" if text else f";{key}" for key, text in pairs)


def _deep(name: str, value: Json, encode: Encode) -> Iterator[Pair]:
    """Yield `name[key]=v`; scalars of an array repeat `name[]`, containers in an array are numbered."""
    if isinstance(value, dict):
        for key, member in value.items():
            yield from _deep(f"{name}{encode(f'[{key}]')}", member, encode)
    elif isinstance(value, list):
        nested = any(isinstance(item, dict | list) for item in value)
        for index, item in enumerate(value):
            yield from _deep(f"{name}{encode(f'[{index}]' if nested else '[]')}", item, encode)
    elif value is not None:
        yield name, encode(format_scalar(value))


def _items(value: list[Any]) -> list[str]:
    return [format_scalar(item) for item in value if item is not None]


def _spread(value: dict[str, Any]) -> Iterator[Pair]:
    """Yield the members of an exploded object. One that is an array of scalars repeats its name.

    OpenAPI leaves this open. Servers read it so: `sort=a&sort=b`.
    """
    for key, member in value.items():
        if is_list(member) and not any(isinstance(item, dict | list) for item in member):
            yield from ((key, text) for text in _items(member))
        elif member is not None:
            yield key, format_scalar(member)


def _members(value: dict[str, Any]) -> list[Pair]:
    return [(key, format_scalar(member)) for key, member in value.items() if member is not None]
