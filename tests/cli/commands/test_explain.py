"""`utcp-bridge explain`: the request of a call, for people and for scripts."""

import json

import pytest
from tests.support.source import ROOT


@pytest.fixture
def config(tmp_path):
    auth = {"auth_type": "api_key", "api_key": "Bearer ${TOKEN}", "var_name": "Authorization"}
    template = {
        "call_template_type": "http",
        "http_method": "POST",
        "url": "https://api.example.com/v1/{shelf}/items?api_key=literal-key",
        "body_field": "item",
        "auth": auth,
    }
    inputs = {
        "type": "object",
        "properties": {"shelf": {"type": "string"}, "item": {"type": "object"}, "page": {"type": "integer"}},
        "required": ["shelf"],
    }
    tool = {"name": "add", "inputs": inputs, "tool_call_template": template}
    content = {"utcp_version": "1.0.1", "tools": [tool]}
    entry = {"name": "shop", "call_template_type": "text", "content": content}
    variables = {"shop_TOKEN": "token-of-the-shop"}
    path = tmp_path / "utcp.json"
    path.write_text(json.dumps({"manual_call_templates": [entry], "variables": variables}))
    return str(path)


def test_a_request_is_printed_with_its_credentials_masked(command, config):
    outcome = command("explain", "-c", config, "shop.add", "shelf=a b", "page=2", 'item:={"name": "tea"}')
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0] == "POST https://api.example.com/v1/a%20b/items?api_key=***&page=2"
    assert "Authorization: Bearer ***" in lines
    assert "Content-Type: application/json" in lines
    assert lines[-2:] == ["", '{"name":"tea"}']
    assert "token-of-the-shop" not in outcome.out + outcome.err
    assert "literal-key" not in outcome.out + outcome.err


def test_json_contains_the_same_request(command, config):
    told = json.loads(command("explain", "-c", config, "shop.add", "shelf=a", "--json").out)
    assert told["tool"] == "shop.add"
    assert told["kind"] == "http"
    assert told["request"] == "POST https://api.example.com/v1/a/items?api_key=***"
    assert ["Authorization", "Bearer ***"] in told["fields"]
    assert told["messages"] == []


def test_remarks_go_to_stderr_and_the_request_to_stdout(command):
    outcome = command("explain", "--quickstart", "workshop.describe_computer")
    assert outcome.code == 0
    assert "It runs in the folder " in outcome.err
    assert "It runs in the folder " not in outcome.out


def test_wrong_arguments_are_reported_as_for_a_call(command, config):
    outcome = command("explain", "-c", config, "shop.add")
    assert outcome.code == command("call", "-c", config, "shop.add").code != 0
    assert '"shelf" is a required property' in outcome.err


def test_an_unknown_tool_is_refused_with_near_names(command, config):
    outcome = command("explain", "-c", config, "shop.ad")
    assert outcome.code != 0
    assert "Did you mean shop.add?" in outcome.err


def test_a_failed_manual_decides_the_exit_code(command, tmp_path):
    path = tmp_path / "utcp.json"
    path.write_text(
        json.dumps({"manual_call_templates": [{"name": "gone", "call_template_type": "file", "file_path": "no.json"}]})
    )
    outcome = command("explain", "-c", str(path), "gone.tool")
    assert outcome.code == command("call", "-c", str(path), "gone.tool").code != 0
    assert "Manual gone failed" in outcome.err


def test_a_text_tool_sends_nothing_and_explain_says_so(command, manual):
    assert command("explain", "-c", manual, "notices.door").out.startswith("The text of the call template")


def test_a_default_of_the_operator_is_shown_as_hosts_see_it_and_a_fixed_header_is_not(command, tmp_path):
    parameter = {"name": "Api-Version", "in": "header", "required": True, "schema": {"type": "string"}}
    operation = {"operationId": "x", "parameters": [parameter], "responses": {"200": {"description": "ok"}}}
    document = {
        "openapi": "3.0.3",
        "info": {"title": "t", "version": "1"},
        "servers": [{"url": "https://api.example.com"}],
        "paths": {"/x": {"get": operation}},
    }
    (tmp_path / "doc.json").write_text(json.dumps(document))
    entry = {"name": "m", "call_template_type": "file", "file_path": "doc.json", "headers": {"X-Fixed": "literal-1"}}
    config = {"manual_call_templates": [{**entry, "overrides": {"*": {"defaults": {"Api-Version": "2025-09-03"}}}}]}
    path = tmp_path / "utcp.json"
    path.write_text(json.dumps(config))
    [listed] = json.loads(command("tools", "-c", str(path), "--json").out)
    assert listed["inputs"]["properties"]["Api-Version"]["default"] == "2025-09-03"
    lines = command("explain", "-c", str(path), "m.x").out.splitlines()
    assert "Api-Version: 2025-09-03" in lines
    assert "X-Fixed: ***" in lines


def test_each_profile_says_whether_it_has_the_tool_and_why(command):
    config = str(ROOT / "configs" / "profiles.yaml")
    outcome = command("explain", "-c", config, "shop.refund_order")
    assert "Profile support has the tool: it has every tool of the manual." in outcome.err
    assert "Profile reports does not have the tool: the tool does not match `methods`." in outcome.err
    as_json = json.loads(command("explain", "-c", config, "shop.refund_order", "--json").out)
    assert {name: one["included"] for name, one in as_json["profiles"].items()} == {
        "support": True,
        "reports": False,
        "readers": False,
    }
