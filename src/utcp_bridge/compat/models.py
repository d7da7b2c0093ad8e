"""Data models that both generations of the reference library have: schemas, credentials, and serializers (1.x)."""

from __future__ import annotations

import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Generic, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from utcp_bridge.convert import openapi_to_utcp
from utcp_bridge.manuals.variables_needed import names_in_template
from utcp_bridge.model import JsonObject, Trust
from utcp_bridge.providing.tool_server import function_tool
from utcp_bridge.urls import origin_of
from utcp_bridge.variables import DotenvLoader, Variables, flat_key

__all__ = [
    "ApiKey",
    "AuthForm",
    "Basic",
    "ClientCredentials",
    "CompatModel",
    "Decorated",
    "Schema",
    "Serializer",
    "SerializerError",
    "Substitutor",
    "base_of",
    "best_matches",
    "dotenv_value",
    "fields_of",
    "plain_name",
    "serializer_of",
]

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
OPEN: Final = ConfigDict(extra="allow", populate_by_name=True, arbitrary_types_allowed=True)
_WITH_NULL: Final = frozenset({"response_byte_format"})
"""Fields whose null differs from their default."""
_WORD: Final = re.compile(r"\w+")


class CompatModel(BaseModel):
    """Base of the models. Unknown fields are kept. The repr shows no values but a name: others may be secrets."""

    model_config = OPEN

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {getattr(self, 'name', '')!r}>"

    __str__ = __repr__


class Schema(CompatModel):
    """A JSON Schema with its common keywords as attributes; other keywords are kept. It dumps what was written."""

    type: str | list[str] | None = None
    title: str | None = None
    description: str | None = None
    properties: dict[str, Schema | bool] | None = None
    items: Schema | list[Schema] | bool | None = None
    required: list[str] | None = None
    enum: list[Any] | None = None
    default: Any = None
    format: str | None = None
    minimum: float | None = None
    maximum: float | None = None

    @model_serializer(mode="wrap")
    def _as_written(self, dump: SerializerFunctionWrapHandler) -> JsonObject:
        given = self.model_fields_set
        return {key: value for key, value in dump(self).items() if key in given}


class AuthForm(CompatModel):
    """Base of the forms of authentication."""

    auth_type: Any
    """Text; each subclass has its own."""


class ApiKey(AuthForm):
    """A key in a header, a query parameter or a cookie."""

    auth_type: Literal["api_key"] = "api_key"
    api_key: str = Field(repr=False)
    var_name: str = "X-Api-Key"
    location: Literal["header", "query", "cookie"] = "header"


class Basic(AuthForm):
    """A user name and a password."""

    auth_type: Literal["basic"] = "basic"
    username: str
    password: str = Field(repr=False)


class ClientCredentials(AuthForm):
    """OAuth 2 client credentials."""

    auth_type: Literal["oauth2"] = "oauth2"
    token_url: str
    client_id: str
    client_secret: str = Field(repr=False)
    scope: str | None = None


class SerializerError(Exception):
    """A dict that is not valid for its model."""


class Serializer(ABC, Generic[T]):
    """Makes objects of one kind from dicts, and dicts from objects (1.x)."""

    @abstractmethod
    def validate_dict(self, obj: JsonObject) -> T:
        """Return the object.

        :raises SerializerError: the dict is not valid.
        """

    @abstractmethod
    def to_dict(self, obj: T) -> JsonObject:
        """Return the object as a dict."""

    def copy(self, obj: T) -> T:
        """Return another object with the same values."""
        return self.validate_dict(self.to_dict(obj))


def serializer_of(model: type[M]) -> type[Serializer[M]]:
    """Return the class of serializers of one model."""

    class ModelSerializer(Serializer[Any]):
        """The serializer of one model."""

        def validate_dict(self, obj: JsonObject) -> Any:
            try:
                return model.model_validate(obj)
            except ValidationError as error:
                raise SerializerError(f"Invalid {model.__name__}: {error}") from error

        def to_dict(self, obj: Any) -> JsonObject:
            made: JsonObject = obj.model_dump()
            return made

    return ModelSerializer


def plain_name(name: str) -> str:
    """Return a manual's name as the reference library registers it: word characters only."""
    return re.sub(r"\W", "_", name)


def fields_of(template: BaseModel | Mapping[str, Any], *, kind: str) -> JsonObject:
    """Return the fields that a program gave a template, with its type under the key `kind`."""
    if isinstance(template, Mapping):
        return dict(template)
    found = template.model_dump(exclude_unset=True)
    given = {name: value for name, value in found.items() if value is not None or name in _WITH_NULL}
    return {**given, "name": getattr(template, "name", ""), kind: getattr(template, kind)}


def best_matches(
    tools: list[Any], query: str, limit: int, weights: tuple[float, float], tags: list[str] | None = None
) -> list[Any]:
    """Return the best tools by words of their tags and descriptions, best first; `weights` are those of the two.

    Tools without a match come last. A limit of 0 is none.
    """
    text = query.casefold()
    words = set(_WORD.findall(text))
    wanted = None if tags is None else {tag.casefold() for tag in tags}

    def score(tool: Any) -> float:
        own = [tag.casefold() for tag in tool.tags]
        by_tag = sum(tag in text or bool(words & set(_WORD.findall(tag))) for tag in own)
        told = {word for word in _WORD.findall(tool.description.casefold()) if len(word) > 2}
        return weights[0] * by_tag + weights[1] * len(words & told)

    known = [tool for tool in tools if not wanted or any(tag.casefold() in wanted for tag in tool.tags)]
    ranked = sorted(known, key=score, reverse=True)
    return ranked[:limit] if limit > 0 else ranked


def base_of(description: JsonObject, url: str | None) -> str | None:
    """Return where the paths of an OpenAPI description start, if it names no server: at the origin of its own URL."""
    return origin_of(url) if url and not description.get("servers") and "host" not in description else None


class Decorated:
    """The decorator `utcp_tool` of one generation, and the tools that it made, which `owner.decorated` lists."""

    def __init__(self, owner: Any, tool: type[BaseModel], schema: type[BaseModel], key: str) -> None:
        """Note the classes of a generation. `key` is the member of a tool that says how it is called."""
        self._owner = owner
        self._tool = tool
        self._schema = schema
        self._order = (key, "name", "description", "tags", "inputs", "outputs")

    def add_tool(self, tool: Any) -> None:
        """Add a tool."""
        self._owner.decorated.append(tool)

    def get_tools(self) -> list[Any]:
        """Return the tools, in their order."""
        return cast("list[Any]", self._owner.decorated)

    def decorator(self, *given: Any, **named: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Return a decorator that offers a function as a tool.

        Parameters: how the tool is called, then `name`, `description`, `tags`, `inputs` and `outputs`, which follow
        from the function. The decorator raises `ConfigError` for type hints that have no JSON Schema.

        :raises TypeError: a parameter is unknown, or the first one is missing.
        """
        wishes = {**dict(zip(self._order, given, strict=False)), **named}
        key = self._order[0]
        if key not in wishes or len(given) > len(self._order) or not wishes.keys() <= set(self._order):
            raise TypeError(f"utcp_tool has the parameters {', '.join(self._order)}; {key} is required.")

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            made = function_tool(function, name=wishes.get("name"), description=wishes.get("description"))
            template = wishes[key]
            if not str(template.name):
                template.name = made.name
            outputs = made.outputs or {"type": "object", "properties": {}}
            tags = wishes.get("tags")
            fields = {
                "name": made.name,
                "description": wishes.get("description") or inspect.getdoc(function) or "",
                "inputs": wishes.get("inputs") or self._schema.model_validate(made.inputs),
                "outputs": wishes.get("outputs") or self._schema.model_validate(outputs),
                "tags": ["utcp"] if tags is None else tags,
                key: template,
            }
            self.add_tool(self._tool(**fields))
            return function

        return decorate


def openapi_tools(description: JsonObject, *, base_url: str | None) -> JsonObject:
    """Return the manual of an OpenAPI description: as other clients call it, and the rest in the extended form.

    :raises ManualError: the document is not an OpenAPI description.
    """
    every = openapi_to_utcp(description, base_url=base_url, portable=False)
    written = {tool["name"]: tool for tool in openapi_to_utcp(description, base_url=base_url)["tools"]}
    return {**every, "tools": [written.get(tool["name"], tool) for tool in every["tools"]]}


class Substitutor:
    """Fills variables in, and names those that are needed."""

    def substitute(self, obj: Any, config: Any, variable_namespace: str | None = None) -> Any:
        """Return a value with its `${VARIABLES}` filled in.

        :raises VariableNotFound: no source has one of them.
        """
        variables = Variables(config.variables or {}, tuple(config.load_variables_from or ()))
        trust = Trust.OPERATOR
        found = variables.resolve({"value": obj}, manual=variable_namespace or "", trust=trust)
        return found["value"]

    def find_required_variables(self, obj: Any, variable_namespace: str | None = None) -> list[str]:
        """Return the keys of the variables that a value names."""
        names = names_in_template({"value": obj})
        return list(dict.fromkeys(flat_key(variable_namespace or "", name) or name for name in names))


def dotenv_value(path: str, key: str) -> str | None:
    """Return the value of a key in a dotenv file; None if either does not exist.

    :raises ConfigError: the file cannot be read.
    """
    return DotenvLoader(Path(path)).get(key)
