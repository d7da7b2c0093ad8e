"""Who sends a request: the client's name, and the owner of what the bridge keeps for it."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext

from utcp_bridge.catalogue.budget import MAX_EVENT_BYTES
from utcp_bridge.model import is_object
from utcp_bridge.server.meta_tools import Caller

__all__ = ["caller_of", "client_name", "known_caller", "note_caller"]

_FIRST_VERSION_WITH_LINKS: Final = "2025-06-18"
_STATE_KEY: Final = "utcp_bridge/caller"
_CLIENT_INFO_KEY: Final = "io.modelcontextprotocol/clientInfo"


def known_caller(connection: Connection) -> Caller | None:
    """Return the caller of a connection, if a handler has looked for it."""
    known = connection.state.get(_STATE_KEY)
    return None if known is None else known[2]


def note_caller(connection: Connection, request: Any, caller: Caller) -> None:
    """Note the caller of a request of 2026-07-28, which is known from an earlier request with the same head."""
    connection.state[_STATE_KEY] = connection.client_params, request, caller


def caller_of(ctx: ServerRequestContext[Any, Any]) -> Caller:
    """Return who calls. Kept results belong to the session of the handshake, or to the token of a request without one.

    Over stdio there is one client for the whole process. The state of the connection keeps the caller: for a session
    until another handshake, otherwise for this request.
    """
    connection = ctx.session._connection  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - no public way
    request = None if connection.session_id is not None else ctx.request
    known = connection.state.get(_STATE_KEY)
    if known is None or known[0] is not connection.client_params or known[1] is not request:
        known = connection.state[_STATE_KEY] = connection.client_params, request, _caller(ctx, connection.session_id)
    caller: Caller = known[2]
    return caller


def _caller(ctx: ServerRequestContext[Any, Any], session: str | None) -> Caller:
    headers = getattr(ctx.request, "headers", None)
    if session is not None:
        owner = f"session {session}"
    elif headers is not None:
        owner = f"token {hashlib.sha256(headers.get('authorization', '').encode()).hexdigest()}"
    else:
        owner = "stdio"
    return Caller(
        client=client_name(ctx),
        owner=owner,
        understands_links=ctx.protocol_version >= _FIRST_VERSION_WITH_LINKS,
        max_event_bytes=None if session is None else MAX_EVENT_BYTES,
        is_shared=session is None and headers is not None,
    )


def client_name(ctx: ServerRequestContext[Any, Any]) -> str | None:
    """Return the name that a client gives itself: at its handshake, or in each request since 2026-07-28."""
    if ctx.session.client_params is not None:
        return ctx.session.client_params.client_info.name
    stated = (ctx.meta or {}).get(_CLIENT_INFO_KEY)
    name = stated.get("name") if is_object(stated) else None
    return name if isinstance(name, str) else None
