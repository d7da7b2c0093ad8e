"""The bridge as a UTCP service: `GET /utcp` is a manual of every tool, `POST /utcp/tools/NAME` calls one.

`HttpFront` checks access as for the MCP endpoint: token, Host and Origin. `?via=native` gives a tool its own call
template if other clients can reach it without the bridge, and if its manual was fetched, so that anyone can read it
there. Templates that the operator wrote may contain secrets anywhere; `share: true` beside a manual's template shows
them. A tool is native only if other clients call it with the request of the bridge; `GET /utcp/proof` with the same
query says for each tool which it is, and why. The rest of the query is that of `ManualForm`.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from utcp_bridge import __version__
from utcp_bridge.access.admissions import principal_of
from utcp_bridge.access.gatekeeper import is_protected
from utcp_bridge.catalogue.catalogue import Entry
from utcp_bridge.catalogue.fitting import json_bytes
from utcp_bridge.catalogue.links import refused_link
from utcp_bridge.catalogue.render import with_safe_links
from utcp_bridge.catalogue.text import clean, clean_schema
from utcp_bridge.convert.official import HTTP_KINDS
from utcp_bridge.convert.outcome import ToolProof
from utcp_bridge.convert.targets import portable_tool
from utcp_bridge.errors import InvalidArguments, UtcpError
from utcp_bridge.manuals.repository import unknown_tool
from utcp_bridge.model import REQUESTER, Emit, JsonObject, Result, Tool, Trust, discard, is_list, is_object
from utcp_bridge.providing.exchange import (
    Lines,
    UnreadableBody,
    answer,
    answer_of,
    problem,
    read_arguments,
    wants_lines,
)
from utcp_bridge.providing.manuals import (
    PROOF,
    ManualForm,
    ProvidedTool,
    manual_of,
    proof_of,
    provided_tool,
    read_form,
)
from utcp_bridge.server.app import BridgeServer
from utcp_bridge.server.callers import requester_over_http
from utcp_bridge.server.outgoing import call_masked
from utcp_bridge.server.profiles.ways import UTCP_PATH
from utcp_bridge.settings import ManualOptions
from utcp_bridge.telemetry.trace_context import served
from utcp_bridge.variables import names_credential

__all__ = ["UtcpRoutes", "native_template"]

_AUTH: Final[JsonObject] = {
    "auth_type": "api_key",
    "api_key": "Bearer ${UTCP_BRIDGE_TOKEN}",
    "var_name": "Authorization",
    "location": "header",
}
_SPAN: Final = f"POST {UTCP_PATH}/tools/{{name}}"
_BRIDGE: Final = "bridge"
_NATIVE: Final = "native"
_MAX_MANUALS: Final = 4
"""Written manuals to keep, one per address and form. A request may name any host."""
_KINDS: Final = frozenset({"http", "sse", "streamable_http", "websocket", "graphql", "grpc", "tcp", "udp", "webrtc"})
_OPERATORS: Final = frozenset(ManualOptions.model_fields)
_FILLS_IN: Final = ("server_variables", "overrides")
"""Options whose values get into the templates of the tools."""
_OPEN_FIELDS: Final = frozenset(
    {"auth_type", "location", "var_name", "call_template_type", "http_method", "content_type"}
)
"""Fields whose values are names of the protocol."""
_VARIABLE: Final = re.compile(r"(?:(?:Bearer|Basic|Token) )?(?:\$\{\w+\}|\$\w+)")


@dataclass(frozen=True, slots=True)
class _Written:
    data: bytes
    tag: str
    proof: bytes
    """Which tools are native, and why the others are not."""


class UtcpRoutes:
    """The routes of one server, for its Starlette application."""

    def __init__(self, server: BridgeServer) -> None:
        self._server: Final = server
        self._client: Final = server.client
        self._written: Final[OrderedDict[tuple[int, ManualForm, bool], _Written]] = OrderedDict()

    def routes(self, paths: Sequence[str]) -> list[Route]:
        """Return the routes of the manual and of the calls. `paths` are those of the manual."""
        return [
            route
            for path in paths
            for route in (
                Route(path, self._manual, methods=["GET"]),
                Route(path + PROOF, self._proof, methods=["GET"]),
                Route(f"{path}/tools/{{name}}", self._call, methods=["POST"]),
            )
        ]

    async def _manual(self, request: Request) -> Response:
        try:
            written = await self._wanted(request)
        except UtcpError as error:
            return problem(error)
        headers = {"ETag": written.tag, "Cache-Control": "no-cache", "Vary": "Host"}
        if request.headers.get("if-none-match") == written.tag:
            return Response(status_code=304, headers=headers)
        return Response(written.data, media_type="application/json", headers=headers)

    async def _proof(self, request: Request) -> Response:
        try:
            written = await self._wanted(request)
        except UtcpError as error:
            return problem(error)
        return Response(written.proof, media_type="application/json", headers={"Cache-Control": "no-cache"})

    async def _wanted(self, request: Request) -> _Written:
        """Return the manual in the form that a request asks for.

        :raises InvalidArguments: the query has an unknown value.
        """
        address = str(request.url.replace(query="")).removesuffix(PROOF)
        form, native = read_form(request, address), _is_native(request)
        await self._server.readiness.wait()
        return await self._for(form, native=native)

    async def _call(self, request: Request) -> Response:
        if self._client.notes_requesters:
            REQUESTER.set(
                requester_over_http(request, self._server.part.profile_name)
            )  # each request has a context of its own
        try:
            entry = await self._entry(request.path_params["name"])
            arguments = await read_arguments(request, entry.tool.inputs)
        except (UtcpError, UnreadableBody) as error:
            return problem(error)
        if wants_lines(request) and self._client.streams(entry.tool):
            return Lines(partial(self._spending_stream, request, entry, arguments))
        return await answer_of(request, partial(self._spending, request, entry, arguments))

    async def _spending(self, request: Request, entry: Entry, arguments: JsonObject) -> Result:
        """Call a tool within the budgets of the caller."""
        work = partial(self._result, entry, arguments, discard)
        return await self._within(request, entry, work)

    async def _spending_stream(self, request: Request, entry: Entry, arguments: JsonObject, emit: Emit) -> None:
        await self._within(request, entry, partial(self._stream, entry, arguments, emit))

    async def _within(self, request: Request, entry: Entry, work: Callable[[], Awaitable[Result]]) -> Result:
        within = partial(self._server.part.spending.within, principal_of(request.scope), work, _size_of)
        return await served(_SPAN, entry.name, within)

    async def _entry(self, name: str) -> Entry:
        catalogue = self._server.catalogue
        entry = catalogue.resolve(name)
        if entry is None:
            await self._server.readiness.wait()
            entry = catalogue.resolve(name)
        if entry is None:
            self._client.refusals.note("unknown_tool", REQUESTER.get(), name)
            raise catalogue.not_loaded(name) or unknown_tool(
                clean(name, 128), catalogue.entries, remedy=f"{UTCP_PATH} lists the tools."
            )
        return entry

    async def _result(self, entry: Entry, arguments: JsonObject, emit: Emit) -> Result:
        """Call a tool. Its result has no link that a host must not open, as over MCP."""
        result = await call_masked(self._client, entry.tool, arguments, emit)
        return replace(result, value=with_safe_links(result.value, entry.refuse_link))

    async def _stream(self, entry: Entry, arguments: JsonObject, emit: Emit) -> Result:
        emitted = False

        async def push(partial_result: Any) -> None:
            nonlocal emitted
            emitted = True
            await emit(with_safe_links(partial_result, entry.refuse_link))

        result = await self._result(entry, arguments, push)
        if not emitted:
            await emit(result.value)
        return result

    async def _for(self, form: ManualForm, *, native: bool) -> _Written:
        key = self._client.generation, form, native
        written = self._written.get(key)
        if written is None:
            entries = [
                (entry, form.streaming and self._client.streams(entry.tool))
                for entry in self._server.catalogue.entries.values()
            ]
            auth = _AUTH if is_protected(self._client.settings) else None
            manuals = {str(one.get("name")): one for one in self._client.config.manual_call_templates}
            written = await anyio.to_thread.run_sync(_write, entries, form, manuals if native else None, auth)
            self._written[key] = written
            while len(self._written) > _MAX_MANUALS:
                self._written.popitem(last=False)
        return written


def _size_of(result: Result) -> int:
    """Return the bytes of a result as it is sent."""
    return len(answer(result).body)


def _is_native(request: Request) -> bool:
    via = request.query_params.get("via", "bridge")
    if via not in {"bridge", "native"}:
        raise InvalidArguments("`via` must be bridge or native.")
    return via == "native"


def _write(
    entries: Sequence[tuple[Entry, bool]],
    form: ManualForm,
    native: Mapping[str, JsonObject] | None,
    auth: JsonObject | None,
) -> _Written:
    """Return the manual. `native` has the configuration's entries by name if tools are to get their own templates."""
    tools: list[JsonObject] = []
    proof: list[ToolProof] = []
    for entry, streams in entries:
        tool = _provided(entry, streams, form, auth)
        own, row = (None, ToolProof(entry.name, _BRIDGE))
        if native is not None:
            own, row = _native(entry, native.get(entry.tool.manual, {}), tool, form)
        tools.append(tool if own is None else own)
        proof.append(row)
    data = json_bytes(manual_of(tools, version=__version__))
    return _Written(data, f'"{blake2b(data, digest_size=12).hexdigest()}"', json_bytes(proof_of(proof)))


def _native(
    entry: Entry, written: JsonObject, provided: JsonObject, form: ManualForm
) -> tuple[JsonObject | None, ToolProof]:
    """Return the tool that clients call past the bridge, or None, and why it is or is not."""
    template = native_template(entry.tool, written)
    if template is None:
        return None, ToolProof(entry.name, _BRIDGE, ("its call template is not for strangers, or needs the bridge",))
    kind = str(template.get("call_template_type"))
    if kind not in HTTP_KINDS or (kind != "http" and not form.streaming):
        return None, ToolProof(
            entry.name, _BRIDGE, (f"clients of an http manual refuse or omit a tool of type {kind!r}",)
        )
    original = {**provided, "inputs": clean_schema(entry.tool.inputs), "tool_call_template": template}
    tool, row = portable_tool(original)
    return tool, replace(row, state=_BRIDGE if tool is None else _NATIVE)


def _provided(entry: Entry, streams: bool, form: ManualForm, auth: JsonObject | None) -> JsonObject:
    tool = entry.tool
    provided = ProvidedTool(
        name=entry.name,
        description=clean(tool.description),
        inputs=clean_schema(tool.inputs),
        outputs=tool.outputs and clean_schema(tool.outputs, is_output=True),
        tags=tool.tags,
        streams=streams,
        average_response_size=tool.average_response_size,
    )
    return provided_tool(provided, form, auth=auth)


def native_template(tool: Tool, entry: JsonObject) -> JsonObject | None:
    """Return the call template with which other UTCP clients can call a tool without the bridge, or None.

    `entry` is what the operator wrote for the tool's manual. The template keeps its variables and omits the operator's
    options. There is none for a tool that runs on this machine (a command, a file, a server on stdio), for a tool whose
    call the bridge discovered (introspection, reflection), for a tool that the operator changed (default arguments,
    part of the result), and for a template that holds a credential itself or an address that is not public and not the
    operator's. There is none either for a template in which the operator wrote anything, unless `share` allows it.
    """
    if tool.kind not in _KINDS or tool.overlay is not None or tool.projection is not None or tool.defaults:
        return None
    if entry.get("share") is not True and (tool.source.trust is not Trust.REMOTE or _is_touched(tool, entry)):
        return None
    template = {key: value for key, value in tool.template.items() if key not in _OPERATORS and key != "name"}
    return None if _holds_credential(template) or _has_closed_address(template, tool.source.exempt) else template


def _has_closed_address(value: Any, written: Collection[str]) -> bool:
    """Return whether an address in a template is none that a stranger may name, and not one that the operator wrote."""
    if is_object(value) or is_list(value):
        return any(_has_closed_address(one, written) for one in (value.values() if is_object(value) else value))
    return isinstance(value, str) and "://" in value and refused_link(value, written=written) is not None


def _is_touched(tool: Tool, entry: JsonObject) -> bool:
    """Return whether a fetched tool's template has a value of the operator."""
    if any(entry.get(name) for name in _FILLS_IN) or not _is_placeholder(entry.get("auth_tools")):
        return True
    return any(
        value and value == entry.get(key)
        for key, value in tool.template.items()
        if key not in _OPEN_FIELDS and key not in _OPERATORS and key != "name" and not _is_placeholder(value)
    )


def _is_placeholder(value: Any) -> bool:
    """Return whether each text of a value, but for names of the protocol, is one variable."""
    if is_object(value):
        return all(key in _OPEN_FIELDS or _is_placeholder(member) for key, member in value.items())
    if is_list(value):
        return all(map(_is_placeholder, value))
    return value is None or isinstance(value, bool) or (isinstance(value, str) and bool(_VARIABLE.fullmatch(value)))


def _holds_credential(value: Any, key: str = "") -> bool:
    if is_object(value):
        return any(_holds_credential(member, str(name)) for name, member in value.items())
    if is_list(value):
        return any(_holds_credential(item, key) for item in value)
    if not isinstance(value, str) or not value:
        return False
    return (names_credential(key) and _is_literal(value)) or ("://" in value and _url_holds_credential(value))


def _url_holds_credential(url: str) -> bool:
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError:
        return True
    query = parse_qsl(parts.query)
    return bool(password and _is_literal(password)) or any(names_credential(k) and _is_literal(v) for k, v in query)


def _is_literal(text: str) -> bool:
    """Return whether the text has no variable and no argument."""
    return "$" not in text and "{" not in text and "UTCP_ARG" not in text
