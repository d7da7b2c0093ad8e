import pytest
from tests.support.tools import tool_object

from utcp_bridge.manuals.selection import select
from utcp_bridge.model import JsonObject
from utcp_bridge.settings import ManualOptions

TOOLS = [
    tool_object("get_user", tags=["Users"]),
    tool_object("drop_user", tags=["users", "admin"]),
    tool_object("ping"),
]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ["get_user", "drop_user", "ping"]),
        ({"include": {"names": ["*_user"]}}, ["get_user", "drop_user"]),
        ({"include": {"tags": ["USERS"]}}, ["get_user", "drop_user"]),
        ({"include": {"names": ["ping"], "tags": ["admin"]}}, []),
        ({"include": {"names": ["*_user"], "tags": ["admin"]}}, ["drop_user"]),
        ({"exclude": {"names": ["ping"], "tags": ["admin"]}}, ["get_user"]),
        ({"exclude": {"names": ["drop_*"]}}, ["get_user", "ping"]),
        ({"exclude": {"tags": ["admin"]}}, ["get_user", "ping"]),
        ({"include": {"tags": ["users"]}, "exclude": {"tags": ["admin"]}}, ["get_user"]),
        ({"overrides": {"ping": {"hidden": True}}}, ["get_user", "drop_user"]),
        ({"include": {"names": "get_user"}}, ["get_user"]),
    ],
)
def test_include_exclude_and_hidden_choose_the_tools(options: JsonObject, names: list[str]) -> None:
    assert [tool["name"] for tool in select(TOOLS, ManualOptions.model_validate(options))] == names


def test_an_override_changes_what_is_shown_and_leaves_the_rest() -> None:
    override = {"name": "alive", "description": "Is it up?", "annotations": {"readOnlyHint": True}, "url": "x"}
    options = ManualOptions.model_validate({"overrides": {"ping": override}})
    changed = select(TOOLS, options)[2]
    assert changed["name"] == "alive"
    assert changed["description"] == "Is it up?"
    assert changed["annotations"] == {"readOnlyHint": True}
    assert changed["tool_call_template"] == TOOLS[2]["tool_call_template"]
    assert "url" not in changed


def test_defaults_are_filled_in_and_required_no_longer() -> None:
    inputs = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {}}, "required": ["a", "b"]}
    tool = tool_object("t", inputs=inputs)
    [changed] = select([tool], ManualOptions(overrides={"t": {"defaults": {"a": 7, "new": "x"}}}))
    assert changed["defaults"] == {"a": 7, "new": "x"}
    assert changed["inputs"]["properties"] == {"a": {"type": "integer", "default": 7}, "b": {}, "new": {"default": "x"}}
    assert changed["inputs"]["required"] == ["b"]
    [bare] = select([tool_object("t", inputs=None)], ManualOptions(overrides={"t": {"defaults": {"a": 7}}}))
    assert bare["inputs"] == {"type": "object", "properties": {"a": {"default": 7}}}


def test_a_projection_goes_with_the_tool() -> None:
    [changed] = select([tool_object("t")], ManualOptions(overrides={"t": {"result": "items"}}))
    assert changed["projection"] == "items"
