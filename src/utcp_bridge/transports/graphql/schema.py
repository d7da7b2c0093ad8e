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
    for operation in _ROOTS:
        root = getattr(schema, f"{operation}_type")
        if root is None or operation_type not in {None, operation}:
            continue
        for name, definition in root.fields.items():
            if field is not None and name != field:
                continue
            document, fault = _document(schema, name, definition, operation, bounds)
            faults += [fault] if fault is not None else []
            tool_name = f"{name}_{operation}" if name in taken else name
            taken.add(name)
            tools.append(_tool(tool_name, name, definition, operation, document))
    return tools, faults


def type_schema(kind: Any, definitions: JsonObject) -> JsonObject:
    """Return the JSON Schema of a GraphQL input type; input objects go into `definitions`."""
    graphql = _library()
    if graphql.is_non_null_type(kind):
        return type_schema(kind.of_type, definitions)
    if graphql.is_list_type(kind):
        return {"type": "array", "items": type_schema(kind.of_type, definitions)}
    if graphql.is_enum_type(kind):
        return {"type": "string", "enum": list(kind.values)}
    if graphql.is_input_object_type(kind):
        if kind.name not in definitions:
            definitions[kind.name] = {}
            definitions[kind.name] = _object(kind.fields, definitions)
        return {"$ref": f"#/$defs/{kind.name}"}
    return dict(_SCALARS.get(kind.name, {}))


def _library() -> Any:
    """Return graphql-core as Any: its types do not help with schemas that are read at run time."""
    import graphql

    return graphql


def _tool(tool_name: str, name: str, definition: Any, operation: str, document: str) -> JsonObject:
    definitions: JsonObject = {}
    inputs = _object(definition.args, definitions)
    if definitions:
        inputs["$defs"] = definitions
    hints = {"mutation": {}, "query": {"readOnlyHint": True, "idempotentHint": True}}.get(
        operation, {"readOnlyHint": True}
    )
    return {
        "name": tool_name,
        "description": definition.description or "",
        "inputs": inputs,
        "tags": [operation],
        "deprecated": definition.deprecation_reason is not None,
        "annotations": {**hints, "openWorldHint": True},
        "overlay": {"query": document, "field": name, "operation_type": operation},
    }


def _document(
    schema: Any, name: str, definition: Any, operation: str, bounds: SelectionBounds
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
    for fragments in (True, False):
        selector = _Selector(schema, bounds, fragments=fragments)
        document = f"{head} {{ {call}{selector.selection(definition.type)} }}"
        if "... on " not in document or _problem(schema, document) is None:
            return document, fault
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


def _object(fields: Any, definitions: JsonObject) -> JsonObject:
    graphql = _library()
    properties: JsonObject = {}
    for name, value in fields.items():
        schema = type_schema(value.type, definitions)
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
    """Writes the selection set of one tool, with one budget of leaves."""

    def __init__(self, schema: Any, bounds: SelectionBounds, *, fragments: bool) -> None:
        self._schema = schema
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
                if inner := " ".join(self._fields(one, level, (*path, one.name), without=own)):
                    chosen.append(f"... on {one.name} {{ {inner} }}")
        return f" {{ {' '.join(chosen) or '__typename'} }}"

    def _fields(
        self, named: Any, level: int, path: tuple[str, ...], without: frozenset[str] = frozenset()
    ) -> Iterator[str]:
        graphql = _library()
        for name, definition in named.fields.items():
            if name in without or any(graphql.is_required_argument(one) for one in definition.args.values()):
                continue
            inner: Any = graphql.get_named_type(definition.type)
            if self._left <= 0:
                return
            if graphql.is_leaf_type(inner):
                self._left -= 1
                yield name
            elif level < self._depth and inner.name not in path:
                yield f"{name}{self.selection(inner, level + 1, path)}"
