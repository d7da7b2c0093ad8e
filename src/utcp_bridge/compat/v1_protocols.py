"""Call templates and communication protocols of 1.x and its plugins, over the transports of this package."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, SerializeAsAny

from utcp_bridge.compat.models import AuthForm, ClientCredentials, CompatModel, Schema, fields_of, serializer_of
from utcp_bridge.compat.running import call_with_template, discover, stream_with_template
from utcp_bridge.compat.v1_models import (
    CallTemplateModel,
    CallTemplateSerializer,
    ManualModel,
    RegisteredResult,
    ToolModel,
)
from utcp_bridge.model import JsonObject, Tool

__all__ = ["BUILT_IN", "TEMPLATES", "HouseProtocol", "ProtocolModel", "tool_view"]

Methods = Literal["GET", "POST", "PUT", "DELETE", "PATCH"]


class HttpCallModel(CallTemplateModel):
    """One HTTP request."""

    call_template_type: Literal["http"] = "http"
    http_method: Methods = "GET"
    url: str
    content_type: str = "application/json"
    auth_tools: SerializeAsAny[AuthForm] | None = Field(default=None, repr=False)
    headers: dict[str, str] | None = Field(default=None, repr=False)
    body_field: str | None = "body"
    header_fields: list[str] | None = None


class SseCallModel(CallTemplateModel):
    """A stream of server-sent events."""

    call_template_type: Literal["sse"] = "sse"
    url: str
    event_type: str | None = None
    reconnect: bool = True
    retry_timeout: int = 30_000
    headers: dict[str, str] | None = Field(default=None, repr=False)
    body_field: str | None = None
    header_fields: list[str] | None = None


class StreamCallModel(CallTemplateModel):
    """An HTTP response in chunks."""

    call_template_type: Literal["streamable_http"] = "streamable_http"
    url: str
    http_method: Literal["GET", "POST"] = "GET"
    content_type: str = "application/octet-stream"
    chunk_size: int = 4096
    timeout: int = 60_000
    headers: dict[str, str] | None = Field(default=None, repr=False)
    body_field: str | None = None
    header_fields: list[str] | None = None


class CommandModel(CompatModel):
    """One command of a `cli` template."""

    command: str
    append_to_final_output: bool | None = None


class CliCallModel(CallTemplateModel):
    """Commands on this machine."""

    call_template_type: Literal["cli"] = "cli"
    commands: list[CommandModel]
    env_vars: dict[str, str] | None = Field(default=None, repr=False)
    inherit_env_vars: list[str] | None = None
    working_dir: str | None = None
    auth: None = None


class TextCallModel(CallTemplateModel):
    """A manual, an API description or text, in place."""

    call_template_type: Literal["text"] = "text"
    content: str = Field(repr=False)
    base_url: str | None = None
    auth: None = None
    auth_tools: SerializeAsAny[AuthForm] | None = Field(default=None, repr=False)


class FileCallModel(CallTemplateModel):
    """A local file with a manual, an API description or text."""

    call_template_type: Literal["file"] = "file"
    file_path: str
    auth: None = None
    auth_tools: SerializeAsAny[AuthForm] | None = Field(default=None, repr=False)


class McpServersModel(CompatModel):
    """MCP servers by their names."""

    mcpServers: dict[str, dict[str, Any]] = Field(repr=False)  # noqa: N815 - the key of the format


class McpCallModel(CallTemplateModel):
    """MCP servers."""

    call_template_type: Literal["mcp"] = "mcp"
    config: McpServersModel
    auth: ClientCredentials | None = Field(default=None, repr=False)
    register_resources_as_tools: bool = False


class WebSocketCallModel(CallTemplateModel):
    """Messages over a WebSocket."""

    call_template_type: Literal["websocket"] = "websocket"
    url: str
    message: str | dict[str, Any] | None = None
    protocol: str | None = None
    keep_alive: bool = True
    response_format: Literal["json", "text", "raw"] | None = None
    timeout: int = 30
    headers: dict[str, str] | None = Field(default=None, repr=False)
    header_fields: list[str] | None = None


class GraphQlCallModel(CallTemplateModel):
    """GraphQL operations."""

    call_template_type: Literal["graphql"] = "graphql"
    url: str
    operation_type: Literal["query", "mutation", "subscription"] = "query"
    operation_name: str | None = None
    headers: dict[str, str] | None = Field(default=None, repr=False)
    header_fields: list[str] | None = None
    query: str | None = None
    variable_types: dict[str, str] | None = None


class _SocketModel(CallTemplateModel):
    host: str
    port: int
    request_data_format: Literal["json", "text"] = "json"
    request_data_template: str | None = None
    response_byte_format: str | None = "utf-8"
    timeout: int = 30_000
    auth: None = None


class TcpCallModel(_SocketModel):
    """A TCP connection for each call."""

    call_template_type: Literal["tcp"] = "tcp"
    framing_strategy: Literal["length_prefix", "delimiter", "fixed_length", "stream"] = "stream"
    length_prefix_bytes: Literal[1, 2, 4, 8] = 4
    length_prefix_endian: Literal["big", "little"] = "big"
    message_delimiter: str = "\x00"
    interpret_escape_sequences: bool = True
    fixed_message_length: int | None = None
    max_response_size: int = 65_536


class UdpCallModel(_SocketModel):
    """Datagrams."""

    call_template_type: Literal["udp"] = "udp"
    number_of_response_datagrams: int = 1


class ProtocolModel(ABC):
    """How tools of one type are found and called. A subclass of a program is used for the type that it registers."""

    communication_protocols: ClassVar[dict[str, Any]] = {}
    """Objects that all clients share, by type."""
    communication_protocol_factories: ClassVar[dict[str, Callable[[], Any]]] = {}
    """Functions that make one object for each client, by type."""

    @abstractmethod
    async def register_manual(self, caller: Any, manual_call_template: Any) -> Any:
        """Return the manual behind a template."""

    @abstractmethod
    async def deregister_manual(self, caller: Any, manual_call_template: Any) -> None:
        """Forget a manual."""

    @abstractmethod
    async def call_tool(self, caller: Any, tool_name: str, tool_args: JsonObject, tool_call_template: Any) -> Any:
        """Call a tool and return its result."""

    @abstractmethod
    def call_tool_streaming(
        self, caller: Any, tool_name: str, tool_args: JsonObject, tool_call_template: Any
    ) -> AsyncGenerator[Any]:
        """Yield the partial results of a call."""

    async def close(self) -> None:  # noqa: B027 - a program's protocol need not have it
        """Release what the protocol holds."""


def tool_view(tool: Tool, *, name: str, template: JsonObject) -> ToolModel:
    """Return a tool in the form of 1.x."""
    given = {"name": tool.manual, **template, "call_template_type": tool.kind}
    if tool.kind in TEMPLATES and isinstance(content := given.get("content"), dict | list):
        import orjson

        given["content"] = orjson.dumps(content).decode()
    model = TEMPLATES.get(tool.kind, CallTemplateModel)
    try:
        view: CallTemplateModel = model.model_validate(given)
    except ValueError:  # a form that only this package reads
        view = CallTemplateModel.model_validate({key: value for key, value in given.items() if key != "auth"})
    return ToolModel(
        name=name,
        description=tool.description,
        inputs=Schema.model_validate(tool.inputs),
        outputs=Schema.model_validate(tool.outputs or {"type": "object", "properties": {}}),
        tags=list(tool.tags),
        average_response_size=tool.average_response_size,
        tool_call_template=view,
    )


class HouseProtocol(ProtocolModel):
    """A transport of this package as a protocol. Each use opens a client, and closes it."""

    kind: ClassVar[str]
    model: ClassVar[type[CallTemplateModel]]

    def __init__(self, *_arguments: Any, **_options: Any) -> None:
        super().__init__()

    def _fields(self, template: Any) -> JsonObject:
        if not isinstance(template, self.model):
            raise ValueError(  # noqa: TRY004 - as the reference library
                f"{type(self).__name__} requires a {_NAMES[self.kind]}."
            )
        if isinstance(template, CliCallModel) and not template.commands:
            raise ValueError("A call template of the type cli has no commands. Add one.")
        return fields_of(template, kind="call_template_type")

    async def register_manual(self, caller: Any, manual_call_template: Any) -> RegisteredResult:
        """Return the manual behind a template; with `success` False and the reasons, if it cannot be read.

        :raises ValueError: the template is that of another protocol.
        """
        found = await discover(self._fields(manual_call_template), root=_root(caller))
        views = [tool_view(tool, name=tool.name, template=tool.tool_call_template) for tool in found.tools]
        for view in views:
            if view.tool_call_template.name == "compat":
                view.tool_call_template.name = manual_call_template.name
        return RegisteredResult(
            manual_call_template=manual_call_template,
            manual=ManualModel(views),
            success=found.error is None,
            errors=found.errors if found.error is not None else [],
        )

    async def deregister_manual(self, caller: Any, manual_call_template: Any) -> None:
        """Do nothing: a protocol of this kind holds nothing."""

    async def call_tool(self, caller: Any, tool_name: str, tool_args: JsonObject, tool_call_template: Any) -> Any:
        """Call a tool and return its result.

        :raises ValueError: the template is that of another protocol.
        :raises UtcpError: the call failed.
        """
        return await call_with_template(self._fields(tool_call_template), tool_name, tool_args, _root(caller))

    async def call_tool_streaming(
        self, caller: Any, tool_name: str, tool_args: JsonObject, tool_call_template: Any
    ) -> AsyncGenerator[Any]:
        """Yield the partial results of a call.

        :raises UtcpError: the call failed.
        """
        fields = self._fields(tool_call_template)
        async for part in stream_with_template(fields, tool_name, tool_args, _root(caller)):
            yield part


def _root(caller: Any) -> Path | None:
    folder = getattr(caller, "root_dir", None)
    return Path(folder) if isinstance(folder, str | Path) else None


TEMPLATES: dict[str, type[CallTemplateModel]] = {
    "http": HttpCallModel,
    "sse": SseCallModel,
    "streamable_http": StreamCallModel,
    "cli": CliCallModel,
    "text": TextCallModel,
    "file": FileCallModel,
    "mcp": McpCallModel,
    "websocket": WebSocketCallModel,
    "graphql": GraphQlCallModel,
    "tcp": TcpCallModel,
    "udp": UdpCallModel,
}
"""The call templates of 1.x by their types."""
_NAMES: dict[str, str] = {
    "http": "HttpCallTemplate",
    "sse": "SseCallTemplate",
    "streamable_http": "StreamableHttpCallTemplate",
    "cli": "CliCallTemplate",
    "text": "TextCallTemplate",
    "file": "FileCallTemplate",
    "mcp": "McpCallTemplate",
    "websocket": "WebSocketCallTemplate",
    "graphql": "GraphQLCallTemplate",
    "tcp": "TCPProvider",
    "udp": "UDPProvider",
}
_PROTOCOLS = {"tcp": "TCPTransport", "udp": "UDPTransport"}


def _built_in() -> dict[str, Any]:
    names: dict[str, Any] = {"McpConfig": McpServersModel, "CommandStep": CommandModel}
    for kind, model in TEMPLATES.items():
        serializer = serializer_of(model)
        CallTemplateSerializer.known[kind] = serializer()
        name = _NAMES[kind]
        protocol_name = _PROTOCOLS.get(kind, name.replace("CallTemplate", "CommunicationProtocol"))
        own = {"kind": kind, "model": model, "__doc__": model.__doc__, "__module__": __name__}
        protocol = type(protocol_name, (HouseProtocol,), own)
        ProtocolModel.communication_protocols[kind] = protocol()
        names |= {name: model, protocol_name: protocol, f"{name}Serializer": serializer}
    names["SSECallTemplateSerializer"] = names["SseCallTemplateSerializer"]
    return names


BUILT_IN: dict[str, Any] = _built_in()
"""Call templates, their serializers, and protocols, by their names in the reference library."""
