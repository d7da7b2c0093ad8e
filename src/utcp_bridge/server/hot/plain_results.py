"""Results of text and structured content in the form that the SDK's models give them."""

from __future__ import annotations

from typing import Any, Final

from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.server.wire.protocol import SERVER_INFO_META_KEY

__all__ = ["in_order"]

_PLAIN: Final = frozenset({"content", "isError", "resultType", "structuredContent", "_meta"})


def in_order(result: JsonObject, stamp: JsonObject | None) -> JsonObject | None:
    """Return a result of text and structured content with its members in the order of the SDK's models.

    `stamp` names the server in results of 2026-07-28. None: the result has something else.
    """
    blocks, meta = _texts(result.get("content")), result.get("_meta")
    is_error, structured = result.get("isError"), result.get("structuredContent")
    if blocks is None or not result.keys() <= _PLAIN or result.get("resultType") != "complete":
        return None
    if not isinstance(is_error, bool) or not (structured is None or is_object(structured)):
        return None
    ordered: JsonObject = {}
    if meta is not None:
        if not is_object(meta) or (stamp is not None and (SERVER_INFO_META_KEY in meta or None in meta.values())):
            return None
        ordered["_meta"] = meta if stamp is None else {**meta, SERVER_INFO_META_KEY: stamp}
    ordered["content"] = blocks
    ordered["isError"] = is_error
    if stamp is not None:
        ordered["resultType"] = "complete"
    if structured is not None:
        ordered["structuredContent"] = structured
    if stamp is not None and meta is None:
        ordered["_meta"] = {SERVER_INFO_META_KEY: stamp}
    return ordered


def _texts(content: Any) -> list[JsonObject] | None:
    """Return blocks of text alone; None if a block is something else."""
    blocks: list[JsonObject] = []
    for block in content if is_list(content) else (None,):
        text = block.get("text") if is_object(block) and len(block) == 2 and block.get("type") == "text" else None
        if not isinstance(text, str):
            return None
        blocks.append({"text": text, "type": "text"})
    return blocks
