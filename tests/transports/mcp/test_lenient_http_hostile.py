"""Hostile MCP servers over HTTP, in both eras: an attack costs its own call at most, and that gets one clear sentence.

Each attack answers the tool `bad`. Meanwhile and afterwards, the tool `good` of the same server is called, and another
server. Nothing of the SDK is logged.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from tests.upstreams.hostile_mcp import (
    EVENTS,
    Attack,
    HostileMcp,
    Message,
    Wire,
    answer,
    notification,
    result_of,
    text_of,
)

from utcp_bridge.client.client import UtcpClient
from utcp_bridge.errors import (
    ConnectionLost,
    DeadlineExceeded,
    MalformedReply,
    Rejected,
    ReplyTooLarge,
    UtcpError,
)
from utcp_bridge.model import ContentBlocks, discard

pytestmark = pytest.mark.anyio
VERSIONS = ["2025-06-18", "2026-07-28"]
BIG = 10**400
ODD: list[Any] = [None, True, -1, 1.5, BIG, "", "9" * 5_000, "a\x00b", "\u202e", [], {}, [[]], {"a": None}]
"""Values for members that the protocol expects something else in."""
LIMIT = 100_000
DONE = [{"type": "text", "text": "done"}]


def deep(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


def json_body(text: str) -> Attack:
    """Answer with this JSON, with `ID` as the id of the request."""

    async def attack(_server: HostileMcp, wire: Wire, message: Message) -> None:
        await wire.whole(text.replace("ID", str(message["id"])).encode())

    return attack


def events(*messages: str | Message, ends: bool = True) -> Attack:
    """Send these events, and then the result."""

    async def attack(_server: HostileMcp, wire: Wire, message: Message) -> None:
        await wire.events()
        for one in messages:
            await wire.event(one.replace("ID", str(message["id"])) if isinstance(one, str) else one)
        if ends:
            await wire.event(result_of(message, text_of("done")))

    return attack


def result(value: Any) -> Attack:
    async def attack(_server: HostileMcp, wire: Wire, message: Message) -> None:
        await wire.json(result_of(message, value))

    return attack


def raw(*pieces: bytes) -> Attack:
    async def attack(_server: HostileMcp, wire: Wire, _message: Message) -> None:
        for piece in pieces:
            await wire.send(piece)

    return attack


def body(kind: str, piece: bytes, times: int, *, status: int = 200) -> Attack:
    """Send pieces of a body of this type."""

    async def attack(_server: HostileMcp, wire: Wire, _message: Message) -> None:
        await wire.head(status, ("Content-Type", kind))
        for _ in range(times):
            await wire.send(piece)

    return attack


def redirect(location: str) -> Attack:
    return raw(f"HTTP/1.1 307 x\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())


def progress(**params: Any) -> Attack:
    async def attack(_server: HostileMcp, wire: Wire, message: Message) -> None:
        token = message["params"].get("_meta", {}).get("progressToken", message["id"])
        await wire.events(
            notification("notifications/progress", **{"progressToken": token, "progress": 1, **params}),
            result_of(message, text_of("done")),
        )

    return attack


def error(code: Any, text: Any, data: Any = None) -> Attack:
    async def attack(_server: HostileMcp, wire: Wire, message: Message) -> None:
        said = {"code": code, "message": text, "data": data}
        await wire.json({"jsonrpc": "2.0", "id": message["id"], "error": said})

    return attack


def odd_notices() -> Iterable[Message]:
    members = {
        "message": ("level", "data", "logger"),
        "progress": ("progressToken", "progress", "total", "message"),
        "cancelled": ("requestId", "reason"),
        "resources/updated": ("uri",),
        "elicitation/complete": ("elicitationId",),
        "tools/list_changed": ("_meta",),
        "tasks/status": ("taskId", "status"),
        "subscriptions/acknowledged": ("notifications",),
    }
    for name, keys in members.items():
        for value in ODD:
            for key in (*keys, "_meta"):
                yield notification(f"notifications/{name}", **{key: value})
            yield {"jsonrpc": "2.0", "method": f"notifications/{name}", "params": value}
    for value in ODD:
        yield {"jsonrpc": "2.0", "method": value}
        yield {"method": "notifications/message", "params": value, "id": None}


def odd_requests() -> Iterable[Message]:
    for ident in ODD:
        for method in ("elicitation/create", "sampling/createMessage", "roots/list", "ping", "nothing", ""):
            yield {"jsonrpc": "2.0", "id": ident, "method": method, "params": {"message": "x" * 500}}


READ = "sent a response that cannot be read"
NOT_HTTP = "returned bytes that are not HTTP"
ENDED = r"ended the connection during the call|broke before the reply was complete"
GOOD: dict[str, tuple[Attack, Any]] = {
    "a reply to another id": (json_body('{"jsonrpc":"2.0","id":999,"result":{"content":[]}}'), []),
    "an event for another id": (events('{"jsonrpc":"2.0","id":999,"result":{"content":[]}}'), []),
    "an id of many digits": (events(json.dumps({"jsonrpc": "2.0", "id": "9" * 5_000, "result": {"content": []}})), []),
    "two replies": (events('{"jsonrpc":"2.0","id":ID,"result":{"content":[]}}'), []),
    "half a pair": (result({"content": [{"type": "text", "text": "\ud800"}]}), [{"type": "text", "text": "\ufffd"}]),
    "odd notifications": (events(*odd_notices()), DONE),
    "odd requests": (events(*odd_requests()), DONE),
    "10,000 notifications": (events(*[notification("notifications/message", level="info", data=1)] * 10_000), DONE),
    **{f"progress {key} {value!r:.9}": (progress(**{key: value}), DONE)
       for key in ("progressToken", "progress", "total", "message") for value in [*ODD, float("nan"), float("inf")]},
}  # fmt: skip
"""Attacks that do not keep the result of their call away: the attack and the result."""
BAD: dict[str, tuple[Attack, type[UtcpError], str]] = {
    "a huge event": (events(json.dumps({"a": "x" * 2 * LIMIT}), ends=False), ReplyTooLarge, "more than 100000 bytes"),
    "an event without end": (body(EVENTS, b"data: " + b"x" * LIMIT, 10), ReplyTooLarge, "more than 100000 bytes"),
    "a web page": (body("text/html", b"<html>Hello", 1), MalformedReply, "returned a web page instead of MCP: 'Hello'"),
    "a picture without end": (body("image/png", b"x" * LIMIT, 50), MalformedReply, "returned image/png instead of MCP"),
    "an error without end": (body("text/plain", b"x" * LIMIT, 50, status=500), Rejected, "500 Internal Server Error"),
    "a redirect": (redirect("http://127.0.0.2:9/mcp"), Rejected, "redirects to http://127.0.0.2:9/mcp, and the bridge"),
    "a redirect to a file": (redirect("file:///etc/passwd"), Rejected, "does not follow that"),
    "a redirect to itself": (redirect("/mcp"), Rejected, "does not follow that"),
    "a redirect nowhere": (redirect("http://\x1b[31m/"), MalformedReply, NOT_HTTP + "|without a message"),
    "a wrong envelope around depth": (json_body(f'{{"id":77,"result":{deep(300)}}}'), MalformedReply, READ),
    "an event of that kind": (events(f'{{"id":77,"result":{deep(300)}}}', ends=False), MalformedReply, READ),
    "depth": (json_body(f'{{"jsonrpc":"2.0","id":ID,"result":{deep(300)}}}'), MalformedReply, READ),
    "more depth": (json_body(f'{{"jsonrpc":"2.0","id":ID,"result":{deep(10_000)}}}'), MalformedReply, READ),
    "an event that is not JSON": (events("{"), MalformedReply, READ),
    "half a body": (raw(b"HTTP/1.1 200 x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"),
                    ConnectionLost, ENDED),
    "half an event": (body(EVENTS, b'data: {"jsonrpc"', 1), ConnectionLost, ENDED),
    "a stream that goes on without end": (body(EVENTS, b"retry: 0\nid: 1\ndata:\n\n", 1), ConnectionLost, ENDED),
    "a negative length": (raw(b"HTTP/1.1 200 x\r\nContent-Length: -5\r\n\r\n{}"), MalformedReply, NOT_HTTP),
    "a huge length": (raw(b"HTTP/1.1 200 x\r\nContent-Length: %d\r\n\r\n{}" % 10**30), MalformedReply, NOT_HTTP),
    **{f"a broken chunk of {kind}": (
        raw(f"HTTP/1.1 200 x\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode(), b"zz\r\n{}\r\n"),
        MalformedReply, NOT_HTTP) for kind in (EVENTS, "application/json")},
    "no HTTP": (raw(b"\x00\xff\x1b[31mHello\r\n\r\n"), MalformedReply, NOT_HTTP),
    "nothing": (raw(b"HTTP/1.1 204 x\r\nConnection: close\r\n\r\n"), MalformedReply, "a response without a message"),
    "only acceptance": (raw(b"HTTP/1.1 202 x\r\nContent-Length: 0\r\n\r\n"), MalformedReply, "no reply .status 202"),
    "a code out of bounds": (error(BIG, "\x1b[31mred"), Rejected, "returned error -32603"),
    "an error without words": (error("x", {"a": 1}), Rejected, "returned error -32603"),
    "an error of the server's own": (error(-32000, "no database"), Rejected, "returned error -32000"),
    "a huge error": (error(-32000, "m" * (LIMIT // 2)), Rejected, "returned error -32000"),
    "words of the bridge": (error(-32000, "kept error " + "9" * 5_000), Rejected, "returned error -32000"),
    "999 questions": (result({"resultType": "input_required", "inputRequests": {str(i): {} for i in range(999)}}),
                         MalformedReply, "asks for 999 inputs at once; 64 are the most"),
    "odd questions": (result({"resultType": "input_required", "inputRequests": {"a": {"method": BIG}}}), Rejected,
                      "asked the client for input"),
    "no questions": (result({"resultType": "input_required"}), MalformedReply, "does not match the protocol"),
    **{f"a task {key} {value!r:.9}": (
        result({"resultType": "task", "taskId": "t", "status": "working", key: value}), UtcpError,
        "a task that does not match the protocol|returned error -32601")
       for key in ("taskId", "status", "ttlMs", "pollIntervalMs", "createdAt", "statusMessage")
       for value in [*ODD, float("nan")] if not (key == "taskId" and value == "a\x00b")},
}  # fmt: skip
"""Attacks that cost their call: the attack, the kind of the error and a pattern of its sentence."""


@asynccontextmanager
async def attacked(
    version: str, attacks: dict[str, Attack], seconds: float = 60, **more: Any
) -> AsyncIterator[tuple[UtcpClient, HostileMcp]]:
    """Yield a client with the manuals `h` of an attacker, whose calls have `seconds`, and `n` of its neighbour."""
    async with HostileMcp(version, attacks, **more) as hostile, HostileMcp(version) as neighbour:
        common = {"call_template_type": "mcp"}
        manuals = [
            {**common, "name": name, "config": {"mcpServers": {"s": {"url": one.url}}}, "call_timeout": limit}
            for name, one, limit in (("h", hostile, seconds), ("n", neighbour, 60))
        ]
        settings = {"max_reply_bytes": LIMIT}
        with anyio.fail_after(120):
            async with await UtcpClient.create({"manual_call_templates": manuals, "bridge": settings}, wait=60) as one:
                yield one, hostile


async def call(client: UtcpClient, name: str) -> ContentBlocks:
    tool = client.find(name)
    assert tool is not None, [str(state.error) for state in client.report()]
    value = (await client.call(tool, {}, discard)).value
    assert isinstance(value, ContentBlocks)
    return value


async def check_others(client: UtcpClient, *, others: tuple[str, ...] = ("h.s.good", "n.s.good")) -> None:
    for name in others:
        assert (await call(client, name)).content[0]["text"] == "called good"


def check_log(caplog: pytest.LogCaptureFixture) -> None:
    for record in caplog.records:
        assert record.exc_info is None, record.getMessage()
        assert record.name.partition(".")[0] not in {"mcp", "client"}, record.getMessage()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", GOOD)
async def test_a_call_has_its_result_whatever_comes_with_it(
    name: str, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    attack, content = GOOD[name]
    async with attacked(version, {"tools/call": attack}) as (client, _):
        async with anyio.create_task_group() as group:
            group.start_soon(check_others, client)
            assert (await call(client, "h.s.bad")).content == content
        await check_others(client)
    check_log(caplog)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", BAD)
async def test_an_attack_costs_its_own_call_and_gets_one_sentence(
    name: str, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    attack, kind, words = BAD[name]
    async with attacked(version, {"tools/call": attack}) as (client, _):
        async with anyio.create_task_group() as group:
            group.start_soon(check_others, client)
            with pytest.raises(kind, match=words) as caught:
                await call(client, "h.s.bad")
        assert len(str(caught.value)) < 500
        assert str(caught.value).isprintable()
        await check_others(client)
    check_log(caplog)


async def without_end(_server: HostileMcp, wire: Wire, _message: Message) -> None:
    await wire.events()
    while True:
        await wire.event(notification("notifications/message", level="info", data="x"))


async def drip(_server: HostileMcp, wire: Wire, _message: Message) -> None:
    await wire.head(200, ("Content-Type", "application/json"))
    await wire.send(b"{")
    await asyncio.Event().wait()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("attack", [without_end, drip, body(EVENTS, b": x\n" * 100, 10**9)])
async def test_a_reply_without_end_costs_its_call_when_its_time_is_over(version: str, attack: Attack) -> None:
    async with attacked(version, {"tools/call": attack}, seconds=1) as (client, _):
        with pytest.raises(DeadlineExceeded, match="did not finish within 1 second"):
            await call(client, "h.s.bad")
        await check_others(client, others=("n.s.good",))


@pytest.mark.parametrize("version", VERSIONS)
async def test_questions_faster_than_answers_keep_nobody_waiting(version: str) -> None:
    questions = [{"jsonrpc": "2.0", "id": f"q{n}", "method": "roots/list", "params": {}} for n in range(5_000)]
    async with attacked(version, {"tools/call": events(*questions)}) as (client, hostile):
        assert (await call(client, "h.s.bad")).content == DONE
        await check_others(client)
        answers = [one for one in hostile.heard if "method" not in one]
        assert 0 < len(answers) < 4_000


@pytest.mark.parametrize("header", ["\u00e9", "\x7f", "a\u0080"])
async def test_a_session_that_no_request_can_name_is_refused_in_one_sentence(header: str) -> None:
    async def attack(server: HostileMcp, wire: Wire, message: Message) -> None:
        found = server.result(message)
        if found is None:
            await answer(server, wire, message)
        else:
            await wire.json(result_of(message, found), ("Mcp-Session-Id", header))

    async with attacked(VERSIONS[0], {"initialize": attack}) as (client, _):
        [state] = [one for one in client.report() if one.name == "h"]
        assert "opens a session whose id is not ASCII text, so no request can name it" in str(state.error)
        await check_others(client, others=("n.s.good",))


async def test_a_stream_of_notifications_that_ends_at_once_is_opened_again_after_pauses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paused: list[float] = []
    waiting = anyio.Event()

    async def sleep(seconds: float) -> None:
        paused.append(seconds)
        if sum(one >= 0.5 for one in paused) == 3:
            waiting.set()
            await anyio.Event().wait()

    class Anyio:
        """`anyio` with another `sleep`."""

        def __getattr__(self, name: str) -> Any:
            return sleep if name == "sleep" else getattr(anyio, name)

    monkeypatch.setattr("utcp_bridge.transports.mcp.lenient_http.anyio", Anyio())
    async with attacked(VERSIONS[0], {"GET": body(EVENTS, b"retry: 0\nid: 1\ndata:\n\n", 1)}) as (client, _):
        await waiting.wait()
        await check_others(client)
    assert [one >= lowest for one, lowest in zip(paused[-3:], (0.75, 1.5, 3), strict=True)] == [True] * 3


@pytest.mark.parametrize("version", VERSIONS)
async def test_changes_without_end_do_not_have_lists_read_without_end(version: str) -> None:
    async def attack(server: HostileMcp, wire: Wire, message: Message) -> None:
        meta: Message = {}
        await wire.events()
        if version >= "2026":
            meta = {"_meta": {"io.modelcontextprotocol/subscriptionId": message["id"]}}
            params = {"notifications": message["params"]["notifications"], **meta}
            await wire.event(notification("notifications/subscriptions/acknowledged", **params))
        for _ in range(1_000):
            for kind in ("tools", "resources", "prompts"):
                await wire.event(notification(f"notifications/{kind}/list_changed", **meta))
        done.set()
        await asyncio.Event().wait()

    done = anyio.Event()
    attacks = {"GET" if version < "2026" else "subscriptions/listen": attack}
    offers = {"resources": {"listChanged": True}, "prompts": {"listChanged": True}}
    async with attacked(version, attacks, **offers) as (client, hostile):
        await done.wait()
        await check_others(client)
        for method in ("tools/list", "resources/list", "prompts/list"):
            assert sum(one.get("method") == method for one in hostile.heard) < 30
