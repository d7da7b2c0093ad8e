"""The base address of each operation (pure).

The first that exists is used: the operator's `base_url`, the operation's servers, the path's servers, the document's
servers (2.0: schemes, host and basePath), the document's own origin. Relative addresses start at the document's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from utcp_bridge.dialects.openapi.operations import OpenApiOperation
from utcp_bridge.dialects.openapi.options import ConversionOptions
from utcp_bridge.dialects.openapi.shapes import Family, Faults, Located, as_array, as_object, as_text
from utcp_bridge.dialects.openapi.swagger2 import upgrade_servers
from utcp_bridge.model import is_object

__all__ = ["PLACEHOLDER", "ServerChoice", "literal_path"]

PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
_LOOPBACK = re.compile(r"(localhost|.*\.localhost|127\..*|\[?::1\]?|0\.0\.0\.0)", re.IGNORECASE)
_KEPT_IN_PATH = "/%:@!&'()*+,;=-._~"


class ServerChoice:
    """The base addresses of one document's operations: without a trailing slash, empty if nothing names one."""

    def __init__(
        self, root: Located, url: str | None, family: Family, options: ConversionOptions, faults: Faults
    ) -> None:
        self._url = _readable(url or "")
        self._family = family
        self._document = as_object(root.value)
        self._given = options.server_variables
        self._faults = faults
        self._override = options.base_url
        self._from_root = self._choose(root.at("servers")) if family != "2.0" else self._swagger2([])
        if not self._override:
            self._check(self._from_root)

    def _check(self, address: str) -> None:
        """Report a document in a file whose server has no host, or that names no server."""
        if not address:
            self._faults.add("#/servers", "the document does not name a server", "Set `base_url`.", severity="error")
        elif "://" not in address:
            what = f"the address of the server has no host: {address!r}"
            remedy = "Set `base_url` to the whole address, with `https://` and the host."
            self._faults.add("#/servers", what, remedy, severity="error")

    def base_of(self, operation: OpenApiOperation) -> str:
        """Return the base address of one operation."""
        if self._override:
            return self._override.rstrip("/")
        if self._family == "2.0":
            schemes = as_array(operation.node.value.get("schemes"))
            return self._swagger2(schemes) if schemes else self._from_root
        if operation.servers is not None:
            return self._choose(operation.servers)
        return self._from_root

    def _swagger2(self, schemes: list[Any]) -> str:
        servers = upgrade_servers(self._document, self._url, schemes)
        return self._absolute(servers[0]["url"]) if servers else self._origin()

    def _choose(self, servers: Located) -> str:
        """Return the first server's address.

        For a document from the network, a server that uses https and is not on loopback goes first.
        """
        addresses = [
            address
            for index, server in enumerate(as_array(servers.value))
            if is_object(server) and (address := self._filled(server, servers.at(index).pointer)) is not None
        ]
        if not addresses:
            return self._origin()
        remote = urlsplit(self._url).scheme in {"http", "https"} and not _is_loopback(self._url)
        safe = [address for address in addresses if address.startswith("https://") and not _is_loopback(address)]
        return safe[0] if remote and safe else addresses[0]

    def _filled(self, server: dict[str, Any], where: str) -> str | None:
        """Return a server's address with its variables filled in; None if a value is missing."""
        variables = as_object(server.get("variables"))
        missing: list[str] = []

        def fill(match: re.Match[str]) -> str:
            value = self._value(match[1], as_object(variables.get(match[1])), where)
            if value is None:
                missing.append(match[1])
            return value or ""

        address = PLACEHOLDER.sub(fill, as_text(server.get("url")).strip())
        for name in missing:
            self._faults.add(
                where, f"server variable {name!r} has no value", f"Set `server_variables.{name}`.", severity="error"
            )
        return None if missing else self._absolute(address)

    def _value(self, name: str, variable: Mapping[str, Any], where: str) -> str | None:
        allowed = [str(value) for value in as_array(variable.get("enum"))]
        if name in self._given:
            value = self._given[name]
            if allowed and value not in allowed:
                self._faults.add(where, f"server variable {name!r} must be one of {', '.join(allowed)}")
            return value
        default = variable.get("default")
        if default is not None:
            return str(default)
        return allowed[0] if allowed else None

    def _absolute(self, address: str) -> str:
        try:
            joined = urljoin(self._url, address) if address else self._url
            parts = urlsplit(joined)
        except ValueError:
            return self._origin()
        if parts.scheme not in {"http", "https"}:
            # a path, or an origin of another scheme: only `base_url` can turn it into an address
            return address.rstrip("/") if not parts.netloc else joined.rstrip("/")
        path = parts.path if address else ""
        return f"{parts.scheme}://{parts.netloc}{quote(path, safe=_KEPT_IN_PATH)}".rstrip("/")

    def _origin(self) -> str:
        parts = urlsplit(self._url)
        return f"{parts.scheme}://{parts.netloc}" if parts.scheme in {"http", "https"} else ""


def _is_loopback(address: str) -> bool:
    return bool(_LOOPBACK.fullmatch(urlsplit(address).hostname or ""))


def _readable(address: str) -> str:
    try:
        urlsplit(address)
    except ValueError:
        return ""
    return address


def literal_path(path: str) -> str:
    """Return a path template with its fixed text percent-encoded and its placeholders unchanged.

    `$` becomes `%24`, because `$` starts a variable in templates; the request plan turns it back into `$`.
    """
    path, mark, query = path.partition("#")[0].partition("?")
    path = path if path.startswith("/") else f"/{path}"
    return _around_placeholders(path, _KEPT_IN_PATH) + mark + _around_placeholders(query, _KEPT_IN_PATH + "?")


def _around_placeholders(text: str, kept: str) -> str:
    pieces = re.split(r"(\{[^{}]+\})", text)
    return "".join(piece if index % 2 else quote(piece, safe=kept) for index, piece in enumerate(pieces))
