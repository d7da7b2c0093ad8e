"""The runner: this library against every vector, and adapters that differ, end, are silent or write noise."""

import os
import sys
from dataclasses import replace

import pytest

from utcp_bridge.conformance.adapters import AdapterFailed, command_of
from utcp_bridge.conformance.running import outdated, run
from utcp_bridge.conformance.vectors import chosen_topics, topics
from utcp_bridge.errors import ConfigError

ALL = topics()
HELLO = {"name": "mine", "version": "7", "supports": {"v1": ["http"]}}
ADAPTER = """
import json, sys, threading
print("this line is noise", flush=True)
for line in sys.stdin:
    request = json.loads(line)
    op = request["op"]
    if op == "hello":
        reply = {hello}
    else:
        reply = {"ok": ["m.tool"] if op == "list" else None}
        {behaviour}
    print(json.dumps(reply), flush=True)
"""


@pytest.fixture
def adapter(tmp_path):
    """Write an adapter whose replies after `hello` are what `behaviour` makes of them, and return its command."""

    def write(behaviour="pass", hello=HELLO):
        path = tmp_path / "adapter.py"
        path.write_text(ADAPTER.replace("{hello}", repr(hello)).replace("{behaviour}", behaviour))
        return command_of([sys.executable, str(path)])

    return write


async def outcomes_of(command, only, seconds=60.0):
    _, outcomes = await run(command, chosen_topics([only]), environment=dict(os.environ), seconds=seconds)
    return outcomes


@pytest.mark.parametrize("topic", ALL, ids=lambda topic: topic.name.replace(" ", ""))
async def test_this_library_passes_every_vector_or_differs_as_declared(topic):
    implementation, outcomes = await run(command_of(["utcp-bridge"]), [topic], environment=dict(os.environ), seconds=60)
    assert implementation.name == "utcp-bridge"
    assert [one.vector.id for one in outcomes] == [one.id for one in topic.vectors]
    assert {one.vector.id: one.differences for one in outcomes if one.verdict not in {"passes", "diverges"}} == {}


async def test_every_topic_notices_a_request_or_a_result_that_differs():
    """Each vector gets an expectation that nothing fulfils."""
    wrong = {"request": {"path": "/wrong", "text": "wrong"}, "requests": [{"text": "wrong"}], "result": {"wrong": 1}}
    wrong |= {"lists": ["m.wrong"], "asked": {"path": "/wrong", "json": "wrong"}}
    changed = []
    for topic in ALL:
        vectors = [
            replace(one, data={**one.data, key: wrong[key]}, divergences=())
            for one in topic.vectors
            for key in wrong
            if key in one.data and "error" not in one.data
        ]
        changed.append(replace(topic, vectors=tuple(vectors[::7])))
    _, outcomes = await run(command_of(["utcp-bridge"]), changed, environment=dict(os.environ), seconds=60)
    assert len(outcomes) > 50
    assert [one.vector.id for one in outcomes if one.verdict != "differs"] == []


async def test_an_error_that_does_not_come_is_a_difference(adapter):
    (outcome,) = await outcomes_of(adapter(), "http/reply-404@v1")
    assert outcome.verdict == "differs"
    assert outcome.differences == ("result: expected an error (upstream); arrived null",)


async def test_an_error_of_another_class_is_a_difference_and_one_without_a_class_is_not(adapter):
    error = "reply = {'error': {'class': '%s'}} if op == 'call' else reply"
    (other,) = await outcomes_of(adapter(error % "other"), "http/reply-404@v1")
    (wrong,) = await outcomes_of(adapter(error % "timeout"), "http/reply-404@v1")
    assert (other.verdict, wrong.verdict) == ("passes", "differs")
    assert wrong.differences == ("error: expected upstream; arrived timeout",)


async def test_a_difference_says_what_was_expected_and_what_arrived(adapter):
    behaviour = "reply = {'ok': 5} if op == 'call' else reply"
    (outcome,) = await outcomes_of(adapter(behaviour), "http/query@v1")
    assert outcome.differences == (
        'expected "GET" "/search"; arrived nothing',
        'result: expected {"found": 3}; arrived 5',
    )


async def test_an_adapter_that_ends_costs_its_vector(adapter):
    behaviour = """
        if op == "call" and "q" in request["arguments"]:
            sys.exit("the library crashed")
        reply = {"ok": [1, {"a": None}]} if op == "call" else reply"""
    outcomes = {one.vector.id: one for one in await outcomes_of(adapter(behaviour), "http/*@v1")}
    assert outcomes["http/query@v1"].differences == ("The adapter ended. Its last line on stderr: the library crashed",)
    assert outcomes["http/reply-list@v1"].verdict == "passes"


async def test_a_silent_adapter_costs_its_vector(adapter):
    behaviour = """
        if op == "call" and not request["arguments"]:
            threading.Event().wait()
        reply = {"error": {}} if op == "call" else reply"""
    command = adapter(behaviour)
    (silent,) = await outcomes_of(command, "http/query-empty@v1", seconds=0.5)
    assert silent.differences == ("no reply within 0.5 s",)
    (after,) = await outcomes_of(command, "http/path-missing@v1")
    assert after.verdict == "passes"


async def test_what_an_adapter_does_not_support_is_not_run(adapter):
    assert {one.verdict for one in await outcomes_of(adapter("sys.exit()"), "sse/*")} == {"unsupported"}
    behaviour = "reply = {'unsupported': 'query'} if op == 'call' else reply"
    assert [one.verdict for one in await outcomes_of(adapter(behaviour), "http/query@v1")] == ["unsupported"]


async def test_a_disputed_vector_is_declared_for_an_implementation_that_the_kit_does_not_have(adapter):
    (disputed,) = await outcomes_of(adapter(), "http/path-twice@v1")
    (clear,) = await outcomes_of(adapter(), "http/path-two@v1")
    assert (disputed.verdict, clear.verdict) == ("diverges", "differs")


async def test_a_divergence_covers_the_implementations_that_it_names(adapter):
    hello = {**HELLO, "name": "utcp-bridge"}
    (outcome,) = await outcomes_of(adapter(hello=hello), "http/path-twice@v1")
    assert outcome.verdict == "differs"


async def test_a_vector_that_passes_although_a_divergence_names_the_implementation_is_outdated(adapter):
    outcomes = await outcomes_of(adapter("reply = {'error': {}} if op == 'call' else reply"), "auth/oauth2-refused")
    assert {one.vector.generation: one.verdict for one in outcomes} == {"v1": "passes", "v0": "unsupported"}
    assert outdated(outcomes, "python-utcp") == ["auth/oauth2-refused"]
    assert outdated(outcomes, "utcp-sdk") == []


@pytest.mark.parametrize("hello", [{}, {"name": "x"}, {"name": "x", "supports": {"v1": "http"}}], ids=str)
async def test_an_adapter_must_introduce_itself(adapter, hello):
    with pytest.raises(ConfigError, match="`hello` must have"):
        await outcomes_of(adapter(hello=hello), "http/query@v1")


async def test_an_adapter_that_does_not_start_is_reported(tmp_path):
    path = tmp_path / "adapter.py"
    path.write_text("import no_such_library_of_mine")
    with pytest.raises(AdapterFailed, match="no_such_library_of_mine"):
        await outcomes_of(command_of([sys.executable, str(path)]), "http/query@v1")


def test_an_unknown_target_is_an_error():
    with pytest.raises(ConfigError, match="'no-such-client' is neither an adapter of the kit nor a program"):
        command_of(["no-such-client"])
