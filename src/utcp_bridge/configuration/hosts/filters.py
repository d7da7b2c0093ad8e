"""Which servers and tools of a host's file are switched off, as the bridge's `include` and `exclude`.

A filter never becomes wider: one that cannot be read lets no tool through, and a pattern where the host may mean a name
counts as both when it excludes, and as the name when it includes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, ClassVar, Final

from utcp_bridge.configuration.hosts.recognition import project_of
from utcp_bridge.configuration.hosts.table import Host
from utcp_bridge.dialects.documents import parse_document
from utcp_bridge.dialects.fields import sort_of, word
from utcp_bridge.errors import UtcpError
from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = ["ToolFilter", "switched_off", "switched_off_elsewhere"]

_INCLUDES: Final = ("includeTools", "enabled_tools", "enabledTools", "available_tools", "allowedTools", "allowed_tools")
_EXCLUDES: Final = ("excludeTools", "disabled_tools", "disabledTools", "excludedTools", "blockedTools")
_EMPTY_MEANS_ALL: Final = frozenset({"available_tools"})
_OFF_LISTS: Final = ("disabledMcpjsonServers", "disabledMcpServers", "disabled_mcp_servers", "excludeMCPServers")
_ON_LISTS: Final = ("allowMCPServers",)
_MAX_SWITCHES: Final = 4 * 2**20
_SWITCHES: Final = {
    "claude-code": ("disabledMcpjsonServers", (".claude/settings.json", ".claude/settings.local.json")),
    "copilot-cli": ("disabledMcpServers", (".copilot/settings.json", ".copilot/config.json")),
}
"""Hosts that switch servers off in other files: the key, and the files in the home folder and in the project."""
_BLOCKED: Final = frozenset({"blocked", "always_deny", "deny"})
"""Settings of one tool with which Claude Code does not offer it."""
_SPECIAL: Final = re.compile(r"[*?\[]")
_NOT_IN_KEYS: Final = re.compile(r"[^A-Za-z0-9_-]")
_NONE: Final[JsonObject] = {"exclude": {"names": ["*"]}}


def switched_off(content: JsonObject, names: Iterable[str]) -> dict[str, str]:
    """Return the servers that other keys of a host's file switch off, and why.

    These are `mcp.allowed` and `mcp.excluded` of Gemini CLI, and lists such as `disabledMcpjsonServers`.
    """
    mcp = content.get("mcp")
    places: list[tuple[str, Any, bool]] = [(key, content.get(key), False) for key in _OFF_LISTS]
    places += [(key, content.get(key), True) for key in _ON_LISTS]
    if is_object(mcp):
        places += [("mcp.excluded", mcp.get("excluded"), False), ("mcp.allowed", mcp.get("allowed"), True)]
    found: dict[str, str] = {}
    for place, listed, is_allowed in places:
        if listed is None or (is_object(listed) and place.startswith("mcp.")):
            continue  # OpenCode has servers of any name under `mcp`
        known = {str(one) for one in listed} if is_list(listed) else None
        for name in names:
            if known is None or (name in known) is not is_allowed:
                found[name] = f"`{place}` of the file switches it off"
    return found


def switched_off_elsewhere(
    path: Path, host: Host | None, entries: Mapping[str, Any] | None = None, *, home: Path | None = None
) -> frozenset[str]:
    """Return the servers that other files of the host switch off. A file that cannot be read switches nothing off.

    `entries` are the servers of the file at `path`, for rules about a command or a URL.
    """
    if host is None or host.name not in _SWITCHES:
        return frozenset()
    key, places = _SWITCHES[host.name]
    home = home or Path.home()
    project = project_of(path, host, home=home)
    found: set[str] = set()
    for place in dict.fromkeys(folder / place for folder in (home, project) if folder is not None for place in places):
        content = _read(place)
        found.update(_texts(content.get(key)))
        if host.name == "claude-code":
            denied = content.get("deniedMcpServers")
            rules = [rule for rule in (denied if is_list(denied) else ()) if is_object(rule)]
            found.update(str(rule["serverName"]) for rule in rules if "serverName" in rule)
            found.update(name for name, entry in (entries or {}).items() if any(_is_meant(entry, one) for one in rules))
    if host.name == "claude-code" and project is not None:  # what `/mcp` switches off in this project
        projects = _read(home / ".claude.json").get("projects")
        own = projects.get(project.as_posix()) if is_object(projects) else None
        if is_object(own):
            found.update([*_texts(own.get("disabledMcpServers")), *_texts(own.get("disabledMcpjsonServers"))])
    return frozenset(found)


def _is_meant(entry: Any, rule: JsonObject) -> bool:
    """Return whether a rule of Claude Code about a command or a URL means an entry. `*` in a URL is any text."""
    if not is_object(entry):
        return False
    command, url, args = rule.get("serverCommand"), rule.get("serverUrl"), entry.get("args")
    if is_list(command) and [entry.get("command"), *(args if is_list(args) else ())] == command:
        return True
    if not isinstance(url, str) or not isinstance(entry.get("url"), str):
        return False
    return _matches(url, entry["url"])


def _matches(pattern: str, text: str) -> bool:
    first, *others = pattern.split("*")
    if not others:
        return text == pattern
    at, end = len(first), len(text) - len(others[-1])
    if at > end or not (text.startswith(first) and text.endswith(others[-1])):
        return False
    for part in others[:-1]:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


def _texts(listed: Any) -> list[str]:
    return [str(one) for one in listed] if is_list(listed) else []


def _read(path: Path) -> JsonObject:
    """Return the object in another file of a host; an empty one if it cannot be read."""
    try:
        is_small = path.is_file() and path.stat().st_size <= _MAX_SWITCHES
        content = parse_document(path.read_bytes(), hint=".json", jsonc=True) if is_small else None
    except (OSError, UtcpError):
        return {}
    return content if is_object(content) else {}


class ToolFilter:
    """The filters of one entry. It removes the keys that it reads from the entry."""

    KEYS: ClassVar[frozenset[str]] = frozenset({*_INCLUDES, *_EXCLUDES, "tools"})

    def __init__(self, server: str, entry: JsonObject, content: JsonObject) -> None:
        self.notes: list[str] = []
        self._included: set[str] | None = None
        self._excluded: dict[str, None] = {}
        self._is_closed = False
        for key in _INCLUDES:
            if entry.get(key) is not None:
                self._include(key, entry.pop(key))
        if (tools := entry.pop("tools", None)) is not None:
            self._tools(tools)
        for key in _EXCLUDES:
            if entry.get(key) is not None:
                self._exclude(key, entry.pop(key))
        permissions = entry.get("toolPermissions")
        for name, setting in permissions.items() if is_object(permissions) else ():
            if isinstance(setting, str) and setting in _BLOCKED:
                self._hide(name)
        self._of_file(server, content)

    @property
    def rules(self) -> JsonObject:
        """Return `include` and `exclude`, as far as they are needed."""
        if self._is_closed or self._included == set():
            return _NONE
        made: JsonObject = {}
        if self._included is not None:
            made["include"] = {"names": [_exact(name) for name in sorted(self._included)]}
        if self._excluded:
            made["exclude"] = {"names": [*self._excluded]}
        return made

    def _close(self, key: str, what: str) -> None:
        self._is_closed = True
        self.notes.append(f"`{key}` {what}, so none of its tools is offered.")

    def _include(self, key: str, value: Any) -> None:
        names = [value] if isinstance(value, str) else value
        if not is_list(names):
            self._close(key, f"must be a list of names, not {sort_of(value)}")
            return
        if "*" in names or (not names and key in _EMPTY_MEANS_ALL):
            return
        found: set[str] = set()
        for one in names:
            if not isinstance(one, str):
                self.notes.append(f"`{key}` contains {sort_of(one)}, not a name; it is ignored.")
                continue
            if _SPECIAL.search(one):
                self.notes.append(f"`{key}` contains {word(one)!r}, which counts as a name and not as a pattern.")
            found.add(one.partition("(")[0] if key == "includeTools" else one)
        self._included = found if self._included is None else self._included & found

    def _exclude(self, key: str, value: Any) -> None:
        names = [value] if isinstance(value, str) else value
        if not is_list(names) or not all(isinstance(one, str) for one in names):
            self._close(key, "must be a list of names")
            return
        for one in names:
            self._hide(one.partition("(")[0] if key == "excludeTools" and one.endswith(")") else one)

    def _hide(self, name: str) -> None:
        self._excluded[name] = None
        if name != "*":
            self._excluded[_exact(name)] = None

    def _tools(self, value: Any) -> None:
        """Read `tools`: a list of names or `*` (Copilot), or a setting for each tool in an object (Codex) or a list."""
        if is_list(value) and value and all(is_object(one) and isinstance(one.get("name"), str) for one in value):
            for one in value:  # Claude Code
                if one.get("permission_policy") == "always_deny":
                    self._hide(one["name"])
            return
        if not is_object(value):
            self._include("tools", value)
            return
        for name, setting in value.items():
            options: Mapping[str, Any] = setting if is_object(setting) else {"enabled": setting}
            if options.get("enabled", True) is not True or options.get("disabled", False) is not False:
                self._hide(name)
            rest = [key for key in options if key not in {"enabled", "disabled"}]
            if rest:
                keys = ", ".join(map(word, rest))
                self.notes.append(f"`tools.{word(name)}` has {keys}, which concerns the host's own calls.")

    def _of_file(self, server: str, content: JsonObject) -> None:
        """Read `tools` and `permission` of OpenCode's file, whose keys are `server_tool` or patterns of these."""
        if not is_object(content.get("mcp")):
            return
        prefix = f"{_NOT_IN_KEYS.sub('_', server)}_"
        for section, off in (("tools", False), ("permission", "deny")):
            rules = content.get(section)
            for pattern, value in rules.items() if is_object(rules) else ():
                if value == off and type(value) is type(off):
                    self._hide_pattern(prefix, pattern)

    def _hide_pattern(self, prefix: str, pattern: str) -> None:
        if pattern.startswith(prefix):
            self._hide(pattern[len(prefix) :])
        elif _SPECIAL.search(pattern) and _may_reach(prefix, pattern):
            self._excluded["*"] = None
            self.notes.append(f"the rule {word(pattern)!r} of the file may mean its tools, so none of them is offered.")


def _may_reach(prefix: str, pattern: str) -> bool:
    """Return whether a pattern may match a name that begins with `prefix`, because of an asterisk within the prefix."""
    star = pattern.find("*")
    return star >= 0 and fnmatchcase(prefix, f"{pattern[:star]}*")


def _exact(name: str) -> str:
    """Return the pattern that matches this name only."""
    return _SPECIAL.sub(lambda found: f"[{found[0]}]", name)
