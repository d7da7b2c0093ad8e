"""Cleaning: texts of upstreams without terminal sequences and invisible characters, before any other layer sees them.

It applies to the final value, to each partial result and to errors. `utcp_bridge.foreign` says what is removed. Bytes
stay unchanged.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from utcp_bridge.errors import Rejected, UtcpError
from utcp_bridge.foreign import visible, visible_json
from utcp_bridge.model import Binary, Call, ContentBlocks, Emit, Result, Tool, discard, is_list
from utcp_bridge.pipeline import Next

__all__ = ["cleaning"]


def cleaning(tool: Tool, inner: Next) -> Next:
    """Return a step that cleans what `inner` returns, emits and raises."""
    del tool

    async def cleaned(call: Call, emit: Emit) -> Result:
        async def emit_clean(partial: Any) -> None:
            await emit(_clean(partial))

        try:
            result = await inner(call, emit if emit is discard else emit_clean)
        except UtcpError as error:
            _clean_error(error)
            raise
        value = _clean(result.value)
        if value is result.value and not result.meta:
            return result
        return replace(result, value=value, meta=visible_json(dict(result.meta)))

    return cleaned


def _clean(value: Any) -> Any:
    if isinstance(value, Binary):
        return value
    if isinstance(value, ContentBlocks):
        return replace(value, content=visible_json(value.content), structured=visible_json(value.structured))
    if is_list(value) and any(isinstance(one, ContentBlocks) for one in value):
        return [_clean(one) for one in value]
    return visible_json(value)


def _clean_error(error: UtcpError) -> None:
    error.message = visible(error.message)
    error.remedy = visible(error.remedy) if error.remedy else None
    if isinstance(error, Rejected):
        error.detail = visible_json(error.detail)
