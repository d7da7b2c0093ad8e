"""The servers of a host's file, in the fields of the bridge's `mcp` call template.

Every key of an entry is read, or is in its `remainder`, or has a note. A server is never started that the host does not
start, and its filters are never wider than in the host.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from utcp_bridge.configuration.hosts.filters import ToolFilter, switched_off
from utcp_bridge.configuration.hosts.hiding import hidden
from utcp_bridge.configuration.hosts.recognition import HostSection, find_section
from utcp_bridge.configuration.hosts.substitution import Asked, Substitution, inputs_of
from utcp_bridge.configuration.hosts.table import Host
from utcp_bridge.dialects.fields import nearest, sort_of, word
from utcp_bridge.dialects.v1 import CONFIG_KEYS
from utcp_bridge.model import Fault, JsonObject, is_list, is_object
from utcp_bridge.settings import TimeoutSettings
from utcp_bridge.transports.mcp.servers import McpServer, plain_text, unread_keys, why_not_sent
from utcp_bridge.urls import url_fault

__all__ = [
    "HostConfiguration",
    "HostServer",
    "as_configuration",
    "describes",
    "read_section",
    "read_servers",
    "unread_in_entry",
]

_KINDS: Final[Mapping[str, str]] = {
    "stdio": "stdio",
    "local": "stdio",
    "http": "http",
    "https": "http",
    "remote": "http",
    "streamablehttp": "http",
    "sse": "sse",
}
"""`type` or `transport` of an entry, without case, blanks, hyphens and underscores."""
_URLS: Final = ("httpUrl", "serverUrl", "url", "uri", "server_url")
"""The keys of a URL. An entry with several of them has the first."""
_URL_WINS: Final = frozenset({"gemini-cli", "antigravity", "windsurf"})
"""Hosts that reach a server by its URL if the entry has a command too."""
_ENVS: Final = ("env", "environment", "envs", "env_vars")
_HEADERS: Final = ("headers", "http_headers")
_FOLDERS: Final = ("cwd", "workingDir", "working_dir", "workingDirectory", "working_directory")
_START_LIMITS: Final[Mapping[str, float]] = {"startup_timeout_sec": 1, "startup_timeout_ms": 1_000}
_STEPS: Final[Mapping[str, str]] = {
    "startup": "discovery_timeout",
    "catalog": "discovery_timeout",
    "execution": "call_timeout",
    "request": "call_timeout",
}
_CALL_SECONDS: Final[float] = TimeoutSettings.model_fields["call_timeout"].default
_SILENT: Final = frozenset({
    "name", "serverName", "description", "title", "displayName", "display_name", "icon", "icons", "iconPath",
    "iconUrl", "faviconUrl", "logo", "bundled", "gallery", "version", "note", "notes", "comment", "comments",
    "sourceFile", "source", "author", "homepage", "category", "tags",
})  # fmt: skip
"""Keys that describe a server and change nothing."""
_OF_HOST: Final = frozenset({
    "autoApprove", "auto_approve", "alwaysAllow", "always_allow", "trust", "default_tools_approval_mode",
    "autoAllowedTools", "toolPermissions", "tool_permissions", "dev", "required", "supports_parallel_tool_calls",
    "alwaysLoad", "hidden", "deferTools", "disableToolCache", "slowConnectionThresholdMs", "startup_readiness",
    "omit_tools_from", "codemode", "role",
})  # fmt: skip
"""Keys that concern the host itself: when it asks its user, and how it uses the server."""
_LOGINS: Final = frozenset({
    "oauth", "auth", "scopes", "oauth_resource", "oauthScopes", "authProviderType", "targetAudience",
    "targetServiceAccount", "headersHelper", "http_headers_helper", "apiKey", "oidc", "authorization", "oauthClientId",
    "oauthPublicClient", "oauthGrantType",
})  # fmt: skip
"""Keys with which a host gets credentials itself."""
_BOXES: Final = frozenset({"sandbox", "sandboxEnabled", "experimental_environment", "environment_id"})
_READ: Final = frozenset({
    *_URLS, *_ENVS, *_HEADERS, *_FOLDERS, *_START_LIMITS, *_SILENT, *_OF_HOST, *_LOGINS, *_BOXES, "type", "transport",
    "command", "cmd", "args", "envFile", "env_file", "disabled", "enabled", "timeout", "tool_timeout_sec",
    "connectionTimeout", "bearer_token_env_var", "env_http_headers", "inherit_env_vars", "env_keys", "requestOptions",
    "auth_token", "sessions",
    *ToolFilter.KEYS,
})  # fmt: skip
_FILTERS: Final = "Choose tools with `include` and `exclude` next to `config`."
_COPY: Final = "Copy those that you need into a file of their own."
_WORDS: Final = re.compile(r"[\s_-]+")


def describes(key: str) -> bool:
    """Return whether a key of an entry describes the server, and changes nothing of what it does."""
    return key in _SILENT or key.startswith(("_", "$", "x-"))


@dataclass(frozen=True, slots=True)
class HostServer:
    """One server of a host's file."""

    name: str
    raw: Any = field(repr=False)
    """The entry as it is in the file."""
    template: JsonObject | None = field(default=None, repr=False)
    """The server in the fields of an `mcp` call template, with its name, variables as `${NAME}`, and `include` or
    `exclude`; None if it cannot be read."""
    enabled: bool = True
    remainder: JsonObject = field(default_factory=dict[str, Any], repr=False)
    """The keys that nothing reads, with their values. Without them the server may not work, or may do more."""
    asks: tuple[Asked, ...] = ()
    notes: tuple[str, ...] = ()
    """What the reader found, one sentence each, with the server's name."""
    is_internal: bool = False
    """Whether it is a part of the host itself, such as a built-in extension, and so cannot be read."""


def read_servers(
    content: JsonObject,
    *,
    host: Host | None,
    where: str,
    project: Path | None = None,
    home: Path | None = None,
    off: Iterable[str] = (),
) -> list[HostServer]:
    """Return the servers of a host's file in their order. One that cannot be read has no template, and a note says why.

    Without `host`, the keys of the file say whose it is. `where` is the path of the file, if it is one. `project` is
    the project's folder for `${workspaceFolder}`, and `home` that of the user for `${userHome}`. `off` are names of
    servers that other files of the host switch off. Never raises.
    """
    section = find_section(content, host=host, path=Path(where) if os.path.isabs(where) else None, home=home)  # noqa: PTH117 - a text that may not be a path
    return [] if section is None else read_section(section, project=project or section.project, home=home, off=off)


def read_section(
    section: HostSection, *, project: Path | None = None, home: Path | None = None, off: Iterable[str] = ()
) -> list[HostServer]:
    """Return the servers of a section, as `read_servers` does."""
    inputs = inputs_of(section.content)
    switches = switched_off(section.content, [name for name, _ in section.entries]) | dict.fromkeys(
        off, "another file of the host switches it off"
    )
    found: list[HostServer] = []
    for name, raw in section.entries:
        if not is_object(raw):
            note = f"{_shown(name)}: the entry is {sort_of(raw)}, not an object, so it is left out."
            found.append(HostServer(name, raw, notes=(note,)))
            continue
        substitution = Substitution(
            section.host.variables if section.host else frozenset(), inputs, project=project, home=home
        )
        found.append(_EntryReader(name, raw, section, substitution).read(switches.get(name)))
    return found


def _shown(name: str) -> str:
    return f"server {word(name)!r}"


class _Unreadable(Exception):
    """Why a server cannot be read, and what to do."""

    def __init__(self, why: str, remedy: str = "") -> None:
        super().__init__(why)
        self.remedy = remedy


class _Internal(_Unreadable):
    """It is a part of the host."""


class _EntryReader:
    """Reads one entry. What it takes is read; what is left at the end is the remainder."""

    def __init__(self, name: str, raw: JsonObject, section: HostSection, substitution: Substitution) -> None:
        self._name = name
        self._raw = raw
        self._section = section
        self._texts = substitution
        self._left: JsonObject = dict(raw)
        self._kept: JsonObject = {}
        """Keys that nothing translates, and that change what the server does."""
        self._notes: list[str] = []
        self._made: JsonObject = {"name": name, "call_template_type": "mcp"}

    def read(self, switch: str | None) -> HostServer:
        """Return the server. `switch` says why another key of the file switches it off."""
        enabled = self._is_enabled(switch)
        try:
            self._unfold()
            self._way()
            self._folder()
            self._limits()
            self._filters()
        except _Unreadable as error:
            note = f"{_shown(self._name)}: {error}, so it is left out. {error.remedy}".rstrip()
            is_internal = isinstance(error, _Internal)
            return HostServer(
                self._name, self._raw, None, enabled, dict(self._raw), notes=(note,), is_internal=is_internal
            )
        self._rest()
        self._variables()
        template = self._made if enabled else {**self._made, "disabled": True}
        asks = tuple(self._texts.asks.values())
        return HostServer(self._name, self._raw, template, enabled, self._kept, asks, tuple(self._notes))

    def _note(self, what: str) -> None:
        self._notes.append(f"{_shown(self._name)}: {what}")

    def _take(self, *keys: str) -> tuple[str, Any]:
        """Return the first of the keys that the entry has, and its value; nulls count as absent."""
        for key in keys:
            if self._left.get(key) is not None:
                return key, self._left.pop(key)
        return keys[0], None

    # --- switches -----------------------------------------------------------------------------------

    def _is_enabled(self, switch: str | None) -> bool:
        off = switch is not None
        if switch is not None:
            self._note(f"{switch}.")
        for key, when_off in (("disabled", True), ("enabled", False)):
            _, value = self._take(key)
            if value is None:
                continue
            stated = {"true": True, "false": False}.get(value.lower()) if isinstance(value, str) else value
            if not isinstance(stated, bool):
                self._note(f"`{key}` must be true or false, not {sort_of(value)}; the server stays off.")
                off = True
            else:
                off = off or stated is when_off
        return not off

    # --- where the server is ------------------------------------------------------------------------

    def _unfold(self) -> None:
        """Bring nested forms onto one level: `transport: {…}`, Goose's `config: {…}`, Zed's `command: {…}`."""
        for key in ("transport", "config", "command"):
            inner = self._left.get(key)
            if not is_object(inner) or (key == "config" and not _READ.intersection(inner)):
                continue
            del self._left[key]
            names = {"path": "command"} if key == "command" else {}
            for one, value in inner.items():
                name = names.get(one, one)
                if self._left.get(name) is None:
                    self._left[name] = value
                else:
                    self._kept[f"{key}.{one}"] = value
                    self._note(f"`{one}` is in the entry and in `{key}`; the entry's own is used.")

    def _way(self) -> None:
        kind = self._kind()
        urls = [(key, self._left.pop(key)) for key in _URLS if self._left.get(key) is not None]
        command_key, command = self._take("command", "cmd")
        if urls and command is not None:
            url_wins = kind != "stdio" and (kind is not None or self._is_url_first())
            self._note(
                f"it has `{command_key}` and `{urls[0][0]}`; {'the URL' if url_wins else 'the command'} is used."
            )
            if url_wins:
                self._kept[command_key], command = command, None
            else:
                self._kept.update(urls)
                urls = []
        if urls:
            self._remote(urls, kind)
        elif command is not None:
            self._local(command_key, command)
        else:
            if self._left.get("source") == "extension" or "settings" in self._left:
                raise _Internal("it belongs to an extension of the host")
            raise _Unreadable("it has neither a command nor a URL")

    def _is_url_first(self) -> bool:
        host = self._section.host
        return host is not None and host.name in _URL_WINS

    def _kind(self) -> str | None:
        """Return `stdio`, `http` or `sse`; None if the entry does not say."""
        stated: dict[str, str] = {}
        for key in ("type", "transport", "transportType"):
            _, value = self._take(key)
            if value is None:
                continue
            kind = _KINDS.get(_WORDS.sub("", value).lower()) if isinstance(value, str) else None
            if isinstance(value, str) and value.lower() in {"ws", "websocket"}:
                what = "and the bridge reaches MCP servers by stdio, streamable HTTP and SSE only"
                raise _Unreadable(f"its `{key}` is {word(value)!r}, {what}")
            if kind is None:
                shown = repr(word(value)) if isinstance(value, str) else sort_of(value)
                raise _Internal(f"its `{key}` is {shown}, which is not a way to an MCP server outside the host")
            if kind not in stated.values():
                stated[key] = kind
        if len(stated) > 1:
            self._note(f"{' and '.join(f'`{key}`' for key in stated)} differ; `{next(iter(stated))}` is used.")
        return next(iter(stated.values()), None)

    def _remote(self, urls: list[tuple[str, Any]], kind: str | None) -> None:
        (key, url), *others = urls
        if not isinstance(url, str) or not url.strip():
            raise _Unreadable(f"its `{key}` must be text")
        if others:
            self._kept.update(others)
            self._note(f"it has several URLs; `{key}` is used.")
        if url.startswith(("unix:", "pipe:")):
            raise _Unreadable(f"its `{key}` is a socket of this machine, which the bridge does not reach")
        self._environment_of_url()
        self._made["url"] = self._texts.text(url.strip())
        self._check_url(key, url.strip())
        if kind == "sse":
            self._made["transport"] = "sse"
        headers = self._headers()
        if headers:
            self._made["headers"] = headers
        self._set_aside(("args", "envFile", "env_file", *_FOLDERS), "a URL")

    def _check_url(self, key: str, url: str) -> None:
        """Name a URL that no server can have. One with variables is checked when they are filled in."""
        if "$" in self._made["url"]:
            return
        fault = url_fault(url)
        if fault is not None:
            what, meant = fault
            remedy = f"Did you mean {_masked(meant)!r}?" if "://" in meant else meant
            raise _Unreadable(f"its `{key}` is {_masked(url)!r}, which {what}", remedy)

    def _set_aside(self, keys: Iterable[str], what: str) -> None:
        for key in keys:
            if self._left.get(key):
                self._kept[key] = self._left.pop(key)
                self._note(f"`{key}` has no meaning for a server with {what}.")

    def _environment_of_url(self) -> None:
        """Goose fills the variables of an entry into its headers. In other hosts they have no meaning."""
        if self._section.host is None or self._section.host.name != "goose":
            self._set_aside((*_ENVS, "inherit_env_vars"), "a URL")
            return
        environment = self._environment()
        self._made.pop("inherit_env_vars", None)
        self._texts.known = {name: value for name, value in environment.items() if "$" not in value}

    def _local(self, key: str, command: Any) -> None:
        args_key, args = self._take("args")
        if is_list(command):
            words = self._words(key, command)
            if not words:
                raise _Unreadable(f"its `{key}` is empty")
            made, first = words[1:], words[0]
        elif isinstance(command, str) and command.strip():
            made, first = [], self._without_nul(key, self._texts.text(command))
        else:
            raise _Unreadable(f"its `{key}` must be text")
        made += self._words(args_key, [args] if isinstance(args, str) else args) if args is not None else []
        self._made |= {"command": first, **({"args": made} if made else {})}
        environment = self._environment()
        if environment:
            self._made["env"] = environment
        file_key, file = self._take("envFile", "env_file")
        if isinstance(file, str) and file:
            self._made["env_file"] = self._anchored(self._texts.text(file))
        elif file is not None:
            self._kept[file_key] = file
            self._note(f"`{file_key}` must be a path.")
        self._set_aside((*_HEADERS, "env_http_headers", "bearer_token_env_var", "auth_token"), "a command")

    def _words(self, key: str, values: Any) -> list[str]:
        if not is_list(values):
            raise _Unreadable(f"its `{key}` must be a list")
        made: list[str] = []
        for value in values:
            text = plain_text(value)
            if not isinstance(text, str):
                raise _Unreadable(f"its `{key}` contains {sort_of(value)}, not text")
            made.append(self._without_nul(key, self._texts.text(text)))
        return made

    @staticmethod
    def _without_nul(key: str, text: str) -> str:
        if "\0" in text:
            raise _Unreadable(f"its `{key}` contains a NUL character, which no command can have", "Remove it.")
        return text

    def _environment(self) -> dict[str, str]:
        made: dict[str, str] = {}
        inherited: list[str] = []
        for key in _ENVS:
            _, values = self._take(key)
            if is_list(values):
                inherited += self._inherited(key, values)
            elif values is not None:
                made |= self._pairs(key, values)
        key, names = self._take("env_keys")
        for name in names if is_list(names) else ():
            if isinstance(name, str) and name not in made:
                made[name] = f"${{{name}}}"
                self._texts.asks[name] = Asked(name, name, is_secret=True)
        if names is not None and not is_list(names):
            self._kept[key] = names
        _, more = self._take("inherit_env_vars")
        inherited += self._inherited("inherit_env_vars", more) if more is not None else []
        if inherited:
            self._made["inherit_env_vars"] = inherited
        return made

    def _inherited(self, key: str, values: Any) -> list[str]:
        """Return names of variables that the server gets from the environment: texts, or objects with a `name`."""
        names: list[str] = []
        for value in values if is_list(values) else [values]:
            name = value.get("name") if is_object(value) else value
            if isinstance(name, str) and name and not (is_object(value) and value.get("source") == "remote"):
                names.append(name)
            else:
                self._kept[key] = values
                self._note(f"`{key}` contains an item that is not the name of a variable.")
        return names

    def _pairs(self, key: str, values: Any) -> dict[str, str]:
        """Return texts by name. What is not text, a number or a truth value is left out, with a note."""
        if not is_object(values):
            self._kept[key] = values
            self._note(f"`{key}` must be an object, not {sort_of(values)}.")
            return {}
        made: dict[str, str] = {}
        is_header = "header" in key.lower()
        for name, value in values.items():
            text = plain_text(value)
            if isinstance(text, str) and (why := why_not_sent(name, text, is_header=is_header)):
                self._kept[f"{key}.{name}"] = value
                self._note(f"`{key}.{word(name)}` {why}, so it is not passed on.")
            elif isinstance(text, str):
                made[name] = self._texts.text(text)
            else:
                self._kept[f"{key}.{name}"] = value
                self._note(f"`{key}.{word(name)}` is {sort_of(value)}, not text, so it is not passed on.")
        return made

    def _headers(self) -> dict[str, str]:
        made: dict[str, str] = {}
        options_key, options = self._take("requestOptions")
        if is_object(options):
            rest = {key: value for key, value in options.items() if key != "headers"}
            made |= self._pairs("headers", options["headers"]) if options.get("headers") is not None else {}
            if rest:
                self._kept[options_key] = rest
                self._note(f"nothing reads {', '.join(word(key) for key in rest)} in `{options_key}`.")
        elif options is not None:
            self._kept[options_key] = options
            self._note(f"`{options_key}` is {sort_of(options)}, not an object, so it is not read.")
        for key in _HEADERS:
            _, values = self._take(key)
            made |= self._pairs(key, values) if values is not None else {}
        key, own = self._take("auth_token")
        if isinstance(own, str):
            self._made["auth_token"] = self._texts.text(own)
        elif own is not None:
            self._kept[key] = own
            self._note(f"`{key}` is {sort_of(own)}, not text, so it is not passed on.")
        key, names = self._take("env_http_headers")
        for header, name in self._pairs(key, names).items() if names is not None else ():
            made[header] = f"${{{name}}}"
        key, token = self._take("bearer_token_env_var")
        if isinstance(token, str) and token:
            made["Authorization"] = f"Bearer ${{{token}}}"
        elif token is not None:
            self._kept[key] = token
            self._note(f"`{key}` must be the name of a variable.")
        return made

    # --- folder, limits, filters --------------------------------------------------------------------

    def _folder(self) -> None:
        key, folder = self._take(*_FOLDERS)
        if folder is not None and not isinstance(folder, str):
            self._kept[key] = folder
            self._note(f"`{key}` must be a path.")
            folder = None
        if "command" not in self._made:
            return
        project = self._section.project
        if folder:
            self._made["cwd"] = self._anchored(self._texts.text(folder))
        elif project is not None and self._section.folder != project:
            self._made["cwd"] = str(project).replace("$", "$$")  # hosts start the servers of a project in its folder

    def _anchored(self, path: str) -> str:
        """Return a path that starts at the folder of the project, if there is one."""
        project = self._section.project
        if project is None or path.startswith(("~", "$")) or os.path.isabs(path):  # noqa: PTH117 - may have variables
            return path
        return os.path.join(str(project).replace("$", "$$"), path)  # noqa: PTH118 - keeps variables as they are

    def _limits(self) -> None:
        _, sessions = self._take("sessions")
        if sessions is not None:
            self._made["sessions"] = sessions
        if is_object(auth := self._left.get("auth")) and "auth_type" in auth:
            self._made["auth"] = self._left.pop("auth")  # of the bridge, in its own section of servers
        self._limits_by_step()
        host = self._section.host
        unit = host.timeout_unit if host else None
        is_start = host is not None and host.timeout_starts
        for key, divisor, target in (
            ("timeout", {"s": 1.0, "ms": 1_000.0}.get(unit or ""), "discovery_timeout" if is_start else "call_timeout"),
            ("tool_timeout_sec", 1.0, "call_timeout"),
            ("startup_timeout_ms", 1_000.0, "discovery_timeout"),
            ("startup_timeout_sec", 1.0, "discovery_timeout"),
            ("connectionTimeout", 1_000.0, "discovery_timeout"),
        ):
            _, value = self._take(key)
            if value is None:
                continue
            seconds = _seconds(value, divisor)
            if seconds is None:
                self._kept[key] = value
                self._note(f"`{key}` must be a positive number, not {sort_of(value)}; the default is used.")
            else:
                self._made[target] = seconds
                if key == "timeout" and is_start and seconds > _CALL_SECONDS:
                    self._made["call_timeout"] = seconds  # the host waits that long for calls too

    def _limits_by_step(self) -> None:
        """Read `timeout` of OpenCode 2: an object with milliseconds for the start, the list of tools, and calls."""
        limits = self._left.get("timeout")
        if not is_object(limits):
            return
        del self._left["timeout"]
        for key, value in limits.items():
            target = _STEPS.get(key)
            seconds = None if target is None else _seconds(value, 1_000.0)
            if target is None or seconds is None:
                self._kept[f"timeout.{key}"] = value
                what = "is not known" if target is None else f"must be a positive number, not {sort_of(value)}"
                self._note(f"`timeout.{word(key)}` {what}; the default is used.")
            else:
                self._made[target] = max(seconds, self._made.get(target, 0.0))

    def _filters(self) -> None:
        filters = ToolFilter(self._name, self._left, self._section.content)
        self._made |= filters.rules
        for what in filters.notes:
            self._note(what)

    # --- what is left -------------------------------------------------------------------------------

    def _rest(self) -> None:
        for key, value in self._left.items():
            if describes(key):
                continue
            if value is None or value is False or value in ({}, [], ""):
                if key not in _READ:
                    self._kept[key] = value
                    self._note(f"nothing reads the key {word(key)!r}.")
                continue
            if key in _OF_HOST:
                self._note(f"`{key}` concerns the host alone; set there what applies to the tools of the bridge.")
                continue
            self._kept[key] = value
            if key in _LOGINS:
                self._note(f"`{key}` is not read; if the server needs a login, run `utcp-bridge login`.")
            elif key in _BOXES:
                self._note(f"`{key}` is not read; the bridge starts the server itself, without a sandbox.")
            else:
                self._note(" ".join(filter(None, (f"nothing reads the key {word(key)!r}.", nearest(key, _READ)))))

    def _variables(self) -> None:
        texts, host = self._texts, self._section.host
        for form in texts.strange:
            self._note(f"{form} is not a variable that the bridge knows, so it stays as it is.")
        for asked in texts.asks.values():
            what = f" ({asked.description})" if asked.description else ""
            self._note(
                f"the host gets {word(asked.id)!r}{what} from its user: "
                f"set {asked.variable} in the environment, in a dotenv file or in `variables`."
            )
        if texts.needs_project:
            self._note("`${workspaceFolder}` is the folder of a project: set workspaceFolder to its path.")
        if host is not None and not host.variables and texts.used:
            names = ", ".join(f"${{{name}}}" for name in texts.used)
            self._note(f"{host.title} does not fill in {names}; the bridge does.")


def _masked(url: str) -> str:
    """Return a URL for a message."""
    return word(str(hidden({"url": url}, lambda _name, _value: "***")["url"]))


def _seconds(value: Any, divisor: float | None) -> float | None:
    """Return a limit in seconds; None if it is not a positive number.

    Without a unit, 1,000 and more are milliseconds.
    """
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 10**9:
        return None
    if divisor is None:
        divisor = 1_000.0 if value >= 1_000 else 1.0
    return value / divisor


@dataclass(frozen=True, slots=True)
class HostConfiguration:
    """A host's file as a configuration of the bridge."""

    section: HostSection
    servers: tuple[HostServer, ...]
    rest: JsonObject = field(repr=False)
    """What else in the file is a configuration of the bridge."""

    @property
    def document(self) -> JsonObject:
        """The configuration. Its entries have the names of the servers."""
        own = self.rest.get("manual_call_templates")
        entries = [*own] if is_list(own) else [] if own is None else [own]
        return {**self.rest, "manual_call_templates": [*entries, *self.entries.values()]}

    @property
    def entries(self) -> dict[str, JsonObject]:
        """The entries by the names of the servers. One that is switched off has only what its report needs."""
        return {
            server.name: server.template if server.enabled else _switched_off_entry(server.template)
            for server in self.servers
            if server.template is not None
        }

    def faults(self, where: str) -> list[Fault]:
        """Return what the reader found in the file."""
        return [
            *(fault for server in self.servers for fault in self.faults_of(server, where)),
            *self.faults_of_file(where),
        ]

    @staticmethod
    def faults_of(server: HostServer, where: str) -> list[Fault]:
        """Return what the reader found: an error for a server that should run and cannot be read."""
        is_error = server.template is None and server.enabled and not server.is_internal
        return [Fault(where, note, "", "error" if is_error else "warning") for note in server.notes]

    def faults_of_file(self, where: str) -> list[Fault]:
        """Return what is not read of other parts of the file: Claude Code has servers for each project in it."""
        projects = self.section.content.get("projects")
        return [
            Fault(where, f"the servers of the project {word(str(folder))!r} are not read.", _COPY, "warning")
            for folder, one in (projects.items() if is_object(projects) else ())
            if is_object(one) and one.get("mcpServers")
        ]


def as_configuration(content: Any, *, path: Path | None = None, off: Iterable[str] = ()) -> HostConfiguration | None:
    """Return a host's file as a configuration; None if the document is something else. Never raises.

    `path` is where the file is. `off` are names of servers that other files of the host switch off.
    """
    section = find_section(content, path=path)
    if section is None:
        return None
    rest = {key: value for key, value in content.items() if key != section.key[0]}
    if section.key != ("mcpServers",):
        rest = {}
    elif section.host is not None:
        rest = {key: value for key, value in rest.items() if key in CONFIG_KEYS}
    rest.pop("inputs", None)
    return HostConfiguration(section, tuple(read_section(section, project=section.project, off=off)), rest)


def unread_in_entry(entry: JsonObject) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Yield the keys of servers in an entry's `config` that nothing reads: the path, the sentence and the remedy."""
    config = entry.get("config")
    servers = config.get("mcpServers", config.get("servers")) if is_object(config) else None
    if entry.get("call_template_type") != "mcp" or not is_object(servers):
        return
    for name, server in servers.items():
        for key in unread_keys(server) if is_object(server) else ():
            what = f"{_shown(name)}: nothing reads the key {word(key)!r}."
            remedy = _FILTERS if key in ToolFilter.KEYS else nearest(key, McpServer.model_fields)
            yield (name, key), what, remedy


def _switched_off_entry(template: JsonObject) -> JsonObject:
    kept = {key: template[key] for key in ("name", "call_template_type", "command", "url") if key in template}
    return {key: value.replace("$", "$$") for key, value in kept.items()} | {"disabled": True}
