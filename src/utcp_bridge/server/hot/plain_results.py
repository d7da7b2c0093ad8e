"""Results of text, links and structured content in the form that the SDK's models give them.

A cut result has a link to the rest of it, so one with a link is as plain as one of text.
"""

from __future__ import annotations

from typing import Any, Final

from utcp_bridge.catalogue.render import TextResult
from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.server.wire.protocol import SERVER_INFO_META_KEY

__all__ = ["in_order"]

_PLAIN: Final = frozenset({"content", "isError", "resultType", "structuredContent", "_meta"})
_LINK_NEEDS: Final = frozenset({"name", "type", "uri"})
_LINK: Final = _LINK_NEEDS | {"description", "mimeType", "title"}


def in_order(result: JsonObject, stamp: JsonObject | None) -> JsonObject | None:
    """Return a result of text, links and structured content with its members in the order of the SDK's models.

    `stamp` names the server in results of 2026-07-28. None: the result has something else.
    """
    if type(result) is not TextResult:
        return _examined(result, stamp)
    ordered: JsonObject = {}
    if (meta := result.get("_meta")) is not None:
        ordered["_meta"] = meta if stamp is None else {**meta, SERVER_INFO_META_KEY: stamp}
    ordered["content"] = [{"text": result["content"][0]["text"], "type": "text"}]
    ordered["isError"] = False
    if stamp is not None:
        ordered["resultType"] = "complete"
    if (structured := result.get("structuredContent")) is not None:
        ordered["structuredContent"] = structured
    if stamp is not None and meta is None:
        ordered["_meta"] = {SERVER_INFO_META_KEY: stamp}
    return ordered


def _examined(result: JsonObject, stamp: JsonObject | None) -> JsonObject | None:
    content, meta, is_error = result.get("content"), result.get("_meta"), result.get("isError")
    structured = result.get("structuredContent")
    if not result.keys() <= _PLAIN or result.get("resultType") != "complete" or not isinstance(is_error, bool):
        return None
    blocks = _blocks(content)
    if blocks is None or not (structured is None or isinstance(structured, dict)):
        return None
    ordered: JsonObject = {"content": blocks, "isError": is_error}
    if meta is not None:
        if not isinstance(meta, dict):
            return None
        if stamp is not None and (SERVER_INFO_META_KEY in meta or None in meta.values()):
            return None
        ordered = {"_meta": meta if stamp is None else {**meta, SERVER_INFO_META_KEY: stamp}, **ordered}
    if stamp is not None:
        ordered["resultType"] = "complete"
    if structured is not None:
        ordered["structuredContent"] = structured
    if stamp is not None and meta is None:
        ordered["_meta"] = {SERVER_INFO_META_KEY: stamp}
    return ordered


def _blocks(content: Any) -> list[JsonObject] | None:
    """Return blocks of text, and links, as the SDK orders their members; None if a block is something else."""
    blocks: list[JsonObject] = []
    for block in content if is_list(content) else (None,):
        ordered = _ordered(block) if is_object(block) else None
        if ordered is None:
            return None
        blocks.append(ordered)
    return blocks


def _ordered(block: JsonObject) -> JsonObject | None:
    if block.get("type") == "text" and len(block) == 2 and isinstance(block.get("text"), str):
        return {"text": block["text"], "type": "text"}
    if block.get("type") == "resource_link" and _LINK_NEEDS <= block.keys() <= _LINK and _has_texts(block):
        return dict(sorted(block.items()))
    return None


def _has_texts(block: JsonObject) -> bool:
    return all(isinstance(value, str) for value in block.values())
