"""Why a login failed or is needed: one sentence for each reason, with what to do."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import field
from typing import Final

from utcp_bridge.errors import AuthRequired, LoginFailed
from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.late.records import dataclass
from utcp_bridge.urls import bare_url

__all__ = [
    "LoginPage",
    "consent_refused",
    "insufficient_scope",
    "issuer_mismatch",
    "login_expired",
    "login_failed",
    "login_needed",
    "no_metadata",
    "no_pkce",
    "no_registration",
]

_CODE: Final = late_pattern(r"[a-z_]{1,60}")
_MAX_SCOPE: Final = 300
_HELP: Final = "`utcp-bridge help login`"


def login_needed(where: str, manual: str) -> AuthRequired:
    """Return the error of a service that needs a login."""
    return AuthRequired(f"{where} needs a login.", remedy=_run(manual))


def login_expired(where: str, manual: str, issuer: str | None) -> AuthRequired:
    """Return the error of a login that the authorization server does not renew; None if it could not be asked."""
    if issuer is None:
        return AuthRequired(f"The login at {where} has expired, and it cannot be renewed.", remedy=_run(manual))
    return AuthRequired(
        f"The login at {where} has expired, and {bare_url(issuer)} refused to renew it.", remedy=_run(manual)
    )


def insufficient_scope(where: str, manual: str, scope: str | None) -> AuthRequired:
    """Return the error of a login that does not cover a request."""
    shown = f": it needs the scope {_words(scope)!r}" if scope else ""
    return AuthRequired(
        f"The login at {where} does not allow this request{shown}.", remedy=_run(manual), scope=scope, status=403
    )


def no_metadata(where: str, manual: str) -> LoginFailed:
    """Return the error of a service that does not say where to log in."""
    return LoginFailed(
        f"{where} requires credentials and publishes no OAuth metadata, so a login is not possible.",
        remedy=f'Add "auth" with a token or an API key to the manual {manual!r}: `utcp-bridge help configuration`.',
    )


def no_registration(
    issuer: str, manual: str, status: int | None = None, *, reads_documents: bool = False
) -> LoginFailed:
    """Return the error of an authorization server that does not know this client, and does not register it.

    `reads_documents` says whether it accepts the URL of a client's metadata as its id.
    """
    how = "does not register clients" if status is None else f"refused to register this client ({status})"
    return LoginFailed(
        f"The authorization server {bare_url(issuer)} {how}, and the manual {manual!r} has no client id.",
        remedy=(
            "Publish metadata of a client with the redirect URI http://127.0.0.1/callback, and write its https URL as "
            f"the setting `client_metadata_url`: {_HELP}."
            if reads_documents
            else "Register a client there with the redirect URI http://127.0.0.1/callback, and add "
            f'"auth": {{"auth_type": "oauth2_login", "client_id": …}} to the manual: {_HELP}.'
        ),
    )


def no_pkce(issuer: str, manual: str, methods: Collection[str] | None) -> LoginFailed:
    """Return the error of an authorization server that does not announce PKCE with S256.

    `methods` are those that it announces; None if it has no metadata that can be read. Without PKCE, another program
    could use a code that it intercepts (MCP 2025-11-25, `Authorization Code Protection`). Some servers support S256 and
    announce nothing: for these, the remedy names the setting of the operator.
    """
    ways = ["Ask its operator to announce S256"]
    if methods:
        what = "does not support PKCE with S256"
    elif methods is None:
        what = "has no metadata that can be read, and so does not say that it supports PKCE"
    else:
        what = "does not say that it supports PKCE"
        vouching = '"auth": {"auth_type": "oauth2_login", "assume_s256": true}'
        ways.append(f"write {vouching} if you know that it supports S256")
    ways.append(f'or add "auth" with a token to the manual {manual!r}: {_HELP}.')
    return LoginFailed(
        f"The authorization server {bare_url(issuer)} {what} (`code_challenge_methods_supported`), which is unsafe.",
        remedy=", ".join(ways),
    )


def issuer_mismatch(where: str, *, expected: str, claimed: str) -> LoginFailed:
    """Return the error of an authorization server that has the name of another one."""
    return LoginFailed(
        f"{where} names the authorization server {bare_url(expected)}, which says that it is {bare_url(claimed)}.",
        remedy="Do not log in. Report it to the operator of the service, because the token would go to another server.",
    )


def consent_refused(issuer: str, error: str, manual: str) -> LoginFailed:
    """Return the error of a login that a person or the authorization server refused. `error` is its code."""
    code = error if _CODE.fullmatch(error) else "an unknown error"
    if code == "access_denied":
        return LoginFailed(
            f"The access was refused at {bare_url(issuer)} (access_denied).", remedy=f"{_run(manual)} Allow the access."
        )
    return LoginFailed(f"The authorization server {bare_url(issuer)} refused the login ({code}).", remedy=_run(manual))


@dataclass(frozen=True, slots=True)
class LoginPage:
    """The page of an authorization server to which a person was brought.

    `document` is the URL of the client's metadata, if that is its id.
    """

    issuer: str
    manual: str
    document: str | None = field(default=None, repr=False)

    @property
    def advice(self) -> str:
        """What may have happened if the browser does not come back, and what to do."""
        uri = '"http://127.0.0.1/callback"'
        if self.document is None:
            what = f"the client of the manual {self.manual!r} and {uri} are registered there"
        else:
            what = (
                f"it can read {bare_url(self.document)} (`client_metadata_url`), and that the document has this URL as"
                f" `client_id` and {uri} in `redirect_uris`"
            )
        server = bare_url(self.issuer)
        return f"If the page of {server} shows an error, that server refuses the login. Check that {what}: {_HELP}."

    def no_redirect(self, seconds: float) -> LoginFailed:
        """Return the error of a login whose browser did not come back in time."""
        return LoginFailed(
            f"The browser did not come back from {bare_url(self.issuer)} within {seconds:g} seconds.",
            remedy=f"{self.advice} Otherwise, run `utcp-bridge login {self.manual}` again.",
        )


def login_failed(where: str, reason: str, manual: str) -> LoginFailed:
    """Return the error of a login that failed for another reason. `reason` ends the sentence."""
    return LoginFailed(f"The login at {where} failed: {reason}.", remedy=f"{_run(manual)} {_HELP} has the steps.")


def _run(manual: str) -> str:
    return f"Run `utcp-bridge login {manual}`."


def _words(scope: str) -> str:
    return scope if len(scope) <= _MAX_SCOPE else f"{scope[:_MAX_SCOPE]}…"
