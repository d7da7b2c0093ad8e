"""One MCP server as an `Upstream`: what it offers besides tools, and raw requests to it, in either protocol era."""

from __future__ import annotations

from functools import partial
from typing import Any, Final, Protocol

import anyio

from utcp_bridge.auth.credentials import Credentials
from utcp_bridge.errors import UtcpError
from utcp_bridge.model import Emit, Fault, Faults, JsonObject, discard
from utcp_bridge.transport import Services
from utcp_bridge.transports.mcp.listing import read_list
from utcp_bridge.transports.mcp.offered import LISTS, ListKind, tidy
from utcp_bridge.upstream import Offers, ProtocolError, Upstream

__all__ = ["McpUpstream"]

_METHOD_NOT_FOUND: Final = -32601
_MAX_WRONG: Final = 10


class Session(Protocol):
    """What the port needs of the session with the server."""

    async def request(
        self, method: str, params: JsonObject, emit: Emit = discard, *, reads_manual: bool = False
    ) -> JsonObject:
        """Send a request and return its result."""
        ...


class McpUpstream(Upstream):
    """One server of one manual."""

    def __init__(
        self, manual: str, name: str, session: Session, services: Services, credentials: Credentials | None
    ) -> None:
        self.manual = manual
        self.name = name
        self._session = session
        self._services = services
        self._credentials = credentials
        self._offers: Offers | None = None
        self._version = ""
        self._capabilities: JsonObject = {}
        self._instructions: str | None = None

    @property
    def offers(self) -> Offers | None:
        """What the server offered when it was read last."""
        return self._offers

    async def request(self, method: str, params: JsonObject) -> JsonObject:
        """Send a request of the protocol and return its result as it came.

        :raises ProtocolError: the server refused it.
        :raises UtcpError: it cannot be reached, or its reply cannot be read.
        """
        send = partial(self._send, method, params)
        return await (send(discard) if self._credentials is None else self._credentials.with_valid_token(send, discard))

    async def _send(self, method: str, params: JsonObject, emit: Emit) -> JsonObject:
        return await self._session.request(method, params, emit)

    def opened(self, version: str, capabilities: JsonObject, instructions: str | None) -> None:
        """Note what the server said of itself when a connection to it was opened."""
        self._version = version
        self._capabilities = capabilities
        self._instructions = instructions

    @property
    def has_tools(self) -> bool:
        """Whether the server has tools. One that names no capability at all is asked for them."""
        return "tools" in self._capabilities or self._capabilities.keys().isdisjoint({"resources", "prompts"})

    async def read(self) -> list[Fault]:
        """Read the lists that the server offers, and return what is wrong with them. No fault costs another entry."""
        found: dict[str, tuple[JsonObject, ...]] = {}
        faults: list[Fault] = []

        async def read_list(field: str, kind: ListKind) -> None:
            where = f"MCP server {self.name!r}"
            try:
                found[field], wrong = tidy(kind, await self._pages(kind, where, faults))
            except ProtocolError as error:
                if error.code != _METHOD_NOT_FOUND:
                    faults.append(_unlisted(where, kind, f"error {error.code}, {str(error)[:200]!r}"))
            except UtcpError as error:
                faults.append(_unlisted(where, kind, error.message))
            else:
                rest = [f"{len(wrong) - _MAX_WRONG} more entries cannot be used"] if len(wrong) > _MAX_WRONG else []
                told = (f"A part of its offers was left out: {what}." for what in (*wrong[:_MAX_WRONG], *rest))
                faults.extend(Fault(where, what, severity="warning") for what in told)

        async with anyio.create_task_group() as group:
            for field, kind in LISTS.items():
                if kind.capability in self._capabilities:
                    group.start_soon(read_list, field, kind)
        self._keep(Offers(self._version, self._capabilities, self._instructions, **found))
        return faults

    def _keep(self, offers: Offers) -> None:
        """Take up new offers and report which lists have changed."""
        before, self._offers = self._offers or Offers(), offers
        if (before.resources, before.resource_templates) != (offers.resources, offers.resource_templates):
            self._services.heard(self, "notifications/resources/list_changed", {})
        if before.prompts != offers.prompts:
            self._services.heard(self, "notifications/prompts/list_changed", {})

    async def _pages(self, kind: ListKind, where: str, faults: list[Fault]) -> list[Any]:
        """Return the entries of all pages of a list, at most `max_tools`."""
        ask = partial(self._session.request, reads_manual=True)
        most, noted = self._services.settings.max_tools, Faults()
        found = await read_list(ask, kind.method, kind.field, limit=most, where=where, faults=noted)
        faults += noted.faults
        return found[:most]


def _unlisted(where: str, kind: ListKind, cause: str) -> Fault:
    return Fault(where, f"`{kind.method}` failed: {cause.rstrip('.')}. Its tools work.", severity="warning")
