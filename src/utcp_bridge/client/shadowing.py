"""Shadowing: calls of a read-only tool also go to the tool that is to replace it, and the replies are compared.

The host gets the old reply, as soon as it is there and as it is. The second call begins after it, in a task of its own.
At most four of these run at once; further calls are counted as skipped. Calls of a promoted tool go to the new side
alone.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import Context
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import anyio
import anyio.to_thread
import orjson

from utcp_bridge.dialects.fields import nearest, safe_name
from utcp_bridge.errors import ConfigError, UtcpError
from utcp_bridge.manuals.registration import ManualState
from utcp_bridge.model import (
    MISREAD,
    Binary,
    Call,
    ContentBlocks,
    Deferred,
    Emit,
    Fault,
    JsonObject,
    Result,
    Tool,
    discard,
    is_list,
    is_object,
    matches_glob,
)
from utcp_bridge.net.files.writing import exclusive, write_file
from utcp_bridge.pipeline import Next
from utcp_bridge.pipeline.differences import Ignored, has_failed, own_tools, paired_tools, reply_differences
from utcp_bridge.settings import ShadowOptions
from utcp_bridge.upstream import InputRequired, ProtocolError

__all__ = [
    "OUTCOMES",
    "ShadowRecord",
    "ShadowedClient",
    "Shadowing",
    "answering",
    "is_promoted",
    "promoted",
    "promotion_faults",
    "read_record",
    "record_file",
    "replacement_of",
    "shadow_of",
]

_logger = logging.getLogger(__name__)
OUTCOMES: Final = ("equal", "different", "new_failed", "old_failed", "skipped")
"""How a shadowed call may end. `skipped`: the old reply was too large, or too many calls were running."""
_MAX_RUNNING: Final = 4
_MAX_SECONDS: Final = 60.0
_MAX_COMPARED_BYTES: Final = 1024 * 1024
_MAX_TOOLS: Final = 1000
_MAX_KEPT: Final = 5
_MAX_TEXT: Final = 500
_MAX_RECORD_BYTES: Final = 8 * 1024 * 1024
_BETWEEN_WRITES: Final = 1.0


def record_file(lock_file: Path | None) -> Path | None:
    """Return where the differences of a configuration are kept: next to its lock file; None for memory alone."""
    return None if lock_file is None else lock_file.with_name("utcp-shadow.json")


def read_record(path: Path) -> dict[str, JsonObject]:
    """Return what is recorded of each tool, by its UTCP name; nothing if the file is missing or cannot be read.

    Each entry has `new` (the UTCP name of the other tool), a count for each of `OUTCOMES`, and `last`, the last texts.
    """
    try:
        with path.open("rb") as file:
            found = orjson.loads(file.read(_MAX_RECORD_BYTES))
    except (OSError, orjson.JSONDecodeError):
        return {}
    tools = found.get("tools") if is_object(found) else None
    return {name: _entry(one) for name, one in tools.items() if is_object(one)} if is_object(tools) else {}


def _entry(found: JsonObject) -> JsonObject:
    counts = {name: value if isinstance(value := found.get(name), int) else 0 for name in OUTCOMES}
    last = found.get("last")
    texts = [str(one)[:_MAX_TEXT] for one in last if isinstance(one, str)] if is_list(last) else []
    return {"new": str(found.get("new") or ""), **counts, "last": texts[-_MAX_KEPT:]}


class ShadowRecord:
    """Counts how shadowed calls end, and writes that into a file that only its owner can read.

    Several bridges may serve one configuration: each adds what it counted to what the file has.
    """

    def __init__(self, lock_file: Path | None, redact: Callable[[str], str]) -> None:
        self._path = record_file(lock_file)
        self._redact = redact
        self._fresh: dict[str, JsonObject] = {}
        self._reported: set[str] = set()

    @property
    def is_written(self) -> bool:
        """Whether the file has everything that was counted."""
        return not self._fresh or self._path is None

    def add(self, old: str, new: str, outcome: str, texts: Sequence[str] = ()) -> None:
        """Count one call of a tool. The first difference or failure of each tool is logged."""
        if old not in self._fresh and len(self._fresh) >= _MAX_TOOLS:
            return
        entry = self._fresh.setdefault(old, _entry({}))
        entry["new"] = new or entry["new"]
        entry[outcome] += 1
        kept = [self._redact(text)[:_MAX_TEXT].encode(errors="replace").decode() for text in texts]
        entry["last"] = [*entry["last"], *kept][-_MAX_KEPT:]
        if kept and old not in self._reported:
            self._reported.add(old)
            message = "Shadow: %s and %s: %s `utcp-bridge shadow` shows all tools."
            _logger.warning(message, old, new or "its replacement", kept[0])

    def write(self) -> None:
        """Add what was counted to the file. A file that cannot be written is logged."""
        if self._path is None or not self._fresh:
            return
        fresh, self._fresh = self._fresh, {}
        try:
            with exclusive(self._path):
                tools = read_record(self._path)
                for name, counted in fresh.items():
                    tools[name] = _together(tools.get(name), counted)
                kept = dict(list(tools.items())[-_MAX_TOOLS:])
                write_file(self._path, orjson.dumps({"tools": kept}, option=orjson.OPT_INDENT_2), private=True)
        except (ConfigError, OSError) as error:
            _logger.warning("Shadow: the differences cannot be written into %s: %s", self._path, error)


def _together(known: JsonObject | None, counted: JsonObject) -> JsonObject:
    """Return two counts as one; a count of another replacement is dropped."""
    if known is None or (counted["new"] and known["new"] and known["new"] != counted["new"]):
        return counted
    sums = {name: known[name] + counted[name] for name in OUTCOMES}
    return {"new": counted["new"] or known["new"], **sums, "last": [*known["last"], *counted["last"]][-_MAX_KEPT:]}


class Shadowing:
    """The layer of the pipeline. It leaves itself out for tools that write, and for manuals without `shadow`."""

    def __init__(
        self, client: ShadowedClient, spawn: Callable[[Callable[[], Any]], object], record: ShadowRecord
    ) -> None:
        self._client = client
        self._spawn = spawn
        self._record = record
        self._running = 0
        self._is_writing = False

    def __call__(self, tool: Tool, inner: Next) -> Next:
        """Return the step; `inner` itself for a tool that is not shadowed."""
        options = shadow_of(tool)
        if options is None:
            return inner
        if is_promoted(self._client.tools(), tool):
            return promoted(self._client, tool)
        if not _is_shadowed(tool, options):
            return inner

        async def shadowed(call: Call, emit: Emit) -> Result:
            try:
                result = await inner(call, emit)
            except UtcpError:
                self._count(tool, "", "old_failed")
                raise
            if has_failed(result):
                self._count(tool, "", "old_failed")
            elif isinstance(result.value, Deferred) or self._running >= _MAX_RUNNING:
                self._count(tool, "", "skipped")
            else:
                self._running += 1
                work = partial(self._compare, tool, options, call.arguments, result)
                Context().run(self._spawn, work)  # the second call has no host, no log and no deadline of the first
            return result

        return shadowed

    async def answering(self, tool: Tool) -> Tool:
        """Return the tool that answers calls of this one. See `promoting.answering`."""
        return await answering(self._client, tool)

    def faults(self) -> list[Fault]:
        """Return what is wrong with the `shadow` of each manual."""
        return promotion_faults(self._client.report(), self._client.tools())

    async def aclose(self) -> None:
        """Write what was counted. The tasks have ended."""
        if not self._record.is_written:
            await anyio.to_thread.run_sync(self._record.write)

    async def _compare(self, tool: Tool, options: ShadowOptions, arguments: JsonObject, old: Result) -> None:
        """Call the new tool, compare the replies, and count the outcome."""
        name = ""
        try:
            if await anyio.to_thread.run_sync(_size, old) > _MAX_COMPARED_BYTES:
                self._count(tool, name, "skipped")
                return
            with anyio.fail_after(_MAX_SECONDS):
                new = await self._replacement(tool, options)
                name = new.qualified_name
                reply = await self._client.call(new, arguments)
            found = await anyio.to_thread.run_sync(_differences, old, reply, options)
            self._count(tool, name, "different" if found else "equal", found)
        except TimeoutError:
            self._count(tool, name, "new_failed", [f"No reply within {_MAX_SECONDS:g} seconds."])
        except (UtcpError, ProtocolError, InputRequired) as error:
            self._count(tool, name, "new_failed", [f"The call failed: {error or 'it needs input of the host'}"])
        finally:
            self._running -= 1

    async def _replacement(self, tool: Tool, options: ShadowOptions) -> Tool:
        """Return the tool that is to replace this one.

        :raises UtcpError: the new manual does not have it, or it may write.
        """
        other = await replacement_of(self._client, tool, options)
        if other.annotations.get("readOnlyHint") is not True:
            raise UtcpError(
                f"{other.qualified_name} may write, so it was not called.",
                remedy='If it only reads, add "overrides" with "annotations": {"readOnlyHint": true} to its manual.',
            )
        return other

    def _count(self, tool: Tool, new: str, outcome: str, texts: Sequence[str] = ()) -> None:
        self._record.add(tool.qualified_name, new, outcome, texts)
        if not self._is_writing and not self._record.is_written:
            self._is_writing = True
            Context().run(self._spawn, self._write)

    async def _write(self) -> None:
        try:
            while not self._record.is_written:
                await anyio.to_thread.run_sync(self._record.write)
                await anyio.sleep(_BETWEEN_WRITES)
        finally:
            self._is_writing = False


def _is_shadowed(tool: Tool, options: ShadowOptions) -> bool:
    """Return whether calls of a tool may be made twice: it is known to be read-only, or the operator lists it and
    nothing says that it writes.
    """
    server = str((tool.overlay or {}).get("server") or "")
    names = (tool.name, tool.name.removeprefix(f"{server}."))
    is_listed = any(matches_glob(glob, name) for glob in options.tools for name in names)
    hint = tool.annotations.get("readOnlyHint")
    return (is_listed and hint is not False) if options.tools else hint is True


def _size(result: Result) -> int:
    """Return about how many characters a reply has."""
    value = result.value
    if isinstance(value, Binary):
        return len(value.data)
    parts = [value.content, value.structured] if isinstance(value, ContentBlocks) else value
    return len(json.dumps(parts, default=repr))


def _differences(old: Result, new: Result, options: ShadowOptions) -> list[str]:
    found = reply_differences("reply", old, new, Ignored(options.ignore))
    texts = [str(one) for one in found if not one.explained]
    return [*texts[:3], *([f"{len(texts) - 3} more differences in this reply."] if len(texts) > 3 else [])]


class ShadowedClient(Protocol):
    """What shadowing and promotion need of the client. See `UtcpClient`."""

    def tools(self) -> Sequence[Tool]:
        """Return every live tool: the same object until they change."""
        ...

    def report(self) -> Sequence[ManualState]:
        """Return the state of every manual."""
        ...

    async def next_loaded(self) -> None:
        """Wait until a manual that is loading has loaded or failed."""
        ...

    async def call(self, tool: Tool, arguments: JsonObject, emit: Emit = discard) -> Result:
        """Run one call through the pipeline of a tool."""
        ...


def shadow_of(tool: Tool) -> ShadowOptions | None:
    """Return what the manual of a tool says of its replacement; None if it says nothing."""
    options = tool.limits.get("shadow")
    return options if isinstance(options, ShadowOptions) else None


def is_promoted(every: Iterable[Tool], tool: Tool) -> bool:
    """Return whether the new side answers the calls of a tool. `every` are all live tools."""
    options = shadow_of(tool)
    if options is None or not options.promoted:
        return False
    return tool.name in options.promoted or _own_name(own_tools(every, tool.manual), tool) in options.promoted


async def replacement_of(client: ShadowedClient, tool: Tool, options: ShadowOptions) -> Tool:
    """Return the tool that is to replace this one. Wait until its manual has loaded or failed.

    :raises ConfigError: the new manual does not have it, or could not be loaded.
    """
    manual = safe_name(options.new)
    while any(state.name == manual and state.is_loading for state in client.report()):
        await client.next_loaded()
    old, new = own_tools(client.tools(), tool.manual), own_tools(client.tools(), manual)
    own = _own_name(old, tool)
    found = new.get(paired_tools(old, new).get(own, ""))
    if found is None:
        raise ConfigError(
            f"The manual {options.new!r} has no tool {own!r}, or it is not loaded.",
            remedy="`utcp-bridge check` shows the state of each manual.",
        )
    return found


async def answering(client: ShadowedClient, tool: Tool) -> Tool:
    """Return the tool that answers calls of this one: itself, or the one that it was promoted to.

    :raises ConfigError: the new side does not have it, or is promoted itself.
    """
    options = shadow_of(tool)
    if options is None or not is_promoted(client.tools(), tool):
        return tool
    new = await replacement_of(client, tool, options)
    if is_promoted(client.tools(), new):
        raise ConfigError(
            f"{tool.qualified_name} is promoted to {new.qualified_name}, which is promoted itself.",
            remedy=f"Remove `promoted` from the `shadow` of {new.manual}.",
        )
    return new


def promoted(client: ShadowedClient, tool: Tool) -> Next:
    """Return the step that hands the calls of a promoted tool to the new side. It looks for the new tool only after the
    tools have changed.
    """
    known: tuple[Sequence[Tool], Tool] | None = None

    async def handed_on(call: Call, emit: Emit) -> Result:
        nonlocal known
        if known is None or known[0] is not client.tools():
            new = await answering(client, tool)
            known = client.tools(), new
        return await client.call(known[1], call.arguments, emit)

    return handed_on


def _own_name(own: dict[str, Tool], tool: Tool) -> str:
    return next((name for name, one in own.items() if one is tool), tool.name)


# --- what is wrong in a configuration ------------------------------------------------------------


def promotion_faults(states: Sequence[ManualState], every: Sequence[Tool]) -> list[Fault]:
    """Return what is wrong with the `shadow` of each loaded manual: names that nothing has."""
    return [fault for state in states if state.status == "ready" for fault in _faults_of(state, states, every)]


def _faults_of(state: ManualState, states: Sequence[ManualState], every: Sequence[Tool]) -> Iterator[Fault]:
    options = state.entry.options.shadow
    if options is None:
        return
    where = f"manual {state.name!r}, `shadow`"
    new = next((one for one in states if one.name == safe_name(options.new)), None)
    if new is None or new is state:
        what = f"`new` names {options.new!r}, and the configuration has no other manual of this name."
        near = nearest(options.new, {one.name for one in states} - {state.name})
        yield Fault(where, what, near or "Name the manual that is to replace this one.", code=MISREAD)
        return
    if state.awaited:
        return
    old, others = own_tools(every, state.name), own_tools(every, new.name)
    pairs = paired_tools(old, others)
    known = {**{tool.name: name for name, tool in old.items()}, **{name: name for name in old}}
    for name in options.promoted:
        if name not in known:
            what = f"`promoted` names {name!r}, and the manual has no such tool."
            yield Fault(where, what, nearest(name, old), "warning", MISREAD)
        elif known[name] not in pairs and new.status == "ready" and not new.awaited:
            what = f"{name!r} is promoted, and {new.name!r} has no such tool, so its calls fail."
            yield Fault(where, what, f"`utcp-bridge promote {state.name} {name} --undo` takes it back.")
