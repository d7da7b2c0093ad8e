"""An OpenAPI description as a UTCP manual of its own.

MCP servers as a UTCP manual: each of their tools with an `mcp` call template that starts or reaches its server.

The servers are started, or connected to, and asked for their tools. Values of `env` and `headers` are often secrets,
and a manual is there to be passed on: each becomes a variable of its name, unless the operator wants it otherwise.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import anyio.to_thread

from utcp_bridge.auth.models import TokenCache
from utcp_bridge.configuration.places import fetch_url, is_url
from utcp_bridge.convert.outcome import Converted, Wishes, new_manual
from utcp_bridge.dialects.openapi import ConversionOptions
from utcp_bridge.dialects.openapi import convert as convert_openapi
from utcp_bridge.dialects.shorthand import host_file_entry
from utcp_bridge.dialects.v1 import says_nothing
from utcp_bridge.errors import ConfigError
from utcp_bridge.manuals.binding import Binder
from utcp_bridge.manuals.references import gather_references, read_local_reference
from utcp_bridge.model import Fault, JsonObject, Source, is_object
from utcp_bridge.net.guard import Guard
from utcp_bridge.net.http import HttpPool
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.tasks import Background
from utcp_bridge.transport import Services
from utcp_bridge.transports.registry import TransportRegistry
from utcp_bridge.variables import Variables

__all__ = ["mcp_manual", "openapi_manual", "without_files"]

_NO_FILES: Mapping[str, Any] = {}
_SECRET_PLACES = ("env", "headers")
_NOT_A_WORD = re.compile(r"\W+", re.ASCII)
_CREDENTIAL = re.compile(r"(?P<scheme>Bearer|Basic|Token) +\S+", re.IGNORECASE)


async def openapi_manual(document: JsonObject, *, url: str | None, name: str, wishes: Wishes) -> Converted:
    """The manual of a description that was found at `url` (a URL or an absolute path), with the files it refers to.

    :raises ManualError: it is no OpenAPI description. :raises ConfigError: nothing says where its calls go.
    """
    files, faults = await gather_references(document, url, _fetch, where=name)
    work = partial(without_files, document, url=url, name=name, wishes=wishes, files=files)
    converted = await anyio.to_thread.run_sync(work)
    converted.notes[:0] = faults
    return converted


def without_files(
    document: JsonObject, *, url: str | None, name: str, wishes: Wishes, files: Mapping[str, Any] = _NO_FILES
) -> Converted:
    """`openapi_manual` for a description whose further files are given, or that has none. Raises the same."""
    options = ConversionOptions(
        base_url=wishes.base_url,
        server_variables=wishes.server_variables,
        include=wishes.include,
        exclude=wishes.exclude,
    )
    conversion = convert_openapi(document, url=url, options=options, files=files)
    _insist_on_addresses(conversion.tools, name)
    tools = [_with_telling_outputs(tool) for tool in conversion.tools]
    info = {**conversion.info, **({"title": wishes.name} if wishes.name else {})}
    notes = [_note(name, fault) for fault in conversion.faults]
    return Converted(new_manual(tools, info), name, notes=notes)


def _note(name: str, fault: Fault) -> Fault:
    what = fault.what if fault.what.endswith(".") else f"{fault.what}."
    return Fault(f"{name}, {fault.where}", what, fault.remedy, fault.severity)


def _insist_on_addresses(tools: list[JsonObject], name: str) -> None:
    """A description without a server, or with a path for one, gives tools that no client could call."""
    if tools and not any(is_url(str(tool["tool_call_template"]["url"])) for tool in tools):
        raise ConfigError(
            f"{name} does not say on which host its calls go.",
            remedy="Give it, as in --base-url https://api.example.com.",
        )


def _with_telling_outputs(tool: JsonObject) -> JsonObject:
    """In a manual `{"type": "object"}` is how the reference library writes that nothing is promised."""
    if "outputs" not in tool or not says_nothing(tool["outputs"]):
        return tool
    return {**tool, "outputs": {**tool["outputs"], "additionalProperties": True}}


async def _fetch(place: str) -> bytes:
    return (await fetch_url(place)).body if is_url(place) else await read_local_reference(place)


async def mcp_manual(servers: Any, *, name: str, wishes: Wishes, root: Path) -> Converted:
    """The manual of an MCP host's `mcpServers`; commands run in `root`.

    :raises ConfigError: they are no servers. :raises UtcpError: no server answers; one that does not is a note.
    """
    if not is_object(servers) or not servers:
        raise ConfigError(f"{name} names no MCP server.", remedy='Write {"mcpServers": {"name": {"command": …}}}.')
    content = await _discover({**host_file_entry(servers), "name": name}, root)
    written, notes = (dict(servers), []) if wishes.keep_values else _with_variables(servers, name)
    tools = [_tool(tool, written, alone=len(servers) == 1) for tool in content["tools"]]
    info = {"title": wishes.name or name}
    return Converted(new_manual(tools, info), name, notes=[*content.get("faults", ()), *notes])


async def _discover(entry: JsonObject, root: Path) -> JsonObject:
    """What the `mcp` transport finds, its tools with overlays."""
    kind = TransportRegistry().find("mcp")
    async with _services(root) as services:
        binder = Binder(Variables(), TokenCache(services.http), lambda _secret: None)
        target = binder.manual(entry, kind, Source(name=str(entry["name"])))
        transport = kind(services)
        try:
            return cast("JsonObject", (await transport.discover(target)).content)
        finally:
            await transport.aclose()


@asynccontextmanager
async def _services(root: Path) -> AsyncGenerator[Services]:
    guard, settings, tasks = Guard(), BridgeSettings(), Background()
    http = HttpPool(guard, max_response_bytes=settings.max_reply_bytes)
    await tasks.start()
    try:
        yield Services(
            http=http, guard=guard, settings=settings, root=root, spawn=tasks.spawn, changed=lambda _name: None
        )
    finally:
        await tasks.stop()
        await http.aclose()


def _tool(found: JsonObject, servers: JsonObject, *, alone: bool) -> JsonObject:
    """A tool that stands for itself; alone on its server's manual it needs no prefix."""
    tool = {key: value for key, value in found.items() if key != "overlay"}
    server, name = str(found["overlay"]["server"]), str(found["overlay"]["tool_name"])
    template = {**host_file_entry({server: servers[server]}), "tool_name": name}
    return {**tool, **({"name": name, "tags": []} if alone else {}), "tool_call_template": template}


def _with_variables(servers: JsonObject, name: str) -> tuple[JsonObject, list[Fault]]:
    """The servers with variables in place of what may be secret, and one note that says so."""
    places = list(_values(servers))
    shared = Counter(key for _, _, key, _ in places)
    written: JsonObject = dict(servers)
    for server, place, key, value in places:
        variable = _variable(key if shared[key] == 1 else f"{server}_{key}")
        scheme = _CREDENTIAL.fullmatch(value)
        text = f"{scheme['scheme']} ${{{variable}}}" if scheme else f"${{{variable}}}"
        written[server] = {**written[server], place: {**written[server][place], key: text}}
    if not places:
        return written, []
    keys = ", ".join(dict.fromkeys(key for _, _, key, _ in places))
    what = f"the values of {keys} are not written down; variables of these names stand in their place."
    return written, [Fault(name, what, "--keep-values writes them as they are.", "warning")]


def _values(servers: JsonObject) -> Iterator[tuple[str, str, str, str]]:
    """(server, place, key, value) of every value that stands there as it is."""
    for server, entry in servers.items():
        for place in _SECRET_PLACES if is_object(entry) else ():
            values = entry.get(place)
            for key, value in values.items() if is_object(values) else ():
                if isinstance(value, str) and value and "$" not in value:
                    yield server, place, key, value


def _variable(text: str) -> str:
    return _NOT_A_WORD.sub("_", text).strip("_").upper() or "VALUE"
