"""The innermost step of a pipeline: it hands a call to its transport, and cleans what comes back.

Both are one step, because each coroutine of a call takes a part of its time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from utcp_bridge.auth.redaction import Redactor
from utcp_bridge.client.explaining import add_advice
from utcp_bridge.errors import AuthRequired, ConfigError, UtcpError
from utcp_bridge.manuals.registration import Registration
from utcp_bridge.model import Call, Emit, Result, StatusMeta, Tool, discard
from utcp_bridge.pipeline import Next
from utcp_bridge.pipeline.cleaning import clean_emit, clean_error, cleaned
from utcp_bridge.tasks import HeavyWork, enclosing_work
from utcp_bridge.transport import Target

if TYPE_CHECKING:
    from utcp_bridge.client.logins import LoginDesk

__all__ = ["Invoking"]


class Invoking:
    """Makes the innermost steps, and keeps what they need: the target of each tool, which its first call binds.

    `find` returns the tool that has a name now. `login_desk` returns what asks a person for a login.
    """

    def __init__(
        self,
        registration: Registration,
        redactor: Redactor,
        find: Callable[[Tool], Tool | None],
        login_desk: Callable[[], LoginDesk],
    ) -> None:
        self._registration = registration
        self._redactor = redactor
        self._find = find
        self._login_desk = login_desk
        self._targets: dict[Tool, Target[Any]] = {}
        self._peers: dict[Tool, str | None] = {}

    def step(self, tool: Tool) -> Next:
        """Return the innermost step of a tool's calls. It holds the secrets."""
        transport = self._registration.transport(tool.kind)

        async def invoke(call: Call, emit: Emit) -> Result:
            if enclosing_work() is None:
                with HeavyWork():
                    return await invoke(call, emit)
            target = self._targets.get(tool) or self._bind(tool)
            credentials = target.credentials
            given = emit if emit is discard else clean_emit(emit)
            try:
                try:
                    if credentials is None:  # the usual case, without the parts
                        value = await transport.call(target, call, given)
                    else:
                        value = await credentials.with_valid_token(partial(transport.call, target, call), given)
                except AuthRequired as needed:
                    work = partial(transport.call, target, call)
                    work = work if credentials is None else partial(credentials.with_valid_token, work)
                    value = await self._login_desk().after_login(tool.manual, partial(work, given), needed)
            except UtcpError as error:
                add_advice(error, tool, has_credentials=credentials is not None)
                if credentials is not None:  # the redactor must not have forgotten them
                    self._redactor.learn(credentials.secrets(), source=f"tool {tool.qualified_name}")
                await clean_error(error)
                raise
            result = value if isinstance(value, Result) else Result(value)
            if result.failure is None and result.clean is result.value and type(result.meta) is StatusMeta:
                return result  # most results: `cleaned` would say the same
            return await cleaned(result)

        return invoke

    def peer(self, tool: Tool) -> str | None:
        """Return what the calls of a tool fail together with; None if the arguments of a call choose it."""
        try:
            return self._peers[tool]
        except KeyError:
            return self._found_peer(tool)

    def _found_peer(self, tool: Tool) -> str | None:
        target = self._targets.get(tool) or self._bind(tool)
        try:
            named = self._registration.transport(tool.kind).peer(target.template)
            peer = tool.name if named is None else None if "{" in named else named
        except ConfigError:
            peer = None
        if tool in self._targets:
            self._peers[tool] = peer
        return peer

    def forget(self, tools: Iterable[Tool]) -> None:
        """Drop what is kept of tools that are gone or have changed."""
        for tool in tools:
            self._targets.pop(tool, None)
            self._peers.pop(tool, None)

    def forget_manual(self, manual: str) -> None:
        """Drop what is kept of the tools of a manual."""
        self.forget([tool for tool in {*self._targets, *self._peers} if tool.manual == manual])

    def forget_all(self) -> None:
        """Drop what is kept: values of variables may have changed."""
        self._targets.clear()
        self._peers.clear()

    def _bind(self, tool: Tool) -> Target[Any]:
        target = self._registration.bind(tool)
        if self._find(tool) is tool:
            self._targets[tool] = target
        return target
