"""Starts a bridge with twenty MCP servers, of which some misbehave, and measures when the others are listed.

    python -m benchmarks.servers [TIMES]

Three servers never answer, two end at once, one writes to stderr without end, and of the fourteen others one needs two
seconds to start. Prints for each run, in seconds after the start of the bridge: when the first list of tools came and
how many of the fifteen good servers were in it, when all of them were listed, and how long that was after the slowest
one had answered. Exits with 1 if that takes more than three seconds, or if a server is started twice.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SERVER = """
import json, os, sys, threading, time
name, manner, folder = sys.argv[1:]
open(f"{folder}/{name}.starts", "a").write(f"{os.getpid()}\\n")
if manner == "dead":
    sys.exit("error: no licence")
if manner == "loud":
    def flood():
        while True:
            sys.stderr.write("a line of a log\\n" * 1000)
    threading.Thread(target=flood, daemon=True).start()
if manner == "slow":
    time.sleep(2)
for line in sys.stdin:
    message = json.loads(line)
    if manner == "mute" or "id" not in message:
        continue
    result = {"tools": [{"name": name, "inputSchema": {"type": "object"}}]}
    if message["method"] == "initialize":
        result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}}
        result["serverInfo"] = {"name": name, "version": "1"}
    if message["method"] == "tools/list":
        open(f"{folder}/{name}.answered", "w").write(str(time.time()))
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""
MANNERS = {
    **{f"quick{number}": "quick" for number in range(13)},
    "slow": "slow",
    "loud": "loud",
    **{f"mute{number}": "mute" for number in range(3)},
    **{f"dead{number}": "dead" for number in range(2)},
}
GOOD = frozenset(name for name, manner in MANNERS.items() if manner in {"quick", "slow", "loud"})
LIMIT = 3.0
"""Seconds after the slowest good server has answered."""
PATIENCE = 60.0


class Host:
    """A host over stdio."""

    def __init__(self, configuration: Path) -> None:
        self.began = time.time()
        command = [sys.executable, "-m", "utcp_bridge", "serve", str(configuration)]
        self.bridge = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "host", "version": "1"}}
        self.ask("initialize", hello)
        self.tell({"method": "notifications/initialized"})

    def tell(self, message: dict[str, Any]) -> None:
        assert self.bridge.stdin is not None
        self.bridge.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self.bridge.stdin.flush()

    def ask(self, method: str, params: dict[str, Any]) -> Any:
        """Return the result of a request."""
        assert self.bridge.stdout is not None
        self.tell({"id": method, "method": method, "params": params})
        for line in self.bridge.stdout:
            message = json.loads(line)
            if message.get("id") == method:
                return message["result"]
        raise EOFError("The bridge has ended.")

    def listed(self) -> set[str]:
        """Return the good servers whose tools are listed."""
        names = [tool["name"] for tool in self.ask("tools/list", {})["tools"]]
        return {name for name in GOOD if any(found.endswith(f"_{name}") for found in names)}

    def end(self) -> None:
        assert self.bridge.stdin is not None
        self.bridge.stdin.close()
        self.bridge.wait(PATIENCE)


def run(folder: Path) -> bool:
    """Measure once and print it. Return whether the limits hold."""
    program = folder / "server.py"
    program.write_text(SERVER)
    servers = {
        name: {"command": sys.executable, "args": ["-S", "-E", str(program), name, manner, str(folder)]}
        for name, manner in MANNERS.items()
    }
    configuration = folder / "mcp.json"
    configuration.write_text(json.dumps({"mcpServers": servers}))
    host = Host(configuration)
    found = host.listed()
    first, in_first = time.time() - host.began, len(found)
    while found != GOOD and time.time() - host.began < PATIENCE:
        time.sleep(0.02)
        found = host.listed()
    whole = time.time()
    host.end()
    slowest = max(float((folder / f"{name}.answered").read_text()) for name in found)
    starts = {name: len((folder / f"{name}.starts").read_text().split()) for name in GOOD}
    after = whole - slowest
    print(
        f"first list after {first:.2f} s with {in_first} of {len(GOOD)} servers; all {len(found)} after "
        f"{whole - host.began:.2f} s, {after:.2f} s after the slowest; most starts of one: {max(starts.values())}"
    )
    return found == GOOD and after <= LIMIT and max(starts.values()) == 1


def main() -> int:
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    held = True
    for _ in range(times):
        with tempfile.TemporaryDirectory() as folder:
            held = run(Path(folder)) and held
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
