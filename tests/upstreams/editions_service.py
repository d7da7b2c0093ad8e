"""A real HTTP server on loopback whose documents change, with ETags, with dates or with neither."""

from __future__ import annotations

from hashlib import sha256
from typing import Literal, Self

from aiohttp import web

Marks = Literal["etag", "date", "none"]


class EditionsService:
    """Use it as an async context manager; `base` is then its URL. `files` has the documents by path."""

    def __init__(self, marks: Marks = "none") -> None:
        self.marks = marks
        self.files: dict[str, bytes] = {}
        self.date = "Mon, 01 Jan 2024 00:00:00 GMT"
        self.answers: list[tuple[str, int]] = []
        """The path and the status of each reply."""
        self.base = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._reply)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.base = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._runner.cleanup()

    async def _reply(self, request: web.Request) -> web.Response:
        body = self.files.get(request.path)
        reply = self._found(request, body) if body is not None else web.Response(status=404)
        self.answers.append((request.path, reply.status))
        return reply

    def _found(self, request: web.Request, body: bytes) -> web.Response:
        headers: dict[str, str] = {}
        known = False
        if self.marks == "etag":
            headers["ETag"] = f'"{sha256(body).hexdigest()[:8]}"'
            known = request.headers.get("If-None-Match") == headers["ETag"]
        elif self.marks == "date":
            headers["Last-Modified"] = self.date
            known = request.headers.get("If-Modified-Since") == self.date
        if known:
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, content_type="application/json", headers=headers)
