"""Text from other programs as hosts and terminals show it: visible, stripped, and cut to a length.

`utcp_bridge.foreign` says what is removed.
"""

from __future__ import annotations

from typing import Any, Final

from utcp_bridge.foreign import visible, visible_json
from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = ["clean", "clean_line", "clean_schema", "shorten"]

_SURROGATE: Final = late_pattern("[\ud800-\udfff]")
_SPACE: Final = late_pattern(r"\s+")
_CUT: Final = "…"
_VALUES: Final = frozenset({"const", "default", "pattern"})
_LISTS: Final = frozenset({"enum", "examples"})
_SCHEMAS: Final = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"})
_RENAMED: Final = frozenset({"$defs", "definitions"})


def clean(value: Any, limit: int | None = None) -> str:
    """Return the visible text of `value`, at most `limit` characters. It is empty if `value` is not a string."""
    if not isinstance(value, str):
        return ""
    text = value
    if not (text.isascii() and text.isprintable()):
        text = visible(_SURROGATE.sub("", text)).replace("\r\n", "\n")
    text = text.strip()
    return text if limit is None else shorten(text, limit)


def clean_line(value: Any, limit: int | None = None) -> str:
    """Return the visible text of `value` on one line. See `clean`."""
    text = value if isinstance(value, str) else ""
    if text.isascii() and text.isprintable():
        text = text.strip()
        return text if limit is None or len(text) <= limit else shorten(text, limit)
    # A sequence that moves the cursor to the start of a line is cleaned to a line break, so breaks are replaced twice.
    return clean(_SPACE.sub(" ", clean(_SPACE.sub(" ", text))), limit)


def shorten(text: str, limit: int) -> str:
    """Return `text` cut to `limit` characters at the end of a word, with an ellipsis if something was cut."""
    if len(text) <= limit:
        return text
    head = text[: limit - 1]
    space = head.rfind(" ", limit * 3 // 4)
    return (head[:space] if space > 0 else head).rstrip() + _CUT


def clean_schema(schema: JsonObject, *, is_output: bool = False) -> JsonObject:
    """Return a JSON Schema without characters that nobody sees. A clean schema is returned itself.

    The provider's own values are what a call must send. So a value with such characters is not changed but left out of
    the listed `enum`, `examples`, `const`, `default` and `pattern`, and arguments are still checked against the
    provider's schema. Results are cleaned before they are shown, so the values of an output schema are cleaned as well.
    The names of the outermost properties stay: the catalogue renames those that hosts do not accept.
    """
    shown: JsonObject = visible_json(schema)
    if shown is schema:
        return schema
    return _visible_schema(schema, is_output=is_output, is_root=True)


def _visible_schema(schema: JsonObject, *, is_output: bool, is_root: bool = False) -> JsonObject:
    shown: JsonObject = {}
    for key, value in schema.items():
        if key in _SCHEMAS and is_object(value):
            shown[key] = _visible_members(key, value, is_output=is_output, is_root=is_root)
        elif key == "required" and is_list(value):
            shown[key] = value if is_root else [name for name in value if visible_json(name) == name]
        elif key in _VALUES:
            if is_output or visible_json(value) == value:
                shown[visible(key)] = visible_json(value)
        elif key in _LISTS and is_list(value):
            if kept := [visible_json(one) for one in value if is_output or visible_json(one) == one]:
                shown[key] = kept
        else:
            shown[visible(key)] = _visible_part(value, is_output=is_output)
    return shown


def _visible_members(keyword: str, members: JsonObject, *, is_output: bool, is_root: bool) -> JsonObject:
    kept: JsonObject = {}
    for name, member in members.items():
        is_kept = visible(name) == name or keyword in _RENAMED or (is_root and keyword == "properties")
        if is_kept:
            kept[visible(name) if keyword in _RENAMED else name] = _visible_part(member, is_output=is_output)
    return kept


def _visible_part(value: Any, *, is_output: bool) -> Any:
    if is_object(value):
        return _visible_schema(value, is_output=is_output)
    if is_list(value):
        return [_visible_part(one, is_output=is_output) for one in value]
    return visible_json(value)
