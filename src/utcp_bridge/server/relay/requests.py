"""Requests of hosts that go on to one upstream: with its logs, within a time limit, and with errors for the host."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio
import mcp_types as types
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from utcp_bridge.auth.results import shown_to_hosts
from utcp_bridge.errors import UtcpError
from utcp_bridge.foreign import visible, visible_json, write_json
from utcp_bridge.model import Emit, JsonObject, discard, in_seconds, is_list, is_object
from utcp_bridge.upstream import CALL_CLOCK, CallClock, InputRequired, ProtocolError, Upstream

if TYPE_CHECKING:
    from utcp_bridge.client.client import UtcpClient

__all__ = [
    "ask",
    "connection_of",
    "internal_error",
    "is_modern",
    "not_found",
    "passed_meta",
    "refusal",
    "speaking_protocol",
]

_logger = logging.getLogger(__name__)
_NOT_FOUND: Final = -32002
"""A resource that does not exist, before 2026-07-28; since then it is an error of the parameters."""
_MAX_MESSAGE: Final = 2_000
_MAX_DATA: Final = 65_536
"""Bytes of the data of an error."""
_OWN_META: Final = "io.modelcontextprotocol/"
"""Members of `_meta` that belong to one connection: each side writes its own."""


def connection_of(ctx: ServerRequestContext[Any, Any]) -> Connection:
    """Return the connection of a request; in the handshake era it is that of the session."""
    return ctx.session._connection  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - no public way to a session's lifetime


def is_modern(ctx: ServerRequestContext[Any, Any]) -> bool:
    """Return whether the host speaks 2026-07-28 or later."""
    return ctx.protocol_version in MODERN_PROTOCOL_VERSIONS


async def ask(
    client: UtcpClient, upstream: Upstream, method: str, params: JsonObject, emit: Emit = discard
) -> JsonObject:
    """Send a request to an upstream and return its result as hosts may see it.

    Progress goes through `emit`. `_meta` of the host is sent along, without what belongs to its own connection.

    :raises ProtocolError: the upstream refused it.
    :raises InputRequired: it needs input of the host first.
    :raises MCPError: it did not answer in time.
    :raises UtcpError: it cannot be reached, or its result cannot be read.
    """
    seconds = client.settings.call_timeout
    result: JsonObject | None = None
    with anyio.move_on_after(seconds) as scope:
        token = CALL_CLOCK.set(CallClock(scope))
        try:
            result = await upstream.request(method, params, emit)
        finally:
            CALL_CLOCK.reset(token)
    if result is None:
        message = f"The upstream did not answer {method} within {in_seconds(seconds)}."
        raise MCPError(types.REQUEST_TIMEOUT, message)
    shown: JsonObject = await shown_to_hosts(result, client.redactor)
    return shown


def passed_meta(params: Mapping[str, Any] | None) -> JsonObject:
    """Return the members of a host's `_meta` that are for the upstream."""
    meta = (params or {}).get("_meta")
    if not is_object(meta):
        return {}
    kept = {key: value for key, value in meta.items() if key != "progressToken" and not key.startswith(_OWN_META)}
    return {"_meta": kept} if kept else {}


@contextmanager
def speaking_protocol(client: UtcpClient, ctx: ServerRequestContext[Any, Any]) -> Generator[None]:
    """Turn every exception into an error of the protocol. `InputRequired` passes: it is a result."""
    try:
        yield
    except (MCPError, InputRequired):
        raise
    except ProtocolError as error:
        raise refusal(client, error, modern=is_modern(ctx)) from None
    except UtcpError as error:
        raise MCPError(types.INTERNAL_ERROR, client.redactor(visible(str(error))), {"utcp/error": error.code}) from None
    except Exception as error:  # noqa: BLE001 - the SDK would send its text to the client
        raise internal_error(ctx.method, error) from None


def internal_error(what: str, error: Exception) -> MCPError:
    """Return the error for the host when the bridge itself fails at something. The log has the cause under its id."""
    ident = uuid.uuid4().hex[:12]
    _logger.error("%s failed with an internal error (%s, id %s).", what, type(error).__name__, ident)
    _logger.debug("Cause of %s:", ident, exc_info=error)
    return MCPError(types.INTERNAL_ERROR, f"Internal error in utcp-bridge. Its log has the cause under id {ident}.")


def refusal(client: UtcpClient, error: ProtocolError, *, modern: bool) -> MCPError:
    """Return the error of an upstream for the host, in the words of the host's protocol version."""
    code = types.INVALID_PARAMS if modern and error.code == _NOT_FOUND else error.code
    return MCPError(code, client.redactor(visible(str(error)[:_MAX_MESSAGE])), masked_now(client, _bounded(error.data)))


def _bounded(data: Any) -> Any:
    """Return the data of an error as every host can read it; nothing if it is too large."""
    if data is None:
        return None
    return visible_json(data) if len(write_json(data)) <= _MAX_DATA else None


def masked_now(client: UtcpClient, value: Any) -> Any:
    """Return a small JSON value without known secrets."""
    if isinstance(value, str):
        return client.redactor(value)
    if is_list(value):
        return [masked_now(client, one) for one in value]
    return {key: masked_now(client, one) for key, one in value.items()} if is_object(value) else value


def not_found(what: str, data: JsonObject, *, modern: bool, is_resource: bool = False) -> MCPError:
    """Return the error for a name or a URI that no upstream offers."""
    return MCPError(_NOT_FOUND if is_resource and not modern else types.INVALID_PARAMS, what, data)
