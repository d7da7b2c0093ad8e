"""mcp: tools of other MCP servers, over stdio, streamable HTTP or legacy SSE, in any protocol version.

    v1  {"call_template_type": "mcp", "config": {"mcpServers": {
           "files": {"command": "npx", "args": ["-y", "@modelcontextprotocol/server-filesystem", "."]},
           "far": {"url": "https://mcp.example.com/mcp", "headers": {"X-Key": "${KEY}"}}}}}
    v0  the same with "provider_type": "mcp"
    also {"call_template_type": "mcp", "server_url": "http://internal-mcp:8080", "tool_name": "internal_tool"}

Each server has a supervisor of its own (`supervisor.py`): all calls share its session, and one that is slow or broken
does not hold up the others of its manual (`Gathering`). If a server died or forgot its session, the next call opens
another, after a pause of at most five seconds if the server never worked. Schemas, annotations, content, structured
content, progress and `isError` pass through. `register_resources_as_tools` turns resources into tools.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar, Final

import anyio

from utcp_bridge.errors import Rejected, Unreachable, UtcpError
from utcp_bridge.foreign import write_json
from utcp_bridge.model import Call, Document, Emit, Fault, JsonObject, Outage, Source
from utcp_bridge.net.preview import NativeRequest
from utcp_bridge.processes.inherited import inherited_environment
from utcp_bridge.processes.systems import merge_environment
from utcp_bridge.transport import Endpoint, Need, Program, Services, Target, Transport
from utcp_bridge.transports.mcp.servers import (
    McpServer,
    McpTemplate,
    check_trust,
    message_to,
    resource_value,
)
from utcp_bridge.transports.mcp.supervisor import LONGEST_PAUSE, McpSupervisor
from utcp_bridge.transports.mcp.tasks import as_task
from utcp_bridge.upstream import TASK_WISH, ServerState, Upstream
from utcp_bridge.urls import origin_of

if TYPE_CHECKING:
    from utcp_bridge.auth.login.port import PossibleLogin

__all__ = ["TRANSPORT", "McpTemplate", "McpTransport"]


_SETTLE_SECONDS: Final = 0.25
"""How long a discovery waits for one more server after the last one that arrived."""


class McpTransport(Transport[McpTemplate]):
    """Calls to MCP servers; one session per manual and server."""

    kinds: ClassVar[tuple[str, ...]] = ("mcp",)
    template = McpTemplate
    longest_pause: ClassVar[float | None] = LONGEST_PAUSE

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._sessions: dict[tuple[str, bytes], McpSupervisor] = {}
        self._gatherings: dict[str, Gathering] = {}

    @classmethod
    def endpoint(cls, template: McpTemplate) -> str | None:
        """Return the URL of the only server; None for a command or for several servers."""
        servers = list(template.servers.values())
        return servers[0].url if len(servers) == 1 else None

    @classmethod
    def peer(cls, template: McpTemplate) -> str | None:
        """Return the tool's own server: its origin, or the name of the command's server."""
        name = template.server or next(iter(template.servers))
        server = template.servers.get(name)
        return f"MCP server {name!r}" if server is None or server.url is None else origin_of(server.url)

    @classmethod
    def starts_program(cls, template: McpTemplate) -> bool:
        """Return whether the server that calls go to is a command."""
        server = template.servers.get(template.server or next(iter(template.servers)))
        return server is not None and server.command is not None

    @classmethod
    def check_use(cls, template: McpTemplate, source: Source) -> None:
        """Check each server: a fetched manual may have one, and no command.

        :raises PolicyError: it may not use the servers.
        """
        for server in template.servers.values():
            check_trust(source, server, len(template.servers))

    def needs(self, target: Target[McpTemplate]) -> Sequence[Need]:
        """Return the command or URL of each server that is not disabled."""
        root, own = self.services.root, inherited_environment(("PATH",))
        return tuple(
            Endpoint(str(server.url))
            if server.command is None
            else Program(server.command, root / (server.cwd or ""), merge_environment(own, server.env).get("PATH"))
            for server in target.template.servers.values()
            if not server.disabled
        )

    def logins(self, target: Target[McpTemplate]) -> Sequence[PossibleLogin]:
        """Return the servers over HTTP at which a person can log in."""
        from utcp_bridge.transports.mcp.login import possible_login

        found = (possible_login(self.services, target, server) for server in target.template.servers.values())
        return [login for login in found if login is not None]

    async def discover(self, target: Target[McpTemplate]) -> Document:
        """Return the tools of the servers that are there. One that fails or starts slowly is a fault of itself.

        :raises UtcpError: every one of them failed.
        """
        template = target.template
        servers = {
            name: self._supervisor(target, name) for name, server in template.servers.items() if not server.disabled
        }
        gathering = self._gathering(target.source.name)
        gathering.disabled = tuple(name for name in template.servers if name not in servers)
        await gathering.gather(list(servers.values()))
        failures = {name: one.failure for name, one in servers.items() if one.failure is not None}
        if failures and len(failures) == len(servers):
            raise _failure_of_all(failures)
        tools: list[JsonObject] = []
        faults: list[Fault] = []
        for one in servers.values():
            tools += one.tools(flat=template.flat, only=template.tool_name)
            faults += one.faults()
        awaited = tuple(name for name, one in servers.items() if one.is_awaited)
        return Document({"tools": tools, "faults": faults, "dialect": "mcp"}, generated=True, awaited=awaited)

    async def call(self, target: Target[McpTemplate], call: Call, emit: Emit) -> Any:
        """Call the tool, or read the resource, on its own server."""
        template = target.template
        session = self._supervisor(target, template.server or next(iter(template.servers)))
        if template.resource_uri is not None or template.resource_template is not None:
            uri = template.resource_uri or _expanded(str(template.resource_template), call.arguments)
            return resource_value(await session.read_resource(uri))
        name = template.tool_name or call.tool.name
        if call.tool.projection is not None:
            TASK_WISH.set(None)  # the result of a task passes no projection
        return await session.call(name, call.arguments, emit, task=template.task_support)

    async def explain(self, target: Target[McpTemplate], call: Call) -> NativeRequest:
        """Return the message to the server."""
        template = target.template
        name = template.server or next(iter(template.servers))
        server = self._supervisor(target, name).server
        if template.resource_uri is not None or template.resource_template is not None:
            uri = template.resource_uri or _expanded(str(template.resource_template), call.arguments)
            return message_to(server, "resources/read", {"uri": uri}, target.credentials)
        parameters: JsonObject = {"name": template.tool_name or call.tool.name, "arguments": call.arguments}
        parameters = as_task(parameters, template.task_support)
        return message_to(server, "tools/call", parameters, target.credentials)

    def outages(self) -> Sequence[Outage]:
        """Return the servers that do not start."""
        return [session.outage for session in self._sessions.values() if session.outage.seconds]

    def upstreams(self) -> Sequence[Upstream]:
        """Return the servers whose offers were read."""
        return [session.port for session in self._sessions.values() if session.port.offers is not None]

    async def forget(self, manual: str) -> None:
        """End the manual's sessions and the processes behind them."""
        self._gatherings.pop(manual, None)
        for session in [self._sessions.pop(key) for key in [*self._sessions] if key[0] == manual]:
            await session.close()

    async def retire(self, manual: str, targets: Iterable[Target[McpTemplate]]) -> None:
        """End the sessions with servers that no template has, or has no longer in the same form."""
        used = {_key(one, name, server) for one in targets for name, server in one.template.servers.items()}
        for session in [self._sessions.pop(key) for key in [*self._sessions] if key[0] == manual and key not in used]:
            await session.close()

    async def aclose(self) -> None:
        """End every session."""
        for manual in {key[0] for key in self._sessions}:
            await self.forget(manual)

    def servers(self) -> Sequence[ServerState]:
        """Return the state of each server that was asked for, or would have been."""
        disabled = [
            ServerState(manual, name, "disabled")
            for manual, gathering in self._gatherings.items()
            for name in gathering.disabled
        ]
        return [*(session.state for session in self._sessions.values()), *disabled]

    def _gathering(self, manual: str) -> Gathering:
        if manual not in self._gatherings:
            self._gatherings[manual] = Gathering(self.services, manual)
        return self._gatherings[manual]

    def _supervisor(self, target: Target[McpTemplate], name: str) -> McpSupervisor:
        server = target.template.servers.get(name)
        if server is None:
            raise Rejected(f"The call template has no MCP server {name!r}.", status="unknown server")
        check_trust(target.source, server, len(target.template.servers))
        key = _key(target, name, server)
        session = self._sessions.get(key)
        if session is None:
            gathering = self._gathering(target.source.name)
            session = self._sessions[key] = McpSupervisor(
                self.services, target, name, server, gathering.note, gathering.changed
            )
        return session


def _key(target: Target[McpTemplate], name: str, server: McpServer) -> tuple[str, bytes]:
    """Return what distinguishes sessions: the server, and how the entry lets it be reached."""
    source, auth = target.source, target.template.auth
    way = [auth, repr(source.tls), source.proxy, [*source.allow_networks], sorted(source.allowed_origins)]
    return source.name, write_json([name, server.model_dump(mode="json"), way])


class Gathering:
    """Waits for the servers of one manual, and reports those that come later."""

    def __init__(self, services: Services, manual: str) -> None:
        self._services = services
        self._manual = manual
        self._moved = anyio.Event()
        self._late: set[McpSupervisor] = set()
        """Servers without which a discovery ended."""
        self.disabled: tuple[str, ...] = ()
        """Names of servers that are left alone."""
        self._is_told = True
        self._knows_what_changed = False
        """Whether the next discovery may use what other servers listed before."""

    async def gather(self, servers: Sequence[McpSupervisor]) -> None:
        """Read the servers. Return when all of them have a listing or a failure, or a moment after one has a listing.

        Servers that come later have the manual read again: then only what has changed is asked for.
        """
        again, self._knows_what_changed = not self._knows_what_changed, False
        self._late.clear()  # this discovery reports what they say from now on
        for server in servers:
            server.read(again=again)
        try:
            while not all(server.settled.is_set() for server in servers):
                some = any(server.settled.is_set() and server.failure is None for server in servers)
                moved = self._moved
                with anyio.move_on_after(_SETTLE_SECONDS if some else inf) as wait:
                    await moved.wait()
                if wait.cancelled_caught:
                    break
        finally:
            self._late = {server for server in servers if server.is_reading}

    def note(self, server: McpSupervisor) -> None:
        """Note that a server has been read, or that it has failed."""
        self._moved.set()
        self._moved = anyio.Event()
        if server in self._late and self._is_told:
            self._is_told = False
            self._services.spawn(self._tell)

    def changed(self) -> None:
        """Have the manual read again; servers that have not changed are not asked."""
        self._knows_what_changed = True
        self._services.changed(self._manual)

    async def _tell(self) -> None:
        """Report the servers that arrive within a moment as one change."""
        await anyio.sleep(_SETTLE_SECONDS)
        self._is_told = True
        self.changed()


def _failure_of_all(failures: Mapping[str, UtcpError]) -> UtcpError:
    """Return one error for servers that all failed: that of the only one, or all of them in words."""
    first = next(iter(failures.values()))
    if len(failures) == 1:
        return first
    said = " ".join(f"{name!r}: {failure.message}" for name, failure in failures.items())
    return Unreachable(f"None of its {len(failures)} MCP servers can be used. {said}", remedy=first.remedy)


def _expanded(template: str, arguments: JsonObject) -> str:
    from mcp.shared.uri_template import UriTemplate

    return UriTemplate.parse(template).expand({name: str(value) for name, value in arguments.items()})


TRANSPORT = McpTransport
