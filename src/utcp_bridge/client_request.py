"""The HTTP request of a client that a call is for, for what waits in turns, forwards headers, or notes who called."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import field
from typing import Final, Protocol

from utcp_bridge.late.records import dataclass

__all__ = ["CLIENT_REQUEST", "ClientRequest", "KnownClientRequest"]


class ClientRequest(Protocol):
    """The HTTP request that a call is for."""

    @property
    def caller(self) -> str:
        """Which client sent it: clients that wait for the same manual take turns. It proves nothing."""
        ...

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """All of its headers. `Source.forward_headers` names those that go on."""
        ...


@dataclass(frozen=True, slots=True)
class KnownClientRequest:
    """A request whose caller is known. The default stands for a call that no HTTP request is for."""

    caller: str = ""
    headers: Sequence[tuple[bytes, bytes]] = field(default=(), repr=False)


_NO_REQUEST: Final = KnownClientRequest()
CLIENT_REQUEST: Final[ContextVar[ClientRequest]] = ContextVar("utcp_bridge_client_request", default=_NO_REQUEST)
"""What the current call is for. It is one variable, because each one that is set takes a part of a call's time."""
