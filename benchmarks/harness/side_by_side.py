"""Several bridges in one process: `python -m benchmarks.harness.side_by_side CONFIG…` prints their URLs as a JSON list.

They share the interpreter, its code and its caches, so what differs between two of them is what their settings do. Two
processes with the same settings differ by up to a tenth, for the layout of their memory. Unlike `serve`, nothing looks
at files from time to time. Traces and metrics are sent, as in `serve`, if there are variables of OpenTelemetry.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from contextlib import AsyncExitStack
from importlib.util import find_spec
from pathlib import Path

import anyio

from utcp_bridge import UtcpClient
from utcp_bridge.cli.logs import access_sink
from utcp_bridge.server.app import BridgeServer
from utcp_bridge.server.http import serve_http
from utcp_bridge.server.web.access_log import AccessLog

YOUNG_OBJECTS = 100_000
"""After so many new objects the collector looks for circles, rarely, as in `utcp-bridge serve`."""


async def serve(paths: list[Path]) -> None:
    """Serve until a signal."""
    async with AsyncExitStack() as stack, anyio.create_task_group() as group:
        urls: list[str] = []
        for path in paths:
            client = await stack.enter_async_context(await UtcpClient.create(path))
            await client.wait_loaded()
            if "OTEL_EXPORTER_OTLP_ENDPOINT" in os.environ:
                from utcp_bridge.telemetry.exporting import start  # imports OpenTelemetry

                start(client.counts, os.environ, client.settings.traces_per_second)
            sink = stack.enter_context(access_sink(client.settings, client.root))
            access = None if sink is None else AccessLog(sink, client.redactor)
            ready = anyio.Event()

            def note(url: str, ready: anyio.Event = ready) -> None:
                urls.append(url)
                ready.set()

            async def run(client: UtcpClient = client, note: object = note, access: AccessLog | None = access) -> None:
                await serve_http(BridgeServer(client), on_ready=note, access=access)  # type: ignore[arg-type]

            group.start_soon(run)
            await ready.wait()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS)
        sys.stdout.write(json.dumps(urls) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    anyio.run(
        serve, [Path(one) for one in sys.argv[1:]], backend_options={"use_uvloop": find_spec("uvloop") is not None}
    )
