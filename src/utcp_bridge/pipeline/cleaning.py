"""Cleaning: texts of upstreams without terminal sequences and invisible characters, before any other layer sees them.

It applies to the final value, to each partial result and to errors. `utcp_bridge.foreign` says what is removed. Bytes
stay unchanged.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from time import perf_counter
from typing import Any, Final

from utcp_bridge.errors import Rejected, UtcpError
from utcp_bridge.foreign import is_clean_data, is_clean_json, plainly_written, visible, visible_json_steps
from utcp_bridge.model import (
    Binary,
    ContentBlocks,
    Deferred,
    Emit,
    Result,
    StatusMeta,
    WrittenValue,
    is_list,
    is_object,
)
from utcp_bridge.tasks import (
    Slices,
    end_heavy_turn,
    in_slices,
    is_heavy_turn,
    pause_if_heavy,
)

__all__ = ["clean_emit", "clean_error", "clean_error_in_steps", "clean_in_steps", "cleaned"]

_LARGE: Final = 65_536
_KEPT_BYTES: Final = 4_096
"""From this size on, the compact form of a value is kept: to write a shorter one again takes as long as to keep it."""
_COUNTED_SECONDS: Final = 0.0002
"""A look at a clean value that takes less is not counted as work in slices: counting would take as long."""


async def clean_error(error: UtcpError) -> None:
    """Clean the texts of an error, which ends the turn of its call if that had a large reply."""
    await in_slices(clean_error_in_steps(error))
    end_heavy_turn()


async def cleaned(result: Result) -> Result:
    """Return a result with clean texts, the same one if they were."""
    if result.failure is not None:
        await in_slices(clean_error_in_steps(result.failure))
        if result.clean is result.value and (type(result.meta) is StatusMeta or not result.meta):
            return result
    written = result.data
    if isinstance(result.value, Deferred):
        value: Any = result.value.then(clean_in_steps)
    else:
        if is_heavy_turn():
            await pause_if_heavy()
        value, written = await _cleaned_value(result.value, written)
    if result.meta and type(result.meta) is not StatusMeta:
        given = dict(result.meta)
        meta = await _clean(given)
        if meta is not given:
            return replace(result, value=value, meta=meta, written=written)
    same = value is result.value and written is result.written
    return result if same else replace(result, value=value, written=written)


def clean_emit(emit: Emit) -> Emit:
    """Return an `emit` that cleans partial results and passes them on."""

    async def emit_clean(partial: Any) -> None:
        await emit(await _clean(partial))

    return emit_clean


async def _clean(value: Any) -> Any:
    """Return what `clean_in_steps` returns, in slices. A short, clean value costs one look at it."""
    return (await _cleaned_value(value, None))[0]


async def _cleaned_value(value: Any, written: WrittenValue | None) -> tuple[Any, WrittenValue | None]:
    """Return what `_clean` returns, and its compact form if it was clean and is not short. `written` is known of it."""
    if isinstance(value, str):
        return (visible(value) if len(value) < _LARGE else await in_slices(visible_json_steps(value))), None
    if not is_object(value):
        if isinstance(value, ContentBlocks) or _has_blocks(value):
            return await in_slices(clean_in_steps(value)), None
        if not is_list(value):
            return value, None
    began = perf_counter()
    data = plainly_written(value) if written is None else written.data
    is_clean = data is not None and is_clean_data(data)
    seconds = perf_counter() - began
    if data is not None and written is None and len(data) >= _KEPT_BYTES:
        written = WrittenValue(value, data)
    if is_clean and seconds < _COUNTED_SECONDS:
        return value, written
    slices = Slices()
    await slices.spent(seconds)
    if is_clean:
        return value, written
    return await in_slices(visible_json_steps(value, is_checked=True), slices), None


def _has_blocks(value: Any) -> bool:
    return is_list(value) and any(isinstance(one, ContentBlocks) for one in value)


def clean_in_steps(value: Any) -> Generator[None, None, Any]:
    """Return a value without what a person would not see, in steps."""
    if isinstance(value, Binary):
        return value
    if isinstance(value, ContentBlocks):
        content = yield from _clean_json(value.content)
        return replace(value, content=content, structured=(yield from _clean_json(value.structured)))
    if _has_blocks(value):
        shown: list[Any] = []
        for one in value:
            shown.append((yield from clean_in_steps(one)))  # noqa: PERF401 - a comprehension cannot yield
        return shown
    return (yield from _clean_json(value))


def _clean_json(value: Any) -> Generator[None, None, Any]:
    """Return the value without what a person would not see. A large one that is not clean takes many small steps."""
    if isinstance(value, str):
        return visible(value) if len(value) < _LARGE else (yield from visible_json_steps(value))
    if not (is_object(value) or is_list(value)) or is_clean_json(value):
        return value
    return (yield from visible_json_steps(value, is_checked=True))


def clean_error_in_steps(error: UtcpError) -> Generator[None, None, None]:
    """Remove what a person would not see from all that an error says."""
    error.message = visible(error.message)
    error.remedy = visible(error.remedy) if error.remedy else None
    if isinstance(error, Rejected):
        error.detail = yield from _clean_json(error.detail)
