"""What stands before the MCP endpoint: probes, bearer token, tidy headers. Pure ASGI, no SDK types.

Host and Origin are checked by the SDK on the MCP path; the probes tell counts alone, so that an orchestrator may
ask them under any name and without a token.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias

import anyio
import orjson

from utcp_bridge.server.readiness import Readiness

__all__ = ["HttpFront"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
AsgiApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Header: TypeAlias = tuple[bytes, bytes]

_JSON: Final = (b"content-type", b"application/json")
_BLANKS: Final = (b" ", b"\t")


class HttpFront:
    """ASGI: `/healthz` (alive), `/readyz` (first load over), everything else to the app if the token is right."""

    def __init__(self, app: AsgiApp, readiness: Readiness, bearer_token: str | None = None) -> None:
        self._app = app
        self._readiness = readiness
        self._token = None if bearer_token is None else bearer_token.encode()
        self._open: set[anyio.CancelScope] = set()

    def end_requests(self) -> None:
        """Cancel what is in flight: calls are given up, streams end, whoever has no answer yet gets a 503."""
        for scope in tuple(self._open):
            scope.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] in {"/healthz", "/readyz"}:
            await self._probe(scope, send)
        elif self._token is not None and (refusal := self._refusal(scope["headers"], self._token)) is not None:
            await _answer(send, 401, {"error": "unauthorized"}, [(b"www-authenticate", refusal)])
        else:
            scope["headers"] = _stripped(scope["headers"])
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = finished = False

        async def watched(message: Message) -> None:
            nonlocal started, finished
            started = True
            finished = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        with anyio.CancelScope() as cancellation:
            self._open.add(cancellation)
            try:
                await self._app(scope, receive, watched)
            finally:
                self._open.discard(cancellation)
        if not cancellation.cancelled_caught or finished:
            return
        if started:
            await send({"type": "http.response.body", "body": b""})
        else:
            await _answer(send, 503, {"error": "shutting down"}, [(b"retry-after", b"5")])

    async def _probe(self, scope: Scope, send: Send) -> None:
        if scope["method"] not in {"GET", "HEAD"}:
            await _answer(send, 405, {"error": "method not allowed"}, [(b"allow", b"GET, HEAD")])
        elif scope["path"] == "/healthz":
            await _answer(send, 200, {"status": "ok"})
        else:
            summary = self._readiness.summary()
            await _answer(send, 200 if summary["ready"] else 503, summary)

    @staticmethod
    def _refusal(headers: list[Header], token: bytes) -> bytes | None:
        """The WWW-Authenticate value of a refusal; None if the request has the token."""
        given = [value for name, value in headers if name == b"authorization"]
        if not given:
            return b'Bearer realm="utcp-bridge"'
        scheme, _, credential = given[0].strip().partition(b" ")
        right = hmac.compare_digest(credential.strip(), token)
        if len(given) == 1 and right and scheme.lower() == b"bearer":
            return None
        return b'Bearer realm="utcp-bridge", error="invalid_token"'


def _stripped(headers: list[Header]) -> list[Header]:
    """Blanks around a header's value are no part of it; one of uvicorn's two parsers leaves them there."""
    for _, value in headers:
        if value.startswith(_BLANKS) or value.endswith(_BLANKS):
            return [(name, value.strip(b" \t")) for name, value in headers]
    return headers


async def _answer(send: Send, status: int, body: Any, headers: list[Header] | None = None) -> None:
    data = orjson.dumps(body)
    fields = [_JSON, (b"content-length", str(len(data)).encode()), (b"cache-control", b"no-store"), *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": data})
