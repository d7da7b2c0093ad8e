"""The values of tools and files as contents of resources and prompts, wire-shaped (pure)."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import orjson

from utcp_bridge.errors import MalformedReply
from utcp_bridge.foreign import visible
from utcp_bridge.maps.patterns import filled
from utcp_bridge.model import Binary, ContentBlocks, JsonObject, is_list, is_object

__all__ = ["contents_of", "filled_content", "filled_in", "message_of_file"]


def contents_of(uri: str, value: Any, media_type: str | None) -> list[JsonObject]:
    """Return the contents of a resource from a tool's value; `media_type` is what the map states.

    :raises MalformedReply: the value has an error, or cannot be written as JSON.
    """
    if isinstance(value, ContentBlocks):
        return _of_blocks(uri, value, media_type)
    if is_list(value) and any(isinstance(one, Binary) for one in value):
        return [part for one in value for part in contents_of(uri, one, media_type)]
    if isinstance(value, Binary):
        return [{"uri": uri, "mimeType": media_type or value.media_type, "blob": _base64(value.data)}]
    if isinstance(value, str):
        return [{"uri": uri, "mimeType": media_type or "text/plain", "text": value}]
    return [{"uri": uri, "mimeType": media_type or "application/json", "text": _json(value)}]


def message_of_file(name: str, value: str | Binary) -> JsonObject:
    """Return a file as a content block of a prompt: text, image, audio, or an embedded resource."""
    if isinstance(value, str):
        return {"type": "text", "text": value}
    sort = value.media_type.partition("/")[0]
    data = _base64(value.data)
    if sort in {"image", "audio"}:
        return {"type": sort, "data": data, "mimeType": value.media_type}
    return {"type": "resource", "resource": {"uri": f"file:///{name}", "mimeType": value.media_type, "blob": data}}


def filled_content(content: JsonObject, values: dict[str, str]) -> JsonObject:
    """Return a content block with the arguments of its prompt."""
    found: JsonObject = filled_in(content, values)
    return found


def filled_in(value: Any, values: dict[str, str]) -> Any:
    """Return a JSON value with the variables in its texts replaced."""
    if isinstance(value, str):
        return filled(value, values)
    if is_object(value):
        return {key: filled_in(one, values) for key, one in value.items()}
    return [filled_in(one, values) for one in value] if is_list(value) else value


def _of_blocks(uri: str, value: ContentBlocks, media_type: str | None) -> list[JsonObject]:
    if value.is_error:
        texts = [str(block.get("text")) for block in value.content if is_object(block) and block.get("text")]
        raise MalformedReply(f"The tool of the resource reported an error: {visible(' '.join(texts))[:1_000]}")
    return [part for block in value.content if (part := _of_block(uri, block, media_type)) is not None]


def _of_block(uri: str, block: JsonObject, media_type: str | None) -> JsonObject | None:
    if isinstance(block.get("text"), str):
        return {"uri": uri, "mimeType": media_type or "text/plain", "text": block["text"]}
    if isinstance(block.get("data"), str):
        return {"uri": uri, "mimeType": media_type or block.get("mimeType"), "blob": block["data"]}
    resource = block.get("resource")
    return resource if is_object(resource) else None


def _json(value: Any) -> str:
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:
        raise MalformedReply("The value of the resource's tool cannot be written as JSON.") from None


def _base64(data: bytes) -> str:
    return b64encode(data).decode()
