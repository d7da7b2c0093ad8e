"""The client of 0.x over the client of this package, its transports, and every name of 0.x."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import anyio
import orjson

from utcp_bridge.auth.literals import without_literals
from utcp_bridge.client.client import UtcpClient
from utcp_bridge.client.extensions import Extensions
from utcp_bridge.compat import v0_models as models
from utcp_bridge.compat.models import (
    ApiKey,
    Basic,
    ClientCredentials,
    Decorated,
    Substitutor,
    base_of,
    fields_of,
    openapi_tools,
    plain_name,
)
from utcp_bridge.compat.running import as_reference_error, call_with_template, discover, plain_bytes, translated
from utcp_bridge.configuration.places import NoSuchFile
from utcp_bridge.errors import ConfigError, ManualError, UnknownTool, UtcpError, VariableNotFound
from utcp_bridge.model import JsonObject, Tool, is_list, is_object

__all__ = ["NAMES", "ClientOfV0", "ConverterOfV0", "HouseTransport", "TransportModel"]


class TransportModel(ABC):
    """How tools of one provider type are found and called. A program puts its own into `UtcpClient.transports`."""

    @abstractmethod
    async def register_tool_provider(self, manual_provider: Any) -> list[Any]:
        """Return the tools of a provider."""

    @abstractmethod
    async def deregister_tool_provider(self, manual_provider: Any) -> None:
        """Forget a provider."""

    @abstractmethod
    async def call_tool(self, tool_name: str, arguments: JsonObject, tool_provider: Any) -> Any:
        """Call a tool and return its result."""


class HouseTransport(TransportModel):
    """A transport of this package. Each use opens a client, and closes it."""

    kind: ClassVar[str]

    def __init__(self, *_arguments: Any, base_path: str | None = None, **_options: Any) -> None:
        self.base_path = base_path

    def _fields(self, provider: Any) -> JsonObject:
        if getattr(provider, "provider_type", None) != self.kind:
            raise ValueError(f"{type(self).__name__} can only be used with {models.PROVIDERS[self.kind].__name__}.")
        if self.kind == "cli" and not provider.command_name:
            raise ValueError("A CliProvider must have command_name set.")
        return fields_of(provider, kind="provider_type")

    @property
    def _root(self) -> Path | None:
        return Path(self.base_path) if self.base_path else None

    async def register_tool_provider(self, manual_provider: Any) -> list[Any]:
        """Return the tools of a provider; none if it cannot be read.

        :raises ValueError: the provider is that of another transport, or the file of a `text` provider has a mistake.
        :raises FileNotFoundError: the file of a `text` provider does not exist.
        """
        fields = self._fields(manual_provider)
        if self.kind == "text" and not await anyio.Path(self._root or ".", str(fields["file_path"])).exists():
            raise NoSuchFile(f"{fields['file_path']}: There is no such file.", remedy="Check `file_path`.")
        found = await discover(fields, root=self._root)
        if found.error is not None and self.kind == "text":
            if isinstance(found.error, ManualError) and await _is_json(self._root, str(fields["file_path"])):
                return []  # as the reference library does, which logs it
            found.error.message = f"{fields['file_path']}: {found.error.message}"
            raise as_reference_error(found.error)
        return [_view(tool, tool.name, tool.tool_provider) for tool in found.tools]

    async def deregister_tool_provider(self, manual_provider: Any) -> None:
        """Do nothing: a transport of this kind holds nothing."""

    async def call_tool(self, tool_name: str, arguments: JsonObject, tool_provider: Any) -> Any:
        """Call a tool and return its result.

        :raises ValueError: the provider is that of another transport.
        :raises UtcpError: the call failed.
        """
        return await call_with_template(self._fields(tool_provider), tool_name, arguments, self._root)

    async def close(self) -> None:
        """Do nothing: a transport of this kind holds nothing."""


async def _is_json(root: Path | None, path: str) -> bool:
    """Return whether a file is JSON, whatever it says."""
    try:
        orjson.loads(await anyio.Path(root or ".", path).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return False
    return True


def _view(tool: Tool, name: str, provider: JsonObject) -> models.ToolOfV0:
    """Return a tool in the form of 0.x."""
    model = models.PROVIDERS.get(str(provider["provider_type"]), models.ProviderModel)
    if isinstance(seconds := provider.get("timeout"), int | float):
        provider = {**provider, "timeout": int(seconds * 1000)}
    try:
        view: models.ProviderModel = model.model_validate(provider)
    except ValueError:  # a form that only this package reads
        view = models.ProviderModel.model_validate({key: value for key, value in provider.items() if key != "auth"})
    return models.ToolOfV0(
        name=name,
        description=tool.description,
        inputs=models.SchemaOfV0.model_validate(tool.inputs),
        outputs=models.SchemaOfV0.model_validate(tool.outputs or {}),
        tags=list(tool.tags),
        average_response_size=tool.average_response_size,
        tool_provider=view,
    )


def _transports() -> dict[str, type[HouseTransport]]:
    names = {
        "http": "HttpClientTransport",
        "cli": "CliTransport",
        "sse": "SSEClientTransport",
        "http_stream": "StreamableHttpClientTransport",
        "mcp": "MCPTransport",
        "text": "TextTransport",
        "graphql": "GraphQLClientTransport",
        "tcp": "TCPTransport",
        "udp": "UDPTransport",
        "websocket": "WebSocketTransport",
        "grpc": "GRPCTransport",
        "webrtc": "WebRTCTransport",
    }
    doc = HouseTransport.__doc__
    return {
        kind: type(name, (HouseTransport,), {"kind": kind, "__doc__": doc, "__module__": __name__})
        for kind, name in names.items()
    }


_TRANSPORTS: Final = _transports()


class ClientOfV0:
    """The client of 0.x. `bridge` is the client of this package, which makes all calls of built-in types."""

    transports: ClassVar[dict[str, Any]] = {kind: transport() for kind, transport in _TRANSPORTS.items()}

    def __init__(
        self, config: models.ConfigOfV0, tool_repository: Any, search_strategy: Any, bridge: UtcpClient
    ) -> None:
        self.config = config
        self.tool_repository = tool_repository
        self.search_strategy = search_strategy
        self.bridge = bridge
        self.variable_substitutor = Substitutor()

    @classmethod
    async def create(
        cls,
        config: Mapping[str, Any] | models.ConfigOfV0 | None = None,
        tool_repository: Any = None,
        search_strategy: Any = None,
    ) -> Self:
        """Open a client and register the providers of its file.

        :raises FileNotFoundError: the file does not exist.
        :raises ValueError: the configuration or the file cannot be read.
        """
        read = config if isinstance(config, models.ConfigOfV0) else models.ConfigOfV0.model_validate(config or {})
        repository = tool_repository or models.MemoryRepositoryOfV0()
        strategy = search_strategy or models.TagStrategyOfV0(repository)
        loaders = tuple(read.load_variables_from or ())
        root = _folder_of(read.providers_file_path)
        extensions = Extensions(variable_loaders=loaders)
        bridge = await UtcpClient.create({"variables": read.variables or {}}, root=root, extensions=extensions)
        client = cls(read, repository, strategy, bridge)
        try:
            await client.load_providers(read.providers_file_path or "")
        except BaseException:
            await client.close()
            raise
        return client

    async def close(self) -> None:
        """Close connections and child processes. 0.x itself has no such method."""
        await self.bridge.aclose()

    async def load_providers(self, providers_file_path: str) -> list[Any]:
        """Register the providers of a file and return them. One that cannot be registered has a line on stdout.

        :raises FileNotFoundError: the file does not exist.
        :raises ValueError: it is not a JSON array.
        """
        if not providers_file_path:
            return []
        entries = await _providers_in(providers_file_path)
        done: dict[int, Any] = {}

        async def register(number: int, entry: JsonObject) -> None:
            try:
                kind = models.PROVIDERS.get(str(entry.get("provider_type")), models.ProviderModel)
                provider = kind.model_validate(entry)
                await self.register_tool_provider(provider)
                done[number] = provider
            except (UtcpError, ValueError) as error:
                print(f"Error registering provider {entry.get('name', 'unknown')!r}: {error}")  # noqa: T201 - as 0.x

        async with anyio.create_task_group() as group:
            for number, entry in enumerate(entries):
                group.start_soon(register, number, entry)
        return [provider for _, provider in sorted(done.items())]

    def _program_transport(self, kind: str) -> Any:
        """Return the transport of the program for a type; None for a type of this package.

        :raises ValueError: the type is unknown.
        """
        if kind not in self.transports:
            raise ValueError(f"Provider type not supported: {kind}")
        transport = self.transports[kind]
        return None if isinstance(transport, HouseTransport) else transport

    async def register_tool_provider(self, manual_provider: Any) -> list[Any]:
        """Register a provider and return its tools, under their UTCP names.

        :raises ValueError: the name is taken, or the type is unknown.
        :raises VariableNotFound: the provider names a variable that no source has.
        :raises UtcpError: the provider cannot be loaded.
        """
        provider = manual_provider
        provider.name = name = plain_name(provider.name)
        if await self.tool_repository.get_provider(name) is not None:
            raise ValueError(f"There is already a provider named {name!r}. Rename one, or deregister the other.")
        transport = self._program_transport(provider.provider_type)
        if transport is None:
            found = await translated(self.bridge.register_tool_provider(fields_of(provider, kind="provider_type")))
            tools = [_view(tool, tool.qualified_name, _without_secrets(tool)) for tool in found]
        else:
            tools = await transport.register_tool_provider(self._filled(provider, name))
            for tool in tools:
                tool.name = tool.name if tool.name.startswith(f"{name}.") else f"{name}.{tool.name}"
        await self.tool_repository.save_provider_with_tools(provider, tools)
        return tools

    async def deregister_tool_provider(self, provider_name: str) -> None:
        """Remove a provider and its tools.

        :raises ValueError: no provider has this name.
        """
        provider = await self.tool_repository.get_provider(provider_name)
        if provider is None:
            raise ValueError(f"Provider not found: {provider_name}")
        transport = self._program_transport(provider.provider_type)
        if transport is not None:
            await transport.deregister_tool_provider(provider)
        await self.bridge.deregister_manual(provider_name)
        await self.tool_repository.remove_provider(provider_name)

    async def call_tool(self, tool_name: str, arguments: JsonObject) -> Any:
        """Call a tool and return its result.

        :raises ValueError: no tool has this name.
        :raises UtcpError: the call failed.
        """
        tool = await self._tool(tool_name)
        transport = self._program_transport(tool.tool_provider.provider_type)
        if transport is None:
            return plain_bytes(await translated(self.bridge.call_tool(tool_name, arguments)))
        provider = self._filled(tool.tool_provider, tool_name.partition(".")[0])
        return await transport.call_tool(tool_name, arguments, provider)

    async def search_tools(self, query: str, limit: int = 10) -> list[Any]:
        """Return the best tools for a query, as the strategy ranks them."""
        found: list[Any] = await self.search_strategy.search_tools(query, limit)
        return found

    async def get_required_variables_for_manual_and_tools(self, manual_provider: Any) -> list[str]:
        """Return the keys of every variable that a provider and its tools name, set or not."""
        manual_provider.name = plain_name(manual_provider.name)
        self._program_transport(manual_provider.provider_type)
        fields = fields_of(manual_provider, kind="provider_type")
        return await translated(self.bridge.get_required_variables_for_manual_and_tools(fields))

    async def get_required_variables_for_tool(self, tool_name: str) -> list[str]:
        """Return the keys of every variable that a registered tool names.

        :raises ValueError: no tool has this name.
        """
        tool = await self._tool(tool_name)
        if self.bridge.find(tool_name) is not None:
            return await self.bridge.get_required_variables_for_tool(tool_name)
        fields = tool.tool_provider.model_dump()
        return self.variable_substitutor.find_required_variables(fields, tool_name.partition(".")[0])

    async def _tool(self, tool_name: str) -> Any:
        name = tool_name.partition(".")[0]
        if await self.tool_repository.get_provider(name) is None:
            raise UnknownTool(f"Provider not found: {name}.", remedy="`search_tools` returns names of tools.")
        tool = await self.tool_repository.get_tool(tool_name)
        if tool is None:
            raise UnknownTool(f"Tool not found: {tool_name}.", remedy="`search_tools` returns names of tools.")
        return tool

    def _filled(self, provider: Any, name: str) -> Any:
        filled = self.variable_substitutor.substitute(provider.model_dump(), self.config, name)
        return provider.__class__.model_validate(filled)


def _folder_of(place: str | None) -> Path:
    return Path(place).absolute().parent if place else Path.cwd()


async def _providers_in(place: str) -> list[JsonObject]:
    try:
        entries = orjson.loads(await anyio.Path(place).read_bytes())
    except FileNotFoundError:
        raise NoSuchFile(f"Providers file not found: {place}.", remedy="Check `providers_file_path`.") from None
    except (OSError, ValueError):
        raise ConfigError(f"Invalid JSON in providers file: {place}.", remedy="Write a JSON array.") from None
    if not is_list(entries):
        raise ConfigError(f"Providers file must contain a JSON array: {place}.", remedy="Write a JSON array.")
    return [entry for entry in entries if is_object(entry)]


def _without_secrets(tool: Tool) -> JsonObject:
    """Return a tool's provider without secrets that are written in it."""
    shown: JsonObject = without_literals(tool.tool_provider, lambda _name, _secret: "***")
    return shown


class ConverterOfV0:
    """Converts an OpenAPI description to a manual."""

    def __init__(self, openapi_spec: JsonObject, spec_url: str | None = None, provider_name: str | None = None) -> None:
        self.spec = openapi_spec
        self.spec_url = spec_url
        self.provider_name = provider_name

    def convert(self) -> models.ManualOfV0:
        """Return the manual.

        :raises ValueError: the document is not an OpenAPI description.
        """
        manual = openapi_tools(self.spec, base_url=base_of(self.spec, self.spec_url))
        tools: list[models.ToolOfV0] = []
        for tool in manual["tools"]:
            template = dict(tool.pop("tool_call_template"))
            template["provider_type"] = template.pop("call_template_type")
            template.setdefault("name", self.provider_name or "openapi")
            tools.append(models.ToolOfV0.model_validate({**tool, "tool_provider": template}))
        return models.ManualOfV0(tools=tools)


_DECORATED: Final = Decorated(models.ManualOfV0, models.ToolOfV0, models.SchemaOfV0, "tool_provider")

NAMES: Final[Mapping[str, Any]] = {
    **{transport.__name__: transport for transport in _TRANSPORTS.values()},
    "ApiKeyAuth": ApiKey,
    "Auth": models.AuthOfV0,
    "BasicAuth": Basic,
    "CliProvider": models.CliOfV0,
    "ClientTransportInterface": TransportModel,
    "DefaultVariableSubstitutor": Substitutor,
    "GRPCProvider": models.GrpcOfV0,
    "GraphQLProvider": models.GraphQlOfV0,
    "HttpProvider": models.HttpOfV0,
    "InMemToolRepository": models.MemoryRepositoryOfV0,
    "MCPProvider": models.McpOfV0,
    "McpConfig": models.McpServersOfV0,
    "McpHttpServer": models.McpServerOfV0,
    "McpStdioServer": models.McpServerOfV0,
    "OAuth2Auth": ClientCredentials,
    "OpenApiConverter": ConverterOfV0,
    "Provider": models.ProviderModel,
    "SSEProvider": models.SseOfV0,
    "StreamableHttpProvider": models.StreamOfV0,
    "TCPProvider": models.TcpOfV0,
    "TagSearchStrategy": models.TagStrategyOfV0,
    "TextProvider": models.TextOfV0,
    "Tool": models.ToolOfV0,
    "ToolContext": _DECORATED,
    "ToolInputOutputSchema": models.SchemaOfV0,
    "ToolRepository": models.RepositoryOfV0,
    "ToolSearchStrategy": models.StrategyOfV0,
    "UDPProvider": models.UdpOfV0,
    "UtcpClient": ClientOfV0,
    "UtcpClientConfig": models.ConfigOfV0,
    "UtcpClientInterface": ClientOfV0,
    "UtcpDotEnv": models.DotenvOfV0,
    "UtcpManual": models.ManualOfV0,
    "UtcpVariableNotFound": VariableNotFound,
    "UtcpVariablesConfig": models.VariablesOfV0,
    "VariableSubstitutor": Substitutor,
    "WebRTCProvider": models.WebRtcOfV0,
    "WebSocketProvider": models.WebSocketOfV0,
    "__version__": models.VERSION,
    "utcp_tool": _DECORATED.decorator,
}
"""Every public name of 0.x, whichever module has it."""
