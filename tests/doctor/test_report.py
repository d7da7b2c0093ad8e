"""All manuals in the order of the configuration, trial calls, JSON, and no secret anywhere."""

import json
import shlex
import sys

import pytest
from tests.upstreams.http_service import HttpService
from tests.upstreams.registry_service import Answers, served

from utcp_bridge.client.client import UtcpClient
from utcp_bridge.client.extensions import Extensions
from utcp_bridge.doctor import TrialCall, diagnose
from utcp_bridge.errors import UnknownTool, Unreachable
from utcp_bridge.net.guard import Guard

pytestmark = pytest.mark.anyio

SECRET = "a-secret-of-the-operator"


def text(name, *tools):
    made = [{"name": tool, "tool_call_template": {"call_template_type": "text", "content": tool}} for tool in tools]
    return {"name": name, "call_template_type": "text", "content": {"utcp_version": "1.0.1", "tools": made}}


async def diagnosed(entries, *trials, config=None, **options):
    guard = Guard()
    async with await UtcpClient.create(config or {}, extensions=Extensions(guard=guard)) as client:
        return await diagnose(client, entries, guard=guard, trials=trials, **options)


async def test_manuals_are_in_configuration_order_and_a_failed_one_stops_none():
    gone = {"name": "gone", "call_template_type": "file", "file_path": "gone.json"}
    found = await diagnosed([gone, *(text(f"m{number}", "a") for number in range(20))])
    assert [manual.name for manual in found.manuals] == ["gone", *(f"m{number}" for number in range(20))]
    assert [manual.status for manual in found.manuals] == ["failed", *["ok"] * 20]
    assert isinstance(found.error, Unreachable)


async def test_progress_names_the_manuals_under_examination():
    reported = []
    await diagnosed([text("shop", "a"), text("bank", "b")], progress=lambda names: reported.append(list(names)))
    assert {name for names in reported for name in names} == {"shop", "bank"}
    assert reported[-1] == []


async def test_calls_are_listed_with_their_manual_and_unknown_ones_separately():
    trials = [TrialCall("shop.a"), TrialCall("shop_b"), TrialCall("nobody.a")]
    found = await diagnosed([text("shop", "a")], *trials)
    calls = [step for step in found.manuals[0].steps if step.name == "call"]
    assert [(step.status, step.message) for step in calls] == [
        ("ok", "shop.a returned a text of 1 character."),
        ("failed", "There is no tool 'shop_b'."),
    ]
    assert isinstance(found.other_calls[0].error, UnknownTool)
    assert isinstance(found.error, UnknownTool)


async def test_calls_to_a_failed_manual_are_skipped():
    found = await diagnosed(
        [{"name": "gone", "call_template_type": "file", "file_path": "gone.json"}], TrialCall("gone.a")
    )
    assert (found.manuals[0].steps[-1].name, found.manuals[0].steps[-1].status) == ("call", "skipped")


async def test_manuals_of_a_registry_are_examined_under_the_policy_for_fetched_manuals():
    service = Answers({"/a.json": {"utcp_version": "1.0.1", "tools": []}})
    with served(service.app) as base:
        listed = [{"name": "own", "url": "/a.json"}, {"name": "inner", "url": "https://127.0.0.1:1/b.json"}]
        service.answers["/manuals"] = {"manuals": listed}
        found = await diagnosed([], config={"registries": [{"registry": base, "name": "acme"}]})
    manuals = {manual.name: manual for manual in found.manuals}
    assert {name: manual.status for name, manual in manuals.items()} == {
        "acme": "ok",
        "acme_own": "warning",
        "acme_inner": "failed",
    }
    assert [step.name for step in manuals["acme"].steps] == ["discovery"]
    refused = manuals["acme_inner"].failed
    assert (refused.name, refused.error.code) == ("name", "policy")
    assert '"allow_networks"' in refused.remedy


async def test_json_has_the_same_facts_and_no_secrets():
    async with HttpService() as service:
        auth = {"auth_type": "api_key", "api_key": "${KEY}"}
        entry = {"name": "shop", "call_template_type": "http", "url": f"{service.base}/echo?k=${{KEY}}", "auth": auth}
        found = await diagnosed([entry], config={"variables": {"KEY": SECRET}})
        assert SECRET in service.last.target
    shown = json.dumps(found.as_json())
    assert SECRET not in shown
    (manual,) = json.loads(shown)["manuals"]
    assert (manual["name"], manual["kind"], manual["status"]) == ("shop", "http", "failed")
    failed = next(step for step in manual["steps"] if step["status"] == "failed")
    assert (failed["step"], failed["code"]) == ("discovery", "manual")
    assert failed["seconds"] >= 0


async def test_no_literal_secret_of_a_template_is_shown(tmp_path):
    def echo(request):
        return {"saw": [*request.headers.values(), str(request.url)]}

    with served(Answers({"/echo": echo, "/fails": 401}).app) as base:
        places = {
            "headers": {"Authorization": "Bearer in-a-header", "X-Acme-Token": "in-a-token"},
            "url": f"{base}/echo?api_key=in-the-query",
            "auth": {"auth_type": "api_key", "api_key": "in-the-auth", "var_name": "X-Api-Key"},
        }
        template = {"call_template_type": "http", "http_method": "GET", **places}
        content = {"utcp_version": "1.0.1", "tools": [{"name": "t", "tool_call_template": template}]}
        inline = {"name": "shop", "call_template_type": "text", "content": content, "allow_networks": ["127.0.0.0/8"]}
        inline["allowed_communication_protocols"] = ["http", "text"]
        fails = {**template, "name": "gone", "url": f"{base}/fails?api_key=in-the-query"}
        run = {"name": "run", "call_template_type": "cli", "env_vars": {"RUN_TOKEN": "in-the-env"}}
        script = tmp_path / "run.py"
        script.write_text("import os\nraise SystemExit(os.environ['RUN_TOKEN'])\n")
        run["command_name"] = shlex.join([sys.executable, str(script)])
        found = await diagnosed([inline, fails, run], TrialCall("shop.t", {}))
    text = json.dumps(found.as_json())
    assert "***" in text
    assert [
        one for one in ("header", "a-token", "query", "auth", "env") if f"in-a-{one}" in text or f"in-the-{one}" in text
    ] == []


async def test_what_a_manual_offers_besides_tools_is_a_step_and_part_of_the_json():
    found = await diagnosed([{**text("shop", "a"), "prompts": {"p": {"text": "x"}}}, text("bank", "b")])
    shop, bank = found.manuals
    assert shop.step("offers").message == "1 tool, 1 prompt, completions."
    assert bank.step("offers") is None
    [offers] = found.as_json()["offers"]
    assert (offers["manual"], offers["tools"], offers["prompts"]) == ("shop", 1, 1)
