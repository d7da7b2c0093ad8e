"""access: clients whose id is the URL of their metadata log in, the bridge as the client and as the resource server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web
from tests.interop.access.test_access import MANUAL, PROVIDER, SERVER
from tests.interop.serving import free_port, serving
from tests.upstreams.certificates import Authority

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300), pytest.mark.needs(PROVIDER)]
BROWSER = SERVER.parent / "submitting_browser.py"
CONFIGURATION = "utcp.json"


@dataclass
class Documents:
    """An https server with the metadata of a client."""

    url: str
    document: dict[str, Any]
    asked: list[str] = field(default_factory=list)


@asynccontextmanager
async def publishing(folder: Path) -> AsyncGenerator[Documents]:
    """Publish the metadata of a program that runs on the machine of its user."""

    async def answer(request: web.Request) -> web.Response:
        documents.asked.append(request.path)
        return web.json_response(documents.document)

    app = web.Application()
    app.router.add_get("/client.json", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=Authority.create(folder).server_context()).start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}/client.json"
    document = {
        "client_id": url,
        "client_name": "a bridge",
        "application_type": "native",
        "redirect_uris": ["http://127.0.0.1/callback"],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    }
    documents = Documents(url, document)
    try:
        yield documents
    finally:
        await runner.cleanup()


@dataclass
class Place:
    """A bridge that takes tokens of an authorization server, and the folder of another bridge that calls it."""

    documents: Documents
    issuer: str
    url: str
    served: Path
    calling: Path

    def write(self, **policy: Any) -> None:
        """Write the configuration of the bridge that calls."""
        entry = {"name": "remote", "call_template_type": "mcp", "server_url": self.url}
        config = {"manual_call_templates": [entry], "bridge": {"naming": "short", "policy": policy}}
        (self.calling / CONFIGURATION).write_text(json.dumps(config), encoding="utf-8")

    async def run(self, *arguments: str) -> tuple[str, str]:
        """Run a command of the bridge that calls; return its stdout and stderr."""
        own = {"XDG_CONFIG_HOME": str(self.calling / "config"), "BROWSER": f"{sys.executable} {BROWSER} %s"}
        command = [sys.executable, "-m", "utcp_bridge", arguments[0], CONFIGURATION, *arguments[1:]]
        environment = {**PROVIDER.environment, **own}
        done = await anyio.run_process(
            command, check=False, cwd=self.calling, env=environment, stdin=subprocess.DEVNULL
        )
        return done.stdout.decode(), done.stderr.decode()

    def audited(self) -> list[dict[str, Any]]:
        """Return the audit lines of the calls of the bridge that is called."""
        lines = (self.served / "calls.jsonl").read_text(encoding="utf-8").splitlines()
        return [one for one in map(json.loads, lines) if "tool" in one]


@asynccontextmanager
async def placed(folder: Path, **access: Any) -> AsyncGenerator[Place]:
    ports = free_port(), free_port()
    issuer, url = f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}/mcp"
    served, calling = folder / "served", folder / "calling"
    for one in (served, calling, folder / "tls"):
        await anyio.Path(one).mkdir()
    bridge = {
        "access": {"required_scopes": ["tools:read"], **access.pop("access", {})},
        "oauth": {"issuer": issuer, "resource": url, **access},
        "log": {"audit_log": "calls.jsonl"},
    }
    config = served / CONFIGURATION
    config.write_text(json.dumps({"manual_call_templates": [MANUAL], "bridge": bridge}), encoding="utf-8")
    async with publishing(folder / "tls") as documents:
        trusting = {"CLIENT_DOCUMENTS": "1", "NODE_EXTRA_CA_CERTS": str(folder / "tls" / "ca.pem")}
        provider = [PROVIDER.command, SERVER, str(ports[0]), url]
        command = [sys.executable, "-m", "utcp_bridge", "serve", config, "--http", "--port", str(ports[1])]
        with (
            serving(provider, port=ports[0], environment={**PROVIDER.environment, **trusting}),
            serving(command, port=ports[1], folder=served),
        ):
            yield Place(documents, issuer, url, served, calling)


async def test_the_bridge_logs_in_with_the_url_of_its_metadata_and_is_accepted(tmp_path: Path) -> None:
    async with placed(tmp_path) as place:
        place.write(client_metadata_url=place.documents.url)
        made, said = await place.run("login", "remote")
        assert made == f"Logged in to {place.url} with {place.issuer}.\n", said
        assert set(place.documents.asked) == {"/client.json"}
        called, said = await place.run("call", "remote.desk_note")
        assert called.strip() == "the note", said
        [line] = place.audited()
        assert (line["principal"], line["outcome"]) == (f"oauth:ada@{place.issuer}", "ok")


async def test_without_metadata_the_bridge_says_that_it_is_not_registered(tmp_path: Path) -> None:
    async with placed(tmp_path) as place:
        place.write()
        made, said = await place.run("login", "remote")
        assert (made, place.documents.asked) == ("", [])
        assert "client_metadata_url" in said


async def test_a_document_that_the_server_refuses_is_named(tmp_path: Path) -> None:
    async with placed(tmp_path) as place:
        missing = place.documents.url.replace("client.json", "none.json")
        place.write(client_metadata_url=missing)
        made, said = await place.run("login", "remote", "--timeout", "5")
        assert made == ""
        assert f"Check that it can read {missing} (`client_metadata_url`)" in said.splitlines()[-1], said


async def test_profiles_are_given_by_the_url_of_a_client(tmp_path: Path) -> None:
    profiles = {"profiles": {"notes": {"names": "desk.note"}}}
    by_client = {"client_id=https://127.0.0.1:*/client.json": ["notes"]}  # other clients have no profile, and get 404
    async with placed(tmp_path, access=profiles, profiles=by_client) as place:
        place.write(client_metadata_url=place.documents.url)
        made, said = await place.run("login", "remote")
        assert made, said
        called, said = await place.run("call", "remote.desk_note")
        assert called.strip() == "the note", said
        assert [one["profile"] for one in place.audited()] == ["notes"]
