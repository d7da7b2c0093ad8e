"""Every child ends when the program that started it ends, whatever ends that program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.descendants import needs_proc, until_gone

from utcp_bridge.processes.guardian import frame, unframed

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]
PROGRAM = """
import os, sys, time
from pathlib import Path
import anyio
from utcp_bridge.processes.child import Launch
from utcp_bridge.processes.children import start_child

async def main():
    for script in sys.argv[2:]:
        child = await start_child(Launch(["sh", "-c", script], {"PATH": "/usr/bin:/bin"}, Path("/"), has_stdin=True))
        print(child.pid, (await child.stdout.receive()).decode().strip(), flush=True)
    if sys.argv[1] == "forks":
        fork = os.fork()
        if not fork:
            time.sleep(1000)
        print(fork, flush=True)
    await anyio.sleep_forever()

anyio.run(main)
"""
WAITS = "echo $$; exec sleep 1000"
STUBBORN = "trap '' TERM HUP; echo $$; while :; do sleep 1; done"
FAMILY = "trap '' TERM; (trap '' TERM; exec sleep 1000) & echo $!; wait"
OUTSIDE = "trap '' TERM; setsid sh -c \"trap '' TERM; sleep 1000; :\" & echo $!; wait"
DAEMON = "setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo $!"


@contextmanager
def program(way: str, *scripts: str, **options: bool) -> Generator[tuple[subprocess.Popen[str], list[int]]]:
    """Yield a program that runs the scripts as children, and the ids of all their processes."""
    command = [sys.executable, "-c", PROGRAM, way, *scripts]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, **options) as process:
        assert process.stdout is not None
        try:
            yield process, [int(pid) for _ in scripts for pid in process.stdout.readline().split()]
        finally:
            process.kill()


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1])
async def test_children_end_with_a_program_that_a_signal_ends(number: signal.Signals) -> None:
    with program("plain", WAITS, STUBBORN, FAMILY, OUTSIDE, DAEMON) as (process, pids):
        assert len(pids) == 10
        process.send_signal(number)
        await until_gone(*pids)


@needs_proc
async def test_children_end_with_a_program_whose_whole_group_is_killed() -> None:
    with program("plain", WAITS, STUBBORN, process_group=0) as (process, pids):
        os.killpg(process.pid, signal.SIGKILL)
        await until_gone(*pids)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs a descriptor of a process")
@needs_proc
async def test_children_end_although_a_fork_of_the_program_lives_on() -> None:
    with program("forks", WAITS) as (process, pids):
        assert process.stdout is not None
        fork = int(process.stdout.readline())
        process.kill()
        await until_gone(*pids)
        os.kill(fork, signal.SIGKILL)


def test_frames_are_read_whole_in_any_pieces() -> None:
    messages = [("ready",), ("start", 1, [b"a\0\xff"], {b"b": b""}, b"/", []), ("end", 2, 0.5, 1)]
    data = b"".join(map(frame, messages))
    for size in (1, 3, 1000):
        received, found = bytearray(), []
        for start in range(0, len(data), size):
            received += data[start : start + size]
            found += unframed(received)
        assert found == messages
        assert not received


ZOMBIES = "cat /proc/[0-9]*/stat | grep -c '^[0-9]* (.*) Z' || true"
LEAVES_A_DAEMON = "setsid sh -c 'sleep 0.01' >/dev/null 2>&1 </dev/null &"
FIRST = """
import os, sys
from pathlib import Path
import anyio
from utcp_bridge.transports.cli.process import Command, run_command

async def main():
    assert os.getpid() == 1
    run = lambda script: run_command(Command(["sh", "-c", script], {"PATH": "/usr/bin:/bin"}, Path("/"), 10_000))
    for _ in range(10):
        await run(sys.argv[1])
    while int((await run("ls -d /proc/[0-9]* | wc -l")).stdout) > 5:  # the bridge, the guardian, and the command itself
        await anyio.sleep(0.01)
    print((await run(sys.argv[2])).stdout.decode())

anyio.run(main)
"""


def _may_make_namespaces() -> bool:
    try:
        return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc"]


@pytest.mark.skipif(not _may_make_namespaces(), reason="needs a namespace of process ids")
def test_orphans_are_reaped_where_the_bridge_is_process_1() -> None:
    command = [*UNSHARE, sys.executable, "-c", FIRST, LEAVES_A_DAEMON, ZOMBIES]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.strip() == "0"
