"""Post-processing: the operator's changes to results before anyone receives them.

The tool's own projection comes first, a JMESPath expression for the part of a result to keep (jmespath.org):
`overrides: {tool: {"result": "<JMESPath>"}}`. The entries of `post_processing` follow in order (UTCP v1: `filter_dict`,
`limit_strings`; more come from the entry-point group `utcp_bridge.post_processors`). All of them apply to the final
value and to each partial result; bytes stay unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import field, replace
from functools import cache
from typing import Any, Protocol

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from utcp_bridge.errors import ConfigError, MalformedReply
from utcp_bridge.late.entry_points import entry_points
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import (
    Binary,
    Call,
    ContentBlocks,
    Deferred,
    Emit,
    Fault,
    JsonObject,
    Result,
    Tool,
    is_list,
    is_object,
    matches_glob,
    read_at_once,
)
from utcp_bridge.pipeline import Next
from utcp_bridge.settings import explain
from utcp_bridge.telemetry.recent import RecentCalls

__all__ = ["PostProcessing", "PostProcessor", "compile_projection", "read_post_processors"]

ENTRY_POINT_GROUP = "utcp_bridge.post_processors"
_TYPE = "tool_post_processor_type"


class PostProcessor(Protocol):
    """One step. `applies` is called once per tool; `process` receives a JSON-shaped value and returns one."""

    def applies(self, tool: Tool) -> bool: ...

    def process(self, value: Any) -> Any: ...


class _Scoped(BaseModel):
    """Which tools and manuals a processor is for: exact names or globs; tools by UTCP name."""

    model_config = ConfigDict(frozen=True, defer_build=True, extra="forbid", hide_input_in_errors=True)

    exclude_tools: tuple[str, ...] | None = None
    only_include_tools: tuple[str, ...] | None = None
    exclude_manuals: tuple[str, ...] | None = None
    only_include_manuals: tuple[str, ...] | None = None

    def applies(self, tool: Tool) -> bool:
        """Return whether every filter lets the tool pass."""
        return _passes(tool.qualified_name, self.only_include_tools, self.exclude_tools) and _passes(
            tool.manual, self.only_include_manuals, self.exclude_manuals
        )


class FilterDict(_Scoped):
    """`filter_dict`: drops keys at every depth, or keeps only some."""

    exclude_keys: frozenset[str] | None = None
    only_include_keys: frozenset[str] | None = None

    def process(self, value: Any) -> Any:
        """Return the value without the excluded keys, and then with the included keys only."""
        if self.exclude_keys:
            value = _without(value, self.exclude_keys)
        return _only(value, self.only_include_keys) if self.only_include_keys else value


class LimitStrings(_Scoped):
    """`limit_strings`: cuts every text at `limit` characters."""

    limit: int = Field(default=10_000, ge=0)

    def process(self, value: Any) -> Any:
        """Return the value with its texts cut."""
        if isinstance(value, str):
            return value[: self.limit]
        if is_object(value):
            return {key: self.process(member) for key, member in value.items()}
        return [self.process(member) for member in value] if is_list(value) else value


@dataclass(frozen=True, slots=True)
class PostProcessing:
    """The layer; it leaves itself out for tools without projection and processors."""

    processors: Sequence[PostProcessor] = field(default=())
    recent: RecentCalls | None = None
    """Counts the bytes that are left out, if it is on."""

    def __call__(self, tool: Tool, inner: Next) -> Next:
        steps: list[Callable[[Any], Any]] = []
        if tool.projection is not None:
            steps.append(compile_projection(tool.projection))
        applying = [processor for processor in self.processors if processor.applies(tool)]
        steps += [processor.process for processor in applying]
        if not steps:
            return inner
        described = _described(applying)
        recent = self.recent if self.recent is not None and self.recent.is_on else None

        async def processed(call: Call, emit: Emit) -> Result:
            async def emit_processed(partial: Any) -> None:
                await emit(_through(partial, steps))

            with nullcontext() if described is not None else read_at_once():
                result = await inner(call, emit_processed)
            if isinstance(result.value, Deferred):
                return replace(
                    result, value=result.value.then(process, projection=tool.projection, processors=described)
                )
            value = _through(result.value, steps)
            if recent is not None:
                recent.note_saved(_size(result.value) - _size(value))
            return replace(result, value=value, written=None)

        return processed


def _size(value: Any) -> int:
    """Return the bytes of a value as JSON; 0 for one that is not plain JSON."""
    try:
        return len(orjson.dumps(value))
    except TypeError:
        return 0


def process(value: Any, *, projection: str | None, processors: Sequence[JsonObject]) -> Any:
    """Return a value after a projection and the processors of a configuration, which must be built-in ones."""
    steps = [] if projection is None else [compile_projection(projection)]
    return _through(value, [*steps, *(_make(entry).process for entry in processors)])


def _described(processors: Sequence[PostProcessor]) -> list[JsonObject] | None:
    """Return the entries of built-in processors for `process`; None if one is not built in."""
    entries: list[JsonObject] = []
    for one in processors:
        name = next((name for name, kind in _BUILTIN.items() if type(one) is kind), None)
        if name is None or not isinstance(one, BaseModel):
            return None
        entries.append({_TYPE: name, **one.model_dump(mode="json", exclude_none=True)})
    return entries


def read_post_processors(entries: Iterable[JsonObject]) -> tuple[list[PostProcessor], list[Fault]]:
    """Return the processors of a configuration, and a fault for each that cannot be created."""
    made: list[PostProcessor] = []
    faults: list[Fault] = []
    for number, entry in enumerate(entries):
        try:
            made.append(_make(entry))
        except ConfigError as error:
            faults.append(Fault(f"post_processing[{number}]", error.message, error.remedy or ""))
    return made, faults


_BUILTIN: Mapping[str, type[FilterDict | LimitStrings]] = {
    "filter_dict": FilterDict,
    "limit_strings": LimitStrings,
}


def _make(entry: JsonObject) -> PostProcessor:
    options = dict(entry)
    kind = options.pop(_TYPE, None)
    builtin = _BUILTIN.get(str(kind))
    if builtin is not None:
        try:
            return builtin(**options)
        except ValidationError as error:
            raise ConfigError(f"{kind}: {explain(error)}.") from None
    found = entry_points(group=ENTRY_POINT_GROUP)
    for one in found:
        if one.name == kind:
            try:
                made: PostProcessor = one.load()(**options)
            except Exception as error:
                raise ConfigError(f"The post-processor {kind!r} cannot be created ({type(error).__name__}).") from error
            return made
    known = ", ".join(sorted({"filter_dict", "limit_strings", *(one.name for one in found)}))
    raise ConfigError(f"There is no post-processor {kind!r}.", remedy=f"`{_TYPE}` is one of {known}.")


def _passes(name: str, included: tuple[str, ...] | None, excluded: tuple[str, ...] | None) -> bool:
    if included is not None and not any(matches_glob(pattern, name) for pattern in included):
        return False
    return not any(matches_glob(pattern, name) for pattern in excluded or ())


def _through(value: Any, steps: Sequence[Callable[[Any], Any]]) -> Any:
    if isinstance(value, Binary) or value is None:
        return value
    if isinstance(value, ContentBlocks):
        structured = value.structured if value.structured is None else _through(value.structured, steps)
        return replace(value, content=[_text_through(block, steps) for block in value.content], structured=structured)
    for step in steps:
        value = step(value)
    return value


def _text_through(block: JsonObject, steps: Sequence[Callable[[Any], Any]]) -> JsonObject:
    """Return a content block; its text is processed if the result is text again."""
    if block.get("type") != "text":
        return block
    text = _through(block.get("text"), steps)
    return {**block, "text": text} if isinstance(text, str) else block


def _without(value: Any, keys: frozenset[str]) -> Any:
    """Drop keys at every depth, and list members that become empty by that (UTCP v1)."""
    if is_object(value):
        return {key: _without(member, keys) for key, member in value.items() if key not in keys}
    if not is_list(value):
        return value
    kept: list[Any] = []
    for member in value:
        remaining = _without(member, keys)
        if remaining != member and remaining in ({}, []):
            continue
        kept.append(remaining)
    return kept


def _only(value: Any, keys: frozenset[str]) -> Any:
    """Keep only these keys and the objects that lead to them; scalars in lists are dropped (UTCP v1)."""
    if is_object(value):
        kept: JsonObject = {}
        for key, member in value.items():
            inner = _only(member, keys) if is_object(member) or is_list(member) else None
            if key in keys:
                kept[key] = inner or member
            elif inner:
                kept[key] = inner
        return kept
    if is_list(value):
        return [inner for member in value if (is_object(member) or is_list(member)) and (inner := _only(member, keys))]
    return value


@cache
def compile_projection(expression: str) -> Callable[[Any], Any]:
    """Return a function that returns the part of a JSON-shaped value that `expression` names.

    The function raises MalformedReply if the expression does not fit the value.

    :raises ConfigError: `expression` is not a JMESPath expression.
    """
    import jmespath
    from jmespath.exceptions import JMESPathError

    try:
        compiled: Any = jmespath.compile(expression)
    except JMESPathError as error:
        first = str(error).splitlines()[0].rstrip(":.")
        raise ConfigError(f"`result` is not a JMESPath expression: {first}.", remedy="See jmespath.org.") from None

    def project(value: Any) -> Any:
        try:
            return compiled.search(value)
        except JMESPathError as error:
            raise MalformedReply(f"The projection {expression!r} does not fit the result: {error}.") from None

    return project
