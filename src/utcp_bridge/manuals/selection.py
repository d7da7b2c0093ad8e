"""The operator's choice among a manual's tools: `include`, `exclude` and `overrides`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any

from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.settings import ManualOptions

__all__ = ["select"]


def select(objects: Iterable[JsonObject], options: ManualOptions) -> list[JsonObject]:
    """Apply the operator's `include`, `exclude` (`names` globs, `tags`) and `overrides` (by tool name).

    `include` keeps what fits each of its keys, `exclude` leaves out what fits any.
    """
    selected: list[JsonObject] = []
    for tool in objects:
        override = options.overrides.get(str(tool.get("name")), {})
        if override.get("hidden") or not _is_included(tool, options):
            continue
        changes: JsonObject = {
            key: override[key] for key in ("name", "description", "annotations", "title") if key in override
        }
        if "result" in override:
            changes["projection"] = override["result"]
        if is_object(defaults := override.get("defaults")):
            changes |= {"inputs": _with_defaults(tool.get("inputs"), defaults), "defaults": defaults}
        selected.append({**tool, **changes} if changes else tool)
    return selected


def _is_included(tool: JsonObject, options: ManualOptions) -> bool:
    if options.include is not None and not all(_verdicts(tool, options.include)):
        return False
    return options.exclude is None or not any(_verdicts(tool, options.exclude))


def _verdicts(tool: JsonObject, rule: JsonObject) -> Iterator[bool]:
    """For each key of a rule whether the tool fits it."""
    names, tags = (_listed(rule.get(key)) for key in ("names", "tags"))
    if names:
        yield any(fnmatchcase(str(tool.get("name")), str(glob)) for glob in names)
    if tags:
        own = {str(tag).casefold() for tag in tool.get("tags", ())}
        yield any(str(tag).casefold() in own for tag in tags)


def _listed(value: Any) -> list[Any]:
    """One pattern is as good as a list of one."""
    return value if is_list(value) else [] if value is None else [value]


def _with_defaults(inputs: Any, defaults: JsonObject) -> JsonObject:
    """The input schema with values for what the caller leaves out; the arguments are required no longer."""
    schema: JsonObject = inputs if is_object(inputs) else {"type": "object"}
    properties = schema.get("properties")
    members: JsonObject = dict(properties) if is_object(properties) else {}
    for name, value in defaults.items():
        member = members.get(name)
        members[name] = {**(member if is_object(member) else {}), "default": value}
    required = schema.get("required")
    kept = [name for name in required if name not in defaults] if is_list(required) else []
    rest = {key: value for key, value in schema.items() if key != "required"}
    return {**rest, "properties": members, **({"required": kept} if kept else {})}
