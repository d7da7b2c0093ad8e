"""Large results of MCP servers that a worker reads."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.errors import MalformedReply, ReplyTooLarge
from utcp_bridge.foreign import is_heavy
from utcp_bridge.transports.mcp.child import read_line
from utcp_bridge.transports.mcp.results import Unread, UnreadReplies, content_of, read_result
from utcp_bridge.transports.mcp.results import unread_reply as unread_with

LIMIT = 4_000_000
LARGE = "x" * 1_100_000
SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)
RESULTS = st.dictionaries(st.text(max_size=8), VALUES, max_size=4).map(
    lambda more: {**more, "content": [{"type": "text", "text": LARGE}]}
)
IDS = st.integers(0, 2**53) | st.text("abc-123", max_size=12)


def unread_reply(line):
    return unread_with(line, lambda whole: read_line(whole, LIMIT))


def line_of(result, identifier=7, *, result_first=False, compact=True, **more):
    envelope = {"jsonrpc": "2.0", "id": identifier}
    message = {"result": result, **envelope} if result_first else {**envelope, "result": result}
    separators = (",", ":") if compact else (", ", ": ")
    return json.dumps({**message, **more}, separators=separators, ensure_ascii=False).encode()


@given(RESULTS, IDS, st.booleans(), st.booleans())
def test_a_worker_reads_what_this_process_would_read(result, identifier, result_first, compact):
    line = line_of(result, identifier, result_first=result_first, compact=compact)
    response = unread_reply(line)
    read = read_line(line, LIMIT)
    assert (response.id, type(response.result)) == (identifier, Unread)
    assert response.result.message() == read
    assert response.result.read("it", LIMIT) == read.result
    assert read_result(line, where="it", max_bytes=LIMIT) == content_of(read.result)


@pytest.mark.parametrize(
    "line",
    [
        line_of({"content": []}),
        line_of(LARGE),
        line_of([LARGE]),
        line_of({"a": LARGE}, None),
        line_of({"a": LARGE}, 1.5),
        line_of({"a": LARGE}, method="x"),
        line_of({"a": LARGE}, result_first=True, error=None),
        line_of({"a": LARGE})[:-1],
        b"[" + line_of({"a": LARGE}) + b"]",
        b'{"result":{"a":"' + LARGE.encode() + b'"}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"a":"' + LARGE.encode() + b'"},"jsonrpc":"2.0","id":2}',
    ],
)
def test_any_other_line_is_read_as_before(line):
    assert unread_reply(line) is None


@pytest.mark.parametrize(
    ("result", "is_plain"),
    [
        ({"content": [{"type": "text", "text": LARGE}]}, True),
        ({"content": [{"type": "text", "text": LARGE + '"uri" "resourceType"'}], "resultType": "complete"}, True),
        ({"content": [{"type": "resource_link", "uri": "a:b", "name": LARGE}]}, False),
        ({"resultType": "input_required", "requestState": LARGE}, False),
        ({"resultType": "task", "x": LARGE}, False),
    ],
)
def test_a_result_with_addresses_or_of_another_type_is_for_this_process(result, is_plain):
    assert unread_reply(line_of(result)).result.is_plain() is is_plain
    assert unread_reply(line_of(result, compact=False)).result.is_plain() is is_plain


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (line_of({"a": LARGE}).replace(b'"a":', b'"a"'), MalformedReply),
        (line_of({"a": [json.loads("[" * 210 + "]" * 210), LARGE]}), MalformedReply),
        (line_of({"a": LARGE, "b": [[]] * (LIMIT // 8 + 1)}), ReplyTooLarge),
        (line_of({"a": LARGE * 4}), ReplyTooLarge),
    ],
)
def test_a_result_that_cannot_be_read_is_an_error_with_the_name_of_the_server(line, error):
    assert is_heavy(line)
    with pytest.raises(error, match=r"^The server 'a' "):
        unread_reply(line).result.read("The server 'a'", LIMIT)
    with pytest.raises(error):
        read_result(line, where="The server 'a'", max_bytes=LIMIT)


def unread_replies():
    return UnreadReplies(LIMIT, lambda whole: read_line(whole, LIMIT))


def small_of(replies, line, now=0.0):
    small = replies.keep(line, now)
    return None if small is None else json.loads(small)


def test_a_small_reply_has_the_key_of_a_large_one_once():
    replies, line = unread_replies(), line_of({"a": LARGE}, "x1")
    small = small_of(replies, line)
    assert (small["id"], len(json.dumps(small)) < 200) == ("x1", True)
    assert replies.take(small["result"]).read("it", LIMIT) == {"a": LARGE}
    assert replies.take(small["result"]).message() is None, "it is taken once"
    assert replies.take({"content": []}) is None
    assert replies.take({**small["result"], "content": []}) is None
    assert small_of(replies, line_of({"a": "small"})) is None


@pytest.mark.parametrize("key", [1, -1, "1", None, [], 1.5, True])
def test_a_server_that_writes_a_key_itself_gets_nothing(key):
    replies = unread_replies()
    small = small_of(replies, line_of({"a": LARGE}))
    [name] = small["result"]
    assert replies.take({name: key}).message() is None
    with pytest.raises(MalformedReply):
        replies.take({name: key}).read("it", LIMIT)


def test_what_nobody_takes_is_forgotten():
    replies, line = unread_replies(), line_of({"a": LARGE})
    first = small_of(replies, line, now=0.0)
    second = small_of(replies, line, now=61.0)
    assert replies.take(first["result"]).message() is None
    assert replies.take(second["result"]).message() is not None
