"""Real WebRTC peers (aiortc), and their signalling of four kinds.

The kinds are `go` and `rust` (HTTP as in these libraries), `plain` (messages over a WebSocket as in the Elixir library)
and `peerjs`. The name of a peer says what it does with a call. All peers have the tools `echo` and `slow`. `resetting`
leaves, `flooding` sends 200 kB, `malformed` sends text, `anonymous` replies without ids like the Rust library, `elixir`
and `specified` read and write only their own fields. The reply to a call with `count` comes in pieces with its id. The
pieces of `anonymous` are bare, and it closes after them. `mute` sends one piece and nothing more.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Self

import aiortc
from aiohttp import WSMsgType, web
from aioice.ice import get_host_addresses

HAS_ADDRESS = bool(get_host_addresses(use_ipv4=True, use_ipv6=True))
"""Whether this machine has an address besides loopback; aioice offers no other."""

TOOLS: list[dict[str, Any]] = [
    {"name": "echo", "description": "Says it again.", "inputs": {"type": "object", "properties": {}}}
]

Message = dict[str, Any]


class WebRtcService:
    """Signalling over HTTP, a WebSocket or PeerJS, and its peers."""

    def __init__(self, *, signalling: str = "go", tools_in_answer: bool = False) -> None:
        self.signalling = signalling
        self.tools_in_answer = tools_in_answer
        self.peers: set[Any] = set()
        self.headers: Mapping[str, str] = {}
        """Those of the last request to the signalling."""
        self.offers: list[Message] = []
        self.frames: list[Message] = []
        self.received: list[Message] = []
        self.labels: list[str] = []
        self.slow_arrived = asyncio.Event()
        self.slow_gone = asyncio.Event()
        self.port = 0
        self._leaving: asyncio.Future[None] | None = None
        self._streaming: asyncio.Future[None] | None = None
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        app = web.Application()
        match self.signalling:
            case "go":
                app.router.add_post("/connect", self._connect)
            case "rust":
                app.router.add_post("/", self._post)
            case "plain":
                app.router.add_get("/", self._plain)
            case _:
                app.router.add_get("/peerjs", self._peerjs)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        for peer in list(self.peers):
            await peer.close()
        assert self._runner is not None
        await self._runner.cleanup()

    async def leave(self) -> None:
        """Close all peers."""
        for peer in list(self.peers):
            await peer.close()

    async def _connect(self, request: web.Request) -> web.Response:
        self.headers = dict(request.headers)
        offer = await request.json()
        if offer["peer_id"] == "absent":
            raise web.HTTPNotFound
        answer: Message = {"sdp": await self.answer(offer["sdp"], offer["peer_id"], offer)}
        if self.tools_in_answer:
            answer["tools"] = TOOLS
        return web.json_response(answer)

    async def _post(self, request: web.Request) -> web.Response:
        offer = await request.json()
        return web.json_response({"sdp": await self.answer(offer["sdp"], "anonymous", offer)})

    async def _peerjs(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if request.query["key"] != "peerjs":
            await socket.send_json({"type": "ERROR", "payload": {"msg": "Invalid key provided"}})
            return socket
        await socket.send_json({"type": "OPEN"})
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                frame = json.loads(message.data)
                self.frames.append(frame)
                if frame["type"] == "OFFER":
                    await self._answer_frame(socket, frame)
        return socket

    async def _plain(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.headers = dict(request.headers)
        offer = await socket.receive_json()
        self.frames.append(offer)
        name = offer["to"]
        about = {"from": name, "to": offer["from"]}
        if name == "absent":
            await socket.send_json({"type": "error", "to": offer["from"], "message": f"Peer {name} is not connected"})
            return socket
        description, candidates = _split(await self.answer(offer["sdp"], name, offer))
        half = len(candidates) // 2
        for position, text in enumerate(candidates):
            if position == half:
                await socket.send_json({"type": "answer", "sdp": description, **about})
            candidate = {"candidate": text, "sdp_mid": "0", "sdp_m_line_index": 0}
            await socket.send_json({"type": "ice_candidate", "candidate": candidate, **about})
        await socket.receive()
        return socket

    async def _answer_frame(self, socket: web.WebSocketResponse, frame: Message) -> None:
        payload, name = frame["payload"], frame["dst"]
        if name == "absent":
            await socket.send_json({"type": "EXPIRE", "src": name})
            return
        sdp = await self.answer(payload["sdp"]["sdp"], name, payload, binary=payload["serialization"] == "json")
        about = {"type": "data", "connectionId": payload["connectionId"]}
        without, candidates = _split(sdp)
        if name == "trickling":
            sdp = without
        half = len(candidates) // 2
        for position, text in enumerate(candidates):
            if position == half:
                described = {"type": "answer", "sdp": sdp}
                await socket.send_json({"type": "ANSWER", "src": name, "payload": {**about, "sdp": described}})
            candidate = {"candidate": text, "sdpMid": "0", "sdpMLineIndex": 0}
            await socket.send_json({"type": "CANDIDATE", "src": name, "payload": {**about, "candidate": candidate}})

    async def answer(self, sdp: str, name: str, offer: Message, *, binary: bool = False) -> str:
        self.offers.append(offer)
        peer = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
        self.peers.add(peer)

        async def gone() -> None:
            if peer.connectionState in {"closed", "failed"} and peer in self.peers:
                self.peers.discard(peer)
                if self.slow_arrived.is_set():
                    self.slow_gone.set()

        def opened(channel: Any) -> None:
            self.labels.append(channel.label)

            def act(data: str | bytes) -> None:
                self._act(name, peer, channel, data, binary)

            channel.on("message", act)
            channel.on("close", lambda: asyncio.ensure_future(peer.close()))

        peer.on("connectionstatechange", gone)
        peer.on("datachannel", opened)
        await peer.setRemoteDescription(aiortc.RTCSessionDescription(sdp=sdp, type="offer"))
        await peer.setLocalDescription(await peer.createAnswer())
        return str(peer.localDescription.sdp)

    def _act(self, name: str, peer: Any, channel: Any, data: str | bytes, binary: bool) -> None:
        assert isinstance(data, bytes) == binary
        message = json.loads(data)
        self.received.append(message)
        if "count" in message.get("args", {}):
            self._streaming = asyncio.ensure_future(_stream(channel, name, message))
            return
        answer = _own_form(name, message) or self._reply(name, message)
        if name == "resetting":
            self._leaving = asyncio.ensure_future(peer.close())
        elif answer is not None:
            text = answer if isinstance(answer, str) else json.dumps(answer)
            channel.send(text.encode() if binary else text)

    def _reply(self, name: str, message: Message) -> Message | str | None:
        if name == "malformed":
            return "no JSON"
        identity = {} if name == "anonymous" else {"id": message["id"]}
        if name == "flooding":
            return {**identity, "result": "x" * 200_000}
        if message.get("method") == "list_tools":
            return {**identity, "tools": TOOLS}
        arguments = message["args"]
        if arguments.get("slow"):
            self.slow_arrived.set()
            return None
        if "answer" in arguments:
            return {**identity, **arguments["answer"]}
        return {**identity, "result": {"text": arguments.get("text"), "tool": message["tool"]}}


def _split(sdp: str) -> tuple[str, list[str]]:
    """Return the description without its candidates, and the candidates."""
    lines = sdp.splitlines()
    candidates = [line.removeprefix("a=") for line in lines if line.startswith("a=candidate:")]
    return "\r\n".join(line for line in lines if not line.startswith(("a=candidate:", "a=end-of"))) + "\r\n", candidates


def _own_form(name: str, message: Message) -> Message | None:
    """Return the reply of a peer that knows only the fields of its own library."""
    if name not in {"elixir", "specified"}:
        return None
    assert message["type"] == "tool_call"
    if name == "elixir":
        return {"id": message["id"], "type": "response", "result": message["args"]}
    return {"type": "tool_response", "tool": message["tool"], "id": message["id"], "output": message["inputs"]}


async def _stream(channel: Any, name: str, message: Message) -> None:
    is_bare = name == "anonymous"
    sent = asyncio.Event()
    channel.on("bufferedamountlow", sent.set)
    for number in range(message["args"]["count"]):
        item = {"n": number}
        channel.send(json.dumps(item if is_bare else {"id": message["id"], "partial": True, "result": item}))
        if name == "mute":
            return
        await asyncio.sleep(0)
    if is_bare:
        if channel.bufferedAmount:
            await sent.wait()
        channel.close()
    else:
        channel.send(json.dumps({"id": message["id"], "partial": False}))
