"""webrtc: calls over a data channel of a WebRTC peer (extra `[webrtc]`).

    v1  {"call_template_type": "webrtc", "signaling_server": "https://signal.example.com", "peer_id": "tools"}
    v0  the same with "provider_type": "webrtc"

The peer is met by the Go library's HTTP signalling, else by the Rust library's, or over a PeerJS server
(`ws://` and `wss://` addresses, or `signaling: peerjs`). One connection per manual serves all its calls.
Tools come with the signalling answer or are asked for on the channel. No STUN or TURN server is asked unless
`ice_servers` names it. Limits: 262,144 bytes a call, `max_reply_bytes` a reply, `idle_timeout` without one.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

import anyio
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator

from utcp_bridge.errors import Rejected, Unreachable
from utcp_bridge.model import Call, CallTemplate, Document, Emit
from utcp_bridge.transport import Services, Target, Transport
from utcp_bridge.urls import bare_url, split_url
from utcp_bridge.wire.webrtc_channel import ChannelOptions, Limits, WebRtcChannel, admitting, load_aiortc
from utcp_bridge.wire.webrtc_messages import call_message, discovery_message, manual_of, outcome
from utcp_bridge.wire.webrtc_signalling import Meeting, connect

__all__ = ["TRANSPORT", "IceServer", "WebRtcTemplate", "WebRtcTransport"]

_OPENING_SECONDS = 15.0
_UNKNOWN_TOOL = re.compile(r"unknown tool|no such tool|tool\b.{0,80}\bnot found", re.IGNORECASE)


class IceServer(BaseModel):
    """A STUN or TURN server."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    urls: str | list[str]
    username: str | None = None
    credential: str | None = Field(default=None, repr=False)


class WebRtcTemplate(CallTemplate):
    """Fields of UTCP's webrtc template, of the Rust library's, and ours: `signaling`, `serialization`."""

    signaling_server: str = Field(min_length=1, repr=False)
    peer_id: str = ""
    channel: str = Field(
        default="tools", validation_alias=AliasChoices("data_channel_name", "channel_label", "channel"), min_length=1
    )
    ordered: bool = True
    max_retransmits: int | None = Field(default=None, ge=0, le=65_535)
    max_packet_life_time: int | None = Field(default=None, ge=0, le=65_535)
    ice_servers: tuple[IceServer, ...] = Field(default=(), repr=False)
    signaling: Literal["auto", "connect", "post", "peerjs"] = "auto"
    serialization: Literal["raw", "json"] = "raw"
    tool_name: str | None = None
    tool_name_style: Literal["auto", "bare", "qualified"] = "auto"

    @model_validator(mode="after")
    def _one_reliability(self) -> Self:
        if self.max_retransmits is not None and self.max_packet_life_time is not None:
            raise ValueError("`max_retransmits` and `max_packet_life_time` exclude each other")
        return self

    @cached_property
    def way(self) -> Literal["auto", "connect", "post", "peerjs"]:
        """The signalling in use: an address of a WebSocket is PeerJS's."""
        return "peerjs" if split_url(self.signaling_server).scheme in {"ws", "wss"} else self.signaling

    @cached_property
    def where(self) -> str:
        """The peer, for messages."""
        return f"Peer {self.peer_id!r} of {bare_url(self.signaling_server)}"

    @cached_property
    def connection(self) -> str:
        """Equal for templates that share one connection."""
        return self.model_dump_json(exclude={"name", "timeout", "tool_name", "tool_name_style"})

    @property
    def options(self) -> ChannelOptions:
        """How the data channel is made."""
        return ChannelOptions(
            label=self.channel,
            ordered=self.ordered,
            max_retransmits=self.max_retransmits,
            max_packet_life_time=self.max_packet_life_time,
            ice_servers=[server.model_dump(exclude_none=True) for server in self.ice_servers],
            binary=self.way == "peerjs" and self.serialization == "json",
        )

    def names(self, call: Call) -> list[str]:
        """The tool's name on the wire; the second is for a peer that does not know the first."""
        if self.tool_name is not None:
            return [self.tool_name]
        forms = {"bare": call.tool.name, "qualified": call.tool.qualified_name}
        return list(forms.values()) if self.tool_name_style == "auto" else [forms[self.tool_name_style]]


class WebRtcTransport(Transport[WebRtcTemplate]):
    """Calls over WebRTC data channels; one connection per manual and peer."""

    kinds: ClassVar[tuple[str, ...]] = ("webrtc",)
    template = WebRtcTemplate
    implicit: ClassVar[bool] = False

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._channels: dict[tuple[str, str], WebRtcChannel] = {}
        self._opening: dict[tuple[str, str], anyio.Lock] = {}

    @classmethod
    def endpoint(cls, template: WebRtcTemplate) -> str | None:
        """The signalling server, `ws(s)` for PeerJS."""
        url = template.signaling_server
        return f"ws{url[4:]}" if template.way == "peerjs" and url.startswith("http") else url

    async def discover(self, target: Target[WebRtcTemplate]) -> Document:
        """The tools of the signalling answer, else those that the peer lists on the channel."""
        where = target.template.where
        limits = Limits(self.services.settings.max_manual_bytes, self.services.settings.idle_timeout)
        tools = await self._offered_tools(target)
        if tools is not None:
            return Document({"tools": tools})
        return Document(manual_of(await self._ask(target, discovery_message(), limits), where))

    async def call(self, target: Target[WebRtcTemplate], call: Call, emit: Emit) -> Any:
        """One message, one reply."""
        del emit
        template = target.template
        limits = Limits(self.services.settings.max_reply_bytes, self.services.settings.idle_timeout)
        first, *others = template.names(call)
        try:
            return outcome(await self._ask(target, call_message(first, call.arguments), limits), template.where)
        except Rejected as error:
            if not others or not _UNKNOWN_TOOL.search(error.message):
                raise
        return outcome(await self._ask(target, call_message(others[0], call.arguments), limits), template.where)

    async def forget(self, manual: str) -> None:
        """Close the manual's connections."""
        for key in [key for key in self._channels if key[0] == manual]:
            await self._channels.pop(key).aclose()
        self._opening = {key: lock for key, lock in self._opening.items() if key[0] != manual}

    async def aclose(self) -> None:
        """Close every connection."""
        for manual in {key[0] for key in self._channels}:
            await self.forget(manual)

    async def _ask(self, target: Target[WebRtcTemplate], message: dict[str, Any], limits: Limits) -> dict[str, Any]:
        """Ask on the kept connection; on a new one if that was found closed before anything was sent."""
        channel = await self._channel(target)
        try:
            return await channel.ask(message, limits)
        except Unreachable:
            channel = await self._channel(target)
        return await channel.ask(message, limits)

    async def _offered_tools(self, target: Target[WebRtcTemplate]) -> Any:
        """The tools of a new signalling answer; None if this peer names them on the channel."""
        kept = self._channels.get((target.source.name, target.template.connection))
        if kept is None or not kept.is_open or kept.tools is None:
            return (await self._channel(target)).tools
        fresh = await self._open(target)
        await fresh.aclose()
        return fresh.tools

    async def _channel(self, target: Target[WebRtcTemplate]) -> WebRtcChannel:
        key = (target.source.name, target.template.connection)
        async with self._opening.setdefault(key, anyio.Lock()):
            kept = self._channels.get(key)
            if kept is not None and kept.is_open:
                return kept
            if kept is not None:
                await self._channels.pop(key).aclose()
            opened = self._channels[key] = await self._open(target)
            return opened

    async def _open(self, target: Target[WebRtcTemplate]) -> WebRtcChannel:
        template = target.template
        admit = admitting(self.services.guard, target.source, template.signaling_server)
        channel = WebRtcChannel(await load_aiortc(), template.options, template.where, admit)
        meeting = Meeting(
            session=self.services.http.session(target.source),
            url=self.endpoint(template) or "",
            way=template.way,
            peer_id=template.peer_id,
            label=template.channel,
            where=template.where,
            serialization=template.serialization,
            reliable=template.max_retransmits is None and template.max_packet_life_time is None,
            credentials=target.credentials,
        )
        done = False
        try:
            with anyio.move_on_after(_OPENING_SECONDS):
                await connect(channel, meeting)
                done = True
        finally:
            if not done:
                await channel.aclose()
        if not done:
            raise Unreachable(f"{template.where}: no connection within {_OPENING_SECONDS:g} seconds.")
        return channel


TRANSPORT = WebRtcTransport
