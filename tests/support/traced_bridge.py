"""A bridge in its own process, a collector, and a service: what the bridge sends to the collector."""

import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx2
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.support.measured import measured
from tests.support.source import ROOT

PATIENT = "tests.support.patient_bridge"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = {"traceparent": f"00-{TRACE}-{PARENT}-01", "baggage": "tenant=blue"}
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
}
HEADERS = {
    "Content-Type": "application/json", "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call",
}  # fmt: skip


@dataclass
class Peer:
    """An HTTP server on loopback: what it received, by path."""

    url: str = ""
    received: dict[str, list[tuple[dict[str, str], bytes]]] = field(default_factory=dict)
    is_waiting: Event = field(default_factory=Event)
    """A request to `/slow` has come."""
    goes_on: Event = field(default_factory=Event)
    """Requests to `/slow` are answered."""


@contextmanager
def peer() -> Generator[Peer]:
    found = Peer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            found.received.setdefault(self.path, []).append((headers, body))
            if self.path == "/slow":
                found.is_waiting.set()
                found.goes_on.wait(60)
            status = 503 if self.path == "/failing" else 200
            data = b"" if self.path.startswith("/v1/") else b'{"fine": true}'
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.goes_on.set()
        server.shutdown()
        server.server_close()
        thread.join()


def entry(service: str) -> dict[str, Any]:
    tools = [
        {"name": name, "inputs": {"type": "object"}, "tool_call_template": template}
        for name, template in {
            "post": {"call_template_type": "http", "http_method": "POST", "url": f"{service}/fine"},
            "failing": {"call_template_type": "http", "http_method": "POST", "url": f"{service}/failing"},
            "slow": {"call_template_type": "http", "http_method": "POST", "url": f"{service}/slow"},
            "command": {"call_template_type": "cli", "command": "env"},
        }.items()
    ]
    manual = json.dumps({"utcp_version": "1.0.1", "tools": tools})
    kinds = ["text", "http", "cli"]
    return {
        "name": "m", "call_template_type": "text", "content": manual, "allowed_communication_protocols": kinds
    }  # fmt: skip


@contextmanager
def bridge(
    folder: Path, service: str, settings: dict[str, Any], environment: dict[str, str], *, program: str = PATIENT
) -> Generator[tuple[str, "subprocess.Popen[str]"]]:
    """Yield the address of a bridge, and its process. Its end has no limit of time, unless `program` is the bridge."""
    config = folder / "config.json"
    config.write_text(json.dumps({"manual_call_templates": [entry(service)], "bridge": settings}))
    command = [sys.executable, "-m", program, "serve", str(config), "--http", "--port", "0"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": "/usr/bin:/bin", **measured(), **environment},
    )
    assert process.stderr is not None
    with process:
        try:
            lines: list[str] = []
            for line in process.stderr:
                lines.append(line)
                if line.startswith("Serving MCP on"):
                    yield line.split()[3].removesuffix("/mcp"), process
                    break
            else:
                pytest.fail("".join(lines))
        finally:
            process.kill()


def call(base: str, name: str, **headers: str) -> dict[str, Any]:
    message = {
        "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": {}, "_meta": META}
    }  # fmt: skip
    reply = httpx2.post(f"{base}/mcp", json=message, headers={**HEADERS, "Mcp-Name": name, **headers}, timeout=60)
    assert reply.status_code == 200, reply.text
    result: dict[str, Any] = reply.json()["result"]
    return result


def spans(collector: Peer) -> list[Any]:
    found: list[Any] = []
    for _, body in collector.received.get("/v1/traces", []):
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                found.extend(scope.spans)
    return found


def attributes(span: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}
