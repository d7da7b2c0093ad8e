"""`include`, `exclude` and `overrides`, alike for every dialect."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.tools import tool_object

from utcp_bridge.dialects import RawTool, read_manual
from utcp_bridge.dialects.openapi import ConversionOptions, convert
from utcp_bridge.dialects.selection import ToolSelection, select
from utcp_bridge.model import JsonObject


def raw_tool(name: str, template: JsonObject | None = None, **fields: Any) -> RawTool:
    return RawTool.of(tool_object(name, template, **fields), {})


def http(url: str, method: str = "GET", **fields: Any) -> JsonObject:
    return {"call_template_type": "http", "url": url, "http_method": method, **fields}


TOOLS = [
    raw_tool("get_user", http("https://${HOST}/users/{id}?x=1"), tags=["Users"]),
    raw_tool("drop_user", http("https://api.example.com/users/{id}", "DELETE"), tags=["users", "admin"]),
    raw_tool("ping", {"call_template_type": "text", "content": "x"}, annotations={"readOnlyHint": True}),
]


def own_hints(tool: RawTool) -> JsonObject:
    return dict(tool.annotations)


def chosen(tools: list[RawTool] = TOOLS, **rules: Any) -> tuple[list[RawTool], list[str]]:
    selection = ToolSelection(**rules)
    return select(tools, selection, own_hints), [str(fault) for fault in selection.faults()]


def names(**rules: Any) -> list[str]:
    return [tool.name for tool in chosen(**rules)[0]]


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        ({}, ["get_user", "drop_user", "ping"]),
        ({"include": {"names": ["*_user"]}}, ["get_user", "drop_user"]),
        ({"include": {"names": ["*_USER"]}}, ["get_user", "drop_user"]),
        ({"include": {"names": "get_user"}}, ["get_user"]),
        ({"include": {"names": []}}, ["get_user", "drop_user", "ping"]),
        ({"include": {"tags": ["USERS"]}}, ["get_user", "drop_user"]),
        ({"include": {"tags": ["use*"]}}, ["get_user", "drop_user"]),
        ({"include": {"names": ["ping"], "tags": ["admin"]}}, []),
        ({"include": {"names": ["*_user"], "tags": ["admin"]}}, ["drop_user"]),
        ({"exclude": {"names": ["ping"], "tags": ["admin"]}}, ["get_user"]),
        ({"exclude": {"names": ["drop_*"]}}, ["get_user", "ping"]),
        ({"exclude": {"tags": ["admin"]}}, ["get_user", "ping"]),
        ({"include": {"tags": ["users"]}, "exclude": {"tags": ["admin"]}}, ["get_user"]),
        ({"include": {"paths": ["/users/*"]}}, ["get_user", "drop_user"]),
        ({"include": {"paths": ["/users/{id}"], "methods": ["get"]}}, ["get_user"]),
        ({"include": {"methods": ["get", "delete"]}}, ["get_user", "drop_user"]),
        ({"exclude": {"methods": ["*"]}}, ["ping"]),
        ({"include": {"operation_ids": ["p*"]}}, ["ping"]),
        ({"include": {"annotations": {"readOnlyHint": True}}}, ["ping"]),
        ({"include": {"read_only": True}}, ["ping"]),
        ({"include": {"read_only": False}}, ["get_user", "drop_user"]),
        ({"exclude": {"destructive": True}}, ["ping"]),
        ({"include": {"idempotent": True, "open_world": True}}, ["ping"]),
        ({"overrides": {"ping": {"hidden": True}}}, ["get_user", "drop_user"]),
        ({"overrides": {"*_user": {"hidden": True}, "get_user": {"hidden": False}}}, ["get_user", "ping"]),
    ],
)
def test_include_exclude_and_hidden_choose_the_tools(rules: JsonObject, kept: list[str]) -> None:
    assert names(**rules) == kept


def test_rules_compare_the_hints_that_are_believed_and_not_those_of_the_manual() -> None:
    hints = {"get_user": {"readOnlyHint": True}, "ping": {"readOnlyHint": False}}
    selection = ToolSelection(include={"read_only": True})
    kept = select(TOOLS, selection, lambda tool: hints.get(tool.name, {}))
    assert [tool.name for tool in kept] == ["get_user"]


def test_an_override_changes_what_is_shown_and_leaves_the_rest() -> None:
    override = {"name": "alive", "title": "Up", "description": "Is it up?", "annotations": {"openWorldHint": False}}
    changed = chosen(overrides={"ping": override})[0][2]
    assert (changed.name, changed.title, changed.description) == ("alive", "Up", "Is it up?")
    assert (changed.annotations, changed.decided) == ({"readOnlyHint": True}, {"openWorldHint": False})
    assert changed.template == TOOLS[2].template


def test_patterns_of_overrides_apply_in_order_and_the_exact_name_wins() -> None:
    overrides = {
        "get_user": {"title": "exact"},
        "GET_USER": {"title": "other case", "annotations": {"a": 1}},
        "*_user": {"title": "first", "description": "first", "annotations": {"a": 0, "b": 0}},
        "get_*": {"title": "second", "annotations": {"c": 0}},
    }
    get, drop, _ = chosen(overrides=overrides)[0]
    assert (get.title, get.description, get.decided) == ("exact", "first", {"a": 1, "b": 0, "c": 0})
    assert (drop.title, drop.description) == ("first", "first")


def test_two_tools_never_get_one_name() -> None:
    kept, faults = chosen(overrides={"*_user": {"name": "user"}, "ping": {"name": "drop_user"}})
    assert [tool.name for tool in kept] == ["user", "drop_user", "ping"]
    assert faults == [
        "`overrides`: two tools would have the name 'user'; 'drop_user' keeps its own.",
        "`overrides`: two tools would have the name 'drop_user'; 'ping' keeps its own.",
    ]


def test_defaults_are_filled_in_and_no_longer_required() -> None:
    inputs = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {}}, "required": ["a", "b"]}
    defaults = {"a": 7, "new": "x"}
    [changed] = chosen([raw_tool("t", inputs=inputs)], overrides={"t": {"defaults": defaults}})[0]
    assert changed.defaults == defaults
    assert changed.inputs["properties"] == {"a": {"type": "integer", "default": 7}, "b": {}, "new": {"default": "x"}}
    assert changed.inputs["required"] == ["b"]
    [bare] = chosen([raw_tool("t", inputs=None)], overrides={"t": {"defaults": {"a": 7}}})[0]
    assert bare.inputs == {"type": "object", "properties": {"a": {"default": 7}}}


def test_a_projection_goes_with_the_tool() -> None:
    [changed] = chosen([raw_tool("t")], overrides={"t": {"result": "items"}})[0]
    assert changed.projection == "items"


@pytest.mark.parametrize(
    ("rules", "fault"),
    [
        ({"include": {"names": ["get_usr", "ping"]}}, "`include`: no tool has a name that matches 'get_usr'. Did you"),
        ({"exclude": {"tags": ["admn"]}}, "`exclude`: no tool has a tag that matches 'admn'. Did you mean 'admin'?"),
        ({"exclude": {"paths": ["/usrs/*"]}}, "`exclude`: no tool has a path that matches '/usrs/*'."),
        ({"overrides": {"pong": {}}}, "`overrides`: no tool has a name that matches 'pong'. Did you mean 'ping'?"),
        ({"overrides": {"zz*": {}}}, "`overrides`: no tool has a name that matches 'zz*'."),
        ({"include": {"nmaes": ["x"]}}, "`include`: 'nmaes' is not a key of `include`, and is ignored. Did you mean"),
        ({"include": {"tags": [5]}}, "`include`: `tags` must hold text, not a number."),
        ({"include": {"annotations": True}}, "`include`: `annotations` must be an object, not a boolean."),
        ({"overrides": {"ping": {"titel": "x"}}}, "`overrides`: 'titel' of 'ping' is not a key of an override, and is"),
        ({"overrides": {"ping": {"name": 5}}}, "`overrides`: `name` of 'ping' must be text, not a number."),
    ],
)
def test_each_mistake_in_a_rule_is_one_warning(rules: JsonObject, fault: str) -> None:
    _, faults = chosen(**rules)
    assert len(faults) == 1
    assert faults[0].startswith(fault)


def test_patterns_that_match_and_manuals_without_tools_give_no_warning() -> None:
    rules: JsonObject = {"include": {"names": ["*"]}, "exclude": {"tags": ["ADMIN"]}, "overrides": {"Ping": {}}}
    assert chosen(**rules)[1] == []
    assert chosen([], **rules)[1] == []
    selection = ToolSelection(include={"names": ["nothing"]})
    select(TOOLS, selection, own_hints)
    assert selection.faults(unused=False) == []


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["getUser", "get_user", "GetOrder", "dropOrder", "list-all"]),
        st.sampled_from(["/users", "/users/all", "/Orders", "/orders/new"]),
        st.sampled_from(["get", "post", "put", "delete"]),
        st.lists(st.sampled_from(["Users", "orders", "admin"]), max_size=2, unique=True),
    ),
    min_size=1,
    max_size=6,
    unique_by=(lambda one: one[0], lambda one: one[1:3]),
)
GLOBS = st.sampled_from([
    "get*", "GET_USER", "*order", "?et*", "[dg]*", "list-all", "/users*", "/ORDERS/*", "/users", "get", "POST", "p*",
    "users", "Admin", "*", "none",
])  # fmt: skip
RULES = st.fixed_dictionaries(
    {},
    optional={
        **{key: st.lists(GLOBS, max_size=3) | GLOBS for key in ("names", "tags", "paths", "methods", "operation_ids")},
        **{key: st.booleans() for key in ("read_only", "destructive", "idempotent", "open_world")},
    },
)
OVERRIDES = st.dictionaries(
    GLOBS,
    st.fixed_dictionaries(
        {},
        optional={
            "hidden": st.booleans(),
            "title": st.sampled_from(["T", "U"]),
            "description": st.sampled_from(["D", "E"]),
            "annotations": st.fixed_dictionaries({"openWorldHint": st.booleans()}),
            "result": st.just("items"),
        },
    ),
    max_size=3,
)


def as_openapi(operations: list[Any]) -> JsonObject:
    paths: JsonObject = {}
    for name, path, method, tags in operations:
        responses = {"200": {"description": "ok"}}
        paths.setdefault(path, {})[method] = {"operationId": name, "tags": tags, "responses": responses}
    return {"openapi": "3.1.0", "servers": [{"url": "https://api.example.com"}], "paths": paths}


@given(operations=OPERATIONS, include=RULES, exclude=RULES, overrides=OVERRIDES)
@settings(max_examples=300, deadline=None)
def test_a_utcp_manual_and_an_openapi_document_of_the_same_operations_agree(
    operations: list[Any], include: JsonObject, exclude: JsonObject, overrides: dict[str, JsonObject]
) -> None:
    document = as_openapi(operations)
    tools = [tool.as_json() for tool in convert(document, url=None, options=ConversionOptions()).tools]
    selection = ToolSelection(include, exclude, overrides)
    written = select(read_manual({"tools": tools}, default_template={}, where="m").tools, selection, own_hints)
    options = ConversionOptions(include=include, exclude=exclude, overrides=overrides)
    converted = convert(document, url=None, options=options)

    assert converted.tools == written
    assert [fault for fault in converted.faults if fault.where.startswith("`")] == selection.faults()
