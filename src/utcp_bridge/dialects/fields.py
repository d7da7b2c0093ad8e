"""What every dialect uses to read JSON from untrusted authors: no value is assumed to have the right type."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, TypeGuard

from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.model import JsonObject, is_list

__all__ = [
    "VARIABLE_NAME",
    "asked_as",
    "copied",
    "first_of",
    "is_mapping",
    "nearest",
    "registered_names",
    "safe_name",
    "seconds",
    "sort_of",
    "strings_in",
    "text_of",
    "word",
]

VARIABLE_NAME = late_pattern(r"[A-Za-z0-9_]{1,128}\Z")
_NOT_A_WORD = late_pattern(r"[^A-Za-z0-9_]")
_SORTS = (
    (str, "text"),
    (bool, "a boolean"),
    (int | float, "a number"),
    (list, "a list"),
    (dict, "an object"),
)
_MAX_WORD = 64
_MAX_ASKED, _MAX_ASKED_TEXTS = 200, 20
_MAX_DEPTH = 200
_MAX_SECONDS = 10**9
_SUFFIX_DIGITS = 8


def is_mapping(value: Any) -> TypeGuard[dict[Any, Any]]:
    """Return whether a value is a dict, with keys of any type."""
    return isinstance(value, dict)


def first_of(raw: JsonObject, keys: Iterable[str]) -> Any:
    """Return the value of the first of `keys` that is present and not null."""
    return next((raw[key] for key in keys if raw.get(key) is not None), None)


def asked_as(value: Any) -> list[str] | None:
    """Return how a tool is asked for, from its author's examples: a text or a list of texts; None for anything else.

    A list has at most 20 texts of 200 characters each.
    """
    texts = [value] if isinstance(value, str) else value
    if not is_list(texts) or not all(isinstance(text, str) for text in texts):
        return None
    return [text[:_MAX_ASKED] for text in texts[:_MAX_ASKED_TEXTS] if text.strip()]


def text_of(value: Any) -> str:
    """Return the value if it is text, else an empty text."""
    return value if isinstance(value, str) else ""


def sort_of(value: Any) -> str:
    """Return what a value of the wrong type is, in words. The value itself may be a secret."""
    return next(
        (name for sort, name in _SORTS if isinstance(value, sort)), "null" if value is None else "something else"
    )


def word(value: Any) -> str:
    """Return an untrusted key, name or type, short and printable, for a message. Do not use it for values."""
    text = value if isinstance(value, str) else sort_of(value)
    return "".join(character if character.isprintable() else "?" for character in text[:_MAX_WORD])


def nearest(name: Any, known: Iterable[str]) -> str:
    """Return a remedy that names the known word nearest to `name`, or an empty text."""
    import difflib  # for mistakes alone

    close = difflib.get_close_matches(word(name).lower(), sorted(known), n=1, cutoff=0.6)
    return f"Did you mean {close[0]!r}?" if close else ""


def safe_name(text: str) -> str:
    """Return a manual's name as UTCP registers it: each character but letters, digits and `_` becomes `_`."""
    return _NOT_A_WORD.sub("_", text)


def registered_names(stated: Iterable[str]) -> dict[str, str]:
    """Return the name under which each stated name is registered: its safe name, as long as no other one has it.

    Of names that look alike (`a.b`, `a_b`), the one that is safe as it is stays; each other gets a suffix that is made
    from itself. So their order does not matter.
    """
    safe = {name: safe_name(name) for name in stated}
    alike = Counter(safe.values())
    for name, plain in safe.items():
        if alike[plain] > 1 and plain != name:
            digest = sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
            safe[name] = f"{plain}_{digest[:_SUFFIX_DIGITS]}"
    return safe


def copied(raw: JsonObject, renamed: Mapping[str, str]) -> JsonObject:
    """Return a shallow copy with keys renamed; if a key is there under both names, the new name wins."""
    result: JsonObject = {}
    for key, value in raw.items():
        new = renamed.get(key, key)
        if new == key or new not in raw:
            result.setdefault(new, value)
    return result


def seconds(value: Any, *, milliseconds: bool) -> float | None:
    """Return a timeout in seconds, None if it is not a positive number; 1000 and more is always milliseconds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 0 < value < _MAX_SECONDS or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value / 1000 if milliseconds or value >= 1000 else float(value)


def strings_in(value: Any, depth: int = 0) -> Iterable[str]:
    """Yield every text in a JSON value except keys, down to a depth that no real template has."""
    if isinstance(value, str):
        yield value
    elif depth < _MAX_DEPTH and (is_mapping(value) or is_list(value)):
        for member in value.values() if is_mapping(value) else value:
            yield from strings_in(member, depth + 1)
