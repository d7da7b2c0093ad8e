"""Cleaning: texts of upstreams without terminal sequences and invisible characters, before any other layer sees them.

It applies to the final value, to each partial result and to errors. `utcp_bridge.foreign` says what is removed. Bytes
stay unchanged.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from utcp_bridge.errors import Rejected, UtcpError
from utcp_bridge.foreign import is_clean_json, visible, visible_json_steps
from utcp_bridge.model import Binary, Call, ContentBlocks, Emit, Result, Tool, discard, is_list, is_object
from utcp_bridge.pipeline import Next
from utcp_bridge.tasks import HeavyWork, end_heavy_turn, in_slices, pause_if_heavy

__all__ = ["cleaning"]

_LARGE: Final = 65_536


def cleaning(tool: Tool, inner: Next) -> Next:
    """Return a step that cleans what `inner` returns, emits and raises."""
    del tool

    async def cleaned(call: Call, emit: Emit) -> Result:
        async def emit_clean(partial: Any) -> None:
            await emit(await _clean(partial))

        with HeavyWork():
            try:
                result = await inner(call, emit if emit is discard else emit_clean)
            except UtcpError as error:
                await _clean_error(error)
                end_heavy_turn()
                raise
            await pause_if_heavy()
            value = await _clean(result.value)
            if value is result.value and not result.meta:
                return result
            return replace(result, value=value, meta=await _clean_json(dict(result.meta)))

    return cleaned


async def _clean(value: Any) -> Any:
    if isinstance(value, Binary):
        return value
    if isinstance(value, ContentBlocks):
        content, structured = await _clean_json(value.content), await _clean_json(value.structured)
        return replace(value, content=content, structured=structured)
    if is_list(value) and any(isinstance(one, ContentBlocks) for one in value):
        return [await _clean(one) for one in value]
    return await _clean_json(value)


async def _clean_json(value: Any) -> Any:
    """Return the value without what a person would not see. A large one that is not clean takes many small steps."""
    if isinstance(value, str):
        return visible(value) if len(value) < _LARGE else await in_slices(visible_json_steps(value))
    if not (is_object(value) or is_list(value)) or is_clean_json(value):
        return value
    return await in_slices(visible_json_steps(value, is_checked=True))


async def _clean_error(error: UtcpError) -> None:
    error.message = visible(error.message)
    error.remedy = visible(error.remedy) if error.remedy else None
    if isinstance(error, Rejected):
        error.detail = await _clean_json(error.detail)
