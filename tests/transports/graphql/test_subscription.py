"""Both WebSocket protocols of GraphQL, message by message."""

import json

import pytest

from utcp_bridge.errors import MalformedReply, Rejected
from utcp_bridge.transports.graphql.subscription import Received, Subscription

BODY = {"query": "subscription { a }", "variables": {}}


def opened(protocol):
    subscription = Subscription(protocol, BODY, "wss://a.example")
    assert json.loads(subscription.opening()) == {"type": "connection_init"}
    [reply] = subscription.receive('{"type": "connection_ack"}').reply
    return subscription, json.loads(reply)


@pytest.mark.parametrize(
    ("protocol", "start", "result", "stop"),
    [("graphql-transport-ws", "subscribe", "next", "complete"), ("graphql-ws", "start", "data", "stop")],
)
def test_a_subscription_opens_receives_and_ends(protocol, start, result, stop) -> None:
    subscription, sent = opened(protocol)
    assert sent == {"type": start, "id": "1", "payload": BODY}
    message = json.dumps({"type": result, "id": "1", "payload": {"data": {"a": 1}}})
    assert subscription.receive(message) == Received(results=({"data": {"a": 1}},))
    assert subscription.receive('{"type": "complete", "id": "1"}') == Received(ended=True)
    assert json.loads(subscription.stop()) == {"type": stop, "id": "1"}


def test_parameters_travel_with_the_first_message() -> None:
    subscription = Subscription("graphql-ws", BODY, "wss://a.example", {"token": "t"})
    assert json.loads(subscription.opening()) == {"type": "connection_init", "payload": {"token": "t"}}
    assert "token" not in repr(subscription)


def test_pings_are_answered_and_what_belongs_to_somebody_else_is_passed_over() -> None:
    subscription, _ = opened("graphql-transport-ws")
    assert subscription.receive('{"type": "ping"}') == Received(reply=('{"type":"pong"}',))
    for text in ('{"type": "ka"}', '{"type": "next", "id": "2", "payload": {}}', '{"type": "connection_ack"}'):
        assert subscription.receive(text) == Received()
    assert subscription.receive('{"type": "next", "id": "1", "payload": 5}') == Received()


@pytest.mark.parametrize(
    ("message", "detail"),
    [
        ({"type": "error", "id": "1", "payload": [{"message": "no"}]}, [{"message": "no"}]),
        ({"type": "connection_error", "payload": {"message": "who?"}}, {"message": "who?"}),
    ],
)
def test_a_refusal_carries_what_the_server_said(message, detail) -> None:
    subscription, _ = opened("graphql-ws")
    with pytest.raises(Rejected, match="refused") as caught:
        subscription.receive(json.dumps(message))
    assert caught.value.detail == detail


@pytest.mark.parametrize("text", ["{", "[]", '{"no": "type"}', "5"])
def test_what_is_no_message_of_the_protocol_is_malformed(text) -> None:
    with pytest.raises(MalformedReply):
        opened("graphql-transport-ws")[0].receive(text)
