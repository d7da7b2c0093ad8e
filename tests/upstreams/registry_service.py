"""A real registry on loopback: the project's own application over a folder, or replies that a test defines."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from utcp_bridge.net.listening import bind


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve an ASGI application in a thread of its own and yield its URL."""
    listener = bind("127.0.0.1", 0)
    # A client of a busy machine may pause for long, and then use its connection at the moment in which it is closed.
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", ws="none", timeout_keep_alive=600))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)
        listener.close()


class Answers:
    """An application that returns JSON, text, a status or the result of a function for each path."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.seen: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.app = Starlette(routes=[Route("/{path:path}", self._answer)])

    async def _answer(self, request: Request) -> Response:
        query = f"?{request.url.query}" if request.url.query else ""
        self.seen.append(request.url.path + query)
        self.headers.append(dict(request.headers))
        answer = self.answers.get(request.url.path, 404)
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, int):
            return Response(status_code=answer)
        if isinstance(answer, bytes):
            return Response(answer, media_type="application/json")
        return JSONResponse(answer)
