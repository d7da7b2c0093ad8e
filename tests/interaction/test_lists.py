"""What real clients are given as a list, and what they hear of changes, from the command as users start it."""

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
from tests.interaction.conftest import ROOT
from tests.interaction.requirements import proves

pytestmark = pytest.mark.anyio
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
            process.communicate(timeout=60)


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
        with anyio.fail_after(60):
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
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("transport", "mode"), WAYS)
async def test_a_list_above_a_megabyte_reaches_each_client(transport, mode, tmp_path):
    write_manual(tmp_path / "m.json", ["d" * 3_000] * 500)
    with target_of(transport, tmp_path / "m.json", "--set", "exposure=all") as target, anyio.fail_after(100):
        async with connect(target, mode, listen=False) as one:
            tools, pages = await one.list()
    assert len(own(tools)) == 500
    assert pages == (1 if mode == "auto" else 4)


@proves("list.paging")
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("transport", "mode"), WAYS)
async def test_a_list_of_many_small_tools_is_one_page(transport, mode, tmp_path):
    write_manual(tmp_path / "m.json", ["Short."] * 1_200)
    with target_of(transport, tmp_path / "m.json", "--set", "exposure=all") as target, anyio.fail_after(100):
        async with connect(target, mode, listen=False) as one:
            page = await one.client.list_tools()
    assert len(own(page.tools)) == 1_200
    assert page.next_cursor is None


@proves("list.changed")
@pytest.mark.timeout(240)
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
@pytest.mark.timeout(240)
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
