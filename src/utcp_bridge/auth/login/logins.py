"""The logins of a client: read from the store, renewed by one caller at a time among all processes.

A login that another process made is noticed at the next use. If it made or renewed one in place of another, that is
noticed within `_READ_AGAIN` seconds, and at once after a refusal.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import field
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from utcp_bridge.auth.login.discovery import Challenge
from utcp_bridge.auth.login.refusals import login_expired, login_needed
from utcp_bridge.auth.token_requests import TokenRefusal, is_token, no_token, request_token, stale_at, words_of
from utcp_bridge.errors import AuthRequired, UtcpError
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import JsonObject

if TYPE_CHECKING:
    import httpx2

    from utcp_bridge.auth.login.records import LoginKey, LoginRecord

__all__ = ["Holder", "Logins"]

_READ_AGAIN: Final = 3.0
"""Seconds for which a record that was read is used without reading it again."""
_MAX_SECONDS: Final = 20.0
"""For one request for a token."""
_ENDED: Final = frozenset({"invalid_grant", "invalid_client", "unauthorized_client"})
"""Refusals that another request does not change."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who uses a login: its key, what messages call the service, the manual, and the way to authorization servers."""

    key: LoginKey
    where: str
    manual: str
    transport: Callable[[], httpx2.AsyncBaseTransport]


class LoginStore(Protocol):
    """Where logins are kept: `utcp_bridge.stores.port.Store`."""

    place: str

    async def get(self, key: str) -> JsonObject | None:
        """Return the object of a key; None if the key is unknown."""
        ...

    async def put(self, key: str, value: JsonObject) -> None:
        """Keep an object."""
        ...

    async def delete(self, key: str) -> bool:
        """Forget the object of a key; False if the key is unknown."""
        ...

    async def keys(self) -> list[str]:
        """Return every key."""
        ...

    def lock(self, key: str) -> AbstractAsyncContextManager[None]:
        """Let one task at a time work on a key, also among processes."""
        ...

    async def aclose(self) -> None:
        """Close it."""
        ...


@dataclass(slots=True)
class _LoginEntry:
    record: LoginRecord | None = field(default=None, repr=False)
    read_at: float = -_READ_AGAIN
    refused: str | None = field(default=None, repr=False)
    """The access token that the service refused."""
    challenge: Challenge | None = None
    """How the service refused a request since the last login."""
    failures: int = 0
    failure: UtcpError | None = None


class Logins:
    """Access tokens of persons. `open_store` opens the store at the first use; `on_secret` receives each token.

    `clock` returns seconds since 1970.
    """

    def __init__(
        self,
        open_store: Callable[[], LoginStore],
        *,
        on_secret: Callable[[str, str], None] = lambda _source, _secret: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._open_store = open_store
        self._store: LoginStore | None = None
        self._on_secret = on_secret
        self._clock = clock
        self._entries: dict[LoginKey, _LoginEntry] = {}

    @property
    def store(self) -> LoginStore:
        """The store of the logins.

        :raises ConfigError: it cannot be opened.
        """
        if self._store is None:
            self._store = self._open_store()
        return self._store

    async def token(self, holder: Holder) -> str | None:
        """Return an access token that the service has not refused; None without a login.

        :raises AuthRequired: the login has ended.
        :raises TokenError: the authorization server did not renew the token.
        :raises UtcpError: the store or the server cannot be reached.
        """
        entry = self._entries.setdefault(holder.key, _LoginEntry())
        record = await self._read(holder.key, entry)
        if record is None or self._usable(entry, record):
            return None if record is None else record.access_token
        failures = entry.failures
        async with self.store.lock(str(holder.key)):
            record = await self._read(holder.key, entry, again=True)
            if record is None or self._usable(entry, record):
                return None if record is None else record.access_token
            if entry.failures != failures and entry.failure is not None:
                # Another call asked while this one waited. Fifty callers must not ask fifty times.
                raise type(entry.failure)(entry.failure.message, remedy=entry.failure.remedy)
            try:
                return await self._renew(holder, entry, record)
            except UtcpError as error:
                entry.failures += 1
                entry.failure = error
                raise

    def held(self, key: LoginKey) -> str | None:
        """Return the access token that `token` would return without reading or renewing anything; else None."""
        entry = self._entries.get(key)
        record = None if entry is None else entry.record
        if entry is None or record is None or not self._is_fresh(entry) or not self._usable(entry, record):
            return None
        return record.access_token

    def refuse(self, key: LoginKey, token: str) -> None:
        """Note that the service refused an access token: the next caller renews it."""
        entry = self._entries.setdefault(key, _LoginEntry())
        entry.refused = token

    async def record(self, key: LoginKey) -> LoginRecord | None:
        """Return the record of a login as the store has it now."""
        return await self._read(key, self._entries.setdefault(key, _LoginEntry()), again=True)

    async def save(self, key: LoginKey, record: LoginRecord) -> None:
        """Keep a new login, in place of the one before."""
        self._learn(key, record)
        entry = self._entries.setdefault(key, _LoginEntry())
        async with self.store.lock(str(key)):
            await self._put(key, entry, record)
        entry.challenge = entry.refused = None

    async def doubt_client(self, key: LoginKey) -> None:
        """Let the next login register another client: a login with the present one failed."""
        entry = self._entries.setdefault(key, _LoginEntry())
        async with self.store.lock(str(key)):
            record = await self._read(key, entry, again=True)
            if record is not None and record.known_client is not None:
                record.register_again = True
                await self._put(key, entry, record)

    async def forget(self, key: str) -> bool:
        """Forget the login of a key as text; False if the store has none."""
        for known in [known for known in self._entries if str(known) == key]:
            del self._entries[known]
        async with self.store.lock(key):
            return await self.store.delete(key)

    async def kept(self) -> list[tuple[str, LoginRecord]]:
        """Return every login of the store, by its key as text."""
        from utcp_bridge.auth.login.records import LoginKey, LoginRecord  # models that most bridges never need

        found: list[tuple[str, LoginRecord]] = []
        for key in await self.store.keys():
            record = LoginRecord.of(await self.store.get(key)) if key.startswith(LoginKey.PREFIX) else None
            if record is not None:
                found.append((key, record))
        return found

    async def note_refusal(self, key: LoginKey, challenge: Challenge) -> None:
        """Keep how the service refused a request, so that the next login asks for what it wants."""
        entry = self._entries.setdefault(key, _LoginEntry())
        entry.challenge = challenge
        if entry.record is None:
            return
        async with self.store.lock(str(key)):
            record = await self._read(key, entry, again=True)
            if record is not None and record.challenge != challenge:
                record.refused_status, record.refused_header = challenge.status, challenge.header
                await self._put(key, entry, record)

    def challenge(self, key: LoginKey) -> Challenge | None:
        """Return how the service refused a request since the last login; None if it did not."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        return entry.challenge or (entry.record.challenge if entry.record is not None else None)

    async def aclose(self) -> None:
        """Close the store."""
        if self._store is not None:
            await self._store.aclose()

    async def _read(self, key: LoginKey, entry: _LoginEntry, *, again: bool = False) -> LoginRecord | None:
        if again or not self._is_fresh(entry):
            from utcp_bridge.auth.login.records import LoginRecord  # see `kept`

            now = anyio.current_time()
            entry.record = LoginRecord.of(await self.store.get(str(key)))
            entry.read_at = now
            if entry.record is not None:
                self._learn(key, entry.record)
        return entry.record

    def _is_fresh(self, entry: _LoginEntry) -> bool:
        """Return whether the record that was read is used without reading it again."""
        is_lasting = entry.record is not None and not entry.record.ended
        return is_lasting and anyio.current_time() - entry.read_at < _READ_AGAIN

    async def _put(self, key: LoginKey, entry: _LoginEntry, record: LoginRecord) -> None:
        await self.store.put(str(key), record.kept())
        entry.record, entry.read_at = record, anyio.current_time()

    def _usable(self, entry: _LoginEntry, record: LoginRecord) -> bool:
        if record.access_token is None or record.access_token == entry.refused:
            return False
        return record.stale_at is None or self._clock() < record.stale_at

    async def _renew(self, holder: Holder, entry: _LoginEntry, record: LoginRecord) -> str:
        """Return a new access token. The caller holds the lock.

        A refresh token that the server replaced is lost if it is not stored, so nothing cancels this in between.
        """
        if record.ended or record.refresh_token is None or record.client is None:
            raise self._over(holder, record)
        fields, fresh = {"refresh_token": record.refresh_token, **record.parameters}, ""
        asked_at = self._clock()
        with anyio.CancelScope(shield=True):
            try:
                with anyio.fail_after(_MAX_SECONDS):
                    answer = await request_token(
                        record.token_endpoint, record.client.proof(), "refresh_token", fields, holder.transport()
                    )
            except TimeoutError:
                reason = f"it did not reply within {_MAX_SECONDS:g} seconds"
                raise no_token(record.token_endpoint, reason) from None
            except TokenRefusal as refusal:
                if refusal.error not in _ENDED:
                    raise no_token(record.token_endpoint, words_of(refusal)) from None
                record.ended, record.register_again = True, refusal.error != "invalid_grant"
                await self._put(holder.key, entry, record)
                raise self._over(holder, record) from None
            token = answer.get("access_token")
            if not is_token(token):
                raise no_token(record.token_endpoint, "its reply has no access_token")
            fresh = record.access_token = str(token)
            if is_token(answer.get("refresh_token")):
                record.refresh_token = str(answer["refresh_token"])
            record.stale_at = stale_at(asked_at, answer.get("expires_in"))
            record.scope = answer["scope"] if isinstance(answer.get("scope"), str) else record.scope
            self._learn(holder.key, record)
            await self._put(holder.key, entry, record)
        return fresh

    @staticmethod
    def _over(holder: Holder, record: LoginRecord) -> AuthRequired:
        if record.access_token is None and not record.ended:
            return login_needed(holder.where, holder.manual)
        return login_expired(holder.where, holder.manual, record.issuer if record.ended else None)

    def _learn(self, key: LoginKey, record: LoginRecord) -> None:
        for secret in record.secrets():
            self._on_secret(str(key), secret)
