"""multipart/form-data (RFC 7578) and base64 file values (pure)."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from dataclasses import dataclass
from typing import Any

from utcp_bridge.errors import InvalidArguments
from utcp_bridge.model import Json

__all__ = ["Part", "decode_base64", "encode_multipart", "file_part"]

_DATA_URL = re.compile(r"data:(?P<type>[^;,]*)[^,]*;base64,", re.IGNORECASE)
_BLANKS = re.compile(r"\s+")
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
    content: bytes
    content_type: str | None = None
    filename: str | None = None


def encode_multipart(parts: list[Part]) -> tuple[str, bytes]:
    """The Content-Type parameter `boundary` and the body."""
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
    """The bytes of standard or URL-safe base64, or of a `data:` URL; text that is no base64 stands for itself.

    Plain base64 has to be padded, so that short words are not taken for it.

    :raises InvalidArguments: the text has no UTF-8 form.
    """
    match = _DATA_URL.match(text)
    encoded = _BLANKS.sub("", text[match.end() :] if match else text)
    encoded = encoded.replace("-", "+").replace("_", "/")
    if match:
        encoded += "=" * (-len(encoded) % 4)
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        pass
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidArguments(f"Argument {argument!r} holds text that is not valid Unicode.") from error


def file_part(name: str, value: Json, declared_type: str | None) -> Part:
    """A file field from base64 text or `{content, filename, media_type}`; its name stands in for a file name.

    :raises InvalidArguments: neither text nor such an object.
    """
    filename, media_type, content = name, declared_type, value
    if isinstance(value, dict):
        content = value.get("content")
        filename = str(value.get("filename") or name)
        media_type = _one_line(value.get("media_type"), name) or declared_type
    if not isinstance(content, str):
        raise InvalidArguments(
            f"Argument {name!r} is a file upload and must be text.", remedy="Send its content as base64 text."
        )
    data = decode_base64(content, argument=name)
    return Part(name, data, concrete_media_type(media_type, data), filename)


def concrete_media_type(declared: str | None, data: bytes) -> str:
    """The first declared type, or what the bytes look like where it is a range such as `image/*`."""
    first = (declared or "*/*").split(",", 1)[0].strip()
    if "*" not in first:
        return first
    return next((found for start, found in _SIGNATURES if data.startswith(start)), "application/octet-stream")


def _one_line(value: Any, argument: str) -> str | None:
    if value is None:
        return None
    text = str(value)
    if not text.isprintable() or not text.isascii():
        raise InvalidArguments(f"The media type of argument {argument!r} is not plain text.")
    return text
