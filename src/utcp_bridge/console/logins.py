"""Logins that a visitor begins on the page.

The page opens the address of the login in a tab of the visitor's browser, and the redirect at its end comes to a port
of this machine, as for `utcp-bridge login` (`auth/login/redirect.py`). So the visitor has to be on this machine.

The reply to the act lasts as long as the login: only the browser that began a login learns its address and its
outcome, and the login ends if that browser goes away or has to sign in again. Nothing of it outlives the reply.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import anyio
import orjson
from starlette.responses import StreamingResponse

from utcp_bridge.auth.login.endpoints import checked_url
from utcp_bridge.auth.login.person import DeviceCode, Person
from utcp_bridge.errors import LoginFailed, PolicyError, UtcpError
from utcp_bridge.model import JsonObject

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from utcp_bridge.console.admin import Admin

__all__ = ["LoginReply", "PageLogins", "check_place"]

_LOOK_SECONDS: Final = 1.0
_ALIVE_LOOKS: Final = 15
_GONE: Final = "The login has ended, because the bridge ends or does not know you any more."
Tell = Callable[[JsonObject], Awaitable[None]]


class _PagePerson(Person):
    """The visitor of a page, which opens each address that it receives."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    async def visit(self, url: str) -> None:
        """Let the page open the address."""
        await self._tell({"url": checked_url(url)})

    async def enter(self, device: DeviceCode) -> None:
        """Let the page show the code, and open the address where it is entered."""
        await self._tell({"url": checked_url(device.complete or device.url), "code": device.code})


@dataclass(slots=True)
class _RunningLogin:
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    ended: anyio.Event = field(default_factory=anyio.Event)


class PageLogins:
    """The logins of one console: one at a time for each manual, and a new one ends the one before."""

    def __init__(self, admin: Admin, connect: Callable[[str], Awaitable[str]]) -> None:
        """`connect` loads a manual again after a login, and returns its state."""
        self._admin, self._connect = admin, connect
        self._running: dict[str, _RunningLogin] = {}

    async def log_in(self, manual: str, tell: Tell) -> JsonObject:
        """Let the visitor log in to each service of a manual, and return {state, services} afterwards.

        :raises ConfigError: the manual does not exist, or it needs no login.
        :raises LoginFailed: a login did not succeed, or another one began.
        :raises UtcpError: a server cannot be reached.
        """
        self._admin.insist_on_manual(manual)
        own = _RunningLogin()
        former = self._running.get(manual)
        self._running[manual] = own
        try:
            with own.scope:
                if former is not None:
                    former.scope.cancel()
                    await former.ended.wait()  # it may use the port of the redirect
                return await self._logged_in(manual, tell)
        finally:
            own.ended.set()
            if self._running.get(manual) is own:
                del self._running[manual]
        raise LoginFailed("Another login to this manual has begun, so this one has ended.")

    def problem(self, error: UtcpError) -> JsonObject:
        """Return {error, message, remedy} for the page."""
        return self._admin.problem(error)

    async def _logged_in(self, manual: str, tell: Tell) -> JsonObject:
        made = await self._admin.client.login_desk.log_in(manual, _PagePerson(tell))
        state = await self._connect(manual)
        return {"state": state, "services": [record.resource for record in made]}


def check_place(*, is_here: bool, manual: str) -> None:
    """Refuse a login to a visitor elsewhere: the redirect at its end would not reach the bridge.

    :raises PolicyError: the visitor is on another machine.
    """
    if not is_here:
        raise PolicyError(
            "A login on this page works only on the machine of the bridge.",
            remedy=f"Run `utcp-bridge login {manual}` there." if manual else None,
        )


class LoginReply(StreamingResponse):
    """The reply to a visitor who logs in: lines of JSON, which are {url}, {url, code}, and at the end {state, services}
    or a problem. `holds` says whether the visitor may still be here; `ended` is set at the end of the server.
    """

    def __init__(
        self, logins: PageLogins, manual: str, *, holds: Callable[[], Awaitable[bool]], ended: anyio.Event
    ) -> None:
        super().__init__((), media_type="application/x-ndjson")
        self._logins = logins
        self._manual = manual
        self._holds = holds
        self._ended = ended

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        """Send the lines, until the login or its visitor is gone."""

        async def write(data: bytes, *, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": more})

        async def tell(event: JsonObject) -> None:
            await write(_line(event))

        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        last = self._logins.problem(LoginFailed(_GONE))
        async with anyio.create_task_group() as group:

            async def until(end: Awaitable[Any]) -> None:
                await end
                group.cancel_scope.cancel()

            group.start_soon(until, _disconnected(receive))
            group.start_soon(until, self._watch(write))
            try:
                last = await self._logins.log_in(self._manual, tell)
            except UtcpError as error:
                last = self._logins.problem(error)
            group.cancel_scope.cancel()
        await write(_line(last), more=False)

    async def _watch(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Return when the visitor may not be here any more, or the server ends. Empty lines keep the connection."""
        looks = 0
        while not self._ended.is_set() and await self._holds():
            with anyio.move_on_after(_LOOK_SECONDS):
                await self._ended.wait()
            looks += 1
            if looks % _ALIVE_LOOKS == 0:
                await write(b"\n")


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _line(event: JsonObject) -> bytes:
    return orjson.dumps(event) + b"\n"
