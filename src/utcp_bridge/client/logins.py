"""Logging in to the services of a manual, and out again: `utcp-bridge login`, `logout` and `auth status`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from utcp_bridge.auth.login.flows import revoke
from utcp_bridge.auth.login.logins import Holder, Logins
from utcp_bridge.auth.login.person import Person
from utcp_bridge.auth.login.port import PossibleLogin, united_scopes
from utcp_bridge.auth.login.records import LoginRecord
from utcp_bridge.errors import ConfigError, LoginFailed, UtcpError
from utcp_bridge.manuals.registration import ManualState, Registration
from utcp_bridge.manuals.repository import ToolRepository
from utcp_bridge.stores.opening import open_user_store

__all__ = ["LoginDesk", "LoginState", "open_logins"]


def open_logins(store: str, root: Path, on_secret: Callable[[str, str], None]) -> Logins:
    """Return the logins in the store of the setting `token_store`, which is opened at the first use."""
    return Logins(partial(open_user_store, store, root=root), on_secret=on_secret)


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


class LoginDesk:
    """Where persons log in to the services of a client's manuals."""

    def __init__(self, registration: Registration, repository: ToolRepository, logins: Logins) -> None:
        self._registration = registration
        self._repository = repository
        self._logins = logins

    def possible(self, manual: str) -> list[PossibleLogin]:
        """Return the services of a manual at which a person can log in, each once, with all scopes of its tools.

        :raises ConfigError: there is no manual of this name.
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

        :raises ConfigError: there is no such manual, or nothing to log in to.
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
            if state.status == "failed":
                await self._registration.load(state)
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
            if state.name == manual:
                return state
        known = ", ".join(state.name for state in self._registration.states()) or "none"
        raise ConfigError(f"There is no manual {manual!r}.", remedy=f"The configuration has: {known}.")

    def _each(self, state: ManualState) -> Iterator[PossibleLogin]:
        if state.kind != "registry":
            _, target = self._registration.reach(state.entry)
            yield from self._registration.transport(state.kind).logins(target)
        for tool in self._repository.tools():
            if tool.manual == state.name:
                with suppress(UtcpError):  # a variable of this tool is missing; that is for its calls to report
                    yield from self._registration.transport(tool.kind).logins(self._registration.bind(tool))
