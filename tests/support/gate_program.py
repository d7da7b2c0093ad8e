"""What `test_guard_of_every_kind` runs in a network of its own: each attempt at each inner address, with real packets.

Prints `{"refused": number, "other": [...], "hits": [...], "control": [...]}`. The argument names the event loop.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from typing import Any

import aiortc
import anyio
from tests.support import namespace
from tests.support.gate_cases import Attempt, attempts, stranger

from utcp_bridge.errors import PolicyError, UtcpError
from utcp_bridge.net.gate.connection_watch import watched
from utcp_bridge.net.guard import Guard
from utcp_bridge.testing.services import open_services
from utcp_bridge.transport import Services
from utcp_bridge.transports.webrtc.channel import DataChannelOptions, WebRtcChannel
from utcp_bridge.transports.webrtc.ice import IcePolicy

_PROXIES = ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


async def _outcome(attempt: Attempt, services: Services, host: str, port: int, *, written: bool) -> str:
    source = stranger(host, port, written=written)
    try:
        with anyio.fail_after(60):
            if written:
                await Guard().resolve(host, port, source)  # the guard of the services would keep the address
            await attempt(services, source, host, port)
    except PolicyError:
        return "refused"
    except UtcpError as error:
        return f"{type(error).__name__}: {error.message}"
    return "connected"


async def _run(listener: namespace.Listener) -> dict[str, Any]:
    refused, other = 0, []
    for number, (name, attempt) in enumerate(attempts()):
        for address in namespace.INNER:
            dashed = address.replace(".", "-")
            first = namespace.PUBLIC.replace(".", "-")
            for host in (f"{dashed}.address.test", f"way{number}.first-{first}.then-{dashed}.test"):
                async with open_services() as services:
                    said = await _outcome(attempt, services, host, listener.port, written="first" in host)
                refused += said == "refused"
                other += [] if said == "refused" else [f"{name} {host}: {said}"]
    return {"refused": refused, "other": other, "hits": list(listener.hits)}


async def _through_proxies(listener: namespace.Listener) -> list[str]:
    """Call an allowed address while the environment names proxies at the inner ones. Return the ways tried."""
    proxy = f"http://{namespace.LOOPBACK}:{listener.port}"
    os.environ.update(dict.fromkeys(_PROXIES, proxy))
    os.environ["GRPC_ADDRESS_HTTP_PROXY"] = f"{namespace.LOOPBACK}:{listener.port}"
    os.environ["GRPC_ADDRESS_HTTP_PROXY_ENABLED_ADDRESSES"] = f"{namespace.PUBLIC}/32"
    os.environ["GRPC_DNS_RESOLVER"] = "native"
    host, port = namespace.PUBLIC, listener.port
    tried = []
    for name, attempt in attempts():
        if name.endswith(("call", "http")) and not name.startswith("udp"):
            async with open_services() as services:
                source = stranger(host, port, written=True)
                with anyio.move_on_after(60):
                    try:
                        await attempt(services, source, host, port)
                    except UtcpError as error:
                        tried.append(f"{name}, {error.code}")
    return tried


async def _peers(listener: namespace.Listener) -> bool:
    """Answer an offer with candidates at inner addresses, of each form and in each place. Return whether packets went
    to the one candidate that is allowed, which is the last that is tried.
    """
    source = replace(stranger("signal.example", 443), allow_networks=(f"{namespace.PUBLIC}/32",))
    channel = WebRtcChannel(aiortc, DataChannelOptions(), "Peer 'p'", IcePolicy(Guard(), source))
    peer = aiortc.RTCPeerConnection()
    listener.public.clear()
    try:
        offer = await channel.offer()
        await peer.setRemoteDescription(aiortc.RTCSessionDescription(_without_candidates(offer), "offer"))
        await peer.setLocalDescription(await peer.createAnswer())
        answer = _without_candidates(peer.localDescription.sdp)
        hosts = [*namespace.INNER, *(f"::ffff:{one}" for one in namespace.INNER), "printer.local", "localhost"]
        lines = [
            f"candidate:{number} 1 {form} {2_000_000_000 - number} {host} {listener.port} typ {kind}"
            for number, host in enumerate(hosts)
            for form in ("udp", "UDP", "tcp")
            for kind in ("host", "srflx raddr 0.0.0.0 rport 0", "relay raddr 0.0.0.0 rport 0")
        ]
        answer = answer.replace("c=IN IP4 0.0.0.0", f"c=IN IP4 {namespace.PRIVATE}")
        spaced = [line.replace("candidate:", "candidate: ") for line in lines]
        await channel.accept("\r\n".join([answer.rstrip(), *(f"a={line}" for line in [*lines, *spaced]), ""]))
        allowed = f"candidate:9 1 udp 1 {namespace.PUBLIC} {listener.port} typ host"
        for line in [*lines, *spaced, allowed]:
            await channel.add_candidate({"candidate": line, "sdpMid": "0", "sdpMLineIndex": 0})
        return await anyio.to_thread.run_sync(listener.public.wait, 60)
    finally:
        await channel.aclose()
        await peer.close()


def _without_candidates(sdp: str) -> str:
    kept = [line for line in sdp.splitlines() if not line.startswith(("a=candidate:", "a=end-of"))]
    return "\r\n".join(kept) + "\r\n"


async def _control(listener: namespace.Listener) -> list[str]:
    """Connect where an operator wrote the address, so that a listener which counts nothing is noticed."""
    before = len(listener.hits)
    async with open_services() as services:
        for name, attempt in attempts():
            if name in {"tcp: call", "udp: call", "grpc: call", "http: call"}:
                source = stranger(namespace.LOOPBACK, listener.port, written=True)
                with anyio.move_on_after(2):
                    try:
                        await attempt(services, source, namespace.LOOPBACK, listener.port)
                    except UtcpError:
                        continue
    return listener.hits[before:]


async def _main() -> None:
    listener = namespace.Listener()
    with watched():
        report = await _run(listener)
        report["peers"] = await _peers(listener)
        report["proxied"] = await _through_proxies(listener)
        report["hits"] = list(listener.hits)
        report["control"] = await _control(listener)
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    with namespace.entered():
        anyio.run(_main, backend_options={"use_uvloop": sys.argv[1] == "uvloop"})
