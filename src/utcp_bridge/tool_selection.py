"""The operator's choice among a manual's tools: `include`, `exclude` and `overrides`."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from utcp_bridge.config import ManualOptions
from utcp_bridge.model import JsonObject, is_list

__all__ = ["select"]


def select(objects: Iterable[JsonObject], options: ManualOptions) -> list[JsonObject]:
    """Apply the operator's `include`, `exclude` (`names` globs, `tags`) and `overrides` (by tool name)."""
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
        selected.append({**tool, **changes} if changes else tool)
    return selected


def _is_included(tool: JsonObject, options: ManualOptions) -> bool:
    if options.include is not None and not _matches(tool, options.include):
        return False
    return options.exclude is None or not _matches(tool, options.exclude)


def _matches(tool: JsonObject, rule: JsonObject) -> bool:
    names, tags = rule.get("names"), rule.get("tags")
    by_name = any(fnmatchcase(str(tool.get("name")), str(glob)) for glob in names) if is_list(names) else False
    own = {str(tag).casefold() for tag in tool.get("tags", ())}
    by_tag = any(str(tag).casefold() in own for tag in tags) if is_list(tags) else False
    return by_name or by_tag
