"""MCP servers as configurations describe them, and their tools and resources as normalised tool objects (pure)."""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator, model_validator

from utcp_bridge.auth.credentials import Credentials
from utcp_bridge.dialects.fields import asked_as
from utcp_bridge.errors import PolicyError
from utcp_bridge.foreign import write_json
from utcp_bridge.model import Binary, ContentBlocks, JsonObject, Source, Trust, is_list, is_object
from utcp_bridge.net.preview import MASK, NativeRequest
from utcp_bridge.placement.compiling import CallTemplate
from utcp_bridge.processes.systems import join_command, split_command
from utcp_bridge.urls import url_fault

__all__ = [
    "FLAT_FIELDS",
    "McpServer",
    "McpServers",
    "McpTemplate",
    "ResourceTemplate",
    "check_trust",
    "command_words",
    "message_to",
    "plain_text",
    "resource_tools",
    "resource_value",
    "shown_name",
    "tool_object",
    "unread_keys",
]

UNNAMED: Final = "server"
"""The name of a server that is written without one: in the template itself, or in a one-line form."""

FLAT_FIELDS = (
    "transport",
    "command",
    "args",
    "env",
    "cwd",
    "url",
    "headers",
    "env_vars",
    "workingDir",
    "server_url",
    "auth_token",
    "sessions",
    "disabled",
    "enabled",
    "inherit_env_vars",
    "env_file",
)
"""Fields of one server that the template itself may have (Go, Rust, `server_url`)."""

_MILLISECONDS_FROM = 1_000
_PATH: Final = re.compile(r"[/~]|[A-Za-z]:[\\/]")
_HINTS = {"readOnlyHint": True, "idempotentHint": True, "openWorldHint": False}


class McpServer(BaseModel):
    """One server: a command to start, or a URL to reach."""

    model_config = ConfigDict(frozen=True, defer_build=True, extra="ignore", hide_input_in_errors=True)

    transport: Literal["stdio", "http", "streamable_http", "streamable-http", "sse"] | None = None
    command: str | None = Field(default=None, repr=False)
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = Field(default_factory=dict, repr=False, validation_alias=AliasChoices("env", "env_vars"))
    env_file: str | None = Field(default=None, validation_alias=AliasChoices("env_file", "envFile"))
    """A dotenv file with further variables of the command. It is read at each start; `env` wins."""
    cwd: str | None = Field(default=None, validation_alias=AliasChoices("cwd", "workingDir", "working_dir"))
    url: str | None = Field(default=None, repr=False, validation_alias=AliasChoices("url", "server_url"))
    headers: Mapping[str, str] = Field(default_factory=dict, repr=False)
    auth_token: str | None = Field(default=None, repr=False)
    """Sent as `Authorization: Bearer`."""
    timeout: float | None = Field(default=None, gt=0)
    """Seconds for one call; the start may take as long, and at least a minute. From 1,000 on they are milliseconds, as
    some hosts write them."""
    sessions: Literal["shared", "per_host"] | None = None
    """Which session the calls of MCP clients use (`hosts/sessions.py`): one for all, one for each client, or None to
    give each its own as soon as the server asks clients for something."""
    disabled: bool = False
    """Whether the server is left alone (`disabled: true` or `enabled: false` in a host's file)."""
    inherit_env_vars: tuple[str, ...] = ()
    """Variables of the bridge that the command receives besides its few."""

    @property
    def all_headers(self) -> dict[str, str]:
        """Headers of every request to a server over HTTP, with `auth_token`."""
        headers = dict(self.headers)
        if self.auth_token is not None:
            headers.setdefault("Authorization", f"Bearer {self.auth_token}")
        return headers

    @model_validator(mode="before")
    @classmethod
    def _split_command(cls, raw: Any) -> Any:
        """Accept `command` as a list or as a line with its arguments, and `~` for the home folder."""
        if not is_object(raw):
            return raw
        if raw.get("enabled") is False:
            raw = {**raw, "disabled": True}
        command = raw.get("command")
        words = [str(word) for word in command] if is_list(command) else []
        if isinstance(command, str):
            words = [command] if raw.get("args") else command_words(command)
        if not words:
            return raw
        return {**raw, "command": os.path.expanduser(words[0]), "args": [*words[1:], *(raw.get("args") or ())]}  # noqa: PTH111 - keeps a bare name as it is

    @field_validator("env", "headers", mode="before")
    @classmethod
    def _as_text(cls, values: Any) -> Any:
        """Accept numbers and truth values, as YAML and hosts' files have them."""
        return {key: plain_text(value) for key, value in values.items()} if is_object(values) else values

    @field_validator("args", mode="before")
    @classmethod
    def _as_texts(cls, values: Any) -> Any:
        return [plain_text(value) for value in values] if is_list(values) else values

    @field_validator("timeout")
    @classmethod
    def _in_seconds(cls, timeout: float | None) -> float | None:
        return timeout / 1_000 if timeout is not None and timeout >= _MILLISECONDS_FROM else timeout

    @model_validator(mode="after")
    def _one_way(self) -> McpServer:
        if bool(self.command) == bool(self.url):
            raise ValueError("an MCP server needs either `command` or `url`")
        fault = url_fault(self.url) if self.url and "$" not in self.url else None
        if fault is not None:
            raise ValueError(f"its `url` {fault[0]}. Write scheme://host[:port]/path")
        return self


def unread_keys(server: JsonObject) -> list[str]:
    """Return the keys of a server in `config` that nothing reads."""
    return [key for key in server if key not in _SERVER_KEYS and not key.startswith(("$", "_", "x-"))]


def command_words(line: str) -> list[str]:
    """Return the words of a command that is written as one line. The path of a program may contain blanks.

    :raises ValueError: a quotation mark is not closed.
    """
    whole = Path(line).expanduser()
    if not any(character.isspace() for character in line) or whole.is_file():
        return [line]
    first = line.split(None, 1)[0]
    if _PATH.match(line) and not Path(first).expanduser().is_file() and not line.startswith(("'", '"')):
        return [line]  # nothing is there, and a message must name the whole path
    return split_command(line)


def plain_text(value: Any) -> Any:
    """Return a number or a truth value as text; any other value as it is."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def why_not_sent(name: str, text: str, *, is_header: bool) -> str | None:
    """Return why a variable of a command or a header cannot be sent; None if it can."""
    if is_header and _HEADER_NAME.fullmatch(name) is None:
        return "is not the name of a header"
    if not is_header and (not name or "=" in name or "\0" in name):
        return "is not the name of a variable"
    if is_header and ("\r" in text or "\n" in text):
        return "contains a line break"
    return "contains a NUL character" if "\0" in text else None


_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A token of RFC 9110, section 5.6.2."""
_SERVER_KEYS: Final = frozenset({
    "enabled", "type", "name", "description",
    *McpServer.model_fields,
    *(
        alias
        for one in McpServer.model_fields.values()
        if isinstance(one.validation_alias, AliasChoices)
        for alias in one.validation_alias.choices
        if isinstance(alias, str)
    ),
})  # fmt: skip


class McpServers(BaseModel):
    """A host's `mcpServers` object."""

    model_config = ConfigDict(frozen=True, defer_build=True, extra="ignore", hide_input_in_errors=True)

    mcp_servers: Mapping[str, McpServer] = Field(validation_alias=AliasChoices("mcpServers", "servers"))

    @field_validator("mcp_servers")
    @classmethod
    def _not_empty(cls, servers: Mapping[str, McpServer]) -> Mapping[str, McpServer]:
        if not servers:
            raise ValueError("must name at least one server")
        return servers


def tool_object(tool: JsonObject, server: str, *, flat: bool, timeout: float | None = None) -> JsonObject:
    """Return the tool object of a tool in `tools/list`; with `flat`, without the server's name.

    `timeout` is the server's own, in seconds.
    """
    made: JsonObject = {
        "name": tool["name"] if flat else f"{server}.{tool['name']}",
        "description": tool.get("description") or "",
        "inputs": tool.get("inputSchema") or {"type": "object", "properties": {}},
        "tags": [] if flat else [server],
        "annotations": tool.get("annotations") or {},
        "overlay": {"server": server, "tool_name": tool["name"], **({} if timeout is None else {"timeout": timeout})},
    }
    execution = tool.get("execution")
    if is_object(execution) and execution.get("taskSupport") in ("optional", "required"):
        made["overlay"]["task_support"] = execution["taskSupport"]
        tool = {**tool, "execution": {**execution, "taskSupport": "optional"}}  # the bridge can wait for the result
    if title := tool.get("title") or made["annotations"].get("title"):
        made["title"] = title
    if extras := {key: tool[key] for key in ("icons", "execution", "_meta") if tool.get(key)}:
        made["extras"] = extras
        if is_object(meta := extras.get("_meta")) and (asked := asked_as(meta.get("utcp/asked_as"))):
            extras["asked_as"] = asked
    return {**made, "outputs": tool["outputSchema"]} if tool.get("outputSchema") else made


class McpTemplate(CallTemplate):
    """The servers; for a tool also its server and its name there."""

    config: McpServers
    server: str | None = None
    tool_name: str | None = None
    task_support: Literal["forbidden", "optional", "required"] | None = None
    """Whether a tool of 2025-11-25 may or must run as a task."""
    register_resources_as_tools: bool = False
    resource_uri: str | None = None
    resource_template: str | None = None
    flat: bool = False
    discovery_timeout: float | None = None
    """Seconds for the discovery of this manual; None for the setting."""
    one_server: Any = Field(default=None, repr=False, validation_alias=AliasChoices("mcpServers", *FLAT_FIELDS))
    """The keys that `_from_flat_fields` reads, so that they count as known keys."""

    @model_validator(mode="before")
    @classmethod
    def _from_flat_fields(cls, raw: Any) -> Any:
        """Read flat fields (Go, Rust, `server_url`) as one server."""
        if not is_object(raw) or "config" in raw:
            return raw
        if "mcpServers" in raw:
            return {**raw, "config": {"mcpServers": raw["mcpServers"]}}
        server = {key: raw[key] for key in FLAT_FIELDS if raw.get(key) is not None}
        return {**raw, "config": {"mcpServers": {UNNAMED: server}}, "flat": True}

    @property
    def servers(self) -> Mapping[str, McpServer]:
        """Servers by name."""
        return self.config.mcp_servers


def shown_name(template: McpTemplate, name: str, manual: str) -> str:
    """Return the name of a server for reports: that of its manual if the operator gave the server none."""
    return manual if name == UNNAMED and len(template.servers) == 1 else name


def message_to(
    server: McpServer, method: str, parameters: JsonObject, credentials: Credentials | None
) -> NativeRequest:
    """Return a request of the protocol as it goes to this server. The session sets its number and adds `_meta`.

    Values of `env` and `headers` are often secrets, so all of them are masked.
    """
    message = write_json({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters})
    notes = ("The session sets the message number and adds `_meta`.",)
    if server.command is not None:
        line = f"stdin of {join_command([server.command, *server.args])}"
        return NativeRequest(line, tuple((name, MASK) for name in server.env), (message,), notes)
    headers = [(name, MASK) for name in server.all_headers]
    if credentials is not None:
        _, headers = credentials.preview().placed(str(server.url), headers)
    return NativeRequest(f"POST {server.url}", tuple(headers), (message,), notes)


def check_trust(source: Source, server: McpServer, count: int) -> None:
    """Check that a manual may use this server, one of `count`.

    :raises PolicyError: it may not.
    """
    if source.trust is Trust.OPERATOR or source.trusted:
        return
    if server.command is not None:
        raise PolicyError(
            "A fetched manual must not start commands.",
            remedy='If you trust it fully, add "trusted": true to the manual.',
        )
    if count > 1:
        raise PolicyError(
            "A fetched manual may name only one MCP server.",
            remedy="Write the servers into the configuration.",
        )


@dataclass(frozen=True, slots=True)
class ResourceTemplate:
    """A template as the server describes it, and for each of its variables whether it is required."""

    described: JsonObject
    variables: Mapping[str, bool]


def resource_tools(
    server: str, resources: Iterable[JsonObject], templates: Iterable[ResourceTemplate], *, flat: bool
) -> list[JsonObject]:
    """Return normalised tool objects for resources, named `resource_<name>` (UTCP v1, mcp).

    The server's name comes first, unless `flat`. The variables of a template are the tool's arguments. A name that is
    already used gets a number.
    """
    tools: list[JsonObject] = []
    taken: set[str] = set()
    nothing: JsonObject = {"type": "object", "properties": {}, "additionalProperties": False}
    for resource in resources:
        uri = str(resource.get("uri", ""))
        overlay = {"server": server, "resource_uri": uri}
        tools.append(_tool(_name(resource, uri, server, taken, flat=flat), resource, f"Read {uri}.", nothing, overlay))
    for template in templates:
        pattern = str(template.described.get("uriTemplate", ""))
        properties: JsonObject = {name: {"type": "string"} for name in template.variables}
        required = [name for name, is_required in template.variables.items() if is_required]
        inputs = {**nothing, "properties": properties, "required": required}
        overlay = {"server": server, "resource_template": pattern}
        name = _name(template.described, pattern, server, taken, flat=flat)
        tools.append(_tool(name, template.described, f"Read {pattern}.", inputs, overlay))
    return tools


def resource_value(contents: Sequence[JsonObject]) -> Any:
    """Return the contents of a resource: text, bytes, or embedded resources if there are several parts."""
    if len(contents) != 1:
        return ContentBlocks([{"type": "resource", "resource": dict(one)} for one in contents])
    [only] = contents
    if isinstance(only.get("text"), str):
        return only["text"]
    try:
        data = base64.b64decode(str(only.get("blob", "")), validate=True)
    except (binascii.Error, ValueError):
        return ContentBlocks([{"type": "resource", "resource": dict(only)}])
    return Binary(data, str(only.get("mimeType") or "application/octet-stream"))


def _tool(name: str, described: JsonObject, otherwise: str, inputs: JsonObject, overlay: JsonObject) -> JsonObject:
    made: JsonObject = {
        "name": name,
        "description": described.get("description") or otherwise,
        "inputs": inputs,
        "tags": ["resource"],
        "annotations": dict(_HINTS),
        "overlay": overlay,
    }
    return {**made, "title": described["title"]} if described.get("title") else made


def _name(described: JsonObject, uri: str, server: str, taken: set[str], *, flat: bool) -> str:
    words = re.sub(r"\W+", "_", str(described.get("name") or uri), flags=re.ASCII).strip("_") or "unnamed"
    name, number = f"resource_{words}", 1
    while name in taken:
        number += 1
        name = f"resource_{words}_{number}"
    taken.add(name)
    return name if flat else f"{server}.{name}"
