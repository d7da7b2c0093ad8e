"""What a changed or removed entry leaves behind: connections, sessions and processes that nothing uses any more.

An entry may change again while this is closed, so what is in use is looked at anew before each step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import field, replace
from functools import partial
from typing import Any, TypeAlias

from utcp_bridge.dialects import ManualEntry
from utcp_bridge.errors import UtcpError
from utcp_bridge.late.records import dataclass
from utcp_bridge.manuals.repository import ToolRepository
from utcp_bridge.model import Source, Tool
from utcp_bridge.net.http import HttpPool
from utcp_bridge.transport import Endpoint, Target
from utcp_bridge.transports.registry import AnyTransport
from utcp_bridge.urls import endpoint_of_url

__all__ = ["Leftovers"]

Entries: TypeAlias = "Callable[[str], Iterable[ManualEntry]]"
Opened: TypeAlias = "Callable[[ManualEntry, AnyTransport], tuple[Source, Target[Any]]]"


@dataclass(slots=True)
class _InUse:
    """What the entries of a manual and its tools use. Targets are bound when they are asked for."""

    targets: dict[AnyTransport, list[Callable[[], Target[Any]]]] = field(
        default_factory=dict[AnyTransport, "list[Callable[[], Target[Any]]]"]
    )
    sources: set[Source] = field(default_factory=set[Source])


class Leftovers:
    """Closes what entries leave behind."""

    def __init__(
        self,
        transports: Mapping[Any, AnyTransport],
        find: Callable[[str], AnyTransport],
        opened: Opened,
        bind: Callable[[Tool], Target[Any]],
        repository: ToolRepository,
        http: HttpPool,
    ) -> None:
        """`transports` are those that exist, `find` returns the one of a kind, and `opened` the target of an entry."""
        self._transports = transports
        self._find, self._opened, self._bind = find, opened, bind
        self._repository, self._http = repository, http

    async def renew(self, manual: str) -> None:
        """Let later calls of a manual open connections of their own. Those of now end with the calls that use them."""
        for transport in (*self._transports.values(),):
            await transport.renew(manual)

    async def release(self, manual: str, entries: Entries) -> None:
        """Close what the entries of a manual do not use; everything if it has none. Its former calls have ended.

        `entries` returns the present entry, and the one that is being loaded. Calls that began since the change keep
        what they use.
        """
        for transport in (*self._transports.values(),):
            await transport.renew(manual)
            targets = self._in_use(manual, entries).targets.get(transport)
            if targets is None:
                await transport.forget(manual)
                continue
            with suppress(UtcpError):
                await transport.retire(manual, (bound() for bound in targets))
        await self._http.close_session(manual, keep=self._in_use(manual, entries).sources)

    def _in_use(self, manual: str, entries: Entries) -> _InUse:
        found = _InUse()
        for entry in entries(manual):
            with suppress(UtcpError):  # nobody knows what it will use, before someone corrects the entry
                transport = self._find(entry.kind)
                source, target = self._opened(entry, transport)
                found.sources |= {source, *_with_peers(transport, target)}
                found.targets.setdefault(transport, []).append(partial(_same, target))
        for tool in self._repository.tools():
            if tool.manual == manual:
                found.sources.add(tool.source)
                found.targets.setdefault(self._find(tool.kind), []).append(partial(self._bind, tool))
        return found


def _with_peers(transport: AnyTransport, target: Target[Any]) -> Iterable[Source]:
    """Yield the sources of HTTP sessions for peers that an entry names besides its endpoint, such as MCP servers."""
    for need in transport.needs(target):
        if isinstance(need, Endpoint) and need.url.startswith("http"):
            yield replace(target.source, exempt=target.source.exempt | {endpoint_of_url(need.url)})


def _same(target: Target[Any]) -> Target[Any]:
    return target
