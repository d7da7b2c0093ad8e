"""GraphQL schemas as tools: one document and one input schema for each root field (pure; imports graphql-core late).

A generated selection has scalar and enumeration leaves, and objects down to a depth. Fields with required arguments are
omitted, unions and interfaces get inline fragments, and no type is selected twice on one path. If fragments would
select one name with two types, which GraphQL forbids, the selection has no fragments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from utcp_bridge.model import Fault, JsonObject

__all__ = ["SelectionBounds", "root_tools", "type_schema"]

_SCALARS: dict[str, JsonObject] = {
    "String": {"type": "string"},
    "ID": {"type": "string"},
    "Int": {"type": "integer"},
    "Float": {"type": "number"},
    "Boolean": {"type": "boolean"},
}
_ROOTS = ("query", "mutation", "subscription")
_MAX_DEFINITIONS = 100_000
"""Input objects that all tools of one schema name together. Tools share them, so each of them costs a reference."""
_MAX_ENUM = 2_000
"""Names of an enumeration that a schema states. Every use repeats them where a host reads it."""
_MAX_LOOKS = 20_000
"""Fields that the selection of one tool may look at, to choose from."""
_MAX_ALL_LOOKS = 2_000_000
_MAX_NESTED = 300
"""Selections within the selection of one tool. Validation compares each with each."""
_MAX_VALIDATED = 2_000
"""Selections with fragments that are validated. The tools after them get selections without fragments."""


@dataclass(frozen=True, slots=True)
class SelectionBounds:
    """Bounds of generated selections, and the operator's own selections by field: `{ name owner { name } }`."""

    depth: int = 2
    fields: int = 200
    written: Mapping[str, str] = field(default_factory=dict[str, str])


def root_tools(
    schema: Any, *, operation_type: str | None, field: str | None, bounds: SelectionBounds
) -> tuple[list[JsonObject], list[Fault]]:
    """Return tool objects for the root fields of a `graphql.GraphQLSchema`, and faults of selections.

    `operation_type` and `field` keep one root or one field. A name that several roots have gets its root as a suffix.
    If the schema does not allow a selection of the operator, the generated selection replaces it.
    """
    taken: set[str] = set()
    tools: list[JsonObject] = []
    faults: list[Fault] = []
    inputs, budget = _Inputs(), _Budget()
    for operation in _ROOTS:
        root = getattr(schema, f"{operation}_type")
        if root is None or operation_type not in {None, operation}:
            continue
        for name, definition in root.fields.items():
            if field is not None and name != field:
                continue
            document, fault = _document(schema, name, definition, operation, bounds, budget)
            faults += [fault] if fault is not None else []
            tool_name = f"{name}_{operation}" if name in taken else name
            taken.add(name)
            tools.append(_tool(tool_name, name, definition, operation, document, inputs))
    return tools, faults


class _Budget:
    """The work that the selections of one schema may still take."""

    def __init__(self) -> None:
        self.looks = _MAX_ALL_LOOKS
        self.validated = _MAX_VALIDATED


class _Inputs:
    """The input types of one schema as JSON Schemas. Each is made once, and the tools share it."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[JsonObject, list[Any]]] = {}
        self._left = _MAX_DEFINITIONS

    def of(self, definition: Any) -> JsonObject:
        """Return the input schema of a field, with the input objects that it leads to in `$defs`."""
        if self._left <= 0:
            return {"type": "object"}
        named: dict[str, Any] = {}
        inputs = _object(definition.args, named)
        definitions: JsonObject = {}
        waiting = list(named.values())
        while waiting:
            kind = waiting.pop()
            if kind.name in definitions:
                continue
            self._left -= 1
            following: list[Any] = []
            if self._left <= 0:
                definitions[kind.name] = {"type": "object"}
            else:
                definitions[kind.name], following = self._object(kind)
            waiting += following
        return {**inputs, "$defs": definitions} if definitions else inputs

    def _object(self, kind: Any) -> tuple[JsonObject, list[Any]]:
        if kind.name not in self._made:
            named: dict[str, Any] = {}
            made = _object(kind.fields, named)
            self._made[kind.name] = made, list(named.values())
        return self._made[kind.name]


def type_schema(kind: Any, named: dict[str, Any]) -> JsonObject:
    """Return the JSON Schema of a GraphQL input type. The input objects that it names go into `named`."""
    graphql = _library()
    lists = 0
    while graphql.is_wrapping_type(kind):
        lists += graphql.is_list_type(kind)
        kind = kind.of_type
    if graphql.is_enum_type(kind):
        schema: JsonObject = {"type": "string"}
        if len(kind.values) <= _MAX_ENUM:
            schema["enum"] = kind.extensions.setdefault("names", list(kind.values))  # shared by all its uses
    elif graphql.is_input_object_type(kind):
        named[kind.name] = kind
        schema = {"$ref": f"#/$defs/{kind.name}"}
    else:
        schema = dict(_SCALARS.get(kind.name, {}))
    for _ in range(lists):
        schema = {"type": "array", "items": schema}
    return schema


def _library() -> Any:
    """Return graphql-core as Any: its types do not help with schemas that are read at run time."""
    import graphql

    return graphql


def _tool(tool_name: str, name: str, definition: Any, operation: str, document: str, inputs: _Inputs) -> JsonObject:
    hints = {"mutation": {}, "query": {"readOnlyHint": True, "idempotentHint": True}}.get(
        operation, {"readOnlyHint": True}
    )
    return {
        "name": tool_name,
        "description": definition.description or "",
        "inputs": inputs.of(definition),
        "tags": [operation],
        "deprecated": definition.deprecation_reason is not None,
        "annotations": {**hints, "openWorldHint": True},
        "overlay": {"query": document, "field": name, "operation_type": operation},
    }


def _document(
    schema: Any, name: str, definition: Any, operation: str, bounds: SelectionBounds, budget: _Budget
) -> tuple[str, Fault | None]:
    variables = ", ".join(f"${argument}: {value.type}" for argument, value in definition.args.items())
    given = ", ".join(f"{argument}: ${argument}" for argument in definition.args)
    head = f"{operation}({variables})" if variables else operation
    call = f"{name}({given})" if given else name
    written, fault = bounds.written.get(name), None
    if written is not None:
        document = f"{head} {{ {call} {written} }}"
        problem = _problem(schema, document)
        if problem is None:
            return document, None
        fault = Fault(
            f"selection of {name!r}", problem, "The generated selection is used instead. Correct it in `selections`."
        )
    document = ""
    for fragments in (True, False):
        selector = _Selector(schema, bounds, budget, fragments=fragments and budget.validated > 0)
        document = f"{head} {{ {call}{selector.selection(definition.type)} }}"
        if "... on " not in document:
            break
        budget.validated -= 1
        if _problem(schema, document) is None:
            break
    return document, fault


def _problem(schema: Any, document: str) -> str | None:
    """Return why a document is not one operation with one root field of this schema; None if it is."""
    graphql = _library()
    try:
        parsed = graphql.parse(document)
    except graphql.GraphQLError as error:
        return str(error.message)
    definitions = parsed.definitions
    if len(definitions) != 1 or len(definitions[0].selection_set.selections) != 1:
        return "must be a single selection set in braces"
    errors = graphql.validate(schema, parsed, max_errors=1)
    return str(errors[0].message) if errors else None


def _object(fields: Any, named: dict[str, Any]) -> JsonObject:
    graphql = _library()
    properties: JsonObject = {}
    for name, value in fields.items():
        schema = type_schema(value.type, named)
        if value.description:
            schema = {**schema, "description": value.description}
        properties[name] = _with_default(schema, value.default)
    required = [name for name, value in fields.items() if graphql.is_required_argument(value) or _is_required(value)]
    made: JsonObject = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**made, "required": required} if required else made


def _with_default(schema: JsonObject, default: Any) -> JsonObject:
    """Return the schema with the default of a `graphql.GraphQLDefaultInput`, if there is one."""
    if default is None:
        return schema
    graphql = _library()
    value = default.value if default.literal is None else graphql.value_from_ast_untyped(default.literal)
    return {**schema, "default": value}


def _is_required(value: Any) -> bool:
    graphql = _library()
    return isinstance(value, graphql.GraphQLInputField) and graphql.is_required_input_field(value)


class _Selector:
    """Writes the selection set of one tool, with one budget of leaves, of nested selections and of looks."""

    def __init__(self, schema: Any, bounds: SelectionBounds, budget: _Budget, *, fragments: bool) -> None:
        self._schema = schema
        self._budget = budget
        self._looks = _MAX_LOOKS
        self._nested = _MAX_NESTED
        self._depth = bounds.depth
        self._left = bounds.fields
        self._fragments = fragments

    def selection(self, kind: Any, level: int = 1, path: tuple[str, ...] = ()) -> str:
        """Return ` { ... }` for a type with fields, an empty text for leaves."""
        graphql = _library()
        named: Any = graphql.get_named_type(kind)
        if graphql.is_leaf_type(named):
            return ""
        path = (*path, named.name)
        chosen: list[str] = []
        if graphql.is_abstract_type(named):
            chosen.append("__typename")
        own = frozenset[str]()
        if not graphql.is_union_type(named):
            own = frozenset(named.fields)
            chosen += self._fields(named, level, path)
        if graphql.is_abstract_type(named) and self._fragments:
            for one in self._schema.get_possible_types(named):
                if not self._may_look():
                    break
                if inner := " ".join(self._fields(one, level, (*path, one.name), without=own)):
                    chosen.append(f"... on {one.name} {{ {inner} }}")
        return f" {{ {' '.join(chosen) or '__typename'} }}"

    def _fields(
        self, named: Any, level: int, path: tuple[str, ...], without: frozenset[str] = frozenset()
    ) -> Iterator[str]:
        graphql = _library()
        for name, definition in named.fields.items():
            if not self._may_look():
                return
            if name in without or any(graphql.is_required_argument(one) for one in definition.args.values()):
                continue
            inner: Any = graphql.get_named_type(definition.type)
            if graphql.is_leaf_type(inner):
                self._left -= 1
                yield name
            elif level < self._depth and inner.name not in path and self._nested > 0:
                self._nested -= 1
                yield f"{name}{self.selection(inner, level + 1, path)}"

    def _may_look(self) -> bool:
        """Count one more field, and return whether the bounds allow it."""
        self._looks -= 1
        self._budget.looks -= 1
        return self._left > 0 and self._looks > 0 and self._budget.looks > 0
