"""Where the servers are in a host's file, and whose file it is: its path and its keys say so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Final

from utcp_bridge.configuration.hosts.table import HOSTS, Host
from utcp_bridge.dialects.shapes import kind_key
from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = ["HostSection", "find_section", "host_of_path", "project_of"]

_KEYS: Final[tuple[tuple[str, ...], ...]] = (
    ("mcpServers",),
    ("mcp", "servers"),
    ("servers",),
    ("mcp_servers",),
    ("context_servers",),
    ("extensions",),
    ("mcp",),
)
"""The paths to servers, in the order in which they are tried."""
_BY_KEY: Final[Mapping[tuple[str, ...], str]] = {
    ("servers",): "vscode",
    ("mcp_servers",): "codex",
    ("context_servers",): "zed",
    ("extensions",): "goose",
    ("mcp",): "opencode",
}
_OTHER_DOCUMENTS: Final = ("openapi", "swagger", "asyncapi", "info", "paths", "utcp_version", "manual_version")
_SIGNS: Final = frozenset({
    "command", "cmd", "url", "uri", "serverUrl", "httpUrl", "type", "transport", "disabled", "enabled", "source",
    "settings",
})  # fmt: skip
"""Keys that the entries of servers have, at least one of them."""
_GENERIC: Final = frozenset({"mcp.json", "settings.json", "config.json", "config.yaml", "config.toml"})


@dataclass(frozen=True, slots=True)
class HostSection:
    """The servers of a host's file."""

    content: JsonObject = field(repr=False)
    key: tuple[str, ...]
    entries: tuple[tuple[str, Any], ...] = field(repr=False)
    """Name and entry of each server."""
    host: Host | None = None
    """Whose file it is, as far as that can be said: several hosts have `mcpServers`."""
    project: Path | None = None
    """The folder of the project that the file belongs to."""
    folder: Path | None = None
    """The folder of the file."""

    def path_of(self, name: str) -> tuple[str | int, ...]:
        """Return the path of a server in the file."""
        value = _at(self.content, self.key)
        if is_list(value):
            index = next((at for at, (one, _) in enumerate(self.entries) if one == name), 0)
            return (*self.key, index)
        return (*self.key, name)


def find_section(
    content: Any, *, host: Host | None = None, path: Path | None = None, home: Path | None = None
) -> HostSection | None:
    """Return the servers of a host's file; None if the document is something else. Never raises.

    `path` is where the file is. `host` says whose file it is, if that is known.
    """
    if not is_object(content) or kind_key(content) is not None or _is_other(content):
        return None
    host = host or (host_of_path(path) if path is not None else None)
    first = () if host is None else (("mcp", "servers"), host.key) if host.key == ("mcp",) else (host.key,)
    for key in dict.fromkeys((*first, *_KEYS)):
        value = _at(content, key)
        if value is None or not _is_section(key, value, content, is_sure=host is not None and key == host.key):
            continue
        entries = tuple(_entries(value))
        owner = host if host is not None and _fits(host, key) else _host_of_content(key, entries)
        project = None if path is None or owner is None else project_of(path, owner, home=home)
        return HostSection(content, key, entries, owner, project, path.parent if path is not None else None)
    return None


def host_of_path(path: Path) -> Host | None:
    """Return the host that has a file at this path, in any home folder or project and on any system."""
    best, length = None, 0
    for host in HOSTS.values():
        if (found := _longest(path, _places(host))) > length:
            best, length = host, found
    if best is not None and (length > 1 or path.name not in _GENERIC):
        return best
    if path.name in _GENERIC:
        return None
    owners = [host for host in HOSTS.values() if any(place.name == path.name for place in _places(host))]
    return owners[0] if len(owners) == 1 else None


def project_of(path: Path, host: Host, *, home: Path | None = None) -> Path | None:
    """Return the folder of the project that a host's file belongs to; None for a file of the user."""
    if path in set(host.files(home=home or Path.home())):
        return None
    of_project = _longest(path, (PurePath(place) for place in host.projects))
    of_user = _longest(path, (place for place in _places(host) if str(place) not in host.projects))
    if not of_project or of_user > of_project:
        return None
    return Path(*path.parts[:-of_project])


def _longest(path: Path, places: Iterator[PurePath]) -> int:
    """Return how many parts of a path the longest of the places has that it ends with."""
    return max((len(one.parts) for one in places if path.parts[-len(one.parts) :] == one.parts), default=0)


def _places(host: Host) -> Iterator[PurePath]:
    for place in (*(one for places in host.user.values() for one in places), *host.projects):
        yield PurePath(place.removeprefix("@settings/"))


def _at(content: Any, key: tuple[str, ...]) -> Any:
    for part in key:
        content = content.get(part) if is_object(content) else None
    return content


def _is_other(content: JsonObject) -> bool:
    return is_list(content.get("tools")) or any(key in content for key in _OTHER_DOCUMENTS)


def _is_section(key: tuple[str, ...], value: Any, content: JsonObject, *, is_sure: bool) -> bool:
    if key == ("mcpServers",):
        return is_object(value) or is_list(value)
    if not is_object(value):
        return False
    if key == ("mcp", "servers"):  # or a server of OpenCode that is named so
        return all(is_object(one) for one in value.values())
    if is_sure or key in {("mcp_servers",), ("context_servers",)}:
        return True
    if not value:
        return key == ("servers",) and content.keys() <= {"servers", "inputs", "$schema", "sandbox"}
    return any(is_object(one) and not _SIGNS.isdisjoint(one) for one in value.values())


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    if is_object(value):
        yield from value.items()
        return
    taken: set[str] = set()
    for index, one in enumerate(value):
        stated = one.get("name") if is_object(one) else None
        name = stated if isinstance(stated, str) and stated and stated not in taken else f"server_{index + 1}"
        taken.add(name)
        yield name, one


def _fits(host: Host, key: tuple[str, ...]) -> bool:
    """Return whether a host reads this key. OpenCode and Kilo Code have two forms, Kilo Code a third."""
    others = {"opencode": (("mcp", "servers"),), "kilo": (("mcp", "servers"), ("mcpServers",))}
    return key == host.key or key in others.get(host.name, ()) or host.name in {"vscode", "continue"}


def _host_of_content(key: tuple[str, ...], entries: tuple[tuple[str, Any], ...]) -> Host | None:
    objects = [entry for _, entry in entries if is_object(entry)]
    if key == ("mcp", "servers"):
        words = {str(entry.get("type")) for entry in objects}
        is_opencode = words & {"local", "remote"} or any(is_list(entry.get("command")) for entry in objects)
        return HOSTS["opencode" if is_opencode else "vscode"]
    if key in _BY_KEY:
        return HOSTS[_BY_KEY[key]]
    if any("httpUrl" in entry for entry in objects):
        return HOSTS["gemini-cli"]
    return None
