"""Python functions as UTCP tools, served by any ASGI server.

Type hints become the schemas, arguments are validated against them, and results are JSON.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar, get_args, get_type_hints, overload

import anyio.to_thread
from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import ArgsKwargs
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from utcp_bridge.errors import ConfigError, InvalidArguments, MalformedReply, UtcpError
from utcp_bridge.manuals.repository import unknown_tool
from utcp_bridge.model import Binary, Emit, JsonObject
from utcp_bridge.providing.exchange import Lines, UnreadableBody, answer_of, problem, read_arguments, wants_lines
from utcp_bridge.providing.manuals import ManualForm, ProvidedTool, manual_of, provided_tool, read_form
from utcp_bridge.settings import explain

__all__ = ["FunctionTool", "ToolServer", "function_tool"]

F = TypeVar("F", bound=Callable[..., Any])
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_UNNAMED: Final = frozenset({inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL})
_END: Final = object()


class ToolServer:
    """Functions as tools: `GET /utcp` returns their manual (UTCP v1), `POST /utcp/tools/NAME` calls one.

    A tool that streams returns a list, or lines of JSON if the request asks for them (`Accept: application/x-ndjson`,
    as the templates of `/utcp?streaming=true` do).

    `auth` becomes the `auth` of the manual's call templates; write variables for secrets. The application itself checks
    the credentials. `public_url` is the address of `path` for clients, for example `https://tools.example.com/utcp`. It
    is needed behind a proxy that does not forward its own address.
    """

    def __init__(
        self,
        *,
        version: str = "1.0.0",
        path: str = "/utcp",
        auth: JsonObject | None = None,
        public_url: str | None = None,
    ) -> None:
        self._version: Final = version
        self._path: Final = "/" + path.strip("/")
        self._auth: Final = auth
        self._public_url: Final = public_url
        self._tools: Final[dict[str, FunctionTool]] = {}

    @overload
    def tool(self, function: F, /) -> F: ...

    @overload
    def tool(
        self, /, *, name: str | None = None, description: str | None = None, tags: Iterable[str] = ()
    ) -> Callable[[F], F]: ...

    def tool(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        tags: Iterable[str] = (),
    ) -> Any:
        """Offer the decorated function as a tool; the function itself does not change.

        The function may be asynchronous. The results of a generator, asynchronous or not, are streamed. Type hints
        become the schemas (add details with `Annotated[int, Field(ge=1, description="…")]`), the docstring becomes the
        description.

        :raises ConfigError: the name is taken, or the type hints have no JSON Schema.
        """

        def add(decorated: F) -> F:
            tool = function_tool(decorated, name=name, description=description, tags=tags)
            if tool.name in self._tools:
                raise ConfigError(f"There is already a tool {tool.name}.", remedy="Give one of them another name.")
            self._tools[tool.name] = tool
            return decorated

        return add if function is None else add(function)

    def manual(self, form: ManualForm) -> JsonObject:
        """Return the manual in this form."""
        provided = (
            ProvidedTool(tool.name, tool.description, tool.inputs, tool.outputs, tool.tags, tool.streams)
            for tool in self._tools.values()
        )
        return manual_of((provided_tool(tool, form, auth=self._auth) for tool in provided), version=self._version)

    def routes(self) -> list[Route]:
        """Return the two routes, for an application of your own."""
        return [
            Route(self._path, self._get_manual, methods=["GET"]),
            Route(f"{self._path}/tools/{{name}}", self._call, methods=["POST"]),
        ]

    def add_to(self, app: Starlette) -> None:
        """Add the routes to a Starlette or FastAPI application, before routes that match every path."""
        app.router.routes[:0] = self.routes()

    def app(self) -> Starlette:
        """Return an application that has only these routes."""
        return Starlette(routes=self.routes())

    async def _get_manual(self, request: Request) -> Response:
        try:
            manual = self.manual(read_form(request, self._public_url))
        except UtcpError as error:
            return problem(error)
        return JSONResponse(manual, headers={"Cache-Control": "no-cache"})

    async def _call(self, request: Request) -> Response:
        try:
            tool = self._tool(request.path_params["name"])
            arguments = await read_arguments(request, tool.inputs)
        except (UtcpError, UnreadableBody) as error:
            return problem(error)
        if tool.streams and wants_lines(request):
            return Lines(partial(tool.stream, arguments))
        return await answer_of(request, partial(tool.listed if tool.streams else tool.call, arguments))

    def _tool(self, name: str) -> FunctionTool:
        if name not in self._tools:
            raise unknown_tool(name, self._tools, remedy=f"{self._path} lists the tools.")
        return self._tools[name]


@dataclass(frozen=True, slots=True)
class FunctionTool:
    """A tool that is a function of this process.

    `inputs` and `outputs` are JSON Schemas; `outputs` is None without a return type. `streams` means that the function
    is a generator, whose results come one by one.
    """

    name: str
    description: str
    inputs: JsonObject
    outputs: JsonObject | None
    tags: tuple[str, ...]
    streams: bool
    _function: Callable[..., Any] = field(repr=False)
    _is_async: bool = field(repr=False)
    _arguments: TypeAdapter[Any] = field(repr=False)
    _result: TypeAdapter[Any] = field(repr=False)

    async def call(self, arguments: JsonObject) -> Any:
        """Return the result as JSON data, or `Binary`. A synchronous function runs in a worker thread.

        :raises InvalidArguments: the arguments do not match the type hints.
        :raises MalformedReply: the result is not JSON.
        """
        bound = self._bound(arguments)
        return self._as_json(await bound() if self._is_async else await anyio.to_thread.run_sync(bound))

    async def listed(self, arguments: JsonObject) -> list[Any]:
        """Return all results of a generator; raises the same errors as `call`."""
        results: list[Any] = []

        async def keep(result: Any) -> None:
            results.append(result)

        await self.stream(arguments, keep)
        return results

    async def stream(self, arguments: JsonObject, emit: Emit) -> None:
        """Emit the results of a generator one by one, each as JSON data; raises the same errors as `call`."""
        results = self._bound(arguments)()
        if self._is_async:
            async with aclosing(results):
                async for result in results:
                    await emit(self._as_json(result))
            return
        with closing(results):
            while (result := await anyio.to_thread.run_sync(next, results, _END)) is not _END:
                await emit(self._as_json(result))

    def _bound(self, arguments: JsonObject) -> Callable[[], Any]:
        """Return the function bound to validated arguments."""
        try:
            checked: ArgsKwargs = self._arguments.validate_python(ArgsKwargs((), arguments))
        except ValidationError as error:
            raise InvalidArguments(f"The arguments do not match {self.name}: {explain(error)}.") from None
        return partial(self._function, *checked.args, **(checked.kwargs or {}))

    def _as_json(self, result: Any) -> Any:
        if isinstance(result, Binary):
            return result
        try:
            return self._result.dump_python(result, mode="json", by_alias=True)
        except ValueError:
            raise MalformedReply(f"The result of {self.name} is not JSON.") from None


def function_tool(
    function: Callable[..., Any], *, name: str | None = None, description: str | None = None, tags: Iterable[str] = ()
) -> FunctionTool:
    """Return a function as a tool, by default with the function's own name and docstring.

    :raises ConfigError: the name is not usable, a parameter is positional only, or a type has no JSON Schema.
    """
    name = name or str(getattr(function, "__name__", ""))
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name[:80]!r} cannot be the name of a tool.", remedy="Use letters, digits, '_', '-', '.'.")
    signature = inspect.signature(function)
    for parameter in signature.parameters.values():
        if parameter.kind in _UNNAMED:
            raise ConfigError(
                f"{name}: the parameter {parameter.name} is positional only, but tools receive arguments by name.",
                remedy="Make it an ordinary parameter.",
            )
    is_async_stream = inspect.isasyncgenfunction(function)
    streams = is_async_stream or inspect.isgeneratorfunction(function)
    try:
        arguments: TypeAdapter[Any] = _collector(function, signature)
        written, result = _result_type(function, streams=streams)
        return FunctionTool(
            name=name,
            description=description or inspect.getdoc(function) or "",
            inputs=arguments.json_schema(schema_generator=_Schemas),
            outputs=_outputs(result, streams=streams) if written else None,
            tags=tuple(tags),
            streams=streams,
            _function=function,
            _is_async=is_async_stream or inspect.iscoroutinefunction(function),
            _arguments=arguments,
            _result=result,
        )
    except (PydanticUserError, PydanticInvalidForJsonSchema, NameError) as error:
        what = str(error).partition("\n")[0]
        raise ConfigError(f"{name}: the type hints have no JSON Schema: {what}", remedy="Use JSON types.") from None


class _Schemas(GenerateJsonSchema):
    """Schemas without a title for each field, because it would only repeat the name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        del schema
        return False


def _collector(function: Callable[..., Any], signature: inspect.Signature) -> TypeAdapter[Any]:
    """Return an adapter that validates arguments for the function and returns them as `ArgsKwargs`."""

    def collect(*args: Any, **kwargs: Any) -> ArgsKwargs:
        return ArgsKwargs(args, kwargs)

    imitation: Any = collect
    imitation.__signature__ = signature
    hints = get_type_hints(function, include_extras=True)
    imitation.__annotations__ = {key: hint for key, hint in hints.items() if key != "return"}
    return TypeAdapter(imitation)


def _result_type(function: Callable[..., Any], *, streams: bool) -> tuple[bool, TypeAdapter[Any]]:
    """Return whether there is a return type, and its serializer; for a generator of the type of one item."""
    hint = get_type_hints(function, include_extras=True).get("return", Any)
    if streams:
        hint = next(iter(get_args(hint)), Any)
    return hint not in {Any, Binary}, TypeAdapter(Any if hint is Binary else hint)


def _outputs(result: TypeAdapter[Any], *, streams: bool) -> JsonObject:
    schema = result.json_schema(schema_generator=_Schemas, mode="serialization")
    if not streams:
        return schema
    definitions = schema.pop("$defs", None)
    return {"type": "array", "items": schema, **({"$defs": definitions} if definitions else {})}
