"""Ends a bridge in every way, again and again, and counts what is left of its commands and MCP servers.

    python -m benchmarks.ends [TIMES]

Each bridge serves stdio and has three MCP servers and three running commands. One server ignores the end of stdin,
and one also SIGTERM. The commands have a grandchild that ignores SIGTERM, and one in a session of its own. Prints a
line for each way: exit codes, the longest end in seconds, and the number of processes that were alive a second later.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import tempfile
import termios
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

TRAP = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
SERVER = """
import json, os, sys, time
open(sys.argv[1], "a").write(f"{os.getpid()} ")
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    result = {"tools": []}
    if message["method"] == "initialize":
        result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}}
        result["serverInfo"] = {"name": "s", "version": "1"}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""
COMMANDS = (
    'echo "$$" >>{pids}; exec sleep 600',
    'setsid sleep 600 >/dev/null 2>&1 & echo "$! $$" >>{pids}; sleep 600',
    "trap '' TERM; (trap '' TERM; exec sleep 600) & echo \"$! $$\" >>{pids}; wait; sleep 600",
)
PROCESSES = 3 + 5
WAYS: dict[str, Callable[[subprocess.Popen[bytes]], None]] = {}


def way(end: Callable[[subprocess.Popen[bytes]], None]) -> Callable[[subprocess.Popen[bytes]], None]:
    WAYS[end.__name__] = end
    return end


def _close_stdin(bridge: subprocess.Popen[bytes]) -> None:
    assert bridge.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        bridge.stdin.close()


@way
def stdin_closed(bridge: subprocess.Popen[bytes]) -> None:
    _close_stdin(bridge)


@way
def stdin_closed_then_sigterm_at_once(bridge: subprocess.Popen[bytes]) -> None:
    _close_stdin(bridge)
    time.sleep(0.1)
    bridge.terminate()


@way
def stdin_closed_then_sigterm(bridge: subprocess.Popen[bytes]) -> None:
    _close_stdin(bridge)
    time.sleep(1)
    bridge.terminate()


@way
def sigterm(bridge: subprocess.Popen[bytes]) -> None:
    bridge.terminate()


@way
def sigterm_twice(bridge: subprocess.Popen[bytes]) -> None:
    bridge.terminate()
    time.sleep(0.1)
    bridge.terminate()


@way
def sigint(bridge: subprocess.Popen[bytes]) -> None:
    bridge.send_signal(signal.SIGINT)


@way
def sighup(bridge: subprocess.Popen[bytes]) -> None:
    bridge.send_signal(signal.SIGHUP)


@way
def sigkill(bridge: subprocess.Popen[bytes]) -> None:
    bridge.kill()


@way
def sigkill_during_the_end(bridge: subprocess.Popen[bytes]) -> None:
    _close_stdin(bridge)
    time.sleep(0.3)
    bridge.kill()


@way
def stdout_closed(bridge: subprocess.Popen[bytes]) -> None:
    assert bridge.stdin is not None
    assert bridge.stdout is not None
    bridge.stdout.close()
    with contextlib.suppress(BrokenPipeError):
        bridge.stdin.write(b'{"jsonrpc":"2.0","id":99,"method":"ping"}\n')
        bridge.stdin.flush()


@way
def terminal_closed(bridge: subprocess.Popen[bytes]) -> None:
    os.close(bridge.terminal)  # type: ignore[attr-defined]


def configuration(folder: Path) -> Path:
    pids = folder / "pids"
    servers = {"quick": SERVER, "slow": f"{SERVER}time.sleep(600)", "stubborn": f"{TRAP}{SERVER}time.sleep(600)"}
    entries: list[dict[str, Any]] = []
    for name, code in servers.items():
        server = folder / f"{name}.py"
        server.write_text(code)
        entries.append(
            {"name": name, "call_template_type": "mcp", "command": sys.executable, "args": [str(server), str(pids)]}
        )
    tools: list[dict[str, Any]] = []
    for number, line in enumerate(COMMANDS):
        script = folder / f"{number}.sh"
        script.write_text(line.format(pids=pids))
        template = {"call_template_type": "cli", "command": "bash", "args": [str(script)]}
        tools.append({"name": f"t{number}", "inputs": {"type": "object"}, "tool_call_template": template})
    manual = {"utcp_version": "1.0.1", "manual_version": "1.0.0", "tools": tools}
    entries.append(
        {
            "name": "m",
            "call_template_type": "text",
            "content": json.dumps(manual),
            "allowed_communication_protocols": ["cli", "text"],
            "trusted": True,
        }
    )
    path = folder / "config.json"
    path.write_text(json.dumps({"manual_call_templates": entries}))
    return path


@contextlib.contextmanager
def bridge(folder: Path, *, terminal: bool) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a bridge with all its children running."""
    primary, secondary = pty.openpty() if terminal else (-1, -1)
    process = subprocess.Popen(
        [sys.executable, "-m", "utcp_bridge", "serve", str(configuration(folder))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=secondary if terminal else subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_take_terminal if terminal else None,  # noqa: PLW1509 - this program has one thread
    )
    process.terminal = primary  # type: ignore[attr-defined]
    if terminal:
        os.close(secondary)
    assert process.stdin is not None
    assert process.stdout is not None

    def send(number: int, method: str, parameters: dict[str, Any]) -> None:
        message = {"jsonrpc": "2.0", "id": number, "method": method, "params": parameters}
        process.stdin.write(json.dumps(message).encode() + b"\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]

    client = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "b", "version": "1"}}
    try:
        send(1, "initialize", client)
        process.stdout.readline()
        process.stdin.write(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
        for number in range(len(COMMANDS)):
            send(2 + number, "tools/call", {"name": f"m_t{number}", "arguments": {}})
        deadline = time.monotonic() + 60
        while len(started(folder)) < PROCESSES and time.monotonic() < deadline:
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def _take_terminal() -> None:
    """Make the terminal on stderr the one that controls this process."""
    fcntl.ioctl(2, termios.TIOCSCTTY, 0)


def started(folder: Path) -> list[int]:
    pids = folder / "pids"
    return [int(pid) for pid in pids.read_text().split()] if pids.exists() else []


def alive(pids: list[int]) -> list[int]:
    found = []
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.append(pid)
    return found


def measure(end: Callable[[subprocess.Popen[bytes]], None]) -> tuple[int, float, float, int]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with bridge(folder, terminal=end is WAYS["terminal_closed"]) as process:
            pids = started(folder)
            assert len(pids) == PROCESSES, f"only {len(pids)} processes started"
            began = time.monotonic()
            end(process)
            code = process.wait(30)
            ended = time.monotonic()
            while alive(pids) and time.monotonic() < ended + 1:
                time.sleep(0.01)
            gone = time.monotonic() - ended
            left = alive(pids)
            for pid in left:
                os.kill(pid, signal.SIGKILL)
        return code, ended - began, gone, len(left)


def main() -> None:
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    for name in sys.argv[2:] or WAYS:
        results = [measure(WAYS[name]) for _ in range(times)]
        codes, ends, gone, left = zip(*results, strict=True)
        print(
            f"{name:36}{times:4} times  codes {dict(Counter(codes))}  end ≤ {max(ends):.2f} s"
            f"  children gone ≤ {max(gone):.2f} s later  left {sum(left)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
