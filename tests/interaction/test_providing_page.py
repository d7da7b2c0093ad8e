"""The programs of docs/providing.md run unchanged."""

import re
import sys

import anyio
import pytest
from fastapi import FastAPI
from tests.support.source import DOCS
from tests.upstreams.registry_service import served

from utcp_bridge import UtcpClient
from utcp_bridge.net.listening import bind

pytestmark = pytest.mark.anyio
FUNCTIONS, ROUTES = re.findall(r"```python\n(.*?)```", (DOCS / "providing.md").read_text(encoding="utf-8"), re.DOTALL)


async def reachable(url, **options):
    """Return a client once the server responds."""
    entry = {"name": "weather", "call_template_type": "http", "url": url, **options}
    while True:
        client = await UtcpClient.create({"manual_call_templates": [entry]})
        if client.tools():
            return client
        await client.aclose()


async def test_the_program_with_functions_serves_them():
    listener = bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    listener.close()
    program = FUNCTIONS.replace("8080", str(port))
    async with await anyio.open_process([sys.executable, "-c", program]) as process:
        try:
            with anyio.fail_after(200):
                async with await reachable(f"http://127.0.0.1:{port}/utcp") as client:
                    forecast = await client.call_tool("weather.get_forecast", {"city": "Oslo", "days": 2})
        finally:
            process.terminate()
    assert forecast == [{"temperature": 20.5, "sky": "clear"}, {"temperature": 21.5, "sky": "clear"}]


async def test_the_program_with_routes_serves_those_that_are_not_excluded():
    scope = {}
    exec(compile(ROUTES, "page", "exec"), scope)
    app = scope["app"]
    assert isinstance(app, FastAPI)
    app.get("/hello", operation_id="hello")(lambda name: f"Hello, {name}")
    app.get("/drop", operation_id="drop", tags=["admin"])(lambda: "gone")
    with served(app) as base, anyio.fail_after(200):
        async with await reachable(f"{base}/utcp") as client:
            assert [tool.name for tool in client.tools()] == ["hello"]
            assert await client.call_tool("weather.hello", {"name": "Ada"}) == "Hello, Ada"
