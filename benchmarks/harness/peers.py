"""Other servers in front of the same tools, as `scripts/peers` installs them, each in an environment of its own.

    python -m benchmarks.harness.peers NAME CATALOGUE [--http]      becomes the server NAME

A peer that is not installed, or does not speak a version of the protocol, is named in the results.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness.listening import listen
from benchmarks.harness.processes import ROOT, Server, bridge

HOME = ROOT / ".tools" / "peers"
PEERS = ("plain", "toolbox", "mcp-proxy", "fastmcp", "utcp")
_PACKAGES = {
    "plain": ("utcp-bridge", "uvicorn", "httptools", "aiohttp"),
    "toolbox": ("toolbox-server",),
    "mcp-proxy": ("mcp-proxy", "mcp"),
    "fastmcp": ("fastmcp", "mcp"),
    "utcp": ("utcp", "utcp-http", "fastmcp"),
}
_OWN = ("mcp", "httpx2", "uvicorn", "uvloop", "httptools", "aiohttp", "orjson", "pydantic")
_PATIENCE = 30.0


def python_of(name: str) -> Path:
    """Return the interpreter of a peer."""
    return HOME / name / "bin" / "python"


def peer(name: str) -> Server | None:
    """Return a peer; None if it is not installed."""
    if not (HOME / name / ".ready").exists():
        return None
    if name == "plain":
        return bridge("plain", str(python_of(name)))
    command = (sys.executable, "-m", "benchmarks.harness.peers", name)
    return Server(name, command, through="call_tool" if name == "utcp" else None)


def versions(names: Sequence[str]) -> dict[str, str]:
    """Return the versions of what is compared, by the name of the server."""
    found = {"floor and bridge": _versions(sys.executable, ("utcp-bridge", *_OWN))}
    return found | {name: _versions(str(python_of(name)), _PACKAGES[name]) for name in names}


def _versions(python: str, packages: Sequence[str]) -> str:
    code = (
        "import importlib.metadata as m, sys\n"
        "for name in sys.argv[1:]:\n"
        "    try: print(name, m.version(name))\n"
        "    except m.PackageNotFoundError: pass"
    )
    done = subprocess.run([python, "-c", code, *packages], capture_output=True, text=True, timeout=60, check=False)
    return ", ".join(done.stdout.split("\n")).strip(", ") or "unknown"


# --- how each is started -------------------------------------------------------------------------


def main() -> None:
    name, catalogue = sys.argv[1:3]
    over_http = "--http" in sys.argv
    {"toolbox": _toolbox, "mcp-proxy": _mcp_proxy, "fastmcp": _fastmcp, "utcp": _utcp}[name](catalogue, over_http)


def _toolbox(catalogue: str, over_http: bool) -> None:
    """Become MCP Toolbox (Go) with the tools as its `http` tools."""
    tools = json.loads(Path(catalogue).read_bytes())["tools"]
    file = Path(tempfile.mkdtemp(prefix="utcp-bridge-bench-")) / "tools.yaml"
    file.write_text(_toolbox_file(tools), encoding="utf-8")
    program = next((HOME / "toolbox").glob("lib/*/site-packages/toolbox_server/bin/toolbox"))
    command = [str(program), "--config", str(file), "--log-level", "ERROR", "--disable-reload"]
    if over_http:
        port = _free_port()
        _announce_later(port, "/mcp")
        _become([*command, "--port", str(port)])
    _become([*command, "--stdio"])


def _toolbox_file(tools: Sequence[dict[str, Any]]) -> str:
    origin, path = re.fullmatch(r"(http://[^/]+)(/.*)", tools[0]["tool_call_template"]["url"]).groups()  # type: ignore[union-attr]
    lines = [
        "sources:",
        "  up:",
        "    kind: http",
        f"    baseUrl: {origin}",
        '    allowedIpRanges: ["127.0.0.0/8"]',
        "tools:",
    ]
    for tool in tools:
        lines += [
            f"  {tool['name']}:",
            "    kind: http",
            "    source: up",
            f"    description: {json.dumps(tool['description'])}",
            "    method: GET",
            f"    path: {path}",
            "    queryParams:",
        ]
        for name, schema in tool["inputs"]["properties"].items():
            required = str(name in tool["inputs"]["required"]).lower()
            text = json.dumps(schema.get("description", name))
            lines.append(f"      - {{name: {name}, type: {schema['type']}, description: {text}, required: {required}}}")
    return "\n".join(lines) + "\n"


def _mcp_proxy(catalogue: str, over_http: bool) -> None:
    """Become mcp-proxy, over HTTP in front of the floor over stdio."""
    if not over_http:
        sys.exit("mcp-proxy is measured over HTTP only: it puts a stdio server behind HTTP.")
    port = _free_port()
    _announce_later(port, "/mcp")
    behind = [sys.executable, "-m", "benchmarks.harness.floor", catalogue]
    options = ["--port", str(port), "--log-level", "WARNING", "--pass-environment", "--"]
    _become([str(python_of("mcp-proxy")), "-m", "mcp_proxy", *options, *behind])


def _fastmcp(catalogue: str, over_http: bool) -> None:
    """Become FastMCP's own way to the same tools."""
    flags = ["--http"] if over_http else []
    _become([str(python_of("fastmcp")), "-m", "benchmarks.harness.fastmcp_server", catalogue, *flags])


def _utcp(catalogue: str, over_http: bool) -> None:
    """Become UTCP's reference client behind FastMCP, as the reference bridge is made."""
    if over_http:
        sys.exit("The reference bridge serves stdio only.")
    _become([str(python_of("utcp")), "-m", "benchmarks.harness.utcp_server", catalogue])


def _become(command: list[str]) -> None:
    os.execv(command[0], command)


def _free_port() -> int:
    with listen() as listener:
        port: int = listener.getsockname()[1]
        return port


def _announce_later(port: int, path: str) -> None:
    """Print the line that the harness waits for when the port accepts connections: a program of others does not."""
    if os.fork():
        return
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            print(f"Serving MCP on http://127.0.0.1:{port}{path}", file=sys.stderr, flush=True)
            break
    os._exit(0)


if __name__ == "__main__":
    main()
