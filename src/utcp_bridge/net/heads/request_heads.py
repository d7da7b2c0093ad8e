"""Heads of plain requests, as aiohttp's session writes them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from multidict import CIMultiDict

from utcp_bridge import __version__
from utcp_bridge.errors import InvalidArguments
from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.placement.request import FixedHeaders

if TYPE_CHECKING:
    from yarl import URL

__all__ = ["USER_AGENT", "RequestHeads", "automatic_headers", "framed", "head_lines", "unwritable", "whole_request"]

USER_AGENT: Final = f"utcp-bridge/{__version__}"
_AGENT_LINE: Final = f"User-Agent: {USER_AGENT}"
_NO_LENGTH: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods whose request says no length if it has no body."""
_FRAMING: Final = frozenset({"content-length", "transfer-encoding", "connection", "upgrade", "expect"})
_HEADER_NAME: Final = late_pattern(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORBIDDEN: Final = late_pattern(r"[\x00-\x08\x0a-\x1f\x7f]")
_TRACE: Final = late_pattern(r"[0-9a-f-]{1,64}")
_TRACE_LINE: Final = "\r\ntraceparent: "
_MAX_KEPT: Final = 64
_MAX_KEPT_LENGTH: Final = 1_024


@cache
def automatic_headers() -> tuple[tuple[str, str], ...]:
    """Return the names, in lower case, and the lines of headers that aiohttp adds if the request has none of the name.

    They say what it can decode. Before it is imported, the same packages are looked for that it looks for.
    """
    engine: Any = sys.modules.get("aiohttp")
    if engine is not None:
        return tuple((name.lower(), f"{name}: {value}") for name, value in engine.ClientRequest.DEFAULT_HEADERS.items())
    zstd = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    known = ["gzip", "deflate"]
    known += ["br"] if _is_there("brotlicffi") or _is_there("brotli") else []
    known += ["zstd"] if _is_there(zstd) else []
    return ("accept", "Accept: */*"), ("accept-encoding", f"Accept-Encoding: {', '.join(known)}")


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent is missing
        return False


def framed(headers: Iterable[tuple[str, str]]) -> CIMultiDict[str]:
    """Return headers for the engine, without those that frame the message: the engine sets them itself.

    A Content-Length from the caller could split one request in two. A repeated name keeps its first spelling, because
    the engine would otherwise drop all but the last.

    :raises InvalidArguments: a name has a character that the engine would not refuse, such as a space.
    """
    return CIMultiDict(_fields(headers)[0])


def _fields(headers: Iterable[tuple[str, str]]) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Return the headers of `framed`, and the spelling of each name by its lower case."""
    fields: list[tuple[str, str]] = []
    spellings: dict[str, str] = {}
    for name, value in headers:
        lower = name.lower()
        if lower not in _FRAMING:
            if lower not in spellings:
                if not _HEADER_NAME.fullmatch(name):
                    raise InvalidArguments("A header name contains a character that is not allowed in it.")
                spellings[lower] = name
            fields.append((spellings[lower], value))
    return fields, spellings


_Key = tuple[str, str, tuple[tuple[str, str], ...], int, bool]
_NO_TRACE: Final = -1


class RequestHeads:
    """Writes requests. It keeps the header lines of its last ones: most requests of a manual have the same."""

    def __init__(self) -> None:
        self._lines: dict[_Key, tuple[str, str]] = {}

    def written(self, method: str, target: URL, headers: Iterable[tuple[str, str]], body: bytes | None) -> bytes:
        """Return a plain request as it goes out: the same bytes that aiohttp's session writes.

        `target` has only characters that may be in a request line.

        :raises InvalidArguments: a header has a character that is not allowed in it.
        """
        given = tuple(headers)
        same, place, trace = _without_trace(given)
        key = method, target.raw_authority, same, place, body is None
        parts = self._lines.get(key)
        if parts is None:
            host = target.host_port_subcomponent or ""
            parts = self._keep(key, head_lines(method, host, str(target), given, has_body=body is not None))
        lines = f"{parts[0]}{trace}{parts[1]}" if trace else parts[0]
        return whole_request(method, target.raw_path_qs, lines, body)

    def written_at_once(
        self,
        method: str,
        authority: str,
        path: str,
        headers: list[tuple[str, str]],
        body: bytes | None,
        added: str | None = None,
    ) -> bytes | None:
        """Return what `written` returns, if it has written the same header lines before; None for all others.

        `added` is a `traceparent` behind the headers, which then have none.
        """
        fixed = headers if body is None and type(headers) is FixedHeaders else None
        if added is not None:
            if fixed is not None and fixed.traced is not None:
                by, of_method, of_authority, parts = fixed.traced
                if by is self and of_method == method and of_authority == authority:
                    return f"{method} {path} HTTP/1.1\r\n{parts[0]}{added}{parts[1]}\r\n".encode()
            parts = self._lines.get((method, authority, tuple(headers), len(headers), body is None))
            if parts is None:
                return None
            if fixed is not None:
                fixed.traced = self, method, authority, parts
            return whole_request(method, path, f"{parts[0]}{added}{parts[1]}", body)
        if fixed is not None and fixed.written is not None:
            by, of_method, of_authority, lines = fixed.written
            if by is self and of_method == method and of_authority == authority:
                return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode()
        parts = self._lines.get((method, authority, tuple(headers), _NO_TRACE, body is None))
        if parts is not None:
            if fixed is not None:
                fixed.written = self, method, authority, parts[0]
            return whole_request(method, path, parts[0], body)
        same, place, trace = _without_trace(tuple(headers))
        parts = self._lines.get((method, authority, same, place, body is None)) if trace else None
        return None if parts is None else whole_request(method, path, f"{parts[0]}{trace}{parts[1]}", body)

    def _keep(self, key: _Key, lines: str) -> tuple[str, str]:
        """Keep header lines: what is before the trace, and what is after it."""
        before, after = lines, ""
        if key[3] != _NO_TRACE:
            place = lines.lower().rindex(_TRACE_LINE) + len(_TRACE_LINE)
            before, after = lines[:place], lines[lines.index("\r\n", place) :]
        if len(lines) <= _MAX_KEPT_LENGTH:
            if len(self._lines) >= _MAX_KEPT:
                self._lines.clear()
            self._lines[key] = before, after
        return before, after


def _without_trace(headers: tuple[tuple[str, str], ...]) -> tuple[tuple[tuple[str, str], ...], int, str]:
    """Return headers without `traceparent`, which differs in each request, with its place among them and its text.

    One that comes twice, or that is not of the usual form, is left where it is.
    """
    places = [place for place, (name, _) in enumerate(headers) if name.lower() == "traceparent"]
    if len(places) == 1:
        place = places[0]
        name, trace = headers[place]
        if name == "traceparent" and _TRACE.fullmatch(trace):
            return headers[:place] + headers[place + 1 :], place, trace
    return headers, _NO_TRACE, ""


def whole_request(method: str, path: str, lines: str, body: bytes | None) -> bytes:
    """Return a request in one piece, with its header lines, but for the length of its body."""
    if body is None:
        return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode()
    return f"{method} {path} HTTP/1.1\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


def head_lines(method: str, host: str, url: str, headers: Iterable[tuple[str, str]], *, has_body: bool) -> str:
    """Return the header lines of a request, but for the length of its body. `host` is that of its URL, with its port.

    :raises InvalidArguments: a header has a character that is not allowed in it.
    """
    fields, names = _fields(headers)
    if "host" in names:
        host = [value for name, value in fields if name == names["host"]][-1]
        fields = [field for field in fields if field[0] != names["host"]]
    if _FORBIDDEN.search("".join([host, *[value for _, value in fields]])):
        raise unwritable(url)
    lines = [f"Host: {host}"]
    if "user-agent" not in names:
        lines.append(_AGENT_LINE)
    lines += [f"{name}: {value}" for name, value in fields]
    lines += [line for name, line in automatic_headers() if name not in names]
    if not has_body and method not in _NO_LENGTH:
        lines.append("Content-Length: 0")
    return "".join([f"{line}\r\n" for line in lines])


def unwritable(url: str) -> InvalidArguments:
    """Return the error of a request that HTTP cannot carry."""
    host = urlsplit(url).netloc.rpartition("@")[2] or "the upstream"
    return InvalidArguments(f"The request to {host} cannot be written: a header or the method is not valid.")
