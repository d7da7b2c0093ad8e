"""A client configuration of any generation: its entries, its keys, its settings, and the variables that it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from utcp_bridge.dialects import read_config
from utcp_bridge.dialects.fields import nearest, safe_name, sort_of, word
from utcp_bridge.dialects.positions import Path
from utcp_bridge.dialects.shapes import kind_key
from utcp_bridge.dialects.shorthand import expand_shorthand, host_file_entry, suggest_name
from utcp_bridge.errors import ConfigError, UtcpError
from utcp_bridge.manuals.variables_needed import names_in_template
from utcp_bridge.model import JsonObject, Trust, is_list, is_object
from utcp_bridge.settings import BridgeSettings, ManualOptions
from utcp_bridge.validate.findings import Findings
from utcp_bridge.validate.templates import check_template
from utcp_bridge.variables import Variables, flat_key, load_variable_loaders

__all__ = ["CheckedConfig", "check_config"]

_ENTRY_KEYS: Final = ("manual_call_templates", "providers")
NestedCheck = Callable[[Any, Path, str], None]


@dataclass(slots=True)
class CheckedConfig:
    """What a configuration amounts to: its entries in v1 names, and key → manuals that need it."""

    dialect: str = ""
    entries: list[JsonObject] = field(default_factory=list[JsonObject])
    variables: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    found: set[str] = field(default_factory=set[str])


def check_config(
    document: Any, folder: FilePath | None, findings: Findings, *, check_nested: NestedCheck, environ: Mapping[str, str]
) -> CheckedConfig:
    """Find every fault. `folder` is where relative paths start; `check_nested` gets manuals within."""
    checked = CheckedConfig(dialect=read_config(document, where="").dialect)
    taken: dict[str, Path] = {}
    for raw, path, given_name in _raw_entries(document, findings):
        entry = _check_entry(raw, path, findings)
        if entry is None:
            continue
        _settle_name(entry, given_name, path, taken, findings)
        _check_options(entry, path, findings)
        _check_file(entry, path, folder, findings)
        if entry["call_template_type"] == "text" and not isinstance(entry.get("content"), str):
            check_nested(entry.get("content"), (*path, "content"), str(entry["name"]))
        checked.entries.append(entry)
    if is_object(document) and kind_key(document) is None:
        _check_client_keys(document, findings)
        _check_settings(document.get("bridge"), findings)
    _note_variables(checked, document, folder, environ, findings)
    return checked


def _raw_entries(document: Any, findings: Findings) -> Iterator[tuple[Any, Path, str | None]]:
    """Every entry as it was written, its place, and the name that stands before it."""
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
            findings.error((key,), f"`{key}` is {sort_of(value)}, not a list.")
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
            findings.error((*path, "mcpServers"), "`mcpServers` is not an object.")
            return None
        return _check_servers(raw, path, findings)
    template = check_template(raw, path, findings, configured=True)
    return dict(template) if template is not None else None


def _check_servers(raw: JsonObject, path: Path, findings: Findings) -> JsonObject:
    """An MCP host's servers: faults stand where the file has them, not where the template would."""
    inner = Findings()
    rest = {key: value for key, value in raw.items() if key != "mcpServers"}
    entry = {**host_file_entry(raw["mcpServers"]), **rest}
    check_template(entry, (), inner, configured=True)
    for finding in inner.faults:
        finding.path = (*path, *(finding.path[1:] if finding.path[:1] == ("config",) else finding.path))
        findings.faults.append(finding)
    return entry


def _settle_name(entry: JsonObject, given: str | None, path: Path, taken: dict[str, Path], findings: Findings) -> None:
    stated = entry.get("name") or given
    if stated is not None and not isinstance(stated, str):
        findings.error((*path, "name"), f"the name is {sort_of(stated)}, not text.")
        stated = None
    name = safe_name(stated) if stated else suggest_name(entry, taken)
    if name in taken:
        findings.error((*path, "name"), f"another entry is also named {word(name)!r}.", "Give each its own name.")
    taken.setdefault(name, path)
    entry["name"] = name


def _check_options(entry: JsonObject, path: Path, findings: Findings) -> None:
    _take_model_faults(ManualOptions, entry, path, findings)


def _check_file(entry: JsonObject, path: Path, folder: FilePath | None, findings: Findings) -> None:
    stated = entry.get("file_path")
    if entry["call_template_type"] != "file" or not isinstance(stated, str) or "$" in stated or folder is None:
        return
    if not (folder / FilePath(stated).expanduser()).is_file():
        findings.error((*path, "file_path"), "there is no such file.", "Check the path.")


def _check_client_keys(document: JsonObject, findings: Findings) -> None:
    """Each key by itself, so that what is said of it stands at its place."""
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
        findings.error(("bridge",), f"`bridge` is {sort_of(settings)}, not an object.")
        return
    known = set(BridgeSettings.model_fields)
    for key in [key for key in settings if key not in known]:
        findings.error(("bridge", key), f"{word(key)!r} is not a setting.", nearest(key, known))
    kept = {key: value for key, value in settings.items() if key in known}
    _take_model_faults(BridgeSettings, kept, ("bridge",), findings)


def _take_model_faults(model: type[BaseModel], values: JsonObject, path: Path, findings: Findings) -> None:
    try:
        model.model_validate(values)
    except ValidationError as error:
        for fault in error.errors(include_input=False, include_url=False):
            findings.error((*path, *fault["loc"][:1]), f"`{fault['loc'][0]}`: {fault['msg']}.")


def _note_variables(
    checked: CheckedConfig, document: Any, folder: FilePath | None, environ: Mapping[str, str], findings: Findings
) -> None:
    """Which variables the entries need, and which of them are set: in the document, a dotenv file, the environment."""
    raw = document if is_object(document) else {}
    specifications = raw.get("load_variables_from")
    wanted = [one for one in specifications if is_object(one)] if is_list(specifications) else []
    loaders, faults = load_variable_loaders(wanted, root=folder or FilePath.cwd())
    findings.take(("load_variables_from",), faults)
    try:
        sources = Variables(raw["variables"] if is_object(raw.get("variables")) else {}, loaders, environ)
    except ConfigError:
        sources = Variables({}, loaders, environ)  # told already
    for entry in checked.entries:
        name = str(entry["name"])
        for variable in names_in_template(entry):
            key = flat_key(name, variable) or variable
            checked.variables.setdefault(key, []).append(name)
            try:
                if sources.lookup(name, variable, Trust.OPERATOR) is not None:
                    checked.found.add(key)
            except UtcpError as error:
                findings.error(("variables",), error.message, error.remedy or "")
