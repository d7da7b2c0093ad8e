"""The HTTP service with streams: server-sent events and chunked replies that end, never end, break or stay silent."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web
from tests.upstreams.http_service import Handler, HttpService, _abort


class StreamService(HttpService):
    """Adds `/sse/...` and `/stream/...`. The slow streams record when their caller is gone."""

    def _routes(self) -> dict[str, Handler]:
        return {
            **super()._routes(),
            "/sse/count": _sse_count,
            "/sse/echo": _sse_echo,
            "/sse/raw": _sse_raw,
            "/sse/broken": _sse_broken,
            "/sse/pings": self._sse_pings,
            "/sse/endless": _sse_endless,
            "/stream/ndjson": _ndjson,
            "/stream/echo": _ndjson_echo,
            "/stream/octets": _octets,
            "/stream/text": _text,
            "/stream/typed": _typed,
            "/stream/endless": _endless,
            "/stream/{tool}": _by_path,
        }

    async def _sse_pings(self, request: web.Request) -> web.StreamResponse:
        response = await _open(request)
        try:
            while True:
                await response.write(b": ping\n\n")
                self.slow_arrived.set()
                await asyncio.sleep(0.01)
        except (ConnectionError, asyncio.CancelledError):
            self.slow_gone.set()
            raise


async def _open(request: web.Request, media_type: str = "text/event-stream") -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": media_type})
    await response.prepare(request)
    return response


async def _sse_count(request: web.Request) -> web.StreamResponse:
    response = await _open(request)
    for number in range(int(request.query.get("count", "3"))):
        await response.write(f'id: {number}\ndata: {{"n": {number}}}\n\n'.encode())
    return response


async def _sse_echo(request: web.Request) -> web.StreamResponse:
    body = await request.read()
    text = request.query.get("text")
    response = await _open(request)
    echoed = {"text": text, "method": request.method, "body": body.decode(), "accept": request.headers["Accept"]}
    await response.write(f"data: {json.dumps(echoed)}\n\n".encode())
    return response


async def _sse_raw(request: web.Request) -> web.StreamResponse:
    """Send the text of the query byte by byte."""
    response = await _open(request)
    for byte in request.query["raw"].encode():
        await response.write(bytes([byte]))
    return response


async def _sse_broken(request: web.Request) -> web.StreamResponse:
    """Break after each event and continue after `Last-Event-ID`; end in order at `count`."""
    response = await _open(request)
    number = int(request.headers.get("Last-Event-ID", "-1")) + 1
    await response.write(f'retry: 1\nid: {number}\ndata: {{"n": {number}}}\n\ndata: cut off'.encode())
    if number < int(request.query["count"]) - 1:
        await asyncio.sleep(0.01)
        _abort(request)
    return response


async def _sse_endless(request: web.Request) -> web.StreamResponse:
    response = await _open(request)
    while True:
        await response.write(b"data: 1\n\n")


async def _ndjson(request: web.Request) -> web.StreamResponse:
    response = await _open(request, "application/x-ndjson")
    for number in range(int(request.query.get("count", "3"))):
        await response.write(f'{{"n": {number}}}\n'.encode())
    return response


async def _ndjson_echo(request: web.Request) -> web.StreamResponse:
    response = await _open(request, "application/x-ndjson")
    await response.write(json.dumps({"text": request.query.get("text")}).encode())
    return response


async def _octets(request: web.Request) -> web.StreamResponse:
    response = await _open(request, "application/octet-stream")
    for start in range(0, 10_000, 1000):
        await response.write(bytes(byte % 256 for byte in range(start, start + 1000)))
    return response


async def _text(request: web.Request) -> web.StreamResponse:
    response = await _open(request, "text/plain")
    for byte in "gr\u00fc\u00df dich".encode():
        await response.write(bytes([byte]))
    return response


async def _typed(request: web.Request) -> web.StreamResponse:
    response = await _open(request, request.query["type"])
    await response.write(request.query["body"].encode())
    return response


async def _endless(request: web.Request) -> web.StreamResponse:
    """Send a stream like a watch: the first line is not an event, and it never ends."""
    response = await _open(request, "application/json")
    await response.write(b'{"created": true}\n')
    number = 0
    while True:
        await response.write(json.dumps({"event": number}).encode() + b"\n")
        number += 1
        await asyncio.sleep(0)


async def _by_path(request: web.Request) -> web.StreamResponse:
    arguments: Any = await request.json()
    response = await _open(request, "application/json")
    for part in ({"tool": request.match_info["tool"]}, arguments):
        await response.write(json.dumps(part).encode())
    return response
