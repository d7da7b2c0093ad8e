"""Lying authorization servers: a login fails with one sentence, and nothing is connected to but what may be."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest
from aiohttp import web
from tests.support.clicking import Clicking

from utcp_bridge import UtcpClient
from utcp_bridge.errors import AuthRequired, LoginFailed, PolicyError, ReplyTooLarge, UtcpError
from utcp_bridge.model import JsonObject

pytestmark = pytest.mark.anyio
Shape = Callable[[JsonObject, str], Any]
"""Returns what a page has, for what it would have and the base of its URL: an object, or a response."""


class LyingService:
    """An MCP server with its authorization server, each page of which may have another shape."""

    def __init__(self, shapes: dict[str, Shape], back: str, *, names_issuer: bool) -> None:
        self.shapes = shapes
        self.back = back
        self.names_issuer = names_issuer
        self.base = ""
        self.tokens: list[str] = []
        """The `Authorization` of requests to the MCP server."""

    def pages(self) -> dict[str, JsonObject]:
        return {
            "resource": {"resource": f"{self.base}/mcp", "authorization_servers": [self.base]},
            "server": {
                "issuer": self.base,
                "authorization_endpoint": f"{self.base}/authorize",
                "token_endpoint": f"{self.base}/token",
                "registration_endpoint": f"{self.base}/register",
                "code_challenge_methods_supported": ["S256"],
                "response_types_supported": ["code"],
                "authorization_response_iss_parameter_supported": self.names_issuer,
            },
            "register": {"client_id": "c1"},
            "token": {"access_token": "good-token", "token_type": "Bearer", "expires_in": 3600},
        }

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path == "/mcp":
            return self.served(request)
        if path == "/authorize":
            asked = request.query
            raise web.HTTPFound(f"{asked['redirect_uri']}?code=abc&state={asked['state']}{self.back}")
        name = {
            "/resource": "resource",
            "/.well-known/oauth-authorization-server": "server",
            "/register": "register",
            "/token": "token",
        }.get(path)
        if name is None:
            raise web.HTTPNotFound
        page = self.pages()[name]
        if name == "register":
            page = {**await request.json(), **page}
        made = self.shapes.get(name, lambda found, _base: found)(page, self.base)
        if isinstance(made, web.StreamResponse):
            return made
        return web.Response(body=json.dumps(made).encode(), content_type="application/json")

    def served(self, request: web.Request) -> web.Response:
        token = request.headers.get("Authorization")
        if token is None:
            return web.Response(
                status=401, headers={"WWW-Authenticate": f'Bearer resource_metadata="{self.base}/resource"'}
            )
        self.tokens.append(token)
        info = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "x"}}
        return web.json_response({"jsonrpc": "2.0", "id": 1, "result": info})


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the hosts that the program connects to. A connection to any but 127.0.0.1 is refused."""
    hosts: list[str] = []
    of_loop = asyncio.selector_events.BaseSelectorEventLoop.sock_connect

    async def connect(loop: Any, sock: socket.socket, address: Any) -> Any:
        hosts.append(address[0])
        if address[0] != "127.0.0.1":
            raise ConnectionRefusedError
        return await of_loop(loop, sock, address)

    monkeypatch.setattr(asyncio.selector_events.BaseSelectorEventLoop, "sock_connect", connect)
    return hosts


@asynccontextmanager
async def lying(
    shapes: dict[str, Shape], back: str = "", *, names_issuer: bool = False, auth: JsonObject | None = None
) -> AsyncIterator[tuple[UtcpClient, LyingService]]:
    service = LyingService(shapes, back, names_issuer=names_issuer)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", service.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    service.base = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[union-attr]
    entry: JsonObject = {"name": "notes", "call_template_type": "mcp", "server_url": f"{service.base}/mcp"}
    if auth is not None:
        entry["auth"] = auth
    try:
        with anyio.fail_after(120):
            config = {"manual_call_templates": [entry], "bridge": {"token_store": "memory", "discovery_timeout": 200}}
            async with await UtcpClient.create(config) as client:
                yield client, service
    finally:
        await runner.cleanup()


def fields(**changes: Any) -> Shape:
    return lambda page, _base: {**page, **changes}


def response(**options: Any) -> Shape:
    return lambda _page, _base: web.Response(**options)


async def failure_of(shapes: dict[str, Shape], back: str = "", *, names_issuer: bool = False) -> UtcpError:
    """Return the error of a login. No token reached the MCP server."""
    async with lying(shapes, back, names_issuer=names_issuer) as (client, service):
        with pytest.raises(UtcpError) as caught:
            await client.login_desk.log_in("notes", Clicking())
        assert not [token for token in service.tokens if token != "Bearer good-token"]
        assert str(caught.value).isprintable()
        return caught.value


FAR = {
    "https://10.0.0.1/x": "it is a private address",
    "https://169.254.169.254/x": "it is a link-local address",
    "http://127.0.0.2:81/x": "it is a loopback address",
    "http://10.0.0.1/x": "is not on https",
    "https://user:pw@127.0.0.1/x": "contains a user name or a password",
}


@pytest.mark.parametrize("url", FAR)
@pytest.mark.parametrize("place", ["authorization_servers", "token_endpoint", "registration_endpoint"])
async def test_addresses_that_metadata_names_pass_the_gate(url: str, place: str, connected: list[str]) -> None:
    change = {place: [url] if place == "authorization_servers" else url}
    error = await failure_of({"resource" if place == "authorization_servers" else "server": fields(**change)})
    assert isinstance(error, PolicyError)
    assert FAR[url] in str(error)
    assert set(connected) <= {"127.0.0.1"}


@pytest.mark.parametrize("url", ["file:///etc/passwd", "javascript:alert(1)", "gopher://127.0.0.1/x", "", "\x00", "x"])
@pytest.mark.parametrize("place", ["authorization_endpoint", "token_endpoint", "registration_endpoint"])
async def test_addresses_of_other_schemes_are_never_used(url: str, place: str, connected: list[str]) -> None:
    async with lying({"server": fields(**{place: url})}) as (client, _):
        person = Clicking()
        with suppress(UtcpError):  # without usable metadata, the endpoints are at their usual paths
            await client.login_desk.log_in("notes", person)
        assert all(visited.startswith("http://127.0.0.1:") for visited in person.visited)
    assert set(connected) <= {"127.0.0.1"}


WRONG: dict[str, tuple[dict[str, Shape], type[UtcpError], str]] = {
    "another issuer": ({"server": fields(issuer="https://other.example")}, LoginFailed,
                       "says that it is https://other.example"),
    "another resource": ({"resource": fields(resource="https://other.example/mcp")}, LoginFailed,
                         "its metadata is that of another resource"),
    "huge metadata": ({"server": response(body=b"[" * 20_000_000)}, ReplyTooLarge, "more than 10485760 bytes"),
    "no registration": ({"register": response(status=403)}, LoginFailed, "refused to register this client .403"),
    "a page for a registration": ({"register": response(body=b"<html>")}, LoginFailed, "does not register clients"),
    "a number for a client": ({"register": fields(client_id=5)}, LoginFailed, "does not register clients"),
    "a page for a token": ({"token": response(body=b"<html>")}, LoginFailed, "refused the code"),
    "a failure for a token": ({"token": response(status=500, body=b"body-canary")}, LoginFailed, "refused the code"),
    "a redirect for a token": ({"token": response(status=307, headers={"Location": "http://127.0.0.2:9/"})},
                               LoginFailed, "refused the code"),
    "a huge token": ({"token": response(body=b"x" * 20_000_000)}, ReplyTooLarge, "more than 10485760 bytes"),
    **{f"the token {token!r:.12}": ({"token": fields(access_token=token)}, LoginFailed,
                                    "a token that no request can carry|refused the code")
       for token in ("a\r\nX: 1", "\x00", "\u00e9\u202e", "\ud800", "", " ", 5, None, ["a"])},
    **{f"the life {life!r:.12}": ({"token": fields(expires_in=life)}, LoginFailed,
                                  "refused the code|the protocol was not followed")
       for life in ("x", [], {}, 10**400, 1e308)},
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
async def test_a_lie_ends_the_login_with_one_sentence(name: str, connected: list[str]) -> None:
    shapes, kind, words = WRONG[name]
    error = await failure_of(shapes)
    assert isinstance(error, kind)
    assert "body-canary" not in str(error)
    with pytest.raises(kind, match=words):
        raise error
    assert set(connected) <= {"127.0.0.1"}


PKCE: list[Any] = [None, [], ["plain"], ["s256", "S256 "], "S256", {"S256": True}, [256], 5]
"""What is not an announcement of S256."""


@pytest.mark.parametrize("announced", PKCE, ids=str)
async def test_no_login_at_a_server_that_does_not_announce_pkce_with_s256(announced: Any) -> None:
    async with lying({"server": fields(code_challenge_methods_supported=announced)}) as (client, service):
        assert "PKCE" in str(client.report()[0].error)
        person = Clicking()
        with pytest.raises(LoginFailed, match=r"PKCE.*code_challenge_methods_supported.*Ask its operator") as caught:
            await client.login_desk.log_in("notes", person)
        assert ("assume_s256" in str(caught.value)) == (not announced)
        assert not person.visited
        assert not service.tokens


VOUCHED: JsonObject = {"auth_type": "oauth2_login", "assume_s256": True}


@pytest.mark.parametrize("announced", PKCE, ids=str)
async def test_an_operator_vouches_for_a_server_that_announces_nothing_only(announced: Any) -> None:
    """What the server announces itself counts more, and so does metadata that cannot be read."""
    announces_nothing = not announced
    shapes = {"server": fields(code_challenge_methods_supported=announced)}
    async with lying(shapes, auth=VOUCHED) as (client, service):
        person = Clicking()
        if announces_nothing:
            assert isinstance(client.report()[0].error, AuthRequired)
            await client.login_desk.log_in("notes", person)
            assert "code_challenge_method=S256" in person.visited[0]
            assert service.tokens
            return
        with pytest.raises(LoginFailed, match=r"PKCE.*Ask its operator") as caught:
            await client.login_desk.log_in("notes", person)
        assert "assume_s256" not in str(caught.value)
        assert not person.visited
        assert not service.tokens


@pytest.mark.parametrize("names_issuer", [True, False])
async def test_a_code_of_another_issuer_is_not_used(names_issuer: bool) -> None:
    error = await failure_of({}, "&iss=https://other.example", names_issuer=names_issuer)
    assert "says that it is https://other.example" in str(error)


async def test_a_code_without_the_promised_issuer_is_not_used() -> None:
    error = await failure_of({}, names_issuer=True)
    assert "the redirect does not say which server issued the code" in str(error)


@pytest.mark.parametrize("life", [-5, 0, 10**15])
async def test_a_life_out_of_range_loses_no_login(life: int) -> None:
    async with lying({"token": fields(expires_in=life)}) as (client, service):
        assert isinstance(client.report()[0].error, AuthRequired)
        await client.login_desk.log_in("notes", Clicking())
        assert service.tokens
