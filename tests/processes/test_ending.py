"""A bridge ends in order and in time, and leaves no process, whatever asks it to end and however often.

`python -m benchmarks.ends` does the same twenty times for each way, and measures.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from benchmarks import ends
from tests.support.descendants import descendants, needs_proc, until_gone

from utcp_bridge import UtcpClient
from utcp_bridge.processes.ending import Ending, watched_signals

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")]
HANGS = """
import sys, threading, time
import anyio
from utcp_bridge.processes import ending

async def main():
    async with ending.watched_signals() as end:
        print("ready", flush=True)
        try:
            await anyio.sleep_forever()
        finally:
            print("ending", flush=True)
            time.sleep(1000)

ending.be_program()
anyio.run(main)
"""


@needs_proc
@pytest.mark.parametrize("way", ends.WAYS)
async def test_a_bridge_leaves_no_process(way: str, tmp_path: Path) -> None:
    with ends.bridge(tmp_path, terminal=way == "terminal_closed") as process:
        pids = ends.started(tmp_path)
        assert len(pids) == ends.PROCESSES
        ends.WAYS[way](process)
        code = await anyio.to_thread.run_sync(process.wait)
        await until_gone(*pids)
    assert code == (-signal.SIGKILL if way.startswith("sigkill") else 0)


def test_an_end_that_hangs_is_cut_short() -> None:
    with subprocess.Popen([sys.executable, "-c", HANGS], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.terminate()
            assert process.stdout.readline() == "ending\n"
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()


async def test_a_signal_cancels_what_has_no_stop_of_its_own_and_an_inner_use_shares_the_ending() -> None:
    with anyio.fail_after(60):
        async with watched_signals() as ending, watched_signals() as inner:
            assert inner is ending
            os.kill(os.getpid(), signal.SIGTERM)
            await anyio.sleep_forever()
    assert ending.has_begun
    assert ending.asked_by == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


async def test_the_innermost_stop_counts_until_the_end_has_begun() -> None:
    calls: list[str] = []
    ending = Ending()
    with ending.stops(lambda: calls.append("outer")):
        with ending.stops(lambda: calls.append("inner")):
            ending.receive(signal.SIGTERM)
            ending.receive(signal.SIGINT)
        ending.receive(signal.SIGTERM)
        ending.begin()
        ending.begin()
        ending.receive(signal.SIGTERM)
    ending.close()
    assert calls == ["inner", "inner", "outer"]


@pytest.mark.parametrize(
    ("prepare", "asks"),
    [
        (lambda _: None, True),
        (lambda ending: setattr(ending, "survives_hangup", True), False),
    ],
)
async def test_a_hangup_asks_for_the_end_unless_the_server_survives_it(
    prepare: Callable[[Ending], None], asks: bool
) -> None:
    calls: list[str] = []
    ending = Ending()
    prepare(ending)
    with ending.stops(lambda: calls.append("stop")):
        with ending.at_hangup(lambda: calls.append("hook")):
            ending.receive(signal.SIGHUP)
        assert calls == ["hook"]
        ending.receive(signal.SIGHUP)
    assert calls == ["hook", *(["stop"] if asks else [])]


@needs_proc
def test_a_client_that_is_cancelled_leaves_no_process() -> None:
    before = descendants(os.getpid())
    tool = {"name": "t", "tool_call_template": {"call_template_type": "cli", "command": "echo", "args": ["well"]}}
    entry = {
        "name": "m",
        "call_template_type": "text",
        "allowed_communication_protocols": ["text", "cli"],
        "content": {"utcp_version": "1.0", "tools": [tool]},
    }

    async def main() -> set[int]:
        with anyio.CancelScope() as scope:
            async with await UtcpClient.create([entry]) as client:
                assert await client.call_tool("m.t") == "well"
                assert descendants(os.getpid()) - before, "the guardian of this event loop"
                scope.cancel()
                await anyio.lowlevel.checkpoint()
        return descendants(os.getpid()) - before

    assert anyio.run(main) == set()
