"""webrtc: calls over a data channel to a WebRTC peer (extra `[webrtc]`).

    v1  {"call_template_type": "webrtc", "signaling_server": "https://signal.example.com", "peer_id": "tools"}
    v0  the same with "provider_type": "webrtc"

The bridge and the peer meet through the Go library's HTTP signalling or the Rust library's, through messages over a
WebSocket, or through a PeerJS server (`signaling`). One connection per manual serves all its calls. A call with
`stream: true` has a connection of its own, and emits pieces until the peer ends or closes it. Tools come with the
signalling answer, or the bridge asks for them on the channel. STUN and TURN servers are used only if `ice_servers`
names them. Limits: 262,144 bytes a call, `max_reply_bytes` a reply or a stream, `max_stream_events`, `idle_timeout`
without a message.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self, TypeVar

import anyio
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator

from utcp_bridge.errors import Rejected, Unreachable, UtcpError
from utcp_bridge.model import Call, Document, Emit, JsonObject, Source, Tool, Trust, in_seconds
from utcp_bridge.net.preview import NativeRequest
from utcp_bridge.net.stream import Collector
from utcp_bridge.placement.compiling import CallTemplate, compiled_property
from utcp_bridge.transport import Services, Target, Transport
from utcp_bridge.transports.webrtc.channel import DataChannelOptions, WebRtcChannel, load_aiortc
from utcp_bridge.transports.webrtc.ice import IcePolicy, Peers, ice_endpoints
from utcp_bridge.transports.webrtc.messages import (
    CallInbox,
    Form,
    ReplyLimits,
    call_message,
    discovery_message,
    encode,
    manual_of,
    outcome,
)
from utcp_bridge.transports.webrtc.signalling import Meeting, Way, connect
from utcp_bridge.urls import bare_url, endpoint_of_url, origin_of, split_url

__all__ = ["TRANSPORT", "IceServer", "WebRtcTemplate", "WebRtcTransport"]

_OPENING_SECONDS = 15.0
_MARGIN = 0.25
"""Seconds before a call's deadline at which opening ends by itself, so that the error can say which part failed."""
_PER_CALL = {"name", "timeout", "tool_name", "tool_name_style", "message_form", "stream"}
"""Fields that differ between tools on one connection."""
_PEERJS_SILENCE = "A browser's PeerJS with `serialization: json` does not send replies of 16,300 bytes or more."
_SOCKETS = frozenset({"ws", "wss"})
_UNKNOWN_TOOL = re.compile(r"unknown tool|no such tool|tool\b.{0,80}\bnot found", re.IGNORECASE)
ValueT = TypeVar("ValueT")


class IceServer(BaseModel):
    """A STUN or TURN server."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    urls: str | list[str]
    username: str | None = None
    credential: str | None = Field(default=None, repr=False)


class WebRtcTemplate(CallTemplate):
    """Fields of UTCP's webrtc template and of the Rust library's; from `signaling` on, fields of this bridge."""

    signaling_server: str = Field(min_length=1, repr=False)
    peer_id: str = ""
    channel: str = Field(
        default="tools", validation_alias=AliasChoices("data_channel_name", "channel_label", "channel"), min_length=1
    )
    ordered: bool = True
    max_retransmits: int | None = Field(default=None, ge=0, le=65_535)
    max_packet_life_time: int | None = Field(default=None, ge=0, le=65_535)
    ice_servers: tuple[IceServer, ...] = Field(default=(), repr=False)
    signaling: Way = "auto"
    serialization: Literal["raw", "json"] = "raw"
    message_form: Form = "all"
    stream: bool = False
    tool_name: str | None = None
    tool_name_style: Literal["auto", "bare", "qualified"] = "auto"

    @model_validator(mode="after")
    def _one_reliability(self) -> Self:
        if self.max_retransmits is not None and self.max_packet_life_time is not None:
            raise ValueError("`max_retransmits` and `max_packet_life_time` cannot be used together")
        return self

    @model_validator(mode="after")
    def _posts_go_over_http(self) -> Self:
        if self.signaling in {"connect", "post"} and split_url(self.signaling_server).scheme in _SOCKETS:
            raise ValueError(f"`signaling: {self.signaling}` needs an http:// or https:// `signaling_server`")
        return self

    @compiled_property
    def where(self) -> str:
        """The peer, for messages."""
        return f"Peer {self.peer_id!r} of {bare_url(self.signaling_server)}"

    @compiled_property
    def connection(self) -> str:
        """Equal for templates that share one connection."""
        return self.model_dump_json(exclude=_PER_CALL)

    @property
    def options(self) -> DataChannelOptions:
        """The options of the data channel."""
        return DataChannelOptions(
            label=self.channel,
            ordered=self.ordered,
            max_retransmits=self.max_retransmits,
            max_packet_life_time=self.max_packet_life_time,
            ice_servers=[server.model_dump(exclude_none=True) for server in self.ice_servers],
            binary=self.serialization == "json",
        )

    def names(self, call: Call) -> list[str]:
        """Return the names to send for the tool. The second is for a peer that does not know the first."""
        if self.tool_name is not None:
            return [self.tool_name]
        forms = {"bare": call.tool.name, "qualified": call.tool.qualified_name}
        return list(forms.values()) if self.tool_name_style == "auto" else [forms[self.tool_name_style]]


@dataclass(slots=True)
class _Door:
    """The opening of one connection: one caller at a time opens it, and callers that waited share its failure."""

    lock: anyio.Lock = field(default_factory=anyio.Lock)
    failure: UtcpError | None = None
    failed_at: float = 0.0


class WebRtcTransport(Transport[WebRtcTemplate]):
    """Calls over WebRTC data channels; one connection per manual and peer, and one per stream."""

    kinds: ClassVar[tuple[str, ...]] = ("webrtc",)
    template = WebRtcTemplate

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._channels: dict[tuple[str, str], WebRtcChannel] = {}
        self._doors: dict[tuple[str, str], _Door] = {}
        self._written: dict[str, frozenset[str]] = {}
        """By manual, the ICE servers of its own entry, if the operator wrote that entry and its signalling server."""

    @classmethod
    def endpoint(cls, template: WebRtcTemplate) -> str | None:
        """Return the signalling server, with `ws` or `wss` for signalling over a WebSocket."""
        url = template.signaling_server
        is_socket = template.signaling in {"peerjs", "websocket"}
        return f"ws{url[4:]}" if is_socket and url.startswith("http") else url

    @classmethod
    def peer(cls, template: WebRtcTemplate) -> str | None:
        """Return the peer of the signalling server."""
        return template.where

    @classmethod
    def is_streaming(cls, tool: Tool) -> bool:
        """Whether the template asks for a stream."""
        return bool(tool.template.get("stream"))

    async def discover(self, target: Target[WebRtcTemplate]) -> Document:
        """Return the tools in the signalling answer, or else those that the peer lists on the channel."""
        where = target.template.where
        if endpoint_of_url(target.template.signaling_server) in target.source.exempt:
            self._written[target.source.name] = ice_endpoints(target.template.options.ice_servers)
        limits = self._limits(target.template, size=self.services.settings.max_manual_bytes)
        tools = await self._offered_tools(target)
        if tools is not None:
            return Document({"tools": tools})
        reply = await self._on_kept(target, lambda channel: channel.ask(discovery_message(), limits))
        return Document(manual_of(reply, where))

    async def call(self, target: Target[WebRtcTemplate], call: Call, emit: Emit) -> Any:
        """Send one message and return its reply: one message, several with `partial`, or a stream."""
        template = target.template
        first, *others = template.names(call)
        run = self._stream if template.stream else self._exchange
        try:
            return await run(target, first, call, emit)
        except Rejected as error:
            if not others or not _UNKNOWN_TOOL.search(error.message):
                raise
        return await run(target, others[0], call, emit)

    async def explain(self, target: Target[WebRtcTemplate], call: Call) -> NativeRequest:
        """Return the message for the data channel."""
        template = target.template
        first, *others = template.names(call)
        message = encode(self._message(target, first, call), binary=template.serialization == "json")
        notes = ["Each call has its own `id`."]
        notes += [f"If the peer does not know this name, the bridge sends {name!r}." for name in others]
        line = f"data channel {template.channel!r} of {template.where}"
        return NativeRequest(
            line, messages=(message if isinstance(message, bytes) else message.encode(),), notes=tuple(notes)
        )

    async def forget(self, manual: str) -> None:
        """Close the manual's connections."""
        for key in [key for key in self._channels if key[0] == manual]:
            await self._channels.pop(key).aclose()
        self._doors = {key: door for key, door in self._doors.items() if key[0] != manual}
        self._written.pop(manual, None)

    async def renew(self, manual: str) -> None:
        """Close the manual's connections when no call uses them."""
        for key in [key for key in self._channels if key[0] == manual]:
            channel = self._channels.pop(key)
            channel.is_former = True
            if not channel.users:
                await channel.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        for manual in {key[0] for key in self._channels}:
            await self.forget(manual)

    async def _exchange(self, target: Target[WebRtcTemplate], tool: str, call: Call, emit: Emit) -> Any:
        """Run a call on the kept connection."""
        limits, message = self._limits(target.template), self._message(target, tool, call)

        async def ask(channel: WebRtcChannel) -> Any:
            async with channel.exchange(message, limits) as inbox:
                reply = await inbox.reply()
                if reply.get("partial") is not True:
                    return outcome(reply, target.template.where)
                return await self._gather(target.source.name, inbox, emit, reply)

        return await self._on_kept(target, ask)

    async def _stream(self, target: Target[WebRtcTemplate], tool: str, call: Call, emit: Emit) -> Any:
        """Run a call on a connection of its own. The peer may end the stream by closing it, the caller by leaving."""
        limits, message = self._limits(target.template), self._message(target, tool, call)
        channel = await self._open(target, dedicated=True)
        try:
            async with channel.exchange(message, limits) as inbox:
                return await self._gather(target.source.name, inbox, emit)
        finally:
            await channel.aclose()

    async def _gather(self, manual: str, inbox: CallInbox, emit: Emit, first: JsonObject | None = None) -> Any:
        collector = Collector(self.services.settings, emit, manual)
        with collector.keeping():
            await collector.gather(inbox.pieces(first))
        if collector.truncated is not None and inbox.is_empty:
            raise inbox.silent()
        return collector.result()

    def _message(self, target: Target[WebRtcTemplate], tool: str, call: Call) -> JsonObject:
        template = target.template
        return call_message(tool, call.arguments, stream=template.stream, form=template.message_form)

    def _limits(self, template: WebRtcTemplate, *, size: int | None = None) -> ReplyLimits:
        settings = self.services.settings
        silence = _PEERJS_SILENCE if template.serialization == "json" else None
        return ReplyLimits(size or settings.max_reply_bytes, settings.idle_timeout, silence)

    async def _on_kept(
        self, target: Target[WebRtcTemplate], use: Callable[[WebRtcChannel], Awaitable[ValueT]]
    ) -> ValueT:
        """Use the kept connection, or a new one if the kept one turns out to be closed before anything was sent."""
        channel = await self._channel(target)
        try:
            return await self._used(channel, use)
        except Unreachable:
            channel = await self._channel(target)
        return await self._used(channel, use)

    async def _used(self, channel: WebRtcChannel, use: Callable[[WebRtcChannel], Awaitable[ValueT]]) -> ValueT:
        channel.users += 1
        try:
            return await use(channel)
        finally:
            channel.users -= 1
            if channel.is_former and not channel.users:
                with anyio.CancelScope(shield=True):
                    await channel.aclose()

    async def _offered_tools(self, target: Target[WebRtcTemplate]) -> Any:
        """Return the tools of a new signalling answer; None if this peer lists them on the channel."""
        kept = self._channels.get(_key(target))
        if kept is None or not kept.is_open or kept.tools is None:
            return (await self._channel(target)).tools
        fresh = await self._open(target)
        await fresh.aclose()
        return fresh.tools

    async def _channel(self, target: Target[WebRtcTemplate]) -> WebRtcChannel:
        key = _key(target)
        door = self._doors.setdefault(key, _Door())
        came = anyio.current_time()
        async with door.lock:
            kept = self._channels.get(key)
            if kept is not None and kept.is_open:
                return kept
            if door.failure is not None and door.failed_at >= came:
                raise door.failure  # another call tried while this one waited; PeerJS needs six seconds to refuse
            if kept is not None:
                await self._channels.pop(key).aclose()
            try:
                opened = self._channels[key] = await self._open(target)
            except UtcpError as error:
                door.failure, door.failed_at = error, anyio.current_time()
                raise
            door.failure = None
            return opened

    async def _open(self, target: Target[WebRtcTemplate], *, dedicated: bool = False) -> WebRtcChannel:
        template = target.template
        options = replace(template.options, dedicated=dedicated)
        channel = WebRtcChannel(await load_aiortc(), options, template.where, self._policy(target.source, template))
        meeting = Meeting(
            session=self.services.http.session(target.source),
            url=self.endpoint(template) or "",
            way=template.signaling,
            peer_id=template.peer_id,
            label=template.channel,
            where=template.where,
            serialization=template.serialization,
            reliable=template.max_retransmits is None and template.max_packet_life_time is None,
            credentials=target.credentials,
        )
        started, done = anyio.current_time(), False
        ends = min(started + _OPENING_SECONDS, anyio.current_effective_deadline() - _MARGIN)
        try:
            with anyio.CancelScope(deadline=ends):
                await connect(channel, meeting)
                done = True
        finally:
            if not done:
                await channel.aclose()
        if not done:
            raise _not_opened(channel, template, anyio.current_time() - started)
        return channel

    def _policy(self, source: Source, template: WebRtcTemplate) -> IcePolicy:
        """Return where packets may go. What the operator wrote is exempt, as everywhere."""
        signalling, written = template.signaling_server, self._written.get(source.name)
        is_own = origin_of(signalling) in {source.origin, *source.allowed_origins}
        peers: Peers = "public"
        if source.trust is Trust.OPERATOR:
            peers, written = "any", ice_endpoints(template.options.ice_servers)
        elif is_own and written is not None:
            peers = "any"
        elif is_own and self.services.guard.is_inside(signalling, source):
            peers = "not loopback"
        return IcePolicy(self.services.guard, replace(source, exempt=source.exempt | (written or frozenset())), peers)


TRANSPORT = WebRtcTransport


def _key(target: Target[WebRtcTemplate]) -> tuple[str, str]:
    """Return what distinguishes a manual's connections: the template, and how its signalling server is reached."""
    source = target.source
    return source.name, f"{target.template.connection} {source.tls!r} {source.proxy} {source.allow_networks}"


def _not_opened(channel: WebRtcChannel, template: WebRtcTemplate, seconds: float) -> Unreachable:
    """Return the error for an opening that took too long: which half of it is missing, and what to do."""
    refused = channel.policy.refused
    if channel.answered and refused is not None:
        message = f"{template.where} has no address that may be used. {refused.message}"
        return Unreachable(message, remedy=refused.remedy)
    if channel.answered:
        missing = "it answered the offer, but no connection was made"
        remedy = "If there is a NAT in between, add a STUN or TURN server to `ice_servers`."
    else:
        missing = "no answer to the offer"
        remedy = "Check `peer_id`, and whether the peer is connected to the signalling server."
        if seconds < _OPENING_SECONDS / 2:
            remedy += " A PeerJS server needs six seconds to report an absent peer. Set a longer `timeout`."
    return Unreachable(f"{template.where}: {missing} within {in_seconds(seconds)}.", remedy=remedy)
