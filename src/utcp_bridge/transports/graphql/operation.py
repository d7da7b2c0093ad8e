"""GraphQL operations, their responses, and subscriptions over a WebSocket (no I/O).

Subscriptions use the `graphql-transport-ws` protocol or the older `graphql-ws`. Both open with `connection_init`,
subscribe one operation under an id, and end with `complete`. Sources: PROTOCOL.md of graphql-ws and of
subscriptions-transport-ws.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import orjson

from utcp_bridge.errors import ConfigError, MalformedReply, Rejected
from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.net.reply import parse_json

__all__ = [
    "SUBPROTOCOLS",
    "GraphQlOperation",
    "OperationType",
    "Received",
    "Subprotocol",
    "Subscription",
    "field_operation",
    "read_operation",
    "response_value",
]

OperationType: TypeAlias = Literal["query", "mutation", "subscription"]


@dataclass(frozen=True, slots=True)
class GraphQlOperation:
    """A document, the variables it declares (None: those of the call), and the type of its operation."""

    document: str = field(repr=False)
    variables: frozenset[str] | None = field(repr=False)
    type: OperationType

    def body(self, arguments: JsonObject, name: str | None) -> JsonObject:
        """Return the GraphQL request, without arguments that the document does not declare."""
        declared = self.variables
        given = arguments if declared is None else {key: arguments[key] for key in arguments if key in declared}
        body: JsonObject = {"query": self.document, "variables": given}
        return body if name is None else {**body, "operationName": name}


def read_operation(document: str, name: str | None) -> GraphQlOperation:
    """Return the operation of this name in a document, else its first operation.

    :raises ConfigError: the text is not a GraphQL document, or has no operation.
    """
    import graphql

    try:
        parsed = graphql.parse(document)
    except graphql.GraphQLError as error:
        raise ConfigError(f"`query` must be a GraphQL document: {error.message}") from None
    found = [one for one in parsed.definitions if isinstance(one, graphql.OperationDefinitionNode)]
    if not found:
        raise ConfigError("`query` must contain an operation.", remedy="Write a query, a mutation or a subscription.")
    named = [one for one in found if one.name is not None and one.name.value == name]
    variables = (variable.variable.name.value for one in found for variable in one.variable_definitions or ())
    return GraphQlOperation(document, frozenset(variables), (named or found)[0].operation.value)


def field_operation(
    kind: OperationType, field: str, types: Mapping[str, str], arguments: JsonObject
) -> GraphQlOperation:
    """Return the operation for a template without a document, as UTCP says: one field with the call's arguments."""
    variables = ", ".join(f"${name}: {types.get(name, 'String')}" for name in arguments)
    given = ", ".join(f"{name}: ${name}" for name in arguments)
    head = f"{kind}({variables})" if variables else kind
    return GraphQlOperation(f"{head} {{ {field}({given}) }}" if given else f"{head} {{ {field} }}", None, kind)


def response_value(response: JsonObject, field: str | None, where: str, *, alone: bool = True) -> Any:
    """Return `field` of a response's data, or all of the data; with errors, an object of both.

    `alone` says that no response with data came before, in a subscription.

    :raises Rejected: there are only errors, and the response is `alone`.
    """
    data, errors = response.get("data"), response.get("errors")
    value = data.get(field) if is_object(data) and field is not None else data
    if not errors:
        return value
    if value is None and alone:
        raise Rejected(f"{where} returned GraphQL errors.", status="graphql", detail=errors)
    return {"data": value, "errors": errors}


Subprotocol: TypeAlias = Literal["graphql-transport-ws", "graphql-ws"]
SUBPROTOCOLS: tuple[Subprotocol, ...] = ("graphql-transport-ws", "graphql-ws")
"""In the order in which they are offered; a server picks the first one that it supports."""

_ID = "1"
_VERBS: dict[Subprotocol, tuple[str, str]] = {
    "graphql-transport-ws": ("subscribe", "complete"),
    "graphql-ws": ("start", "stop"),
}


@dataclass(frozen=True, slots=True)
class Received:
    """What a message of the server leads to: messages to send back, results (`{"data", "errors"}`), the end."""

    reply: tuple[str, ...] = ()
    results: tuple[JsonObject, ...] = ()
    ended: bool = False


@dataclass(slots=True)
class Subscription:
    """One operation on one connection. `body` is a GraphQL request: query, variables, operationName."""

    protocol: Subprotocol
    body: JsonObject = field(repr=False)
    where: str
    parameters: JsonObject | None = field(default=None, repr=False)
    """Payload of `connection_init`."""
    is_acknowledged: bool = False

    def opening(self) -> str:
        """Return the first message."""
        return _message("connection_init", payload=self.parameters)

    def stop(self) -> str:
        """Return the message that ends the subscription."""
        return _message(_VERBS[self.protocol][1], identifier=_ID)

    def receive(self, text: str | bytes) -> Received:
        """Read the next message of the server.

        :raises MalformedReply: it is not a message of the protocol.
        :raises Rejected: the server refused the connection or the operation.
        """
        message = parse_json(text, self.where)
        kind = message.get("type") if is_object(message) else None
        if not is_object(message) or not isinstance(kind, str):
            raise MalformedReply(f"{self.where} sent a message that does not follow {self.protocol}.")
        if kind == "connection_ack" and not self.is_acknowledged:
            self.is_acknowledged = True
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
