"""One request of a session, as the SDK sees it, and its messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import anyio
import mcp_types as types
from mcp.shared.dispatcher import CallOptions
from mcp.shared.exceptions import NoBackChannelError
from mcp.shared.message import ServerMessageMetadata
from mcp.shared.transport_context import TransportContext
from starlette.requests import Request

from utcp_bridge.model import JsonObject
from utcp_bridge.server.replies import McpReply

__all__ = ["AskedSession", "SessionExchange", "notification_of", "params_of"]


class AskedSession(Protocol):
    """A session that can ask its client (`HandshakeSession`)."""

    async def ask(
        self,
        write: Callable[[JsonObject], Awaitable[None]],
        method: str,
        params: Mapping[str, Any] | None,
        opts: CallOptions | None,
    ) -> JsonObject:
        """Send a request by `write`, and return the result that the client sends."""
        ...


def notification_of(method: str, params: Mapping[str, Any] | None) -> JsonObject:
    """Return a notification of JSON-RPC."""
    return {"jsonrpc": "2.0", "method": method, **params_of(params)}


def params_of(params: Mapping[str, Any] | None) -> JsonObject:
    """Return the member `params` of a message; nothing if it has none."""
    return {} if params is None else {"params": dict(params)}


@dataclass(slots=True)
class SessionExchange:
    """The SDK's view of one request: its way back to the client is the reply of the request."""

    session: AskedSession
    reply: McpReply | None
    request_id: types.RequestId | None
    transport: TransportContext
    request: Request | None
    progress_token: types.ProgressToken | None = None
    _cancel_requested: anyio.Event | None = None

    @property
    def cancel_requested(self) -> anyio.Event:
        """Part of the SDK's interface. The scope of the request cancels it, so nothing sets this."""
        if self._cancel_requested is None:
            self._cancel_requested = anyio.Event()
        return self._cancel_requested

    @property
    def message_metadata(self) -> ServerMessageMetadata | None:
        """Carries the HTTP request to the handlers."""
        return None if self.request is None else ServerMessageMetadata(request_context=self.request)

    @property
    def can_send_request(self) -> bool:
        return self.transport.can_send_request and self.reply is not None and not self.reply.has_ended

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        if self.reply is None or not self.can_send_request:
            raise NoBackChannelError(method)
        return await self.session.ask(self.reply.event, method, params, opts)

    async def notify(self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None) -> None:
        del opts
        if self.reply is not None:
            await self.reply.event(notification_of(method, params))

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        if self.progress_token is not None:
            fields = {"progressToken": self.progress_token, "progress": progress, "total": total, "message": message}
            await self.notify("notifications/progress", {key: one for key, one in fields.items() if one is not None})
