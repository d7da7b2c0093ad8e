"""Logging in to the services of a manual, and out again: `utcp-bridge login`, `logout` and `auth status`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from secrets import token_urlsafe
from typing import TypeVar

import anyio

from utcp_bridge.auth.login.flows import revoke
from utcp_bridge.auth.login.logins import Holder, Logins
from utcp_bridge.auth.login.person import DeviceCode, Person
from utcp_bridge.auth.login.port import PossibleLogin, united_scopes
from utcp_bridge.auth.login.records import LoginRecord
from utcp_bridge.auth.login.redirect import MAX_LOGIN_SECONDS
from utcp_bridge.dialects.fields import safe_name
from utcp_bridge.errors import AuthRequired, ConfigError, LoginFailed, UtcpError
from utcp_bridge.manuals.registration import ManualState, Registration
from utcp_bridge.manuals.repository import ToolRepository, unknown_manual
from utcp_bridge.upstream import CALL_CLOCK, HOST, ProtocolError, ask_host

__all__ = ["LoginDesk", "LoginState"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LoginState:
    """One login that is kept. Times are seconds since 1970."""

    key: str
    record: LoginRecord

    @property
    def status(self) -> str:
        """`valid`, `renewable` or `ended`: whether the access token is used, renewed at the next use, or lost."""
        record = self.record
        if record.ended or record.access_token is None:
            return "ended"
        return "renewable" if record.refresh_token is not None else "valid"


class HostPerson(Person):
    """The person at the host whose call needs a login. The host shows each page (elicitation in the mode `url`)."""

    async def visit(self, url: str) -> None:
        """Let the host show the page.

        :raises ProtocolError: the host cannot do that.
        :raises LoginFailed: the person declined.
        """
        await self._show(url, "Log in on this page, so that the call can go on.")

    async def enter(self, device: DeviceCode) -> None:
        """Let the host show the code and its page, as `visit` does."""
        await self._show(device.complete or device.url, f"Enter the code {device.code} on this page.")

    @staticmethod
    async def _show(url: str, message: str) -> None:
        params = {"mode": "url", "message": message, "url": url, "elicitationId": token_urlsafe(16)}
        found = await ask_host(HOST.get(), "elicitation/create", params, seconds=MAX_LOGIN_SECONDS)
        if found.get("action") != "accept":
            raise LoginFailed("The person declined to log in.")


class LoginDesk:
    """Where persons log in to the services of a client's manuals.

    With `asks_host`, the host of a call is asked to show the page of a login: only where it is on this machine and has
    one user, because the browser returns to this machine, and the login is used for all callers.
    """

    def __init__(
        self,
        registration: Registration,
        repository: ToolRepository,
        logins: Logins,
        next_loaded: Callable[[], Awaitable[None]],
        *,
        asks_host: bool,
    ) -> None:
        self._registration = registration
        self._repository = repository
        self._logins = logins
        self._next_loaded = next_loaded
        self._asks_host = asks_host
        self._asking: defaultdict[str, anyio.Lock] = defaultdict(anyio.Lock)

    async def after_login(self, manual: str, work: Callable[[], Awaitable[T]], failure: AuthRequired) -> T:
        """Return what `work` returns after a login. `failure` is its own, which says that it needs one.

        :raises AuthRequired: the host cannot be asked, or the person did not log in.
        :raises UtcpError: the work failed.
        """
        host = HOST.get()
        if not self._asks_host or host is None or "url" not in host.capabilities.get("elicitation", {}):
            raise failure
        async with self._asking[manual]:
            try:
                return await work()  # another call may have been first
            except AuthRequired:
                await self._ask_host(manual, failure)
        return await work()

    async def _ask_host(self, manual: str, failure: AuthRequired) -> None:
        clock = CALL_CLOCK.get()
        try:
            with nullcontext() if clock is None else clock.stopped():
                await self.log_in(manual, HostPerson())
        except (ProtocolError, LoginFailed) as error:
            raise failure from error

    def possible(self, manual: str) -> list[PossibleLogin]:
        """Return the services of a manual at which a person can log in, each once, with all scopes of its tools.

        :raises ConfigError: the configuration does not have this manual.
        """
        found: dict[str, PossibleLogin] = {}
        scopes: dict[str, list[str | None]] = {}
        for login in self._each(self._state(manual)):
            key = str(login.holder.key)
            found.setdefault(key, login)
            scopes.setdefault(key, []).append(login.scope)
        for key, login in found.items():
            login.scope = united_scopes(scopes[key])
        return list(found.values())

    async def log_in(self, manual: str, person: Person) -> list[LoginRecord]:
        """Let a person log in to each service of a manual, and return the logins.

        A manual that could not be loaded without its login is loaded again, and its tools may need further logins.

        :raises ConfigError: the configuration does not have this manual, or the manual needs no login.
        :raises LoginFailed: a login did not succeed.
        :raises UtcpError: a server cannot be reached.
        """
        state = self._state(manual)
        made: dict[str, LoginRecord] = {}
        while True:
            rest = [login for login in self.possible(manual) if str(login.holder.key) not in made]
            if not rest:
                break
            for login in rest:
                key = login.holder.key
                try:
                    record = await login.obtain(person, await self._logins.record(key), login.scope)
                except LoginFailed:
                    await self._logins.doubt_client(key)
                    raise
                await self._logins.save(key, record)
                made[str(key)] = record
            while state.is_loading:  # its first load began without the login
                await self._next_loaded()
            if state.status == "failed":
                await self._registration.load(state, anew=True)
        if not made:
            raise ConfigError(
                f"The manual {manual!r} has nothing to log in to.",
                remedy='Its entry needs "auth": {"auth_type": "oauth2_login", …}, or an MCP server over HTTP without '
                "other credentials: `utcp-bridge help login`.",
            )
        return list(made.values())

    async def log_out(self, manual: str) -> list[LoginRecord]:
        """Forget the logins of a manual. Their tokens are revoked where the authorization server can do that.

        :raises ConfigError: the store cannot be read.
        """
        holders: dict[str, Holder] = {}
        with suppress(UtcpError):  # the configuration may have changed since the login
            holders = {str(login.holder.key): login.holder for login in self.possible(manual)}
        ended: list[LoginRecord] = []
        for key, record in await self._logins.kept():
            if record.manual == manual or key in holders:
                if key in holders:
                    await revoke(record, holders[key].transport())
                await self._logins.forget(key)
                ended.append(record)
        return ended

    async def states(self) -> list[LoginState]:
        """Return every login of the store.

        :raises ConfigError: the store cannot be read.
        """
        return [LoginState(key, record) for key, record in await self._logins.kept()]

    @property
    def place(self) -> str:
        """Where the logins are kept, for messages."""
        return self._logins.store.place

    def _state(self, manual: str) -> ManualState:
        for state in self._registration.states():
            if state.name in {manual, safe_name(manual)}:
                return state
        raise unknown_manual(manual, (state.name for state in self._registration.states()))

    def _each(self, state: ManualState) -> Iterator[PossibleLogin]:
        if state.kind != "registry":
            _, target = self._registration.reach(state.entry)
            yield from self._registration.transport(state.kind).logins(target)
        for tool in self._repository.tools():
            if tool.manual == state.name:
                with suppress(UtcpError):  # a variable of this tool is missing; that is for its calls to report
                    yield from self._registration.transport(tool.kind).logins(self._registration.bind(tool))
