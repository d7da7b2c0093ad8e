"""One WebRTC connection with one data channel, on aiortc: offer, answer, candidates, messages and replies.

aiortc is an optional package that takes more than a second to import. `load_aiortc` imports it in a worker thread.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, TypeAlias

import anyio
import anyio.to_thread

from utcp_bridge.errors import (
    ConnectionLost,
    InvalidArguments,
    MalformedReply,
    MissingExtra,
    Unreachable,
)
from utcp_bridge.model import JsonObject
from utcp_bridge.transports.webrtc.ice import IcePolicy, ice_connection
from utcp_bridge.transports.webrtc.messages import CallInbox, Replies, ReplyLimits, encode

__all__ = [
    "DataChannelOptions",
    "WebRtcChannel",
    "load_aiortc",
    "max_message_size",
    "with_admitted_candidates",
]

_CLOSING_SECONDS = 2.0
_DEFAULT_MAX_MESSAGE = 65_536
_OUR_MAX_MESSAGE = 262_144
_MAX_MESSAGE = re.compile(r"^a=max-message-size:(\d+)", re.MULTILINE)

Admit: TypeAlias = Callable[[str, int], bool]
"""Whether packets may go to this host and port."""


@dataclass(frozen=True, slots=True)
class DataChannelOptions:
    """How the channel is made. `ice_servers` are `{urls, username, credential}`; without any, no server is used."""

    label: str = "tools"
    ordered: bool = True
    max_retransmits: int | None = None
    max_packet_life_time: int | None = None
    ice_servers: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    binary: bool = False
    """Whether messages are binary frames (PeerJS's `json`)."""
    dedicated: bool = False
    """Whether the channel serves one stream: every message is a piece of it, and the peer's goodbye ends it."""


async def load_aiortc() -> Any:
    """Return the aiortc package.

    :raises MissingExtra: it is not installed.
    """
    try:
        return await anyio.to_thread.run_sync(import_module, "aiortc")
    except ImportError:
        raise MissingExtra("webrtc", "webrtc") from None


def max_message_size(sdp: str) -> int:
    """Return the bytes that a peer accepts in one message (RFC 8841 section 6), at most aiortc's own limit."""
    found = _MAX_MESSAGE.search(sdp)
    named = int(found[1]) if found else _DEFAULT_MAX_MESSAGE
    return min(named or _OUR_MAX_MESSAGE, _OUR_MAX_MESSAGE)


def with_admitted_candidates(sdp: str, admit: Admit) -> str:
    """Return a peer's session description without the candidates that `admit` refuses."""
    lines = [line for line in sdp.splitlines() if not line.startswith("a=candidate:") or is_usable(line, admit)]
    return "\r\n".join(lines) + "\r\n"


def is_usable(candidate: str, admit: Admit) -> bool:
    """Return whether a candidate line is complete and `admit` accepts its address."""
    words = candidate.split()
    return len(words) >= 8 and words[5].isdecimal() and admit(words[4], int(words[5]))


class WebRtcChannel:
    """A connection from offer to close. `tools` are those in the signalling answer, if there were any."""

    def __init__(self, aiortc: Any, options: DataChannelOptions, where: str, policy: IcePolicy) -> None:
        self._aiortc = aiortc
        self.policy = policy
        self._servers = options.ice_servers
        self._where = where
        self._binary = options.binary
        self._largest = _OUR_MAX_MESSAGE
        self._changed = anyio.Event()
        self._turn = anyio.Lock()
        self._replies = Replies(where, dedicated=options.dedicated)
        self.answered = False
        """Whether the peer's answer has arrived; then only the connection may be missing."""
        self.tools: Any = None
        self.users = 0
        """How many calls use it."""
        self.is_former = False
        """Whether it closes when no call uses it."""
        # An empty list: without a list aiortc uses a public STUN server of its own choice.
        self._peer: Any = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
        self._channel: Any = self._peer.createDataChannel(
            options.label,
            ordered=options.ordered,
            maxRetransmits=options.max_retransmits,
            maxPacketLifeTime=options.max_packet_life_time,
        )
        self._channel.on("open", self._changed.set)
        self._channel.on("close", self._lost)
        self._channel.on("message", self._received)
        self._peer.on("connectionstatechange", self._state_changed)

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return bool(self._channel.readyState == "open") and not self._over

    @property
    def _over(self) -> bool:
        return self._peer.connectionState in {"closed", "failed"} or self._channel.readyState in {"closing", "closed"}

    async def offer(self) -> str:
        """Return our session description with all candidates (aiortc does not trickle).

        :raises PolicyError: the manual may not reach one of its `ice_servers`.
        :raises ConfigError: an entry of `ice_servers` cannot be read.
        """
        connection = ice_connection(self._peer)
        (await self.policy.route(self._servers)).place(connection)
        await self._peer.setLocalDescription(await self._peer.createOffer())
        self.policy.watch(connection)
        return str(self._peer.localDescription.sdp)

    async def accept(self, sdp: str) -> None:
        """Accept the peer's answer.

        :raises MalformedReply: it cannot be read.
        """
        description = self._aiortc.RTCSessionDescription(
            sdp=with_admitted_candidates(sdp, self.policy.admit), type="answer"
        )
        try:
            await self._peer.setRemoteDescription(description)
        except Exception as error:  # aiortc's parser may raise any exception
            raise MalformedReply(f"{self._where} sent a session description that cannot be read.") from error
        self.answered = True
        self._largest = max_message_size(sdp)

    async def add_candidate(self, candidate: Mapping[str, Any]) -> None:
        """Add one of the peer's candidates, unless it cannot be read or used."""
        text = str(candidate.get("candidate") or "").removeprefix("candidate:")
        if not is_usable(text, self.policy.admit):
            return
        try:
            made = import_module("aiortc.sdp").candidate_from_sdp(text)
            made.sdpMid = str(candidate.get("sdpMid") or "0")
            made.sdpMLineIndex = int(candidate.get("sdpMLineIndex") or 0)
            await self._peer.addIceCandidate(made)
        except (ValueError, AssertionError, TypeError):
            return

    async def opened(self) -> None:
        """Wait until the channel is open.

        :raises Unreachable: it was closed instead.
        """
        await self._changed.wait()
        if not self.is_open:
            raise Unreachable(f"{self._where} answered the offer, but no connection was made.")

    async def ask(self, message: JsonObject, limits: ReplyLimits) -> JsonObject:
        """Send one message and wait for its reply. Raises the errors of `exchange` and `CallInbox.reply`."""
        async with self.exchange(message, limits) as inbox:
            return await inbox.reply()

    @asynccontextmanager
    async def exchange(self, message: JsonObject, limits: ReplyLimits) -> AsyncGenerator[CallInbox]:
        """Send one message and yield the inbox for its replies.

        If the block ends before the reply is complete, the connection is closed unless other calls use it. So a late
        reply cannot be taken for the reply to the next call, and the peer can stop its work.

        :raises Unreachable: the channel was closed before anything was sent.
        :raises InvalidArguments: the message is larger than the peer accepts.
        """
        data = encode(message, binary=self._binary)
        size = len(data) if isinstance(data, bytes) else len(data.encode())
        if size > self._largest:
            raise InvalidArguments(
                f"The call has {size:,} bytes, but {self._where} accepts {self._largest:,} in one message.",
                remedy="Send less, or set the peer's `message_form`, so that the arguments are sent once instead of "
                "three times.",
            )
        async with self._turn if self._replies.anonymous else nullcontext():
            if not self.is_open:
                raise Unreachable(f"{self._where} has closed the connection.")
            identifier = str(message["id"])
            inbox = self._replies.expect(identifier, limits)
            try:
                self._channel.send(data)
                yield inbox
            finally:
                self._replies.drop(identifier)
                if self._over or (not inbox.complete and not self._replies):
                    await self.aclose()

    async def aclose(self) -> None:
        """Close the connection. Calls in flight end as ConnectionLost. May be called again."""
        with anyio.CancelScope(shield=True), anyio.move_on_after(_CLOSING_SECONDS):
            await self._peer.close()
        self._lost()

    def _received(self, data: str | bytes) -> None:
        if self._replies.feed(data):
            self._channel.close()
            self._lost()

    def _state_changed(self) -> None:
        if self._peer.connectionState in {"closed", "failed"}:
            self._lost()

    def _lost(self) -> None:
        self._changed.set()
        is_broken = self._peer.connectionState == "failed"
        how = "The connection to {} broke" if is_broken else "{} closed the connection"
        self._replies.lose(
            ConnectionLost(f"{how.format(self._where)} before the reply was complete."), broken=is_broken
        )
