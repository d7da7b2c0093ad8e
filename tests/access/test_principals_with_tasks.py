"""Two principals of one profile, and one of another, over a real MCP server: tasks, lists, completions and states."""

import copy
import json
import sys
from contextlib import ExitStack

import anyio.to_thread
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.hot_requests import plain
from tests.support.parties import Party, made_up, seen
from tests.support.served_here import serve
from tests.upstreams import task_server

from utcp_bridge import UtcpClient
from utcp_bridge.access.tokens import TokenFile
from utcp_bridge.server.app import BridgeServer
from utcp_bridge.server.relay.tasks import TASKS

pytestmark = pytest.mark.anyio
WORDS = json.dumps([{"n": number, "text": "x" * 90} for number in range(4_000)])
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"


class TaskParty(Party):
    """A principal with a task in each era, which ends only by cancelling."""

    def __init__(self, url, token):
        super().__init__(url, token)
        began = plain("tools/call", {"name": "t_s_endless", "arguments": {}, "task": {"ttl": 600_000}})
        self.task = self.post(began, self.of_session()).json()["result"]["task"]["taskId"]
        begun = self.modern("tools/call", {"name": "t_s_endless", "arguments": {}})
        self.modern_task = begun.json()["result"]["taskId"]

    def post(self, message, headers):
        if (message.get("params") or {}).get("_meta"):
            message = copy.deepcopy(message)
            message["params"]["_meta"][CAPABILITIES] = {"extensions": {TASKS: {}}}
        return super().post(message, headers)

    @property
    def identifiers(self):
        return self.session, self.handle, self.modern_handle, self.task, self.modern_task

    def works_on(self):
        """Return whether both tasks are as they were."""
        older = self.post(plain("tasks/get", {"taskId": self.task}), self.of_session()).json()["result"]
        newer = self.modern("tasks/get", {"taskId": self.modern_task}).json()["result"]
        return (older["status"], newer["status"]) == ("working", "working")


def of_task(method, **more):
    def attack(party, ident):
        return party.post(plain(method, {"taskId": ident, **more}), party.of_session())

    return attack


def of_modern_task(method, **more):
    def attack(party, ident):
        return party.modern(method, {"taskId": ident, **more})

    return attack


def with_request(method, name, **more):
    def attack(party, ident):
        return party.post(plain(method, {name: f"utcp-result://{ident}", **more}), party.of_session())

    return attack


def completed(party, ident):
    argument = {"argument": {"name": "handle", "value": ident[:4]}}
    params = {"ref": {"type": "ref/resource", "uri": f"utcp-result://{ident}"}, **argument}
    return party.post(plain("completion/complete", params), party.of_session())


def subscribed(party, ident):
    wanted = {"notifications": {"resourceSubscriptions": [f"utcp-result://{ident}"], "taskIds": [ident]}}
    headers = {"Accept": "application/json"}  # a stream would not end
    return party.http.post(
        party.url,
        json=plain("subscriptions/listen", wanted, modern=True),
        headers={**headers, "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "subscriptions/listen", **party.own},
    )


ATTACKS = {
    "get": ("task", of_task("tasks/get")),
    "result": ("task", of_task("tasks/result")),
    "cancel": ("task", of_task("tasks/cancel")),
    "get, 2026": ("modern_task", of_modern_task("tasks/get")),
    "cancel, 2026": ("modern_task", of_modern_task("tasks/cancel")),
    "update, 2026": ("modern_task", of_modern_task("tasks/update", inputResponses={})),
    "task of a session, 2026": ("task", of_modern_task("tasks/get")),
    "task of 2026 in a session": ("modern_task", of_task("tasks/cancel")),
    "read": ("handle", with_request("resources/read", "uri")),
    "subscribe": ("modern_handle", with_request("resources/subscribe", "uri")),
    "unsubscribe": ("handle", with_request("resources/unsubscribe", "uri")),
    "complete": ("handle", completed),
    "subscription, 2026": ("modern_handle", subscribed),
}
LOOKS = ("tasks/list", "resources/list", "resources/templates/list", "prompts/list", "tools/list")


def looked(party):
    """Return all that a principal can list, in both eras."""
    return "".join(
        f"{party.post(plain(method, {}), party.of_session()).text}\n{party.modern(method, {}).text}" for method in LOOKS
    )


def configuration(file):
    """Return a configuration with a server of tasks, a tool with a large result, and two profiles."""
    template = {"call_template_type": "text", "content": WORDS}
    document = {"utcp_version": "1.0.1", "tools": [{"name": "big", "tool_call_template": template}]}
    server = {"command": sys.executable, "args": [task_server.__file__, "modern"]}
    return {
        "manual_call_templates": [
            {"name": "t", "call_template_type": "mcp", "config": {"mcpServers": {"s": server}}},
            {"name": "m", "call_template_type": "text", "content": json.dumps(document)},
        ],
        "bridge": {"port": 0, "access": {"tokens_file": str(file.path), "profiles": {"team": {}, "others": {}}}},
    }


def attack_all(parties):
    """Let each party use what each other one has. It looks as what nobody has, and is the same afterwards."""
    names = st.lists(st.sampled_from(sorted(ATTACKS)), min_size=1, max_size=4)

    @settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(names=names, pair=st.permutations(range(len(parties))))
    def nothing_crosses(names, pair):
        attacker, owner = parties[pair[0]], parties[pair[1]]
        for name in names:
            kind, attack = ATTACKS[name]
            theirs = getattr(owner, kind)
            nobodys = made_up(kind, theirs)
            assert seen(attack(attacker, theirs), theirs) == seen(attack(attacker, nobodys), nobodys), name
        found = looked(attacker)
        assert not [ident for ident in owner.identifiers if ident in found]
        assert owner.works_on()
        assert owner.is_whole()

    nothing_crosses()


async def test_tasks_lists_and_completions_do_not_cross(tmp_path):
    file = TokenFile(tmp_path / "tokens.json")
    principals = (("alice", "team"), ("bob", "team"), ("carol", "others"))
    tokens = [file.add(name, profiles=[profile]).value for name, profile in principals]

    def examine(url):
        with ExitStack() as stack:
            parties = []
            for token in tokens:
                parties.append(TaskParty(url, token))
                stack.callback(parties[-1].close)
            own = parties[0]
            for name in ("get", "get, 2026", "read"):  # what the attacks send does work for the owner
                kind, attack = ATTACKS[name]
                ident = getattr(own, kind)
                assert seen(attack(own, ident), ident) != seen(attack(own, made_up(kind, ident)), made_up(kind, ident))
            attack_all(parties)
            assert own.task in looked(own)
            assert own.modern("tasks/cancel", {"taskId": own.modern_task}).status_code == 200
            assert parties[1].works_on()

    async with await UtcpClient.create(configuration(file), root=tmp_path) as client:
        await client.wait_loaded()
        await serve(BridgeServer(client), lambda url: anyio.to_thread.run_sync(examine, url), seconds=300)
