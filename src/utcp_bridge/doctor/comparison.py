"""The comparison of two manuals of one client: what they offer, and their replies to harmless calls.

Schemas are compared by what they accept and say: order, `$schema`, and whether a definition is referenced or written in
place make no difference.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from utcp_bridge.doctor.tools import TrialCall
from utcp_bridge.errors import UnknownTool, UtcpError
from utcp_bridge.model import JsonObject, Result, Tool, is_list, is_object
from utcp_bridge.pipeline.differences import (
    MISSING,
    Difference,
    Ignored,
    own_tools,
    paired_tools,
    reply_differences,
    same,
    value_differences,
)
from utcp_bridge.urls import at_pointer

if TYPE_CHECKING:
    from utcp_bridge.client.client import UtcpClient

__all__ = [
    "ComparedCall",
    "Comparison",
    "Interface",
    "ToolFace",
    "Verdict",
    "compare_manuals",
    "interface_differences",
    "schema_differences",
    "stated_arguments",
    "verdicts",
]

_MAX_CALLS: Final = 200
"""Calls that the comparison makes without being asked for each of them."""
_STATED: Final = ("const", "default", "example")
_DESCRIBED: Final = "The descriptions differ."
_OF_CALLS: Final = {"input schema": "", "reply": "", "hints": "readOnlyHint"}
"""Parts of a tool that matter to its calls, and how their differences begin."""


@dataclass(frozen=True, slots=True)
class ComparedCall:
    """One call that both sides received. `unproven`: both sides failed, so the call says nothing about sameness."""

    tool: str
    arguments: JsonObject = field(repr=False)
    outcome: Literal["equal", "different", "unproven"]
    note: str = ""

    def as_json(self) -> JsonObject:
        """Return the call for scripts."""
        return {"tool": self.tool, "arguments": self.arguments, "outcome": self.outcome, "note": self.note or None}


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the comparison of two manuals found."""

    old: str
    new: str
    tools: int
    """Tools of the old side that the new side has."""
    differences: tuple[Difference, ...] = ()
    calls: tuple[ComparedCall, ...] = ()
    uncalled: tuple[str, ...] = ()
    """Tools of both sides that were not called: they may write, or their schema states no arguments."""

    @property
    def unexplained(self) -> tuple[Difference, ...]:
        """The differences that may change something for hosts."""
        return tuple(one for one in self.differences if not one.explained)

    @property
    def is_same(self) -> bool:
        """Whether no difference is left without an explanation."""
        return not self.unexplained

    def of_calls(self, name: str) -> list[Difference]:
        """Return the unexplained differences of one tool, by its old name, that matter to its calls.

        These are its arguments, its replies, and whether it only reads. The rest is what hosts see of a tool.
        """
        places = {f"tool {name!r}, {part}": words for part, words in _OF_CALLS.items()}
        found = (one for one in self.unexplained if one.where in places)
        return [one for one in found if one.what.startswith(places[one.where]) and one.what != _DESCRIBED]

    def as_json(self) -> JsonObject:
        """Return the comparison for scripts."""
        return {
            "old": self.old,
            "new": self.new,
            "same": self.is_same,
            "tools": self.tools,
            "differences": [one.as_json() for one in self.differences],
            "calls": [one.as_json() for one in self.calls],
            "not_called": list(self.uncalled),
        }


async def compare_manuals(
    client: UtcpClient,
    old: str,
    new: str,
    *,
    calls: Sequence[TrialCall] = (),
    ignored: Ignored | None = None,
    automatic: bool | Collection[str] = True,
) -> Comparison:
    """Compare two loaded manuals of a client.

    `calls` name tools of the old manual. With `automatic`, each tool that both sides call read-only is called too if
    its schema states a value for every required argument; with a collection, those of these names alone. `ignored` are
    members of replies that differ by nature.

    :raises UnknownTool: a call names a tool that both sides do not have.
    """
    left, right = own_tools(client.tools(), old), own_tools(client.tools(), new)
    pairs = paired_tools(left, right)
    wanted = [*map(_known(old, pairs), calls)]
    asked = {trial.tool for trial in wanted}
    uncalled: list[str] = []
    for name in pairs:
        arguments = stated_arguments(left[name].inputs) if automatic is not False else None
        if name in asked or not (isinstance(automatic, bool) or name in automatic):
            continue
        if arguments is None or not (_reads(left[name]) and _reads(right[pairs[name]])) or len(wanted) >= _MAX_CALLS:
            uncalled.append(name)
        else:
            wanted.append(TrialCall(name, arguments))
    differences = list(interface_differences(_interface(client, old, left), _interface(client, new, right)))
    made: list[ComparedCall] = []
    for trial in wanted:
        made_call, found = await _compare_call(client, trial, (left[trial.tool], right[pairs[trial.tool]]), ignored)
        made.append(made_call)
        differences += found
    return Comparison(old, new, len(pairs), tuple(differences), tuple(made), tuple(uncalled))


def _known(old: str, pairs: dict[str, str]) -> Callable[[TrialCall], TrialCall]:
    def known(trial: TrialCall) -> TrialCall:
        own = trial.tool.removeprefix(f"{old}.")
        name = own if own in pairs else own.partition(".")[2]
        if name not in pairs:
            raise UnknownTool(
                f"The call names {trial.tool!r}, and both manuals have no such tool.",
                remedy=f"`utcp-bridge tools '{old}.*'` lists the tools of {old}.",
            )
        return TrialCall(name, trial.arguments)

    return known


def _interface(client: UtcpClient, manual: str, tools: dict[str, Tool]) -> Interface:
    offers = [one.offers for one in client.upstreams() if one.manual == manual and one.offers is not None]
    faces = {
        name: ToolFace(tool.description, tool.title, tool.inputs, tool.outputs, tool.annotations)
        for name, tool in tools.items()
    }
    return Interface(
        tools=faces,
        resources=tuple(entry for one in offers for entry in one.resources),
        resource_templates=tuple(entry for one in offers for entry in one.resource_templates),
        prompts=tuple(entry for one in offers for entry in one.prompts),
        instructions="\n\n".join(one.instructions for one in offers if one.instructions) or None,
    )


def _reads(tool: Tool) -> bool:
    return tool.annotations.get("readOnlyHint") is True


# --- calls ---------------------------------------------------------------------------------------


def stated_arguments(inputs: JsonObject) -> JsonObject | None:
    """Return arguments from what a schema states: constant, default, example or first value of an enumeration.

    None if a required argument has none of these: the comparison does not invent values.
    """
    properties, required = inputs.get("properties"), inputs.get("required")
    known = properties if is_object(properties) else {}
    arguments: JsonObject = {}
    for name in required if is_list(required) else ():
        values = list(_stated_values(known.get(name)))
        if not values:
            return None
        arguments[str(name)] = values[0]
    return arguments


def _stated_values(schema: Any) -> Iterator[Any]:
    if is_object(schema):
        yield from (schema[word] for word in _STATED if word in schema)
        for word in ("examples", "enum"):
            listed = schema.get(word)
            yield from listed[:1] if is_list(listed) else ()


async def _compare_call(
    client: UtcpClient, trial: TrialCall, sides: tuple[Tool, Tool], ignored: Ignored | None
) -> tuple[ComparedCall, list[Difference]]:
    old, new = [await _reply(client, tool, trial.arguments) for tool in sides]
    where = f"tool {trial.tool!r}, reply"
    if isinstance(old, UtcpError) and isinstance(new, UtcpError):
        note = f"Both sides failed. Old: {old.message} New: {new.message}"
        return ComparedCall(trial.tool, trial.arguments, "unproven", note), []
    if isinstance(old, UtcpError) or isinstance(new, UtcpError):
        side, error = ("old", old) if isinstance(old, UtcpError) else ("new", new)
        found = [Difference(where, f"Only the {side} side failed: {error}")]
    else:
        found = list(reply_differences(where, old, new, ignored))
    outcome: Literal["equal", "different"] = "different" if any(not one.explained for one in found) else "equal"
    return ComparedCall(trial.tool, trial.arguments, outcome), found


async def _reply(client: UtcpClient, tool: Tool, arguments: JsonObject) -> Result | UtcpError:
    from utcp_bridge.model import ContentBlocks
    from utcp_bridge.upstream import InputRequired, ProtocolError

    try:
        result = await client.call(tool, arguments)
    except UtcpError as error:
        return error
    except (ProtocolError, InputRequired) as error:
        return UtcpError(str(error) or "The server needs input of the host.")
    if isinstance(result.value, ContentBlocks) and result.value.is_error:
        texts = [str(block.get("text")) for block in result.value.content if block.get("type") == "text"]
        return UtcpError(" ".join(texts) or "The tool reported a failure.")
    return result.failure or result


# --- what a manual offers ---------------------------------------------------------------------

_HINTS: Final = {"readOnlyHint": False, "destructiveHint": True, "idempotentHint": False, "openWorldHint": True}
"""The hints of MCP, and what each means if a tool does not have it."""
_OF_WRITERS: Final = frozenset({"destructiveHint", "idempotentHint"})
_SCHEMAS: Final = frozenset({
    "additionalItems", "additionalProperties", "contains", "contentSchema", "else", "if", "items", "not",
    "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties",
})  # fmt: skip
_NAMED_SCHEMAS: Final = frozenset({"dependentSchemas", "patternProperties", "properties"})
_LISTED_SCHEMAS: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_SETS: Final = frozenset({"enum", "required", "type"})
_DEFINITIONS: Final = frozenset({"$defs", "definitions"})
_REMARKS: Final = {
    "$schema": "The keyword names a version of JSON Schema.",
    "$id": "The keyword names the document.",
    "title": "Generators of schemas add titles, and hosts do not need them.",
}
"""Keywords that change nothing for hosts, and why."""
_CLOSED: Final = "The bridge closes the arguments of OpenAPI operations; hosts send those that the schema names."
_LOOSER: Final = "Every result that the old schema accepts fits the new one; the bridge loosens those of OpenAPI."
_EMPTY: Final[Mapping[str, tuple[Any, ...]]] = {
    "additionalProperties": (True, {}),
    "properties": ({},),
    "required": ([],),
    "uniqueItems": (False,),
}
"""Values of keywords that mean the same as no keyword."""


@dataclass(frozen=True, slots=True)
class ToolFace:
    """What hosts see of one tool."""

    description: str = ""
    title: str | None = None
    inputs: JsonObject = field(default_factory=dict[str, Any], repr=False)
    outputs: JsonObject | None = field(default=None, repr=False)
    hints: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Interface:
    """What one manual offers. Resources, templates and prompts are wire-shaped entries of MCP."""

    tools: Mapping[str, ToolFace] = field(default_factory=dict[str, ToolFace])
    resources: tuple[JsonObject, ...] = ()
    resource_templates: tuple[JsonObject, ...] = ()
    prompts: tuple[JsonObject, ...] = ()
    instructions: str | None = None


def interface_differences(old: Interface, new: Interface) -> Iterator[Difference]:
    """Yield each difference of two interfaces."""
    pairs = paired_tools(old.tools, new.tools)
    for name in old.tools:
        if name not in pairs:
            yield Difference(f"tool {name!r}", "The new side does not have this tool.")
    for name in new.tools.keys() - pairs.values():
        yield Difference(f"tool {name!r}", "Only the new side has this tool.")
    for name, other in pairs.items():
        if name != other:
            reason = "`promote` keeps the name that hosts see."
            yield Difference(f"tool {name!r}", "The new side has it under another name.", "", name, other, reason)
        yield from _tool_differences(f"tool {name!r}", old.tools[name], new.tools[other])
    lists = (
        ("resource", "uri", old.resources, new.resources),
        ("resource template", "uriTemplate", old.resource_templates, new.resource_templates),
        ("prompt", "name", old.prompts, new.prompts),
    )
    for noun, key, left, right in lists:
        yield from _entry_differences(noun, key, left, right)
    if (old.instructions or "") != (new.instructions or ""):
        yield Difference("instructions", "The instructions differ.", "", old.instructions, new.instructions)


def _tool_differences(where: str, old: ToolFace, new: ToolFace) -> Iterator[Difference]:
    if old.description.strip() != new.description.strip():
        yield Difference(where, _DESCRIBED, "", old.description, new.description)
    if old.title != new.title:
        reason = "" if old.title else "The old side has no title."
        yield Difference(where, "The titles differ.", "", old.title, new.title, reason)
    for one in schema_differences(f"{where}, input schema", old.inputs, new.inputs):
        is_closed = one.pointer == "/additionalProperties" and one.old is MISSING and one.new is False
        yield replace(one, explained=_CLOSED) if is_closed else one
    yield from _output_differences(f"{where}, output schema", old.outputs, new.outputs)
    for hint, usual in _HINTS.items():
        left, right = old.hints.get(hint, usual), new.hints.get(hint, usual)
        if left != right:
            reason = "" if hint in old.hints else "The old side does not state this hint."
            if hint in _OF_WRITERS and old.hints.get("readOnlyHint") is new.hints.get("readOnlyHint") is True:
                reason = "The hint says nothing about tools that only read."
            yield Difference(f"{where}, hints", f"{hint} differs.", "", left, right, reason)


def _output_differences(where: str, old: JsonObject | None, new: JsonObject | None) -> Iterator[Difference]:
    if old is None and new is not None:
        reason = "The new side describes results that the old side leaves undescribed."
        yield Difference(where, "Only the new side has an output schema.", explained=reason)
    elif old is not None and new is None:
        yield Difference(where, "The new side does not have an output schema.")
    elif old is not None and new is not None:
        for one in schema_differences(where, old, new):
            yield replace(one, explained=_LOOSER) if _is_looser(one) else one


def _is_looser(difference: Difference) -> bool:
    """Return whether the new schema leaves out what the old one demands, or allows null too."""
    keyword, old, new = difference.pointer.rpartition("/")[2], difference.old, difference.new
    if keyword == "type" and is_list(new):
        return {*map(str, new)} - {"null"} == {*map(str, old if is_list(old) else [old])} - {"null"}
    return new is MISSING and (keyword == "required" or (keyword == "additionalProperties" and old is False))


def _entry_differences(
    noun: str, key: str, old: tuple[JsonObject, ...], new: tuple[JsonObject, ...]
) -> Iterator[Difference]:
    left, right = ({str(one.get(key)): one for one in side} for side in (old, new))
    for name in [*left, *(right.keys() - left.keys())]:
        where = f"{noun} {name!r}"
        if name not in right:
            yield Difference(where, f"The new side does not have this {noun}.")
        elif name not in left:
            yield Difference(where, f"Only the new side has this {noun}.")
        else:
            for pointer, one, other in value_differences(left[name], right[name]):
                yield Difference(where, "The entries differ.", pointer, one, other)


# --- schemas -------------------------------------------------------------------------------------


def schema_differences(where: str, old: JsonObject, new: JsonObject) -> Iterator[Difference]:
    """Yield the differences of two JSON Schemas. Local references are followed; a pair of places is compared once, so
    schemas that contain themselves have an end.
    """
    waiting: list[tuple[str, Any, Any]] = [("", old, new)]
    seen: set[tuple[int, int]] = set()
    while waiting:
        pointer, one, other = waiting.pop()
        if (id(one), id(other)) in seen:
            continue
        if is_object(one) and is_object(other):
            seen.add((id(one), id(other)))
            left, right = _resolved(one, old), _resolved(other, new)
            names = [*left, *(name for name in right if name not in left)]
            for name in names:
                below = f"{pointer}/{name}"
                yield from _keyword(where, below, name, (left, right), waiting)
        elif not same(one, other):
            yield Difference(where, "The schemas differ.", pointer, one, other)


def _keyword(
    where: str, pointer: str, name: str, sides: tuple[JsonObject, JsonObject], waiting: list[tuple[str, Any, Any]]
) -> Iterator[Difference]:
    """Yield the differences of one keyword, and put the schemas below it on `waiting`."""
    old, new = (_meant(name, side) for side in sides)
    if old is MISSING and new is MISSING:
        return
    if name in _SCHEMAS and old is not MISSING and new is not MISSING:
        waiting.append((pointer, old, new))
    elif name in _NAMED_SCHEMAS and (is_object(old) or old is MISSING) and (is_object(new) or new is MISSING):
        left, right = (side if is_object(side) else {} for side in (old, new))
        waiting += [
            (f"{pointer}/{key}", left.get(key, MISSING), right.get(key, MISSING))
            for key in dict.fromkeys([*left, *right])
        ]
    elif name in _LISTED_SCHEMAS and is_list(old) and is_list(new) and len(old) == len(new):
        waiting += [(f"{pointer}/{place}", *pair) for place, pair in enumerate(zip(old, new, strict=True))]
    elif not (_is_same_set(old, new) if name in _SETS else same(old, new)):
        what = _DESCRIBED if name == "description" else "The schemas differ."
        yield Difference(where, what, pointer, old, new, _REMARKS.get(name, ""))


def _meant(name: str, schema: JsonObject) -> Any:
    """Return the value of a keyword; `MISSING` if it means the same as no keyword."""
    value = schema.get(name, MISSING)
    if name in _DEFINITIONS or any(same(value, empty) for empty in _EMPTY.get(name, ())):
        return MISSING
    if name == "type" and is_list(value) and len(value) == 1:
        return value[0]
    return value


def _resolved(schema: JsonObject, root: JsonObject) -> JsonObject:
    """Return a schema with the keywords of what it refers to; as it is if the reference leads out of the document."""
    followed: list[str] = []
    merged = schema
    while isinstance(reference := merged.get("$ref"), str) and reference.startswith("#") and reference not in followed:
        followed.append(reference)
        target = root if reference == "#" else at_pointer(root, reference)
        if not is_object(target):
            return merged
        merged = {**target, **{name: value for name, value in merged.items() if name != "$ref"}}
    return merged


def _is_same_set(old: Any, new: Any) -> bool:
    if not is_list(old) or not is_list(new):
        return same(old, new)
    return {_written(one) for one in old} == {_written(one) for one in new}


def _written(value: Any) -> str:
    """Return a value as JSON that is the same for the same value."""
    plain = int(value) if isinstance(value, float) and value.is_integer() else value
    return json.dumps(plain, sort_keys=True, default=str)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of one tool, by its name in the old manual."""

    tool: str
    new: str = ""
    """The UTCP name of the tool that is to replace it; empty if the new side does not have it."""
    reason: str = ""
    """Why it is not known to be the same, as a sentence that names it; empty if it is."""
    remedy: str = ""

    @property
    def is_same(self) -> bool:
        """Whether replies were compared, and nothing that matters to calls differs without an explanation."""
        return not self.reason


def verdicts(every: Iterable[Tool], comparison: Comparison, counts: Mapping[str, JsonObject]) -> dict[str, Verdict]:
    """Return the verdict on each tool of the old manual, by its own name.

    `every` are the tools of both manuals, and `counts` what the shadow has recorded (`shadowing.read_record`).
    """
    every = list(every)
    old, new = own_tools(every, comparison.old), own_tools(every, comparison.new)
    pairs = paired_tools(old, new)
    return {
        name: _verdict(name, new[pairs[name]], comparison, counts.get(tool.qualified_name, {}))
        if name in pairs
        else Verdict(name, reason=f"{name} is not promoted, because {comparison.new} has no such tool.")
        for name, tool in old.items()
    }


def _verdict(name: str, new: Tool, comparison: Comparison, counted: JsonObject) -> Verdict:
    counts = counted if counted.get("new") == new.qualified_name else {}
    wrong = [
        f"{counts[key]} {'call' if counts[key] == 1 else 'calls'} {what}"
        for key, what in (("different", "with another reply"), ("new_failed", "that failed on the new side"))
        if counts.get(key)
    ]
    differences = comparison.of_calls(name)
    if differences:
        more = f" {len(differences) - 1} more." if len(differences) > 1 else ""
        reason = f"{name} is not promoted, because the sides differ. {differences[0]}{more}"
        remedy = f"`utcp-bridge compare {comparison.old} {comparison.new}` shows all differences."
    elif wrong:
        reason = f"{name} is not promoted, because the shadow counted {' and '.join(wrong)}."
        remedy = "`utcp-bridge shadow` shows them. If the new side is mended, delete utcp-shadow.json to count anew."
    elif not counts.get("equal") and not any(one.tool == name and one.outcome == "equal" for one in comparison.calls):
        failed = next((one.note for one in comparison.calls if one.tool == name), "")
        reason = f"{name} is not promoted, because no reply was compared. {failed}".strip()
        remedy = f"Compare one with --call '{name} {{…}}', or let it be shadowed for a while."
    else:
        return Verdict(name, new.qualified_name)
    return Verdict(name, new.qualified_name, reason, remedy)
