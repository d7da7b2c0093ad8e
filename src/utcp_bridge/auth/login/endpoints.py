"""Requests to authorization servers: through the address gate as the manual's own, https only beyond loopback."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

import httpx2

from utcp_bridge.errors import ConfigError, PolicyError, UtcpError
from utcp_bridge.model import Source, Trust
from utcp_bridge.urls import endpoint_of_url, origin_of, split_url

if TYPE_CHECKING:
    from utcp_bridge.auth.token_requests import TokenTransports

__all__ = ["AuthorizationTransport", "checked_url", "is_loopback"]

_LOOPBACK_NAMES: Final = frozenset({"localhost"})


class AuthorizationTransport(httpx2.AsyncBaseTransport):
    """Sends requests to the authorization server that a service or the operator names.

    `own` is the URL of the service if the operator wrote it. Its host may have the authorization server at another
    port: that of a loopback address is closed otherwise. `named` are URLs of the operator's `auth`.
    """

    def __init__(
        self, pool: TokenTransports, source: Source, own: str | None, named: tuple[str | None, ...] = ()
    ) -> None:
        self._pool = pool
        self._host = split_url(own).hostname if own else None
        self._named = frozenset(endpoint_of_url(url) for url in named if url)
        self._source = replace(source, trust=Trust.OPERATOR, exempt=source.exempt | self._named)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request after the checks.

        :raises httpx2.TransportError: it cannot be sent; our error is the `__cause__`.
        """
        url = str(request.url)
        try:
            source = self._source_of(url)
            transport = self._pool.session(source).transport
        except UtcpError as error:
            raise httpx2.ConnectError(str(error), request=request) from error
        return await transport.handle_async_request(request)

    def _source_of(self, url: str) -> Source:
        try:
            endpoint = endpoint_of_url(url)
        except ConfigError as error:
            raise PolicyError("A URL of the authorization server has no scheme or no host.") from error
        if endpoint not in self._named:
            checked_url(url)
        if self._host is None or split_url(url).hostname != self._host:
            return self._source
        return replace(self._source, exempt=self._source.exempt | {endpoint})


def checked_url(url: str) -> str:
    """Return a URL of an authorization server that may be used: https, or http on this machine.

    :raises PolicyError: it is another one.
    """
    try:
        parts = split_url(url)
    except ConfigError as error:
        raise PolicyError("A URL of the authorization server cannot be read.") from error
    if parts.username is not None or parts.password is not None:
        raise PolicyError(f"A URL of the authorization server {parts.hostname} contains a user name or a password.")
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        return url
    raise PolicyError(
        f"The authorization server {origin_of(url)} is not on https.", remedy="Use https, or http on this machine."
    )


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine by its name or its address."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower().rstrip(".") in _LOOPBACK_NAMES
