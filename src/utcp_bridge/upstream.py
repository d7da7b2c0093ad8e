"""What MCP upstreams offer besides tools, and the way back to the host whose request is in flight.

This is the port between the server's relay and the transports that reach MCP servers. It is free of the MCP SDK: all
results, parameters and descriptions are wire-shaped dicts of the protocol (camelCase keys).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import field
from math import inf
from typing import Any, Final, Literal, Protocol, TypeAlias, TypeVar

import anyio

from utcp_bridge.late.records import dataclass
from utcp_bridge.model import ContentBlocks, Emit, Fault, JsonObject, discard, in_seconds, is_object
from utcp_bridge.tasks import call_clock, limiting_clock, setting

__all__ = [
    "APPS",
    "APP_MEDIA_TYPE",
    "CALL_CLOCK",
    "CAPABILITY_OF",
    "EVERY_CAPABILITY",
    "HOST",
    "HOST_ENDED",
    "MISSING_CAPABILITY",
    "ROOTS_CHANGED",
    "TASK_WISH",
    "UNNAMED",
    "URL_ELICITATION_REQUIRED",
    "AnyHost",
    "CallClock",
    "CallingHost",
    "Hear",
    "HostAhead",
    "InputRequired",
    "Offers",
    "ProtocolError",
    "Screen",
    "ServerState",
    "TaskStarted",
    "Upstream",
    "ask_host",
    "passed",
    "relayed_capabilities",
]

T = TypeVar("T")
_METHOD_NOT_FOUND: Final = -32601
_INVALID_PARAMS: Final = -32602
_REQUEST_TIMEOUT: Final = -32001
_INTERNAL_ERROR: Final = -32603
_MAX_CODE: Final = 2**31 - 1
_HELLO_SECONDS: Final = 2.0
URL_ELICITATION_REQUIRED: Final = -32042
"""Code of the error of an upstream that needs the host to open a page first (2025-11-25)."""
MISSING_CAPABILITY: Final = -32021
"""Code of the error of an upstream that needs a capability which the host does not have (2026-07-28)."""
UNNAMED: Final = "server"
"""The name of a server to which the operator gave none."""
ROOTS_CHANGED: Final = "notifications/roots/list_changed"
HOST_ENDED: Final = "ended"
"""What `CallingHost.watch` reports when the host's session has ended."""
CAPABILITY_OF: Final = {
    "sampling/createMessage": "sampling",
    "elicitation/create": "elicitation",
    "roots/list": "roots",
}
"""The requests that an upstream may send to a host, and the capability of the host for each."""
APPS: Final = "io.modelcontextprotocol/ui"
"""The extension of hosts that show pages of MCP servers (MCP Apps)."""
APP_MEDIA_TYPE: Final = "text/html;profile=mcp-app"
EVERY_CAPABILITY: Final[JsonObject] = {
    "sampling": {"tools": {}},
    "elicitation": {"form": {}, "url": {}},
    "roots": {"listChanged": True},
    "extensions": {APPS: {}},
}
"""The capabilities of a host that the bridge can relay, in the form of `relayed_capabilities`."""


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

    @property
    def shown(self) -> str:
        """Its name for people: that of the manual if the operator gave the server none."""
        return self.manual if self.name == UNNAMED else self.name

    def __str__(self) -> str:
        state = self.status if self.status.startswith("needs") else f"is {self.status}"
        return f"{self.manual}: MCP server {self.shown!r} {state}{f': {self.failure}' if self.failure else '.'}"


class Upstream(ABC):
    """One MCP server behind the bridge."""

    manual: str
    """The registered name of the manual that names the server."""
    name: str
    """The server's name in the manual."""
    is_local: bool = False
    """Whether it is a program that the operator starts on this machine, which may name local files and addresses."""
    written: frozenset[str] = frozenset()
    """The `host:port` pairs that the operator wrote for it, which it may name too."""

    @property
    def origin(self) -> Upstream:
        """The upstream itself, if this one is a part of it."""
        return self

    @property
    @abstractmethod
    def offers(self) -> Offers | None:
        """What it offers; None until it has been read."""

    @abstractmethod
    async def request(self, method: str, params: JsonObject, emit: Emit = discard) -> JsonObject:
        """Send a request of the protocol and return its result, as wire-shaped as it came.

        Requests and logs of the upstream that belong to this request go to `HOST`, its progress through `emit`.

        :raises ProtocolError: the upstream refused it.
        :raises InputRequired: it needs input of the host first (2026-07-28).
        :raises UtcpError: the upstream cannot be reached, or its result cannot be read.
        """


Screen: TypeAlias = Callable[[Upstream, Offers], Awaitable[tuple[Offers, list[Fault]]]]
"""Returns what of the offers of an MCP server hosts may see, and the faults of the others."""


async def passed(_upstream: Upstream, offers: Offers) -> tuple[Offers, list[Fault]]:
    """Return all offers: the `Screen` of a client that compares nothing."""
    return offers, []


Hear: TypeAlias = Callable[[Upstream, str, JsonObject], object]
"""Receives a notification of an MCP server that belongs to no request: the server, method and parameters."""


class ProtocolError(Exception):
    """A JSON-RPC error of an upstream, for the host. A code out of bounds becomes that of an internal error."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.code = code if -_MAX_CODE <= code <= _MAX_CODE else _INTERNAL_ERROR
        self.data = data


class InputRequired(Exception):
    """An upstream needs input of the host before it can go on (`InputRequiredResult`, 2026-07-28). Not a failure."""

    def __init__(self, requests: JsonObject, state: str | None = None, origin: str = "") -> None:
        super().__init__("The upstream needs input of the host.")
        self.requests = requests
        """`inputRequests`: requests of the protocol, by keys that the upstream chose."""
        self.state = state
        self.origin = origin
        """Which upstream it is, for the answers."""


def relayed_capabilities(stated: Any) -> JsonObject:
    """Return what upstreams may use of a client's capabilities, in one bounded form.

    The form has `sampling` with `tools` and `context`, `elicitation` with `form` and `url`, `roots` with `listChanged`,
    and `extensions` with that of MCP Apps. An `elicitation` without modes means forms (2025-06-18).
    """
    if not is_object(stated):
        return {}
    found: JsonObject = {}
    for name, known in (("sampling", ("tools", "context")), ("elicitation", ("form", "url")), ("roots", ())):
        part = stated.get(name)
        if is_object(part):
            found[name] = {key: {} for key in known if is_object(part.get(key))}
    if found.get("elicitation") == {}:
        found["elicitation"] = {"form": {}}
    if "roots" in found and stated["roots"].get("listChanged") is True:
        found["roots"]["listChanged"] = True
    extensions = stated.get("extensions")
    if is_object(extensions) and _shows_apps(extensions.get(APPS)):
        found["extensions"] = {APPS: {}}
    return found


def _shows_apps(settings: Any) -> bool:
    """Return whether the settings of a host's extension say that it shows the pages that servers have."""
    types: Any = settings.get("mimeTypes", [APP_MEDIA_TYPE]) if is_object(settings) else ()
    return isinstance(types, list | tuple) and APP_MEDIA_TYPE in types


class TaskStarted(InputRequired):
    """An upstream runs a call as a task, and the host takes the task in place of the result. Not a failure."""

    def __init__(
        self, upstream: Upstream, task: JsonObject, read: Callable[[JsonObject], ContentBlocks], *, inline: bool
    ) -> None:
        super().__init__({})
        self.upstream = upstream
        self.read = read
        """Reads the result of the call."""
        self.task = task
        """The task as the upstream described it."""
        self.inline = inline
        """Whether `tasks/get` has the result, as in 2026-07-28; in 2025-11-25 `tasks/result` returns it."""
        self.render: Callable[[JsonObject], JsonObject] = lambda result: result
        """Returns the result of the task as the host gets it."""


TASK_WISH: Final[ContextVar[JsonObject | None]] = ContextVar("utcp_bridge_task_wish", default=None)
"""Says that the host of the current call takes a task in place of the result; `ttl` is how long it wants it kept."""


class CallingHost(ABC):
    """The MCP client whose request is in flight, as far as upstreams may use it.

    A program that uses the library may give its own to `Extensions.host`: then MCP servers can ask the program.
    """

    key: str | None = None
    """Equal for all requests of one session of a host; None where requests have no session."""
    principal: str = ""
    """Who the requests come from, for requests without a session: those of one principal may use what others left."""
    version: str = ""
    """Its protocol version."""
    retries: bool = False
    """Whether the host answers `InputRequired` with another request (2026-07-28). Otherwise it is asked."""
    takes_errors: frozenset[int] = frozenset()
    """The errors of MCP servers that it receives as they are, by their codes."""
    capabilities: JsonObject
    """Its capabilities in the form of `relayed_capabilities`."""
    answers: JsonObject | None = None
    """`inputResponses` of the request, by the keys of `InputRequired.requests`."""
    state: str | None = None
    """`requestState` of the request, as the upstream wrote it."""
    origin: str = ""
    """The upstream that the answers and the state are for (`InputRequired.origin`)."""

    @property
    def log_level(self) -> str | None:
        """The lowest level of log messages that it receives, one of MCP's; None if it receives none."""
        return None

    @abstractmethod
    async def ask(self, method: str, params: JsonObject) -> JsonObject:
        """Send a request to the host (`sampling/createMessage`, `elicitation/create`, `roots/list`); return its result.

        Use `ask_host`, which checks the capability and bounds the time.

        :raises ProtocolError: the host refused it, or cannot be asked.
        """

    async def notify(self, method: str, params: JsonObject) -> None:
        """Send a notification to the host (`notifications/elicitation/complete`). It may be lost."""
        del method, params

    def watch(self, hear: Callable[[str], object]) -> Callable[[], object]:
        """Call `hear` with `ROOTS_CHANGED` when the roots change, and with `HOST_ENDED` when the session has ended.

        Return a function that ends this. A host without a session reports nothing.
        """
        del hear
        return lambda: None


HOST: Final[ContextVar[CallingHost | None]] = ContextVar("utcp_bridge_host", default=None)
"""The host of the current call. A call of the library has none by default, so upstreams cannot ask anything."""


class AnyHost(CallingHost):
    """Stands for hosts that are not known yet: each of them may have any capability."""

    capabilities = EVERY_CAPABILITY

    async def ask(self, method: str, params: JsonObject) -> JsonObject:
        """Refuse: the request belongs to no call.

        :raises ProtocolError: always.
        """
        del params
        raise ProtocolError(_METHOD_NOT_FOUND, f"{method}: no call is in flight whose client could answer.")


class HostAhead:
    """The host that calls will come from, for MCP servers that learn its capabilities before its first call."""

    def __init__(self, host: CallingHost | None, *, seconds: float = 0.0) -> None:
        """Know a host from the start, or take the first one that `meet` receives.

        :param seconds: how long MCP servers wait for it, at most, all together.
        """
        self._host = host
        self.is_known = host is not None
        """Whether `meet` is over."""
        self._seconds = seconds
        self._met = anyio.Event()
        self._default: CallingHost | None = None

    @classmethod
    def of(cls, host: CallingHost | HostAhead | None) -> HostAhead:
        """Return the host of a program that uses the library, behind each of its calls."""
        if isinstance(host, HostAhead):
            return host
        made = cls(host)
        made._default = host
        return made

    @classmethod
    def of_server(cls, transport: str) -> HostAhead:
        """Return the hosts of an MCP server: over stdio its one client, which says hello soon; over HTTP anyone."""
        return cls(None, seconds=_HELLO_SECONDS) if transport == "stdio" else cls(AnyHost())

    def meet(self, host: CallingHost) -> None:
        """Note a host, unless one is known."""
        if self._host is None:
            self._host = host
            self.is_known = True
            self._met.set()

    async def expected(self) -> CallingHost | None:
        """Return the host, after a moment if it is not there yet; None if it does not come."""
        if self._host is None and self._seconds:
            with anyio.move_on_after(self._seconds) as waiting:
                await self._met.wait()
            if waiting.cancelled_caught:
                self._seconds = 0.0
        return self._host

    def behind(self, call: Awaitable[T]) -> Awaitable[T]:
        """Return a call that has not begun, with the program's own host behind it if it has none."""
        return call if self._default is None else self._behind(self._default, call)

    @staticmethod
    async def _behind(host: CallingHost, call: Awaitable[T]) -> T:
        if HOST.get() is not None:
            return await call
        with setting(HOST, host):
            return await call


class Place(Protocol):
    """What a call occupies, and gives up while its host is asked. Calls may have one together."""

    def leave(self) -> None:
        """Let another call have the place."""
        ...

    def take_back(self) -> None:
        """Have the place again at once: the upstream waits for the call."""
        ...


class CallClock:
    """The time limit of a call, which does not run while the host is asked: a person may have to think.

    `place` is what the call gives up meanwhile. `began` is when it began, or had its place after it waited for it, on
    the clock of the event loop.
    """

    # most calls read nothing of these, and each makes a clock
    place: Place | None = None
    has_stopped = False
    """Whether the host was asked during the call."""
    _asking = 0
    _is_away = False
    _left = inf

    def __init__(self, scope: anyio.CancelScope, began: float = -inf) -> None:
        self.began = began
        self._scope = scope
        self._around = limiting_clock()

    @property
    def ends(self) -> float:
        """When the call's time is over, if the host is not asked from now on, on the clock of the event loop."""
        return self._scope.deadline

    @property
    def own_limit(self) -> float:
        """When this clock, or one around it, ends the call without a scope of anyio; `inf` if none does."""
        return inf if self._around is None else float(self._around.own_limit)

    def move(self, ends: float) -> None:
        """Let the call's time be over then."""
        self._scope.deadline = ends

    def leaves_for_good(self) -> bool:
        """Forget the place. Return whether the call had it until now, so that the caller has to leave it."""
        self.place = None
        was_away, self._is_away = self._is_away, False
        return not was_away

    @contextmanager
    def stopped(self) -> Generator[None]:
        """Stop the clock during the block. Blocks may overlap."""
        if not self._asking:
            self._left = self.ends - anyio.current_time()
            self.move(inf)
            if self.place is not None and not self._is_away:
                self._is_away = True
                self.place.leave()
        self._asking += 1
        self.has_stopped = True
        try:
            yield
        finally:
            self._asking -= 1
            if not self._asking:
                if self.place is not None and self._is_away:
                    self._is_away = False
                    self.place.take_back()
                self.move(anyio.current_time() + self._left)


CALL_CLOCK: Final[ContextVar[CallClock | None]] = call_clock
"""The clock of the current call."""
current_clock: Final = CALL_CLOCK.get
"""The variable's own method: Python calls the method of an imported object in three times the time."""


async def ask_host(host: CallingHost | None, method: str, params: JsonObject, *, seconds: float) -> JsonObject:
    """Send a request to the host of a call and return its result as it is. The call's time limit does not run.

    :raises ProtocolError: the call has no host, the host does not support the request, refused it, or returned
        nothing within `seconds`.
    """
    host = _supporting(host, method, params)
    clock = CALL_CLOCK.get()
    try:
        with anyio.fail_after(seconds), nullcontext() if clock is None else clock.stopped():
            return await host.ask(method, params)
    except TimeoutError:
        raise ProtocolError(
            _REQUEST_TIMEOUT, f"The host did not answer {method} within {in_seconds(seconds)}."
        ) from None


def _supporting(host: CallingHost | None, method: str, params: JsonObject) -> CallingHost:
    name = CAPABILITY_OF.get(method)
    if name is None:
        raise ProtocolError(_METHOD_NOT_FOUND, f"A host is not asked for {method[:80]!r}.")
    if host is None:
        raise ProtocolError(_METHOD_NOT_FOUND, f"{method}: this call has no MCP client behind it that could answer.")
    if name not in host.capabilities:
        raise ProtocolError(_METHOD_NOT_FOUND, f"{method}: the MCP client of this call does not support {name}.")
    mode = "url" if params.get("mode") == "url" else "form"
    if name == "elicitation" and mode not in host.capabilities[name]:
        raise ProtocolError(_INVALID_PARAMS, f"{method}: the MCP client of this call does not support the mode {mode}.")
    if params.get("tools") and name == "sampling" and "tools" not in host.capabilities[name]:
        raise ProtocolError(_INVALID_PARAMS, f"{method}: the MCP client of this call does not support tools.")
    return host
