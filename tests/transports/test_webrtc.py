"""The shared suite against a real WebRTC peer, and every signalling and message form."""

from __future__ import annotations

from typing import Any

import pytest
from tests.transports.contract import *  # noqa: F403 - the suite's fixtures and tests
from tests.transports.contract import Case, Peer
from tests.upstreams.webrtc_peer import WebRtcService

from utcp_bridge.model import JsonObject
from utcp_bridge.transports.webrtc import WebRtcTransport

pytestmark = pytest.mark.anyio


class WebRtcPeer(Peer):
    transport = WebRtcTransport

    def __init__(self) -> None:
        self.service = WebRtcService()

    async def start(self) -> None:
        await self.service.__aenter__()

    async def stop(self) -> None:
        await self.service.__aexit__()

    def template(self, **fields: Any) -> JsonObject:
        return {
            "call_template_type": "webrtc",
            "signaling_server": self.service.url,
            "peer_id": "tools",
            **fields,
        }

    def manual(self, dialect: str) -> JsonObject:
        template = self.template()
        if dialect == "v0":
            template["provider_type"] = template.pop("call_template_type")
        return template

    def echo(self, text: str) -> Case:
        return Case(self.template(), {"text": text})

    def slow(self) -> Case:
        return Case(self.template(), {"slow": True})

    async def arrived(self) -> None:
        await self.service.slow_arrived.wait()

    async def gone(self) -> None:
        await self.service.slow_gone.wait()

    def fault(self, name: str) -> Case:
        peers = {"refused": "absent", "reset": "resetting", "malformed": "malformed", "oversized": "flooding"}
        return Case(self.template(peer_id=peers[name]))

    def with_secret(self, case: Case, secret: str) -> Case:
        url = f"{case.template['signaling_server']}?key={secret}"
        return Case({**case.template, "signaling_server": url}, case.arguments, case.error)


PEER = WebRtcPeer
