"""Calls through LangChain tools: results, errors, many at once, cancellation, and an agent's loop."""

import asyncio
import base64
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import pytest
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import ToolException
from tests.support.local_manuals import cli_tool, entry, http_tool
from tests.support.threaded import threaded_service
from tests.upstreams.http_service import PNG, WAV, HttpService

from utcp_bridge import UtcpClient
from utcp_bridge.adapters.langchain import UTCPToolkit
from utcp_bridge.model import Binary

MCP_SERVER = Path(__file__).parents[1] / "upstreams" / "mcp_server.py"


@pytest.fixture(scope="module")
def service():
    with threaded_service() as found:
        yield found


@pytest.fixture(scope="module")
def tools(service):
    """Return tools by their own names; one toolkit for all tests of this file."""
    paths = ("echo", "image", "audio", "binary", "text", "items", "empty", "status/404", "malformed")
    http = [http_tool(path.partition("/")[0], f"{service.base}/{path}") for path in paths]
    cli = [
        cli_tool("count", "seq", "1", "3", stream=True),
        cli_tool("leak", "sh", "-c", "echo token is $* >&2; exit 3", "sh", "${TOKEN}"),
    ]
    config = {
        "variables": {"m_TOKEN": "a-secret-token"},
        "manual_call_templates": [entry("m", *http, *cli, http_tool("down", service.refusing))],
    }
    with UTCPToolkit.from_config(config) as toolkit:
        yield {tool.metadata["utcp_name"].removeprefix("m."): tool for tool in toolkit.get_tools()}


def call(tool, **arguments) -> ToolMessage:
    message = tool.invoke({"type": "tool_call", "id": "call_1", "name": tool.name, "args": arguments})
    assert isinstance(message, ToolMessage)
    assert (message.tool_call_id, message.name) == ("call_1", tool.name)
    return message


def test_a_value_is_json_text_for_the_model_and_the_artifact_for_the_program(tools):
    message = call(tools["items"])
    assert (message.content, message.artifact, message.status) == ("[1,2]", [1, 2], "success")


def test_text_is_returned_unchanged(tools):
    message = call(tools["text"])
    assert message.content == message.artifact == "grüß"


def test_an_empty_result_is_content_too(tools):
    message = call(tools["empty"])
    assert (message.content, message.artifact) == ("null", None)


@pytest.mark.parametrize(
    ("name", "kind", "media_type", "data"),
    [
        ("image", "image", "image/png", PNG),
        ("audio", "file", "audio/wav", WAV),
        ("binary", "file", "application/octet-stream", bytes(range(256))),
    ],
)
def test_bytes_become_blocks_that_a_tool_message_accepts(tools, name, kind, media_type, data):
    message = call(tools[name])
    assert message.content == [{"type": kind, "base64": base64.b64encode(data).decode(), "mime_type": media_type}]
    assert message.artifact == Binary(data, media_type)


def test_a_stream_returns_the_list_of_its_parts(tools):
    message = call(tools["count"])
    assert [str(part) for part in message.artifact] == ["1", "2", "3"]
    assert json.loads(message.content) == message.artifact


def test_a_result_above_the_limit_is_shortened_with_a_notice(service):
    config = {"manual_call_templates": [entry("m", http_tool("much", f"{service.base}/bytes/50000"))]}
    with UTCPToolkit.from_config(config | {"bridge": {"max_result_bytes": 10_000}}) as toolkit:
        message = call(toolkit.get_tools()[0])
    assert message.content.startswith("x" * 5_000)
    assert "of 50,000 characters are shown. Ask for less.]" in message.content
    assert message.artifact == "x" * 50_000


@pytest.mark.anyio
async def test_blocks_resources_and_errors_of_an_mcp_server_are_kept():
    child = {"command": sys.executable, "args": [str(MCP_SERVER), "child"]}
    child["env"] = {"PYTHONPATH": str(MCP_SERVER.parents[2])}
    entry = {"name": "m", "call_template_type": "mcp", "config": {"mcpServers": {"child": child}}}
    with await anyio.to_thread.run_sync(
        UTCPToolkit.from_config, [{**entry, "register_resources_as_tools": True}]
    ) as toolkit:
        tools = {tool.metadata["utcp_name"].rpartition(".")[2]: tool for tool in toolkit.get_tools()}
        (image,) = await tools["picture"].ainvoke({})
        assert (image["type"], image["mime_type"]) == ("image", "image/png")
        texts = [await tool.ainvoke({}) for name, tool in tools.items() if name.startswith("resource_the_guide")]
        assert sorted(texts) == ["This is memo://guide.", "This is memo://pair.\nThis is memo://pair."]
        with pytest.raises(ToolException, match=r"^kaput$"):
            await tools["fail"].ainvoke({})


@pytest.mark.parametrize(
    ("name", "said"), [("down", "No connection to 127.0.0.1"), ("status", "404"), ("malformed", "JSON")]
)
def test_a_failed_call_raises_one_sentence(tools, name, said):
    with pytest.raises(ToolException, match=said) as caught:
        tools[name].invoke({})
    assert "Traceback" not in str(caught.value)
    assert caught.value.__suppress_context__, "tracers write causes down, and those hold what was sent"


def test_errors_contain_no_secrets(tools):
    with pytest.raises(ToolException, match=r"token is \*\*\*") as caught:
        tools["leak"].invoke({})
    assert "a-secret-token" not in str(caught.value)


def test_handle_tool_error_turns_a_failure_into_a_message(service):
    entries = [entry("m", http_tool("down", service.refusing))]
    with UTCPToolkit.from_config(entries, handle_tool_error=True) as toolkit:
        message = call(toolkit.get_tools()[0])
        assert message.status == "error"
        assert message.content.startswith("No connection to 127.0.0.1")
    with UTCPToolkit.from_config(entries, handle_tool_error=lambda error: f"Sorry: {error}") as toolkit:
        assert call(toolkit.get_tools()[0]).content.startswith("Sorry: No connection")


def test_threads_can_call_at_the_same_time(tools):
    def ask(number):
        return json.loads(tools["echo"].invoke({"number": number}))["json"]

    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(ask, range(64))) == [{"number": number} for number in range(64)]


@pytest.mark.anyio
async def test_tasks_and_batches_can_call_at_the_same_time(tools):
    asked = [{"number": number} for number in range(32)]
    answers = await asyncio.gather(*(tools["echo"].ainvoke(one) for one in asked))
    answers += await tools["echo"].abatch(asked)
    assert [json.loads(answer)["json"] for answer in answers] == asked * 2


@pytest.mark.anyio
async def test_a_failed_ainvoke_raises_the_same_sentence(tools):
    with pytest.raises(ToolException, match=r"No connection to 127\.0\.0\.1"):
        await tools["down"].ainvoke({})


async def own_toolkit(service):
    entries = [entry("m", http_tool("slow", f"{service.base}/slow"))]
    return await anyio.to_thread.run_sync(UTCPToolkit.from_config, entries)


async def clients_toolkit(service):
    return UTCPToolkit.from_client(await UtcpClient.create([entry("m", http_tool("slow", f"{service.base}/slow"))]))


@pytest.mark.anyio
@pytest.mark.parametrize("make", [own_toolkit, clients_toolkit])
async def test_cancelling_ainvoke_ends_the_call_upstream(make):
    async with HttpService() as service:
        toolkit = await make(service)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(toolkit.get_tools()[0].ainvoke, {})
                await service.slow_arrived.wait()
                assert not service.slow_gone.is_set()
                group.cancel_scope.cancel()
            await service.slow_gone.wait()
        finally:
            await anyio.to_thread.run_sync(toolkit.close)
            if make is clients_toolkit:
                await toolkit.client.aclose()


def test_an_agent_loop_needs_only_langchain_core(tools):
    asked = {"name": tools["echo"].name, "args": {"city": "Paris"}, "id": "call_7", "type": "tool_call"}
    model = FakeMessagesListChatModel(responses=[AIMessage("", tool_calls=[asked]), AIMessage("It is sunny.")])
    messages = [HumanMessage("What is the weather in Paris?")]
    by_name = {tool.name: tool for tool in tools.values()}
    while (answer := model.invoke(messages)).tool_calls:
        messages += [answer, *(by_name[call["name"]].invoke(call) for call in answer.tool_calls)]
    assert answer.content == "It is sunny."
    assert [message.type for message in messages] == ["human", "ai", "tool"]
    assert messages[-1].tool_call_id == "call_7"
    assert messages[-1].artifact["json"] == {"city": "Paris"}


WATCHED = """
import sys
peers = set()
sys.addaudithook(lambda event, args: peers.add(str(args[1 if event == "socket.connect" else 0]))
                 if event in {"socket.connect", "socket.getaddrinfo"} else None)
from utcp_bridge.adapters.langchain import UTCPToolkit
with UTCPToolkit.from_manual(sys.argv[1], tools="echo") as toolkit:
    toolkit.get_tools()[0].invoke({"text": "x"})
from langsmith.utils import tracing_is_enabled
print(tracing_is_enabled(), sorted(peers))
"""


def test_a_call_connects_only_to_the_tool_and_does_not_trace(service):
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, f"{service.base}/utcp"],
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
        env={},
    )
    host, port = service.base.removeprefix("http://").split(":")
    assert done.stdout.strip() == f"False {[str((host, int(port)))]}"
