"""oauth2: client credentials of a certified authorization server, and signed tokens that a resource checks itself."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from aiohttp import web
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from tests.interop.manuals import manual
from tests.interop.serving import free_port, serving
from tests.interop.software import Npm

from utcp_bridge.errors import TokenError

pytestmark = pytest.mark.anyio

PROVIDER = Npm("oidc-provider@9.13.3")
MOCK = Npm("oauth2-mock-server@8.2.3", program="oauth2-mock-server")
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
