"""From places to one document: read each input, convert it by its shape, merge the results, write the wanted version.

Merging renames tools and variables that clash. Two descriptions that both use `${API_KEY}` mean two keys: with one
variable, each service would receive the other's key.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

from utcp_bridge.auth.literals import without_literals
from utcp_bridge.configuration.hosts.files import host_configuration
from utcp_bridge.configuration.hosts.reading import as_configuration
from utcp_bridge.configuration.places import STDIN, Placed, is_url, read_place
from utcp_bridge.convert.foreign import foreign_manual
from utcp_bridge.convert.outcome import LEFT_OUT, UTCP_VERSION, Converted, Wishes, new_manual
from utcp_bridge.convert.sources import mcp_manual, openapi_manual, servers_of
from utcp_bridge.convert.targets import portable as for_other_clients
from utcp_bridge.convert.targets import to_v0, tools_with_auth
from utcp_bridge.dialects import Shape, detect, read_config, read_manual, to_v1
from utcp_bridge.dialects.fields import safe_name
from utcp_bridge.dialects.formats import format_of_document, said_of_format
from utcp_bridge.dialects.shorthand import expand_shorthand, suggest_name
from utcp_bridge.errors import ConfigError, ManualError
from utcp_bridge.manuals.variables_needed import names_in_template, raw_fields_of
from utcp_bridge.model import Fault, JsonObject, is_list, is_object
from utcp_bridge.tasks import run_blocking
from utcp_bridge.urls import bare_url
from utcp_bridge.variables import renamed

__all__ = [
    "convert",
    "merge",
    "openapi_to_utcp",
    "with_variables",
]

_logger = logging.getLogger(__name__)
_ENTRIES = frozenset({"manual_call_templates", "providers"})
_READ_STDIN: TypeAlias = Callable[[], bytes]


async def convert(
    places: Sequence[str],
    wishes: Wishes | None = None,
    *,
    mcp_servers: Sequence[str] = (),
    read_stdin: _READ_STDIN | None = None,
    progress: Callable[[str], None] | None = None,
) -> Converted:
    """Convert every input and return one document.

    `places` are files, URLs and `-` for stdin: OpenAPI descriptions, descriptions in formats of others
    (`convert.foreign`), UTCP documents of any version, configuration files of MCP hosts. `mcp_servers` are one-line
    forms: `mcp+stdio:COMMAND`, `mcp+https://…`. `progress` receives a text for each step, without secrets from URLs
    and command lines.

    :raises ConfigError: an input is of an unknown kind, or the inputs do not fit together.
    :raises UtcpError: an input cannot be fetched, or a server does not answer.
    """
    wishes = wishes or Wishes()
    parts: list[Converted] = []
    total = len(places) + len(mcp_servers)

    def tell(doing: str) -> None:
        if progress is not None:
            progress(f"{doing} ({len(parts) + 1} of {total}) …" if total > 1 else f"{doing} …")

    for place in places:
        shown = "stdin" if place == STDIN else bare_url(place) if is_url(place) else place
        tell(f"{'Fetching' if is_url(place) else 'Reading'} {shown}")
        placed = await _placed(place, read_stdin)
        tell(f"Converting {shown}")
        parts.append(await _converted(placed, _name_of(placed, parts), wishes))
    for line in mcp_servers:
        parts.append(await _server(line, parts, wishes, tell))
    whole = merge(parts, name=wishes.name)
    if not wishes.keep_values:
        whole = with_variables(whole)
    if wishes.target == "v0":
        return to_v0(whole)
    return for_other_clients(whole) if wishes.portable else whole


def openapi_to_utcp(
    source: str | Path | Mapping[str, Any],
    *,
    base_url: str | None = None,
    server_variables: Mapping[str, str] | None = None,
    include: Mapping[str, Any] | None = None,
    exclude: Mapping[str, Any] | None = None,
    portable: bool = True,
) -> JsonObject:
    """Return the UTCP v1 manual of an OpenAPI description (2.0 or 3.x), given as URL, path or parsed document.

    `base_url` replaces its servers; `include` and `exclude` select operations as in a manual's entry. The manual is
    plain JSON data: write it to a file, or use it as the `content` of a `text` call template. Every UTCP client calls
    its tools as this one does. An operation that such a manual cannot describe is left out, and a warning in the log
    names it. With `portable=False` the manual has the extended form, for utcp-bridge alone, which describes them all.

    :raises ManualError: the document is not an OpenAPI description.
    :raises UtcpError: the source cannot be read.
    """
    wishes = Wishes(
        base_url=base_url,
        server_variables=server_variables or {},
        include=dict(include) if include else None,
        exclude=dict(exclude) if exclude else None,
        portable=portable,
    )
    if isinstance(source, Mapping):
        made = run_blocking(partial(openapi_manual, dict(source), url=None, name="the document", wishes=wishes))
    else:
        made = run_blocking(partial(_openapi_at, str(source), wishes))
    if not portable:
        return made.document
    written = for_other_clients(made)
    for row in written.proof or ():
        if row.state == LEFT_OUT:
            _logger.warning("%s: the tool %r is left out: %s.", made.name, row.tool, "; ".join(row.why).rstrip("."))
    return written.document


async def _placed(place: str, read_stdin: Callable[[], bytes] | None = None) -> Placed:
    """Return the document at a place; an error about a file names it."""
    try:
        return await read_place(place, read_stdin=read_stdin)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error.message}", remedy=error.remedy) from None


async def _openapi_at(place: str, wishes: Wishes) -> Converted:
    placed = await _placed(place)
    if not is_object(placed.document):
        raise ManualError(f"{placed.shown} is not an OpenAPI description.")
    return await openapi_manual(placed.document, url=placed.url, name=placed.shown, wishes=wishes)


def _name_of(placed: Placed, parts: Sequence[Converted]) -> str:
    if placed.url is None:
        return suggest_name({"call_template_type": STDIN.replace("-", "stdin")}, [part.name for part in parts])
    key = "url" if is_url(placed.url) else "file_path"
    return suggest_name({key: placed.url}, [part.name for part in parts])


async def _converted(placed: Placed, name: str, wishes: Wishes) -> Converted:
    """Convert one input by its shape."""
    document, shape = placed.document, detect(placed.document)
    if shape is Shape.OPENAPI:
        return await openapi_manual(document, url=placed.url, name=name, wishes=wishes)
    if shape is Shape.FOREIGN:
        return await foreign_manual(placed, name, wishes)
    path = Path(placed.url) if placed.url and not is_url(placed.url) else None
    host = as_configuration(document) if path is None else host_configuration(document, path)
    if host is not None and _ENTRIES.isdisjoint(host.rest):
        root = path.parent if path is not None else Path.cwd()
        converted = await mcp_manual(servers_of(host), name=name, wishes=wishes, root=root)
        converted.notes[:0] = host.faults(placed.shown)
        return converted
    if host is not None:
        document, shape = host.document, Shape.CONFIG
    if shape in {Shape.CONFIG, Shape.CONFIG_ENTRIES, Shape.TEMPLATE}:
        notes = read_config(document, where=placed.shown).faults
        return Converted(to_v1(document), name, is_manual=False, notes=notes)
    if shape in {Shape.MANUAL, Shape.TOOLS}:
        return _manual(document, name, placed.shown, wishes)
    raise _unusable(placed, shape)


def _manual(document: Any, name: str, shown: str, wishes: Wishes) -> Converted:
    """Return the manual in v1 form; tools that cannot be read stay unchanged and are reported, so they can be fixed."""
    reading = read_manual(document, default_template={"call_template_type": "file", "file_path": ""}, where=shown)
    manual: JsonObject = {**to_v1(document)}
    if not str(manual.get("utcp_version", "")).startswith("1."):
        manual["utcp_version"] = UTCP_VERSION
    if wishes.name:
        info = manual.get("info")
        manual["info"] = {**(info if is_object(info) else {}), "title": wishes.name}
    return Converted(manual, name, notes=reading.faults)


async def _server(line: str, parts: Sequence[Converted], wishes: Wishes, tell: Callable[[str], None]) -> Converted:
    try:
        entry = expand_shorthand(line)
    except ValueError as error:
        raise ConfigError(f"{line!r}: {error}") from None
    name = safe_name(wishes.name or "") or suggest_name(entry, [part.name for part in parts])
    [server] = entry["config"]["mcpServers"].values()
    tell(f"Asking the MCP server {name}")
    return await mcp_manual({name: server}, name=name, wishes=wishes, root=Path.cwd())


def _unusable(placed: Placed, shape: Shape) -> ConfigError:
    if shape is Shape.MCP_TOOLS:
        return ConfigError(
            f"{placed.shown} lists the tools of an MCP server but does not name the server.",
            remedy="Convert the server itself, with --mcp-command or --mcp-url.",
        )
    if shape is Shape.REGISTRY:
        return ConfigError(f"{placed.shown} is a registry, not a manual.", remedy="Convert the manuals that it lists.")
    if found := format_of_document(placed.document):
        return ConfigError(f"{placed.shown} is {said_of_format(found)}.", remedy=found.way)
    return ConfigError(
        f"{placed.shown} is not an OpenAPI description, a UTCP document or an MCP host's configuration.",
        remedy="An OpenAPI description has `openapi` or `swagger`, a manual has `tools`.",
    )


def merge(parts: Sequence[Converted], *, name: str | None) -> Converted:
    """Merge the parts into one document; a single part stays unchanged.

    :raises ConfigError: manuals and configurations are mixed.
    """
    if len(parts) == 1:
        return parts[0]
    if len({part.is_manual for part in parts}) > 1:
        raise ConfigError(
            "A configuration and a manual cannot be merged into one document.",
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
        for tool in tools_with_auth(part):
            stated = str(tool.get("name"))
            unique = _unique(stated, part.name, taken)
            if unique != stated:
                notes.append(
                    Fault(part.name, f"tool {stated!r} exists twice; this one is named {unique!r}.", "", "warning")
                )
            tools.append(_renamed({**tool, "name": unique}, names))
        notes.extend(
            Fault(part.name, f"variable {old} is now {new}, because another input also uses {old}.", "", "warning")
            for old, new in names.items()
        )
    titles = [
        str(info["title"]) for part in parts if is_object(info := part.document.get("info")) and info.get("title")
    ]
    title = name or ", ".join(dict.fromkeys(titles)) or ", ".join(part.name for part in parts)
    return Converted(new_manual(tools, {"title": title}), name or parts[0].name, notes=notes)


def _shared_variables(parts: Sequence[Converted]) -> dict[str, list[str]]:
    """Return, for each part, the variables that another part also uses."""
    used = {
        part.name: dict.fromkeys(
            variable
            for tool in tools_with_auth(part)
            if is_object(tool.get("tool_call_template"))
            for variable in names_in_template(tool["tool_call_template"])
        )
        for part in parts
    }
    counts = Counter(variable for variables in used.values() for variable in variables)
    return {part: [variable for variable in variables if counts[variable] > 1] for part, variables in used.items()}


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
    """Return the auth without aliases, because aliases of the same name would clash again."""
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
        Fault(part, f"`{section}.{key}` exists twice; the later value is kept.", "", "warning")
        for key in value
        if key in known and known[key] != value[key]
    ]


_NOT_A_WORD: Final = re.compile(r"\W+", re.ASCII)
_VARIABLE: Final = re.compile(r"\$\{?(\w{1,200})", re.ASCII)
_WITH_TEMPLATES: Final = ("manual_call_templates", "tools", "auth")


def with_variables(whole: Converted) -> Converted:
    """Return the document with a variable in place of each secret in its templates, and a note that names them."""
    names = _SecretNames(_used(whole.document))
    document: JsonObject = {
        key: without_literals({key: part}, names)[key] if key in _WITH_TEMPLATES else part
        for key, part in whole.document.items()
    }
    if not names.given:
        return whole
    what = f"the document contains variables in place of secrets: {', '.join(sorted(names.given))}."
    note = Fault(whole.name, what, "To write the values themselves, use --keep-values.", "warning")
    return replace(whole, document=document, notes=[*whole.notes, note])


class _SecretNames:
    """Gives each secret a variable, named after its field. The same secret has the same variable."""

    def __init__(self, taken: set[str]) -> None:
        self._taken = taken
        self._of: dict[str, str] = {}
        self.given: set[str] = set()

    def __call__(self, name: str, secret: str) -> str:
        if secret not in self._of:
            stem = _NOT_A_WORD.sub("_", name).strip("_").upper() or "SECRET"
            variable, number = stem, 2
            while variable in self._taken:
                variable, number = f"{stem}_{number}", number + 1
            self._taken.add(variable)
            self.given.add(variable)
            self._of[secret] = variable
        return f"${{{self._of[secret]}}}"


def _used(value: Any) -> set[str]:
    """Return the names of variables that a document uses already."""
    found: set[str] = set()
    pending: list[Any] = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, str):
            found.update(_VARIABLE.findall(one))
        elif is_object(one):
            pending.extend(one.values())
        elif is_list(one):
            pending.extend(one)
    return found
