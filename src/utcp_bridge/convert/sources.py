"""UTCP manuals made from an OpenAPI description and from MCP servers.

Each tool of an MCP server gets an `mcp` call template that starts the server or connects to it. To list the tools, the
servers are really started or contacted. Values of `env` and `headers` are often secrets, and manuals are passed on, so
each value becomes a variable unless the operator asks for `keep_values`.
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

from utcp_bridge.auth.tokens import TokenCache
from utcp_bridge.configuration.hosts.reading import HostConfiguration
from utcp_bridge.configuration.places import fetch_url, is_url
from utcp_bridge.convert.outcome import Converted, Wishes, new_manual
from utcp_bridge.dialects.openapi import ConversionOptions
from utcp_bridge.dialects.openapi import convert as convert_openapi
from utcp_bridge.dialects.selection import ToolFacts, ToolSelection
from utcp_bridge.dialects.shorthand import host_file_entry
from utcp_bridge.dialects.v1 import says_nothing
from utcp_bridge.errors import ConfigError
from utcp_bridge.manuals.binding import Binder
from utcp_bridge.manuals.reading import read_local_reference, referenced_files
from utcp_bridge.model import Fault, JsonObject, Source, is_list, is_object
from utcp_bridge.net.guard import Guard
from utcp_bridge.net.http import HttpPool
from utcp_bridge.processes.children import ChildrenHold
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.tasks import Background
from utcp_bridge.transport import Services
from utcp_bridge.transports.registry import TransportRegistry
from utcp_bridge.variables import Variables

__all__ = ["mcp_manual", "openapi_manual", "servers_of", "without_files"]

_NO_FILES: Mapping[str, Any] = {}
_SECRET_PLACES = ("env", "headers")
_OF_ENTRIES = frozenset({"name", "call_template_type", "call_timeout", "discovery_timeout", "auth"})
"""Keys of an entry that one server among others cannot have."""
_MILLISECONDS_FROM = 1_000
_NOT_A_WORD = re.compile(r"\W+", re.ASCII)
_CREDENTIAL = re.compile(r"(?P<scheme>Bearer|Basic|Token) +\S+", re.IGNORECASE)


async def openapi_manual(document: JsonObject, *, url: str | None, name: str, wishes: Wishes) -> Converted:
    """Return the manual of an OpenAPI description found at `url` (a URL or an absolute path), with referenced files.

    :raises ManualError: the document is not an OpenAPI description.
    :raises ConfigError: neither the description nor `wishes` contains a base address.
    """
    files, faults = await referenced_files(document, url, _fetch, where=name)
    work = partial(without_files, document, url=url, name=name, wishes=wishes, files=files)
    converted = await anyio.to_thread.run_sync(work)
    converted.notes[:0] = faults
    return converted


def without_files(
    document: JsonObject, *, url: str | None, name: str, wishes: Wishes, files: Mapping[str, Any] = _NO_FILES
) -> Converted:
    """Return the manual of an OpenAPI description, with referenced files from `files` alone.

    :raises ManualError: the document is not an OpenAPI description.
    :raises ConfigError: neither the description nor `wishes` contains a base address.
    """
    options = ConversionOptions(
        base_url=wishes.base_url,
        server_variables=wishes.server_variables,
        include=wishes.include,
        exclude=wishes.exclude,
    )
    conversion = convert_openapi(document, url=url, options=options, files=files)
    tools = [_without_logins(_with_telling_outputs(tool.as_json())) for tool in conversion.tools]
    _insist_on_addresses(tools, name)
    info = {**conversion.info, **({"title": wishes.name} if wishes.name else {})}
    notes = [_note(name, fault) for fault in conversion.faults]
    return Converted(new_manual(tools, info), name, notes=notes)


def _note(name: str, fault: Fault) -> Fault:
    what = fault.what if fault.what.endswith(".") else f"{fault.what}."
    return Fault(f"{name}, {fault.where}", what, fault.remedy, fault.severity)


def _insist_on_addresses(tools: list[JsonObject], name: str) -> None:
    """Refuse a description without a server, or with a path as server: no client could call its tools."""
    if tools and not any(is_url(str(tool["tool_call_template"]["url"])) for tool in tools):
        raise ConfigError(
            f"{name} does not contain the address of its server.",
            remedy="Add it, for example --base-url https://api.example.com.",
        )


def _without_logins(tool: JsonObject) -> JsonObject:
    """Return a tool for every UTCP client: the ways in which a person logs in to this bridge are left out."""
    template = tool.get("tool_call_template")
    if not is_object(template) or not is_object(auth := template.get("auth")):
        return tool
    return {**tool, "tool_call_template": {**template, "auth": _plain_auth(auth)}}


def _plain_auth(auth: JsonObject) -> JsonObject:
    options = auth.get("options")
    if auth.get("auth_type") != "any" or not is_list(options):
        return auth
    kept = [option for option in options if "oauth2_login" not in _types_of(option)]
    alone = len(kept) == 1 and len(options) > 1 and auth.get("optional") is not True
    return kept[0] if alone else {**auth, "options": kept}


def _types_of(option: Any) -> set[Any]:
    """Return the types of an option and of the schemes that it sends together."""
    if not is_object(option):
        return set()
    schemes = option.get("schemes")
    return {one.get("auth_type") for one in (option, *(schemes if is_list(schemes) else ())) if is_object(one)}


def _with_telling_outputs(tool: JsonObject) -> JsonObject:
    """Mark an output schema that allows any object, because in a manual `{"type": "object"}` means an unknown output.

    The reference library writes that for tools without an output schema.
    """
    if "outputs" not in tool or not says_nothing(tool["outputs"]):
        return tool
    return {**tool, "outputs": {**tool["outputs"], "additionalProperties": True}}


async def _fetch(place: str, most: int) -> bytes:
    return bytes((await fetch_url(place, most)).content) if is_url(place) else await read_local_reference(place, most)


async def mcp_manual(servers: Any, *, name: str, wishes: Wishes, root: Path) -> Converted:
    """Return the manual of MCP servers by name; commands run in `root`.

    A server that does not answer is a note. `include` and `exclude` of a server choose among its tools.

    :raises ConfigError: `servers` is not an object of servers.
    :raises UtcpError: no server answers.
    """
    if not is_object(servers) or not servers:
        remedy = 'Write {"mcpServers": {"name": {"command": …}}}.'
        raise ConfigError(f"{name} does not contain an MCP server.", remedy=remedy)
    choices = {
        key: ToolSelection(one.get("include"), one.get("exclude")) for key, one in servers.items() if is_object(one)
    }
    servers = {key: _without_choice(one) if is_object(one) else one for key, one in servers.items()}
    content = await _discover({**host_file_entry(servers), "name": name}, root)
    written, notes = (dict(servers), []) if wishes.keep_values else _with_variables(servers, name)
    tools = [
        _tool(tool, written, alone=len(servers) == 1)
        for tool in content["tools"]
        if choices[tool["overlay"]["server"]].decide(ToolFacts((str(tool["overlay"]["tool_name"]),))) is not None
    ]
    info = {"title": wishes.name or name}
    return Converted(new_manual(tools, info), name, notes=[*content.get("faults", ()), *notes])


def servers_of(host: HostConfiguration) -> JsonObject:
    """Return the servers of a host's file that are switched on, in the fields of `mcpServers`."""
    made: JsonObject = {}
    for server in host.servers:
        if server.template is None or not server.enabled:
            continue
        fields = {key: value for key, value in server.template.items() if key not in _OF_ENTRIES}
        timeout = server.template.get("call_timeout")
        if timeout is not None:  # from 1,000 on, `timeout` is in milliseconds
            fields["timeout"] = timeout if timeout < _MILLISECONDS_FROM else timeout * 1_000
        made[server.name] = fields
    return made


def _without_choice(server: JsonObject) -> JsonObject:
    return {key: value for key, value in server.items() if key not in {"include", "exclude"}}


async def _discover(entry: JsonObject, root: Path) -> JsonObject:
    """Return what the `mcp` transport discovers: tools with overlays, and faults."""
    kind = TransportRegistry().find("mcp")
    async with _services(root) as (services, tasks):
        binder = Binder(Variables(), TokenCache(services.http), lambda _owner, _secret: None)
        target = binder.manual(entry, kind, Source(name=str(entry["name"])))
        transport = kind(services)
        try:
            while (document := await transport.discover(target)).awaited:
                await tasks.moved()
            return cast("JsonObject", document.content)
        finally:
            await transport.aclose()


@asynccontextmanager
async def _services(root: Path) -> AsyncGenerator[tuple[Services, Background]]:
    """Yield services, and the tasks that hear when a server has changed."""
    guard, settings, tasks = Guard(), BridgeSettings(), Background()
    http = HttpPool(guard, max_response_bytes=settings.max_reply_bytes)
    children = ChildrenHold()
    await tasks.start()
    try:
        services = Services(
            http=http, guard=guard, settings=settings, root=root, spawn=tasks.spawn, changed=lambda _name: tasks.tell()
        )
        yield services, tasks
    finally:
        await tasks.stop()
        await http.aclose()
        await children.release()


def _tool(found: JsonObject, servers: JsonObject, *, alone: bool) -> JsonObject:
    """Return a tool with a complete call template; with one server its name needs no prefix."""
    tool = {key: value for key, value in found.items() if key != "overlay"}
    server, name = str(found["overlay"]["server"]), str(found["overlay"]["tool_name"])
    template = {**host_file_entry({server: servers[server]}), "tool_name": name}
    return {**tool, **({"name": name, "tags": []} if alone else {}), "tool_call_template": template}


def _with_variables(servers: JsonObject, name: str) -> tuple[JsonObject, list[Fault]]:
    """Return the servers with variables in place of possible secrets, and one note about it."""
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
    what = f"the manual contains variables in place of the values of {keys}."
    return written, [Fault(name, what, "To write the values themselves, use --keep-values.", "warning")]


def _values(servers: JsonObject) -> Iterator[tuple[str, str, str, str]]:
    """Yield (server, place, key, value) for every value without variables."""
    for server, entry in servers.items():
        for place in _SECRET_PLACES if is_object(entry) else ():
            values = entry.get(place)
            for key, value in values.items() if is_object(values) else ():
                if isinstance(value, str) and value and "$" not in value:
                    yield server, place, key, value


def _variable(text: str) -> str:
    return _NOT_A_WORD.sub("_", text).strip("_").upper() or "VALUE"
