"""An MCP server that misbehaves as its configuration says, over stdio or HTTP. It needs the standard library only.

    python odd_mcp_server.py '{"version": "2025-06-18", "replies": {"tools/list": [{"tools": []}]}}'

Keys of the configuration, all optional:

    version     of the protocol: 2025-06-18 by default, or 2026-07-28
    replies     by method, what the result of each request is; the last one is repeated. A text is written as it is
    endless     by method of a list, how many bytes a page has; each page has a new entry and names another page
    ignores     methods that get no reply; "*" means all
    starts      path of a file to which each start adds a line with the number of the process
    asked       path of a file to which each method is added that is asked for
    strict      true: it ends at a request before `initialize`
    gate        path of a file that must exist before any request is answered
    exits       exit code with which it ends at once
    says        text for stderr, at once
    noise       texts for stdout, at once, each followed by a newline; latin-1
    floods      true: it writes to stderr without end
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

INFO = {"name": "odd", "version": "1"}


class OddServer:
    """Answers the messages of one client."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.version = config.get("version", "2025-06-18")
        self.asked: dict[str, int] = {}

    def reply(self, message: dict[str, Any]) -> str | None:
        """Return the line that answers a message; None for no answer."""
        method, ident = message.get("method"), message.get("id")
        if ident is None or method is None:
            return None
        if "asked" in self.config:
            with Path(self.config["asked"]).open("a", encoding="utf-8") as asked:
                asked.write(f"{method}\n")
        if self.config.get("strict") and not self.asked and method != "initialize":
            sys.exit("Error: ExpectedInitializeRequest")
        self.asked.setdefault(method, -1)
        ignored = self.config.get("ignores", ())
        if method in ignored or "*" in ignored:
            return None
        result = self.result(method, message.get("params") or {})
        if isinstance(result, str):
            return f'{{"jsonrpc": "2.0", "id": {json.dumps(ident)}, {result}}}'
        return json.dumps({"jsonrpc": "2.0", "id": ident, **result})

    def result(self, method: str, params: dict[str, Any]) -> Any:
        """Return the members of the answer after its envelope, or their text."""
        replies = self.config.get("replies", {}).get(method)
        if method in self.config.get("endless", {}):
            replies = [endless_page(method, params.get("cursor", "0"), self.config["endless"][method])]
        if replies is not None:
            number = self.asked[method] = self.asked[method] + 1
            found = replies[min(number, len(replies) - 1)]
            return found if isinstance(found, str) else {"result": found}
        is_modern = self.version >= "2026"
        if method == "initialize" and not is_modern:
            return {"result": {"protocolVersion": self.version, "capabilities": {"tools": {}}, "serverInfo": INFO}}
        if method == "ping" and not is_modern:
            return {"result": {}}
        if method == "server/discover" and is_modern:
            return {"result": {"supportedVersions": [self.version], "capabilities": {"tools": {}}}}
        if method == "tools/call":
            return {"result": {"content": [{"type": "text", "text": f"called {params['name']}"}]}}
        return {"error": {"code": -32601, "message": f"There is no {method}."}}


def endless_page(method: str, cursor: str, size: int) -> dict[str, Any]:
    """Return the page of a list that follows a cursor: one entry, about `size` bytes, and another cursor."""
    field = {"resources/templates/list": "resourceTemplates"}.get(method, method.partition("/")[0])
    entry = {"name": f"n{cursor}", "uri": f"memo://{cursor}", "uriTemplate": f"memo://{cursor}/{{x}}"}
    entry["description"] = "x" * size
    return {field: [entry], "nextCursor": str(int(cursor) + 1), "resultType": "complete"}


def main(config: dict[str, Any]) -> None:
    if "starts" in config:
        with Path(config["starts"]).open("a", encoding="utf-8") as starts:
            starts.write(f"{os.getpid()}\n")
    if "says" in config:
        sys.stderr.write(f"{config['says']}\n")
        sys.stderr.flush()
    for line in config.get("noise", ()):
        sys.stdout.buffer.write(line.encode("latin-1") + b"\n")
        sys.stdout.buffer.flush()
    if "exits" in config:
        sys.exit(config["exits"])
    if config.get("floods"):
        threading.Thread(target=flood, daemon=True).start()
    server = OddServer(config)
    for line in sys.stdin:
        while "gate" in config and not Path(config["gate"]).exists():
            time.sleep(0.02)
        reply = server.reply(json.loads(line))
        if reply is not None:
            sys.stdout.write(f"{reply}\n")
            sys.stdout.flush()


def flood() -> None:
    while True:
        sys.stderr.write("a line of a log that says nothing\n" * 1_000)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
