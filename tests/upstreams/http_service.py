"""A real HTTP service on loopback: manuals in both dialects, an OpenAPI description, echoes, media, faults.

It records every request, so that a test can check what was sent and what was not.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
WAV = (
    b"RIFF"
    + bytes.fromhex("24000000")
    + b"WAVEfmt "
    + bytes.fromhex("1000000001000100401f0000803e000002001000")
    + b"data\0\0\0\0"
)
API_KEY = "http-service-key"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Recorded:
    """One request as it arrived: `target` is path and query, not decoded."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class HttpService:
    """Use it as an async context manager; `base` is then its URL."""

    base: str = ""
    requests: list[Recorded] = field(default_factory=list)
    descriptions: dict[str, str] = field(default_factory=dict)
    """What the manual says of tools in place of the usual."""
    slow_arrived: asyncio.Event = field(default_factory=asyncio.Event)
    slow_gone: asyncio.Event = field(default_factory=asyncio.Event)
    _missing: dict[str, int] = field(default_factory=dict)
    _complete: asyncio.Event = field(default_factory=asyncio.Event)
    _runner: web.AppRunner | None = None
    _closed_port: socket.socket | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._record], client_max_size=2**26)
        for path, handler in self._routes().items():
            app.router.add_route("*", path, handler)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.base = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self._closed_port = socket.socket()
        self._closed_port.bind(("127.0.0.1", 0))
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self._runner is not None
        assert self._closed_port is not None
        self._closed_port.close()
        await self._runner.cleanup()

    @property
    def refusing(self) -> str:
        """Return a URL whose port is bound but does not listen, so that each connection is refused."""
        assert self._closed_port is not None
        return f"http://127.0.0.1:{self._closed_port.getsockname()[1]}"

    @property
    def last(self) -> Recorded:
        return self.requests[-1]

    def _routes(self) -> dict[str, Handler]:
        return {
            "/utcp": self._manual_v1,
            "/utcp/v0": self._manual_v0,
            "/together/{count}": self._manual_together,
            "/utcp.yaml": self._manual_yaml,
            "/openapi.json": self._openapi,
            "/docs": _answer(b'<!DOCTYPE html><html><script>url: "/openapi.json"</script></html>', "text/html"),
            "/page": _answer(b"<html><body>hello</body></html>", "text/html"),
            "/nothing": _answer(b"", "application/json"),
            "/image": _answer(PNG, "image/png"),
            "/audio": _answer(WAV, "audio/wav"),
            "/binary": _answer(bytes(range(256)), "application/octet-stream"),
            "/text": _answer("gr\u00fc\u00df".encode(), "text/plain", charset="utf-8"),
            "/malformed": _answer(b'{"broken": ', "application/json"),
            "/items": _paged,
            "/created": _created,
            "/empty": _empty,
            "/options": _options,
            "/secure": _secure,
            "/secure/utcp": self._secure_manual,
            "/status/{code}": _status,
            "/bytes/{count}": _bytes,
            "/slow": self._slow,
            "/reset": _reset,
            "/reset-midway": _reset_midway,
            "/redirect": _redirect,
            "/echo": _echo,
            "/echo/{tail:.*}": _echo,
        }

    @web.middleware
    async def _record(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        body = await request.read()
        self.requests.append(Recorded(request.method, request.raw_path, dict(request.headers), body))
        return await handler(request)

    async def _manual_v1(self, _request: web.Request) -> web.Response:
        return web.json_response(self.manual("v1"))

    def meet(self, path: str) -> None:
        """Count as one of the requests that `/together/{count}` waits for, before it replies to all of them."""
        self._missing[path] = self._missing.get(path, int(path.rpartition("/")[2])) - 1
        if not self._missing[path]:
            self._complete.set()

    async def _manual_together(self, request: web.Request) -> web.Response:
        self.meet(request.path)
        await self._complete.wait()
        return web.json_response(self.manual("v1"))

    async def _manual_v0(self, _request: web.Request) -> web.Response:
        return web.json_response(self.manual("v0"))

    async def _manual_yaml(self, _request: web.Request) -> web.Response:
        text = f"utcp_version: 1.0.0\ntools:\n- name: echo\n  tool_call_template: {{url: '{self.base}/echo'}}\n"
        return web.Response(text=text, content_type="application/yaml")

    async def _secure_manual(self, request: web.Request) -> web.Response:
        denied = await _secure(request)
        return denied if denied.status != 200 else await self._manual_v1(request)

    async def _openapi(self, _request: web.Request) -> web.Response:
        return web.json_response(self.openapi())

    async def _slow(self, _request: web.Request) -> web.Response:
        self.slow_arrived.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.slow_gone.set()
            raise
        raise AssertionError("never")

    def manual(self, dialect: str) -> dict[str, Any]:
        """Return the manual that the service publishes."""
        kind, template = (
            ("call_template_type", "tool_call_template") if dialect == "v1" else ("provider_type", "tool_provider")
        )
        head = {"utcp_version": "1.0.1", "manual_version": "1.0.0"} if dialect == "v1" else {"version": "0.2.0"}

        def tool(name: str, properties: dict[str, Any], required: list[str], **fields: Any) -> dict[str, Any]:
            return {
                "name": name,
                "description": self.descriptions.get(name, f"The {name} endpoint."),
                "inputs": {"type": "object", "properties": properties, "required": required},
                "tags": ["http"],
                template: {kind: "http", **fields},
            }

        text, number = {"type": "string"}, {"type": "integer"}
        return {
            **head,
            "tools": [
                tool("echo", {"text": text}, ["text"], url=f"{self.base}/echo", http_method="GET"),
                tool("get_item", {"id": number}, ["id"], url=f"{self.base}/echo/items/{{id}}", http_method="GET"),
                tool(
                    "create_item",
                    {"body": {"type": "object"}, "X-Trace": text},
                    ["body"],
                    url=f"{self.base}/echo/items",
                    http_method="POST",
                    header_fields=["X-Trace"],
                ),
                tool("picture", {}, [], url=f"{self.base}/image", http_method="GET"),
            ],
        }

    def openapi(self) -> dict[str, Any]:
        """Return the same operations as an OpenAPI description."""
        parameter = {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}
        ok = {"200": {"description": "ok", "content": {"application/json": {"schema": {"type": "object"}}}}}
        text = {"name": "text", "in": "query", "required": True, "schema": {"type": "string"}}
        return {
            "openapi": "3.0.3",
            "info": {"title": "Echo service", "version": "1.0.0"},
            "servers": [{"url": self.base}],
            "paths": {
                "/echo": {"get": {"operationId": "echo", "parameters": [text], "responses": ok}},
                "/echo/items/{id}": {"get": {"operationId": "get_item", "parameters": [parameter], "responses": ok}},
                "/echo/items": {
                    "post": {
                        "operationId": "create_item",
                        "requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}},
                        "responses": ok,
                    }
                },
            },
        }


def _answer(body: bytes, content_type: str, *, charset: str | None = None) -> Handler:
    async def handler(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type=content_type, charset=charset)

    return handler


async def _echo(request: web.Request) -> web.Response:
    body = await request.read()
    return web.json_response(
        {
            "text": request.query.get("text"),
            "method": request.method,
            "target": request.raw_path,
            "query": [list(pair) for pair in request.query.items()],
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "body": base64.b64encode(body).decode("ascii"),
            "json": _json_or_none(body),
        }
    )


def _json_or_none(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


async def _paged(_request: web.Request) -> web.Response:
    return web.json_response([1, 2], headers={"Link": '</items?page=2>; rel="next"', "ETag": '"v1"'})


async def _created(_request: web.Request) -> web.Response:
    return web.json_response({"id": 7}, status=201, headers={"Location": "/items/7"})


async def _empty(_request: web.Request) -> web.Response:
    return web.Response(status=204)


async def _options(_request: web.Request) -> web.Response:
    return web.Response(headers={"Allow": "GET, POST"})


async def _secure(request: web.Request) -> web.Response:
    if request.headers.get("X-Api-Key") != API_KEY:
        return web.json_response({"error": "no key"}, status=401)
    return web.json_response({"secret": "open"})


async def _status(request: web.Request) -> web.Response:
    headers = {"Retry-After": "7"} if request.match_info["code"] in {"429", "503"} else {}
    return web.json_response(
        {"title": "It did not work", "detail": "as asked"},
        status=int(request.match_info["code"]),
        headers=headers,
        content_type="application/problem+json",
    )


async def _bytes(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(request)
    left = int(request.match_info["count"])
    while left > 0:
        await response.write(b"x" * min(left, 16384))
        left -= 16384
    await response.write_eof()
    return response


async def _reset(request: web.Request) -> web.Response:
    _abort(request)
    return web.Response()


async def _reset_midway(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"half":')
    _abort(request)
    return response


def _abort(request: web.Request) -> None:
    """Close with a reset: unsent data is dropped and the other side receives RST."""
    assert request.transport is not None
    sock = request.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    request.transport.abort()


async def _redirect(request: web.Request) -> web.Response:
    raise web.HTTPFound(request.query["to"])
