"""The catalogue: every tool under its MCP name, and what `tools/list` shows of them for each exposure.

The cost depends on the number of tools only after a change. The catalogue assigns names once per generation, makes an
entry when it is first listed or called and keeps it as long as its tool lives, and keeps pages too. Making a page of
many new tools takes long, so `View.steps_at` makes it in steps between which a server can do other work.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Final

from utcp_bridge.catalogue.exposure import ListedPart, listed_part_for
from utcp_bridge.catalogue.fitting import json_bytes
from utcp_bridge.catalogue.links import refused_link
from utcp_bridge.catalogue.naming import ToolKey, assign_names, names_of_manual
from utcp_bridge.catalogue.render import upstream_meta
from utcp_bridge.catalogue.schemas.conforming import Conformer
from utcp_bridge.catalogue.schemas.mcp_headers import HEADER_KEY
from utcp_bridge.catalogue.schemas.parts import RecentSchemas, SharedParts
from utcp_bridge.catalogue.schemas.portable import (
    PortableInput,
    PortableOutput,
    input_in_steps,
    output_in_steps,
    portable_input,
)
from utcp_bridge.catalogue.spliced import ListedTools
from utcp_bridge.catalogue.text import clean, clean_line, shorten
from utcp_bridge.errors import AuthRequired, LoginFailed, StaleCursor, UnknownTool, UtcpError
from utcp_bridge.foreign import visible_json
from utcp_bridge.model import JsonObject, Tool, matches_glob
from utcp_bridge.pipeline.files import input_schema_of
from utcp_bridge.pipeline.schema_forms import outline
from utcp_bridge.settings import ExposureSettings
from utcp_bridge.tasks import at_once

if TYPE_CHECKING:
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.manuals.repository import Change

__all__ = ["BYTES_PER_TOKEN", "Catalogue", "Entry", "MetaToolEntries", "ToolPage", "View"]

MetaToolEntries = Callable[[Mapping[str, int]], list[JsonObject]]
"""Makes the entries of the meta-tools from the number of tools per manual."""

_MAX_DESCRIPTION: Final = 1_024
_MAX_TITLE: Final = 120
_MAX_NAME: Final = 256
_MAX_TAGS: Final = 20
_MAX_TAG: Final = 64
_HINTS: Final = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")
_MAX_PAGE_BYTES: Final = 512 * 1024
"""Clients of the handshake era refuse a server-sent event above 1 MiB (Python, TypeScript, Go). Many read one page."""
_MAX_MODERN_PAGE_BYTES: Final = 1024 * 1024
"""Clients of 2026-07-28 get plain JSON. Each MiB takes about 10 ms to write, and other calls wait. Over stdio, clients
of the TypeScript SDK close at 10 MiB that they have not read yet."""
_ENVELOPE_BYTES: Final = 1_024
"""Kept free in each page for the message around the tools."""
_MAX_MANUAL_NODES: Final = 100_000
"""Sub-schemas of all tools of one manual that are listed in full. To list this number takes some seconds; the largest
of 64 published OpenAPI documents has 31,000. The tools after them are listed by their outline."""
_MAX_OUTLINE_NODES: Final = 300
_DIGEST_BYTES: Final = 16
BYTES_PER_TOKEN: Final = 4
"""Roughly, for JSON. An exact count would need the tokenizer of every model."""


class ToolPage:
    """One page of `tools/list`. `next_cursor` is None on the last page.

    `start` is its place in the list. Two pages have the same `digest` if a client would get the same bytes.
    """

    __slots__ = ("digest", "end", "next_cursor", "start", "tools")

    def __init__(self, tools: list[JsonObject], start: int, end: int, next_cursor: str | None, digest: bytes) -> None:
        self.tools = ListedTools(tools)
        self.start = start
        self.end = end
        self.next_cursor = next_cursor
        self.digest = digest


class _Share:
    """How much work the listed schemas of one manual may still take together, and the last of them."""

    __slots__ = ("_last", "hints", "nodes", "parts", "recent")

    def __init__(self) -> None:
        self.hints: dict[tuple[tuple[str, bool], ...], JsonObject] = {}
        self.nodes = _MAX_MANUAL_NODES
        self.parts = SharedParts()
        self.recent = RecentSchemas()
        self._last: tuple[Mapping[str, Any], JsonObject] | None = None

    def listed_hints(self, hints: Mapping[str, Any]) -> JsonObject:
        """Return the hints that hosts know, as one object for all tools that have the same."""
        if self._last is not None and self._last[0] is hints:
            return self._last[1]
        shown = {key: value for key in _HINTS if isinstance(value := hints.get(key), bool)}
        self._last = hints, self.hints.setdefault(tuple(shown.items()), shown)
        return self._last[1]


class Entry:
    """One tool under its MCP name. Its listed parts are made when they are first needed, and `...` before that.

    There are as many entries as tools, so they have slots: a table of each one's members would double their memory.
    """

    __slots__ = (
        "_composed", "_composed_weight", "_conform", "_has_headers", "_input", "_inputs", "_listed",
        "_max_schema_bytes", "_nodes", "_output", "_share", "_weight", "_with_output", "name", "tool", "way",
    )  # fmt: skip

    def __init__(
        self,
        tool: Tool,
        name: str,
        *,
        max_schema_bytes: int,
        with_output: bool,
        with_output_path: bool = False,
        share: _Share | None = None,
    ) -> None:
        self._share = share or _Share()
        self._nodes = 0
        self.tool = tool
        self._inputs = input_schema_of(tool) if with_output_path else tool.inputs
        self.name = name
        self._max_schema_bytes = max_schema_bytes
        self._with_output = with_output
        self.way: Any = None
        """How its last call was rendered (`call_entry`): most calls of a tool are those of one caller."""
        self._input: PortableInput | EllipsisType = ...
        self._output: PortableOutput | EllipsisType | None = ...
        self._has_headers: bool | EllipsisType = ...
        self._conform: Conformer | EllipsisType | None = ...
        self._listed: JsonObject | EllipsisType = ...
        self._composed: JsonObject | EllipsisType = ...
        self._weight: tuple[int, int] | EllipsisType = ...
        self._composed_weight: tuple[int, int] | EllipsisType = ...

    @property
    def input(self) -> PortableInput:
        """The listed input schema."""
        if self._input is ...:
            self._input = at_once(self._input_in_steps())
        return self._input

    @property
    def has_headers(self) -> bool:
        """Whether the listed input schema may have an `x-mcp-header`. The SDK walks such a schema with each call."""
        if self._has_headers is ...:
            self._has_headers = HEADER_KEY.encode() in json_bytes(self.input.schema)
        return self._has_headers

    @property
    def output(self) -> PortableOutput | None:
        """The listed output schema, if there is one."""
        if self._output is ...:
            self._output = at_once(self._output_in_steps())
        return self._output

    def steps(self) -> Generator[None, None, None]:
        """Make the listed schemas, in steps between which a server can do other work."""
        if self._input is ...:
            self._input = yield from self._input_in_steps()
        if self._output is ...:
            self._output = yield from self._output_in_steps()

    @property
    def parts(self) -> SharedParts:
        """What the schemas of the manual's tools have in common."""
        return self._share.parts

    def given_back(self) -> _Share:
        """Return the manual's share, with what this entry took of it: its tool is gone."""
        self._share.nodes += self._nodes
        self._nodes = 0
        return self._share

    def _take(self, nodes: int) -> None:
        self._nodes += nodes
        self._share.nodes -= nodes

    def _input_in_steps(self) -> Generator[None, None, PortableInput]:
        inputs = self._inputs
        known: PortableInput | None = self._share.recent.find(inputs, is_output=False)
        if known is not None:
            return known
        schema = inputs if self._share.nodes > 0 else outline(inputs, _MAX_OUTLINE_NODES)
        made = yield from input_in_steps(self._share.parts.cleaned(schema), self._max_schema_bytes, self._share.parts)
        self._take(made.nodes)
        if schema is inputs:
            self._share.recent.keep(inputs, made, is_output=False)
        return made

    def _output_in_steps(self) -> Generator[None, None, PortableOutput | None]:
        outputs = self.tool.outputs
        if not self._with_output or not outputs:
            return None
        known: PortableOutput | None = self._share.recent.find(outputs, is_output=True)
        if known is not None or self._share.nodes <= 0:
            return known
        made = yield from output_in_steps(
            self._share.parts.cleaned(outputs, is_output=True), self._max_schema_bytes, self._share.parts
        )
        self._take(made.nodes)
        self._share.recent.keep(outputs, made, is_output=True)
        return made

    @property
    def conform(self) -> Conformer | None:
        """Fits structured results to the listed output schema. None if no output schema is listed."""
        if self._conform is ...:
            self._conform = None if self.output is None else Conformer(self.output.schema)
        return self._conform

    @property
    def listed(self) -> JsonObject:
        """The entry of `tools/list`, for every protocol version."""
        if self._listed is ...:
            self._listed = self._make_listed()
        return self._listed

    def _make_listed(self) -> JsonObject:
        tool, extras = self.tool, self.tool.extras
        description = clean(tool.description)
        if tool.deprecated:
            description = f"Deprecated. {description}"
        meta: JsonObject = upstream_meta(extras.get("_meta")) if extras else {}
        meta["utcp/name"] = name = clean_line(tool.qualified_name, _MAX_NAME)
        if tool.tags:
            meta["utcp/tags"] = [tag for one in tool.tags[:_MAX_TAGS] if (tag := clean_line(one, _MAX_TAG))]
        if self.input.renamed:
            meta["utcp/renamed"] = {name: clean_line(key, _MAX_NAME) for name, key in self.input.renamed.items()}
        entry: JsonObject = {
            "name": self.name,
            "title": clean_line(tool.title, _MAX_TITLE) or shorten(name, _MAX_TITLE),
            "description": clean(description, _MAX_DESCRIPTION),
            "inputSchema": self.input.schema,
        }
        if self.output is not None:
            entry["outputSchema"] = self.output.schema
        if hints := self._share.listed_hints(tool.annotations):
            entry["annotations"] = hints
        if icons := [icon for icon in extras.get("icons", ()) if self.refuse_link(icon["src"]) is None]:
            entry["icons"] = visible_json(icons)
        if "execution" in extras:
            entry["execution"] = extras["execution"]
        entry["_meta"] = meta
        return entry

    @property
    def composed(self) -> JsonObject:
        """The entry for protocol versions whose input schemas may have combinators at the root."""
        if self._composed is ...:
            is_same = self.input.composed is self.input.schema
            self._composed = self.listed if is_same else {**self.listed, "inputSchema": self.input.composed}
        return self._composed

    @property
    def weight(self) -> tuple[int, int]:
        """The bytes of `listed` as JSON: how many, and their hash."""
        if self._weight is ...:
            self._weight = _weighed(self.listed)
        return self._weight

    @property
    def composed_weight(self) -> tuple[int, int]:
        """The bytes of `composed` as JSON: how many, and their hash."""
        if self._composed_weight is ...:
            self._composed_weight = self.weight if self.composed is self.listed else _weighed(self.composed)
        return self._composed_weight

    def refuse_link(self, uri: str) -> str | None:
        """Return why a link in a result of the tool is not passed on; None if it is."""
        return refused_link(uri, is_local=self.tool.is_local, written=self.tool.source.exempt)

    def own_arguments(self, arguments: JsonObject) -> JsonObject:
        """Return the arguments with listed keys replaced by the tool's own keys."""
        renamed = self.input.renamed
        if not renamed:
            return arguments
        return {renamed.get(key, key): value for key, value in arguments.items()}


def _weighed(entry: JsonObject) -> tuple[int, int]:
    data = json_bytes(entry)
    return len(data), hash(data)  # only this process compares it


class View:
    """What one listed part shows of one generation of tools."""

    def __init__(
        self, entries: Sequence[Entry], meta_tools: Sequence[JsonObject], part: ListedPart, settings: ExposureSettings
    ) -> None:
        self._entries = entries
        self._meta_tools = [] if part.exposure == "pinned" else list(meta_tools)
        self.part = part
        self._settings = settings
        self._pages: dict[tuple[int, bool], ToolPage] = {}
        self._parts: dict[int, SharedParts] = {}
        """Those of the manuals whose tools are on the pages made, by identity, until they are forgotten."""

    @cached_property
    def listed(self) -> Sequence[Entry]:
        """The listed tools, without the meta-tools."""
        exposure = self.part.exposure
        if exposure == "all" or (exposure == "auto" and self._is_small()):
            return self._entries
        return [entry for entry in self._entries if self._is_pinned(entry)]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the listed names. Cursors carry it."""
        names = "\n".join(entry.name for entry in self.listed)
        return hashlib.sha256(names.encode()).hexdigest()[:12]

    def is_listed(self, tool: Tool) -> bool:
        """Return whether the view lists a tool."""
        return tool in self._listed_tools

    def page(self, cursor: str | None = None, *, composed: bool = False) -> ToolPage:
        """Return one page. `composed` is for protocol 2026-07-28 and later.

        :raises StaleCursor: the cursor is malformed, or the list has changed since.
        """
        return self.page_at(self.position(cursor), composed=composed)

    def position(self, cursor: str | None) -> int:
        """Return the place in the list at which the page of a cursor starts.

        :raises StaleCursor: the cursor is malformed, or the list has changed since.
        """
        return 0 if cursor is None else self._position(cursor)

    def page_at(self, start: int, *, composed: bool = False) -> ToolPage:
        """Return the page that starts at this place of the list."""
        if (start, composed) not in self._pages:
            at_once(self.steps_at(start, composed=composed))
            at_once(self.forget_parts())
        return self._pages[start, composed]

    def steps(self) -> Generator[None, None, None]:
        """Find out which tools are listed, in steps between which a server can do other work."""
        if "listed" in self.__dict__ or self.part.exposure != "auto":
            return
        yield from self._sizes()

    def steps_at(self, start: int, *, composed: bool = False) -> Generator[None, None, None]:
        """Make the page that starts at this place of the list, in steps of at most one tool. `page_at` then has it.

        What its schemas have in common is kept for the next page, until `forget_parts`.
        """
        if (start, composed) in self._pages:
            return
        yield from self.steps()
        first = self._meta_tools if start == 0 else []
        weights = [_weighed(entry) for entry in first]
        most = (_MAX_MODERN_PAGE_BYTES if composed else _MAX_PAGE_BYTES) - _ENVELOPE_BYTES
        used = sum(size + 1 for size, _ in weights)
        end, limit = start, start + (self._settings.page_size or len(self.listed))
        for entry in self.listed[start:limit]:
            self._parts[id(entry.parts)] = entry.parts
            yield from entry.steps()
            size, one = entry.composed_weight if composed else entry.weight
            if end > start and used + size + 1 > most:
                break
            used += size + 1
            weights.append((size, one))
            end += 1
            yield
        tools = [entry.composed if composed else entry.listed for entry in self.listed[start:end]]
        cursor = self._cursor(end) if end < len(self.listed) else None
        hashes = array("q", [one for _, one in weights]).tobytes() + (cursor or "").encode()
        digest = hashlib.blake2b(hashes, digest_size=_DIGEST_BYTES).digest()
        self._pages[start, composed] = ToolPage([*first, *tools], start, end, cursor, digest)

    @property
    def has_parts(self) -> bool:
        """Whether `forget_parts` would forget anything."""
        return bool(self._parts)

    def forget_parts(self) -> Generator[None, None, None]:
        """Forget what the schemas of the tools have in common, in steps: to free it takes many milliseconds."""
        parts, self._parts = self._parts, {}
        for one in parts.values():
            yield from one.forgotten()

    @cached_property
    def _listed_tools(self) -> frozenset[Tool]:
        return frozenset(entry.tool for entry in self.listed)

    def _is_small(self) -> bool:
        return at_once(self._sizes())

    def _sizes(self) -> Generator[None, None, bool]:
        """Return whether the tools are few and small enough to be listed in full."""
        names, limits = self._settings.meta_tools, self.part.limits
        if names.search is None or names.call is None:
            return True
        if len(self._entries) > limits.tools:
            return False
        left = limits.tokens * BYTES_PER_TOKEN
        for entry in self._entries:
            yield from entry.steps()
            left -= entry.weight[0]
            if left < 0:
                return False
        return True

    def _is_pinned(self, entry: Entry) -> bool:
        names = (entry.tool.qualified_name, entry.name)
        return any(matches_glob(pattern, name) for pattern in self._settings.pinned for name in names)

    def _cursor(self, position: int) -> str:
        return base64.urlsafe_b64encode(f"{position}.{self.fingerprint}".encode()).decode().rstrip("=")

    def _position(self, cursor: str) -> int:
        try:
            text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        except (binascii.Error, ValueError):
            text = ""
        position, _, fingerprint = text.partition(".")
        if not position.isdecimal() or len(position) > 9 or fingerprint != self.fingerprint:
            raise StaleCursor(
                "The cursor belongs to an earlier list of tools.", remedy="Call tools/list again without a cursor."
            )
        return int(position)


def _no_meta_tools(_counts: Mapping[str, int]) -> list[JsonObject]:
    return []


class Catalogue:
    """What `tools/list` shows and `tools/call` resolves."""

    def __init__(self, client: UtcpClient, meta_tools: MetaToolEntries = _no_meta_tools) -> None:
        """`meta_tools` makes the entries that come before the tools, once per generation."""
        self._start(client, meta_tools)
        self._repository = client.repository
        self._repository.subscribe(self._note)

    def _start(self, client: UtcpClient, meta_tools: MetaToolEntries) -> None:
        self._client = client
        self._settings = client.settings
        self._make_meta_tools = meta_tools
        self._meta_tools: list[JsonObject] | None = None
        names = self._settings.meta_tools
        self._reserved = tuple(name for name in (names.search, names.call, names.read, names.status) if name)
        self._generation: int | None = None
        self._entries: dict[str, Entry] = {}
        self._by_alias: dict[str, Entry] = {}
        self._by_qualified: dict[str, Entry] = {}
        self._short_owners: dict[str, ToolKey] = {}
        """The tools that have had short names, by name in lower case: no other tool gets them while the bridge runs."""
        self._is_complete = False
        self._of_tool: dict[Tool, Entry] = {}
        self._of_key: dict[ToolKey, Tool] = {}
        self._views: dict[ListedPart, View] = {}
        self._shares: defaultdict[str, _Share] = defaultdict(_Share)
        self._changed: dict[ToolKey, Tool] = {}
        """Tools whose definitions changed since the entries were made."""
        self._needs_names, self._noted = True, 0
        self.version = 0
        """Grows whenever entries or names are exchanged."""

    @property
    def entries(self) -> Mapping[str, Entry]:
        """Every tool by its MCP name, listed or not, in the client's order."""
        self._refresh()
        return self._entries

    def named(self) -> tuple[Mapping[str, Entry], Mapping[str, Entry], Mapping[str, Entry]]:
        """Return every tool by its MCP name, by aliases, and by the qualified names that short names replace."""
        self._refresh()
        return self._entries, self._by_alias, self._by_qualified

    @property
    def listed(self) -> Sequence[Entry]:
        """The tools that `tools/list` shows to a client without a name, without the meta-tools."""
        return self.view().listed

    @property
    def meta_tools(self) -> Sequence[JsonObject]:
        """The entries of the meta-tools."""
        self._refresh()
        if self._meta_tools is None:
            most = self._settings.max_schema_bytes
            made = self._make_meta_tools(self.counts())
            self._meta_tools = [{**one, "inputSchema": portable_input(one["inputSchema"], most).schema} for one in made]
        return self._meta_tools

    def view(self, client: str | None = None) -> View:
        """Return what `tools/list` shows to the client of this name."""
        return self.view_of(listed_part_for(self._settings, client))

    def view_of(self, part: ListedPart) -> View:
        """Return what `tools/list` shows of a part."""
        self._refresh()
        view = self._views.get(part)
        if view is None:
            entries = list(self._entries.values())
            view = self._views[part] = View(entries, self.meta_tools, part, self._settings)
        return view

    def is_current(self, view: View) -> bool:
        """Return whether the tools have not changed since this view was returned."""
        return self._client.generation == self._generation and view is self._views.get(view.part)

    def page(self, cursor: str | None = None, *, composed: bool = False, client: str | None = None) -> ToolPage:
        """Return one page of `tools/list`. `composed` is for protocol 2026-07-28 and later.

        :raises StaleCursor: the cursor is malformed, or the list has changed since.
        """
        return self.view(client).page(cursor, composed=composed)

    def resolve(self, name: str) -> Entry | None:
        """Return the tool of this MCP name, UTCP name or alias, or None.

        With short names, every tool has its qualified MCP name as well.
        """
        self._refresh()
        entry = self._entries.get(name) or self._by_alias.get(name) or self._by_qualified.get(name)
        if entry is None and (tool := self._client.find(name)) is not None:
            entry = self._of_tool.get(tool)
        return entry

    def find_tool(self, name: str, *, remedy: str) -> Entry:
        """Return the tool of any of its names: those of `resolve`, or its own name if only one manual has it.

        :raises UnknownTool: no tool has this name, or several have. The message suggests names, then says `remedy`.
        """
        entry = self.resolve(name)
        if entry is None and (error := self.not_loaded(name)) is not None:
            raise error
        return entry or self._of_tool[self._client.find_tool(name, remedy=remedy)]

    def not_loaded(self, name: str) -> UtcpError | None:
        """Return the error for a name that belongs to a manual which is not loaded; None if it belongs to none.

        Of a manual or an MCP server that needs a login, it is the error that says how to log in.
        """
        name = self._settings.aliases.get(name, name)
        missing = [one for one in self._client.report() if one.status != "ready" and names_of_manual(name, one.name)]
        if not missing:
            return self._needed_login(name)
        state = max(missing, key=lambda one: len(one.name))
        if isinstance(state.error, AuthRequired | LoginFailed):
            return state.error
        cause = "It is still loading." if state.error is None else self._client.redactor(str(state.error))
        return UnknownTool(f"Manual {state.name!r} is not loaded: {clean(cause, _MAX_DESCRIPTION)}")

    def _needed_login(self, name: str) -> AuthRequired | None:
        """Return the error for a tool of an MCP server that needs a login, in a manual whose other servers work."""
        for server in self._client.servers():
            if server.status == "needs login" and names_of_manual(name, f"{server.manual}.{server.name}"):
                what = f"MCP server {server.name!r} of the manual {server.manual!r} needs a login."
                return AuthRequired(what, remedy=f"Run `utcp-bridge login {server.manual}`.")
        return None

    def name_of(self, tool: Tool) -> str:
        """Return the MCP name of a tool. A tool that is not there any more has its UTCP name."""
        self._refresh()
        entry = self._of_tool.get(tool)
        return tool.qualified_name if entry is None else entry.name

    def definition_of(self, tool: Tool) -> JsonObject:
        """Return the `tools/list` entry of a tool. It is empty for a tool that is not there any more."""
        self._refresh()
        entry = self._of_tool.get(tool)
        return {} if entry is None else entry.listed

    def schema_with_headers(self, name: str) -> JsonObject | None:
        """Return the listed input schema of a tool, if clients repeat some of its arguments in headers."""
        entry = self.resolve(name)
        if entry is None or entry._has_headers is False:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - a property takes longer than the rest
            return None
        return entry.input.schema if entry.has_headers else None

    def counts(self) -> dict[str, int]:
        """Return the number of tools per manual, in the client's order."""
        self._refresh()
        return dict(Counter(entry.tool.manual for entry in self._entries.values()))

    def _refresh(self) -> None:
        generation = self._repository.generation
        if generation == self._generation and (self._is_complete or self._settings.naming != "short"):
            return
        states = self._client.report()
        is_short = self._settings.naming == "short"
        strangers = {state.name for state in states if is_short and "registry" in state.entry.template}
        is_complete = all(state.status == "ready" or state.name in strangers for state in states)
        if generation == self._generation and not is_complete:
            return
        if self._knows_changes(generation) and is_complete == self._is_complete:
            self._swap()
            self._generation, self._noted = generation, 0
            return
        self._is_complete = is_complete
        self.version += 1
        tools = {(tool.manual, tool.name): tool for tool in self._client.tools()}
        self._shares.clear()
        self._name(tools, {state.name for state in states}, strangers)
        self._views, self._meta_tools = {}, None
        self._generation, self._noted, self._needs_names = generation, 0, False
        self._changed.clear()

    def _knows_changes(self, generation: int) -> bool:
        """Return whether only definitions have changed, and all of them are noted."""
        return not self._needs_names and self._generation is not None and generation == self._generation + self._noted

    def _note(self, change: Change) -> None:
        """Note a change: names depend on which tools there are, not on their definitions."""
        self._noted += 1
        if not change.manual:
            self._of_tool, self._needs_names = {}, True
        if self._needs_names:
            return
        added = {tool.name: tool for tool in change.added}
        if len(change.removed) != len(added) or any(tool.name not in added for tool in change.removed):
            self._needs_names = True
            self._changed.clear()
            return
        for name, tool in added.items():
            self._changed[change.manual, name] = tool

    def _swap(self) -> None:
        """Put the tools whose definitions changed into the places of their former versions."""
        self.version += 1
        for key, tool in self._changed.items():
            known = self._of_tool.pop(self._of_key[key])
            entry = self._of_tool[tool] = self._entry(tool, known.name, known)
            self._of_key[key] = tool
            self._entries[known.name] = entry
        for names in (self._by_alias, self._by_qualified):
            for name, entry in names.items():
                if (newer := self._changed.get((entry.tool.manual, entry.tool.name))) is not None:
                    names[name] = self._of_tool[newer]
        self._changed.clear()
        self._views = {}

    def _name(self, tools: Mapping[ToolKey, Tool], manuals: AbstractSet[str], strangers: AbstractSet[str]) -> None:
        """Make the entries of the tools, by all of their names. `strangers` come from registries."""
        settings, reserved = self._settings, self._reserved
        names = assign_names(
            tools,
            style=settings.naming,
            aliases=settings.aliases,
            reserved=reserved,
            manuals=manuals,
            never_short=strangers,
            owners=self._short_owners,
            is_complete=self._is_complete,
        )
        of_tool = {tool: self._entry(tool, names[key]) for key, tool in tools.items()}
        self._of_tool, self._of_key = of_tool, dict(tools)
        self._entries = {entry.name: entry for entry in of_tool.values()}
        self._by_alias = self._more_aliases()
        self._by_qualified = {}
        if settings.naming != "short":
            return
        taken = (*reserved, *settings.aliases)
        for key, name in assign_names(tools, reserved=taken, manuals=manuals).items():
            self._by_qualified[name] = of_tool[tools[key]]
            if names[key] not in {name, *settings.aliases}:
                self._short_owners.setdefault(names[key].casefold(), key)

    def _entry(self, tool: Tool, name: str, former: Entry | None = None) -> Entry:
        """Return the entry of a tool, which takes the place of its former version's."""
        known = self._of_tool.get(tool)
        if known is not None and known.name == name:
            return known
        return Entry(
            tool,
            name,
            max_schema_bytes=self._settings.max_schema_bytes,
            with_output=self._settings.structured_content != "never",
            with_output_path=bool(self._settings.file_roots),
            share=self._shares[tool.manual] if former is None else former.given_back(),
        )

    def _more_aliases(self) -> dict[str, Entry]:
        if not self._settings.aliases:
            return {}
        by_name = {entry.tool.qualified_name: entry for entry in self._entries.values()}
        return {alias: by_name[name] for alias, name in self._settings.aliases.items() if name in by_name}
