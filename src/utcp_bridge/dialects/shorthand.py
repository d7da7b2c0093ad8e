"""One-line forms of a manual call template, and names for entries without one.

`"./weather.json"` a local manual · `"https://example.com/manual.json"` a fetched one ·
`"wss://example.com/tools"` a WebSocket · `"mcp+stdio:python -m server"` and
`"mcp+https://example.com/mcp"` an MCP server.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import cast
from urllib.parse import urlsplit

from utcp_bridge.dialects.fields import safe_name, text_of
from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.processes.systems import split_command

__all__ = ["expand_shorthand", "host_file_entry", "suggest_name"]

_SCHEME = late_pattern(r"[A-Za-z][A-Za-z0-9+.-]+:")
_SERVER_NAME = "server"
_GENERIC = frozenset({"", "utcp", "manual", "openapi", "swagger", "index", "tools", "mcp", "api", "utcp_manual", "v1"})
_PLACES = ("url", "file_path", "command_name", "command", "host", "server_url", "signaling_server")
_COMMANDS = frozenset({"command_name", "command"})
_ARGUMENT = late_pattern(r"""\s(?=[-/"'~.]|[A-Za-z]:[\\/])""")
"""The blank before an option or a path, which follow the program in a command line."""


def expand_shorthand(text: str) -> JsonObject:
    """Return the call template, without a name, that a one-line form means.

    :raises ValueError: the scheme is unknown, or nothing follows it.
    """
    text = text.strip()
    lowered = text.lower()
    if lowered.startswith("mcp+stdio:"):
        return _stdio_server(text[len("mcp+stdio:") :])
    if lowered.startswith(("mcp+http://", "mcp+https://")):
        return _server({"transport": "http", "url": text[len("mcp+") :]})
    if lowered.startswith(("http://", "https://")):
        return {"call_template_type": "http", "url": text}
    if lowered.startswith(("ws://", "wss://")):
        return {"call_template_type": "websocket", "url": text}
    if lowered.startswith("file:"):
        return {"call_template_type": "file", "file_path": text[len("file:") :].removeprefix("//")}
    if not text:
        raise ValueError("the one-line form is empty.")
    if _SCHEME.match(text) and ("://" in text or "+" in text.split(":", 1)[0]):
        raise ValueError("the scheme of the one-line form is unknown.")
    return {"call_template_type": "file", "file_path": text}


def host_file_entry(servers: object) -> JsonObject:
    """Return the servers of an MCP host's file (`{"mcpServers": {…}}`) as one entry; tools are named `server.tool`."""
    return {"call_template_type": "mcp", "config": {"mcpServers": servers}}


def suggest_name(template: JsonObject, taken: Iterable[str]) -> str:
    """Return a name for an entry without one, made from its place. Equal configurations give equal names."""
    key = next((key for key in _PLACES if text_of(template.get(key))), "")
    place = text_of(template.get(key))
    stem = _stem(_program(place) if key in _COMMANDS else place)
    base = safe_name(stem or _server_name(template) or text_of(template.get("call_template_type"))) or "manual"
    taken = set(taken)
    name, number = base, 2
    while name in taken:
        name, number = f"{base}_{number}", number + 1
    return name


def _stdio_server(command_line: str) -> JsonObject:
    try:
        words = split_command(command_line)
    except ValueError as error:
        raise ValueError("a quotation mark in the command is not closed.") from error
    if not words:
        raise ValueError("no command follows `mcp+stdio:`.")
    return _server({"transport": "stdio", "command": words[0], "args": words[1:]})


def _server(server: JsonObject) -> JsonObject:
    return host_file_entry({_SERVER_NAME: server})


def _server_name(template: JsonObject) -> str:
    config = template.get("config")
    servers = config.get("mcpServers") if is_object(config) else None
    if not is_object(servers) or len(servers) != 1:
        return ""
    name, server = next(iter(servers.items()))
    if name != _SERVER_NAME or not is_object(server):
        return text_of(name)
    if url := text_of(server.get("url")):
        return _stem(url)
    words = [
        _program(text_of(server.get("command"))),
        *(cast("list[object]", server["args"]) if is_list(server.get("args")) else ()),
    ]
    return next((_stem(text_of(word)) for word in reversed(words) if not text_of(word).startswith("-")), "")


def _program(command: str) -> str:
    """Return the program of a command line, whose path may have blanks.

    `/opt/my tools/weather --utcp` → `/opt/my tools/weather`, `weather utcp` → `weather`.
    """
    command = command.strip()
    if command[:1] in {'"', "'"}:
        return command[1:].partition(command[0])[0]
    program = _ARGUMENT.split(command, 1)[0].rstrip()
    folder = re.match(r".*[\\/]", program)
    start = folder.end() if folder else 0
    return program[:start] + program[start:].split(" ", 1)[0]


def _stem(place: str) -> str:
    """`https://api.example.com/utcp` → `api_example_com`, `./my tools/weather.json` → `weather`."""
    try:
        parts = urlsplit(place) if "://" in place else None
        host = parts.hostname or "" if parts else ""
    except ValueError:
        parts, host = None, ""
    path = parts.path if parts else place
    last = re.split(r"[\\/]", path.rstrip("/\\"))[-1]
    stem = last.rsplit(".", 1)[0] if "." in last.lstrip(".") else last
    return host if host and stem.lower() in _GENERIC else stem
