"""The check of one document of any shape: which checks apply, and on which lines the faults are.

A client configuration of any generation is checked here: its entries, keys, settings and variables. `manuals` checks
what describes tools.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path as FilePath
from typing import Any, Final

import anyio.to_thread
from pydantic import BaseModel, ValidationError

from utcp_bridge.configuration.environment import ENV_FILE, reads_env_file
from utcp_bridge.configuration.hosts.files import host_configuration
from utcp_bridge.configuration.hosts.reading import HostConfiguration, as_configuration, unread_in_entry
from utcp_bridge.configuration.places import STDIN, is_url, read_place
from utcp_bridge.dialects import Shape, detect, read_config, read_manual
from utcp_bridge.dialects.fields import nearest, safe_name, sort_of, word
from utcp_bridge.dialects.formats import format_of_document, said_of_format
from utcp_bridge.dialects.positions import Path, lines_of
from utcp_bridge.dialects.shapes import kind_key
from utcp_bridge.dialects.shorthand import expand_shorthand, host_file_entry, suggest_name
from utcp_bridge.errors import ConfigError, ManualError, UtcpError
from utcp_bridge.manuals.variables_needed import names_in_template, variables_of_tools
from utcp_bridge.maps.reading import read_maps
from utcp_bridge.model import JsonObject, Trust, is_list, is_object
from utcp_bridge.registry.listing import read_page
from utcp_bridge.settings import BridgeSettings, ManualOptions, expectation, flat_settings, spellings, unknown_setting
from utcp_bridge.validate.findings import Finding, Findings, Report
from utcp_bridge.validate.manuals import check_discovery, check_foreign, check_manual, check_openapi, check_template
from utcp_bridge.variables import EnvFile, ExecLoader, Variables, flat_key, load_variable_loaders

__all__ = ["CheckedConfig", "check_config", "check_document", "check_place"]

_MANUALS: Final = frozenset({Shape.MANUAL, Shape.TOOLS, Shape.MCP_TOOLS})
_CONFIGS: Final = frozenset({Shape.CONFIG, Shape.CONFIG_ENTRIES, Shape.TEMPLATE})
_ENTRY_KEYS: Final = ("manual_call_templates", "providers")
NestedCheck = Callable[[Any, Path, str], None]


async def check_place(
    place: str, *, name: str | None = None, read_stdin: Callable[[], bytes] | None = None, environ: Mapping[str, str]
) -> Report:
    """Check the document at a path, or `-` for stdin, without network access.

    The report of a text that is neither JSON nor YAML contains one error.

    :raises ConfigError: the file does not exist, or the place is a URL.
    """
    if is_url(place):
        raise ConfigError(f"{place} is a URL; `validate` reads local files only.", remedy="Save it to a file first.")
    name = name or (suggest_name({"file_path": place}, ()) if place != STDIN else "manual")
    try:
        placed = await read_place(place, read_stdin=read_stdin)
    except ManualError as error:
        return Report(place, name, findings=[Finding("error", (), error.message, error.remedy or "", line=error.line)])
    except ConfigError as error:
        raise ConfigError(f"{place}: {error.message}", remedy=error.remedy) from None
    report = await check_document(placed.document, place=place, name=name, url=placed.url, environ=environ)
    if report.findings and not place.lower().endswith(".toml"):
        text = placed.data.decode("utf-8-sig", "replace")
        paths = [finding.path for finding in report.findings]
        lines = await anyio.to_thread.run_sync(lines_of, text, paths)
        for finding in report.findings:
            finding.line = lines[finding.path]
    return report


async def check_document(
    document: Any, *, place: str, name: str, url: str | None = None, environ: Mapping[str, str] | None = None
) -> Report:
    """Check a parsed document; its findings have no line numbers.

    `name` is the name it would be loaded under. `url` is its absolute path, where relative paths start. Variables are
    looked up in `environ`, by default the environment of this process.
    """
    shape, findings = detect(document), Findings()
    report = Report(place, name, shape=shape.value)
    environ = os.environ if environ is None else environ  # noqa: TID251 - where variables may be set
    path = FilePath(url) if url and not is_url(url) else None
    host = as_configuration(document) if path is None else host_configuration(document, path)
    if shape in _CONFIGS or host is not None:
        report.shape = shape.value if shape in _CONFIGS else Shape.CONFIG.value
        _check_config(document, host, path.parent if path else None, report, findings, environ)
    elif shape is Shape.OPENAPI:
        tools = await check_openapi(document, url, findings)
        _note_tools(report, tools, environ)
        report.dialect = "openapi"
    elif shape is Shape.FOREIGN:
        _note_tools(report, await check_foreign(document, url, findings), environ)
        report.dialect = "openapi"
    elif shape is Shape.REGISTRY:
        _check_registry(document, report, findings)
    elif shape in _MANUALS or (is_list(document) and not document):
        _check_manual(document, report, findings, environ)
    else:
        _refuse(document, report, findings)
    report.findings = findings.faults
    return report


def _check_manual(document: Any, report: Report, findings: Findings, environ: Mapping[str, str]) -> None:
    _note_tools(report, check_manual(document, (), findings), environ)
    report.dialect = read_manual(document, default_template={}, where="").dialect


def _check_config(
    document: Any,
    host: HostConfiguration | None,
    folder: FilePath | None,
    report: Report,
    findings: Findings,
    environ: Mapping[str, str],
) -> None:
    def check_nested(content: Any, path: Path, name: str) -> None:
        if detect(content) in _MANUALS:
            tools = check_manual(content, path, findings)
            report.tools += len(tools)
            nested.extend((name, tool) for tool in tools)

    nested: list[tuple[str, JsonObject]] = []
    checked = check_config(document, folder, findings, check_nested=check_nested, environ=environ, host=host)
    report.dialect, report.entries = checked.dialect, len(checked.entries)
    report.variables, report.found = checked.variables, checked.found
    for name, tool in nested:
        for key, tools in variables_of_tools([tool], name).items():
            report.variables.setdefault(key, []).extend(f"{name}.{one}" for one in tools)


def _check_registry(document: Any, report: Report, findings: Findings) -> None:
    """Check each listing alone, then all of them together for names that clash."""
    for index, raw in enumerate(document["manuals"]):
        page = read_page({"manuals": [raw]}, base="https://registry.example.com/", where="")
        findings.take(("manuals", index), page.faults)
        report.entries += len(page.listings)
    if not findings.faults:
        page = read_page(document, base="https://registry.example.com/", where="")
        findings.take(("manuals",), page.faults)


def _note_tools(report: Report, tools: list[JsonObject], environ: Mapping[str, str]) -> None:
    report.tools = len(tools)
    report.variables = variables_of_tools(tools, report.name)
    sources = Variables(environ=environ)
    for key in report.variables:
        bare = key.removeprefix(f"{report.name.replace('_', '__')}_")
        if sources.lookup(report.name, bare, Trust.OPERATOR) is not None:
            report.found.add(key)


def _refuse(document: Any, report: Report, findings: Findings) -> None:
    report.shape = Shape.UNKNOWN.value
    if found := format_of_document(document):
        findings.error((), f"this is {said_of_format(found)}.", found.way)
        return
    findings.error(
        (),
        "this is not a manual, a configuration or an OpenAPI description.",
        'A manual has "tools", a configuration "manual_call_templates" or "providers", a description "openapi".',
    )


@dataclass(slots=True)
class CheckedConfig:
    """What was read from a configuration: its entries in v1 names, and key of a variable → manuals that need it."""

    dialect: str = ""
    entries: list[JsonObject] = field(default_factory=list[JsonObject], repr=False)
    variables: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    found: set[str] = field(default_factory=set[str])


def check_config(
    document: Any,
    folder: FilePath | None,
    findings: Findings,
    *,
    check_nested: NestedCheck,
    environ: Mapping[str, str],
    host: HostConfiguration | None = None,
) -> CheckedConfig:
    """Add every fault to `findings`. Relative paths start at `folder`; `check_nested` receives embedded manuals.

    `host` is the document as a host's file, if it is one.
    """
    document = document if host is None else host.rest
    checked = CheckedConfig(dialect=read_config(document if host is None else host.document, where="").dialect)
    taken: dict[str, set[str]] = {}
    written = (
        (path, given, _check_entry(raw, path, findings)) for raw, path, given in _raw_entries(document, findings)
    )
    servers = () if host is None else _check_servers(host, findings)
    places: list[Path] = []
    for path, given_name, entry in chain(written, servers):
        if entry is None:
            continue
        _settle_name(entry, given_name, path, taken, findings)
        _check_options(entry, path, findings)
        for place, what, remedy in unread_in_entry(entry):
            findings.warn((*path, "config", "mcpServers", *place), what, remedy)
        check_discovery(entry, path, findings)
        _check_file(entry, path, folder, findings)
        _check_maps(entry, path, folder, findings)
        if entry["call_template_type"] == "text" and not isinstance(entry.get("content"), str):
            check_nested(entry.get("content"), (*path, "content"), str(entry["name"]))
        checked.entries.append(entry)
        places.append(path)
    _check_shadows(checked.entries, places, findings)
    if is_object(document) and kind_key(document) is None:
        _check_client_keys(document, findings)
        _check_settings(document.get("bridge"), findings)
    _note_variables(checked, document, folder, environ, findings)
    return checked


def _raw_entries(document: Any, findings: Findings) -> Iterator[tuple[Any, Path, str | None]]:
    """Yield every entry as it was written, its place, and the key that names it."""
    if is_list(document):
        yield from ((item, (index,), None) for index, item in enumerate(document))
        return
    if kind_key(document) is not None:
        yield document, (), None
        return
    for key in _ENTRY_KEYS:
        value = document.get(key)
        if is_list(value):
            yield from ((item, (key, index), None) for index, item in enumerate(value))
        elif is_object(value) and (kind_key(value) or "mcpServers" in value):
            yield value, (key,), None
        elif is_object(value):
            yield from ((item, (key, name), name) for name, item in value.items())
        elif isinstance(value, str):
            yield value, (key,), None
        elif value is not None:
            findings.error((key,), f"`{key}` must be a list, not {sort_of(value)}.")
    if "mcpServers" in document:
        yield {"mcpServers": document["mcpServers"]}, (), None


def _check_entry(raw: Any, path: Path, findings: Findings) -> JsonObject | None:
    if isinstance(raw, str):
        try:
            return expand_shorthand(raw)
        except ValueError as error:
            findings.error(path, str(error), "Write a path, a URL or `mcp+stdio:command`.")
            return None
    if is_object(raw) and kind_key(raw) is None and "mcpServers" in raw:
        if not is_object(raw["mcpServers"]):
            findings.error((*path, "mcpServers"), "`mcpServers` must be an object.")
            return None
        return _check_own_servers(raw, path, findings)
    template = check_template(raw, path, findings, configured=True)
    return dict(template) if template is not None else None


def _check_own_servers(raw: JsonObject, path: Path, findings: Findings) -> JsonObject:
    """Check the servers in an entry of a configuration, and report faults at their places there."""
    inner = Findings()
    rest = {key: value for key, value in raw.items() if key != "mcpServers"}
    entry = {**host_file_entry(raw["mcpServers"]), **rest}
    check_template(entry, (), inner, configured=True)
    for finding in inner.faults:
        finding.path = (*path, *(finding.path[1:] if finding.path[:1] == ("config",) else finding.path))
        findings.faults.append(finding)
    return entry


def _check_servers(host: HostConfiguration, findings: Findings) -> Iterator[tuple[Path, str | None, JsonObject | None]]:
    """Yield the entry of each server, with its place in the file, where faults are reported."""
    entries = host.entries
    for server in host.servers:
        path = host.section.path_of(server.name)
        findings.take(path, host.faults_of(server, ""))
        entry = entries.get(server.name)
        if entry is None:
            continue
        inner = Findings()
        check_template(entry, (), inner, configured=True)
        for finding in inner.faults:
            finding.path = (*path, *_as_far_as(server.raw, finding.path))
            findings.faults.append(finding)
        yield path, server.name, entry
    findings.take((), host.faults_of_file(""))


def _as_far_as(raw: Any, path: Path) -> Path:
    """Return the part of a path that an entry has as it is written."""
    for length, step in enumerate(path):
        if not is_object(raw) or step not in raw:
            return path[:length]
        raw = raw[step]
    return path


def _settle_name(
    entry: JsonObject, given: str | None, path: Path, taken: dict[str, set[str]], findings: Findings
) -> None:
    """Give an entry its name. `taken` has the names as they were written, by the names under which they register."""
    stated = entry.get("name") or given
    if stated is not None and not isinstance(stated, str):
        findings.error((*path, "name"), f"the name must be text, not {sort_of(stated)}.")
        stated = None
    name = safe_name(stated) if stated else suggest_name(entry, taken)
    written = taken.setdefault(name, set())
    if (stated or name) in written:
        findings.error((*path, "name"), f"another entry is also named {word(name)!r}.", "Give each its own name.")
    elif written:
        what = f"the name {word(stated)!r} looks like {word(min(written))!r}, so one of them gets a suffix."
        findings.warn((*path, "name"), what, "Give them names that differ in letters or digits.")
    written.add(stated or name)
    entry["name"] = name


def _check_options(entry: JsonObject, path: Path, findings: Findings) -> None:
    _take_model_faults(ManualOptions, entry, path, findings)


def _check_shadows(entries: list[JsonObject], places: list[Path], findings: Findings) -> None:
    """Warn of each `shadow` that names none of the other entries. Another file may have it."""
    for entry, path in zip(entries, places, strict=True):
        shadow = entry.get("shadow")
        new = shadow.get("new") if is_object(shadow) else None
        others = {str(one["name"]) for one in entries if one is not entry}
        if isinstance(new, str) and safe_name(new) not in others:
            what = f"{word(new)!r} is not the name of another entry of this file."
            findings.warn((*path, "shadow", "new"), what, nearest(new, others))


def _check_file(entry: JsonObject, path: Path, folder: FilePath | None, findings: Findings) -> None:
    stated = entry.get("file_path")
    if entry["call_template_type"] != "file" or not isinstance(stated, str) or "$" in stated or folder is None:
        return
    if not (folder / FilePath(stated).expanduser()).is_file():
        findings.error((*path, "file_path"), "the file does not exist.", "Correct the path.")


def _check_maps(entry: JsonObject, path: Path, folder: FilePath | None, findings: Findings) -> None:
    """Check the resources and prompts of an entry: the tools where the manual is in the entry, and the files."""
    maps = read_maps(entry, findings, path=path)
    content = entry.get("content")
    if is_object(content) and is_list(content.get("tools")):
        names = {one["name"] for one in content["tools"] if is_object(one) and isinstance(one.get("name"), str)}
        maps = maps.with_tools(names, findings, path=path)
    for place, file in maps.files():
        if folder is not None and not (folder / FilePath(file).expanduser()).is_file():
            findings.error((*path, *place), f"the file {word(file)!r} does not exist.", "Correct the path.")


def _check_client_keys(document: JsonObject, findings: Findings) -> None:
    """Check each key alone, so that its faults are reported at its place."""
    for key, value in document.items():
        if key in {*_ENTRY_KEYS, "mcpServers", "bridge"}:
            continue
        members = value if key == "registries" and is_list(value) else None
        for path, part in [((key, at), [one]) for at, one in enumerate(members)] if members else [((key,), value)]:
            findings.take(path, read_config({"manual_call_templates": [], key: part}, where="").faults)
    try:
        Variables(variables if is_object(variables := document.get("variables")) else {}, environ={})
    except ConfigError as error:
        findings.error(("variables",), error.message, error.remedy or "")


def _check_settings(settings: Any, findings: Findings) -> None:
    if settings is None:
        return
    if not is_object(settings):
        findings.error(("bridge",), f"`bridge` must be an object, not {sort_of(settings)}.")
        return
    paths: dict[str, tuple[str, ...]] = {}
    for setting in spellings(settings):
        if setting.key is None:
            unknown = unknown_setting(setting.name)
            findings.error(("bridge", *setting.path), unknown.message, unknown.remedy or "")
        else:
            paths[setting.key] = setting.path
    try:
        flat = flat_settings(settings)
    except ConfigError as error:
        findings.error(("bridge",), error.message, error.remedy or "")
        return
    kept = {key: value for key, value in flat.items() if key in paths}
    for key, message in _model_faults(BridgeSettings, kept):
        findings.error(("bridge", *paths.get(key, (key,))), message)


def _take_model_faults(model: type[BaseModel], values: JsonObject, path: Path, findings: Findings) -> None:
    for key, message in _model_faults(model, values):
        findings.error((*path, key), message)


def _model_faults(model: type[BaseModel], values: JsonObject) -> list[tuple[str, str]]:
    """Return the key and the message of each fault."""
    try:
        model.model_validate(values)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False)
        return [(str(fault["loc"][0]), f"`{fault['loc'][0]}`: {expectation(fault)}.") for fault in faults]
    return []


def _env_files(document: JsonObject, folder: FilePath | None) -> list[EnvFile]:
    """Return the `.env` next to a configuration, unless its settings say that it is not read."""
    bridge = document.get("bridge")
    try:
        is_read = reads_env_file(flat_settings(bridge if is_object(bridge) else {}))
    except ConfigError:
        is_read = True
    return [EnvFile(folder / ENV_FILE)] if is_read and folder is not None else []


def _note_variables(
    checked: CheckedConfig, document: Any, folder: FilePath | None, environ: Mapping[str, str], findings: Findings
) -> None:
    """Record which variables the entries need, and which are set: in the document, a dotenv file or the environment."""
    raw = document if is_object(document) else {}
    specifications = raw.get("load_variables_from")
    wanted = [one for one in specifications if is_object(one)] if is_list(specifications) else []
    loaders, faults = load_variable_loaders(wanted, root=folder or FilePath.cwd())
    findings.take(("load_variables_from",), faults)
    commands = [loader for loader in loaders if isinstance(loader, ExecLoader)]
    loaders = [loader for loader in loaders if not isinstance(loader, ExecLoader)]  # nothing is run to validate a file
    beside = _env_files(raw, folder)
    for file in beside:
        findings.take((), file.check())
    try:
        variables: JsonObject = raw["variables"] if is_object(raw.get("variables")) else {}
        sources = Variables(variables, loaders, environ, env_files=beside)
    except ConfigError:
        sources = Variables({}, loaders, environ, env_files=beside)  # already reported
    for entry in checked.entries:
        name = str(entry["name"])
        for variable in names_in_template(entry):
            key = flat_key(name, variable) or variable
            checked.variables.setdefault(key, []).append(name)
            try:
                is_printed = any(loader.has(key) or loader.has(variable) for loader in commands)
                if is_printed or sources.lookup(name, variable, Trust.OPERATOR) is not None:
                    checked.found.add(key)
            except UtcpError as error:
                findings.error(("variables",), error.message, error.remedy or "")
