"""The place of the rules in the pipeline of a client."""

import pytest
from tests.support.steps import make_tool

from utcp_bridge import Extensions, UtcpClient
from utcp_bridge.access.rules import open_rules
from utcp_bridge.errors import ConfigError, PolicyError
from utcp_bridge.pipeline.ruling import Rulings

pytestmark = pytest.mark.anyio


def manual(name, **more):
    tool = {"name": "own", "tool_call_template": {"call_template_type": "text", "content": "a@example.com"}}
    content = {"utcp_version": "1.0.1", "tools": [tool]}
    return {"name": name, "call_template_type": "text", "content": content, **more}


async def test_a_program_that_does_not_enforce_the_rules_of_its_configuration_is_refused():
    rules = [{"do": "deny"}]
    config = {"manual_call_templates": [manual("m")], "bridge": {"access": {"rules": rules}}}
    with pytest.raises(ConfigError, match="does not enforce them"):
        await UtcpClient.create(config)
    async with await UtcpClient.create(config, extensions=Extensions(ruling=open_rules(rules))) as client:
        with pytest.raises(PolicyError, match=r"refuses m\.own"):
            await client.call_tool("m.own")


async def test_a_promoted_tool_passes_its_own_rules_and_those_of_the_tool_that_answers():
    shadow = {"new": "new", "promoted": ["own"]}
    config = {"manual_call_templates": [manual("old", shadow=shadow), manual("new")]}
    for rules, value in (
        ([{"do": "redact", "patterns": "email", "manuals": "new"}], "[email]"),
        ([{"do": "redact", "patterns": "email", "manuals": "old"}], "[email]"),
        ([], "a@example.com"),
    ):
        async with await UtcpClient.create(config, extensions=Extensions(ruling=open_rules(rules))) as client:
            assert await client.call_tool("old.own") == value
    for name in ("old", "new"):
        extensions = Extensions(ruling=open_rules([{"do": "deny", "manuals": name}]))
        async with await UtcpClient.create(config, extensions=extensions) as client:
            with pytest.raises(PolicyError, match=rf"refuses {name}\.own"):
                await client.call_tool("old.own")


async def test_without_rules_nothing_is_explained():
    assert await Rulings().explain(make_tool(), {}, Rulings()) == []
    assert Rulings().faults([make_tool()]) == []
