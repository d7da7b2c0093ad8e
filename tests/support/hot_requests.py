"""Requests for the comparison of the hot front with the SDK: plain ones, and others that differ in a few places."""

from __future__ import annotations

import copy
import json

from hypothesis import strategies as st
from tests.support.mcp_context import MODERN_META
from tests.support.server_client import Manual, StandIn

from utcp_bridge.errors import Rejected
from utcp_bridge.foreign import plainly_written
from utcp_bridge.model import Binary, ContentBlocks, Result, WrittenValue
from utcp_bridge.server.app import BridgeServer
from utcp_bridge.settings import BridgeSettings

ODD = [
    None, True, False, 0, -1, 1, 1.0, 1.5, 1e22, 1e-7, 2**53, 2**53 + 1, 2**63, 2**64, 10**30, -(10**30),
    "", "1", "01", "x", "é", "\u2028", "\x00", "\x7f", "😀", "a" * 300, "2.0", "2026-07-28", "2025-11-25", "ping",
    [], {}, [[]], [{}], {"": None}, {"a": {"b": [1, None, {"c": 1e400}]}}, {"name": "x"}, ["tools/call"],
]  # fmt: skip
"""Values of every kind, and those that parsers read in different ways."""
METHODS = ["tools/call", "tools/list", "ping", "server/discover", "prompts/list", "tools/none", "", "Ping"]
KEYS = [
    "jsonrpc", "id", "method", "params", "_meta", "name", "arguments", "cursor", "task", "requestState",
    "inputResponses", "progressToken", "progress_token", "traceparent", "x", "text", "é", "",
    "io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/clientCapabilities", "io.modelcontextprotocol/logLevel",
    "io.modelcontextprotocol/related-task",
]  # fmt: skip
TOOLS = [
    "m_echo",
    "m_text",
    "m_fail",
    "m_blocks",
    "m_picture",
    "m_shaped",
    "m_meta",
    "m_number",
    "m_large",
    "m_large_shaped",
    "m_large_misfit",
    "m_none",
    "search_tools",
]


async def _echo(arguments, emit):
    if arguments.get("said"):
        await emit({"progress": 1, "message": "half"})
    return arguments


async def _text(arguments, _emit):
    return f"text \u2028 é \x7f {len(arguments)}"


async def _fail(arguments, _emit):
    raise Rejected("The service said no.", status=418, detail=arguments or None)


async def _blocks(_arguments, _emit):
    content = [
        {"type": "text", "text": "a", "annotations": {"priority": 0.5}},
        {"type": "resource_link", "uri": "https://example.com/a", "name": "n"},
    ]
    return ContentBlocks(content, structured={"a": None, "n": 1e22}, meta={"m": None, "k": 1})


async def _picture(_arguments, _emit):
    return [Binary(b"\x00\x01", "image/png"), {"a": 1}, "b"]


async def _shaped(_arguments, _emit):
    return {"n": 1, "more": [None, 1e-7, 1e22]}


async def _meta(_arguments, _emit):
    return Result({"a": [None]}, meta={"status": 200, "nothing": None})


async def _number(_arguments, _emit):
    return {"big": 2**80, "small": 1e-9, "half": "\ud83d"}


async def _large(arguments, _emit):
    """Return a value that was written on its way, as the pipeline gives it to the server."""
    text = '"row" \\ é \u2028 😀'
    rows = [{"n": number, "text": text, "of": [None, 1e22, 1e-7, True]} for number in range(90)]
    value = {"n": 1, "rows": rows, "given": [*arguments.values()]}
    data = plainly_written(value)
    known = None if data is None else WrittenValue(value, data, is_exact=not arguments)
    return Result(value, meta={"status": 200}, written=known)


def stand_in(**settings) -> StandIn:
    """Return a client with a tool for each kind of result."""
    client = StandIn(BridgeSettings(port=0, **settings))
    output = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    client.add("m", "echo", _echo, outputs={"type": "object"})
    client.add("m", "text", _text)
    client.add("m", "fail", _fail)
    client.add("m", "blocks", _blocks)
    client.add("m", "picture", _picture)
    client.add("m", "shaped", _shaped, outputs=output)
    client.add("m", "meta", _meta)
    client.add("m", "number", _number, outputs={"type": "object"})
    client.add("m", "large", _large)
    client.add("m", "large_shaped", _large, outputs=output)
    client.add("m", "large_misfit", _large, outputs={"type": "object", "properties": {"n": {"type": "string"}}})
    client.silent = {"text", "fail", "blocks", "meta"}
    client.manuals = [Manual("m", "ready", 11)]
    return client


def bridge(**settings) -> BridgeServer:
    """Return a server with a tool for each kind of result."""
    return BridgeServer(stand_in(**settings))


def plain(method, params=None, *, modern=False, ident=1):
    """Return a plain request."""
    meta = {"_meta": dict(MODERN_META)} if modern else {}
    given = {**({} if params is None else params), **meta}
    return {
        "jsonrpc": "2.0",
        "id": ident,
        "method": method,
        **({"params": given} if given or params is not None else {}),
    }


def _places(value, path=()):
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from _places(value[key], (*path, key))


def _changed(message, path, action, key, value):
    """Return a copy of a message with one place of it changed."""
    changed = copy.deepcopy(message)
    if not path:
        return value if action == "replace" else {**changed, key: value}
    holder = changed
    for part in path[:-1]:
        holder = holder[part]
    if action == "drop":
        del holder[path[-1]]
    elif action == "replace":
        holder[path[-1]] = value
    elif isinstance(holder[path[-1]], dict):
        holder[path[-1]][key] = value
    else:
        holder[key] = value
    return changed


@st.composite
def requests(draw, *, modern):
    """Return a request of an era, mostly a plain one with some places changed."""
    method = draw(st.sampled_from(["tools/call"] * 6 + ["tools/list"] * 2 + METHODS))
    params = None
    if method == "tools/call":
        given = draw(st.dictionaries(st.sampled_from(KEYS), st.sampled_from(ODD), max_size=3))
        params = {"name": draw(st.sampled_from(TOOLS)), "arguments": given}
    elif draw(st.booleans()):
        params = {}
    ident = draw(st.sampled_from([1, 0, -5, "a", "7", "", "é", 2**53, 2**53 + 1, 2**70]))
    message = plain(method, params, modern=modern, ident=ident)
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2, 3]))):
        if not isinstance(message, dict):
            break
        path = draw(st.sampled_from(sorted(_places(message), key=repr)))
        action = draw(st.sampled_from(["drop", "replace", "add"]))
        message = _changed(message, path, action, draw(st.sampled_from(KEYS)), draw(st.sampled_from(ODD)))
    return message


@st.composite
def written(draw, message):
    """Return a message as JSON, in one of the forms in which programs write it."""
    text = json.dumps(
        message, ensure_ascii=draw(st.booleans()), separators=draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    )
    form = draw(st.sampled_from(["as it is"] * 8 + ["twice", "mark", "blank", "bytes", "cut", "half", "nan"]))
    if form == "twice" and text.startswith("{"):
        key = draw(st.sampled_from(["id", "method", "jsonrpc", "params"]))
        text = f'{{"{key}": {json.dumps(draw(st.sampled_from(ODD)))}, {text[1:]}'
    elif form == "half":
        text = text.replace('"m_echo"', '"m_echo\\ud800"').replace('"x"', '"\\ud83d"')
    elif form == "nan":
        text = text.replace("1.5", "NaN").replace("null", "Infinity")
    data = text.encode()
    if form == "bytes":
        place = draw(st.integers(0, len(data)))
        data = (
            data[:place]
            + draw(st.sampled_from([b"\xff", b"\x00", b"\xc3", b"\xed\xa0\x80", b"}", b'"']))
            + data[place:]
        )
    elif form == "mark":
        data = b"\xef\xbb\xbf" + data
    elif form == "blank":
        data = b" \t" + data + b"  "
    elif form == "cut":
        data = data[: draw(st.integers(0, len(data)))]
    return data
