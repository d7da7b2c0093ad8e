"""Whether what arrived is what a vector expects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = ["compare_requests", "same", "shortened"]

_MAX_SHOWN = 300


def same(expected: Any, arrived: Any) -> bool:
    """Return whether two JSON values are equal. 1 equals 1.0, and true does not equal 1."""
    if isinstance(expected, bool) or isinstance(arrived, bool):
        return expected is arrived
    if is_object(expected) and is_object(arrived):
        return expected.keys() == arrived.keys() and all(same(one, arrived[key]) for key, one in expected.items())
    if is_list(expected) and is_list(arrived):
        return len(expected) == len(arrived) and all(map(same, expected, arrived))
    return bool(expected == arrived)


def compare_requests(expected: Sequence[JsonObject], arrived: Sequence[JsonObject]) -> list[str]:
    """Return a line for each difference between the requests that a vector expects and those that were recorded.

    An expected request names only what it is about: of headers, cookies and variables of the environment those that it
    has, where null means that it must be absent; of everything else the whole.
    """
    if len(expected) != len(arrived):
        seen = ", ".join(_summary(one) for one in arrived) or "nothing"
        wanted = ", ".join(_summary(one) for one in expected) or "nothing"
        return [f"expected {wanted}; arrived {seen}"]
    return [line for one, other in zip(expected, arrived, strict=True) for line in _compare(one, other)]


def _compare(expected: JsonObject, arrived: JsonObject) -> list[str]:
    lines: list[str] = []
    for key, value in expected.items():
        found = arrived.get(key)
        if key in {"headers", "environment", "metadata", "cookies"}:
            lines += _compare_members(key, value, found if is_object(found) else {})
        elif key == "frames":
            lines += _compare_frames(value, found if is_list(found) else [])
        elif not same(value, found):
            seen = found if key in arrived else arrived.get("text", arrived.get("base64"))
            lines.append(f"{key}: expected {shortened(value)}; arrived {shortened(seen)}")
    return lines


def _compare_members(kind: str, expected: Mapping[str, Any], arrived: Mapping[str, Any]) -> list[str]:
    by_name = {name.casefold(): value for name, value in arrived.items()} if kind == "headers" else arrived
    lines: list[str] = []
    for name, value in expected.items():
        found = by_name.get(name.casefold() if kind == "headers" else name)
        if not same(value, found):
            lines.append(f"{kind}, {name}: expected {shortened(value)}; arrived {shortened(found)}")
    return lines


def _compare_frames(expected: list[Any], arrived: list[Any]) -> list[str]:
    if len(expected) != len(arrived):
        return [f"frames: expected {shortened(expected)}; arrived {shortened(arrived)}"]
    return [line for one, other in zip(expected, arrived, strict=True) for line in _compare(one, other)]


def _summary(request: JsonObject) -> str:
    keys = ("method", "path", "tool", "field", "argv", "text")
    return " ".join(shortened(request[key]) for key in keys if key in request) or "one request"


def shortened(value: Any) -> str:
    """Return a value as a line of a report shows it."""
    import json

    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
