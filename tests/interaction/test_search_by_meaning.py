"""Search by meaning for hosts and on the command line: a configured endpoint, real processes."""

import json
import os
import subprocess
import sys

import anyio
import pytest
from mcp import StdioServerParameters
from mcp.client import Client
from tests.upstreams.embeddings_service import KEY, EmbeddingsService

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("own_home")]


@pytest.fixture
async def service():
    async with EmbeddingsService() as running:
        yield running


@pytest.fixture
def configuration(service, tmp_path):
    template = {"call_template_type": "text", "content": "done"}
    tools = [
        {"name": "rent_yacht", "description": "Rent a yacht.", "tool_call_template": template},
        {"name": "bake", "description": "Bake bread.", "tool_call_template": template},
    ]
    content = {"utcp_version": "1.0.1", "tools": tools}
    strategy = {
        "tool_search_strategy_type": "semantic",
        "endpoint": {"url": service.url, "model": "hashing", "api_key": "${EMBEDDINGS_KEY}"},
        "query_timeout": 10,
    }
    config = {
        "manual_call_templates": [{"name": "shop", "call_template_type": "text", "content": content}],
        "tool_search_strategy": strategy,
        "bridge": {"exposure": "search", "structured_content": "always"},
    }
    path = tmp_path / "utcp.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


def environ(key):
    return {**os.environ, "EMBEDDINGS_KEY": key}


def run(*arguments, key=KEY):
    command = [sys.executable, "-m", "utcp_bridge", "search", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, env=environ(key), check=False)


async def test_hosts_find_tools_by_meaning_for_several_needs_at_once(service, configuration):
    command = StdioServerParameters(
        command=sys.executable, args=["-m", "utcp_bridge", "serve", str(configuration)], env=environ(KEY)
    )
    with anyio.fail_after(200):
        async with Client(command) as client:
            found = {"note": "not asked yet"}
            while "note" in found:
                result = await client.call_tool("search_tools", {"queries": ["sloop", "loaf of bread"]})
                found = result.structured_content
    best = [group["results"][0]["name"] for group in found["groups"]]
    assert best == ["shop_rent_yacht", "shop_bake"]
    assert ["sloop", "loaf of bread"] in service.inputs


async def test_hosts_get_a_note_when_tools_are_ranked_by_words_alone(service, configuration):
    service.open = anyio.Event()
    command = StdioServerParameters(
        command=sys.executable, args=["-m", "utcp_bridge", "serve", str(configuration)], env=environ(KEY)
    )
    with anyio.fail_after(200):
        async with Client(command) as client:
            found = (await client.call_tool("search_tools", {"query": "bread"})).structured_content
    assert [one["name"] for one in found["results"]] == ["shop_bake"]
    assert "words alone" in found["note"]


async def test_the_command_waits_for_the_vectors(service, configuration):
    done = await anyio.to_thread.run_sync(run, "-c", str(configuration), "--json", "sloop")
    assert [one["name"] for one in json.loads(done.stdout)] == ["shop.rent_yacht"], done.stderr
    assert done.stderr == ""


async def test_the_command_reports_why_tools_are_ranked_by_words_alone(service, configuration):
    done = await anyio.to_thread.run_sync(lambda: run("-c", str(configuration), "bread", key="wrong-key-of-mine"))
    assert "shop.bake" in done.stdout
    assert "Ranked by words alone" in done.stderr
    assert "401" in done.stderr
    assert "wrong-key-of-mine" not in done.stderr
