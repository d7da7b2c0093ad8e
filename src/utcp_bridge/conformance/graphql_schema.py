"""A GraphQL schema of a vector, executed by graphql-core; it records which fields are resolved with which arguments."""

from __future__ import annotations

from typing import Any

from utcp_bridge.model import JsonObject

__all__ = ["executed"]


def executed(given: JsonObject, request: JsonObject) -> tuple[JsonObject, list[JsonObject]]:
    """Return the reply to a request, and the fields of the roots that it calls. `given` has `sdl` and `values`.

    `values` has the value of each field of a root.
    """
    import graphql

    library: Any = graphql
    schema = library.build_schema(given["sdl"])
    calls: list[JsonObject] = []

    def resolver(operation: str, name: str) -> Any:
        def resolve(_root: Any, _info: Any, **arguments: Any) -> Any:
            calls.append({"operation": operation, "field": name, "arguments": arguments})
            return given["values"].get(name)

        return resolve

    roots: dict[str, Any] = {"query": schema.query_type, "mutation": schema.mutation_type}
    for operation, root in roots.items():
        fields: dict[str, Any] = root.fields if root is not None else {}
        for name, one in fields.items():
            one.resolve = resolver(operation, name)
    result = library.graphql_sync(
        schema,
        request.get("query", ""),
        variable_values=request.get("variables"),
        operation_name=request.get("operationName"),
    )
    reply: JsonObject = {"data": result.data}
    if result.errors:
        reply["errors"] = [error.formatted for error in result.errors]
    return reply, calls
