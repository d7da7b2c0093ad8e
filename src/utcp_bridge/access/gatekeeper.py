"""The gatekeeper: from what a request presents to its principal.

A request has a named token, the shared token, a token of OAuth, or a client certificate. Each becomes an `Admission`,
which is the same object from request to request, so that a front can keep it, and ask `still` before each use.

A running server has one gatekeeper, which takes over changed settings (`take_over`). So all that ask it judge by the
new settings from the same moment on.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from hmac import compare_digest
from math import inf
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

import anyio
import anyio.to_thread

from utcp_bridge.access.admissions import Admission
from utcp_bridge.access.challenges import Challenger, Refused
from utcp_bridge.access.principals import ANYONE, Principal
from utcp_bridge.access.tokens import UNSEEN_SECONDS, NamedToken, Secret, TokenFile, is_named_token
from utcp_bridge.errors import ConfigError
from utcp_bridge.model import matches_glob
from utcp_bridge.settings.access import OAuthSettings

if TYPE_CHECKING:
    from utcp_bridge.access.oauth import OAuthTokens
    from utcp_bridge.settings import BridgeSettings

__all__ = ["ACCESS_KEYS", "Gatekeeper", "gatekeeper_for", "is_protected"]

_logger = logging.getLogger(__name__)
_SHARED: Final = Principal("shared", "shared")
_NO_CERTIFICATE: Final = (
    "The connection has no client certificate. Connect with one from an authority that the operator of this server "
    "accepts."
)
_LOOK_SECONDS: Final = 5.0
_NOTE_EVERY: Final = 12
"""Looks."""
_SCOPED: Final = frozenset({"token", "oauth"})
"""Kinds of principals whose tokens carry scopes."""
ACCESS_KEYS: Final = frozenset(
    {"bearer_token", "tokens_file", "required_scopes", "tls_client_ca", "tls_profiles", *OAuthSettings.model_fields}
)
"""The settings that a gatekeeper is made of, and takes over."""
_MAX_RECENT: Final = 256
_MAX_RECENT_BYTES: Final = 4_096
"""Of a header with a credential. A longer one is judged each time."""
Headers = Collection[tuple[bytes, bytes]]


class Gatekeeper:
    """Recognises the principals of one server.

    `needed(scope, principal)` may name further scopes for a request, such as those of a profile.
    """

    def __init__(
        self,
        *,
        shared: str | None = None,
        tokens: TokenFile | None = None,
        oauth: OAuthTokens | None = None,
        challenger: Challenger | None = None,
        wants_certificate: bool = False,
        of_certificates: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """`of_certificates` gives the profiles of certificates by globs of their names; without it they have all."""
        self._shared = None if shared is None else shared.encode()
        self._tokens = tokens
        self._oauth = oauth
        self._former: list[OAuthTokens] = []
        """Those before `oauth` that may still be in use."""
        self._challenger = challenger or Challenger("")
        self._wants_certificate = wants_certificate
        self.is_open = not wants_certificate and shared is None and tokens is None and oauth is None
        """Whether anyone may call. Then nobody has an admission. Every request asks."""
        self._profiles_of_certificates = of_certificates or {}
        self._stamp: tuple[int, int, int] | None = None
        self._looked_at = 0.0
        self._named: dict[str, tuple[Secret, Admission]] = {}
        self._shared_admission, self._anyone = Admission(_SHARED), Admission(ANYONE)
        self._of_certificates: dict[str, Admission] = {}
        self._given: WeakSet[Admission] = WeakSet()
        """Those of certificates that something is open for, also if they were forgotten."""
        self._recent: dict[bytes, Admission] = {}
        """Admissions by the header that had a valid credential, so that a hot request costs no hash."""
        self.on_look: Callable[[], object] = lambda: None
        """Called every few seconds, to end what revoked and expired tokens have open."""
        self.on_close: Callable[[], object] = lambda: None
        """Called when settings end a time without tokens, to end what was opened in it."""
        self.needed: Callable[[Any, Principal], Collection[str]] | None = None
        if tokens is not None:
            _check_writers(tokens.path)
            self._stamp = _stamp(tokens.place)
            self._take(tokens.read())
            if not self._named and shared is None and oauth is None:
                _logger.warning(
                    "%s has no token, so nobody can call. `utcp-bridge token add NAME` makes one.", tokens.path
                )

    @property
    def _wants_token(self) -> bool:
        return self._shared is not None or self._tokens is not None or self._oauth is not None

    @property
    def _required(self) -> frozenset[str]:
        return frozenset(self._challenger.scopes)

    # --- settings that have changed ----------------------------------------------------------------

    def take_over(self, other: Gatekeeper) -> None:
        """Accept what a new gatekeeper accepts, from now on. It is not used otherwise.

        A named token that is gone has ended, as one that is removed from its file. An admission that is not valid any
        more for another reason has lapsed: its event streams end, and calls in flight go on.
        """
        was_open, has_other_scopes = self.is_open, other._required != self._required
        self._recent.clear()
        if has_other_scopes or other._shared != self._shared:
            self._shared_admission.lapse()
            self._shared_admission = Admission(_SHARED)
        self._shared, self._challenger = other._shared, other._challenger
        self._wants_certificate, self.is_open = other._wants_certificate, other.is_open
        self._tokens, self._stamp, self._looked_at = other._tokens, other._stamp, other._looked_at
        self._exchange_named(other._named)
        if has_other_scopes:  # a token that lacks one is refused at its next request
            self._renew_named()
        self._exchange_certificates(other._profiles_of_certificates)
        self._exchange_oauth(other._oauth, has_other_scopes=has_other_scopes)
        self.on_look()
        if was_open and not self.is_open:
            self.on_close()

    def judge_again(self, *, unless_in: str | None = None) -> None:
        """Let admissions lapse: certificates have other authorities, or the bridge serves another profile alone.

        `unless_in` spares callers that may use the profile of this name.
        """

        def lapses(admission: Admission) -> bool:
            profiles = admission.principal.profiles
            return unless_in is None or (profiles is not None and unless_in not in profiles)

        self._recent.clear()
        if lapses(self._shared_admission):
            self._shared_admission.lapse()
            self._shared_admission = Admission(_SHARED)
        self._renew_named(lapses)
        for admission in (*self._given,):
            if lapses(admission):
                admission.lapse()
        self._of_certificates = {one: known for one, known in self._of_certificates.items() if not known.has_lapsed}
        if self._oauth is not None:
            self._oauth.forget_all()
        self.on_look()

    def _renew_named(self, lapses: Callable[[Admission], bool] = lambda _: True) -> None:
        """End the admissions of named tokens for later requests. Their next ones have new admissions."""
        for ident, (secret, admission) in self._named.items():
            if lapses(admission):
                self._named[ident] = secret, replace(admission, certificate="")
                admission.lapse()

    def _exchange_certificates(self, profiles: Mapping[str, Sequence[str]]) -> None:
        self._profiles_of_certificates = profiles
        for admission in (*self._given,):
            if admission.principal.profiles != self._profiles_of(admission.certificate):
                admission.lapse()
        self._of_certificates = {one: known for one, known in self._of_certificates.items() if not known.has_lapsed}

    def _exchange_oauth(self, oauth: OAuthTokens | None, *, has_other_scopes: bool) -> None:
        """Judge tokens of OAuth by other settings. Those that were judged before have to be judged anew."""
        known = self._oauth
        if known is not None and oauth is not None and oauth.judges_by == known.judges_by:
            self._former.append(oauth)
            if has_other_scopes:
                known.forget_all()
            return
        if known is not None:
            known.forget_all(are_ended=oauth is None or oauth.issuer.url != known.issuer.url)
            self._former.append(known)
        self._oauth = oauth

    def certificate_of(self, scope: Any) -> str:
        """Return the name in the client certificate of a request's connection; empty without one."""
        if not self._wants_certificate:
            return ""
        state = scope.get("state")
        if not state or getattr(state.get("listener"), "is_former", False):
            return ""
        name: str = state.get("client_certificate", "")
        return name

    # --- what is known without waiting -----------------------------------------------------------

    def known(self, headers: Headers, certificate: str) -> Admission | None:
        """Return the admission of a request that needs no look elsewhere; None if `recognise` has to decide."""
        by_name = dict(headers)
        if len(by_name) == len(headers):
            recent = self._recent.get(by_name.get(b"authorization", b""))
            if recent is not None and self.still(recent, certificate):
                return recent
        given = [value for name, value in headers if name == b"authorization"]
        try:
            found = self._local(_credential_of(given), certificate)
            if found is None or not self.still(found, certificate):
                return None
            self._check_scopes(found.principal, ())
        except Refused:
            return None
        if given and len(given[0]) <= _MAX_RECENT_BYTES:
            if len(self._recent) >= _MAX_RECENT:
                self._recent.clear()
            self._recent[given[0]] = found
        return found

    def still(self, admission: Admission, certificate: str) -> bool:
        """Return whether an admission is as it was, for a request with the same headers.

        To look at the file takes as long as a thirtieth of a hot call, so requests that come one upon another share a
        look. A change of the file waits for that time (`TokenFile`), so a token is refused once it is revoked.
        """
        if self._tokens is not None and monotonic() - self._looked_at >= UNSEEN_SECONDS:
            self._look(self._tokens)
        admission.seen = True
        return not admission.ended and time.time() < admission.fresh_until and admission.certificate == certificate

    async def recognise(self, headers: Headers, scope: Any) -> Admission:
        """Return the admission of a request.

        :raises Refused: it has no valid credential, or one with too little scope.
        """
        certificate = self.certificate_of(scope)
        if b"access_token=" in scope.get("query_string", b""):
            raise Refused(400, "invalid_request", "A token in the URL is not accepted. Send it as `Authorization`.")
        credential = _credential_of([value for name, value in headers if name == b"authorization"])
        found = self._local(credential, certificate)
        if found is None and credential is not None and (oauth := self._oauth) is not None:
            try:
                found = await oauth.examine(credential)
            except Refused:
                if oauth is self._oauth:
                    raise
            if oauth is not self._oauth:  # the settings have changed meanwhile
                return await self.recognise(headers, scope)
            if found is not None:
                found.certificate = certificate
        if found is None or not self.still(found, certificate):
            raise Refused(401, "invalid_token" if credential is not None else "")
        self._check_scopes(found.principal, () if self.needed is None else self.needed(scope, found.principal))
        return found

    def _local(self, credential: bytes | None, certificate: str) -> Admission | None:
        """Return the admission of a credential that this process can judge by itself.

        :raises Refused: the connection has no client certificate, or the request no token.
        """
        if self.is_open:
            return self._anyone
        if self._wants_certificate and not certificate:
            raise Refused(401, message=_NO_CERTIFICATE)
        if not self._wants_token:
            return self._by_certificate(certificate)
        if credential is None:
            raise Refused(401)
        found = self._by_name(credential)
        if found is None and self._shared is not None and compare_digest(credential, self._shared):
            found = self._shared_admission
        if found is None and self._oauth is not None:
            found = self._oauth.known(credential)
        if found is not None and self._wants_certificate:
            found.certificate = certificate
        return found

    def _by_certificate(self, certificate: str) -> Admission:
        found = self._of_certificates.get(certificate)
        if found is None:
            if len(self._of_certificates) >= 1_000:
                self._of_certificates.clear()
            profiles = self._profiles_of(certificate)
            principal = Principal(f"certificate:{certificate}", "certificate", profiles=profiles)
            found = self._of_certificates[certificate] = Admission(principal, certificate=certificate)
            self._given.add(found)
        return found

    def _profiles_of(self, certificate: str) -> tuple[str, ...] | None:
        if not self._profiles_of_certificates:
            return None
        found: dict[str, None] = {}
        for glob, profiles in self._profiles_of_certificates.items():
            if matches_glob(glob, certificate):
                found |= dict.fromkeys(profiles)
        return tuple(found)

    def _by_name(self, credential: bytes) -> Admission | None:
        if self._tokens is None or (ident := is_named_token(credential)) is None:
            return None
        self._look(self._tokens)
        secret, admission = self._named.get(ident.decode(), (None, None))
        return admission if secret is not None and secret.fits(credential) else None

    def _check_scopes(self, principal: Principal, more: Collection[str]) -> None:
        needed = self._required | set(more)
        if not needed or principal.kind not in _SCOPED or needed <= principal.scopes:
            return
        wanted = " ".join(sorted(needed))
        refused = Refused(403, "insufficient_scope", f"This needs a token with the scopes: {wanted}.", sorted(needed))
        refused.principal = principal.name
        raise refused

    # --- the file of named tokens ------------------------------------------------------------------

    def _look(self, tokens: TokenFile) -> None:
        """Read the file again if it changed."""
        self._looked_at = monotonic()
        stamp = _stamp(tokens.place)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            if stamp is not None:
                _check_writers(tokens.path)
            self._take(tokens.read())
        except ConfigError as error:
            _logger.warning("%s The tokens that were read before stay valid.", error)

    def _take(self, lines: dict[str, NamedToken]) -> None:
        found: dict[str, tuple[Secret, Admission]] = {}
        for line in lines.values():
            principal = Principal(f"token:{line.name}", "token", frozenset(line.scopes), line.profiles)
            for secret in line.secrets:
                ends = line.ends(secret)
                until = inf if ends is None else ends
                found[secret.ident] = secret, Admission(principal, until, until, seen=False)
        self._exchange_named(found)

    def _exchange_named(self, found: Mapping[str, tuple[Secret, Admission]]) -> None:
        """Know these tokens by their idents. One that was known keeps its admission, and those of others end."""
        before, self._named = self._named, {}
        for ident, (secret, fresh) in found.items():
            known, admission = before.get(ident, (None, fresh))
            if known is None or known.digest != secret.digest or admission.principal != fresh.principal:
                admission = fresh
            admission.expires = admission.fresh_until = fresh.expires
            self._named[ident] = secret, admission
        kept = {id(admission) for _, admission in self._named.values()}
        for _, admission in before.values():
            admission.ended = id(admission) not in kept

    async def aclose(self) -> None:
        """Close the connections to authorization servers."""
        await self._close_former()
        if self._oauth is not None:
            await self._oauth.aclose()

    async def _close_former(self) -> None:
        while self._former:
            await self._former.pop().aclose()

    async def keep_house(self) -> None:
        """Look for changes of the file, also without requests, and note the days on which tokens were used."""
        noted: dict[str, str] = {}
        notes, looks = True, 0
        while True:
            await anyio.sleep(_LOOK_SECONDS)
            if self._tokens is not None:
                self._look(self._tokens)
            self.on_look()
            await self._close_former()
            looks += 1
            if notes and looks % _NOTE_EVERY == 0:
                notes = await self.note_uses(noted)

    async def note_uses(self, noted: dict[str, str]) -> bool:
        """Write down the tokens that were used on a new day. `noted` has what is written already."""
        today = datetime.now(UTC).date().isoformat()
        days: dict[str, str] = {}
        for _, admission in self._named.values():
            if admission.seen:
                admission.seen = False
                name = admission.principal.name.removeprefix("token:")
                if noted.get(name) != today:
                    days[name] = today
        if not days or self._tokens is None:
            return True
        try:
            await anyio.to_thread.run_sync(self._tokens.note_use, days)
        except (ConfigError, OSError) as error:
            _logger.info("The days on which tokens are used are not kept: %s", error)
            return False
        noted |= days
        return True

    # --- what clients receive ----------------------------------------------------------------------

    def challenge(self, refused: Refused) -> bytes:
        """Return the value of `WWW-Authenticate`."""
        return self._challenger.header(refused)

    def metadata(self) -> dict[str, Any] | None:
        """Return the metadata of the protected resource; None without OAuth."""
        return None if self._challenger.issuer is None else self._challenger.metadata()


def is_protected(settings: BridgeSettings) -> bool:
    """Return whether a server over HTTP recognises its callers, so that they may see different things."""
    ways = (settings.bearer_token, settings.tokens_file, settings.oauth_issuer, settings.tls_client_ca)
    return any(way is not None for way in ways)


def gatekeeper_for(settings: BridgeSettings, address: str, root: Path) -> Gatekeeper:
    """Return the gatekeeper of the settings. `address` is the URL of the MCP endpoint.

    :raises ConfigError: a setting is not usable, or lacks another one.
    """
    shared = None if settings.bearer_token is None else settings.bearer_token.get_secret_value()
    tokens = None if settings.tokens_file is None else TokenFile(root / Path(settings.tokens_file).expanduser())
    oauth = None
    resource = settings.oauth_resource or address
    if settings.oauth_issuer is not None:
        from utcp_bridge.access.oauth import OAuthTokens

        oauth = OAuthTokens(settings, resource)
    return Gatekeeper(
        shared=shared,
        tokens=tokens,
        oauth=oauth,
        challenger=Challenger(resource, settings.oauth_issuer, settings.required_scopes),
        wants_certificate=settings.tls_client_ca is not None,
        of_certificates=settings.tls_profiles,
    )


def _credential_of(given: list[bytes]) -> bytes | None:
    """Return the bearer token of a request with these headers `Authorization`; None if it has none.

    :raises Refused: it has several, or credentials of another kind.
    """
    if not given:
        return None
    scheme, _, credential = given[0].strip().partition(b" ")
    if len(given) > 1 or scheme.lower() != b"bearer" or not credential.strip():
        raise Refused(401, "invalid_token")
    return credential.strip()


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - each request asks, and `Path.stat` takes twice as long
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _check_writers(path: Path) -> None:
    """Refuse a file that other users of this machine may write.

    :raises ConfigError: they may.
    """
    if os.name == "nt":
        return
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if mode & 0o022:
        raise ConfigError(f"Others may write {path}, which decides who may call.", remedy=f"Run `chmod 600 {path}`.")
