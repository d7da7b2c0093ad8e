"""One manual, from its entry to its tools, against real servers and commands."""

import sys
from pathlib import Path

import pytest
from tests.upstreams.certificates import Authority
from tests.upstreams.faulty import answer, faulty_server
from tests.upstreams.http_service import HttpService
from tests.upstreams.socket_service import UdpService

from utcp_bridge.client.client import Extensions, UtcpClient
from utcp_bridge.doctor.examination import Examination
from utcp_bridge.doctor.steps import Course
from utcp_bridge.net.guard import Guard

pytestmark = pytest.mark.anyio

MCP_SERVER = str(Path(__file__).parents[1] / "upstreams" / "mcp_server.py")
MANUAL = b'{"utcp_version": "1.0.1", "tools": [{"name": "ok", "tool_call_template": {"call_template_type": "text"}}]}'


async def examine(tmp_path, entry, **config):
    """Status and message of each step by its name."""
    guard, course = Guard(), Course("shop", entry["call_template_type"])
    async with await UtcpClient.create(config, root=tmp_path, extensions=Extensions(guard=guard)) as client:
        await Examination(client, guard, {"name": "shop", **entry}, course).run()
    return {step.name: step for step in course.steps}


def statuses(steps):
    return {name: step.status for name, step in steps.items()}


def first_failure(steps):
    return next(step for step in steps.values() if step.status == "failed")


async def test_a_good_manual_over_plain_http(tmp_path):
    async with HttpService() as service:
        steps = await examine(tmp_path, {"call_template_type": "http", "url": f"{service.base}/utcp"})
    assert statuses(steps) == {
        "configuration": "ok",
        "name": "ok",
        "connection": "ok",
        "tls": "skipped",
        "auth": "skipped",
        "discovery": "ok",
    }
    assert "tools (v1.x)" in steps["discovery"].message


async def test_a_good_manual_over_https(tmp_path):
    authority = Authority.create(tmp_path)
    async with faulty_server(tls=authority.server_context(days=30)) as server:
        server.answers["/utcp"] = answer(MANUAL)
        entry = {"call_template_type": "http", "url": f"{server.url}/utcp", "ca_cert": "ca.pem"}
        steps = await examine(tmp_path, entry)
    assert steps["tls"].status == "ok"
    assert steps["discovery"].error is None


async def test_a_refused_certificate_leaves_the_rest_untried(tmp_path):
    authority = Authority.create(tmp_path)
    async with faulty_server(tls=authority.server_context(expired=True)) as server:
        entry = {"call_template_type": "http", "url": f"{server.url}/utcp", "ca_cert": "ca.pem"}
        steps = await examine(tmp_path, entry)
        assert server.requests == []
    assert first_failure(steps).name == "tls"
    assert steps["discovery"].message == "not tried: tls failed."


async def test_a_port_that_refuses(tmp_path):
    async with HttpService() as service:
        steps = await examine(tmp_path, {"call_template_type": "http", "url": service.refusing})
    assert first_failure(steps).name == "connection"
    assert "Connection refused" in steps["connection"].message
    assert "running" in steps["connection"].remedy


async def test_what_is_no_manual_fails_the_discovery(tmp_path):
    async with HttpService() as service:
        steps = await examine(tmp_path, {"call_template_type": "http", "url": f"{service.base}/malformed"})
    assert first_failure(steps).name == "discovery"


async def test_missing_variables_are_told_by_the_keys_to_set_and_all_at_once(tmp_path):
    entry = {"call_template_type": "http", "url": "http://127.0.0.1:1/${ONE}/${TWO}"}
    steps = await examine(tmp_path, entry)
    assert "2 variables are not set: shop_ONE, shop_TWO." in first_failure(steps).message
    steps = await examine(tmp_path, entry, variables={"ONE": "1"})
    assert "'shop_TWO' is not set" in first_failure(steps).message
    assert list(statuses(steps).values()) == ["failed", *["skipped"] * 5]


async def test_a_command_that_is_missing(tmp_path):
    steps = await examine(tmp_path, {"call_template_type": "cli", "command_name": "no-such-command --utcp"})
    assert first_failure(steps).name == "name"
    assert "'no-such-command' is not on the PATH" in steps["name"].message


async def test_a_file_that_is_missing_and_one_that_is_there(tmp_path):
    entry = {"call_template_type": "file", "file_path": "manual.json"}
    assert first_failure(await examine(tmp_path, entry)).name == "name"
    (tmp_path / "manual.json").write_bytes(MANUAL)
    steps = await examine(tmp_path, entry)
    assert (steps["name"].status, steps["connection"].status) == ("ok", "skipped")


def mcp(**servers):
    return {"call_template_type": "mcp", "config": {"mcpServers": servers}}


async def test_an_mcp_server_that_exits_at_once(tmp_path):
    steps = await examine(tmp_path, mcp(brief={"command": sys.executable, "args": ["-c", "pass"]}))
    assert steps["name"].message == f"The command is {sys.executable}."
    assert first_failure(steps).name == "discovery"
    assert "'brief' did not come up" in steps["discovery"].message


async def test_of_two_mcp_servers_the_one_that_is_gone_is_a_warning(tmp_path):
    servers = {
        "well": {"command": sys.executable, "args": [MCP_SERVER, "well"]},
        "gone": {"command": "no-such-command"},
    }
    steps = await examine(tmp_path, mcp(**servers))
    assert (steps["name"].status, steps["discovery"].status) == ("warning", "warning")
    assert "'no-such-command'" in steps["name"].message
    assert "9 tools (mcp), 1 fault." in steps["discovery"].message


async def test_udp_is_asked_without_a_connection(tmp_path):
    async with UdpService() as service:
        steps = await examine(tmp_path, {"call_template_type": "udp", "host": "127.0.0.1", "port": service.port})
    assert (steps["name"].status, steps["connection"].status) == ("ok", "skipped")
    assert steps["discovery"].error is None
