"""Rules as they are written: what is wrong is named, and what is left selects tools."""

import pytest
from tests.support.steps import make_tool

from utcp_bridge.access.principals import Principal
from utcp_bridge.access.rule_entries import read_entries
from utcp_bridge.errors import ConfigError


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"do": "deny", "tool": "x"}, "rule 1: 'tool' is not a key of a rule. Did you mean `tools`?"),
        ({"tools": "x"}, "rule 1: do: Field required"),
        ({"do": "denny"}, "rule 1: no rule does 'denny'. Did you mean `deny`?"),
        ({"do": "deny", "patterns": "email"}, "a rule that does 'deny' has no `patterns`."),
        ({"do": "redact", "patterns": "mail"}, "rule 1: patterns.0: Input should be"),
        ({"do": "redact"}, "needs `patterns`: secret, email"),
        ({"do": "cap"}, "needs `calls` with `seconds`"),
        ({"do": "cap", "calls": 1}, "needs both `calls` and `seconds`."),
        ({"do": "require"}, "needs `arguments` (a JSON Schema) or `domains`."),
        ({"do": "deny", "tools": 5}, "rule 1: tools: Input should be a list"),
        ({"do": "other", "arguments": {}}, "a rule that does 'other' has no `arguments`."),
        ({"do": "deny", "options": {}}, "a rule that does 'deny' has no `options`."),
    ],
)
def test_a_wrong_rule_is_an_error_that_names_it(written, message):
    with pytest.raises(ConfigError) as caught:
        read_entries([written], ["other"])
    assert message in str(caught.value)


def test_rules_have_names_that_differ():
    entries = read_entries([{"do": "deny"}, {"do": "ask", "name": "mine"}], [])
    assert [entry.name for entry in entries] == ["rule 1 (deny)", "mine"]
    with pytest.raises(ConfigError, match="two rules have the name 'a'"):
        read_entries([{"do": "deny", "name": "a"}, {"do": "deny", "name": "a"}], [])


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ({}, True),
        ({"tools": "SHOP.*"}, True),
        ({"tools": ["x.*", "*.search"]}, True),
        ({"tools": "search"}, False),
        ({"manuals": "shop"}, True),
        ({"manuals": "other"}, False),
        ({"tags": "re*"}, True),
        ({"methods": ["get"]}, False),
        ({"methods": ["POST"]}, True),
        ({"read_only": False}, True),
        ({"read_only": True}, False),
        ({"destructive": True}, True),
        ({"annotations": {"openWorldHint": False}}, True),
        ({"tools": "shop.*", "tags": "none"}, False),
    ],
)
def test_every_selector_must_match(selector, matches):
    tool = make_tool(tags=("read",), template={"http_method": "POST"}, annotations={"openWorldHint": False})
    assert read_entries([{"do": "deny", **selector}], [])[0].selects(tool) is matches


def test_an_http_tool_without_a_method_is_a_get():
    from utcp_bridge.model import Source, Tool

    tool = Tool(Source("m"), "t", "http", {"url": "http://127.0.0.1/"})
    assert read_entries([{"do": "deny", "methods": "GET"}], [])[0].selects(tool)


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ({"principals": "team-*"}, True),
        ({"principals": "anyone"}, False),
        ({"profiles": "read"}, True),
        ({"profiles": "write"}, False),
        ({"principals": "team-a", "profiles": "write"}, False),
        ({}, True),
    ],
)
def test_callers_are_selected_by_principal_and_profile(selector, matches):
    entry = read_entries([{"do": "deny", **selector}], [])[0]
    assert entry.selects_caller(Principal("team-a"), "read") is matches
