"""What an MCP server lists besides tools, entry by entry: odd fields are omitted, an unusable entry is left out (pure).

The SDK and most hosts check a list as a whole, so one odd entry would cost all others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = ["LISTS", "ListKind", "icons_of", "tidy"]

Check = Callable[[Any], bool]
_MAX_ICONS: Final = 8
_MAX_ICON: Final = 32_768
"""Characters of the address of an icon, which may be its data."""
_ICON_STARTS: Final = ("https://", "http://", "data:image/")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _is_audience(value: Any) -> bool:
    return is_list(value) and all(one in ("user", "assistant") for one in value)


_ANNOTATIONS: Final[Mapping[str, Check]] = {"audience": _is_audience, "priority": _is_share, "lastModified": _is_text}


@dataclass(frozen=True, slots=True)
class ListKind:
    """One list of the protocol: its method, its member of the result, and the field by which entries are known."""

    method: str
    field: str
    key: str
    capability: str
    optional: Mapping[str, Check]


_RESOURCE: Final[Mapping[str, Check]] = {"title": _is_text, "description": _is_text, "mimeType": _is_text}
LISTS: Final[Mapping[str, ListKind]] = {
    "resources": ListKind("resources/list", "resources", "uri", "resources", {**_RESOURCE, "size": _is_size}),
    "resource_templates": ListKind(
        "resources/templates/list", "resourceTemplates", "uriTemplate", "resources", _RESOURCE
    ),
    "prompts": ListKind("prompts/list", "prompts", "name", "prompts", {"title": _is_text, "description": _is_text}),
}
"""The lists of `Offers`, by the name of its field."""


def tidy(kind: ListKind, entries: Sequence[Any]) -> tuple[tuple[JsonObject, ...], list[str]]:
    """Return the usable entries of a list with their well-formed fields, and what is wrong with each other one."""
    kept: dict[str, JsonObject] = {}
    wrong: list[str] = []
    for number, entry in enumerate(entries, 1):
        key = entry.get(kind.key) if is_object(entry) else None
        if not is_object(entry) or not isinstance(key, str) or not key.strip():
            wrong.append(f"entry {number} of `{kind.field}` has no `{kind.key}`")
        elif key in kept:
            wrong.append(f"entry {number} of `{kind.field}` has the same `{kind.key}` as an earlier one")
        else:
            kept[key] = _entry(kind, entry, key)
    return tuple(kept.values()), wrong


def _entry(kind: ListKind, entry: JsonObject, key: str) -> JsonObject:
    name = entry.get("name")
    made: JsonObject = {"name": name if isinstance(name, str) and name.strip() else key, kind.key: key}
    made |= {field: entry[field] for field, check in kind.optional.items() if field in entry and check(entry[field])}
    if kind.key == "name" and is_list(arguments := entry.get("arguments")):
        made["arguments"] = [_argument(one) for one in arguments if is_object(one) and _is_name(one.get("name"))]
    notes = entry.get("annotations")
    if kind.key != "name" and is_object(notes):
        made["annotations"] = {
            field: notes[field] for field, check in _ANNOTATIONS.items() if field in notes and check(notes[field])
        }
    if icons := icons_of(entry.get("icons")):
        made["icons"] = icons
    if is_object(meta := entry.get("_meta")):
        made["_meta"] = meta
    return made


def _argument(given: JsonObject) -> JsonObject:
    made: JsonObject = {"name": given["name"]}
    made |= {field: given[field] for field in ("title", "description") if isinstance(given.get(field), str)}
    if isinstance(given.get("required"), bool):
        made["required"] = given["required"]
    return made


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def icons_of(value: Any) -> list[JsonObject]:
    """Return the icons that a host may show: on the web or as data, each with its well-formed fields."""
    icons: list[JsonObject] = []
    for one in value if is_list(value) else ():
        src = one.get("src") if is_object(one) else None
        if not isinstance(src, str) or len(src) > _MAX_ICON or not src.lower().startswith(_ICON_STARTS):
            continue
        icon: JsonObject = {"src": src}
        if isinstance(one.get("mimeType"), str):
            icon["mimeType"] = one["mimeType"]
        sizes = one.get("sizes")
        sizes = [sizes] if isinstance(sizes, str) else sizes
        if is_list(sizes) and sizes and all(isinstance(size, str) for size in sizes):
            icon["sizes"] = sizes
        if one.get("theme") in ("light", "dark"):
            icon["theme"] = one["theme"]
        icons.append(icon)
    return icons[:_MAX_ICONS]
