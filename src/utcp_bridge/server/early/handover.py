"""The way from the early front to the SDK: the host that may be asked with it, and what the SDK has to see first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, Protocol
from uuid import uuid4

import anyio
import orjson
from pydantic_core import from_json

from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.server.early.hello import Hello
from utcp_bridge.server.hot.requests import MAX_HOT_BYTES, HotRequest
from utcp_bridge.server.wire.lines import Lines
from utcp_bridge.server.wire.protocol import DEFAULT_LEVEL, RequestId
from utcp_bridge.upstream import URL_ELICITATION_REQUIRED, CallingHost, relayed_capabilities

__all__ = ["CANCELLED", "EarlyHost", "Front", "Replay", "again"]

CANCELLED: Final = "notifications/cancelled"


class Front(Protocol):
    """What is before the SDK."""

    async def host_with_sdk(self) -> CallingHost:
        """Return the host of the session as the SDK reaches it, which from then on serves all messages."""
        ...

    async def send_tool_list_changed(self) -> None:
        """Notify the client that the tools have changed."""
        ...

    def handed_over(self) -> bytes:
        """Note that the SDK has seen what it has to see. Return the line that it has to serve first.

        :raises LongLineError: the line is too long.
        """
        ...

    def compare(self, method: str, response: Any) -> None:
        """Look at a response of the SDK that is withheld, because the client has had one."""
        ...

    @property
    def is_busy(self) -> bool:
        """Whether a request is in flight here."""
        ...

    def cancels(self, params: JsonObject) -> bool:
        """Cancel the request that a `notifications/cancelled` names. Return whether it was in flight here."""
        ...


def again(modern: HotRequest | None, remembered: Iterable[JsonObject]) -> list[JsonObject]:
    """Return the messages that the SDK has to see first: what a session remembers.

    `modern` is the first request of a host of 2026-07-28, if it is one. A request that does nothing then decides about
    the era of the connection.
    """
    if modern is None:
        return list(remembered)
    meta = (modern.params or {}).get("_meta", {})
    stated = {key: one for key, one in meta.items() if key != "progressToken"}
    return [{"jsonrpc": "2.0", "id": 0, "method": "tools/list", "params": {"_meta": stated}}, *remembered]


class EarlyHost(CallingHost):
    """The host of a session. What it is asked goes the way of the SDK."""

    takes_errors = frozenset({URL_ELICITATION_REQUIRED})

    def __init__(self, front: Front, hello: Hello) -> None:
        self.key = uuid4().hex
        self.version = hello.version
        self.capabilities = relayed_capabilities(hello.capabilities)
        self._front = front

    @property
    def log_level(self) -> str:
        """The lowest level of log messages that it receives."""
        return DEFAULT_LEVEL

    async def ask(self, method: str, params: JsonObject) -> JsonObject:
        """Send a request to the client and return its result.

        :raises ProtocolError: the client refused it, or cannot be reached.
        """
        return await (await self._front.host_with_sdk()).ask(method, params)

    async def notify(self, method: str, params: JsonObject) -> None:
        """Send a notification to the client."""
        await (await self._front.host_with_sdk()).notify(method, params)

    async def send_tool_list_changed(self) -> None:
        """Notify the client that the tools have changed."""
        await self._front.send_tool_list_changed()


class Replay:
    """The lines that the SDK reads: first what the session remembers, each message after the response to the last."""

    def __init__(self, front: Front, lines: Lines, messages: Iterable[JsonObject]) -> None:
        self._front = front
        self._lines = lines
        self._next = deque(messages)
        self._answered: anyio.Event | None = None
        self._is_over = False
        self.withheld: dict[RequestId, Callable[[Any], object]] = {}

    async def next_line(self) -> bytes:
        """Return the next line, empty at the end.

        :raises LongLineError: the line is too long.
        """
        if self._is_over:
            return await self._next_of_client()
        if self._answered is not None:
            await self._answered.wait()
            self._answered = None
        if self._next:
            return self._again(self._next.popleft())
        self._is_over = True
        return self._front.handed_over()

    async def _next_of_client(self) -> bytes:
        while True:
            line = await self._lines()
            if not (self._front.is_busy and self._cancels(line)):
                return line

    def _again(self, message: JsonObject) -> bytes:
        if "id" in message:
            ident = f"utcp-bridge/{uuid4().hex}"
            self._answered = anyio.Event()
            self.withheld[ident] = partial(self._withhold, self._answered, message["method"])
            message = {**message, "id": ident}
        return orjson.dumps(message)

    def _withhold(self, answered: anyio.Event, method: str, response: Any) -> None:
        self._front.compare(method, response)
        answered.set()

    def _cancels(self, line: bytes) -> bool:
        if CANCELLED.encode() not in line or len(line) > MAX_HOT_BYTES:
            return False
        try:
            message = from_json(line)
        except ValueError:
            return False
        if not is_object(message) or message.get("method") != CANCELLED or "id" in message:
            return False
        params = message.get("params")
        return is_object(params) and self._front.cancels(params)
