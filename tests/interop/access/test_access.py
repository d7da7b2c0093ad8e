"""access: a certified authorization server issues tokens for the bridge, and MCP clients of others log in with them."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlencode

import pytest
from tests.interop.serving import free_port, serving, until
from tests.interop.software import Npm

PROVIDER = Npm("oidc-provider@9.13.3", light=True)
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

    def audited(self, key: str) -> list[str]:
        """Return the values of a key in the audit log."""
        lines = map(json.loads, (self.folder / "calls.jsonl").read_text(encoding="utf-8").splitlines())
        return [line[key] for line in lines if key in line and "tool" in line]


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
    assert site.audited("principal") == [f"oauth:machine@{site.issuer}"] * 2


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
