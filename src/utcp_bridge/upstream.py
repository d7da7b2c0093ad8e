"""What MCP upstreams offer besides tools, and the way back to the host whose request is in flight.

This is the port between the server's relay and the transports that reach MCP servers. It is free of the MCP SDK: all
results, parameters and descriptions are wire-shaped dicts of the protocol (camelCase keys).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from utcp_bridge.model import JsonObject

__all__ = ["HOST", "CallingHost", "Hear", "InputRequired", "Offers", "ProtocolError", "ServerState", "Upstream"]


@dataclass(frozen=True, slots=True)
class Offers:
    """What one MCP server offers besides its tools, as it described it when it was read last."""

    version: str = ""
    """The protocol version of the connection."""
    capabilities: JsonObject = field(default_factory=dict[str, Any])
    """The server's capabilities (`resources`, `prompts`, `completions`, `logging`, `tasks`, `extensions`, ...)."""
    instructions: str | None = None
    resources: tuple[JsonObject, ...] = ()
    resource_templates: tuple[JsonObject, ...] = ()
    prompts: tuple[JsonObject, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerState:
    """The state of one MCP server of a manual, for reports."""

    manual: str
    name: str
    status: Literal["connecting", "ready", "lost", "waiting", "needs login", "disabled"]
    """`lost`: the connection ended, and the next request opens another. `waiting`: for the next attempt, or for its
    first use."""
    tools: int = 0
    is_awaited: bool = False
    """Whether its first listing is still on its way."""
    failure: str = ""
    """Why the last attempt failed, in words; empty if it did not."""

    def __str__(self) -> str:
        return f"{self.manual}: MCP server {self.name!r} is {self.status}{f': {self.failure}' if self.failure else '.'}"


class Upstream(ABC):
    """One MCP server behind the bridge."""

    manual: str
    """The registered name of the manual that names the server."""
    name: str
    """The server's name in the manual."""

    @property
    @abstractmethod
    def offers(self) -> Offers | None:
        """What it offers; None while nobody has read it."""

    @abstractmethod
    async def request(self, method: str, params: JsonObject) -> JsonObject:
        """Send a request of the protocol and return its result, as wire-shaped as it came.

        Requests, logs and progress of the upstream that belong to this request go to `HOST`.

        :raises ProtocolError: the upstream refused it.
        :raises InputRequired: it needs input of the host first (2026-07-28).
        :raises UtcpError: the upstream cannot be reached, or its result cannot be read.
        """


Hear: TypeAlias = Callable[[Upstream, str, JsonObject], object]
"""Receives a notification of an MCP server that belongs to no request: the server, method and parameters."""


class ProtocolError(Exception):
    """A JSON-RPC error of an upstream, for the host."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data


class InputRequired(Exception):
    """An upstream needs input of the host before it can go on (`InputRequiredResult`, 2026-07-28). Not a failure."""

    def __init__(self, requests: JsonObject, state: str | None = None) -> None:
        super().__init__("The upstream needs input of the host.")
        self.requests = requests
        """`inputRequests`: requests of the protocol, by keys that the upstream chose."""
        self.state = state


class CallingHost(ABC):
    """The MCP client whose request is in flight, as far as upstreams may use it."""

    key: str | None = None
    """Equal for all requests of one session of a host; None where requests have no session."""
    version: str = ""
    """Its protocol version."""
    capabilities: JsonObject
    """Its capabilities (`sampling`, `elicitation`, `roots`, ...)."""
    answers: JsonObject | None = None
    """`inputResponses` of the request, by the keys of `InputRequired.requests`."""
    state: str | None = None
    """`requestState` of the request, as the upstream wrote it."""

    @abstractmethod
    async def ask(self, method: str, params: JsonObject) -> JsonObject:
        """Send a request to the host (`sampling/createMessage`, `elicitation/create`, `roots/list`); return its result.

        :raises ProtocolError: the host refused it, or cannot be asked.
        """


HOST: Final[ContextVar[CallingHost | None]] = ContextVar("utcp_bridge_host", default=None)
"""The host of the current call. In the library nobody is behind a call, so upstreams cannot ask anything."""
