"""The request that a call would send, in the terms of its protocol, for people to read: `utcp-bridge explain`.

A template that the operator wrote may contain a secret anywhere: in a header, a query, a path, a body. So `hidden`
shows only what callers can see anyway: names, their own arguments, words of the tool's description, and what the
protocol itself adds. What is not known to be harmless is `***`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, unquote_plus, urlsplit, urlunsplit

import orjson

from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import JsonObject, Tool, is_list, is_object
from utcp_bridge.processes.systems import join_command, split_command
from utcp_bridge.urls import origin_of
from utcp_bridge.variables import names_credential

if TYPE_CHECKING:
    from utcp_bridge.auth.credentials import Credentials

__all__ = ["MASK", "NativeRequest", "Visible", "socket_request"]

MASK: Final = "***"
_OPEN_HEADERS: Final = frozenset({
    "accept", "accept-encoding", "connection", "content-length", "content-type", "host", "mcp-protocol-version",
    "transfer-encoding", "user-agent",
})  # fmt: skip
_OPEN_MEMBERS: Final = frozenset({"jsonrpc", "id", "method"})
"""Members of a message that the protocol writes."""
_OPEN_SEGMENT: Final = late_pattern(r"v[0-9]{1,2}|api|rest|graphql|rpc|mcp|utcp")
_WORD: Final = late_pattern(r"[a-z]+")
_HIDES: Final = "Values that the configuration contains are hidden. --show-values shows them."
_SCHEME: Final = late_pattern(r"(?:Basic|Bearer|Digest|Token|ApiKey) (?=\S)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class NativeRequest:
    """One request, before it is sent.

    `line` says what is sent where: `GET https://…`, a command line, `tcp://host:port`. `fields` are headers, metadata
    or environment variables. `messages` are the bytes to send, in order; none if there is no body. `notes` are further
    sentences. A request holds secrets until it is `masked`.
    """

    line: str = field(repr=False)
    fields: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    messages: tuple[bytes, ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()

    def masked(self, redact: Callable[[str], str]) -> NativeRequest:
        """Return the request without credentials: known secrets anywhere, other values by the names of their fields."""
        return replace(
            self,
            line=redact(_masked_query(self.line)),
            fields=tuple((name, redact(_masked_field(name, value))) for name, value in self.fields),
            messages=tuple(_redacted(message, redact) for message in self.messages),
            notes=tuple(map(redact, self.notes)),
        )

    def hidden(self, visible: Visible, *, is_command: bool) -> NativeRequest:
        """Return the request with only what is known to be harmless. `is_command` says that `line` is one."""
        line = _hidden_command(self.line, visible) if is_command else _hidden_line(self.line, visible)
        fields = tuple(
            (name, value if name.lower() in _OPEN_HEADERS or visible.has(value) else _masked_value(value))
            for name, value in self.fields
        )
        return replace(
            self,
            line=line,
            fields=fields,
            messages=tuple(_hidden_message(message, visible) for message in self.messages),
            notes=(*self.notes, _HIDES),
        )

    def as_json(self) -> JsonObject:
        """Return the request for scripts. Messages that are not text are in hexadecimal."""
        return {
            "request": self.line,
            "fields": [[name, value] for name, value in self.fields],
            "messages": [_as_text(message) for message in self.messages],
            "notes": list(self.notes),
        }

    def as_text(self) -> str:
        """Return the request for a terminal: line, fields, an empty line, messages."""
        head = [self.line, *(f"{name}: {value}" for name, value in self.fields)]
        return "\n\n".join(["\n".join(head), *map(_for_people, self.messages)])


@dataclass(frozen=True, slots=True)
class Visible:
    """What the caller of a tool can see without an explanation."""

    values: frozenset[str] = field(repr=False)
    """The arguments and their parts, as text: objects and lists as the compact JSON that a request has of them."""
    words: frozenset[str]
    """The words of the tool's name, description and inputs."""

    @classmethod
    def of(cls, tool: Tool, arguments: JsonObject) -> Visible:
        """Return what callers of a tool see."""
        text = " ".join((tool.qualified_name, tool.title or "", tool.description, *_names_in(tool.inputs)))
        separated = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
        return cls(frozenset(_texts(arguments)), frozenset(_WORD.findall(separated.lower())))

    def has(self, text: str) -> bool:
        """Return whether a text is an argument, as it is or encoded for a URL."""
        return not text or text in self.values or unquote(text) in self.values or unquote_plus(text) in self.values

    def has_words(self, text: str) -> bool:
        """Return whether a text consists of words that callers can see."""
        separated = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
        found = _WORD.findall(separated.lower())
        is_words = re.fullmatch(r"[A-Za-z]+(?:[._-][A-Za-z]+)*", text) is not None
        return is_words and all(word in self.words or word.removesuffix("s") in self.words for word in found)


def _texts(value: Any) -> Iterator[str]:
    if is_object(value) or is_list(value):
        with suppress(TypeError):  # bytes, for example, cannot be JSON
            yield orjson.dumps(value).decode()
    if is_object(value):
        for member in value.values():
            yield from _texts(member)
    elif is_list(value):
        for member in value:
            yield from _texts(member)
    elif isinstance(value, bool):
        yield str(value).lower()
    elif value is not None:
        yield str(value)


def _names_in(schema: JsonObject) -> Iterator[str]:
    properties = schema.get("properties")
    yield from map(str, properties if is_object(properties) else ())


def _hidden_line(line: str, visible: Visible) -> str:
    return " ".join(_hidden_url(word, visible) if "://" in word else word for word in line.split(" "))


def _hidden_url(url: str, visible: Visible) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return MASK
    host = parts.netloc.rpartition("@")[2]
    segments = [
        segment if visible.has(segment) or visible.has_words(segment) or _OPEN_SEGMENT.fullmatch(segment) else MASK
        for segment in parts.path.split("/")
    ]
    netloc = f"{MASK}@{host}" if "@" in parts.netloc else host
    return urlunsplit((parts.scheme, netloc, "/".join(segments), _hidden_query(parts.query, visible), ""))


def _hidden_query(query: str, visible: Visible) -> str:
    pairs = [pair.partition("=") for pair in query.split("&")]
    return "&".join(f"{name}{mark}{value if visible.has(value) else MASK}" for name, mark, value in pairs)


def _hidden_command(line: str, visible: Visible) -> str:
    """Return a command line with its program and the names of its options."""
    try:
        first, *words = split_command(line)
    except ValueError:
        return MASK
    shown = [first]
    for word in words:
        option, mark, value = word.partition("=") if word.startswith("-") else ("", "", word)
        name = option if not option or visible.has_words(option.lstrip("-")) or len(option) == 2 else MASK
        shown.append(f"{name}{mark}{value if visible.has(value) else MASK}" if mark or not name else name)
    return join_command(shown).replace(f"'{MASK}'", MASK)


def _hidden_message(message: bytes, visible: Visible) -> bytes:
    text = message.decode("utf-8", "surrogateescape")
    if visible.has(text):
        return message
    try:
        value = orjson.loads(message)
    except orjson.JSONDecodeError:
        is_form = re.fullmatch(r"[\w.~%+*-]+=[^\s=&]*(?:&[\w.~%+*-]+=[^\s=&]*)*", text) is not None
        return (_hidden_query(text, visible) if is_form else MASK).encode()
    hidden = _hidden_value(value, visible)
    return message if hidden == value else orjson.dumps(hidden)


def _hidden_value(value: Any, visible: Visible) -> Any:
    if is_object(value):
        return {
            key: member if key in _OPEN_MEMBERS and not is_object(member) else _hidden_value(member, visible)
            for key, member in value.items()
        }
    if is_list(value):
        return [_hidden_value(member, visible) for member in value]
    return value if value is None or isinstance(value, bool) or visible.has(str(value)) else MASK


def socket_request(
    url: str,
    headers: Sequence[tuple[str, str]],
    credentials: Credentials | None,
    messages: Sequence[str | bytes],
    notes: tuple[str, ...] = (),
) -> NativeRequest:
    """Return messages over a WebSocket as a request. The headers are those that this call adds to every handshake.

    :raises PolicyError: the credentials were not given for this URL.
    """
    fields = list(headers)
    if credentials is not None:
        credentials.check(origin_of(url))
        url, fields = credentials.preview().placed(url, fields)
    sent = tuple(message.encode() if isinstance(message, str) else message for message in messages)
    return NativeRequest(f"WebSocket {url}", tuple(fields), sent, notes)


def _masked_field(name: str, value: str) -> str:
    if not names_credential(name) or not value:
        return value
    if name.lower() == "cookie":
        return "; ".join(f"{pair.partition('=')[0].strip()}={MASK}" for pair in value.split(";"))
    return _masked_value(value)


def _masked_value(value: str) -> str:
    scheme = _SCHEME.match(value)
    return f"{scheme[0] if scheme else ''}{MASK}"


def _masked_query(line: str) -> str:
    """Return a request line with the credentials in its URL masked, also those before the host."""
    words = line.split(" ")
    return " ".join(_masked_url(word) if "://" in word else word for word in words)


def _masked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    pairs = [pair.partition("=") for pair in parts.query.split("&")]
    query = "&".join(f"{name}{mark}{MASK if mark and names_credential(name) else value}" for name, mark, value in pairs)
    user, at, host = parts.netloc.rpartition("@")
    if query == parts.query and not at:
        return url
    return urlunsplit(parts._replace(query=query, netloc=f"{MASK}@{host}" if user else parts.netloc))


def _redacted(message: bytes, redact: Callable[[str], str]) -> bytes:
    return redact(message.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def _for_people(message: bytes) -> str:
    text = _as_text(message)
    return text if isinstance(text, str) else f"{text['hex']} (hexadecimal)"


def _as_text(message: bytes) -> str | JsonObject:
    try:
        text = message.decode("utf-8")
    except UnicodeDecodeError:
        return {"hex": message.hex(" ")}
    return (
        text if text.replace("\n", "").replace("\r", "").replace("\t", "").isprintable() else {"hex": message.hex(" ")}
    )
