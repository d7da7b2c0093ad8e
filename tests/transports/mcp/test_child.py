"""MCP servers as child processes that write what they should not."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp.shared.message import SessionMessage
from tests.support.descendants import descendants, needs_proc, open_descriptors

from utcp_bridge.transports.mcp.child import ChildProcess, read_line
from utcp_bridge.transports.mcp.results import UNREADABLE

pytestmark = pytest.mark.anyio

REPLY = b'{"jsonrpc": "2.0", "id": 1, "result": {"t": "%s"}}'


@pytest.mark.parametrize(
    ("text", "expected"), [(b"caf\xff", "caf\ufffd"), (b"\\ud83d", "\ufffd"), (b"a\xe2\x80\xa8b", "a\u2028b")]
)
def test_text_of_a_message_is_always_valid(text: bytes, expected: str) -> None:
    message = read_line(REPLY % text, 1000)
    assert isinstance(message, types.JSONRPCResponse)
    assert message.result == {"t": expected}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"jsonrpc": "2.0", "id": 1, "error": "quota"}', (1, "quota")),
        (b'{"jsonrpc": "2.0", "id": 1}', (1, UNREADABLE)),
        (b'{"id": "a", "results": {}}', ("a", UNREADABLE)),
        (b'{"jsonrpc": "2.0", "id": 1, "result": {"content": [', (1, UNREADABLE)),
        (REPLY % (b"x" * 100_000), (1, "more than 1000 bytes")),
    ],
)
def test_a_response_that_cannot_be_read_is_an_error_of_its_call(line: bytes, expected: tuple[Any, str]) -> None:
    message = read_line(line, 1000)
    assert isinstance(message, types.JSONRPCError)
    assert (message.id, message.error.message) == expected


@pytest.mark.parametrize(
    ("line", "identifier", "result"),
    [
        (b'{"jsonrpc": "2.0", "id": 1, "result": 5}', 1, {"content": 5}),
        (b'{"id": "a", "result": {}}', "a", {}),
    ],
)
def test_a_response_of_another_form_is_read(line: bytes, identifier: Any, result: Any) -> None:
    message = read_line(line, 1000)
    assert isinstance(message, types.JSONRPCResponse)
    assert (message.id, message.result) == (identifier, result)


@pytest.mark.parametrize(
    "line", [b"", b"Server started", b"[1]", b"42", b'{"level": "info"}', b'{"id": 1, "method": 5}', b"{", b"\xff\xfe"]
)
def test_any_other_line_is_not_a_message(line: bytes) -> None:
    assert read_line(line, 1000) is None


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_not(line: bytes) -> None:
    read_line(line, 50)


def child(folder: Path, code: str, **environment: str) -> ChildProcess:
    return ChildProcess("MCP server 's'", [sys.executable, "-c", code], environment, folder, 10_000)


async def heard(process: ChildProcess) -> list[Any]:
    """Return all messages of a server that ends by itself."""
    with anyio.fail_after(60):
        async with process.streams() as (received, _):
            return [item.message async for item in received]


async def test_lines_that_are_not_messages_cost_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    code = 'print(\'banner\\n\\n\' * 3); print(\'{"jsonrpc": "2.0", "id": 1, "result": {}}\')'
    with caplog.at_level(logging.INFO, "utcp_bridge"):
        messages = await heard(child(tmp_path, code))
    assert [message.id for message in messages] == [1]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "MCP server 's'" in caplog.text


async def test_stderr_is_logged_clean_under_the_name_of_the_server(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    code = r"import sys; sys.stderr.buffer.write(b'\x1b[31mred\xff\n10%\r100%\n' + b'more\n' * 50)"
    with caplog.at_level(logging.DEBUG, "utcp_bridge"):
        await heard(child(tmp_path, code))
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert lines[0] == ("INFO", "MCP server 's' wrote to stderr: red\ufffd")
    assert lines[1] == ("INFO", "MCP server 's' wrote to stderr: 100%")
    assert sum(level == "INFO" for level, _ in lines) < 12
    assert sum(level == "DEBUG" for level, _ in lines) > 30


async def test_the_last_words_name_the_exit_code_and_the_error_without_values_of_env(tmp_path: Path) -> None:
    code = "import sys; print('started', file=sys.stderr); raise SystemExit('error: no key s3cret-value here.')"
    process = child(tmp_path, code, KEY="s3cret-value")
    assert process.last_words() == ""
    await heard(process)
    assert process.last_words() == "It ended with exit code 1; its stderr says: error: no key *** here."


async def test_a_server_that_ignores_its_end_is_stopped(tmp_path: Path) -> None:
    code = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    code += 'print(\'{"jsonrpc": "2.0", "method": "%d"}\' % os.getpid(), flush=True)\nwhile True: time.sleep(9)'
    process = child(tmp_path, code)
    with anyio.fail_after(100):
        async with process.streams() as (received, _):
            number = int((await received.receive()).message.method)
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


def test_a_response_of_too_many_values_is_an_error_of_its_call() -> None:
    many = b"[" + b"[]," * 80_000 + b"0]"
    for line in (
        b'{"jsonrpc": "2.0", "id": 3, "result": {"content": %b}}' % many,
        b'{"jsonrpc": "2.0", "result": {"content": %b}, "id": 3}' % many,
    ):
        message = read_line(line, 1_000_000)
        assert (message.id, message.error.message) == (3, "more than 125,000 values")
    assert (
        read_line(b'{"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": %b}}' % many, 10) is None
    )


@needs_proc
@given(steps=st.integers(0, 60), stubborn=st.booleans())
@settings(max_examples=25)
async def test_nothing_is_left_of_a_server_whose_owner_is_cancelled_at_any_step(steps: int, stubborn: bool) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if stubborn else "import time\n"
    process = child(Path("/"), f"{code}print('noise', flush=True)\ntime.sleep(1000)")

    async def own() -> None:
        async with process.streams() as (received, given):
            await given.send(SessionMessage(types.JSONRPCRequest(jsonrpc="2.0", id=1, method="initialize")))
            await received.receive()

    await heard(child(Path("/"), ""))
    descriptors, tasks, running = len(open_descriptors()), len(asyncio.all_tasks()), descendants(os.getpid())
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(own)
            for _ in range(steps):
                await asyncio.sleep(0)
            group.cancel_scope.cancel()
        assert (len(open_descriptors()), len(asyncio.all_tasks())) == (descriptors, tasks)
        while descendants(os.getpid()) - running:  # noqa: ASYNC110 - one that had not started yet ends unobserved
            await anyio.sleep(0.01)
