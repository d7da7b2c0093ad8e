"""A collector of OTLP over HTTP on loopback: `python -m benchmarks.harness.collector`.

It writes its port to stdout, and then, for each line that it reads, how many spans each service has sent, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from typing import Final

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_MAX_BYTES: Final = 64 * 1024 * 1024


class Collector:
    """Counts spans. Metrics are read and forgotten."""

    def __init__(self) -> None:
        self.spans: Counter[str] = Counter()

    async def take(self, request: web.Request) -> web.Response:
        """Take one export."""
        data = await request.read()
        if request.path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(data).resource_spans:
                named = {one.key: one.value.string_value for one in resource.resource.attributes}
                self.spans[named["service.name"]] += sum(len(scope.spans) for scope in resource.scope_spans)
        return web.Response(content_type="application/x-protobuf")


async def main() -> None:
    """Serve until the end of stdin."""
    collector = Collector()
    app = web.Application(client_max_size=_MAX_BYTES)
    app.router.add_post("/{path:.*}", collector.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(collector.spans), flush=True)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
