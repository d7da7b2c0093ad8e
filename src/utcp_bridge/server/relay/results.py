"""Results of upstreams in the form that hosts accept, part by part: one odd part costs nothing else (pure)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from utcp_bridge.catalogue.render import ShowLink, compact, safe_block, well_formed
from utcp_bridge.catalogue.text import clean
from utcp_bridge.foreign import visible_json
from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = ["completion_result", "prompt_result", "read_result"]

_MAX_VALUES: Final = 100
_MAX_TOTAL: Final = 2**53 - 1
_OWN_META: Final = "io.modelcontextprotocol/"
"""Members of `_meta` about one connection and its two sides."""
_MAX_TTL: Final = 365 * 86_400_000
"""Milliseconds for which a host may keep a result at most."""
_ROLES: Final = ("user", "assistant")


def read_result(result: JsonObject, uri: str, show: Callable[[str], str]) -> JsonObject:
    """Return a result of `resources/read` for a host that asked for `uri`. `show` returns the host's form of a URI."""
    given = result.get("contents")
    parts: list[Any] = given if is_list(given) else [] if given is None else [given]
    made: JsonObject = {"contents": [_part(one, uri, show) for one in parts], "resultType": "complete"}
    return {**made, **_hints(result), **_meta(result)}


def _part(part: Any, uri: str, show: Callable[[str], str]) -> JsonObject:
    if not is_object(part):
        return {"uri": uri, "text": compact(part)}
    own = part.get("uri")
    made: JsonObject = {"uri": show(own) if isinstance(own, str) and own else uri}
    if isinstance(part.get("mimeType"), str):
        made["mimeType"] = part["mimeType"]
    key = next((key for key in ("text", "blob") if isinstance(part.get(key), str)), None)
    made |= {"text": compact(part)} if key is None else {key: compact(part[key])}
    return {**made, **_meta(part)}


def prompt_result(result: JsonObject, refuse: Callable[[str], str | None], show: ShowLink) -> JsonObject:
    """Return a result of `prompts/get`. A message with several blocks becomes several messages.

    `refuse` returns why hosts must not open a link themselves, and `show` the host's form of it.
    """
    given = result.get("messages")
    messages: list[JsonObject] = []
    for one in given if is_list(given) else []:
        role = one.get("role") if is_object(one) else None
        content = one.get("content") if is_object(one) else one
        for block in content if is_list(content) else [content]:
            shown = safe_block(well_formed(visible_json(block)), refuse, show)
            messages += [{"role": role if role in _ROLES else "user", "content": part} for part in shown]
    made: JsonObject = {"messages": messages, "resultType": "complete"}
    if description := clean(result.get("description")):
        made["description"] = description
    return {**made, **_meta(result)}


def completion_result(result: JsonObject | None) -> JsonObject:
    """Return a result of `completion/complete`; an empty one without a result."""
    given = (result or {}).get("completion")
    given = given if is_object(given) else {}
    values = given.get("values")
    kept = [compact(one) for one in values if isinstance(one, str)] if is_list(values) else []
    completion: JsonObject = {"values": kept[:_MAX_VALUES]}
    total = given.get("total")
    if isinstance(total, int) and not isinstance(total, bool) and 0 <= total <= _MAX_TOTAL:
        completion["total"] = total
    if isinstance(given.get("hasMore"), bool):
        completion["hasMore"] = given["hasMore"]
    return {"completion": completion, "resultType": "complete", **_meta(result or {})}


def _meta(source: JsonObject) -> JsonObject:
    meta = source.get("_meta")
    kept = {key: value for key, value in meta.items() if not key.startswith(_OWN_META)} if is_object(meta) else {}
    return {"_meta": kept} if kept else {}


def _hints(result: JsonObject) -> JsonObject:
    """Return for how long and for whom the upstream says that its result is true (2026-07-28)."""
    ttl, scope = result.get("ttlMs"), result.get("cacheScope")
    if not isinstance(ttl, int) or isinstance(ttl, bool) or scope not in ("public", "private"):
        return {}
    return {"ttlMs": min(max(ttl, 0), _MAX_TTL), "cacheScope": scope}
