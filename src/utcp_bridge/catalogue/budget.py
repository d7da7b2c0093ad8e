"""The byte budget of a result: what a client may receive at once, and values shortened to fit it.

A value loses whole rows of its arrays, whole members of its objects and the ends of its long texts, so it stays valid
JSON of the same shape. Each `Cut` says where something was left out, so that the caller can read on from there.

`KNOWN_HOSTS` are hosts whose own limit is known. Of these a host reads more than it shows to its model, and it shows
the structured content if there is one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import orjson

from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import JsonObject, is_list, is_object, matches_glob
from utcp_bridge.settings import LimitSettings

__all__ = [
    "MAX_EVENT_BYTES",
    "Cut",
    "ResultAllowance",
    "Shrinker",
    "allowance_for",
    "as_jmespath",
    "first_text",
    "parsed_json",
]

MAX_EVENT_BYTES: Final = 500 * 1024
"""Most bytes of one result over HTTP before 2026-07-28. With its frame it stays below 512 KiB: SDKs of those versions
refuse a server-sent event of 1 MiB, and some proxies refuse half of it."""
MIN_RESULT_BYTES: Final = 8_192
"""A smaller budget would not hold the notices about what was cut."""
_MAX_DEPTH: Final = 16
"""Most levels that are entered to shorten something. Each level reads the large members once more."""
_MIN_SHARE: Final = 24
_LEAST_MEMBER: Final = 5
"""Bytes of the shortest member with a comma: `"":0,`."""
_MAX_PATH: Final = 100
_PLAIN_NAME: Final = late_pattern(r"[A-Za-z_][A-Za-z0-9_]*")

Size = Callable[[Any], int]
"""Returns the bytes of a value as JSON."""
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class ResultAllowance:
    """Most bytes of one result for a client, and which form its model reads."""

    max_bytes: int
    prefers_structure: bool = False


KNOWN_HOSTS: Final[Mapping[str, ResultAllowance]] = {
    # Claude Code refuses more than 25,000 tokens of one result, and JSON has about 3 bytes in a token.
    "claude-code*": ResultAllowance(64_000, prefers_structure=True),
    # Codex shows its model at most 10,000 tokens of one result: the beginning and the end, cut anywhere.
    "codex*": ResultAllowance(32_000, prefers_structure=True),
}
"""Glob for the client's name → its allowance."""


def allowance_for(settings: LimitSettings, client: str | None) -> ResultAllowance:
    """Return a client's allowance: the operator's for its name, else the operator's, else the host's, else ours."""
    host = next((known for glob, known in KNOWN_HOSTS.items() if client and matches_glob(glob, client)), None)
    prefers = host is not None and host.prefers_structure
    for glob, size in settings.max_result_bytes_by_client.items():
        if client and matches_glob(glob, client):
            return ResultAllowance(max(size, MIN_RESULT_BYTES), prefers)
    if host is not None and "max_result_bytes" not in settings.model_fields_set:
        return host
    return ResultAllowance(max(settings.max_result_bytes, MIN_RESULT_BYTES), prefers)


@dataclass(frozen=True, slots=True)
class Cut:
    """One place where something was left out: `shown` of `total` are there."""

    path: Path
    shown: int
    total: int
    unit: Literal["rows", "members", "characters", "blocks"]

    def __str__(self) -> str:
        path = as_jmespath(self.path)
        where = "" if not path else f" of `{path}`" if len(path) <= _MAX_PATH else " of one place"
        return f"{self.shown:,} of {self.total:,} {self.unit}{where}"


def as_jmespath(path: Sequence[str | int]) -> str:
    """Return the JMESPath expression that leads to a place in a value."""
    parts: list[str] = []
    for step in path:
        if isinstance(step, int):
            parts.append(f"[{step}]")
        else:
            name = step if _PLAIN_NAME.fullmatch(step) else json.dumps(step)
            parts.append(f".{name}" if parts else name)
    return "".join(parts)


def first_text(text: str, limit: int, size: Size) -> str:
    """Return the longest beginning of `text` that has at most `limit` bytes, up to the end of a line if one is near."""
    low, high = 0, min(len(text), max(limit, 0))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if size(text[:middle]) <= limit else (low, middle - 1)
    line_end = text.rfind("\n", low * 4 // 5, low) + 1
    return text[: line_end if line_end and low < len(text) else low]


class Shrinker:
    """Shortens one value. `cuts` says afterwards what was left out, the outermost place first."""

    def __init__(self, size: Size) -> None:
        self._size = size
        self.cuts: list[Cut] = []

    def fit(self, value: Any, limit: int) -> Any:
        """Return `value` itself if it has at most `limit` bytes, otherwise a shorter copy."""
        return value if self._size(value) <= limit else self._shorter(value, limit, ())

    def first(self, value: Any, limit: int) -> Any:
        """Return `value` itself if it fits, else its first rows or members, whole unless one alone is too large."""
        if not is_object(value) or self._size(value) <= limit:
            return self.fit(value, limit)
        return self._first_members(value, limit, ())

    def _shorter(self, value: Any, limit: int, path: Path) -> Any:
        if isinstance(value, str):
            shown = first_text(value, limit, self._size)
            self.cuts.append(Cut(path, len(shown), len(value), "characters"))
            return shown
        if is_list(value):
            return self._rows(value, limit, path)
        return self._object(value, limit, path) if is_object(value) else None

    def _rows(self, rows: list[Any], limit: int, path: Path) -> list[Any]:
        """Return the first rows that fit. If the first alone is too large, it is shortened."""
        shown: list[Any] = []
        place, used = len(self.cuts), 2
        for row in rows if len(path) < _MAX_DEPTH else ():
            used += self._size(row) + 1
            if used > limit + 1:
                break
            shown.append(row)
        if not shown and rows and _is_divisible(rows[0]) and len(path) < _MAX_DEPTH and limit > _MIN_SHARE:
            shown.append(self._shorter(rows[0], limit - 2, (*path, 0)))
        if len(shown) < len(rows):
            self.cuts.insert(place, Cut(path, len(shown), len(rows), "rows"))
        return shown

    def _object(self, members: JsonObject, limit: int, path: Path) -> JsonObject:
        """Return the small members whole, and the large ones shortened to equal shares of the rest."""
        if len(members) * _LEAST_MEMBER >= limit and len(path) < _MAX_DEPTH:  # no share is large enough for a member
            return self._few_members(members, limit, path)
        keys = {key: self._size(key) + 2 for key in members}
        costs = {key: cost + self._size(members[key]) for key, cost in keys.items()}
        order = sorted(costs, key=costs.__getitem__)
        place, left, room = len(self.cuts), len(order), limit - 1
        shown: dict[str, Any] = {}
        for key in order if len(path) < _MAX_DEPTH else ():
            share = room // left
            if costs[key] <= share:
                shown[key] = members[key]
            elif share - keys[key] < _MIN_SHARE or not _is_divisible(members[key]):
                break
            else:
                shown[key] = self._shorter(members[key], share - keys[key], (*path, key))
            room -= keys[key] + self._size(shown[key])
            left -= 1
        if left and len(path) < _MAX_DEPTH:
            del self.cuts[place:]
            return self._few_members(members, limit, path)
        if len(shown) < len(members):
            self.cuts.insert(place, Cut(path, len(shown), len(members), "members"))
        return {key: shown[key] for key in members if key in shown}

    def _few_members(self, members: JsonObject, limit: int, path: Path) -> JsonObject:
        """Return the first members, because equal shares would be too small."""
        place = len(self.cuts)
        shown = self._first_members(members, limit, path)
        if len(shown) < len(members):
            self.cuts.insert(place, Cut(path, len(shown), len(members), "members"))
        return shown

    def _first_members(self, members: JsonObject, limit: int, path: Path) -> JsonObject:
        """Return the first members that fit. One that needs more than half of the limit is shortened."""
        shown: JsonObject = {}
        left = limit - 1
        for key, value in members.items():
            name = self._size(key) + 2
            most = limit // 2 - name
            if _MIN_SHARE <= most <= left - name and _is_divisible(value) and self._size(value) > most:
                shown[key] = self._shorter(value, most, (*path, key))
            elif name + self._size(value) <= left:
                shown[key] = value
            else:
                break
            left -= name + self._size(shown[key])
        return shown


def _is_divisible(value: Any) -> bool:
    return isinstance(value, str) or is_list(value) or is_object(value)


def parsed_json(text: str) -> Any:
    """Return the JSON array or object that `text` is; None if it is not one."""
    if not text.lstrip(" \t\r\n").startswith(("{", "[")):
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
