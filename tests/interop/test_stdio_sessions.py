"""Sessions over stdio as hosts begin and end them: a probe before the handshake, and one call in each process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.interop.hosting import DRIVERS, SDK_1

pytestmark = pytest.mark.timeout(300)

COMMAND = (sys.executable, "-m", "utcp_bridge", "serve")
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "probe", "version": "1"},
}
DISCOVER = {"id": 0, "method": "server/discover", "params": {"_meta": META}}
CLIENT = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "probe", "version": "1"}}
INITIALIZE = {"id": 1, "method": "initialize", "params": CLIENT}
INITIALIZED = {"method": "notifications/initialized"}
LIST = {"id": 2, "method": "tools/list", "params": {}}


@pytest.fixture
def process(storehouse_config: Path) -> Iterator[subprocess.Popen[str]]:
    command = [*COMMAND, str(storehouse_config)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, text=True, encoding="utf-8", **pipes) as running:
        yield running
        assert running.stdin is not None
        running.stdin.close()
        running.wait(30)


def send(process: subprocess.Popen[str], *messages: dict[str, Any]) -> None:
    assert process.stdin is not None
    process.stdin.write("".join(json.dumps({"jsonrpc": "2.0", **message}) + "\n" for message in messages))
    process.stdin.flush()


def replies(process: subprocess.Popen[str], *numbers: int) -> dict[int, dict[str, Any]]:
    """Return the replies to requests of these numbers; what comes in between is left out."""
    assert process.stdout is not None
    found: dict[int, dict[str, Any]] = {}
    while set(numbers) - set(found):
        line = process.stdout.readline()
        assert line, f"the bridge ended after {found}"
        message = json.loads(line)
        found[message.get("id", -1)] = message
    return found


def test_a_client_that_does_not_wait_for_its_probe_is_served_after_initialize(process: subprocess.Popen[str]) -> None:
    """A client of both eras gives up the probe when the server takes long to start."""
    send(process, DISCOVER, INITIALIZE)
    assert replies(process, 1)[1]["result"]["protocolVersion"] == "2025-11-25"
    send(process, INITIALIZED, LIST)
    assert replies(process, 2)[2]["result"]["tools"]


def test_a_client_may_initialize_after_the_reply_to_its_probe(process: subprocess.Popen[str]) -> None:
    send(process, DISCOVER)
    assert "result" in replies(process, 0)[0]
    send(process, INITIALIZE)
    assert replies(process, 1)[1]["result"]["protocolVersion"] == "2025-11-25"
    send(process, INITIALIZED, LIST)
    assert replies(process, 2)[2]["result"]["tools"]


@pytest.mark.needs(SDK_1)
def test_sessions_of_one_call_end_well(storehouse_config: Path) -> None:
    command = [SDK_1.command, str(DRIVERS / "short_sessions.py"), "8", "fx_image", *COMMAND, str(storehouse_config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert json.loads(done.stdout) == {"ok": 8}, done.stderr[-2000:]
