"""Which requests are hot, and that a result is written as the SDK writes it."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp.server.runner import _extract_meta
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import InboundModernRoute, classify_inbound_request
from mcp_types import methods
from tests.support.hot_requests import ODD, bridge, plain, requests, written

from utcp_bridge.server.hot.requests import KnownMeta, read_hot
from utcp_bridge.server.incoming import read_message

LATEST = "2025-11-25"
MODERN = "2026-07-28"
HOT = bridge().hot
VALUES = st.recursive(
    st.sampled_from(ODD[:32]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@pytest.mark.parametrize("modern", [False, True])
@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_a_hot_request_is_one_that_the_sdk_reads_in_the_same_way(modern, data):
    line = data.draw(requests(modern=modern).flatmap(written))
    found = read_hot(line)
    if found is None:
        return
    message = read_message(line)
    # repr: NaN differs from itself
    assert repr((found.ident, found.method, found.params)) == repr((message.id, message.method, message.params))
    assert repr(found.meta) == repr(_extract_meta(message.params))
    if found.version is None:
        methods.validate_client_request(found.method, LATEST, message.params)
        return
    if HOT.envelope_of(found) is None:
        return
    route = classify_inbound_request({"method": message.method, "params": message.params})
    assert isinstance(route, InboundModernRoute)
    methods.validate_client_request(found.method, route.protocol_version, message.params)


@pytest.mark.parametrize(
    "message",
    [
        plain("tools/call", {"name": "m_echo"}),
        plain("tools/call", {"name": "m_echo", "arguments": {}, "_meta": {"progressToken": "t", "own": 1}}),
        plain("tools/call", {"name": "m_echo", "arguments": {"a": [1, None]}}, modern=True),
        plain("tools/list"),
        plain("tools/list", {"cursor": "x"}),
        plain("tools/list", modern=True),
        plain("ping", ident="a"),
    ],
)
def test_what_hosts_send_all_the_time_is_hot(message):
    assert read_hot(json.dumps(message).encode()) is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"id": None}, {"id": True}, {"id": 1.0}, {"id": 2**60}, {"id": "a" * 300}, {"more": 1},
        {"method": "initialize"}, {"jsonrpc": "1.0"}, {"params": None}, {"params": []}, {"params": {"name": 1}},
        {"params": {"name": "a", "x": 1}},
        {"params": {"name": "a", "arguments": None}}, {"params": {"name": "a", "arguments": "{}"}},
        {"params": {"name": "a", "task": {}}}, {"params": {"name": "a", "requestState": "s"}},
        {"params": {"name": "a", "_meta": None}}, {"params": {"name": "a", "_meta": {"progressToken": 1.5}}},
        {"params": {"name": "a", "_meta": {"progress_token": 1}}},
        {"params": {"name": "a", "_meta": {"io.modelcontextprotocol/logLevel": "info"}}},
        {"params": {"name": "a", "_meta": {"io.modelcontextprotocol/protocolVersion": "2030-01-01"}}},
        {"params": {"name": "a", "_meta": {"io.modelcontextprotocol/clientCapabilities": {}}}},
    ],
)  # fmt: skip
def test_anything_else_goes_to_the_sdk(changes):
    message = {**plain("tools/call", {"name": "m_echo"}), **changes}
    assert read_hot(json.dumps(message).encode()) is None


@pytest.mark.parametrize("version", [LATEST, MODERN])
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_result_is_written_as_the_sdk_writes_it(version, data):
    texts = st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": st.text(max_size=5)}), max_size=3)
    odd = st.lists(
        st.sampled_from(
            [
                {"type": "text", "text": "a", "annotations": {"priority": 1}},
                {"type": "text", "text": "a", "_meta": None},
                {"type": "image", "data": "", "mimeType": "image/png"},
            ]
        ),
        max_size=2,
    )
    result = data.draw(
        st.fixed_dictionaries(
            {
                "content": texts | odd,
                "isError": st.booleans(),
                "resultType": st.sampled_from(["complete"] * 5 + ["task", None]),
            },
            optional={
                "structuredContent": st.dictionaries(st.text(max_size=3), VALUES, max_size=3) | st.none(),
                "_meta": st.dictionaries(
                    st.sampled_from(["utcp/a", "b", "io.modelcontextprotocol/serverInfo"]), VALUES, max_size=2
                )
                | st.none(),
                "more": VALUES,
            },
        )
    )
    try:
        expected = HOT._shaper._serialize("tools/call", version, result)
    except MCPError as error:
        with pytest.raises(MCPError, match=error.message):
            HOT.shaped(version, result)
        return
    assert json.dumps(HOT.shaped(version, result)) == json.dumps(expected)


def test_other_middleware_sees_every_request():
    server = bridge()
    assert server.hot.may_answer
    server.middleware.append(server.middleware[0])
    assert not server.hot.may_answer


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_request_after_another_one_is_read_as_if_it_were_the_first(data):
    known = KnownMeta()
    for _ in range(4):
        line = data.draw(requests(modern=True).flatmap(written))
        alone, after = read_hot(line), read_hot(line, known)
        assert (alone is None) == (after is None)
        if alone is None:
            continue
        envelope = HOT.envelope_of(alone)
        assert after.envelope is None or after.envelope is envelope
        after.envelope = None
        assert repr(after) == repr(alone)
        if envelope is not None:
            known.learn(alone, envelope)


@pytest.mark.parametrize(("first", "second"), [(True, 1), (1, True), (1, 1.0), (0, False)])
def test_values_that_are_equal_in_python_alone_are_not_taken_for_one_another(first, second):
    known = KnownMeta()
    key = "io.modelcontextprotocol/clientCapabilities"
    lines = []
    for value in (first, second):
        message = plain("tools/list", modern=True)
        message["params"]["_meta"][key] = {"roots": {"listChanged": value}}
        lines.append(json.dumps(message).encode())
    known.learn(read_hot(lines[0]), (None, None))
    assert read_hot(lines[1], known).envelope is None


def test_what_a_client_says_again_is_known():
    known = KnownMeta()
    line = json.dumps(plain("tools/list", modern=True)).encode()
    first = read_hot(line, known)
    known.learn(first, HOT.envelope_of(first))
    assert read_hot(line, known).envelope is HOT.envelope_of(first)
