"""MCP servers as configurations name them, and their tools as normalised tool objects; no I/O."""

from __future__ import annotations

import base64
import binascii
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import orjson
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator, model_validator

from utcp_bridge.auth.credentials import Credentials
from utcp_bridge.errors import PolicyError, Unreachable, UtcpError
from utcp_bridge.model import Binary, CallTemplate, ContentBlocks, JsonObject, Source, Trust, is_list, is_object
from utcp_bridge.net.preview import MASK, NativeRequest

__all__ = [
    "FLAT_FIELDS",
    "McpServer",
    "McpServers",
    "McpTemplate",
    "ResourceTemplate",
    "check_trust",
    "connection_error",
    "message_to",
    "resource_tools",
    "resource_value",
    "tool_object",
]

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
)
"""Fields of one server that may stand in the template itself (Go, Rust, `server_url`)."""

_HINTS = {"readOnlyHint": True, "idempotentHint": True, "openWorldHint": False}


class McpServer(BaseModel):
    """One server: a command to start, or a URL to reach."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    transport: Literal["stdio", "http", "streamable_http", "streamable-http", "sse"] | None = None
    command: str | None = None
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = Field(default_factory=dict, repr=False, validation_alias=AliasChoices("env", "env_vars"))
    cwd: str | None = Field(default=None, validation_alias=AliasChoices("cwd", "workingDir", "working_dir"))
    url: str | None = Field(default=None, repr=False, validation_alias=AliasChoices("url", "server_url"))
    headers: Mapping[str, str] = Field(default_factory=dict, repr=False)
    auth_token: str | None = Field(default=None, repr=False)
    """Sent as `Authorization: Bearer`."""

    @property
    def all_headers(self) -> dict[str, str]:
        """What goes with every request of a server reached over HTTP, `auth_token` included."""
        headers = dict(self.headers)
        if self.auth_token is not None:
            headers.setdefault("Authorization", f"Bearer {self.auth_token}")
        return headers

    @model_validator(mode="before")
    @classmethod
    def _split_command(cls, raw: Any) -> Any:
        """`command` may be a list, or a line with its arguments."""
        if not is_object(raw):
            return raw
        command = raw.get("command")
        words = [str(word) for word in command] if is_list(command) else []
        if isinstance(command, str) and not raw.get("args"):
            words = shlex.split(command)
        return {**raw, "command": words[0], "args": [*words[1:], *raw.get("args", ())]} if words else raw

    @model_validator(mode="after")
    def _one_way(self) -> McpServer:
        if bool(self.command) == bool(self.url):
            raise ValueError("an MCP server needs either `command` or `url`")
        return self


class McpServers(BaseModel):
    """A host's `mcpServers` object."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    mcp_servers: Mapping[str, McpServer] = Field(validation_alias=AliasChoices("mcpServers", "servers"))

    @field_validator("mcp_servers")
    @classmethod
    def _not_empty(cls, servers: Mapping[str, McpServer]) -> Mapping[str, McpServer]:
        if not servers:
            raise ValueError("names no server")
        return servers


def tool_object(tool: JsonObject, server: str, *, flat: bool) -> JsonObject:
    """A tool of `tools/list`; `flat` leaves the server's name out of the tool's."""
    made: JsonObject = {
        "name": tool["name"] if flat else f"{server}.{tool['name']}",
        "description": tool.get("description") or "",
        "inputs": tool.get("inputSchema") or {"type": "object", "properties": {}},
        "tags": [] if flat else [server],
        "annotations": tool.get("annotations") or {},
        "overlay": {"server": server, "tool_name": tool["name"]},
    }
    if title := tool.get("title") or made["annotations"].get("title"):
        made["title"] = title
    return {**made, "outputs": tool["outputSchema"]} if tool.get("outputSchema") else made


def connection_error(error: BaseException, where: str) -> UtcpError:
    """Ours for what a task group around a connection raised: its first cause."""
    cause: Any = error
    while isinstance(cause, BaseExceptionGroup):
        cause = cast("Any", cause).exceptions[0]
    for candidate in (cause, cause.__cause__):
        if isinstance(candidate, UtcpError):
            return candidate
    if isinstance(cause, FileNotFoundError | PermissionError):
        return Unreachable(f"The command of {where} cannot be started: {cause.strerror}.", remedy="Check `command`.")
    return Unreachable(f"{where} did not come up ({type(cause).__name__}).", remedy="Check its command or URL.")


class McpTemplate(CallTemplate):
    """Servers, and for a tool which of them and its name there."""

    config: McpServers
    server: str | None = None
    tool_name: str | None = None
    register_resources_as_tools: bool = False
    resource_uri: str | None = None
    resource_template: str | None = None
    flat: bool = False
    one_server: Any = Field(default=None, repr=False, validation_alias=AliasChoices("mcpServers", *FLAT_FIELDS))
    """Names the keys that `_from_flat_fields` has read, so that they are known ones."""

    @model_validator(mode="before")
    @classmethod
    def _from_flat_fields(cls, raw: Any) -> Any:
        """Flat fields (Go, Rust, `server_url`) are one server."""
        if not is_object(raw) or "config" in raw:
            return raw
        if "mcpServers" in raw:
            return {**raw, "config": {"mcpServers": raw["mcpServers"]}}
        server = {key: raw[key] for key in FLAT_FIELDS if raw.get(key) is not None}
        return {**raw, "config": {"mcpServers": {"server": server}}, "flat": True}

    @property
    def servers(self) -> Mapping[str, McpServer]:
        """Servers by name."""
        return self.config.mcp_servers


def message_to(
    server: McpServer, method: str, parameters: JsonObject, credentials: Credentials | None
) -> NativeRequest:
    """A request of the protocol as it goes to this server; the session numbers it and adds its own `_meta`.

    Values of `env` and `headers` are often secrets, whatever their names: they are masked.
    """
    message = orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters})
    notes = ("The session numbers its messages, and adds `_meta`.",)
    if server.command is not None:
        line = f"stdin of {shlex.join([server.command, *server.args])}"
        return NativeRequest(line, tuple((name, MASK) for name in server.env), (message,), notes)
    headers = [(name, MASK) for name in server.all_headers]
    if credentials is not None:
        _, headers = credentials.preview().placed(str(server.url), headers)
    return NativeRequest(f"POST {server.url}", tuple(headers), (message,), notes)


def check_trust(source: Source, server: McpServer, count: int) -> None:
    """Whether a manual may use this server, one of `count`. Raises PolicyError."""
    if source.trust is Trust.OPERATOR or source.trusted:
        return
    if server.command is not None:
        raise PolicyError(
            "A fetched manual may not start commands.",
            remedy='If you trust it fully, add "trusted": true to the manual.',
        )
    if count > 1:
        raise PolicyError("A fetched manual may name one MCP server only.", remedy="Write it into the configuration.")


@dataclass(frozen=True, slots=True)
class ResourceTemplate:
    """A template as the server describes it, and its variables: by name, whether one is required."""

    described: JsonObject
    variables: Mapping[str, bool]


def resource_tools(
    server: str, resources: Iterable[JsonObject], templates: Iterable[ResourceTemplate], *, flat: bool
) -> list[JsonObject]:
    """Normalised tool objects named `resource_<name>` (UTCP v1, mcp), after their server unless `flat`.

    A template's variables are the tool's arguments. A name that is taken gets a number.
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
    """What reading came to: text, bytes, or every part as an embedded resource where there are several."""
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
