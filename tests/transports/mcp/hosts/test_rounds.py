"""Input that a server of 2026-07-28 requires: which hosts are asked, and who receives the answers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.errors import MalformedReply
from utcp_bridge.model import JsonObject
from utcp_bridge.transports.mcp.hosts.rounds import HostRefusal, for_host, with_answers
from utcp_bridge.upstream import EVERY_CAPABILITY, HOST, CallingHost, InputRequired, ProtocolError

pytestmark = pytest.mark.anyio
ASK = {"method": "elicitation/create", "params": {"message": "Who?", "requestedSchema": {}}}
REQUIRED = {"resultType": "input_required", "inputRequests": {"q": ASK}, "requestState": "s"}
DONE = {"resultType": "complete", "content": []}


class Program(CallingHost):
    """A host that answers or refuses."""

    capabilities = EVERY_CAPABILITY

    def __init__(self, *, retries: bool = False, refuses: bool = False) -> None:
        self.retries = retries
        self._refuses = refuses
        self.asked: list[str] = []

    async def ask(self, method: str, params: JsonObject) -> JsonObject:
        self.asked.append(method)
        if self._refuses:
            raise ProtocolError(-1, "No.")
        return {"action": "accept"}


async def exchange(host: CallingHost | None, replies: list[JsonObject], origin: str = "here") -> tuple[Any, list[Any]]:
    """Return the result, and what was sent in addition each time."""
    sent: list[JsonObject] = []

    async def send(more: JsonObject) -> JsonObject:
        sent.append(more)
        return replies[len(sent) - 1]

    token = HOST.set(host)
    try:
        return await with_answers(send, origin, seconds=30), sent
    finally:
        HOST.reset(token)


async def test_an_older_host_is_asked_and_the_request_is_sent_again_with_its_answers() -> None:
    host = Program()
    result, sent = await exchange(host, [REQUIRED, DONE])
    assert result == DONE
    assert sent == [{}, {"inputResponses": {"q": {"action": "accept"}}, "requestState": "s"}]


async def test_a_state_without_requests_is_sent_back() -> None:
    waiting = {"resultType": "input_required", "requestState": "later"}
    assert await exchange(Program(), [waiting, DONE]) == (DONE, [{}, {"requestState": "later"}])


async def test_a_newer_host_retries_and_its_answers_go_to_their_own_server_alone() -> None:
    host = Program(retries=True)
    with pytest.raises(InputRequired) as required:
        await exchange(host, [REQUIRED])
    assert (required.value.requests, required.value.state, required.value.origin) == ({"q": ASK}, "s", "here")
    host.answers, host.state, host.origin = {"q": {}}, "s", "here"
    assert (await exchange(host, [DONE]))[1] == [{"inputResponses": {"q": {}}, "requestState": "s"}]
    assert (await exchange(host, [DONE], origin="elsewhere"))[1] == [{}]
    assert host.asked == []


@pytest.mark.parametrize("host", [None, Program(refuses=True)])
async def test_without_an_answer_the_request_is_refused(host: CallingHost | None) -> None:
    with pytest.raises(HostRefusal):
        await exchange(host, [REQUIRED])


bad = st.fixed_dictionaries(
    {"resultType": st.just("input_required")},
    optional={
        "inputRequests": st.sampled_from([[], "x", 1, {"q": "text"}, {"q": None}, {}]),
        "requestState": st.sampled_from([1, [], {}, None]),
    },
)


@given(bad)
async def test_input_that_does_not_match_the_protocol_is_named(result: JsonObject) -> None:
    with pytest.raises(MalformedReply, match="does not match the protocol"):
        await exchange(Program(), [result])


async def test_a_server_has_ten_rounds() -> None:
    with pytest.raises(MalformedReply, match="10 times"):
        await exchange(Program(), [REQUIRED] * 10)


def test_parameters_take_the_form_of_the_host_s_version() -> None:
    old, new, retrying = Program(), Program(), Program(retries=True)
    old.version, new.version = "2025-06-18", "2025-11-25"
    params = {"mode": "form", "message": "m", "task": {}, "_meta": {"progressToken": 1}}
    assert for_host("elicitation/create", params, old) == {"message": "m"}
    assert for_host("elicitation/create", params, new) == {"mode": "form", "message": "m"}
    page = {"mode": "url", "url": "https://example.com", "_meta": {"progressToken": 1, "own": 2}}
    assert for_host("elicitation/create", page, retrying) == {
        "mode": "url",
        "url": "https://example.com",
        "_meta": {"own": 2},
    }
    assert len(for_host("elicitation/create", page, new)["elicitationId"]) == 32
    assert for_host("roots/list", None, new) == {}
