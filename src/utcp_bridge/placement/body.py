"""Request bodies by media type: JSON, forms, multipart (RFC 7578), text, XML as text, binary, lines (pure).

`compile_body` turns a `BodyPlan` into a function from arguments to `EncodedBody`. A plan without a body gives None.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Callable, Collection
from dataclasses import field
from typing import Any, NamedTuple, TypeAlias

from utcp_bridge.errors import InvalidArguments
from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import Json, JsonObject
from utcp_bridge.placement.encoding import compact_json, format_scalar, percent_encode
from utcp_bridge.placement.openapi_styles import expand_pairs
from utcp_bridge.placement.plan_models import BodyPlan, PropertyPlan

__all__ = [
    "BodyWriter",
    "EncodedBody",
    "Part",
    "compile_body",
    "decode_base64",
    "encode_form",
    "encode_multipart",
    "file_part",
    "media_kind",
    "reserved_text",
]


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
    """Return how a media type is written: `json`, `form`, `multipart`, `lines`, `text` or `binary`."""
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
    """Percent-encode with `allowReserved`: only what would end the value or the query is encoded."""
    return percent_encode(text, argument=argument, safe=_KEPT_WHEN_RESERVED)


def compile_body(plan: BodyPlan, *, taken: Collection[str] = (), is_written: bool = False) -> BodyWriter:
    """Return the function that writes this body. `is_written` says that the value of a JSON body is JSON text already.

    `taken` are the arguments that go elsewhere: a query parameter may have the name of the body's argument. The
    function raises `InvalidArguments` if a required body is missing or a value does not fit the media type.
    """
    collect = _collect_whole if plan.members is None else _members_only if plan.argument in taken else _collect_members
    kind = "binary" if plan.binary else media_kind(plan.media_type)
    encode = _ENCODERS["text" if is_written and kind == "json" else kind]

    def write(arguments: JsonObject) -> EncodedBody | None:
        value = collect(plan, arguments)
        return None if value is _ABSENT else encode(plan, value)

    return write


def _collect_members(plan: BodyPlan, arguments: JsonObject) -> Any:
    """Return the flat arguments, or the plain UTCP form `{"body": {...}}`, which takes precedence over defaults."""
    given = _members_only(plan, arguments)
    whole: Json = None if plan.argument in (plan.members or ()) else arguments.get(plan.argument)
    if whole is None:
        return given
    return {**given, **whole} if isinstance(whole, dict) and given is not _ABSENT else whole


def _members_only(plan: BodyPlan, arguments: JsonObject) -> Any:
    given = {name: arguments[name] for name in plan.members or () if name in arguments}
    return given if given or plan.required else _ABSENT


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
            f"Argument {plan.argument!r} must be text because it is sent as {plan.media_type}.",
            remedy=f"Send the complete {plan.media_type} document as one string.",
        )
    try:
        return EncodedBody(plan.media_type, format_scalar(value).encode("utf-8"))
    except UnicodeEncodeError as error:
        raise InvalidArguments(f"Argument {plan.argument!r} contains text that is not valid Unicode.") from error


def _binary(plan: BodyPlan, value: Json) -> EncodedBody:
    data = decode_base64(value, argument=plan.argument) if isinstance(value, str) else compact_json(value)
    return EncodedBody(concrete_media_type(plan.media_type, data), data)


def _form(plan: BodyPlan, value: Json) -> EncodedBody:
    if isinstance(value, str):  # a form that is described as text is the text itself
        return EncodedBody(plan.media_type, _utf8(value, plan.argument))
    return EncodedBody(plan.media_type, encode_form(_object(plan, value), plan.encoding).encode("ascii"))


def encode_form(value: JsonObject, encoding: dict[str, PropertyPlan]) -> str:
    """Return `application/x-www-form-urlencoded` text.

    Objects are JSON and arrays repeat their name, unless `encoding` says otherwise.
    """
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
        raise InvalidArguments(f"Argument {argument!r} contains text that is not valid Unicode.") from error


def _object(plan: BodyPlan, value: Json) -> JsonObject:
    if isinstance(value, dict):
        return value
    raise InvalidArguments(
        f"Argument {plan.argument!r} must be an object because it is sent as {plan.media_type}.",
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


_DATA_URL_MARK = ";base64"
_MAX_DATA_URL_HEAD = 1_024
_BLANKS = late_pattern(r"\s+")
_QUOTED = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A", "\0": "%00"})
_SIGNATURES = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF-", "application/pdf"),
)


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a multipart body; `content_type` None leaves RFC 7578's default, text/plain."""

    name: str
    content: bytes = field(repr=False)
    content_type: str | None = None
    filename: str | None = None


def encode_multipart(parts: list[Part]) -> tuple[str, bytes]:
    """Return the Content-Type parameter `boundary` and the body."""
    boundary = secrets.token_hex(16)
    chunks: list[bytes] = []
    for part in parts:
        disposition = f'form-data; name="{part.name.translate(_QUOTED)}"'
        if part.filename is not None:
            disposition += f'; filename="{part.filename.translate(_QUOTED)}"'
        head = f"--{boundary}\r\nContent-Disposition: {disposition}\r\n"
        if part.content_type:
            head += f"Content-Type: {part.content_type}\r\n"
        chunks += [head.encode("utf-8", "replace"), b"\r\n", part.content, b"\r\n"]
    chunks.append(f"--{boundary}--\r\n".encode("ascii"))
    return boundary, b"".join(chunks)


def decode_base64(text: str, *, argument: str) -> bytes:
    """Return the bytes of standard or URL-safe base64, or of a `data:` URL; other text is taken as it is.

    Plain base64 must be padded, so that short words are not mistaken for it.

    :raises InvalidArguments: the text is not valid Unicode.
    """
    start = _content_of_data_url(text)
    encoded = _BLANKS.sub("", text[start:]).replace("-", "+").replace("_", "/")
    if start:
        encoded += "=" * (-len(encoded) % 4)
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        pass
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidArguments(f"Argument {argument!r} contains text that is not valid Unicode.") from error


def _content_of_data_url(text: str) -> int:
    """Return where the base64 of a `data:` URL starts; 0 for other text."""
    if text[:5].lower() != "data:":
        return 0
    comma = text.find(",", 0, _MAX_DATA_URL_HEAD)
    return comma + 1 if text[: max(0, comma)].lower().endswith(_DATA_URL_MARK) else 0


def file_part(name: str, value: Json, declared_type: str | None) -> Part:
    """Return a file field from base64 text or `{content, filename, media_type}`; the default file name is `name`.

    :raises InvalidArguments: the value is neither text nor such an object.
    """
    filename, media_type, content = name, declared_type, value
    if isinstance(value, dict):
        content = value.get("content")
        filename = str(value.get("filename") or name)
        media_type = _one_line(value.get("media_type"), name) or declared_type
    if not isinstance(content, str):
        raise InvalidArguments(
            f"Argument {name!r} must be text because it is a file upload.", remedy="Send its content as base64 text."
        )
    data = decode_base64(content, argument=name)
    return Part(name, data, concrete_media_type(media_type, data), filename)


def concrete_media_type(declared: str | None, data: bytes) -> str:
    """Return the first declared type; for a range such as `image/*`, detect the type from the bytes."""
    first = (declared or "*/*").split(",", 1)[0].strip()
    if "*" not in first:
        return first
    return next((found for start, found in _SIGNATURES if data.startswith(start)), "application/octet-stream")


def _one_line(value: Any, argument: str) -> str | None:
    if value is None:
        return None
    text = str(value)
    if not text.isprintable() or not text.isascii():
        raise InvalidArguments(f"The media type of argument {argument!r} must be plain ASCII text.")
    return text
