"""Programs as processes of a test: started on loopback, awaited until they answer, always ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from itertools import cycle
from pathlib import Path

HOST = "127.0.0.1"
_SEATS = 96
_SEATS_FROM, _PORTS_FROM, _PORTS_TO = 19_800, 20_000, 32_000


@cache
def _own_ports() -> Iterator[int]:
    """The ports of this process, round and round. A bound UDP port is its seat, which it keeps to its end."""
    seat = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for number in range(_SEATS):
        with suppress(OSError):
            seat.bind((HOST, _SEATS_FROM + number))
            seat.detach()
            return cycle(range(_PORTS_FROM + number, _PORTS_TO, _SEATS))
    seat.close()
    raise OSError(f"{_SEATS} test processes run on this machine already.")


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port of loopback that nobody listens on.

    Until the server of the test listens there, no other socket gets it: the system gives sockets higher ports, and
    each process of all test runs on the machine has ports of its own, of which it takes one after another.
    """
    for port in _own_ports():
        with socket.socket(socket.AF_INET, kind) as found, suppress(OSError):
            found.bind((HOST, port))
            return port
    raise AssertionError("the ports have no end")


@contextmanager
def serving(
    command: Sequence[str | Path],
    *,
    port: int | None = None,
    ready: Callable[[], bool] | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    seconds: float = 60.0,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends; entered once `port` accepts connections, or `ready()` holds.

    The process leads a group of its own, and the whole group is ended. If it does not come up, the assertion shows
    what it printed.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if environment is None else dict(environment),
            cwd=folder,
            start_new_session=True,
        )
        try:
            _await(process, ready or (lambda: port is None or accepts(port)), seconds, output.fileno())
            yield process
        finally:
            _end(process)


def accepts(port: int) -> bool:
    """Whether something listens on this TCP port."""
    try:
        with socket.create_connection((HOST, port), timeout=60):
            return True
    except OSError:
        return False


def until(holds: Callable[[], bool], *, seconds: float = 60.0) -> None:
    """Wait for what another process does; fails if it does not come to pass."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.02)


def _await(process: subprocess.Popen[bytes], ready: Callable[[], bool], seconds: float, output: int) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        ended = process.poll()
        late = time.monotonic() > deadline
        assert ended is None, f"the server ended with {ended}: {_printed(output)}"
        assert not late, f"the server did not come up in {seconds:.0f} s: {_printed(output)}"
        time.sleep(0.02)


def _printed(output: int) -> str:
    return os.pread(output, 4000, max(0, os.fstat(output).st_size - 4000)).decode(errors="replace")


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
            break
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
