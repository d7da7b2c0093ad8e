"""The site of the console: the page at `/`, its parts below `/console/`, and the admin API below `/admin/api/`.

The server in front of it checks Host and where a request comes from (`server/web/console_door.py`).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, Final, TypeAlias

import anyio
import orjson
from pydantic_core import from_json
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from utcp_bridge.catalogue.text import clean
from utcp_bridge.console.admin import Admin
from utcp_bridge.console.api import BASE, Question, described, operations
from utcp_bridge.console.forms import fields_of, read_form
from utcp_bridge.console.logins import LoginReply, PageLogins, check_place
from utcp_bridge.console.pages import ASSETS, PARTS, asset, pictures, render, shown_result
from utcp_bridge.console.visitors import Visitor, Visitors, foreign_request, is_here
from utcp_bridge.console.whole import OthersPort, Whole
from utcp_bridge.errors import InvalidArguments, PolicyError, UnknownTool, UtcpError
from utcp_bridge.model import JsonObject, Requester, is_object
from utcp_bridge.net.listening import base_url
from utcp_bridge.telemetry.recent import MAX_CALLS

__all__ = ["ConsoleSite", "takes"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

_MAX_BODY: Final = 1024 * 1024
_SHOWN_CALLS: Final = 50
_LOOK_SECONDS: Final = 1.0
_ALIVE_LOOKS: Final = 15
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}


_SIGN_IN: Final = "Sign in at the console, or send a token with the right to it."
_NO_ENTRY: Final = {
    "code": "This code is not valid. A code works once, and for ten minutes. Start `utcp-bridge console` again.",
    "token": "This token does not open the console. Use the `bearer_token` of this bridge, or a token that "
    "`utcp-bridge token add NAME --scope console` makes. After ten wrong ones, wait a minute.",
}
"""Why a visitor may not enter, by what was asked for."""
_TOOL_GONE: Final = "Its manual may have changed. Search the tools again."


def takes(scope: Scope) -> bool:
    """Return whether a request is for the console. At `/`, a program that does not ask for a page is not."""
    path: str = scope["path"]
    if path == "/":
        accepts = (value for name, value in scope["headers"] if name == b"accept")
        return scope["method"] in {"GET", "HEAD"} and any(b"text/html" in value for value in accepts)
    return path.startswith(("/console/", "/admin/api/"))


class _NotServed(Exception):
    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(message)
        self.status, self.error, self.message = status, error, message


class ConsoleSite:
    """An ASGI application for one client."""

    def __init__(self, admin: Admin, visitors: Visitors, others: OthersPort | None = None) -> None:
        """`others` are the other bridges, if there may be some."""
        self._admin, self._whole = admin, Whole(admin, others)
        self.visitors = visitors
        self._logins = PageLogins(admin, self._whole.connect)
        self._parts = {part: title for part, title in PARTS.items() if part != "replicas" or admin.overview}
        every = operations(admin, self._whole)
        self._operations = {(one.method, f"{BASE}{one.path}"): one.answer for one in every}
        self._ended = anyio.Event()
        self._description = orjson.dumps(described(every))

    def end(self) -> None:
        """End the event streams."""
        self._ended.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except _NotServed as refusal:
            response = _json({"error": refusal.error, "message": refusal.message}, refusal.status)
        except UtcpError as error:
            response = self._problem(error)
        except ClientDisconnect:  # before the end of its body: nobody waits for a response
            return
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if (reason := foreign_request(request.scope)) is not None:
            raise _NotServed(403, "not allowed", reason)
        path, method = request.url.path, "GET" if request.method == "HEAD" else request.method
        if path.startswith("/console/assets/") and method == "GET":
            return _asset(path.rpartition("/")[2])
        if path == "/console/session":
            return await self._session(request)
        visitor = await self.visitors.find(request.scope)
        if visitor is None:
            if path == "/":
                page = render("sign_in.html", {"secret": self.visitors.secret})
                return Response(page, 401, media_type="text/html; charset=utf-8")
            asked = self.visitors.secret or "code"
            is_sent = "authorization" in request.headers
            raise _NotServed(401, "unauthorized", _NO_ENTRY[asked] if is_sent else _SIGN_IN)
        self._admin.client.keep_recent_calls()  # from the first visit on
        if path.startswith(f"{BASE}/"):
            return await self._api(request, visitor, method)
        return await self._page(request, visitor, method)

    # --- the admin API ---

    async def _api(self, request: Request, visitor: Visitor, method: str) -> Response:
        path = request.url.path
        if path == f"{BASE}/openapi.json" and method == "GET":
            return Response(self._description, media_type="application/json")
        answer = self._operations.get((method, path))
        if answer is None:
            others = [known for known, place in self._operations if place == path]
            if others:
                raise _NotServed(405, "method not allowed", f"Use {others[0]}.")
            raise _NotServed(404, "not found", f"{BASE}/openapi.json describes the API.")
        body = await _body(request) if method == "POST" else {}
        signed = self.visitors.secret is not None
        asked = Question(request.query_params, body, _requester(request, visitor), self._address(request), signed)
        return _json(await answer(asked))

    def _address(self, request: Request) -> str:
        return f"{base_url(request.scope)}{self._admin.client.settings.path}"

    def _problem(self, error: UtcpError) -> Response:
        text = self._admin.problem(error)
        status = 404 if isinstance(error, UnknownTool) else 403 if isinstance(error, PolicyError) else 400
        return _json(text, status)

    # --- signing in ---

    async def _session(self, request: Request) -> Response:
        if request.method == "DELETE":
            return Response(status_code=204, headers={"set-cookie": await self.visitors.leave(request.scope)})
        if request.method != "POST":
            raise _NotServed(405, "method not allowed", "Use POST or DELETE.")
        secret = (await _body(request)).get("secret")
        cookie = await self.visitors.enter(secret, request.scope) if isinstance(secret, str) and secret else None
        if cookie is None:
            raise _NotServed(401, "unauthorized", _NO_ENTRY[self.visitors.secret or "code"])
        return Response(status_code=204, headers={"set-cookie": cookie})

    # --- pages ---

    async def _page(self, request: Request, visitor: Visitor, method: str) -> Response:
        path = request.url.path
        if method == "GET" and path == "/":
            values = {**self._frame(request, visitor), "parts": self._parts}

            async def fill(part: str) -> None:
                values.update(await self._part(part, request))

            async with anyio.create_task_group() as group:  # another bridge may be slow to answer
                for part in self._parts:
                    group.start_soon(fill, part)
            return _html("page.html", values)
        if method == "GET" and path.startswith("/console/parts/"):
            part = path.rpartition("/")[2]
            if part not in self._parts:
                raise _NotServed(404, "not found", "The page has no such part.")
            return _html(f"{part}.html", await self._part(part, request))
        if method == "GET" and path == "/console/tool":
            return _html("tool.html", self._tool(request.query_params.get("name", "")))
        if method == "POST" and path == "/console/try":
            return await self._try(request, visitor)
        if method == "POST" and path == "/console/login":
            return await self._log_in(request, visitor)
        if method == "GET" and path == "/console/events":
            events = self._events(request)
            return StreamingResponse(events, media_type="text/event-stream", headers={"x-accel-buffering": "no"})
        raise _NotServed(404, "not found", "The console has no such page.")

    def _frame(self, request: Request, visitor: Visitor) -> JsonObject:
        name = request.query_params.get("tool", "")
        tool = None
        with suppress(UnknownTool):
            tool = self._tool(name) if name else None
        return {"status": self._admin.status(), "signed_in": self.visitors.secret is not None, "opened": tool,
                "unknown": clean(name, 200) if tool is None else "", "who": visitor.principal.name}  # fmt: skip

    async def _part(self, part: str, request: Request) -> JsonObject:
        """Return the values of one part."""
        shown: JsonObject
        if part == "manuals":
            may_log_in = self.visitors.secret is not None and is_here(request.scope)
            found = await self._whole.manuals()
            written: JsonObject = {"error": "", "needs_restart": [], **(self._admin.client.configuration or {})}
            return {**found, "may_log_in": may_log_in, "configuration": written}
        if part == "calls":
            found = await self._whole.calls(MAX_CALLS)
            tokens = {**await self._admin.tokens(), **self._whole.saved(found)}
            shown = {"calls": found["calls"][:_SHOWN_CALLS], "calls_silent": found["silent"], "tokens": tokens}
            return {**shown, **pictures(found["calls"], found["savings"])}
        if part == "approvals":
            shown = {"approvals": [], "unread": "", "may_decide": self.visitors.secret is not None}
            try:
                shown["approvals"] = await self._admin.approvals()
            except UtcpError as error:  # the other parts are of use when the store is away
                shown["unread"] = clean(error.message)
            return shown
        if part == "drift":
            asked = request.query_params.get("compare") == "now" and request.url.path != "/"
            differences = await self._admin.differences() if asked else None
            may_decide = self.visitors.secret is not None
            return {"drift": differences, "can_compare": self._admin.lock is not None, "may_decide": may_decide}
        if part == "hosts":
            return {"hosts": self._admin.hosts(self._address(request))}
        return await self._admin.replicas() if part == "replicas" else self._tools(request)

    def _tools(self, request: Request) -> JsonObject:
        asked = {name: request.query_params.get(name, "") for name in ("query", "manual")}
        offset = request.query_params.get("offset", "")
        start = int(offset) if offset.isascii() and offset.isdigit() and len(offset) < 7 else 0
        found = self._admin.tools(asked["query"], asked["manual"], offset=start)
        names = sorted({one["name"] for one in self._admin.manuals() if one["tools"]})
        return {"tools": found, "asked": asked, "manual_names": names}

    def _tool(self, name: str) -> JsonObject:
        tool = self._admin.tool(name)
        return {"tool": tool, "fields": fields_of(self._admin.client.find_tool(name).inputs)}

    async def _try(self, request: Request, visitor: Visitor) -> Response:
        asked = Question({}, await _body(request), _requester(request, visitor))
        name, values = asked.text("tool"), {}
        try:
            arguments = self._arguments(name, asked.body)
            values = await self._tried(name, arguments, asked)
        except UtcpError as error:
            remedy = error.remedy or (_TOOL_GONE if isinstance(error, UnknownTool) else "")
            values = {"problem": {"message": clean(error.message), "remedy": clean(remedy)}}
        empty: JsonObject = {"problem": None, "explained": None, "result": None, "seconds": 0.0}
        return _html("tried.html", {**empty, **values})

    async def _log_in(self, request: Request, visitor: Visitor) -> Response:
        """Let a visitor log in to the services of a manual. The reply lasts as long as that takes."""
        signed = self.visitors.secret is not None
        asked = Question({}, await _body(request), _requester(request, visitor), is_signed_in=signed)
        asked.insist_on_login()
        manual = asked.text("manual")
        self._admin.insist_on_manual(manual)
        check_place(is_here=is_here(request.scope), manual=manual)

        async def holds() -> bool:
            return await self.visitors.find(request.scope) is not None

        return LoginReply(self._logins, manual, holds=holds, ended=self._ended)

    async def _tried(self, name: str, arguments: JsonObject, asked: Question) -> JsonObject:
        """Return the explanation of a call, and its result if it is to be made."""
        values: JsonObject = {}
        try:
            values["explained"] = await self._admin.explain(name, arguments)
        except UtcpError as error:
            if asked.body.get("what") == "explain" or isinstance(error, InvalidArguments):
                raise
        if asked.body.get("what") == "explain":
            return values
        called = await self._admin.call(name, arguments, asked.requester)
        return {**values, "result": shown_result(called["result"]), "seconds": called["seconds"]}

    def _arguments(self, name: str, body: JsonObject) -> JsonObject:
        text, fields = body.get("json"), body.get("fields", {})
        if isinstance(text, str) and text.strip():
            try:
                arguments = from_json(text)
            except ValueError as error:
                raise InvalidArguments(f"The arguments are not JSON: {error}.") from None
            if not is_object(arguments):
                raise InvalidArguments("The arguments must be a JSON object.")
            return arguments
        tool = self._admin.client.find(name)
        if tool is None:
            raise UnknownTool(f"There is no tool {clean(name, 200)!r}.")
        return read_form(tool.inputs, fields if is_object(fields) else {})

    async def _events(self, request: Request) -> AsyncIterator[bytes]:
        """Yield the names of the parts that changed, as server-sent events, until the visitor may not see them."""
        before, looks = await self._admin.marks(), 0
        yield b": here\n\n"
        while not self._ended.is_set() and await self.visitors.find(request.scope) is not None:
            with anyio.move_on_after(_LOOK_SECONDS):
                await self._ended.wait()
            looks += 1
            now = await self._admin.marks()
            changed = [part for part in now if now[part] != before.get(part)]
            before = now
            if changed:
                yield b"event: changed\ndata: " + orjson.dumps(changed) + b"\n\n"
            elif looks % _ALIVE_LOOKS == 0:
                yield b": alive\n\n"


def _requester(request: Request, visitor: Visitor) -> Requester:
    principal = visitor.principal
    address = None if request.client is None else request.client.host
    return Requester(
        principal=principal.name, identity=principal, client="utcp-bridge console", address=address, session=None
    )


async def _body(request: Request) -> JsonObject:
    """Return the JSON object of a body.

    :raises _NotServed: the body is not one.
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise _NotServed(415, "not JSON", "Send a JSON object, with `Content-Type: application/json`.")
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > _MAX_BODY:
            raise _NotServed(413, "too large", f"The body has more than {_MAX_BODY:,} bytes.")
    try:
        value = from_json(bytes(data) or b"{}")
    except ValueError as error:
        raise _NotServed(400, "not JSON", f"The body is not JSON: {error}.") from None
    if not is_object(value):
        raise _NotServed(400, "not JSON", "The body must be a JSON object.")
    return value


def _html(template: str, values: JsonObject) -> Response:
    return Response(render(template, values), media_type="text/html; charset=utf-8")


def _json(value: Any, status: int = 200) -> Response:
    try:
        data = orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # a number above 64 bits, or half of a surrogate pair
        data = json.dumps(value, default=str).encode()
    return Response(data, status, media_type="application/json")


def _asset(name: str) -> Response:
    if name not in ASSETS:
        raise _NotServed(404, "not found", "The console has no such file.")
    return Response(asset(name), headers={"content-type": ASSETS[name], "cache-control": "no-cache"})
