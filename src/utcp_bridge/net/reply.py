"""A reply over HTTP: status, headers, bytes, and how they become a value.

Every body of an upstream becomes a value that can be passed on to an MCP client, or MalformedReply: no NaN, no endless
nesting, no lone surrogate.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson

from utcp_bridge.errors import MalformedReply, Rejected
from utcp_bridge.model import Binary
from utcp_bridge.urls import bare_url

if TYPE_CHECKING:
    from utcp_bridge.placement.message import SocketTemplate

__all__ = ["MAX_JSON_DEPTH", "Reply", "decode_reply", "parse_json", "retry_after_seconds"]

MAX_JSON_DEPTH = 200
"""Deeper nesting is refused, because a value that is passed on gets a few more levels and must still be written."""

_WRITER_DEPTH = 254
"""The deepest nesting that orjson writes."""

_RETRYABLE = frozenset({429, 502, 503, 504})
_TEXT_TYPES = frozenset(
    {
        "application/xml",
        "application/yaml",
        "application/x-yaml",
        "application/javascript",
        "application/ecmascript",
        "application/graphql",
        "application/sql",
        "application/toml",
        "application/x-www-form-urlencoded",
        "image/svg+xml",
    }
)
_JSON_LINES = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl", "application/json-seq"})
_MAX_DETAIL = 4096


class Reply:
    """A complete reply. `headers` are case-insensitive, `body` is decoded, `url` is the URL after redirects."""

    __slots__ = ("body", "headers", "status", "url")

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes, url: str) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.url = url

    def __repr__(self) -> str:
        return f"<Reply {self.status} {len(self.body)} bytes>"

    @property
    def media_type(self) -> str:
        """The Content-Type in lower case without its parameters; empty if there is none."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    def value(self, media_type: str | None = None) -> Any:
        """Return the body by its media type, or by `media_type` if the server's is known to be wrong.

        JSON is parsed, text becomes `str` by its charset, anything else becomes a `Binary`, and an empty body None. A
        body without a media type is JSON if it parses, text if it is UTF-8, and otherwise binary.

        :raises MalformedReply: the body does not match its media type.
        """
        if not self.body or self.status == 204:
            return None
        kind = self.media_type if media_type is None else media_type
        if kind == "application/json" or kind.endswith("+json") or kind == "text/json":
            return parse_json(self.body, bare_url(self.url))
        if not kind:
            return _guess(self.body, bare_url(self.url))
        if kind.startswith("text/") or kind in _TEXT_TYPES or kind in _JSON_LINES or kind.endswith(("+xml", "+yaml")):
            return self._text()
        return Binary(self.body, kind)

    def raise_for_status(self) -> None:
        """Check the status.

        :raises Rejected: it is 400 or above; `detail` is the decoded body.
        """
        if self.status < 400:
            return
        phrase = HTTPStatus(self.status).phrase if self.status in HTTPStatus.__members__.values() else "error"
        raise Rejected(
            f"{bare_url(self.url)} returned {self.status} {phrase}.",
            status=self.status,
            detail=self._detail(),
            retry_after=retry_after_seconds(self.headers.get("Retry-After")),
            retryable=self.status in _RETRYABLE,
        )

    def _detail(self) -> Any:
        try:
            detail = self.value()
        except MalformedReply:
            detail = self.body[:_MAX_DETAIL].decode("utf-8", "replace")
        if isinstance(detail, Binary):
            return None
        return detail[:_MAX_DETAIL] if isinstance(detail, str) else detail

    def _text(self) -> str:
        charset = _charset(self.headers.get("Content-Type", ""))
        try:
            return self.body.decode(charset)
        except (LookupError, UnicodeError, ValueError):
            pass
        try:
            return self.body.decode("utf-8")
        except UnicodeDecodeError:
            raise MalformedReply(f"{bare_url(self.url)} returned text that is not {charset[:40]}.") from None


def parse_json(body: bytes | str, where: str) -> Any:
    """Return JSON from an upstream as a value. `where` names its source in errors.

    :raises MalformedReply: it cannot be parsed, or it is nested too deeply.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedReply(f"{where} returned invalid JSON: {error.msg} at position {error.pos}.") from None
    if _opening_brackets(body) > MAX_JSON_DEPTH and _deeper_than_allowed(value):
        raise MalformedReply(f"{where} returned JSON that is nested more than {MAX_JSON_DEPTH} levels deep.")
    return value


def decode_reply(template: SocketTemplate, data: bytes) -> Any:
    """The value of a reply: bytes where `response_byte_format` is null, else text, parsed by `response_format`.

    :raises MalformedReply: not of that encoding, or no JSON where JSON is required.
    """
    if template.response_byte_format is None:
        return Binary(data)
    try:
        text = data.decode(template.response_byte_format)
    except UnicodeDecodeError:
        raise MalformedReply(
            f"{template.address} returned bytes that are not {template.response_byte_format}."
        ) from None
    if template.response_format == "text":
        return text
    if template.response_format == "json":
        return parse_json(text, template.address)
    return _json_or_text(text, template.address)


def _json_or_text(text: str, where: str) -> Any:
    if text.lstrip()[:1] not in {"{", "["}:
        return text
    try:
        return parse_json(text, where)
    except MalformedReply:
        return text


def retry_after_seconds(text: str | None) -> float | None:
    """Return the seconds of a Retry-After header (seconds or an HTTP date); None if it cannot be read."""
    if not text:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _guess(body: bytes, where: str) -> Any:
    try:
        return parse_json(body, where)
    except MalformedReply:
        pass
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return Binary(body)


def _charset(content_type: str) -> str:
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip(" \"'") or "utf-8"
    return "utf-8"


def _opening_brackets(body: bytes | str) -> int:
    if isinstance(body, str):
        return body.count("[") + body.count("{")
    return body.count(b"[") + body.count(b"{")


def _deeper_than_allowed(value: Any) -> bool:
    """Return whether the value is nested too deeply.

    The value is wrapped in lists until a value at the limit can just be written. Trying to write it is seven times
    faster than walking it.
    """
    for _ in range(_WRITER_DEPTH - MAX_JSON_DEPTH):
        value = [value]
    try:
        orjson.dumps(value)
    except TypeError:
        return True
    return False
