"""Promotion: the calls of a tool go to the tool that replaces it, while hosts see the old one (docs/sameness.md).

`shadow.promoted` of a manual names these tools. Their calls pass the whole pipeline of the new tool, as calls of hosts
to this tool do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from utcp_bridge.dialects.fields import nearest, safe_name
from utcp_bridge.errors import ConfigError
from utcp_bridge.manuals.registration import ManualState
from utcp_bridge.model import MISREAD, Call, Emit, Fault, JsonObject, Result, ShadowOptions, Tool, discard
from utcp_bridge.pipeline import Next
from utcp_bridge.pipeline.differences import own_tools, paired_tools

__all__ = [
    "ShadowedClient",
    "answering",
    "is_promoted",
    "promoted",
    "promotion_faults",
    "replacement_of",
    "shadow_of",
]


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
