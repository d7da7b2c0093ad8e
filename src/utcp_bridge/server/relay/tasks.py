"""Tasks of MCP servers for hosts that take tasks: each has an id of the bridge, and belongs to who began it.

    2025-11-25   `tools/call` with `task`; `tasks/get`, `tasks/result`, `tasks/list`, `tasks/cancel`
    2026-07-28   the extension `io.modelcontextprotocol/tasks`; `tasks/get`, `tasks/update`, `tasks/cancel`

Host and server may speak different versions. What a host gets has the form of its own version.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections import OrderedDict
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import anyio
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value

from utcp_bridge.catalogue.text import clean
from utcp_bridge.errors import UtcpError
from utcp_bridge.foreign import is_number, is_visible_line
from utcp_bridge.model import Emit, JsonObject, discard, is_object
from utcp_bridge.server.callers import caller_of
from utcp_bridge.server.relay.desk import Desk
from utcp_bridge.server.relay.requests import ask, is_modern, passed_meta, refusal, speaking_protocol
from utcp_bridge.server.replicas.place import new_ident
from utcp_bridge.server.replicas.requests import ReplicaGone, RequestsAcross, outcome_of, result_of
from utcp_bridge.tasks import loop_time
from utcp_bridge.transports.mcp.hosts.rounds import for_host
from utcp_bridge.upstream import HOST, TASK_WISH, ProtocolError, TaskStarted, Upstream, ask_host

__all__ = ["TASKS", "Tasks"]

Context = ServerRequestContext[Any, Any]
TASKS: Final = "io.modelcontextprotocol/tasks"
_CAPABILITIES_KEY: Final = "io.modelcontextprotocol/clientCapabilities"
_RELATED: Final = "io.modelcontextprotocol/related-task"
_MISSING_CAPABILITY: Final = -32021
_HEADER_MISMATCH: Final = -32020
_MAX_TASKS: Final = 1_000
_MAX_OF_OWNER: Final = 100
_LONGEST_SECONDS: Final = 86_400.0
_MAX_MESSAGE: Final = 2_000
_PAUSES: Final = (0.05, 30.0)
_DEFAULT_PAUSE: Final = 1.0
_END_SECONDS: Final = 5.0
_MAX_MILLISECONDS: Final = 2**53 - 1
"""The largest integer that every parser of JSON reads exactly."""
_MAX_TIME: Final = 64
"""Characters of a moment."""
_NAME_DIGITS: Final = 8
_DIGITS: Final = 32 + _NAME_DIGITS
"""Of the id of a task: it ends with the name of the replica that has it."""
_PAGE: Final = 100
"""Tasks in one page of `tasks/list`."""
_LIST_SECONDS: Final = 3.0
"""For the lists of the other replicas."""
_CANCELLED: Final = "The task was cancelled."
_NOT_SHARED: Final = (
    "belongs to another replica of the bridge, or to one that has been restarted, and they do not share a store. Call"
    " the tool again. The operator can set `store`, or let the balancer send each client to one replica."
)
_GONE: Final = (
    "belongs to a replica of the bridge that has ended, or does not answer. Send it again in a moment, or call the tool"
    " again."
)
_ASKS_ELSEWHERE: Final = (
    "The task needs an answer of the client, and its replica of the bridge is not the one that the client reached. Let"
    " the balancer send each client to one replica."
)
_STATES: Final = ("working", "input_required", "completed", "failed", "cancelled")


class UpdateTaskParams(types.RequestParams):
    """The parameters of `tasks/update`."""

    task_id: str
    input_responses: dict[str, Any]


@dataclass(slots=True, eq=False)
class KeptTask:
    """One task of an upstream."""

    ident: str
    owner: str
    started: TaskStarted
    ends: float
    """When it is forgotten, on the clock of the event loop."""
    last: JsonObject
    """What the upstream said of it last."""
    began: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def begun(self) -> str:
        """When it began, for an upstream that does not say it."""
        return self.began.isoformat(timespec="seconds")

    @property
    def place(self) -> list[str]:
        """Its place in the list of all replicas, which never changes."""
        return [self.began.isoformat(timespec="microseconds"), self.ident]

    @property
    def upstream(self) -> Upstream:
        """The server that runs it."""
        return self.started.upstream

    @property
    def own(self) -> str:
        """Its id at the server."""
        found: str = self.started.task["taskId"]
        return found


@dataclass(frozen=True, slots=True)
class _Asker:
    """Who asks for a task, as another replica of the bridge may know it too."""

    owner: str
    is_modern: bool
    meta: JsonObject
    """What of the request's `_meta` is for the upstream."""


class Tasks:
    """The handlers of tasks."""

    def __init__(self, desk: Desk, *, is_on: bool) -> None:
        """Offer tasks if `is_on`."""
        self._desk = desk
        self._is_on = is_on
        self._kept: OrderedDict[str, KeptTask] = OrderedDict()
        self._name = secrets.token_hex(_NAME_DIGITS // 2)
        self._across: RequestsAcross | None = None
        self._works = {"get": self._get_here, "outcome": self._outcome_here, "cancel": self._cancel_here,
                       "update": self._update_here}  # fmt: skip

    def share(self, across: RequestsAcross) -> None:
        """Let other bridges ask for tasks that are here, and the other way round."""
        self._name, self._across = across.name, across
        across.answer("task", self._answer_other)
        across.answer("tasks", self._list_for_other)

    def register(self, server: Any) -> None:
        """Add the handlers to a server."""
        server.add_request_handler("tasks/get", types.GetTaskRequestParams, self._get)
        server.add_request_handler("tasks/result", types.GetTaskPayloadRequestParams, self._result)
        server.add_request_handler("tasks/list", types.PaginatedRequestParams, self._list)
        server.add_request_handler("tasks/cancel", types.CancelTaskRequestParams, self._cancel)
        server.add_request_handler("tasks/update", UpdateTaskParams, self._update)

    def advertised(self, base: types.ServerCapabilities, *, modern: bool) -> types.ServerCapabilities:
        """Return the capabilities of the server with tasks, if an upstream has them."""
        upstreams = [one for one in self._desk.client.upstreams() if one.offers is not None]
        if not self._is_on or not any(_has_tasks(one) for one in upstreams):
            return base
        if modern:
            return base.model_copy(update={"extensions": {**(base.extensions or {}), TASKS: {}}})
        calls: JsonObject = {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}
        return base.model_copy(update={"tasks": types.ServerTasksCapability.model_validate(calls)})

    def wish(self, ctx: Context) -> JsonObject | None:
        """Return what a host says of the task that it takes in place of a call's result; None if it takes none."""
        if not self._is_on:
            return None
        if is_modern(ctx):
            return {} if _declares(ctx) else None
        task = (ctx.params or {}).get("task")
        return task if is_object(task) else None

    @contextmanager
    def offering(self, wish: JsonObject | None) -> Generator[None]:
        """Let upstreams return tasks during the block, if the host takes them."""
        token = TASK_WISH.set(wish)
        try:
            yield
        finally:
            TASK_WISH.reset(token)

    def created(self, ctx: Context, started: TaskStarted) -> JsonObject:
        """Keep a task for its caller, and return the result of the call that began it."""
        owner = caller_of(ctx).owner
        self._forget(owner)
        kept_ms = _ttl(started.task)
        seconds = _LONGEST_SECONDS if kept_ms is None else min(kept_ms / 1000, _LONGEST_SECONDS)
        ident = f"{new_ident()}{self._name}"
        kept = self._kept[ident] = KeptTask(ident, owner, started, loop_time() + seconds, started.task)
        shown = _shown(kept, modern=is_modern(ctx))
        return {"resultType": "task", **shown} if is_modern(ctx) else {"task": shown}

    def kept(self) -> list[KeptTask]:
        """Return the tasks of all callers, the oldest first."""
        return list(self._kept.values())

    # --- handlers ---

    async def _get(self, ctx: Context, params: types.GetTaskRequestParams) -> JsonObject:
        with speaking_protocol(self._desk.client, ctx):
            return await self._run("get", self._asker(ctx, params.task_id), params.task_id)

    async def _get_here(self, asker: _Asker, kept: KeptTask, _more: JsonObject) -> JsonObject:
        state = await self._state(asker, kept)
        shown = _shown(kept, modern=asker.is_modern)
        if not asker.is_modern:
            return shown
        return {"resultType": "complete", **shown, **await self._detail(asker, kept, state)}

    async def _detail(self, asker: _Asker, kept: KeptTask, state: JsonObject) -> JsonObject:
        """Return what a task of 2026-07-28 has besides its state: its result, its error, or what it needs."""
        status = state["status"]
        if status == "input_required":
            requests = state.get("inputRequests")
            return {"inputRequests": requests if is_object(requests) else {}}
        if status not in {"completed", "failed"}:
            return {}
        try:
            result = await self._outcome(asker, kept, state)
        except ProtocolError as error:
            told = refusal(self._desk.client, error, modern=True).error
            return {"status": "failed", "error": told.model_dump(mode="json", exclude_none=True)}
        return {"status": "completed", "result": result}

    async def _result(self, ctx: Context, params: types.GetTaskPayloadRequestParams) -> JsonObject:
        with speaking_protocol(self._desk.client, ctx):
            if is_modern(ctx):
                raise MCPError(types.METHOD_NOT_FOUND, "tasks/get has the result of a task.")
            asker, ident = self._asker(ctx, params.task_id), params.task_id

            async def work(_emit: Emit) -> JsonObject:
                if (bridge := self._elsewhere(ident)) is not None:
                    return await self._settled_elsewhere(bridge, asker, ident)
                kept = self._of(asker, ident)
                state = await self._settled(asker, kept)
                if state["status"] == "cancelled":
                    raise MCPError(types.INTERNAL_ERROR, _CANCELLED)
                return await self._outcome(asker, kept, state)

            result = await self._desk.interact(ctx, work)
            meta: JsonObject = result.get("_meta") or {}
            return {**result, "_meta": {**meta, _RELATED: {"taskId": ident}}}

    async def _outcome_here(self, asker: _Asker, kept: KeptTask, _more: JsonObject) -> JsonObject:
        return await self._outcome(asker, kept, kept.last)

    async def _settled(self, asker: _Asker, kept: KeptTask) -> JsonObject:
        """Return the state of a task that has ended. A server of 2026-07-28 gets what it needs from the host.

        One of 2025-11-25 asks while the result is fetched, so a task that needs input counts as ended.
        """
        state = await self._state(asker, kept)
        while state["status"] == "working" or (state["status"] == "input_required" and kept.started.inline):
            requests = state.get("inputRequests")
            if state["status"] == "working" or not is_object(requests):
                await anyio.sleep(_pause(state))
            else:
                try:
                    answers = {key: await self._answer(one) for key, one in requests.items() if is_object(one)}
                except ProtocolError:
                    await self._end(asker, kept)
                    raise
                await self._ask(asker, kept, "tasks/update", {"inputResponses": answers})
            state = await self._state(asker, kept)
        return state

    async def _end(self, asker: _Asker, kept: KeptTask) -> None:
        """Cancel a task that does not get what it needs. What its server says to it makes no difference."""
        with anyio.move_on_after(_END_SECONDS), suppress(ProtocolError, UtcpError, MCPError):
            await self._ask(asker, kept, "tasks/cancel")
        kept.last = {**kept.last, "status": "cancelled"}

    async def _answer(self, request: JsonObject) -> JsonObject:
        host, method = HOST.get(), str(request.get("method"))
        params = for_host(method, request.get("params"), host)
        return await ask_host(host, method, params, seconds=self._desk.client.settings.ask_timeout)

    async def _list(self, ctx: Context, params: types.PaginatedRequestParams) -> JsonObject:
        with speaking_protocol(self._desk.client, ctx):
            caller = caller_of(ctx)
            if is_modern(ctx):
                raise MCPError(types.METHOD_NOT_FOUND, "Tasks cannot be listed in this version of the protocol.")
            after = _read_cursor(params.cursor)
            if caller.is_shared:
                return {"tasks": []}
            found = self._list_here(caller.owner, after)
            if self._across is not None:
                asked = {"owner": caller.owner, "after": after}
                outcomes, _silent = await self._across.ask_all("tasks", asked, _LIST_SECONDS)
                found += [one for outcome in outcomes.values() for one in outcome["tasks"]]
            found.sort(key=lambda one: one["at"])
            page: JsonObject = {"tasks": [one["shown"] for one in found[:_PAGE]]}
            return page if len(found) <= _PAGE else {**page, "nextCursor": _cursor(found[_PAGE - 1]["at"])}

    async def _list_for_other(self, asked: JsonObject, _emit: Emit) -> JsonObject:
        return {"tasks": self._list_here(asked["owner"], asked["after"])}

    def _list_here(self, owner: str, after: list[str]) -> list[JsonObject]:
        """Return {at, shown} of the tasks here behind a place, by place: a page of them, and one that says "more"."""
        self._forget(owner)
        own = [one for one in self._kept.values() if one.owner == owner and one.place > after]
        own.sort(key=lambda one: one.place)
        return [{"at": one.place, "shown": _shown(one, modern=False)} for one in own[: _PAGE + 1]]

    async def _cancel(self, ctx: Context, params: types.CancelTaskRequestParams) -> JsonObject:
        with speaking_protocol(self._desk.client, ctx):
            return await self._run("cancel", self._asker(ctx, params.task_id), params.task_id)

    async def _cancel_here(self, asker: _Asker, kept: KeptTask, _more: JsonObject) -> JsonObject:
        state = await self._ask(asker, kept, "tasks/cancel")
        if state.get("status") in _STATES:
            kept.last = {**kept.last, **state}
        elif kept.last.get("status") in {"working", "input_required"}:
            kept.last = {**kept.last, "status": "cancelled"}
        return {"resultType": "complete"} if asker.is_modern else _shown(kept, modern=False)

    async def _update(self, ctx: Context, params: UpdateTaskParams) -> JsonObject:
        with speaking_protocol(self._desk.client, ctx):
            more: JsonObject = {"inputResponses": params.input_responses}
            return await self._run("update", self._asker(ctx, params.task_id), params.task_id, more)

    async def _update_here(self, asker: _Asker, kept: KeptTask, more: JsonObject) -> JsonObject:
        if kept.started.inline:
            await self._ask(asker, kept, "tasks/update", more)
        return {"resultType": "complete"}

    # --- tasks of other replicas ---

    def _elsewhere(self, ident: str) -> str | None:
        """Return the name of the replica that has a task; None if it is this one, or the id does not say it."""
        name = ident[-_NAME_DIGITS:]
        return None if ident in self._kept or len(ident) != _DIGITS or name == self._name else name

    async def _run(self, what: str, asker: _Asker, ident: str, more: JsonObject | None = None) -> JsonObject:
        if (bridge := self._elsewhere(ident)) is not None:
            return await self._ask_other(bridge, what, asker, ident, more)
        return await self._works[what](asker, self._of(asker, ident), more or {})

    async def _ask_other(
        self, bridge: str, what: str, asker: _Asker, ident: str, more: JsonObject | None = None
    ) -> JsonObject:
        if self._across is None:
            raise MCPError(types.INVALID_PARAMS, f"The task {ident[:_DIGITS]!r} {_NOT_SHARED}")
        asked = {"what": what, "task": ident, "more": more or {}, **asdict(asker)}
        try:
            return result_of(await self._across.ask(bridge, "task", asked, discard))
        except ReplicaGone:
            raise MCPError(types.INVALID_PARAMS, f"The task {ident[:_DIGITS]!r} {_GONE}") from None

    async def _answer_other(self, asked: JsonObject, _emit: Emit) -> JsonObject:
        """Return the outcome of a request that reached another replica."""

        async def work() -> JsonObject:
            asker = _Asker(asked["owner"], asked["is_modern"], asked["meta"])
            return await self._works[asked["what"]](asker, self._of(asker, asked["task"]), asked["more"])

        return await outcome_of(work())

    async def _settled_elsewhere(self, bridge: str, asker: _Asker, ident: str) -> JsonObject:
        """Return the result of a task of another replica, once it has ended there (2025-11-25)."""
        while True:
            state = await self._ask_other(bridge, "get", asker, ident)
            if state["status"] == "cancelled":
                raise MCPError(types.INTERNAL_ERROR, _CANCELLED)
            if state["status"] == "input_required":
                raise MCPError(types.INVALID_REQUEST, _ASKS_ELSEWHERE)
            if state["status"] != "working":
                return await self._ask_other(bridge, "outcome", asker, ident)
            await anyio.sleep(_pause(state))

    # --- inside ---

    async def _state(self, asker: _Asker, kept: KeptTask) -> JsonObject:
        state = await self._ask(asker, kept, "tasks/get")
        if state.get("status") in _STATES:
            kept.last = state
        return kept.last

    async def _outcome(self, asker: _Asker, kept: KeptTask, state: JsonObject) -> JsonObject:
        """Return the result of an ended task as the result of its tool.

        :raises ProtocolError: the task failed with an error of the protocol.
        """
        result: Any = state.get("result")
        if not kept.started.inline:
            try:
                result = await self._ask(asker, kept, "tasks/result")
            except ProtocolError:
                if state.get("status") == "input_required":  # the server got no answer, and may keep it waiting
                    await self._end(asker, kept)
                raise
        elif not is_object(result):
            error = state.get("error")
            error = error if is_object(error) else {}
            code = error.get("code")
            message = str(error.get("message") or state.get("statusMessage") or "The task failed.")
            raise ProtocolError(
                code if isinstance(code, int) else types.INTERNAL_ERROR, clean(message), error.get("data")
            )
        return kept.started.render(result)

    async def _ask(self, asker: _Asker, kept: KeptTask, method: str, more: JsonObject | None = None) -> JsonObject:
        params: JsonObject = {"taskId": kept.own, **(more or {}), **asker.meta}
        return await ask(self._desk.client, kept.upstream, method, params)

    def _asker(self, ctx: Context, ident: str) -> _Asker:
        """Return who asks for the task of an id.

        :raises MCPError: the host has not said that it takes tasks, or its headers name another task.
        """
        if is_modern(ctx) and not _declares(ctx):
            required: JsonObject = {"requiredCapabilities": {"extensions": {TASKS: {}}}}
            raise MCPError(_MISSING_CAPABILITY, f"{ctx.method} needs the extension {TASKS}.", required)
        named = None if ctx.request is None else ctx.request.headers.get(MCP_NAME_HEADER)
        if is_modern(ctx) and named is not None and decode_header_value(named.strip()) != ident:
            raise MCPError(_HEADER_MISMATCH, "The header Mcp-Name differs from `taskId`.")
        return _Asker(caller_of(ctx).owner, is_modern(ctx), passed_meta(ctx.params))

    def _of(self, asker: _Asker, ident: str) -> KeptTask:
        """Return the task of this id.

        :raises MCPError: it does not belong to the one who asks.
        """
        kept = self._kept.get(ident)
        if kept is None or kept.owner != asker.owner or kept.ends < loop_time():
            raise MCPError(types.INVALID_PARAMS, f"The task {ident[:64]!r} is unknown or has ended.")
        return kept

    def _forget(self, owner: str) -> None:
        """Forget the tasks whose time is over, and the oldest if there are too many."""
        now = loop_time()
        for ident in [ident for ident, one in self._kept.items() if one.ends < now]:
            del self._kept[ident]
        own = [ident for ident, one in self._kept.items() if one.owner == owner]
        for ident in own[: max(len(own) - _MAX_OF_OWNER + 1, 0)]:
            del self._kept[ident]
        while len(self._kept) >= _MAX_TASKS:
            self._kept.popitem(last=False)


def _declares(ctx: Context) -> bool:
    meta = (ctx.params or {}).get("_meta")
    stated = meta.get(_CAPABILITIES_KEY) if is_object(meta) else None
    extensions = stated.get("extensions") if is_object(stated) else None
    return is_object(extensions) and TASKS in extensions


def _has_tasks(upstream: Upstream) -> bool:
    capabilities = {} if upstream.offers is None else upstream.offers.capabilities
    return "tasks" in capabilities or TASKS in (capabilities.get("extensions") or {})


def _shown(kept: KeptTask, *, modern: bool) -> JsonObject:
    """Return the state of a task in the words of the host's version."""
    state = kept.last
    created = _time(kept.started.task.get("createdAt")) or kept.begun
    shown: JsonObject = {
        "taskId": kept.ident,
        "status": state.get("status", "working"),
        "createdAt": created,
        "lastUpdatedAt": _time(state.get("lastUpdatedAt")) or created,
        "ttlMs" if modern else "ttl": _ttl(kept.started.task),
    }
    if message := clean(state.get("statusMessage"), _MAX_MESSAGE):
        shown["statusMessage"] = message
    pause = _milliseconds(state, "pollIntervalMs", "pollInterval")
    return shown if pause is None else {**shown, "pollIntervalMs" if modern else "pollInterval": pause}


def _cursor(place: list[str]) -> str:
    return base64.urlsafe_b64encode(" ".join(place).encode()).decode().rstrip("=")


def _read_cursor(cursor: str | None) -> list[str]:
    """Return the place behind which a page begins. A cursor stays valid when tasks come and go.

    :raises MCPError: it is not one of the bridge.
    """
    if cursor is None:
        return []
    try:
        found = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii").split(" ")
    except (binascii.Error, ValueError):
        found = []
    if len(found) != 2:
        raise MCPError(types.INVALID_PARAMS, "The cursor is not one of this list. Ask for the list without a cursor.")
    return found


def _time(value: Any) -> str | None:
    """Return a moment as the upstream wrote it; None if it cannot be one."""
    return value if isinstance(value, str) and len(value) <= _MAX_TIME and is_visible_line(value) else None


def _ttl(task: JsonObject) -> int | None:
    return _milliseconds(task, "ttlMs", "ttl")


def _pause(state: JsonObject) -> float:
    wish = _milliseconds(state, "pollIntervalMs", "pollInterval")
    return _DEFAULT_PAUSE if wish is None else min(max(wish / 1000, _PAUSES[0]), _PAUSES[1])


def _milliseconds(task: JsonObject, *keys: str) -> int | None:
    found = next((task[key] for key in keys if is_number(task.get(key))), None)
    return None if found is None or found < 1 else min(int(found), _MAX_MILLISECONDS)
