"""OAuth 2 access tokens: obtained once, kept until shortly before they expire."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx2

    from utcp_bridge.auth import OAuth2Auth

__all__ = ["TokenCache"]


class TokenCache:
    """Access tokens by client and scope; `transport` is called when the first token is needed."""

    def __init__(self, transport: Callable[[], httpx2.AsyncBaseTransport]) -> None:
        self._transport = transport

    async def get(self, auth: OAuth2Auth) -> str:
        """A valid token. Raises TokenError."""
        raise NotImplementedError

    def drop(self, auth: OAuth2Auth, token: str) -> None:
        """Forget `token`, if it is still the current one."""
        raise NotImplementedError
