"""Calls of hosts of 2026-07-28 that wait for answers of their hosts, while an older MCP server waits for them.

The call goes on in a task of its own. When the MCP server asks for something, the host gets an `InputRequiredResult`,
and the call is suspended until the host repeats its request with the answers: `requestState` names the call.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from utcp_bridge.auth.redaction import Redactor
from utcp_bridge.auth.results import masked_partial
from utcp_bridge.model import Emit, JsonObject, LogMessage, LogReceiver, discard, is_object, log_receiver
from utcp_bridge.tasks import effective_deadline
from utcp_bridge.upstream import InputRequired, ProtocolError

__all__ = ["Suspended", "SuspendedCall", "SuspendedCalls", "Work"]

MAX_SUSPENDED: Final = 1_000
MAX_SUSPENDED_PER_OWNER: Final = 32
_MAX_ENDED: Final = 16
"""Calls that ended while their hosts were away, whose outcomes are kept."""
_INVALID_REQUEST: Final = -32600

Work = Callable[[Emit], Awaitable[JsonObject]]


class Suspended(InputRequired):
    """The host has to answer requests of an MCP server before its call goes on. `call` is the name of the call.

    `bridge` is the name of the replica that has it, if that is not this one.
    """

    def __init__(self, requests: JsonObject, call: str, bridge: str = "") -> None:
        super().__init__(requests)
        self.call, self.bridge = call, bridge


@dataclass(slots=True, eq=False)
class _Asked:
    """A request of the MCP server that the host has to answer."""

    method: str
    params: JsonObject
    answered: anyio.Event = field(default_factory=anyio.Event)
    answer: JsonObject = field(default_factory=dict[str, Any])


class SuspendedCall:
    """One call, whose host may be away while it goes on. Progress and logs reach only a host that waits."""

    def __init__(self, calls: SuspendedCalls, owner: str, redactor: Redactor) -> None:
        self.ident: Final = uuid4().hex
        self.owner: Final = owner
        self.scope: Final = anyio.CancelScope()
        self._calls = calls
        self._redactor = redactor
        self._questions: dict[str, _Asked] = {}
        self._asked = 0
        self._moved = anyio.Event()
        self._emit: Emit = discard
        self._log: LogReceiver | None = None
        self._result: JsonObject | None = None
        self._error: BaseException | None = None
        self.is_followed = True
        """Whether a request of the host waits for the call."""
        self.is_late = False
        """Whether the time for an answer is over."""

    # --- the side of the MCP server ---

    async def run(self, work: Work) -> None:
        """Carry the call out and keep its result."""
        log_receiver.set(self._relay_log)
        try:
            with self.scope:
                self._result = await work(self._relay)
        except Exception as error:  # noqa: BLE001 - the request that follows the call raises it
            self._error = error
        finally:
            if self._result is None and self._error is None:
                self._error = ProtocolError(_INVALID_REQUEST, "The call was cancelled.")
            self._calls.end(self)
            self._move()

    async def ask(self, method: str, params: JsonObject) -> JsonObject:
        """Suspend the call until its host has answered; return the answer.

        :raises ProtocolError: too many calls are suspended.
        """
        self._calls.check(self)
        self._asked += 1
        key = f"{method.partition('/')[0]}-{self._asked}"
        question = self._questions[key] = _Asked(method, await masked_partial(params, self._redactor))
        self._move()
        deadline = effective_deadline()
        try:
            await question.answered.wait()
        finally:
            self._questions.pop(key, None)
            self.is_late = not question.answered.is_set() and anyio.current_time() >= deadline
        return question.answer

    @property
    def is_suspended(self) -> bool:
        """Whether the call waits for its host."""
        return bool(self._questions)

    async def _relay(self, partial: Any) -> None:
        await self._emit(partial)

    async def _relay_log(self, message: LogMessage) -> None:
        if self._log is not None:
            await self._log(message)

    def _move(self) -> None:
        self._moved.set()
        self._moved = anyio.Event()

    # --- the side of the host ---

    def answer(self, answers: Any) -> None:
        """Hand the host's answers to the requests that wait for them. Others are ignored."""
        for key, answer in answers.items() if is_object(answers) else ():
            question = self._questions.pop(key, None)
            if question is not None:
                question.answer = answer if is_object(answer) else {}
                question.answered.set()

    async def follow(self, emit: Emit, log: LogReceiver | None) -> JsonObject:
        """Return the result of the call for the request that waits for it now. If that is cancelled, the call is too.

        :raises Suspended: the host has to answer first.
        :raises Exception: what the call raised.
        """
        self._emit, self._log, self.is_followed = emit, log, True
        try:
            while self._result is None and self._error is None:
                if self._questions:
                    await anyio.lowlevel.checkpoint()  # requests that were sent together are asked together
                    if not self._questions:  # the server gave up meanwhile
                        continue
                    self.is_followed = False
                    raise Suspended(self._requests(), self.ident)
                await self._moved.wait()
        except anyio.get_cancelled_exc_class():
            self.scope.cancel()
            raise
        finally:
            self._emit, self._log = discard, None
        if self._error is not None:
            raise self._error
        return self._result or {}

    def _requests(self) -> JsonObject:
        return {
            key: {"method": one.method, "params": one.params} if one.params else {"method": one.method}
            for key, one in self._questions.items()
        }


class SuspendedCalls:
    """The calls that may be suspended, by their names."""

    def __init__(self) -> None:
        self.group: TaskGroup | None = None
        """Where the calls run; None while the server does not."""
        self._calls: dict[str, SuspendedCall] = {}
        self._ended: OrderedDict[str, SuspendedCall] = OrderedDict()

    def __len__(self) -> int:
        return len(self._calls)

    def begin(self, owner: str, redactor: Redactor) -> SuspendedCall:
        """Return a new call."""
        call = SuspendedCall(self, owner, redactor)
        self._calls[call.ident] = call
        return call

    def find(self, ident: str, owner: str) -> SuspendedCall | None:
        """Return a call of this owner; None if it has ended, and its outcome is known to the host or forgotten."""
        call = self._calls.get(ident) or self._ended.get(ident)
        if call is None or call.owner != owner:
            return None
        self._ended.pop(ident, None)
        return call

    def end(self, call: SuspendedCall) -> None:
        """Forget a call that has ended. If its host is away and not late, keep the outcome until the host is back."""
        self._calls.pop(call.ident, None)
        if not call.is_followed and not call.is_late:
            self._ended[call.ident] = call
            while len(self._ended) > _MAX_ENDED:
                self._ended.popitem(last=False)

    def check(self, call: SuspendedCall) -> None:
        """Check whether one more call may wait for its host.

        :raises ProtocolError: it may not.
        """
        counts = Counter(one.owner for one in self._calls.values() if one.is_suspended and one is not call)
        if counts[call.owner] >= MAX_SUSPENDED_PER_OWNER or counts.total() >= MAX_SUSPENDED:
            raise ProtocolError(
                _INVALID_REQUEST,
                f"{counts[call.owner]} calls of this client wait for its answers already, {counts.total()} in all.",
            )
