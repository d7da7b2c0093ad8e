"""The forms of a reply, and which of them a client reads."""

import json

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.server.replies import (
    PROFILE_ENDS,
    SERVER_ENDS,
    Accepted,
    McpReply,
    as_accepted,
    encode,
    event_of,
    read_accept,
)

pytestmark = pytest.mark.anyio
MESSAGE = {"jsonrpc": "2.0", "id": 1, "result": {"text": "ä\n\r\u2028"}}


@pytest.mark.parametrize(
    ("values", "reads_json", "reads_events"),
    [
        ([], True, True),
        (["application/json"], True, False),
        (["APPLICATION/JSON"], True, False),
        (["application/*"], True, False),
        (["*/*"], True, True),
        (["text/event-stream"], False, True),
        (["text/*"], False, True),
        (["application/json, text/event-stream"], True, True),
        (["application/json", "text/event-stream"], True, True),
        (["application/json;q=0, text/event-stream"], False, True),
        (["*/*, text/event-stream;q=0.0"], True, False),
        (["application/json; q=0.5 , text/event-stream;q=0.1"], True, True),
        (["application/json;charset=utf-8"], True, False),
        (["text/html, */*;q=0.1"], True, True),
        (["text/html"], False, False),
        (["*/*;q=0"], False, False),
        ([""], True, True),
        ([" , ;q=1,"], True, True),
    ],
)
def test_an_accept_header_says_which_forms_a_client_reads(values, reads_json, reads_events):
    accepted = read_accept(value.encode() for value in values)
    assert (accepted.json, accepted.events) == (reads_json, reads_events)


@given(st.lists(st.binary(max_size=40), max_size=3))
def test_no_accept_header_breaks_its_reading(values):
    accepted = read_accept(values)
    assert accepted.events or not accepted.names_events


class Wire:
    """Records what is sent, and reads it as a client does."""

    def __init__(self):
        self.sent = []

    async def __call__(self, message):
        self.sent.append(message)

    @property
    def status(self):
        return self.sent[0]["status"]

    @property
    def headers(self):
        return dict(self.sent[0]["headers"])

    @property
    def body(self):
        assert not self.sent[-1].get("more_body", False)
        return b"".join(message["body"] for message in self.sent[1:])

    @property
    def events(self):
        assert self.headers[b"content-type"] == b"text/event-stream"
        blocks = self.body.decode().split("\r\n\r\n")
        return [json.loads(block.partition("data: ")[2]) for block in blocks if "data: " in block]


async def test_a_reply_without_events_is_one_document():
    wire = Wire()
    reply = McpReply(wire, Accepted(json=True, events=True))
    reply.session_id = "s"
    await reply.finish(MESSAGE)
    assert wire.headers[b"content-type"] == b"application/json"
    assert wire.headers[b"mcp-session-id"] == b"s"
    assert json.loads(wire.body) == MESSAGE


async def test_a_reply_with_an_event_before_its_result_is_a_stream():
    wire = Wire()
    reply = McpReply(wire, Accepted(json=True, events=True))
    await reply.event({"method": "a"})
    await reply.finish(MESSAGE)
    await reply.event({"method": "too late"})
    assert wire.events == [{"method": "a"}, MESSAGE]


@pytest.mark.parametrize(("why", "last"), [(SERVER_ENDS, None), (PROFILE_ENDS, PROFILE_ENDS["message"])])
async def test_a_stream_that_ends_with_a_profile_says_so(why, last):
    wire = Wire()
    reply = McpReply(wire, Accepted(json=True, events=True))
    await reply.event(MESSAGE)
    await reply.end(7, why)
    begun, *rest = wire.events
    assert begun == MESSAGE
    assert [(one["id"], one["error"]["message"]) for one in rest] == ([] if last is None else [(7, last)])
    assert reply.has_ended


async def test_a_client_that_reads_json_alone_gets_the_result_alone():
    wire = Wire()
    reply = McpReply(wire, Accepted(json=True, events=False))
    await reply.event({"method": "a"})
    await reply.ping(0.0, 1.0)
    await reply.finish(MESSAGE)
    assert json.loads(wire.body) == MESSAGE


async def test_a_client_that_reads_events_alone_gets_events():
    wire = Wire()
    await McpReply(wire, Accepted(json=False, events=True)).finish(MESSAGE)
    assert wire.events == [MESSAGE]


async def test_a_silent_reply_gets_a_comment_that_begins_a_stream():
    wire = Wire()
    reply = McpReply(wire, Accepted(json=True, events=True))
    await reply.ping(3_600.0, 1.0)
    assert wire.sent == []
    await reply.ping(0.0, 1.0)
    await reply.finish(MESSAGE)
    assert wire.body.startswith(b": ping\r\n\r\n")
    assert wire.events == [MESSAGE]


async def test_a_sign_of_life_gives_up_on_a_client_that_reads_nothing():
    async def stuck(_message):
        await anyio.sleep_forever()

    with anyio.fail_after(60):
        await McpReply(stuck, Accepted(json=True, events=True)).ping(0.0, 0.01)


async def test_a_message_without_a_response_is_accepted():
    wire = Wire()
    await McpReply(wire, Accepted(json=True, events=True)).accept()
    assert (wire.status, wire.body) == (202, b"")


@pytest.mark.parametrize(
    ("value", "read"), [(2**80, 2**80), ("a\ud800", "a\ufffd"), ({"ä": [1.5, None]}, {"ä": [1.5, None]})]
)
def test_every_value_of_json_can_be_sent(value, read):
    assert json.loads(encode(value)) == read
    assert event_of(value).count(b"\r\n") == 3


def test_no_character_of_an_event_ends_its_line():
    event = event_of({"text": "a\u2028b\x85c\n\r"}).decode()
    assert len(event.splitlines()) == 3
    assert json.loads(event.splitlines()[1].partition("data: ")[2]) == {"text": "a\u2028b\x85c\n\r"}


async def stream(send, *events):
    start = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
    await send(start)
    for number, event in enumerate(events, 1):
        await send({"type": "http.response.body", "body": event, "more_body": number < len(events)})


async def document(send, status, body):
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def test_a_stream_becomes_a_document_for_a_client_that_reads_json_alone():
    wire = Wire()
    events = [b": ping\r\n\r\n", event_of({"method": "a"}), event_of(MESSAGE)]
    await stream(as_accepted(wire, Accepted(json=True, events=False)), *events)
    assert json.loads(wire.body) == MESSAGE
    assert wire.headers[b"content-length"] == str(len(wire.body)).encode()


async def test_a_document_becomes_a_stream_for_a_client_that_reads_events_alone():
    wire = Wire()
    await document(as_accepted(wire, Accepted(json=False, events=True)), 200, encode(MESSAGE))
    assert wire.events == [MESSAGE]
    assert b"content-length" not in wire.headers


@pytest.mark.parametrize(("accepted", "status"), [(Accepted(True, False), 200), (Accepted(False, True), 400)])
async def test_a_reply_that_is_right_already_or_a_refusal_passes_unchanged(accepted, status):
    wire = Wire()
    await document(as_accepted(wire, accepted), status, b"{}")
    assert (wire.status, wire.body) == (status, b"{}")


async def test_a_stream_passes_to_a_client_that_reads_events_alone():
    wire = Wire()
    await stream(as_accepted(wire, Accepted(json=False, events=True)), event_of({"method": "a"}), event_of(MESSAGE))
    assert wire.events == [{"method": "a"}, MESSAGE]
