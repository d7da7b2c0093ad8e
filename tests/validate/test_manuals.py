import pytest

from utcp_bridge.validate.findings import Findings
from utcp_bridge.validate.manuals import check_manual

TEMPLATE = {"call_template_type": "http", "url": "https://api.example.com"}
GOOD = {"name": "good", "description": "Does.", "tool_call_template": TEMPLATE}


def check(document):
    findings = Findings()
    tools = check_manual(document, (), findings)
    return tools, [(one.severity, one.pointer, one.what, one.tool) for one in findings.faults]


@pytest.mark.parametrize(
    "document",
    [
        {"utcp_version": "1.0.1", "manual_version": "1", "info": {}, "tools": [GOOD], "$schema": "x"},
        {"version": "1", "tools": [{**GOOD, "name": "b", "parameters": {"type": "object"}}]},
        {"tools": [{"name": "m", "description": "d", "inputSchema": {"type": "object"}, "outputSchema": {}}]},
        [GOOD],
        GOOD,
    ],
)
def test_good_manuals_of_every_shape_are_left_in_peace(document):
    tools, told = check(document)
    assert len(tools) == 1
    assert told == []


@pytest.mark.parametrize(
    ("tool", "pointer", "words"),
    [
        (3, "/tools/1", "a number, not an object"),
        ({**GOOD, "name": ""}, "/tools/1/name", "no name"),
        ({"description": "d"}, "/tools/1", "no name"),
        (GOOD, "/tools/1/name", "the same name"),
        ({**GOOD, "name": "b", "inputs": 3}, "/tools/1/inputs", "a number, not an object"),
        ({**GOOD, "name": "b", "inputs": {"type": "array"}}, "/tools/1/inputs", "has type 'array'"),
        ({**GOOD, "name": "b", "parameters": {"type": "objct", "a": 1}}, "/tools/1/parameters", "has type 'objct'"),
        ({**GOOD, "name": "b", "outputs": {"type": "x"}}, "/tools/1/outputs/type", "`type` is one of"),
        ({"name": "b", "description": "d", "tool_provider": {}}, "/tools/1/tool_provider", "has no"),
    ],
)
def test_a_fault_of_one_tool_stands_at_its_place_and_costs_no_other(tool, pointer, words):
    tools, told = check({"tools": [GOOD, tool, {**GOOD, "name": "late"}]})
    assert [one["name"] for one in tools][0 :: len(tools) - 1] == ["good", "late"]
    [(severity, place, what, _)] = told
    assert (severity, place) == ("error", pointer)
    assert words in what


def test_lesser_faults_are_warnings_and_name_their_tool():
    tool = {"name": "b", "descriptoin": "x", "response_schema": 3, "inputs": {"a": {"type": "string"}}}
    _, told = check({"tools": [tool], "inof": {}, "variables": 3, "allowed_communication_protocols": "http"})
    assert [(severity, place, tool) for severity, place, _, tool in told] == [
        ("warning", "/inof", ""),
        ("warning", "/allowed_communication_protocols", ""),
        ("warning", "/variables", ""),
        ("warning", "/tools/0/descriptoin", "b"),
        ("warning", "/tools/0", "b"),
        ("warning", "/tools/0/inputs", "b"),
        ("warning", "/tools/0/response_schema", "b"),
        ("warning", "/tools/0", "b"),
    ]


def test_the_head_of_a_manual_is_checked_too():
    assert check({"tools": {}})[1] == [("error", "/tools", "`tools` is an object, not a list.", "")]
    [(severity, place, what, _)] = check({"tools": [GOOD], "auth": {"x": 1}})[1]
    assert (severity, place) == ("error", "/auth")
    assert "no `auth_type`" in what
