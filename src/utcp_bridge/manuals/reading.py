"""Reading what discovery found: bytes → document → raw tools, in any dialect → the tools that the operator wants.

A large document is parsed and converted in a worker thread, so that it does not hold up the others. References to
further files are followed within the document's own origin or folder only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urljoin, urlsplit

import anyio
import anyio.to_thread
from pydantic import ValidationError

from utcp_bridge.dialects import RawTool, Shape, detect, read_manual, wants_auth
from utcp_bridge.dialects.documents import parse_document
from utcp_bridge.dialects.selection import ToolSelection, select
from utcp_bridge.errors import ManualError, ReplyTooLarge, UtcpError
from utcp_bridge.model import Document, Fault, JsonObject, Source, is_list, is_object
from utcp_bridge.settings import ManualOptions
from utcp_bridge.tasks import in_slices
from utcp_bridge.transport import Services
from utcp_bridge.transports.registry import TransportRegistry

__all__ = ["LoadedManual", "ManualReader", "gather_references", "read_local_reference"]

_THREAD_FROM = 200_000
_BYTES_OF_TOOL = 500
_MAX_FILES: Final = 100
_Fetch = Callable[[str], Awaitable[bytes]]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LoadedManual:
    """The raw tools of a manual that the operator wants, its faults, and what it says of itself."""

    tools: list[RawTool]
    faults: list[Fault] = field(default_factory=list[Fault])
    dialect: str = ""
    title: str = ""
    description: str = ""
    protocols: tuple[str, ...] | None = None


class ManualReader:
    """Reads documents; holds no state."""

    def __init__(self, services: Services, registry: TransportRegistry) -> None:
        self._services = services
        self._registry = registry

    async def read(
        self, document: Document, *, entry: JsonObject, source: Source, options: ManualOptions
    ) -> LoadedManual:
        """Read the tools of a document; `entry` is the manual's own call template.

        :raises ManualError: it is not a manual, an OpenAPI description or a list of tools.
        """
        where = f"manual {source.name!r}"
        if document.generated:
            size = len(document.content["tools"]) * _BYTES_OF_TOOL
            return await _maybe_in_thread(size, lambda: self._selected(_generated(document, entry), options, where))
        raw = document.content
        size = len(raw) if isinstance(raw, bytes | str) else 0
        content = await _maybe_in_thread(size, lambda: self._parse(document, source))
        shape = detect(content)
        if shape is Shape.OPENAPI:
            return await self._read_openapi(content, document, source=source, options=options)
        return await _maybe_in_thread(
            size, lambda: self._selected(_read_manual(content, shape, entry=entry, where=where), options, where)
        )

    def _selected(self, manual: LoadedManual, options: ManualOptions, where: str) -> LoadedManual:
        selection = ToolSelection(options.include, options.exclude, options.overrides)
        tools = select(manual.tools, selection, self._hints)
        # The rules of a registry are for all of its manuals, so a pattern may match no tool of this one.
        faults = selection.faults(unused=options.registry is None)
        return replace(manual, tools=tools, faults=[*manual.faults, *(_within(where, fault) for fault in faults)])

    def _hints(self, tool: RawTool) -> Mapping[str, Any]:
        """Return the hints that follow from a tool's call template; none if it is not valid before it is bound."""
        try:
            transport = self._registry.find(str(tool.template.get("call_template_type")))
            return transport.annotations(transport.template.model_validate({**tool.template, **(tool.overlay or {})}))
        except (UtcpError, ValidationError):
            return {}

    def _parse(self, document: Document, source: Source) -> Any:
        raw = document.content
        if not isinstance(raw, bytes | str):
            return raw
        limit = self._services.settings.max_manual_bytes
        if len(raw) > limit:
            raise ReplyTooLarge(
                f"The manual has {len(raw)} bytes; the limit is {limit} bytes.", remedy="Raise `max_manual_bytes`."
            )
        hint = document.media_type or document.url or ""
        local = source.origin is None
        return parse_document(raw, hint=hint, jsonc=local and _says_jsonc(raw, hint), where="The manual")

    async def _read_openapi(
        self, content: JsonObject, document: Document, *, source: Source, options: ManualOptions
    ) -> LoadedManual:
        from utcp_bridge.dialects.openapi import ConversionOptions, convert_in_steps

        files, faults = await self._fetch_references(content, document, source)
        wanted = ConversionOptions(
            base_url=options.base_url,
            auth=options.auth_tools,
            server_variables=options.server_variables,
            include=options.include,
            exclude=options.exclude,
            overrides=options.overrides,
            warn_of_unused=options.registry is None,
        )
        conversion = await in_slices(convert_in_steps(content, url=document.url, options=wanted, files=files))
        where = f"manual {source.name!r}"
        return LoadedManual(
            tools=conversion.tools,
            faults=[*faults, *(_within(where, fault) for fault in conversion.faults)],
            dialect="openapi",
            title=str(conversion.info.get("title") or ""),
            description=str(conversion.info.get("description") or ""),
        )

    async def _fetch_references(
        self, content: JsonObject, document: Document, source: Source
    ) -> tuple[dict[str, Any], list[Fault]]:
        async def fetch(place: str) -> bytes:
            return await self._fetch(place, source)

        return await gather_references(content, document.url, fetch, where=f"manual {source.name!r}")

    async def _fetch(self, place: str, source: Source) -> bytes:
        if urlsplit(place).scheme in {"http", "https"}:
            from utcp_bridge.net.document import document_request, fetch_manual

            session, limit = self._services.http.session(source), self._services.settings.max_manual_bytes
            document = await fetch_manual(session, document_request(place), max_bytes=limit)
            return bytes(document.content)
        return await read_local_reference(place)


def _read_manual(content: Any, shape: Shape, *, entry: JsonObject, where: str) -> LoadedManual:
    if shape not in {Shape.MANUAL, Shape.TOOLS, Shape.MCP_TOOLS} and not (is_list(content) and not content):
        raise ManualError(
            f"The document is {_describe(content, shape)}, not a UTCP manual or an OpenAPI description.",
            remedy="Point the manual at a document with `tools`, or with `openapi` or `swagger`.",
        )
    manual = read_manual(content, default_template=entry, where=where, shape=shape)
    tools = manual.tools
    if manual.auth is not None:
        tools = [_with_auth(tool, manual.auth) for tool in tools]
    info = manual.info
    return LoadedManual(
        tools=tools,
        faults=manual.faults,
        dialect=manual.dialect,
        title=str(info.get("title") or ""),
        description=str(info.get("description") or ""),
        protocols=manual.protocols,
    )


def _generated(document: Document, entry: JsonObject) -> LoadedManual:
    """Return the tools that a transport made itself; they are reached through the manual's own call template."""
    content: JsonObject = document.content
    own = {key: value for key, value in entry.items() if key not in {"name", "tools"}}
    info: JsonObject = content.get("info") or {}
    return LoadedManual(
        tools=[RawTool.of(tool, own) for tool in content["tools"]],
        faults=list(content.get("faults") or ()),
        dialect=str(content.get("dialect") or "generated"),
        title=str(info.get("title") or ""),
        description=str(info.get("description") or ""),
    )


def _with_auth(tool: RawTool, auth: JsonObject) -> RawTool:
    """Use the manual's own `auth` as a default; the origin check of credentials decides later whether it is sent."""
    return replace(tool, template={**tool.template, "auth": auth}) if wants_auth(tool.template, auth) else tool


async def gather_references(
    document: JsonObject, url: str | None, fetch: _Fetch, *, where: str
) -> tuple[dict[str, Any], list[Fault]]:
    """Return every file that `document` refers to, directly or through another file; None for a file that fails.

    `url` is where the document was found. `fetch` gets an absolute path or URL and raises UtcpError or OSError. `where`
    names the document in faults.
    """
    from utcp_bridge.dialects.openapi import external_references

    files: dict[str, Any] = {}
    faults: list[Fault] = []
    waiting = [(document, url)]
    while waiting and len(files) < _MAX_FILES:
        part, base = waiting.pop()
        for place in external_references(part, base):
            if place in files or not _is_near(place, url):
                continue
            try:
                files[place] = parse_document(await fetch(place), hint=place, where=place)
            except (UtcpError, OSError) as error:
                files[place] = None
                faults.append(Fault(f"{where}, reference {place}", str(error), severity="warning"))
                continue
            waiting.append((files[place], place))
    return files, faults


async def read_local_reference(place: str) -> bytes:
    """Return the bytes of a local file that a reference names.

    :raises ManualError: there is no such file.
    :raises OSError: the file cannot be read.
    """
    path = anyio.Path(place)
    if not await path.is_file():
        raise ManualError("There is no such file.")
    return await path.read_bytes()


def _is_near(place: str, url: str | None) -> bool:
    """Return whether a place has the same origin (URLs), or is in the same folder or below it (files)."""
    if url is None:
        return False
    here, there = urlsplit(url), urlsplit(place)
    if here.scheme in {"http", "https"}:
        return (here.scheme, here.netloc) == (there.scheme, there.netloc)
    if there.scheme in {"http", "https"}:
        return False
    folder = Path(urljoin(url, ".")).resolve()
    return Path(place).resolve().is_relative_to(folder)


def _within(where: str, fault: Fault) -> Fault:
    return Fault(f"{where}, {fault.where}", fault.what, fault.remedy, fault.severity)


def _describe(content: Any, shape: Shape) -> str:
    if shape is not Shape.UNKNOWN:
        return f"a {shape.value}"
    return "an object of an unknown kind" if is_object(content) else "not a JSON object"


def _says_jsonc(raw: bytes | str, hint: str) -> bool:
    """Return whether comments are allowed: the file's name says JSON, or the text starts like JSON."""
    if hint.endswith((".json", ".jsonc", "application/json")):
        return True
    if hint.endswith(("yaml", ".yml")):
        return False
    start = raw[:64].lstrip()
    return start.startswith((b"{", b"[", b"//")) if isinstance(start, bytes) else start.startswith(("{", "[", "//"))


async def _maybe_in_thread(size: int, work: Callable[[], T]) -> T:
    return work() if size < _THREAD_FROM else await anyio.to_thread.run_sync(work)
