"""The bridge's own tools: `search_tools`, `call_tool`, `read_result` and `bridge_status`.

The first two find and call tools of every manual. They serve hosts that take a limited number of tools, or that ignore
`list_changed`: a tool that a search finds can be called at once. A search never changes what is listed. `read_result`
reads what a result did not show. `bridge_status` reports the manuals that are not loaded, so that a model can say why a
tool is missing. This module does not use the MCP SDK.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Container, Iterator, Mapping
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson

from utcp_bridge.access import principals
from utcp_bridge.auth.results import masked_result
from utcp_bridge.catalogue.budget import allowance_for
from utcp_bridge.catalogue.catalogue import Catalogue, Entry
from utcp_bridge.catalogue.exposure import exposure_for
from utcp_bridge.catalogue.fitting import Budget, Rest, Savings, fitted, json_size
from utcp_bridge.catalogue.naming import NAME_PATTERN
from utcp_bridge.catalogue.render import (
    Rendering,
    as_it_is,
    compact,
    fault_result,
    render_error,
    render_result,
    text_result,
)
from utcp_bridge.catalogue.text import clean
from utcp_bridge.errors import ConfigError, InvalidArguments, UtcpError
from utcp_bridge.foreign import visible_json
from utcp_bridge.late.records import dataclass
from utcp_bridge.manuals.repository import unknown_tool
from utcp_bridge.model import (
    REQUESTER,
    ContentBlocks,
    Emit,
    JsonObject,
    Result,
    Tool,
    counted,
    discard,
    is_object,
    large_reader,
)
from utcp_bridge.pipeline.reading import object_in
from utcp_bridge.search.input_schema import SEARCH_TOOLS_INPUT_SCHEMA
from utcp_bridge.search.memory import remembering
from utcp_bridge.search.presentation import as_text
from utcp_bridge.search.query import (
    SearchContext,
    describe_catalogue,
    ranked_queries,
    search_tools,
)
from utcp_bridge.server.kept_results import READ_INPUT, KeptResult, KeptResults, Shelf
from utcp_bridge.server.lessons import Lessons
from utcp_bridge.server.outgoing import MARK_BYTES, is_marked, marked_as_data, masking
from utcp_bridge.server.reply_workers import Rendered, ReplyWorkers
from utcp_bridge.settings import BridgeSettings, MetaToolNames
from utcp_bridge.tasks import HeavyWork, in_slices, is_heavy_turn, pause_if_heavy
from utcp_bridge.upstream import InputRequired, ProtocolError, TaskStarted

if TYPE_CHECKING:
    from utcp_bridge.client.client import UtcpClient

__all__ = [
    "ANYONE",
    "Caller",
    "MetaTools",
    "ResultBudgets",
    "call_entry",
    "catalogue_with_meta_tools",
    "meta_tool_entries",
]

_MAX_PROVIDERS_TEXT: Final = 700
_NAME_KEYS: Final = ("name", "tool_name", "tool")
_ARGUMENT_KEYS: Final = ("arguments", "args", "parameters", "params", "input", "tool_input")
_HOW_TO_CALL: Final = 'Send {"name": "...", "arguments": {...}}: the name of a tool and an object.'
_MAX_MESSAGE_BYTES: Final = 1_000_000
_MAX_KNOWN_CALLERS: Final = 1_000
_NOTE_BYTES: Final = 900
_MAX_DOWN: Final = 30
_MAX_NAMED_PARTS: Final = 5
_MAX_CAUSE: Final = 400
"""Characters of a cause and of a remedy in `bridge_status`."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. `owner` is the key of what is kept for this caller.

    `lasting_owner` is the same in every session of the client; empty if nothing says so. `understands_links` and
    `max_event_bytes` depend on the protocol version and how it is served. `is_shared` says that other programs may have
    the same owner, so that only someone who knows a handle may use it.
    """

    client: str | None = None
    owner: str = ""
    lasting_owner: str = ""
    understands_links: bool = True
    max_event_bytes: int | None = None
    is_shared: bool = False
    principal: principals.Principal = principals.ANYONE


ANYONE: Final = Caller()
Show: TypeAlias = Callable[[Tool, str, bool], str | None]
"""Returns the URI by which hosts read what a link in a result of a tool leads to. See `render.ShowLink`."""


class ResultBudgets:
    """The budget of each caller's results, and what did not fit them."""

    def __init__(self, settings: BridgeSettings, savings: Savings | None = None) -> None:
        """`savings` counts what does not fit."""
        self._settings = settings
        self._savings = savings
        self.kept = KeptResults(settings.max_kept_bytes, settings.result_lifetime)
        self._budgets: dict[Caller, Budget] = {}
        self._last: tuple[Caller, Budget] | None = None
        """The last caller with its budget: to look for a caller compares all that it has."""

    def of(self, caller: Caller) -> Budget:
        """Return the budget of a caller's results."""
        if (last := self._last) is not None and last[0] is caller:
            return last[1]
        known = self._budgets.get(caller)
        if known is None:
            if len(self._budgets) >= _MAX_KNOWN_CALLERS:
                self._budgets.clear()
            known = self._budgets[caller] = self._make(caller)
        self._last = caller, known
        return known

    def renew(self) -> None:
        """Make each budget again: settings may have changed."""
        self.kept.allow(self._settings.max_kept_bytes, self._settings.result_lifetime)
        self._budgets.clear()
        self._last = None

    def _make(self, caller: Caller) -> Budget:
        settings = self._settings
        allowance = allowance_for(settings, caller.client)
        most = max(_MAX_MESSAGE_BYTES, allowance.max_bytes)
        if caller.max_event_bytes is not None:
            most = min(most, caller.max_event_bytes)
        rest = None
        if settings.max_kept_bytes:
            is_listed = exposure_for(settings, caller.client) != "pinned"
            rest = Rest(
                keep=Shelf(self.kept, caller.owner),
                seconds=settings.result_lifetime,
                reader=settings.meta_tools.read if is_listed else None,
                through=settings.meta_tools.call,
                links=caller.understands_links,
            )
        room = 0 if settings.spotlight == "off" else MARK_BYTES
        return Budget(min(allowance.max_bytes, most) - room, allowance.prefers_structure, most, rest, self._savings)


def catalogue_with_meta_tools(client: UtcpClient) -> Catalogue:
    """Return the catalogue of a client, with the meta-tools that the settings name."""
    return Catalogue(client, partial(meta_tool_entries, client.settings))


async def call_entry(  # noqa: PLR0913, PLR0917 - what a call needs of the server
    client: UtcpClient,
    entry: Entry,
    arguments: JsonObject,
    emit: Emit,
    budget: Budget,
    workers: ReplyWorkers,
    show: Show | None = None,
    finish: Callable[[Entry, JsonObject, Any], JsonObject] | None = None,
    caller: Any = None,
) -> JsonObject:
    """Call a tool and render its result, a large one in a worker. An error is a result with `isError`.

    `finish` receives the tool, the result and `caller`, and returns what is returned.

    :raises InvalidArguments: the arguments do not fit. The caller can say more about it.
    :raises InputRequired: the host has to retry the call with answers.
    :raises ProtocolError: the host has to open a page first.
    """
    way: _RenderWay | None = entry.way
    if way is None or not (way.budget is budget and way.show is show and way.settings is client.settings):
        way = entry.way = _RenderWay(client, entry, budget, workers, show)
    reader = large_reader.set(way.reader if workers.opened else None)
    work = HeavyWork()
    work.begin()
    try:
        given = entry.own_arguments(arguments) if way.renames else arguments
        # `call_masked`, without a coroutine of its own
        result = await client.call(entry.tool, given, emit if emit is discard else masking(emit, client.redactor))
        if client.redactor.has_credentials:
            result = await masked_result(result, client.redactor)
        if isinstance(result.value, Rendered):
            rendered = result.value.result
        else:
            if is_heavy_turn():
                await pause_if_heavy()
            rendered = render_result(result, way.rendering)
    except TaskStarted as started:
        started.render = partial(_rendered_task, way, started.read)
        raise
    except (InvalidArguments, InputRequired, ProtocolError):
        raise
    except Exception as error:  # noqa: BLE001 - an error of any kind is a result
        rendered = render_error(error)
    finally:
        work.end()
        large_reader.reset(reader)
    marked = rendered if way.mark is None else way.mark(rendered)
    return marked if finish is None else finish(entry, marked, caller)


class _RenderWay:
    """How the calls of a tool are rendered, with what that depends on: most calls of a tool go one way."""

    __slots__ = ("budget", "mark", "reader", "renames", "rendering", "settings", "show")

    def __init__(
        self, client: UtcpClient, entry: Entry, budget: Budget, workers: ReplyWorkers, show: Show | None
    ) -> None:
        self.budget, self.show, self.settings = budget, show, client.settings
        self.renames = bool(entry.input.renamed)
        self.rendering = _rendering(entry, client.settings, budget, show)
        self.reader = workers.reader(entry, self.rendering, client.redactor)
        is_data = is_marked(client.settings, entry.tool)
        self.mark = partial(marked_as_data, source=entry.name) if is_data else None


def _rendered_task(way: _RenderWay, read: Callable[[JsonObject], ContentBlocks], result: JsonObject) -> JsonObject:
    """Return the result of a task of an MCP server as the result of its tool."""
    rendered = render_result(Result(read(visible_json(result))), way.rendering)
    return rendered if way.mark is None else way.mark(rendered)


class MetaTools:
    """The meta-tools that the settings name, ready to call."""

    def __init__(self, client: UtcpClient, catalogue: Catalogue, budgets: ResultBudgets, workers: ReplyWorkers) -> None:
        """Check the names.

        :raises ConfigError: a name is not usable.
        """
        self._client = client
        self._catalogue = catalogue
        self._budgets = budgets
        self._workers = workers
        names = client.settings.meta_tools
        read = names.read if client.settings.max_kept_bytes else None
        self.show: Show | None = None
        self.fetch: Callable[[str, str], Awaitable[bytes | None]] | None = None
        """Returns what `KeptResult.written` returned in another process, by owner and handle. None: there is none."""
        self.lessons = Lessons(client.settings, client.root, client.redactor)
        self._calls: dict[str, Callable[[JsonObject, Emit, Caller], Awaitable[JsonObject]]] = {}
        functions = (
            (names.search, self._search),
            (names.call, self._call),
            (read, self._read),
            (names.status, self._status),
        )
        for name, function in functions:
            if name is None:
                continue
            if not NAME_PATTERN.fullmatch(name) or name in self._calls:
                raise ConfigError(
                    f"{name[:80]!r} cannot be the name of a meta-tool.",
                    remedy="Give `meta_tools` different names of at most 48 letters, digits, '_' and '-', or null.",
                )
            self._calls[name] = function
        self.names: Container[str] = self._calls
        """Their names: a look that is quicker than `in` of this object."""

    def __contains__(self, name: str) -> bool:
        return name in self._calls

    def is_search(self, name: str) -> bool:
        """Return whether this is the name of a meta-tool that needs no certain tool: the search, or the status."""
        names = self._client.settings.meta_tools
        return name in {names.search, names.status}

    async def call(self, name: str, arguments: JsonObject, emit: Emit, caller: Caller = ANYONE) -> JsonObject:
        """Run a meta-tool for a caller. Every failure is a result with `isError`."""
        return await self._calls[name](arguments, emit, caller)

    def unknown(self, name: str) -> UtcpError:
        """Return the error for a name that no tool has, and note it for the audit log."""
        self._client.refusals.note("unknown_tool", REQUESTER.get(), name)
        if (error := self._catalogue.not_loaded(name)) is not None:
            return error
        search = self._client.settings.meta_tools.search
        remedy = f"Find the right name with {search}." if search else "Call tools/list for the names."
        remedy = f"{remedy} {self._about_failures()}".rstrip()
        return unknown_tool(clean(name, 128), self._catalogue.entries, remedy=remedy)

    async def _search(self, arguments: JsonObject, _emit: Emit, caller: Caller) -> JsonObject:
        catalogue = self._catalogue
        try:
            note = await self._client.prepare_search(ranked_queries(arguments))
            view = catalogue.view(caller.client)
            call = self._client.settings.meta_tools.call
            if call:
                await in_slices(view.steps())
            context = SearchContext(
                searchable=self._client.prepared_search,
                tools=self._client.tools(),
                mcp_name=catalogue.name_of,
                is_listed=view.is_listed,
                call=call,
                definition=catalogue.definition_of,
            )
            memory = await self.lessons.memory_of(caller.owner, caller.lasting_owner)
            with remembering(memory):
                found = search_tools(arguments, context, note=note)
        except InvalidArguments as error:
            return render_error(error)
        for query, part in zip(ranked_queries(arguments), found.get("groups", (found,)), strict=False):
            entries = (catalogue.resolve(one["name"]) for one in part["results"])
            names = [entry.tool.qualified_name for entry in entries if entry is not None]
            meaning = self._client.meaning_of(query)
            self.lessons.searched(caller.owner, caller.lasting_owner, query, names, meaning)
        if _misses_something(found) and (about := self._about_failures()):
            found["note"] = f"{found['note']} {about}" if found.get("note") else about
        is_structured = self._client.settings.structured_content == "always"
        return _found_result(found, self._budgets.of(caller).max_bytes, is_structured=is_structured)

    def _about_failures(self) -> str:
        """Return which manuals are not loaded, for a model that misses a tool; an empty text if all are."""
        down = [*down_parts(self._client)]
        if not down:
            return ""
        named = ", ".join(f"{one['name']} ({one['state']})" for one in down[:_MAX_NAMED_PARTS])
        more = f" and {len(down) - _MAX_NAMED_PARTS} more" if len(down) > _MAX_NAMED_PARTS else ""
        status = self._client.settings.meta_tools.status
        how = f" {status} says why." if status else ""
        return f"These manuals do not offer all their tools now: {named}{more}.{how}"

    async def _status(self, _arguments: Any, _emit: Emit, caller: Caller) -> JsonObject:
        states = [state for state in self._client.report() if state.status == "ready"]
        down = [*down_parts(self._client)]
        tools = sum(state.tools for state in states)
        lines = [f"Ready: {counted(len(states), 'manual')} with {counted(tools, 'tool')}."]
        lines += [f"{one['name']}: {one['state']}. {one['cause']} {one['remedy']}".rstrip() for one in down]
        ready = {"manuals": len(states), "tools": tools}
        shown = {"ready": ready, "down": down[:_MAX_DOWN], "more": max(len(down) - _MAX_DOWN, 0)}
        if len(down) > _MAX_DOWN:
            lines[_MAX_DOWN + 1 :] = [f"{len(down) - _MAX_DOWN:,} more are not loaded."]
        return fitted(text_result("\n".join(lines), shown), self._budgets.of(caller), compact)

    async def _call(self, arguments: JsonObject, emit: Emit, caller: Caller) -> JsonObject:
        keys = [key for key in _NAME_KEYS if isinstance(arguments.get(key), str)]
        given = object_in(arguments.get(_ARGUMENT_KEYS[0]))
        if not keys or not (given is None or is_object(given)):
            return fault_result(_HOW_TO_CALL)
        key = next((key for key in keys if self._knows(arguments[key])), keys[0])  # a tool may have a `name` itself
        name = arguments[key]
        rest = {other: value for other, value in arguments.items() if other != key}
        if name == self._client.settings.meta_tools.read and name in self._calls:
            return await self._read(_inner_arguments(rest, frozenset()), emit, caller)
        if name == self._client.settings.meta_tools.status:
            return await self._status({}, emit, caller)
        if name in self._calls:
            return fault_result(f"Call {clean(name, 64)} directly, not through another tool.")
        entry = self._catalogue.resolve(name)
        if entry is None:
            return render_error(self.unknown(name))
        return await self._call_entry(entry, _inner_arguments(rest, _declared(entry)), emit, caller)

    async def _call_entry(self, entry: Entry, inner: Any, emit: Emit, caller: Caller) -> JsonObject:
        if not is_object(inner):
            return fault_result(_HOW_TO_CALL)
        budget = self._budgets.of(caller)
        try:
            result = await call_entry(self._client, entry, inner, emit, budget, self._workers, self.show)
        except InvalidArguments as error:
            schema = orjson.dumps(entry.input.schema).decode()
            return fitted(fault_result(f"{error}\nIts input schema: {schema}"), budget, compact)
        self.called(entry, result, caller)
        return result

    def called(self, entry: Entry, result: JsonObject, caller: Caller) -> None:
        """Learn from a call: a successful one of a tool that the caller searched for is a lesson."""
        if not result.get("isError"):
            self.lessons.called(caller.owner, caller.lasting_owner, entry.tool.qualified_name)

    def _knows(self, name: str) -> bool:
        return name in self._calls or self._catalogue.resolve(name) is not None

    async def _read(self, arguments: Any, _emit: Emit, caller: Caller) -> JsonObject:
        if not is_object(arguments):
            return fault_result(_HOW_TO_CALL)
        handle = arguments.get("handle")
        given = {key: arguments[key] for key in ("jmespath", "grep") if arguments.get(key) not in (None, "")}
        try:
            kept, offset = await self.kept_result(handle, caller), _offset(arguments.get("offset"))
            room = self._budgets.of(caller).max_bytes - _NOTE_BYTES
            page = await self._workers.page(kept, given, offset, room - json_size(given))
        except InvalidArguments as error:
            return render_error(error)
        following = json.dumps({"handle": handle, **given, "offset": page.next}, ensure_ascii=False)
        notice = page.notice(f"Read on with {following}.")
        result = {**text_result(page.text), "content": [_text(page.text), _text(notice)]}
        return result if self._client.settings.spotlight == "off" else marked_as_data(result, "a result that was cut")

    async def kept_result(self, handle: Any, caller: Caller) -> KeptResult:
        """Return what a caller's handle stands for.

        :raises InvalidArguments: it is unknown, has ended, or belongs to another caller.
        """
        if not isinstance(handle, str):
            raise InvalidArguments(
                "`handle` is missing or not text.", remedy="Send the handle in the notice of the result."
            )
        kept = self._budgets.kept.find(caller.owner, handle.strip())
        if kept is None and self.fetch is not None:
            written = await self.fetch(caller.owner, handle.strip())
            kept = None if written is None else KeptResult.read(caller.owner, written, self._budgets.kept.max_bytes)
        if kept is None:
            raise InvalidArguments(
                "This handle is unknown or has ended.",
                remedy="Call the tool again, and use the handle in its notice, or ask the tool for less.",
            )
        return kept


def down_parts(client: UtcpClient) -> Iterator[JsonObject]:
    """Yield {name, state, cause, remedy} of each manual or MCP server that is not ready. It contains no secrets.

    The texts may come from other programs, so they are clean, and each is short.
    """
    for state in client.report():
        if state.status != "ready":
            error = state.error
            cause, remedy = ("", "") if error is None else (error.message, error.remedy or "")
            yield _down(client, state.name, "loading" if error is None else "failed", cause, remedy)
    loaded = {state.name for state in client.report() if state.status == "ready"}
    for server in client.servers():
        if server.manual in loaded and server.failure and server.status not in {"ready", "disabled"}:
            name = server.manual if server.name == "server" else f"{server.manual}.{server.name}"
            yield _down(client, name, server.status, server.failure, "")


def _down(client: UtcpClient, name: str, state: str, cause: str, remedy: str) -> JsonObject:
    texts = {"cause": cause, "remedy": remedy}
    shown = {key: clean(client.redactor(text), _MAX_CAUSE) for key, text in texts.items()}
    return {"name": clean(name, 128), "state": state, **shown}


def _misses_something(found: JsonObject) -> bool:
    """Return whether a search, or one of its needs, has no result."""
    return not all(part.get("results") for part in found.get("groups", (found,)))


def _found_result(found: JsonObject, max_bytes: int, *, is_structured: bool) -> JsonObject:
    """Return what a search found, with fewer tools if it is too large. A cursor would then skip some, so it goes."""

    def rendered() -> JsonObject:
        return text_result(as_text(found), found if is_structured else None)

    result = rendered()
    while json_size(result) > max_bytes:
        lists = [part for part in (found, *found.get("groups", ())) if part.get("results")]
        longest = max(lists, key=lambda part: json_size(part["results"]), default=None)
        if longest is None:
            break
        longest["results"] = longest["results"][: len(longest["results"]) // 2]
        found.pop("next_cursor", None)
        found["note"] = "Not all tools are shown, because the result would be too large. Ask for less detail or fewer."
        result = rendered()
    return result


def _text(text: str) -> JsonObject:
    return {"type": "text", "text": text}


def _offset(value: Any) -> int:
    if value is None:
        return 0
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 20:
        return int(value)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < inf or value != int(value):
        raise InvalidArguments("`offset` must be a whole number that is not negative.")
    return int(value)


def _rendering(entry: Entry, settings: BridgeSettings, budget: Budget, show: Show | None) -> Rendering:
    output = entry.output
    return Rendering(
        budget=budget,
        structured=output is not None or settings.structured_content == "always",
        conform=entry.conform,
        wrapped=output is not None and output.wrapped,
        uri=f"utcp:{entry.name}",
        refuse_link=entry.refuse_link,
        show_link=as_it_is if show is None else partial(show, entry.tool),
    )


def meta_tool_entries(settings: BridgeSettings, counts: Mapping[str, int]) -> list[JsonObject]:
    """Return the entries of `tools/list`. The descriptions name the providers, for hosts that index only those."""
    names: MetaToolNames = settings.meta_tools
    providers = describe_catalogue(dict(counts), _MAX_PROVIDERS_TEXT)
    entries: list[JsonObject] = []
    if names.search:
        entries.append(_search_entry(names.search, names.call, providers))
    if names.call:
        entries.append(_call_entry(names.call, names.search))
    elif names.read and settings.max_kept_bytes:
        entries.append(_read_entry(names.read))
    if names.status and settings.list_status:
        entries.append(_status_entry(names.status))
    return entries


def _inner_arguments(rest: JsonObject, declared: frozenset[str]) -> Any:
    """Return the arguments for a tool that declares these names, wherever a model put them.

    A name that the tool itself has stands for its own argument, unless all members inside are arguments of the tool.
    Arguments may be the text of a JSON object.
    """
    key = next((key for key in _ARGUMENT_KEYS if key in rest), None)
    if key is None:
        return rest
    inner: Any = {} if rest[key] is None else object_in(rest[key])
    if key == _ARGUMENT_KEYS[0] or key not in declared:
        return inner
    wraps = len(rest) == 1 and is_object(inner) and bool(inner) and inner.keys() <= declared
    return inner if wraps else rest


def _declared(entry: Entry) -> frozenset[str]:
    schemas = (entry.input.schema, entry.tool.inputs)
    return frozenset(name for schema in schemas if is_object(names := schema.get("properties")) for name in names)


def _search_entry(name: str, call: str | None, providers: str) -> JsonObject:
    how = f" Any tool found can be called by its name, directly or with {call}." if call else ""
    return {
        "name": name,
        "title": "Search tools",
        "description": f"Find tools by what they do. {providers}{how}",
        "inputSchema": SEARCH_TOOLS_INPUT_SCHEMA,
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
    }


def _call_entry(name: str, search: str | None) -> JsonObject:
    hint = f"Find its name and input schema with {search} first. " if search else ""
    return {
        "name": name,
        "title": "Call a tool",
        "description": f"Call any tool by name, also a tool that is not listed. {hint}"
        "Arguments are checked against the tool's own input schema. If they do not fit, the result shows that schema.",
        "inputSchema": _CALL_INPUT,
    }


def _read_entry(name: str) -> JsonObject:
    return {
        "name": name,
        "title": "Read on in a result",
        "description": "Read the rest of a result that was cut, by the handle in its notice. Start at an offset, or "
        "select with JMESPath, or search for a text.",
        "inputSchema": READ_INPUT,
        "annotations": {"readOnlyHint": True, "idempotentHint": True, "openWorldHint": False},
    }


def _status_entry(name: str) -> JsonObject:
    return {
        "name": name,
        "title": "Status of the bridge",
        "description": "Report which providers are not loaded, why, and what the user can do about it.",
        "inputSchema": {"type": "object", "properties": {}},
        "annotations": {"readOnlyHint": True, "idempotentHint": True, "openWorldHint": False},
    }


_CALL_INPUT: Final[JsonObject] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "The tool's name, as listed or as found."},
        "arguments": {"type": "object", "properties": {}, "description": "The tool's arguments."},
    },
    "required": ["name"],
}
