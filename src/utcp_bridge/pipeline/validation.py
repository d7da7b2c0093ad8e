"""Validation: arguments against the tool's own input schema, before anything is sent.

The validator is compiled at the first call and kept. Arguments that fit cost one check. Others are read leniently
(`reading.py`) and checked again.

A schema of a few kilobytes can take 2^40 steps to check (branches that refer to branches) or overflow the stack of the
validator (chains of references), and neither can be interrupted. So the cost is counted before a schema is compiled,
and arguments are not validated against schemas that cost too much.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import jsonschema_rs

from utcp_bridge.errors import InvalidArguments
from utcp_bridge.model import Call, Emit, JsonObject, Result, Tool, is_list, is_object
from utcp_bridge.pipeline import Next
from utcp_bridge.pipeline.declared import closed_schema, declared_arguments
from utcp_bridge.pipeline.reading import ArgumentReader, object_in
from utcp_bridge.pipeline.subschemas import MASK, validator_of
from utcp_bridge.settings import ArgumentCheck
from utcp_bridge.urls import at_pointer

__all__ = ["argument_fault", "compile_schema", "is_affordable", "validation"]

_logger = logging.getLogger(__name__)
_EXPLAINED_FAULTS = 5
_EXPLAINED_VALUES = 200
_MAX_FAULT = 300
_MAX_STEPS = 1_000
_MAX_NODES = 50_000
_MAX_CHAIN = 100
_BRANCH_LISTS = ("allOf", "anyOf", "oneOf")
_BRANCHES = ("not", "if", "then", "else")


def validation(tool: Tool, inner: Next, *, check: ArgumentCheck = "strict") -> Next:
    """Check arguments, and repair mistakes that clients are known to make.

    Repairs for every value of `check`: `{"body": {...}}` if the tool's body was flattened into its arguments; missing
    arguments that have a default of a template or of the operator. With `strict` and `warn`, arguments that do not fit
    are read leniently. What then still does not fit is refused (`strict`), or logged and sent (`warn`). `off` sends
    arguments without a check.

    Arguments that the tool does not declare (`declared.py`) are refused with `strict`. `warn` and `off` leave them out,
    with one log line.
    """
    unchecked = check == "off" or _accepts_anything(tool.inputs)
    defaults = {**_template_defaults(tool), **tool.defaults}
    names = declared_arguments(tool)
    if unchecked and not defaults and not tool.body_members and names is None:
        return inner
    checks = _Checks(tool, defaults, names, is_refusing=check == "strict")

    async def validated(call: Call, emit: Emit) -> Result:
        arguments = call.arguments
        if tool.body_members and "body" in arguments:
            arguments = _flatten_body(tool, arguments)
        if defaults:
            arguments = {**defaults, **arguments}
        if not unchecked:
            arguments = checks.checked(arguments)
        if names is not None and not arguments.keys() <= names:
            arguments = checks.declared(arguments)
        if arguments is not call.arguments:
            call = Call(call.tool, arguments, call.id)
        return await inner(call, emit)

    return validated


class _Checks:
    """The checks of one tool's arguments, compiled when they are first needed."""

    def __init__(self, tool: Tool, defaults: JsonObject, names: frozenset[str] | None, *, is_refusing: bool) -> None:
        self._tool = tool
        self._defaults = defaults
        self._names = names
        self._schema = tool.inputs if names is None else closed_schema(tool.inputs, names)
        self._is_refusing = is_refusing

    @cached_property
    def _validator(self) -> jsonschema_rs.Validator | None:
        return compile_schema(self._schema, where=self._tool.qualified_name)

    @cached_property
    def _reader(self) -> ArgumentReader:
        return ArgumentReader(self._schema)

    def checked(self, arguments: JsonObject) -> JsonObject:
        """Return arguments that fit, as the same object; others as they were read.

        :raises InvalidArguments: they do not fit, and this is what refuses them.
        """
        validator = self._validator
        if validator is None or _fits(validator, arguments, self._tool):
            return arguments
        reading = self._reader.read(self._with_defaults_for_nulls(arguments))
        if reading.changes:
            _logger.debug("%s: arguments were repaired. %s", self._tool.qualified_name, "; ".join(reading.changes))
        read = reading.arguments if self._is_refusing else self.declared(reading.arguments)
        faults = _faults(validator, read)
        if faults and self._is_refusing:
            raise _refusal(faults, self._tool)
        if faults:
            message = "%s: the arguments do not match and are sent all the same, because `validation` is `warn`: %s."
            _logger.warning(message, self._tool.qualified_name, "; ".join(faults))
        return read

    def declared(self, arguments: JsonObject) -> JsonObject:
        """Return the arguments without those that the tool does not declare.

        :raises InvalidArguments: there are some, and this is what refuses them.
        """
        if self._names is None or arguments.keys() <= self._names:
            return arguments
        if self._is_refusing:
            fault = f"{min(arguments.keys() - self._names)[:_MAX_FAULT]!r} is not an argument of this tool"
            raise _refusal([fault], self._tool)
        number = len(arguments.keys() - self._names)
        _logger.warning("%s: arguments that it does not declare were left out: %d.", self._tool.qualified_name, number)
        return {name: value for name, value in arguments.items() if name in self._names}

    def _with_defaults_for_nulls(self, arguments: JsonObject) -> JsonObject:
        """Return the arguments with defaults in place of nulls that the schema does not allow."""
        nulls = [name for name in self._defaults if arguments[name] is None and not self._reader.allows_null(name)]
        return {**arguments, **{name: self._defaults[name] for name in nulls}} if nulls else arguments


def _accepts_anything(schema: JsonObject) -> bool:
    constraints = schema.keys() - {"type", "properties", "title", "description", "$schema"}
    return not constraints and not schema.get("properties")


def compile_schema(schema: JsonObject, *, where: str) -> jsonschema_rs.Validator | None:
    """Compile a schema. None, with one log line, if it is invalid or too costly; arguments are then not validated."""
    if not is_affordable(schema):
        _logger.warning("%s: arguments are not validated, because its input schema takes too many steps.", where)
        return None
    try:
        return validator_of(schema)
    except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as fault:
        message = "%s: arguments are not validated, because its input schema is not valid (%s)."
        _logger.warning(message, where, type(fault).__name__)
    return None


def argument_fault(error: jsonschema_rs.ValidationError) -> str:
    """Return one sentence for a person or a model: the path and the expectation, without the value."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.instance_path).lstrip(".")
    text = str(error.message).replace(f"{MASK} ", "", 1)
    if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.FalseSchema):
        text = "is not allowed" if path else "arguments are not allowed"
    fault = f"{path}: {text}" if path else text
    return fault if len(fault) <= _MAX_FAULT else f"{fault[:_MAX_FAULT]}…"


def _fits(validator: jsonschema_rs.Validator, arguments: JsonObject, tool: Tool) -> bool:
    try:
        return validator.is_valid(arguments)
    except ValueError:  # keys that are not text, Python objects: only an embedding program can send them
        raise InvalidArguments(f"The arguments of {tool.qualified_name} are not JSON.") from None


def _faults(validator: jsonschema_rs.Validator, arguments: JsonObject) -> list[str]:
    """Return the first faults; of large arguments only one, because the library would collect all of them."""
    try:
        if _is_small(arguments):
            return [argument_fault(error) for error in validator.iter_errors(arguments)][:_EXPLAINED_FAULTS]
        validator.validate(arguments)
    except UnicodeEncodeError:  # half of a surrogate pair
        return ["they contain text that is not valid Unicode"]
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


def _refusal(faults: list[str], tool: Tool) -> InvalidArguments:
    known = ", ".join(_signature(tool.inputs)) or "none"
    return InvalidArguments(
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
    body = object_in(arguments["body"])
    if "body" in _properties(tool.inputs) or not is_object(body):
        return arguments
    if any(member in arguments for member in tool.body_members):
        return arguments
    return {**{name: value for name, value in arguments.items() if name != "body"}, **body}


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
