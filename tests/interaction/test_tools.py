"""Listing and calling tools through a real client."""

import base64
import json
import re
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager

import anyio
import mcp_types as types
import pytest
from mcp import StdioServerParameters
from mcp.client import Client
from mcp.client._memory import InMemoryTransport
from mcp.shared.exceptions import MCPError
from tests.interaction.conftest import ROOT
from tests.interaction.requirements import proves
from tests.support.mcp_served import FILLERS, HOSTILE, build

pytestmark = pytest.mark.anyio
ROOT_COMBINATORS = {"anyOf", "oneOf", "allOf", "not", "enum", "const"}


def text_of(result):
    return "".join(block.text for block in result.content)


@proves("list.paging")
async def test_every_tool_is_listed_once_in_a_stable_order(bridge):
    pages, again = await bridge.list_all(), await bridge.list_all()
    names = [tool.name for page in pages for tool in page]
    assert names == [tool.name for page in again for tool in page]
    assert len(names) == len(set(names))
    assert len(pages) == 3
    assert [name for name in names if name.startswith("filler_")] == [
        f"filler_t{number:04}" for number in range(FILLERS)
    ]
    assert names[:2] == ["search_tools", "call_tool"]


@proves("list.names")
async def test_every_host_accepts_every_name(bridge):
    names = [tool.name for page in await bridge.list_all() for tool in page]
    assert all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,47}", name) for name in names)
    assert len({name.casefold() for name in names}) == len(names)


@proves("list.schemas")
async def test_every_host_accepts_every_schema(bridge):
    for page in await bridge.list_all():
        for tool in page:
            assert tool.input_schema["type"] == "object"
            assert not ROOT_COMBINATORS & tool.input_schema.keys()
            assert all(re.fullmatch(r"[a-zA-Z0-9_.-]{1,64}", key) for key in tool.input_schema.get("properties", {}))
            assert tool.output_schema is None or tool.output_schema["type"] == "object"


@proves("list.isolation")
async def test_broken_schemas_leave_the_list_intact(bridge):
    listed = {tool.name: tool for page in await bridge.list_all() for tool in page}
    for name in ("bad_text", "bad_list", "bad_open"):
        assert listed[name].input_schema["type"] == "object"
        assert "fine" in text_of(await bridge.call(name))


@proves("list.stale")
async def test_a_malformed_cursor_is_refused(bridge):
    with anyio.fail_after(200), pytest.raises(MCPError) as caught:
        await bridge.client.list_tools(cursor="MTAu", cache_mode="bypass")
    assert caught.value.code == -32602


@proves("list.changed")
async def test_a_changed_list_is_announced_and_then_listed(bridge):
    before = {tool.name for page in await bridge.list_all() for tool in page}
    bridge.changed = anyio.Event()
    await bridge.call("demo_grow")
    with anyio.fail_after(200):
        await bridge.changed.wait()
    after = {tool.name for page in await bridge.list_all() for tool in page}
    assert len(after - before) == 1


@proves("list.capability")
def test_the_server_says_that_it_announces_changes(bridge):
    assert bridge.client.server_capabilities.tools.list_changed is True


@proves("call.names", "result.text")
async def test_a_tool_is_called_by_both_its_names(bridge):
    assert text_of(await bridge.call("demo_greet")) == "Good morning"
    assert text_of(await bridge.call("demo.greet")) == "Good morning"


@proves("call.keys")
async def test_a_renamed_argument_reaches_the_tool_under_its_own_key(bridge):
    result = await bridge.call("demo_echo", {"a": 1, "filter": "x"})
    assert json.loads(text_of(result)) == {"a": 1, "$filter": "x"}


@proves("call.hostile")
async def test_tools_with_hostile_names_can_be_called(bridge):
    listed = [tool.name for page in await bridge.list_all() for tool in page if tool.name.startswith("hostile")]
    assert len(listed) == len(HOSTILE)
    assert sorted([text_of(await bridge.call(name)) for name in listed]) == sorted(HOSTILE)


@proves("call.unknown")
async def test_an_unknown_tool_is_invalid_params(bridge):
    with pytest.raises(MCPError) as caught:
        await bridge.call("nobody")
    assert caught.value.code == -32602
    assert "search_tools" in caught.value.message


@proves("call.progress")
async def test_partial_results_arrive_while_the_call_runs(bridge):
    seen = []

    async def heard(progress, total, message):
        seen.append((progress, total, message))

    result = await bridge.call("demo_count", progress_callback=heard)
    assert text_of(result) == "[0,1,2]"
    assert seen == [(1, None, '{"n":0}'), (2, None, '{"n":1}'), (3, None, '{"n":2}')]


@proves("call.progress")
async def test_progress_that_a_tool_reports_is_relayed_with_its_own_numbers(bridge):
    seen = []

    async def heard(progress, total, message):
        seen.append((progress, total, message))

    await bridge.call("demo_steps", progress_callback=heard)
    assert seen == [(0, 2, None), (1, 2, None), (2, 2, None)]


@proves("call.cancel")
async def test_a_call_that_the_client_cancels_is_cancelled(bridge):
    before = int(text_of(await bridge.call("demo_cancellations")))
    with anyio.CancelScope() as scope:

        async def give_up(_progress, _total, _message):
            scope.cancel()

        await bridge.call("demo_wait", progress_callback=give_up)
    with anyio.fail_after(200):
        while int(text_of(await bridge.call("demo_cancellations"))) == before:
            pass


@proves("result.structured")
async def test_structured_content_fits_the_output_schema(bridge):
    assert (await bridge.call("demo_order")).structured_content == {"id": 7}
    numbers = await bridge.call("demo_numbers")
    assert numbers.structured_content == {"result": [1, 2]}
    assert text_of(numbers) == "[1,2]"
    assert (await bridge.call("demo_greet")).structured_content is None


@proves("result.unexpected")
async def test_a_reply_that_does_not_fit_its_schema_arrives_whole(bridge):
    result = await bridge.call("demo_odd_order")
    assert result.structured_content == {"more": [1], "_unexpected": {"/id": "a-7"}}
    assert json.loads(text_of(result)) == {"id": "a-7", "note": None, "more": [1]}
    assert not result.is_error


@proves("result.media")
async def test_bytes_arrive_as_content_of_their_kind(bridge):
    (picture,) = (await bridge.call("demo_picture")).content
    assert (picture.type, picture.mime_type, base64.b64decode(picture.data)) == ("image", "image/png", b"png")
    (sound,) = (await bridge.call("demo_sound")).content
    assert (sound.type, sound.mime_type) == ("audio", "audio/wav")
    (paper,) = (await bridge.call("demo_paper")).content
    assert (paper.type, base64.b64decode(paper.resource.blob)) == ("resource", b"pdf")


@proves("result.blocks")
async def test_a_malformed_block_leaves_the_others_intact(bridge):
    assert [block.text for block in (await bridge.call("demo_blocks")).content] == ['{"type":"weird"}', "fine"]


@proves("result.limit")
async def test_a_large_result_is_cut_with_a_notice(bridge):
    shown, notice, *_ = (await bridge.call("demo_large")).content
    assert shown.text == "ü" * len(shown.text)
    assert 90_000 < len(shown.text.encode()) < 100_000
    assert notice.text.startswith(f"[The result was cut: {len(shown.text):,} of 800,000 characters are shown.")
    assert '"name": "read_result"' in notice.text


@proves("error.refused")
async def test_an_upstream_refusal_has_a_remedy(bridge):
    result = await bridge.call("demo_refuse")
    assert result.is_error
    assert text_of(result) == 'The shop answered 404. Check the id.\n{"error":"no such order"}'
    assert result.meta["utcp/status"] == 404


@proves("error.arguments")
async def test_wrong_arguments_are_an_error_result(bridge):
    result = await bridge.call("demo_strict", {"town": "Bonn"})
    assert result.is_error
    assert text_of(result) == "city is missing, got ['town']."


@proves("error.foreign")
async def test_an_unexpected_exception_does_not_show_its_text(bridge):
    result = await bridge.call("demo_crash")
    assert result.is_error
    assert "hunter2" not in result.model_dump_json()


@proves("meta.search")
async def test_a_search_finds_tools_by_what_they_do(bridge):
    result = await bridge.call("search_tools", {"query": "give the arguments back"})
    assert text_of(result).startswith("1. demo_echo")


@proves("meta.call")
async def test_call_tool_calls_by_name_and_returns_the_schema_for_wrong_arguments(bridge):
    assert text_of(await bridge.call("call_tool", {"name": "demo.greet"})) == "Good morning"
    wrong = await bridge.call("call_tool", {"name": "demo_strict", "arguments": {}})
    assert wrong.is_error
    assert '"city"' in text_of(wrong)


@proves("server.instructions")
def test_instructions_name_the_providers(bridge):
    assert "filler (1,050)" in bridge.client.instructions


@proves("list.by_client")
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_client_gets_the_exposure_for_its_name(mode):
    server = build(exposure="all", exposure_by_client={"cursor*": "search"})
    for name, count in (("cursor-vscode", 2), ("inspector", 500)):
        info = types.Implementation(name=name, version="1")
        with anyio.fail_after(200):
            async with Client(InMemoryTransport(server), mode=mode, client_info=info) as client:
                page = await client.list_tools()
                assert len(page.tools) >= count
                assert (page.next_cursor is None) is (count == 2)
                found = await client.call_tool("search_tools", {"query": "greet", "limit": 1})
                assert text_of(found).startswith("1. demo_greet")
                assert ("Call these tools with call_tool." in text_of(found)) is (count == 2)


# --- the command as users start it: large lists, short sessions, changed manuals ---

WAYS = [(transport, mode) for transport in ("stdio", "http") for mode in ("legacy", "auto")]
SHORT_SESSIONS = 6


def write_manual(path, words):
    """Write a manual with one tool for each description."""
    template = {"call_template_type": "http", "url": "http://127.0.0.1:9/"}
    tools = [
        {
            "name": f"t{number:04}",
            "description": f"Tool {number}.",
            "inputs": {"type": "object", "properties": {"p": {"type": "string", "description": text}}},
            "tool_call_template": template,
        }
        for number, text in enumerate(words)
    ]
    path.write_text(json.dumps({"utcp_version": "1.0.1", "manual_version": "1", "tools": tools}))


TEXT = {"call_template_type": "text", "content": "done"}


def own(tools):
    """The names of the manual's tools, without those of the bridge."""
    return [tool.name for tool in tools if tool.name.startswith("m_")]


@contextmanager
def target_of(transport, manual, *options):
    """Yield what a client connects to: the command of a bridge, or the URL of a running one."""
    command = ["-m", "utcp_bridge", "serve", str(manual), *options]
    if transport == "stdio":
        yield StdioServerParameters(command=sys.executable, args=command, cwd=ROOT)
        return
    command = [sys.executable, *command, "--http", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            lines = iter(process.stdout.readline, "")
            yield next(found.group() for line in lines if (found := re.search(r"http://[\d.:]+/mcp", line)))
        finally:
            process.terminate()
            process.communicate(timeout=200)


class Listening:
    """A client that counts what it hears of changed tools."""

    def __init__(self, *, listens):
        self.client = None
        self.listens = listens
        self.told = 0
        self.event = anyio.Event()

    async def heard(self, message):
        if isinstance(message, types.ToolListChangedNotification) and not self.listens:
            self.tell()

    def tell(self):
        self.told += 1
        self.event.set()

    async def list(self):
        tools, cursor, pages = [], None, 0
        while pages == 0 or cursor is not None:
            page = await self.client.list_tools(cursor=cursor, cache_mode="bypass")
            tools, cursor, pages = tools + page.tools, page.next_cursor, pages + 1
        return tools, pages

    async def next_change(self):
        with anyio.fail_after(200):
            await self.event.wait()
        self.event = anyio.Event()


@asynccontextmanager
async def connect(target, mode, *, listen=True):
    one = Listening(listens=listen and mode != "legacy")
    async with Client(target, mode=mode, message_handler=one.heard) as one.client, anyio.create_task_group() as group:

        async def subscribed(*, task_status):
            async with one.client.listen(tools_list_changed=True) as events:
                task_status.started()
                async for _ in events:
                    one.tell()

        if one.listens:
            await group.start(subscribed)
        yield one
        group.cancel_scope.cancel()


@proves("list.paging")
@pytest.mark.parametrize(("transport", "mode"), WAYS)
async def test_a_list_above_a_megabyte_reaches_each_client(transport, mode, tmp_path):
    write_manual(tmp_path / "m.json", ["d" * 3_000] * 500)
    with target_of(transport, tmp_path / "m.json", "--set", "exposure=all") as target, anyio.fail_after(200):
        async with connect(target, mode, listen=False) as one:
            tools, pages = await one.list()
    assert len(own(tools)) == 500
    assert pages == (2 if mode == "auto" else 4)


@proves("list.paging")
@pytest.mark.parametrize(("transport", "mode"), WAYS)
async def test_a_list_of_many_small_tools_is_one_page(transport, mode, tmp_path):
    write_manual(tmp_path / "m.json", ["Short."] * 1_200)
    with target_of(transport, tmp_path / "m.json", "--set", "exposure=all") as target, anyio.fail_after(200):
        async with connect(target, mode, listen=False) as one:
            page = await one.client.list_tools()
    assert len(own(page.tools)) == 1_200
    assert page.next_cursor is None


@proves("list.changed")
@pytest.mark.parametrize(("transport", "mode"), WAYS)
async def test_short_sessions_end_well_and_hear_of_no_change(transport, mode, tmp_path):
    write_manual(tmp_path / "m.json", ["Short."])
    told = []
    with target_of(transport, tmp_path / "m.json") as target, anyio.fail_after(200):
        for _ in range(SHORT_SESSIONS):
            async with connect(target, mode) as one:
                tools, _ = await one.list()
                called = await one.client.call_tool("search_tools", {"query": "tool"})
            assert (own(tools), called.is_error) == (["m_t0000"], False)
            told.append(one.told)
    assert told == [0] * SHORT_SESSIONS


@proves("list.changed")
@pytest.mark.parametrize(("transport", "mode"), WAYS)
async def test_each_change_of_a_manual_is_said_once_to_who_has_a_list(transport, mode, tmp_path):
    manual = tmp_path / "m.json"
    write_manual(manual, ["One."])
    with target_of(transport, manual, "--set", "refresh_interval=0.2") as target, anyio.fail_after(200):
        async with connect(target, mode) as one:
            for number, words in enumerate((["One.", "Two."], ["One.", "Changed."], ["One."]), start=1):
                await one.list()
                write_manual(manual, words)
                await one.next_change()
                assert one.told == number
            tools, _ = await one.list()
    assert own(tools) == ["m_t0000"]


@proves("list.changed")
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_slow_manual_does_not_hold_up_the_first_list_and_is_announced(mode, tmp_path):
    released = anyio.Event()
    body = json.dumps({"utcp_version": "1.0.1", "tools": [{"name": "late", "tool_call_template": TEXT}]}).encode()

    async def answer(stream):
        async with stream:
            await stream.receive()
            await released.wait()
            await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, answer)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        slow = {"name": "slow", "call_template_type": "http", "url": f"http://127.0.0.1:{port}/", "trusted": True}
        slow |= {"allowed_communication_protocols": ["text"], "discovery_timeout": 600}
        quick = {"name": "m", "call_template_type": "text", "content": json.loads(body)}
        config = tmp_path / "utcp.json"
        config.write_text(json.dumps({"manual_call_templates": [slow, quick]}))
        options = ("--set", "startup_wait=600", "--set", "startup_settle=0.1", "--set", "exposure=all")
        with target_of("stdio", config, *options) as target, anyio.fail_after(200):
            async with connect(target, mode) as one:
                tools, _ = await one.list()
                assert own(tools) == ["m_late"]
                released.set()
                await one.next_change()
                tools, _ = await one.list()
                assert [tool.name for tool in tools if tool.name.endswith("late")] == ["m_late", "slow_late"]
        group.cancel_scope.cancel()
