"""The arguments that a tool declares. Others are not sent: they could add a value next to one that the template fixes.

A tool that declares no property takes any argument, as v0's tools do, and so does one whose schema says so in writing:
`additionalProperties` that is true or a schema, or `patternProperties`. An argument that the call template names, such
as `{id}` in its URL, counts as declared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.model import JsonObject, Tool, is_list, is_object
from utcp_bridge.urls import at_pointer

__all__ = ["closed_schema", "declared_arguments"]

_BRANCHES: Final = ("not", "if", "then", "else")
_BRANCH_LISTS: Final = ("allOf", "anyOf", "oneOf")
_OPENING: Final = ("patternProperties", "unevaluatedProperties", "$dynamicRef", "$recursiveRef", "dependencies")
_MAX_BRANCHES: Final = 1_000
_MAX_VALUES: Final = 20_000
_MENTION: Final = late_pattern(
    r"\{\{?\s{0,9}([\w$@-]{1,128})|\$\{([A-Za-z0-9_]{1,128})\}|UTCP_ARG_(\w{1,128}?)_UTCP_(?:ARG|END)"
)
_NAMING: Final = ("body_field", "header_fields")
_NOT_SCANNED: Final = frozenset({"auth", "auth_tools", "tools", "content"})


def declared_arguments(tool: Tool) -> frozenset[str] | None:
    """Return the names that calls of a tool may have; None for any."""
    if "request_plan" in tool.template:  # it refuses other arguments itself
        return None
    names = _declared_by(tool.inputs)
    if not names:
        return None
    body = {"body"} if tool.body_members else set[str]()
    return frozenset(names | body | tool.defaults.keys() | set(_mentioned({**tool.template, **(tool.overlay or {})})))


def closed_schema(schema: JsonObject, names: frozenset[str]) -> JsonObject:
    """Return a schema that accepts no other members than `names`, in words that every validator has."""
    own = schema.get("properties")
    properties: JsonObject = {**{name: {} for name in sorted(names)}, **(own if is_object(own) else {})}
    return {**schema, "properties": properties, "additionalProperties": False}


def _declared_by(schema: JsonObject) -> set[str] | None:
    """Return the properties of a schema and of its branches; None if it is open, or if that is not certain."""
    names: set[str] = set()
    seen: set[int] = set()
    pending: list[Any] = [schema]
    while pending:
        node = pending.pop()
        if not is_object(node) or id(node) in seen:
            continue
        seen.add(id(node))
        if len(seen) > _MAX_BRANCHES or _is_open(node):
            return None
        properties = node.get("properties")
        names |= properties.keys() if is_object(properties) else set()
        pending += _branches(node, schema)
    return names


def _is_open(node: JsonObject) -> bool:
    if node.get("additionalProperties", False) is not False:
        return True
    if any(node.get(key, False) is not False for key in _OPENING):
        return True
    reference = node.get("$ref")
    return reference is not None and not (isinstance(reference, str) and reference.startswith("#"))


def _branches(node: JsonObject, root: JsonObject) -> Iterator[Any]:
    for key in _BRANCH_LISTS:
        if is_list(branches := node.get(key)):
            yield from branches
    yield from (node.get(key) for key in _BRANCHES)
    if is_object(dependent := node.get("dependentSchemas")):
        yield from dependent.values()
    if isinstance(reference := node.get("$ref"), str):
        target = at_pointer(root, reference)
        yield target if target is not None else {"additionalProperties": True}


def _mentioned(template: Mapping[str, Any]) -> Iterator[str]:
    """Yield the arguments that a call template names."""
    for key in _NAMING:
        value = template.get(key)
        yield from (one for one in (value if is_list(value) else [value]) if isinstance(one, str))
    pending: list[Any] = [value for key, value in template.items() if key not in _NOT_SCANNED]
    for _ in range(_MAX_VALUES):
        if not pending:
            return
        value = pending.pop()
        if isinstance(value, str):
            yield from (name for found in _MENTION.finditer(value) for name in found.groups() if name)
        elif is_object(value):
            pending.extend(value.values())
        elif is_list(value):
            pending.extend(value)
