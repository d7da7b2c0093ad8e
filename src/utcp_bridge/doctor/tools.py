"""What follows discovery: the steps `tools` (names and schemas), `requests` (a dry run) and `call` (a real call)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from utcp_bridge.catalogue.catalogue import Catalogue, Entry
from utcp_bridge.doctor.steps import StepResult
from utcp_bridge.errors import InvalidArguments, Rejected, Unexplainable, UtcpError
from utcp_bridge.model import Binary, ContentBlocks, JsonObject, Result, Tool, counted, is_list, is_object
from utcp_bridge.urls import at_pointer
from utcp_bridge.validate.findings import Findings
from utcp_bridge.validate.manuals import EMPTY_BODY, check_schema, empty_body

if TYPE_CHECKING:
    from utcp_bridge.client.client import UtcpClient

__all__ = ["TrialCall", "build_requests", "example_arguments", "look_at", "manual_of", "try_call"]

_MAX_NAMED: Final = 3
_MAX_REQUESTS: Final = 500
"""Tools of one manual whose request is built; a fault of a manual shows in fewer."""
_BAD_SCHEMA: Final = "Correct the schemas in the manual: the bridge cannot check the arguments of these tools."
_CUT_SCHEMA: Final = "Shorten the schemas, or raise `max_schema_bytes`."


# The step `tools`.


def look_at(catalogue: Catalogue, manual: str) -> StepResult:
    """Examine every tool of a manual as hosts will see it."""
    entries = [entry for entry in catalogue.entries.values() if entry.tool.manual == manual]
    if not entries:
        return StepResult("The manual has no tools.", "skipped")
    invalid = [line for entry in entries for line in _schema_faults(entry.tool)]
    cut = [f"warning: {_where(entry)}: {', '.join(entry.input.cut)}" for entry in entries if entry.input.cut]
    changed = [f"note: {line}" for line in _changes(entries)]
    counts = [(invalid, "invalid schema"), (cut, "shortened input schema"), (changed, "changed name")]
    exceptions = ", ".join(counted(len(lines), noun) for lines, noun in counts if lines)
    message = f"Names and schemas are listed unchanged{f', except {exceptions}' if exceptions else ''}."
    details = (*invalid, *cut, *changed)
    if invalid or cut:
        return StepResult(message, "warning", _BAD_SCHEMA if invalid else _CUT_SCHEMA, details)
    return StepResult(message, details=details)


def _schema_faults(tool: Tool) -> Iterator[str]:
    findings = Findings()
    check_schema(tool.inputs, ("inputs",), findings)
    if tool.outputs:
        check_schema(tool.outputs, ("outputs",), findings)
    for finding in findings.faults:
        yield f"error: tool {tool.qualified_name!r}, {finding.pointer}: {finding.what}"


def _changes(entries: Iterable[Entry]) -> Iterator[str]:
    """List names that MCP does not allow. The dot between manual and tool does not count."""
    for entry in entries:
        tool = entry.tool
        if entry.name not in {f"{tool.manual}_{tool.name}", tool.name}:
            yield f"{_where(entry)} is listed as {entry.name}"
        for listed, own in entry.input.renamed.items():
            yield f"{_where(entry)}: the argument {own!r} is listed as {listed}"


def _where(entry: Entry) -> str:
    return f"tool {entry.tool.qualified_name!r}"


# The step `requests`.


async def build_requests(client: UtcpClient, tools: Sequence[Tool]) -> StepResult:
    """Build the request of each tool from example arguments, and send none.

    :raises UtcpError: no request can be built; the error is that of the first tool.
    """
    built, notes, failed = 0, list[str](), list[tuple[str, UtcpError]]()
    for tool in tools[:_MAX_REQUESTS]:
        try:
            await client.explain(tool, example_arguments(tool.inputs))
            built += 1
        except InvalidArguments as error:
            notes.append(f"note: {tool.qualified_name}: the example arguments do not fit: {error.message}")
        except Unexplainable as error:
            return StepResult(error.message, "skipped")
        except UtcpError as error:
            failed.append((tool.qualified_name, error))
    if failed and not built and not notes:
        raise failed[0][1]
    if len(tools) > _MAX_REQUESTS:
        notes.append(f"note: only the first {_MAX_REQUESTS} of {len(tools)} tools were examined")
    empty: dict[str, list[str]] = {}
    for tool in tools:
        if what := empty_body(tool.template, tool.inputs):
            empty.setdefault(what, []).append(tool.qualified_name)
    notes = [*(f"warning: {_named(names)}: {what}" for what, names in empty.items()), *notes]
    if not failed:
        message = f"{counted(built, 'request')} can be built; nothing was sent."
        remedy = EMPTY_BODY if empty else ""
        return StepResult(message, "warning" if empty else "ok", remedy, tuple(notes))
    errors = [f"error: {_named(names)}: {text}" for text, names in _by_text(failed).items()]
    message = f"{counted(built, 'request')} can be built, {len(failed)} cannot."
    return StepResult(message, "warning", "See the details of each tool.", (*errors, *notes))


def _by_text(failed: Iterable[tuple[str, UtcpError]]) -> dict[str, list[str]]:
    """Return the tools of each error: one missing variable can be that of a hundred tools."""
    found: dict[str, list[str]] = {}
    for name, error in failed:
        found.setdefault(str(error), []).append(name)
    return found


def _named(names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return f"{counted(len(names), 'tool')} ({', '.join(names[:_MAX_NAMED])}{more})"


# Example arguments.

_MAX_DEPTH: Final = 8
_MAX_FOLLOWED: Final = 100
_PARTS: Final = frozenset({"$ref", "allOf", "anyOf", "oneOf"})
_BY_FORMAT: Final = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "email": "ada@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
}


def example_arguments(inputs: JsonObject) -> JsonObject:
    """Return a value for each required argument: the schema's own example, default or constant, or else a plain one.

    Values may violate patterns and conditions of the schema.
    """
    example = _object(inputs, inputs, 0)
    return example if is_object(example) else {}


def _value(schema: Any, root: JsonObject, depth: int) -> Any:
    if not is_object(schema) or depth > _MAX_DEPTH:
        return "text"
    whole = _whole(schema, root, set())
    for word in ("const", "default", "example"):
        if word in whole:
            return whole[word]
    for word in ("enum", "examples"):
        if is_list(whole.get(word)) and whole[word]:
            return whole[word][0]
    return _of_type(whole, root, depth)


def _whole(schema: JsonObject, root: JsonObject, seen: set[str]) -> JsonObject:
    """Return a schema with what its parts say: its reference, all of `allOf`, the first of `anyOf` and of `oneOf`."""
    whole = {key: value for key, value in schema.items() if key not in _PARTS}
    parts = _list(schema.get("allOf")) + [_first(schema.get(word)) for word in ("anyOf", "oneOf")]
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference not in seen and len(seen) < _MAX_FOLLOWED:
        seen.add(reference)
        parts.insert(0, at_pointer(root, reference))
    for part in parts:
        if not is_object(part):
            continue
        more = _whole(part, root, seen)
        properties = {**_members(more), **_members(whole)}
        required = [*_list(whole.get("required")), *_list(more.get("required"))]
        whole = {**more, **whole, "properties": properties, "required": required}
    return whole


def _first(branches: Any) -> Any:
    """Return the first branch of a union that is not null."""
    return next((branch for branch in _list(branches) if not is_object(branch) or branch.get("type") != "null"), None)


def _list(value: Any) -> list[Any]:
    return value if is_list(value) else []


def _members(schema: JsonObject) -> JsonObject:
    properties = schema.get("properties")
    return properties if is_object(properties) else {}


def _of_type(schema: JsonObject, root: JsonObject, depth: int) -> Any:
    kind = schema.get("type")
    if is_list(kind):
        kind = next((one for one in kind if one != "null"), "null")
    if kind == "object" or (kind is None and schema.get("properties")):
        return _object(schema, root, depth)
    if kind == "array":
        return [_value(schema.get("items"), root, depth + 1) for _ in range(int(schema.get("minItems") or 0))]
    if kind in {"integer", "number"}:
        return _number(schema)
    if kind in {"boolean", "null"}:
        return True if kind == "boolean" else None
    return _text(schema)


def _object(schema: JsonObject, root: JsonObject, depth: int) -> JsonObject:
    known = _members(schema)
    names = [name for name in _list(schema.get("required")) if isinstance(name, str)]
    return {name: _value(known.get(name), root, depth + 1) for name in names}


def _number(schema: JsonObject) -> int | float:
    """Return the smallest allowed number if the schema has a minimum, or else 1."""
    least, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    number = above + 1 if isinstance(above, int | float) and not isinstance(above, bool) else least
    if not isinstance(number, int | float):
        most = schema.get("maximum")
        number = min(1, most) if isinstance(most, int | float) else 1
    step = schema.get("multipleOf")
    return number + -number % step if isinstance(step, int | float) and step > 0 else number


def _text(schema: JsonObject) -> str:
    text = _BY_FORMAT.get(str(schema.get("format")), "text")
    least, most = schema.get("minLength"), schema.get("maxLength")
    text = text.ljust(least, "x") if isinstance(least, int) else text
    return text[:most] if isinstance(most, int) else text


# The step `call`.


@dataclass(frozen=True, slots=True)
class TrialCall:
    """A call to make: a tool by its UTCP or MCP name, and its arguments."""

    tool: str
    arguments: JsonObject = field(default_factory=dict[str, Any], repr=False)


def manual_of(trial: TrialCall, catalogue: Catalogue, manuals: list[str]) -> str | None:
    """Return the manual of the tool; for an unknown tool, the manual whose name it starts with, or None."""
    entry = catalogue.resolve(trial.tool)
    if entry is not None:
        return entry.tool.manual
    matching = [name for name in manuals if trial.tool.startswith((f"{name}.", f"{name}_"))]
    return max(matching, key=len, default=None)


async def try_call(client: UtcpClient, catalogue: Catalogue, trial: TrialCall) -> StepResult:
    """Make the call. The result names the kind of value that came back, never the value itself.

    :raises UnknownTool: there is no such tool.
    :raises Rejected: the tool reported a failure.
    :raises UtcpError: the call failed.
    """
    entry = catalogue.find_tool(trial.tool, remedy="`utcp-bridge tools` lists the tools.")
    name = entry.tool.qualified_name
    result = await client.call(entry.tool, entry.own_arguments(trial.arguments))
    if isinstance(result.value, ContentBlocks) and result.value.is_error:
        raise Rejected(
            f"The tool {name} reported a failure.",
            status="isError",
            remedy=f"Run `utcp-bridge call {name}` to see its message.",
        )
    details = (f"note: {result.truncated}",) if result.truncated else ()
    return StepResult(f"{name} returned {_kind(result)}.", details=details)


def _kind(result: Result) -> str:
    """Return what kind of value a result is, without any of its content."""
    value = result.value
    if isinstance(value, ContentBlocks):
        return counted(len(value.content), "MCP content block")
    if isinstance(value, Binary):
        return f"{len(value.data)} bytes of {value.media_type}"
    if isinstance(value, str):
        return f"a text of {counted(len(value), 'character')}"
    if is_object(value):
        return f"an object with {counted(len(value), 'member')}"
    if is_list(value):
        return f"a list of {counted(len(value), 'item')}"
    return "nothing" if value is None else "a boolean" if isinstance(value, bool) else "a number"
