"""A bridge to drive through a real MCP client: `python -m tests.support.mcp_served stdio|http [settings as JSON]`.

Each of its tools does one thing that a client can see. Over HTTP it prints the URL of the endpoint when it is ready.
"""

from __future__ import annotations

import json
import os
import sys

import anyio
from tests.support.server_client import Manual, StandIn

from utcp_bridge.errors import InvalidArguments, Rejected
from utcp_bridge.model import Binary, ContentBlocks
from utcp_bridge.server.app import BridgeServer
from utcp_bridge.settings import BridgeSettings

FILLERS = 1_050
HOSTILE = ["line\nbreak", "bidi\u202eevil", "zero\u200bwidth", "", "x" * 100, "Twin", "twin", "search_tools", "日本"]


def build(**settings) -> BridgeServer:
    """Return the bridge to serve. All pages except the last have 500 tools."""
    client = StandIn(BridgeSettings(**{"exposure": "all", "page_size": 500, **settings}))
    client.manuals = [Manual("demo", "ready", 20), Manual("down", "failed")]
    for tool in (_values, _media, _streams, _faults):
        tool(client)
    for name in HOSTILE:
        client.add("hostile", name, _constant(name))
    for name, schema in (
        ("text", "nonsense"),
        ("list", {"type": ["object", "null"]}),
        ("open", {"properties": {"p": "text"}}),
    ):
        client.add("bad", name, _constant("fine"), inputs=schema, outputs=schema)
    client.add_many("filler", [f"t{number:04}" for number in range(FILLERS)])
    return BridgeServer(client)


def _constant(value):
    async def run(_arguments, _emit):
        return value

    return run


def _values(client):
    echo = {"type": "object", "properties": {"a": {"type": "integer"}, "$filter": {"type": "string"}}}
    client.add("demo", "echo", inputs=echo, description="Give the arguments back.")
    client.add("demo", "greet", _constant("Good morning"))
    client.add("demo", "numbers", _constant([1, 2]), outputs={"type": "array", "items": {"type": "integer"}})
    order = {
        "type": "object",
        "properties": {"id": {"type": "integer"}, "note": {"type": "string"}},
        "required": ["id"],
    }
    client.add("demo", "order", _constant({"id": 7}), outputs=order)
    client.add("demo", "odd_order", _constant({"id": "a-7", "note": None, "more": [1]}), outputs=order)
    client.add("demo", "large", _constant("ü" * 800_000))

    async def grow(_arguments, _emit):
        client.add("grown", f"t{client.generation}")
        return "grown"

    client.add("demo", "grow", grow)


def _media(client):
    client.add("demo", "picture", _constant(Binary(b"png", "image/png")))
    client.add("demo", "sound", _constant(Binary(b"wav", "audio/wav")))
    client.add("demo", "paper", _constant(Binary(b"pdf", "application/pdf")))
    client.add("demo", "blocks", _constant(ContentBlocks([{"type": "weird"}, {"type": "text", "text": "fine"}])))


def _streams(client):
    cancelled = []

    async def count(_arguments, emit):
        for number in range(3):
            await emit({"n": number})
        return [0, 1, 2]

    async def steps(_arguments, emit):
        for done in (0.0, 1.0, 1.0, 2.0):
            await emit({"progress": done, "total": 2.0})
        return "done"

    async def wait(_arguments, emit):
        await emit("waiting")
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.append(True)
            print("cancelled", file=sys.stderr, flush=True)  # noqa: T201 - the test reads it

    async def cancellations(_arguments, _emit):
        return len(cancelled)

    async def chatter(_arguments, _emit):
        print("stray print", flush=True)  # noqa: T201 - the noise is intended
        os.system("echo from a child; cat")  # noqa: ASYNC221 - a child that writes and reads
        return "quiet"

    client.add("demo", "count", count)
    client.add("demo", "steps", steps)
    client.add("demo", "wait", wait)
    client.add("demo", "cancellations", cancellations)
    client.add("demo", "chatter", chatter)


def _faults(client):
    async def refuse(_arguments, _emit):
        raise Rejected("The shop answered 404.", status=404, detail={"error": "no such order"}, remedy="Check the id.")

    async def crash(_arguments, _emit):
        raise RuntimeError("password=hunter2")

    async def strict(arguments, _emit):
        raise InvalidArguments(f"city is missing, got {sorted(arguments)}.")

    client.add("demo", "refuse", refuse)
    client.add("demo", "crash", crash)
    client.add("demo", "strict", strict, inputs={"type": "object", "properties": {"city": {"type": "string"}}})


async def main(how: str, settings: str = "{}") -> None:
    """Serve until the process is stopped."""
    server = build(**{"port": 0, **json.loads(settings)})
    if how == "stdio":
        from utcp_bridge.server.stdio import serve_stdio

        await serve_stdio(server)
    else:
        from utcp_bridge.server.http import serve_http

        await serve_http(server, on_ready=lambda url: print(url, flush=True))  # noqa: T201 - the test reads the port


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
