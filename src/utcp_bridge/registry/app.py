"""The registry's HTTP API over a folder: GET only, one JSON shape, errors as {"error": {"code", "message"}}."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection
from dataclasses import replace
from urllib.parse import urljoin, urlsplit

import anyio.to_thread
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from utcp_bridge.registry.folder import Folder, served_bytes
from utcp_bridge.registry.listing import Listing

__all__ = ["build_registry_app"]

_DEFAULT_LIMIT = 50
_LARGEST_LIMIT = 500
_LONGEST_QUERY = 1_000
_YAML = ("application/yaml", (".yaml", ".yml"))


def build_registry_app(
    folder: Folder, *, public_url: str | None = None, hosts: Collection[str] | None = None
) -> Starlette:
    """The ASGI application.

    `public_url` is the address in listings' URLs, by default the one that each request came to. `hosts` are the
    Host names to accept (a web page cannot reach a registry on loopback by a name of its own); None takes any.
    """
    api = _Api(folder, public_url)
    return Starlette(
        routes=[
            Route("/", api.well_known),
            Route("/manuals", api.manuals),
            Route("/manuals/{file}", api.manual),
            Route("/.well-known/utcp.json", api.well_known),
            Route("/healthz", _health),
        ],
        middleware=[Middleware(_KnownHosts, hosts=hosts)],
        exception_handlers={404: _not_found, 405: _not_allowed},
    )


class _Api:
    def __init__(self, folder: Folder, public_url: str | None) -> None:
        self._folder = folder
        self._public_url = public_url

    async def manuals(self, request: Request) -> Response:
        """A page of the manuals that fit."""
        try:
            limit = _limit(request.query_params.get("limit"))
            after = _decoded(request.query_params.get("cursor"))
        except ValueError as error:
            return _error(400, "invalid_query", str(error))
        query = request.query_params.get("q", "")[:_LONGEST_QUERY]
        tags = [tag for tag in request.query_params.getlist("tag") if tag]
        found = await self._find(tags, query)
        start = _start(found, after, ranked=bool(query.strip()))
        if start is None:
            return _error(400, "invalid_query", "The cursor is no longer valid; ask without one.")
        page = found[start : start + limit]
        more = start + limit < len(found)
        return self._page(request, page, _encoded(page[-1].name) if more else None)

    async def well_known(self, request: Request) -> Response:
        """Every manual at once, for clients that look here first."""
        return self._page(request, await self._find([], ""), None)

    async def manual(self, request: Request) -> Response:
        """One manual, as it is."""
        shelf = await anyio.to_thread.run_sync(self._folder.current)
        name = request.path_params["file"]
        path = shelf.files.get(name)
        if path is None:
            return _error(404, "unknown_manual", "There is no manual of this name.")
        try:
            data = await anyio.to_thread.run_sync(served_bytes, path)
        except OSError:
            return _error(404, "unknown_manual", "The manual is gone.")
        listing = next(one for one in shelf.index.find() if one.url.endswith(f"/{name}"))
        headers = {"ETag": f'"{listing.sha256}"', "Cache-Control": "no-cache"}
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        media_type = _YAML[0] if name.endswith(_YAML[1]) else "application/json"
        return Response(data, media_type=media_type, headers=headers)

    async def _find(self, tags: list[str], query: str) -> list[Listing]:
        shelf = await anyio.to_thread.run_sync(self._folder.current)
        return shelf.index.find(tags=tags, q=query)

    def _page(self, request: Request, listings: list[Listing], cursor: str | None) -> Response:
        base = f"{(self._public_url or str(request.base_url)).rstrip('/')}/"
        manuals = [replace(listing, url=urljoin(base, listing.url)).as_json() for listing in listings]
        return JSONResponse({"manuals": manuals, "next": cursor}, headers={"Cache-Control": "no-cache"})


class _KnownHosts:
    """Refuses requests under another name: DNS rebinding lets a web page reach loopback under its own."""

    def __init__(self, app: ASGIApp, hosts: Collection[str] | None) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._hosts is not None and self._name(scope) not in self._hosts:
            await _error(421, "unknown_host", "The Host header names another server.")(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _name(self, scope: Scope) -> str:
        given = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1")
        try:
            return urlsplit(f"//{given}").hostname or ""
        except ValueError:
            return ""


def _limit(text: str | None) -> int:
    if text is None:
        return _DEFAULT_LIMIT
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:10]) <= _LARGEST_LIMIT:
        raise ValueError(f"`limit` is a number from 1 to {_LARGEST_LIMIT}.")
    return int(text)


def _encoded(name: str) -> str:
    return urlsafe_b64encode(name.encode()).decode().rstrip("=")


def _decoded(cursor: str | None) -> str | None:
    if not cursor:
        return None
    try:
        return urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError:
        raise ValueError("`cursor` is none that this registry gave.") from None


def _start(found: list[Listing], after: str | None, *, ranked: bool) -> int | None:
    """Where the page after the manual `after` begins, even if that one is gone; None where nothing tells."""
    if after is None:
        return 0
    if not ranked:
        return sum(listing.name <= after for listing in found)
    return next((index + 1 for index, listing in enumerate(found) if listing.name == after), None)


def _error(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status)


async def _health(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _not_found(_request: Request, _raised: Exception) -> Response:
    return _error(404, "not_found", "There is nothing here; the manuals are listed at /manuals.")


async def _not_allowed(_request: Request, _raised: Exception) -> Response:
    return _error(405, "method_not_allowed", "A registry answers GET and HEAD only.")
