"""MCP content that another server sent, checked field by field before it is passed on.

One malformed block, or one malformed annotation in it, voids the whole result on its way out. So what is malformed
is left out, and a block that lacks what makes it one becomes text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = ["well_formed"]

Check = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_audience(value: Any) -> bool:
    return is_list(value) and all(isinstance(one, str) and one in {"user", "assistant"} for one in value)


_ANNOTATIONS: Final[Mapping[str, Check]] = {"audience": _is_audience, "priority": _is_share, "lastModified": _is_text}
_RESOURCE: Final[Mapping[str, Check]] = {"mimeType": _is_text, "_meta": is_object}
_SHAPES: Final[Mapping[str, tuple[tuple[str, ...], Mapping[str, Check]]]] = {
    "text": (("text",), {}),
    "image": (("data", "mimeType"), {}),
    "audio": (("data", "mimeType"), {}),
    "resource_link": (
        ("uri", "name"),
        {"title": _is_text, "description": _is_text, "mimeType": _is_text, "size": _is_size},
    ),
}
"""Kind → (needed strings, optional fields)."""


def well_formed(block: Any, as_text: Callable[[Any], str]) -> JsonObject:
    """The block with only its well-formed fields; as text if it is none."""
    kept = _kept(block) if is_object(block) else None
    if kept is None:
        return {"type": "text", "text": as_text(block)}
    if is_object(meta := block.get("_meta")):
        kept["_meta"] = meta
    if is_object(notes := block.get("annotations")) and (valid := _optional(notes, _ANNOTATIONS)):
        kept["annotations"] = valid
    return kept


def _kept(block: JsonObject) -> JsonObject | None:
    kind = block.get("type")
    if kind == "resource":
        return _embedded(block.get("resource"))
    if not isinstance(kind, str) or kind not in _SHAPES:
        return None
    needed, optional = _SHAPES[kind]
    if not all(_is_text(block.get(key)) for key in needed):
        return None
    return {"type": kind, **{key: block[key] for key in needed}, **_optional(block, optional)}


def _embedded(resource: Any) -> JsonObject | None:
    if not is_object(resource) or not _is_text(resource.get("uri")):
        return None
    for key in ("text", "blob"):
        if _is_text(resource.get(key)):
            kept = {"uri": resource["uri"], key: resource[key], **_optional(resource, _RESOURCE)}
            return {"type": "resource", "resource": kept}
    return None


def _optional(source: JsonObject, fields: Mapping[str, Check]) -> JsonObject:
    return {key: source[key] for key, check in fields.items() if key in source and check(source[key])}
