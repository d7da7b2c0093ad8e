"""The client of 1.x over the client of this package, and every name of 1.x."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import anyio
import orjson
from pydantic import ValidationError

from utcp_bridge.auth.literals import without_literals
from utcp_bridge.client.client import UtcpClient
from utcp_bridge.client.extensions import Extensions
from utcp_bridge.compat import v1_models as models
from utcp_bridge.compat.models import (
    ApiKey,
    AuthForm,
    Basic,
    ClientCredentials,
    Decorated,
    Schema,
    Serializer,
    SerializerError,
    Substitutor,
    base_of,
    fields_of,
    openapi_tools,
    plain_name,
    serializer_of,
)
from utcp_bridge.compat.running import as_reference_error, plain_bytes, translated
from utcp_bridge.compat.v1_protocols import BUILT_IN, HouseProtocol, ProtocolModel, tool_view
from utcp_bridge.configuration.places import NoSuchFile
from utcp_bridge.errors import ConfigError, UnknownTool, UtcpError, VariableNotFound
from utcp_bridge.model import JsonObject, Tool, is_object

__all__ = ["NAMES", "ClientOfV1", "ConverterOfV1"]


class CloseFailed(Exception):
    """Protocols of a program that failed when the client closed them."""

    def __init__(self, failures: list[BaseException], total: int) -> None:
        super().__init__(f"{len(failures)} of {total} protocols did not close: {failures[0]}")
        self.failures = failures
        self.total = total


class ClientOfV1:
    """The client of 1.x. `bridge` is the client of this package, which makes all calls of built-in types."""

    def __init__(self, config: models.ClientConfigModel, bridge: UtcpClient, root_dir: str) -> None:
        self.config = config
        self.bridge = bridge
        self.root_dir = root_dir
        self.variable_substitutor = Substitutor()
        self._own: dict[str, Any] = {}

    @classmethod
    async def create(
        cls, root_dir: str | None = None, config: str | Mapping[str, Any] | models.ClientConfigModel | None = None
    ) -> Self:
        """Open a client and register the manuals of its configuration: a file, a dict or a model.

        :raises ValueError: the configuration cannot be read.
        :raises VariableNotFound: a manual names a variable that no source has.
        """
        read = await _read_config(config)
        root = Path(root_dir or Path.cwd())
        loaders = tuple(read.load_variables_from or ())
        extensions = Extensions(variable_loaders=loaders)
        bridge = await UtcpClient.create({"variables": read.variables or {}}, root=root, extensions=extensions)
        client = cls(read, bridge, str(root))
        try:
            await client.register_manuals(read.manual_call_templates)
        except BaseException:
            await client.close()
            raise
        return client

    async def close(self) -> None:
        """Close connections, child processes, and the protocols that were made for this client.

        :raises CloseFailed: a protocol of the program failed.
        """
        failures: list[BaseException] = []
        for protocol in self._own.values():
            try:
                await protocol.close()
            except Exception as error:  # noqa: BLE001 - the others are closed as well
                failures.append(error)
        await self.bridge.aclose()
        if failures:
            raise CloseFailed(failures, len(self._own))

    def _program_protocol(self, kind: str) -> Any:
        """Return the protocol that the program registered for a type; None for a type of this package."""
        factory = ProtocolModel.communication_protocol_factories.get(kind)
        if factory is not None and kind not in self._own:
            self._own[kind] = factory()
        protocol = self._own.get(kind) or ProtocolModel.communication_protocols.get(kind)
        return None if isinstance(protocol, HouseProtocol) else protocol

    async def register_manual(self, manual_call_template: Any) -> Any:
        """Register a manual and return the result: its tools under their UTCP names, or the reasons against it.

        :raises ValueError: the name is taken, or the type is unknown.
        :raises VariableNotFound: the template names a variable that no source has.
        """
        repository = self.config.tool_repository
        template = manual_call_template
        template.name = name = plain_name(template.name)
        if await repository.get_manual(name) is not None:
            raise ValueError(f"There is already a manual named {name!r}. Rename one of them, or deregister the other.")
        protocol = self._program_protocol(template.call_template_type)
        if protocol is None:
            result = await self._registered(template)
        else:
            result = await protocol.register_manual(self, template)
            for tool in result.manual.tools:
                tool.name = tool.name if tool.name.startswith(f"{name}.") else f"{name}.{tool.name}"
        if result.success:
            await repository.save_manual(result.manual_call_template, result.manual)
        return result

    async def _registered(self, template: Any) -> models.RegisteredResult:
        state = await translated(self.bridge.register_manual(fields_of(template, kind="call_template_type")))
        if state.error is not None:
            await self.bridge.deregister_manual(state.name)
        if isinstance(state.error, VariableNotFound):
            raise state.error
        return models.RegisteredResult(
            manual_call_template=template,
            manual=models.ManualModel([_shown(tool) for tool in state.manual.tools]),
            success=state.error is None,
            errors=state.errors if state.error is not None else [],
        )

    async def register_manuals(self, manual_call_templates: Sequence[Any]) -> list[Any]:
        """Register several manuals at once. A manual that cannot be registered has a result with `success` False.

        :raises VariableNotFound: a template names a variable that no source has.
        """
        results: dict[int, Any] = {}
        missing: list[VariableNotFound] = []

        async def register(number: int, template: Any) -> None:
            try:
                results[number] = await self.register_manual(template)
            except VariableNotFound as error:
                missing.append(error)
            except Exception as error:  # noqa: BLE001 - one manual must not affect another
                results[number] = models.RegisteredResult(
                    manual_call_template=template,
                    manual=models.ManualModel([], manual_version="0.0.0"),
                    success=False,
                    errors=[str(error)],
                )

        async with anyio.create_task_group() as group:
            for number, template in enumerate(manual_call_templates):
                group.start_soon(register, number, template)
        if missing:
            raise missing[0]
        return [result for _, result in sorted(results.items())]

    async def deregister_manual(self, manual_name: str) -> bool:
        """Remove a manual and its tools. Return False if no manual has this name."""
        template = await self.config.tool_repository.get_manual_call_template(manual_name)
        if template is None:
            return False
        protocol = self._program_protocol(template.call_template_type)
        if protocol is not None:
            await protocol.deregister_manual(self, template)
        await self.bridge.deregister_manual(manual_name)
        removed: bool = await self.config.tool_repository.remove_manual(manual_name)
        return removed

    async def _tool(self, tool_name: str) -> tuple[Any, Any]:
        """Return a tool and the program's protocol for it.

        :raises UnknownTool: the repository has no tool of this name.
        """
        tool = await self.config.tool_repository.get_tool(tool_name)
        if tool is None:
            raise UnknownTool(f"Tool not found: {tool_name}.", remedy="`search_tools` returns names of tools.")
        return tool, self._program_protocol(tool.tool_call_template.call_template_type)

    async def call_tool(self, tool_name: str, tool_args: JsonObject) -> Any:
        """Call a tool and return its result.

        :raises ValueError: no tool has this name.
        :raises UtcpError: the call failed.
        """
        tool, protocol = await self._tool(tool_name)
        if protocol is None:
            result = plain_bytes(await translated(self.bridge.call_tool(tool_name, tool_args)))
        else:
            result = await protocol.call_tool(self, tool_name, tool_args, self._filled(tool))
        return self._processed(tool, result)

    async def call_tool_streaming(self, tool_name: str, tool_args: JsonObject) -> AsyncGenerator[Any]:
        """Yield the partial results of a call.

        :raises ValueError: no tool has this name.
        :raises UtcpError: the call failed.
        """
        tool, protocol = await self._tool(tool_name)
        stream: AsyncGenerator[Any]
        if protocol is None:
            stream = self.bridge.call_tool_streaming(tool_name, tool_args)
        else:
            stream = protocol.call_tool_streaming(self, tool_name, tool_args, self._filled(tool))
        try:
            async for part in stream:
                yield self._processed(tool, plain_bytes(part))
        except UtcpError as error:
            raise as_reference_error(error) from error

    def _filled(self, tool: Any) -> Any:
        template = tool.tool_call_template
        filled = self.variable_substitutor.substitute(template.model_dump(), self.config, tool.name.partition(".")[0])
        return template.__class__.model_validate(filled)

    def _processed(self, tool: Any, result: Any) -> Any:
        for processor in self.config.post_processing:
            result = processor.post_process(self, tool, tool.tool_call_template, result)
        return result

    async def search_tools(
        self, query: str, limit: int = 10, any_of_tags_required: list[str] | None = None
    ) -> list[Any]:
        """Return the best tools for a query, as the configured strategy ranks them."""
        strategy, repository = self.config.tool_search_strategy, self.config.tool_repository
        return await strategy.search_tools(repository, query, limit, any_of_tags_required)

    async def get_required_variables_for_manual_and_tools(self, manual_call_template: Any) -> list[str]:
        """Return the keys of every variable that a manual's template and its tools name, set or not."""
        manual_call_template.name = plain_name(manual_call_template.name)
        fields = fields_of(manual_call_template, kind="call_template_type")
        if self._program_protocol(manual_call_template.call_template_type) is not None:
            return self.variable_substitutor.find_required_variables(fields, manual_call_template.name)
        return await translated(self.bridge.get_required_variables_for_manual_and_tools(fields))

    async def get_required_variables_for_registered_tool(self, tool_name: str) -> list[str]:
        """Return the keys of every variable that a registered tool names.

        :raises ValueError: no tool has this name.
        """
        tool, protocol = await self._tool(tool_name)
        if protocol is None:
            return await self.bridge.get_required_variables_for_registered_tool(tool_name)
        fields = tool.tool_call_template.model_dump()
        return self.variable_substitutor.find_required_variables(fields, tool_name.partition(".")[0])


def _shown(tool: Tool) -> models.ToolModel:
    """Return a live tool for programs and prompts: without secrets that are written in its template."""
    template = without_literals(tool.tool_call_template, lambda _name, _secret: "***")
    return tool_view(tool, name=tool.qualified_name, template=template)


async def _read_config(config: Any) -> models.ClientConfigModel:
    """Return a configuration from the forms that `create` takes.

    :raises ValueError: it cannot be read.
    """
    if isinstance(config, models.ClientConfigModel):
        return config
    if isinstance(config, str | Path):
        try:
            config = orjson.loads(await anyio.Path(config).read_bytes())
        except FileNotFoundError:
            raise NoSuchFile(f"{config}: There is no such file.", remedy="Check the path.") from None
        except (OSError, ValueError) as error:
            raise ConfigError(f"{config} cannot be read: {error}.", remedy="Write a JSON document.") from None
    try:
        return models.ClientConfigModel.model_validate(config or {})
    except (ValidationError, SerializerError) as error:
        raise ConfigError(f"The configuration is not valid: {error}.") from error


class ConverterOfV1:
    """Converts an OpenAPI description to a manual."""

    def __init__(
        self,
        openapi_spec: JsonObject,
        spec_url: str | None = None,
        call_template_name: str | None = None,
        auth_tools: Any = None,
        base_url: str | None = None,
    ) -> None:
        self.spec = openapi_spec
        self.spec_url = spec_url
        self.call_template_name = call_template_name
        self.auth_tools = auth_tools
        self.base_url = base_url

    def convert(self) -> models.ManualModel:
        """Return the manual.

        :raises ValueError: the document is not an OpenAPI description.
        """
        base = self.base_url or base_of(self.spec, self.spec_url)
        manual = openapi_tools(self.spec, base_url=base)
        for tool in manual["tools"]:
            template = tool["tool_call_template"]
            template.setdefault("name", self.call_template_name or "openapi")
            if self.auth_tools is not None and _fits(self.auth_tools, template.get("auth")):
                template["auth"] = self.auth_tools.model_dump()
        return models.ManualModel(manual["tools"], manual_version=str(manual.get("manual_version", "1.0.0")))


def _fits(auth_tools: Any, auth: Any) -> bool:
    """Return whether the credentials of a configuration are of the form that an operation asks for."""
    if not is_object(auth) or auth.get("auth_type") != auth_tools.auth_type:
        return False
    if auth_tools.auth_type != "api_key":
        return True
    name, place = str(auth.get("var_name", "X-Api-Key")), auth.get("location", "header")
    return bool(name.casefold() == auth_tools.var_name.casefold() and place == auth_tools.location)


_DECORATED: Final = Decorated(models.ManualModel, models.ToolModel, Schema, "tool_call_template")


def _adder(registry: Any) -> Callable[..., bool]:
    def add(name: str, serializer: Any, override: bool = False) -> bool:
        return models.register(registry, name, serializer, override=override)

    return add


def _register_protocol(communication_protocol_type: str, communication_protocol: Any, override: bool = False) -> bool:
    """Use a protocol for a type. Return False if the type has one, which stays without `override`."""
    known = ProtocolModel.communication_protocols
    if communication_protocol_type in known and not override:
        return False
    known[communication_protocol_type] = communication_protocol
    return True


def _register_factory(communication_protocol_type: str, factory: Callable[[], Any], override: bool = False) -> bool:
    """Make a protocol for each client. Return False if the type has a factory, which stays without `override`."""
    known = ProtocolModel.communication_protocol_factories
    if communication_protocol_type in known and not override:
        return False
    known[communication_protocol_type] = factory
    return True


def _nothing() -> None:
    """Do nothing: all types are there."""


def _serializers() -> dict[str, Any]:
    pairs = {
        "ApiKeyAuth": ApiKey,
        "BasicAuth": Basic,
        "OAuth2Auth": ClientCredentials,
        "DotEnvVariableLoader": models.DotenvFile,
        "JsonSchema": Schema,
        "Tool": models.ToolModel,
        "UtcpClientConfig": models.ClientConfigModel,
        "UtcpManual": models.ManualModel,
        "InMemToolRepositoryConfig": models.MemoryRepository,
        "TagAndDescriptionWordMatchStrategyConfig": models.WordMatchStrategy,
        "FilterDictPostProcessorConfig": models.FilterDictProcessor,
        "LimitStringsPostProcessorConfig": models.LimitStringsProcessor,
    }
    return {f"{name}Serializer": serializer_of(model) for name, model in pairs.items()}


NAMES: Final[Mapping[str, Any]] = {
    **BUILT_IN,
    **_serializers(),
    "ApiKeyAuth": ApiKey,
    "Auth": AuthForm,
    "AuthSerializer": models.AuthSerializer,
    "BasicAuth": Basic,
    "CallTemplate": models.CallTemplateModel,
    "CallTemplateSerializer": models.CallTemplateSerializer,
    "CommunicationProtocol": ProtocolModel,
    "ConcurrentToolRepository": models.RepositoryModel,
    "ConcurrentToolRepositoryConfigSerializer": models.RepositorySerializer,
    "DefaultVariableSubstitutor": Substitutor,
    "DotEnvVariableLoader": models.DotenvFile,
    "FilterDictPostProcessor": models.FilterDictProcessor,
    "InMemToolRepository": models.MemoryRepository,
    "JsonSchema": Schema,
    "LimitStringsPostProcessor": models.LimitStringsProcessor,
    "OAuth2Auth": ClientCredentials,
    "OpenApiConverter": ConverterOfV1,
    "RegisterManualResult": models.RegisteredResult,
    "Serializer": Serializer,
    "TagAndDescriptionWordMatchStrategy": models.WordMatchStrategy,
    "Tool": models.ToolModel,
    "ToolContext": _DECORATED,
    "ToolPostProcessor": models.PostProcessorModel,
    "ToolPostProcessorConfigSerializer": models.PostProcessorSerializer,
    "ToolSearchStrategy": models.SearchStrategyModel,
    "ToolSearchStrategyConfigSerializer": models.SearchStrategySerializer,
    "UtcpClient": ClientOfV1,
    "UtcpClientConfig": models.ClientConfigModel,
    "UtcpClientImplementation": ClientOfV1,
    "UtcpManual": models.ManualModel,
    "UtcpProtocolCloseError": CloseFailed,
    "UtcpSerializerValidationError": SerializerError,
    "UtcpVariableNotFound": VariableNotFound,
    "VariableLoader": models.VariableLoaderModel,
    "VariableLoaderSerializer": models.VariableLoaderSerializer,
    "VariableSubstitutor": Substitutor,
    "__version__": models.UTCP_VERSION,
    "ensure_plugins_initialized": _nothing,
    "register": _nothing,
    "register_auth": _adder(models.AuthSerializer),
    "register_call_template": _adder(models.CallTemplateSerializer),
    "register_communication_protocol": _register_protocol,
    "register_communication_protocol_factory": _register_factory,
    "register_tool_post_processor": _adder(models.PostProcessorSerializer),
    "register_tool_repository": _adder(models.RepositorySerializer),
    "register_tool_search_strategy": _adder(models.SearchStrategySerializer),
    "register_variable_loader": _adder(models.VariableLoaderSerializer),
    "utcp_tool": _DECORATED.decorator,
}
"""Every public name of 1.x and its plugins, whichever module has it."""
