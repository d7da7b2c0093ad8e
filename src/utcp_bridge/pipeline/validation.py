"""Validation: arguments against the tool's own input schema, before anything is sent.

The validator is compiled at the first call and kept. Arguments that fit cost one check. Others are read leniently
(`reading.py`) and checked again.

A schema of a few kilobytes can take 2^40 steps to check, and nothing can interrupt that. So the cost is counted before
a schema is compiled (`schema_checks.py`). Of a schema that costs too much, what is cheap is checked: types, required
names and values of its upper levels.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Sequence
from functools import cached_property
from operator import is_
from typing import TYPE_CHECKING, Any, TypeAlias

from utcp_bridge.errors import InvalidArguments
from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.model import Call, Emit, JsonObject, Result, Tool, is_list, is_object, made_call
from utcp_bridge.pipeline import Next
from utcp_bridge.pipeline.declared import closed_schema, declared_arguments
from utcp_bridge.pipeline.reading import ArgumentReader, WholeNumbers, are_no_floats, object_in
from utcp_bridge.pipeline.schema_checks import CompiledForm, SchemaChecks
from utcp_bridge.pipeline.subschemas import MASK
from utcp_bridge.settings import ArgumentCheck
from utcp_bridge.urls import at_pointer

if TYPE_CHECKING:
    import jsonschema_rs

__all__ = ["argument_fault", "validation"]

_logger = logging.getLogger(__name__)
_EXPLAINED_FAULTS = 5
_MAX_FAULT = 300
_PLAIN_NAME = late_pattern(r"[\w.$@-]{1,64}")
_Tree: TypeAlias = "dict[str | None, _Tree]"
"""Names of members, and None for each item or value, to what is dropped inside of them; {} drops the member itself."""
_ODD_NAME = "a name is not declared"
"""In place of a name that the caller chose: a text that does not look like a name may contain a value."""


def validation(tool: Tool, inner: Next, *, check: ArgumentCheck = "strict") -> Next:
    """Check arguments, and repair mistakes that clients are known to make.

    Numbers such as `1.0` are sent as integers where the schema says `integer`.

    Repairs for every value of `check`: `{"body": {...}}` if the tool's body was flattened into its arguments; an object
    that was read and is sent back; missing arguments that have a default of a template or of the operator. With
    `strict` and `warn`, arguments that do not fit are read leniently. What then still does not fit is refused
    (`strict`), or logged and sent (`warn`). `off` sends arguments without a check.

    Arguments that the tool does not declare (`declared.py`) are refused with `strict`. `warn` and `off` leave them out,
    with one log line.
    """
    unchecked = check == "off" or _accepts_anything(tool.inputs)
    defaults = {**_template_defaults(tool), **tool.defaults}
    names = declared_arguments(tool)
    if names is not None and check != "strict" and tool.kind == "http" and "body_field" not in tool.template:
        names |= {"body"}  # UTCP's default of `body_field`; the schema, which may be wrong, is silent about it
    sent_back = _SentBack(tool)
    if unchecked and not defaults and not tool.body_members and names is None and not sent_back.looks_inside:
        return inner
    checks = _Checks(tool, defaults, names, is_refusing=check == "strict")
    whole_numbers = WholeNumbers(tool.inputs)
    may_mend = bool(tool.body_members) or sent_back.has_work

    def validated(call: Call, emit: Emit) -> Awaitable[Result]:
        arguments = call.arguments
        if may_mend:
            flat = _flatten_body(tool, arguments) if tool.body_members and "body" in arguments else arguments
            arguments = sent_back.repaired(flat)
        if defaults:
            arguments = {**defaults, **arguments}
        if not unchecked:
            arguments = checks.checked(arguments)
        if names is not None and not names.issuperset(arguments):
            arguments = checks.declared(arguments)
        if not are_no_floats(map(type, arguments.values())):
            arguments = whole_numbers.written(arguments)
        if arguments is not call.arguments:
            call = made_call(call.tool, arguments, call.id)
        return inner(call, emit)

    return validated


class _SentBack:
    """An object that was read with one call and is sent back with another, changed.

    It still has its readOnly members, which OpenAPI does not want in a request (3.0.4, Schema Object). They are
    dropped, also inside of other members. It also has the id that the path takes. If the body has a member of this
    name, the argument of the path has another name, so it is filled in: servers expect both to be equal.
    """

    def __init__(self, tool: Tool) -> None:
        plan = tool.template.get("request_plan")
        plan = plan if is_object(plan) else {}
        body = plan.get("body")
        declared = _properties(tool.inputs)
        names = body.get("read_only") if is_object(body) else None
        self._dropped = _strings(names) - declared.keys()
        self._dropped_within = _tree(body.get("read_only_within") if is_object(body) else None, tool.inputs)
        self._filled: dict[str, str] = {}
        parameters = plan.get("parameters")
        for one in parameters if is_list(parameters) and tool.body_members else ():
            name, argument = (one.get("name"), one.get("argument")) if is_object(one) else (None, None)
            if one.get("in") == "path" and argument != name and name in tool.body_members:
                self._filled[str(argument)] = str(name)

    @property
    def has_work(self) -> bool:
        """Whether any arguments can be repaired."""
        return bool(self._dropped_within or self._dropped or self._filled)

    @property
    def looks_inside(self) -> bool:
        """Whether members of arguments can be dropped."""
        return bool(self._dropped_within)

    def repaired(self, arguments: JsonObject) -> JsonObject:
        """Return the arguments, as the same object if there is nothing to repair."""
        if self._dropped_within:
            arguments = _without(arguments, self._dropped_within)
        if self._dropped and not self._dropped.isdisjoint(arguments):
            arguments = {name: value for name, value in arguments.items() if name not in self._dropped}
        if not self._filled:
            return arguments
        more = {to: arguments[of] for to, of in self._filled.items() if to not in arguments and of in arguments}
        return {**arguments, **more} if more else arguments


def _tree(paths: Any, inputs: JsonObject) -> _Tree:
    """Return paths of members as a tree, without those that a schema describes."""
    tree: _Tree = {}
    for path in paths if is_list(paths) else ():
        if is_list(path) and not _describes(inputs, path):
            level = tree
            for step in path:
                level = level.setdefault(step, {})
    return tree


def _describes(inputs: JsonObject, path: Sequence[str | None]) -> bool:
    schema: Any = inputs
    for step in path:
        if is_object(schema) and isinstance(ref := schema.get("$ref"), str):
            schema = at_pointer(inputs, ref)
        if not is_object(schema):
            return False
        inner = schema.get("items", schema.get("additionalProperties"))
        schema = inner if step is None else _properties(schema).get(step)
    return schema is not None


def _without(value: Any, tree: _Tree) -> Any:
    """Return a value without members, as the same object if it has none of them."""
    if is_list(value):
        inner = tree.get(None)
        items = value if inner is None else [_without(item, inner) for item in value]
        return value if all(map(is_, items, value)) else items
    if not is_object(value):
        return value
    every = tree.get(None)
    kept: JsonObject = {}
    for name, member in value.items():
        inner = tree.get(name, every)
        if inner != {}:
            kept[name] = member if inner is None else _without(member, inner)
    is_same = len(kept) == len(value) and all(map(is_, kept.values(), value.values()))
    return value if is_same else kept


class _Checks:
    """The checks of one tool's arguments, compiled when they are first needed."""

    def __init__(self, tool: Tool, defaults: JsonObject, names: frozenset[str] | None, *, is_refusing: bool) -> None:
        self._tool = tool
        self._defaults = defaults
        self._names = names
        self._schema = tool.inputs if names is None else closed_schema(tool.inputs, names)
        self._is_refusing = is_refusing
        self._readers: dict[int, ArgumentReader] = {}
        self._light: CompiledForm | None = None
        """The form of the whole schema, once it is compiled, if any arguments may be checked against it."""

    @cached_property
    def _checks(self) -> SchemaChecks:
        checks = SchemaChecks(self._schema)
        if checks.why:
            reason = "is not valid" if checks.is_invalid else "is too expensive to check"
            message = "%s: its input schema %s (%s). The bridge checks only types, required names and simple values."
            _logger.warning(message, self._tool.qualified_name, reason, checks.why)
        return checks

    def checked(self, arguments: JsonObject) -> JsonObject:
        """Return arguments that fit, as the same object; others as they were read.

        :raises InvalidArguments: they do not fit, and this is what refuses them; or they take too long to check.
        """
        form = self._light or self._form_for(arguments)
        try:
            if form.validator.is_valid(arguments):
                return arguments
        except ValueError:  # keys that are not text, Python objects: only an embedding program can send them
            raise InvalidArguments(f"The arguments of {self._tool.qualified_name} are not JSON.") from None
        reader = self._reader(form)
        reading = reader.read(self._with_defaults_for_nulls(arguments, reader))
        if reading.changes:
            _logger.debug("%s: arguments were repaired. %s", self._tool.qualified_name, "; ".join(reading.changes))
        read = reading.arguments if self._is_refusing else self.declared(reading.arguments)
        faults = _faults(self._form_for(read), read)
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
            name = min(arguments.keys() - self._names)
            fault = f"{name!r} is not an argument of this tool" if _PLAIN_NAME.fullmatch(name) else _ODD_NAME
            raise _refusal([fault], self._tool)
        number = len(arguments.keys() - self._names)
        _logger.warning("%s: arguments that it does not declare were left out: %d.", self._tool.qualified_name, number)
        return {name: value for name, value in arguments.items() if name in self._names}

    def _form_for(self, arguments: JsonObject) -> CompiledForm:
        whole = self._checks.whole
        if whole is not None and whole.cost.is_light:
            self._light = whole
        form = self._checks.form_for(arguments)
        if form is None:
            message = f"The arguments take too long to check against the input schema of {self._tool.qualified_name}."
            raise InvalidArguments(message, remedy="Send fewer or shorter values.")
        return form

    def _reader(self, form: CompiledForm) -> ArgumentReader:
        key = id(form)  # this object keeps both forms
        if key not in self._readers:
            self._readers[key] = ArgumentReader(form.schema, form.cost)
        return self._readers[key]

    def _with_defaults_for_nulls(self, arguments: JsonObject, reader: ArgumentReader) -> JsonObject:
        """Return the arguments with defaults in place of nulls that the schema does not allow."""
        nulls = [name for name in self._defaults if arguments[name] is None and not reader.allows_null(name)]
        return {**arguments, **{name: self._defaults[name] for name in nulls}} if nulls else arguments


def _accepts_anything(schema: JsonObject) -> bool:
    constraints = schema.keys() - {"type", "properties", "title", "description", "$schema"}
    return not constraints and not schema.get("properties")


def argument_fault(error: jsonschema_rs.ValidationError) -> str:
    """Return one sentence for a person or a model: the path and the expectation, without the value."""
    from jsonschema_rs import ValidationErrorKind as Kind

    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.instance_path).lstrip(".")
    text = str(error.message).replace(f"{MASK} ", "", 1)
    if isinstance(error.kind, Kind.FalseSchema):
        text = "is not allowed" if path else "arguments are not allowed"
    undeclared = Kind.AdditionalProperties, Kind.UnevaluatedProperties
    if isinstance(error.kind, undeclared) and not all(map(_PLAIN_NAME.fullmatch, error.kind.unexpected)):
        text = _ODD_NAME
    fault = f"{path}: {text}" if path else text
    return fault if len(fault) <= _MAX_FAULT else f"{fault[:_MAX_FAULT]}…"


def _faults(form: CompiledForm, arguments: JsonObject) -> list[str]:
    """Return the first faults in words."""
    try:
        faults = form.faults(arguments)
    except UnicodeEncodeError:  # half of a surrogate pair
        return ["they contain text that is not valid Unicode"]
    if faults is None:
        return ["they have too many values to say which one does not match"]
    return [argument_fault(error) for error in faults[:_EXPLAINED_FAULTS]]


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
    """Return the defaults of the schema for templates that name arguments, which no other layer fills in."""
    if not _has_placeholder(tool.template):
        return {}
    return {
        name: sub["default"] for name, sub in _properties(tool.inputs).items() if is_object(sub) and "default" in sub
    }


def _has_placeholder(value: Any) -> bool:
    if isinstance(value, str):
        return "{{" in value or "UTCP_ARG_" in value
    if is_object(value):
        return any(_has_placeholder(one) for one in value.values())
    return is_list(value) and any(_has_placeholder(one) for one in value)
