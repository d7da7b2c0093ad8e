"""The doors of the HTTP server: the Host and Origin values that it accepts."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Final

import anyio
from starlette.middleware.cors import CORSMiddleware

from utcp_bridge.catalogue.text import clean
from utcp_bridge.net.listening import for_url, host_and_port
from utcp_bridge.server.replies import AsgiApp, Header, Receive, Scope, Send
from utcp_bridge.settings import ServerSettings

__all__ = ["ANY_ADDRESS", "Doors", "ReadableByPages"]

_logger = logging.getLogger(__name__)
_MAX_REMEMBERED: Final = 64
_MAX_SHOWN: Final = 200
_LOG_SECONDS: Final = 10.0
_LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
ANY_ADDRESS: Final = ("0.0.0.0", "::", "[::]")  # noqa: S104 - compared, not bound


class Doors:
    """The Host and Origin values that a server accepts: a page of another site must not reach it (DNS rebinding)."""

    edition = 0
    """A number that grows when other hosts or origins are accepted: what was let in before has to be judged again."""

    def __init__(self, settings: ServerSettings) -> None:
        self._hosts: frozenset[str] = _hosts_of(settings)
        self._origins: frozenset[str] = _origins_of(settings)
        self._admitted: set[tuple[bytes, bytes | None]] = set()
        self._logged_at = -_LOG_SECONDS
        self._unlogged = 0

    def renew(self, settings: ServerSettings) -> None:
        """Accept the hosts and origins that the settings name now."""
        accepted = _hosts_of(settings), _origins_of(settings)
        if accepted != (self._hosts, self._origins):
            self._hosts, self._origins = accepted
            self._admitted.clear()
            self.edition += 1

    def refusal(self, headers: Iterable[Header]) -> tuple[int, dict[str, str]] | None:
        """Return status and document of a refusal; None if the request may pass."""
        if self.accepts(headers):
            return None
        hosts, origins = _hosts_and_origins(headers)
        return self._refused_host(hosts) or self._refused_origin(origins)

    def accepts(self, headers: Iterable[Header]) -> bool:
        """Return whether a request may pass: it has one Host, and at most one Origin, that are accepted."""
        hosts, origins = _hosts_and_origins(headers)
        if len(hosts) != 1 or len(origins) > 1:
            return False
        key = hosts[0], origins[0] if origins else None
        if key in self._admitted:
            return True
        fits = _is_among(hosts[0].decode("latin-1"), self._hosts) and all(
            _is_among(origin.decode("latin-1"), self._origins) for origin in origins
        )
        if fits and len(self._admitted) < _MAX_REMEMBERED:
            self._admitted.add(key)
        return fits

    def _refused_host(self, hosts: list[bytes]) -> tuple[int, dict[str, str]] | None:
        values = [value.decode("latin-1") for value in hosts]
        if len(values) > 1:
            return 400, {"error": "host not valid", "message": "A request has one Host header. Send only one."}
        value = values[0] if values else ""
        if _is_among(value, self._hosts):
            return None
        return 421, self._told("host", value, "allowed_hosts", '"name", "name:port" or "name:*"')

    def _refused_origin(self, origins: list[bytes]) -> tuple[int, dict[str, str]] | None:
        values = [value.decode("latin-1") for value in origins]
        wrong = next((value for value in values if not _is_among(value, self._origins)), None)
        if wrong is None and len(values) <= 1:
            return None
        return 403, self._told("origin", wrong or ", ".join(values), "allowed_browser_origins", '"https://name"')

    def _told(self, what: str, value: str, setting: str, form: str) -> dict[str, str]:
        shown = " ".join(clean(value, _MAX_SHOWN).split())
        message = f"This server does not accept the {what.title()} header {shown!r}."
        remedy = f"If clients should reach it so, add it to the setting `{setting}` as {form}."
        now = anyio.current_time()
        if now - self._logged_at < _LOG_SECONDS:
            self._unlogged += 1
        else:
            more = f" {self._unlogged} more requests were refused since." if self._unlogged else ""
            _logger.warning("%s %s%s", message, remedy, more)
            self._logged_at, self._unlogged = now, 0
        return {"error": f"{what} not allowed", "message": message, "remedy": remedy, "setting": setting, what: shown}


class ReadableByPages:
    """An application whose responses pages of some origins may read (CORS). The settings name them at the time."""

    def __init__(self, app: AsgiApp, settings: ServerSettings) -> None:
        self._app = app
        self._settings = settings
        self._origins: tuple[str, ...] = ()
        self._outermost: Any = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._origins != self._settings.allowed_browser_origins:
            self._renew()
        await self._outermost(scope, receive, send)

    def _renew(self) -> None:
        self._origins, self._outermost = self._settings.allowed_browser_origins, self._app
        if self._origins:
            self._outermost = CORSMiddleware(
                self._outermost,
                allow_origins=self._origins,
                allow_methods=("GET", "POST", "DELETE"),
                allow_headers=("*",),
                expose_headers=("Mcp-Session-Id", "WWW-Authenticate"),
            )


def _hosts_and_origins(headers: Iterable[Header]) -> tuple[list[bytes], list[bytes]]:
    hosts: list[bytes] = []
    origins: list[bytes] = []
    for name, value in headers:
        if name == b"host":
            hosts.append(value)
        elif name == b"origin":
            origins.append(value)
    return hosts, origins


def _hosts_of(settings: ServerSettings) -> frozenset[str]:
    names = [*_LOOPBACK, *([] if settings.host in ANY_ADDRESS else [for_url(settings.host)])]
    return _forms([*(form for name in names for form in (name, f"{name}:*")), *settings.allowed_hosts])


def _origins_of(settings: ServerSettings) -> frozenset[str]:
    own = (form for name in _LOOPBACK for form in (f"http://{name}", f"http://{name}:*"))
    return _forms([*own, *settings.allowed_browser_origins])


def _forms(values: Iterable[str]) -> frozenset[str]:
    return frozenset(value.lower() for value in values)


def _is_among(value: str, allowed: frozenset[str]) -> bool:
    """Return whether a host or an origin is one of those allowed, as it is or with any port."""
    value = value.lower()
    scheme, separator, host = value.rpartition("://")
    parts = host_and_port(host)
    if parts is None:
        return False
    name, port = parts
    return value in allowed or bool(port and f"{scheme}{separator}{name}:*" in allowed)
