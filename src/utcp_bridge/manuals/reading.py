"""Reading what discovery found: bytes → document → raw tools, in any dialect → the tools that the operator wants.

A large document is parsed and converted in a process of its own (`confinement.py`), so that it holds up nobody and can
be ended. References to further files are followed within the document's own origin or folder only, and all files
together are within the limits of one manual.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias
from urllib.parse import urljoin, urlsplit

import anyio
import anyio.to_thread

from utcp_bridge.configuration.places import MAX_BYTES
from utcp_bridge.dialects import RawTool, Shape, wants_auth
from utcp_bridge.dialects.documents import MAX_DOCUMENT_VALUES
from utcp_bridge.dialects.selection import ToolSelection, select
from utcp_bridge.dialects.v1 import MAP_KEYS
from utcp_bridge.dialects.worker import DocumentWork, OneTool, Outline, ReadTools
from utcp_bridge.errors import ConfigError, ManualError, ReplyTooLarge, UtcpError
from utcp_bridge.foreign import most_values
from utcp_bridge.late.records import dataclass
from utcp_bridge.manuals.basis import ReferredFile, ReferredFiles
from utcp_bridge.manuals.binding import uses_secrets
from utcp_bridge.manuals.confinement import Confinement, DocumentReader
from utcp_bridge.manuals.hints import hints_of_template, stated_hints, template_of
from utcp_bridge.model import Document, Edition, Fault, JsonObject, Source, Trust, counted, is_list, is_object
from utcp_bridge.net.gate.addresses import closed_host
from utcp_bridge.placement.own_arguments import with_own_arguments
from utcp_bridge.placement.placeholders import Syntax, compile_template
from utcp_bridge.settings import ManualOptions
from utcp_bridge.transport import Services
from utcp_bridge.transports.registry import TransportRegistry
from utcp_bridge.urls import origin_of

__all__ = [
    "LoadedManual",
    "ManualReader",
    "read_local_reference",
    "referenced_files",
    "with_entry_auth",
    "with_entry_headers",
]

_THREAD_FROM: Final = 400
"""Tools: choosing among more by their hints takes longer than the others should wait."""
_MAX_FETCHED: Final = 100
_MAX_FILES: Final = 2_000
"""Files of one description on this machine. Public ones have up to some hundreds."""
_JOIN: Final = "Join the files into one, for example with `redocly bundle`."
_DESCRIPTIONS: Final = frozenset({Shape.OPENAPI, Shape.FOREIGN})
_MANUALS: Final = frozenset({Shape.MANUAL, Shape.TOOLS, Shape.MCP_TOOLS})
_Fetch: TypeAlias = Callable[[str, int], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class LoadedManual:
    """The raw tools of a manual that the operator wants, its faults, and what it says of itself."""

    tools: list[RawTool]
    faults: list[Fault] = field(default_factory=list[Fault])
    dialect: str = ""
    title: str = ""
    description: str = ""
    protocols: tuple[str, ...] | None = None
    maps: JsonObject = field(default_factory=dict[str, Any], repr=False)
    """The `resources` and `prompts` of the document, as they were written."""
    is_narrowed: bool = False
    """Whether one tool was wanted, and the document has more."""
    references: ReferredFiles = field(default_factory=ReferredFiles)


class ManualReader:
    """Reads documents; holds no state."""

    def __init__(self, services: Services, registry: TransportRegistry) -> None:
        self._services = services
        self._registry = registry
        self.confinement = Confinement()

    async def read(
        self,
        document: Document,
        *,
        entry: JsonObject,
        source: Source,
        options: ManualOptions,
        only: str | None = None,
    ) -> LoadedManual:
        """Read the tools of a document; `entry` is the manual's own call template.

        If a UTCP manual has a tool of the name `only`, it is the only one that is returned.

        :raises ManualError: it is not a manual, an OpenAPI description or a list of tools.
        """
        where = f"manual {source.name!r}"
        if document.generated:
            return await self._selected(_generated(document, entry), options, source)
        data = document.content
        limit = self._services.settings.max_manual_bytes
        if isinstance(data, bytes | str) and len(data) > limit:
            raise ReplyTooLarge(
                f"The manual has {len(data)} bytes; the limit is {limit} bytes.", remedy="Raise `max_manual_bytes`."
            )
        hint = document.media_type or document.url or ""
        jsonc = source.origin is None and isinstance(data, bytes | str) and _says_jsonc(data, hint)
        async with self.confinement.reader(data, hint, most_values(limit)) as reader:
            outline = await reader.parse(data, url=document.url, hint=hint, jsonc=jsonc)
            if outline.shape in _DESCRIPTIONS:
                size = len(data) if isinstance(data, bytes | str) else 0
                loaded = await self._read_openapi(reader, outline, document, size=size, source=source, options=options)
                tools, faults = with_entry_headers(loaded.tools, entry, source)
                return replace(loaded, tools=tools, faults=[*loaded.faults, *faults])
            _check_shape(outline)
            choice = None if only is None else OneTool(source.name, only, self._services.settings.max_tools)
            loaded = _loaded(await reader.manual(entry, where, choice))
        return await self._selected(
            replace(loaded, tools=with_entry_auth(loaded.tools, entry, source)), options, source
        )

    async def _selected(self, manual: LoadedManual, options: ManualOptions, source: Source) -> LoadedManual:
        where = f"manual {source.name!r}"
        hints_of = partial(self._hints, source)
        selection = ToolSelection(options.include, options.exclude, options.overrides)
        if selection.is_empty or len(manual.tools) < _THREAD_FROM:
            tools = select(manual.tools, selection, hints_of)
        else:
            tools = await anyio.to_thread.run_sync(select, manual.tools, selection, hints_of)
        # The rules of a registry are for all of its manuals, so a pattern may match no tool of this one.
        faults = selection.faults(unused=options.registry is None)
        return replace(manual, tools=tools, faults=[*manual.faults, *(_within(where, fault) for fault in faults)])

    def _hints(self, source: Source, tool: RawTool) -> Mapping[str, Any]:
        """Return the hints of a tool that may be believed, before it is bound; none if its kind is unknown."""
        try:
            transport = self._registry.find(str(tool.template.get("call_template_type")))
        except UtcpError:
            return {}
        template = template_of(tool, transport)
        return stated_hints(tool, source, transport, template, hints_of_template(transport, template))

    async def _read_openapi(
        self,
        reader: DocumentReader,
        outline: Outline,
        document: Document,
        *,
        size: int,
        source: Source,
        options: ManualOptions,
    ) -> LoadedManual:
        parts: dict[str, ReferredFile] = {}

        async def fetch(place: str, most: int) -> bytes:
            try:
                file = await self._fetch(source, place, most)
            except (UtcpError, OSError) as error:
                parts[place] = ReferredFile.failed(error)
                raise
            parts[place] = await ReferredFile.of(file)
            return bytes(file.content)

        where = f"manual {source.name!r}"
        limit = self._services.settings.max_manual_bytes - size
        faults = await gather_references(outline.references, document.url, fetch, reader, where=where, max_bytes=limit)
        found = await reader.openapi(
            {
                "base_url": options.base_url,
                "auth": options.auth_tools,
                "server_variables": dict(options.server_variables),
                "include": options.include,
                "exclude": options.exclude,
                "overrides": {name: dict(override) for name, override in options.overrides.items()},
                "warn_of_unused": options.registry is None,
            }
        )
        loaded = _loaded(replace(found, faults=[*faults, *(_within(where, fault) for fault in found.faults)]))
        return replace(loaded, references=ReferredFiles(partial(self._fetch, source), parts, limit))

    async def _fetch(self, source: Source, place: str, most: int, known: Edition | None = None) -> Document:
        if urlsplit(place).scheme in {"http", "https"}:
            from utcp_bridge.net.document import document_request, fetch_manual

            session = self._services.http.session(source)
            return await fetch_manual(session, document_request(place), max_bytes=most, known=known)
        return Document(await read_local_reference(place, most))


def _check_shape(outline: Outline) -> None:
    if outline.shape not in _MANUALS and outline.described != "an empty list":
        raise ManualError(
            f"The document is {outline.described}, not a UTCP manual or an OpenAPI description.",
            remedy=outline.way or "Point the manual at a document with `tools`, or with `openapi` or `swagger`.",
        )


def _loaded(found: ReadTools) -> LoadedManual:
    tools = found.tools if found.auth is None else [_with_auth(tool, found.auth) for tool in found.tools]
    return LoadedManual(
        tools=tools,
        faults=found.faults,
        dialect=found.dialect,
        title=str(found.info.get("title") or ""),
        description=str(found.info.get("description") or ""),
        protocols=found.protocols,
        maps=found.maps,
        is_narrowed=found.is_narrowed,
    )


def _generated(document: Document, entry: JsonObject) -> LoadedManual:
    """Return the tools that a transport made itself; they are reached through the manual's own call template."""
    content: JsonObject = document.content
    own = {key: value for key, value in entry.items() if key not in {"name", "tools"} | MAP_KEYS}
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


class _Files(Protocol):
    async def add(self, place: str, data: bytes) -> Iterable[str]: ...
    async def miss(self, place: str) -> None: ...


async def gather_references(
    references: Iterable[str], url: str | None, fetch: _Fetch, files: _Files, *, where: str, max_bytes: int
) -> list[Fault]:
    """Give `files` every file that a document refers to, directly or through another one, and return the faults.

    At most 2,000 files, or 100 of a URL, of at most `max_bytes` together are read; the file that exceeds this is in a
    fault, and those after it are missing. Files elsewhere are not read, and one fault names the first. `url` is where
    the document was found. `fetch` gets an absolute path or URL and the most bytes that it may return, and raises
    UtcpError or OSError. `where` names the document in faults.
    """
    faults: list[Fault] = []
    seen: set[str] = set()
    elsewhere: dict[str, None] = {}
    waiting, left = deque(references), max_bytes
    most = _MAX_FETCHED if url and urlsplit(url).scheme in {"http", "https"} else _MAX_FILES
    while waiting:
        place = waiting.popleft()
        if place in seen:
            continue
        if not _is_near(place, url):
            elsewhere[place] = None
            continue
        name = f"{where}, reference {place}"
        if len(seen) >= most:
            faults.append(
                Fault(name, f"a document may refer to {most:,} files, and this is one more.", _JOIN, "warning")
            )
            break
        seen.add(place)
        try:
            data = await fetch(place, max(left, 1))
            left = _less(left, data)
            waiting.extend(await files.add(place, data))
        except ReplyTooLarge:
            what = f"with this file, a document and the files that it refers to have more than {max_bytes:,} bytes."
            faults.append(Fault(name, what, "Raise `max_manual_bytes`.", "warning"))
            break
        except (UtcpError, OSError) as error:
            await files.miss(place)
            faults.append(Fault(name, str(error), severity="warning"))
    if url is not None:
        for place in islice(elsewhere, _MAX_FILES):  # so that each reference to one is not another fault
            await files.miss(place)
    return [*faults, *_of_elsewhere(list(elsewhere), url, where)]


def _of_elsewhere(places: list[str], url: str | None, where: str) -> list[Fault]:
    """Return one fault about references to files that may not be read; none if the document's place is unknown."""
    if not places or url is None:
        return []
    what = "has another origin than" if urlsplit(url).scheme in {"http", "https"} else "is outside of the folder of"
    more = f" The same applies to {counted(len(places) - 1, 'more file')}." if places[1:] else ""
    said = f"it {what} the document, so it is not read.{more}"
    return [Fault(f"{where}, reference {places[0]}", said, _JOIN, "warning")]


async def referenced_files(
    document: JsonObject, url: str | None, fetch: _Fetch, *, where: str
) -> tuple[dict[str, Any], list[Fault]]:
    """Return the parsed files that a parsed OpenAPI description refers to, None for each that fails, and the faults."""
    work = DocumentWork(MAX_DOCUMENT_VALUES)
    outline = work.parse(document, url=url, hint="", jsonc=False)
    files = _Parsed(work)
    faults = await gather_references(outline.references, url, fetch, files, where=where, max_bytes=MAX_BYTES)
    return work.files, faults


def _less(left: int, data: bytes) -> int:
    if len(data) > left:
        raise ReplyTooLarge(f"{len(data)} bytes are more than {left}.")
    return left - len(data)


class _Parsed:
    """Parses files in a thread."""

    def __init__(self, work: DocumentWork) -> None:
        self._work = work

    async def add(self, place: str, data: bytes) -> list[str]:
        return await anyio.to_thread.run_sync(self._work.add, place, data)

    async def miss(self, place: str) -> None:
        self._work.miss(place)


async def read_local_reference(place: str, most: int) -> bytes:
    """Return the bytes of a local file that a reference names.

    :raises ManualError: there is no such file.
    :raises ReplyTooLarge: it has more than `most` bytes.
    :raises OSError: the file cannot be read.
    """
    path = anyio.Path(place)
    if not await path.is_file():
        raise ManualError("There is no such file.")
    async with await path.open("rb") as file:
        data = await file.read(most + 1)
    if len(data) > most:
        raise ReplyTooLarge(f"The file has more than {most} bytes.", remedy="Split it.")
    return data


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
    what = fault.what if fault.what.endswith(".") else f"{fault.what}."
    return Fault(f"{where}, {fault.where}", what, fault.remedy, fault.severity, fault.code)


def _says_jsonc(raw: bytes | str, hint: str) -> bool:
    """Return whether comments are allowed: the file's name says JSON, or the text starts like JSON."""
    if hint.endswith((".json", ".jsonc", "application/json")):
        return True
    if hint.endswith(("yaml", ".yml")):
        return False
    start = raw[:64].lstrip()
    return start.startswith((b"{", b"[", b"//")) if isinstance(start, bytes) else start.startswith(("{", "[", "//"))


_UNKNOWN = "an address that is filled in later"


def with_entry_auth(tools: Sequence[RawTool], entry: JsonObject, source: Source) -> list[RawTool]:
    """Return the tools of a UTCP manual, with the `auth` of its entry for those at its own origin that have none."""
    auth = entry.get("auth")
    if not is_object(auth) or source.origin is None:
        return list(tools)
    return [
        replace(tool, template={**tool.template, "auth": auth})
        if _origin(tool.template) == source.origin and wants_auth(tool.template, auth)
        else tool
        for tool in tools
    ]


def with_entry_headers(
    tools: Sequence[RawTool], entry: JsonObject, source: Source
) -> tuple[list[RawTool], list[Fault]]:
    """Return the tools of an OpenAPI description with the headers of its entry, and a fault if some do not get them.

    Headers go to the origins that credentials go to. A parameter of the description that an entry's header replaces is
    not an argument any more.

    :raises ConfigError: the headers of the entry cannot be used.
    """
    headers, fields = entry.get("headers"), entry.get("header_fields")
    headers, fields = headers if is_object(headers) else {}, fields if is_list(fields) else []
    if not headers and not fields:
        return list(tools), []
    named = compile_template(headers, syntaxes=Syntax.MUSTACHE, where="`headers`").names
    made: list[RawTool] = []
    elsewhere: dict[str, None] = {}
    for tool in tools:
        origin = _origin(tool.template)
        if _may_receive(origin, headers, source):
            made.append(_with_headers(tool, headers, [str(one) for one in fields], named))
        else:
            elsewhere[origin or _UNKNOWN] = None
            made.append(tool)
    if not elsewhere:
        return made, []
    what = f"The `headers` of the entry are not sent to {', '.join(elsewhere)}: the document names that address itself."
    line = ", ".join(f'"{origin}"' for origin in elsewhere if origin != _UNKNOWN)
    remedy = f'add "allowed_origins": [{line}] to the manual' if line else "set `base_url`"
    return made, [Fault(f"manual {source.name!r}", what, f"If that is intended, {remedy}.", "warning")]


def _origin(template: JsonObject) -> str | None:
    url = template.get("url")
    try:
        return origin_of(url) if isinstance(url, str) else None
    except (ConfigError, ValueError):
        return None


def _may_receive(origin: str | None, headers: JsonObject, source: Source) -> bool:
    if origin is None or origin in {source.origin, *map(origin_of, source.allowed_origins)}:
        return origin is not None
    if source.trust is not Trust.OPERATOR:
        return False
    return not uses_secrets({"headers": headers}) or closed_host(urlsplit(origin).hostname or "") is None


def _with_headers(tool: RawTool, headers: JsonObject, fields: list[str], named: frozenset[str]) -> RawTool:
    plan: Any = tool.template.get("request_plan")
    if not is_object(plan):
        return tool
    replaced = {name.lower() for name in headers}
    stated: list[Any] = plan.get("parameters") or []
    gone = [one for one in stated if one["in"] == "header" and str(one["name"]).lower() in replaced]
    kept = [one for one in stated if one not in gone]
    known = {one["argument"] for one in kept}
    kept += [{"argument": name, "name": name, "in": "header"} for name in fields if name not in known]
    template = {**tool.template, "headers": headers, "request_plan": {**plan, "parameters": kept}}
    inputs = _without(tool.inputs, {str(one["argument"]) for one in gone})
    [extended] = with_own_arguments([{"inputs": inputs}], header_fields=fields, named=named)
    return replace(tool, template=template, inputs=extended["inputs"])


def _without(inputs: JsonObject, names: set[str]) -> JsonObject:
    if not names:
        return inputs
    properties = {name: one for name, one in inputs.get("properties", {}).items() if name not in names}
    kept = {**inputs, "properties": properties}
    if "required" in inputs:
        kept["required"] = [name for name in inputs["required"] if name not in names]
    return kept
