"""What exchanges of a ConfigMap cost the calls beside them: `python -m benchmarks.live [--swaps 50] [--clients 8]`.

A bridge serves a folder of links, as Kubernetes mounts a ConfigMap. Clients call a tool all the time, while the folder
is exchanged again and again: each time the manual of that tool is another one, and a further manual and a profile come
or go. Each fifth time the shared token is another one, too. Half of the clients have a named token, which stays. The
others have the newest shared token, and send a call again that is refused while it changes. The report has the calls
and those that were lost, their times without and with exchanges, the seconds from an exchange to the first call that
has the new manual, and the descriptors and the memory of the bridge. A lost call is exit code 1.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from utcp_bridge.access.tokens import TokenFile

ALONE_SECONDS = 5.0
TOKEN_EVERY = 5
UNAUTHORIZED = 401
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": "2026-07-28",
    "Mcp-Method": "tools/call",
    "Mcp-Name": "m_t",
}


def entry(name: str, says: str) -> dict[str, Any]:
    template = {"call_template_type": "text", "content": says}
    tools = [{"name": "t", "description": "d", "tool_call_template": template}]
    content = {"utcp_version": "1.0.1", "manual_version": "1", "tools": tools}
    return {"name": name, "call_template_type": "text", "content": content}


def token_of(number: int) -> str:
    """Return the shared token of the configuration with this number."""
    return f"shared-token-number-{number // TOKEN_EVERY:06}"


def exchange(folder: Path, number: int, tokens: Path) -> None:
    """Mount the configuration with this number."""
    data = folder / f"..{number}"
    data.mkdir(parents=True)
    entries = [entry("m", str(number)), entry("same", "x"), *([entry("now_and_then", "x")] if number % 2 else [])]
    bridge: dict[str, Any] = {"bearer_token": token_of(number), "tokens_file": str(tokens)}
    bridge["profiles"] = {"now_and_then": {"manuals": "m"}} if number % 2 else {}
    (data / "utcp.json").write_text(json.dumps({"manual_call_templates": entries, "bridge": bridge}))
    fresh = folder / "..data_tmp"
    fresh.symlink_to(data.name)
    fresh.replace(folder / "..data")
    if number == 0:
        (folder / "utcp.json").symlink_to("..data/utcp.json")
    else:
        shutil.rmtree(folder / f"..{number - 1}")


class Caller(threading.Thread):
    """Calls the tool until the end."""

    written = 0
    """The number of the configuration that was written last."""

    def __init__(self, port: int, named: str | None) -> None:
        """`named` is the named token; None: the shared one."""
        super().__init__()
        self.port, self.named = port, named
        self.refused = 0
        """The calls that had the token before, while it changed."""
        self.times: list[float] = []
        self.lost: list[str] = []
        self.newest = 0
        self.ends = False

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        params = {"_meta": META, "name": "m_t", "arguments": {}}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
        while not self.ends:
            started, number = perf_counter(), self.written
            token = self.named or token_of(max(number, self.newest))
            connection.request("POST", "/mcp", body, {**HEADERS, "Authorization": f"Bearer {token}"})
            reply = connection.getresponse()
            text = reply.read().decode()
            if reply.status == UNAUTHORIZED and self.named is None and self.newest != self.written:
                self.refused += 1
                threading.Event().wait(0.01)
                continue
            self.times.append((perf_counter() - started) * 1000)
            found = re.search(r'"text":\s*"(\d+)"', text)
            if found is None:
                self.lost.append(text)
            else:
                self.newest = int(found[1])
        connection.close()


@contextmanager
def served(folder: Path, home: Path) -> Iterator[tuple[int, int]]:
    """Yield the port and the process of a bridge."""
    command = [sys.executable, "-m", "utcp_bridge", "serve", str(folder / "utcp.json"), "--http", "--port", "0"]
    environment = {**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    log = (home / "log").open("w+")
    with log, subprocess.Popen(command, env=environment, stderr=log, text=True) as process:
        try:
            while not (found := re.search(r"127\.0\.0\.1:(\d+)/", (home / "log").read_text())):
                if process.poll() is not None:
                    raise SystemExit((home / "log").read_text())
            yield int(found[1]), process.pid
        finally:
            process.terminate()


def state_of(pid: int) -> tuple[int, float]:
    """Return the descriptors and the MiB of memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    memory = re.search(r"VmRSS:\s+(\d+)", status)
    return len([*Path(f"/proc/{pid}/fd").iterdir()]), int(memory[1]) / 1024 if memory else 0.0


def measured(callers: list[Caller], marks: list[int]) -> list[float]:
    return sorted(one for caller, mark in zip(callers, marks, strict=True) for one in caller.times[mark:])


def shown(times: list[float]) -> str:
    p99 = times[int(len(times) * 0.99)]
    said = f"p50 {statistics.median(times):6.2f} ms   p99 {p99:7.2f} ms   longest {times[-1]:7.1f} ms"
    return f"{len(times):>8,} calls   {said}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--swaps", type=int, default=50)
    parser.add_argument("--clients", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "mounted"
        tokens = TokenFile(Path(place) / "tokens.json")
        named = tokens.add("client").value
        exchange(folder, 0, tokens.path)
        with served(folder, Path(place)) as (port, pid):
            callers = [Caller(port, named if number % 2 else None) for number in range(options.clients)]
            for caller in callers:
                caller.start()
            threading.Event().wait(ALONE_SECONDS)
            alone, before = measured(callers, [0] * len(callers)), state_of(pid)
            marks, seconds = [len(caller.times) for caller in callers], list[float]()
            for number in range(1, options.swaps + 1):
                started = perf_counter()
                exchange(folder, number, tokens.path)
                Caller.written = number
                while not all(caller.newest == number for caller in callers):
                    threading.Event().wait(0.01)
                seconds.append(perf_counter() - started)
            beside, after = measured(callers, marks), state_of(pid)
            for caller in callers:
                caller.ends = True
                caller.join()
    lost = [text for caller in callers for text in caller.lost]
    print(f"without exchanges  {shown(alone)}")
    print(f"{options.swaps} exchanges       {shown(beside)}")
    print(f"lost calls         {len(lost):>8,}")
    print(f"refused meanwhile  {sum(caller.refused for caller in callers):>8,}")
    print(f"from an exchange to its use: median {statistics.median(seconds):.2f} s, longest {max(seconds):.2f} s")
    print(f"descriptors {before[0]} -> {after[0]}, memory {before[1]:.1f} -> {after[1]:.1f} MiB")
    for text in lost[:3]:
        print(text[:300])
    return 1 if lost else 0


if __name__ == "__main__":
    raise SystemExit(main())
