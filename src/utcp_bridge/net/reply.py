"""A reply over HTTP: status, headers, bytes, and how they become a value.

Every body of an upstream becomes a value that can be passed on to an MCP client, or MalformedReply: no NaN, no endless
nesting, no lone surrogate. Text that does not decode is not an error: it has U+FFFD there.
"""

from __future__ import annotations

import base64
import re
import time
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Mapping
from datetime import UTC
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin

import orjson

from utcp_bridge.errors import MalformedReply, Rejected, ReplyTooLarge
from utcp_bridge.foreign import (
    MAX_VALUES,
    TooManyValues,
    decode,
    load_json,
    most_values,
    visible,
    written_within,
)
from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.model import Binary, ContentBlocks, Deferred, JsonObject, WrittenValue, is_list, is_object, status_meta
from utcp_bridge.net.multipart import parameter, split_parts
from utcp_bridge.urls import bare_url

if TYPE_CHECKING:
    from utcp_bridge.placement.message import SocketTemplate

__all__ = [
    "MAX_DETAIL_BYTES",
    "MAX_JSON_DEPTH",
    "RETRYABLE",
    "Reply",
    "decode_reply",
    "deferred_message",
    "json_or_text",
    "located",
    "parse_json",
    "read_body",
    "read_message",
    "retry_after_seconds",
]

MAX_JSON_DEPTH = 200
"""Deeper nesting is refused, because a value that is passed on gets a few more levels and must still be written."""

_SECONDS = late_pattern(r"[0-9]+(?:\.[0-9]*)?")
_MAX_DIGITS = 12
RETRYABLE = frozenset({429, 502, 503, 504})
"""Statuses of HTTP after which an idempotent request may be sent again."""
_FOLLOWED: Final = frozenset({301, 302, 303, 307, 308, 401})
"""Statuses after which another request may follow."""
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
MAX_DETAIL_BYTES = 98_304
"""Bytes of the body of an error that are read. Of a longer one, the beginning is shown as text."""
_MAX_WORDS = 1000
_MAX_PAGE_WORDS = 200
_MAX_MULTIPART_DEPTH = 4
_MAX_BLOCKS = 1000
_BACKSLASH = 0x5C
_DEL = 0x7F
"""As numbers: with bytes on its left, `in` raises an error within itself first, which costs a microsecond."""
_MAX_COLOURED = 1_048_576
"""Characters of JSON in colour: in a longer text, terminal sequences are not looked for to find JSON in it."""
_WRITTEN_FROM = 512
"""Bytes of JSON from which the value is written at once. The marks of a shorter one are counted in less time."""
_FLAT_BYTES = 2 * MAX_JSON_DEPTH
"""Bytes of JSON that can be neither nested too deep nor have too many values."""
_HEAD = 1024
_LOCATED = (str, Binary)
_READ_HEADERS = ("Content-Type", "Content-Location")
_FEWER_VALUES = "Ask for less, or raise `max_reply_bytes`: a reply may have one value for each 8 bytes of it."
_DECLARED = late_pattern(
    rb"""<(?:\?xml\b[^>]{0,200}?\bencoding|meta\b[^>]{0,200}?\bcharset)\s*=\s*["']?([\w.:-]{1,40})""", re.IGNORECASE
)
"""Where a page or an XML document names its own charset."""


class HeadFacts:
    """What the head of a reply says of its body. Replies with the same head have it in common.

    `is_answer` is whether no other request follows it, such as that of a redirect, and its body came as it is. `meta`
    is that of the result.
    """

    __slots__ = ("charset", "is_answer", "media_type", "meta")

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        self.media_type, self.charset = _read_type(headers.get("Content-Type", ""))
        self.is_answer = status not in _FOLLOWED and "Content-Encoding" not in headers
        self.meta: Mapping[str, Any] = status_meta(status)
        if link := headers.get("Link"):
            self.meta = {"status": status, "link": link}


class Reply:
    """A complete reply. `headers` are case-insensitive, `body` is decoded, `url` is the URL after redirects.

    `max_bytes` is the most bytes that it could have: its values are limited by that too. Reading JSON sets `written`
    or `clean` (`Result`), if it is not text.
    """

    __slots__ = ("body", "clean", "facts", "headers", "max_bytes", "status", "url", "written")

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        url: str,
        max_bytes: int | None = None,
        facts: HeadFacts | None = None,
    ) -> None:
        self.facts = facts or HeadFacts(status, headers)
        self.max_bytes = max_bytes
        self.status = status
        self.headers = headers
        self.body = body
        self.url = url
        self.written: WrittenValue | None = None
        self.clean: Any = None

    def __repr__(self) -> str:
        return f"<Reply {self.status} {len(self.body)} bytes>"

    @property
    def media_type(self) -> str:
        """The Content-Type in lower case without its parameters; empty if there is none."""
        return self.facts.media_type

    @property
    def charset(self) -> str | None:
        """The charset that the Content-Type declares."""
        return self.facts.charset

    @property
    def location(self) -> str | None:
        """The URI of the `Content-Location` header, resolved against the URL; None without this header."""
        given = self.headers.get("Content-Location", "").strip()
        try:
            return urljoin(bare_url(self.url), given) if given else None
        except ValueError:
            return None

    def value(self, media_type: str | None = None) -> Any:
        """Return the body by its media type, or by `media_type` if the server's is known to be wrong.

        JSON is parsed, text becomes `str` by its charset, a multipart body becomes `ContentBlocks` with a block for
        each part, anything else becomes a `Binary`, and an empty body None. A body without a media type is JSON if it
        parses, text if it is UTF-8 or has a byte order mark, and otherwise binary.

        :raises MalformedReply: the body is not JSON, although its media type says so.
        :raises ReplyTooLarge: it is JSON of too many values.
        """
        if not self.body or self.status == 204:
            return None
        kind = self.facts.media_type if media_type is None else media_type
        if kind == "application/json" or _is_json(kind):
            return self._json()
        if not kind:
            return _guess(self.body, _BareUrl(self.url), self.max_bytes)
        if _is_text(kind):
            return self.text()
        if kind.startswith("multipart/") and (blocks := _blocks_of(self, 0)):
            return ContentBlocks(blocks)
        return Binary(self.body, kind)

    def deferred(self) -> Deferred:
        """Return what `located(self.value(), self)` returns, to be read later."""
        headers = {name: self.headers[name] for name in _READ_HEADERS if name in self.headers}
        given = {"status": self.status, "headers": headers, "url": self.url, "max_bytes": self.max_bytes}
        return Deferred(self.body, ((read_body, given),))

    def raise_for_status(self) -> None:
        """Check the status.

        :raises Rejected: it is 400 or above; `detail` is the decoded body, or the beginning of a large one.
        """
        if self.status < 400:
            return
        phrase = HTTPStatus(self.status).phrase if self.status in HTTPStatus.__members__.values() else "error"
        raise Rejected(
            f"{bare_url(self.url)} returned {self.status} {phrase}.",
            status=self.status,
            detail=self._detail(),
            retry_after=retry_after_seconds(self.headers.get("Retry-After"), self.headers.get("Date")),
            retryable=self.status in RETRYABLE,
        )

    def _detail(self) -> Any:
        from utcp_bridge.net.web_page import HTML_TYPES, is_web_page, words_of  # patterns that few replies need

        is_whole = len(self.body) <= MAX_DETAIL_BYTES
        body = self.body if is_whole else self.body[:MAX_DETAIL_BYTES]
        shown = Reply(self.status, self.headers, body, self.url, self.max_bytes)
        if self.media_type in HTML_TYPES or is_web_page(body):
            return words_of(shown.text(), _MAX_WORDS) or None
        try:
            detail = shown.value(None if is_whole else self._type_of_beginning())
        except (MalformedReply, ReplyTooLarge):
            detail = shown.text()
        if isinstance(detail, ContentBlocks):
            detail = "\n".join(str(block["text"]) for block in detail.content if "text" in block)
        if isinstance(detail, Binary):
            return None
        return detail[:_MAX_DETAIL] if isinstance(detail, str) else detail

    def _type_of_beginning(self) -> str:
        """Return the media type of the beginning of the body: that of JSON is text."""
        return "text/plain" if _is_json(self.media_type) else self.media_type

    def _json(self) -> Any:
        body = self.body
        if len(body) <= _FLAT_BYTES:
            try:
                value = orjson.loads(body)
            except orjson.JSONDecodeError:
                pass  # it may be text in another charset
            else:
                # Without an escape, texts have only characters of the body, and JSON allows no control character of
                # ASCII but DEL: then nothing is to be removed from them.
                if body.isascii() and _BACKSLASH not in body and _DEL not in body:
                    self.clean = value
                return value
        where = _BareUrl(self.url)
        try:
            value, data = _parsed(self.body, where, self.charset, self.max_bytes, writes=True)
            if data is not None and (is_object(value) or is_list(value)):  # text is shown as it is
                self.written = WrittenValue(value, data, is_exact=True)  # JSON has no other numbers
            return value
        except MalformedReply:
            from utcp_bridge.net.web_page import is_web_page, words_of  # see `_detail`

            if not is_web_page(self.body):
                raise
            says = " ".join(words_of(self.text(), _MAX_PAGE_WORDS).split())
        raise MalformedReply(f"{where} returned a web page instead of JSON{f': {says!r}' if says else ''}.")

    def text(self) -> str:
        """Return the body as text: by its mark, its declared charset, or the one that a page or XML names itself."""
        charset = self.charset
        if (
            charset is None
            and (found := _DECLARED.search(self.body[:_HEAD])) is not None
            and not _is_encoded(self.body, "utf-8")
        ):
            charset = found[1].decode("ascii")
        return decode(self.body, charset)


@lru_cache(maxsize=64)  # replies of a service have few types
def _read_type(content_type: str) -> tuple[str, str | None]:
    """Return the media type and the charset of a `Content-Type`."""
    return content_type.partition(";")[0].strip().lower(), parameter(content_type, "charset") or None


class _BareUrl:
    """A URL that is written without its query, for a message that is seldom needed."""

    __slots__ = ("_url",)

    def __init__(self, url: str) -> None:
        self._url = url

    def __str__(self) -> str:
        return bare_url(self._url)


def read_body(data: bytes, *, status: int, headers: JsonObject, url: str, max_bytes: int | None) -> Any:
    """Return the value of the body of a reply, as a part of `Reply.deferred`."""
    reply = Reply(status, headers, data, url, max_bytes)
    return located(reply.value(), reply)


def located(value: Any, reply: Reply) -> Any:
    """Return text and bytes as an embedded resource if the reply names their URI in `Content-Location`.

    JSON stays a value, so that its structure is kept, and images and audio stay what they are.
    """
    if not isinstance(value, _LOCATED) or (uri := reply.location) is None:
        return value
    resource = {"uri": uri, "mimeType": reply.media_type or "text/plain"}
    if isinstance(value, str):
        return ContentBlocks([{"type": "resource", "resource": {**resource, "text": value}}])
    if value.media_type.startswith(("image/", "audio/")):
        return value
    blob = base64.b64encode(value.data).decode("ascii")
    return ContentBlocks([{"type": "resource", "resource": {**resource, "mimeType": value.media_type, "blob": blob}}])


def _is_json(kind: str) -> bool:
    return kind in {"application/json", "text/json"} or kind.endswith("+json")


def _is_text(kind: str) -> bool:
    return kind.startswith("text/") or kind in _TEXT_TYPES or kind in _JSON_LINES or kind.endswith(("+xml", "+yaml"))


def _blocks_of(reply: Reply, depth: int) -> list[JsonObject]:
    """Return a content block for each part of a multipart reply, and for those of parts inside parts."""
    blocks: list[JsonObject] = []
    for number, part in enumerate(split_parts(reply.body, reply.headers.get("Content-Type", ""))):
        if len(blocks) >= _MAX_BLOCKS:
            break
        one = Reply(200, {"Content-Type": "text/plain", **part.headers}, part.body, reply.url)
        if one.media_type.startswith("multipart/") and depth < _MAX_MULTIPART_DEPTH:
            blocks += _blocks_of(one, depth + 1)
        else:
            blocks.append(_block_of(one, number))
    return blocks[:_MAX_BLOCKS]


def _block_of(part: Reply, number: int) -> JsonObject:
    """Return a part as a block: text (also JSON), image, audio, or a resource, which a `Content-Location` makes too."""
    kind, location = part.media_type, part.location
    family = kind.partition("/")[0]
    is_text = _is_json(kind) or _is_text(kind)
    if is_text and location is None:
        return {"type": "text", "text": part.text()}
    data = None if is_text else base64.b64encode(part.body).decode("ascii")
    if family in {"image", "audio"} and data is not None:
        return {"type": family, "data": data, "mimeType": kind}
    uri = location or f"{bare_url(part.url)}#part-{number + 1}"
    content = {"text": part.text()} if data is None else {"blob": data}
    return {"type": "resource", "resource": {"uri": uri, "mimeType": kind, **content}}


def parse_json(body: bytes | str, where: object, charset: str | None = None, *, max_bytes: int | None = None) -> Any:
    """Return JSON from an upstream as a value. The text of `where` names its source in errors; `charset` was declared.

    `max_bytes` is the most bytes that the text could have; the most values follow from it (`foreign.most_values`).

    :raises MalformedReply: it cannot be parsed, or it is nested too deeply.
    :raises ReplyTooLarge: it has too many values.
    """
    return _parsed(body, where, charset, max_bytes, writes=False)[0]


def _parsed(
    body: bytes | str, where: object, charset: str | None, max_bytes: int | None, *, writes: bool
) -> tuple[Any, bytes | None]:
    """Return what `parse_json` returns, and if `writes`, a value of some size as compact JSON.

    Its depth is checked by writing it.
    """
    most = MAX_VALUES if max_bytes is None else most_values(max_bytes)
    if not body:
        raise MalformedReply(f"{where} returned an empty body instead of JSON.")
    try:
        value = load_json(body, charset, most=most)
    except TooManyValues:
        raise ReplyTooLarge(f"{where} returned JSON of more than {most:,} values.", remedy=_FEWER_VALUES) from None
    except orjson.JSONDecodeError as error:
        raise MalformedReply(f"{where} returned invalid JSON: {error.msg} at position {error.pos}.") from None
    writes = writes and len(body) >= _WRITTEN_FROM
    if not writes and _opening_brackets(body) <= MAX_JSON_DEPTH:
        return value, None
    data = written_within(value, MAX_JSON_DEPTH)
    if data is None:
        raise MalformedReply(f"{where} returned JSON that is nested more than {MAX_JSON_DEPTH} levels deep.")
    return value, data if writes else None


def decode_reply(template: SocketTemplate, data: bytes, max_bytes: int | None = None) -> Any:
    """The value of a reply: bytes where `response_byte_format` is null, else text, parsed by `response_format`.

    :raises MalformedReply: no JSON where JSON is required.
    """
    return read_message(data, **_message_format(template, max_bytes))


def deferred_message(template: SocketTemplate, data: bytes, max_bytes: int | None = None) -> Deferred:
    """Return what `decode_reply` returns, to be read later."""
    return Deferred(data, ((read_message, _message_format(template, max_bytes)),))


def _message_format(template: SocketTemplate, max_bytes: int | None) -> JsonObject:
    formats = {"charset": template.response_byte_format, "form": template.response_format}
    return {**formats, "where": template.address, "max_bytes": max_bytes}


def read_message(data: bytes, *, charset: str | None, form: str | None, where: str, max_bytes: int | None) -> Any:
    """Return the value of a message of a socket; see `decode_reply`."""
    if charset is None:
        return Binary(data)
    text = decode(data, charset)
    if form == "text":
        return text
    if form == "json":
        return parse_json(text, where, max_bytes=max_bytes)
    return json_or_text(text, where, max_bytes)


def json_or_text(text: str, where: str, max_bytes: int | None = None) -> Any:
    """Return the object or array that a text contains, else the text. A program may have written it in colour.

    :raises ReplyTooLarge: it has too many values.
    """
    for is_coloured in (False, True):
        if is_coloured and len(text) > _MAX_COLOURED:
            break
        candidate = visible(text, terminal=True) if is_coloured else text
        if candidate.lstrip()[:1] not in {"{", "["}:
            continue
        try:
            return parse_json(candidate, where, max_bytes=max_bytes)
        except MalformedReply:
            continue
    return text


def retry_after_seconds(text: str | None, date: str | None = None) -> float | None:
    """Return the seconds of a Retry-After header (seconds or an HTTP date); None if it cannot be read.

    `date` is the reply's own Date header: the clocks of both sides may differ.
    """
    text = (text or "").strip()
    if _SECONDS.fullmatch(text):
        return float(text[:_MAX_DIGITS])
    until = _timestamp(text)
    if until is None:
        return None
    now = _timestamp(date or "")
    return max(0.0, until - (time.time() if now is None else now))


def _timestamp(text: str) -> float | None:
    """Return an HTTP date in any of its three forms (RFC 9110 5.6.7) as seconds since 1970. All of them are in GMT."""
    from email.utils import parsedate_to_datetime  # few replies say a time

    try:
        found = parsedate_to_datetime(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _guess(body: bytes, where: object, max_bytes: int | None) -> Any:
    try:
        return parse_json(body, where, max_bytes=max_bytes)
    except MalformedReply:
        pass
    is_wide = body.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) and _is_encoded(body, "utf-16")
    return decode(body) if is_wide or _is_encoded(body, "utf-8") else Binary(body)


def _is_encoded(body: bytes, encoding: str) -> bool:
    try:
        body.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _opening_brackets(body: bytes | str) -> int:
    if isinstance(body, str):
        return body.count("[") + body.count("{")
    return body.count(b"[") + body.count(b"{")
