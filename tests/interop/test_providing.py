"""Manuals that this package provides, read by the reference library's client."""

import json
import sys
from pathlib import Path

import anyio
import pytest
from tests.interop.serving import free_port, serving
from tests.interop.software import PyPI
from tests.upstreams.registry_service import served

from utcp_bridge import ToolServer

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(90)]

REFERENCE = PyPI("utcp==1.2.0 utcp-http==1.1.15", program="python")
CLIENT = Path(__file__).parent / "servers" / "utcp_client.py"


def shop() -> ToolServer:
    tools = ToolServer()

    @tools.tool
    async def order(item: str, amount: int = 1, gift: bool = False, notes: dict[str, str] | None = None) -> dict:
        return {"item": item, "amount": amount, "gift": gift, "notes": notes}

    @tools.tool
    def count(to: int):
        yield from range(to)

    return tools


async def asked(url: str, *calls):
    done = await anyio.run_process([REFERENCE.command, str(CLIENT), url, json.dumps(calls)], env=REFERENCE.environment)
    return json.loads(done.stdout)


@pytest.mark.needs(REFERENCE)
async def test_the_reference_client_calls_functions_by_query_and_by_body() -> None:
    with served(shop().app()) as base:
        by_query = await asked(f"{base}/utcp", ["m.order", {"item": "tea", "amount": 2}], ["m.count", {"to": 2}])
        body = {"body": {"item": "tea", "gift": True, "notes": {"to": "Ada"}}}
        by_body = await asked(f"{base}/utcp?arguments=body", ["m.order", body])
    assert by_query["tools"] == ["m.order", "m.count"]
    assert by_query["results"] == [{"item": "tea", "amount": 2, "gift": False, "notes": None}, [0, 1]]
    assert by_body["results"] == [{"item": "tea", "amount": 1, "gift": True, "notes": {"to": "Ada"}}]


@pytest.mark.needs(REFERENCE)
@pytest.mark.parametrize("via", ["bridge", "native"])
async def test_the_reference_client_calls_tools_through_the_bridge_and_past_it(via, tmp_path) -> None:
    with served(shop().app()) as base:
        entry = {"name": "shop", "call_template_type": "http", "url": f"{base}/utcp"}
        config, port = tmp_path / "utcp.json", free_port()
        config.write_text(json.dumps({"manual_call_templates": [entry]}), encoding="utf-8")
        command = [sys.executable, "-m", "utcp_bridge", "serve", config, "--http", "--port", str(port)]
        with serving(command, port=port):
            order = {"item": "tea", "amount": 2}
            found = await asked(f"http://127.0.0.1:{port}/utcp?via={via}", ["m.shop_order", order])
    assert sorted(found["tools"]) == ["m.shop_count", "m.shop_order"]
    assert found["results"] == [{"item": "tea", "amount": 2, "gift": False, "notes": None}]
