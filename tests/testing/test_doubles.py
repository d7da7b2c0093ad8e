"""The helpers for users' own tests: an upstream of functions, canned results, a record of calls."""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest
from scripts.check_snippets import snippets_in
from tests.support.source import DOCS

from utcp_bridge import Binary, ToolServer, UTCPClient, UtcpClient
from utcp_bridge.errors import Busy, ConfigError, InvalidArguments, Rejected, UnknownTool
from utcp_bridge.testing import FakeTools, RecordedCall, fake_client, record_calls, serve_tools

pytestmark = pytest.mark.anyio

CONFTEST = """
import pytest

@pytest.fixture
def anyio_backend():
    return "asyncio"
"""


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def greet(name: str) -> str:
    return f"Hello {name}"


async def count(to: int) -> AsyncIterator[int]:
    for number in range(to):
        yield number


async def test_served_functions_are_real_tools() -> None:
    with serve_tools(add, greet) as upstream:
        async with await UtcpClient.create([upstream.entry("sums")]) as client:
            assert [tool.qualified_name for tool in client.tools()] == ["sums.add", "sums.greet"]
            assert await client.call_tool("sums.add", {"a": 1, "b": 2}) == 3
            with pytest.raises(InvalidArguments):
                await client.call_tool("sums.add", {"a": "one"})


def test_served_functions_work_without_an_event_loop() -> None:
    with serve_tools(greet) as upstream, UTCPClient([upstream.entry()]) as client:
        assert client.call_tool("tools.greet", {"name": "Ada"}) == "Hello Ada"


async def test_a_tool_server_can_be_served() -> None:
    tools = ToolServer()
    tools.tool(name="plus")(add)
    with serve_tools(tools) as upstream:
        async with await UtcpClient.create([upstream.entry("sums")]) as client:
            assert await client.call_tool("sums.plus", {"a": 1, "b": 2}) == 3
    with pytest.raises(ConfigError, match="functions or one ToolServer"), serve_tools(tools, add):
        pass


async def test_the_upstream_ends_with_its_block() -> None:
    with serve_tools(greet) as upstream:
        host, port = upstream.url.removeprefix("http://").partition("/")[0].split(":")
    with pytest.raises(OSError, match="connect"):
        await anyio.connect_tcp(host, int(port))


async def test_a_fake_tool_returns_its_canned_result() -> None:
    image = Binary(b"\x89PNG", "image/png")
    async with fake_client({"weather.today": {"sky": "clear"}, "weather.map": image, "news.top": []}) as client:
        assert await client.call_tool("weather.today", {"city": "Paris"}) == {"sky": "clear"}
        assert await client.call_tool("weather.map") == image
        assert await client.call_tool("news.top") == []
        assert [state.name for state in client.report()] == ["weather", "news"]
        assert [state.faults for state in client.report()] == [[], []]
        with pytest.raises(UnknownTool):
            await client.call_tool("weather.tomorrow")


async def test_a_fake_tool_raises_its_canned_error() -> None:
    async with fake_client({"shop.buy": Rejected("Sold out.", status=409)}) as client:
        with pytest.raises(Rejected, match="Sold out") as caught:
            await client.call_tool("shop.buy")
    assert caught.value.status == 409


async def test_a_fake_function_receives_checked_arguments_and_may_stream() -> None:
    async with fake_client({"sums.add": add, "sums.count": count}) as client:
        assert await client.call_tool("sums.add", {"a": 1, "b": 2}) == 3
        tool = client.find("sums.add")
        assert tool is not None
        assert (tool.description, list(tool.inputs["properties"])) == ("Add two numbers.", ["a", "b"])
        with pytest.raises(InvalidArguments):
            await client.call_tool("sums.add", {"a": 1})
        assert [partial async for partial in client.call_tool_streaming("sums.count", {"to": 3})] == [0, 1, 2]
        assert "nothing is sent" in (await client.explain(tool, {"a": 1, "b": 2})).as_text()


def test_fake_tools_serve_a_synchronous_client_too() -> None:
    fakes = FakeTools({"sums.add": add})
    with UTCPClient(fakes.config, extensions=fakes.extensions) as client:
        assert client.call_tool("add", {"a": 1, "b": 2}) == 3


@pytest.mark.parametrize("name", ["", "add", ".add", "sums."])
def test_a_fake_tool_needs_a_manual_and_a_name(name: str) -> None:
    with pytest.raises(ConfigError, match=r"must have the form manual\.tool"):
        FakeTools({name: 1})


async def test_two_fake_clients_do_not_share_tools() -> None:
    async with fake_client({"a.one": 1}) as first, fake_client({"a.two": 2}) as second:
        assert [tool.name for tool in first.tools()] == ["one"]
        assert [tool.name for tool in second.tools()] == ["two"]


async def test_calls_are_recorded_with_arguments_and_results() -> None:
    with serve_tools(add) as upstream:
        async with await UtcpClient.create([upstream.entry("sums")]) as client:
            with record_calls(client) as calls:
                await client.call_tool("sums.add", {"a": 1, "b": 2})
            await client.call_tool("sums.add", {"a": 3, "b": 4})
    assert calls == [RecordedCall("sums.add", {"a": 1, "b": 2}, 3)]


async def test_failed_calls_are_recorded_with_their_error() -> None:
    error = Busy("Too many requests.")
    async with fake_client({"shop.buy": error}) as client:
        with record_calls(client) as calls, pytest.raises(Busy):
            await client.call_tool("shop.buy", {"id": 1})
    assert calls == [RecordedCall("shop.buy", {"id": 1}, error=error)]


async def test_streams_are_recorded_with_their_partial_results() -> None:
    async with fake_client({"sums.count": count}) as client:
        with record_calls(client) as calls:
            assert [partial async for partial in client.call_tool_streaming("sums.count", {"to": 2})] == [0, 1]
    assert calls == [RecordedCall("sums.count", {"to": 2}, [0, 1], partials=(0, 1))]


@pytest.fixture
def sums() -> Iterator[UTCPClient]:
    fakes = FakeTools({"sums.add": add})
    with UTCPClient(fakes.config, extensions=fakes.extensions) as client:
        yield client


def test_records_may_be_nested_and_see_a_synchronous_client(sums: UTCPClient) -> None:
    with record_calls(sums) as outer:
        sums.call_tool("add", {"a": 1, "b": 2})
        with record_calls(sums) as inner:
            sums.call_tool("add", {"a": 3, "b": 4})
        sums.call_tool("add", {"a": 5, "b": 6})
    sums.call_tool("add", {"a": 7, "b": 8})
    assert [call.result for call in outer] == [3, 7, 11]
    assert [call.result for call in inner] == [7]


def test_the_documented_examples_pass(tmp_path: Path) -> None:
    for number, snippet in enumerate(snippets_in(DOCS / "testing.md")):
        if "utcp_bridge.testing import" in snippet.code:
            (tmp_path / f"test_{number}.py").write_text(snippet.code, encoding="utf-8")
    (tmp_path / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)],
        capture_output=True,
        encoding="utf-8",
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout
