"""The form in which models see found tools: result entries, signature lines, compact text."""

from __future__ import annotations

import json
import unicodedata
from typing import Any, Final

from utcp_bridge.model import JsonObject, Tool, counted, is_list, is_object
from utcp_bridge.search.fields import parameters_of

__all__ = ["MAX_NAME", "as_text", "cut", "one_line", "signature", "summary_of"]

_MAX_SUMMARY: Final = 160
_MAX_PARAMETERS: Final = 20
_MAX_CHOICES: Final = 5
_MAX_TAGS: Final = 10
_MAX_TYPES: Final = 4
_MAX_TYPE_DEPTH: Final = 4
MAX_NAME: Final = 60


def summary_of(tool: Tool) -> JsonObject:
    """Return description in one line, signature, title and tags of a tool; empty members are left out."""
    shown: JsonObject = {"description": one_line(tool.description, _MAX_SUMMARY)}
    if tool.title and tool.title != tool.name:
        shown["title"] = one_line(tool.title, _MAX_SUMMARY)
    if line := signature(tool.inputs):
        shown["parameters"] = line
    if tool.tags:
        shown["tags"] = [one_line(str(tag), MAX_NAME) for tag in tool.tags[:_MAX_TAGS]]
    return shown


def one_line(text: Any, limit: int) -> str:
    """Return the first sentence or line, at most `limit` characters, without control and invisible characters."""
    if not isinstance(text, str):
        return ""
    for line in text[:4_000].splitlines():
        shown = " ".join("".join(filter(_visible, line)).split())
        if shown:
            end = shown.find(". ")
            return cut(shown[: end + 1] if 20 < end < limit else shown, limit)
    return ""


def signature(schema: Any) -> str:
    """Return parameters with types, required ones with a star: `city*: string, units: "metric"|"imperial"`."""
    parameters = parameters_of(schema)
    listed = schema.get("required") if is_object(schema) else None
    required: list[Any] = listed if is_list(listed) else []
    names = sorted(parameters, key=lambda name: name not in required)
    parts = [
        f"{one_line(name, MAX_NAME)}{'*' if name in required else ''}: {_type(parameters[name])}"
        for name in names[:_MAX_PARAMETERS]
    ]
    if len(names) > _MAX_PARAMETERS:
        parts.append(f"… {len(names) - _MAX_PARAMETERS} more")
    return ", ".join(parts)


def as_text(result: JsonObject) -> str:
    """Return the result of `search_tools` as compact text."""
    lines: list[str] = []
    for group in result.get("groups", ()):
        lines.append(f'"{one_line(group["query"], _MAX_SUMMARY)}":')
        lines += _result_lines(group)
    if "results" in result:
        lines += _result_lines(result)
    lines += [f"{provider['name']}: {counted(provider['tools'], 'tool')}" for provider in result.get("providers", ())]
    if "call_with" in result:
        lines.append(f"Call these tools with {result['call_with']}.")
    if "next_cursor" in result:
        lines.append(f"More with cursor {result['next_cursor']}")
    if "note" in result:
        lines.append(result["note"])
    return "\n".join(lines)


def _result_lines(group: JsonObject) -> list[str]:
    lines = [_entry_line(number, entry) for number, entry in enumerate(group["results"], 1)]
    if not lines and "providers" not in group:
        lines = ["Nothing found."]
    if near := group.get("did_you_mean"):
        lines.append(f"Did you mean: {', '.join(near)}?")
    return lines


def _entry_line(number: int, entry: JsonObject) -> str:
    provider = f" [{entry['provider']}]" if "provider" in entry else ""
    parameters = f"({entry['parameters']})" if entry.get("parameters") else ""
    described = f" - {entry['description']}" if entry.get("description") else ""
    schemas = "".join(
        f"\n{key}: {json.dumps(entry[key], default=str, ensure_ascii=False, separators=(',', ':'))}"
        for key in ("inputSchema", "outputSchema")
        if key in entry
    )
    return f"{number}. {entry['name']}{parameters}{provider}{described}{schemas}"


def _type(schema: Any, depth: int = 0) -> str:
    if not is_object(schema) or depth > _MAX_TYPE_DEPTH:
        return "any"
    choices = [schema["const"]] if "const" in schema else schema.get("enum")
    if is_list(choices) and choices:
        more = "|…" if len(choices) > _MAX_CHOICES else ""
        return "|".join(_literal(value) for value in choices[:_MAX_CHOICES]) + more
    kind = schema.get("type")
    if kind == "array":
        items = _type(schema.get("items"), depth + 1)
        return f"({items})[]" if "|" in items else f"{items}[]"
    kinds = kind if is_list(kind) else [kind]
    named = "|".join(filter(None, (one_line(one, 20) for one in kinds[:_MAX_TYPES])))
    return named or _composed(schema, depth)


def _composed(schema: JsonObject, depth: int) -> str:
    for keyword in ("anyOf", "oneOf"):
        branches = schema.get(keyword)
        if is_list(branches) and branches:
            return "|".join(dict.fromkeys(_type(branch, depth + 1) for branch in branches[:_MAX_TYPES]))
    reference = schema.get("$ref")
    if isinstance(reference, str):
        return one_line(reference.rsplit("/", 1)[-1], 40) or "any"
    return "object" if "properties" in schema else "any"


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return f'"{one_line(value, 30)}"'
    return one_line(str(value), 30) if not isinstance(value, bool) else str(value).lower()


def _visible(character: str) -> bool:
    return character == "\t" or unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Cn"}


def cut(text: str, limit: int) -> str:
    """Return the text with at most `limit` characters, the last one `…` where something is missing."""
    return text if len(text) <= limit else text[: max(0, limit - 1)].rstrip() + "…"
