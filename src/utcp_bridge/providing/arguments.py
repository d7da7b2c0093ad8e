"""The arguments of a tool out of an HTTP request: a JSON object in the body, the query string, or both.

Released UTCP clients differ in where they write arguments that no field of the call template names: in the query
(Python, TypeScript) or in the body (Go, Rust, this one). So both are read.
"""

from __future__ import annotations

from typing import Any, Final

import orjson
from starlette.requests import Request

from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = ["UnreadableBody", "read_arguments"]

_LARGEST_BODY: Final = 4 * 1024 * 1024


class UnreadableBody(Exception):
    """The body cannot be read as arguments; `status` is the HTTP status to return. Handled within this folder."""

    def __init__(self, message: str, *, remedy: str, status: int = 400) -> None:
        super().__init__(f"{message} {remedy}")
        self.status = status


async def read_arguments(request: Request, schema: JsonObject) -> JsonObject:
    """The arguments; `schema` tells which of the query's are numbers, truth values or lists.

    :raises UnreadableBody: the body is not a JSON object, is above 4 MiB, or does not say that it is JSON: a web page
        could send such a one to any server without asking.
    """
    body = await _body(request)
    arguments = _from_query(request, schema)
    if not body:
        return arguments
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise UnreadableBody(
            "The body is not declared as JSON.", remedy="Send Content-Type: application/json.", status=415
        )
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UnreadableBody("The body is not JSON.", remedy="Send the arguments as a JSON object.") from None
    if not is_object(given):
        raise UnreadableBody("The body is no object.", remedy="Send the arguments as a JSON object.")
    return {**arguments, **given}


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_BODY:
            raise UnreadableBody("The body is above 4 MiB.", remedy="Send less in one call.", status=413)
    return bytes(body)


def _from_query(request: Request, schema: JsonObject) -> JsonObject:
    listed = schema.get("properties")
    properties = listed if is_object(listed) else {}
    return {
        name: _typed(request.query_params.getlist(name), properties.get(name))
        for name in request.query_params.keys()  # noqa: SIM118 - not a dict
    }


def _typed(texts: list[str], schema: Any) -> Any:
    kinds = _kinds(schema)
    if "array" in kinds and not (len(texts) == 1 and texts[0].lstrip().startswith("[")):
        items = schema.get("items")
        return [_typed([text], items) for text in texts]
    text = texts[-1]
    if "string" in kinds or not kinds:
        return text
    try:
        return orjson.loads(text.lower() if "boolean" in kinds and text.lower() in {"true", "false"} else text)
    except orjson.JSONDecodeError:
        return text


def _kinds(schema: Any) -> set[str]:
    """The types that a property may have; none where it does not say."""
    if not is_object(schema):
        return set()
    kind = schema.get("type")
    own = {kind} if isinstance(kind, str) else set(kind) if is_list(kind) else set[str]()
    for word in ("anyOf", "oneOf"):
        for branch in schema.get(word) or ():
            own |= _kinds(branch)
    return own
