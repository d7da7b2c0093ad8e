"""The request that a call would send, in the terms of its protocol, for people to read: `utcp-bridge explain`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

from utcp_bridge.model import JsonObject
from utcp_bridge.urls import origin_of

if TYPE_CHECKING:
    from utcp_bridge.auth.credentials import Credentials

__all__ = ["MASK", "NativeRequest", "names_credential", "socket_request"]

MASK: Final = "***"
_CREDENTIAL: Final = re.compile(
    r"(?:auth|authorization|cookie|passw(?:or)?d|passphrase|secret|token|key|credentials?|signature)$", re.IGNORECASE
)
_SCHEME: Final = re.compile(r"(?:Basic|Bearer|Digest|Token|ApiKey) (?=\S)", re.IGNORECASE)


def names_credential(name: str) -> bool:
    """Return whether the name of a header, parameter, variable or field suggests that its value is a credential."""
    return _CREDENTIAL.search(name) is not None


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
