"""Safe changes of the file of an MCP host."""

from __future__ import annotations

import difflib
import re
import shutil
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from utcp_bridge.configuration.hosts.table import HOSTS, Host
from utcp_bridge.errors import ConfigError, UtcpError
from utcp_bridge.model import JsonObject, is_object

__all__ = [
    "EditedFile",
    "bridge_command",
    "is_users_file",
    "read_host_file",
    "read_text_file",
    "show_changes",
]


_KEYS = ("mcpServers", "servers", "mcp_servers")
_MAX_FILE: Final = 100 * 2**20
"""Bytes of a host's file. One that also keeps conversations has some MiB."""
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def bridge_command(*sources: str) -> tuple[str, list[str]]:
    """Return the command that a host starts, by absolute path: a host has its own working folder and its own PATH."""
    arguments = ["serve", *sources]
    found = shutil.which("utcp-bridge") or shutil.which("utcp-bridge", path=str(Path(sys.executable).parent))
    return (found, arguments) if found else (sys.executable, ["-m", "utcp_bridge", *arguments])


@dataclass(frozen=True, slots=True)
class EditedFile:
    """One host's file: its text, its parsed content, and the key that contains its servers."""

    path: Path
    text: str = field(repr=False)
    content: JsonObject = field(repr=False)
    key: str
    data: bytes | None = None
    """The bytes as they were read; None if the file does not exist."""
    within: Path | None = None
    """The project's folder, whose files and links are not trusted."""

    @property
    def servers(self) -> JsonObject:
        """Return the servers by name."""
        found = self.content.get(self.key)
        return dict(found) if is_object(found) else {}

    @property
    def has_comments(self) -> bool:
        """Return whether the file has comments, which a new JSON text does not have."""
        if self.path.suffix == ".toml" or not self.text.strip():
            return False
        try:
            orjson.loads(self.text)
        except orjson.JSONDecodeError:
            return True
        return False

    def with_servers(self, servers: Mapping[str, Any]) -> str:
        """Return the file's text with these servers. Everything else stays as it is."""
        if self.path.suffix == ".toml":
            return _toml_with(self.text, self.key, self.servers, servers)
        content = {**self.content, self.key: dict(servers)}
        return orjson.dumps(content, option=orjson.OPT_INDENT_2).decode() + "\n"

    def write(self, text: str, *, private: bool = False) -> Path | None:
        """Replace the file in one step. Return the backup of the old file, if there was one.

        A new file can be read by its owner only, and any file if `private`.

        :raises ConfigError: it cannot be written, or another program changed it after it was read.
        """
        from utcp_bridge.net.files.writing import write_file

        if self.within is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        return write_file(
            self.path,
            text.encode(),
            private=private or self.data is None,
            backup=True,
            within=self.within,
            before=self.data,
        )


def read_host_file(path: Path, host: Host | None = None, *, within: Path | None = None) -> EditedFile:
    """Return the file at `path`, or an empty one. Without `host`, the file's keys determine the kind of host.

    :raises ConfigError: the file cannot be read or parsed, or it is not `within` this folder. It is not changed.
    """
    text, data = read_text_file(path, within=within)
    try:
        content = _parsed(path, text)
    except (tomllib.TOMLDecodeError, UtcpError) as error:
        raise ConfigError(
            f"{path} cannot be parsed: {error}", remedy="Correct the file first. Nothing was changed."
        ) from None
    if not is_object(content):
        raise ConfigError(f"{path} must contain a JSON object.", remedy="Nothing was changed.")
    keys = [host.key[0]] if host is not None else [key for key in _KEYS if is_object(content.get(key))]
    if not keys:
        raise ConfigError(f"{path} has no MCP servers.", remedy=f"It needs one of the keys {', '.join(_KEYS)}.")
    return EditedFile(path, text, content, keys[0], data, within)


def read_text_file(path: Path, *, within: Path | None) -> tuple[str, bytes | None]:
    """Return the text and the bytes of a file; no text and None if it does not exist.

    :raises ConfigError: it cannot be read, or it is not `within` this folder.
    """
    from utcp_bridge.net.files.local_file import read_file_now
    from utcp_bridge.net.files.writing import resolve_target

    target = resolve_target(path, within=within)
    try:
        data = read_file_now(str(target), target.parent, _MAX_FILE, confined=True)[1] if target.exists() else None
        return (data or b"").decode("utf-8-sig"), data
    except (OSError, UtcpError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} cannot be read ({type(error).__name__}).") from None


def is_users_file(path: Path) -> bool:
    """Return whether this is the file of a host in the home folder."""
    home = Path.home()
    return path.absolute() in {file for host in HOSTS.values() for file in host.files(home=home)}


def show_changes(file: EditedFile, text: str) -> str:
    """Return the changes as a unified diff."""
    lines = difflib.unified_diff(
        file.text.splitlines(), text.splitlines(), str(file.path), f"{file.path} (new)", lineterm=""
    )
    return "\n".join(lines)


def _parsed(path: Path, text: str) -> Any:
    from utcp_bridge.dialects.documents import parse_document

    if not text.strip():
        return {}
    if path.suffix == ".toml":
        return tomllib.loads(text)
    return parse_document(text.encode(), hint="application/jsonc", jsonc=True, where=str(path))


def _toml_with(text: str, key: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return TOML with the tables of servers removed, replaced or added. Every other line stays as it is."""
    kept: list[str] = []
    dropping = False
    for line in text.splitlines():
        header = re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line)
        if header:
            parts = [part.strip().strip("\"'") for part in header[1].split(".")]
            name = parts[1] if len(parts) > 1 and parts[0] == key else None
            dropping = name is not None and (name not in after or before.get(name) != after[name])
        if not dropping:
            kept.append(line)
    changed = [name for name in after if before.get(name) != after[name]]
    body = "\n".join(kept).rstrip()
    tables = "\n\n".join(_toml_table(key, name, after[name]) for name in changed)
    return "\n\n".join(part for part in (body, tables) if part) + "\n"


def _toml_table(key: str, name: str, entry: Mapping[str, Any]) -> str:
    head = f"{key}.{name if _BARE.fullmatch(name) else orjson.dumps(name).decode()}"
    plain = {member: value for member, value in entry.items() if not is_object(value)}
    lines = [f"[{head}]", *(f"{member} = {orjson.dumps(value).decode()}" for member, value in plain.items())]
    for member, value in entry.items():
        if is_object(value):
            lines += ["", f"[{head}.{member}]"]
            lines += [f"{_toml_key(inner)} = {orjson.dumps(item).decode()}" for inner, item in value.items()]
    return "\n".join(lines)


def _toml_key(name: str) -> str:
    return name if _BARE.fullmatch(name) else orjson.dumps(name).decode()
