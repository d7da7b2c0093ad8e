"""`GET /utcp` for an application that describes itself by OpenAPI, as FastAPI's do: its own routes as UTCP tools."""

from __future__ import annotations

from typing import Protocol

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router

from utcp_bridge.convert.openapi import without_files
from utcp_bridge.convert.outcome import Wishes
from utcp_bridge.convert.portable import portable
from utcp_bridge.model import JsonObject
from utcp_bridge.providing.answers import problem

__all__ = ["OpenApiApplication", "add_manual"]

_MOST_ADDRESSES = 16
"""Clients may know a server by several names; each has a manual of its own."""


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
        if len(self._made) >= _MOST_ADDRESSES:
            self._made.clear()
        self._made[base] = converted.document
        return converted.document
