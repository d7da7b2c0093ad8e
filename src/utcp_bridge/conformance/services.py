"""Services of vectors: a GraphQL schema, and the fixed gRPC service of the libraries for Go and Rust."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from utcp_bridge.conformance.vectors import Vector
from utcp_bridge.model import JsonObject
from utcp_bridge.transports.grpc.protos import grpc_module, utcp_messages

__all__ = ["executed", "recorded_grpc"]


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


@asynccontextmanager
async def recorded_grpc(vector: Vector, note: Callable[[JsonObject], None]) -> AsyncGenerator[int]:
    """Yield the port of a server with the vector's tools.

    :raises MissingExtra: the extra `grpc` is not installed.
    """
    grpc, messages = grpc_module(), utcp_messages()
    reply = vector.data.get("reply", {})

    async def manual(_request: Any, _context: Any) -> Any:
        tools = [
            messages["Tool"](name=one["name"], description="Does it.", inputs=json.dumps({"type": "object"}))
            for one in vector.data["grpc"]["tools"]
        ]
        return messages["Manual"](version="1", tools=tools)

    async def call(request: Any, context: Any) -> Any:
        metadata = {str(key): value for key, value in context.invocation_metadata()}
        note({"tool": request.tool, "arguments": json.loads(request.args_json or "{}"), "metadata": metadata})
        if "status" in reply:
            await context.abort(grpc.StatusCode[reply["status"]], "refused")
        return messages["ToolCallResponse"](result_json=json.dumps(reply.get("json")))

    handlers = {
        "GetManual": grpc.unary_unary_rpc_method_handler(
            manual, messages["Empty"].FromString, messages["Manual"].SerializeToString
        ),
        "CallTool": grpc.unary_unary_rpc_method_handler(
            call, messages["ToolCallRequest"].FromString, messages["ToolCallResponse"].SerializeToString
        ),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpcpb.UTCPService", handlers),))
    port: int = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)
