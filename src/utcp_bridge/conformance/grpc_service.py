"""The recording gRPC server: the fixed service `grpcpb.UTCPService` that the libraries for Go and Rust share."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from utcp_bridge.conformance.vectors import Vector
from utcp_bridge.model import JsonObject
from utcp_bridge.transports.grpc.protos import grpc_module, utcp_messages

__all__ = ["recorded_grpc"]


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
