"""Data models and parts of 1.x: call templates, tools, manuals, configuration, repositories, strategies, processors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal, TypeVar
from uuid import uuid4

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializeAsAny,
    ValidationInfo,
    field_validator,
    model_validator,
)

from utcp_bridge.compat.models import (
    ApiKey,
    AuthForm,
    Basic,
    ClientCredentials,
    CompatModel,
    Schema,
    Serializer,
    SerializerError,
    best_matches,
    dotenv_value,
    serializer_of,
)
from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.pipeline.post_processing import process

__all__ = [
    "AuthSerializer",
    "CallTemplateModel",
    "CallTemplateSerializer",
    "ClientConfigModel",
    "DotenvFile",
    "FilterDictProcessor",
    "LimitStringsProcessor",
    "ManualModel",
    "MemoryRepository",
    "PostProcessorModel",
    "PostProcessorSerializer",
    "RegisteredResult",
    "RepositoryModel",
    "RepositorySerializer",
    "SearchStrategyModel",
    "SearchStrategySerializer",
    "ToolModel",
    "VariableLoaderModel",
    "VariableLoaderSerializer",
    "WordMatchStrategy",
    "register",
]

B = TypeVar("B", bound=BaseModel)
UTCP_VERSION: Final = "1.0.2"


class _Registry(Serializer[B]):
    """A serializer that finds the one for a type: `known` has one for each, and programs add theirs."""

    key: ClassVar[str]
    known: ClassVar[dict[str, Any]]
    fallback: ClassVar[type[BaseModel] | None] = None

    def validate_dict(self, obj: JsonObject) -> Any:
        """Return the object.

        :raises SerializerError: the type is unknown, or the dict is not valid for it.
        """
        own = self.known.get(str(obj.get(self.key)))
        if own is not None:
            return own.validate_dict(obj)
        if self.fallback is None or self.key not in obj:
            raise SerializerError(f"{self.key} {obj.get(self.key)!r} is unknown. Known are: {', '.join(self.known)}.")
        return serializer_of(self.fallback)().validate_dict(obj)

    def to_dict(self, obj: Any) -> JsonObject:
        """Return the object as a dict."""
        own = self.known.get(str(getattr(obj, self.key)))
        made: JsonObject = own.to_dict(obj) if own is not None else obj.model_dump()
        return made


def register(registry: type[_Registry[Any]], name: str, serializer: Any, *, override: bool = False) -> bool:
    """Add a serializer of a program. Return False if the type has one, which stays without `override`."""
    if name in registry.known and not override:
        return False
    registry.known[name] = serializer
    return True


def _made(registry: type[_Registry[Any]], value: Any) -> Any:
    return registry().validate_dict(value) if is_object(value) else value


class AuthSerializer(_Registry[AuthForm]):
    """AuthForm from dicts."""

    key = "auth_type"
    known: ClassVar[dict[str, Any]] = {
        "api_key": serializer_of(ApiKey)(),
        "basic": serializer_of(Basic)(),
        "oauth2": serializer_of(ClientCredentials)(),
    }
    fallback = AuthForm


class CallTemplateModel(CompatModel):
    """Base of call templates. Fields of other versions and of this package are kept."""

    name: str = Field(default_factory=lambda: uuid4().hex)
    call_template_type: Any
    """Text; each subclass has its own."""
    auth: Any = Field(default=None, repr=False)
    allowed_communication_protocols: list[str] | None = None

    @model_validator(mode="after")
    def _typed(self) -> CallTemplateModel:
        self.__pydantic_fields_set__.add("call_template_type")
        return self

    @field_validator("auth", "auth_tools", mode="before", check_fields=False)
    @classmethod
    def _auth(cls, value: Any) -> Any:
        return _made(AuthSerializer, value)


class CallTemplateSerializer(_Registry[CallTemplateModel]):
    """Call templates from dicts."""

    key = "call_template_type"
    known: ClassVar[dict[str, Any]] = {}
    fallback = CallTemplateModel


class ToolModel(CompatModel):
    """A tool with its call template. After registration, `name` is the UTCP name."""

    name: str
    description: str = ""
    inputs: Schema = Field(default_factory=Schema)
    outputs: Schema = Field(default_factory=Schema)
    tags: list[str] = Field(default_factory=list[str])
    average_response_size: int | None = None
    tool_call_template: SerializeAsAny[CallTemplateModel]

    @field_validator("tool_call_template", mode="before")
    @classmethod
    def _template(cls, value: Any) -> Any:
        return _made(CallTemplateSerializer, value)


class ManualModel(CompatModel):
    """A manual: its tools and versions."""

    utcp_version: str = UTCP_VERSION
    manual_version: str = "1.0.0"
    tools: list[ToolModel]

    decorated: ClassVar[list[ToolModel]] = []
    """The tools of `utcp_tool`, in their order."""

    def __init__(self, tools: list[Any], **fields: Any) -> None:
        super().__init__(**{"tools": tools, **fields})

    @classmethod
    def create_from_decorators(cls, manual_version: str = "1.0.0", exclude: list[str] | None = None) -> ManualModel:
        """Return the manual of the functions that `utcp_tool` decorates, without those in `exclude`."""
        tools = [tool for tool in cls.decorated if tool.name not in (exclude or ())]
        return cls(tools, manual_version=manual_version)


class RegisteredResult(CompatModel):
    """The outcome of a registration."""

    manual_call_template: SerializeAsAny[CallTemplateModel]
    manual: ManualModel
    success: bool
    errors: list[str] = Field(default_factory=list[str])


class VariableLoaderModel(CompatModel, ABC):
    """A source of variables."""

    variable_loader_type: Any

    @abstractmethod
    def get(self, key: str) -> str | None:
        """Return the value of a key; None if the source does not have it."""


class DotenvFile(VariableLoaderModel):
    """Variables in a dotenv file."""

    variable_loader_type: Literal["dotenv"] = "dotenv"
    env_file_path: str

    def get(self, key: str) -> str | None:
        """Return the value of a key; None if the file does not have it."""
        return dotenv_value(self.env_file_path, key)


class VariableLoaderSerializer(_Registry[VariableLoaderModel]):
    """Sources of variables from dicts."""

    key = "variable_loader_type"
    known: ClassVar[dict[str, Any]] = {"dotenv": serializer_of(DotenvFile)()}


class RepositoryModel(CompatModel, ABC):
    """A store of manuals and tools. A subclass must have every method."""

    tool_repository_type: Any

    @abstractmethod
    async def save_manual(self, manual_call_template: Any, manual: Any) -> None:
        """Store a manual, and replace one of the same name."""

    @abstractmethod
    async def remove_manual(self, manual_name: str) -> bool:
        """Remove a manual and its tools. Return False if there is none of this name."""

    @abstractmethod
    async def remove_tool(self, tool_name: str) -> bool:
        """Remove a tool. Return False if there is none of this name."""

    @abstractmethod
    async def get_tool(self, tool_name: str) -> Any:
        """Return the tool of this name, or None."""

    @abstractmethod
    async def get_tools(self) -> list[Any]:
        """Return every tool."""

    @abstractmethod
    async def get_tools_by_manual(self, manual_name: str) -> list[Any] | None:
        """Return the tools of a manual; None without the manual."""

    @abstractmethod
    async def get_manual(self, manual_name: str) -> Any:
        """Return the manual of this name, or None."""

    @abstractmethod
    async def get_manuals(self) -> list[Any]:
        """Return every manual."""

    @abstractmethod
    async def get_manual_call_template(self, manual_call_template_name: str) -> Any:
        """Return the call template of a manual, or None."""

    @abstractmethod
    async def get_manual_call_templates(self) -> list[Any]:
        """Return the call template of every manual."""


class MemoryRepository(RepositoryModel):
    """The default: manuals in memory."""

    tool_repository_type: Literal["in_memory"] = "in_memory"
    _saved: dict[str, tuple[Any, Any]] = PrivateAttr(default_factory=dict[str, tuple[Any, Any]])

    async def save_manual(self, manual_call_template: Any, manual: Any) -> None:
        self._saved[manual_call_template.name] = (manual_call_template, manual)

    async def remove_manual(self, manual_name: str) -> bool:
        return self._saved.pop(manual_name, None) is not None

    async def remove_tool(self, tool_name: str) -> bool:
        for name, (template, manual) in self._saved.items():
            rest = [tool for tool in manual.tools if tool.name != tool_name]
            if len(rest) < len(manual.tools):
                self._saved[name] = (template, manual.model_copy(update={"tools": rest}))
                return True
        return False

    async def get_tool(self, tool_name: str) -> Any:
        return next((tool for tool in await self.get_tools() if tool.name == tool_name), None)

    async def get_tools(self) -> list[Any]:
        return [tool for _, manual in self._saved.values() for tool in manual.tools]

    async def get_tools_by_manual(self, manual_name: str) -> list[Any] | None:
        manual = await self.get_manual(manual_name)
        return None if manual is None else list(manual.tools)

    async def get_manual(self, manual_name: str) -> Any:
        return self._saved.get(manual_name, (None, None))[1]

    async def get_manuals(self) -> list[Any]:
        return [manual for _, manual in self._saved.values()]

    async def get_manual_call_template(self, manual_call_template_name: str) -> Any:
        return self._saved.get(manual_call_template_name, (None, None))[0]

    async def get_manual_call_templates(self) -> list[Any]:
        return [template for template, _ in self._saved.values()]


class RepositorySerializer(_Registry[RepositoryModel]):
    """Repositories from dicts."""

    key = "tool_repository_type"
    known: ClassVar[dict[str, Any]] = {"in_memory": serializer_of(MemoryRepository)()}
    default_repository: ClassVar[str] = "in_memory"


class SearchStrategyModel(CompatModel, ABC):
    """A ranking of tools. A subclass must have `search_tools`."""

    tool_search_strategy_type: Any

    @abstractmethod
    async def search_tools(
        self, tool_repository: Any, query: str, limit: int = 10, any_of_tags_required: list[str] | None = None
    ) -> list[Any]:
        """Return the best tools of a repository for a query, best first."""


class WordMatchStrategy(SearchStrategyModel):
    """The default: words of tags and descriptions."""

    tool_search_strategy_type: Literal["tag_and_description_word_match"] = "tag_and_description_word_match"
    description_weight: float = 1
    tag_weight: float = 3

    async def search_tools(
        self, tool_repository: Any, query: str, limit: int = 10, any_of_tags_required: list[str] | None = None
    ) -> list[Any]:
        """Return the best tools of a repository for a query, best first.

        :raises ValueError: the limit is negative.
        """
        if limit < 0:
            raise ValueError("limit must not be negative")
        weights = (self.tag_weight, self.description_weight)
        return best_matches(await tool_repository.get_tools(), query, limit, weights, any_of_tags_required)


class SearchStrategySerializer(_Registry[SearchStrategyModel]):
    """Search strategies from dicts."""

    key = "tool_search_strategy_type"
    known: ClassVar[dict[str, Any]] = {"tag_and_description_word_match": serializer_of(WordMatchStrategy)()}
    default_strategy: ClassVar[str] = "tag_and_description_word_match"


class PostProcessorModel(CompatModel, ABC):
    """Changes the results of tools. A subclass must have `post_process`."""

    tool_post_processor_type: Any

    @abstractmethod
    def post_process(self, caller: Any, tool: Any, manual_call_template: Any, result: Any) -> Any:
        """Return the changed result of a tool."""


class _BuiltIn(PostProcessorModel):
    exclude_tools: list[str] | None = None
    only_include_tools: list[str] | None = None
    exclude_manuals: list[str] | None = None
    only_include_manuals: list[str] | None = None

    def post_process(self, caller: Any, tool: Any, manual_call_template: Any, result: Any) -> Any:
        """Return the changed result of a tool, or the same for a tool that is left out."""
        del caller
        manual = manual_call_template.name
        for name, only, without in (
            (tool.name, self.only_include_tools, self.exclude_tools),
            (manual, self.only_include_manuals, self.exclude_manuals),
        ):
            if (only is not None and name not in only) or name in (without or ()):
                return result
        return process(result, projection=None, processors=[self.model_dump(exclude_none=True)])


class FilterDictProcessor(_BuiltIn):
    """Removes members of objects, or keeps only some."""

    tool_post_processor_type: Literal["filter_dict"] = "filter_dict"
    exclude_keys: list[str] | None = None
    only_include_keys: list[str] | None = None


class LimitStringsProcessor(_BuiltIn):
    """Cuts long texts."""

    tool_post_processor_type: Literal["limit_strings"] = "limit_strings"
    limit: int = 10_000


class PostProcessorSerializer(_Registry[PostProcessorModel]):
    """Post-processors from dicts."""

    key = "tool_post_processor_type"
    known: ClassVar[dict[str, Any]] = {
        "filter_dict": serializer_of(FilterDictProcessor)(),
        "limit_strings": serializer_of(LimitStringsProcessor)(),
    }


_PARTS: Final[Mapping[str, type[_Registry[Any]]]] = {
    "tool_repository": RepositorySerializer,
    "tool_search_strategy": SearchStrategySerializer,
    "post_processing": PostProcessorSerializer,
    "load_variables_from": VariableLoaderSerializer,
    "manual_call_templates": CallTemplateSerializer,
}


class ClientConfigModel(CompatModel):
    """The configuration of a client. Dicts become the objects of their types; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid")

    variables: dict[str, str] | None = Field(default_factory=dict[str, str], repr=False)
    load_variables_from: list[SerializeAsAny[VariableLoaderModel]] | None = None
    tool_repository: SerializeAsAny[RepositoryModel] = Field(default_factory=MemoryRepository)
    tool_search_strategy: SerializeAsAny[SearchStrategyModel] = Field(default_factory=WordMatchStrategy)
    post_processing: list[SerializeAsAny[PostProcessorModel]] = Field(default_factory=list[Any])
    manual_call_templates: list[SerializeAsAny[CallTemplateModel]] = Field(default_factory=list[Any])

    @field_validator(*_PARTS, mode="before")
    @classmethod
    def _parts(cls, value: Any, info: ValidationInfo) -> Any:
        registry = _PARTS[str(info.field_name)]
        return [_made(registry, one) for one in value] if is_list(value) else _made(registry, value)
