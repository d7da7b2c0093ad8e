"""A real GraphQL server on loopback, on graphql-core: scalars, enumerations, inputs, unions, interfaces, errors."""

from __future__ import annotations

from typing import Any

import graphql
from aiohttp import web
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


class GraphQlService(HttpService):
    """Adds `/graphql`, and `/closed` without introspection; errors come with status 200 or, on request, 400."""

    def _routes(self) -> dict[str, Handler]:
        return {**super()._routes(), "/graphql": self._graphql, "/closed": self._closed}

    async def _graphql(self, request: web.Request) -> web.Response:
        asked = await request.json()
        root = {**ROOT, "partial": lambda _info: {"name": "P", "rank": "no number"}, "broken": _fail}
        result = graphql.graphql_sync(
            graphql.build_schema(SDL),
            asked["query"],
            root,
            variable_values=asked.get("variables"),
            operation_name=asked.get("operationName"),
        )
        return web.json_response(result.formatted, status=400 if result.data is None else 200)

    async def _closed(self, request: web.Request) -> web.Response:
        if "__schema" in await request.text():
            return web.json_response({"errors": [{"message": "introspection is closed"}]}, status=400)
        return await self._graphql(request)
