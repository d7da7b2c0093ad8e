"""What serves the tools of a client, whatever reads the requests: it needs no MCP SDK.

`BridgeServer` has handlers of the SDK around it. The early front over stdio uses it without them, and gives it to a
`BridgeServer` with its kept results, budgets and lists when a message needs the SDK.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import field
from math import ulp
from typing import TYPE_CHECKING, Any, Final, Literal

import anyio

from utcp_bridge.access.gatekeeper import is_protected
from utcp_bridge.auth.results import masked_partial
from utcp_bridge.catalogue.catalogue import Entry, ToolPage, View
from utcp_bridge.catalogue.render import TextResult, compact
from utcp_bridge.catalogue.spliced import ListedTools
from utcp_bridge.catalogue.text import shorten
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import Emit, JsonObject, Tool, counted, is_object
from utcp_bridge.search.query import describe_catalogue
from utcp_bridge.server.changes import Changes, PagesAhead
from utcp_bridge.server.meta_tools import Caller, MetaTools, ResultBudgets, call_entry
from utcp_bridge.server.profiles.parts import ServedPart, whole_part
from utcp_bridge.server.readiness import Readiness
from utcp_bridge.server.wire.protocol import SERVER_INFO_META_KEY
from utcp_bridge.tasks import collector

if TYPE_CHECKING:
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.server.replicas.across import ResultsAcross

__all__ = ["NAME", "TITLE", "Parts", "ToolCall", "progress_emitter"]

NAME: Final = "utcp-bridge"
TITLE: Final = "UTCP bridge"

_MAX_PROVIDERS_TEXT: Final = 1_600
_MAX_PROGRESS_TEXT: Final = 8_000
_MAX_PROGRESS: Final = 1e300
_MINUTE_MS: Final = 60_000
_PROGRESS_KEYS: Final = frozenset({"message", "progress", "total"})
_SMALLEST_STEP: Final = 1e-6
"""What a message adds to a progress that stays where it is. The protocol says that progress must increase."""


@dataclass(slots=True)
class ToolCall:
    """What handlers read of the parameters of `tools/call`."""

    name: str
    arguments: JsonObject | None = field(repr=False)


class Parts:
    """The catalogue, the meta-tools and what else a server of tools consists of."""

    def __init__(self, client: UtcpClient, part: ServedPart | None = None) -> None:
        """`part` is what of the client is served; None: what its settings say.

        :raises ConfigError: the profiles, the budgets or the names of the meta-tools are not valid.
        """
        self.part = part = part or whole_part(client)
        self.client = client = part.client
        self.catalogue = part.catalogue
        self.budgets = ResultBudgets(client.settings, part.whole.recent)
        self.workers = part.workers
        self.meta_tools = MetaTools(client, self.catalogue, self.budgets, self.workers)
        self.meta_tools.show = _shown_link
        self.readiness = Readiness(client)
        self.changes = Changes(self.catalogue, self.readiness)
        self.tool_of_page: Callable[[str], Tool | None] = _no_tool
        """Returns the tool that a page of an MCP server means."""
        self.with_page: Callable[[Tool, JsonObject], JsonObject] = _as_it_is
        """Returns the result of a tool with the URI of its page as hosts read it."""
        self._is_open = False
        self._ahead = PagesAhead()
        self.copies: ResultsAcross | None = None
        """The copies of kept results in the store that several bridges share."""
        if (shared := client.shared) is not None:
            from utcp_bridge.server.replicas.across import ResultsAcross  # few configurations have a store
            from utcp_bridge.server.replicas.overview import words_of_this

            if part.owns_workers:  # the others have a part of it
                shared.summary = lambda: words_of_this(self.readiness.summary())
            self.copies = ResultsAcross(shared, part.profile_name or "", client.settings.result_lifetime)
            self.budgets.kept.copy, self.meta_tools.fetch = self.copies.put, self.copies.fetch

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Announce changes of the tools, and have workers for large replies, during the outermost block."""
        if self._is_open:
            yield
            return
        self._is_open = True
        unsubscribe = self.client.on_change(self._note_change)
        try:
            workers = self.workers.open() if self.part.owns_workers else nullcontext()
            async with workers, self.meta_tools.lessons.open(), anyio.create_task_group() as group:
                group.start_soon(self.changes.announce)
                self._ahead.start = group.start_soon
                yield
                self.changes.close()
                group.cancel_scope.cancel()
        finally:
            self._is_open = False
            self._ahead.close()
            unsubscribe()

    def _note_change(self) -> None:
        self.budgets.renew()
        self.changes.mark()

    @property
    def ttl_ms(self) -> int:
        """How long a client may keep a list of tools, in milliseconds."""
        seconds = self.client.settings.refresh_interval
        return int(seconds * 1000) if seconds else _MINUTE_MS

    @property
    def cache_scope(self) -> Literal["public", "private"]:
        """Who may share a list of tools."""
        settings = self.client.settings
        return "private" if is_protected(settings) or settings.profiles else "public"

    def own_instructions(self) -> str:
        """Return what models read about this server: its providers, and how to find a tool.

        It has less than 2,000 characters.
        """
        counts = self.catalogue.counts()
        names = self.client.settings.meta_tools
        if names.search is None:
            return (
                f"This server gives access to {counted(sum(counts.values()), 'tool')} of "
                f"{counted(len(counts), 'provider')}."
            )
        providers = describe_catalogue(counts, _MAX_PROVIDERS_TEXT)
        text = f"This server gives access to the tools of UTCP providers. {providers}"
        text += f" Not every tool may be listed: find tools by what they do with {names.search}."
        return f"{text} Any tool can be called by name with {names.call}." if names.call else text

    async def page(self, client: str | None, cursor: str | None, *, modern: bool) -> tuple[View, ToolPage]:
        """Return the view of a client, by its name, and the page of its list at a cursor.

        :raises StaleCursor: the cursor belongs to another list.
        """
        await self.readiness.settle()
        with collector.at_rest():
            view = self.catalogue.view(client)
            return view, await self._ahead.page(view, view.position(cursor), composed=modern)

    async def masked_tools(self, tools: list[JsonObject]) -> list[JsonObject]:
        """Return the tools of a page without the operator's credentials: an upstream may repeat them."""
        written = tools.data if isinstance(tools, ListedTools) else None
        masked: list[JsonObject] = await masked_partial(tools, self.client.redactor, written)
        return masked

    def stamped(self, result: JsonObject, stamp: JsonObject) -> JsonObject:
        """Return a page as the result of 2026-07-28. `stamp` names the server."""
        result |= {"resultType": "complete", "ttlMs": self.ttl_ms, "cacheScope": self.cache_scope}
        result["_meta"] = {SERVER_INFO_META_KEY: stamp}
        return result

    def called(self, name: str, arguments: JsonObject, emit: Emit, caller: Caller) -> Awaitable[JsonObject]:
        """Return the result of a tool or a meta-tool.

        :raises UnknownTool: the name is not that of a tool.
        :raises UtcpError: see `call_entry`.
        """
        entry = None if name in self.meta_tools.names else self.catalogue.resolve(name)
        made = (
            self._called(name, arguments, emit, caller) if entry is None else self._run(entry, arguments, emit, caller)
        )
        return made if self.copies is None else self._copied(self.copies, made)

    @staticmethod
    async def _copied(copies: ResultsAcross, made: Awaitable[JsonObject]) -> JsonObject:
        """Return a result when the copies of what it keeps are written."""
        before = set(copies.waiting)
        result = await made
        await copies.written(before)
        return result

    async def _called(self, name: str, arguments: JsonObject, emit: Emit, caller: Caller) -> JsonObject:
        if name in self.meta_tools.names:
            await (self.readiness.settle if self.meta_tools.is_search(name) else self.readiness.wait)()
            return await self.meta_tools.call(name, arguments, emit, caller)
        return await self._run(await self._entry_of(name), arguments, emit, caller)

    def _run(self, entry: Entry, arguments: JsonObject, emit: Emit, caller: Caller) -> Awaitable[JsonObject]:
        """Return the result of a tool. It is not waited for here: another coroutine takes a part of a call's time."""
        budget, show = self.budgets.of(caller), self.meta_tools.show
        return call_entry(self.client, entry, arguments, emit, budget, self.workers, show, self._finished, caller)

    def _finished(self, entry: Entry, result: JsonObject, caller: Any) -> JsonObject:
        self.meta_tools.called(entry, result, caller)
        return result if type(result) is TextResult else self.with_page(entry.tool, result)

    async def _entry_of(self, name: str) -> Entry:
        """Return the entry of a name that the catalogue has after a moment, or that a page means.

        :raises UnknownTool: it is not a tool.
        """
        await self.readiness.wait()
        entry = self.catalogue.resolve(name)
        if entry is None and (meant := self.tool_of_page(name)) is not None:
            entry = self.catalogue.resolve(meant.qualified_name)
        if entry is None:
            raise self.meta_tools.unknown(name)
        return entry


def _shown_link(_tool: Tool, uri: str, is_refused: bool) -> str | None:
    return None if is_refused else uri


def _no_tool(_name: str) -> Tool | None:
    return None


def _as_it_is(_tool: Tool, result: JsonObject) -> JsonObject:
    return result


def progress_emitter(report: Callable[[float, float | None, str | None], Awaitable[None]]) -> Emit:
    """Return a function that sends partial results as progress notifications with `report`.

    A partial result that reports progress itself (`{"progress": 3, "total": 10, "message": "…"}`) keeps its numbers.
    One that repeats the progress before it, or goes back, is sent only if it has a message.
    """
    last: float | None = None
    said: tuple[float | None, str | None] = (None, None)

    async def emit(partial: Any) -> None:
        nonlocal last, said
        progress, total, message = _progress(partial)
        if progress is None:
            last = 1.0 if last is None else last + 1
        elif last is None or progress > last:
            last = progress
        elif message is None or (total, message) == said:
            return
        else:
            last = round(last + max(_SMALLEST_STEP, ulp(last)), 6)
        said = (total, message)
        await report(last, total, None if message is None else shorten(message, _MAX_PROGRESS_TEXT))

    return emit


def _progress(partial: Any) -> tuple[float | None, float | None, str | None]:
    """Return the progress, the total and the message of a partial result. The message of any other one is its JSON."""
    if not is_object(partial):
        return None, None, compact(partial)
    progress, total, message = (partial.get(key) for key in ("progress", "total", "message"))
    if not _is_number(progress):
        return None, None, compact(partial)
    if not isinstance(message, str):
        message = compact(partial) if partial.keys() - _PROGRESS_KEYS else None
    return progress, total if _is_number(total) else None, message


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MAX_PROGRESS
