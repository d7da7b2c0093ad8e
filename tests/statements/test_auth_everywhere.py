"""Each form of credentials reaches each HTTP-based type, at discovery and at a call: UTCP 0.2 promises all of them."""

import base64
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from utcp_bridge import UtcpClient

ID, SECRET, SCOPE = "client-7", "s3cret/of:the+client", "read write"
BASIC = base64.b64encode(b"ann:p:w").decode()
OAUTH = {"auth_type": "oauth2", "token_url": "<base>/token", "client_id": ID, "client_secret": SECRET}

# form → (auth, how the token endpoint wants the client's credentials, what must arrive: header, query or cookie)
FORMS: dict[str, tuple[dict[str, Any], str, tuple[str, str, str]]] = {
    "key_header": (
        {"auth_type": "api_key", "api_key": "k-1", "var_name": "X-Shop-Key", "location": "header"},
        "",
        ("header", "X-Shop-Key", "k-1"),
    ),
    "key_without_location": (
        {"auth_type": "api_key", "api_key": "k-2", "var_name": "X-Shop-Key"},
        "",
        ("header", "X-Shop-Key", "k-2"),
    ),
    "key_bearer": (
        {"auth_type": "api_key", "api_key": "Bearer t-3", "var_name": "Authorization", "location": "header"},
        "",
        ("header", "Authorization", "Bearer t-3"),
    ),
    "key_query": (
        {"auth_type": "api_key", "api_key": "k&4", "var_name": "api_key", "location": "query"},
        "",
        ("query", "api_key", "k&4"),
    ),
    "key_cookie": (
        {"auth_type": "api_key", "api_key": "k-5", "var_name": "auth_token", "location": "cookie"},
        "",
        ("cookie", "auth_token", "k-5"),
    ),
    "basic": (
        {"auth_type": "basic", "username": "ann", "password": "p:w"},
        "",
        ("header", "Authorization", f"Basic {BASIC}"),
    ),
    "oauth2_body": (OAUTH, "body", ("header", "Authorization", "Bearer token-of-body")),
    "oauth2_header": (OAUTH, "header", ("header", "Authorization", "Bearer token-of-header")),
    "oauth2_scope": ({**OAUTH, "scope": SCOPE}, "any", ("header", "Authorization", "Bearer token-of-read.write")),
}
KINDS = ("http", "sse", "http_stream")


@dataclass
class Shop:
    """A service with one manual and one tool for each type; it records what arrived at which path."""

    kind: str
    auth: dict[str, Any]
    wants: str
    on_the_tool: bool
    base: str = ""
    seen: dict[str, web.Request] = field(default_factory=dict)

    async def manual(self, request: web.Request) -> web.Response:
        self.seen["discovery"] = request
        provider = {"provider_type": self.kind, "url": f"{self.base}/items", "http_method": "GET"}
        if self.on_the_tool:
            provider["auth"] = self.filled_auth()
        return web.json_response({"version": "0.2.0", "tools": [{"name": "list", "tool_provider": provider}]})

    async def items(self, request: web.Request) -> web.Response:
        self.seen["call"] = request
        body, media_type = {
            "http": ('{"n": 1}', "application/json"),
            "sse": ('data: {"n": 1}\n\n', "text/event-stream"),
            "http_stream": ('{"n": 1}\n', "application/x-ndjson"),
        }[self.kind]
        return web.Response(text=body, content_type=media_type)

    async def token(self, request: web.Request) -> web.Response:
        form = parse_qs(await request.text())
        in_body = form.get("client_id") == [ID] and form.get("client_secret") == [SECRET]
        in_header = request.headers.get("Authorization", "").startswith("Basic ")
        if form.get("grant_type") != ["client_credentials"] or not {"body": in_body, "header": in_header}.get(
            self.wants, in_body or in_header
        ):
            return web.json_response({"error": "invalid_client"}, status=401)
        name = self.wants if self.wants != "any" else form["scope"][0].replace(" ", ".")
        return web.json_response({"access_token": f"token-of-{name}", "token_type": "bearer"})

    def filled_auth(self) -> dict[str, Any]:
        return {name: str(value).replace("<base>", self.base) for name, value in self.auth.items()}


@asynccontextmanager
async def shop(kind: str, form: str, step: str):
    auth, wants, _ = FORMS[form]
    one = Shop(kind, auth, wants, on_the_tool=step == "call")
    app = web.Application()
    app.router.add_route("*", "/utcp", one.manual)
    app.router.add_route("*", "/items", one.items)
    app.router.add_route("*", "/token", one.token)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        one.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield one
    finally:
        await runner.cleanup()


def arrived(request: web.Request, place: str, name: str) -> str | None:
    places = {"header": request.headers, "query": request.query, "cookie": request.cookies}
    return places[place].get(name)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("step", ["discovery", "call"])
@pytest.mark.parametrize("kind", KINDS)
async def test_credentials_arrive(kind: str, step: str, form: str) -> None:
    async with shop(kind, form, step) as service:
        entry: dict[str, Any] = {"name": "shop", "provider_type": kind, "url": f"{service.base}/utcp"}
        if step == "discovery":
            entry["auth"] = service.filled_auth()
        async with await UtcpClient.create([entry], wait=20) as client:
            await client.call_tool("shop.list", {})
        place, name, value = FORMS[form][2]
        assert arrived(service.seen[step], place, name) == value
        if step == "call":
            assert arrived(service.seen["discovery"], place, name) is None, "the tool's credentials are the tool's"
