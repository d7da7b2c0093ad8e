"""Switches and filters of hosts' files."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utcp_bridge.configuration.hosts.reading import HostServer, read_servers
from utcp_bridge.configuration.hosts.table import HOSTS
from utcp_bridge.dialects.selection import ToolFacts, ToolSelection
from utcp_bridge.model import JsonObject

NONE = {"exclude": {"names": ["*"]}}


def read(entry: Any, **others: Any) -> HostServer:
    [server] = read_servers({"mcpServers": {"s": entry}, **others}, host=None, where="mcp.json")
    return server


def rules(server: HostServer) -> JsonObject:
    assert server.template is not None
    return {key: server.template[key] for key in ("include", "exclude") if key in server.template}


@pytest.mark.parametrize(
    "others",
    [
        {"mcp": {"excluded": ["s"]}},
        {"mcp": {"allowed": ["t"]}},
        {"mcp": {"allowed": "t"}},
        {"disabledMcpjsonServers": ["s"]},
        {"disabledMcpServers": ["s"]},
        {"excludeMCPServers": ["s"]},
        {"allowMCPServers": ["t"]},
    ],
)
def test_other_keys_of_a_file_switch_servers_off(others: dict[str, Any]) -> None:
    server = read({"command": "c"}, **others)
    assert not server.enabled
    assert "switches it off" in server.notes[0]
    assert read({"command": "c"}, mcp={"allowed": ["s"], "excluded": []}).enabled


@pytest.mark.parametrize(
    ("filters", "rule"),
    [
        ({"includeTools": {"a": 1}}, NONE),
        ({"disabledTools": [{"a": 1}]}, NONE),
        ({"tools": False}, NONE),
        ({"includeTools": []}, NONE),
        ({"includeTools": ["a"], "enabledTools": ["b"]}, NONE),
        ({"available_tools": []}, {}),
        ({"tools": "*"}, {}),
        ({"includeTools": [1, "a"]}, {"include": {"names": ["a"]}}),
        ({"toolPermissions": {"a": "blocked", "b": "ask", "c": ["blocked"]}}, {"exclude": {"names": ["a"]}}),
        (
            {"tools": [{"name": "a", "permission_policy": "always_deny"}, {"name": "b"}]},
            {"exclude": {"names": ["a"]}},
        ),
        ({"tools": [{"name": "a", "permission_policy": "always_ask"}]}, {}),
        ({"tools": [{"name": 1}, "a"]}, {"include": {"names": ["a"]}}),
    ],
)
def test_a_filter_is_never_wider(filters: dict[str, Any], rule: dict[str, Any]) -> None:
    assert rules(read({"command": "c", **filters})) == rule


@pytest.mark.parametrize(
    ("file", "rule"),
    [
        (
            {"tools": {"my_shop_get": False, "my_shop_a*": False, "other_x": False, "write": False}},
            ["get", "a*", "a[*]"],
        ),
        ({"permission": {"my_shop_get": "deny", "my_shop_put": "ask", "bash": {"*": "deny"}}}, ["get"]),
        ({"tools": {"my_*": False}}, ["*"]),
        ({"permission": {"*": "deny"}}, ["*"]),
        ({"tools": {"my_shop_get": 0, "*x": True}, "permission": "deny"}, []),
    ],
)
def test_rules_of_opencode_name_server_and_tool(file: Any, rule: list[str]) -> None:
    content = {**file, "mcp": {"my shop": {"type": "local", "command": ["c"]}}}
    [server] = read_servers(content, host=HOSTS["opencode"], where="")
    assert rules(server) == ({"exclude": {"names": rule}} if rule else {})


@settings(deadline=None)
@given(names=st.lists(st.text(min_size=1, max_size=5), max_size=3), host=st.sampled_from([None, *HOSTS.values()]))
def test_tools_that_the_host_does_not_offer_are_not_offered(names: list[str], host: Any) -> None:
    entry = {"command": "c", "includeTools": names, "disabledTools": names[:1]}
    [server] = read_servers({"mcpServers": {"s": entry}}, host=host, where="")
    selection = ToolSelection(**rules(server))
    offered = {name for name in (*names, "other") if selection.decide(ToolFacts((name,))) is not None}
    allowed = {*names, "other"} if "*" in names else {one for name in names for one in (name, name.partition("(")[0])}
    assert offered <= allowed
    assert not offered & set(names[:1])
