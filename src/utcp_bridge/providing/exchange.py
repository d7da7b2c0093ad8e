"""A tool call over HTTP: arguments from the request, the result or error as the response.

Arguments are a JSON object in the body, the query string, or both, because released UTCP clients differ in where they
write arguments without a field in the call template: in the query (Python, TypeScript) or in the body (Go, Rust, this
client). A result is JSON, text or bytes; an error is problem details (RFC 9457).
"""

from __future__ import annotations

import base64
import logging
import uuid
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from math import ceil, isfinite
from typing import Any, Final, TypeVar

import anyio
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from utcp_bridge.errors import (
    Busy,
    CallerError,
    CircuitOpen,
    DeadlineExceeded,
    InvalidArguments,
    OperatorError,
    PolicyError,
    Rejected,
    UnknownTool,
    UpstreamError,
    UtcpError,
)
from utcp_bridge.foreign import TooManyValues, load_json
from utcp_bridge.model import Binary, ContentBlocks, Emit, JsonObject, Result, is_list, is_object
from utcp_bridge.pipeline.reading import object_in

__all__ = [
    "NDJSON",
    "Lines",
    "UnreadableBody",
    "answer",
    "answer_of",
    "problem",
    "read_arguments",
    "unless_gone",
    "wants_lines",
]

_MAX_BODY: Final = 4 * 1024 * 1024
NDJSON: Final = "application/x-ndjson"
T = TypeVar("T")
_CLIENT_LEFT: Final = 499
"""The status that proxies log for a request whose client left; no client receives it."""
_logger = logging.getLogger(__name__)
_OPTIONS: Final = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS
_STATUS: Final[tuple[tuple[type[UtcpError], int], ...]] = (
    (UnknownTool, 404),
    (CallerError, 400),
    (PolicyError, 403),
    (OperatorError, 500),
    (Busy, 429),
    (DeadlineExceeded, 504),
    (CircuitOpen, 503),
    (UpstreamError, 502),
)


class UnreadableBody(Exception):
    """The body cannot be read as arguments. `status` is the HTTP status to return. `problem` accepts this error."""

    def __init__(self, message: str, *, remedy: str, status: int = 400) -> None:
        super().__init__(f"{message} {remedy}")
        self.status = status


async def read_arguments(request: Request, schema: JsonObject) -> JsonObject:
    """Return the arguments of a call; `schema` gives the types of those in the query.

    :raises UnreadableBody: the body is not a JSON object, is larger than 4 MiB, or is not declared as JSON. A web page
        can send an undeclared body to any server without a preflight request.
    """
    body = await _body(request)
    arguments = _from_query(request, schema)
    if not body:
        return arguments
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise UnreadableBody(
            "The body is not declared as JSON.", remedy="Send Content-Type: application/json.", status=415
        )
    try:
        given = object_in(load_json(body))
    except TooManyValues as error:
        raise UnreadableBody(f"The body has more than {error.most:,} values.", remedy="Send less at once.") from None
    except orjson.JSONDecodeError:
        raise UnreadableBody("The body is not JSON.", remedy="Send the arguments as a JSON object.") from None
    if not is_object(given):
        raise UnreadableBody("The body must be a JSON object.", remedy="Send the arguments as a JSON object.")
    return {**arguments, **given}


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY:
            raise UnreadableBody("The body is larger than 4 MiB.", remedy="Send less data in one call.", status=413)
    return bytes(body)


def _from_query(request: Request, schema: JsonObject) -> JsonObject:
    listed = schema.get("properties")
    properties = listed if is_object(listed) else {}
    return {
        name: _typed(request.query_params.getlist(name), properties.get(name))
        for name in request.query_params.keys()  # noqa: SIM118 - not a dict
    }


def _typed(texts: list[str], schema: Any) -> Any:
    kinds = _kinds(schema)
    if "array" in kinds and not (len(texts) == 1 and texts[0].lstrip().startswith("[")):
        items = schema.get("items")
        return [_typed([text], items) for text in texts]
    text = texts[-1]
    if "string" in kinds or not kinds:
        return text
    try:
        return orjson.loads(text.lower() if "boolean" in kinds and text.lower() in {"true", "false"} else text)
    except orjson.JSONDecodeError:
        return text


def _kinds(schema: Any) -> set[str]:
    """Return the types that a property may have; empty if its schema has none."""
    if not is_object(schema):
        return set()
    kind = schema.get("type")
    own = {kind} if isinstance(kind, str) else set(kind) if is_list(kind) else set[str]()
    for word in ("anyOf", "oneOf"):
        for branch in schema.get(word) or ():
            own |= _kinds(branch)
    return own


def answer(value: Any) -> Response:
    """Return the response for a result: text as text, bytes unchanged, everything else as JSON.

    The response of a truncated `Result` has the header `X-Truncated`.
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
    """The results of a stream as lines of JSON, each sent as soon as `produce` emits it.

    An error before the first line becomes a problem. A later error closes the connection early, so the caller notices
    that the stream is incomplete. `produce` is cancelled when the caller leaves.
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
            except Exception as error:  # noqa: BLE001 - an unhandled error would be logged with its traceback
                if started:
                    _logger.warning(
                        "A stream was broken off: %s", error if isinstance(error, UtcpError) else type(error)
                    )
                return problem(error)
            await start()
            await send({"type": "http.response.body", "body": b""})
            return None

        failure = await unless_gone(receive, respond)
        if failure is not None and not started:
            await failure(scope, receive, send)


async def unless_gone(receive: Receive, respond: Callable[[], Awaitable[T]]) -> T | None:
    """Return the result of `respond`, which must not raise; None if the caller left and it was cancelled."""
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
    """Return the response to a call: its result or its error. The call is cancelled when the caller leaves."""

    async def respond() -> Response:
        try:
            return answer(await call())
        except Exception as error:  # noqa: BLE001 - an unhandled error would become a bare status 500
            return problem(error)

    return await unless_gone(request.receive, respond) or Response(status_code=_CLIENT_LEFT)


def wants_lines(request: Request) -> bool:
    """Return whether the request asks for the results of a stream one by one."""
    return NDJSON in request.headers.get("accept", "").lower()


def problem(error: Exception) -> Response:
    """Return the response for an error: a `UtcpError` in full, of any other only the id of its log line."""
    if isinstance(error, UnreadableBody):
        return _problem(error.status, InvalidArguments.code, str(error), {})
    if not isinstance(error, UtcpError):
        ident = uuid.uuid4().hex[:12]
        _logger.error("A tool failed (%s, id %s).", type(error).__name__, ident)
        _logger.debug("Cause of %s:", ident, exc_info=error)
        return _problem(500, "internal", f"The tool failed. The log has the cause under the id {ident}.", {})
    status = _status(error)
    more: JsonObject = {}
    if isinstance(error, Rejected):
        more = {"upstream_status": error.status, "upstream_detail": error.detail}
    response = _problem(status, error.code, str(error), more)
    if error.retry_after is not None and isfinite(error.retry_after):
        response.headers["Retry-After"] = str(max(0, ceil(error.retry_after)))
    return response


def _problem(status: int, code: str, detail: str, more: JsonObject) -> Response:
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, "code": code}
    present = {key: value for key, value in more.items() if value is not None}
    return Response(_as_json({**body, **present}), status_code=status, media_type="application/problem+json")


def _status(error: UtcpError) -> int:
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def _refusal(blocks: ContentBlocks) -> Rejected:
    detail = _plain(blocks)
    return Rejected("The tool's MCP server returned an error.", status="isError", detail=detail)


def _plain(blocks: ContentBlocks) -> Any:
    """Return the content of an MCP result: its structured form, its only text, or else all its blocks."""
    if blocks.structured is not None:
        return blocks.structured
    if len(blocks.content) == 1 and blocks.content[0].get("type") == "text":
        return str(blocks.content[0].get("text", ""))
    return {"content": blocks.content}


def _as_line(value: Any) -> bytes:
    """Return one result of a stream as a line of NDJSON."""
    return _as_json(_plain(value) if isinstance(value, ContentBlocks) else value) + b"\n"


def _as_json(value: Any) -> bytes:
    return orjson.dumps(value, default=_stand_in, option=_OPTIONS)


def _stand_in(value: Any) -> Any:
    """Return the JSON form of a value that JSON does not have; bytes in MCP's form."""
    if isinstance(value, Binary):
        return {"mimeType": value.media_type, "blob": base64.b64encode(value.data).decode()}
    if isinstance(value, ContentBlocks):
        return _plain(value)
    return str(value)
