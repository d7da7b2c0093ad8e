"""MCP messages as bytes, for both protocol eras: what a client sends, built once or by concatenation."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

Era = Literal["2026-07-28", "2025-11-25"]
ERAS: tuple[Era, ...] = ("2026-07-28", "2025-11-25")
CLIENT = {"name": "benchmark", "version": "1"}


def message(era: Era, ident: str | None, method: str, params: dict[str, Any]) -> bytes:
    """One JSON-RPC request, or a notification without `ident`; the modern era carries itself in `_meta`."""
    if era == "2026-07-28":
        params = {**params, "_meta": {
            "io.modelcontextprotocol/protocolVersion": era,
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": CLIENT,
        }}  # fmt: skip
    body: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params}
    if ident is not None:
        body["id"] = ident
    return json.dumps(body, separators=(",", ":")).encode()


def initialize(era: Era) -> dict[str, Any]:
    return {"protocolVersion": era, "capabilities": {}, "clientInfo": CLIENT}


@dataclass(frozen=True)
class Load:
    """The one call that a burst repeats; every request has an id of its own, of the same length."""

    era: Era
    tool: str
    arguments: dict[str, Any]
    expected: bytes

    def body(self) -> tuple[bytes, bytes]:
        """The message before and after its id."""
        whole = message(self.era, "@@", "tools/call", {"name": self.tool, "arguments": self.arguments})
        before, after = whole.split(b'"@@"')
        return before + b'"', b'"' + after

    def is_right(self, reply: bytes) -> bool:
        return self.expected in reply and b'"isError":true' not in reply and b'"isError": true' not in reply


@dataclass(frozen=True)
class Address:
    """Where an HTTP server listens."""

    host: str
    port: int
    path: str
    headers: tuple[str, ...] = ()
    """Further lines of each head."""

    def head(self, era: Era, method: str, length: int, *, name: str = "", session: str = "") -> bytes:
        lines = [
            f"POST {self.path} HTTP/1.1",
            f"Host: {self.host}:{self.port}",
            "Content-Type: application/json",
            "Accept: application/json, text/event-stream",
            f"Content-Length: {length}",
            *self.headers,
        ]
        if method != "initialize":
            lines.append(f"MCP-Protocol-Version: {era}")
        if era == "2026-07-28":
            lines.append(f"Mcp-Method: {method}")
            if name:
                lines.append(f"Mcp-Name: {name}")
        elif session:
            lines.append(f"Mcp-Session-Id: {session}")
        return "\r\n".join([*lines, "", ""]).encode()


def payload(body: bytes) -> dict[str, Any]:
    """The JSON-RPC answer in a reply: plain JSON, or the last event of a stream."""
    text = body.strip()
    if not text.startswith(b"{"):
        text = [line[5:] for line in text.splitlines() if line.startswith(b"data:") and line[5:].strip()][-1]
    answer = json.loads(text)
    if "error" in answer:
        raise RuntimeError(f"The server answered with an error: {answer['error']}")
    return answer["result"]
