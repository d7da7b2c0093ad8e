"""A client configuration of any dialect: manual call templates, registries, client keys, the bridge's own section."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from utcp_bridge.dialects import v0, v1
from utcp_bridge.dialects.fields import copied, nearest, registered_names, safe_name, sort_of, word
from utcp_bridge.dialects.readings import ManualEntry, Notes, ParsedConfig
from utcp_bridge.dialects.shapes import Shape, detect, kind_key, looks_like_tool
from utcp_bridge.dialects.shorthand import expand_shorthand, host_file_entry, suggest_name
from utcp_bridge.dialects.templates import KnownFields, read_template, warn_of_unknown_fields
from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = ["PASSED_ON", "REGISTRY_KEYS", "read_config", "read_registries"]

_ENTRY_KEYS = ("manual_call_templates", "providers")
_CLIENT_TYPES: dict[str, type] = {
    "variables": dict,
    "load_variables_from": list,
    "tool_repository": dict,
    "tool_search_strategy": dict,
    "post_processing": list,
    "providers_file_path": str,
    "registries": list,
}
_TYPE_NAMES: dict[type, str] = {dict: "an object", list: "a list", str: "text"}

PASSED_ON: Final = frozenset({
    "include", "exclude", "allowed_origins", "allow_networks", "allowed_communication_protocols", "proxy", "verify_ssl",
    "ca_cert", "call_timeout", "discovery_timeout", "deadline_header", "concurrency", "queue", "rate_limit", "retries",
    "max_reply_bytes", "refresh_interval", "validation",
})  # fmt: skip
"""Keys of a registry that apply to each of its manuals. Keys that would give the manuals credentials or full trust are
not among them."""

REGISTRY_KEYS: Final = frozenset({"registry", "name", "tags", "q", "limit", "sha256", "auth"}) | PASSED_ON
_MAX_LIMIT: Final = 1_000
_EXAMPLE: Final = 'Write {"registry": "https://registry.example.com"}.'


def read_config(
    document: Any, *, where: str, known_fields: KnownFields | None = None, shape: Shape | None = None
) -> ParsedConfig:
    """Read a configuration: `{"manual_call_templates": […]}`, v0's `providers` (object, list or map by
    name) or its bare list, one call template, an MCP host's `mcpServers`, one-line forms.

    `where` names the file in faults. `known_fields` gives the fields of each type, for the warnings about keys that
    the bridge does not use; without it they are not checked. `shape` is what `detect` says of the document, if the
    caller has asked it already. Bad input is a fault, never an exception.
    """
    notes = Notes()
    shape = shape or detect(document)
    if _is_manual(document, shape):
        notes.error(
            where,
            f"this is a manual ({shape}), not a configuration.",
            "List its path or URL in `manual_call_templates`.",
        )
        return ParsedConfig(dialect="none", faults=notes.faults)
    raw = _as_object(document, shape)
    if raw is None:
        notes.error(where, f"this is {sort_of(document)}, not a configuration.", 'It needs "manual_call_templates".')
        return ParsedConfig(dialect="none", faults=notes.faults)
    entries = list(_read_entries(raw, where, notes, known_fields))
    client = _read_client(raw, where, notes)
    bridge = raw.get("bridge")
    if bridge is not None and not is_object(bridge):
        notes.error(where, "`bridge` is not an object.")
    _warn_of_unknown_keys(raw, where, notes)
    return ParsedConfig(
        dialect=_dialect(raw, notes),
        entries=entries,
        client=client,
        bridge=bridge if is_object(bridge) else {},
        faults=notes.faults,
    )


def _is_manual(document: Any, shape: Shape) -> bool:
    if shape is Shape.TOOLS and is_list(document):
        # Objects that have only a name are entries without a type, so the author may have forgotten it.
        return any(is_object(item) and looks_like_tool(item) for item in document)
    return shape in {Shape.MANUAL, Shape.OPENAPI, Shape.FOREIGN, Shape.TOOLS, Shape.MCP_TOOLS}


def _as_object(document: Any, shape: Shape) -> JsonObject | None:
    if is_list(document):
        return {"providers": document}
    if shape is Shape.TEMPLATE:
        return {"providers": [document]}
    return document if is_object(document) and shape is not Shape.REGISTRY else None


def _read_entries(raw: JsonObject, where: str, notes: Notes, known_fields: KnownFields | None) -> Iterator[ManualEntry]:
    taken: dict[str, None] = {}
    unnamed: list[tuple[int, JsonObject]] = []
    read: dict[int, ManualEntry] = {}
    items = [*_items(raw, where, notes)]
    names = registered_names(name for item in items if is_object(item) and isinstance(name := item.get("name"), str))
    for position, item in enumerate(items):
        place = f"{where}: entry {position + 1}"
        template = _read_entry(item, place, notes, known_fields)
        if template is None:
            continue
        stated = template.get("name")
        if stated is None or stated == "":
            unnamed.append((position, template))
        elif not isinstance(stated, str):
            notes.error(place, f"the name is {sort_of(stated)}, not text.")
        elif (name := names.get(stated, safe_name(stated))) in taken:
            notes.error(place, f"another entry is also named {word(name)!r}.", "Give each its own name.")
        else:
            if name != safe_name(stated):
                what = f"the name {word(stated)!r} looks like that of another entry, so the manual is named {name!r}."
                notes.warn(place, what, "Give them names that differ in letters or digits.")
            taken[name] = None
            read[position] = ManualEntry(name, {**template, "name": name})
    for position, template in unnamed:
        name = suggest_name(template, taken)
        taken[name] = None
        read[position] = ManualEntry(name, {**template, "name": name})
    return (read[position] for position in sorted(read))


def _items(raw: JsonObject, where: str, notes: Notes) -> Iterator[Any]:
    """Yield every entry as it was written: lists, one object, maps by name, and the MCP host's section."""
    for key in _ENTRY_KEYS:
        value = raw.get(key)
        if is_list(value):
            yield from value
        elif is_object(value) and (kind_key(value) or "mcpServers" in value):
            yield value
        elif is_object(value):
            for name, item in value.items():
                yield {"name": name, **item} if is_object(item) else _named(name, item)
        elif isinstance(value, str):
            yield value
        elif value is not None:
            notes.error(where, f"`{key}` is {sort_of(value)}, not a list.")
    if "mcpServers" in raw:
        yield {"mcpServers": raw["mcpServers"]}


def _named(name: str, item: Any) -> Any:
    """Expand `{"weather": "./weather.json"}`: a one-line form with a name."""
    if not isinstance(item, str):
        return item
    try:
        return {"name": name, **expand_shorthand(item)}
    except ValueError:
        return item


def _read_entry(item: Any, where: str, notes: Notes, known_fields: KnownFields | None) -> JsonObject | None:
    if isinstance(item, str):
        try:
            return expand_shorthand(item)
        except ValueError as error:
            notes.error(where, str(error), "Write a path, a URL or `mcp+stdio:command`.")
            return None
    if is_object(item) and kind_key(item) is None and "mcpServers" in item:
        if not is_object(item["mcpServers"]):
            notes.error(where, "`mcpServers` is not an object.")
            return None
        servers = item["mcpServers"]
        item = {**host_file_entry(servers), **{key: value for key, value in item.items() if key != "mcpServers"}}
    if is_object(item) and isinstance(item.get("name"), str) and item["name"]:
        where = f"{where} ({word(item['name'])})"
    entry = read_template(item, where, notes)
    if entry is None or not _kind_is_known(entry, where, notes, known_fields):
        return None
    return entry


def _kind_is_known(entry: JsonObject, where: str, notes: Notes, known_fields: KnownFields | None) -> bool:
    if known_fields is None:
        return True
    kind = entry["call_template_type"]
    fields = known_fields(kind)
    if fields is not None:
        warn_of_unknown_fields(entry, fields, where, notes)
    elif kind not in v1.KINDS:
        notes.error(where, f"{word(kind)!r} is not a call template type.", nearest(kind, v1.KINDS | set(v0.KINDS)))
        return False
    return True


def _read_client(raw: JsonObject, where: str, notes: Notes) -> JsonObject:
    client: JsonObject = {}
    for key in v1.CLIENT_KEYS:
        value = raw.get(key)
        if value is None:
            continue
        expected = _CLIENT_TYPES[key]
        if not isinstance(value, expected) or (expected is dict and not is_object(value)):
            notes.error(where, f"`{key}` is {sort_of(value)}, not {_TYPE_NAMES[expected]}.")
            continue
        client[key] = value
    if is_list(loaders := client.get("load_variables_from")):
        client["load_variables_from"] = list(_read_loaders(loaders, where, notes))
    if is_list(registries := client.get("registries")):
        client["registries"] = list(read_registries(registries, where, notes))
    return client


def _read_loaders(loaders: list[Any], where: str, notes: Notes) -> Iterator[JsonObject]:
    for position, loader in enumerate(loaders):
        renamed = copied(loader, v0.LOADER_KEYS) if is_object(loader) else {}
        if isinstance(renamed.get("variable_loader_type"), str):
            yield renamed
        else:
            notes.error(where, f"item {position + 1} of `load_variables_from` has no `variable_loader_type`.")


def _warn_of_unknown_keys(raw: JsonObject, where: str, notes: Notes) -> None:
    for key in raw:
        if key not in v1.CONFIG_KEYS and not word(key).startswith(("$", "_", "x-")):
            notes.misread(where, f"nothing reads the key {word(key)!r}.", nearest(key, v1.CONFIG_KEYS))


def _dialect(raw: JsonObject, notes: Notes) -> str:
    if "extended" in notes.dialects:
        return "extended"
    if "v0" in notes.dialects or "providers_file_path" in raw:
        return "v0.x"
    return "v1.x"


def read_registries(items: list[Any], where: str, notes: Notes) -> Iterator[JsonObject]:
    """Yield each registry as an object with `registry` (a URL or path) and its own `name`; bad ones are faults."""
    taken: set[str] = set()
    for position, item in enumerate(items):
        place = f"{where}: registry {position + 1}"
        raw: Any = {"registry": item} if isinstance(item, str) else item
        if not is_object(raw):
            notes.error(place, f"is {sort_of(item)}, not an object or a URL.")
        elif (fault := _registry_fault(raw)) is not None:
            notes.error(place, *fault)
        elif (name := _registry_name(raw, taken)) in taken:
            notes.error(place, f"another registry is also named {word(name)!r}.", "Give each its own name.")
        else:
            taken.add(name)
            yield {**_known_keys(raw, place, notes), "name": name}


def _registry_fault(raw: JsonObject) -> tuple[str, str] | None:
    """Return what is wrong with a key, and the remedy."""
    place, name, tags, q = raw.get("registry"), raw.get("name", ""), raw.get("tags", []), raw.get("q", "")
    limit, pins = raw.get("limit", 1), raw.get("sha256", {})
    checks = (
        (isinstance(place, str) and bool(place.strip()), "has no `registry`.", _EXAMPLE),
        (isinstance(name, str), f"the name is {sort_of(name)}, not text.", ""),
        (_is_texts(tags), "`tags` must be a list of texts.", ""),
        (isinstance(q, str), f"`q` is {sort_of(q)}, not text.", ""),
        (_is_count(limit), f"`limit` must be a number from 1 to {_MAX_LIMIT}.", ""),
        (
            is_object(pins) and _is_texts([*pins.values()]),
            "`sha256` must be an object of names of manuals and their hashes.",
            "",
        ),
    )
    return next(((what, remedy) for holds, what, remedy in checks if not holds), None)


def _is_texts(value: Any) -> bool:
    return is_list(value) and all(isinstance(one, str) for one in value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MAX_LIMIT


def _registry_name(raw: JsonObject, taken: set[str]) -> str:
    stated = safe_name(raw.get("name") or "").strip("_")
    return stated or suggest_name({"url" if "://" in raw["registry"] else "file_path": raw["registry"]}, taken)


def _known_keys(raw: JsonObject, where: str, notes: Notes) -> JsonObject:
    for key in raw:
        if key == "trusted":
            notes.warn(
                where,
                "`trusted` is ignored: the manuals of a registry never run commands or read files.",
                "To trust a manual, list it in `manual_call_templates`.",
            )
        elif key not in REGISTRY_KEYS and not key.startswith(("$", "_", "x-")):
            notes.misread(where, f"nothing reads the key {word(key)!r}.", nearest(key, REGISTRY_KEYS))
    return {key: value for key, value in raw.items() if key in REGISTRY_KEYS}
