"""Sends requests to a traced server, ahead of the SDK and through it: `python -m tests.support.traced_program`.

It writes what came of each as JSON: {hot: was it answered ahead, spans, passed: what a tool would pass on}. It is a
program because the tracer provider of a process is set once.
"""

import json
import sys

import anyio
import httpx2
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.support.hot_requests import plain, stand_in
from tests.support.served_here import serve

from utcp_bridge.server.app import BridgeServer
from utcp_bridge.telemetry import trace_context
from utcp_bridge.telemetry.counting import CallCounts
from utcp_bridge.telemetry.exporting import start

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
YES, NO = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"
MORE = {"tracestate": "a=1,b=2", "baggage": "tenant=blue"}
CARRIED = [
    {}, {"traceparent": YES}, {"traceparent": NO}, {"traceparent": YES, **MORE}, {"traceparent": NO, **MORE},
    {"traceparent": YES.replace("00-", "cc-", 1)}, {"traceparent": "x"}, {"traceparent": YES[:-2] + "03"},
    {"traceparent": f"00-{'0' * 32}-{PARENT}-01"}, MORE, {"traceparent": NO, "baggage": "tenant=blue"},
]  # fmt: skip
CALLS = ["m_seen", "m_fail", "m_none", "m_nothing"]
HEADERS = {"Accept": "application/json", "MCP-Protocol-Version": "2026-07-28"}


async def seen(_arguments, _emit):
    return dict(trace_context.passed_on(()))


def requests():
    """Yield the message and the headers of each request."""
    for name in CALLS:
        yield plain("tools/call", {"name": name, "arguments": {}}, modern=True), {"Mcp-Name": name}
    yield plain("tools/list", modern=True), {}
    for carried in CARRIED:
        for place in ("meta", "headers", "both"):
            message = plain("tools/call", {"name": "m_seen", "arguments": {}}, modern=True)
            if place != "headers":
                message["params"]["_meta"] |= carried
            yield message, {"Mcp-Name": "m_seen", **({} if place == "meta" else carried)}
    message = plain("tools/call", {"name": "m_seen", "arguments": {}}, modern=True)
    message["params"]["_meta"]["traceparent"] = [1]
    yield message, {"Mcp-Name": "m_seen", "traceparent": YES}


def written(span):
    """Return what a span says, without its ids and times."""
    return {
        "name": span.name,
        "kind": span.kind.name,
        "attributes": dict(span.attributes),
        "status": [span.status.status_code.name, span.status.description],
        "events": [[event.name, dict(event.attributes)] for event in span.events],
        "scope": span.instrumentation_scope.name,
        "parent": None if span.parent is None else f"{span.parent.trace_id:032x}-{span.parent.span_id:016x}",
        "is_remote": span.parent is not None and span.parent.is_remote,
    }


async def main():
    spans, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    end = start(CallCounts(), {})
    client = stand_in()
    client.add("m", "seen", seen, outputs={"type": "object"})
    server = BridgeServer(client)
    respond, answered, found = server.hot.respond, [], []

    async def counted(*parts):
        answered.append(parts)
        return await respond(*parts)

    server.hot.respond = counted

    async def work(url):
        async with httpx2.AsyncClient(timeout=60) as http:
            for server.hot.is_on in (True, False):
                for message, headers in requests():
                    spans.clear()
                    answered.clear()
                    all_headers = {**HEADERS, "Mcp-Method": message["method"], **headers}
                    reply = (await http.post(url, json=message, headers=all_headers)).json()
                    passed = reply.get("result", {}).get("structuredContent")
                    made = [written(span) for span in spans.get_finished_spans()]
                    found.append({"hot": bool(answered), "spans": made, "passed": passed})

    await serve(server, work)
    end()
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    anyio.run(main)
