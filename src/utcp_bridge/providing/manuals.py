"""The UTCP v1 manual of tools that one HTTP server offers: each is called by `POST BASE/utcp/tools/NAME`.

Only keys that every released UTCP client accepts are written.

`GET /utcp` for an application that describes itself by OpenAPI, as FastAPI's do: its own routes as UTCP tools.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router

from utcp_bridge.convert.outcome import UTCP_VERSION, Wishes
from utcp_bridge.convert.sources import without_files
from utcp_bridge.convert.targets import portable
from utcp_bridge.errors import InvalidArguments
from utcp_bridge.model import JsonObject
from utcp_bridge.providing.exchange import NDJSON, problem

__all__ = ["ManualForm", "OpenApiApplication", "ProvidedTool", "add_manual", "manual_of", "provided_tool", "read_form"]
_MAX_ADDRESSES = 16
"""Clients may know a server by several names; each has a manual of its own."""


@dataclass(frozen=True, slots=True)
class ProvidedTool:
    """What a manual says of a tool; `outputs` is None where nothing is promised."""

    name: str
    description: str
    inputs: JsonObject
    outputs: JsonObject | None = None
    tags: tuple[str, ...] = ()
    streams: bool = False
    average_response_size: int | None = None


@dataclass(frozen=True, slots=True)
class ManualForm:
    """What of a manual its client may choose. `url` is the manual's own.

    With `streaming`, tools that stream are written as such: by UTCP's rules a client leaves them out then, unless it
    allows that protocol beside the manual's own. Without it they answer a list at their end.

    With `in_body`, each tool has one argument, `body`, which is the request's body: released clients of the reference
    library write all others into the query, where there are neither truth values nor objects.
    """

    url: str
    streaming: bool = False
    in_body: bool = False


def manual_of(tools: Iterable[JsonObject], *, version: str) -> JsonObject:
    """A manual of these tool objects; `version` is the manual's own."""
    return {"utcp_version": UTCP_VERSION, "manual_version": version, "tools": list(tools)}


def read_form(request: Request, url: str | None = None) -> ManualForm:
    """The form that a request asks for, at `url` or else its own URL. Raises InvalidArguments."""
    arguments = request.query_params.get("arguments", "flat")
    if arguments not in {"flat", "body"}:
        raise InvalidArguments("`arguments` is flat or body.")
    streaming = request.query_params.get("streaming", "").lower() in {"1", "true", "yes"}
    return ManualForm(url or str(request.url.replace(query="")), streaming, in_body=arguments == "body")


def provided_tool(tool: ProvidedTool, form: ManualForm, *, auth: JsonObject | None = None) -> JsonObject:
    """A tool object whose calls go below the manual's own address."""
    streams = form.streaming and tool.streams
    template: dict[str, Any] = {
        "call_template_type": "streamable_http" if streams else "http",
        "http_method": "POST",
        "url": f"{form.url.rstrip('/')}/tools/{quote(tool.name, safe='')}",
        "content_type": "application/json",
        "body_field": "body" if form.in_body else "*",
    }
    if streams:
        template["headers"] = {"Accept": NDJSON}
    if auth:
        template["auth"] = auth
    inputs = _in_body(tool.inputs) if form.in_body else tool.inputs
    described: JsonObject = {"name": tool.name, "description": tool.description, "inputs": inputs}
    if tool.outputs:
        described["outputs"] = tool.outputs
    described["tags"] = list(tool.tags)
    if tool.average_response_size is not None:
        described["average_response_size"] = tool.average_response_size
    return {**described, "tool_call_template": template}


def _in_body(inputs: JsonObject) -> JsonObject:
    """A schema whose one argument is the object of all; definitions stay at the root, where references look."""
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
        """The description, without being asked over HTTP."""
        ...


def add_manual(
    app: OpenApiApplication,
    *,
    path: str = "/utcp",
    public_url: str | None = None,
    include: JsonObject | None = None,
    exclude: JsonObject | None = None,
) -> None:
    """Serve at `path` the manual of a FastAPI application's routes, as its OpenAPI description tells them.

    Calls go to the address that the manual was asked at, or to `public_url`. `include` and `exclude` choose
    operations by `{"tags": […], "paths": […], "methods": […], "operation_ids": […]}`. The routes' own security schemes
    become `auth` with variables.
    """
    wishes = Wishes(base_url=public_url, include=include, exclude=exclude)
    path = "/" + path.strip("/")
    app.router.routes.insert(0, Route(path, _ServedManual(app, path, wishes).get, methods=["GET"]))


class _ServedManual:
    def __init__(self, app: OpenApiApplication, path: str, wishes: Wishes) -> None:
        self._app = app
        self._path = path
        self._wishes = wishes
        self._made: dict[str, JsonObject] = {}

    async def get(self, request: Request) -> Response:
        base = self._wishes.base_url or str(request.url.replace(query="")).removesuffix(self._path)
        try:
            manual = self._made.get(base) or await anyio.to_thread.run_sync(self._make, base)
        except Exception as error:  # noqa: BLE001 - what escapes reaches the client as a bare 500
            return problem(error)
        return JSONResponse(manual, headers={"Cache-Control": "no-cache"})

    def _make(self, base: str) -> JsonObject:
        wishes = Wishes(base_url=base, include=self._wishes.include, exclude=self._wishes.exclude)
        converted = portable(without_files(self._app.openapi(), url=base, name="the application", wishes=wishes))
        if len(self._made) >= _MAX_ADDRESSES:
            self._made.clear()
        self._made[base] = converted.document
        return converted.document
