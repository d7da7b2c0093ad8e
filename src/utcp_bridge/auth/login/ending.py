"""The end of a login: its tokens are revoked (RFC 7009)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import anyio

from utcp_bridge.auth.token_requests import open_client

if TYPE_CHECKING:
    import httpx2

    from utcp_bridge.auth.login.records import LoginRecord

__all__ = ["revoke"]

_MAX_SECONDS: Final = 10.0


async def revoke(record: LoginRecord, transport: httpx2.AsyncBaseTransport) -> bool:
    """Revoke the tokens of a login; False if the authorization server does not do that. Never raises.

    A login is forgotten here whatever the server says, so its refusal is not an error.
    """
    import httpx2

    token = record.refresh_token or record.access_token
    if record.revocation_endpoint is None or record.client is None or token is None:
        return False
    hint = "refresh_token" if record.refresh_token else "access_token"
    with anyio.move_on_after(_MAX_SECONDS):
        client: Any = open_client(record.client.proof(), transport)
        async with client:
            try:
                reply = await client.revoke_token(record.revocation_endpoint, token, token_type_hint=hint)
            except (httpx2.HTTPError, ValueError):
                return False
            return bool(reply.status_code == 200)
    return False
