"""UTCP clients behind the bridge: a real server, and a client without MCP."""

import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager

import pytest
from tests.support.threaded import threaded_service

from utcp_bridge import UtcpClient
from utcp_bridge.errors import Unreachable

pytestmark = pytest.mark.anyio
TOKEN = "token-of-the-bridge"


@pytest.fixture
def upstream():
    with threaded_service() as service:
        yield service


@pytest.fixture
def config(upstream, tmp_path):
    inputs = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
    auth = {"auth_type": "api_key", "api_key": "${SERVICE_KEY}", "var_name": "X-Key"}
    http = {"call_template_type": "http", "url": f"{upstream.base}/echo", "auth": auth}
    command = {"call_template_type": "cli", "command": "echo", "args": ["{{q}}"]}
    tools = [
        {"name": "search", "description": "Search.", "inputs": inputs, "tool_call_template": http},
        {"name": "say", "description": "Say.", "inputs": inputs, "tool_call_template": command},
    ]
    entry = {
        "name": "shop",
        "call_template_type": "text",
        "content": {"utcp_version": "1.0.1", "tools": tools},
        "allowed_communication_protocols": ["http", "cli"],
        "share": True,
    }
    path = tmp_path / "utcp.json"
    path.write_text(json.dumps({"manual_call_templates": [entry], "variables": {"shop_SERVICE_KEY": "key-of-shop"}}))
    return path


@contextmanager
def bridge(config):
    """Return the URL of a served bridge's manual."""
    command = [sys.executable, "-m", "utcp_bridge", "serve", str(config), "--http", "--port", "0"]
    environ = {**os.environ, "UTCP_BRIDGE_BEARER_TOKEN": TOKEN}
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environ) as process:
        try:
            told = process.stderr.readline()
            yield re.search(r"http://\S+", told)[0].replace("/mcp", "/utcp")
        finally:
            process.terminate()
            process.communicate(timeout=200)


async def consumer_of(url, **options):
    auth = {"auth_type": "api_key", "api_key": "Bearer ${UTCP_BRIDGE_TOKEN}", "var_name": "Authorization"}
    entry = {"name": "b", "call_template_type": "http", "url": url, "auth": auth, **options}
    variables = {"b_UTCP_BRIDGE_TOKEN": TOKEN, "b_SERVICE_KEY": "key-of-shop"}
    return await UtcpClient.create({"manual_call_templates": [entry], "variables": variables})


async def test_every_tool_is_called_through_the_bridge(upstream, config):
    with bridge(config) as url:
        async with await consumer_of(url) as consumer:
            assert sorted(tool.name for tool in consumer.tools()) == ["shop_say", "shop_search"]
            assert await consumer.call_tool("b.shop_say", {"q": "hello"}) == "hello"
            answer = await consumer.call_tool("b.shop_search", {"q": "tea"})
    assert answer["query"] == [["q", "tea"]]
    assert upstream.requests[-1].headers["X-Key"] == "key-of-shop"
    assert answer["headers"]["x-key"] == "***", "a reply that repeats the credential does not lead it to the consumer"
    assert TOKEN not in json.dumps(answer)


async def test_a_native_tool_is_called_without_the_bridge(upstream, config):
    with bridge(config) as url:
        consumer = await consumer_of(f"{url}?via=native", allowed_origins=[upstream.base])
    async with consumer:
        answer = await consumer.call_tool("b.shop_search", {"q": "tea"})
        assert answer["headers"]["x-key"] == "key-of-shop"
        with pytest.raises(Unreachable):
            await consumer.call_tool("b.shop_say", {"q": "hello"})
