"""Values and errors as HTTP answers: JSON, text or bytes for a value, problem details (RFC 9457) for an error."""

from __future__ import annotations

import base64
import logging
import uuid
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final, TypeVar

import anyio
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from utcp_bridge.errors import (
    Busy,
    CallerError,
    DeadlineExceeded,
    InvalidArguments,
    OperatorError,
    PolicyError,
    Rejected,
    UnknownTool,
    UpstreamError,
    UtcpError,
)
from utcp_bridge.model import Binary, ContentBlocks, Emit, JsonObject, Result
from utcp_bridge.providing.arguments import UnreadableBody

__all__ = ["NDJSON", "Lines", "answer", "answer_of", "problem", "unless_gone", "wants_lines"]

NDJSON: Final = "application/x-ndjson"
T = TypeVar("T")
_CLIENT_LEFT: Final = 499
"""Nobody reads it; proxies' logs know it by this number."""
_log = logging.getLogger(__name__)
_OPTIONS: Final = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS
_STATUS: Final[tuple[tuple[type[UtcpError], int], ...]] = (
    (UnknownTool, 404),
    (CallerError, 400),
    (PolicyError, 403),
    (OperatorError, 500),
    (Busy, 429),
    (DeadlineExceeded, 504),
    (UpstreamError, 502),
)


def answer(value: Any) -> Response:
    """A result: text as text, bytes as they are, everything else as JSON.

    A `Result` that was cut says so in the header `X-Truncated`.
    """
    if isinstance(value, Result):
        response = answer(value.value)
        if value.truncated:
            response.headers["X-Truncated"] = " ".join(value.truncated.encode("ascii", "replace").decode().split())
        return response
    if isinstance(value, Binary):
        return Response(value.data, media_type=value.media_type)
    if isinstance(value, ContentBlocks):
        if value.is_error:
            return problem(_refusal(value))
        value = _plain(value)
    if isinstance(value, str):
        return Response(value.encode(errors="replace"), media_type="text/plain; charset=utf-8")
    return Response(_as_json(value), media_type="application/json")


class Lines(Response):
    """The results of a stream as lines of JSON, each sent when it is there; `produce` pushes them one by one.

    An error before the first line is a problem. Later it breaks the connection off, so that nobody takes what came
    for the whole. `produce` is cancelled when the caller leaves.
    """

    media_type = NDJSON

    def __init__(self, produce: Callable[[Emit], Awaitable[None]]) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._produce = produce

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        started = False

        async def start() -> None:
            nonlocal started
            if not started:
                started = True
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})

        async def emit(value: Any) -> None:
            await start()
            await send({"type": "http.response.body", "body": _as_line(value), "more_body": True})

        async def respond() -> Response | None:
            try:
                await self._produce(emit)
            except Exception as error:  # noqa: BLE001 - what escapes reaches the log with its traceback
                if started:
                    _log.warning("A stream was broken off: %s", error if isinstance(error, UtcpError) else type(error))
                return problem(error)
            await start()
            await send({"type": "http.response.body", "body": b""})
            return None

        failure = await unless_gone(receive, respond)
        if failure is not None and not started:
            await failure(scope, receive, send)


async def unless_gone(receive: Receive, respond: Callable[[], Awaitable[T]]) -> T | None:
    """What `respond` returns, or None where the caller left before and it was cancelled; it may not raise."""
    result: T | None = None
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()

        group.start_soon(watch)
        result = await respond()
        group.cancel_scope.cancel()
    return result


async def answer_of(request: Request, call: Callable[[], Awaitable[Any]]) -> Response:
    """The answer to a call: its result or its error; the call is cancelled when the caller leaves."""

    async def respond() -> Response:
        try:
            return answer(await call())
        except Exception as error:  # noqa: BLE001 - what escapes reaches the caller as a bare 500
            return problem(error)

    return await unless_gone(request.receive, respond) or Response(status_code=_CLIENT_LEFT)


def wants_lines(request: Request) -> bool:
    """Whether the results of a stream are asked for one by one."""
    return NDJSON in request.headers.get("accept", "").lower()


def problem(error: Exception) -> Response:
    """An error: our own in full, anything else as a correlation id alone."""
    if isinstance(error, UnreadableBody):
        return _problem(error.status, InvalidArguments.code, str(error), {})
    if not isinstance(error, UtcpError):
        ident = uuid.uuid4().hex[:12]
        _log.error("A tool failed (%s, id %s).", type(error).__name__, ident)
        _log.debug("Cause of %s:", ident, exc_info=error)
        return _problem(500, "internal", f"The tool failed. The log names the cause under id {ident}.", {})
    status = _status(error)
    more: JsonObject = {}
    if isinstance(error, Rejected):
        more = {"upstream_status": error.status, "upstream_detail": error.detail}
    response = _problem(status, error.code, str(error), more)
    if isinstance(error, Rejected) and error.retry_after is not None:
        response.headers["Retry-After"] = str(max(0, round(error.retry_after)))
    return response


def _problem(status: int, code: str, detail: str, more: JsonObject) -> Response:
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, "code": code}
    present = {key: value for key, value in more.items() if value is not None}
    return Response(_as_json({**body, **present}), status_code=status, media_type="application/problem+json")


def _status(error: UtcpError) -> int:
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def _refusal(blocks: ContentBlocks) -> Rejected:
    detail = _plain(blocks)
    return Rejected("The tool's MCP server answered with an error.", status="isError", detail=detail)


def _plain(blocks: ContentBlocks) -> Any:
    """What an MCP server answered, without MCP around it where it is one text or has a structured form."""
    if blocks.structured is not None:
        return blocks.structured
    if len(blocks.content) == 1 and blocks.content[0].get("type") == "text":
        return str(blocks.content[0].get("text", ""))
    return {"content": blocks.content}


def _as_line(value: Any) -> bytes:
    """One result of a stream, as a line of NDJSON."""
    return _as_json(_plain(value) if isinstance(value, ContentBlocks) else value) + b"\n"


def _as_json(value: Any) -> bytes:
    return orjson.dumps(value, default=_stand_in, option=_OPTIONS)


def _stand_in(value: Any) -> Any:
    """Bytes within JSON, as MCP writes them."""
    if isinstance(value, Binary):
        return {"mimeType": value.media_type, "blob": base64.b64encode(value.data).decode()}
    if isinstance(value, ContentBlocks):
        return _plain(value)
    return str(value)
