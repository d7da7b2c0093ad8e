"""Several converted documents as one: names that clash are kept apart, and so are the variables of different makers.

Two descriptions that both ask for `${API_KEY}` mean two keys: one variable would send each service the other's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from utcp_bridge.convert.outcome import Converted, new_manual
from utcp_bridge.dialects import wants_auth
from utcp_bridge.dialects.fields import safe_name
from utcp_bridge.errors import ConfigError
from utcp_bridge.manuals.variables_needed import names_in_template, raw_fields_of
from utcp_bridge.model import Fault, JsonObject, is_list, is_object
from utcp_bridge.variables import renamed

__all__ = ["merge"]


def merge(parts: Sequence[Converted], *, name: str | None) -> Converted:
    """One document of all; a single one stays as it is.

    :raises ConfigError: manuals and configurations are mixed.
    """
    if len(parts) == 1:
        return parts[0]
    if len({part.is_manual for part in parts}) > 1:
        raise ConfigError(
            "A configuration and a manual cannot become one document.",
            remedy="Convert them separately, and list the manual's path in the configuration.",
        )
    return _manuals(parts, name) if parts[0].is_manual else _configurations(parts)


def _manuals(parts: Sequence[Converted], name: str | None) -> Converted:
    notes = [note for part in parts for note in part.notes]
    shared = _shared_variables(parts)
    taken: set[str] = set()
    tools: list[JsonObject] = []
    for part in parts:
        names = {variable: f"{safe_name(part.name).upper()}_{variable}" for variable in shared[part.name]}
        for tool in _with_own_auth(part):
            stated = str(tool.get("name"))
            unique = _unique(stated, part.name, taken)
            if unique != stated:
                notes.append(
                    Fault(part.name, f"tool {stated!r} is there twice; this one is named {unique!r}.", "", "warning")
                )
            tools.append(_renamed({**tool, "name": unique}, names))
        notes.extend(
            Fault(part.name, f"its variable {old} is named {new}, to keep it apart from another's.", "", "warning")
            for old, new in names.items()
        )
    titles = [
        str(info["title"]) for part in parts if is_object(info := part.document.get("info")) and info.get("title")
    ]
    title = name or ", ".join(dict.fromkeys(titles)) or ", ".join(part.name for part in parts)
    return Converted(new_manual(tools, {"title": title}), name or parts[0].name, notes=notes)


def _shared_variables(parts: Sequence[Converted]) -> dict[str, list[str]]:
    """For each part the variables that another part uses too."""
    used = {
        part.name: dict.fromkeys(
            variable
            for tool in _with_own_auth(part)
            if is_object(tool.get("tool_call_template"))
            for variable in names_in_template(tool["tool_call_template"])
        )
        for part in parts
    }
    counts = Counter(variable for variables in used.values() for variable in variables)
    return {part: [variable for variable in variables if counts[variable] > 1] for part, variables in used.items()}


def _with_own_auth(part: Converted) -> list[JsonObject]:
    """The part's tools; the auth of its manual, which would be lost, goes into those that want it."""
    auth = part.document.get("auth")
    if not is_object(auth):
        return part.tools
    return [
        {**tool, "tool_call_template": {**template, "auth": auth}}
        if is_object(template := tool.get("tool_call_template")) and wants_auth(template, auth)
        else tool
        for tool in part.tools
    ]


def _unique(name: str, part: str, taken: set[str]) -> str:
    unique, number = name, 2
    if unique in taken:
        unique = f"{safe_name(part)}_{name}"
    while unique in taken:
        unique, number = f"{safe_name(part)}_{name}_{number}", number + 1
    taken.add(unique)
    return unique


def _renamed(tool: JsonObject, names: dict[str, str]) -> JsonObject:
    template = tool.get("tool_call_template")
    if not names or not is_object(template):
        return tool
    changed = renamed(template, names, raw_fields_of(template))
    if is_object(auth := changed.get("auth")):
        changed["auth"] = _without_aliases(auth)
    return {**tool, "tool_call_template": changed}


def _without_aliases(auth: JsonObject) -> JsonObject:
    """Other names of the same variables would bring the clash back."""
    kept = {key: value for key, value in auth.items() if key != "aliases"}
    for key in ("schemes", "options"):
        if is_list(members := kept.get(key)):
            kept[key] = [_without_aliases(member) if is_object(member) else member for member in members]
    return kept


def _configurations(parts: Sequence[Converted]) -> Converted:
    first, notes = parts[0], [note for part in parts for note in part.notes]
    merged: JsonObject = {}
    for part in parts:
        for key, value in part.document.items():
            known = merged.get(key)
            if is_list(known) and is_list(value):
                merged[key] = [*known, *value]
            elif is_object(known) and is_object(value):
                notes.extend(_overwritten(part.name, key, known, value))
                merged[key] = {**known, **value}
            else:
                merged[key] = value
    return Converted(merged, first.name, is_manual=False, notes=notes)


def _overwritten(part: str, section: str, known: JsonObject, value: JsonObject) -> list[Fault]:
    return [
        Fault(part, f"`{section}.{key}` is there twice; the later one is kept.", "", "warning")
        for key in value
        if key in known and known[key] != value[key]
    ]
