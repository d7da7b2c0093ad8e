"""The UTCP v1 manual that an HTTP server offers at `GET /utcp`.

The tools of a server are called by `POST BASE/utcp/tools/NAME`. For an application with an OpenAPI description, such as
FastAPI's, the manual contains the routes of the application itself (`add_manual`). Manuals contain only keys that every
released UTCP client accepts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import quote

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router

from utcp_bridge.convert.forms import types_of
from utcp_bridge.convert.official import official_tool
from utcp_bridge.convert.outcome import UTCP_VERSION, Converted, ToolProof, Wishes
from utcp_bridge.convert.sources import without_files
from utcp_bridge.convert.targets import portable
from utcp_bridge.errors import InvalidArguments
from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.providing.exchange import NDJSON, problem

__all__ = [
    "PROOF",
    "ManualForm",
    "OpenApiApplication",
    "ProvidedTool",
    "add_manual",
    "manual_of",
    "proof_of",
    "provided_tool",
    "read_form",
]
_logger = logging.getLogger(__name__)
_PLAIN: Final = (frozenset({"string"}), frozenset({"integer"}), frozenset({"number", "integer"}))
PROOF: Final = "/proof"
"""Below the path of a manual: what became of each tool."""
_MAX_ADDRESSES = 16
"""Clients may use several names for one server; the manual is kept for each of them."""


@dataclass(frozen=True, slots=True)
class ProvidedTool:
    """A tool as a manual describes it. `outputs` is None if the output is unknown."""

    name: str
    description: str
    inputs: JsonObject
    outputs: JsonObject | None = None
    tags: tuple[str, ...] = ()
    streams: bool = False
    average_response_size: int | None = None


@dataclass(frozen=True, slots=True)
class ManualForm:
    """The form of a manual, which its client can choose. `url` is the manual's own address.

    With `streaming`, tools that stream use the type `streamable_http`. A UTCP client omits such tools unless it allows
    this protocol in addition to the manual's own. Without `streaming`, these tools return a list at their end.

    With `in_body`, each tool has one argument, `body`, which is the request's body in every client. Without it, the
    arguments are those of the tool, and `body_field` is `*`. Clients that do not know this form send them in the query,
    which has neither booleans nor objects. With None, a tool is written without `body` if all its arguments are text
    or numbers: the service reads them from the query and from the body alike.
    """

    url: str
    streaming: bool = False
    in_body: bool | None = False


def manual_of(tools: Iterable[JsonObject], *, version: str) -> JsonObject:
    """Return a manual of these tool objects; `version` is the manual's own version."""
    return {"utcp_version": UTCP_VERSION, "manual_version": version, "tools": list(tools)}


def read_form(request: Request, url: str | None = None) -> ManualForm:
    """Return the form that a request asks for, at `url` or else at the request's URL.

    :raises InvalidArguments: the query parameter `arguments` is unknown.
    """
    arguments = request.query_params.get("arguments")
    if arguments not in {None, "flat", "body"}:
        raise InvalidArguments("`arguments` must be flat or body.")
    streaming = request.query_params.get("streaming", "").lower() in {"1", "true", "yes"}
    return ManualForm(
        url or str(request.url.replace(query="")), streaming, None if arguments is None else arguments == "body"
    )


def provided_tool(tool: ProvidedTool, form: ManualForm, *, auth: JsonObject | None = None) -> JsonObject:
    """Return a tool object whose calls go to a path below the manual's own address."""
    streams = form.streaming and tool.streams
    in_body = not _is_plain(tool.inputs) if form.in_body is None else form.in_body
    template: dict[str, Any] = {
        "call_template_type": "streamable_http" if streams else "http",
        "http_method": "POST",
        "url": f"{form.url.rstrip('/')}/tools/{quote(tool.name, safe='')}",
        "content_type": "application/json",
        "body_field": "body" if in_body else "*",
    }
    if streams:
        template["headers"] = {"Accept": NDJSON}
    if auth:
        template["auth"] = auth
    described: JsonObject = {"name": tool.name, "description": tool.description, "inputs": {}}
    if tool.outputs:
        described["outputs"] = tool.outputs
    described["tags"] = list(tool.tags)
    if tool.average_response_size is not None:
        described["average_response_size"] = tool.average_response_size
    return official_tool(described, inputs=_in_body(tool.inputs) if in_body else tool.inputs, template=template)


def _is_plain(inputs: JsonObject) -> bool:
    """Return whether every client can send all arguments in a query from which the service reads the same values."""
    members = inputs.get("properties")
    schemas = members.values() if is_object(members) else ()
    return all(types_of(schema, inputs) - {"null"} in _PLAIN for schema in schemas)


def _in_body(inputs: JsonObject) -> JsonObject:
    """Return a schema with one argument that contains all others; definitions stay at the root for references."""
    shared: JsonObject = {word: inputs[word] for word in ("$schema", "$defs", "definitions") if word in inputs}
    body = {word: value for word, value in inputs.items() if word not in shared}
    required = {"required": ["body"]} if inputs.get("required") else {}
    return {**shared, "type": "object", "properties": {"body": body}, **required}


class OpenApiApplication(Protocol):
    """The part of a FastAPI application that `add_manual` uses."""

    @property
    def router(self) -> Router:
        """The router, which a route is added to."""
        ...

    def openapi(self) -> JsonObject:
        """Return the application's OpenAPI description."""
        ...


def add_manual(
    app: OpenApiApplication,
    *,
    path: str = "/utcp",
    public_url: str | None = None,
    include: JsonObject | None = None,
    exclude: JsonObject | None = None,
) -> None:
    """Serve a manual of a FastAPI application's routes at `path`, made from its OpenAPI description.

    Calls go to the address of the request for the manual, or to `public_url`. `include` and `exclude` select
    operations by `{"tags": […], "paths": […], "methods": […], "operation_ids": […]}`. The routes' own security schemes
    become `auth` with variables. A route that other UTCP clients would call with another request is left out;
    `path/proof` names it and the reason.
    """
    wishes = Wishes(base_url=public_url, include=include, exclude=exclude)
    path = "/" + path.strip("/")
    served = _ServedManual(app, path, wishes)
    app.router.routes[:0] = [
        Route(path, served.get, methods=["GET"]),
        Route(path + PROOF, served.proof, methods=["GET"]),
    ]


class _ServedManual:
    def __init__(self, app: OpenApiApplication, path: str, wishes: Wishes) -> None:
        self._app = app
        self._path = path
        self._wishes = wishes
        self._made: dict[str, Converted] = {}

    async def get(self, request: Request) -> Response:
        """Serve the manual."""
        return await self._answer(request, self._path, lambda made: made.document)

    async def proof(self, request: Request) -> Response:
        """Serve what became of each route: a tool, or left out and why."""
        return await self._answer(request, self._path + PROOF, lambda made: proof_of(made.proof or ()))

    async def _answer(self, request: Request, path: str, choose: Callable[[Converted], JsonObject]) -> Response:
        base = self._wishes.base_url or str(request.url.replace(query="")).removesuffix(path)
        try:
            known = self._made.get(base)
            made = known if known is not None else await anyio.to_thread.run_sync(self._make, base)
        except Exception as error:  # noqa: BLE001 - an unhandled error would become a bare status 500
            return problem(error)
        return JSONResponse(choose(made), headers={"Cache-Control": "no-cache"})

    def _make(self, base: str) -> Converted:
        wishes = Wishes(base_url=base, include=self._wishes.include, exclude=self._wishes.exclude)
        converted = portable(without_files(self._app.openapi(), url=base, name="the application", wishes=wishes))
        if not self._made:
            for fault in converted.notes:
                _logger.warning("%s", fault)
        if len(self._made) >= _MAX_ADDRESSES:
            self._made.clear()
        self._made[base] = converted
        return converted


def proof_of(rows: Iterable[ToolProof]) -> JsonObject:
    """Return the document that says what became of each tool of a served manual."""
    return {"tools": [row.as_json() for row in rows]}
