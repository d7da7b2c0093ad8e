"""What a host's settings say about the tools of its servers by name: after a move, these names are others.

A rule that forbids a tool moves with its server. A server whose rules cannot move stays. Of other rules, the file and
the new name are reported, because the host asks its user again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from utcp_bridge.configuration.hosts.editing import form_of, parse_text, read_text
from utcp_bridge.configuration.hosts.recognition import project_of
from utcp_bridge.configuration.hosts.splicing import repeated_in_json
from utcp_bridge.errors import ConfigError
from utcp_bridge.model import JsonObject, is_list, is_object

if TYPE_CHECKING:
    from utcp_bridge.configuration.hosts.files import HostFile

__all__ = ["HostRules", "read_rules"]

_SETTINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "claude-code": (".claude/settings.json", ".claude/settings.local.json"),
    "cursor": (".cursor/cli-config.json", ".cursor/cli.json"),
}
"""Files with permissions, in the home folder and in the project's folder."""
_CURSOR: Final = re.compile(r"Mcp\((?P<server>[^:()]+)(?::(?P<tool>[^()]*))?\)")
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_-]")
_LISTS: Final = ("autoApprove", "auto_approve", "alwaysAllow", "always_allow", "autoAllowedTools")
_HANDLED: Final[Mapping[tuple[str, ...], Any]] = {("tools",): False, ("permission",): "deny"}
"""Rules of OpenCode that the reader of its file carries into the filters of a server."""


class _ToolRule(NamedTuple):
    path: Path
    text: str
    server: str
    tool: str
    """`*` for all tools of the server."""
    effect: str


@dataclass(slots=True)
class HostRules:
    """The rules of a host about the tools of its servers, by the names of the servers."""

    stay: dict[str, str] = field(default_factory=dict[str, str])
    """Why a server must stay."""
    deny: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """Tools that the host forbids; they may have asterisks."""
    rules: list[_ToolRule] = field(default_factory=list[_ToolRule])
    raws: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    file: Path = field(default_factory=Path)

    def sentences(self, manuals: Mapping[str, JsonObject], entry: str) -> Iterator[str]:
        """Yield what the user should change, for servers that moved to these manuals behind the bridge's `entry`."""
        for rule in self.rules:
            if rule.server not in manuals:
                continue
            name = f"{manuals[rule.server]['name']}_{rule.tool}"
            if rule.effect == "deny":
                yield f"{rule.path} forbids {rule.text}. The manual of {rule.server} excludes the tool."
            elif rule.text.startswith("mcp__"):
                yield f"{rule.path} names {rule.text}. The new name is mcp__{entry}__{name}."
            else:
                yield f"{rule.path} names {rule.text}. The new name is {entry}:{name}."
        for server, raw in self.raws.items():
            if server in manuals and is_object(raw):
                yield from self._approvals(server, raw, str(manuals[server]["name"]), entry)

    def _approvals(self, server: str, raw: JsonObject, manual: str, entry: str) -> Iterator[str]:
        for key in _LISTS:
            names = [name for name in (raw[key] if is_list(raw.get(key)) else ()) if isinstance(name, str)]
            if names:
                new = ", ".join(f"{manual}_{name}" for name in names)
                yield (
                    f"{self.file} had {key} for {', '.join(names)} of {server}. "
                    f"In the entry {entry!r} the new names are {new}."
                )
        if raw.get("trust") is True:
            yield f"{self.file} had trust for {server}. The host now asks before it calls tools of the entry {entry!r}."


def read_rules(file: HostFile, *, home: Path) -> HostRules:
    """Return the rules for the servers of a host's file. Settings that cannot be read have none."""
    servers = {server.name: server.raw for server in file.servers}
    rules = HostRules(raws=servers, file=file.path)
    _of_list(rules, file)
    _of_repeated(rules, file)
    if file.host.name in {"opencode", "kilo"}:
        for server in servers:
            _of_own_file(rules, server, file)
    folders = (home, project_of(file.path.absolute(), file.host, home=home))
    for folder in dict.fromkeys(one for one in folders if one is not None):
        for place in _SETTINGS.get(file.host.name, ()):
            _of_settings(rules, servers, folder / place)
    return rules


def _of_repeated(rules: HostRules, file: HostFile) -> None:
    """Let servers stay whose names several entries have: a move would remove all of them, and keep one."""
    if form_of(file.path) == "jsonc":
        for name in repeated_in_json(file.text, file.key):
            rules.stay[name] = "several entries of the file have its name; remove or rename all except one"


def _of_list(rules: HostRules, file: HostFile) -> None:
    """Let servers of a list stay that are not found there by their names."""
    found: Any = file.content
    for step in file.key:
        found = found.get(step) if is_object(found) else None
    names = [one.get("name") if is_object(one) else None for one in (found if is_list(found) else ())]
    for server in file.servers if is_list(found) else ():
        if names.count(server.name) != 1:
            rules.stay[server.name] = "its name is not the name of one entry"


def _of_settings(rules: HostRules, servers: Iterable[str], path: Path) -> None:
    try:
        content = parse_text(read_text(path, within=None)[0], "jsonc", where=str(path))
    except ConfigError:
        return
    by_name = {_NOT_IN_NAMES.sub("_", server): server for server in servers}
    permissions = content.get("permissions")
    for effect, listed in permissions.items() if is_object(permissions) else ():
        for text in listed if is_list(listed) else ():
            rule = _rule(path, str(text), effect, by_name)
            if rule is None or rule in rules.rules:
                continue
            if effect == "deny" and rule.tool == "*":
                rules.stay[rule.server] = f"{path} forbids {rule.text}"
            elif effect == "deny":
                rules.deny.setdefault(rule.server, []).append(rule.tool)
            rules.rules.append(rule)


def _rule(path: Path, text: str, effect: str, by_name: Mapping[str, str]) -> _ToolRule | None:
    """Return the rule that a text is; None if it is about something else than a server of `by_name`."""
    for name, server in sorted(by_name.items(), key=lambda pair: -len(pair[0])):
        if text == f"mcp__{name}" or text.startswith(f"mcp__{name}__"):
            return _ToolRule(path, text, server, text.removeprefix(f"mcp__{name}").removeprefix("__") or "*", effect)
    found = _CURSOR.fullmatch(text)
    if found is None:
        return None
    tool = found["tool"] or "*"
    for server in by_name.values():
        if found["server"].strip() in {server, "*"}:
            return _ToolRule(path, text, server, tool.strip(), effect)
    return None


def _of_own_file(rules: HostRules, server: str, file: HostFile) -> None:
    """Let a server stay if other rules of OpenCode's file than those that the reader carries over name its tools."""
    prefix = f"{_NOT_IN_NAMES.sub('_', server)}_"
    rest = {key: value for key, value in file.content.items() if key != file.key[0]}
    for place, key, value in _members(rest, ()):
        begins = key.startswith(prefix) or (key.endswith("*") and key != "*" and prefix.startswith(key.rstrip("*")))
        if begins and value not in (True, "allow") and not (place in _HANDLED and _HANDLED[place] == value):
            rules.stay[server] = f"`{'.'.join(place)}` has a rule for {key}"


def _members(value: JsonObject, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str, Any]]:
    for key, member in value.items():
        yield place, key, member
        if is_object(member):
            yield from _members(member, (*place, key))
