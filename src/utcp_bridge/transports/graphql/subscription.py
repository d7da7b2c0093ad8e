"""GraphQL subscriptions over a WebSocket (sans-I/O): the `graphql-transport-ws` protocol and the older `graphql-ws`.

Both open with `connection_init`, subscribe one operation under an id, and end with `complete`. Sources: the protocol
documents of graphql-ws (PROTOCOL.md) and of subscriptions-transport-ws (PROTOCOL.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import orjson

from utcp_bridge.errors import MalformedReply, Rejected
from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.net.reply import parse_json

__all__ = ["SUBPROTOCOLS", "Received", "Subprotocol", "Subscription"]

Subprotocol: TypeAlias = Literal["graphql-transport-ws", "graphql-ws"]
SUBPROTOCOLS: tuple[Subprotocol, ...] = ("graphql-transport-ws", "graphql-ws")
"""In the order in which they are offered; a server picks the first that it knows."""

_ID = "1"
_VERBS: dict[Subprotocol, tuple[str, str]] = {
    "graphql-transport-ws": ("subscribe", "complete"),
    "graphql-ws": ("start", "stop"),
}


@dataclass(frozen=True, slots=True)
class Received:
    """What a message of the server comes to: messages to send back, results (`{"data", "errors"}`), the end."""

    reply: tuple[str, ...] = ()
    results: tuple[JsonObject, ...] = ()
    ended: bool = False


@dataclass(slots=True)
class Subscription:
    """One operation on one connection. `body` is a GraphQL request: query, variables, operationName."""

    protocol: Subprotocol
    body: JsonObject
    where: str
    parameters: JsonObject | None = field(default=None, repr=False)
    """Payload of `connection_init`."""
    _acknowledged: bool = False

    def opening(self) -> str:
        """The first message."""
        return _message("connection_init", payload=self.parameters)

    def stop(self) -> str:
        """Tells the server that nobody listens any longer."""
        return _message(_VERBS[self.protocol][1], identifier=_ID)

    def receive(self, text: str | bytes) -> Received:
        """The next message of the server.

        :raises MalformedReply: it is no message of the protocol.
        :raises Rejected: the server refused the connection or the operation.
        """
        message = parse_json(text, self.where)
        kind = message.get("type") if is_object(message) else None
        if not is_object(message) or not isinstance(kind, str):
            raise MalformedReply(f"{self.where} sent a message that is none of {self.protocol}.")
        if kind == "connection_ack" and not self._acknowledged:
            self._acknowledged = True
            return Received(reply=(_message(_VERBS[self.protocol][0], identifier=_ID, payload=self.body),))
        if kind == "ping":
            return Received(reply=(_message("pong"),))
        if kind == "connection_error" or (kind == "error" and message.get("id") in {_ID, None}):
            raise Rejected(f"{self.where} refused the subscription.", status="graphql", detail=_errors(message))
        if message.get("id") != _ID:
            return Received()
        if kind == "complete":
            return Received(ended=True)
        payload = message.get("payload")
        return Received(results=(payload,)) if kind in {"next", "data"} and is_object(payload) else Received()


def _errors(message: JsonObject) -> Any:
    payload = message.get("payload")
    return payload if is_list(payload) or is_object(payload) else message.get("errors", payload)


def _message(kind: str, *, identifier: str | None = None, payload: JsonObject | None = None) -> str:
    message: JsonObject = {"type": kind}
    if identifier is not None:
        message["id"] = identifier
    if payload is not None:
        message["payload"] = payload
    return orjson.dumps(message).decode()
