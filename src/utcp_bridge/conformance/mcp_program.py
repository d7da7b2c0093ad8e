"""A small MCP server whose tools and results a vector describes: functions for HTTP, and a program for stdio.

It stands alone, because it is copied and run. It speaks the protocol of the handshake, up to 2025-06-18.
"""

import json
import sys
from pathlib import Path
from typing import Any

_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18")


def recorded(message: dict[str, Any]) -> dict[str, Any]:
    """Return what a `tools/call` says, as a vector compares it."""
    params = message.get("params", {})
    return {"tool": params.get("name"), "arguments": params.get("arguments", {})}


def answer(message: dict[str, Any], given: dict[str, Any]) -> dict[str, Any] | None:
    """Return the reply to a message; None to a notification. `given` has `tools` and, by tool, `results`."""
    if "id" not in message:
        return None
    method, params = message.get("method"), message.get("params", {})
    if method == "initialize":
        wanted = params.get("protocolVersion")
        version = wanted if wanted in _VERSIONS else _VERSIONS[-1]
        server = {"name": "recorder", "version": "1"}
        capabilities: dict[str, Any] = {"tools": {}, **({"resources": {}} if "resources" in given else {})}
        result: dict[str, Any] = {"protocolVersion": version, "capabilities": capabilities, "serverInfo": server}
    elif method == "tools/list":
        result = {"tools": given.get("tools", [])}
    elif method == "tools/call":
        result = given.get("results", {}).get(params.get("name"), {"content": []})
    elif method == "ping":
        result = {}
    elif method == "resources/list" and "resources" in given:
        result = {"resources": given["resources"]}
    else:
        error = {"code": -32601, "message": "Method not found"}
        return {"jsonrpc": "2.0", "id": message["id"], "error": error}
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


def main() -> None:
    """Serve stdin; record calls in `record.jsonl` next to this file."""
    folder = Path(__file__).parent
    given = json.loads((folder / "given.json").read_text(encoding="utf-8"))["mcp"]
    for line in sys.stdin:
        if not line.strip():
            continue
        message = json.loads(line)
        if message.get("method") == "tools/call":
            with (folder / "record.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(recorded(message)) + "\n")
        if (reply := answer(message, given)) is not None:
            sys.stdout.write(json.dumps(reply) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
