"""Servers of a host's file as manuals of a configuration, with their secrets as variables (pure).

A server moves only if nothing of it is lost. One that is switched off, that cannot be read, or that has keys which
nothing reads stays in the host's file as it is, and the plan says why.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import urlsplit

from utcp_bridge.configuration.hosts.hiding import hidden
from utcp_bridge.configuration.hosts.permissions import HostRules
from utcp_bridge.configuration.hosts.reading import HostServer, describes
from utcp_bridge.dialects.fields import safe_name
from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.variables import variable_names

__all__ = [
    "Move",
    "dotenv_text",
    "is_bridge",
    "plan_move",
    "read_dotenv",
    "served",
    "without_variable",
]

_OWN_NAMES: Final = frozenset({"utcp-bridge", "utcp", "utcp_bridge"})
_GUARDS: Final = ("default_tools_approval_mode", "toolPermissions", "tool_permissions", "tools")
_RESTRICTING: Final = ("prompt", "ask", "deny", "never", "writes", "untrusted")
_NOT_A_WORD: Final = re.compile(r"\W+", re.ASCII)

_Give = Callable[[str, str], str]
"""Takes the name of a place and its value, and returns what is written there."""


@dataclass(slots=True)
class Move:
    """What moves, what stays, and what the user has to know."""

    manuals: dict[str, JsonObject] = field(default_factory=dict[str, JsonObject], repr=False)
    """The manual of each server that moves, by the server's name in the host's file."""
    secrets: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    """Values of new variables."""
    known: list[str] = field(default_factory=list[str])
    """Servers whose manuals the configuration has already."""
    staying: dict[str, str] = field(default_factory=dict[str, str])
    """Why each other server stays, as a sentence that names it."""
    notes: list[str] = field(default_factory=list[str])


def is_bridge(entry: Any) -> bool:
    """Return whether a server's entry starts this bridge."""
    return bool(served(entry))


def served(entry: Any) -> list[str]:
    """Return the words of a bridge's entry from `serve` on; nothing if the entry starts something else."""
    if not is_object(entry):
        return []
    command = entry.get("command") or entry.get("cmd")
    words = [str(word) for part in (command, entry.get("args")) for word in (part if is_list(part) else [part])]
    at = words.index("serve") if "serve" in words else 0
    is_own = any(PurePath(word.replace("\\", "/")).name.removesuffix(".exe") in _OWN_NAMES for word in words[:at])
    return words[at:] if is_own else []


def plan_move(
    servers: Iterable[HostServer],
    configuration: JsonObject,
    known: Mapping[str, str | None],
    *,
    drop: Collection[str] = (),
    rules: HostRules | None = None,
) -> Move:
    """Return how servers move into a configuration.

    `known` are the variables of its dotenv file. A variable or manual of another content is never replaced: the new one
    gets another name. `drop` are keys that may be lost. `rules` are those of the host.
    """
    rules = rules or HostRules()
    move = Move()
    manuals: dict[str, JsonObject] = {
        str(manual["name"]): manual
        for manual in configuration.get("manual_call_templates") or ()
        if is_object(manual) and manual.get("name")
    }
    servers = list(servers)
    used = {*variable_names(configuration), *(name for one in servers for name in variable_names(one.template or {}))}
    variables = _Variables(known, used, move.secrets)
    for server in servers:
        move.notes += server.notes
        reason = _reason_to_stay(server, drop) or rules.stay.get(server.name)
        if reason is not None:
            move.staying[server.name] = f"{server.name} stays in the host's file: {reason}."
            continue
        stem = safe_name(server.name).strip("_") or "server"
        content = _content_of(server, variables.named(stem), move)
        if denied := rules.deny.get(server.name):
            excluded = content.get("exclude")
            names = excluded.get("names") if is_object(excluded) else None
            content["exclude"] = {"names": [*dict.fromkeys([*(names if is_list(names) else ()), *denied])]}
        name, number = stem, 2
        while name in manuals and {**manuals[name], "name": name} != {"name": name, **content}:
            name, number = f"{stem}_{number}", number + 1
        if name in manuals:
            move.known.append(server.name)
        elif name != stem:
            move.notes.append(f"The configuration has another manual {stem!r}, so {server.name} becomes {name!r}.")
        manuals[name] = move.manuals[server.name] = {"name": name, **content}
        lost = [key for key in server.remainder if key in drop]
        lost += [key for key in (server.raw if is_object(server.raw) else ()) if describes(key) and key != "name"]
        if lost:
            move.notes.append(f"The manual of {server.name} does not have its {', '.join(lost)}. The backup has.")
    return move


def _content_of(server: HostServer, give: _Give, move: Move) -> JsonObject:
    """Return the manual of a server without its name, and note each default that may be a secret."""
    readable: dict[str, None] = {}

    def keep(name: str, text: str) -> str:
        readable[name] = None
        return text

    content = {key: value for key, value in (server.template or {}).items() if key != "name"}
    content = hidden({"call_template_type": "mcp", **content}, give, keep)
    move.notes += [
        f"{server.name}: the default of ${{{name}}} may be a secret, and stays readable in the configuration. "
        f"Set {name} in the dotenv file, and remove the default."
        for name in readable
    ]
    return content


def _reason_to_stay(server: HostServer, drop: Collection[str]) -> str | None:
    if server.template is None:
        return "the bridge cannot read it"
    if not server.enabled:
        return "it is switched off"
    if _has_password(server.template.get("url")):
        return "its URL has a user name or a password, which the bridge does not send"
    guards = [key for key in _GUARDS if is_object(server.raw) and _asks_first(server.raw.get(key))]
    if guards:
        return f"the host asks before its tools run ({guards[0]}), and a move would lose that"
    unread = [key for key in server.remainder if key not in drop]
    if unread:
        options = " ".join(f"--drop {key}" for key in unread)
        return f"the bridge does not have its {', '.join(unread)}; to move it without, add {options}"
    return None


def _has_password(url: Any) -> bool:
    try:
        return isinstance(url, str) and "@" in urlsplit(url).netloc
    except ValueError:
        return False


def _asks_first(value: Any) -> bool:
    """Return whether a setting of approvals, at any depth, restricts what the host calls without a question."""
    if is_object(value):
        return any(map(_asks_first, value.values()))
    return any(map(_asks_first, value)) if is_list(value) else isinstance(value, str) and value in _RESTRICTING


class _Variables:
    """Gives each secret a variable. One that has the same value already is used again."""

    def __init__(self, known: Mapping[str, str | None], used: Collection[str], made: dict[str, str]) -> None:
        self._known = known
        self._used = used
        self._made = made

    def named(self, stem: str) -> _Give:
        """Return a function that replaces a value by its variable, whose name starts with `stem`."""

        def give(name: str, value: str) -> str:
            plain = value.replace("$$", "$")
            if not _survives(plain):
                return value
            base = _NOT_A_WORD.sub("_", f"{stem}_{name}").strip("_").upper()
            variable, number = base, 2
            while not self._is_free(variable, plain):
                variable, number = f"{base}_{number}", number + 1
            if variable not in self._known:
                self._made[variable] = plain
            return f"${{{variable}}}"

        return give

    def _is_free(self, variable: str, value: str) -> bool:
        there = self._made.get(variable, self._known.get(variable))
        return there == value or (there is None and variable not in self._known and variable not in self._used)


def _survives(value: str) -> bool:
    """Return whether a dotenv file can contain a value: it fills in `${…}` itself."""
    return bool(value) and read_dotenv(dotenv_text("", {"X": value})).get("X") == value


def read_dotenv(text: str) -> dict[str, str | None]:
    """Return the variables of a dotenv file."""
    from dotenv import dotenv_values

    return dotenv_values(stream=StringIO(text))


def dotenv_text(before: str, values: Mapping[str, str]) -> str:
    """Return a dotenv file with these variables added. Its other lines stay as they are."""
    newline = "\r\n" if "\r\n" in before else "\n"
    start = before if not before or before.endswith("\n") else before + newline
    escaped = ((name, value.replace("\\", "\\\\").replace("'", "\\'")) for name, value in values.items())
    return start + "".join(f"{name}='{value}'{newline}" for name, value in escaped)


def without_variable(text: str, name: str, value: str | None) -> str:
    """Return a dotenv file without the line of this variable, if it is written as `dotenv_text` does."""
    newline = "\r\n" if "\r\n" in text else "\n"
    line = dotenv_text("", {name: value or ""}).removesuffix("\n") + newline
    at = 0 if text.startswith(line) else text.find(f"\n{line}") + 1
    return text[:at] + text[at + len(line) :] if text.startswith(line, at) else text
