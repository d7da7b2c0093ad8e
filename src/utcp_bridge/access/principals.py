"""A principal: who a request comes from, as far as the bridge knows."""

from __future__ import annotations

from typing import Final, Literal

from utcp_bridge.late.records import dataclass

__all__ = ["ANYONE", "Principal", "PrincipalKind"]

PrincipalKind = Literal["anyone", "shared", "token", "oauth", "certificate"]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a request comes from.

    `name` is unique among all kinds and stays the same from request to request: it owns sessions, handles, budgets and
    approvals, and is in the audit log. `scopes` are the rights that a token carries. `profiles` are the names of
    the profiles that the principal may use, the first of them where a request names none; None means that the
    principal is not bound to profiles.
    """

    name: str
    kind: PrincipalKind = "token"
    scopes: frozenset[str] = frozenset()
    profiles: tuple[str, ...] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What patterns of principals are compared with: the name, and the name without its kind (`token:ci`, `ci`)."""
        return self.name, self.name.removeprefix(f"{self.kind}:")


ANYONE: Final = Principal("anyone", "anyone")
"""Who calls over stdio, over HTTP without a token, and in the library."""
