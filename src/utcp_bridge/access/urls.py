"""Hosts of URLs among arguments."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from utcp_bridge.model import is_list, is_object, matches_glob

__all__ = ["refused_host"]

_URL: Final = re.compile(
    r"(?:[A-Za-z][A-Za-z0-9+.-]{0,30}:[/\\]{1,8}|^[ \t]{0,64}[/\\]{2,8})([^/\\?#\s\"'<>]*)", re.MULTILINE
)
"""A scheme with slashes of either kind, as browsers read them, or slashes alone at the start; then the authority."""
_MAX_SHOWN: Final = 100


def refused_host(value: Any, allowed: Sequence[str]) -> str | None:
    """Return the first host of a URL in JSON that no pattern matches, in words; None if all match.

    A URL without a host, or with one that cannot be read, is refused.
    """
    for text in _texts(value):
        for found in _URL.finditer(text):
            host = _host_of(found[1])
            if not host or not any(matches_glob(glob, host) for glob in allowed):
                return repr(host[:_MAX_SHOWN]) if host else "an unknown host"
    return None


def _host_of(authority: str) -> str:
    """Return the host of an authority in lower case, in ASCII; an empty text if it cannot be read."""
    host = authority.rpartition("@")[2]
    host = host[: host.rfind("]") + 1] if host.startswith("[") else host.partition(":")[0]
    host = host.rstrip(".").lower()
    if host.isascii():
        return host if re.fullmatch(r"[a-z0-9._\[\]:-]+", host) else ""
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        return ""


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif is_object(value):
        for name, member in value.items():
            yield from _texts(name)
            yield from _texts(member)
    elif is_list(value):
        for one in value:
            yield from _texts(one)
