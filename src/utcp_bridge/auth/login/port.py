"""What `utcp-bridge login` can do for one service: the port between the command and the ways to log in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from utcp_bridge.auth.login.logins import Holder
    from utcp_bridge.auth.login.person import Person
    from utcp_bridge.auth.login.records import LoginRecord

__all__ = ["PossibleLogin", "united_scopes"]


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


def united_scopes(scopes: Iterable[str | None]) -> str | None:
    """Return all scopes once, in order; None without scopes."""
    found = dict.fromkeys(word for scope in scopes if scope for word in scope.split())
    return " ".join(found) or None
