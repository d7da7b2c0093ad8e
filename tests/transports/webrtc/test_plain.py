"""Plain signalling messages: what we say, and what is for us."""

from __future__ import annotations

import pytest
from tests.support.meetings import make_meeting

from utcp_bridge.errors import MalformedReply, Rejected, Unreachable
from utcp_bridge.model import JsonObject
from utcp_bridge.transports.webrtc.meeting import Answer
from utcp_bridge.transports.webrtc.plain import Plain


def test_an_http_address_is_spoken_to_by_websocket() -> None:
    assert Plain(make_meeting(url="https://signal.example.com/room")).url == "wss://signal.example.com/room"
    assert Plain(make_meeting()).url == "wss://signal.example.com/room"


def test_an_offer_names_both_sides() -> None:
    message = Plain(make_meeting()).offer("v=0")
    assert message.pop("from").startswith("utcp-")
    assert message == {"type": "offer", "sdp": "v=0", "to": "p", "peer_id": "p"}


def test_a_server_with_one_peer_needs_no_name() -> None:
    assert set(Plain(make_meeting(peer_id="")).offer("v=0")) == {"type", "sdp", "from"}


def test_what_names_us_and_our_peer_is_heard_and_nothing_else() -> None:
    talk = Plain(make_meeting())
    ours = talk.offer("v=0")["from"]
    for names in ({}, {"from": "p"}, {"from": "p", "to": ours}, {"from": None, "to": None}):
        assert talk.heard({"type": "answer", "sdp": "v=0 answer", **names}) == Answer("v=0 answer")
    for names in ({"from": "other"}, {"from": "p", "to": "other"}, {"to": "other"}):
        assert talk.heard({"type": "answer", "sdp": "v=0 answer", **names}) is None
        assert talk.heard({"type": "bye", **names}) is None
    assert talk.heard({"type": "presence", "from": "p"}) is None
    assert talk.heard({"type": "offer", "sdp": "v=0", "from": ours}) is None


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "ice_candidate", "candidate": {"candidate": "c", "sdp_mid": "0", "sdp_m_line_index": 0}},
        {"type": "candidate", "candidate": {"candidate": "c", "sdpMid": "0", "sdpMLineIndex": 0}},
    ],
)
def test_candidates_are_heard_in_both_spellings(frame: JsonObject) -> None:
    assert Plain(make_meeting()).heard(frame) == {"candidate": "c", "sdpMid": "0", "sdpMLineIndex": 0}


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "error", "message": "Peer p is not connected"},
        {"type": "error", "error": {"code": "peer_not_found"}},
        {"type": "error", "reason": "unknown peer"},
        {"type": "bye", "from": "p"},
        {"type": "peer_not_found"},
    ],
)
def test_an_absent_peer_is_not_found_in_whatever_words(frame: JsonObject) -> None:
    with pytest.raises(Unreachable, match="peer not found"):
        Plain(make_meeting()).heard(frame)


def test_another_error_of_the_server_is_given_on() -> None:
    with pytest.raises(Rejected, match="too many offers") as caught:
        Plain(make_meeting()).heard({"type": "error", "message": "too many offers"})
    assert caught.value.status == "error"


def test_an_answer_without_a_description_is_malformed() -> None:
    with pytest.raises(MalformedReply):
        Plain(make_meeting()).heard({"type": "answer", "from": "p"})
