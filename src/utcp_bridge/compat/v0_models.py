"""Data models of 0.x: providers, tools, manuals, configuration, and the bases of repositories and strategies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Final, Literal, TypeAlias
from uuid import uuid4

from pydantic import ConfigDict, Field, SerializeAsAny, field_validator, model_validator

from utcp_bridge.compat.models import ApiKey, Basic, ClientCredentials, CompatModel, best_matches, dotenv_value
from utcp_bridge.model import is_object

__all__ = [
    "PROVIDERS",
    "AuthOfV0",
    "ConfigOfV0",
    "DotenvOfV0",
    "ManualOfV0",
    "MemoryRepositoryOfV0",
    "ProviderModel",
    "RepositoryOfV0",
    "SchemaOfV0",
    "StrategyOfV0",
    "TagStrategyOfV0",
    "ToolOfV0",
    "VariablesOfV0",
]

AuthOfV0: TypeAlias = ApiKey | Basic | ClientCredentials
VERSION: Final = "0.2.3"


class ProviderModel(CompatModel):
    """Base of providers. Fields of other versions and of this package are kept."""

    name: str = Field(default_factory=lambda: uuid4().hex)
    provider_type: Any
    """Text; each subclass has its own."""
    auth: AuthOfV0 | None = Field(default=None, repr=False)


class _WebModel(ProviderModel):
    url: str
    headers: dict[str, str] | None = Field(default=None, repr=False)
    header_fields: list[str] | None = None


class HttpOfV0(_WebModel):
    """One HTTP request."""

    provider_type: Literal["http"] = "http"
    http_method: Literal["GET", "POST", "PUT", "DELETE", "PATCH"] = "GET"
    content_type: str = "application/json"
    body_field: str | None = "body"


class SseOfV0(_WebModel):
    """A stream of server-sent events."""

    provider_type: Literal["sse"] = "sse"
    event_type: str | None = None
    reconnect: bool = True
    retry_timeout: int = 30_000
    body_field: str | None = None


class StreamOfV0(_WebModel):
    """An HTTP response in chunks."""

    provider_type: Literal["http_stream"] = "http_stream"
    http_method: Literal["GET", "POST"] = "GET"
    content_type: str = "application/octet-stream"
    chunk_size: int = 4096
    timeout: int = 60_000
    body_field: str | None = None


class CliOfV0(ProviderModel):
    """A command on this machine."""

    provider_type: Literal["cli"] = "cli"
    command_name: str
    env_vars: dict[str, str] | None = Field(default=None, repr=False)
    working_dir: str | None = None


class WebSocketOfV0(_WebModel):
    """Messages over a WebSocket."""

    provider_type: Literal["websocket"] = "websocket"
    protocol: str | None = None
    keep_alive: bool = True


class GrpcOfV0(ProviderModel):
    """A gRPC service."""

    provider_type: Literal["grpc"] = "grpc"
    host: str
    port: int
    service_name: str
    method_name: str
    use_ssl: bool = False


class GraphQlOfV0(_WebModel):
    """GraphQL operations."""

    provider_type: Literal["graphql"] = "graphql"
    operation_type: Literal["query", "mutation", "subscription"] = "query"
    operation_name: str | None = None


class _SocketOfV0(ProviderModel):
    host: str
    port: int
    request_data_format: Literal["json", "text"] = "json"
    request_data_template: str | None = None
    response_byte_format: str | None = "utf-8"
    timeout: int = 30_000


class TcpOfV0(_SocketOfV0):
    """A TCP connection for each call."""

    provider_type: Literal["tcp"] = "tcp"
    framing_strategy: Literal["length_prefix", "delimiter", "fixed_length", "stream"] = "stream"
    length_prefix_bytes: Literal[1, 2, 4, 8] = 4
    length_prefix_endian: Literal["big", "little"] = "big"
    message_delimiter: str = "\\x00"
    fixed_message_length: int | None = None
    max_response_size: int = 65_536


class UdpOfV0(_SocketOfV0):
    """Datagrams."""

    provider_type: Literal["udp"] = "udp"
    number_of_response_datagrams: int = 1


class WebRtcOfV0(ProviderModel):
    """A WebRTC data channel."""

    provider_type: Literal["webrtc"] = "webrtc"
    signaling_server: str
    peer_id: str
    data_channel_name: str = "tools"


class McpServerOfV0(CompatModel):
    """One MCP server: a command, or a URL."""

    transport: str = "stdio"
    command: str | None = None
    args: list[str] | None = Field(default_factory=list[str])
    env: dict[str, str] | None = Field(default_factory=dict[str, str], repr=False)
    url: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _with_transport(cls, value: Any) -> Any:
        return {"transport": "http", **value} if is_object(value) and "url" in value else value


class McpServersOfV0(CompatModel):
    """MCP servers by their names."""

    mcpServers: dict[str, McpServerOfV0]  # noqa: N815 - the key of the format


class McpOfV0(ProviderModel):
    """MCP servers."""

    provider_type: Literal["mcp"] = "mcp"
    config: McpServersOfV0


class TextOfV0(ProviderModel):
    """A local file with a manual or text."""

    provider_type: Literal["text"] = "text"
    file_path: str


PROVIDERS: Final[dict[str, type[ProviderModel]]] = {
    "http": HttpOfV0,
    "sse": SseOfV0,
    "http_stream": StreamOfV0,
    "cli": CliOfV0,
    "websocket": WebSocketOfV0,
    "grpc": GrpcOfV0,
    "graphql": GraphQlOfV0,
    "tcp": TcpOfV0,
    "udp": UdpOfV0,
    "webrtc": WebRtcOfV0,
    "mcp": McpOfV0,
    "text": TextOfV0,
}
"""The providers by their types."""


class SchemaOfV0(CompatModel):
    """A schema of inputs or outputs. `properties` are plain dicts; keywords beyond the fields are kept."""

    type: Any = "object"
    properties: dict[str, Any] = Field(default_factory=dict[str, Any])
    required: list[str] | None = None
    description: str | None = None
    title: str | None = None
    items: Any = None
    enum: list[Any] | None = None
    minimum: float | None = None
    maximum: float | None = None
    format: str | None = None


class ToolOfV0(CompatModel):
    """A tool with its provider. After registration, `name` is the UTCP name."""

    name: str
    description: str = ""
    inputs: SchemaOfV0 = Field(default_factory=SchemaOfV0)
    outputs: SchemaOfV0 = Field(default_factory=SchemaOfV0)
    tags: list[str] = Field(default_factory=list[str])
    average_response_size: int | None = None
    tool_provider: SerializeAsAny[ProviderModel]

    @field_validator("tool_provider", mode="before")
    @classmethod
    def _provider(cls, value: Any) -> Any:
        if not is_object(value):
            return value
        return PROVIDERS.get(str(value.get("provider_type")), ProviderModel).model_validate(value)


class ManualOfV0(CompatModel):
    """A manual: its tools and a version."""

    version: str = VERSION
    tools: list[ToolOfV0]

    decorated: ClassVar[list[ToolOfV0]] = []
    """The tools of `utcp_tool`, in their order."""

    @classmethod
    def create(cls, version: str = VERSION) -> ManualOfV0:
        """Return the manual of the functions that `utcp_tool` decorates."""
        return cls(version=version, tools=list(cls.decorated))


class VariablesOfV0(CompatModel, ABC):
    """A source of variables."""

    type: Any

    @abstractmethod
    def get(self, key: str) -> str | None:
        """Return the value of a key; None if the source does not have it."""


class DotenvOfV0(VariablesOfV0):
    """Variables in a dotenv file."""

    type: Literal["dotenv"] = "dotenv"
    env_file_path: str

    def get(self, key: str) -> str | None:
        """Return the value of a key; None if the file does not have it."""
        return dotenv_value(self.env_file_path, key)


class ConfigOfV0(CompatModel):
    """The configuration of a client. An unknown key is an error."""

    model_config = ConfigDict(extra="forbid")

    variables: dict[str, str] | None = Field(default_factory=dict[str, str], repr=False)
    providers_file_path: str | None = None
    load_variables_from: list[SerializeAsAny[VariablesOfV0]] | None = None

    @field_validator("load_variables_from", mode="before")
    @classmethod
    def _loaders(cls, value: Any) -> Any:
        return [DotenvOfV0.model_validate(one) if is_object(one) else one for one in value] if value else value


class RepositoryOfV0(ABC):
    """A store of providers and tools. A subclass must have every method."""

    @abstractmethod
    async def save_provider_with_tools(self, provider: Any, tools: list[Any]) -> None:
        """Store a provider and its tools."""

    @abstractmethod
    async def remove_provider(self, provider_name: str) -> None:
        """Remove a provider and its tools."""

    @abstractmethod
    async def remove_tool(self, tool_name: str) -> None:
        """Remove a tool."""

    @abstractmethod
    async def get_tool(self, tool_name: str) -> Any:
        """Return the tool of this name, or None."""

    @abstractmethod
    async def get_tools(self) -> list[Any]:
        """Return every tool."""

    @abstractmethod
    async def get_tools_by_provider(self, provider_name: str) -> list[Any] | None:
        """Return the tools of a provider; None without the provider."""

    @abstractmethod
    async def get_provider(self, provider_name: str) -> Any:
        """Return the provider of this name, or None."""

    @abstractmethod
    async def get_providers(self) -> list[Any]:
        """Return every provider."""


class MemoryRepositoryOfV0(RepositoryOfV0):
    """The default: providers in memory."""

    def __init__(self) -> None:
        self._saved: dict[str, tuple[Any, list[Any]]] = {}

    async def save_provider_with_tools(self, provider: Any, tools: list[Any]) -> None:
        self._saved[provider.name] = (provider, list(tools))

    async def remove_provider(self, provider_name: str) -> None:
        if self._saved.pop(provider_name, None) is None:
            raise ValueError(f"Provider not found: {provider_name}")

    async def remove_tool(self, tool_name: str) -> None:
        tool = await self.get_tool(tool_name)
        if tool is None:
            raise ValueError(f"Tool not found: {tool_name}")
        for _, tools in self._saved.values():
            tools[:] = [one for one in tools if one is not tool]

    async def get_tool(self, tool_name: str) -> Any:
        return next((tool for tool in await self.get_tools() if tool.name == tool_name), None)

    async def get_tools(self) -> list[Any]:
        return [tool for _, tools in self._saved.values() for tool in tools]

    async def get_tools_by_provider(self, provider_name: str) -> list[Any] | None:
        return self._saved[provider_name][1] if provider_name in self._saved else None

    async def get_provider(self, provider_name: str) -> Any:
        return self._saved[provider_name][0] if provider_name in self._saved else None

    async def get_providers(self) -> list[Any]:
        return [provider for provider, _ in self._saved.values()]


class StrategyOfV0(ABC):
    """A ranking of tools. A subclass must have `search_tools`."""

    @abstractmethod
    async def search_tools(self, query: str, limit: int = 10) -> list[Any]:
        """Return the best tools for a query, best first."""


class TagStrategyOfV0(StrategyOfV0):
    """The default: words of tags, and with less weight of descriptions."""

    def __init__(self, tool_repository: RepositoryOfV0, description_weight: float = 0.3) -> None:
        self.tool_repository = tool_repository
        self.description_weight = description_weight

    async def search_tools(self, query: str, limit: int = 10) -> list[Any]:
        tools = await self.tool_repository.get_tools()
        return best_matches(tools, query, limit, (1.0, self.description_weight))
