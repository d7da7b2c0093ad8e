"""GraphQL schemas as tools: one document, one input schema for each root field (pure; graphql-core is imported on use).

A generated selection holds scalar and enumeration leaves, and objects down to a depth; fields with required arguments
are left out, unions and interfaces get inline fragments, and nothing is selected twice on one path.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from utcp_bridge.model import JsonObject

__all__ = ["Selection", "root_tools", "type_schema"]

_SCALARS: dict[str, JsonObject] = {
    "String": {"type": "string"},
    "ID": {"type": "string"},
    "Int": {"type": "integer"},
    "Float": {"type": "number"},
    "Boolean": {"type": "boolean"},
}
_ROOTS = ("query", "mutation")


@dataclass(frozen=True, slots=True)
class Selection:
    """Bounds of a generated selection."""

    depth: int = 2
    fields: int = 200


def root_tools(schema: Any, *, operation_type: str | None, field: str | None, bounds: Selection) -> list[JsonObject]:
    """Normalised tool objects of the query and mutation fields of a `graphql.GraphQLSchema`.

    `operation_type` and `field` keep one root or one field; a name that both roots have gets its root as a suffix.
    """
    taken: set[str] = set()
    tools: list[JsonObject] = []
    for operation in _ROOTS:
        root = getattr(schema, f"{operation}_type")
        if root is None or operation_type not in {None, operation}:
            continue
        for name, definition in root.fields.items():
            if field is not None and name != field:
                continue
            tool = _tool(name, definition, operation, bounds)
            if name in taken:
                tool["name"] = f"{name}_{operation}"
            taken.add(name)
            tools.append(tool)
    return tools


def type_schema(kind: Any, definitions: JsonObject) -> JsonObject:
    """The JSON Schema of a GraphQL input type; input objects go into `definitions`."""
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
    """graphql-core, typed Any: its own types say little of schemas that are not known beforehand."""
    import graphql

    return graphql


def _tool(name: str, definition: Any, operation: str, bounds: Selection) -> JsonObject:
    definitions: JsonObject = {}
    inputs = _object(definition.args, definitions)
    if definitions:
        inputs["$defs"] = definitions
    variables = ", ".join(f"${argument}: {value.type}" for argument, value in definition.args.items())
    given = ", ".join(f"{argument}: ${argument}" for argument in definition.args)
    budget = [bounds.fields]
    selection = _selection(definition.type, bounds.depth, budget, ())
    head = f"{operation}({variables})" if variables else operation
    call = f"{name}({given})" if given else name
    hints = {"readOnlyHint": True, "idempotentHint": True} if operation == "query" else {}
    return {
        "name": name,
        "description": definition.description or "",
        "inputs": inputs,
        "tags": [operation],
        "deprecated": definition.deprecation_reason is not None,
        "annotations": {**hints, "openWorldHint": True},
        "overlay": {"query": f"{head} {{ {call}{selection} }}", "field": name, "operation_type": operation},
    }


def _object(fields: Any, definitions: JsonObject) -> JsonObject:
    graphql = _library()
    properties: JsonObject = {}
    for name, value in fields.items():
        schema = type_schema(value.type, definitions)
        if value.description:
            schema = {**schema, "description": value.description}
        properties[name] = schema
    required = [name for name, value in fields.items() if graphql.is_required_argument(value) or _is_required(value)]
    made: JsonObject = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**made, "required": required} if required else made


def _is_required(value: Any) -> bool:
    graphql = _library()
    return isinstance(value, graphql.GraphQLInputField) and graphql.is_required_input_field(value)


def _selection(kind: Any, depth: int, budget: list[int], path: tuple[str, ...]) -> str:
    """` { … }` for what has fields, nothing for leaves."""
    graphql = _library()
    named: Any = graphql.get_named_type(kind)
    if graphql.is_leaf_type(named):
        return ""
    chosen: list[str] = []
    if graphql.is_abstract_type(named):
        chosen.append("__typename")
    if graphql.is_union_type(named):
        chosen += [f"... on {one.name}{_selection(one, depth, budget, (*path, named.name))}" for one in named.types]
    else:
        chosen += list(_fields(named, depth, budget, (*path, named.name)))
    return f" {{ {' '.join(chosen) or '__typename'} }}"


def _fields(named: Any, depth: int, budget: list[int], path: tuple[str, ...]) -> Iterator[str]:
    graphql = _library()
    for name, field in named.fields.items():
        inner: Any = graphql.get_named_type(field.type)
        if any(graphql.is_required_argument(argument) for argument in field.args.values()) or budget[0] <= 0:
            continue
        if graphql.is_leaf_type(inner):
            budget[0] -= 1
            yield name
        elif depth > 1 and inner.name not in path:
            yield f"{name}{_selection(inner, depth - 1, budget, path)}"
