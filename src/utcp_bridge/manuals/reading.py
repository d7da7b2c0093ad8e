"""Reading what discovery found: bytes → document → normalised tool objects, whatever the dialect.

Large documents are parsed and converted in a worker thread, so that one of them does not hold up the
others. References to further files are followed within the document's own origin or folder only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

import anyio.to_thread

from utcp_bridge.dialects import Shape, detect, read_manual, wants_auth
from utcp_bridge.dialects.documents import parse_document
from utcp_bridge.errors import ManualError, ReplyTooLarge
from utcp_bridge.manuals.references import gather_references, read_local_reference
from utcp_bridge.manuals.selection import select
from utcp_bridge.model import Document, Fault, JsonObject, Source, is_list, is_object
from utcp_bridge.settings import ManualOptions
from utcp_bridge.transport import Services

__all__ = ["ManualReader", "Reading"]

_THREAD_FROM = 200_000
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reading:
    """A manual's tools as normalised tool objects, and what is to be said about them."""

    tools: list[JsonObject]
    faults: list[Fault] = field(default_factory=list[Fault])
    dialect: str = ""
    title: str = ""
    description: str = ""
    protocols: tuple[str, ...] | None = None


class ManualReader:
    """Reads documents; keeps nothing."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def read(self, document: Document, *, entry: JsonObject, source: Source, options: ManualOptions) -> Reading:
        """Make normalised tool objects of a document.

        :raises ManualError: it is no manual, no OpenAPI description and no list of tools.
        """
        if document.generated:
            return _generated(document, entry, options)
        raw = document.content
        size = len(raw) if isinstance(raw, bytes | str) else 0
        content = await _maybe_in_thread(size, lambda: self._parse(document, source))
        if detect(content) is Shape.OPENAPI:
            return await self._read_openapi(content, document, size=size, source=source, options=options)
        return _read_manual(content, entry=entry, source=source, options=options)

    def _parse(self, document: Document, source: Source) -> Any:
        raw = document.content
        if not isinstance(raw, bytes | str):
            return raw
        limit = self._services.settings.max_manual_bytes
        if len(raw) > limit:
            raise ReplyTooLarge(f"The manual has {len(raw)} bytes.", remedy=f"Raise `max_manual_bytes` above {limit}.")
        hint = document.media_type or document.url or ""
        local = source.origin is None
        return parse_document(raw, hint=hint, jsonc=local and _says_jsonc(raw, hint), where="The manual")

    async def _read_openapi(
        self, content: JsonObject, document: Document, *, size: int, source: Source, options: ManualOptions
    ) -> Reading:
        from utcp_bridge.dialects.openapi import ConversionOptions, convert

        files, faults = await self._fetch_references(content, document, source)
        wanted = ConversionOptions(
            base_url=options.base_url,
            auth=options.auth_tools,
            server_variables=options.server_variables,
            include=options.include,
            exclude=options.exclude,
            overrides=options.overrides,
        )
        conversion = await _maybe_in_thread(
            size, lambda: convert(content, url=document.url, options=wanted, files=files)
        )
        where = f"manual {source.name!r}"
        return Reading(
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
            from utcp_bridge.net.request import RequestParts

            parts = RequestParts("GET", place, [], None)
            session = self._services.http.session(source)
            reply = await session.request(parts, max_bytes=self._services.settings.max_manual_bytes)
            reply.raise_for_status()
            return reply.body
        return await read_local_reference(place)


def _read_manual(content: Any, *, entry: JsonObject, source: Source, options: ManualOptions) -> Reading:
    shape = detect(content)
    if shape not in {Shape.MANUAL, Shape.TOOLS, Shape.MCP_TOOLS} and not (is_list(content) and not content):
        raise ManualError(
            f"What it points at is {_describe(content, shape)}, not a UTCP manual or an OpenAPI description.",
            remedy="Point it at a document with `tools`, or with `openapi` or `swagger`.",
        )
    reading = read_manual(content, default_template=entry, where=f"manual {source.name!r}")
    tools = reading.tools
    if reading.auth is not None:
        tools = [_with_auth(tool, reading.auth) for tool in tools]
    info = reading.info
    return Reading(
        tools=select(tools, options),
        faults=reading.faults,
        dialect=reading.dialect,
        title=str(info.get("title") or ""),
        description=str(info.get("description") or ""),
        protocols=reading.protocols,
    )


def _generated(document: Document, entry: JsonObject, options: ManualOptions) -> Reading:
    """Tools that a transport made itself: they are reached through the manual's own template."""
    content: JsonObject = document.content
    own = {key: value for key, value in entry.items() if key not in {"name", "tools"}}
    tools = [{"tool_call_template": own, **tool} for tool in content["tools"]]
    info: JsonObject = content.get("info") or {}
    return Reading(
        tools=select(tools, options),
        faults=list(content.get("faults") or ()),
        dialect=str(content.get("dialect") or "generated"),
        title=str(info.get("title") or ""),
        description=str(info.get("description") or ""),
    )


def _with_auth(tool: JsonObject, auth: JsonObject) -> JsonObject:
    """The manual's own auth as a default; the origin check of credentials decides whether it is ever sent."""
    template: JsonObject = tool["tool_call_template"]
    if not wants_auth(template, auth):
        return tool
    return {**tool, "tool_call_template": {**template, "auth": auth}}


def _within(where: str, fault: Fault) -> Fault:
    return Fault(f"{where}, {fault.where}", fault.what, fault.remedy, fault.severity)


def _describe(content: Any, shape: Shape) -> str:
    if shape is not Shape.UNKNOWN:
        return f"a {shape.value}"
    return "an object of another kind" if is_object(content) else "no JSON object"


def _says_jsonc(raw: bytes | str, hint: str) -> bool:
    """Comments are accepted in local JSON files: by suffix, or where the text starts like JSON."""
    if hint.endswith((".json", ".jsonc", "application/json")):
        return True
    if hint.endswith(("yaml", ".yml")):
        return False
    start = raw[:64].lstrip()
    return start.startswith((b"{", b"[", b"//")) if isinstance(start, bytes) else start.startswith(("{", "[", "//"))


async def _maybe_in_thread(size: int, work: Callable[[], T]) -> T:
    return work() if size < _THREAD_FROM else await anyio.to_thread.run_sync(work)
