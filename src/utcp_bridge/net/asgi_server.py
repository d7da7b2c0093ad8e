"""Serve an ASGI application on listening sockets until a signal arrives."""

from __future__ import annotations

import signal
import socket
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import anyio
import uvicorn

__all__ = ["serve_asgi"]


async def serve_asgi(
    app: Any,
    listeners: Sequence[socket.socket],
    *,
    on_ready: Callable[[], None],
    grace: int,
    lifespan: Literal["on", "auto"] = "auto",
    at_end: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then close the listening sockets.

    `on_ready` is called when the server accepts connections. After the signal it accepts no new ones, `at_end` runs,
    and requests in flight have `grace` seconds to finish.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan=lifespan,
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=grace,
    )
    runner = _Uvicorn(config, on_ready)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(_end_on_signal, runner, at_end)
            await runner.serve(sockets=list(listeners))
            group.cancel_scope.cancel()
    finally:
        for listener in listeners:
            listener.close()


class _Uvicorn(uvicorn.Server):
    """uvicorn with a call when it is ready, and without its signal handling, which ends the process by the signal."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()


async def _end_on_signal(runner: uvicorn.Server, at_end: Callable[[], Awaitable[None]] | None) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            break
    runner.should_exit = True
    if at_end is not None:
        await at_end()
