"""Who sends a request: the client's name, and the owner of what the bridge keeps for it."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from utcp_bridge.access import admissions
from utcp_bridge.access.principals import ANYONE, Principal
from utcp_bridge.catalogue.budget import MAX_EVENT_BYTES
from utcp_bridge.model import Requester, is_object
from utcp_bridge.server.meta_tools import Caller

if TYPE_CHECKING:
    from mcp.server.connection import Connection
    from mcp.server.context import ServerRequestContext
    from starlette.requests import Request

__all__ = [
    "caller_at", "caller_of", "caller_on_stdio", "client_name", "known_caller", "note_caller", "principal_of",
    "requester_of", "requester_on_stdio", "requester_over_http", "session_digest",
]  # fmt: skip

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
    """Return who calls. Kept results belong to the session of the handshake, or to the principal of a request without
    one.

    The principal of a session is checked before a request gets here. Those with the shared token have no names, so the
    token itself is their owner.

    Over stdio there is one client for the whole process. The state of the connection keeps the caller: for a session
    until another handshake, otherwise for this request.
    """
    return caller_at(ctx.session._connection, ctx)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - no public way


def caller_at(connection: Connection, ctx: ServerRequestContext[Any, Any]) -> Caller:
    """Return who calls (`caller_of`), by the connection of the request."""
    request = None if connection.session_id is not None else ctx.request
    known = connection.state.get(_STATE_KEY)
    if known is None or known[0] is not connection.client_params or known[1] is not request:
        known = connection.state[_STATE_KEY] = connection.client_params, request, _caller(ctx, connection.session_id)
    caller: Caller = known[2]
    return caller


def _caller(ctx: ServerRequestContext[Any, Any], session: str | None) -> Caller:
    headers = getattr(ctx.request, "headers", None)
    scope = getattr(ctx.request, "scope", None)
    principal: Principal = ANYONE if scope is None else admissions.principal_of(scope)
    if headers is None and session is None:
        return caller_on_stdio(client_name(ctx), ctx.protocol_version)
    credentials = "" if headers is None else headers.get("authorization", "")
    is_named = principal.kind not in {"anyone", "shared"}
    holder = f"principal {principal.name}" if is_named else f"token {hashlib.sha256(credentials.encode()).hexdigest()}"
    owner = holder if session is None else f"session {session}"
    return Caller(
        client=client_name(ctx),
        owner=owner,
        lasting_owner=holder if is_named or credentials else "",
        understands_links=ctx.protocol_version >= _FIRST_VERSION_WITH_LINKS,
        max_event_bytes=None if session is None else MAX_EVENT_BYTES,
        is_shared=session is None and headers is not None,
        principal=principal,
    )


def caller_on_stdio(name: str | None, version: str) -> Caller:
    """Return the one client of this process, by its name and its version of the protocol."""
    return Caller(
        client=name, owner="stdio", lasting_owner="stdio", understands_links=version >= _FIRST_VERSION_WITH_LINKS
    )


def principal_of(ctx: ServerRequestContext[Any, Any]) -> Principal:
    """Return the principal of a request; over stdio that is anyone."""
    return ANYONE if ctx.request is None else admissions.principal_of(ctx.request.scope)


def client_name(ctx: ServerRequestContext[Any, Any]) -> str | None:
    """Return the name that a client gives itself: at its handshake, or in each request since 2026-07-28."""
    if ctx.session.client_params is not None:
        return ctx.session.client_params.client_info.name
    stated = (ctx.meta or {}).get(_CLIENT_INFO_KEY)
    name = stated.get("name") if is_object(stated) else None
    return name if isinstance(name, str) else None


def requester_of(ctx: ServerRequestContext[Any, Any], profile: str | None = None) -> Requester:
    """Return who a request over MCP comes from, and through which profile, for rules and the audit log."""
    caller = caller_of(ctx)
    peer = getattr(ctx.request, "client", None)
    principal = principal_of(ctx)
    return Requester(
        principal=principal.name,
        identity=principal,
        profile=profile,
        client=caller.client,
        address=None if peer is None else peer.host,
        session=_digest(caller.owner),
    )


def requester_on_stdio(caller: Caller, profile: str | None = None) -> Requester:
    """Return who a request of the one client of this process comes from."""
    return Requester(
        principal=ANYONE.name, identity=ANYONE, profile=profile, client=caller.client, session=_digest(caller.owner)
    )


def requester_over_http(request: Request, profile: str | None = None) -> Requester:
    """Return who a request to `/utcp` comes from. It has no session, so its token is the owner."""
    owner = f"token {hashlib.sha256(request.headers.get('authorization', '').encode()).hexdigest()}"
    principal = admissions.principal_of(request.scope)
    return Requester(
        principal=principal.name,
        identity=principal,
        profile=profile,
        client=request.headers.get("user-agent"),
        address=None if request.client is None else request.client.host,
        session=_digest(owner),
    )


def session_digest(ident: str) -> str:
    """Return what stands for a session of the handshake era in logs."""
    return _digest(f"session {ident}")


@lru_cache(maxsize=4096)
def _digest(owner: str) -> str:
    return hashlib.sha256(owner.encode()).hexdigest()[:16]
