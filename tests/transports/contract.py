"""The suite that every transport must pass, against a real peer of its kind.

A new kind brings a `Peer` and two lines in its test file:

    from tests.transports.contract import *  # noqa: F403 - the suite's fixtures and tests

    PEER = MyPeer

The peer starts a real server (or process, or file) and says how to reach it. Everything it hands out is a call
template as an operator would write it, in plain dicts; a `Case` adds arguments and, for faults, the expected class.

    class MyPeer(Peer):
        transport = MyTransport
        streams = True                                  # emits partial results
        impossible = {"reset": "a file has no connection"}  # faults that this kind cannot have, and why

        async def start(self): ...                      # listen on 127.0.0.1, port 0; log nothing
        async def stop(self): ...
        def manual(self, dialect): ...                  # template whose discovery finds a manual with a tool `echo`;
                                                        # dialect "v0" (provider_type, tool_provider) or "v1"
        def echo(self, text): ...                       # Case whose reply holds `text`
        def echoed(self, value): ...                    # `text` out of that reply
        def stream(self, count): ...                    # Case that emits `items(count)` in order      (if streams)
        def slow(self): ...                             # Case that never ends by itself
        async def arrived(self): ...                    # returns once the slow call is at the peer
        async def gone(self): ...                       # returns once the peer saw that caller leave
        def fault(self, name): ...                      # Case for "refused", "reset", "malformed", "oversized"
        def with_secret(self, case, secret): ...        # the case with `secret` in every template field that
                                                        # may hold one (header, query, environment, ...)
        def authenticated(self): ...                    # whether the last call at the peer presented CANARY as X-Auth
                                                        # (unless "auth" is impossible; see with_auth)

Expected classes default to FAULTS; `Case.error` says otherwise where a kind differs. "oversized" sends more than
LIMIT bytes. Kinds whose discovery makes its own document override `names_in(document)`. Settings: `settings`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import anyio
import pytest
from tests.support.residue import Residue, assert_nothing_left
from tests.support.services import LOOPBACK, make_call, make_target, open_services
from tests.transports.peer import CANARY, DEADLINE, FAULTS, LIMIT, Case, Dialect, Peer

from utcp_bridge.client.client import UtcpClient
from utcp_bridge.errors import UtcpError
from utcp_bridge.model import JsonObject, Result, discard
from utcp_bridge.settings import UtcpClientConfig
from utcp_bridge.transport import Target, Transport

POOL_BREATH = 16
"""Connections that a pool may hold more at one time than at another: far below one for each call."""


@dataclass
class Bench:
    """One transport with everything lent to it, for the length of a test."""

    transport: Transport[Any]
    peer: Peer

    def target(self, template: JsonObject) -> Target[Any]:
        return make_target(self.transport, template)

    async def call(self, case: Case, emit: Any = discard) -> Any:
        value = await self.transport.call(self.target(case.template), make_call(case.arguments), emit)
        return value.value if isinstance(value, Result) else value


@pytest.fixture
async def peer(request: pytest.FixtureRequest) -> AsyncIterator[Peer]:
    peer = request.module.PEER()
    await peer.start()
    try:
        yield peer
    finally:
        await peer.stop()


@pytest.fixture
async def bench(peer: Peer) -> AsyncIterator[Bench]:
    async with open_services(root=peer.root, settings=peer.settings) as services:
        transport = peer.transport(services)
        try:
            yield Bench(transport, peer)
        finally:
            await transport.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("dialect", ["v0", "v1"])
async def test_a_manual_of_either_dialect_is_discovered(bench: Bench, dialect: Dialect) -> None:
    with anyio.fail_after(DEADLINE):
        document = await bench.transport.discover(bench.target(bench.peer.manual(dialect)))
    assert "echo" in bench.peer.names_in(document)


@pytest.mark.anyio
async def test_a_call_returns_what_the_peer_answered(bench: Bench) -> None:
    with anyio.fail_after(DEADLINE):
        value = await bench.call(bench.peer.echo("h\u00e9llo w\u00f6rld"))
    assert bench.peer.echoed(value) == "h\u00e9llo w\u00f6rld"


@pytest.mark.anyio
async def test_partial_results_come_in_order_and_the_final_value_lists_them(bench: Bench) -> None:
    seen: list[Any] = []

    async def emit(partial: Any) -> None:
        seen.append(partial)

    case = bench.peer.stream(20) if bench.peer.streams else bench.peer.echo("whole")
    with anyio.fail_after(DEADLINE):
        value = await bench.call(case, emit)
    expected = bench.peer.items(20) if bench.peer.streams else []
    assert seen == expected
    if bench.peer.streams:
        assert value == expected


@pytest.mark.anyio
async def test_a_hundred_calls_in_flight_each_get_their_own_reply(bench: Bench) -> None:
    with anyio.fail_after(DEADLINE):
        got = await _call_at_once(bench, 100)
    assert len(got) == 100
    assert all(sent == received for sent, received in got.items())


@pytest.mark.anyio
@pytest.mark.timeout(120)
async def test_two_thousand_calls_leave_no_more_open_than_a_few_hundred(bench: Bench) -> None:
    with anyio.fail_after(100):
        for _ in range(3):
            await _call_at_once(bench, 100)  # pools fill up
        before = Residue.now()
        for _ in range(17):
            await _call_at_once(bench, 100)
        await assert_nothing_left(before, breath=POOL_BREATH)


async def _call_at_once(bench: Bench, count: int) -> dict[str, str]:
    """What came back, by what was sent."""
    got: dict[str, str] = {}
    target = bench.target(bench.peer.echo("").template)

    async def one(text: str) -> None:
        case = bench.peer.echo(text)
        same = case.template == bench.peer.echo("").template
        used = target if same else bench.target(case.template)
        value = await bench.transport.call(used, make_call(case.arguments), discard)
        got[text] = bench.peer.echoed(value.value if isinstance(value, Result) else value)

    async with anyio.create_task_group() as group:
        for number in range(count):
            group.start_soon(one, f"call {number}")
    return got


@pytest.mark.anyio
async def test_the_callers_cancellation_reaches_the_peer(bench: Bench) -> None:
    bench.peer.need("slow")
    with anyio.fail_after(DEADLINE):
        async with anyio.create_task_group() as group:
            group.start_soon(bench.call, bench.peer.slow())
            await bench.peer.arrived()
            group.cancel_scope.cancel()
        await bench.peer.gone()


@pytest.mark.anyio
async def test_a_deadline_ends_a_slow_call_at_once(bench: Bench) -> None:
    bench.peer.need("slow")
    with anyio.fail_after(DEADLINE):
        started = anyio.current_time()
        with anyio.move_on_after(0.3) as scope:
            await bench.call(bench.peer.slow())
        assert scope.cancelled_caught or bench.peer.streams  # a stream ends itself in time, to keep what came
        assert anyio.current_time() - started < 1.3


@pytest.mark.anyio
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_faulty_peer_gives_the_right_error_class(bench: Bench, fault: str) -> None:
    bench.peer.need(fault)
    case = bench.peer.fault(fault)
    with anyio.fail_after(DEADLINE), pytest.raises(case.error or FAULTS[fault]) as caught:
        await bench.call(case)
    assert str(caught.value).strip()


@pytest.mark.anyio
@pytest.mark.parametrize("fault", [name for name in FAULTS if name != "malformed"])
async def test_discovery_at_a_faulty_peer_ends_in_a_typed_error(bench: Bench, fault: str) -> None:
    bench.peer.need(fault)
    with anyio.fail_after(DEADLINE), pytest.raises(UtcpError):
        await bench.transport.discover(bench.target(bench.peer.fault(fault).template))


@pytest.mark.anyio
@pytest.mark.parametrize("fault", FAULTS)
async def test_no_message_log_or_repr_holds_a_secret(
    bench: Bench, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    bench.peer.need(fault)
    case = bench.peer.with_secret(bench.peer.fault(fault), CANARY)
    target = bench.target(case.template)
    with anyio.fail_after(DEADLINE), pytest.raises(UtcpError) as caught:
        await bench.transport.call(target, make_call(case.arguments), discard)
    shown = [str(caught.value), repr(caught.value), repr(target), str(target.template), repr(target.template)]
    assert CANARY in str(case), "with_secret() must put the secret into the case"
    assert not [text for text in [*shown, caplog.text] if CANARY in text]


@asynccontextmanager
async def _client(peer: Peer, case: Case, dialect: Dialect) -> AsyncGenerator[UtcpClient]:
    """A whole client with one tool, `peer.echo`, which a manual of that dialect describes."""
    head, place = (
        ({"version": "0.2.0"}, "tool_provider")
        if dialect == "v0"
        else ({"utcp_version": "1.0.1"}, "tool_call_template")
    )
    tool = {"name": "echo", "inputs": {"type": "object"}, place: peer.in_dialect(case.template, dialect)}
    entry = {
        "name": "peer",
        "call_template_type": "text",
        "content": {**head, "tools": [tool]},
        "allowed_communication_protocols": [peer.transport.kinds[0]],
        "allow_networks": list(LOOPBACK),
    }
    config = UtcpClientConfig(manual_call_templates=(entry,), bridge=peer.settings)
    async with await UtcpClient.create(config, root=peer.root) as client:
        assert [str(fault) for fault in client.report()[0].faults] == []
        yield client


@pytest.mark.anyio
@pytest.mark.parametrize("dialect", ["v0", "v1"])
async def test_a_tool_of_either_dialect_is_called_through_the_client(peer: Peer, dialect: Dialect) -> None:
    case = peer.echo("h\u00e9llo")
    with anyio.fail_after(DEADLINE):
        async with _client(peer, case, dialect) as client:
            assert peer.echoed(await client.call_tool("peer.echo", case.arguments)) == "h\u00e9llo"


@pytest.mark.anyio
@pytest.mark.parametrize("dialect", ["v0", "v1"])
async def test_a_tool_of_either_dialect_streams_through_the_client(peer: Peer, dialect: Dialect) -> None:
    if not peer.streams:
        pytest.skip(f"{peer.transport.kinds[0]}: one answer per call")
    case = peer.stream(5)
    with anyio.fail_after(DEADLINE):
        async with _client(peer, case, dialect) as client:
            assert [item async for item in client.call_tool_streaming("peer.echo", case.arguments)] == peer.items(5)


@pytest.mark.anyio
@pytest.mark.parametrize("dialect", ["v0", "v1"])
async def test_a_tool_of_either_dialect_presents_its_credentials(peer: Peer, dialect: Dialect) -> None:
    peer.need("auth")
    case = peer.echo("who am I")
    case = replace(case, template=peer.with_auth(case.template))
    with anyio.fail_after(DEADLINE):
        async with _client(peer, case, dialect) as client:
            await client.call_tool("peer.echo", case.arguments)
    assert peer.authenticated()


@pytest.mark.anyio
async def test_an_explanation_shows_the_call_without_its_credentials_and_makes_none(peer: Peer) -> None:
    case = peer.echo("told")
    authenticates = "auth" not in peer.impossible
    template = peer.with_auth(case.template) if authenticates else case.template
    with anyio.fail_after(DEADLINE):
        async with _client(peer, case, "v1") as client:
            await client.call_tool("peer.echo", case.arguments)
        async with _client(peer, replace(case, template=template), "v1") as client:
            tool = client.find("peer.echo")
            assert tool is not None
            request = await client.explain(tool, case.arguments)
    shown = request.as_text()
    assert request.line
    assert CANARY not in f"{shown}{request.as_json()}"
    assert all(str(value) in shown for value in case.arguments.values())
    assert not (authenticates and peer.authenticated())


@pytest.mark.anyio
@pytest.mark.parametrize("dialect", ["v0", "v1"])
async def test_a_call_of_either_dialect_is_cancelled_through_the_client(peer: Peer, dialect: Dialect) -> None:
    peer.need("slow")
    case = peer.slow()
    with anyio.fail_after(DEADLINE):
        async with _client(peer, case, dialect) as client, anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "peer.echo", case.arguments)
            await peer.arrived()
            group.cancel_scope.cancel()
        await peer.gone()


@pytest.mark.anyio
@pytest.mark.parametrize("dialect", ["v0", "v1"])
async def test_a_reply_above_the_limit_is_refused_in_either_dialect(peer: Peer, dialect: Dialect) -> None:
    peer.need("oversized")
    case = peer.fault("oversized")
    with anyio.fail_after(DEADLINE):
        async with _client(peer, case, dialect) as client:
            with pytest.raises(case.error or FAULTS["oversized"]):
                await client.call_tool("peer.echo", case.arguments)


@pytest.mark.anyio
async def test_nothing_is_left_open(peer: Peer) -> None:
    with anyio.fail_after(3 * DEADLINE):
        await _use_and_close(peer)  # imports, resolvers and worker threads open things once for the whole process
        before = Residue.now()
        await _use_and_close(peer)
        await assert_nothing_left(before)


async def _use_and_close(peer: Peer) -> None:
    async with open_services(root=peer.root, settings=peer.settings) as services:
        bench = Bench(peer.transport(services), peer)
        await bench.transport.discover(bench.target(peer.manual("v1")))
        await bench.call(peer.echo("once"))
        for fault in sorted(FAULTS.keys() - peer.impossible.keys()):
            with pytest.raises(UtcpError):
                await bench.call(peer.fault(fault))
        if "slow" not in peer.impossible:
            with anyio.move_on_after(0.2):
                await bench.call(peer.slow())
        await bench.transport.forget("peer")
        await bench.transport.aclose()
        await bench.transport.aclose()


__all__ = [
    "CANARY",
    "LIMIT",
    "Bench",
    "Case",
    "Peer",
    "bench",
    "peer",
    "test_a_call_of_either_dialect_is_cancelled_through_the_client",
    "test_a_call_returns_what_the_peer_answered",
    "test_a_deadline_ends_a_slow_call_at_once",
    "test_a_faulty_peer_gives_the_right_error_class",
    "test_a_hundred_calls_in_flight_each_get_their_own_reply",
    "test_a_manual_of_either_dialect_is_discovered",
    "test_a_reply_above_the_limit_is_refused_in_either_dialect",
    "test_a_tool_of_either_dialect_is_called_through_the_client",
    "test_a_tool_of_either_dialect_presents_its_credentials",
    "test_a_tool_of_either_dialect_streams_through_the_client",
    "test_an_explanation_shows_the_call_without_its_credentials_and_makes_none",
    "test_discovery_at_a_faulty_peer_ends_in_a_typed_error",
    "test_no_message_log_or_repr_holds_a_secret",
    "test_nothing_is_left_open",
    "test_partial_results_come_in_order_and_the_final_value_lists_them",
    "test_the_callers_cancellation_reaches_the_peer",
    "test_two_thousand_calls_leave_no_more_open_than_a_few_hundred",
]
