"""The same tools on two sides, and differences of their replies: of JSON values, each named by its JSON pointer (pure).

Numbers are compared as JSON Schema does: 1 and 1.0 are the same, 1 and true are not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field
from typing import Any, Final

import orjson

from utcp_bridge.errors import ConfigError
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import Binary, ContentBlocks, JsonObject, Result, Tool, is_list, is_object

__all__ = [
    "MISSING",
    "Difference",
    "Ignored",
    "has_failed",
    "own_tools",
    "paired_tools",
    "reply_differences",
    "same",
    "shown",
    "value_differences",
]

MAX_SHOWN: Final = 160
"""Characters of a value in a report."""


class _Missing:
    """What a side has where the other one has a member."""

    def __repr__(self) -> str:
        return "nothing"


MISSING: Final = _Missing()


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference of two sides. `explained` says why it changes nothing for hosts; empty if it may."""

    where: str
    what: str
    pointer: str = ""
    old: Any = field(default=MISSING, repr=False)
    new: Any = field(default=MISSING, repr=False)
    explained: str = ""

    def __str__(self) -> str:
        place = f"{self.where}, {self.pointer}" if self.pointer else self.where
        values = "" if self.old is self.new is MISSING else f" Old: {shown(self.old)}. New: {shown(self.new)}."
        return f"{place}: {self.what}{values}{f' Explained: {self.explained}' if self.explained else ''}"

    def as_json(self) -> JsonObject:
        """Return the difference for scripts; a side without the member has no key for it."""
        sides = {key: value for key, value in (("old", self.old), ("new", self.new)) if value is not MISSING}
        cut = {key: value if _is_short(value) else shown(value) for key, value in sides.items()}
        return {
            "where": self.where,
            "what": self.what,
            "pointer": self.pointer,
            **cut,
            "explained": self.explained or None,
        }


def shown(value: Any) -> str:
    """Return a value as JSON, cut to what a line of a report can hold."""
    text = "nothing" if value is MISSING else json.dumps(value, default=str, ensure_ascii=False)
    text = text.encode(errors="backslashreplace").decode()  # half of a surrogate pair cannot be printed
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}… ({len(text):,} characters)"


def _is_short(value: Any) -> bool:
    return len(shown(value)) <= MAX_SHOWN


# --- members that differ by nature ---------------------------------------------------------------


class Ignored:
    """Members that differ by nature: JSON pointers, in which `*` is any member or item, and `**` any number of them."""

    def __init__(self, pointers: Sequence[str] = ()) -> None:
        """Read the pointers.

        :raises ConfigError: one does not begin with `/`.
        """
        for pointer in pointers:
            if not pointer.startswith("/"):
                raise ConfigError(
                    f"{pointer!r} is not a JSON pointer.",
                    remedy="Begin it with /, as in /created_at, /items/*/id or /**/etag.",
                )
        self._paths = [tuple(_plain(part) for part in pointer[1:].split("/")) for pointer in pointers]

    def __bool__(self) -> bool:
        return bool(self._paths)

    def has(self, path: tuple[str, ...]) -> bool:
        """Return whether the member at this path is ignored."""
        return any(_fits(pattern, path) for pattern in self._paths)


def _plain(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")


def _fits(pattern: tuple[str, ...], path: tuple[str, ...]) -> bool:
    """Match in steps instead of by recursion: each state is the number of parts of the pattern that are used."""
    states = _skipped(pattern, {0})
    for part in path:
        following: set[int] = set()
        for place in states:
            if place < len(pattern) and pattern[place] == "**":
                following.add(place)
            elif place < len(pattern) and pattern[place] in {"*", part}:
                following.add(place + 1)
        states = _skipped(pattern, following)
    return len(pattern) in states


def _skipped(pattern: tuple[str, ...], states: set[int]) -> set[int]:
    found = set(states)
    for place in sorted(states):
        while place < len(pattern) and pattern[place] == "**":
            place += 1  # noqa: PLW2901 - `**` may be no part at all
            found.add(place)
    return found


# --- values --------------------------------------------------------------------------------------


def same(old: Any, new: Any) -> bool:
    """Return whether two JSON values are the same."""
    return next(value_differences(old, new), None) is None


def value_differences(old: Any, new: Any, ignored: Ignored | None = None) -> Iterator[tuple[str, Any, Any]]:
    """Yield each difference of two JSON values: pointer, old value, new value; `MISSING` for a side without it.

    Lists are compared item by item. The depth of the values does not matter.
    """
    waiting: list[tuple[tuple[str, ...], Any, Any]] = [((), old, new)]
    while waiting:
        path, left, right = waiting.pop()
        if ignored and ignored.has(path):
            continue
        if is_object(left) and is_object(right):
            names = [*left, *(name for name in right if name not in left)]
            pairs = [(str(name), left.get(name, MISSING), right.get(name, MISSING)) for name in names]
        elif is_list(left) and is_list(right):
            length = max(len(left), len(right))
            pairs = [(str(place), _item(left, place), _item(right, place)) for place in range(length)]
        else:
            if not _is_same_scalar(left, right):
                yield _pointer(path), left, right
            continue
        waiting += [((*path, name), one, other) for name, one, other in reversed(pairs)]


def _item(items: list[Any], place: int) -> Any:
    return items[place] if place < len(items) else MISSING


def _is_same_scalar(old: Any, new: Any) -> bool:
    if isinstance(old, bool) or isinstance(new, bool):
        return old is new
    if isinstance(old, int | float) and isinstance(new, int | float):
        return old == new or (old != old and new != new)  # noqa: PLR0124 - NaN, which some replies contain
    return type(old) is type(new) and bool(old == new)


def _pointer(path: tuple[str, ...]) -> str:
    return "".join(f"/{part.replace('~', '~0').replace('/', '~1')}" for part in path)


# --- replies -------------------------------------------------------------------------------------


def reply_differences(where: str, old: Result, new: Result, ignored: Ignored | None = None) -> Iterator[Difference]:
    """Yield the differences of two replies as a host sees them, whatever protocol each of them came by.

    The content of MCP and a plain value are the same if they say the same: a text block that contains JSON, structured
    content, and a value of a REST service.
    """
    if has_failed(old) != has_failed(new):
        side = "new" if has_failed(new) else "old"
        yield Difference(where, f"Only the {side} side reports a failure.", "", _substance(old), _substance(new))
        return
    if bool(old.truncated) != bool(new.truncated):
        side = "new" if new.truncated else "old"
        yield Difference(where, f"Only the reply of the {side} side is incomplete.")
    left, right = _substance(old), _substance(new)
    if isinstance(left, str) and isinstance(right, str) and left != right:
        yield from _text_differences(where, left, right, ignored)
        return
    left, right = _read(left), _read(right)
    for pointer, one, other in value_differences(left, right, ignored):
        yield Difference(where, "The replies differ.", pointer, one, other)


def _text_differences(where: str, old: str, new: str, ignored: Ignored | None) -> Iterator[Difference]:
    left, right = _read(old), _read(new)
    if not (is_object(left) or is_list(left)) or not (is_object(right) or is_list(right)):
        if not (ignored and ignored.has(())):
            yield Difference(where, "The texts differ.", "", old, new)
        return
    found = list(value_differences(left, right, ignored))
    if not found and same(left, right):
        reason = "Both texts contain the same JSON."
        yield Difference(where, "The layout of the JSON text differs.", explained=reason)
    for pointer, one, other in found:
        yield Difference(where, "The replies differ.", pointer, one, other)


def has_failed(result: Result) -> bool:
    """Return whether a reply reports a failure."""
    value = result.value
    return result.failure is not None or (isinstance(value, ContentBlocks) and value.is_error)


def _substance(result: Result) -> Any:
    """Return what a reply says, without the form of its protocol: JSON, text, or a list of content blocks."""
    value = result.value
    if isinstance(value, Binary):
        return _bytes(value.media_type, value.data)
    if not isinstance(value, ContentBlocks):
        return [_substance(Result(one)) for one in value] if is_list(value) else value
    if value.structured is not None:
        return _unwrapped(value)
    blocks = [_block(block) for block in value.content]
    return blocks[0] if len(blocks) == 1 else blocks


def _unwrapped(value: ContentBlocks) -> Any:
    """Return structured content; a value that its server had to wrap into an object is returned alone.

    Servers wrap a result that is not an object as `{"result": …}`, and repeat it as text.
    """
    structured = value.structured
    if not is_object(structured) or list(structured) != ["result"] or is_object(structured["result"]):
        return structured
    texts = [block.get("text") for block in value.content if block.get("type") == "text"]
    inner = structured["result"]
    alone = len(texts) == 1 and same(_read(texts[0]), inner if not isinstance(inner, str) else _read(inner))
    items = is_list(inner) and len(texts) == len(inner)
    return inner if alone or items else structured


def _block(block: JsonObject) -> Any:
    """Return the text of a text block; any other block by its members, with long data as its hash."""
    if block.get("type") == "text":
        return block.get("text")
    data = block.get("data")
    if not isinstance(data, str):
        return {name: value for name, value in block.items() if name not in {"_meta", "annotations"}}
    import base64
    import binascii

    try:
        return _bytes(str(block.get("mimeType")), base64.b64decode(data))
    except binascii.Error:
        return block


def _bytes(media_type: str, data: bytes) -> JsonObject:
    return {"media_type": media_type, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _read(value: Any) -> Any:
    """Return the JSON in a text; a text without JSON, and any other value, as it is."""
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value


# --- tools ---------------------------------------------------------------------------------------


def own_tools(every: Iterable[Tool], manual: str) -> dict[str, Tool]:
    """Return the tools of a manual by their names; without the name of the MCP server if the manual has one server."""
    tools = [tool for tool in every if tool.manual == manual]
    servers = {str((tool.overlay or {}).get("server") or "") for tool in tools}
    prefix = f"{server}." if len(servers) == 1 and (server := servers.pop()) else ""
    return {tool.name.removeprefix(prefix): tool for tool in tools}


def paired_tools(old: Iterable[str], new: Iterable[str]) -> dict[str, str]:
    """Return the new name of each old tool: the same name, or the only one that differs in case and punctuation."""
    left, right = list(old), list(new)
    pairs = {name: name for name in left if name in set(right)}
    rest_left, rest_right = _by_letters(left, pairs.keys()), _by_letters(right, pairs.keys())
    for letters, names in rest_left.items():
        others = rest_right.get(letters, [])
        if len(names) == len(others) == 1:
            pairs[names[0]] = others[0]
    return {name: pairs[name] for name in left if name in pairs}


def _by_letters(names: Iterable[str], known: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        if name not in known:
            found.setdefault("".join(filter(str.isalnum, name.casefold())), []).append(name)
    found.pop("", None)
    return found
