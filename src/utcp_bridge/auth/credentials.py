"""Credentials: what `auth` adds to a request, bound to the origins it was given for.

Credentials are sent to these origins only, even if a manual says otherwise.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from pydantic import SecretStr

from utcp_bridge.auth.models import (
    AllAuth,
    AnyAuth,
    ApiKeyAuth,
    Auth,
    BasicAuth,
    OAuth2Auth,
    OAuth2LoginAuth,
    OAuth2UserAuth,
    TokenAuth,
    every_scheme,
)
from utcp_bridge.errors import ConfigError, PolicyError, Rejected
from utcp_bridge.model import Emit, Source, Trust
from utcp_bridge.urls import bare_url, endpoint_of_url, origin_of, query_names

if TYPE_CHECKING:
    from utcp_bridge.auth.login.logins import Holder, Logins
    from utcp_bridge.auth.tokens import TokenCache

__all__ = ["Additions", "Credentials"]

_REFUSED: Final = frozenset({"UNAUTHENTICATED", 4401})
"""How gRPC, and GraphQL over a WebSocket, refuse an access token."""


@dataclass(frozen=True, slots=True)
class Additions:
    """What credentials add to one request: headers, an encoded query (`a=b&c=d`), cookies (`a=b; c=d`)."""

    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    query: str = field(default="", repr=False)
    cookies: str = field(default="", repr=False)

    def placed(self, url: str, headers: list[tuple[str, str]]) -> tuple[str, list[tuple[str, str]]]:
        """Return URL and headers with these additions, which replace headers and parameters of the same name."""
        if self.headers:
            names = {name.lower() for name, _ in self.headers}
            headers = [pair for pair in headers if pair[0].lower() not in names]
            headers.extend(self.headers)
        if self.cookies:
            kept = [value for name, value in headers if name.lower() == "cookie"]
            headers = [pair for pair in headers if pair[0].lower() != "cookie"]
            headers.append(("Cookie", "; ".join((*kept, self.cookies))))
        return (_with_query(url, self.query) if self.query else url), headers

    def merged(self, other: Additions) -> Additions:
        """Return both together. For the same header, the other's value is used."""
        names = {name.lower() for name, _ in other.headers}
        kept = tuple(pair for pair in self.headers if pair[0].lower() not in names)
        query = "&".join(part for part in (self.query, other.query) if part)
        cookies = "; ".join(part for part in (self.cookies, other.cookies) if part)
        return Additions(kept + other.headers, query, cookies)


class Credentials:
    """An `auth` bound to the origins it was given for (`utcp_bridge.urls.origin_of`).

    For OAuth 2, `tokens` obtains access tokens under the policy of `source`. `trust` says who wrote the `auth`. An
    operator's token URL may be anywhere. A token URL in a fetched manual must be within `origins`, so that the manual
    cannot have the operator's client secret sent to itself. `service` is the URL that they were written for; its
    metadata names the authorization server if `auth` does not.
    """

    __slots__ = (
        "_held",
        "_last",
        "_named",
        "_oauth",
        "_origins",
        "_own",
        "_service",
        "_static",
        "_token_source",
        "_tokens",
        "auth",
    )

    def __init__(
        self,
        auth: Auth,
        origins: frozenset[str],
        tokens: TokenCache | None = None,
        *,
        source: Source | None = None,
        trust: Trust = Trust.REMOTE,
        service: str | None = None,
    ) -> None:
        self.auth = auth
        self._origins = origins
        self._tokens = tokens
        self._service = service or next(iter(sorted(origins)), "")
        schemes = (scheme for scheme in _used(auth) if isinstance(scheme, OAuth2Auth | OAuth2LoginAuth))
        self._oauth: OAuth2Auth | OAuth2LoginAuth | None = next(schemes, None)
        self._static = Additions()
        for scheme in _used(auth):
            self._static = self._static.merged(_static_additions(scheme))
        self._last = ("", self._static)
        self._held: Callable[[], str | None] | None = None
        """Gives the token that is there, if that was asked for before."""
        self._token_source = replace(source or Source("oauth"), trust=Trust.OPERATOR)
        self._named: tuple[str, ...] = ()
        self._own = self._service if trust is Trust.OPERATOR else None
        if self._oauth is not None:
            self._admit_token_urls(self._oauth, trust)

    def __repr__(self) -> str:
        return f"<Credentials {self.auth.auth_type} for {len(self._origins)} origins>"

    def allow(self, origin: str) -> bool:
        """Return whether these credentials may be sent to `origin`."""
        return origin in self._origins

    def check(self, origin: str) -> None:
        """Check that these credentials may be sent to `origin`.

        :raises PolicyError: they were given for other origins.
        """
        if not self.allow(origin):
            raise PolicyError(
                f"Credentials must not be sent to {origin}: they were given for {_listed(self._origins)}.",
                remedy=f'If that is intended, add "allowed_origins": ["{origin}"] to the manual.',
            )

    @property
    def token_url(self) -> str | None:
        """The URL that issues access tokens, or whose metadata names it; None if none is needed."""
        return None if self._oauth is None else self._oauth.token_url or self._oauth.issuer or self._service

    @property
    def login(self) -> tuple[OAuth2LoginAuth, Holder] | None:
        """The login that these credentials need, and who uses it; None if they need none."""
        if not isinstance(self._oauth, OAuth2LoginAuth) or self._tokens is None or self._tokens.logins is None:
            return None
        return self._oauth, self._holder(self._oauth, self._tokens)

    async def additions(self) -> Additions:
        """Return what to add to the next request. Obtains an access token if one is needed.

        :raises TokenError: there is no access token.
        :raises AuthRequired: a person must log in first.
        """
        if self._oauth is None or self._tokens is None:
            return self._static
        return self._with_token(await self._token(self._oauth, self._tokens))

    def held(self) -> Additions | None:
        """Return what `additions` returns, if it has to wait for nothing; None otherwise."""
        if self._oauth is None or self._tokens is None:
            return self._static
        if self._held is None:
            self._held = self._held_by(self._oauth, self._tokens)
        token = self._held()
        return None if token is None else self._with_token(token)

    def preview(self) -> Additions:
        """Return the same as `additions`, with `***` instead of an access token, which is not requested."""
        if self._oauth is None:
            return self._static
        return self._static.merged(Additions((("Authorization", "Bearer ***"),)))

    async def renewed(self, used: Additions) -> Additions | None:
        """Return additions with a new access token after a 401, or None if there is no token to renew.

        The token in `used` is dropped. If another call has renewed it already, that token is returned.
        """
        if self._oauth is None or self._tokens is None:
            return None
        token, additions = self._last
        if additions is used:
            self._drop(self._oauth, self._tokens, token)
        return await self.additions()

    async def with_valid_token(self, call: Callable[[Emit], Awaitable[Any]], emit: Emit) -> Any:
        """Return what `call` returns. If an access token was refused, call once more with a new one.

        This is for upstreams that refuse it in words of their own. The HTTP session renews it after a 401 itself.

        :raises UtcpError: the call failed, or a new token cannot be had.
        """
        if self._oauth is None:
            return await call(emit)
        emitted = False

        async def noting(partial: Any) -> None:
            nonlocal emitted
            emitted = True
            await emit(partial)

        used = await self.additions()
        try:
            return await call(noting)
        except Rejected as error:
            if emitted or error.status not in _REFUSED or await self.renewed(used) is None:
                raise
        return await call(emit)

    def secrets(self) -> Iterator[str]:
        """Yield every secret value, for the redactor."""
        for scheme in every_scheme(self.auth):
            fields: dict[str, object] = dict(scheme)
            yield from (value.get_secret_value() for value in fields.values() if isinstance(value, SecretStr))

    def _admit_token_urls(self, auth: OAuth2Auth | OAuth2LoginAuth, trust: Trust) -> None:
        """Check the URLs that receive secrets. The page of a login is not one of them: a person sees its address."""
        if self._tokens is None:
            raise ConfigError(
                f"`auth` of the type {auth.auth_type} cannot be used here, because no access token can be obtained."
            )
        device = auth.device_authorization_url if isinstance(auth, OAuth2LoginAuth) else None
        named = tuple(url for url in (auth.token_url, auth.issuer, device) if url is not None)
        if trust is Trust.OPERATOR:
            self._named = named
            exempt = self._token_source.exempt | {endpoint_of_url(url) for url in named}
            self._token_source = replace(self._token_source, exempt=exempt)
            return
        if auth.token_url is None:
            raise PolicyError(
                "A fetched manual has an `auth` without `token_url`, so others would choose who receives the client's"
                " secret.",
                remedy="Write the `auth` into the manual's entry.",
            )
        for url in named:
            if origin_of(url) not in self._origins:
                raise PolicyError(
                    f"A fetched manual has a token URL at {origin_of(url)}, which is not one of its own origins.",
                    remedy=f'If that is intended, add "allowed_origins": ["{origin_of(url)}"] to the manual.',
                )

    def _holder(self, auth: OAuth2LoginAuth, tokens: TokenCache) -> Holder:
        from utcp_bridge.auth.login.endpoints import AuthorizationTransport
        from utcp_bridge.auth.login.logins import Holder
        from utcp_bridge.auth.login.records import LoginKey

        def transport() -> AuthorizationTransport:
            return AuthorizationTransport(tokens.pool, self._token_source, self._own, self._named)

        # The origins are a part of the key: another manual with the same client must not get the token.
        key = LoginKey(" ".join(sorted(self._origins)), auth.issuer or auth.token_url or "", auth.client_id or "")
        return Holder(key, bare_url(self._service), self._token_source.name, transport)

    async def _token(self, auth: OAuth2Auth | OAuth2LoginAuth, tokens: TokenCache) -> str:
        if isinstance(auth, OAuth2Auth):
            return await tokens.get(auth, self._token_source, *self._looked_up(auth))
        from utcp_bridge.auth.login.refusals import login_needed

        holder = self._holder(auth, tokens)
        token = await _logins_of(tokens).token(holder)
        if token is None:
            raise login_needed(holder.where, holder.manual)
        return token

    def _held_by(self, auth: OAuth2Auth | OAuth2LoginAuth, tokens: TokenCache) -> Callable[[], str | None]:
        if isinstance(auth, OAuth2Auth):
            return tokens.held(auth, *self._looked_up(auth))
        if tokens.logins is None:
            return lambda: None  # `additions` says what is wrong
        return partial(tokens.logins.held, self._holder(auth, tokens).key)

    def _drop(self, auth: OAuth2Auth | OAuth2LoginAuth, tokens: TokenCache, token: str) -> None:
        if isinstance(auth, OAuth2Auth):
            tokens.drop(auth, token, *self._looked_up(auth))
        else:
            _logins_of(tokens).refuse(self._holder(auth, tokens).key, token)

    def _looked_up(self, auth: OAuth2Auth) -> tuple[str, ...]:
        """Return the service whose metadata is needed, if it is."""
        return () if auth.token_url is not None else (self._service,)

    def _with_token(self, token: str) -> Additions:
        if self._last[0] != token:
            self._last = (token, self._static.merged(Additions((("Authorization", f"Bearer {token}"),))))
        return self._last[1]


def _logins_of(tokens: TokenCache) -> Logins:
    if tokens.logins is None:
        raise ConfigError("`auth` of the type oauth2_login needs a store of logins.")
    return tokens.logins


def _used(auth: Any) -> Iterator[Any]:
    """Yield the schemes that go onto a request: of alternatives, the first."""
    if isinstance(auth, AnyAuth):
        yield from _used(auth.options[0])
    elif isinstance(auth, AllAuth):
        for scheme in auth.schemes:
            yield from _used(scheme)
    else:
        yield auth


def _static_additions(scheme: Any) -> Additions:
    if isinstance(scheme, ApiKeyAuth):
        return _api_key(scheme)
    if isinstance(scheme, BasicAuth):
        pair = f"{scheme.username}:{scheme.password.get_secret_value()}".encode()
        return Additions((("Authorization", f"Basic {base64.b64encode(pair).decode()}"),))
    if isinstance(scheme, OAuth2UserAuth):
        return Additions(((scheme.var_name, scheme.prefix + scheme.access_token.get_secret_value()),))
    if isinstance(scheme, TokenAuth):
        return Additions((("Authorization", f"Bearer {scheme.token.get_secret_value()}"),))
    return Additions()


def _api_key(scheme: ApiKeyAuth) -> Additions:
    key = scheme.api_key.get_secret_value()
    if scheme.location == "query":
        return Additions(query=f"{quote(scheme.var_name, safe='')}={quote(key, safe='')}")
    if scheme.location == "cookie":
        return Additions(cookies=f"{scheme.var_name}={key}")
    return Additions(((scheme.var_name, key),))


def _with_query(url: str, query: str) -> str:
    url = url.partition("#")[0]
    base, mark, present = url.partition("?")
    if not mark:
        return f"{base}?{query}"
    names = set(query_names(query))
    kept = [pair for pair in present.split("&") if pair and names.isdisjoint(query_names(pair))]
    return f"{base}?{'&'.join((*kept, query))}"


def _listed(origins: frozenset[str]) -> str:
    return ", ".join(sorted(origins)) or "no origin"
