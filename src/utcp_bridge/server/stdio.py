"""Serve MCP over stdin and stdout.

stdout carries JSON-RPC alone: while serving, file descriptor 1 leads to stderr and 0 to nothing, so neither a stray
print nor a child process can reach the wire. Ends when stdin closes, or on SIGTERM or SIGINT.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager

import anyio

from utcp_bridge.server.app import BridgeServer
from utcp_bridge.server.stdio_streams import InFlight, MessageReader, MessageWriter, open_input, open_output

__all__ = ["serve_stdio"]


async def serve_stdio(server: BridgeServer) -> None:
    """Serve one client until it leaves or a signal comes; calls in flight are then cancelled."""
    with _claimed_standard_streams() as (wire_in, wire_out):
        async with (
            open_input(wire_in) as lines,
            open_output(wire_out) as send_line,
            anyio.create_task_group() as group,
        ):
            group.start_soon(_cancel_on_signal, group.cancel_scope)
            in_flight = InFlight()
            reader, writer = MessageReader(lines, in_flight), MessageWriter(send_line, in_flight)
            await server.run(reader, writer, server.create_initialization_options())
            group.cancel_scope.cancel()


async def _cancel_on_signal(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()


@contextmanager
def _claimed_standard_streams() -> Generator[tuple[int, int]]:
    """Private duplicates of stdin and stdout; the well-known numbers lead elsewhere meanwhile."""
    sys.stdout.flush()
    wire_in, wire_out = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    try:
        os.dup2(nothing, 0)
        os.dup2(2, 1)
        yield wire_in, wire_out
    finally:
        sys.stdout.flush()
        os.dup2(wire_in, 0)
        os.dup2(wire_out, 1)
        for descriptor in (nothing, wire_in, wire_out):
            os.close(descriptor)
