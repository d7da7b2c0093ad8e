"""Calls for clients of the bridge: what they receive has none of the operator's credentials."""

from __future__ import annotations

from typing import Any

from utcp_bridge.auth.redaction import Redactor
from utcp_bridge.auth.results import masked_partial, masked_result
from utcp_bridge.client.client import UtcpClient
from utcp_bridge.model import Emit, JsonObject, Result, Tool, discard

__all__ = ["call_masked"]


async def call_masked(client: UtcpClient, tool: Tool, arguments: JsonObject, emit: Emit) -> Result:
    """Call a tool as `UtcpClient.call` does, with credentials masked in the result and in each partial result.

    :raises UtcpError: the call failed.
    """
    result = await client.call(tool, arguments, emit if emit is discard else _masking(emit, client.redactor))
    return await masked_result(result, client.redactor) if client.redactor.has_credentials else result


def _masking(emit: Emit, redactor: Redactor) -> Emit:
    async def emit_masked(partial: Any) -> None:
        await emit(await masked_partial(partial, redactor))

    return emit_masked
