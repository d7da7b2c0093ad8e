"""access: a certified authorization server issues tokens for the bridge, and MCP clients of others log in with them."""

from __future__ import annotations

import json
import queue
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlencode

import anyio.to_thread
import httpx2
import pytest
from aiohttp import web
from mcp.client import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from tests.interop.hosting import TS_1
from tests.interop.serving import free_port, serving, until
from tests.interop.software import Debian, Installed, Npm
from tests.interop.test_inspector import INSPECTOR

PROVIDER = Npm("oidc-provider@9.13.3", light=True)
PUPPETEER = Npm("puppeteer-core@24")
CHROMIUM = Debian("chromium", light=False)
SDK = Installed("mcp")
REMOTE = Npm("mcp-remote@0.15.1 @modelcontextprotocol/sdk@1.32.2 node@22", "node")
SERVER = Path(__file__).parents[1] / "servers" / "oidc_for_bridge.cjs"
MANUAL = {
    "name": "desk",
    "call_template_type": "text",
    "content": json.dumps({
        "utcp_version": "1.0.1",
        "tools": [{
            "name": "note",
            "tool_call_template": {"call_template_type": "text", "content": "the note"},
        }],
    }),
}  # fmt: skip
CALL = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {
        "name": "desk_note",
        "arguments": {},
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        },
    },
}
HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": "2026-07-28",
    "Mcp-Method": "tools/call",
    "Mcp-Name": "desk_note",
}
READ, BOTH = ("tools:read",), ("tools:read", "tools:write")


@dataclass
class Reply:
    """What the bridge answered."""

    status: int
    challenge: str
    text: str


@dataclass
class Site:
    """An authorization server, and bridges that take its tokens at `url`."""

    folder: Path
    issuer: str
    url: str
    other: str
    bridges: ExitStack = field(default_factory=ExitStack)

    def serve(self, scopes: tuple[str, ...] = READ, **settings: Any) -> None:
        """Start the bridge, in place of the one before."""
        self.bridges.close()
        bridge = {
            "access": {"required_scopes": scopes, **settings.pop("access", {})},
            "oauth": {"issuer": self.issuer, "resource": self.url, **settings.pop("oauth", {})},
            "log": {"audit_log": "calls.jsonl"},
        }
        config = self.folder / "utcp.json"
        config.write_text(json.dumps({"manual_call_templates": [MANUAL], "bridge": bridge}), encoding="utf-8")
        port = int(self.url.rpartition(":")[2].partition("/")[0])
        command = [sys.executable, "-m", "utcp_bridge", "serve", config, "--http", "--port", str(port)]
        self.bridges.enter_context(serving(command, port=port, folder=self.folder))

    def asked(self, path: str) -> dict[str, int]:
        """Ask the authorization server for something of the test, and return how often each path was asked for."""
        with urllib.request.urlopen(f"{self.issuer}/test/{path}", timeout=60) as reply:
            found: dict[str, int] = json.load(reply)
            return found

    def token(self, resource: str, scopes: tuple[str, ...] = BOTH) -> str:
        """Return a new token of the machine for a resource."""
        form = {"grant_type": "client_credentials", "scope": " ".join(scopes), "resource": resource}
        proof = b64encode(f"machine:{quote_plus('a secret of a machine')}".encode()).decode()
        request = urllib.request.Request(
            f"{self.issuer}/token", urlencode(form).encode(), {"Authorization": f"Basic {proof}"}
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            return str(json.load(reply)["access_token"])

    def call(self, token: str | None) -> Reply:
        """Call the tool."""
        own = {} if token is None else {"Authorization": f"Bearer {token}"}
        request = urllib.request.Request(self.url, json.dumps(CALL).encode(), {**HEADERS, **own})
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return Reply(reply.status, "", reply.read().decode())
        except urllib.error.HTTPError as error:
            return Reply(error.code, error.headers.get("WWW-Authenticate", ""), error.read().decode())

    @property
    def metadata_url(self) -> str:
        return self.url.replace("/mcp", "/.well-known/oauth-protected-resource/mcp")

    def await_calls_of(self, *names: str) -> None:
        """Wait until the audit log has calls of these persons and programs, and of no other."""

        def callers() -> set[str]:
            lines = (self.folder / "calls.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
            found = [json.loads(line) for line in lines if line.endswith("\n")]
            return {line["principal"] for line in found if "tool" in line}

        until(lambda: callers() == {f"oauth:{name}@{self.issuer}" for name in names})


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    ports = [free_port() for _ in range(3)]
    issuer, url, other = (f"http://127.0.0.1:{port}" for port in ports)
    found = Site(tmp_path, issuer, f"{url}/mcp", f"{other}/mcp")
    command = [PROVIDER.command, SERVER, str(ports[0]), found.url, found.other]
    with serving(command, port=ports[0], environment=PROVIDER.environment), found.bridges:
        yield found


# --- tokens, as they are


@pytest.mark.needs(PROVIDER)
def test_a_token_for_this_resource_is_accepted_and_no_other_one(site: Site) -> None:
    site.serve(oauth={"profiles": {"tools:write": ["all"]}}, access={"profiles": {"all": {}}})
    without = site.call(None)
    assert (without.status, "error=" in without.challenge) == (401, False)
    assert f'resource_metadata="{site.metadata_url}"' in without.challenge
    assert 'scope="tools:read"' in without.challenge
    with urllib.request.urlopen(site.metadata_url, timeout=60) as reply:
        metadata = json.load(reply)
    assert (metadata["resource"], metadata["authorization_servers"]) == (site.url, [site.issuer])

    good = site.token(site.url)
    assert "the note" in site.call(good).text
    for wrong in (site.token(site.other), f"{good[:-8]}AAAAAAAA", good[: good.rindex(".")], "x" * 43):
        refused = site.call(wrong)
        assert refused.status == 401, refused.text
        assert 'error="invalid_token"' in refused.challenge
        assert f'resource_metadata="{site.metadata_url}"' in refused.challenge
    site.asked("age?seconds=120")
    assert site.call(site.token(site.url)).status == 401, "it has expired"
    site.asked("age?seconds=0")
    assert site.call(site.token(site.url)).status == 200
    assert site.call(site.token(site.url, READ)).status == 404, "its scopes give no profile"
    site.await_calls_of("machine")


@pytest.mark.needs(PROVIDER)
def test_too_little_scope_is_refused_with_the_scopes_that_are_needed(site: Site) -> None:
    site.serve(BOTH)
    narrow = site.call(site.token(site.url, READ))
    assert narrow.status == 403
    assert 'error="insufficient_scope"' in narrow.challenge
    assert 'scope="tools:read tools:write"' in narrow.challenge
    assert f'resource_metadata="{site.metadata_url}"' in narrow.challenge
    assert site.call(site.token(site.url, BOTH)).status == 200


@pytest.mark.needs(PROVIDER)
def test_a_new_signing_key_is_taken_and_the_one_before_has_ended(site: Site) -> None:
    site.serve()
    first, unused = site.token(site.url), site.token(site.url, READ)
    assert site.call(first).status == 200
    site.asked("rotate")
    until(lambda: site.call(site.token(site.url)).status == 200)
    assert site.call(unused).status == 401, "its key is no longer published"


# --- logins, in a browser


def visit(url: str, words: str = "The login is complete") -> None:
    """Let a real browser log in and consent, to the page with these words."""
    own = {"PATH": PUPPETEER.environment["PATH"], "NODE_PATH": PUPPETEER.environment["NODE_PATH"]}
    command = ["node", str(SERVER.parent / "clicking_browser.cjs"), CHROMIUM.command, url, words]
    done = subprocess.run(
        command, env={**CHROMIUM.environment, **own}, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


class Kept:
    """What a client on the Python SDK keeps."""

    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


@dataclass
class PythonClient:
    """A client on the Python SDK. Each call is a connection of its own."""

    url: str
    redirect: str
    kept: Kept = field(default_factory=Kept)
    results: queue.Queue[AuthorizationCodeResult] = field(default_factory=queue.Queue)
    logins: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        metadata = {"client_name": "interop", "redirect_uris": [self.redirect], "token_endpoint_auth_method": "none"}
        self.provider = OAuthClientProvider(
            self.url,
            OAuthClientMetadata.model_validate(metadata),
            self.kept,
            redirect_handler=self._browse,
            callback_handler=self._received,
        )

    async def call(self, *, expired: bool = False) -> str:
        if expired:
            self.provider.context.token_expiry_time = 1.0
        async with (
            httpx2.AsyncClient(auth=self.provider, timeout=60) as http,
            Client(streamable_http_client(self.url, http_client=http)) as client,
        ):
            [block] = (await client.call_tool("desk_note", {})).content
            return str(getattr(block, "text", block))

    async def _browse(self, url: str) -> None:
        self.logins.append(url)
        await anyio.to_thread.run_sync(visit, url)

    async def _received(self) -> AuthorizationCodeResult:
        return self.results.get_nowait()


@asynccontextmanager
async def python_client(url: str) -> AsyncGenerator[PythonClient]:
    """A client with its page for the redirect."""

    async def callback(request: web.Request) -> web.Response:
        found = request.query
        result = AuthorizationCodeResult(code=found["code"], state=found.get("state"), iss=found.get("iss"))
        client.results.put(result)
        return web.Response(text="The login is complete")

    app = web.Application()
    app.router.add_get("/callback", callback)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = PythonClient(url, f"http://127.0.0.1:{runner.addresses[0][1]}/callback")
    try:
        yield client
    finally:
        await runner.cleanup()


@pytest.mark.anyio
@pytest.mark.timeout(400)
@pytest.mark.needs(PROVIDER, SDK, PUPPETEER, CHROMIUM)
async def test_the_python_sdk_logs_in_renews_takes_new_keys_and_logs_in_for_more_scope(site: Site) -> None:
    site.serve()
    async with python_client(site.url) as client:
        assert await client.call() == "the note"
        assert "scope=tools%3Aread+offline_access" in client.logins[0]
        assert f"resource={quote_plus(site.url)}" in client.logins[0]
        assert await client.call() == "the note"
        assert (len(client.logins), site.asked("requests")["/token"]) == (1, 1)
        assert await client.call(expired=True) == "the note"
        assert (len(client.logins), site.asked("requests")["/token"]) == (1, 2), "it was renewed without a login"

        site.asked("rotate")
        until(lambda: site.call(site.token(site.url)).status == 200)
        assert await client.call(expired=True) == "the note"
        assert len(client.logins) == 1, "the renewed token is signed with the new key"

        await anyio.to_thread.run_sync(site.serve, BOTH)
        assert await client.call() == "the note"
        assert "tools%3Awrite" in client.logins[1], "403 says which scopes are needed"
        assert len(client.logins) == 2
    site.await_calls_of("somebody", "machine")


class Talk:
    """A running client that reads lines and prints lines of JSON. The browser visits each login that it prints."""

    def __init__(self, process: subprocess.Popen[str], issuer: str, words: str) -> None:
        self._process, self._issuer, self._words = process, issuer, words
        self._heard: queue.Queue[str] = queue.Queue()
        self._printed: list[str] = []
        self._visits: dict[str, threading.Thread] = {}
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __call__(self, *lines: str) -> Any:
        """Say lines, and return the first JSON that comes after them."""
        assert self._process.stdin is not None
        self._process.stdin.write("".join(f"{line}\n" for line in lines))
        self._process.stdin.flush()
        try:
            line = self._heard.get(timeout=120)
        except queue.Empty:
            line = ""
        assert line, "".join(self._printed)[-3000:]
        return json.loads(line)

    def end(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.terminate()
        self._process.wait(60)
        self._reader.join(60)
        self._process.stdout.close()
        for one in self._visits.values():
            one.join(180)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._printed.append(line)
            found = re.search(re.escape(f"{self._issuer}/auth?") + r"\S+", line)
            if found and found[0] not in self._visits:
                self._visits[found[0]] = threading.Thread(target=visit, args=(found[0], self._words))
                self._visits[found[0]].start()
            elif line.startswith("{") and line.rstrip().endswith("}"):
                self._heard.put(line)
        self._heard.put("")


@contextmanager
def talking(command: list[Any], environment: dict[str, str], site: Site, words: str) -> Iterator[Talk]:
    """Run a client. `words` are on the last page of its login."""
    process = subprocess.Popen(
        [*map(str, command)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**environment, "BROWSER": "true", "HOME": str(site.folder)},
        text=True,
        encoding="utf-8",
    )
    talk = Talk(process, site.issuer, words)
    try:
        yield talk
    finally:
        talk.end()


@pytest.mark.timeout(400)
@pytest.mark.needs(PROVIDER, TS_1, PUPPETEER, CHROMIUM)
def test_the_typescript_sdk_logs_in_renews_a_refused_token_and_logs_in_for_more_scope(site: Site) -> None:
    site.serve()
    command = [TS_1.command, SERVER.parent / "oauth_client.cjs", site.url, free_port()]
    with talking(command, TS_1.environment, site, "The login is complete") as say:
        assert say("call") == {"said": "the note"}
        assert say("expire") == {"said": ""}
        assert say("call") == {"said": "the note"}
        requests = site.asked("requests")
        assert (requests["/reg"], requests["/auth"], requests["/token"]) == (1, 1, 2), "401 led to a renewal"
        site.serve(BOTH)
        assert say("forget") == {"said": ""}
        assert say("call") == {"said": "the note"}
        assert site.asked("requests")["/auth"] == 2
    site.await_calls_of("somebody")


@pytest.mark.timeout(400)
@pytest.mark.needs(PROVIDER, REMOTE, PUPPETEER, CHROMIUM)
def test_a_host_without_logins_calls_through_mcp_remote(site: Site) -> None:
    site.serve()
    info = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "host", "version": "1"}}
    proxy = REMOTE.folder / "node_modules" / "mcp-remote" / "dist" / "proxy.js"
    command = [REMOTE.command, proxy, site.url, str(free_port()), "--allow-http"]
    environment = {**REMOTE.environment, "MCP_REMOTE_CONFIG_DIR": str(site.folder / "remote")}
    with talking(command, environment, site, "Authorization successful") as say:
        greeted = say(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": info}))
        assert greeted["result"]["serverInfo"]["name"] == "utcp-bridge"
        called = say(
            json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}),
            json.dumps({
                "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "desk_note", "arguments": {}}
            }),
        )  # fmt: skip
        assert called["result"]["content"] == [{"type": "text", "text": "the note"}]
    site.await_calls_of("somebody")


@pytest.mark.timeout(400)
@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.needs(PROVIDER, INSPECTOR, PUPPETEER, CHROMIUM)
def test_the_inspector_logs_in_and_calls(site: Site, era: str) -> None:
    site.serve()
    words = ["--cli", site.url, "--transport", "http", "--protocol-era", era, "--format", "json"]
    words += ["--callback-url", f"http://127.0.0.1:{free_port()}/oauth/callback"]
    words += ["--method", "tools/call", "--tool-name", "desk_note"]
    environment = {**INSPECTOR.environment, "MCP_AUTO_OPEN_ENABLED": "true", "MCP_INSPECTOR_SECRET_STORE": "memory"}
    with talking([INSPECTOR.command, *words], environment, site, "OAuth") as say:
        assert say()["result"]["content"] == [{"type": "text", "text": "the note"}]
    site.await_calls_of("somebody")
