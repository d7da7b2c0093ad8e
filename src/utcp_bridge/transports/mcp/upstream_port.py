"""One MCP server as an `Upstream`: what it offers besides tools, and raw requests to it, in either protocol era."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import anyio

from utcp_bridge.errors import UtcpError
from utcp_bridge.model import (
    Emit,
    Fault,
    Faults,
    JsonObject,
    LogMessage,
    Trust,
    discard,
    is_object,
    log_receiver,
)
from utcp_bridge.transport import Services, Target
from utcp_bridge.transports.mcp.hearing import Calmed, Levels, LogRoutes, Updates, listen_to_lists, log_message
from utcp_bridge.transports.mcp.listing import LISTS, ListLimits, read_list, tidy
from utcp_bridge.transports.mcp.servers import McpTemplate, shown_name
from utcp_bridge.upstream import HOST, Offers, ProtocolError, Upstream

if TYPE_CHECKING:
    from utcp_bridge.transports.mcp.handshake import RawSession

__all__ = ["METHOD_NOT_FOUND", "McpUpstream", "in_words"]

_logger = logging.getLogger(__name__)
_MODERN: Final = "2026-07-28"
_LEVEL_KEY: Final = "io.modelcontextprotocol/logLevel"
_KEPT_UP: Final = frozenset({"resources/subscribe", "resources/unsubscribe", "logging/setLevel"})
"""Requests of the handshake era whose effect lasts. They are repeated on each new connection."""
METHOD_NOT_FOUND: Final = -32601
"""The code of JSON-RPC for a method that the other side does not have."""
_MAX_WRONG: Final = 10
_MAX_WAITING_LINES: Final = 100
"""Log lines of one connection that wait for their hosts."""
LIST_SECONDS: Final = 10.0
"""How long a list besides the tools may take. The tools wait for it, and are not lost with it."""


class Requests(Protocol):
    """What the port needs of the session with the server."""

    async def request(
        self, method: str, params: JsonObject, emit: Emit = discard, *, reads_manual: bool = False
    ) -> JsonObject:
        """Send a request and return its result."""
        ...


class McpUpstream(Upstream):
    """One server of one manual."""

    def __init__(
        self,
        target: Target[McpTemplate],
        name: str,
        session: Requests,
        services: Services,
        changed: Callable[[], object],
    ) -> None:
        """`changed` is called when the server may list other tools."""
        self.manual = target.source.name
        self.name = name
        server = target.template.servers.get(name)
        self.is_local = target.source.trust is Trust.OPERATOR and server is not None and server.command is not None
        self.written = target.source.exempt
        self._shown = f"MCP server {shown_name(target.template, name, self.manual)!r}"
        self._session = session
        self._services = services
        self._changed = changed
        self._credentials = target.credentials
        self._reads_all = target.template.register_resources_as_tools
        """Whether resources are tools too, so that a change of the former is one of the latter."""
        self._offers: Offers | None = None
        self._version = ""
        self._capabilities: JsonObject = {}
        self._instructions: str | None = None
        self._logs = LogRoutes()
        self._updates = Updates()
        self._levels = Levels()
        self._client: RawSession | None = None
        self._rereading = Calmed(services.spawn, self._read_again)
        self._changing = Calmed(services.spawn, self._report_change)
        self._waiting_lines = 0

    @property
    def offers(self) -> Offers | None:
        """What the server offered when it was read last."""
        return self._offers

    async def request(self, method: str, params: JsonObject, emit: Emit = discard) -> JsonObject:
        """Send a request of the protocol and return its result as it came. Its progress goes through `emit`.

        :raises ProtocolError: the server refused it.
        :raises UtcpError: it cannot be reached, or its reply cannot be read.
        """
        if method in _KEPT_UP:
            return await self._keep_up(method, params)
        send = partial(self._send, method, params)
        return await (send(emit) if self._credentials is None else self._credentials.with_valid_token(send, emit))

    async def _send(self, method: str, params: JsonObject, emit: Emit) -> JsonObject:
        return await self._session.request(method, params, emit)

    def opened(self, client: RawSession) -> None:
        """Note what the server said of itself when a connection to it was opened."""
        self._client = client
        self._version = client.protocol_version or ""
        self._capabilities = client.capabilities
        self._instructions = client.server_instructions

    @property
    def _is_modern(self) -> bool:
        return self._version >= _MODERN

    @property
    def has_tools(self) -> bool:
        """Whether the server has tools. One that names no capability at all is asked for them."""
        return "tools" in self._capabilities or self._capabilities.keys().isdisjoint({"resources", "prompts"})

    async def read(self, faults: Faults, *, wanted: Collection[str] = ()) -> Mapping[str, tuple[JsonObject, ...]]:
        """Read the lists that the server offers, and take them up. No fault costs another entry or another list.

        :param faults: takes what is wrong with them.
        :param wanted: lists to ask for also if the server does not say that it has them, by their field of `Offers`.
        :return: the usable entries of each list. A list that failed is not in it, and its offers stay as they were.
        """
        offered = [field for field, kind in LISTS.items() if kind.capability in self._capabilities]
        lists: dict[str, tuple[JsonObject, ...]] = {}
        async with anyio.create_task_group() as group:
            for field in dict.fromkeys((*offered, *wanted)):
                is_missed = field in wanted or field != "resource_templates"  # few servers have templates
                group.start_soon(self._read_one, field, lists, faults, is_missed)
        found: dict[str, Any] = {field: getattr(self._offers or Offers(), field) for field in offered}
        found |= {field: entries for field, entries in lists.items() if field in offered}
        offers = Offers(self._version, self._capabilities, self._instructions, **found)
        offers, withheld = await self._services.screen(self, offers)
        faults.extend(withheld)
        self._keep(offers)
        return lists

    async def _read_one(
        self, field: str, lists: dict[str, tuple[JsonObject, ...]], faults: Faults, is_missed: bool
    ) -> None:
        """Put one list into `lists`; what is wrong with it is a fault, and with `is_missed` also that it is unknown."""
        kind, where = LISTS[field], self._shown
        ask, most = partial(self._session.request, reads_manual=True), self._services.settings.max_tools
        limits = ListLimits(most + 1, self._services.settings.max_manual_bytes, LIST_SECONDS)
        try:
            found = await read_list(ask, kind.method, kind.field, limits=limits, where=where, faults=faults)
            lists[field], wrong = tidy(kind, found[:most])
            faults.extend(_left_out(where, wrong))
            if len(found) > most:
                what = f"`{kind.method}` has more than {most:,} entries. The bridge uses the first ones."
                faults.warn(where, what, "Raise `max_tools` if you need the others.")
            return
        except TimeoutError:
            cause = f"it did not answer within {LIST_SECONDS:g} seconds"
        except ProtocolError as error:
            if error.code == METHOD_NOT_FOUND:
                lists[field] = ()
                if is_missed:
                    faults.warn(where, f"it does not know `{kind.method}`. The bridge takes this list as empty.")
                return
            cause = in_words(error)
        except UtcpError as error:
            cause = error.message
        faults.warn(where, f"`{kind.method}` failed: {cause.rstrip('.')}. Its tools work.")

    def offer_nothing(self) -> None:
        """Take no offers up: the manual is about one tool of the server."""
        self._keep(Offers(self._version))

    def _keep(self, offers: Offers) -> None:
        """Take up new offers and report which lists have changed; at first, all of them."""
        before, self._offers = self._offers, offers
        if before is None or (before.resources, before.resource_templates) != (
            offers.resources,
            offers.resource_templates,
        ):
            self._services.heard(self, "notifications/resources/list_changed", {})
        if before is None or before.prompts != offers.prompts:
            self._services.heard(self, "notifications/prompts/list_changed", {})

    # --- what the server says without being asked ---

    def join(self, other: McpUpstream) -> None:
        """Have the same level of logs as another session with the server."""
        self._levels = other._levels

    def calling(self) -> AbstractContextManager[None]:
        """Take log lines of the server during the block for those of the caller."""
        return self._logs.calling()

    def with_level(self, params: JsonObject) -> JsonObject:
        """Return the parameters of a request with the level of logs that the caller takes (2026-07-28)."""
        host = HOST.get()
        level = None if host is None or log_receiver.get() is None else host.log_level
        if level is None or not self._is_modern or "logging" not in self._capabilities:
            return params
        meta = params.get("_meta")
        return {**params, "_meta": {**(meta if is_object(meta) else {}), _LEVEL_KEY: level}}

    async def listen(self, client: RawSession) -> None:
        """Hear of changes on one connection, for as long as it is open, and ask for what was asked for before."""
        if self._is_modern:
            async with anyio.create_task_group() as group:
                group.start_soon(listen_to_lists, client, self._changing.note)
                group.start_soon(self._updates.run, client)
            return
        repeated: list[tuple[str, JsonObject]] = [("resources/subscribe", {"uri": uri}) for uri in self._updates.uris]
        for method, params in repeated:
            with suppress(Exception):  # the server may offer it no longer; the SDK says so in several ways
                await client.request(method, params)
        if "logging" in self._capabilities:
            await self._levels.hold(client)

    async def heard(self, message: Any) -> None:
        """Act on a notification of the server."""
        kind = type(message).__name__
        if kind == "ToolListChangedNotification":
            self._changing.note()
        elif kind in {"ResourceListChangedNotification", "PromptListChangedNotification"}:
            self._reread()
        elif kind == "ResourceUpdatedNotification":
            self._services.heard(self, "notifications/resources/updated", {"uri": str(message.params.uri)})
        elif kind == "LoggingMessageNotification":
            await self._log(log_message(message.params))

    async def _log(self, message: LogMessage) -> None:
        if (receive := self._logs.receiver()) is not None:
            if self._waiting_lines < _MAX_WAITING_LINES:  # hosts that do not read lose lines
                self._waiting_lines += 1
                try:
                    await receive(message)
                finally:
                    self._waiting_lines -= 1
            return
        fields = {"level": message.level, "data": message.data, "logger": message.logger}
        said = {key: value for key, value in fields.items() if value is not None or key == "data"}
        self._services.heard(self, "notifications/message", said)

    def _reread(self) -> None:
        """Read the lists again, once if the server reports several changes at a time."""
        if self._reads_all:
            self._changing.note()
        elif self._offers is not None:
            self._rereading.note()

    async def _read_again(self) -> None:
        faults = Faults()
        await self.read(faults)
        for fault in faults.faults:
            _logger.warning("Manual %r, %s", self.manual, fault)

    async def _report_change(self) -> None:
        self._changed()

    async def _keep_up(self, method: str, params: JsonObject) -> JsonObject:
        """Ask for something that lasts longer than a connection.

        :raises ProtocolError: the server refused it.
        :raises UtcpError: it cannot be reached.
        """
        uri = str(params.get("uri"))
        if method == "logging/setLevel":
            await self._levels.set(str(params.get("level")))
            return {}
        if self._is_modern and method == "resources/subscribe":
            await self._updates.want(uri)
        elif method == "resources/unsubscribe":
            self._updates.drop(uri)
        if self._is_modern:
            return {}
        result = await self._session.request(method, params)
        if method == "resources/subscribe":
            self._updates.uris.add(uri)
        return result


def in_words(error: ProtocolError) -> str:
    """Return the code and the message of a server's error, for one line."""
    return f"error {error.code}, {str(error)[:200].rstrip('. ')!r}"


def _left_out(where: str, wrong: list[str]) -> list[Fault]:
    rest = [f"{len(wrong) - _MAX_WRONG} more entries cannot be used"] if len(wrong) > _MAX_WRONG else []
    said = (f"A part of its offers was left out: {what}." for what in (*wrong[:_MAX_WRONG], *rest))
    return [Fault(where, what, severity="warning") for what in said]
