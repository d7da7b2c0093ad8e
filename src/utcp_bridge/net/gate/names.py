"""Name resolution by the system: in threads of its own, few for each manual, within a time limit.

`getaddrinfo` cannot be cancelled and waits for half a minute for a name server that is silent. In the threads that the
event loop shares with files and TLS, the slow names of one manual would stop all of these.
"""

from __future__ import annotations

import asyncio
import socket
from threading import Thread
from typing import Final

import anyio

__all__ = ["MAX_LOOKUP_SECONDS", "SystemNames"]

MAX_LOOKUP_SECONDS: Final = 10.0
"""For one look-up, with the wait for its turn. A working resolver needs milliseconds."""
_MAX_LOOKUPS: Final = 64
"""At once. Each takes a thread, which does nothing but wait."""
_MAX_OF_ONE_OWNER: Final = 4
"""At once for one manual, so that sixteen manuals with dead name servers are needed before others wait."""


class SystemNames:
    """The system's resolver. A look-up that takes too long keeps its place until the system gives up."""

    def __init__(self, seconds: float = MAX_LOOKUP_SECONDS) -> None:
        self._seconds = seconds
        self._all = anyio.Semaphore(_MAX_LOOKUPS)
        self._owners: dict[str, anyio.Semaphore] = {}

    async def addresses(self, host: str, port: int, owner: str) -> list[str]:
        """Return the texts of all addresses. `owner` is the manual's name.

        :raises TimeoutError: the system did not reply in time.
        :raises OSError: it does not know the name.
        """
        with anyio.fail_after(self._seconds):
            places = [self._owners.setdefault(owner, anyio.Semaphore(_MAX_OF_ONE_OWNER)), self._all]
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
            return await answer


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
