"""The answers and candidates of every library, read alike."""

from __future__ import annotations

from typing import Any

import pytest

from utcp_bridge.errors import MalformedReply
from utcp_bridge.model import JsonObject
from utcp_bridge.transports.webrtc.meeting import Answer, as_candidate, read_answer


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        ({"sdp": "v=0"}, Answer("v=0")),
        ({"sdp": {"type": "answer", "sdp": "v=0"}, "tools": []}, Answer("v=0", (), [])),
        (
            {
                "sdp": "v=0",
                "candidates": ["candidate:1", {"candidate": "candidate:2"}, {"candidate": {"candidate": "c"}}],
            },
            Answer("v=0", ({"candidate": "candidate:1"}, {"candidate": "candidate:2"}, {"candidate": "c"})),
        ),
    ],
)
def test_an_answer_is_read_in_every_form(value: Any, answer: Answer) -> None:
    assert read_answer(value, "peer") == answer


@pytest.mark.parametrize("value", [None, [], {}, {"sdp": ""}, {"sdp": 7}, {"sdp": {"type": "answer"}}])
def test_an_answer_without_a_description_is_malformed(value: Any) -> None:
    with pytest.raises(MalformedReply, match="no session description"):
        read_answer(value, "peer")


BROWSERS = {"candidate": "c", "sdpMid": "0", "sdpMLineIndex": 1}


@pytest.mark.parametrize(
    ("value", "candidate"),
    [
        (BROWSERS, BROWSERS),
        ({"type": "candidate", "candidate": BROWSERS}, BROWSERS),
        ({"candidate": {"candidate": "c", "sdp_mid": "0", "sdp_m_line_index": 1}}, BROWSERS),
        ("c", {"candidate": "c"}),
    ],
)
def test_a_candidate_is_read_in_every_spelling(value: Any, candidate: JsonObject) -> None:
    assert as_candidate(value) == candidate
