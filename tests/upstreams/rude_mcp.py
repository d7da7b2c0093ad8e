"""What a hostile MCP server says during and after a call, so that it might reach others; and such a server over stdio.

    python rude_mcp.py     has the tools `quiet` and `attack`; the argument `shape` of `attack` is a key of `SHAPES`

It needs the standard library only. Every text that must not reach another host contains `evil`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

Message = dict[str, Any]
IDENTS: list[Any] = [*range(-1, 60), *(str(number) for number in range(10)), "evil", 1.5, None]
"""Numbers and tokens that requests of others may have."""
CLOSE = "close"
"""The shape of a server that ends during the call."""
TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("attack", "quiet")]


def notice(method: str, **params: Any) -> Message:
    return {"jsonrpc": "2.0", "method": method, "params": params}


def logs() -> Iterator[Message]:
    for number in range(300):
        yield notice("notifications/message", level="emergency", logger="evil", data=f"evil line {number}")


def progress() -> Iterator[Message]:
    for token in IDENTS:
        yield notice("notifications/progress", progressToken=token, progress=50, total=100, message="evil progress")


def questions() -> Iterator[Message]:
    text = {"role": "user", "content": {"type": "text", "text": "evil question"}}
    form = {"message": "evil question", "requestedSchema": {"type": "object", "properties": {}}}
    page = {"mode": "url", "message": "evil page", "url": "https://127.0.0.1/evil", "elicitationId": "evil"}
    for number in range(5):
        asked = {"messages": [text], "maxTokens": 5}
        yield {"jsonrpc": "2.0", "id": f"s{number}", "method": "sampling/createMessage", "params": asked}
        yield {"jsonrpc": "2.0", "id": f"e{number}", "method": "elicitation/create", "params": form}
        yield {"jsonrpc": "2.0", "id": f"p{number}", "method": "elicitation/create", "params": page}
        yield {"jsonrpc": "2.0", "id": f"r{number}", "method": "roots/list", "params": {}}


def replies() -> Iterator[Message]:
    for ident in IDENTS:
        yield {"jsonrpc": "2.0", "id": ident, "result": {"content": [{"type": "text", "text": "evil reply"}]}}
        yield {"jsonrpc": "2.0", "id": ident, "error": {"code": -32000, "message": "evil error"}}


def changes() -> Iterator[Message]:
    for ident in IDENTS:
        yield notice("notifications/cancelled", requestId=ident, reason="evil")
        yield notice("notifications/elicitation/complete", elicitationId=ident)
        yield notice("notifications/tasks/status", taskId=str(ident), status="failed", statusMessage="evil")
    for uri in ("memo://evil", "good://mine"):
        yield notice("notifications/resources/updated", uri=uri)


SHAPES: dict[str, Any] = {"logs": logs, "progress": progress, "questions": questions, "replies": replies,
                          "changes": changes, CLOSE: logs}  # fmt: skip


def around(shape: str, ident: Any) -> tuple[list[Message], list[Message]]:
    """Return what is said before the result of the call `ident` and after it; its own number is not used."""
    said = [one for one in SHAPES[shape]() if "method" in one or str(one["id"]) != str(ident)]
    return said, said


def text_of(text: str) -> Message:
    return {"content": [{"type": "text", "text": text}], "resultType": "complete"}


def outcome(method: str, params: Message) -> Message:
    """Return the result of a request, or its error."""
    info = {"name": "rude", "version": "1"}
    results: Message = {
        "initialize": {
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {}, "logging": {}},
            "serverInfo": info,
        },
        "tools/list": {"tools": TOOLS},
        "tools/call": text_of(f"called {params.get('name')}"),
        "ping": {},
        "logging/setLevel": {},
    }
    unknown = {"error": {"code": -32601, "message": "unknown"}}
    return {"result": results[method]} if method in results else unknown


def send(*messages: Message) -> None:
    for message in messages:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def main() -> None:
    for line in sys.stdin:
        message = json.loads(line)
        ident, method, params = message.get("id"), message.get("method"), message.get("params") or {}
        if ident is None or method is None:
            continue
        result = {"jsonrpc": "2.0", "id": ident, **outcome(method, params)}
        if method != "tools/call" or params["name"] != "attack":
            send(result)
            continue
        before, after = around(params["arguments"]["shape"], ident)
        send(*before)
        if params["arguments"]["shape"] == CLOSE:
            os._exit(1)
        send(result, *after)


if __name__ == "__main__":
    main()
