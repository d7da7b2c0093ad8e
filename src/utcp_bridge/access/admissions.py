"""Who was let in, and until when: what a front and a session keep of a request's credential."""

from __future__ import annotations

import time
from collections.abc import Mapping, MutableMapping
from math import inf
from typing import Any, Final

from utcp_bridge.access.principals import ANYONE, Principal
from utcp_bridge.late.records import dataclass

__all__ = ["Admission", "address_of", "admission_of", "note_admission", "note_profile", "principal_of", "profile_of"]

_KEY: Final = "utcp_bridge.admission"
"""Where the scope of a request keeps its admission."""
_PROFILE: Final = "utcp_bridge.profile"


@dataclass(slots=True, eq=False, weakref_slot=True)
class Admission:
    """A principal, and until when it is known. Times are POSIX seconds.

    After `fresh_until` the credential is examined again; after `expires` it has ended.
    """

    principal: Principal
    expires: float = inf
    fresh_until: float = inf
    certificate: str = ""
    """The certificate that the connection had."""
    ended: bool = False
    """Whether the token was revoked."""
    seen: bool = True
    """Whether it was used since the days of use were noted."""

    def lapse(self) -> None:
        """End the admission for later requests. Calls in flight go on, unless the token has `ended`."""
        self.expires = self.fresh_until = 0.0

    @property
    def has_lapsed(self) -> bool:
        """Whether the token has ended, or the settings that let it in have changed."""
        return self.ended or not self.fresh_until

    def holds(self) -> bool:
        """Return whether the credential has neither ended nor been revoked, as far as is known."""
        return not self.ended and time.time() < self.expires


def admission_of(scope: Mapping[str, Any]) -> Admission | None:
    """Return the admission of an ASGI request; None if the server lets anyone in."""
    found: Admission | None = scope.get(_KEY)
    return found


def principal_of(scope: Mapping[str, Any]) -> Principal:
    """Return who an ASGI request comes from."""
    found = scope.get(_KEY)
    return ANYONE if found is None else found.principal


def address_of(scope: Mapping[str, Any]) -> str | None:
    """Return the IP address that an ASGI request comes from."""
    peer: tuple[str, int] | None = scope.get("client")
    return None if peer is None else peer[0]


def note_admission(scope: MutableMapping[str, Any], admission: Admission) -> None:
    """Note in the scope of an ASGI request who it comes from."""
    scope[_KEY] = admission


def note_profile(scope: MutableMapping[str, Any], name: str) -> None:
    """Note in the scope of an ASGI request which profile serves it."""
    scope[_PROFILE] = name


def profile_of(scope: Mapping[str, Any]) -> str | None:
    """Return the profile that serves an ASGI request; None if it is the whole bridge, or not known yet."""
    found: str | None = scope.get(_PROFILE)
    return found
