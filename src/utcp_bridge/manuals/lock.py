"""`utcp.lock`: what the operator approved of each manual and tool, one line for each, beside the configuration.

    {
      "documents": {
        "weather": {"origin": "https://api.example.com", "sha256": HASH}
      },
      "offers": {
        "tracker/instructions": {"text": HASH},
        "tracker/prompts/triage": {"arguments": HASH, "description": HASH}
      },
      "tools": {
        "weather.get": {"description": HASH, "endpoint": HASH, "hints": {"readOnlyHint": true},
                        "host": "https://api.example.com", "inputs": HASH, "outputs": HASH}
      },
      "version": 2
    }

Hashes are SHA-256 in hexadecimal digits. A tool is approved by its line alone. The line of a manual says whether its
document has changed in other ways. `offers` has what MCP servers say besides their tools; a file of an older version
does not have it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TypeAlias

import orjson

from utcp_bridge.errors import ConfigError, UtcpError
from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import JsonObject, Source, Tool, Trust, is_list, is_object
from utcp_bridge.net.files.writing import exclusive, write_file
from utcp_bridge.settings import ManualOptions
from utcp_bridge.upstream import UNNAMED, Offers
from utcp_bridge.urls import bare_url, origin_of

__all__ = [
    "LOCK_NAME",
    "MAX_TOOLS",
    "Line",
    "LockFile",
    "Locked",
    "Saying",
    "changed_parts",
    "document_line",
    "is_locked",
    "line_of",
    "sayings",
    "short",
    "state_of",
]

LOCK_NAME: Final = "utcp.lock"
MAX_TOOLS: Final = 200_000
"""Tools in one lock file: ten times `max_tools`. It bounds what manuals with ever new names can add."""
_VERSION: Final = 2
_MAX_BYTES: Final = 128 * 1024 * 1024
_SHOWN_DIGITS: Final = 12
_NOT_CALLED: Final = frozenset({"name", *ManualOptions.model_fields})
"""Keys of a manual's own entry that do not say where a call goes."""
_LAST_COMMA: Final = late_pattern(rb",([ \t\r]*\n[ \t\r\n]*\})")
"""What is left when somebody deletes the last line of an object. No string of JSON contains a newline."""
_OPTIONS: Final = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS

Line: TypeAlias = JsonObject
"""What is approved of one tool, or of one document."""


def is_locked(tool: Tool) -> bool:
    """Return whether a tool needs approval: it is not the operator's own word.

    A transport's own discovery makes an overlay: a server wrote that.
    """
    return tool.source.trust is not Trust.OPERATOR or tool.overlay is not None


def line_of(tool: Tool) -> Line:
    """Return what the lock file has of a tool: what a model reads, the hints, and where a call goes."""
    template = {key: value for key, value in tool.template.items() if key not in _NOT_CALLED}
    return {
        "description": _hash([tool.description, tool.title, list(tool.tags), tool.deprecated]),
        "endpoint": _hash([tool.kind, template, tool.overlay, tool.source.origin]),
        "hints": dict(tool.annotations),
        "host": _host(tool),
        "inputs": _hash(tool.inputs),
        "outputs": _hash(tool.outputs),
    }


@dataclass(frozen=True, slots=True)
class Saying:
    """One text of an MCP server that hosts give to a model: a prompt of its list, or its instructions."""

    line: Line
    text: str
    prompt: str | None = None
    """The name of the prompt; None for the instructions."""


def sayings(manual: str, server: str, offers: Offers) -> dict[str, Saying]:
    """Return what the lock file has of the offers of a server, by its keys there.

    The keys begin with the manual, and with the server where the manual names several.
    """
    # Names of manuals have neither dots nor slashes. Without its slashes, the name of a server cannot end early.
    base = manual if server == UNNAMED else f"{manual}.{server.replace('/', '%2F')}"
    found: dict[str, Saying] = {}
    if offers.instructions:
        found[f"{base}/instructions"] = Saying({"text": _hash(offers.instructions)}, offers.instructions)
    for prompt in offers.prompts:
        name, text = str(prompt["name"]), prompt.get("description", "")
        line = {
            "arguments": _hash(prompt.get("arguments", [])),
            "description": _hash([text, prompt.get("title", "")]),
        }
        found[f"{base}/prompts/{name}"] = Saying(line, text, name)
    return found


def document_line(source: Source, digest: bytes | None) -> Line | None:
    """Return what the lock file has of a manual's document; None if the document has no hash."""
    return None if digest is None else {"origin": source.origin, "sha256": digest.hex()}


def changed_parts(known: Line, now: Line) -> list[str]:
    """Return the parts of a tool that differ, in the order of a line. `host` stands for `endpoint` if both do."""
    parts = [part for part in now if known.get(part) != now[part]]
    return [part for part in parts if part != "endpoint" or "host" not in parts]


def short(line: Line) -> str:
    """Return twelve hexadecimal digits that identify a line, for a message."""
    return _hash(line)[:_SHOWN_DIGITS]


def _host(tool: Tool) -> str:
    """Return where calls of a tool go, for a reader: an origin, a host, or the first word of a command."""
    template = tool.template
    for key in ("url", "server_url", "host"):
        if isinstance(value := template.get(key), str) and value:
            try:
                return origin_of(value)
            except (UtcpError, ValueError):
                return bare_url(value)
    commands = template.get("commands")
    first = commands[0] if is_list(commands) and commands else None
    command = first.get("command") if is_object(first) else template.get("command_name", template.get("command"))
    return str(command).split(maxsplit=1)[0] if command else tool.source.origin or tool.manual


def _hash(value: Any) -> str:
    try:
        data = orjson.dumps(value, option=_OPTIONS, default=str)
    except TypeError:  # big integers, lone surrogates
        data = repr(value).encode("utf-8", "surrogatepass")
    return sha256(data).hexdigest()


@dataclass(frozen=True, slots=True)
class Locked:
    """The content of a lock file."""

    tools: dict[str, Line] = field(default_factory=dict[str, JsonObject])
    """By qualified name."""
    documents: dict[str, Line] = field(default_factory=dict[str, JsonObject])
    """By the name of the manual: `sha256` of what was fetched, and its `origin` if it has one."""
    offers: dict[str, Line] | None = field(default_factory=dict[str, JsonObject])
    """By the keys of `sayings`; None if the file is of a version that did not compare them."""


@dataclass(slots=True)
class LockFile:
    """The file, as it was read last."""

    path: Path
    _seen: tuple[int, ...] = ()
    _content: Locked = field(default_factory=Locked)

    @property
    def exists(self) -> bool:
        """Whether something is at its path."""
        return os.path.lexists(self.path)

    def read(self) -> Locked:
        """Return the content; nothing if the file does not exist.

        :raises OSError: it cannot be read, or it is a link.
        :raises ValueError: it is not a lock file.
        """
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        try:
            if self.path.is_symlink():
                raise ValueError("it is a symbolic link")
            descriptor = os.open(self.path, flags)
        except FileNotFoundError:
            self._seen, self._content = (), Locked()
            return Locked()
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            seen = state_of(status)
            if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_BYTES:
                raise ValueError(f"it is not a regular file of at most {_MAX_BYTES >> 20} MiB")
            if seen != self._seen:
                self._content = _parsed(file.read(_MAX_BYTES))
                self._seen = seen
        offers = self._content.offers
        return Locked(dict(self._content.tools), dict(self._content.documents), None if offers is None else {**offers})

    def add(
        self,
        new: Mapping[str, Line],
        documents: Mapping[str, Line] | None = None,
        offers: Mapping[str, Line] | None = None,
    ) -> None:
        """Add lines to those that the file has now: they win over new ones.

        :raises ConfigError: the file cannot be written.
        :raises OSError: the present file cannot be read, or it is a link.
        :raises ValueError: the present file is not a lock file.
        """
        with exclusive(self.path):
            now = self.read()
            said = now.offers if offers is None else {**offers, **(now.offers or {})}
            self._write(Locked({**new, **now.tools}, {**(documents or {}), **now.documents}, said))

    def replace(self, before: Locked, after: Locked, force: bool = False) -> None:
        """Write a new content. `force` replaces any file.

        :raises ConfigError: the file cannot be written, or it is not as it was `before`.
        """
        with exclusive(self.path):
            if not force and not self._is(before):
                raise ConfigError(f"{self.path} has changed in the meantime.", remedy="Run the command again.")
            self._write(after)

    def _is(self, content: Locked) -> bool:
        try:
            return self.read() == content
        except (OSError, ValueError):
            return False

    def _write(self, content: Locked) -> None:
        parts = {"documents": content.documents, "offers": content.offers, "tools": content.tools}
        members = [f'  "{name}": {_lines(lines)},\n' for name, lines in parts.items() if lines is not None]
        text = f'{{\n{"".join(members)}  "version": {_VERSION}\n}}\n'
        write_file(self.path, text.encode(), within=self.path.parent)


def _lines(entries: Mapping[str, Line]) -> str:
    if not entries:
        return "{}"
    lines = [f"    {_text(name)}: {_text(entries[name])}" for name in sorted(entries)]
    return "{\n" + ",\n".join(lines) + "\n  }"


def _text(value: Any) -> str:
    return orjson.dumps(value, option=_OPTIONS).decode()


def _parsed(data: bytes) -> Locked:
    document = orjson.loads(_LAST_COMMA.sub(rb"\1", data))
    if not is_object(document) or document.get("version") != _VERSION:
        raise ValueError(f"it is not a lock file of version {_VERSION}")
    tools, documents, offers = document.get("tools"), document.get("documents", {}), document.get("offers")
    if not is_object(tools) or not is_object(documents) or not (offers is None or is_object(offers)):
        raise ValueError("`tools`, `documents` and `offers` must be objects")
    return Locked(_objects(tools), _objects(documents), None if offers is None else _objects(offers))


def _objects(entries: JsonObject) -> dict[str, Line]:
    """Return the lines. One that is not an object approves nothing."""
    return {name: line if is_object(line) else {} for name, line in entries.items()}


def state_of(status: os.stat_result) -> tuple[int, ...]:
    """Return what changes when a file does."""
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
