"""Meetings for the tests of signalling; these tests do not use the session."""

from __future__ import annotations

from typing import Any

from utcp_bridge.transports.webrtc.signalling import Meeting


def make_meeting(**fields: Any) -> Meeting:
    """Return a meeting with the peer `p` at a signalling server that is not contacted."""
    known: dict[str, Any] = {
        "session": None,
        "url": "wss://signal.example.com/room",
        "way": "auto",
        "peer_id": "p",
        "label": "tools",
        "where": "Peer 'p'",
    }
    return Meeting(**{**known, **fields})
