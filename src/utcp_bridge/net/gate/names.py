"""Name resolution: the system's name servers are asked by c-ares, and what they reply is kept for a short time.

c-ares waits for replies without a thread, so names whose servers are silent hold up nothing but their own callers. It
reads the system's configuration (`resolv.conf`, `hosts`) and replies to `localhost` itself. Names that are not in DNS
may still be known to the system (mDNS, NetBIOS, a VPN): for these, and only these, the system is asked, in a thread.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import anyio

from utcp_bridge.late.records import dataclass
from utcp_bridge.tasks import Flights

if TYPE_CHECKING:
    import aiodns

__all__ = ["MAX_LOOKUP_SECONDS", "Dns", "Found", "Names", "SystemNames", "UnknownName"]

MAX_LOOKUP_SECONDS: Final = 5.0
"""For one look-up, with the wait for its turn. A working resolver needs milliseconds."""
_MAX_LOOKUPS: Final = 64
"""Of the system at once. Each takes a thread, which does nothing but wait."""
_MAX_OF_ONE_OWNER: Final = 4
"""Of the system at once for one manual, so that sixteen manuals with slow names are needed before others wait."""
_MAX_OWNERS: Final = 1_024
_MAX_NAMES: Final = 1_024
_MIN_SECONDS: Final = 1.0
"""Addresses are used at least so long. Entries of the file `hosts` and replies against caches say zero."""
_MAX_SECONDS: Final = 30.0
_SYSTEM_SECONDS: Final = 10.0
"""The system does not say how long its replies are valid."""
_FAILED_SECONDS: Final = 2.0
_STALE_SECONDS: Final = 3_600.0
"""Addresses are used so long after their time if the name servers do not reply (RFC 8767)."""
_STALE_PATIENCE: Final = (1.0, 2.5)
"""Seconds to wait for a reply if earlier addresses are known: if they worked, and if they did not."""
_STALE_PAUSE: Final = 5.0
"""Seconds until the name servers are asked again after they did not reply."""
_SERVER_SECONDS: Final = 1.5
"""For the first reply of one name server, before the next one is asked."""
_SHARED_SECONDS: Final = 1.0


class Found(NamedTuple):
    """The texts of a name's addresses, and how many seconds they are valid."""

    texts: list[str]
    seconds: float


class UnknownName(OSError):
    """The name has no address. That is the reply of a resolver, and not the lack of one."""


Ask: TypeAlias = Callable[[str, int, str], Coroutine[Any, Any, Found]]
"""Host, port and the manual's name to addresses. Raises OSError, and UnknownName if the name has none."""


@dataclass(slots=True)
class _KnownName:
    """What is known of one name; times of the cache's clock."""

    texts: list[str]
    asked: float
    fresh_until: float
    stale_until: float
    failure: OSError | None = None
    """Of the last look-up; None if the texts are usable."""
    doubted: bool = False
    """Whether no connection to the addresses could be made."""


class Names:
    """Looks names up, each once for all that wait, and keeps the addresses. Names used least recently are dropped."""

    def __init__(self, ask: Ask | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask or _Everything()
        self._clock = clock
        self._kept: OrderedDict[str, _KnownName] = OrderedDict()
        self._flights: Flights[Found] = Flights()

    async def addresses(self, host: str, port: int, owner: str) -> list[str]:
        """Return the texts of all addresses. `owner` is the manual's name.

        :raises TimeoutError: the resolvers did not reply in time, and no earlier addresses are known.
        :raises OSError: they do not know the name, or failed.
        """
        key = host.rstrip(".").lower()
        kept = self._kept.get(key)
        now = self._clock()
        if kept is not None and now < kept.fresh_until:
            self._kept.move_to_end(key)
            if kept.failure is not None:
                raise kept.failure.with_traceback(None)
            return list(kept.texts)
        stale = kept if kept is not None and kept.texts and now < kept.stale_until else None
        try:
            with anyio.fail_after(MAX_LOOKUP_SECONDS if stale is None else _STALE_PATIENCE[stale.doubted]):
                found = await self._flights.join(key, lambda: self._ask(host, port, owner))
        except OSError as error:
            return self._failed(key, stale, error)
        self._keep(key, _KnownName(found.texts, now, now + _valid(found.seconds), now + _STALE_SECONDS))
        return list(found.texts)

    def doubt(self, host: str) -> list[str]:
        """Look the name up again before its next use, because no connection could be made. Return what was known.

        Addresses that are younger than a second are kept, so failing calls cause few look-ups.
        """
        kept = self._kept.get(host.rstrip(".").lower())
        if kept is None:
            return []
        if kept.failure is None and self._clock() >= kept.asked + _MIN_SECONDS:
            kept.fresh_until = 0.0
            kept.doubted = True
        return list(kept.texts)

    def _failed(self, key: str, stale: _KnownName | None, error: OSError) -> list[str]:
        """Keep a failure for a short time. Return earlier addresses if the servers did not say that there are none."""
        now = self._clock()
        if stale is None or isinstance(error, UnknownName):
            failure = TimeoutError() if isinstance(error, TimeoutError) else error
            self._keep(key, _KnownName([], now, now + _FAILED_SECONDS, 0.0, failure))
            raise error
        stale.fresh_until = now + _STALE_PAUSE
        stale.asked = now
        stale.doubted = False
        return list(stale.texts)

    def _keep(self, key: str, kept: _KnownName) -> None:
        self._kept[key] = kept
        self._kept.move_to_end(key)
        while len(self._kept) > _MAX_NAMES:
            self._kept.popitem(last=False)


def _valid(seconds: float) -> float:
    return min(max(seconds, _MIN_SECONDS), _MAX_SECONDS)


class _Everything:
    """Asks DNS, and the system for names that DNS does not have."""

    def __init__(self) -> None:
        self._dns = Dns()
        self._system = SystemNames()

    async def __call__(self, host: str, port: int, owner: str) -> Found:
        try:
            return await self._dns.addresses(host)
        except UnknownName:
            return Found(await self._system.addresses(host, port, owner), _SYSTEM_SECONDS)


class Dns:
    """The name servers of the system's configuration, asked by c-ares.

    Its resolver is shared by the look-ups of one second, and closed after the last of them. c-ares would keep replies
    for up to an hour. To make one for each look-up would be faster than c-ares closes them.
    """

    def __init__(self) -> None:
        self._shared: _SharedResolver | None = None

    async def addresses(self, host: str) -> Found:
        """Return the addresses of a name, as DNS, the file `hosts` or the rule for `localhost` have them.

        :raises UnknownName: they have none, or name servers are not configured or not running.
        :raises TimeoutError: the name servers did not reply.
        :raises OSError: they failed.
        :raises UnicodeError: the name cannot be encoded.
        """
        from aiodns import error as aiodns_error

        codes: Any = aiodns_error  # its constants have no types

        name = host if host.isascii() else host.encode("idna").decode()
        try:
            shared = self._join()
        except Exception as error:  # c-ares has no base class for it: no descriptors, or no support for the loop
            raise UnknownName("c-ares cannot be used") from error
        try:
            result = await shared.resolver.getaddrinfo(name, family=socket.AF_UNSPEC, type=socket.SOCK_STREAM)
        except aiodns_error.DNSError as error:
            absent = {codes.ARES_ENOTFOUND, codes.ARES_ENODATA, codes.ARES_ECONNREFUSED, codes.ARES_EBADNAME}
            if error.args[0] == codes.ARES_ETIMEOUT:
                raise TimeoutError from None
            raise (UnknownName if error.args[0] in absent else OSError)(str(error.args[-1])) from None
        finally:
            shared.waiting -= 1
            if shared.waiting == 0:
                shared.resolver.cancel()  # look-ups whose callers have left
        nodes: list[Any] = result.nodes
        if not nodes:
            raise UnknownName("no address")
        texts = [_text(node.addr[0]) for node in nodes]
        return Found(list(dict.fromkeys(texts)), float(min(node.ttl for node in nodes)))

    def _join(self) -> _SharedResolver:
        loop = asyncio.get_running_loop()
        shared = self._shared
        if shared is None or shared.loop is not loop or loop.time() >= shared.began + _SHARED_SECONDS:
            import aiodns

            resolver = aiodns.DNSResolver(loop=loop, timeout=_SERVER_SECONDS, tries=2)
            shared = self._shared = _SharedResolver(resolver, loop, loop.time())
            loop.call_later(_SHARED_SECONDS, self._leave, shared)
        shared.waiting += 1
        return shared

    def _leave(self, shared: _SharedResolver) -> None:
        """Close the resolver. It closes with its last reference, which may be that of a look-up under way."""
        if self._shared is shared:
            self._shared = None


@dataclass(slots=True, eq=False)
class _SharedResolver:
    resolver: aiodns.DNSResolver
    loop: asyncio.AbstractEventLoop
    began: float
    waiting: int = 0


def _text(address: bytes | str) -> str:
    return address if isinstance(address, str) else address.decode()


class SystemNames:
    """The system's resolver (`getaddrinfo`), in threads of its own, few for each manual.

    `getaddrinfo` cannot be cancelled and may wait for half a minute. In the threads that the event loop shares with
    files and TLS, the slow names of one manual would stop all of these. A look-up that takes too long keeps its place
    until the system gives up.
    """

    def __init__(self) -> None:
        self._all = anyio.Semaphore(_MAX_LOOKUPS)
        self._owners: OrderedDict[str, anyio.Semaphore] = OrderedDict()

    async def addresses(self, host: str, port: int, owner: str) -> list[str]:
        """Return the texts of all addresses. `owner` is the manual's name.

        :raises UnknownName: the system does not know the name.
        :raises OSError: it failed.
        """
        places = [self._places_of(owner), self._all]
        taken: list[anyio.Semaphore] = []
        try:
            for place in places:
                await place.acquire()
                taken.append(place)
            answer = _start(host, port, taken)
        except BaseException:
            for place in taken:
                place.release()
            raise
        try:
            return list(dict.fromkeys(await answer))
        except socket.gaierror as error:
            if error.errno in _UNKNOWN:
                raise UnknownName(*error.args) from None
            raise

    def _places_of(self, owner: str) -> anyio.Semaphore:
        if owner not in self._owners and len(self._owners) >= _MAX_OWNERS:
            self._owners.popitem(last=False)
        places = self._owners.setdefault(owner, anyio.Semaphore(_MAX_OF_ONE_OWNER))
        self._owners.move_to_end(owner)
        return places


_UNKNOWN: Final = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


def _start(host: str, port: int, places: list[anyio.Semaphore]) -> asyncio.Future[list[str]]:
    """Start the look-up in a thread that does not hold up the end of the process. At its end it frees the places."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[str]] = loop.create_future()

    def finish(found: list[str], error: Exception | None) -> None:
        for place in places:
            place.release()
        if answer.done():
            return
        if error is None:
            answer.set_result(found)
        else:
            answer.set_exception(error)

    def look_up() -> None:
        found: list[str] = []
        failure: Exception | None = None
        try:
            found = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        except Exception as error:  # noqa: BLE001 - also of a name that is too long, and of hooks; the caller waits
            failure = error
        try:
            loop.call_soon_threadsafe(finish, found, failure)
        except RuntimeError:
            return  # the loop was closed meanwhile, and nobody waits

    Thread(target=look_up, name="lookup", daemon=True).start()
    return answer
