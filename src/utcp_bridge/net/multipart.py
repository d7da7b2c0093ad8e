"""Multipart replies (RFC 2046): the parts of one body, each with its own headers (pure).

Broken bodies are read as far as they go: a missing boundary is taken from the first line, and a missing end is the end
of the body.
"""

from __future__ import annotations

import base64
import binascii
import quopri
import re
import string
from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Final

from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.late.records import dataclass

__all__ = ["ReplyPart", "parameter", "split_parts"]

_MAX_PARTS: Final = 1000
_MAX_HEAD: Final = 65_536
_MAX_FIRST_LINE: Final = 1024
_END_OF_HEADERS: Final = late_pattern(rb"\r?\n\r?\n")
_FOLDED: Final = late_pattern(rb"\r?\n[ \t]+")
_FIRST_LINE: Final = late_pattern(rb"\s*--([^\r\n]{1,200}?)[ \t]*(?:\r?\n|\Z)")


@dataclass(frozen=True, slots=True)
class ReplyPart:
    """One part: its headers, with names in title case, and its body without its transfer encoding."""

    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


def split_parts(body: bytes, content_type: str) -> list[ReplyPart]:
    """Return the parts of a body, at most 1,000; none if no boundary is found in it."""
    boundary = parameter(content_type, "boundary").encode("utf-8", "replace")
    parts = list(_between(body, boundary)) if boundary else []
    if not parts and (first := _FIRST_LINE.match(body, 0, _MAX_FIRST_LINE)) and first[1] != boundary:
        parts = list(_between(body, first[1]))
    return [_part(part) for part in parts]


def parameter(header: str, name: str) -> str:
    """Return a parameter of a header such as Content-Type, without quotation marks; empty if the header lacks it."""
    if ";" not in header:
        return ""
    found = re.search(rf';\s*{name}\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))', header, re.IGNORECASE)
    if found is None:
        return ""
    return re.sub(r"\\(.)", r"\1", found[1]) if found[1] is not None else found[2].strip("'")


def _between(body: bytes, boundary: bytes) -> Iterator[bytes]:
    delimiter = re.compile(rb"(?:\A|\r?\n)--" + re.escape(boundary) + rb"(--)?[ \t]*(?=\r?\n|\Z)")
    start: int | None = None
    for number, found in enumerate(delimiter.finditer(body)):
        if start is not None:
            yield body[start : found.start()]
        start = found.end()
        if found[1] or number >= _MAX_PARTS:
            return
    if start is not None and body[start:].strip():
        yield body[start:]


def _part(data: bytes) -> ReplyPart:
    """Read a part, which starts with the line end of its delimiter."""
    end = _END_OF_HEADERS.search(data)
    head, body = (data[: end.start()], data[end.end() :]) if end else (data, b"")
    headers: dict[str, str] = {}
    for line in _FOLDED.sub(b" ", head[:_MAX_HEAD].strip(b"\r\n")).splitlines():
        name, _, value = line.decode("utf-8", "replace").partition(":")
        headers.setdefault(name.strip().title(), value.strip())
    return ReplyPart(headers, _plain(body, headers.get("Content-Transfer-Encoding", "").lower()))


def _plain(body: bytes, encoding: str) -> bytes:
    if encoding == "quoted-printable":
        return quopri.decodestring(body)
    if encoding == "base64":
        try:
            return base64.b64decode(body.translate(None, string.whitespace.encode()), validate=True)
        except (binascii.Error, ValueError):
            return body
    return body
