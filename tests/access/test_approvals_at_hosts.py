"""Rules, approvals and the audit log of `configs/rules.yaml`, through real clients of both eras."""

import json
import shutil
import subprocess
import sys
from contextlib import asynccontextmanager

import anyio
import mcp_types as types
import pytest
import yaml
from mcp import StdioServerParameters
from mcp.client import Client
from tests.support.asking_bridge import ERAS, MODES, ROOT
from tests.upstreams.mcp_server import serving

from utcp_bridge import Extensions, UtcpClient
from utcp_bridge.access.approvals import ApprovalDesk, ApprovalOptions
from utcp_bridge.access.audit_chain import audit_files, check_audit
from utcp_bridge.access.rules import open_rules
from utcp_bridge.auth.redaction import Redactor
from utcp_bridge.server.app import BridgeServer
from utcp_bridge.server.http import build_app
from utcp_bridge.stores.port import MemoryStore
from utcp_bridge.upstream import HostAhead

pytestmark = pytest.mark.anyio


class Person:
    """Who is asked at a client."""

    def __init__(self, *, approves):
        self.approves, self.questions = approves, []

    async def elicit(self, _ctx, params):
        self.questions.append(params.message)
        if self.approves is None:
            return types.ElicitResult(action="decline")
        return types.ElicitResult(action="accept", content={"approve": self.approves})


@asynccontextmanager
async def bridged(way, folder):
    """Yield what a client connects to: the example over stdio, or its rules over HTTP."""
    shutil.copy(ROOT / "configs" / "rules.yaml", folder / "rules.yaml")
    if way == "stdio":
        environment = {"XDG_CONFIG_HOME": str(folder), "HOME": str(folder), "PATH": "/usr/bin:/bin"}
        command = ["-m", "utcp_bridge", "serve", str(folder / "rules.yaml")]
        yield StdioServerParameters(command=sys.executable, args=command, cwd=ROOT, env=environment)
        return
    document = yaml.safe_load((folder / "rules.yaml").read_text())
    lines = (folder / "calls.jsonl").open("wb")
    rules = open_rules(document["bridge"]["access"]["rules"])
    rules.asker = ApprovalDesk(ApprovalOptions.read({}), MemoryStore(), Redactor())
    extensions = Extensions(ruling=rules, audit=lines.write, host=HostAhead.of_server("http"))
    document["bridge"]["transport"] = "http"
    async with (
        await UtcpClient.create(document, extensions=extensions) as client,
        serving(build_app(BridgeServer(client))) as base,
    ):
        yield f"{base}/mcp"
    lines.close()


@asynccontextmanager
async def connected(target, era, person=None):
    elicit = None if person is None else person.elicit
    info = types.Implementation(name="ide", version="1")
    async with Client(target, mode=MODES[era], elicitation_callback=elicit, client_info=info) as client:

        async def call(tool, **arguments):
            with anyio.fail_after(200):
                return (await client.call_tool(tool, arguments)).content[0].text

        yield call


def records(folder):
    return [one for one in map(json.loads, (folder / "calls.jsonl").read_bytes().splitlines()) if "call" in one]


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("way", ["stdio", "http"])
async def test_a_person_approves_at_the_client(tmp_path, way, era):
    person = Person(approves=True)
    async with bridged(way, tmp_path) as target, connected(target, era, person) as call:
        assert await call("notes_remove", id=7) == "Removed."
        assert await call("notes_contact") == "Written by Ann, [email], who paid with [card]."
        assert "Not allowed" not in await call("notes_link", url="https://a.example.com/x")
        assert "'evil.example'" in await call("notes_link", url="https://evil.example/x")
        assert "id: 2000 is greater" in await call("notes_remove", id="2000")
    [question] = person.questions
    assert "anyone asks to call notes.remove." in question
    assert '"id": 7' in question
    found = records(tmp_path)
    assert [one["outcome"] for one in found] == ["ok", "ok", "ok", "policy", "policy"]
    assert [step["decision"] for step in found[0]["decisions"]] == ["ask", "approved"]
    assert {one["client"] for one in found} == {"ide"}
    if way == "http":
        assert {one["address"] for one in found} == {"127.0.0.1"}
    else:
        assert check_audit(audit_files(tmp_path / "calls.jsonl"), None).fault == ""
        assert check_audit(audit_files(tmp_path / "calls.jsonl"), None).notes == []


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("approves", [False, None])
async def test_a_person_who_does_not_approve_stops_the_call(tmp_path, era, approves):
    person = Person(approves=approves)
    async with bridged("stdio", tmp_path) as target, connected(target, era, person) as call:
        assert "did not approve the call of notes.remove" in await call("notes_remove", id=7)
    assert records(tmp_path)[0]["outcome"] == "policy"


async def test_the_operator_approves_a_call_of_a_client_that_cannot_ask(tmp_path):
    async with bridged("stdio", tmp_path) as target, connected(target, "modern") as call:
        refusal = await call("notes_remove", id=7)
        ident = refusal.partition("under the id ")[2].partition(".")[0]

        def approvals(*words):
            command = [sys.executable, "-m", "utcp_bridge", "approvals", *words, "-c", str(tmp_path / "rules.yaml")]
            return subprocess.run(
                command, env=target.env, cwd=ROOT, stdout=subprocess.PIPE, timeout=200, check=True
            ).stdout

        listed = (await anyio.to_thread.run_sync(approvals, "list")).decode()
        assert ident in listed
        assert '"id": 7' in listed
        await anyio.to_thread.run_sync(approvals, "approve", ident)
        assert "needs an approval" in await call("notes_remove", id=8)
        assert await call("notes_remove", id=7) == "Removed."
        assert "needs an approval" in await call("notes_remove", id=7)
