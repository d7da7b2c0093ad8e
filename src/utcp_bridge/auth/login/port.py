"""What `utcp-bridge login` can do for one service: the port between the command and the ways to log in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from utcp_bridge.auth.login.logins import Holder
    from utcp_bridge.auth.login.person import Person
    from utcp_bridge.auth.login.records import LoginRecord
    from utcp_bridge.auth.models import OAuth2LoginAuth

__all__ = ["OAuthLogin", "PossibleLogin", "united_scopes"]


class PossibleLogin(ABC):
    """A service at which a person can log in."""

    holder: Holder
    scope: str | None
    """The scopes that the manual names; None if others choose them."""

    @abstractmethod
    async def obtain(self, person: Person, before: LoginRecord | None, scope: str | None) -> LoginRecord:
        """Let the person log in. `before` is the login until now, and `scope` what it is to allow.

        :raises LoginFailed: the person or the server refused it.
        :raises UtcpError: a server cannot be reached, or `auth` lacks something.
        """


class OAuthLogin(PossibleLogin):
    """A login as the `auth` of a manual or of its document describes it."""

    def __init__(self, auth: OAuth2LoginAuth, holder: Holder) -> None:
        self._auth = auth
        self.holder = holder
        self.scope = auth.scope

    async def obtain(self, person: Person, before: LoginRecord | None, scope: str | None) -> LoginRecord:
        """Let the person log in."""
        from utcp_bridge.auth.login.flows import log_in

        granted = before.scope if before is not None else None
        return await log_in(self._auth, self.holder, person, scope=united_scopes([scope, granted]))


def united_scopes(scopes: Iterable[str | None]) -> str | None:
    """Return all scopes once, in order; None if there are none."""
    found = dict.fromkeys(word for scope in scopes if scope for word in scope.split())
    return " ".join(found) or None
