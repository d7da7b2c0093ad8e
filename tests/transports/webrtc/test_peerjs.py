"""PeerJS's frames and addresses."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from tests.support.meetings import make_meeting

from utcp_bridge.errors import Rejected, Unreachable
from utcp_bridge.model import JsonObject
from utcp_bridge.transports.webrtc.meeting import Answer
from utcp_bridge.transports.webrtc.peerjs import PeerJs, peerjs_url


def test_a_peerjs_address_gets_its_path_and_an_id() -> None:
    parts = urlsplit(peerjs_url("https://signal.example.com/app/"))
    query = parse_qs(parts.query)
    assert (parts.scheme, parts.path) == ("wss", "/app/peerjs")
    assert query["key"] == ["peerjs"]
    assert query["id"] != parse_qs(urlsplit(peerjs_url("https://signal.example.com/app/")).query)["id"]


def test_a_peerjs_addresss_own_path_and_key_are_kept() -> None:
    parts = urlsplit(peerjs_url("ws://signal.example.com/peerjs?key=ours"))
    assert (parts.scheme, parts.path) == ("ws", "/peerjs")
    assert parse_qs(parts.query)["key"] == ["ours"]


def test_an_offer_names_the_peer_and_how_messages_are_written() -> None:
    talk = PeerJs(make_meeting(serialization="json", reliable=False))
    frame = talk.offer("v=0")
    assert (frame["type"], frame["dst"]) == ("OFFER", "p")
    payload = frame["payload"]
    assert payload.pop("connectionId").startswith("dc_")
    assert payload == {
        "sdp": {"type": "offer", "sdp": "v=0"},
        "type": "data",
        "label": "tools",
        "reliable": False,
        "serialization": "json",
        "metadata": None,
    }


def test_only_an_open_door_is_a_greeting() -> None:
    talk = PeerJs(make_meeting())
    talk.check_greeting({"type": "OPEN"})
    with pytest.raises(Rejected, match="Invalid key"):
        talk.check_greeting({"type": "ERROR", "payload": {"msg": "Invalid key"}})
    with pytest.raises(Rejected, match="ID-TAKEN"):
        talk.check_greeting({"type": "ID-TAKEN"})


def test_what_the_peer_says_about_this_connection_is_heard_and_nothing_else() -> None:
    talk = PeerJs(make_meeting())
    mine = {"connectionId": talk.offer("v=0")["payload"]["connectionId"]}
    answer = {"sdp": {"type": "answer", "sdp": "v=0 answer"}}
    assert talk.heard({"type": "ANSWER", "src": "p", "payload": {**mine, **answer}}) == Answer("v=0 answer")
    assert talk.heard({"type": "CANDIDATE", "payload": {**mine, "candidate": {"candidate": "c"}}}) == {"candidate": "c"}
    others: list[JsonObject] = [
        {"type": "ANSWER", "src": "other", "payload": {**mine, **answer}},
        {"type": "ANSWER", "src": "p", "payload": {"connectionId": "dc_other", **answer}},
        {"type": "ANSWER", "src": "p"},
        {"type": "NEWS", "src": "p", "payload": {**mine, **answer}},
    ]
    assert [talk.heard(frame) for frame in others] == [None] * len(others)


@pytest.mark.parametrize("kind", ["EXPIRE", "LEAVE"])
def test_an_offer_that_expires_means_an_absent_peer(kind: str) -> None:
    with pytest.raises(Unreachable, match="peer not found"):
        PeerJs(make_meeting()).heard({"type": kind, "src": "p"})


def test_the_servers_error_is_a_rejection() -> None:
    with pytest.raises(Rejected):
        PeerJs(make_meeting()).heard({"type": "ERROR"})
