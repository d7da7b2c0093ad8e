"""An OpenAPI description with one operation for each kind of argument and body."""

from __future__ import annotations

from typing import Any

_TEXT = {"type": "string"}
_ITEM = {
    "type": "object",
    "required": ["title"],
    "properties": {
        "title": _TEXT,
        "pages": {"type": "integer"},
        "lent": {"type": "boolean"},
        "tags": {"type": "array", "items": _TEXT},
        "at": {"type": "object", "properties": {"shelf": _TEXT, "row": {"type": "number"}}},
    },
}


def _parameter(name: str, place: str, schema: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "in": place, "schema": schema, **({"required": True} if place == "path" else {}), **more}


def _operation(name: str, media_type: str = "", schema: Any = None, *parameters: Any, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"operationId": name, "parameters": list(parameters), "responses": {}}
    if media_type:
        made["requestBody"] = {"required": True, "content": {media_type: {"schema": schema, **more}}}
    return made


_LIST = {"type": "array", "items": _TEXT}
_FORM = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": _TEXT, "age": {"type": "integer"}, "new": {"type": "boolean"}, "at": {"type": "object"}},
}
_FILE = {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}

OPERATIONS: dict[str, dict[str, Any]] = {
    "/books": {"post": _operation("add_book", "application/json", _ITEM)},
    "/books/{id}": {
        "put": _operation(
            "change_book",
            "application/json; charset=utf-8",
            {"$ref": "#/components/schemas/Book"},
            _parameter("id", "path", _TEXT),
            _parameter("X-Trace", "header", _TEXT),
            _parameter("X-Quiet", "header", {"type": "boolean"}),
            _parameter("notify", "query", {"type": "boolean", "default": False}),
        ),
        "get": _operation(
            "get_book",
            "",
            None,
            _parameter("id", "path", {"type": "integer"}),
            _parameter("fields", "query", _LIST),
            _parameter("sort", "query", _LIST, explode=False),
            _parameter("pipes", "query", _LIST, style="pipeDelimited", explode=False),
            _parameter("ids[]", "query", {"type": "array", "items": {"type": "integer"}}),
            _parameter("ratio", "query", {"type": "number"}),
            _parameter("deep", "query", {"type": "object"}, style="deepObject"),
            _parameter("session", "cookie", _TEXT),
        ),
    },
    "/label/{id}/{ids}/{way}": {
        "get": _operation(
            "styled_path",
            "",
            None,
            _parameter("id", "path", _TEXT, style="label"),
            _parameter("ids", "path", _LIST),
            _parameter("way", "path", _TEXT, style="matrix"),
        )
    },
    "/list": {"post": _operation("send_list", "application/json", {"type": "array", "items": _ITEM})},
    "/number": {"post": _operation("send_number", "application/json", {"type": "number"})},
    "/any": {"post": _operation("send_any", "application/json", {})},
    "/either": {"post": _operation("send_either", "application/json", {"anyOf": [_TEXT, _ITEM]})},
    "/vendor": {"patch": _operation("send_vendor", "application/vnd.books+json", _ITEM)},
    "/form": {"post": _operation("send_form", "application/x-www-form-urlencoded", _FORM)},
    "/text": {"post": _operation("send_text", "text/plain", _TEXT)},
    "/xml": {"post": _operation("send_xml", "application/xml", _ITEM)},
    "/file": {"post": _operation("send_file", "multipart/form-data", _FILE)},
    "/raw": {"post": _operation("send_raw", "application/octet-stream", {"type": "string", "format": "binary"})},
    "/words": {"post": _operation("send_words", "application/json", _TEXT)},
    "/head": {"head": _operation("look")},
    "/delete": {
        "delete": _operation("remove", "application/json", _ITEM, _parameter("hard", "query", {"type": "boolean"}))
    },
    "/comments": {
        "post": _operation(
            "comment",
            "application/json",
            {"type": "object", "properties": {"body": _TEXT}, "required": ["body"]},
            _parameter("body", "query", _TEXT),
        )
    },
}
"""Paths of the description."""
LEFT_OUT = {"send_file", "send_raw", "send_words", "look"}
"""Operations that no official template says."""

BODIES: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Books", "version": "3"},
    "paths": OPERATIONS,
    "security": [{"key": []}],
    "components": {
        "schemas": {"Book": _ITEM},
        "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-Key"}},
    },
}
