"""GraphQL operations: what a document asks for, and what a response comes to (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from utcp_bridge.errors import ConfigError, Rejected
from utcp_bridge.model import JsonObject, is_object

__all__ = ["Operation", "OperationType", "field_operation", "read_operation", "response_value"]

OperationType: TypeAlias = Literal["query", "mutation", "subscription"]


@dataclass(frozen=True, slots=True)
class Operation:
    """A document, the variables it declares (None: those of the call), and the type of the operation to run."""

    document: str
    variables: frozenset[str] | None
    type: OperationType

    def body(self, arguments: JsonObject, name: str | None) -> JsonObject:
        """The GraphQL request; arguments that the document does not declare are left out."""
        declared = self.variables
        given = arguments if declared is None else {key: arguments[key] for key in arguments if key in declared}
        body: JsonObject = {"query": self.document, "variables": given}
        return body if name is None else {**body, "operationName": name}


def read_operation(document: str, name: str | None) -> Operation:
    """The operation of a document that is to run: the one of that name, else the first.

    :raises ConfigError: it is no GraphQL document, or holds no operation.
    """
    import graphql

    try:
        parsed = graphql.parse(document)
    except graphql.GraphQLError as error:
        raise ConfigError(f"`query` is no GraphQL document: {error.message}") from None
    found = [one for one in parsed.definitions if isinstance(one, graphql.OperationDefinitionNode)]
    if not found:
        raise ConfigError("`query` holds no operation.", remedy="Write a query, a mutation or a subscription.")
    named = [one for one in found if one.name is not None and one.name.value == name]
    variables = (variable.variable.name.value for one in found for variable in one.variable_definitions or ())
    return Operation(document, frozenset(variables), (named or found)[0].operation.value)


def field_operation(kind: OperationType, field: str, types: Mapping[str, str], arguments: JsonObject) -> Operation:
    """UTCP's own form for templates without a document: one field with the arguments of the call."""
    variables = ", ".join(f"${name}: {types.get(name, 'String')}" for name in arguments)
    given = ", ".join(f"{name}: ${name}" for name in arguments)
    head = f"{kind}({variables})" if variables else kind
    return Operation(f"{head} {{ {field}({given}) }}" if given else f"{head} {{ {field} }}", None, kind)


def response_value(response: JsonObject, field: str | None, where: str, *, alone: bool = True) -> Any:
    """The value of a GraphQL response: `field` of its data, or all of it; with errors beside it, both.

    :raises Rejected: there are errors and nothing else, and the response stands `alone`, with no good one before it.
    """
    data, errors = response.get("data"), response.get("errors")
    value = data.get(field) if is_object(data) and field is not None else data
    if not errors:
        return value
    if value is None and alone:
        raise Rejected(f"{where} answered with errors.", status="graphql", detail=errors)
    return {"data": value, "errors": errors}
