"""A real GraphQL server on loopback, on graphql-core: every kind of type, errors, subscriptions in three protocols."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncIterator
from functools import cache, cached_property
from typing import Any

import graphql
from aiohttp import WSMsgType, web
from tests.upstreams.http_service import Handler, HttpService

SDL = """
enum Unit { METRIC IMPERIAL }
interface Named { name: String! }
type City implements Named { name: String!, size(unit: Unit!): Int, mayor: Person, rank: Int }
type Person implements Named { name: String!, city: City }
union Found = City | Person
input Filter { name: String = "x", ids: [ID!]!, nested: Filter }
type Query {
  "Says it again."
  echo(text: String, unit: Unit = METRIC): String
  city(name: String!): City
  search(filter: Filter!): [Found]
  partial: City
  broken: String!
  clash: Int
}
type Subscription {
  "Counts up."
  count(to: Int!): Int!
  silence: Int
  flood(size: Int!): String
  failing: Int!
  clash: Int
}
type Mutation { add(n: Int!): Int! @deprecated(reason: "old"), clash: Int }
"""
ROOT = {
    "echo": lambda _info, text=None, unit=None: f"{text}" if unit != "IMPERIAL" else f"{text} ft",
    "city": lambda _info, name: {"name": name, "rank": 1, "mayor": {"name": "M", "city": {"name": name}}},
    "search": lambda _info, **given: [{"__typename": "City", "name": ",".join(given["filter"]["ids"])}],
    "add": lambda _info, n: n + 1,
    "clash": lambda _info: 7,
}


def _fail(_info: Any) -> Any:
    raise ValueError("it broke")


async def _count(_info: Any, to: int) -> AsyncIterator[dict[str, Any]]:
    for number in range(to):
        yield {"count": number}


async def _flood(_info: Any, size: int) -> AsyncIterator[dict[str, Any]]:
    yield {"flood": "x" * size}


async def _failing(_info: Any) -> AsyncIterator[dict[str, Any]]:
    yield {"failing": 1}
    yield {"failing": "no number"}


@cache
def _schema() -> graphql.GraphQLSchema:
    """Return the schema. It is built once, because that takes longer than a hundred calls."""
    return graphql.build_schema(SDL)


class GraphQlService(HttpService):
    """Adds `/graphql`, and `/closed` without introspection. Errors have status 200, or 400 on request."""

    protocols: tuple[str, ...] = ("graphql-transport-ws", "graphql-ws")
    socket: type[web.WebSocketResponse] = web.WebSocketResponse
    parameters: Any = None
    """The payload of the last `connection_init`."""

    @cached_property
    def messages(self) -> list[str]:
        """The messages that arrived over WebSockets."""
        return []

    def _routes(self) -> dict[str, Handler]:
        return {**super()._routes(), "/graphql": self._graphql, "/closed": self._closed, "/events": self._events}

    async def _graphql(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._socket(request)
        asked = await request.json()
        root = {**ROOT, "partial": lambda _info: {"name": "P", "rank": "no number"}, "broken": _fail}
        result = graphql.graphql_sync(
            _schema(),
            asked["query"],
            root,
            variable_values=asked.get("variables"),
            operation_name=asked.get("operationName"),
        )
        return web.json_response(result.formatted, status=400 if result.data is None else 200)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Serve GraphQL over SSE, in distinct connections, without a WebSocket."""
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return web.Response(status=404)
        asked = await request.json()
        if "text/event-stream" not in request.headers.get("Accept", "") or "subscription" not in asked["query"]:
            return await self._graphql(request)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        await response.write(b": hello\n\n")
        async for result in self._results(asked):
            await response.write(b"event: next\ndata: " + json.dumps(result).encode() + b"\n\n")
        await response.write(b"event: complete\ndata:\n\n")
        await asyncio.sleep(5)  # the stream ends by the event, not by the connection
        return response

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        """Serve both protocols, with pings before replies and with messages for other subscriptions in between."""
        opened = self.socket(protocols=self.protocols)
        await opened.prepare(request)
        running: asyncio.Task[None] | None = None
        async for message in opened:
            self.messages.append(message.data)
            asked = json.loads(message.data) if message.type is WSMsgType.TEXT else {}
            match asked.get("type"):
                case "connection_init":
                    self.parameters = asked.get("payload")
                    if self.parameters == {"refuse": True}:
                        await opened.close(code=4403, message=b"Forbidden")
                        break
                    modern = opened.ws_protocol == "graphql-transport-ws"
                    await opened.send_json({"type": "ping" if modern else "ka"})
                    await opened.send_json({"type": "connection_ack"})
                case "subscribe" | "start":
                    running = asyncio.create_task(self._run(opened, asked))
                case "complete" | "stop" if running is not None:
                    running.cancel()
        if running is not None:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        return opened

    async def _run(self, opened: web.WebSocketResponse, asked: dict[str, Any]) -> None:
        kind = "next" if opened.ws_protocol == "graphql-transport-ws" else "data"
        async for result in self._results(asked["payload"]):
            await opened.send_json({"id": "somebody else", "type": kind, "payload": {"data": {"count": 99}}})
            if "data" not in result:
                await opened.send_json({"id": asked["id"], "type": "error", "payload": result["errors"]})
                return
            await opened.send_json({"id": asked["id"], "type": kind, "payload": result})
        await opened.send_json({"id": asked["id"], "type": "complete"})

    async def _results(self, asked: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        root = {"count": _count, "silence": self._silence, "flood": _flood, "failing": _failing}
        found: Any = graphql.subscribe(
            _schema(),
            graphql.parse(asked["query"]),
            root,
            variable_values=asked.get("variables"),
            operation_name=asked.get("operationName"),
        )
        found = await found if inspect.isawaitable(found) else found
        if isinstance(found, graphql.ExecutionResult):
            yield {"errors": found.formatted["errors"]}
            return
        async for result in found:
            yield dict(result.formatted)

    async def _silence(self, _info: Any) -> AsyncIterator[dict[str, Any]]:
        self.slow_arrived.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.slow_gone.set()
        yield {}

    async def _closed(self, request: web.Request) -> web.StreamResponse:
        if "__schema" in await request.text():
            return web.json_response({"errors": [{"message": "introspection is closed"}]}, status=400)
        return await self._graphql(request)
