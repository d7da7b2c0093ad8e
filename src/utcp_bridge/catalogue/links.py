"""Links in results of other programs: which are passed on (pure, without name resolution).

A host may open a link with the user's rights and from the user's network. So a remote upstream does not name local
files, addresses that are not public, or schemes that run code. A program on this machine may name files and local
addresses.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final
from urllib.parse import unquote

from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.net.gate.addresses import closed_host
from utcp_bridge.urls import DEFAULT_PORTS, endpoint_of

__all__ = ["refused_link"]

_MAX_URI: Final = 8_192
_MAX_DATA: Final = 65_536
_SCHEME: Final = late_pattern(r"([a-z][a-z0-9+.-]*):")
_REMOVED: Final = late_pattern(r"[\x00-\x20\x7f]+")
"""Browsers remove tabs, newlines and blanks of the edges before they read a URL (WHATWG URL, section 4.4)."""
_DRIVE: Final = late_pattern(r"[a-z]:[/\\]")
_PORT: Final = late_pattern(r":([0-9]{0,5})$")
_WITH_HOST: Final = frozenset({
    *DEFAULT_PORTS, "ftp", "ftps", "sftp", "ssh", "telnet", "gopher", "git", "svn", "rtsp", "ldap", "ldaps", "dict",
    "tftp", "redis", "mongodb", "postgres", "postgresql", "mysql", "amqp", "grpc", "grpcs", "tcp", "udp", "webdav",
})  # fmt: skip
_LOCAL: Final = frozenset(
    {"file", "smb", "nfs", "afp", "unix", "filesystem", "res", "jar", "content", "netdoc", "phar"}
)
_RUNNING: Final = frozenset({
    "javascript", "vbscript", "livescript", "mocha", "about", "blob", "view-source", "resource", "intent",
    "android-app", "shell", "cmd", "powershell", "search", "search-ms", "help", "hcp", "mk", "its", "mhtml", "wyciwyg",
    "feed", "php", "expect", "data",
})  # fmt: skip
_RUNNING_STARTS: Final = ("ms-", "vscode", "cursor", "chrome", "moz-", "edge", "opera", "brave", "safari-", "x-apple")
_PLAIN_MEDIA: Final = late_pattern(r"data:(?:image/(?:png|jpeg|gif|webp)|audio/[a-z0-9.+-]+|text/plain)[;,]")


def refused_link(  # noqa: PLR0911 - one line for each reason
    uri: str, *, is_local: bool = False, written: Collection[str] = ()
) -> str | None:
    """Return why a link is not passed on; None if it is.

    `is_local` says that a program on this machine gives it. `written` are `host:port` pairs of the configuration.
    """
    text = _REMOVED.sub("", uri[: _MAX_DATA + 1]).casefold()
    found = _SCHEME.match(text)
    scheme = found[1] if found else ""
    if scheme == "data" and len(uri) <= _MAX_DATA and _PLAIN_MEDIA.match(text):
        return None
    if scheme in _RUNNING or scheme.startswith(_RUNNING_STARTS):
        return f"a host must not open the scheme {scheme[:20]!r}"
    if len(uri) > _MAX_URI:
        return f"it is longer than {_MAX_URI:,} characters"
    if is_local:
        return None
    if scheme in _LOCAL or _DRIVE.match(text):
        return "it leads to a local file"
    if not scheme and not text.startswith("//"):
        return "it leads to a local file" if text.startswith(("/", "\\", "~", ".")) else None
    if scheme and scheme not in _WITH_HOST:
        return None
    return _refused_host(text[found.end() if found else 0 :], scheme or "https", written)


def _refused_host(rest: str, scheme: str, written: Collection[str]) -> str | None:
    """Check the host as browsers find it: a backslash is a slash, and the number of slashes does not matter."""
    authority = re.split(r"[/?#]", rest.replace("\\", "/").lstrip("/"), maxsplit=1)[0].rpartition("@")[2]
    port = _PORT.search(authority)
    host = unquote(authority[: port.start()] if port else authority)
    number = int(port[1]) if port and port[1] else DEFAULT_PORTS.get(scheme, 0)
    kind = closed_host(host)
    if kind is None or endpoint_of(host.strip("[]"), number) in written:
        return None
    return f"it leads to a {kind} address"
