"""How long servers keep a connection without requests: what they announce, and what is seen of them.

A server may close an idle connection at the moment at which a request is on its way. It is then unknown whether the
request was read: neither the end of the connection nor a reset says so. A request that must not be repeated is lost.
What is certain is an end that has arrived before the request is written, so that is looked for (`is_quiet`). For the
rest, connections are left alone that have been idle for about as long as the server waits.
"""

from __future__ import annotations

import math
import re
import select
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

__all__ = ["IDLE_SECONDS", "REPEATABLE", "IdleTime", "IdleTimes", "Origin", "is_quiet"]

REPEATABLE: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""Sent once more if the connection ends before a reply (RFC 9110 9.2.2): the server may have closed it meanwhile."""
IDLE_SECONDS: Final = 4.0
"""After which a connection is closed. Uvicorn, Node and Apache close it after 5 s."""
_UNKNOWN_SECONDS: Final = 0.5
"""For a server of which nothing is known: half of the shortest time that is usual (1 s; defaults are 2 s and more).

Above it, a new connection costs less than a lost call: below 1 ms in a local network, some tens of milliseconds over
TLS, and a few times for an origin, until the server is seen to keep connections.
"""
_SAFE_PART: Final = 0.75
"""Of a time that was seen. The rest is for the way of the request, and for servers that look at their clock rarely."""
_LEAST_MARGIN: Final = 0.5
_MARGIN_PART: Final = 0.2
"""A time that the server announces counts without the larger one of both: servers announce whole seconds, and some
count from the arrival of the request on."""
_LOOKED_AT: Final = 0.05
"""Seconds up to which a connection is used without a look at its socket. The look is a system call.

A server that closes earlier than this closes after each reply.
"""
_PROVEN: Final = 8
"""Connections of an origin that are looked at in any case: some servers close after each reply and do not say so."""
_DOUBTS: Final = 4
"""Connections that were open for longer after which the time of another one counts no more: that was a restart."""
_MAX_ORIGINS: Final = 1_024
_LEAST_PERIOD: Final = 0.25
_TIMEOUT: Final = re.compile(r"(?:^|[,;\s])timeout\s*=\s*\"?([0-9]{1,9})", re.IGNORECASE)

Origin: TypeAlias = tuple[str, int | None, bool]
"""Host, port, and whether it is reached over TLS: the beginning of aiohttp's key of a connection."""


def is_quiet(transport: Any) -> bool:
    """Return whether nothing has arrived at an idle connection: no bytes, no end, no error.

    The event loop may not have read it yet. Costs one system call.
    """
    socket = transport.get_extra_info("socket")
    if socket is None:
        return True
    if (number := socket.fileno()) < 0:
        return False
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(number, select.POLLIN)
        return not poll.poll(0)
    return not any(select.select([number], [], [number], 0))  # Windows, where the number has no limit


class IdleTime:
    """How long one origin keeps idle connections. All times are in seconds.

    `most`: after this, a connection is closed. `safe`: up to this, it takes requests that must not be repeated.
    `at_once`: up to this, it takes any request without a look at its socket.
    """

    __slots__ = ("_announced", "_closed", "_doubts", "_kept", "_most", "_uses", "at_once", "most", "safe")

    def __init__(self, most: float) -> None:
        self._most = most
        self._announced: float | None = None
        self._closed = math.inf
        """The shortest time after which the server closed a connection."""
        self._doubts = 0
        self._kept = 0.0
        """The longest time that a connection was open."""
        self._uses = 0
        self._settle()

    def announce(self, seconds: float) -> None:
        """Note how long the server says that it waits (`Keep-Alive: timeout=5`)."""
        announced = max(seconds - max(_LEAST_MARGIN, seconds * _MARGIN_PART), 0.0)
        if announced != self._announced:
            self._announced = announced
            self._settle()

    def closed(self, seconds: float) -> None:
        """Note that the server closed a connection after this time."""
        self._closed = min(self._closed, seconds)
        self._kept = min(self._kept, self._closed)
        self._doubts = self._uses = 0
        self._settle()

    def take(self, transport: Any, seconds: float, *, is_repeatable: bool) -> bool | None:
        """Return whether a connection that was idle for this time takes a request.

        None: not this one, but one that may be repeated. False: the connection is to be closed.
        """
        if not self.look(transport, seconds) or seconds >= self.most:
            return False
        if not is_repeatable and seconds > self.safe:
            return None
        if self._uses < _PROVEN:
            self._uses += 1
            if self._uses == _PROVEN:
                self._settle()
        return True

    def look(self, transport: Any, seconds: float) -> bool:
        """Return whether a connection is open and quiet after this time, and note it."""
        if transport is None or transport.is_closing() or not is_quiet(transport):
            self.closed(seconds)
            return False
        if seconds > max(self._closed / _SAFE_PART, _LOOKED_AT):
            self._doubts += 1
            if self._doubts >= _DOUBTS:
                self._closed = math.inf
                self._settle()
        if seconds > self._kept and self._closed == math.inf:
            self._kept = seconds
            self._settle()
        return True

    def _settle(self) -> None:
        if self._announced is not None:
            safe = most = min(self._announced, self._most)
        else:
            most = self._most
            safe = most if self._kept >= most else min(max(_UNKNOWN_SECONDS, self._kept * _SAFE_PART), most)
        if self._closed < math.inf:
            safe = min(safe, self._closed * _SAFE_PART if self._closed >= _LOOKED_AT else 0.0)
        self.most, self.safe = most, safe
        self.at_once = min(safe, _LOOKED_AT) if self._uses >= _PROVEN else 0.0


class IdleTimes:
    """The times of the origins of one client."""

    def __init__(self) -> None:
        self._times: dict[Origin, IdleTime] = {}
        self.period = IDLE_SECONDS
        """Seconds after which to look for connections that are to be closed: the shortest time of all origins."""

    def of(self, origin: Origin) -> IdleTime:
        """Return the times of an origin."""
        found = self._times.get(origin)
        if found is None:
            if len(self._times) >= _MAX_ORIGINS:
                del self._times[next(iter(self._times))]
            found = self._times[origin] = IdleTime(IDLE_SECONDS)
        return found

    def announced(self, time: IdleTime, headers: Mapping[str, str]) -> None:
        """Note what the headers of a reply say about idle connections, if they do."""
        value = headers.get("Keep-Alive")
        if value is not None and (found := _TIMEOUT.search(value)) is not None:
            time.announce(float(found[1]))
            self.period = min(self.period, max(time.most, _LEAST_PERIOD))
