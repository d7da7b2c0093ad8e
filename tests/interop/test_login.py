"""Logins: a certified authorization server, whose pages a real browser shows and a script clicks."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
import uvicorn
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from tests.interop.serving import free_port, serving
from tests.interop.software import Debian, Npm
from tests.support.login_program import configured

pytestmark = pytest.mark.anyio

PROVIDER = Npm("oidc-provider@9.13.3")
PUPPETEER = Npm("puppeteer-core@24")
CHROMIUM = Debian("chromium", light=False)
SERVERS = Path(__file__).parent / "servers"


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=60) as reply:
        return json.load(reply)


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

    running = uvicorn.Server(uvicorn.Config(server.streamable_http_app(), log_level="critical"))
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
    browser = f"node {SERVERS / 'clicking_browser.cjs'} {CHROMIUM.command} %s"
    own = {"XDG_CONFIG_HOME": str(folder / "config"), "BROWSER": browser}
    environment = {**os.environ, **PUPPETEER.environment, **own}
    command = [sys.executable, "-m", "utcp_bridge", *arguments]
    return await anyio.run_process(command, check=False, cwd=folder, env=environment, stdin=subprocess.DEVNULL)


@pytest.mark.needs(PROVIDER, PUPPETEER, CHROMIUM)
async def test_a_browser_clicks_through_login_and_consent_and_the_token_is_renewed(tmp_path: Path) -> None:
    port = free_port()
    issuer = f"http://127.0.0.1:{port}"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        command = [PROVIDER.command, SERVERS / "oidc_logins.cjs", str(port), url]
        with serving(command, port=port, environment=PROVIDER.environment):
            async with _notes(issuer, listener):
                configured(tmp_path, {"name": "notes", "call_template_type": "mcp", "server_url": url})
                checked = await _ran(tmp_path, "check")
                assert b"needs a login. Run `utcp-bridge login notes`." in checked.stdout
                made = await _ran(tmp_path, "login", "notes")
                assert made.stdout.decode() == f"Logged in to {url} with {issuer}.\n", made.stderr.decode()
                called = await _ran(tmp_path, "call", "notes.read", "name=one")
                assert called.stdout.strip() == b"the note one", called.stderr.decode()

                [kept] = await anyio.to_thread.run_sync(lambda: list((tmp_path / "config").rglob("*.json")))
                entry = json.loads(kept.read_bytes())
                kept.write_text(json.dumps({**entry, "value": {**entry["value"], "stale_at": 1}}))
                for _ in range(2):  # the second uses the refresh token that the first got
                    called = await _ran(tmp_path, "call", "notes.read", "name=two")
                    assert called.stdout.strip() == b"the note two", called.stderr.decode()
                requests = await anyio.to_thread.run_sync(_get, f"{issuer}/requests")
                assert (requests["/reg"], requests["/token"]) == (1, 2)

                ended = await _ran(tmp_path, "logout", "notes")
                assert ended.stdout.decode() == f"Logged out of {url}.\n"
                requests = await anyio.to_thread.run_sync(_get, f"{issuer}/requests")
                assert requests["/token/revocation"] == 1
