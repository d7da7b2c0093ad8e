"""MCP servers as a UTCP manual: each of their tools with an `mcp` call template that starts or reaches its server.

The servers are started, or connected to, and asked for their tools. Values of `env` and `headers` are often secrets,
and a manual is there to be passed on: each becomes a variable of its name, unless the operator wants it otherwise.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from utcp_bridge.auth.tokens import TokenCache
from utcp_bridge.convert.outcome import Converted, Wishes, new_manual
from utcp_bridge.dialects.shorthand import host_file_entry
from utcp_bridge.errors import ConfigError
from utcp_bridge.manuals.binding import Binder
from utcp_bridge.model import Fault, JsonObject, Source, is_object
from utcp_bridge.net.guard import Guard
from utcp_bridge.net.http import HttpPool
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.tasks import Background
from utcp_bridge.transport import Services
from utcp_bridge.transports.registry import TransportRegistry
from utcp_bridge.variables import Variables

__all__ = ["mcp_manual"]

_SECRET_PLACES = ("env", "headers")
_NOT_A_WORD = re.compile(r"\W+", re.ASCII)
_CREDENTIAL = re.compile(r"(?P<scheme>Bearer|Basic|Token) +\S+", re.IGNORECASE)


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
