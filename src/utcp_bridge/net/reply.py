"""What came back over HTTP: status, headers, bytes, and their one decoding into a value.

Everything a stranger can put into a body ends as a value that survives the way to an MCP client, or as
MalformedReply: no NaN, no bottomless nesting, no lone surrogate.
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
"""Nesting above this is refused: what is passed on gets a few more levels around it and must still be written."""

_WRITER_DEPTH = 254
"""What orjson writes at most."""

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
_DETAIL_LIMIT = 4096


class Reply:
    """One complete answer. `headers` are case-insensitive, `body` is decoded, `url` is the last hop's."""

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
        """Content-Type in lower case without its parameters; empty if there is none."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    def value(self, media_type: str | None = None) -> Any:
        """The body by its media type (or by `media_type`, where the server's claim is known to be wrong).

        JSON types are parsed; text types become `str` by their charset; anything else a `Binary`; an
        empty body None. A body without a type is JSON if it parses, text if it is UTF-8, else binary.
        Raises MalformedReply.
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
        """Raise Rejected for 400 and above, with the decoded body as `detail`."""
        if self.status < 400:
            return
        phrase = HTTPStatus(self.status).phrase if self.status in HTTPStatus.__members__.values() else "error"
        raise Rejected(
            f"{bare_url(self.url)} answered {self.status} {phrase}.",
            status=self.status,
            detail=self._detail(),
            retry_after=retry_after_seconds(self.headers.get("Retry-After")),
            retryable=self.status in _RETRYABLE,
        )

    def _detail(self) -> Any:
        try:
            detail = self.value()
        except MalformedReply:
            detail = self.body[:_DETAIL_LIMIT].decode("utf-8", "replace")
        if isinstance(detail, Binary):
            return None
        return detail[:_DETAIL_LIMIT] if isinstance(detail, str) else detail

    def _text(self) -> str:
        charset = _charset(self.headers.get("Content-Type", ""))
        try:
            return self.body.decode(charset)
        except (LookupError, UnicodeError, ValueError):
            pass
        try:
            return self.body.decode("utf-8")
        except UnicodeDecodeError:
            raise MalformedReply(f"{bare_url(self.url)} answered text that is not {charset[:40]}.") from None


def parse_json(body: bytes | str, where: str) -> Any:
    """JSON of an outsider to a value; `where` names it in errors. Raises MalformedReply."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedReply(f"{where} answered JSON that does not parse: {error.msg} at {error.pos}.") from None
    if _opening_brackets(body) > MAX_JSON_DEPTH and _deeper_than_allowed(value):
        raise MalformedReply(f"{where} answered JSON nested more than {MAX_JSON_DEPTH} deep.")
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
            f"{template.address} answered bytes that are not {template.response_byte_format}."
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
    """Seconds of a Retry-After header, which holds seconds or an HTTP date; None if it says nothing readable."""
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
    """Asks the writer, which is seven times faster than walking: wrapped in as many lists as there is room
    above the limit, a value that is too deep no longer fits.
    """
    for _ in range(_WRITER_DEPTH - MAX_JSON_DEPTH):
        value = [value]
    try:
        orjson.dumps(value)
    except TypeError:
        return True
    return False
