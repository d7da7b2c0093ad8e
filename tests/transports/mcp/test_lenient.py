"""Results of other servers are read as they are, whatever one field of them is."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp_types import JSONRPCError, JSONRPCResponse

from utcp_bridge.catalogue.fitting import Budget
from utcp_bridge.catalogue.render import Rendering, render_result
from utcp_bridge.model import ContentBlocks, JsonObject, Result, discard
from utcp_bridge.testing.services import make_call, make_target, open_services
from utcp_bridge.transports.mcp.lenient import mended_reply, repaired_message
from utcp_bridge.transports.mcp.lenient_http import _mended_line
from utcp_bridge.transports.mcp.transport import McpTransport

pytestmark = pytest.mark.anyio

SERVER = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    if asked.get("id") is None:
        continue
    head = '{"jsonrpc": "2.0", "id": %s, ' % json.dumps(asked["id"])
    version, modern = sys.argv[1], sys.argv[1] >= "2026"
    info = {"name": "odd", "version": "1"}
    if asked["method"] == "initialize" and not modern:
        result = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
    elif asked["method"] == "server/discover" and modern:
        result = {"supportedVersions": [version], "capabilities": {"tools": {}}, "serverInfo": info,
                  "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
    elif asked["method"] == "tools/list":
        schema = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
        result = {"tools": [{"name": "t", "inputSchema": {"type": "object"}, "outputSchema": schema}],
                  "ttlMs": 0, "cacheScope": "private"}
    elif asked["method"] == "tools/call":
        print(head + asked["params"]["arguments"]["reply"] + "}", flush=True)
        continue
    else:
        print(head + '"error": {"code": -32601, "message": "no"}}', flush=True)
        continue
    print(head + '"result": ' + json.dumps(result) + "}", flush=True)
"""
ERAS = ["2025-06-18", "2026-07-28"]


@asynccontextmanager
async def odd_server(folder: Path, version: str) -> AsyncIterator[Any]:
    """Yield a function that calls a server whose reply is the given text after the envelope."""
    program = folder / "odd.py"
    program.write_text(SERVER)
    template = {
        "command": sys.executable,
        "args": [str(program), version],
        "call_template_type": "mcp",
        "tool_name": "t",
    }
    async with open_services() as services:
        transport = McpTransport(services)
        target = make_target(transport, template)

        async def call(reply: str) -> ContentBlocks:
            with anyio.fail_after(60):
                return await transport.call(target, make_call({"reply": reply}), discard)

        try:
            yield call
        finally:
            await transport.aclose()


def result(**fields: Any) -> str:
    return '"result": ' + json.dumps(fields)


def text(value: str) -> JsonObject:
    return {"type": "text", "text": value}


CASES = [
    (result(content=[], structuredContent={"a": 1}), [], {"a": 1}, False),
    (result(structuredContent={"a": 1}), [], {"a": 1}, False),
    (result(content=[text("summary")], structuredContent={"a": 1}), [text("summary")], {"a": 1}, False),
    (result(content=[text("limit is 200")], isError=True), [text("limit is 200")], None, True),
    *((result(content=[text("no")], isError=true), [text("no")], None, True) for true in ("true", "True", 1, 1.0)),
    *(
        (result(content=[text("x")], isError=no), [text("x")], None, False)
        for no in ("false", "", 0, [], {}, [1], "no")
    ),
    (result(content=[text("x")], structuredContent=None, isError=None, _meta=None), [text("x")], None, False),
    (result(content=None), [], None, False),
    (result(content=text("x")), [text("x")], None, False),
    (result(content="x"), ["x"], None, False),
    (result(content=[None, text("x"), {"type": "new", "v": 1}]), [text("x"), {"type": "new", "v": 1}], None, False),
    (result(content=[{**text("x"), "annotations": None, "_meta": None}]), [text("x")], None, False),
    (result(content=[text("x")], structuredContent=[1, 2]), [text("x")], [1, 2], False),
    (result(content=[], extra={"n": 1}, _meta=[1]), [], None, False),
    ('"result": null', [], None, False),
    ('"result": ["a"]', ["a"], None, False),
    ('"result": {"content": [{"type": "text", "text": "half \\ud83d"}]}', [text("half \ufffd")], None, False),
]


@pytest.mark.parametrize("version", ERAS)
async def test_no_field_of_a_result_loses_the_others(tmp_path: Path, version: str) -> None:
    async with odd_server(tmp_path, version) as call:
        for reply, content, structured, is_error in CASES:
            got = await call(reply)
            assert (got.content, got.structured, got.is_error) == (content, structured, is_error), reply


FIELDS = st.sampled_from(
    ["type", "text", "data", "mimeType", "uri", "name", "resource", "annotations", "_meta", "size"]
)
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["text", "image", "resource"])
)
ODD = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4))


@settings(deadline=None)
@given(st.lists(ODD, max_size=4), ODD)
def test_a_good_block_survives_any_neighbours(blocks: list[Any], structured: Any) -> None:
    line = json.dumps({"id": 1, "result": {"content": [*blocks, text("good")], "structuredContent": structured}})
    message = repaired_message(line)
    kept = message.result
    assert kept["content"][-1] == text("good")
    rendered = render_result(Result(ContentBlocks(kept["content"], structured)), Rendering(Budget(100_000)))
    assert rendered["content"][-1] == text("good")


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ('{"id": 3, "error": "it broke"}', -32603, "it broke"),
        ('{"jsonrpc": "2.0", "id": 3, "error": {"code": "E", "message": null}}', -32603, "None"),
        ('{"id": 3, "error": {"code": 7, "message": "seven"}}', 7, "seven"),
    ],
)
def test_an_error_in_another_form_is_an_error(line: str, code: int, message: str) -> None:
    read = repaired_message(line)
    assert isinstance(read, JSONRPCError)
    assert (read.error.code, read.error.message) == (code, message)


def test_a_line_without_a_message_is_none() -> None:
    assert isinstance(repaired_message('{"id": 3, "result": {}}'), JSONRPCResponse)
    for line in ('{"id": 3}', "[]", "banner", '{"level": "info"}'):
        assert repaired_message(line) is None


@pytest.mark.parametrize(
    ("line", "mended"),
    [
        (b'data: {"jsonrpc":"2.0","id":1,"result":{}}\r', b'data: {"jsonrpc":"2.0","id":1,"result":{}}\r'),
        (b'data:{"id":1,"result":"x"}', b'data: {"jsonrpc":"2.0","id":1,"result":{"content":"x"}}'),
        (b'data: {"jsonrpc":"2.0","method":"x"}', b'data: {"jsonrpc":"2.0","method":"x"}'),
        (b"event: message", b"event: message"),
        (b"data: [", b"data: ["),
    ],
)
def test_the_message_of_an_event_is_mended_and_other_lines_stay(line: bytes, mended: bytes) -> None:
    assert _mended_line(line) == mended


def test_a_reply_that_can_only_be_to_one_request_gets_its_id() -> None:
    for said in (b'{"result": {}}', b'{"id": null, "result": {}}', b'{"jsonrpc": "2.0", "id": 9, "result": {}}'):
        assert json.loads(mended_reply(said, 4)) == {"jsonrpc": "2.0", "id": 4, "result": {}}
    same = b'{"jsonrpc": "2.0", "id": "4", "result": {}}'
    assert mended_reply(same, 4) is same
