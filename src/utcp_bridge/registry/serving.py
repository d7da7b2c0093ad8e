"""A folder of manuals, served as a registry: the scan of the folder, the HTTP API over it, and the server.

The server listens on loopback unless the operator asks for another address. The API has GET only, one JSON shape, and
errors of the form {"error": {"code", "message"}}.

The folder is read again when its files change. Manuals and OpenAPI descriptions are listed, also those in subfolders.
Client configurations are not, because they may contain secrets; nor are targets of symbolic links outside the folder,
nor names that begin with a dot.
"""

from __future__ import annotations

import logging
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any, Final, TypeAlias
from urllib.parse import urljoin

import anyio
import anyio.to_thread
import orjson
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from utcp_bridge.configuration.places import DOCUMENT_SUFFIXES, MAX_BYTES
from utcp_bridge.dialects import RawTool, Shape, detect, read_manual
from utcp_bridge.dialects.documents import parse_document
from utcp_bridge.dialects.fields import safe_name
from utcp_bridge.dialects.openapi import ConversionOptions, convert
from utcp_bridge.errors import ConfigError, UtcpError
from utcp_bridge.model import JsonObject
from utcp_bridge.net.asgi_server import serve_asgi
from utcp_bridge.net.listening import LOOPBACK_NAMES, ConnectionLimits, for_url, host_and_port, is_loopback, listen
from utcp_bridge.registry.listing import Listing, ListingIndex

__all__ = ["Folder", "FolderContents", "Serving", "build_registry_app", "serve_registry", "served_bytes"]

_logger = logging.getLogger(__name__)
_LIMITS: Final = ConnectionLimits(per_address=256)
_DEFAULT_LIMIT: Final = 50
_MAX_LIMIT: Final = 500
_MAX_QUERY: Final = 1_000
_MAX_FILES: Final = 10_000
_MAX_TAGS: Final = 30
_MAX_WORDS: Final = 20_000
_YAML: Final = ("application/yaml", (".yaml", ".yml"))
_State: TypeAlias = tuple[int, int, int]
"""Time of change, size and inode of a file."""


@dataclass(frozen=True, slots=True)
class Serving:
    """Where and how to serve. `insecure` allows an address beyond loopback, where anyone may read every manual."""

    host: str = "127.0.0.1"
    port: int = 8080
    insecure: bool = False
    public_url: str | None = None


async def serve_registry(folder: Path, serving: Serving, *, on_ready: Callable[[str, int], None]) -> None:
    """Serve until SIGTERM or SIGINT; `on_ready` receives the URL and the number of manuals.

    :raises ConfigError: the folder does not exist, or the address cannot be bound or is open to everyone.
    """
    if not await anyio.Path(folder).is_dir():
        raise ConfigError(f"There is no folder {folder}.", remedy="Name a folder of manuals.")
    if not is_loopback(serving.host) and not serving.insecure:
        raise ConfigError(
            f"Serving on {serving.host} would show the manuals to everyone on the network.",
            remedy="If you want that, add --insecure; a proxy in front can check credentials.",
        )
    served = Folder(folder)
    contents = await anyio.to_thread.run_sync(served.current)
    hosts = {*LOOPBACK_NAMES, serving.host.strip("[]")} if is_loopback(serving.host) else None
    app = build_registry_app(served, public_url=serving.public_url, hosts=hosts)
    listeners = listen(serving.host, serving.port)
    url = f"http://{for_url(serving.host)}:{listeners[0].getsockname()[1]}"
    ready = partial(on_ready, url, len(contents.files))
    await serve_asgi(app, listeners, on_ready=ready, limits=_LIMITS)


def build_registry_app(
    folder: Folder, *, public_url: str | None = None, hosts: Collection[str] | None = None
) -> Starlette:
    """Return the ASGI application.

    URLs in listings start with `public_url`, by default with the address that the request came to. `hosts` are the
    accepted Host names, so a web page cannot reach a registry on loopback under a name of its own; None accepts any.
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
        """Return one page of the manuals that match."""
        try:
            limit = _limit(request.query_params.get("limit"))
            after = _decoded(request.query_params.get("cursor"))
        except ValueError as error:
            return _error(400, "invalid_query", str(error))
        query = request.query_params.get("q", "")[:_MAX_QUERY]
        tags = [tag for tag in request.query_params.getlist("tag") if tag]
        found = await self._find(tags, query)
        start = _start(found, after, ranked=bool(query.strip()))
        if start is None:
            return _error(400, "invalid_query", "The cursor is no longer valid. Repeat the request without it.")
        page = found[start : start + limit]
        more = start + limit < len(found)
        return self._page(request, page, _encoded(page[-1].name) if more else None)

    async def well_known(self, request: Request) -> Response:
        """Return every manual at once, for clients that look here first."""
        return self._page(request, await self._find([], ""), None)

    async def manual(self, request: Request) -> Response:
        """Return one manual, unchanged."""
        contents = await anyio.to_thread.run_sync(self._folder.current)
        name = request.path_params["file"]
        path = contents.files.get(name)
        if path is None:
            return _error(404, "unknown_manual", "There is no manual of this name.")
        try:
            data = await anyio.to_thread.run_sync(served_bytes, path)
        except OSError:
            return _error(404, "unknown_manual", "The manual was removed.")
        listing = next(one for one in contents.index.find() if one.url.endswith(f"/{name}"))
        headers = {"ETag": f'"{listing.sha256}"', "Cache-Control": "no-cache"}
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        media_type = _YAML[0] if name.endswith(_YAML[1]) else "application/json"
        return Response(data, media_type=media_type, headers=headers)

    async def _find(self, tags: list[str], query: str) -> list[Listing]:
        contents = await anyio.to_thread.run_sync(self._folder.current)
        return contents.index.find(tags=tags, q=query)

    def _page(self, request: Request, listings: list[Listing], cursor: str | None) -> Response:
        base = f"{(self._public_url or str(request.base_url)).rstrip('/')}/"
        manuals = [replace(listing, url=urljoin(base, listing.url)).as_json() for listing in listings]
        return JSONResponse({"manuals": manuals, "next": cursor}, headers={"Cache-Control": "no-cache"})


class _KnownHosts:
    """Refuses requests with an unknown Host: with DNS rebinding a web page reaches loopback under its own name."""

    def __init__(self, app: ASGIApp, hosts: Collection[str] | None) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (refusal := self._refusal(scope)) is not None:
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        given = [value.decode("latin-1").strip() for name, value in scope["headers"] if name == b"host"]
        parts = host_and_port(given[0]) if len(given) == 1 else None
        if parts is None and given:
            return _error(400, "invalid_host", "A request has one Host header, which is a name with an optional port.")
        if self._hosts is not None and (parts is None or parts[0].strip("[]") not in self._hosts):
            return _error(421, "unknown_host", "The Host header does not name this server.")
        return None


def _limit(text: str | None) -> int:
    if text is None:
        return _DEFAULT_LIMIT
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:10]) <= _MAX_LIMIT:
        raise ValueError(f"`limit` must be a number from 1 to {_MAX_LIMIT}.")
    return int(text)


def _encoded(name: str) -> str:
    return urlsafe_b64encode(name.encode()).decode().rstrip("=")


def _decoded(cursor: str | None) -> str | None:
    if not cursor:
        return None
    try:
        return urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError:
        raise ValueError("`cursor` must come from this registry.") from None


def _start(found: list[Listing], after: str | None, *, ranked: bool) -> int | None:
    """Return the index of the page after the manual `after`, even if that was removed; None if it is unknown."""
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
    return _error(404, "not_found", "This path does not exist. The manuals are listed at /manuals.")


async def _not_allowed(_request: Request, _raised: Exception) -> Response:
    return _error(405, "method_not_allowed", "A registry accepts GET and HEAD only.")


@dataclass(frozen=True, slots=True)
class FolderContents:
    """The manuals of a folder at one moment. The URLs of their listings are relative: `manuals/weather.json`."""

    index: ListingIndex = field(default_factory=lambda: ListingIndex(()))
    files: dict[str, Path] = field(default_factory=dict[str, Path])
    """The last part of a listing's URL → its file."""


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read from one file; `listing` is None if it is not a manual."""

    state: _State
    listing: Listing | None = None
    words: str = ""


class Folder:
    """A folder of manuals. Its methods block and may be called from several threads."""

    def __init__(self, path: Path) -> None:
        self._root = path.resolve()
        self._known: dict[Path, _Read] = {}
        self._contents = FolderContents()
        self._lock = Lock()

    def current(self) -> FolderContents:
        """Return the contents of the folder now; only files that changed are read."""
        with self._lock:
            found = dict(self._files())
            changed = [path for path, state in found.items() if self._read_state(path) != state]
            gone = [path for path in self._known if path not in found]
            for path in changed:
                self._known[path] = self._read(path, found[path])
            for path in gone:
                del self._known[path]
            if changed or gone:
                self._contents = self._arranged()
            return self._contents

    def _files(self) -> Iterator[tuple[Path, _State]]:
        for number, path in enumerate(sorted(self._root.rglob("*"))):
            if number >= _MAX_FILES:
                _logger.warning("%s contains more than %d files. The rest is not listed.", self._root, _MAX_FILES)
                return
            below = path.relative_to(self._root)
            if path.suffix.lower() not in DOCUMENT_SUFFIXES or any(part.startswith(".") for part in below.parts):
                continue
            try:
                if path.resolve().is_relative_to(self._root) and path.is_file():
                    status = path.stat()
                    yield path, (status.st_mtime_ns, status.st_size, status.st_ino)
            except OSError:
                continue  # removed in the meantime, or a loop of links

    def _read_state(self, path: Path) -> _State | None:
        known = self._known.get(path)
        return known.state if known is not None else None

    def _read(self, path: Path, state: _State) -> _Read:
        if state[1] > MAX_BYTES:
            _logger.warning("%s is not listed: it is larger than %d bytes.", path, MAX_BYTES)
            return _Read(state)
        try:
            data = served_bytes(path)
            document = parse_document(data, hint=path.suffix, where="The file")
            tools, info = _contents(document)
        except (UtcpError, OSError, ValueError) as error:
            _logger.warning("%s is not listed: %s", path, error)
            return _Read(state)
        if tools is None:
            _logger.info("%s is not listed: it is not a manual.", path)
            return _Read(state)
        listing = Listing(
            name="",
            url="",
            description=str(info.get("description") or info.get("title") or ""),
            tags=_tags(tools),
            manual_version=str(info.get("version") or ""),
            sha256=sha256(data).hexdigest(),
        )
        return _Read(state, listing, _words(tools, info))

    def _arranged(self) -> FolderContents:
        listings: list[Listing] = []
        words: dict[str, str] = {}
        files: dict[str, Path] = {}
        for path in sorted(self._known):
            read = self._known[path]
            if read.listing is None:
                continue
            name = _unique(safe_name("_".join(path.relative_to(self._root).with_suffix("").parts)), words)
            file = f"{name}{'.json' if path.suffix.lower() == '.jsonc' else path.suffix.lower()}"
            about = read.listing
            listings.append(
                Listing(name, f"manuals/{file}", about.description, about.tags, about.manual_version, about.sha256)
            )
            words[name], files[file] = read.words, path
        return FolderContents(ListingIndex(listings, words), files)


def served_bytes(path: Path) -> bytes:
    """Return the bytes to serve for a manual: the file's own, or for JSON with comments the JSON without them.

    :raises OSError: the file cannot be read.
    """
    data = path.read_bytes()
    if path.suffix.lower() not in {".json", ".jsonc"}:
        return data
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return orjson.dumps(parse_document(data, jsonc=True, where="The file"), option=orjson.OPT_INDENT_2)
    return data


def _contents(document: Any) -> tuple[list[RawTool] | None, JsonObject]:
    """Return the tools of a manual and its info; None and an empty object for any other document."""
    shape = detect(document)
    if shape is Shape.OPENAPI:
        conversion = convert(document, url=None, options=ConversionOptions(base_url="https://api.example.com"))
        return conversion.tools, conversion.info
    if shape in {Shape.MANUAL, Shape.TOOLS}:
        reading = read_manual(document, default_template={}, where="manual")
        return reading.tools, reading.info
    return None, {}


def _tags(tools: list[RawTool]) -> tuple[str, ...]:
    """Return the tags of the tools, the most frequent first."""
    counts = Counter(tag for tool in tools for tag in dict.fromkeys(tool.tags))
    return tuple(tag for tag, _ in counts.most_common(_MAX_TAGS))


def _words(tools: list[RawTool], info: JsonObject) -> str:
    parts = [str(info.get("title") or "")]
    parts += [f"{tool.name} {tool.description[:200]}" for tool in tools]
    return "\n".join(parts)[:_MAX_WORDS]


def _unique(name: str, taken: dict[str, str]) -> str:
    unique, number = name, 2
    while unique in taken:
        unique, number = f"{name}_{number}", number + 1
    return unique
