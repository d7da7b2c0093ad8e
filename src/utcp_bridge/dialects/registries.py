"""The `registries` of a configuration: where else manuals come from, and which of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from utcp_bridge.dialects.fields import nearest, safe_name, sort_of, word
from utcp_bridge.dialects.readings import Notes
from utcp_bridge.dialects.shorthand import suggest_name
from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = ["PASSED_ON", "REGISTRY_KEYS", "read_registries"]

PASSED_ON: Final = frozenset({
    "include", "exclude", "allowed_origins", "allow_networks", "allowed_communication_protocols", "proxy", "verify_ssl",
    "ca_cert", "call_timeout", "discovery_timeout", "concurrency", "queue", "rate_limit", "retries", "max_reply_bytes",
    "refresh_interval",
})  # fmt: skip
"""Operator's keys of a manual that count for each manual of the registry. What would hand credentials, or full trust,
to whatever the registry names is none of them."""

REGISTRY_KEYS: Final = frozenset({"registry", "name", "tags", "q", "limit", "sha256", "auth"}) | PASSED_ON
_MOST: Final = 1_000
_EXAMPLE: Final = 'Write {"registry": "https://registry.example.com"}.'


def read_registries(items: list[Any], where: str, notes: Notes) -> Iterator[JsonObject]:
    """Each registry as an object with `registry` (a URL or path) and a `name` of its own; bad ones are faults."""
    taken: set[str] = set()
    for position, item in enumerate(items):
        place = f"{where}: registry {position + 1}"
        raw: Any = {"registry": item} if isinstance(item, str) else item
        if not is_object(raw):
            notes.error(place, f"is {sort_of(item)}, not an object or a URL.")
        elif (fault := _fault(raw)) is not None:
            notes.error(place, *fault)
        elif (name := _name(raw, taken)) in taken:
            notes.error(place, f"another registry is also named {word(name)!r}.", "Give each its own name.")
        else:
            taken.add(name)
            yield {**_known(raw, place, notes), "name": name}


def _fault(raw: JsonObject) -> tuple[str, str] | None:
    """What is wrong with a key, and its remedy."""
    place, name, tags, q = raw.get("registry"), raw.get("name", ""), raw.get("tags", []), raw.get("q", "")
    limit, pins = raw.get("limit", 1), raw.get("sha256", {})
    checks = (
        (isinstance(place, str) and bool(place.strip()), "names no `registry`.", _EXAMPLE),
        (isinstance(name, str), f"the name is {sort_of(name)}, not text.", ""),
        (_is_texts(tags), "`tags` is not a list of texts.", ""),
        (isinstance(q, str), f"`q` is {sort_of(q)}, not text.", ""),
        (_is_count(limit), f"`limit` is no number from 1 to {_MOST}.", ""),
        (is_object(pins) and _is_texts([*pins.values()]), "`sha256` is no object of manuals' names and hashes.", ""),
    )
    return next(((what, remedy) for holds, what, remedy in checks if not holds), None)


def _is_texts(value: Any) -> bool:
    return is_list(value) and all(isinstance(one, str) for one in value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST


def _name(raw: JsonObject, taken: set[str]) -> str:
    stated = safe_name(raw.get("name") or "").strip("_")
    return stated or suggest_name({"url" if "://" in raw["registry"] else "file_path": raw["registry"]}, taken)


def _known(raw: JsonObject, where: str, notes: Notes) -> JsonObject:
    for key in raw:
        if key == "trusted":
            notes.warn(
                where,
                "`trusted` is ignored: a registry cannot be trusted with commands and files.",
                "List the manual itself in `manual_call_templates` to trust it.",
            )
        elif key not in REGISTRY_KEYS and not word(key).startswith(("$", "_", "x-")):
            notes.warn(where, f"nothing reads the key {word(key)!r}.", nearest(key, REGISTRY_KEYS))
    return {key: value for key, value in raw.items() if key in REGISTRY_KEYS}
