"""An MCP server over stdio with a page: `python app_server.py NAME`. Several of them have the same URIs and tools."""

from __future__ import annotations

import json
import sys
from typing import Any

PAGE = "ui://clock/page.html"
APPS = "io.modelcontextprotocol/ui"


def answer(name: str, method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    """Return the result of a request; None for a method that is unknown."""
    listed = {"ttlMs": 0, "cacheScope": "private"}
    if method == "server/discover":
        extensions: dict[str, Any] = {APPS: {}, "io.modelcontextprotocol/skills": {}}
        offers = {"tools": {}, "resources": {}, "extensions": extensions}
        return {"supportedVersions": ["2026-07-28"], "capabilities": offers, **listed}
    if method == "tools/list":
        shown = {"ui": {"resourceUri": PAGE, "visibility": ["model", "app"]}, "ui/resourceUri": PAGE}
        hidden = {"ui": {"resourceUri": PAGE, "visibility": ["app"]}}
        tools = [("show", shown), ("tick", hidden), (f"only_{name}", hidden), ("declared", {})]
        return {
            "tools": [{"name": one, "inputSchema": {"type": "object"}, "_meta": meta} for one, meta in tools],
            **listed,
        }
    if method == "tools/call":
        declared = (params.get("_meta") or {}).get("io.modelcontextprotocol/clientCapabilities") or {}
        text = json.dumps(declared.get("extensions")) if params["name"] == "declared" else f"{params['name']} of {name}"
        content = {"content": [{"type": "text", "text": text}]}
        return {**content, "_meta": {"ui": {"resourceUri": PAGE}}} if params["name"] == "show" else content
    if method == "resources/list":
        return {"resources": [{"uri": PAGE, "name": "page", "mimeType": "text/html;profile=mcp-app"}], **listed}
    if method == "resources/read":
        page = {"uri": params["uri"], "mimeType": "text/html;profile=mcp-app", "text": f"<p>{name}"}
        return {"contents": [page], **listed}
    return None


if __name__ == "__main__":
    for line in sys.stdin:
        message = json.loads(line)
        if "id" in message and "method" in message:
            found = answer(sys.argv[1], message["method"], message.get("params") or {})
            unknown = {"error": {"code": -32601, "message": "Method not found"}}
            outcome = unknown if found is None else {"result": {"resultType": "complete", **found}}
            sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], **outcome}) + "\n")
            sys.stdout.flush()
