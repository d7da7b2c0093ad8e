"""From a host's servers to a UTCP configuration: one manual for each, secrets in a dotenv file beside it (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from utcp_bridge.model import JsonObject, is_object

__all__ = ["Migrated", "dotenv_text", "is_bridge", "merge", "migrate_servers"]

_SECRET_PLACES = ("env", "headers")
_KEPT = ("command", "args", "cwd", "url", "env", "headers")
_NOT_A_WORD = re.compile(r"\W+", re.ASCII)
_INPUT = re.compile(r"\$\{input:([^}]+)\}")
_CREDENTIAL = re.compile(r"(?P<scheme>Bearer|Basic|Token) +(?P<secret>\S+)", re.IGNORECASE)


@dataclass
class Migrated:
    """Manual call templates, the values of their variables, and what the operator should know."""

    manuals: list[JsonObject] = field(default_factory=list[JsonObject])
    secrets: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    remarks: list[str] = field(default_factory=list[str])


def is_bridge(entry: Any) -> bool:
    """Whether a server's entry starts this bridge."""
    if not is_object(entry):
        return False
    words = [str(entry.get("command") or ""), *map(str, entry.get("args") or ())]
    return "serve" in words and any(PurePath(word).stem in {"utcp-bridge", "utcp", "utcp_bridge"} for word in words)


def migrate_servers(servers: Mapping[str, Any]) -> Migrated:
    """One `mcp` manual for each server; values of `env` and `headers` become variables named after both."""
    made = Migrated()
    for name, entry in servers.items():
        if not is_object(entry) or not (entry.get("command") or entry.get("url")):
            made.remarks.append(f"{name} has neither a command nor a URL and is left where it is.")
            continue
        manual = _NOT_A_WORD.sub("_", name).strip("_") or "server"
        template: JsonObject = {"name": manual, "call_template_type": "mcp"}
        for key in _KEPT:
            if entry.get(key):
                template[key] = entry[key]
        if entry.get("type") == "sse":
            template["transport"] = "sse"
        for place in _SECRET_PLACES:
            if is_object(template.get(place)):
                template[place] = _with_variables(template[place], manual, made)
        if "args" in template:
            template["args"] = [_INPUT.sub(r"${\1}", str(word)) for word in template["args"]]
        made.manuals.append(template)
    return made


def _with_variables(values: JsonObject, manual: str, made: Migrated) -> JsonObject:
    written: JsonObject = {}
    for key, value in values.items():
        text = str(value)
        if asked := _INPUT.findall(text):
            made.remarks.append(f"Set {', '.join(asked)}: the host asked for it.")
            written[key] = _INPUT.sub(r"${\1}", text)
        elif "$" in text:
            written[key] = text
        else:
            variable = _NOT_A_WORD.sub("_", f"{manual}_{key}").upper()
            credential = _CREDENTIAL.fullmatch(text)
            made.secrets[variable] = credential["secret"] if credential else text
            written[key] = f"{credential['scheme']} ${{{variable}}}" if credential else f"${{{variable}}}"
    return written


def merge(configuration: JsonObject, migrated: Migrated, dotenv: str) -> JsonObject:
    """The configuration with further manuals; one that is there already is replaced."""
    names = {manual["name"] for manual in migrated.manuals}
    known: list[Any] = list(configuration.get("manual_call_templates") or ())
    kept = [manual for manual in known if not (is_object(manual) and manual.get("name") in names)]
    loaders: list[Any] = list(configuration.get("load_variables_from") or ())
    loader = {"variable_loader_type": "dotenv", "env_file_path": dotenv}
    if migrated.secrets and loader not in loaders:
        loaders.append(loader)
    merged = {**configuration, "manual_call_templates": [*kept, *migrated.manuals]}
    return {**merged, "load_variables_from": loaders} if loaders else merged


def dotenv_text(before: str, secrets: Mapping[str, str]) -> str:
    """The dotenv file with these variables; lines of the same names are replaced."""
    lines = [line for line in before.splitlines() if line.partition("=")[0].strip() not in secrets]
    return "\n".join([*lines, *_assignments(secrets.items())]) + "\n"


def _assignments(pairs: Iterable[tuple[str, str]]) -> Iterable[str]:
    for name, value in pairs:
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        yield f"{name}='{escaped}'"
