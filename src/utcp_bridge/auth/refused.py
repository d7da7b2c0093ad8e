"""Access tokens that an upstream refuses in words of its own: gRPC by a status, GraphQL by the code of a WebSocket.

The HTTP session renews a token after a 401 itself (`net/http_session.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from utcp_bridge.errors import Rejected
from utcp_bridge.model import Emit

if TYPE_CHECKING:
    from utcp_bridge.auth.credentials import Credentials

__all__ = ["with_valid_token"]

_REFUSED: Final = frozenset({"UNAUTHENTICATED", 4401})


async def with_valid_token(credentials: Credentials | None, call: Callable[[Emit], Awaitable[Any]], emit: Emit) -> Any:
    """Return what `call` returns. If the upstream refused its access token, call once more with a new one.

    :raises UtcpError: the call failed, or there is no new token.
    """
    if credentials is None or credentials.token_url is None:
        return await call(emit)
    emitted = False

    async def noting(partial: Any) -> None:
        nonlocal emitted
        emitted = True
        await emit(partial)

    used = await credentials.additions()
    try:
        return await call(noting)
    except Rejected as error:
        if emitted or error.status not in _REFUSED or await credentials.renewed(used) is None:
            raise
    return await call(emit)
