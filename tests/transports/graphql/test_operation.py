"""GraphQL operations and responses, and both WebSocket protocols message by message."""

import json

import pytest

from utcp_bridge.errors import ConfigError, MalformedReply, Rejected
from utcp_bridge.transports.graphql.operation import (
    Received,
    Subscription,
    field_operation,
    read_operation,
    response_value,
)

TWO = "query A { a } mutation B($n: Int!) { b(n: $n) }"


def test_the_named_operation_gets_the_variables_that_its_document_declares() -> None:
    operation = read_operation(TWO, "B")
    assert operation.type == "mutation"
    assert operation.body({"n": 1, "m": 2}, "B") == {"query": TWO, "variables": {"n": 1}, "operationName": "B"}
    assert read_operation(TWO, None).type == "query"


@pytest.mark.parametrize("document", ["query {", "fragment f on T { a }", ""])
def test_a_document_without_an_operation_is_a_config_error(document: str) -> None:
    with pytest.raises(ConfigError, match="`query`"):
        read_operation(document, None)


def test_a_field_becomes_an_operation_with_the_arguments_of_the_call() -> None:
    operation = field_operation("mutation", "add", {"n": "Int!"}, {"n": 1, "who": "me"})
    assert operation.document == "mutation($n: Int!, $who: String) { add(n: $n, who: $who) }"
    assert operation.body({"n": 1, "who": "me"}, None)["variables"] == {"n": 1, "who": "me"}
    assert field_operation("query", "now", {}, {}).document == "query { now }"


def test_the_value_is_the_field_or_the_data_and_includes_errors() -> None:
    assert response_value({"data": {"a": 1}}, "a", "x") == 1
    assert response_value({"data": {"a": 1}}, None, "x") == {"a": 1}
    both = response_value({"data": {"a": 1}, "errors": ["e"]}, "a", "x")
    assert both == {"data": 1, "errors": ["e"]}
    with pytest.raises(Rejected) as caught:
        response_value({"data": {"a": None}, "errors": ["e"]}, "a", "x")
    assert caught.value.detail == ["e"]


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


def test_connection_parameters_are_sent_in_the_first_message() -> None:
    subscription = Subscription("graphql-ws", BODY, "wss://a.example", {"token": "t"})
    assert json.loads(subscription.opening()) == {"type": "connection_init", "payload": {"token": "t"}}
    assert "token" not in repr(subscription)


def test_pings_get_a_pong_and_messages_of_other_operations_are_ignored() -> None:
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
def test_a_refusal_contains_the_errors_of_the_server(message, detail) -> None:
    subscription, _ = opened("graphql-ws")
    with pytest.raises(Rejected, match="refused") as caught:
        subscription.receive(json.dumps(message))
    assert caught.value.detail == detail


@pytest.mark.parametrize("text", ["{", "[]", '{"no": "type"}', "5"])
def test_a_message_outside_the_protocol_is_malformed(text) -> None:
    with pytest.raises(MalformedReply):
        opened("graphql-transport-ws")[0].receive(text)
