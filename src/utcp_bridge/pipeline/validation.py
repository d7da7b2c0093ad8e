"""Validation: arguments against the tool's own input schema, before anything is sent.

The validator is compiled at the first call and kept. References are local only, and patterns run on a linear-time
engine where possible, because a fetched manual may contain a hostile one.

A schema of a few kilobytes can take 2^40 steps to check (branches that refer to branches) or overflow the stack of the
validator (chains of references), and neither can be interrupted. So the cost is counted before a schema is compiled,
and arguments are not validated against schemas that cost too much.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import orjson

from utcp_bridge.errors import InvalidArguments
from utcp_bridge.model import Call, Emit, JsonObject, Result, Tool, is_list, is_object
from utcp_bridge.pipeline import Next
from utcp_bridge.urls import at_pointer

__all__ = ["argument_fault", "compile_schema", "is_affordable", "validation"]

_logger = logging.getLogger(__name__)
_MASK = "the given value"
_BACKTRACK_LIMIT = 5_000
"""Steps for each start position of a match: a hostile pattern takes them at every character of a text."""
_EXPLAINED_FAULTS = 5
_EXPLAINED_VALUES = 200
_MAX_FAULT = 300
_MAX_STEPS = 1_000
_MAX_NODES = 50_000
_MAX_CHAIN = 100
_BRANCH_LISTS = ("allOf", "anyOf", "oneOf")
_BRANCHES = ("not", "if", "then", "else")


def validation(tool: Tool, inner: Next) -> Next:
    """Refuse invalid arguments; repair mistakes that clients are known to make.

    Repairs: objects and arrays sent as JSON text if the schema does not allow text; `{"body": {...}}` if the tool's
    body was flattened into its arguments; missing arguments that have a default of a template or of the operator.
    """
    if _accepts_anything(tool.inputs) and not tool.defaults:
        return inner
    compiled: list[jsonschema_rs.Validator | None] = []
    defaults = {**_template_defaults(tool), **tool.defaults}

    async def validated(call: Call, emit: Emit) -> Result:
        if not compiled:
            compiled.append(compile_schema(tool.inputs, where=tool.qualified_name))
        validator = compiled[0]
        arguments = call.arguments
        if tool.body_members and "body" in arguments:
            arguments = _flatten_body(tool, arguments)
        if defaults:
            arguments = {**defaults, **arguments}
        if validator is not None and not _fits(validator, arguments, tool):
            arguments = _parse_text(tool.inputs, arguments)
            _refuse_invalid(validator, arguments, tool)
        if arguments is not call.arguments:
            call = Call(call.tool, arguments, call.id)
        return await inner(call, emit)

    return validated


def _accepts_anything(schema: JsonObject) -> bool:
    constraints = schema.keys() - {"type", "properties", "title", "description", "$schema"}
    return not constraints and not schema.get("properties")


def compile_schema(schema: JsonObject, *, where: str) -> jsonschema_rs.Validator | None:
    """Compile a schema. None, with one log line, if it is invalid or too costly; arguments are then not validated."""
    if not is_affordable(schema):
        _logger.warning("%s: arguments are not validated, because its input schema takes too many steps.", where)
        return None
    options: tuple[Any, ...] = (
        jsonschema_rs.RegexOptions(),
        jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACK_LIMIT),
    )
    fault: Exception | None = None
    for pattern_options in options:
        try:
            return jsonschema_rs.validator_for(
                schema, retriever=_refuse_remote, pattern_options=pattern_options, mask=_MASK
            )
        except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
            fault = error
    _logger.warning(
        "%s: arguments are not validated, because its input schema is not valid (%s).", where, type(fault).__name__
    )
    return None


def argument_fault(error: jsonschema_rs.ValidationError) -> str:
    """Return one sentence for a person or a model: the path and the expectation, without the value."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.instance_path).lstrip(".")
    text = str(error.message).replace(f"{_MASK} ", "", 1)
    if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.FalseSchema):
        text = "is not allowed" if path else "arguments are not allowed"
    fault = f"{path}: {text}" if path else text
    return fault if len(fault) <= _MAX_FAULT else f"{fault[:_MAX_FAULT]}…"


def _refuse_remote(uri: str) -> Any:
    raise ValueError(f"remote reference {uri[:200]}")


def _fits(validator: jsonschema_rs.Validator, arguments: JsonObject, tool: Tool) -> bool:
    try:
        return validator.is_valid(arguments)
    except ValueError:  # keys that are not text, Python objects: only an embedding program can send them
        raise InvalidArguments(f"The arguments of {tool.qualified_name} are not JSON.") from None


def _faults(validator: jsonschema_rs.Validator, arguments: JsonObject) -> list[str]:
    """Return the first faults; of large arguments only one, because the library would collect all of them."""
    if _is_small(arguments):
        return [argument_fault(error) for error in validator.iter_errors(arguments)][:_EXPLAINED_FAULTS]
    try:
        validator.validate(arguments)
    except jsonschema_rs.ValidationError as error:
        return [argument_fault(error)]
    return []


def _is_small(arguments: JsonObject) -> bool:
    pending: list[Any] = [arguments]
    for _ in range(_EXPLAINED_VALUES):
        if not pending:
            return True
        value = pending.pop()
        if is_object(value):
            pending.extend(value.values())
        elif is_list(value):
            pending.extend(value)
    return False


def _refuse_invalid(validator: jsonschema_rs.Validator, arguments: JsonObject, tool: Tool) -> None:
    faults = _faults(validator, arguments)
    if not faults:
        return
    known = ", ".join(_signature(tool.inputs)) or "none"
    raise InvalidArguments(
        f"The arguments do not match {tool.qualified_name}: {'; '.join(faults)}.",
        remedy=f"Its arguments are: {known}.",
    )


def _signature(schema: JsonObject) -> list[str]:
    """Return `name (type, required)` for at most 40 arguments, in the schema's order."""
    required = _strings(schema.get("required"))
    return [
        f"{name} ({_type_word(sub, schema)}{', required' if name in required else ''})"
        for name, sub in list(_properties(schema).items())[:40]
    ]


def _type_word(schema: Any, root: JsonObject) -> str:
    if is_object(schema) and isinstance(reference := schema.get("$ref"), str):
        schema = at_pointer(root, reference)
    kind: Any = schema.get("type") if is_object(schema) else None
    if is_list(kind):
        return "|".join(str(one) for one in kind)
    return kind if isinstance(kind, str) else "any"


def _properties(schema: JsonObject) -> JsonObject:
    properties = schema.get("properties")
    return properties if is_object(properties) else {}


def _strings(value: Any) -> set[str]:
    return {one for one in value if isinstance(one, str)} if is_list(value) else set()


def _flatten_body(tool: Tool, arguments: JsonObject) -> JsonObject:
    body = arguments["body"]
    if "body" in _properties(tool.inputs) or not is_object(body):
        return arguments
    if any(member in arguments for member in tool.body_members):
        return arguments
    return {**{name: value for name, value in arguments.items() if name != "body"}, **body}


def _parse_text(schema: JsonObject, arguments: JsonObject) -> JsonObject:
    """Parse nested values that some hosts send as JSON text, if the schema does not allow a string."""
    repaired = arguments
    properties = _properties(schema)
    for name, value in arguments.items():
        if isinstance(value, str) and _wants_container(properties.get(name)):
            try:
                parsed = orjson.loads(value)
            except orjson.JSONDecodeError:
                continue
            repaired = {**repaired, name: parsed}
    return repaired


def _wants_container(schema: Any) -> bool:
    kind: Any = schema.get("type") if is_object(schema) else None
    kinds = _strings(kind) if is_list(kind) else {kind}
    return bool(kinds & {"array", "object"}) and "string" not in kinds


def _template_defaults(tool: Tool) -> JsonObject:
    """Return the schema's defaults for templates of the extended dialect, which fill in defaults themselves."""
    if not _has_expression(tool.template):
        return {}
    return {
        name: sub["default"] for name, sub in _properties(tool.inputs).items() if is_object(sub) and "default" in sub
    }


def _has_expression(value: Any) -> bool:
    if isinstance(value, str):
        return "{{" in value
    if is_object(value):
        return any(_has_expression(one) for one in value.values())
    return is_list(value) and any(_has_expression(one) for one in value)


def is_affordable(schema: JsonObject) -> bool:
    """Return whether every place of a value is checked in a bounded number of steps.

    Only sub-schemas that apply to the same place are counted: branches and local references. The number of members and
    items is bounded by the value itself.
    """
    counter = _Counter(schema)
    for seen, node in enumerate(_objects(schema)):
        if seen >= _MAX_NODES or counter.steps(node, 0) > _MAX_STEPS:
            return False
    return True


class _Counter:
    """The number of steps of each sub-schema, computed once."""

    def __init__(self, root: JsonObject) -> None:
        self._root = root
        self._known: dict[int, int] = {}

    def steps(self, node: JsonObject, chain: int) -> int:
        if chain > _MAX_CHAIN:
            return _MAX_STEPS + 1
        known = self._known.get(id(node))
        if known is not None:
            return known
        self._known[id(node)] = 1  # a cycle that does not descend into the value ends here, as in the validator
        total = 1
        for branch in self._branches(node):
            total += self.steps(branch, chain + 1)
            if total > _MAX_STEPS:
                break
        self._known[id(node)] = total
        return total

    def _branches(self, node: JsonObject) -> Iterator[JsonObject]:
        for key in _BRANCH_LISTS:
            branches = node.get(key)
            yield from (one for one in branches if is_object(one)) if is_list(branches) else ()
        for key in _BRANCHES:
            branch = node.get(key)
            if is_object(branch):
                yield branch
        reference = node.get("$ref")
        if isinstance(reference, str) and reference.startswith("#"):
            target = at_pointer(self._root, reference)
            if is_object(target):
                yield target


def _objects(schema: JsonObject) -> Iterator[JsonObject]:
    pending: list[Any] = [schema]
    while pending:
        value = pending.pop()
        if is_object(value):
            yield value
            pending.extend(value.values())
        elif is_list(value):
            pending.extend(value)
