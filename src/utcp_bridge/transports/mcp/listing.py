"""What one server lists, page by page and entry by entry: an odd entry is mended or left out, and named.

A list is not checked as a whole, because one odd tool would then cost all others. Requests go through a function, so
this module knows nothing of connections.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final

import anyio
import orjson

from utcp_bridge.dialects.fields import sort_of, word
from utcp_bridge.errors import UtcpError
from utcp_bridge.foreign import is_visible_line
from utcp_bridge.model import Faults, JsonObject, is_list, is_object
from utcp_bridge.transports.mcp.schemas import usable_schema
from utcp_bridge.transports.mcp.servers import ResourceTemplate
from utcp_bridge.upstream import ProtocolError

__all__ = [
    "LISTS",
    "ListKind",
    "ListLimits",
    "Listed",
    "icons_of",
    "read_list",
    "tidy",
    "usable_templates",
    "usable_tools",
]

Ask = Callable[[str, JsonObject], Awaitable[JsonObject]]
"""Sends a request and returns its result. May raise ProtocolError or UtcpError."""

_MAX_FAULTS: Final = 100
_MAX_PAGES: Final = 1_000
_MAX_EMPTY: Final = 10
"""Pages without a new entry, one after the other, after which a list has ended."""
_HINTS: Final = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")
_TASK_SUPPORT: Final = ("forbidden", "optional", "required")
_TRUTH: Final = {"true": True, "false": False}


@dataclass(slots=True)
class Listed:
    """What a server lists: its tools, and its resources and templates if they are wanted."""

    tools: list[JsonObject] = field(default_factory=list[JsonObject])
    resources: Sequence[JsonObject] = ()
    templates: list[ResourceTemplate] = field(default_factory=list[ResourceTemplate])
    faults: Faults = field(default_factory=lambda: Faults(limit=_MAX_FAULTS))


@dataclass(frozen=True, slots=True)
class ListLimits:
    """What one list may take: its entries, the bytes of all its pages as JSON, and the seconds until its end."""

    entries: int
    bytes: int
    seconds: float = inf

    def cut(self, method: str, pages: int) -> str:
        """Return what is said of a list whose pages have too many bytes."""
        return f"the pages of `{method}` have more than {self.bytes:,} bytes. The bridge uses the first {pages:,}."


async def read_list(ask: Ask, method: str, name: str, *, limits: ListLimits, where: str, faults: Faults) -> list[Any]:
    """Return the entries of all pages of a list, in any form, at most about the number of its limit.

    A list ends where its cursor is absent or repeats, where pages bring nothing new, and at its limits. What came
    before a page that fails or is late is kept.

    :raises ProtocolError: the server refused the first page.
    :raises UtcpError: the first page cannot be read.
    :raises TimeoutError: the first page is late.
    """
    found: list[Any] = []
    seen: set[bytes] = set()
    cursors: set[bytes] = set()
    params: JsonObject = {}
    empty = size = 0
    deadline = anyio.current_time() + limits.seconds
    for number in range(1, _MAX_PAGES + 1):
        try:
            with anyio.fail_after(deadline - anyio.current_time()):
                page = await ask(method, params)
        except (ProtocolError, UtcpError, TimeoutError) as error:
            if number == 1:
                raise
            reason = f"it took more than {limits.seconds:g} seconds." if isinstance(error, TimeoutError) else error
            faults.error(where, f"page {number} of `{method}` could not be read: {reason} What came before is used.")
            return found
        entries = _entries(page, name)
        if entries is None:
            faults.error(where, f"`{name}` is {sort_of(page.get(name))}, not a list.")
            return found
        before = len(seen)
        seen.update(_key(entry) for entry in entries)
        empty = 0 if len(seen) > before else empty + 1
        found += entries
        size += len(_key(page))
        cursor = page.get("nextCursor")
        if not cursor or len(found) >= limits.entries:
            return found
        if size > limits.bytes:
            faults.warn(where, limits.cut(method, number), "Raise `max_manual_bytes` if you need the others.")
            return found
        if _key(cursor) in cursors or empty >= _MAX_EMPTY:
            faults.warn(where, f"`{method}` names another page without end. The bridge uses the pages that came.")
            return found
        cursors.add(_key(cursor))
        params = {"cursor": cursor}
    faults.warn(where, f"`{method}` has more than {_MAX_PAGES} pages. The bridge uses those.")
    return found


def _entries(page: JsonObject, name: str) -> list[Any] | None:
    """Return the entries of a page; a result that is a bare list is its entries (`repaired_message` moved it)."""
    entries = page.get(name, page.get("content"))
    if is_object(entries):  # a map by name
        return [{"name": key, **value} if is_object(value) else value for key, value in entries.items()]
    if entries is None:
        return []
    return entries if is_list(entries) else None


def _key(value: Any) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # numbers of any length
        return repr(value).encode(errors="replace")


def usable_tools(entries: list[Any], where: str, faults: Faults) -> list[JsonObject]:
    """Return the tools that can be called, mended where that is possible. Each change that matters is a fault."""
    tools: list[JsonObject] = []
    by_name: dict[str, JsonObject] = {}
    for number, entry in enumerate(entries, 1):
        tool = _usable_tool(entry, number, where, faults)
        if tool is None:
            continue
        name: str = tool["name"]
        if name in by_name:
            if by_name[name] != tool:
                faults.error(f"{where}, tool {word(name)!r}", "the list has two tools of this name; the first is used.")
            continue
        by_name[name] = tool
        tools.append(tool)
    return tools


def _usable_tool(entry: Any, number: int, where: str, faults: Faults) -> JsonObject | None:
    if not is_object(entry):
        faults.error(f"{where}, tool {number}", f"it is {sort_of(entry)}, not an object, and is left out.")
        return None
    name = entry.get("name")
    if not isinstance(name, str) or not name.strip():
        what = (
            f"its name is {sort_of(name)}, not text"
            if name is not None and not isinstance(name, str)
            else "it has no name"
        )
        faults.error(f"{where}, tool {number}", f"{what}, and is left out.")
        return None
    here = f"{where}, tool {word(name)!r}"
    return _mended(name, entry, here, faults)


def _mended(name: str, entry: JsonObject, here: str, faults: Faults) -> JsonObject:
    """Return the tool with its usable fields."""
    tool: JsonObject = {"name": name}
    for key in ("title", "description"):
        value = entry.get(key)
        if isinstance(value, str):
            tool[key] = value
        elif value is not None:
            faults.warn(here, f"its {key} is {sort_of(value)}, not text, and is ignored.")
    tool["inputSchema"] = usable_schema(_first(entry, "inputSchema", "input_schema", "parameters"), here, faults)
    outputs = _first(entry, "outputSchema", "output_schema")
    if is_object(outputs):
        tool["outputSchema"] = usable_schema(outputs, here, faults, is_output=True)
    elif outputs is not None and not isinstance(outputs, bool):
        faults.warn(here, f"its output schema is {sort_of(outputs)}, not an object, and is ignored.")
    if annotations := _usable_annotations(entry.get("annotations"), here, faults):
        tool["annotations"] = annotations
    if icons := icons_of(entry.get("icons")):
        tool["icons"] = icons
    if is_object(meta := entry.get("_meta")):
        tool["_meta"] = meta
    if is_object(execution := entry.get("execution")) and execution.get("taskSupport") in _TASK_SUPPORT:
        tool["execution"] = {"taskSupport": execution["taskSupport"]}
    return tool


def _first(entry: JsonObject, *keys: str) -> Any:
    return next((entry[key] for key in keys if entry.get(key) is not None), None)


def _usable_annotations(raw: Any, here: str, faults: Faults) -> JsonObject:
    if raw is None:
        return {}
    if not is_object(raw):
        faults.warn(here, f"its annotations are {sort_of(raw)}, not an object, and are ignored.")
        return {}
    kept: JsonObject = {}
    for key, value in raw.items():
        if key in _HINTS:
            truth = _TRUTH.get(value.lower()) if isinstance(value, str) else value
            if isinstance(truth, bool):
                kept[key] = truth
            elif value is not None:
                faults.warn(here, f"its annotation `{key}` is {sort_of(value)}, not true or false, and is ignored.")
        elif key == "title":
            if isinstance(value, str):
                kept[key] = value
        elif value is not None:
            kept[key] = value
    return kept


def usable_templates(entries: Iterable[JsonObject], where: str, faults: Faults) -> list[ResourceTemplate]:
    """Return the templates of resources whose variables can be filled in. Each one that cannot is a fault."""
    from mcp.shared.uri_template import InvalidUriTemplate, UriTemplate

    templates: list[ResourceTemplate] = []
    for template in entries:
        try:
            pattern = UriTemplate.parse(template["uriTemplate"])
        except InvalidUriTemplate:
            faults.error(f"{where}, resource template {word(template['uriTemplate'])!r}", "it is not a URI template.")
            continue
        required = {name: name not in pattern.query_variable_names for name in pattern.variable_names}
        templates.append(ResourceTemplate(template, required))
    return templates


# --- what is offered besides tools ---

Check = Callable[[Any], bool]
_MAX_ICONS: Final = 8
_MAX_ICON: Final = 32_768
"""Characters of the address of an icon, which may be its data."""
_ICON_STARTS: Final = ("https://", "http://", "data:image/")


_MAX_SIZE: Final = 2**53 - 1
"""The largest integer that every parser of JSON reads exactly."""


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_SIZE


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _is_audience(value: Any) -> bool:
    return is_list(value) and all(one in ("user", "assistant") for one in value)


_ANNOTATIONS: Final[Mapping[str, Check]] = {"audience": _is_audience, "priority": _is_share, "lastModified": _is_text}


@dataclass(frozen=True, slots=True)
class ListKind:
    """One list of the protocol: its method, its member of the result, and the field by which entries are known."""

    method: str
    field: str
    key: str
    capability: str
    optional: Mapping[str, Check]


_RESOURCE: Final[Mapping[str, Check]] = {"title": _is_text, "description": _is_text, "mimeType": _is_text}
LISTS: Final[Mapping[str, ListKind]] = {
    "resources": ListKind("resources/list", "resources", "uri", "resources", {**_RESOURCE, "size": _is_size}),
    "resource_templates": ListKind(
        "resources/templates/list", "resourceTemplates", "uriTemplate", "resources", _RESOURCE
    ),
    "prompts": ListKind("prompts/list", "prompts", "name", "prompts", {"title": _is_text, "description": _is_text}),
}
"""The lists of `Offers`, by the name of its field."""


def tidy(kind: ListKind, entries: Sequence[Any]) -> tuple[tuple[JsonObject, ...], list[str]]:
    """Return the usable entries of a list with their well-formed fields, and what is wrong with each other one."""
    kept: dict[str, JsonObject] = {}
    wrong: list[str] = []
    for number, entry in enumerate(entries, 1):
        key = entry.get(kind.key) if is_object(entry) else None
        if not is_object(entry) or not isinstance(key, str) or not key.strip():
            wrong.append(f"entry {number} of `{kind.field}` has no `{kind.key}`")
        elif kind.key != "name" and not is_visible_line(key):
            wrong.append(f"entry {number} of `{kind.field}` has a `{kind.key}` with invisible characters")
        elif key in kept:
            wrong.append(f"entry {number} of `{kind.field}` has the same `{kind.key}` as an earlier one")
        else:
            kept[key] = _entry(kind, entry, key)
    return tuple(kept.values()), wrong


def _entry(kind: ListKind, entry: JsonObject, key: str) -> JsonObject:
    name = entry.get("name")
    made: JsonObject = {"name": name if isinstance(name, str) and name.strip() else key, kind.key: key}
    made |= {field: entry[field] for field, check in kind.optional.items() if field in entry and check(entry[field])}
    if kind.key == "name" and is_list(arguments := entry.get("arguments")):
        made["arguments"] = [_argument(one) for one in arguments if is_object(one) and _is_name(one.get("name"))]
    notes = entry.get("annotations")
    if kind.key != "name" and is_object(notes):
        made["annotations"] = {
            field: notes[field] for field, check in _ANNOTATIONS.items() if field in notes and check(notes[field])
        }
    if icons := icons_of(entry.get("icons")):
        made["icons"] = icons
    if is_object(meta := entry.get("_meta")):
        made["_meta"] = meta
    return made


def _argument(given: JsonObject) -> JsonObject:
    made: JsonObject = {"name": given["name"]}
    made |= {field: given[field] for field in ("title", "description") if isinstance(given.get(field), str)}
    if isinstance(given.get("required"), bool):
        made["required"] = given["required"]
    return made


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def icons_of(value: Any) -> list[JsonObject]:
    """Return the icons that a host may show: on the web or as data, each with its well-formed fields."""
    icons: list[JsonObject] = []
    for one in value if is_list(value) else ():
        src = one.get("src") if is_object(one) else None
        if not isinstance(src, str) or len(src) > _MAX_ICON or not src.lower().startswith(_ICON_STARTS):
            continue
        icon: JsonObject = {"src": src}
        if isinstance(one.get("mimeType"), str):
            icon["mimeType"] = one["mimeType"]
        sizes = one.get("sizes")
        sizes = [sizes] if isinstance(sizes, str) else sizes
        if is_list(sizes) and sizes and all(isinstance(size, str) for size in sizes):
            icon["sizes"] = sizes
        if one.get("theme") in ("light", "dark"):
            icon["theme"] = one["theme"]
        icons.append(icon)
    return icons[:_MAX_ICONS]
