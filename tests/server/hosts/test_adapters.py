"""The port to hosts: capabilities in one form, the clock of a call, and the host that servers expect."""

from __future__ import annotations

from math import inf
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.model import JsonObject
from utcp_bridge.upstream import (
    CALL_CLOCK,
    EVERY_CAPABILITY,
    HOST,
    AnyHost,
    CallClock,
    CallingHost,
    HostAhead,
    ProtocolError,
    ask_host,
    relayed_capabilities,
)

pytestmark = pytest.mark.anyio
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
parts = st.dictionaries(st.sampled_from(["tools", "context", "form", "url", "listChanged", "other"]), values) | values
stated = st.dictionaries(st.sampled_from(["sampling", "elicitation", "roots", "experimental"]), parts) | values
KNOWN = {"sampling": {"tools", "context"}, "elicitation": {"form", "url"}, "roots": {"listChanged"}}


class Program(CallingHost):
    """A program that answers with what it was asked for."""

    def __init__(self, capabilities: JsonObject) -> None:
        self.capabilities = capabilities

    async def ask(self, method: str, params: JsonObject) -> JsonObject:
        return {"method": method, **params}


@given(stated)
def test_capabilities_of_any_form_become_a_bounded_one(given_capabilities: Any) -> None:
    found = relayed_capabilities(given_capabilities)
    assert relayed_capabilities(found) == found
    assert found.keys() <= KNOWN.keys()
    for name, members in found.items():
        assert members.keys() <= KNOWN[name]
        assert isinstance(given_capabilities[name], dict)
    assert found.get("elicitation") != {}


def test_every_capability_has_the_form_of_relayed_ones() -> None:
    assert relayed_capabilities(EVERY_CAPABILITY) == EVERY_CAPABILITY


@pytest.mark.parametrize(
    ("capabilities", "method", "params", "code", "words"),
    [
        ({}, "roots/list", {}, -32601, "does not support roots"),
        ({"roots": {}}, "sampling/createMessage", {}, -32601, "does not support sampling"),
        ({"elicitation": {"form": {}}}, "elicitation/create", {"mode": "url"}, -32602, "the mode url"),
        ({"elicitation": {"url": {}}}, "elicitation/create", {}, -32602, "the mode form"),
        ({"sampling": {}}, "sampling/createMessage", {"tools": [{}]}, -32602, "does not support tools"),
        (EVERY_CAPABILITY, "tools/call", {}, -32601, "not asked for 'tools/call'"),
    ],
)
async def test_a_host_is_asked_only_for_what_it_supports(
    capabilities: JsonObject, method: str, params: JsonObject, code: int, words: str
) -> None:
    with pytest.raises(ProtocolError, match=words) as refused:
        await ask_host(Program(capabilities), method, params, seconds=30)
    assert refused.value.code == code


async def test_without_a_host_nobody_is_asked() -> None:
    with pytest.raises(ProtocolError, match="no MCP client behind it"):
        await ask_host(None, "roots/list", {}, seconds=30)


async def test_the_clock_of_a_call_stops_while_its_host_is_asked() -> None:
    with anyio.move_on_after(100) as scope:
        before = scope.deadline
        clock = CallClock(scope)
        seen: list[float] = []

        class Slow(Program):
            async def ask(self, method: str, params: JsonObject) -> JsonObject:
                seen.append(scope.deadline)
                return await super().ask(method, params)

        token = CALL_CLOCK.set(clock)
        assert await ask_host(Slow({"roots": {}}), "roots/list", {}, seconds=30) == {"method": "roots/list"}
        CALL_CLOCK.reset(token)
        assert seen == [inf]
        assert clock.has_stopped
        with clock.stopped():
            with clock.stopped():
                assert scope.deadline == inf
            assert scope.deadline == inf
        assert before <= scope.deadline < inf


async def test_servers_wait_once_for_the_one_host_of_a_server_over_stdio() -> None:
    ahead = HostAhead(None, seconds=60)
    found: list[CallingHost | None] = []

    async def expect() -> None:
        found.append(await ahead.expected())

    first, second = Program({}), Program({})
    async with anyio.create_task_group() as group:
        group.start_soon(expect)
        group.start_soon(expect)
        await anyio.lowlevel.checkpoint()
        ahead.meet(first)
        ahead.meet(second)
    assert found == [first, first]


async def test_a_host_that_does_not_come_is_not_awaited_again() -> None:
    ahead = HostAhead(None, seconds=0.01)
    assert await ahead.expected() is None
    assert await ahead.expected() is None
    assert not ahead.is_known


async def test_hosts_over_http_may_be_anyone() -> None:
    host = await HostAhead.of_server("http").expected()
    assert isinstance(host, AnyHost)
    with pytest.raises(ProtocolError, match="no call is in flight"):
        await host.ask("roots/list", {})


async def test_a_host_of_the_library_is_behind_calls_that_have_none() -> None:
    program, other = Program({}), Program({})

    async def call() -> CallingHost | None:
        return HOST.get()

    assert await HostAhead.of(program).behind(call()) is program
    assert HOST.get() is None
    token = HOST.set(other)
    assert await HostAhead.of(program).behind(call()) is other
    HOST.reset(token)
    assert await HostAhead.of(None).behind(call()) is None
