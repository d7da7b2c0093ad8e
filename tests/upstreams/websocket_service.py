"""A real WebSocket server on loopback in all wire forms. The message says what the server does."""

from __future__ import annotations

import json
import zlib
from typing import Any

import anyio.lowlevel
from aiohttp import WSMsgType, web
from tests.upstreams.http_service import Handler, HttpService, _abort


def frames(text: str, form: str) -> bytes:
    """A message of less than 126 bytes in one of the forms text, binary, compressed and fragmented (RFC 6455, 7692)."""
    data, opcode, compressed = text.encode(), 2 if form == "binary" else 1, 0
    if form == "compressed":
        packer = zlib.compressobj(wbits=-15)
        data, compressed = (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4], 0x40
    cuts = [data[:1], data[1:7], b"", data[7:]] if form == "fragmented" else [data]
    heads = [opcode | compressed, *[0] * (len(cuts) - 1)]
    heads[-1] |= 0x80
    return b"".join(bytes([head, len(cut)]) + cut for head, cut in zip(heads, cuts, strict=True))


class BinarySocket(web.WebSocketResponse):
    """Sends text in binary frames, as servers do that write bytes."""

    async def send_str(self, data: str, compress: int | None = None) -> None:
        await self.send_bytes(data.encode(), compress)


class WebSocketService(HttpService):
    """Adds `/ws` (raw), `/envelope`, `/rpc` (JSON-RPC), `/login`, `/pushes/<form>` and `/path/<tool>` to HTTP."""

    opened: int = 0
    """WebSockets opened so far."""
    last_socket: web.WebSocketResponse | None = None
    """The last of them on `/ws`."""

    def _routes(self) -> dict[str, Handler]:
        return {
            **super()._routes(),
            "/ws": self._raw,
            "/old": self._old,
            "/envelope": self._envelope,
            "/rpc": self._rpc,
            "/login": self._login,
            "/pushes/{form}": self._pushes,
            "/path": self._path_manual,
            "/path/{tool}": self._path,
        }

    @property
    def ws(self) -> str:
        return self.base.replace("http://", "ws://")

    async def _raw(self, request: web.Request) -> web.WebSocketResponse:
        opened = self.last_socket = web.WebSocketResponse(protocols=("utcp",))
        await opened.prepare(request)
        self.opened += 1
        async for message in opened:
            if message.type is WSMsgType.TEXT:
                await self._answer(opened, request, message.data)
        self.slow_gone.set()
        return opened

    async def _answer(self, opened: web.WebSocketResponse, request: web.Request, text: str) -> None:
        asked: Any = json.loads(text) if text.startswith("{") else {}
        if asked.get("type") == "utcp":
            await opened.send_json(self.manual("v1"))
        elif asked.get("slow"):
            self.slow_arrived.set()
        elif "count" in asked:
            for number in range(asked["count"]):
                await opened.send_json({"n": number})
            await opened.send_json({"type": "stream_end"})
        elif "close" in asked:
            await opened.close(code=asked["close"], message=b"as asked")
        elif "flood" in asked:
            await opened.send_str("x" * asked["flood"])
        elif asked.get("reset"):
            _abort(request)
        elif "say" in asked:
            await opened.send_str(asked["say"])
        elif asked.get("bytes"):
            await opened.send_bytes(b"\x00\x01")
        else:
            await opened.send_str(json.dumps({**asked, "protocol": opened.ws_protocol}) if asked else text)

    async def _old(self, request: web.Request) -> web.WebSocketResponse:
        """Accept only `manual`, and close the connection for any other message."""
        opened = web.WebSocketResponse()
        await opened.prepare(request)
        message = await opened.receive()
        if message.data == "manual":
            await opened.send_json(self.manual("v0"))
        await opened.close()
        return opened

    async def _envelope(self, request: web.Request) -> web.WebSocketResponse:
        """Send other messages before and between replies. Reply by id, to slow calls last."""
        opened = web.WebSocketResponse()
        await opened.prepare(request)
        self.opened += 1
        late: list[dict[str, Any]] = []
        async for message in opened:
            asked = json.loads(message.data)
            if asked["params"].get("late"):
                late.append(asked)
                continue
            await opened.send_json({"id": "somebody else", "result": "not yours"})
            await opened.send_str("a push")
            if asked["params"].get("fail"):
                await opened.send_json({"id": asked["id"], "error": "kaput"})
            for part in asked["params"].get("parts", ()):
                await opened.send_json({"id": asked["id"], "result": part, "partial": True})
            for one in (asked, *late):
                await opened.send_json({"id": one["id"], "result": {"tool": one["tool"], **one["params"]}})
            late.clear()
        return opened

    async def _rpc(self, request: web.Request) -> web.WebSocketResponse:
        """Send notifications and a reply to another call before each JSON-RPC reply."""
        opened = web.WebSocketResponse()
        await opened.prepare(request)
        async for message in opened:
            asked = json.loads(message.data)
            await opened.send_json({"jsonrpc": "2.0", "method": "news", "params": {"n": 1}})
            await opened.send_json({"jsonrpc": "2.0", "id": "other", "result": "not yours"})
            await opened.send_json({"jsonrpc": "2.0", "id": asked["id"], "result": asked["params"]})
        return opened

    async def _pushes(self, request: web.Request) -> web.WebSocketResponse:
        """Send notifications around each reply, as frames of this form; the last one some turns of the loop later."""
        form = request.match_info["form"]
        opened = web.WebSocketResponse(protocols=("push",), compress=form == "compressed")
        await opened.prepare(request)
        self.opened += 1
        news = {"jsonrpc": "2.0", "method": "news"}
        async for message in opened:
            asked = json.loads(message.data)
            reply = {"id": asked["id"], "result": {**asked["params"], "protocol": opened.ws_protocol}}
            assert request.transport is not None
            request.transport.write(frames(json.dumps(news), form) + frames(json.dumps(reply), form))
            for _ in range(asked["params"]["turns"]):
                await anyio.lowlevel.checkpoint()
            request.transport.write(frames(json.dumps(news), form))
        return opened

    async def _login(self, request: web.Request) -> web.WebSocketResponse:
        """Greet, require a token first, and then return that token."""
        opened = web.WebSocketResponse(compress=True)
        await opened.prepare(request)
        await opened.send_str("welcome")
        token = (await opened.receive_json()).get("token")
        await opened.send_str("ok")
        async for _ in opened:
            await opened.send_json({"token": token, "deflated": request.headers.get("Sec-WebSocket-Extensions", "")})
        return opened

    async def _path_manual(self, request: web.Request) -> web.WebSocketResponse:
        """Return a manual for `manual`, in which each tool is a path."""
        opened = web.WebSocketResponse()
        await opened.prepare(request)
        if (await opened.receive()).data == "manual":
            await opened.send_json({"version": "1", "tools": [{"name": "echo"}]})
        await opened.close()
        return opened

    async def _path(self, request: web.Request) -> web.WebSocketResponse:
        opened = web.WebSocketResponse()
        await opened.prepare(request)
        message = await opened.receive()
        await opened.send_json({"tool": request.match_info["tool"], "args": json.loads(message.data)})
        await opened.close()
        return opened

    def manual(self, dialect: str) -> dict[str, Any]:
        kind, template = (
            ("call_template_type", "tool_call_template") if dialect == "v1" else ("provider_type", "tool_provider")
        )
        head = {"utcp_version": "1.0.1"} if dialect == "v1" else {"version": "0.2.0"}
        return {**head, "tools": [{"name": "echo", template: {kind: "websocket", "url": f"{self.ws}/ws"}}]}
