"""Who may use the console, and how a browser shows that.

A request comes from a program on this machine, if the bridge has no tokens; from a principal with the right to the
console; or from a browser that exchanged a code or a token for a cookie. A code is good for one exchange. Cookies hold
a random number that means nothing elsewhere, and end with the process, unless bridges share a store.

A page of another site must not act for the operator. Host is checked by the server (`server/web/doors.py`). Here, a
request with the Origin of another site is refused, and one that changes something needs a header that a form cannot
send.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Collection, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Protocol

from utcp_bridge.access.admissions import Admission, note_admission
from utcp_bridge.access.challenges import Refused
from utcp_bridge.access.gatekeeper import Gatekeeper
from utcp_bridge.access.principals import ANYONE, Principal
from utcp_bridge.net.listening import base_url, host_and_port, is_loopback
from utcp_bridge.stores.port import StoreAway
from utcp_bridge.tasks import loop_time

__all__ = ["HEADER", "SCOPE", "Visitor", "Visitors", "foreign_request", "is_here"]

HEADER: Final = "x-utcp-console"
"""A request that changes something has this header. A page of another site cannot send it without being asked for."""
SCOPE: Final = "console"
"""The scope of a token whose principal may use the console. The one `bearer_token` may do everything."""
_COOKIE: Final = "utcp_console"
_CODE_SECONDS: Final = 600.0
_SESSION_SECONDS: Final = 12 * 3_600.0
_MAX_SESSIONS: Final = 100
_MAX_FAILURES: Final = 10
_FAILURE_SECONDS: Final = 60.0
_MAX_SECRET: Final = 16_384
_SAFE: Final = frozenset({"GET", "HEAD"})
_ELSEWHERE: Final = (b"cross-site", b"same-site")
_PASSED_ON: Final = (b"forwarded", b"x-forwarded-", b"x-real-ip", b"via")
"""How the names of headers begin that proxies add."""
"""Headers of a proxy, so that the address is not that of the client."""
Headers = Collection[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who uses the console in one request."""

    principal: Principal
    admission: Admission | None = None


@dataclass(frozen=True, slots=True)
class _Session:
    visitor: Visitor
    ends: float
    is_shared: bool = False
    """Whether the other bridges know it. Then it ends where one of them ends it."""


class VisitsPort(Protocol):
    """Visits that several bridges share (`server.replicas.visits`). Each method raises `StoreAway`."""

    async def keep(self, cookie: str, token: str, seconds: float) -> None:
        """Keep the token of a visitor for some seconds."""
        ...

    async def token(self, cookie: str) -> str | None:
        """Return the token of a visitor; None if there is none."""
        ...

    async def end(self, cookie: str) -> None:
        """Forget a visitor."""
        ...


class Visitors:
    """Recognises the visitors of one console. With `needs_code`, only those with a code."""

    def __init__(
        self, keeper: Gatekeeper | None = None, *, needs_code: bool = False, visits: VisitsPort | None = None
    ) -> None:
        """`visits` are those of all bridges of a store. While it is away, each has its own."""
        self._asked = keeper
        self._visits = visits
        self._needs_code = needs_code
        self._codes: dict[bytes, float] = {}
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()
        self._failures: list[float] = []

    @property
    def _keeper(self) -> Gatekeeper | None:
        """What recognises callers now; None if anyone may call."""
        return None if self._asked is None or self._asked.is_open else self._asked

    @property
    def secret(self) -> str | None:
        """What a visitor has to present: `code`, `token`, or nothing."""
        return "code" if self._needs_code else None if self._keeper is None else "token"

    def new_code(self) -> str:
        """Return a code that can be exchanged once, within ten minutes."""
        code = secrets.token_urlsafe(24)
        self._codes[_digest(code)] = loop_time() + _CODE_SECONDS
        return code

    async def find(self, scope: MutableMapping[str, Any]) -> Visitor | None:
        """Return the visitor of a request, and note who it is for the access log; None if it has to sign in."""
        found = await self._found(scope)
        if found is not None and found.admission is not None:
            note_admission(scope, found.admission)
        return found

    async def _found(self, scope: Mapping[str, Any]) -> Visitor | None:
        if self.secret is None:
            return Visitor(ANYONE)
        session = await self._session(_cookie(scope), scope)
        if session is not None:
            return session.visitor if self._holds(session, scope) else None
        if self._keeper is None or not any(name == b"authorization" for name, _ in scope["headers"]):
            return None
        return await self._by_token(self._keeper, scope["headers"], scope)

    async def enter(self, secret: str, scope: MutableMapping[str, Any]) -> str | None:
        """Return the value of `Set-Cookie` for a code or a token; None if it is not valid, or too many were not."""
        now = loop_time()
        self._failures = [at for at in self._failures if now - at < _FAILURE_SECONDS]
        if len(self._failures) >= _MAX_FAILURES or len(secret) > _MAX_SECRET:
            return None
        visitor = await self._visitor_with(secret, scope)
        if visitor is None:
            self._failures.append(now)
            return None
        if visitor.admission is not None:
            note_admission(scope, visitor.admission)
        value, is_shared = secrets.token_urlsafe(32), False
        if self._visits is not None and not self._needs_code:
            with suppress(StoreAway):
                await self._visits.keep(value, secret.strip(), _SESSION_SECONDS)
                is_shared = True
        self._add(value, _Session(visitor, now + _SESSION_SECONDS, is_shared))
        return f"{_name(scope)}={value}; {_attributes(scope)}"

    async def leave(self, scope: Mapping[str, Any]) -> str:
        """End the session of a request; return the value of `Set-Cookie` that removes it."""
        cookie = _cookie(scope)
        self._sessions.pop(_digest(cookie), None)
        if self._visits is not None and cookie:
            with suppress(StoreAway):
                await self._visits.end(cookie)
        return f"{_name(scope)}=; Max-Age=0; {_attributes(scope)}"

    def _add(self, cookie: str, session: _Session) -> None:
        while len(self._sessions) >= _MAX_SESSIONS:
            self._sessions.popitem(last=False)
        self._sessions[_digest(cookie)] = session

    async def _session(self, cookie: str, scope: Mapping[str, Any]) -> _Session | None:
        """Return the session of a cookie, which another bridge may have begun or ended."""
        known = self._sessions.get(_digest(cookie))
        if self._visits is None or not cookie or (known is not None and not known.is_shared):
            return known
        try:
            token = await self._visits.token(cookie)
        except StoreAway:
            return known
        if token is None:
            self._sessions.pop(_digest(cookie), None)
            return None
        if known is None and (visitor := await self._visitor_with(token, scope)) is not None:
            known = _Session(visitor, loop_time() + _SESSION_SECONDS, is_shared=True)
            self._add(cookie, known)
        return known

    async def _visitor_with(self, secret: str, scope: Mapping[str, Any]) -> Visitor | None:
        if self._needs_code:
            ends = self._codes.pop(_digest(secret), None)
            return None if ends is None or ends < loop_time() else Visitor(ANYONE)
        if self._keeper is None:
            return None
        try:
            header = b"Bearer " + secret.strip().encode("ascii")
        except UnicodeEncodeError:
            return None
        return await self._by_token(self._keeper, [(b"authorization", header)], scope)

    @staticmethod
    async def _by_token(keeper: Gatekeeper, headers: Headers, scope: Mapping[str, Any]) -> Visitor | None:
        try:
            admission = await keeper.recognise(headers, scope)
        except Refused:
            return None
        principal = admission.principal
        return Visitor(principal, admission) if principal.kind == "shared" or SCOPE in principal.scopes else None

    def _holds(self, session: _Session, scope: Mapping[str, Any]) -> bool:
        if session.ends < loop_time():
            return False
        admission, keeper = session.visitor.admission, self._keeper
        return admission is None or keeper is None or keeper.still(admission, keeper.certificate_of(scope))


def foreign_request(scope: Mapping[str, Any]) -> str | None:
    """Return why a request may be made by a page of another site; None if it is not."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    origins = [value for name, value in headers if name == b"origin"]
    host = next((value for name, value in headers if name == b"host"), b"").lower()
    own = (b"http://" + host, b"https://" + host)
    if len(origins) > 1 or any(origin.lower() not in own for origin in origins):
        return "A page of another site cannot use the console."
    site = next((value for name, value in headers if name == b"sec-fetch-site"), b"")
    is_visit = scope["method"] in _SAFE and scope["path"] == "/"  # a link leads here; the page shows nothing to others
    if site in _ELSEWHERE and not is_visit:
        return "A page of another site cannot use the console."
    if scope["method"] not in _SAFE and not any(name == HEADER.encode() for name, _ in headers):
        return f"A request that changes something needs the header `{HEADER}: 1`."
    return None


def is_here(scope: Mapping[str, Any]) -> bool:
    """Return whether a request comes from this machine, and no proxy passed it on."""
    address: tuple[str, int] | None = scope.get("client")
    is_passed_on = any(name.startswith(_PASSED_ON) for name, _ in scope["headers"])
    return address is not None and is_loopback(address[0]) and not is_passed_on


def _digest(secret: str) -> bytes:
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _name(scope: Mapping[str, Any]) -> str:
    """Return the cookie's name. Browsers send a cookie to every port, so each address has its own name.

    The port is the one that the browser opened: bridges behind a balancer may listen on others.
    """
    host = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1")
    found = host_and_port(host)
    return f"{_COOKIE}_{found[1]}" if found and found[1] else _COOKIE


def _cookie(scope: Mapping[str, Any]) -> str:
    wanted = _name(scope)
    for name, value in scope["headers"]:
        if name == b"cookie":
            for part in value.decode("latin-1").split(";"):
                key, _, given = part.strip().partition("=")
                if key == wanted:
                    return str(given)
    return ""


def _attributes(scope: Mapping[str, Any]) -> str:
    secure = "; Secure" if base_url(scope).startswith("https:") else ""
    return f"Path=/; HttpOnly; SameSite=Strict{secure}"
