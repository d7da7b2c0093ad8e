"""Real services with their own descriptions, called through the bridge with the MCP SDK's client."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import StdioServerParameters
from mcp.client import Client
from tests.interop.serving import free_port, serving
from tests.support.npm import node_program

pytestmark = pytest.mark.anyio

PETSTORE = Path(__file__).parents[1] / "data" / "openapi" / "oai-v3.0-pass-petstore-expanded.yaml"
FASTAPI_APP = Path(__file__).parents[1] / "interop" / "servers" / "fastapi_sse.py"


@contextmanager
def running(command: list[str], port: int, path: str, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """Start a service in its own process. Yield its URL once it responds at `path`."""
    base = f"http://127.0.0.1:{port}"

    def responds() -> bool:
        try:
            httpx2.get(base + path, timeout=200, trust_env=False)
        except httpx2.TransportError:
            return False
        return True

    with serving(command, port=port, ready=responds, environment=environment):
        yield base


@asynccontextmanager
async def bridged(tmp_path: Path, entry: dict[str, Any]) -> Any:
    """Start the bridge on stdio with one manual, and yield a client."""
    config = tmp_path / "config.json"
    settings = {"exposure": "all"}
    config.write_text(json.dumps({"manual_call_templates": [entry], "bridge": settings}), encoding="utf-8")
    command = StdioServerParameters(command=sys.executable, args=["-m", "utcp_bridge", "serve", str(config)])
    with anyio.fail_after(200):
        async with Client(command) as client:
            yield client


async def call(client: Client, name: str, arguments: dict[str, Any]) -> Any:
    result = await client.call_tool(name, arguments)
    assert not result.is_error, result.content
    return json.loads(result.content[0].text)


async def test_httpbin_is_called_from_its_own_swagger_document(tmp_path: Path) -> None:
    port = free_port()
    gunicorn = [sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{port}", "httpbin:app"]
    with running(gunicorn, port, "/get") as base:
        entry = {"name": "bin", "call_template_type": "http", "url": f"{base}/spec.json", "base_url": base}
        async with bridged(tmp_path, entry) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            assert "bin_get_get" in names
            assert len(names) > 60
            assert (await call(client, "bin_get_get", {}))["url"] == f"{base}/get"
            status = await client.call_tool("bin_get_status_by_codes", {"codes": "418"})
            assert status.is_error
            assert "418" in status.content[0].text


async def test_a_fastapi_application_gets_exactly_what_its_document_asks_for(tmp_path: Path) -> None:
    port = free_port()
    with running([sys.executable, str(FASTAPI_APP), str(port)], port, "/openapi.json") as base:
        entry = {"name": "shop", "call_template_type": "http", "url": f"{base}/openapi.json"}
        async with bridged(tmp_path, entry) as client:
            arguments = {"shop": 7, "item": "tea", "count": 2, "urgent": True, "x-trace": "t1", "labels": ["a", "b c"]}
            assert await call(client, "shop_create_order", arguments) == {
                "shop": 7,
                "order": {"item": "tea", "count": 2},
                "urgent": True,
                "trace": "t1",
                "labels": ["a", "b c"],
            }
            refused = await client.call_tool("shop_create_order", {"shop": 7, "item": "tea", "count": 11})
            assert refused.is_error
            assert "count" in refused.content[0].text


async def test_a_mock_server_of_a_published_document_accepts_every_request(tmp_path: Path) -> None:
    """Prism returns 422 for a request that its document does not allow, so it checks ours."""
    command, environment = node_program("prism", "prism", "@stoplight/prism-cli@5.14.2")
    port = free_port()
    prism = [str(command), "mock", "--errors", "-h", "127.0.0.1", "-p", str(port), str(PETSTORE)]
    with running(prism, port, "/pets", environment=environment) as base:
        entry = {"name": "pets", "call_template_type": "file", "file_path": str(PETSTORE), "base_url": base}
        async with bridged(tmp_path, entry) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            assert {"pets_findPets", "pets_addPet", "pets_find_pet_by_id", "pets_deletePet"} <= names
            assert isinstance(await call(client, "pets_findPets", {"tags": ["cat", "dog"], "limit": 3}), list)
            assert "name" in await call(client, "pets_addPet", {"name": "Rex", "tag": "dog"})
            assert "name" in await call(client, "pets_find_pet_by_id", {"id": 5})
            assert not (await client.call_tool("pets_deletePet", {"id": 5})).is_error
