"""oauth2: client credentials of a certified authorization server, signed tokens that a resource checks itself, and
logins: a real browser shows the pages of that server, and a script clicks.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
import uvicorn
from aiohttp import web
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from tests.interop.manuals import manual
from tests.interop.serving import free_port, serving
from tests.interop.software import Debian, Installed, Npm, PyPI
from tests.support.login_program import configured, ran

from utcp_bridge.errors import ConfigError, TokenError
from utcp_bridge.stores.opening import open_store
from utcp_bridge.stores.port import Store

pytestmark = pytest.mark.anyio

PROVIDER = Npm("oidc-provider@9.13.3")
MOCK = Npm("oauth2-mock-server@8.2.3", program="oauth2-mock-server")
PUPPETEER = Npm("puppeteer-core@24")
CHROMIUM = Debian("chromium", light=False)
FASTMCP = PyPI("fastmcp==4.2.3", "python", light=False, newest="fastmcp")
ENVIRONMENT = {**FASTMCP.environment, "FASTMCP_CHECK_FOR_UPDATES": "off"}
REDIS = Debian("redis-server")
REDIS_CLIENT = Installed("redis", optional=True)
SERVER = Path(__file__).parent / "servers" / "oidc_provider.cjs"
CLIENT, SECRET = "our client", "s%c+r:t/20%25 ~"


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=60) as reply:
        return json.load(reply)


def _manual(resource: str, token_url: str, *, secret: str = SECRET, scope: str | None = "read") -> dict[str, Any]:
    auth = {"auth_type": "oauth2", "token_url": token_url, "client_id": CLIENT, "client_secret": secret, "scope": scope}
    return manual("api", "http", read={"url": resource, "http_method": "GET", "auth": auth})


@pytest.mark.needs(PROVIDER)
@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
async def test_a_secret_full_of_signs_is_taken_at_once_and_its_token_kept(opened, method: str) -> None:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    command = [PROVIDER.command, SERVER, str(port), CLIENT, SECRET, method]
    with serving(command, port=port, environment=PROVIDER.environment):
        async with opened(_manual(f"{base}/resource", f"{base}/token")) as client:
            for _ in range(3):
                answer = await client.call_tool("api.read", {})
                assert answer == {"client": CLIENT, "scope": "read", "requests": 1}
            await anyio.to_thread.run_sync(_get, f"{base}/revoke-all")
            assert (await client.call_tool("api.read", {}))["requests"] == 2


@pytest.mark.needs(PROVIDER)
async def test_a_wrong_secret_is_reported_without_showing_it(opened) -> None:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    command = [PROVIDER.command, SERVER, str(port), CLIENT, SECRET, "client_secret_basic"]
    with serving(command, port=port, environment=PROVIDER.environment):
        async with opened(_manual(f"{base}/resource", f"{base}/token", secret="canary%:+")) as client:
            with pytest.raises(TokenError, match="401 invalid_client") as caught:
                await client.call_tool("api.read", {})
    assert "canary" not in str(caught.value)


@asynccontextmanager
async def _resource(issuer: str) -> AsyncIterator[str]:
    """A resource that checks a token's signature and its time by the issuer's published keys."""
    keys = KeySet.import_key_set(await anyio.to_thread.run_sync(_get, f"{issuer}/jwks"))

    async def read(request: web.Request) -> web.Response:
        try:
            token = jwt.decode(request.headers.get("Authorization", "").removeprefix("Bearer "), keys)
            jwt.JWTClaimsRegistry(iss={"essential": True}, exp={"essential": True}).validate(token.claims)
        except (JoseError, ValueError):
            raise web.HTTPUnauthorized from None
        return web.json_response({"scope": token.claims.get("scope")})

    app = web.Application()
    app.router.add_get("/resource", read)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/resource"
    finally:
        await runner.cleanup()


@pytest.mark.needs(MOCK)
async def test_a_signed_token_passes_a_resource_that_checks_it(opened) -> None:
    port = free_port()
    issuer = f"http://127.0.0.1:{port}"
    with serving([MOCK.command, "-a", "127.0.0.1", "-p", str(port)], port=port, environment=MOCK.environment):
        async with _resource(issuer) as resource, opened(_manual(resource, f"{issuer}/token")) as client:
            assert (await client.call_tool("api.read", {}))["scope"] == "read"


# --- logins


@asynccontextmanager
async def _notes(issuer: str, listener: socket.socket) -> AsyncIterator[None]:
    """An MCP server that checks the signature, the audience and the scope of a token by the issuer's keys."""
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    keys = KeySet.import_key_set(await anyio.to_thread.run_sync(_get, f"{issuer}/jwks"))

    class Verifier:
        async def verify_token(self, token: str) -> AccessToken | None:
            try:
                claims = jwt.decode(token, keys).claims
                jwt.JWTClaimsRegistry(iss={"value": issuer}, aud={"value": url}, exp={"essential": True}).validate(
                    claims
                )
            except (JoseError, ValueError):
                return None
            scopes = str(claims.get("scope", "")).split()
            return AccessToken(token=token, client_id=claims["client_id"], scopes=scopes, resource=url)

    auth = AuthSettings(
        issuer_url=issuer, resource_server_url=url, required_scopes=["notes"], validate_token_resource=True
    )
    server = MCPServer("notes", token_verifier=Verifier(), auth=auth, log_level="CRITICAL")

    @server.tool()
    def read(name: str) -> str:
        """Read a note."""
        return f"the note {name}"

    running = uvicorn.Server(uvicorn.Config(server.streamable_http_app(), log_config=None))
    running.install_signal_handlers = lambda: None
    async with anyio.create_task_group() as group:
        group.start_soon(running.serve, [listener])
        while not running.started:
            await anyio.lowlevel.checkpoint()
        try:
            yield
        finally:
            running.should_exit = True


async def _ran(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    browser = f"node {SERVER.parent / 'clicking_browser.cjs'} {CHROMIUM.command} %s"
    own = {"XDG_CONFIG_HOME": str(folder / "config"), "BROWSER": browser}
    environment = {**CHROMIUM.environment, "PATH": PUPPETEER.environment["PATH"], **own}
    environment["NODE_PATH"] = PUPPETEER.environment["NODE_PATH"]
    command = [sys.executable, "-m", "utcp_bridge", *arguments]
    return await anyio.run_process(command, check=False, cwd=folder, env=environment, stdin=subprocess.DEVNULL)


async def _both(folder: Path, *arguments: str) -> list[subprocess.CompletedProcess[bytes]]:
    """Run two processes at once."""
    ended: list[subprocess.CompletedProcess[bytes]] = []

    async def run() -> None:
        ended.append(await _ran(folder, *arguments))

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        group.start_soon(run)
    return ended


def _let_expire(folder: Path) -> None:
    """Let the bridge take the one login that it keeps for one whose access token is over."""
    [kept] = (folder / "config").rglob("*.json")
    entry = json.loads(kept.read_bytes())
    kept.write_text(json.dumps({**entry, "value": {**entry["value"], "stale_at": 1}}))


@pytest.mark.timeout(400)
@pytest.mark.needs(PROVIDER, PUPPETEER, CHROMIUM)
async def test_a_browser_clicks_through_login_and_consent_and_the_token_is_renewed(tmp_path: Path) -> None:
    port = free_port()
    issuer = f"http://127.0.0.1:{port}"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        command = [PROVIDER.command, SERVER.parent / "oidc_logins.cjs", str(port), url]
        with serving(command, port=port, environment=PROVIDER.environment):
            async with _notes(issuer, listener):
                configured(tmp_path, {"name": "notes", "call_template_type": "mcp", "server_url": url})
                checked = await _ran(tmp_path, "check")
                assert b"needs a login. Run `utcp-bridge login notes`." in checked.stdout
                made = await _ran(tmp_path, "login", "notes")
                assert made.stdout.decode() == f"Logged in to {url} with {issuer}.\n", made.stderr.decode()
                called = await _ran(tmp_path, "call", "notes.read", "name=one")
                assert called.stdout.strip() == b"the note one", called.stderr.decode()

                for _ in range(2):  # the second uses the refresh token that the first got
                    await anyio.to_thread.run_sync(_let_expire, tmp_path)
                    called = await _ran(tmp_path, "call", "notes.read", "name=two")
                    assert called.stdout.strip() == b"the note two", called.stderr.decode()
                requests = await anyio.to_thread.run_sync(_get, f"{issuer}/requests")
                assert (requests["/reg"], requests["/token"]) == (1, 3)

                await anyio.to_thread.run_sync(_let_expire, tmp_path)
                for called in await _both(tmp_path, "call", "notes.read", "name=three"):
                    assert called.stdout.strip() == b"the note three", called.stderr.decode()
                requests = await anyio.to_thread.run_sync(_get, f"{issuer}/requests")
                assert requests["/token"] == 4, "one process renewed, and the other waited for it"

                await anyio.to_thread.run_sync(_let_expire, tmp_path)
                await anyio.to_thread.run_sync(_get, f"{issuer}/end-renewal")
                called = await _ran(tmp_path, "call", "notes.read", "name=four")
                assert f"{issuer} refused to renew it. Run `utcp-bridge login notes`." in called.stderr.decode()
                made = await _ran(tmp_path, "login", "notes")
                assert made.stdout.decode() == f"Logged in to {url} with {issuer}.\n", made.stderr.decode()
                called = await _ran(tmp_path, "call", "notes.read", "name=five")
                assert called.stdout.strip() == b"the note five", called.stderr.decode()

                ended = await _ran(tmp_path, "logout", "notes")
                assert ended.stdout.decode() == f"Logged out of {url}.\n"
                requests = await anyio.to_thread.run_sync(_get, f"{issuer}/requests")
                assert requests["/token/revocation"] == 1


@pytest.mark.timeout(400)
@pytest.mark.needs(FASTMCP)
async def test_the_server_of_fastmcp_expires_rotates_and_revokes(tmp_path: Path) -> None:
    """Its authorization server accepts each refresh token once."""
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    url = f"{base}/mcp"

    async def asked(path: str) -> Any:
        return await anyio.to_thread.run_sync(_get, f"{base}{path}")

    async def read(name: str) -> None:
        called = await ran(tmp_path, "call", "notes.read", f"name={name}")
        assert called.stdout.strip() == f"the note {name}", called.stderr

    with serving([FASTMCP.command, SERVER.parent / "fastmcp_login.py", str(port)], port=port, environment=ENVIRONMENT):
        configured(tmp_path, {"name": "notes", "call_template_type": "mcp", "server_url": url})
        assert "needs a login" in (await ran(tmp_path, "check")).stdout
        made = await ran(tmp_path, "login", "notes")
        assert made.stdout.startswith(f"Logged in to {url} with {base}"), made.stderr
        await read("one")
        for count, name in ((2, "two"), (3, "three")):
            await asked("/expire")
            await read(name)
            assert (await asked("/requests"))["/token"] == count

        await asked("/expire")
        outputs: list[str] = []

        async def run() -> None:
            outputs.append((await ran(tmp_path, "call", "notes.read", "name=four")).stdout.strip())

        async with anyio.create_task_group() as group:
            group.start_soon(run)
            group.start_soon(run)
        assert outputs == ["the note four"] * 2
        assert (await asked("/requests"))["/token"] == 4, "one process renewed, and the other waited for it"

        await asked("/revoke")
        called = await ran(tmp_path, "call", "notes.read", "name=five")
        assert "refused to renew it. Run `utcp-bridge login notes`." in called.stderr
        await ran(tmp_path, "login", "notes")
        await read("six")
        assert (await ran(tmp_path, "logout", "notes")).stdout == f"Logged out of {url}.\n"
        assert (await asked("/tokens")) == {"access": 0, "refresh": 0}


@pytest.mark.needs(REDIS, REDIS_CLIENT)
async def test_logins_in_redis_are_shared_and_renewed_by_one_bridge_at_a_time(tmp_path: Path) -> None:
    port = free_port()
    command = [REDIS.command, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--requirepass", "s3cret"]
    name = f"redis://:s3cret@127.0.0.1:{port}/0"
    with serving(command, port=port, environment=REDIS.environment):
        stores = [open_store(name, folder=tmp_path, root=tmp_path) for _ in range(2)]
        counts: list[int] = []

        async def renew(store: Store) -> None:
            for _ in range(10):
                async with store.lock("login a"):
                    count = (await store.get("login a") or {"n": 0})["n"]
                    await anyio.lowlevel.checkpoint()
                    await store.put("login a", {"n": count + 1})
                    counts.append(count)

        async with anyio.create_task_group() as group:
            for store in stores:
                group.start_soon(renew, store)
        assert counts == list(range(20))
        await stores[0].put("login ü/*?[", {"n": 1})
        assert await stores[1].keys() == ["login a", "login ü/*?["]
        assert await stores[1].delete("login a")
        assert not await stores[0].delete("login a")
        wrong = open_store(name.replace("s3cret", "canary"), folder=tmp_path, root=tmp_path)
        with pytest.raises(ConfigError, match="refuses the user or the password") as caught:
            await wrong.get("login a")
        assert "canary" not in str(caught.value)
        for store in [*stores, wrong]:
            await store.aclose()
