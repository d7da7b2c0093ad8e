"""The state that a host of 2026-07-28 sends back: it works for one caller and one request, as it was written."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp import MCPError
from mcp.server.context import ServerRequestContext
from tests.support.server_client import StandIn

from utcp_bridge.model import discard
from utcp_bridge.server.hosts.interaction import Interaction
from utcp_bridge.settings import BridgeSettings

pytestmark = pytest.mark.anyio
arguments = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3)
owners = st.sampled_from(["stdio", "token a", "token b"])
names = st.sampled_from(["one", "two"])


class NoLogs:
    """Drops all messages."""

    def receiver(self, _ctx: Any) -> Any:
        return discard

    def lowest_of(self, _ctx: Any) -> None:
        return None


def interaction(owner: str, **settings: Any) -> Interaction:
    client = cast("Any", StandIn(BridgeSettings(state_key="k" * 32, **settings)))
    return Interaction(client, lambda _ctx: owner, lambda _ctx: discard, NoLogs())


def request(name: str, given_arguments: Any, state: str | None = None) -> Any:
    params: dict[str, Any] = {"name": name, "arguments": given_arguments}
    if state is not None:
        params["requestState"] = state
    fields = {field.name: None for field in dataclasses.fields(ServerRequestContext)}
    return ServerRequestContext(**cast("Any", {**fields, "method": "tools/call", "params": params}))


async def sealed(owner: str, name: str, given_arguments: Any) -> str:
    async def answer(_ctx: Any) -> Any:
        return {"resultType": "input_required", "requestState": "plain secret", "inputRequests": {}}

    result: Any = await interaction(owner).boundary(request(name, given_arguments), answer)
    return str(result["requestState"])


async def opened(owner: str, name: str, given_arguments: Any, state: str, **settings: Any) -> str:
    async def read(ctx: Any) -> Any:
        return {"read": ctx.params["requestState"]}

    result: Any = await interaction(owner, **settings).boundary(request(name, given_arguments, state), read)
    return str(result["read"])


@given(owners, names, arguments)
async def test_a_state_returns_to_the_request_that_it_was_written_for(
    owner: str, name: str, given_arguments: Any
) -> None:
    state = await sealed(owner, name, given_arguments)
    assert "secret" not in state
    assert await opened(owner, name, given_arguments, state) == "plain secret"


@given(st.tuples(owners, names, arguments), st.tuples(owners, names, arguments))
async def test_a_state_of_another_caller_or_request_is_refused(one: Any, other: Any) -> None:
    state = await sealed(*one)
    if one == other:
        assert await opened(*other, state) == "plain secret"
        return
    with pytest.raises(MCPError) as refused:
        await opened(*other, state)
    assert refused.value.code == -32602


@given(
    st.integers(0, 10_000), st.sampled_from("AB_.é"), st.sampled_from(["changed", "cut", "longer", "without its head"])
)
async def test_a_changed_state_is_refused(where: int, letter: str, how: str) -> None:
    state = await sealed("stdio", "one", {})
    place = where % len(state)
    letter = "C" if state[place] == letter else letter
    changed = {
        "changed": state[:place] + letter + state[place + 1 :],
        "cut": state[:place],
        "longer": state[:place] + letter + state[place:],
        "without its head": state[place + 1 :],
    }[how]
    with pytest.raises(MCPError, match="requestState"):
        await opened("stdio", "one", {}, changed)


async def test_a_state_of_another_key_is_refused() -> None:
    state = await sealed("stdio", "one", {})
    other = cast("Any", StandIn(BridgeSettings()))
    fresh = Interaction(other, lambda _ctx: "stdio", lambda _ctx: discard, NoLogs())

    async def read(ctx: Any) -> Any:
        return ctx.params

    with pytest.raises(MCPError, match="requestState"):
        await fresh.boundary(request("one", {}, state), read)


async def test_a_state_ends_a_minute_after_the_time_for_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    from mcp.server import request_state

    state = await sealed("stdio", "one", {})
    now = request_state.time.time()
    monkeypatch.setattr(request_state.time, "time", lambda: now + 300 + 61)
    with anyio.fail_after(60), pytest.raises(MCPError, match="expired"):
        await opened("stdio", "one", {}, state)
