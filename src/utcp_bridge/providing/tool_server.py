"""A collection of functions, served as UTCP tools by any ASGI server."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, TypeVar, overload

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from utcp_bridge.errors import ConfigError, UnknownTool, UtcpError
from utcp_bridge.model import JsonObject
from utcp_bridge.providing.answers import Lines, answer_of, problem, wants_lines
from utcp_bridge.providing.arguments import read_arguments
from utcp_bridge.providing.functions import FunctionTool, function_tool
from utcp_bridge.providing.manuals import ManualForm, ProvidedTool, manual_of, provided_tool, read_form

__all__ = ["ToolServer"]

F = TypeVar("F", bound=Callable[..., Any])


class ToolServer:
    """Functions as tools: `GET /utcp` is their manual (UTCP v1), `POST /utcp/tools/NAME` calls one.

    Tools that stream answer a list, or lines of JSON where those are asked for (`Accept: application/x-ndjson`, which
    the templates of `/utcp?streaming=true` do).

    `auth` is what the manual's call templates say of credentials, with variables for secrets; checking them is the
    application's own. `public_url` is the address of `path` as clients know it, where requests come by a proxy that
    does not say (`https://tools.example.com/utcp`).
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
        """Decorate a function, asynchronous or not, or a generator of either sort, whose results are streamed.

        The function stays as it is. Its type hints become the schemas (`Annotated[int, Field(ge=1, description="…")]`
        says more), its docstring the description.

        :raises ConfigError: the name is taken, or no schema comes of the type hints.
        """

        def add(decorated: F) -> F:
            tool = function_tool(decorated, name=name, description=description, tags=tags)
            if tool.name in self._tools:
                raise ConfigError(f"There is a tool {tool.name} already.", remedy="Give one of them another name.")
            self._tools[tool.name] = tool
            return decorated

        return add if function is None else add(function)

    def manual(self, form: ManualForm) -> JsonObject:
        """The manual in this form."""
        provided = (
            ProvidedTool(tool.name, tool.description, tool.inputs, tool.outputs, tool.tags, tool.streams)
            for tool in self._tools.values()
        )
        return manual_of((provided_tool(tool, form, auth=self._auth) for tool in provided), version=self._version)

    def routes(self) -> list[Route]:
        """The two routes, for an application of your own."""
        return [
            Route(self._path, self._get_manual, methods=["GET"]),
            Route(f"{self._path}/tools/{{name}}", self._call, methods=["POST"]),
        ]

    def add_to(self, app: Starlette) -> None:
        """Add the routes to a Starlette or FastAPI application, before those that take every path."""
        app.router.routes[:0] = self.routes()

    def app(self) -> Starlette:
        """An application of nothing else."""
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
        except UtcpError as error:
            return problem(error)
        if tool.streams and wants_lines(request):
            return Lines(partial(tool.stream, arguments))
        return await answer_of(request, partial(tool.listed if tool.streams else tool.call, arguments))

    def _tool(self, name: str) -> FunctionTool:
        if name not in self._tools:
            raise UnknownTool(f"There is no tool {name[:128]!r}.", remedy=f"{self._path} lists the tools.")
        return self._tools[name]
