"""The servers of all profiles, as the subscriptions of their hosts see each other. It needs no MCP SDK."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from utcp_bridge.upstream import Upstream

__all__ = ["Subscribers"]


class Subscribers:
    """The servers of all profiles, which have one session with each upstream together."""

    def __init__(self) -> None:
        self.all: weakref.WeakSet[Any] = weakref.WeakSet()
        self._turns: weakref.WeakKeyDictionary[Upstream, anyio.Lock] = weakref.WeakKeyDictionary()

    def turn(self, upstream: Upstream) -> anyio.Lock:
        """Return the lock for changes at one upstream."""
        return self._turns.setdefault(upstream.origin, anyio.Lock())

    def has(self, owner: tuple[Upstream, str]) -> bool:
        """Return whether a server needs a resource of an upstream."""
        known = (held.owner for one in self.all for held in one.held())
        return any(one is not None and one[0].origin is owner[0].origin and one[1] == owner[1] for one in known)
