"""The description of the admin API, and what it describes."""

import pytest
from tests.console.conftest import WEATHER, text_manual

pytestmark = pytest.mark.anyio


async def test_each_described_operation_exists_and_each_path_is_described(serving):
    async def work(served):
        document = (await served.ask("/admin/api/openapi.json")).json()
        assert document["openapi"] == "3.1.0"
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                assert operation["summary"].endswith(".")
                url = f"/admin/api{path}"
                reply = await (served.ask(url) if method == "get" else served.act(url, {}))
                assert reply.headers["content-type"] == "application/json"
                assert reply.status_code != 405
                needs = "requestBody" in operation or any(
                    one.get("required") for one in operation.get("parameters", [])
                )
                assert reply.status_code == 200 or needs or path == "/drift", (
                    url
                )  # a server has no configuration to load

    await serving(work, text_manual("weather", WEATHER))


async def test_the_bridge_can_read_the_description_as_a_manual(serving):
    async def work(served):
        entry = {"name": "admin", "call_template_type": "http", "url": f"{served.url}/admin/api/openapi.json"}
        state = await served.client.register_manual(entry)
        assert (state.error, state.faults) == (None, [])
        found = await served.client.call_tool("admin.tools", {"query": "weather of a city"})
        assert found["tools"][0]["name"] == "weather.get"

    await serving(work, text_manual("weather", WEATHER))
