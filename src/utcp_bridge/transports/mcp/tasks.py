"""Tool calls that a server runs as tasks, followed to their result for callers that do not use tasks.

    2025-11-25   a tool with `execution.taskSupport: required` is called with `task`; `tasks/get` says how far it is,
                 `tasks/result` returns the result
    2026-07-28   extension `io.modelcontextprotocol/tasks`: any call may return a task; `tasks/get` has the result too,
                 and `tasks/update` takes answers

The caller gets the messages of the task as progress. A caller that gives up cancels the task. A caller that takes tasks
(`TASK_WISH`) gets the task itself.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, Protocol
from uuid import uuid4

import anyio

from utcp_bridge.errors import ConnectionLost, MalformedReply, Rejected, Unreachable, UtcpError
from utcp_bridge.foreign import is_number, visible
from utcp_bridge.model import ContentBlocks, Emit, JsonObject, discard, is_object
from utcp_bridge.upstream import TASK_WISH, ProtocolError, TaskStarted, Upstream

__all__ = ["TASKS", "TaskCalls", "as_task"]

TASKS: Final = "io.modelcontextprotocol/tasks"
_STATE: Final = "utcp-bridge-task:"
"""Starts the `requestState` of a call whose task waits for answers."""
_KEPT_MS: Final = 3_600_000
"""Milliseconds for which a server of 2025-11-25 is asked to keep a task."""
_FIRST_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 5.0
"""Seconds between two questions about a task, at most. Servers may name a longer one."""
_LONGEST_WISH: Final = 30.0
_CANCEL_SECONDS: Final = 5.0
_MAX_FAILURES: Final = 3
"""Questions about a task in a row that may fail because the connection broke."""
_ENDED: Final = ("completed", "failed", "cancelled")
_MAX_MESSAGE: Final = 2_000
_MAX_IDENT: Final = 4_096
"""Characters of the id of a task."""


class Exchange(Protocol):
    """Sends a request on one session and returns its result."""

    async def __call__(self, method: str, params: JsonObject, emit: Emit = discard) -> JsonObject:
        """Send a request."""
        ...


Spawn = Callable[[Callable[[], Coroutine[Any, Any, None]]], object]


class TaskCalls:
    """The tool calls of one server that may become tasks."""

    def __init__(
        self,
        where: str,
        spawn: Spawn,
        upstream: Callable[[], Upstream],
        read: Callable[[JsonObject], ContentBlocks],
    ) -> None:
        """Belong to one server: `where` names it in messages, and `read` reads its results."""
        self._where = where
        self._upstream = upstream
        self._read = read
        self._spawn = spawn
        self._emits: dict[str, Emit] = {}
        """Where the progress of tasks goes, by its token."""

    async def call(self, send: Exchange, params: JsonObject, emit: Emit) -> JsonObject:
        """Return the result of `tools/call`, after its task if it becomes one.

        A task that needs answers gives a result of type `input_required`, whose state continues the task.

        :raises TaskStarted: the host takes the task itself.
        :raises ProtocolError: the server refused the call, or its task failed with an error of the protocol.
        :raises Rejected: the task was cancelled by the server.
        :raises UtcpError: the server cannot be reached, or its reply cannot be read.
        """
        state = params.get("requestState")
        if isinstance(state, str) and state.startswith(_STATE):
            ident = state.removeprefix(_STATE)
            await send("tasks/update", {"taskId": ident, "inputResponses": params.get("inputResponses") or {}})
            return await self._followed(send, {"taskId": ident, "status": "working"}, emit, inline=True)
        if "task" in params:
            return await self._required(send, params, emit)
        result = await send("tools/call", params, emit)
        if result.get("resultType") != "task":
            return result
        return await self._started(send, self._checked(result), emit, inline=True)

    def give_up(self, send: Exchange, state: str | None) -> None:
        """Cancel the task that waits for answers under this state, if it is one: they will not come."""
        if state is not None and state.startswith(_STATE):
            self._spawn(partial(_cancel, send, state.removeprefix(_STATE)))

    async def heard(self, params: Any) -> None:
        """Pass on the progress of a task, whose call has ended for the SDK."""
        emit = self._emits.get(str(getattr(params, "progress_token", "")))
        if emit is not None:
            partial_result = {"progress": params.progress, "total": params.total, "message": params.message}
            await emit({key: value for key, value in partial_result.items() if value is not None})

    async def _required(self, send: Exchange, params: JsonObject, emit: Emit) -> JsonObject:
        """Call a tool that only runs as a task (2025-11-25). Its progress has a token of ours, which outlives it."""
        token = f"task-{uuid4().hex}"
        self._emits[token] = emit
        meta = params.get("_meta")
        try:
            asked = {**params, "_meta": {**(meta if is_object(meta) else {}), "progressToken": token}}
            result = await send("tools/call", asked)
            if not is_object(task := result.get("task")):
                return result
            return await self._started(send, self._checked(task), emit, inline=False)
        finally:
            del self._emits[token]

    async def _started(self, send: Exchange, task: JsonObject, emit: Emit, *, inline: bool) -> JsonObject:
        if TASK_WISH.get() is not None:
            raise TaskStarted(self._upstream(), task, self._read, inline=inline)
        return await self._followed(send, task, emit, inline=inline)

    async def _followed(self, send: Exchange, task: JsonObject, emit: Emit, *, inline: bool) -> JsonObject:
        """Return the result of a task. `inline` is whether `tasks/get` has it."""
        ident = task["taskId"]
        told = _Told(emit)
        try:
            while task.get("status") == "working":
                await told.tell(task)
                await anyio.sleep(told.pause(task))
                task = self._checked(await self._asked(send, ident))
            await told.tell(task)
            return await (self._inlined(task) if inline else self._fetched(send, task))
        except anyio.get_cancelled_exc_class():
            self._spawn(partial(_cancel, send, ident))
            raise

    async def _asked(self, send: Exchange, ident: str) -> JsonObject:
        """Return how far a task is. A connection that broke is opened again: tasks may outlive it."""
        for seconds in range(1, _MAX_FAILURES):
            try:
                return await send("tasks/get", {"taskId": ident})
            except (ConnectionLost, Unreachable):
                await anyio.sleep(seconds)
        return await send("tasks/get", {"taskId": ident})

    async def _fetched(self, send: Exchange, task: JsonObject) -> JsonObject:
        """Return the result of a task of 2025-11-25. A server that needs input asks while this request waits."""
        if task["status"] == "cancelled":
            raise self._cancelled(task)
        try:
            return await send("tasks/result", {"taskId": task["taskId"]})
        except ProtocolError:
            if task["status"] == "input_required":  # the server got no answer, and may keep the task waiting
                self._spawn(partial(_cancel, send, task["taskId"]))
            raise

    async def _inlined(self, task: JsonObject) -> JsonObject:
        """Return the result in an ended task of 2026-07-28, or what it needs."""
        status = task["status"]
        if status == "input_required":
            return {
                "resultType": "input_required",
                "inputRequests": task.get("inputRequests"),
                "requestState": f"{_STATE}{task['taskId']}",
            }
        if status == "cancelled":
            raise self._cancelled(task)
        if status == "failed":
            error = task.get("error")
            error = error if is_object(error) else {}
            code = error.get("code")
            message = visible(str(error.get("message") or task.get("statusMessage") or "The task failed."))
            raise ProtocolError(code if isinstance(code, int) else -32603, message, error.get("data"))
        if not is_object(result := task.get("result")):
            raise MalformedReply(f"{self._where} completed a task without a result.")
        return result

    def _cancelled(self, task: JsonObject) -> Rejected:
        why = visible(str(task.get("statusMessage") or ""))[:_MAX_MESSAGE]
        return Rejected(f"{self._where} cancelled the task of this call. {why}".rstrip(), status="cancelled")

    def _checked(self, task: JsonObject) -> JsonObject:
        known = (*_ENDED, "working", "input_required")
        ident = task.get("taskId")
        if isinstance(ident, str) and 0 < len(ident) <= _MAX_IDENT and task.get("status") in known:
            return task
        raise MalformedReply(f"{self._where} returned a task that does not match the protocol.")


class _Told:
    """What the caller of a task has heard of it."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._message = ""
        self._count = 0
        self._pause = _FIRST_PAUSE

    async def tell(self, task: JsonObject) -> None:
        """Emit the message of a task if it is a new one."""
        message = task.get("statusMessage")
        if isinstance(message, str) and message and message != self._message:
            self._message = message
            self._count += 1
            await self._emit({"progress": self._count, "message": visible(message)[:_MAX_MESSAGE]})

    def pause(self, task: JsonObject) -> float:
        """Return the seconds until the next question: those of the server, else twice as many each time."""
        wish = next((task[key] for key in ("pollIntervalMs", "pollInterval") if task.get(key) is not None), None)
        if is_number(wish) and wish > 0:
            return min(max(wish / 1000, 0.05), _LONGEST_WISH)
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        return self._pause / 2


async def _cancel(send: Exchange, ident: str) -> None:
    """Cancel a task. What the server says to it makes no difference."""
    with anyio.move_on_after(_CANCEL_SECONDS):
        try:
            await send("tasks/cancel", {"taskId": ident})
        except (ProtocolError, UtcpError):
            return


def as_task(params: JsonObject, support: str | None) -> JsonObject:
    """Return the parameters of a call for a tool with this `taskSupport`: as a task if it has to be one, or if the
    host takes one (2025-11-25).
    """
    wish = TASK_WISH.get()
    if support != "required" and (support != "optional" or wish is None):
        return params
    stated = (wish or {}).get("ttl")
    return {**params, "task": {"ttl": stated if isinstance(stated, int) else _KEPT_MS}}
