"""The files of hosts on this machine: which exist, whose they are, and what is in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from utcp_bridge.configuration.hosts.filters import switched_off_elsewhere
from utcp_bridge.configuration.hosts.reading import HostConfiguration, HostServer, as_configuration, read_servers
from utcp_bridge.configuration.hosts.recognition import find_section, host_of_path
from utcp_bridge.configuration.hosts.table import HOSTS, Host
from utcp_bridge.dialects.documents import decoded, parse_document
from utcp_bridge.errors import ConfigError, UtcpError
from utcp_bridge.model import JsonObject, is_object

__all__ = ["HostFile", "find_host_files", "host_configuration", "read_host_file"]

_MAX_FILE: Final = 100 * 2**20
"""Bytes of a host's file. One that also keeps conversations has some MiB."""


@dataclass(frozen=True, slots=True)
class HostFile:
    """One host's file."""

    path: Path
    text: str = field(repr=False)
    """Without a byte order mark; empty if the file does not exist."""
    data: bytes | None = field(repr=False)
    """The bytes as they were read; None if the file does not exist."""
    content: JsonObject = field(repr=False)
    host: Host
    key: tuple[str, ...]
    """The path to the servers in this file. It may be another one than the host's own: OpenCode has two."""
    within: Path | None = None
    """The project's folder, whose files and links are not trusted; None in the home folder."""

    @property
    def servers(self) -> list[HostServer]:
        """Return the servers of the file."""
        section = find_section(self.content, host=self.host, path=self.path.absolute())
        entries = {} if section is None else dict(section.entries)
        off = switched_off_elsewhere(self.path.absolute(), self.host, entries)
        return read_servers(self.content, host=self.host, where=str(self.path.absolute()), off=off)


def find_host_files(home: Path, project: Path | None = None, system: str | None = None) -> Iterator[tuple[Host, Path]]:
    """Yield each host's file that exists: in the home folder, then in the project's folder."""
    seen: set[Path] = set()
    for folder in (None,) if project is None else (None, project):
        for host in HOSTS.values():
            for path in host.files(home=home, project=folder, system=system):
                if path not in seen and path.is_file():
                    seen.add(path)
                    yield host, path


def read_host_file(path: Path, host: Host | None = None, *, within: Path | None = None) -> HostFile:
    """Return the file at `path`, or an empty one. Without `host`, its path and its keys say whose it is.

    :raises ConfigError: the file cannot be read or parsed, it is not `within` this folder, or it has no servers and is
        not the file of a known host. It is not changed.
    """
    data = _bytes(path, within)
    try:
        text = decoded(data or b"", str(path))
        content = _parsed(path, text)
    except UtcpError as error:
        remedy = "Correct the file first. Nothing was changed."
        raise ConfigError(f"{path} cannot be parsed: {error}", remedy=remedy) from None
    if not is_object(content):
        raise ConfigError(f"{path} must contain an object.", remedy="Nothing was changed.")
    section = find_section(content, host=host, path=path.absolute())
    owner = host or (section.host if section is not None else None) or host_of_path(path.absolute())
    if owner is None and section is None:
        keys = ", ".join(dict.fromkeys(".".join(one.key) for one in HOSTS.values()))
        raise ConfigError(f"{path} has no MCP servers.", remedy=f"It needs one of the keys {keys}.")
    owner = owner or HOSTS["claude-code"]  # its form is the most common one
    return HostFile(path, text, data, content, owner, owner.key if section is None else section.key, within)


def host_configuration(content: Any, path: Path) -> HostConfiguration | None:
    """Return a host's file as a configuration, with what other files of the host switch off.

    None for other documents.
    """
    section = find_section(content, path=path)
    if section is None:
        return None
    return as_configuration(content, path=path, off=switched_off_elsewhere(path, section.host, dict(section.entries)))


def _bytes(path: Path, within: Path | None) -> bytes | None:
    from utcp_bridge.net.files.local_file import read_file_now
    from utcp_bridge.net.files.writing import resolve_target

    target = resolve_target(path, within=within)
    try:
        return read_file_now(str(target), target.parent, _MAX_FILE, confined=True)[1] if target.exists() else None
    except (OSError, UtcpError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None


def _parsed(path: Path, text: str) -> Any:
    """Return the content of a file; an empty object if it is empty or has comments only."""
    if not text.strip() or (path.suffix in {".json", ".jsonc"} and _has_only_comments(text)):
        return {}
    content = parse_document(text.encode(), hint=path.suffix, jsonc=path.suffix in {".json", ".jsonc"}, where=str(path))
    return {} if content is None else content


def _has_only_comments(text: str) -> bool:
    """Return whether a JSON text is empty but for comments."""
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        end = {"//": "\n", "/*": "*/"}.get(text[at : at + 2])
        if end is None:
            return False
        closed = text.find(end, at + 2)
        at = len(text) if closed < 0 else closed + len(end)
    return True
