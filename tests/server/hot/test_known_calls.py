"""A call that is read by the form of an earlier one is read as if it were the first."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.hot_requests import ODD, plain

from utcp_bridge.server.hot.known_calls import KnownCalls
from utcp_bridge.server.hot.requests import read_hot

ENVELOPE = (None, None)
IDS = st.sampled_from(
    [0, 1, 7, 12345, 10**14, 10**15, 2**60, -1, "a", "", "a-1", "x" * 128, "x" * 129, 'q"', "é", None]
)
VALUES = st.recursive(
    st.sampled_from(ODD[:32]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


def body(ident, arguments, order="jmpi", separators=None, name="m_echo", modern=True):
    message = plain("tools/call", {"name": name, "arguments": arguments}, modern=modern)
    message["id"] = ident
    names = {"j": "jsonrpc", "m": "method", "p": "params", "i": "id"}
    return json.dumps({names[one]: message[names[one]] for one in order}, separators=separators).encode()


def read_whole(line):
    """Return the request that a body is. Since 2026-07-28, its client is known by its envelope."""
    request = read_hot(line)
    if request is not None and request.version is not None:
        request.envelope = ENVELOPE
    return request


def learned(*bodies):
    known = KnownCalls()
    for one in bodies:
        known.learn(one, read_whole(one))
    return known


def assert_same(found, line):
    alone = read_whole(line)
    assert alone is not None
    assert repr((found, found.params, found.meta)) == repr((alone, alone.params, alone.meta))
    assert type(found.ident) is type(alone.ident)


@pytest.mark.parametrize("order", ["jmpi", "jimp", "mpji", "impj"])
@pytest.mark.parametrize("separators", [(",", ":"), None])
@pytest.mark.parametrize("ident", [7, "a-7"])
@pytest.mark.parametrize("modern", [True, False])
def test_a_call_with_another_id_and_other_arguments_is_known(order, separators, ident, modern):
    known = learned(body(1, {"text": "x"}, order, separators, modern=modern))
    line = body(ident, {"text": 'y},"id":3', "more": [1, {"id": 2}]}, order, separators, modern=modern)
    found = known.read(line)
    assert (found.ident, found.params["arguments"]["more"]) == (ident, [1, {"id": 2}])
    assert_same(found, line)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_what_is_known_is_read_as_the_whole(data):
    order, separators = data.draw(st.sampled_from(["jmpi", "jimp"])), data.draw(st.sampled_from([(",", ":"), None]))
    arguments = st.dictionaries(st.sampled_from(["id", "arguments", "name", "_meta", "a"]), VALUES, max_size=3)
    known, modern = KnownCalls(), data.draw(st.booleans())
    for _ in range(5):
        line = body(data.draw(IDS), data.draw(arguments), order, separators, modern=modern)
        for one in (line, broken(line, data)):
            found = known.read(one)
            if found is not None:
                assert_same(found, one)
            elif (request := read_whole(one)) is not None:
                known.learn(one, request)


def broken(line, data):
    """Return a body with a part of it written again elsewhere."""
    start, size = data.draw(st.integers(0, len(line))), data.draw(st.integers(0, 30))
    at = data.draw(st.integers(0, len(line)))
    return line[:at] + line[start : start + size] + line[at:]


@pytest.mark.parametrize(
    "arguments",
    [
        b"[]",
        b"5",
        b"null",
        b"",
        b'{"a":1},"name":"other"',
        b'{"a":1}}',
        b'{"a":',
        b'{"a":1},"arguments":{"b":2}',
        b"{} {}",
    ],
)
def test_what_is_not_one_object_is_not_taken_for_arguments(arguments):
    known = learned(body(1, {"q": 1}, separators=(",", ":")))
    line = body(2, {"q": 1}, separators=(",", ":")).replace(b'{"q":1}', arguments)
    assert known.read(line) is None


@pytest.mark.parametrize("ident", [b"01", b"1.0", b"1e3", b"-1", b"true", b"null", b'"a"b"', b'"\\u0061"', b"[1]", b""])
def test_what_is_not_a_usual_id_is_not_taken_for_one(ident):
    known = learned(body(1, {"q": 1}))
    assert known.read(body("HERE", {"q": 1}).replace(b'"HERE"', ident)) is None


def test_places_within_a_text_or_a_repeated_member_are_not_taken_for_those_of_the_message():
    trap = body(1, {"q": 1}, name='"arguments": {} and "id": 5,')
    line = body(2, {"q": 2}, name='"arguments": {} and "id": 5,')
    assert_same(learned(trap).read(line), line) if learned(trap).read(line) else None
    twice = b'{"id": 9, ' + body(1, {"q": 1})[1:]
    known = learned(twice)
    second = twice.replace(b'"id": 9', b'"id": 8')
    found = known.read(second)
    assert found is None or found.ident == read_hot(second).ident == 1


def test_arguments_as_deep_as_the_parser_allows_are_left_to_it():
    known = learned(body(1, {"q": 1}))
    deep = body(2, {"q": "HERE"}).replace(b'"HERE"', b"[" * 198 + b"]" * 198)
    assert known.read(deep) is None


def test_each_call_has_its_own_parameters():
    known = learned(body(1, {"q": 1}))
    first, second = known.read(body(2, {"q": 2})), known.read(body(3, {"q": 3}))
    assert first.params is not second.params
    assert first.params["arguments"] is not second.params["arguments"]


def test_calls_of_several_tools_are_known_at_once():
    names = [f"m_{number}" for number in range(5)]
    known = learned(*(body(1, {"q": 1}, name=name) for name in names))
    assert [known.read(body(2, {"q": 2}, name=name)).params["name"] for name in names] == names


def test_forms_that_never_come_again_are_given_up():
    known = learned(body(1, {"q": 1}))
    for number in range(64):
        assert known.read(body(1, {"q": 1}, name=f"m_{number}")) is None
    assert known.read(body(1, {"q": 1})) is None
    again = read_hot(body(1, {"q": 1}))
    again.envelope = ENVELOPE
    known.learn(body(1, {"q": 1}), again)
    assert known.read(body(1, {"q": 1})) is None


def test_a_request_that_asks_for_progress_has_no_form():
    message = json.loads(body(1, {"q": 1}))
    message["params"]["_meta"]["progressToken"] = 1
    line = json.dumps(message).encode()
    assert learned(line).read(line) is None
