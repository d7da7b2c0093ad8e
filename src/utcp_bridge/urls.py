"""URLs and references within a document (pure): origin, endpoint, a URL without secrets, JSON pointers (RFC 6901)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import SplitResult, unquote, unquote_plus, urljoin, urlsplit

from utcp_bridge.errors import ConfigError
from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.model import is_list, is_object

__all__ = [
    "DEFAULT_PORTS",
    "at_pointer",
    "bare_url",
    "endpoint_of",
    "endpoint_of_url",
    "origin",
    "origin_of",
    "port_of",
    "query_name",
    "query_names",
    "redirected_to",
    "split_url",
    "steps_of",
    "url_fault",
]

DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_HTTP_SCHEMES = {"ws": "http", "wss": "https"}
_MAX_INDEX_DIGITS: Final = 6
"""Digits of an index in a JSON pointer."""
_END_OF_A_NAME: Final = late_pattern(r"[\[\x00]")
_ORIGIN: Final = late_pattern(r"[a-z][a-z0-9+.-]{0,20}://[a-z0-9._\[\]:-]{1,260}")
_BARE_HOST: Final = late_pattern(
    r"(?:localhost|(?:[a-z0-9-]{1,63}\.){1,8}(?:[a-z]{2,24}|\d{1,3})|\[[0-9a-f:.]{2,45}\])(?::\d{1,5})?(?=[/?#]|$)"
)
"""A host at the beginning of a text. A token has capital letters, or more characters."""
_WRONG: Final = "The port must be a number up to 65535, and an address of IPv6 needs brackets."
_LIKE_AN_UNDERSCORE: Final = str.maketrans({".": "_", " ": "_", "+": "_"})


def origin_of(url: str) -> str:
    """Return `scheme://host[:port]`, in lower case, without a default port, with ws and wss as http and https.

    :raises ConfigError: it is not a URL.
    """
    parts = split_url(url)
    return origin(parts.scheme, parts.hostname or "", parts.port)


def origin(scheme: str, host: str, port: int | None) -> str:
    """Return the same as `origin_of` for a URL that is already split."""
    scheme = _HTTP_SCHEMES.get(scheme, scheme)
    host = _plain(host)
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}" if port is None or port == DEFAULT_PORTS.get(scheme) else f"{scheme}://{shown}:{port}"


def endpoint_of(host: str, port: int) -> str:
    """Return `host:port` as in `Source.exempt`: lower case, IPv6 in brackets."""
    host = _plain(host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def endpoint_of_url(url: str) -> str:
    """Return `endpoint_of` for a URL.

    :raises ConfigError: it is not a URL.
    """
    parts = split_url(url)
    return endpoint_of(parts.hostname or "", port_of(parts))


def split_url(url: str) -> SplitResult:
    """Return the parts of an absolute URL.

    :raises ConfigError: it is not one. The message does not repeat the URL, which may contain a key.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ConfigError("A URL cannot be read.", remedy=f"Write scheme://host[:port]/path. {_WRONG}") from None
    if not parts.scheme or not parts.hostname:
        meant = _meant(url)
        start = f"Did you mean {meant.partition('://')[0]}://{_host_of(url)}/…? " if meant else ""
        raise ConfigError(
            "A URL has no scheme or no host.",
            remedy=f"{start}Write scheme://host[:port]/path, such as http://127.0.0.1:8000/utcp.",
        )
    return parts


def url_fault(url: str) -> tuple[str, str] | None:
    """Return what is wrong with a URL, as the end of a sentence, and the remedy; None if nothing is.

    The remedy is the URL that is probably meant if the scheme is missing: `https://` before the name of a host,
    `http://` before an address or the name of this machine.
    """
    if "://" not in url:
        return "has no scheme", _meant(url) or "Begin it with https: and two slashes."
    try:
        host = urlsplit(url).hostname
        _ = urlsplit(url).port
    except ValueError:
        return "is not a URL", _WRONG
    if not host:
        return "has no host", "Write the host after the two slashes."
    if any(character.isspace() for character in host):
        return "has a blank in the name of its host", "Remove it."
    return None


def _meant(url: str) -> str | None:
    """Return a URL without a scheme with the one that is probably meant; None if it does not begin with a host."""
    host = _host_of(url.strip())
    if host is None:
        return None
    is_near = host.startswith(("localhost", "[")) or host.replace(".", "").replace(":", "").isdigit()
    return f"{'http' if is_near else 'https'}://{url.strip()}"


def _host_of(url: str) -> str | None:
    found = _BARE_HOST.match(url)
    return found[0] if found else None


def port_of(parts: SplitResult) -> int:
    """Return the port, or the default port of the scheme; 0 if there is none."""
    return parts.port if parts.port is not None else DEFAULT_PORTS.get(parts.scheme, 0)


def bare_url(url: str) -> str:
    """Return a URL for messages, without its query, fragment and user."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "the upstream"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def redirected_to(url: str, location: str | None) -> str:
    """Return the origin that a `Location` header names, for messages. The rest of it may contain a secret."""
    try:
        target = origin_of(urljoin(url, location or ""))
    except (ConfigError, ValueError):
        return "an address that cannot be read"
    return target if _ORIGIN.fullmatch(target) else "an address that cannot be read"


def query_name(name: str) -> str:
    """Return what a server may take as the name of a query value or a form field, for comparisons.

    Servers differ: some ignore the case, some read `a[]` and `a[b]` as `a`, and `a.b` as `a_b`.
    """
    return _END_OF_A_NAME.split(unquote(name).strip(), 1)[0].translate(_LIKE_AN_UNDERSCORE).casefold()


def query_names(query: str) -> Iterator[str]:
    """Yield `query_name` of each value of an encoded query; empty for an empty part."""
    for part in query.replace(";", "&").split("&"):
        yield query_name(unquote_plus(part.partition("=")[0]))


def _plain(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()


def steps_of(pointer: str) -> list[str]:
    """Return the steps of a pointer, with or without `#`; none for the whole document."""
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.removeprefix("#").split("/")[1:]]


def at_pointer(root: Any, reference: str) -> Any:
    """Return the value that a reference names in `root`; None if there is none, as for anchors and other documents."""
    if reference != "#" and not reference.startswith("#/"):
        return None
    value = root
    for step in steps_of(unquote(reference)):
        if is_object(value):
            value = value.get(step)
        elif is_list(value) and step.isdecimal() and len(step) <= _MAX_INDEX_DIGITS and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value
