"""The trace of each request of a connection goes on, whether its head is known or not."""

from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support.traced_bridge import HEADERS, META, PARENT, TRACE, Peer, bridge, peer

pytest.importorskip("httptools", reason="h11 knows no heads")

NO, YES = f"00-{TRACE}-{PARENT}-00", f"00-{TRACE}-{PARENT}-01"
OTHER = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-02"
BROKEN = [f"00-{'0' * 32}-{PARENT}-00", f"00-{TRACE}-{'0' * 16}-00", f"00-{TRACE}-{PARENT}0-0", "-" * 55]
"""Each as long as a valid one."""
WITH_STATE = {"traceparent": NO, "tracestate": "a=b", "baggage": "tenant=blue"}
CARRIED = ("traceparent", "tracestate", "baggage")


def sent(client: httpx2.Client, service: Peer, **headers: str) -> dict[str, str]:
    """Call a tool and return what its service received of the trace."""
    params = {"name": "m_post", "arguments": {}, "_meta": META}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    reply = client.post("/mcp", json=message, headers={**HEADERS, "Mcp-Name": "m_post", **headers}, timeout=60)
    assert "fine" in reply.json()["result"]["content"][0]["text"]
    received, _ = service.received["/fine"][-1]
    return {name: received[name] for name in CARRIED if name in received}


def expected(sampler: str, **headers: str) -> dict[str, Any]:
    """Return what is passed on; None is an id that begins in the bridge."""
    stated = headers.get("traceparent")
    if "tracestate" in headers:  # OpenTelemetry gives it another place
        return {**headers, "traceparent": ["00", TRACE, None, "00"]}
    if stated in {NO, OTHER}:
        return headers
    is_noted = stated == YES or sampler == "parentbased_always_on"
    begins = stated != YES
    flags = f"{is_noted | 2 * begins:02x}"
    return {**headers, "traceparent": ["00", None if begins else TRACE, None, flags]}


@pytest.mark.parametrize("sampler", ["parentbased_always_off", "parentbased_always_on"])
def test_each_request_of_a_connection_passes_its_own_trace_on(tmp_path: Path, sampler: str) -> None:
    cases: list[dict[str, str]] = [{}, {"traceparent": NO}, {"traceparent": YES}, {}, {"traceparent": OTHER}]
    cases += [{"traceparent": one} for one in BROKEN]
    cases += [WITH_STATE, {"traceparent": NO}, WITH_STATE, {}]
    with peer() as service, peer() as collector:
        environment = {
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.url}/v1/traces",
            "OTEL_TRACES_SAMPLER": sampler,
        }
        with bridge(tmp_path, service.url, {}, environment) as (base, _), httpx2.Client(base_url=base) as client:
            begun: list[str] = []
            for headers in [one for case in cases for one in [case] * 3] + cases * 2:
                found: dict[str, Any] = sent(client, service, **headers)
                wanted = expected(sampler, **headers)
                if isinstance(wanted["traceparent"], list):
                    parts = found["traceparent"].split("-")
                    begun += [*parts[1:3]]
                    assert parts[2] != PARENT
                    parts[1:3] = [TRACE if parts[1] == TRACE else None, None]
                    found["traceparent"] = parts
                assert found == wanted, headers
            ids = [one for one in begun if one != TRACE]
            assert len(set(ids)) == len(ids)
