"""Operations and responses of GraphQL."""

import pytest

from utcp_bridge.errors import ConfigError, Rejected
from utcp_bridge.transports.graphql.operation import field_operation, read_operation, response_value

TWO = "query A { a } mutation B($n: Int!) { b(n: $n) }"


def test_the_named_operation_is_run_with_the_variables_that_the_document_declares() -> None:
    operation = read_operation(TWO, "B")
    assert operation.type == "mutation"
    assert operation.body({"n": 1, "m": 2}, "B") == {"query": TWO, "variables": {"n": 1}, "operationName": "B"}
    assert read_operation(TWO, None).type == "query"


@pytest.mark.parametrize("document", ["query {", "fragment f on T { a }", ""])
def test_what_is_no_operation_is_a_configuration_error(document: str) -> None:
    with pytest.raises(ConfigError, match="`query`"):
        read_operation(document, None)


def test_a_field_alone_becomes_an_operation_with_the_calls_arguments() -> None:
    operation = field_operation("mutation", "add", {"n": "Int!"}, {"n": 1, "who": "me"})
    assert operation.document == "mutation($n: Int!, $who: String) { add(n: $n, who: $who) }"
    assert operation.body({"n": 1, "who": "me"}, None)["variables"] == {"n": 1, "who": "me"}
    assert field_operation("query", "now", {}, {}).document == "query { now }"


def test_a_response_is_its_field_its_data_or_both_with_errors() -> None:
    assert response_value({"data": {"a": 1}}, "a", "x") == 1
    assert response_value({"data": {"a": 1}}, None, "x") == {"a": 1}
    both = response_value({"data": {"a": 1}, "errors": ["e"]}, "a", "x")
    assert both == {"data": 1, "errors": ["e"]}
    with pytest.raises(Rejected) as caught:
        response_value({"data": {"a": None}, "errors": ["e"]}, "a", "x")
    assert caught.value.detail == ["e"]
