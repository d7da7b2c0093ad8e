"""Request bodies by media type: JSON, forms, multipart, text, XML as text, binary, lines (pure).

`compile_body` turns a `BodyPlan` into a function from arguments to `EncodedBody`, or None where nothing is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from utcp_bridge.errors import InvalidArguments
from utcp_bridge.model import Json, JsonObject
from utcp_bridge.placement.encoding import compact_json, format_scalar, percent_encode
from utcp_bridge.placement.multipart import (
    Part,
    concrete_media_type,
    decode_base64,
    encode_multipart,
    file_part,
)
from utcp_bridge.placement.openapi_styles import expand_pairs
from utcp_bridge.placement.plan_models import BodyPlan, PropertyPlan

__all__ = ["BodyWriter", "EncodedBody", "compile_body", "encode_form", "media_kind", "reserved_text"]


class EncodedBody(NamedTuple):
    """A body with the Content-Type that describes it."""

    content_type: str
    content: bytes


BodyWriter: TypeAlias = Callable[[JsonObject], EncodedBody | None]
_ABSENT: Any = object()
_DEFAULT = PropertyPlan()
_LINES = {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"}
_KEPT_WHEN_RESERVED = "/:?@!$'()*,;="


def media_kind(media_type: str) -> str:
    """How a media type is written: `json`, `form`, `multipart`, `lines`, `text` or `binary`."""
    essence = media_type.split(";", 1)[0].strip().lower()
    if essence.endswith(("/json", "+json")) or essence == "application/*":
        return "json"
    if essence == "application/x-www-form-urlencoded":
        return "form"
    if essence.startswith("multipart/"):
        return "multipart"
    if essence in _LINES:
        return "lines"
    textual = essence.startswith("text/") or essence.endswith(("/xml", "+xml", "yaml", "/javascript", "/graphql"))
    return "text" if textual else "binary"


def reserved_text(text: str, argument: str) -> str:
    """Percent-encoding with `allowReserved`: only what would end the value or the query is encoded."""
    return percent_encode(text, argument=argument, safe=_KEPT_WHEN_RESERVED)


def compile_body(plan: BodyPlan) -> BodyWriter:
    """The function that writes this body.

    It raises `InvalidArguments` where a required body is missing or a value does not fit the media type.
    """
    collect = _collect_members if plan.members is not None else _collect_whole
    encode = _ENCODERS["binary" if plan.binary else media_kind(plan.media_type)]

    def write(arguments: JsonObject) -> EncodedBody | None:
        value = collect(plan, arguments)
        return None if value is _ABSENT else encode(plan, value)

    return write


def _collect_members(plan: BodyPlan, arguments: JsonObject) -> Any:
    """The flat arguments, or the plain UTCP form `{"body": {...}}`, which wins over defaults."""
    members = plan.members or ()
    given = {name: arguments[name] for name in members if name in arguments}
    whole: Json = None if plan.argument in members else arguments.get(plan.argument)
    if whole is None:
        return given if given or plan.required else _ABSENT
    return {**given, **whole} if isinstance(whole, dict) else whole


def _collect_whole(plan: BodyPlan, arguments: JsonObject) -> Any:
    value = arguments.get(plan.argument)
    if value is not None:
        return value
    if plan.required and plan.empty_object:
        return {}
    if plan.required:
        raise InvalidArguments(f"Argument {plan.argument!r} is missing.", remedy=f"Send {plan.argument!r}.")
    return _ABSENT


def _json(plan: BodyPlan, value: Any) -> EncodedBody:
    return EncodedBody(plan.media_type, compact_json(value))


def _lines(plan: BodyPlan, value: Json) -> EncodedBody:
    if isinstance(value, list):
        return EncodedBody(plan.media_type, b"".join(compact_json(item) + b"\n" for item in value))
    return _text(plan, value)


def _text(plan: BodyPlan, value: Json) -> EncodedBody:
    if isinstance(value, dict | list):
        raise InvalidArguments(
            f"Argument {plan.argument!r} is sent as {plan.media_type} and must be text.",
            remedy=f"Send the complete {plan.media_type} document as one string.",
        )
    try:
        return EncodedBody(plan.media_type, format_scalar(value).encode("utf-8"))
    except UnicodeEncodeError as error:
        raise InvalidArguments(f"Argument {plan.argument!r} holds text that is not valid Unicode.") from error


def _binary(plan: BodyPlan, value: Json) -> EncodedBody:
    data = decode_base64(value, argument=plan.argument) if isinstance(value, str) else compact_json(value)
    return EncodedBody(concrete_media_type(plan.media_type, data), data)


def _form(plan: BodyPlan, value: Json) -> EncodedBody:
    return EncodedBody(plan.media_type, encode_form(_object(plan, value), plan.encoding).encode("ascii"))


def encode_form(value: JsonObject, encoding: dict[str, PropertyPlan]) -> str:
    """`application/x-www-form-urlencoded` text; objects are JSON and arrays repeat their name unless told otherwise."""
    return "&".join(
        f"{name}={text}"
        for key, member in value.items()
        if member is not None
        for name, text in _form_pairs(key, member, encoding.get(key, _DEFAULT))
    )


def _form_pairs(name: str, value: Json, plan: PropertyPlan) -> list[tuple[str, str]]:
    def encode(text: str) -> str:
        return reserved_text(text, name) if plan.allow_reserved else percent_encode(text, argument=name)

    if plan.style:
        return expand_pairs(plan.style, name, value, explode=plan.explode, encode=encode)
    whole = plan.content_type is not None and media_kind(plan.content_type) == "json"
    items = [value] if whole or not isinstance(value, list) else value
    return [(encode(name), encode(_as_json(item) if whole else format_scalar(item))) for item in items]


def _as_json(value: Any) -> str:
    return compact_json(value).decode("utf-8")


def _multipart(plan: BodyPlan, value: Json) -> EncodedBody:
    members = _object(plan, value)
    parts = [
        part
        for name, member in members.items()
        if member is not None
        for part in _parts(name, member, plan.encoding.get(name, _DEFAULT))
    ]
    boundary, content = encode_multipart(parts)
    essence = plan.media_type.split(";", 1)[0].strip()
    kind = "multipart/form-data" if essence == "multipart/*" else essence
    return EncodedBody(f"{kind}; boundary={boundary}", content)


def _parts(name: str, value: Json, plan: PropertyPlan) -> list[Part]:
    if plan.binary:
        items = value if isinstance(value, list) else [value]
        return [file_part(name, item, plan.content_type) for item in items]
    if plan.style:
        pairs = expand_pairs(plan.style, name, value, explode=plan.explode, encode=str)
        return [Part(key, _utf8(text, name)) for key, text in pairs]
    whole = plan.content_type is not None and media_kind(plan.content_type) == "json"
    items = [value] if whole or not isinstance(value, list) else value
    return [_value_part(name, item, plan.content_type) for item in items]


def _value_part(name: str, value: Json, content_type: str | None) -> Part:
    if isinstance(value, dict | list):
        return Part(name, compact_json(value), content_type or "application/json")
    if content_type and media_kind(content_type) == "json":
        return Part(name, compact_json(value), content_type)
    return Part(name, _utf8(format_scalar(value), name), content_type)


def _utf8(text: str, argument: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidArguments(f"Argument {argument!r} holds text that is not valid Unicode.") from error


def _object(plan: BodyPlan, value: Json) -> JsonObject:
    if isinstance(value, dict):
        return value
    raise InvalidArguments(
        f"Argument {plan.argument!r} is sent as {plan.media_type} and must be an object.",
        remedy="Send its fields as one JSON object.",
    )


_ENCODERS: dict[str, Callable[[BodyPlan, Any], EncodedBody]] = {
    "json": _json,
    "form": _form,
    "multipart": _multipart,
    "lines": _lines,
    "text": _text,
    "binary": _binary,
}
