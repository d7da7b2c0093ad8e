"""Requests during which MCP servers may ask the host: who is behind each, and the results that require input.

What a host of 2026-07-28 sends back is not trusted: `requestState` is encrypted and authenticated, ends after a while,
and is bound to the caller, the method, the name and the arguments of its request (the SDK's `RequestStateBoundary`).
Replicas that share `state_key` accept each other's. A suspended call lives in one process, whose name is in its state:
another replica sends the answers there (`server/replicas/requests.py`). If several processes serve one address, a state
begins with the place of its process.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import anyio
import mcp_types as types
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from utcp_bridge.auth.results import shown_to_hosts
from utcp_bridge.catalogue.render import fault_result, render_error
from utcp_bridge.errors import UnknownTool, UtcpError
from utcp_bridge.foreign import visible
from utcp_bridge.model import Emit, JsonObject, LogReceiver, in_seconds, is_list, is_object, log_receiver
from utcp_bridge.server.hosts.adapters import (
    HandshakeHost,
    HostSession,
    RetryingHost,
    capabilities_of,
    connection_of,
    has_abilities,
    host_ahead,
)
from utcp_bridge.server.hosts.suspended import Suspended, SuspendedCall, SuspendedCalls
from utcp_bridge.server.replicas.place import here
from utcp_bridge.server.replicas.requests import ReplicaGone, RequestsAcross, outcome_of, result_of
from utcp_bridge.tasks import setting
from utcp_bridge.upstream import (
    HOST,
    MISSING_CAPABILITY,
    ROOTS_CHANGED,
    URL_ELICITATION_REQUIRED,
    CallingHost,
    InputRequired,
    ProtocolError,
)

if TYPE_CHECKING:
    from mcp.server.connection import Connection

    from utcp_bridge.client.client import UtcpClient

__all__ = ["Interaction", "has_state", "place_of_state"]

Context = ServerRequestContext[Any, Any]
Work = Callable[[Emit], Awaitable[JsonObject]]
Spend = Callable[[Context, Callable[[], Awaitable[JsonObject]]], Awaitable[JsonObject]]
_AUDIENCE: Final = "utcp-bridge"
_MARGIN_SECONDS: Final = 60.0
"""How much longer a state lasts than an answer may take."""
_NO_ABILITIES: Final[JsonObject] = {}
_MARK: Final = ":"
_MAX_PLACE: Final = 4
_INPUT_REQUIRED: Final = "input_required"
_INVALID_STATE: Final = "invalid_request_state"
_CALL_AGAIN: Final = "Call again, without `requestState` and `inputResponses`."
_NOT_SHARED: Final = (
    "The call that `requestState` names waits in another replica of the bridge, or in one that has been restarted, and"
    f" they do not share a store. {_CALL_AGAIN} The operator can set `store`, or let the balancer send each client to"
    " one replica."
)
_GONE: Final = (
    f"The replica of the bridge in which the call of `requestState` waits has ended, or does not answer. {_CALL_AGAIN}"
)


class Spender(Protocol):
    """The budgets of the callers, which change with the settings."""

    spend: Spend | None
    """Runs the work of a request within the budgets of its caller; None without budgets."""


class Logs(Protocol):
    """Where the logs of requests go."""

    def receiver(self, ctx: Context) -> LogReceiver:
        """Return a function that sends a log message to the client of a request."""
        ...

    def lowest_of(self, ctx: Context) -> str | None:
        """Return the lowest level that the client of a request receives; None if it receives nothing."""
        ...


class _Boundary(RequestStateBoundary):
    """The check of `requestState`, whose refusal says what to do."""

    async def __call__(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """Check the state of a request, and seal that of its result.

        :raises MCPError: the state is too old, or does not belong to this request.
        """
        try:
            return _marked(await super().__call__(_unmarked(ctx), call_next))
        except MCPError as error:
            if not (is_object(error.data) and error.data.get("reason") == _INVALID_STATE):
                raise
            raise MCPError(error.code, f"{error.message}. {_CALL_AGAIN}", error.data) from None


class Interaction:
    """Runs requests with the host behind them in `HOST`.

    `owner_of` returns who a request comes from; `emitter` returns where its progress goes, and `logs` sends its logs.
    """

    def __init__(
        self,
        client: UtcpClient,
        owner_of: Callable[[Context], str],
        emitter: Callable[[Context], Emit],
        logs: Logs,
    ) -> None:
        settings = client.settings
        self._redactor = client.redactor
        self._owner_of = owner_of
        self._emitter = emitter
        self._logger = logs.receiver
        self._level_of: Final = logs.lowest_of
        self._calls = SuspendedCalls()
        key = settings.state_key.get_secret_value() if settings.state_key is not None else secrets.token_bytes(32)
        security = RequestStateSecurity(
            keys=[key], ttl=settings.ask_timeout + _MARGIN_SECONDS, bind_principal=owner_of, audience=_AUDIENCE
        )
        self.boundary: Final = _Boundary(security, default_audience=_AUDIENCE)
        self._ahead = client.host_ahead
        self._answer_seconds = settings.ask_timeout
        self._name = secrets.token_hex(4)
        self._across: RequestsAcross | None = None
        self.budgets: Spender | None = None

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Let calls be suspended while the server runs."""
        async with anyio.create_task_group() as group:
            self._calls.group = group
            yield
            self._calls.group = None
            group.cancel_scope.cancel()

    def share(self, across: RequestsAcross) -> None:
        """Let other bridges answer for calls that wait here, and the other way round."""
        self._name, self._across = across.name, across
        across.answer("call", self._follow_for)

    @property
    def calls(self) -> int:
        """How many calls are in flight or suspended whose hosts can be asked by suspending them."""
        return len(self._calls)

    def meet(self, ctx: Context) -> None:
        """Note the first host: MCP servers that open now learn its capabilities."""
        self._ahead.meet(host_ahead(ctx, self._redactor))

    async def hear_roots_changed(self, ctx: Context, _params: Any) -> None:
        """Pass on that the roots of a client have changed (handler of `notifications/roots/list_changed`)."""
        HostSession.of(connection_of(ctx)).report(ROOTS_CHANGED)

    def serve(self, ctx: Context, work: Work) -> Awaitable[JsonObject]:
        """Return the result of a request, or an `InputRequiredResult` if the host has to answer something first.

        `work` receives where partial results go.

        :raises MCPError: `requestState` does not fit the request.
        :raises ProtocolError: an MCP server refused it, or requires a page that the host cannot or did not open.
        :raises Busy: a budget of the caller does not cover it.
        :raises Exception: what else `work` raised.
        """
        if self.budgets is not None and self.budgets.spend is not None:
            return self.budgets.spend(ctx, partial(self._serve, ctx, work))
        return self._serve(ctx, work)

    def host_of(self, ctx: Context, connection: Connection, owner: str) -> CallingHost | None:
        """Return the host of a call that needs nothing else around it than this host; None if `serve` has to look.

        The call has no state and no answers.
        """
        if self.budgets is not None and self.budgets.spend is not None:
            return None
        if ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            return HandshakeHost.of(connection, self._redactor, ctx, self._level_of)
        return None if has_abilities(connection) else RetryingHost.of(ctx, owner, self._level_of, _NO_ABILITIES)

    def _serve(self, ctx: Context, work: Work) -> Awaitable[JsonObject]:
        if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
            return self._serve_modern(ctx, work)
        return self._run(ctx, HandshakeHost.of(connection_of(ctx), self._redactor, ctx, self._level_of), work)

    async def _serve_modern(self, ctx: Context, work: Work) -> JsonObject:
        try:
            return await self._serve_retrying(ctx, work)
        except Suspended as suspended:
            state = "call", suspended.call, suspended.bridge or self._name
            return await self._required(ctx, suspended.requests, state)
        except InputRequired as required:
            return await self._required(ctx, required.requests, ("upstream", required.state, required.origin))
        except ProtocolError as error:
            pages = _pages(error) if "url" in capabilities_of(connection_of(ctx)).get("elicitation", ()) else {}
            if not pages:
                raise
            return await self._required(ctx, pages, ("page", None, ""))

    async def tool_refusal(self, ctx: Context, error: ProtocolError) -> JsonObject:
        """Return the result of a call that an MCP server refused. A host that cannot open pages gets their addresses.

        :raises MCPError: the host can open the pages that the call requires, and then send it again (2025-11-25), or it
            does not have a capability that the call requires (2026-07-28).
        """
        pages = _pages(error)
        if not pages and error.code != MISSING_CAPABILITY:
            return fault_result(self._redactor(str(error)))
        if not pages or "url" in capabilities_of(connection_of(ctx)).get("elicitation", ()):
            raise MCPError(
                error.code, self._redactor(visible(str(error))), await shown_to_hosts(error.data, self._redactor)
            )
        lines = [f"{one['params'].get('message') or 'Open'}: {one['params']['url']}" for one in pages.values()]
        return fault_result(
            "\n".join(["The tool requires that a person opens a page first. Then call it again.", *lines])
        )

    def _serve_retrying(self, ctx: Context, work: Work) -> Awaitable[JsonObject]:
        owner, params = self._owner_of(ctx), ctx.params or {}
        answers, (kind, value, origin) = params.get("inputResponses"), _read_state(params.get("requestState"))
        if kind == "call" and origin != self._name:
            return self._follow_elsewhere(ctx, origin, str(value), owner, answers)
        if kind == "call":
            return self._follow(ctx, self._suspended(str(value), owner, answers))
        if kind == "page" and not _all_accepted(answers):
            raise ProtocolError(types.INVALID_REQUEST, "The client did not open the page that the tool requires.")
        host = RetryingHost.of(ctx, owner, self._level_of, capabilities_of(connection_of(ctx)))
        if kind == "upstream":
            host.take(answers, value, origin)
        if not host.capabilities or self._calls.group is None:
            return self._run(ctx, host, work)
        call = host.call = self._calls.begin(owner, self._redactor)
        self._calls.group.start_soon(call.run, _with_host(host, work))
        return self._follow(ctx, call)

    async def _run(self, ctx: Context, host: CallingHost, work: Work) -> JsonObject:
        receiver, asked = log_receiver.set(self._logger(ctx)), HOST.set(host)
        try:
            return await work(self._emitter(ctx))
        finally:
            HOST.reset(asked)
            log_receiver.reset(receiver)

    def _follow(self, ctx: Context, call: SuspendedCall) -> Awaitable[JsonObject]:
        return call.follow(self._emitter(ctx), self._logger(ctx))

    async def _follow_elsewhere(self, ctx: Context, bridge: str, ident: str, owner: str, answers: Any) -> JsonObject:
        if self._across is None:
            raise MCPError(types.INVALID_PARAMS, _NOT_SHARED, {"reason": "call_ended"})
        asked = {"call": ident, "owner": owner, "answers": answers, "method": ctx.method}
        try:
            outcome = await self._across.ask(bridge, "call", asked, self._emitter(ctx))
        except ReplicaGone:
            raise MCPError(types.INVALID_PARAMS, _GONE, {"reason": "call_ended"}) from None
        found = result_of(outcome)
        if (requests := found.get("suspended")) is not None:
            raise Suspended(requests, ident, bridge)
        ended: JsonObject = found["ended"]
        return ended

    async def _follow_for(self, asked: JsonObject, emit: Emit) -> JsonObject:
        """Return the outcome of a call that waits here, for a request that reached another bridge."""

        async def follow() -> JsonObject:
            call = self._suspended(str(asked["call"]), str(asked["owner"]), asked["answers"])
            try:
                return {"ended": await call.follow(emit, None)}
            except Suspended as suspended:
                return {"suspended": suspended.requests}
            except UtcpError as error:
                if asked["method"] == "tools/call" and not isinstance(error, UnknownTool):
                    return {"ended": render_error(error)}
                raise MCPError(types.INVALID_PARAMS, self._redactor(visible(str(error)))) from None

        return await outcome_of(follow())

    def _suspended(self, ident: str, owner: str, answers: Any) -> SuspendedCall:
        call = self._calls.find(ident, owner)
        if call is None:
            raise MCPError(
                types.INVALID_PARAMS,
                "The call that `requestState` names has ended: the server waits for answers for at most "
                f"{in_seconds(self._answer_seconds)}. {_CALL_AGAIN}",
                {"reason": "call_ended"},
            )
        call.answer(answers)
        return call

    async def _required(self, ctx: Context, requests: JsonObject, state: tuple[str, str | None, str]) -> JsonObject:
        """Return the result that asks for these answers. `state` is what `_read_state` returns later."""
        result: JsonObject = {"resultType": _INPUT_REQUIRED, "requestState": json.dumps(state)}
        if requests:
            result["inputRequests"] = await shown_to_hosts(requests, self._redactor)
        if not has_state(ctx):
            result = cast("JsonObject", await self.boundary(ctx, partial(_returned, result)))
        return result


def place_of_state(state: str) -> int | None:
    """Return the place of the process that wrote a `requestState`; None if it does not say one."""
    place, mark, _ = state.partition(_MARK)
    return (
        int(place) % here().count if mark and place.isascii() and place.isdigit() and len(place) <= _MAX_PLACE else None
    )


def _marked(result: HandlerResult) -> HandlerResult:
    if here().count == 1 or not is_object(result) or not isinstance(result.get("requestState"), str):
        return result
    return {**result, "requestState": f"{here().index}{_MARK}{result['requestState']}"}


def _unmarked(ctx: Context) -> Context:
    state = (ctx.params or {}).get("requestState")
    if here().count == 1 or not isinstance(state, str) or place_of_state(state) is None:
        return ctx
    return replace(ctx, params={**(ctx.params or {}), "requestState": state.partition(_MARK)[2]})


def has_state(ctx: Context) -> bool:
    """Return whether a request has a state, which the boundary checks, and seals that of its result.

    It takes two coroutines more, so it encloses only these requests. The others seal a state where they write one.
    """
    return ctx.params is not None and ctx.params.get("requestState") is not None


async def _returned(result: HandlerResult, _ctx: Context) -> HandlerResult:
    return result


def _with_host(host: CallingHost, work: Work) -> Work:
    async def run(emit: Emit) -> JsonObject:
        with setting(HOST, host):
            return await work(emit)

    return run


def _read_state(state: Any) -> tuple[str, str | None, str]:
    """Return the kind of a state, its value, and the server that it is for. The boundary has proved that it is ours."""
    if not isinstance(state, str):
        return "", None, ""
    kind, value, origin = json.loads(state)
    return kind, value, origin


def _pages(error: ProtocolError) -> JsonObject:
    """Return the requests for the pages that an MCP server of 2025-11-25 requires."""
    data: Any = error.data if error.code == URL_ELICITATION_REQUIRED else None
    pages = data.get("elicitations") if is_object(data) else None
    return {
        f"page-{number}": {"method": "elicitation/create", "params": {**page, "mode": "url"}}
        for number, page in enumerate(pages if is_list(pages) else (), 1)
        if is_object(page) and isinstance(page.get("url"), str)
    }


def _all_accepted(answers: Any) -> bool:
    given = list(answers.values()) if is_object(answers) else []
    return bool(given) and all(is_object(one) and one.get("action") == "accept" for one in given)
