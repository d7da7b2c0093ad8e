"""The files of hosts on this machine: which exist, whose they are, and what is in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from utcp_bridge.configuration.hosts.reading import HostServer, read_servers
from utcp_bridge.configuration.hosts.table import HOSTS, Host
from utcp_bridge.errors import ConfigError, UtcpError
from utcp_bridge.model import JsonObject, is_object

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["HostFile", "find_host_files", "read_host_file"]

_MAX_FILE = 100 * 2**20
"""Bytes of a host's file. One that also keeps conversations has some MiB."""


@dataclass(frozen=True, slots=True)
class HostFile:
    """One host's file."""

    path: Path
    text: str = field(repr=False)
    """Without a byte order mark; empty if there is no such file."""
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
        return read_servers(self.content, host=self.host, where=str(self.path), project=self.within)


def find_host_files(
    home: Path, project: Path | None = None, system: str | None = None
) -> Iterator[tuple[Host, Path]]:
    """Yield each host's file that exists, in the home folder and in the project's folder."""
    seen: set[Path] = set()
    for folder in (None, project) if project is not None else (None,):
        for host in HOSTS.values():
            for path in host.files(home=home, project=folder, system=system):
                if path not in seen and path.is_file():
                    seen.add(path)
                    yield host, path


def read_host_file(path: Path, host: Host | None = None, *, within: Path | None = None) -> HostFile:
    """Return the file at `path`, or an empty one. Without `host`, its path and its keys say whose it is.

    :raises ConfigError: the file cannot be read or parsed, or it is not `within` this folder. It is not changed.
    """
    data = _bytes(path, within)
    try:
        text = (data or b"").decode("utf-8-sig")
        content = _parsed(path, text)
    except (UnicodeDecodeError, UtcpError) as error:
        raise ConfigError(
            f"{path} cannot be parsed: {error}", remedy="Correct the file first. Nothing was changed."
        ) from None
    if not is_object(content):
        raise ConfigError(f"{path} must contain an object.", remedy="Nothing was changed.")
    host = host or HOSTS["claude-code"]
    return HostFile(path, text, data, content, host, host.key, within)


def _bytes(path: Path, within: Path | None) -> bytes | None:
    from utcp_bridge.net.files.local_file import read_file_now
    from utcp_bridge.net.files.writing import resolve_target

    target = resolve_target(path, within=within)
    try:
        return read_file_now(str(target), target.parent, _MAX_FILE, confined=True)[1] if target.exists() else None
    except (OSError, UtcpError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None


def _parsed(path: Path, text: str) -> Any:
    from utcp_bridge.dialects.documents import parse_document

    if not text.strip():
        return {}
    return parse_document(text.encode(), hint=path.suffix, jsonc=path.suffix != ".toml", where=str(path))
