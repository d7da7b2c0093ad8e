"""A server on loopback that keeps each request, and gives its number as the response."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from utcp_bridge.placement.request import RequestParts


class RecordingServer:
    """An ASGI application; `documents` are served by their paths, and every other request is kept."""

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {}
        self.requests: list[RequestParts] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        if scope["path"] in self.documents:
            response: Response = JSONResponse(self.documents[scope["path"]])
        else:
            response = JSONResponse({"kept": len(self.requests)})
            query = f"?{scope['query_string'].decode()}" if scope["query_string"] else ""
            headers = [(name.decode(), value.decode("utf-8", "replace")) for name, value in scope["headers"]]
            body = await request.body()
            url = f"http://{request.headers['host']}{scope['raw_path'].decode()}{query}"
            self.requests.append(RequestParts(scope["method"], url, headers, body or None))
        await response(scope, receive, send)

    def of(self, result: Any) -> RequestParts:
        """The request that led to a result."""
        assert isinstance(result, dict), result
        return self.requests[result["kept"]]


def deliberate(parts: RequestParts, template: dict[str, Any]) -> RequestParts:
    """Return a request with the headers that its template names, and the type of its body."""
    names = {name.lower() for name in (*(template.get("headers") or ()), *(template.get("header_fields") or ()))}
    names |= _credential_headers(template.get("auth") or {})
    if parts.body is not None:
        names.add("content-type")
    elif template["call_template_type"] != "sse":
        names.discard("content-type")
    kept = [(name, value) for name, value in parts.headers if name.lower() in names]
    return RequestParts(parts.method, parts.url, kept, parts.body)


def _credential_headers(auth: dict[str, Any]) -> set[str]:
    if auth.get("auth_type") in {"basic", "oauth2"}:
        return {"authorization"}
    where = {"header": str(auth.get("var_name", "X-Api-Key")).lower(), "cookie": "cookie"}
    return {where[place]} if auth and (place := auth.get("location", "header")) in where else set()


def shown(parts: RequestParts) -> str:
    """Return the URL and the headers of a request as text; what Basic authentication encodes is decoded."""
    values = [value for _, value in parts.headers]
    decoded = [b64decode(value.removeprefix("Basic ")).decode() for value in values if value.startswith("Basic ")]
    return " ".join((parts.url, *values, *decoded))
